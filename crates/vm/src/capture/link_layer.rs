//! From a record of some link type to an Ethernet frame.
//!
//! What a packet socket hands to a program starts with an Ethernet header, on `lo` and on raw IP tunnels seen through a
//! capture too if programs are to find anything. So the headers of other link types are replaced:
//!
//! ```text
//!  Linux cooked  | type | hardware | address | protocol |  payload      16 bytes (113) or 20 bytes (276)
//!  BSD loopback                           | family |       payload       4 bytes (0, 108)
//!  raw IP                                                  payload       none (101, 12, 14)
//!  becomes       | destination 6 | source 6 | ethertype 2 | payload
//! ```
//!
//! The source is the recorded sender where there is one. The destination is unknown: broadcast if the capture says so,
//! a group address if it says multicast, else zero, as on `lo`.

use std::time::Duration;

use super::Problem;
use super::frame::{Direction, Frame, PacketKind, Vlan};

/// A packet as a capture file holds it.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) link_type: LinkType,
    pub(super) timestamp: Duration,
    /// Length on the wire, a claim: some tools write less than they captured.
    pub(super) original_len: u32,
    pub(super) data: Vec<u8>,
    /// The flags word of a pcapng packet, 0 if there is none.
    pub(super) flags: u32,
    /// Bytes of frame check sequence at the end, which no packet socket shows.
    pub(super) checksum_len: u32,
}

/// A link type that can become Ethernet frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LinkType {
    Ethernet,
    /// IPv4 or IPv6 without anything before it.
    RawIp,
    /// An address family in the byte order of the capturing machine, taken to be that of the file.
    BsdLoopback {
        is_big_endian: bool,
    },
    /// `LINKTYPE_LINUX_SLL`
    Cooked,
    /// `LINKTYPE_LINUX_SLL2`
    Cooked2,
}

impl LinkType {
    /// The link type with this number of the tcpdump.org registry. 12 and 14 are what some systems wrote for raw IP.
    pub(super) fn from_number(number: u32, is_big_endian: bool) -> Option<Self> {
        Some(match number {
            0 => Self::BsdLoopback { is_big_endian },
            1 => Self::Ethernet,
            12 | 14 | 101 => Self::RawIp,
            108 => Self::BsdLoopback {
                is_big_endian: true,
            },
            113 => Self::Cooked,
            276 => Self::Cooked2,
            _ => return None,
        })
    }
}

/// The frame a record stands for.
pub(super) fn frame(mut record: Record) -> Result<Frame, Problem> {
    record.drop_checksum();
    let header = match record.link_type {
        LinkType::Ethernet => return Ok(ethernet(record)),
        LinkType::RawIp => Header {
            protocol: ip_protocol(&record.data),
            ..Header::default()
        },
        LinkType::BsdLoopback { is_big_endian } => bsd_loopback(&record.data, is_big_endian)?,
        LinkType::Cooked => cooked(&record.data)?,
        LinkType::Cooked2 => cooked2(&record.data)?,
    };
    Ok(replace_header(&record, &header))
}

impl Record {
    /// Removes the frame check sequence, as far as it was captured.
    fn drop_checksum(&mut self) {
        let captured = u32::try_from(self.data.len()).unwrap_or(u32::MAX);
        let whole = self.original_len.max(captured);
        // Bits 5 to 8 of a pcapng packet's flags override what its interface says.
        let checksum_len = match (self.flags >> 5) & 0xf {
            0 => self.checksum_len,
            per_packet => per_packet,
        };
        self.original_len = whole.saturating_sub(checksum_len);
        let keep = usize::try_from(self.original_len).unwrap_or(usize::MAX);
        self.data.truncate(keep);
    }
}

/// What is known of a packet whose own header is not Ethernet's.
#[derive(Default)]
struct Header {
    /// Bytes to be replaced.
    len: usize,
    packet_kind: Option<PacketKind>,
    source: [u8; 6],
    protocol: u16,
    interface: Option<u32>,
}

/// Ethertype of what starts with an IP header; 0 if it does not look like one.
fn ip_protocol(packet: &[u8]) -> u16 {
    match packet.first().map(|byte| byte >> 4) {
        Some(4) => ETHERTYPE_IPV4,
        Some(6) => ETHERTYPE_IPV6,
        _ => 0,
    }
}

fn bsd_loopback(data: &[u8], is_big_endian: bool) -> Result<Header, Problem> {
    let Some(family) = data.first_chunk::<4>() else {
        return Err(too_short("BSD loopback", 4, data.len()));
    };
    let family = if is_big_endian {
        u32::from_be_bytes(*family)
    } else {
        u32::from_le_bytes(*family)
    };
    // IPv4 is 2 everywhere. IPv6 has another number on each system: Linux, NetBSD and OpenBSD, FreeBSD, macOS.
    let protocol = match family {
        2 => ETHERTYPE_IPV4,
        10 | 24 | 28 | 30 => ETHERTYPE_IPV6,
        _ => 0,
    };
    Ok(Header {
        len: 4,
        protocol,
        ..Header::default()
    })
}

fn cooked(data: &[u8]) -> Result<Header, Problem> {
    let Some(
        [
            kind_high,
            kind_low,
            _,
            _,
            _,
            address_len,
            address @ ..,
            p0,
            p1,
        ],
    ) = data.first_chunk::<16>()
    else {
        return Err(too_short("Linux cooked", 16, data.len()));
    };
    Ok(Header {
        len: 16,
        packet_kind: Some(cooked_kind(u16::from_be_bytes([*kind_high, *kind_low]))?),
        source: source_address(*address_len, address),
        protocol: u16::from_be_bytes([*p0, *p1]),
        interface: None,
    })
}

fn cooked2(data: &[u8]) -> Result<Header, Problem> {
    let Some(
        [
            p0,
            p1,
            _,
            _,
            i0,
            i1,
            i2,
            i3,
            _,
            _,
            kind,
            address_len,
            address @ ..,
        ],
    ) = data.first_chunk::<20>()
    else {
        return Err(too_short("Linux cooked version 2", 20, data.len()));
    };
    Ok(Header {
        len: 20,
        packet_kind: Some(cooked_kind(u16::from(*kind))?),
        source: source_address(*address_len, address),
        protocol: u16::from_be_bytes([*p0, *p1]),
        interface: Some(u32::from_be_bytes([*i0, *i1, *i2, *i3])),
    })
}

fn cooked_kind(number: u16) -> Result<PacketKind, Problem> {
    u8::try_from(number)
        .ok()
        .and_then(PacketKind::from_number)
        .ok_or_else(|| Problem::Malformed(format!("packet type {number} is none of 0 to 4")))
}

/// The sender's address, if it is an Ethernet address.
fn source_address(len: u8, field: &[u8; 8]) -> [u8; 6] {
    let [a, b, c, d, e, f, _, _] = *field;
    if len == 6 { [a, b, c, d, e, f] } else { [0; 6] }
}

fn too_short(what: &str, need: usize, have: usize) -> Problem {
    Problem::Malformed(format!(
        "a {what} header needs {need} bytes but {have} were captured"
    ))
}

/// A record that is an Ethernet frame already.
fn ethernet(record: Record) -> Frame {
    let (direction, packet_kind) = kind_of(record.flags, &record.data);
    let protocol = ethernet_protocol(&record.data);
    let frame = Frame {
        original_len: record.original_len,
        direction,
        packet_kind,
        protocol,
        timestamp: record.timestamp,
        interface: None,
        vlan: None,
        data: record.data,
    };
    take_vlan_tag(frame)
}

/// A record whose header is replaced by an Ethernet header.
fn replace_header(record: &Record, header: &Header) -> Frame {
    // INVARIANT: whoever made `header` found `header.len` bytes, and the original length is not less than the captured.
    let payload = &record.data[header.len..];
    let payload_len = record
        .original_len
        .saturating_sub(u32::try_from(header.len).expect("headers are 20 bytes at most"));

    let mut data = Vec::with_capacity(ETHERNET_HEADER + payload.len());
    data.extend_from_slice(&match header.packet_kind {
        Some(PacketKind::Broadcast) => [0xff; 6],
        Some(PacketKind::Multicast) => [1, 0, 0, 0, 0, 0],
        _ => [0; 6],
    });
    data.extend_from_slice(&header.source);
    // The cooked protocols 1 and 4 stand for frames that have a length where others have a type.
    let type_or_length = match header.protocol {
        ETH_P_802_3 | ETH_P_802_2 => u16::try_from(payload_len).unwrap_or(u16::MAX),
        protocol => protocol,
    };
    data.extend_from_slice(&type_or_length.to_be_bytes());
    data.extend_from_slice(payload);

    let (direction, packet_kind) = match header.packet_kind {
        Some(kind) => (Some(kind.direction()), kind),
        None => kind_of(record.flags, &data),
    };
    let frame = Frame {
        data,
        original_len: payload_len.saturating_add(14),
        direction,
        packet_kind,
        protocol: header.protocol,
        timestamp: record.timestamp,
        interface: header.interface,
        vlan: None,
    };
    take_vlan_tag(frame)
}

/// Direction and kind from the flags word of pcapng: bits 0 and 1 are the direction, 2 to 4 the kind of reception.
fn kind_of(flags: u32, data: &[u8]) -> (Option<Direction>, PacketKind) {
    let direction = match flags & 3 {
        1 => Some(Direction::In),
        2 => Some(Direction::Out),
        _ => None,
    };
    let kind = match (direction, (flags >> 2) & 7) {
        (Some(Direction::Out), _) => PacketKind::Outgoing,
        (_, 1) => PacketKind::Host,
        (_, 2) => PacketKind::Multicast,
        (_, 3) => PacketKind::Broadcast,
        (_, 4) => PacketKind::OtherHost,
        _ => PacketKind::of_received(data),
    };
    (direction, kind)
}

/// The protocol a frame has for the kernel: its type, or what stands behind a length.
fn ethernet_protocol(data: &[u8]) -> u16 {
    let Some([.., high, low]) = data.first_chunk::<ETHERNET_HEADER>() else {
        return 0;
    };
    let number = u16::from_be_bytes([*high, *low]);
    if number >= SMALLEST_ETHERTYPE {
        return number;
    }
    match data.get(ETHERNET_HEADER..ETHERNET_HEADER + 2) {
        Some([0xff, 0xff]) => ETH_P_802_3,
        _ => ETH_P_802_2,
    }
}

/// Moves the outermost VLAN tag from the data to the side.
///
/// KERNEL: on receive Linux takes the tag out before packet sockets see the frame (observed on 6.18 on `lo`), and capture
/// tools put it back into the file. A frame that leaves through a VLAN device has its tag beside it too; one that was
/// written with the tag in it keeps it on the way out, which a capture cannot tell apart.
fn take_vlan_tag(mut frame: Frame) -> Frame {
    let Some([t0, t1, c0, c1, ..]) = frame.data.get(12..18) else {
        return frame;
    };
    let tpid = u16::from_be_bytes([*t0, *t1]);
    if ![ETHERTYPE_VLAN, ETHERTYPE_OUTER_VLAN].contains(&tpid) {
        return frame;
    }
    let tci = u16::from_be_bytes([*c0, *c1]);
    frame.data.drain(12..16);
    frame.original_len = frame.original_len.saturating_sub(4);
    frame.protocol = ethernet_protocol(&frame.data);
    frame.vlan = Some(Vlan { tci, tpid });
    frame
}

const ETHERNET_HEADER: usize = 14;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_OUTER_VLAN: u16 = 0x88a8;
/// Smaller numbers in that place are lengths.
const SMALLEST_ETHERTYPE: u16 = 0x0600;
/// The kernel's number for a frame with a length and no LLC header.
const ETH_P_802_3: u16 = 1;
/// The kernel's number for a frame with a length and an LLC header.
const ETH_P_802_2: u16 = 4;
