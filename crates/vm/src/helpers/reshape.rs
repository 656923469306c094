//! Helpers that change where a packet begins and ends, and what lies between.
//!
//! KERNEL: limits and error numbers were observed on 6.18 with test runs.

use twinbpf_object::Errno;

use super::packet::writable;
use crate::context::sk_buff;
use crate::fault::FaultKind;
use crate::packet::Packet;
use crate::run::{Arguments, Returned, Run};
use crate::semantics::low_32;

/// Bytes of an Ethernet header: the least an XDP program must leave, and what precedes the network header.
const ETHERNET_BYTES: u32 = 14;
/// Bytes of the two addresses of an Ethernet header.
const ADDRESS_BYTES: u32 = 12;
/// Bytes of a VLAN tag.
const TAG_BYTES: u32 = 4;
/// Where the kernel keeps the frame's own record, before the headroom: nothing may grow into it.
const XDP_FRAME_BYTES: u32 = 40;
/// Most bytes of metadata.
const METADATA_BYTES: u32 = 252;
/// KERNEL: most tags in a row that are looked behind (6.18).
const MOST_TAGS: u32 = 8;
/// Largest packet that a helper makes.
const LARGEST: u32 = 65_535 + ETHERNET_BYTES;
/// Protocols, host order.
pub(super) const IPV4: u16 = 0x0800;
pub(super) const IPV6: u16 = 0x86dd;
const VLAN: u16 = 0x8100;
const SERVICE_VLAN: u16 = 0x88a8;

fn moved(address: u32, delta: i32) -> Option<u32> {
    address.checked_add_signed(delta)
}

fn signed(value: u64) -> i32 {
    low_32(value).cast_signed()
}

/// `long bpf_xdp_adjust_head(xdp, delta)`
pub(super) fn xdp_adjust_head(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    let [xdp, delta, ..] = arguments.values;
    let packet = run.packet_of(xdp)?;
    let metadata = packet.data - packet.meta;
    let lowest = packet.floor + XDP_FRAME_BYTES + metadata;
    let data = moved(packet.data, signed(delta))
        .filter(|data| *data >= lowest && data + ETHERNET_BYTES <= packet.end);
    let Some(data) = data else {
        return Ok(Returned::error(Errno::EINVAL));
    };
    let meta = data - metadata;
    if move_bytes(run, packet.meta, meta, metadata).is_none() {
        return Ok(Returned::error(Errno::EINVAL));
    }
    run.set_packet(Packet {
        data,
        meta,
        head: data,
        ..packet
    });
    Ok(Returned::number(0))
}

/// `long bpf_xdp_adjust_meta(xdp, delta)`
pub(super) fn xdp_adjust_meta(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    let [xdp, delta, ..] = arguments.values;
    let packet = run.packet_of(xdp)?;
    let meta = moved(packet.meta, signed(delta))
        .filter(|meta| *meta >= packet.floor + XDP_FRAME_BYTES && *meta <= packet.data);
    let Some(meta) = meta else {
        return Ok(Returned::error(Errno::EINVAL));
    };
    let len = packet.data - meta;
    if !len.is_multiple_of(4) || len > METADATA_BYTES {
        return Ok(Returned::error(Errno::EACCES));
    }
    run.set_packet(Packet { meta, ..packet });
    Ok(Returned::number(0))
}

/// `long bpf_xdp_adjust_tail(xdp, delta)`
pub(super) fn xdp_adjust_tail(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    let [xdp, delta, ..] = arguments.values;
    let packet = run.packet_of(xdp)?;
    let total_end = moved(packet.total_end, signed(delta))
        .filter(|end| *end <= packet.ceiling && *end >= packet.data + ETHERNET_BYTES);
    let Some(total_end) = total_end else {
        return Ok(Returned::error(Errno::EINVAL));
    };
    zero(run, packet.total_end, total_end);
    let is_linear = packet.end == packet.total_end;
    let end = if is_linear {
        total_end
    } else {
        packet.end.min(total_end)
    };
    run.set_packet(Packet {
        end,
        total_end,
        ..packet
    });
    Ok(Returned::number(0))
}

/// `long bpf_skb_change_tail(skb, len, flags)`
pub(super) fn skb_change_tail(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    let [skb, len, flags, ..] = arguments.values;
    let packet = run.packet_of(skb)?;
    let len = low_32(len);
    let least = packet.network.saturating_sub(packet.data);
    if flags != 0 || len > LARGEST || len < least {
        return Ok(Returned::error(Errno::EINVAL));
    }
    let total_end = packet.data + len;
    if total_end > packet.ceiling {
        return Ok(Returned::error(Errno::ENOMEM));
    }
    zero(run, packet.total_end, total_end);
    run.set_packet(Packet {
        end: total_end,
        total_end,
        ..packet
    });
    Ok(Returned::number(0))
}

/// `long bpf_skb_change_head(skb, len, flags)`
pub(super) fn skb_change_head(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    let [skb, len, flags, ..] = arguments.values;
    let packet = run.packet_of(skb)?;
    let len = low_32(len);
    if flags != 0 || len > LARGEST.saturating_sub(packet.len()) {
        return Ok(Returned::error(Errno::EINVAL));
    }
    let data = packet
        .data
        .checked_sub(len)
        .filter(|data| *data >= packet.floor);
    let Some(data) = data else {
        return Ok(Returned::error(Errno::ENOMEM));
    };
    zero(run, data, packet.data);
    run.set_packet(Packet {
        data,
        head: data,
        meta: data,
        ..packet
    });
    Ok(Returned::number(0))
}

/// `long bpf_skb_pull_data(skb, len)`: makes bytes directly accessible.
pub(super) fn skb_pull_data(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    let [skb, len, ..] = arguments.values;
    let packet = run.packet_of(skb)?;
    let Some(end) = packet.part(low_32(len), 0) else {
        return Ok(Returned::error(Errno::ENOMEM));
    };
    run.set_packet(Packet {
        end: packet.end.max(end),
        ..packet
    });
    Ok(Returned::number(0))
}

/// `long bpf_skb_vlan_push(skb, protocol, tci)`: the tag is kept beside the packet; one that is there already moves in.
pub(super) fn skb_vlan_push(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    let [skb, protocol, tci, ..] = arguments.values;
    let mut packet = run.packet_of(skb)?;
    let protocol = network_order(protocol);
    let protocol = match protocol {
        VLAN | SERVICE_VLAN => protocol,
        _ => VLAN,
    };
    if run.field(sk_buff::VLAN_PRESENT) != 0 {
        let Some(grown) = insert(run, packet, ADDRESS_BYTES, TAG_BYTES) else {
            return Ok(Returned::error(Errno::ENOMEM));
        };
        packet = grown;
        let old_protocol = network_order(u64::from(run.field(sk_buff::VLAN_PROTO)));
        let [_, _, high, low] = run.field(sk_buff::VLAN_TCI).to_be_bytes();
        let [first, second] = old_protocol.to_be_bytes();
        let tag = writable(run, packet.data + ADDRESS_BYTES, TAG_BYTES);
        tag.and_then(|tag| tag.copy_in(0, &[first, second, high, low]))
            .ok_or(FaultKind::NoPacket)?;
        run.set_field(sk_buff::PROTOCOL, u32::from(old_protocol.to_be()));
        run.set_packet(packet);
    }
    let [_, _, high, low] = low_32(tci).to_be_bytes();
    run.set_field(sk_buff::VLAN_PRESENT, 1);
    run.set_field(
        sk_buff::VLAN_TCI,
        u32::from(u16::from_be_bytes([high, low])),
    );
    run.set_field(sk_buff::VLAN_PROTO, u32::from(protocol.to_be()));
    Ok(Returned::number(0))
}

/// `long bpf_skb_vlan_pop(skb)`: the tag beside the packet goes, and the next one, if there is one, takes its place.
pub(super) fn skb_vlan_pop(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    run.packet_of(arguments.values[0])?;
    if run.field(sk_buff::VLAN_PRESENT) != 0 {
        for field in [
            sk_buff::VLAN_PRESENT,
            sk_buff::VLAN_TCI,
            sk_buff::VLAN_PROTO,
        ] {
            run.set_field(field, 0);
        }
    } else if take_tag(run)?.is_none() {
        return Ok(Returned::number(0));
    }
    let protocol = network_order(u64::from(run.field(sk_buff::PROTOCOL)));
    if let Some(tci) = take_tag(run)? {
        run.set_field(sk_buff::VLAN_PRESENT, 1);
        run.set_field(sk_buff::VLAN_TCI, u32::from(tci));
        run.set_field(sk_buff::VLAN_PROTO, u32::from(protocol.to_be()));
    }
    Ok(Returned::number(0))
}

/// Takes a tag out of the packet, if the protocol says that there is one.
fn take_tag(run: &mut Run<'_>) -> Result<Option<u16>, FaultKind> {
    let packet = run.packet.ok_or(FaultKind::NoPacket)?;
    let protocol = network_order(u64::from(run.field(sk_buff::PROTOCOL)));
    let tag = packet.part(ADDRESS_BYTES, TAG_BYTES + 2);
    let (VLAN | SERVICE_VLAN, Some(at)) = (protocol, tag) else {
        return Ok(None);
    };
    let mut bytes = [0; 6];
    let view = writable(run, at, TAG_BYTES + 2);
    view.and_then(|view| view.copy_out(0, &mut bytes))
        .ok_or(FaultKind::NoPacket)?;
    let [_, _, high, low, first, second] = bytes;
    let packet = remove(run, packet, ADDRESS_BYTES, TAG_BYTES).ok_or(FaultKind::NoPacket)?;
    let inner = u16::from_be_bytes([first, second]);
    run.set_field(sk_buff::PROTOCOL, u32::from(inner.to_be()));
    run.set_packet(packet);
    Ok(Some(u16::from_be_bytes([high, low])))
}

/// `long bpf_skb_change_type(skb, type)`
pub(super) fn skb_change_type(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    let [skb, kind, ..] = arguments.values;
    run.packet_of(skb)?;
    let kind = low_32(kind);
    if kind > 3 || run.field(sk_buff::PKT_TYPE) > 3 {
        return Ok(Returned::error(Errno::EINVAL));
    }
    run.set_field(sk_buff::PKT_TYPE, kind);
    Ok(Returned::number(0))
}

/// `void bpf_set_hash_invalid(skb)`
pub(super) fn set_hash_invalid(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    run.packet_of(arguments.values[0])?;
    run.set_field(sk_buff::HASH, 0);
    Ok(Returned::number(0))
}

/// `long bpf_set_hash(skb, hash)`
pub(super) fn set_hash(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let [skb, hash, ..] = arguments.values;
    run.packet_of(skb)?;
    run.set_field(sk_buff::HASH, low_32(hash));
    Ok(Returned::number(0))
}

/// `s64 bpf_csum_update(skb, sum)`: packets of the vm carry no sum of their own.
pub(super) fn csum_update(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    run.packet_of(arguments.values[0])?;
    Ok(Returned::error(Errno::ENOTSUPP))
}

/// `long bpf_skb_adjust_room(skb, delta, mode, flags)`: room behind the network header (0) or the link-layer header (1).
pub(super) fn skb_adjust_room(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    let [skb, delta, mode, flags, _] = arguments.values;
    let packet = run.packet_of(skb)?;
    let delta = signed(delta);
    if flags & !ROOM_FLAGS != 0 {
        return Ok(Returned::error(Errno::EINVAL));
    }
    if delta.unsigned_abs() > 0xfff {
        return Ok(Returned::error(Errno::EFAULT));
    }
    let base = match network_order(u64::from(run.field(sk_buff::PROTOCOL))) {
        IPV4 => 20,
        IPV6 => 40,
        _ => return Ok(Returned::error(Errno::ENOTSUPP)),
    };
    let link_layer = packet.network.saturating_sub(packet.data);
    let at = match mode {
        0 => link_layer + base,
        1 => link_layer,
        _ => return Ok(Returned::error(Errno::ENOTSUPP)),
    };
    let network_bytes = packet.total_end.saturating_sub(packet.network);
    let amount = delta.unsigned_abs();
    let reshaped = if delta < 0 {
        if amount >= network_bytes || network_bytes - amount < base {
            return Ok(Returned::error(Errno::ENOTSUPP));
        }
        remove(run, packet, at, amount)
    } else if packet.len() + amount > LARGEST {
        return Ok(Returned::error(Errno::ENOTSUPP));
    } else {
        insert(run, packet, at, amount)
    };
    match reshaped {
        Some(packet) => {
            run.set_packet(packet);
            Ok(Returned::number(0))
        }
        None => Ok(Returned::error(Errno::ENOMEM)),
    }
}

/// `long bpf_skb_ecn_set_ce(skb)`: 1 if the packet is marked now, 0 if it cannot be.
pub(super) fn skb_ecn_set_ce(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    let packet = run.packet_of(arguments.values[0])?;
    let least = match inner_protocol(run, packet) {
        IPV4 => 20,
        IPV6 => 40,
        _ => return Ok(Returned::number(0)),
    };
    let header = packet.network;
    if u64::from(header) + u64::from(least) > u64::from(packet.end) {
        return Ok(Returned::number(0));
    }
    let header = writable(run, header, least).ok_or(FaultKind::NoPacket)?;
    let marked = if least == 20 {
        mark_ipv4(header)
    } else {
        mark_ipv6(header)
    };
    Ok(Returned::number(marked.ok_or(FaultKind::NoPacket)?))
}

/// The protocol behind all VLAN tags. KERNEL: the header is still looked for where the first tag stands (6.18).
fn inner_protocol(run: &Run<'_>, packet: Packet) -> u16 {
    let mut protocol = network_order(u64::from(run.field(sk_buff::PROTOCOL)));
    for depth in 0..MOST_TAGS {
        if !matches!(protocol, VLAN | SERVICE_VLAN) {
            break;
        }
        let at = packet.part(ETHERNET_BYTES + depth * TAG_BYTES + 2, 2);
        let bytes = at.and_then(|at| writable(run, at, 2)?.load_u16(0));
        protocol = bytes.map_or(0, u16::from_be);
    }
    protocol
}

fn mark_ipv4(header: twinbpf_shm::SharedBytes) -> Option<u64> {
    let service = header.load_u8(1)?;
    match service & 3 {
        0 => return Some(0),
        3 => return Some(1),
        _ => {}
    }
    // The sum of the header changes by the difference of the one word that holds the mark.
    let difference = 3 - u32::from(service & 3);
    let [high, low] = header.load_u16(10)?.to_ne_bytes();
    let sum = u32::from(!u16::from_be_bytes([high, low])) + difference;
    let sum = (sum & 0xffff) + (sum >> 16);
    let [.., high, low] = (!sum).to_be_bytes();
    header.store_u16(10, u16::from_ne_bytes([high, low]))?;
    header.store_u8(1, service | 3)?;
    Some(1)
}

fn mark_ipv6(header: twinbpf_shm::SharedBytes) -> Option<u64> {
    let second = header.load_u8(1)?;
    if second & 0x30 == 0 {
        return Some(0);
    }
    header.store_u8(1, second | 0x30)?;
    Some(1)
}

/// Flags of `bpf_skb_adjust_room` that change nothing here: what to do with segments and checksums.
const ROOM_FLAGS: u64 = 0x21;

/// A 16-bit number that a program holds in network order, in host order.
pub(super) fn network_order(value: u64) -> u16 {
    let [first, second, ..] = value.to_ne_bytes();
    u16::from_be_bytes([first, second])
}

/// Makes room for `len` zeros at `offset`, by moving what is before it towards the head.
pub(super) fn insert(run: &Run<'_>, packet: Packet, offset: u32, len: u32) -> Option<Packet> {
    let data = packet
        .data
        .checked_sub(len)
        .filter(|data| *data >= packet.floor)?;
    packet.part(0, offset)?;
    move_bytes(run, packet.data, data, offset)?;
    zero(run, data + offset, data + offset + len);
    // What precedes the place moved; the network header is behind it or at it.
    let is_before = packet.network < packet.data + offset;
    Some(Packet {
        data,
        head: data,
        meta: data,
        network: if is_before || packet.network == packet.data + offset {
            packet.network - len
        } else {
            packet.network
        },
        ..packet
    })
}

/// Takes `len` bytes at `offset` out, by moving what is before them towards the end.
pub(super) fn remove(run: &Run<'_>, packet: Packet, offset: u32, len: u32) -> Option<Packet> {
    packet.part(offset, len)?;
    let data = packet.data + len;
    move_bytes(run, packet.data, data, offset)?;
    let is_behind = packet.network > packet.data + offset;
    Some(Packet {
        data,
        head: data,
        meta: data,
        network: if is_behind && packet.network >= packet.data + offset + len {
            packet.network
        } else {
            packet.network + len
        },
        end: packet.end.max(data),
        ..packet
    })
}

/// Moves bytes within the packet's area; both ranges may overlap.
fn move_bytes(run: &Run<'_>, from: u32, to: u32, len: u32) -> Option<()> {
    let mut bytes = vec![0; len as usize];
    writable(run, from, len)?.copy_out(0, &mut bytes)?;
    writable(run, to, len)?.copy_in(0, &bytes)
}

/// Zeroes the bytes from one address to another, if that is further on.
fn zero(run: &Run<'_>, from: u32, to: u32) {
    let len = to.saturating_sub(from);
    if let Some(view) = writable(run, from, len) {
        // The whole view was found writable.
        let _ = view.zero(0, view.len());
    }
}
