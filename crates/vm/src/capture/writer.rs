//! Captures that we write: classic pcap files of Ethernet frames, with times in nanoseconds.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::time::Duration;

use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use pcap_file::{DataLink, PcapError, TsResolution};
use twinbpf_object::{Code, Diagnosis, Errno, Error, Result};

/// Longest frame that readers are told to expect: the limit of `tcpdump`.
const SNAPSHOT_BYTES: u32 = 262_144;

/// A capture file that is being written.
///
/// What was written is complete after [`finish`](Self::finish); dropping it writes what is left too, and cannot say whether that worked.
#[derive(Debug)]
pub struct CaptureWriter {
    writer: PcapWriter<BufWriter<File>>,
    name: String,
}

impl CaptureWriter {
    /// Creates the file, or empties it.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn create(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let header = PcapHeader {
            snaplen: SNAPSHOT_BYTES,
            datalink: DataLink::ETHERNET,
            ts_resolution: TsResolution::NanoSecond,
            ..PcapHeader::default()
        };
        let file = File::create(path).map_err(|error| unwritable(&name, &error))?;
        let writer = PcapWriter::with_header(BufWriter::new(file), header)
            .map_err(|error| refused(&name, &error))?;
        Ok(Self { writer, name })
    }

    /// Adds a frame with the time it was seen at, counted from 1970.
    ///
    /// # Errors
    ///
    /// If it cannot be written, or is longer than 256 KiB.
    pub fn write(&mut self, timestamp: Duration, data: &[u8]) -> Result<()> {
        let len = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let packet = PcapPacket {
            timestamp,
            orig_len: len,
            data: Cow::Borrowed(data),
        };
        let written = self.writer.write_packet(&packet);
        written
            .map(drop)
            .map_err(|error| refused(&self.name, &error))
    }

    /// Writes what is left.
    ///
    /// # Errors
    ///
    /// If that fails: a full disk.
    pub fn finish(self) -> Result<()> {
        let mut file = self.writer.into_writer();
        file.flush().map_err(|error| unwritable(&self.name, &error))
    }
}

fn refused(name: &str, error: &PcapError) -> Error {
    match error {
        PcapError::IoError(error) => unwritable(name, error),
        error => {
            let message = format!("a frame cannot be written: {error}");
            Error::from(Diagnosis::new(Code::HOST_IO, message)).in_file(name)
        }
    }
}

fn unwritable(name: &str, error: &std::io::Error) -> Error {
    let diagnosis = Diagnosis::new(Code::HOST_IO, format!("it cannot be written: {error}"));
    let diagnosis = match error.raw_os_error() {
        Some(number) => diagnosis.errno(Errno(number)),
        None => diagnosis,
    };
    Error::from(diagnosis).in_file(name)
}
