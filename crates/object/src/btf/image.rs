//! Types as bytes that are changed in place.
//!
//! The kernel takes the bytes of an object's types almost as the compiler wrote them. The few words it wants changed are
//! changed here without decoding the rest: no record grows or shrinks, so numbers of types and offsets of strings stay what
//! instructions, maps and line records say.

use super::header::Header;
use super::kinds::Info;
use crate::bytes::{ByteOrder, u32_at};

/// Types being changed.
pub(crate) struct Image {
    bytes: Vec<u8>,
    order: ByteOrder,
    strings: usize,
    /// Where each type starts; the first is void, which has no place.
    starts: Vec<usize>,
}

/// The three words that every type starts with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record {
    /// Where it starts.
    pub(crate) at: usize,
    /// Offset of its name.
    pub(crate) name: u32,
    /// Number of its kind.
    pub(crate) kind: u32,
    /// Number of entries, or the linkage of a function.
    pub(crate) count: u32,
    /// Its size, or the type it refers to.
    pub(crate) size_or_target: u32,
}

impl Record {
    /// Where its entries start.
    pub(crate) fn entries(self) -> usize {
        self.at + HEAD_BYTES
    }
}

impl Image {
    /// Copies the bytes and finds the types in them; nothing if they end early.
    pub(crate) fn read(bytes: &[u8], order: ByteOrder) -> Option<Self> {
        let header = Header::read(bytes, order).ok()?;
        let types = header.types(bytes).ok()?;
        let strings = header.strings(bytes, false).ok()?;
        let (mut at, end) = (types.start, types.end);
        let mut image = Self {
            bytes: bytes.to_vec(),
            order,
            strings: strings.start,
            starts: vec![0],
        };
        while at < end {
            image.starts.push(at);
            let record = image.record_at(at)?;
            at += Info::of(image.word(record.at + 4)?).type_bytes()?;
        }
        (at == end).then_some(image)
    }

    /// The finished bytes.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.bytes
    }

    /// The number of types, void included.
    pub(crate) fn len(&self) -> usize {
        self.starts.len()
    }

    /// The type with this number.
    pub(crate) fn record(&self, number: usize) -> Option<Record> {
        match number {
            0 => None,
            _ => self.record_at(*self.starts.get(number)?),
        }
    }

    fn record_at(&self, at: usize) -> Option<Record> {
        let info = self.word(at + 4)?;
        Some(Record {
            at,
            name: self.word(at)?,
            kind: info >> 24 & 0x1f,
            count: info & 0xffff,
            size_or_target: self.word(at + 8)?,
        })
    }

    /// The word at an offset.
    pub(crate) fn word(&self, at: usize) -> Option<u32> {
        u32_at(&self.bytes, at, self.order)
    }

    /// Changes the word at an offset.
    pub(crate) fn set_word(&mut self, at: usize, value: u32) {
        let bytes = match self.order {
            ByteOrder::Little => value.to_le_bytes(),
            ByteOrder::Big => value.to_be_bytes(),
        };
        if let Some(place) = self.bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
            *place = bytes;
        }
    }

    /// Makes a type one of another kind, whose entries must take as many bytes. The kind flag is gone.
    pub(crate) fn set_kind(&mut self, record: Record, kind: u32, count: u32) {
        self.set_word(record.at + 4, kind << 24 | count & 0xffff);
    }

    /// The text of a name, without its NUL.
    pub(crate) fn text(&self, name: u32) -> &[u8] {
        let rest = self.name_at(name).and_then(|at| self.bytes.get(at..));
        let rest = rest.unwrap_or_default();
        rest.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// Changes the characters of a name one by one; `change` gets each with its position.
    pub(crate) fn change_text(&mut self, name: u32, change: impl Fn(usize, u8) -> u8) {
        let Some(at) = self.name_at(name) else { return };
        let rest = self.bytes.get_mut(at..).unwrap_or_default();
        let text = rest.iter_mut().take_while(|byte| **byte != 0);
        for (position, byte) in text.enumerate() {
            *byte = change(position, *byte);
        }
    }

    fn name_at(&self, name: u32) -> Option<usize> {
        self.strings.checked_add(usize::try_from(name).ok()?)
    }
}

const HEAD_BYTES: usize = 12;
