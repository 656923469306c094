//! Helpers on packets of both shapes: reading, writing, and the verdicts of redirection.

use std::net::Ipv6Addr;

use twinbpf_object::{Errno, MapKind};
use twinbpf_shm::SharedBytes;

use super::reshape::note_hash;
use crate::context::{FLOW, XDP_MD, sock};
use crate::fault::FaultKind;
use crate::packet::Packet;
use crate::run::{Arguments, Returned, Run};
use crate::semantics::low_32;
use crate::window::Need;

/// Offsets and lengths above are refused.
const MOST_BYTES: u32 = 0xffff;
/// Flags of `bpf_skb_store_bytes`: the first changes nothing that a program sees here, the second takes the hash away.
const STORE_FLAGS: u64 = 3;
const STORE_FORGETS_HASH: u64 = 2;
/// `XDP_ABORTED` and `XDP_REDIRECT`.
const XDP_ABORTED: u64 = 0;
const XDP_REDIRECT: u64 = 4;
/// `TC_ACT_SHOT` and `TC_ACT_REDIRECT`.
const TC_ACT_SHOT: u64 = 2;
const TC_ACT_REDIRECT: u64 = 7;
/// Bytes of `struct bpf_fib_lookup`, and where the interface stands in it.
const FIB_PARAMETERS: u32 = 64;
const FIB_INTERFACE: usize = 8;
/// Where its two addresses of IPv6 stand.
const FIB_ADDRESSES: [usize; 2] = [16, 32];
/// Flags of a route lookup.
const FIB_FLAGS: u32 = 0x3f;
/// `AF_INET` and `AF_INET6`.
const FAMILY_IPV4: u8 = 2;
const FAMILY_IPV6: u8 = 10;
/// `BPF_FIB_LKUP_RET_NOT_FWDED` and `BPF_FIB_LKUP_RET_FWD_DISABLED`.
const NOT_FORWARDED: u64 = 4;
const FORWARDING_OFF: u64 = 5;
/// Flag of redirection: to the interface's incoming side.
const INGRESS: u64 = 1;
/// Flags of redirection through a map: what to answer without an entry, to all interfaces, not back.
const MAP_ANSWER: u64 = 3;
const MAP_BROADCAST: u64 = 0x18;

impl Run<'_> {
    /// The packet, if `context` is the run's context.
    pub(super) fn packet_of(&self, context: u64) -> Result<Packet, FaultKind> {
        self.packet
            .filter(|_| low_32(context) == self.context)
            .ok_or(FaultKind::NoPacket)
    }

    /// A field of the context, four bytes.
    pub(super) fn field(&self, offset: usize) -> u32 {
        self.context_field(offset)
            .and_then(|field| field.load_u32(0))
            .unwrap_or(0)
    }

    /// Writes a field of the context, four bytes.
    pub(super) fn set_field(&self, offset: usize, value: u32) {
        if let Some(field) = self.context_field(offset) {
            // Four bytes were found writable by the host's view just now.
            let _ = field.store_u32(0, value);
        }
    }

    fn context_field(&self, offset: usize) -> Option<SharedBytes> {
        let address = u64::from(self.context) + offset as u64;
        self.window.range(address, 4, Need::Both)
    }

    /// Makes a changed packet the run's, and updates the context.
    pub(super) fn set_packet(&mut self, packet: Packet) {
        self.packet = Some(packet);
        self.write_packet_pointers();
    }
}

/// Bytes of the packet that a helper may write.
pub(super) fn writable(run: &Run<'_>, address: u32, len: u32) -> Option<SharedBytes> {
    run.window.range(u64::from(address), len, Need::Both)
}

/// `long bpf_skb_load_bytes(skb, offset, to, len)`: 0, or -EFAULT with the buffer zeroed.
///
/// KERNEL (6.18): an offset above 0xffff is refused like one beyond the packet, and on failure all `len` bytes become zero. A flow
/// dissector's test run has no socket buffer to load from: it always fails there.
pub(super) fn skb_load_bytes(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    let [skb, offset, _, len, _] = arguments.values;
    let packet = run.packet_of(skb)?;
    let is_flow = std::ptr::eq(run.layout, &raw const FLOW);
    let from = packet.part(low_32(offset), low_32(len));
    let from = from.filter(|_| !is_flow);
    load(run, arguments, (low_32(offset), low_32(len)), from)
}

/// `long bpf_skb_load_bytes_relative(skb, offset, to, len, start)`: from the link-layer (0) or network header (1) on.
pub(super) fn skb_load_bytes_relative(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    let [skb, offset, _, len, start] = arguments.values;
    let packet = run.packet_of(skb)?;
    let (offset, len) = (low_32(offset), low_32(len));
    let start = match start {
        0 => Some(packet.head),
        1 => Some(packet.network),
        _ => None,
    };
    let from = start.filter(|start| {
        let end = u64::from(*start) + u64::from(offset) + u64::from(len);
        end <= u64::from(packet.total_end)
    });
    let from = from.and_then(|start| start.checked_add(offset));
    load(run, arguments, (offset, len), from)
}

fn load(
    run: &Run<'_>,
    arguments: &Arguments,
    (offset, len): (u32, u32),
    from: Option<u32>,
) -> Result<Returned, FaultKind> {
    let to = run.memory(arguments, 2, len, Need::Write)?;
    let from = from
        .filter(|_| offset <= MOST_BYTES)
        .and_then(|from| run.window.range(u64::from(from), len, Need::Read));
    let copied = from.and_then(|from| to.copy_from(0, from));
    if copied.is_none() {
        to.zero(0, to.len()).ok_or(FaultKind::Access {
            address: u64::from(offset),
            size: len,
            is_write: true,
        })?;
    }
    Ok(Returned::status(copied.ok_or(Errno::EFAULT)))
}

/// `long bpf_skb_store_bytes(skb, offset, from, len, flags)`
pub(super) fn skb_store_bytes(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    let [skb, offset, _, len, flags] = arguments.values;
    let (packet, len) = (run.packet_of(skb)?, low_32(len));
    let from = run.memory(arguments, 2, len, Need::Read)?;
    if flags & !STORE_FLAGS != 0 {
        return Ok(Returned::error(Errno::EINVAL));
    }
    let to = packet.part(low_32(offset), len);
    let to = to.and_then(|to| writable(run, to, len));
    let copied = to.and_then(|to| to.copy_from(0, from));
    if copied.is_some() && flags & STORE_FORGETS_HASH != 0 {
        note_hash(run, None);
    }
    Ok(Returned::status(copied.ok_or(Errno::EFAULT)))
}

/// `long bpf_xdp_load_bytes(xdp, offset, to, len)`
pub(super) fn xdp_load_bytes(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    let (packet, place) = xdp_part(run, arguments)?;
    let to = run.memory(arguments, 2, low_32(arguments.values[3]), Need::Write)?;
    let copied = place.and_then(|place| to.copy_from(0, place).ok_or(Errno::EFAULT));
    debug_assert!(copied.is_err() || packet.len() as usize >= to.len());
    Ok(Returned::status(copied))
}

/// `long bpf_xdp_store_bytes(xdp, offset, from, len)`
pub(super) fn xdp_store_bytes(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    let (_, place) = xdp_part(run, arguments)?;
    let from = run.memory(arguments, 2, low_32(arguments.values[3]), Need::Read)?;
    let copied = place.and_then(|place| place.copy_from(0, from).ok_or(Errno::EFAULT));
    Ok(Returned::status(copied))
}

/// KERNEL: beyond 0xffff is EFAULT, beyond the packet EINVAL (6.18).
fn xdp_part(
    run: &Run<'_>,
    arguments: &Arguments,
) -> Result<(Packet, Result<SharedBytes, Errno>), FaultKind> {
    let [xdp, offset, _, len, _] = arguments.values;
    let packet = run.packet_of(xdp)?;
    let (offset, len) = (low_32(offset), low_32(len));
    if offset > MOST_BYTES || len > MOST_BYTES {
        return Ok((packet, Err(Errno::EFAULT)));
    }
    let place = packet
        .part(offset, len)
        .and_then(|at| writable(run, at, len));
    Ok((packet, place.ok_or(Errno::EINVAL)))
}

/// `u64 bpf_xdp_get_buff_len(xdp)`
pub(super) fn xdp_len(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let packet = run.packet_of(arguments.values[0])?;
    Ok(Returned::number(u64::from(packet.len())))
}

/// `long bpf_redirect(interface, flags)`: a verdict; nothing is sent.
pub(super) fn redirect(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let [_, flags, ..] = arguments.values;
    let is_xdp = std::ptr::eq(run.layout, &raw const XDP_MD);
    let (allowed, wrong, right) = if is_xdp {
        (0, XDP_ABORTED, XDP_REDIRECT)
    } else {
        (INGRESS, TC_ACT_SHOT, TC_ACT_REDIRECT)
    };
    if flags & !allowed != 0 {
        return Ok(Returned::number(wrong));
    }
    Ok(Returned::number(right))
}

/// `long bpf_redirect_map(map, key, flags)`: a verdict; nothing is sent. The vm has no sockets, so socket maps have no entries.
pub(super) fn redirect_map(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    let [_, key, flags, ..] = arguments.values;
    let map = run.map(arguments, 0)?;
    let is_device_map = matches!(map.spec().kind, MapKind::DevMap | MapKind::DevMapHash);
    let allowed = MAP_ANSWER | if is_device_map { MAP_BROADCAST } else { 0 };
    if flags & !allowed != 0 {
        return Ok(Returned::number(XDP_ABORTED));
    }
    let is_there = map.has_key(&low_32(key).to_ne_bytes());
    if flags & MAP_BROADCAST == 0 && !is_there {
        return Ok(Returned::number(flags & MAP_ANSWER));
    }
    Ok(Returned::number(XDP_REDIRECT))
}

/// `struct bpf_sock *bpf_sk_fullsock(sock)`: the socket of a test run is a whole one.
pub(super) fn sk_fullsock(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let address = low_32(arguments.values[0]);
    // Whatever it is, it was readable as a socket or the program learns of it here.
    let len = u32::try_from(sock::SIZE).unwrap_or(0);
    run.memory(arguments, 0, len, Need::Read)?;
    Ok(Returned::object(address, len, "a socket"))
}

/// Lookups of sockets: the vm has none, so none is found.
pub(super) fn no_socket(_: &mut Run<'_>, _: &Arguments) -> Result<Returned, FaultKind> {
    Ok(Returned::number(0))
}

/// `long bpf_fib_lookup(context, parameters, size, flags)`: the vm forwards nothing, and says so as a host with forwarding off.
///
/// KERNEL: sizes and flags, of which the lower half counts, are looked at first, then which addresses of IPv6 are never forwarded, then
/// the interface, then whether it forwards (6.18).
pub(super) fn fib_lookup(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let [context, _, size, flags, _] = arguments.values;
    run.packet_of(context)?;
    let size = low_32(size);
    let parameters = run.memory(arguments, 1, size, Need::Both)?;
    if size < FIB_PARAMETERS || low_32(flags) & !FIB_FLAGS != 0 {
        return Ok(Returned::error(Errno::EINVAL));
    }
    let stays = |at| address(parameters, at).is_none_or(|address| stays_on_its_link(&address));
    let interface = parameters.load_u32(FIB_INTERFACE);
    Ok(match (parameters.load_u8(0), interface) {
        (Some(FAMILY_IPV6), _) if FIB_ADDRESSES.into_iter().any(stays) => {
            Returned::number(NOT_FORWARDED)
        }
        (Some(FAMILY_IPV4 | FAMILY_IPV6), Some(1)) => Returned::number(FORWARDING_OFF),
        (Some(FAMILY_IPV4 | FAMILY_IPV6), _) => Returned::error(Errno::ENODEV),
        _ => Returned::error(Errno::EAFNOSUPPORT),
    })
}

fn address(parameters: SharedBytes, at: usize) -> Option<Ipv6Addr> {
    let mut bytes = [0; 16];
    parameters.copy_out(at, &mut bytes)?;
    Some(bytes.into())
}

fn stays_on_its_link(address: &Ipv6Addr) -> bool {
    address.is_multicast() || address.is_unicast_link_local() || address.is_loopback()
}
