//! Helpers on what a machine's network knows of a packet: routes, classes, tunnels, sockets. A vm has one interface, the loopback
//! one, and none of the rest; the answers say so, as the kernel's do in a test run.
//!
//! KERNEL: observed on 6.18 with test runs.

use twinbpf_object::Errno;

use crate::context::{SK_LOOKUP, XDP_MD, sk_buff};
use crate::fault::FaultKind;
use crate::run::{Arguments, Returned, Run};
use crate::semantics::low_32;
use crate::window::Need;

/// `TC_ACT_SHOT` and `TC_ACT_REDIRECT`.
const TC_ACT_SHOT: u64 = 2;
const TC_ACT_REDIRECT: u64 = 7;
/// Bytes of `struct bpf_redir_neigh`.
const NEIGHBOUR_BYTES: u32 = 20;
/// Largest packet of the loopback interface, and the bytes of its link-layer header.
const LOOPBACK: u32 = 1;
const LOOPBACK_MTU: u32 = 65_536;
const HEADER_BYTES: u32 = 14;
/// `BPF_MTU_CHK_RET_FRAG_NEEDED`
const TOO_LARGE: u64 = 1;
/// Flags of the choice of a socket: instead of an earlier one, not within its group.
const LOOKUP_FLAGS: u64 = 3;
/// Flag of a length check: look at segments.
const SEGMENTS: u64 = 1;
/// `BPF_CSUM_LEVEL_QUERY` and what else can be asked for.
const LEVEL_QUERY: u64 = 0;
const LEVEL_UP: u64 = 1;
const LEVEL_DOWN: u64 = 2;
const LEVEL_RESET: u64 = 3;
/// KERNEL: the field has two bits (6.18).
const MOST_LEVEL: u8 = 3;
/// Protocols whose packets have a time of delivery, in network order.
const IPV4: u32 = 0x0008;
const IPV6: u32 = 0xdd86;
/// `BPF_SKB_CLOCK_REALTIME`, and the last of the others: monotonic and atomic time.
const REAL_TIME: u64 = 0;
const LAST_CLOCK: u64 = 2;

/// `bpf_get_cgroup_classid`, `bpf_get_route_realm`, `bpf_skb_cgroup_classid`: nobody has set one.
pub(super) fn unset(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    run.packet_of(arguments.values[0])?;
    Ok(Returned::number(0))
}

/// `u64 bpf_get_netns_cookie(context)`: a vm is one network.
pub(super) fn network_cookie(_: &mut Run<'_>, _: &Arguments) -> Result<Returned, FaultKind> {
    Ok(Returned::number(1))
}

/// `long bpf_redirect_neigh(interface, neighbour, size, flags)`: a verdict, as of `bpf_redirect`.
pub(super) fn redirect_to_neighbour(
    _: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    let [_, _, size, flags, _] = arguments.values;
    let is_right = flags == 0 && (low_32(size) == 0 || low_32(size) >= NEIGHBOUR_BYTES);
    Ok(Returned::number(if is_right {
        TC_ACT_REDIRECT
    } else {
        TC_ACT_SHOT
    }))
}

/// `long bpf_redirect_peer(interface, flags)`
pub(super) fn redirect_to_peer(
    _: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    let is_right = arguments.values[1] == 0;
    Ok(Returned::number(if is_right {
        TC_ACT_REDIRECT
    } else {
        TC_ACT_SHOT
    }))
}

/// `long bpf_check_mtu(context, interface, length, difference, flags)`: 0, 1 if the packet is too long, or an error.
pub(super) fn check_mtu(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let [context, interface, _, difference, flags] = arguments.values;
    let packet = run.packet_of(context)?;
    let length = run.memory(arguments, 2, 4, Need::Both)?;
    let given = length.load_u32(0).unwrap_or(0);
    let is_xdp = std::ptr::eq(run.layout, &raw const XDP_MD);
    let allowed = if is_xdp { 0 } else { SEGMENTS };
    // Segments have their own lengths: neither a length nor a difference goes with them.
    let has_both = flags & SEGMENTS != 0 && (low_32(difference) != 0 || given != 0);
    if flags & !allowed != 0 || has_both {
        return Ok(Returned::error(Errno::EINVAL));
    }
    if low_32(interface) > LOOPBACK {
        return Ok(Returned::error(Errno::ENODEV));
    }
    // KERNEL: the sum is one of 32 bits with a sign, also where it overflows (6.18).
    let whole = match given {
        0 => packet.len(),
        _ => given.wrapping_add(HEADER_BYTES),
    };
    let whole = whole.wrapping_add(low_32(difference)).cast_signed();
    // Four bytes were found writable just now.
    let _ = length.copy_in(0, &LOOPBACK_MTU.to_ne_bytes());
    Ok(Returned::number(
        if whole <= (LOOPBACK_MTU + HEADER_BYTES).cast_signed() {
            0
        } else {
            TOO_LARGE
        },
    ))
}

/// `long bpf_csum_level(skb, level)`: how many checksums are said to be right. Nothing has verified those of a packet here.
pub(super) fn checksum_level(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    let [skb, level, ..] = arguments.values;
    let mut packet = run.packet_of(skb)?;
    let verified = packet.notes.verified;
    let changed = match level {
        LEVEL_QUERY => {
            return Ok(verified.map_or(Returned::error(Errno::EACCES), |level| {
                Returned::number(u64::from(level))
            }));
        }
        LEVEL_UP => Some(verified.map_or(0, |level| (level + 1).min(MOST_LEVEL))),
        LEVEL_DOWN => verified.and_then(|level| level.checked_sub(1)),
        LEVEL_RESET => None,
        _ => return Ok(Returned::error(Errno::EINVAL)),
    };
    packet.notes.verified = changed;
    run.set_packet(packet);
    Ok(Returned::number(0))
}

/// `long bpf_skb_set_tstamp(skb, time, type)`
pub(super) fn set_time(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let [skb, time, kind, ..] = arguments.values;
    run.packet_of(skb)?;
    if !matches!(run.field(sk_buff::PROTOCOL), IPV4 | IPV6) {
        return Ok(Returned::error(Errno::EOPNOTSUPP));
    }
    let is_right = match kind {
        REAL_TIME => true,
        _ => kind <= LAST_CLOCK && time != 0,
    };
    if !is_right {
        return Ok(Returned::error(Errno::EINVAL));
    }
    let [low, high] = [low_32(time), low_32(time >> 32)];
    run.set_field(sk_buff::TSTAMP, low);
    run.set_field(sk_buff::TSTAMP + 4, high);
    // One byte, and three of nothing.
    let [.., clock] = low_32(kind).to_be_bytes();
    run.set_field(sk_buff::TSTAMP_KIND, u32::from_ne_bytes([clock, 0, 0, 0]));
    Ok(Returned::number(0))
}

/// `long bpf_skb_get_xfrm_state(skb, index, state, size, flags)`: packets have none.
pub(super) fn no_transformation(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    let [skb, _, _, size, _] = arguments.values;
    run.packet_of(skb)?;
    zeroed(run, arguments, (2, low_32(size)), Errno::EINVAL)
}

/// `long bpf_skb_get_tunnel_opt(skb, options, size)`: no packet came through a tunnel.
pub(super) fn no_tunnel(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let [skb, _, size, ..] = arguments.values;
    run.packet_of(skb)?;
    zeroed(run, arguments, (1, low_32(size)), Errno::ENOENT)
}

fn zeroed(
    run: &Run<'_>,
    arguments: &Arguments,
    (index, size): (usize, u32),
    errno: Errno,
) -> Result<Returned, FaultKind> {
    let room = run.memory(arguments, index, size, Need::Write)?;
    room.zero(0, room.len())
        .ok_or(FaultKind::Unsupported("this memory"))?;
    Ok(Returned::error(errno))
}

/// `long bpf_sk_assign(context, socket, flags)`: a test run's packet is not on its way in; who chooses sockets has none to choose.
pub(super) fn assign_socket(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    let [context, socket, flags, ..] = arguments.values;
    if std::ptr::eq(run.layout, &raw const SK_LOOKUP) {
        let is_wrong = flags & !LOOKUP_FLAGS != 0;
        return Ok(if is_wrong {
            Returned::error(Errno::EINVAL)
        } else {
            Returned::number(0)
        });
    }
    run.packet_of(context)?;
    Ok(Returned::error(if socket == 0 || flags != 0 {
        Errno::EINVAL
    } else {
        Errno::EOPNOTSUPP
    }))
}

/// `bpf_skc_to_tcp_sock` and its kin: a socket that a vm has is none of these.
pub(super) fn other_socket(_: &mut Run<'_>, _: &Arguments) -> Result<Returned, FaultKind> {
    Ok(Returned::number(0))
}

/// `bpf_tcp_check_syncookie` and `bpf_tcp_gen_syncookie`: a socket that a vm has does not listen.
pub(super) fn not_listening(_: &mut Run<'_>, _: &Arguments) -> Result<Returned, FaultKind> {
    Ok(Returned::error(Errno::EINVAL))
}
