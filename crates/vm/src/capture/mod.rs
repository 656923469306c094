//! Captured packets: pcap and pcapng files as a sequence of Ethernet frames.
//!
//! A capture is read as a stream, record by record, in three steps: `source` holds the bytes that were read and not yet
//! used, the format (`pcap`, `pcapng`) cuts a record out of them, and `link_layer` turns the record into the
//! [`Frame`] a packet socket would have seen. Framing is the `pcap-file` crate's work; what we decide ourselves is what a
//! record means.
//!
//! Every frame starts with an Ethernet header. Captures without one (Linux cooked, raw IP, BSD loopback) get a
//! synthesised header of 14 bytes, and the original length counts it, so that a program written for an Ethernet
//! interface works on them unchanged. An outermost VLAN tag is moved from the data to [`Frame::vlan`].

mod frame;
mod link_layer;
mod pcap;
mod pcapng;
mod source;
mod writer;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use pcap_file::PcapError;
use twinbpf_object::{Code, Diagnosis, Errno, Error, ErrorKind, Result};

pub(crate) use frame::with_tag;
pub use frame::{Direction, Frame, PacketKind, Vlan};
pub use writer::CaptureWriter;

use link_layer::Record;
use source::Source;

/// A capture file that is being read: an iterator of [`Frame`]s, in the order of the file.
///
/// The first error ends the iteration; all frames before it were delivered.
///
/// ```
/// use twinbpf_vm::capture::Capture;
///
/// // A pcap file without packets: magic, version 2.4, snapshot length 65535, link type Ethernet.
/// let mut bytes = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0];
/// bytes.extend([0; 8]);
/// bytes.extend([0xff, 0xff, 0, 0, 1, 0, 0, 0]);
///
/// let mut capture = Capture::parse(bytes)?;
/// assert!(capture.next().is_none());
/// # Ok::<(), twinbpf_object::Error>(())
/// ```
pub struct Capture {
    source: Source,
    format: Format,
    /// Records cut so far. In pcapng every block is one, the section header first.
    records: u64,
    file: Option<String>,
    is_ended: bool,
}

impl Capture {
    /// Opens a capture file.
    ///
    /// # Errors
    ///
    /// The file cannot be opened, is not a capture (`H001`), or has a link type that cannot become Ethernet frames
    /// (`H002`).
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|error| unreadable(&error).in_file(&name))?;
        let mut capture = Self::start(Box::new(file)).map_err(|error| error.in_file(&name))?;
        capture.file = Some(name);
        Ok(capture)
    }

    /// Takes a capture from memory.
    ///
    /// # Errors
    ///
    /// The bytes are not a capture (`H001`), or have a link type that cannot become Ethernet frames (`H002`).
    pub fn parse(bytes: Vec<u8>) -> Result<Self> {
        Self::start(Box::new(io::Cursor::new(bytes)))
    }

    /// Bytes of the file that were used so far.
    pub fn position(&self) -> u64 {
        self.source.offset()
    }

    /// Reads the file header, which says which format follows.
    fn start(reader: Box<dyn Read + Send>) -> Result<Self> {
        let mut source = Source::new(reader);
        loop {
            match Format::parse(source.bytes()) {
                Ok((used, format, records)) => {
                    source.consume(used);
                    return Ok(Self {
                        source,
                        format,
                        records,
                        file: None,
                        is_ended: false,
                    });
                }
                Err(Problem::Incomplete) => {
                    if !more(&mut source)? {
                        return Err(no_header(source.bytes()));
                    }
                }
                Err(problem) => return Err(problem.into_diagnosis("file header", 0).into()),
            }
        }
    }

    fn read_frame(&mut self) -> Result<Option<Frame>> {
        loop {
            let step = self.format.next_record(self.source.bytes());
            match step {
                Ok((used, record)) => {
                    let place = self.next_place();
                    let offset = self.source.offset();
                    self.records += 1;
                    self.source.consume(used);
                    let Some(record) = record else { continue };
                    return match link_layer::frame(record) {
                        Ok(frame) => Ok(Some(frame)),
                        Err(problem) => Err(problem.into_diagnosis(&place, offset).into()),
                    };
                }
                Err(Problem::Incomplete) => {
                    if more(&mut self.source)? {
                        continue;
                    }
                    if self.source.bytes().is_empty() {
                        return Ok(None);
                    }
                    return Err(self.cut_short());
                }
                Err(problem) => {
                    let diagnosis =
                        problem.into_diagnosis(&self.next_place(), self.source.offset());
                    return Err(diagnosis.into());
                }
            }
        }
    }

    /// How messages name the record that is being read: `record 3` or `block 3`, counted from 1.
    fn next_place(&self) -> String {
        let noun = match self.format {
            Format::Pcap(_) => "record",
            Format::Pcapng(_) => "block",
        };
        format!("{noun} {}", self.records + 1)
    }

    fn cut_short(&self) -> Error {
        let reason = format!("the file ends {} bytes into it", self.source.bytes().len());
        Problem::Malformed(reason)
            .into_diagnosis(&self.next_place(), self.source.offset())
            .help("the capture was cut short; every frame before this one was read")
            .into()
    }
}

impl Iterator for Capture {
    type Item = Result<Frame>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_ended {
            return None;
        }
        let result = self.read_frame().map_err(|error| match &self.file {
            Some(name) => error.in_file(name),
            None => error,
        });
        self.is_ended = !matches!(result, Ok(Some(_)));
        result.transpose()
    }
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capture")
            .field("file", &self.file)
            .field("records", &self.records)
            .field("offset", &self.source.offset())
            .field("is_ended", &self.is_ended)
            .finish_non_exhaustive()
    }
}

/// What follows the file header.
enum Format {
    Pcap(pcap::Reader),
    Pcapng(pcapng::Reader),
}

impl Format {
    /// Tells the format by its first bytes: bytes used, the format, and the records that were used up by it.
    fn parse(bytes: &[u8]) -> Result<(usize, Self, u64), Problem> {
        let Some(magic) = bytes.first_chunk::<4>() else {
            return Err(Problem::Incomplete);
        };
        if *magic == pcapng::MAGIC {
            let (used, reader) = pcapng::Reader::parse(bytes)?;
            return Ok((used, Self::Pcapng(reader), 1));
        }
        if pcap::MAGICS.contains(magic) {
            let (used, reader) = pcap::Reader::parse(bytes)?;
            return Ok((used, Self::Pcap(reader), 0));
        }
        Err(Problem::Malformed(format!(
            "not a pcap or pcapng file: it starts with {}",
            hex(magic)
        )))
    }

    /// Cuts one record: bytes used, and the packet, if the record is one.
    fn next_record(&mut self, bytes: &[u8]) -> Result<(usize, Option<Record>), Problem> {
        match self {
            Self::Pcap(reader) => reader.next_record(bytes),
            Self::Pcapng(reader) => reader.next_record(bytes),
        }
    }
}

/// Why a record could not be used.
#[derive(Debug)]
enum Problem {
    /// More bytes are needed to tell.
    Incomplete,
    /// The record contradicts itself.
    Malformed(String),
    /// The link type with this number cannot become Ethernet frames.
    LinkType(u32),
}

impl Problem {
    fn into_diagnosis(self, place: &str, offset: u64) -> Diagnosis {
        let mut diagnosis = match self {
            Self::Incomplete => Diagnosis::new(
                Code::CAPTURE_MALFORMED,
                format!("{place}: the record ends before the data it announces"),
            ),
            Self::Malformed(reason) => {
                Diagnosis::new(Code::CAPTURE_MALFORMED, format!("{place}: {reason}"))
            }
            Self::LinkType(number) => Diagnosis::new(
                Code::CAPTURE_UNSUPPORTED,
                format!("{place}: link type {number} is not supported"),
            )
            .fact(
                "supported link types",
                "Ethernet (1), Linux cooked (113, 276), raw IP (101, 12, 14), BSD loopback (0, 108)",
            ),
        };
        diagnosis.place.offset = Some(offset);
        diagnosis
    }
}

impl From<PcapError> for Problem {
    fn from(error: PcapError) -> Self {
        match error {
            PcapError::IncompleteBuffer => Self::Incomplete,
            PcapError::InvalidField(reason) => Self::Malformed(reason.to_owned()),
            other => Self::Malformed(other.to_string().to_lowercase()),
        }
    }
}

/// A record larger than this is taken for a damaged length field. No packet and no block a capture tool writes comes near.
const LARGEST_RECORD: usize = 16 << 20;

/// Reads more of the file; false at its end.
fn more(source: &mut Source) -> Result<bool> {
    if source.bytes().len() > LARGEST_RECORD {
        let reason = format!("its length field announces more than {LARGEST_RECORD} bytes");
        let diagnosis = Problem::Malformed(reason).into_diagnosis("record", source.offset());
        return Err(diagnosis.into());
    }
    source.fill().map_err(|error| unreadable(&error))
}

fn no_header(bytes: &[u8]) -> Error {
    let message = if bytes.is_empty() {
        "the capture is empty: it has no file header".to_owned()
    } else {
        format!(
            "the file header is incomplete: the file ends after {} bytes",
            bytes.len()
        )
    };
    Diagnosis::new(Code::CAPTURE_MALFORMED, message).into()
}

fn unreadable(error: &io::Error) -> Error {
    let diagnosis = match error.kind() {
        io::ErrorKind::NotFound => Diagnosis::new(Code::FILE_NOT_FOUND, "no such file"),
        io::ErrorKind::PermissionDenied => {
            Diagnosis::new(Code::FILE_UNREADABLE, "not permitted to read it")
                .kind(ErrorKind::Permission)
        }
        io::ErrorKind::IsADirectory => {
            Diagnosis::new(Code::FILE_UNREADABLE, "a directory, not a file").kind(ErrorKind::Usage)
        }
        _ => Diagnosis::new(Code::FILE_UNREADABLE, "the capture cannot be read"),
    };
    match error.raw_os_error() {
        Some(number) => diagnosis.errno(Errno(number)).into(),
        None => diagnosis.fact("reason", error).into(),
    }
}

/// `1f 8b 08 00`
fn hex(bytes: &[u8]) -> String {
    let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    pairs.join(" ")
}
