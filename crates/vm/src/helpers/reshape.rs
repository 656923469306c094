//! Helpers that change where a packet begins and ends, and what lies between.
//!
//! KERNEL: limits and error numbers were observed on 6.18 with test runs.

use twinbpf_object::Errno;

use super::packet::writable;
use super::room::{
    LARGEST, has_segments, insert, move_bytes, remove, with_headroom, with_tailroom, zero,
};
use crate::context::sk_buff;
use crate::fault::FaultKind;
use crate::packet::{Notes, Packet};
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
/// Bytes of a page, which is what a fragment has.
const PAGE_BYTES: u32 = 4096;
/// Most bytes of metadata.
const METADATA_BYTES: u32 = 252;
/// KERNEL: most tags in a row that are looked behind (6.18).
const MOST_TAGS: u32 = 8;
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
    let is_linear = packet.end == packet.total_end;
    // KERNEL: of a packet with fragments nothing is taken, without an error, if the number has no positive counterpart (6.18).
    if signed(delta) == i32::MIN && !is_linear {
        return Ok(Returned::number(0));
    }
    let ceiling = if is_linear {
        packet.ceiling
    } else {
        // KERNEL: the last fragment can grow to a page (6.18).
        packet.end + (packet.total_end - packet.end).next_multiple_of(PAGE_BYTES)
    };
    let total_end = moved(packet.total_end, signed(delta))
        .filter(|end| *end <= ceiling && *end >= packet.data + ETHERNET_BYTES);
    let Some(total_end) = total_end else {
        return Ok(Returned::error(Errno::EINVAL));
    };
    zero(run, packet.total_end, total_end);
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
    if flags != 0 || len > LARGEST || len < least_len(&packet) {
        return Ok(Returned::error(Errno::EINVAL));
    }
    if packet.notes.is_in_tunnel {
        return Ok(Returned::error(Errno::ENOTSUPP));
    }
    let Some(packet) = with_tailroom(run, packet, len) else {
        return Ok(Returned::error(Errno::ENOMEM));
    };
    let total_end = packet.data + len;
    zero(run, packet.total_end, total_end);
    if has_segments(run) {
        run.set_field(sk_buff::GSO_SIZE, 0);
        run.set_field(sk_buff::GSO_SEGS, 0);
    }
    run.set_packet(Packet {
        end: total_end,
        total_end,
        ..packet
    });
    Ok(Returned::number(0))
}

/// The headers that are known must stay.
fn least_len(packet: &Packet) -> u32 {
    let from_data = |address: u32| address.checked_sub(packet.data).filter(|len| *len > 0);
    let transport = packet.notes.transport.and_then(from_data);
    transport.or(from_data(packet.network)).unwrap_or(0)
}

/// `long bpf_skb_change_head(skb, len, flags)`
pub(super) fn skb_change_head(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    let [skb, len, flags, ..] = arguments.values;
    let packet = run.packet_of(skb)?;
    let len = low_32(len);
    let whole = packet.len().checked_add(len);
    // KERNEL: what has segments may become larger, but nothing grows by more than a signed number says (6.18).
    let is_right = whole
        .is_some_and(|whole| whole <= LARGEST || (has_segments(run) && i32::try_from(len).is_ok()));
    if flags != 0 || !is_right {
        return Ok(Returned::error(Errno::EINVAL));
    }
    let Some(packet) = with_headroom(run, packet, len) else {
        return Ok(Returned::error(Errno::ENOMEM));
    };
    let data = packet.data - len;
    zero(run, data, packet.data);
    let packet = Packet {
        data,
        head: data,
        meta: data,
        ..packet
    };
    run.set_packet(measured(packet));
    Ok(Returned::number(0))
}

/// The packet with the length of its link-layer header noted.
fn measured(packet: Packet) -> Packet {
    Packet {
        notes: Notes {
            link_len: packet.link_len(),
            ..packet.notes
        },
        ..packet
    }
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
    }
    run.set_packet(measured(packet));
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
    } else if !is_tagged(run) {
        return Ok(Returned::number(0));
    } else if take_tag(run)?.is_none() {
        return Ok(Returned::error(Errno::ENOMEM));
    }
    if !is_tagged(run) {
        return Ok(Returned::number(0));
    }
    let protocol = run.field(sk_buff::PROTOCOL);
    let Some(tci) = take_tag(run)? else {
        return Ok(Returned::error(Errno::ENOMEM));
    };
    run.set_field(sk_buff::VLAN_PRESENT, 1);
    run.set_field(sk_buff::VLAN_TCI, u32::from(tci));
    run.set_field(sk_buff::VLAN_PROTO, protocol);
    Ok(Returned::number(0))
}

/// Whether the protocol says that there is a tag in the packet.
fn is_tagged(run: &Run<'_>) -> bool {
    let protocol = network_order(u64::from(run.field(sk_buff::PROTOCOL)));
    matches!(protocol, VLAN | SERVICE_VLAN)
}

/// Takes a tag out of the packet, which need not have one.
fn take_tag(run: &mut Run<'_>) -> Result<Option<u16>, FaultKind> {
    let packet = run.packet.ok_or(FaultKind::NoPacket)?;
    let tag = packet.part(ADDRESS_BYTES, TAG_BYTES + 2);
    let Some(at) = tag else { return Ok(None) };
    // KERNEL: whether a frame with a length is raw 802.3 is looked up behind the tag, even behind the packet's end (6.18).
    let mut bytes = [0; 8];
    let view = writable(run, at, TAG_BYTES + 4);
    view.and_then(|view| view.copy_out(0, &mut bytes))
        .ok_or(FaultKind::NoPacket)?;
    let [_, _, high, low, first, second, rest @ ..] = bytes;
    let network = packet.network;
    let packet = remove(run, packet, ADDRESS_BYTES, TAG_BYTES).ok_or(FaultKind::NoPacket)?;
    let packet = Packet {
        network: network.max(packet.data + ETHERNET_BYTES),
        ..packet
    };
    let inner = Packet::protocol(u16::from_be_bytes([first, second]), rest);
    run.set_field(sk_buff::PROTOCOL, u32::from(inner.to_be()));
    run.set_packet(measured(packet));
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
    note_hash(run, None);
    Ok(Returned::number(0))
}

/// `long bpf_set_hash(skb, hash)`
pub(super) fn set_hash(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let [skb, hash, ..] = arguments.values;
    run.packet_of(skb)?;
    note_hash(run, Some(low_32(hash)));
    Ok(Returned::number(0))
}

/// Makes this the packet's hash, or takes it away.
pub(super) fn note_hash(run: &mut Run<'_>, hash: Option<u32>) {
    run.set_field(sk_buff::HASH, hash.unwrap_or(0));
    if let Some(packet) = &mut run.packet {
        packet.notes.has_hash = hash.is_some();
    }
}

/// `s64 bpf_csum_update(skb, sum)`: packets of the vm carry no sum of their own.
pub(super) fn csum_update(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    run.packet_of(arguments.values[0])?;
    Ok(Returned::error(Errno::ENOTSUPP))
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
    // KERNEL: the whole packet is measured first, then what follows the network header (6.18).
    let is_short = packet.end.saturating_sub(packet.data) < least;
    if is_short || u64::from(header) + u64::from(least) > u64::from(packet.end) {
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

/// The protocol behind all VLAN tags.
///
/// KERNEL: the first is looked for behind the Ethernet header, or, once tags were changed, at the end of the link-layer header; the
/// IP header afterwards where the network header is, whatever the number of tags (6.18).
fn inner_protocol(run: &Run<'_>, packet: Packet) -> u16 {
    let first = match packet.notes.link_len {
        0 => ETHERNET_BYTES,
        len => len.saturating_sub(TAG_BYTES),
    };
    let mut protocol = network_order(u64::from(run.field(sk_buff::PROTOCOL)));
    for depth in 0..MOST_TAGS {
        if !matches!(protocol, VLAN | SERVICE_VLAN) {
            return protocol;
        }
        let at = packet.part(first + depth * TAG_BYTES, TAG_BYTES);
        let bytes = at.and_then(|at| writable(run, at, TAG_BYTES)?.load_u16(2));
        protocol = bytes.map_or(0, u16::from_be);
    }
    0
}

fn mark_ipv4(header: twinbpf_shm::SharedBytes) -> Option<u64> {
    let service = header.load_u8(1)?;
    match service & 3 {
        0 => return Some(0),
        3 => return Some(1),
        _ => {}
    }
    // The sum of the header changes by the difference of the one word that holds the mark. KERNEL: the difference is subtracted
    // from the checksum with end-around carry, which can leave 0xffff where other ways leave 0 (6.18).
    let difference = 3 - u16::from(service & 3);
    let [high, low] = header.load_u16(10)?.to_ne_bytes();
    let (sum, carry) = u16::from_be_bytes([high, low]).overflowing_add(!difference);
    let [high, low] = sum.wrapping_add(u16::from(carry)).to_be_bytes();
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

/// A 16-bit number that a program holds in network order, in host order.
pub(super) fn network_order(value: u64) -> u16 {
    let [first, second, ..] = value.to_ne_bytes();
    u16::from_be_bytes([first, second])
}
