//! What a captured or live frame tells besides its bytes: kind, direction, VLAN tag.

use std::borrow::Cow;
use std::time::Duration;

/// Which way a frame went, seen from the machine that captured it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The machine received it.
    In,
    /// The machine sent it.
    Out,
}

/// To whom a frame was addressed, or that it is leaving: `pkt_type` of a socket buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PacketKind {
    /// Received, for this machine.
    #[doc(alias = "PACKET_HOST")]
    Host,
    /// Received, for everybody.
    #[doc(alias = "PACKET_BROADCAST")]
    Broadcast,
    /// Received, for a group.
    #[doc(alias = "PACKET_MULTICAST")]
    Multicast,
    /// Received, for another machine.
    #[doc(alias = "PACKET_OTHERHOST")]
    OtherHost,
    /// Sent by this machine.
    #[doc(alias = "PACKET_OUTGOING")]
    Outgoing,
}

impl PacketKind {
    /// The kind with this number, as in `pkt_type`.
    pub fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Host,
            1 => Self::Broadcast,
            2 => Self::Multicast,
            3 => Self::OtherHost,
            4 => Self::Outgoing,
            _ => return None,
        })
    }

    /// The number, as in `pkt_type`.
    pub fn number(self) -> u8 {
        match self {
            Self::Host => 0,
            Self::Broadcast => 1,
            Self::Multicast => 2,
            Self::OtherHost => 3,
            Self::Outgoing => 4,
        }
    }

    /// The direction this kind implies.
    pub fn direction(self) -> Direction {
        match self {
            Self::Outgoing => Direction::Out,
            Self::Host | Self::Broadcast | Self::Multicast | Self::OtherHost => Direction::In,
        }
    }

    /// The kind of a received frame, judged by its destination address alone.
    ///
    /// A capture does not know which addresses its machine had, so a frame for another machine counts as [`Self::Host`].
    pub(super) fn of_received(frame: &[u8]) -> Self {
        match frame.first_chunk::<6>() {
            Some([0xff, 0xff, 0xff, 0xff, 0xff, 0xff]) => Self::Broadcast,
            Some([first, ..]) if first & 1 == 1 => Self::Multicast,
            _ => Self::Host,
        }
    }
}

/// A VLAN tag that travels beside the frame instead of in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Vlan {
    /// Priority, drop indication and VLAN identifier.
    pub tci: u16,
    /// The tag's own ethertype: 0x8100, or 0x88a8 for an outer tag.
    pub tpid: u16,
}

/// An Ethernet frame out of a capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The captured bytes, from the Ethernet header on.
    pub data: Vec<u8>,
    /// Length of the frame on the wire; never less than `data.len()`.
    pub original_len: u32,
    /// The direction, where the capture records one.
    pub direction: Option<Direction>,
    /// The kind, from what the capture records, else from the destination address as if the frame had been received.
    pub packet_kind: PacketKind,
    /// The ethertype, as a number (0x0800 is IPv4). 0 if the capture does not tell.
    pub protocol: u16,
    /// Time since 1970.
    pub timestamp: Duration,
    /// The kernel's interface index, where the capture records it (Linux cooked version 2).
    pub interface: Option<u32>,
    /// The outermost VLAN tag, taken out of `data`.
    pub vlan: Option<Vlan>,
}

impl Frame {
    /// The bytes as they were on the wire: with the VLAN tag in its place.
    pub fn tagged_data(&self) -> Cow<'_, [u8]> {
        with_tag(&self.data, self.vlan)
    }

    /// Takes `direction` for a frame whose capture did not record one; a recorded direction stays.
    pub fn assume_direction(&mut self, direction: Direction) {
        if self.direction.is_some() {
            return;
        }
        self.direction = Some(direction);
        self.packet_kind = match direction {
            Direction::Out => PacketKind::Outgoing,
            Direction::In => PacketKind::of_received(&self.data),
        };
    }
}

/// Bytes of the two addresses, behind which a tag stands.
const ADDRESSES: usize = 12;

/// A frame with the tag that travelled beside it in its place.
pub(crate) fn with_tag(data: &[u8], vlan: Option<Vlan>) -> Cow<'_, [u8]> {
    let (Some(vlan), Some((addresses, rest))) = (vlan, data.split_at_checked(ADDRESSES)) else {
        return Cow::Borrowed(data);
    };
    let tag = [vlan.tpid.to_be_bytes(), vlan.tci.to_be_bytes()].concat();
    Cow::Owned([addresses, &tag, rest].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_pkt_type() {
        for number in 0..=4 {
            assert_eq!(PacketKind::from_number(number).unwrap().number(), number);
        }
        assert_eq!(PacketKind::from_number(5), None);
        assert_eq!(PacketKind::Outgoing.number(), 4);
    }

    #[test]
    fn only_outgoing_frames_go_out() {
        let outgoing: Vec<u8> = (0..=4)
            .filter(|number| {
                PacketKind::from_number(*number).unwrap().direction() == Direction::Out
            })
            .collect();
        assert_eq!(outgoing, [4]);
    }

    #[test]
    fn a_tag_goes_behind_the_addresses_and_a_frame_too_short_for_them_has_none() {
        let vlan = Some(Vlan {
            tci: 0x2005,
            tpid: 0x8100,
        });
        let frame: Vec<u8> = (0..14).collect();
        let tagged = with_tag(&frame, vlan);
        assert_eq!(&tagged[..12], &frame[..12]);
        assert_eq!(&tagged[12..], [0x81, 0, 0x20, 5, 12, 13]);
        assert_eq!(*with_tag(&frame[..11], vlan), frame[..11]);
        assert_eq!(*with_tag(&frame, None), frame);
    }
}
