//! Helpers that give a packet another way through the network: copies, tunnels, the other version of IP.
//!
//! Nothing is sent and no tunnel exists: what is asked is checked as the kernel does, and remembered for the run.
//!
//! KERNEL: error numbers and limits were observed on 6.18 with test runs.

use twinbpf_object::Errno;

use super::packet::writable;
use super::reshape::{IPV4, IPV6, network_order, note_hash};
use super::room::{insert, remove};
use crate::context::sk_buff;
use crate::fault::FaultKind;
use crate::run::{Arguments, Returned, Run};
use crate::semantics::low_32;
use crate::window::Need;

/// The vm's interface.
const INTERFACE: u32 = 1;
/// Flag of a copy: to the interface's incoming side.
const INGRESS: u64 = 1;
/// Bytes of `struct bpf_tunnel_key`, and of its older forms.
const TUNNEL_KEY_BYTES: u32 = 44;
const OLDER_TUNNEL_KEYS: [u32; 3] = [8, 24, 28];
/// Where `tunnel_ext` and `tunnel_label` stand in it.
const TUNNEL_FLAG: usize = 22;
const TUNNEL_LABEL: usize = 24;
/// Flags of a tunnel's key that may be set.
const TUNNEL_FLAGS: u64 = 0x1f;
const TUNNEL_IPV6: u64 = 1;
/// Longest options of a tunnel.
const TUNNEL_OPTIONS: u32 = 255;
/// What the difference between the two IP headers is.
const HEADER_DIFFERENCE: u32 = 20;

/// `long bpf_clone_redirect(skb, interface, flags)`: the copy goes to an interface that nobody listens to.
pub(super) fn clone_redirect(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    let [skb, interface, flags, ..] = arguments.values;
    run.packet_of(skb)?;
    if flags & !INGRESS != 0 || low_32(interface) != INTERFACE {
        return Ok(Returned::error(Errno::EINVAL));
    }
    Ok(Returned::number(0))
}

/// `long bpf_skb_set_tunnel_key(skb, key, size, flags)`: checked as the kernel does; there is no tunnel that would read it.
pub(super) fn set_tunnel_key(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    let [skb, _, size, flags, _] = arguments.values;
    run.packet_of(skb)?;
    let size = low_32(size);
    let key = run.memory(arguments, 1, size, Need::Read)?;
    if flags & !TUNNEL_FLAGS != 0 {
        return Ok(Returned::error(Errno::EINVAL));
    }
    if size != TUNNEL_KEY_BYTES && !OLDER_TUNNEL_KEYS.contains(&size) {
        return Ok(Returned::error(Errno::EINVAL));
    }
    let has_label = flags & TUNNEL_IPV6 == 0 && key.load_u32(TUNNEL_LABEL).unwrap_or(0) != 0;
    if has_label || key.load_u16(TUNNEL_FLAG).unwrap_or(0) != 0 {
        return Ok(Returned::error(Errno::EINVAL));
    }
    run.has_tunnel = true;
    Ok(Returned::number(0))
}

/// `long bpf_skb_set_tunnel_opt(skb, options, size)`: after a key was set.
pub(super) fn set_tunnel_options(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    let [skb, _, size, ..] = arguments.values;
    run.packet_of(skb)?;
    let size = low_32(size);
    run.memory(arguments, 1, size, Need::Read)?;
    if !run.has_tunnel || !size.is_multiple_of(4) {
        return Ok(Returned::error(Errno::EINVAL));
    }
    if size > TUNNEL_OPTIONS {
        return Ok(Returned::error(Errno::ENOMEM));
    }
    Ok(Returned::number(0))
}

/// `long bpf_skb_get_tunnel_key(skb, key, size, flags)`: the packet came through no tunnel.
pub(super) fn tunnel_key(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    nothing_there(run, arguments, Errno::EINVAL)
}

/// What is asked for is not there: the room for it becomes zeros.
fn nothing_there(
    run: &Run<'_>,
    arguments: &Arguments,
    errno: Errno,
) -> Result<Returned, FaultKind> {
    let [skb, _, size, ..] = arguments.values;
    run.packet_of(skb)?;
    let to = run.memory(arguments, 1, low_32(size), Need::Write)?;
    zero_all(to)?;
    Ok(Returned::error(errno))
}

fn zero_all(bytes: twinbpf_shm::SharedBytes) -> Result<(), FaultKind> {
    // All of it was found writable just now.
    bytes.zero(0, bytes.len()).ok_or(FaultKind::NoPacket)
}

/// `long bpf_skb_change_proto(skb, protocol, flags)`: from one IP header's size to the other's.
pub(super) fn change_protocol(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    let [skb, protocol, flags, ..] = arguments.values;
    let packet = run.packet_of(skb)?;
    if flags != 0 {
        return Ok(Returned::error(Errno::EINVAL));
    }
    let from = network_order(u64::from(run.field(sk_buff::PROTOCOL)));
    let to = network_order(protocol);
    let at = packet.link_len();
    let reshaped = match (from, to) {
        (IPV4, IPV6) => insert(run, packet, at, HEADER_DIFFERENCE),
        (IPV6, IPV4) => remove(run, packet, at, HEADER_DIFFERENCE),
        _ => return Ok(Returned::error(Errno::ENOTSUPP)),
    };
    let Some(packet) = reshaped else {
        return Ok(Returned::error(Errno::ENOMEM));
    };
    run.set_field(sk_buff::PROTOCOL, u32::from(to.to_be()));
    run.set_packet(packet);
    note_hash(run, None);
    Ok(Returned::number(0))
}

/// `u32 bpf_get_hash_recalc(skb)`: equal for packets between the same two ends. The kernel's has a secret in it.
pub(super) fn hash(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let packet = run.packet_of(arguments.values[0])?;
    if packet.notes.has_hash {
        return Ok(Returned::number(u64::from(run.field(sk_buff::HASH))));
    }
    let protocol = network_order(u64::from(run.field(sk_buff::PROTOCOL)));
    // Addresses and ports: what lies behind the fields that differ from packet to packet.
    let (from, len) = match protocol {
        IPV4 => (12, 12),
        IPV6 => (8, 36),
        _ => (0, 0),
    };
    let mut bytes = [0; 36];
    let at = packet.network.saturating_add(from);
    let is_there = u64::from(at) + u64::from(len) <= u64::from(packet.total_end);
    let view = writable(run, at, len).filter(|_| is_there);
    let filled = view.and_then(|view| view.copy_out(0, bytes.get_mut(..len as usize)?));
    debug_assert!(filled.is_some() || !is_there, "the packet is readable");
    // FNV-1a, 32 bits.
    let hash = bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    });
    let hash = hash.max(1);
    note_hash(run, Some(hash));
    Ok(Returned::number(u64::from(hash)))
}
