//! The packets of `prog run`: from a list, a capture, or the command line.

use twinbpf::{Capture, Code, Diagnosis, Error, Object, Result};

use super::ProgRunArgs;
use crate::hex;
use crate::object_file;

/// A packet with the name it has in the output.
#[derive(Debug)]
pub(super) struct Packet {
    pub(super) name: String,
    pub(super) data: Vec<u8>,
}

/// The packets that were asked for. Without any, one empty one, for programs that take none.
pub(super) fn read(args: &ProgRunArgs) -> Result<Vec<Packet>> {
    if let Some(path) = &args.packets {
        let file = path.display().to_string();
        let text = String::from_utf8_lossy(&object_file::bytes(path)?).into_owned();
        return list(&text).map_err(|error| error.in_file(file));
    }
    if let Some(path) = &args.pcap {
        let mut packets = Vec::new();
        for (index, frame) in Capture::open(path)?.enumerate() {
            packets.push(Packet {
                name: (index + 1).to_string(),
                data: frame?.data,
            });
        }
        return Ok(packets);
    }
    let data = args.data.clone().map(|bytes| bytes.0);
    let name = if data.is_some() { "data" } else { "none" };
    Ok(vec![Packet {
        name: name.to_owned(),
        data: data.unwrap_or_default(),
    }])
}

/// Lines `name hex`; empty lines and those that start with `#` are passed over.
fn list(text: &str) -> Result<Vec<Packet>> {
    let mut packets = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mut words = line.split_whitespace();
        let (name, digits, rest) = (words.next(), words.next(), words.next());
        let packet = match (name, digits, rest) {
            (None, ..) => continue,
            (Some(name), ..) if name.starts_with('#') => continue,
            (Some(name), Some(digits), None) => hex::parse(digits).map(|data| Packet {
                name: name.to_owned(),
                data,
            }),
            _ => Err("a name and hex digits were expected".to_owned()),
        };
        let number = index + 1;
        packets.push(packet.map_err(|reason| {
            Error::from(Diagnosis::new(
                Code::CAPTURE_MALFORMED,
                format!("line {number}: {reason}"),
            ))
        })?);
    }
    Ok(packets)
}

/// Bytes given as hex digits. A type of its own: to the parser of arguments a plain `Vec` means an argument that may come
/// several times.
#[derive(Debug, Clone)]
pub(super) struct HexBytes(pub(super) Vec<u8>);

impl HexBytes {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        hex::parse(text).map(Self)
    }
}

/// How many CPUs the kernel may ever have here.
pub(crate) fn possible_cpus() -> Option<u32> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/possible").ok()?;
    let (_, last) = text
        .trim()
        .rsplit_once(['-', ','])
        .unwrap_or(("", text.trim()));
    last.parse::<u32>().ok()?.checked_add(1)
}

/// An error for a program that the object does not have.
pub(crate) fn no_program(object: &Object, name: &str) -> Error {
    let names: Vec<&str> = object
        .programs
        .iter()
        .map(|program| program.name.as_str())
        .collect();
    Diagnosis::new(
        Code::PROGRAM_NOT_FOUND,
        format!("there is no program `{name}`"),
    )
    .fact("programs", names.join(", "))
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_line_by_line_and_errors_name_the_line() {
        let packets = list("# comment\n\narp 0102ff\nudp 00\n").unwrap();
        let names: Vec<&str> = packets.iter().map(|packet| packet.name.as_str()).collect();
        assert_eq!(names, ["arp", "udp"]);
        assert_eq!(packets[0].data, [1, 2, 0xff]);
        let error = list("arp 01\nudp 0g\n").unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
    }
}
