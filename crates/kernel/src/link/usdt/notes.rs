//! The notes that `sys/sdt.h` leaves in a file: one for each place of a probe.
//!
//! ```text
//! name length 8 | length | type 3 | "stapsdt\0" | place | base | counter | provider \0 | name \0 | arguments \0 | to a multiple of 4
//! ```
//!
//! The three words are addresses of the time the file was linked. A tool that moved code afterwards moved the section
//! `.stapsdt.base` along and left the notes alone; its address now, less `base`, is how far.

use std::path::Path;

use object::elf::{FileHeader32, FileHeader64};
use object::read::elf::{ElfFile, FileHeader};
use object::{Endian, Endianness, FileKind, Object, ObjectSection};
use twinbpf_object::abi::nearest_name;
use twinbpf_object::{Code, Diagnosis, Error, Result};

use super::super::code_file;

/// One place of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Where in the file it is.
    pub(super) offset: u64,
    /// Where in the file its counter is.
    pub(super) counter: Option<u64>,
    /// Where its arguments are, as the compiler wrote it.
    pub(super) arguments: String,
}

/// The places of a probe in a file; at least one.
///
/// # Errors
///
/// If the file cannot be read or has no such probe; those that it has, or the nearest, are named.
pub(super) fn find(path: &Path, provider: &str, name: &str) -> Result<Vec<Place>> {
    let bytes = code_file::read(path)?;
    let read = match FileKind::parse(bytes.as_slice()) {
        Ok(FileKind::Elf64) => read::<FileHeader64<Endianness>>(&bytes, 8),
        Ok(FileKind::Elf32) => read::<FileHeader32<Endianness>>(&bytes, 4),
        _ => None,
    };
    let notes = read.ok_or_else(|| code_file::unreadable(path))?;
    let (meant, others): (Vec<Note>, Vec<Note>) = notes
        .into_iter()
        .partition(|note| note.provider == provider && note.name == name);
    if meant.is_empty() {
        return Err(missing(path, &format!("{provider}:{name}"), &others));
    }
    let places: Option<Vec<Place>> = meant.into_iter().map(|note| note.place).collect();
    places.ok_or_else(|| {
        let message = format!(
            "{}: a place of the probe `{provider}:{name}` is in no segment of code",
            path.display()
        );
        Diagnosis::new(Code::ATTACH_TARGET, message).into()
    })
}

struct Note {
    provider: String,
    name: String,
    /// `None` if its address is in no segment.
    place: Option<Place>,
}

fn read<H: FileHeader<Endian = Endianness>>(bytes: &[u8], word: usize) -> Option<Vec<Note>> {
    let file = ElfFile::<H>::parse(bytes).ok()?;
    let Some(section) = file.section_by_name(".note.stapsdt") else {
        return Some(Vec::new());
    };
    let base = file
        .section_by_name(".stapsdt.base")
        .map(|section| section.address());
    let mut rest = section.data().ok()?;
    let mut notes = Vec::new();
    while let Some((raw, behind)) = Raw::read(rest, file.endian(), word) {
        rest = behind;
        let Some(raw) = raw else { continue };
        let moved = base.map_or(0, |now| now.wrapping_sub(raw.base));
        let position = |address: u64| code_file::position_in(&file, address.wrapping_add(moved));
        let counter = match raw.counter {
            0 => Some(None),
            address => position(address).map(Some),
        };
        let place = position(raw.place)
            .zip(counter)
            .map(|(offset, counter)| Place {
                offset,
                counter,
                arguments: raw.arguments,
            });
        notes.push(Note {
            provider: raw.provider,
            name: raw.name,
            place,
        });
    }
    Some(notes)
}

/// A note as it stands there.
struct Raw {
    place: u64,
    base: u64,
    counter: u64,
    provider: String,
    name: String,
    arguments: String,
}

impl Raw {
    /// The first note, if it is one of a probe, and the bytes behind it; `None` where no whole note is left.
    fn read(bytes: &[u8], endian: Endianness, word: usize) -> Option<(Option<Self>, &[u8])> {
        let half = |at: usize| {
            let bytes = bytes.get(at..at + 4)?.try_into().ok()?;
            usize::try_from(word_32(endian, bytes)).ok()
        };
        let (name_len, len, kind) = (half(0)?, half(4)?, half(8)?);
        let name_end = 12_usize.checked_add(name_len.checked_next_multiple_of(4)?)?;
        let end = name_end.checked_add(len)?;
        let description = bytes.get(name_end..end)?;
        let is_probe = kind == 3 && bytes.get(12..12 + name_len)? == b"stapsdt\0";
        let note = match is_probe {
            true => Self::described(description, endian, word),
            false => None,
        };
        let behind = bytes
            .get(end.checked_next_multiple_of(4)?..)
            .unwrap_or_default();
        Some((note, behind))
    }

    fn described(bytes: &[u8], endian: Endianness, word: usize) -> Option<Self> {
        let address = |index: usize| {
            let bytes = bytes.get(index * word..(index + 1) * word)?;
            match (word, endian.is_little_endian()) {
                (8, true) => bytes.try_into().ok().map(u64::from_le_bytes),
                (8, false) => bytes.try_into().ok().map(u64::from_be_bytes),
                _ => Some(u64::from(word_32(endian, bytes.try_into().ok()?))),
            }
        };
        let mut texts = bytes.get(3 * word..)?.split(|byte| *byte == 0);
        let mut text = || {
            let bytes = texts.next()?;
            Some(String::from_utf8_lossy(bytes).into_owned())
        };
        Some(Self {
            place: address(0)?,
            base: address(1)?,
            counter: address(2)?,
            provider: text()?,
            name: text()?,
            arguments: text()?,
        })
    }
}

fn word_32(endian: Endianness, bytes: [u8; 4]) -> u32 {
    match endian.is_little_endian() {
        true => u32::from_le_bytes(bytes),
        false => u32::from_be_bytes(bytes),
    }
}

fn missing(path: &Path, wanted: &str, others: &[Note]) -> Error {
    let mut names: Vec<String> = others
        .iter()
        .map(|note| format!("{}:{}", note.provider, note.name))
        .collect();
    names.sort_unstable();
    names.dedup();
    let message = format!("{} has no probe `{wanted}`", path.display());
    let diagnosis = Diagnosis::new(Code::ATTACH_TARGET, message);
    let near = nearest_name(wanted, names.iter().map(String::as_str));
    match near {
        Some(near) => diagnosis.help(format!("did you mean `{near}`?")),
        None if names.is_empty() => {
            diagnosis.help("its author left none in it, or it was built without them (`sys/sdt.h`)")
        }
        None => {
            names.truncate(MOST_NAMES);
            diagnosis.fact("it has", names.join(", "))
        }
    }
    .into()
}

/// So many probes are named when one is missing.
const MOST_NAMES: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn note(name: &[u8], kind: u32, description: &[u8]) -> Vec<u8> {
        let len = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap();
        let mut bytes = Vec::new();
        for number in [len(name), len(description), kind] {
            bytes.extend(number.to_le_bytes());
        }
        for part in [name, description] {
            bytes.extend(part);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    #[test]
    fn notes_of_others_are_passed_over_and_torn_ones_end_the_list() {
        let mut description = Vec::new();
        for word in [0x1234_u64, 0x2000, 0] {
            description.extend(word.to_le_bytes());
        }
        description.extend(b"who\0what\0-4@%eax\0");
        let mut bytes = note(b"GNU\0", 3, b"xxxx");
        bytes.extend(note(b"stapsdt\0", 3, &description));
        let (first, rest) = Raw::read(&bytes, Endianness::Little, 8).unwrap();
        assert!(first.is_none());
        let (second, rest) = Raw::read(rest, Endianness::Little, 8).unwrap();
        let second = second.unwrap();
        assert_eq!(
            (second.place, second.base, second.counter),
            (0x1234, 0x2000, 0)
        );
        let texts = [second.provider, second.name, second.arguments];
        assert_eq!(texts, ["who", "what", "-4@%eax"]);
        assert!(Raw::read(rest, Endianness::Little, 8).is_none());
        for end in 0..bytes.len() {
            let mut rest = &bytes[..end];
            while let Some((_, behind)) = Raw::read(rest, Endianness::Little, 8) {
                rest = behind;
            }
        }
        let huge = [0xff; 64];
        assert!(Raw::read(&huge, Endianness::Little, 8).is_none());
    }
}
