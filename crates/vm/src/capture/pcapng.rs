//! The pcapng format: typed blocks; several sections, each with its byte order and its interfaces.
//!
//! `pcap-file` cuts the blocks and reads section headers, interfaces and packets. Blocks that carry no packet (names,
//! statistics, journals, secrets) are skipped without a look inside, so damage there costs nothing.

use std::time::Duration;

use pcap_file::{Endianness, PcapError};

use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::packet::{PacketBlock, PacketOption};
use pcap_file::pcapng::blocks::simple_packet::SimplePacketBlock;
use pcap_file::pcapng::blocks::{ENHANCED_PACKET_BLOCK, PACKET_BLOCK, SIMPLE_PACKET_BLOCK};
use pcap_file::pcapng::{Block, PcapNgParser};

use super::Problem;
use super::link_layer::{LinkType, Record};

/// The type of a section header block, the same in both byte orders.
pub(super) const MAGIC: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// Reads the blocks of one file.
pub(super) struct Reader {
    parser: PcapNgParser,
}

impl Reader {
    /// Reads the first section header: bytes used, and the reader.
    pub(super) fn parse(bytes: &[u8]) -> Result<(usize, Self), Problem> {
        let (rest, parser) = PcapNgParser::new(bytes)?;
        Ok((bytes.len() - rest.len(), Self { parser }))
    }

    /// Cuts one block.
    pub(super) fn next_record(&mut self, bytes: &[u8]) -> Result<(usize, Option<Record>), Problem> {
        let (rest, raw) = self.parser.next_raw_block(bytes)?;
        let used = bytes.len() - rest.len();
        if ![ENHANCED_PACKET_BLOCK, SIMPLE_PACKET_BLOCK, PACKET_BLOCK].contains(&raw.type_) {
            return Ok((used, None));
        }
        let (_, block) = self.parser.next_block(bytes).map_err(whole_but_wrong)?;
        let record = match block {
            Block::EnhancedPacket(block) => Some(self.enhanced(block)?),
            Block::SimplePacket(block) => Some(self.simple(&block)?),
            Block::Packet(block) => Some(self.obsolete(block)?),
            _ => None,
        };
        Ok((used, record))
    }

    fn enhanced(&self, block: EnhancedPacketBlock<'_>) -> Result<Record, Problem> {
        let interface = self.interface(block.interface_id)?;
        let flags = block.options.iter().find_map(|option| match option {
            EnhancedPacketOption::Flags(flags) => Some(*flags),
            _ => None,
        });
        // pcap-file hands the 64-bit count of units over as if the units were nanoseconds.
        let units = u64::try_from(block.timestamp.as_nanos())
            .expect("the duration was made from 64 bits of nanoseconds");
        Ok(Record {
            timestamp: interface.timestamp(units),
            original_len: block.original_len,
            data: block.data.into_owned(),
            flags: flags.unwrap_or(0),
            link_type: interface.link_type,
            checksum_len: interface.checksum_len,
        })
    }

    /// A simple packet block belongs to the first interface and records neither time nor captured length.
    fn simple(&self, block: &SimplePacketBlock<'_>) -> Result<Record, Problem> {
        let interface = self.interface(0)?;
        let snapshot_len = match interface.snapshot_len {
            0 => u32::MAX,
            limit => limit,
        };
        let captured = usize::try_from(block.original_len.min(snapshot_len)).unwrap_or(usize::MAX);
        let captured = captured.min(block.data.len());
        Ok(Record {
            timestamp: Duration::ZERO,
            original_len: block.original_len,
            data: block.data[..captured].to_vec(),
            flags: 0,
            link_type: interface.link_type,
            checksum_len: interface.checksum_len,
        })
    }

    /// The packet block of 2004, still found in old archives.
    fn obsolete(&self, block: PacketBlock<'_>) -> Result<Record, Problem> {
        let interface = self.interface(block.interface_id.into())?;
        let flags = block.options.iter().find_map(|option| match option {
            PacketOption::Flags(flags) => Some(*flags),
            _ => None,
        });
        // The format stores the high word first in both byte orders; pcap-file 2 reads one 64-bit number, which puts the
        // words of a little-endian file the wrong way round.
        let units = match self.parser.section().endianness {
            Endianness::Big => block.timestamp,
            Endianness::Little => block.timestamp.rotate_left(32),
        };
        Ok(Record {
            timestamp: interface.timestamp(units),
            original_len: block.original_len,
            data: block.data.into_owned(),
            flags: flags.unwrap_or(0),
            link_type: interface.link_type,
            checksum_len: interface.checksum_len,
        })
    }

    /// What the section says about an interface.
    fn interface(&self, index: u32) -> Result<Interface, Problem> {
        let interfaces = self.parser.interfaces();
        let found = usize::try_from(index)
            .ok()
            .and_then(|index| interfaces.get(index));
        let Some(block) = found else {
            return Err(Problem::Malformed(format!(
                "the packet names interface {index} but the section describes {}",
                interfaces.len()
            )));
        };
        let is_big_endian = self.parser.section().endianness == Endianness::Big;
        Interface::of(block, is_big_endian)
    }
}

/// A problem inside a block that is all there: more of the file would not help.
fn whole_but_wrong(error: PcapError) -> Problem {
    match Problem::from(error) {
        Problem::Incomplete => Problem::Malformed("the block is too short".to_owned()),
        other => other,
    }
}

/// What an interface description means for its packets.
struct Interface {
    link_type: LinkType,
    snapshot_len: u32,
    checksum_len: u32,
    resolution: u8,
    offset_s: i64,
}

impl Interface {
    fn of(block: &InterfaceDescriptionBlock<'_>, is_big_endian: bool) -> Result<Self, Problem> {
        let number = u32::from(block.linktype);
        let mut interface = Self {
            link_type: LinkType::from_number(number, is_big_endian)
                .ok_or(Problem::LinkType(number))?,
            snapshot_len: block.snaplen,
            checksum_len: 0,
            resolution: 6,
            offset_s: 0,
        };
        for option in &block.options {
            match option {
                InterfaceDescriptionOption::IfTsResol(resolution) => {
                    interface.resolution = *resolution;
                }
                InterfaceDescriptionOption::IfTsOffset(offset) => {
                    interface.offset_s = offset.cast_signed();
                }
                InterfaceDescriptionOption::IfFcsLen(bits) => {
                    interface.checksum_len = u32::from(*bits) / 8;
                }
                _ => {}
            }
        }
        Ok(interface)
    }

    /// Units of the interface's resolution since 1970, as a time. What no `Duration` can hold is clamped.
    fn timestamp(&self, units: u64) -> Duration {
        const NANOSECONDS: u128 = 1_000_000_000;
        let exponent = u32::from(self.resolution & 0x7f);
        let base: u128 = if self.resolution & 0x80 == 0 { 10 } else { 2 };
        // A unit too small for 128 bits: even 2^64 of them are less than a nanosecond.
        let nanoseconds = base
            .checked_pow(exponent)
            .map_or(0, |per_second| u128::from(units) * NANOSECONDS / per_second);
        let seconds = u64::try_from(nanoseconds / NANOSECONDS).unwrap_or(u64::MAX);
        let fraction = u32::try_from(nanoseconds % NANOSECONDS)
            .expect("a remainder of a billion is less than 2^32");
        Duration::new(seconds.saturating_add_signed(self.offset_s), fraction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(resolution: u8, offset_s: i64, units: u64) -> Duration {
        let interface = Interface {
            link_type: LinkType::Ethernet,
            snapshot_len: 0,
            checksum_len: 0,
            resolution,
            offset_s,
        };
        interface.timestamp(units)
    }

    #[test]
    fn resolutions_are_powers_of_ten_or_two() {
        assert_eq!(time(6, 0, 1_500_000), Duration::from_millis(1500));
        assert_eq!(time(9, 0, 1_500_000_000), Duration::from_millis(1500));
        assert_eq!(time(0x80 | 10, 0, 1536), Duration::from_millis(1500));
        assert_eq!(time(0, 0, 7), Duration::from_secs(7));
    }

    #[test]
    fn absurd_resolutions_and_offsets_are_clamped() {
        assert_eq!(time(127, 0, u64::MAX), Duration::ZERO);
        assert_eq!(time(0xff, 0, u64::MAX), Duration::ZERO);
        assert_eq!(time(0, i64::MAX, u64::MAX).as_secs(), u64::MAX);
        assert_eq!(time(0, -10, 3), Duration::ZERO);
    }
}
