//! A file read without its debugging information, which is often most of it and which nobody here looks at.
//!
//! ```text
//! file     header | code | .debug_info ............... | .BTF | .debug_str ... | symbols | section headers
//! read     header | code | 0 0 0 0 0 0 0 0 0 0 0 0 0 0   | .BTF | 0 0 0 0 0 0 0   | symbols | section headers
//! ```
//!
//! What was not read is zeros in its place, so every offset stays what it is. Memory that was never written costs nothing.

use std::ops::Range;

use crate::bytes::{ByteOrder, slice_at, text_at, u16_at, u32_at};
use crate::order;

/// Reads a file of `length` bytes, except for what is only debugging information. `read` fills the bytes it is given from an
/// offset on. What is no ELF file, or a strange one, is read whole.
///
/// # Errors
///
/// What `read` answers.
pub fn read_without_debugging<E>(
    length: usize,
    mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
) -> Result<Vec<u8>, E> {
    let mut bytes = vec![0; length];
    let mut fetch = |bytes: &mut Vec<u8>, range: &Range<usize>| match bytes.get_mut(range.clone()) {
        Some(room) => read(u64::try_from(range.start).unwrap_or(u64::MAX), room),
        None => Ok(()),
    };
    fetch(&mut bytes, &(0..HEADER_BYTES.min(length)))?;
    let Some(outline) = Outline::of(&bytes) else {
        fetch(&mut bytes, &(0..length))?;
        return Ok(bytes);
    };
    fetch(&mut bytes, &outline.headers)?;
    let Some(names) = outline.names(&bytes) else {
        fetch(&mut bytes, &(0..length))?;
        return Ok(bytes);
    };
    fetch(&mut bytes, &names)?;
    for range in outline.wanted(&bytes, &names) {
        fetch(&mut bytes, &range)?;
    }
    Ok(bytes)
}

/// Where a file's section headers are.
struct Outline {
    order: ByteOrder,
    headers: Range<usize>,
    /// The header of the section with the names.
    names_at: usize,
}

impl Outline {
    /// Nothing if the file is none that this module understands.
    fn of(bytes: &[u8]) -> Option<Self> {
        let order = match *bytes.first_chunk()? {
            [0x7f, b'E', b'L', b'F', CLASS_64, LITTLE] => ByteOrder::Little,
            [0x7f, b'E', b'L', b'F', CLASS_64, BIG] => ByteOrder::Big,
            _ => return None,
        };
        let number = |at: usize| u16_at(bytes, at, order).map(usize::from);
        let start = offset_at(bytes, 0x28, order)?;
        let (each, count) = (number(0x3a)?, number(0x3c)?);
        let end = start.checked_add(count.checked_mul(SECTION_BYTES)?)?;
        let is_plain = each == SECTION_BYTES && count > 0 && end <= bytes.len();
        is_plain.then_some(Self {
            order,
            headers: start..end,
            names_at: start.checked_add(number(0x3e)?.checked_mul(SECTION_BYTES)?)?,
        })
    }

    /// Where the names of the sections are.
    fn names(&self, bytes: &[u8]) -> Option<Range<usize>> {
        let is_header = self.headers.contains(&self.names_at);
        self.place(bytes, self.names_at).filter(|_| is_header)
    }

    /// Everything that is not debugging information, in few pieces.
    fn wanted(&self, bytes: &[u8], names: &Range<usize>) -> Vec<Range<usize>> {
        let names = bytes.get(names.clone()).unwrap_or_default();
        let headers = self.headers.clone().step_by(SECTION_BYTES);
        let mut places: Vec<Range<usize>> = headers
            .filter(|at| !self.is_debugging(bytes, *at, names))
            .filter_map(|at| self.place(bytes, at))
            .collect();
        order::sort_by_key(&mut places, |place| place.start);
        let mut pieces: Vec<Range<usize>> = Vec::new();
        for place in places {
            match pieces.last_mut() {
                Some(last) if place.start <= last.end.saturating_add(GAP_BYTES) => {
                    last.end = last.end.max(place.end);
                }
                _ => pieces.push(place),
            }
        }
        pieces
    }

    fn is_debugging(&self, bytes: &[u8], header: usize, names: &[u8]) -> bool {
        let name = u32_at(bytes, header, self.order);
        let name = name.and_then(|at| text_at(names, at, LONGEST_PREFIX_BYTES * 2));
        let name = name.unwrap_or_default();
        DEBUGGING.iter().any(|prefix| name.starts_with(prefix))
    }

    /// The bytes that a section has in the file, if they lie in it.
    fn place(&self, bytes: &[u8], header: usize) -> Option<Range<usize>> {
        let kind = u32_at(bytes, header.checked_add(4)?, self.order)?;
        let start = offset_at(bytes, header.checked_add(0x18)?, self.order)?;
        let length = offset_at(bytes, header.checked_add(0x20)?, self.order)?;
        let end = start.checked_add(length)?;
        (kind != NO_BYTES && end <= bytes.len()).then_some(start..end)
    }
}

/// The eight-byte number at `at`.
fn offset_at(bytes: &[u8], at: usize, order: ByteOrder) -> Option<usize> {
    let raw = slice_at(bytes, u64::try_from(at).ok()?, 8)?;
    let raw = *raw.first_chunk()?;
    let number = match order {
        ByteOrder::Little => u64::from_le_bytes(raw),
        ByteOrder::Big => u64::from_be_bytes(raw),
    };
    usize::try_from(number).ok()
}

const HEADER_BYTES: usize = 64;
const SECTION_BYTES: usize = 64;
const CLASS_64: u8 = 2;
const LITTLE: u8 = 1;
const BIG: u8 = 2;
/// `SHT_NOBITS`
const NO_BYTES: u32 = 8;
/// DWARF and the relocations of it; and those of BTF, whose offsets need none because no section of BPF has an address.
const DEBUGGING: [&[u8]; 5] = [
    b".debug_",
    b".rel.debug_",
    b".rela.debug_",
    b".rel.BTF",
    b".rela.BTF",
];
const LONGEST_PREFIX_BYTES: usize = 32;
/// Pieces that are this close are read together: a page less to read costs less than one more system call.
const GAP_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: &[u8]) -> Vec<u8> {
        let read = |at: u64, room: &mut [u8]| {
            let start = usize::try_from(at).unwrap();
            room.copy_from_slice(&file[start..start + room.len()]);
            Ok::<(), ()>(())
        };
        read_without_debugging(file.len(), read).unwrap()
    }

    /// A file with sections of these names, of a few pages each; every byte of a section is its number.
    fn file_with(names: &[&str]) -> Vec<u8> {
        let texts = names.join("\0");
        let (names_at, names_bytes) = (HEADER_BYTES, texts.len() + 1);
        let first = 4 * GAP_BYTES;
        let mut file = vec![0; first];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[names_at..names_at + texts.len()].copy_from_slice(texts.as_bytes());
        let mut headers = Vec::new();
        let mut header = |name: usize, start: usize, length: usize| {
            let mut raw = [0; SECTION_BYTES];
            raw[..4].copy_from_slice(&u32::try_from(name).unwrap().to_le_bytes());
            raw[4] = 1;
            raw[0x18..0x20].copy_from_slice(&(start as u64).to_le_bytes());
            raw[0x20..0x28].copy_from_slice(&(length as u64).to_le_bytes());
            headers.extend(raw);
        };
        header(texts.len(), names_at, names_bytes);
        let mut name = 0;
        for (number, text) in (1..).zip(names) {
            let start = file.len();
            header(name, start, 3 * GAP_BYTES);
            file.extend([number; 3 * GAP_BYTES]);
            name += text.len() + 1;
        }
        let headers_at = file.len() as u64;
        file[0x28..0x30].copy_from_slice(&headers_at.to_le_bytes());
        file[0x3a] = u8::try_from(SECTION_BYTES).unwrap();
        file[0x3c] = u8::try_from(names.len() + 1).unwrap();
        file.extend(headers);
        file
    }

    #[test]
    fn debugging_information_stays_zero_and_all_else_is_read() {
        let file = file_with(&["maps", ".debug_info", ".rel.debug_info", ".BTF", "debug_me"]);
        let sparse = read(&file);
        let section = |number: usize| {
            let start = 4 * GAP_BYTES + (number - 1) * 3 * GAP_BYTES;
            start..start + 3 * GAP_BYTES
        };
        for (number, expected) in [(1, 1), (2, 0), (3, 0), (4, 4), (5, 5)] {
            assert!(
                sparse[section(number)].iter().all(|byte| *byte == expected),
                "{number}"
            );
        }
        let headers = section(6).start..;
        assert_eq!(sparse[headers.clone()], file[headers]);
    }

    #[test]
    fn what_is_not_understood_is_read_whole() {
        let mut cut = file_with(&[".debug_info"]);
        cut.truncate(cut.len() - 1);
        for file in [&b""[..], b"#!/bin/sh\n", &cut] {
            assert_eq!(read(file), file);
        }
    }
}
