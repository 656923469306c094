//! The classic pcap format: one link type for the whole file, then records of 16 bytes header and data.
//!
//! Records are taken raw from `pcap-file`: its checked form refuses a packet that was longer on the wire than the
//! snapshot length, which is what a snapshot length is for.

use std::time::Duration;

use pcap_file::pcap::{PcapHeader, PcapParser};
use pcap_file::{Endianness, TsResolution};

use super::Problem;
use super::link_layer::{LinkType, Record};

/// First four bytes of a file: microseconds and nanoseconds, big and little endian.
pub(super) const MAGICS: [[u8; 4]; 4] = [
    [0xa1, 0xb2, 0xc3, 0xd4],
    [0xd4, 0xc3, 0xb2, 0xa1],
    [0xa1, 0xb2, 0x3c, 0x4d],
    [0x4d, 0x3c, 0xb2, 0xa1],
];

/// Reads the records of one file.
pub(super) struct Reader {
    parser: PcapParser,
    link_type: LinkType,
    checksum_len: u32,
}

impl Reader {
    /// Reads the file header: bytes used, and the reader.
    pub(super) fn parse(bytes: &[u8]) -> Result<(usize, Self), Problem> {
        let (rest, parser) = PcapParser::new(bytes)?;
        let (number, checksum_len) = network_field(&parser.header());
        let is_big_endian = parser.header().endianness == Endianness::Big;
        let link_type =
            LinkType::from_number(number, is_big_endian).ok_or(Problem::LinkType(number))?;
        let reader = Self {
            parser,
            link_type,
            checksum_len,
        };
        Ok((bytes.len() - rest.len(), reader))
    }

    /// Cuts one record.
    pub(super) fn next_record(&mut self, bytes: &[u8]) -> Result<(usize, Option<Record>), Problem> {
        let (rest, raw) = self.parser.next_raw_packet(bytes)?;
        // A fraction of more than a second is carried over: it makes no frame unusable.
        let fraction = match self.parser.header().ts_resolution {
            TsResolution::MicroSecond => Duration::from_micros(raw.ts_frac.into()),
            TsResolution::NanoSecond => Duration::from_nanos(raw.ts_frac.into()),
        };
        let record = Record {
            link_type: self.link_type,
            timestamp: Duration::from_secs(raw.ts_sec.into()) + fraction,
            original_len: raw.orig_len,
            data: raw.data.into_owned(),
            flags: 0,
            checksum_len: self.checksum_len,
        };
        Ok((bytes.len() - rest.len(), Some(record)))
    }
}

/// Splits the header's last field into the link type and the length of the frame check sequence in bytes.
///
/// ```text
///  31..28           27        26              25..0
///  FCS, 16-bit units  reserved  FCS is known    link type
/// ```
fn network_field(header: &PcapHeader) -> (u32, u32) {
    let field = u32::from(header.datalink);
    let is_known = field & (1 << 26) != 0;
    let checksum_len = if is_known { (field >> 28) * 2 } else { 0 };
    (field & 0x03ff_ffff, checksum_len)
}

#[cfg(test)]
mod tests {
    use pcap_file::DataLink;

    use super::*;

    #[test]
    fn every_link_type_number_survives_the_crate_that_names_it() {
        for number in 0..70_000 {
            assert_eq!(u32::from(DataLink::from(number)), number);
        }
    }

    #[test]
    fn the_check_sequence_length_is_apart_from_the_link_type() {
        let header = PcapHeader {
            datalink: DataLink::from((2 << 28) | (1 << 26) | 1),
            ..PcapHeader::default()
        };
        assert_eq!(network_field(&header), (1, 4));
    }
}
