//! Room in packets: made and taken, at a place within or at an end.
//!
//! ```text
//!             link    network          adjust_room(delta, MAC): here, at the network header
//!  floor        v        v             adjust_room(delta, NET): behind the fixed part of it
//!    | headroom | header | header | rest |  tailroom  |
//!             <── what precedes the place moves ──>
//! ```
//!
//! The kernel copies a packet that has no headroom left into larger memory; here it moves within its area.
//!
//! KERNEL: the order of the checks and what they answer were observed on 6.18 with test runs.

use twinbpf_object::Errno;

use super::packet::writable;
use super::reshape::{IPV4, IPV6, network_order};
use crate::context::sk_buff;
use crate::fault::FaultKind;
use crate::packet::{Notes, Packet};
use crate::run::{Arguments, Returned, Run};
use crate::semantics::low_32;

/// KERNEL: largest packet that a helper makes (`SKB_MAX_ALLOC`: 4 pages without the record at their end, 6.18).
pub(super) const LARGEST: u32 = 4 * 4096 - 320;
/// Largest change of room.
const MOST_ROOM: u32 = 0xfff;
/// Bytes of the fixed part of an IP header.
const IPV4_BYTES: u32 = 20;
const IPV6_BYTES: u32 = 40;
/// Bytes of an Ethernet header.
const ETHERNET_BYTES: u8 = 14;
/// Headroom that a packet has after it was moved to get some.
const SPARE: u32 = 256;

/// Flags of `bpf_skb_adjust_room`.
const FIXED_SEGMENTS: u64 = 1;
const INTO_IPV4: u64 = 1 << 1;
const INTO_IPV6: u64 = 1 << 2;
const INTO_GRE: u64 = 1 << 3;
const INTO_UDP: u64 = 1 << 4;
const KEEP_CHECKSUM: u64 = 1 << 5;
const INTO_ETHERNET: u64 = 1 << 6;
const OUT_OF_IPV4: u64 = 1 << 7;
const OUT_OF_IPV6: u64 = 1 << 8;
/// The upper byte: how many bytes in front of the inner network header are the inner link-layer header.
const INNER_LINK: u64 = 0xff << 56;
const INTO: u64 = INTO_IPV4 | INTO_IPV6;
const OUT_OF: u64 = OUT_OF_IPV4 | OUT_OF_IPV6;
const FLAGS: u64 = FIXED_SEGMENTS
    | INTO
    | INTO_GRE
    | INTO_UDP
    | KEEP_CHECKSUM
    | INTO_ETHERNET
    | OUT_OF
    | INNER_LINK;

/// What is asked for, once it makes sense.
struct Change {
    packet: Packet,
    protocol: u16,
    /// Where, from the packet's start.
    at: u32,
    amount: u32,
    flags: u64,
}

/// `long bpf_skb_adjust_room(skb, delta, mode, flags)`: room behind the network header (0) or the link-layer header (1).
pub(super) fn adjust(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let [skb, delta, mode, flags, _] = arguments.values;
    let packet = run.packet_of(skb)?;
    let delta = low_32(delta).cast_signed();
    let changed = check(run, packet, delta, (low_32(mode), flags)).and_then(|change| {
        if delta < 0 {
            shrink(run, &change)
        } else {
            grow(run, &change)
        }
    });
    let (mut packet, protocol) = match changed {
        Ok(changed) => changed,
        Err(errno) => return Ok(Returned::error(errno)),
    };
    if flags & KEEP_CHECKSUM == 0 {
        packet.notes.verified = None;
    }
    run.set_field(sk_buff::PROTOCOL, u32::from(protocol.to_be()));
    run.set_packet(packet);
    Ok(Returned::number(0))
}

fn check(
    run: &Run<'_>,
    packet: Packet,
    delta: i32,
    (mode, flags): (u32, u64),
) -> Result<Change, Errno> {
    let amount = delta.unsigned_abs();
    if flags & !FLAGS != 0 {
        return Err(Errno::EINVAL);
    }
    if amount > MOST_ROOM {
        return Err(Errno::EFAULT);
    }
    let protocol = network_order(u64::from(run.field(sk_buff::PROTOCOL)));
    let header = match protocol {
        IPV4 => IPV4_BYTES,
        IPV6 => IPV6_BYTES,
        _ => return Err(Errno::ENOTSUPP),
    };
    let at = match mode {
        0 => packet.link_len() + header,
        1 => packet.link_len(),
        _ => return Err(Errno::ENOTSUPP),
    };
    let least = match flags & OUT_OF {
        0 => header,
        _ if delta >= 0 => return Err(Errno::EINVAL),
        OUT_OF_IPV4 => IPV4_BYTES,
        OUT_OF_IPV6 => IPV6_BYTES,
        _ => return Err(Errno::EINVAL),
    };
    let rest = packet.total_end.saturating_sub(packet.network);
    let fits = if delta < 0 {
        rest > amount && rest - amount >= least
    } else {
        packet.len() + amount <= LARGEST || has_segments(run)
    };
    let change = Change {
        packet,
        protocol,
        at,
        amount,
        flags,
    };
    fits.then_some(change).ok_or(Errno::ENOTSUPP)
}

/// Whether the packet stands for several segments. Nobody says of which protocol, so their headers cannot be changed.
pub(super) fn has_segments(run: &Run<'_>) -> bool {
    run.field(sk_buff::GSO_SIZE) != 0
}

fn shrink(run: &Run<'_>, change: &Change) -> Result<(Packet, u16), Errno> {
    if change.flags & !(FIXED_SEGMENTS | OUT_OF | KEEP_CHECKSUM) != 0 {
        return Err(Errno::EINVAL);
    }
    if has_segments(run) {
        return Err(Errno::ENOTSUPP);
    }
    let packet = remove(run, change.packet, change.at, change.amount).ok_or(Errno::ENOMEM)?;
    let protocol = match (change.protocol, change.flags & OUT_OF) {
        (IPV4, OUT_OF_IPV6) => IPV6,
        (IPV6, OUT_OF_IPV4) => IPV4,
        (same, _) => same,
    };
    Ok((packet, protocol))
}

fn grow(run: &Run<'_>, change: &Change) -> Result<(Packet, u16), Errno> {
    let Change {
        packet,
        at,
        amount,
        flags,
        ..
    } = *change;
    if has_segments(run) {
        return Err(Errno::ENOTSUPP);
    }
    let enters_tunnel = flags & INTO != 0;
    if enters_tunnel {
        check_tunnel(packet, amount, flags)?;
    }
    let packet = insert(run, packet, at, amount).ok_or(Errno::ENOMEM)?;
    Ok(if enters_tunnel {
        entered(packet, change)
    } else {
        (packet, change.protocol)
    })
}

fn check_tunnel(packet: Packet, amount: u32, flags: u64) -> Result<(), Errno> {
    let [.., inner_link] = flags.to_le_bytes();
    let both = |flag: u64, other: u64| flags & flag != 0 && flags & other != 0;
    let is_short = flags & INTO_ETHERNET != 0 && inner_link < ETHERNET_BYTES;
    if both(INTO_IPV4, INTO_IPV6) || both(INTO_GRE, INTO_UDP) || is_short {
        return Err(Errno::EINVAL);
    }
    if packet.notes.is_in_tunnel {
        return Err(Errno::EALREADY);
    }
    if u32::from(inner_link) > amount {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

/// The packet's own headers are inner ones now.
fn entered(packet: Packet, change: &Change) -> (Packet, u16) {
    let (header, protocol) = match change.flags & INTO {
        INTO_IPV6 => (IPV6_BYTES, IPV6),
        _ => (IPV4_BYTES, IPV4),
    };
    let network = packet.data + change.packet.link_len();
    let has_transport = change.flags & (INTO_GRE | INTO_UDP) != 0;
    let packet = Packet {
        network,
        notes: Notes {
            transport: if has_transport {
                Some(network + header)
            } else {
                packet.notes.transport
            },
            is_in_tunnel: true,
            ..packet.notes
        },
        ..packet
    };
    (packet, protocol)
}

/// Makes room for `len` zeros at `offset`, by moving what is before it towards the head. The headers in front move, too.
///
/// KERNEL: the place may be behind the packet's end; then bytes from there become its own (6.18).
pub(super) fn insert(run: &Run<'_>, packet: Packet, offset: u32, len: u32) -> Option<Packet> {
    let packet = with_headroom(run, packet, len)?;
    let data = packet.data.checked_sub(len)?;
    if packet.data.checked_add(offset)? > packet.ceiling {
        return None;
    }
    move_bytes(run, packet.data, data, offset)?;
    zero(run, data + offset, data + offset + len);
    Some(with_headers(packet, data))
}

/// Takes `len` bytes at `offset` out, by moving what is before them towards the end. The headers in front move, too.
pub(super) fn remove(run: &Run<'_>, packet: Packet, offset: u32, len: u32) -> Option<Packet> {
    packet.part(offset, len)?;
    let data = packet.data + len;
    move_bytes(run, packet.data, data, offset)?;
    Some(Packet {
        end: packet.end.max(data),
        ..with_headers(packet, data)
    })
}

/// The packet with another start, from which its headers are as far as before.
fn with_headers(packet: Packet, data: u32) -> Packet {
    let from_data = |address: u32| data + address.saturating_sub(packet.data);
    let network = from_data(packet.network);
    let transport = packet.notes.transport.map(|transport| {
        if transport == packet.network {
            network
        } else {
            transport
        }
    });
    Packet {
        head: from_data(packet.head),
        data,
        meta: data,
        network,
        notes: Notes {
            transport,
            ..packet.notes
        },
        ..packet
    }
}

/// The packet where there are `len` free bytes before it; `None` if its area is too small.
pub(super) fn with_headroom(run: &Run<'_>, packet: Packet, len: u32) -> Option<Packet> {
    let free = packet.data.saturating_sub(packet.floor);
    if free >= len {
        return Some(packet);
    }
    let most = packet.ceiling.saturating_sub(packet.total_end);
    let by = len.checked_add(SPARE)?.checked_sub(free)?.min(most);
    if free + by < len {
        return None;
    }
    shift(run, packet, by.cast_signed())
}

/// The packet where it can be `len` bytes long; `None` if its area is too small.
pub(super) fn with_tailroom(run: &Run<'_>, packet: Packet, len: u32) -> Option<Packet> {
    if packet.data.checked_add(len)? <= packet.ceiling {
        return Some(packet);
    }
    let start = packet.data.min(packet.head);
    let by = start.checked_sub(packet.floor)?;
    let packet = shift(run, packet, -by.cast_signed())?;
    (packet.data.checked_add(len)? <= packet.ceiling).then_some(packet)
}

/// Moves the whole packet, from its link-layer header on.
fn shift(run: &Run<'_>, packet: Packet, by: i32) -> Option<Packet> {
    let moved = packet.moved(by)?;
    let start = packet.data.min(packet.head);
    let len = packet.total_end.checked_sub(start)?;
    move_bytes(run, start, moved.data.min(moved.head), len)?;
    Some(moved)
}

/// Moves bytes within the packet's area; both ranges may overlap.
pub(super) fn move_bytes(run: &Run<'_>, from: u32, to: u32, len: u32) -> Option<()> {
    let mut bytes = vec![0; len as usize];
    writable(run, from, len)?.copy_out(0, &mut bytes)?;
    writable(run, to, len)?.copy_in(0, &bytes)
}

/// Zeroes the bytes from one address to another, if that is further on.
pub(super) fn zero(run: &Run<'_>, from: u32, to: u32) {
    let len = to.saturating_sub(from);
    if let Some(view) = writable(run, from, len) {
        // The whole view was found writable.
        let _ = view.zero(0, view.len());
    }
}
