//! `.BTF.ext`: which function, which source line and which dependence on types belongs to which instruction.
//!
//! ```text
//! header   0 magic  2 version  3 flags  4 header length  8 functions: offset, length  16 lines  24 relocations
//! part     record size | per section of code: name, count, count x record | ...
//! record   function:    0 offset  4 type
//!          line:        0 offset  4 file  8 text  12 line << 10 | column
//!          relocation:  0 offset  4 type  8 path  12 kind
//! ```
//!
//! Offsets of parts count from the end of the header; offsets in records are bytes from the start of the section of code;
//! names are in the strings of `.BTF`. Records may be longer than we know: newer compilers append.
//!
//! Source: the kernel's `Documentation/bpf/btf.rst`.

use super::{Btf, Name, TypeId};
use crate::bytes::{ByteOrder, slice_at, u16_at, u32_at};
use crate::diagnosis::{Code, Diagnosis, Error, Result};

/// The section, its header read.
#[derive(Debug, Clone, Copy)]
pub struct Ext<'data> {
    bytes: &'data [u8],
    order: ByteOrder,
    functions: Part,
    lines: Part,
    relocations: Part,
}

/// A record and the instruction it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed<T> {
    /// The section of code, by its name in the BTF.
    pub section: Name,
    /// Where the instruction stands in that section, bytes.
    pub offset: u32,
    /// What is said about it.
    pub record: T,
}

impl Placed<()> {
    /// The same place with what is said about it.
    fn with<T>(self, record: T) -> Placed<T> {
        Placed {
            section: self.section,
            offset: self.offset,
            record,
        }
    }
}

/// A source line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineRecord {
    /// The file's name.
    pub file: Name,
    /// The text of the line; empty if the compiler did not have it.
    pub text: Name,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1; 0 if unknown.
    pub column: u32,
}

/// A dependence on the target's types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelocationRecord {
    /// The type in the object's BTF.
    pub root: TypeId,
    /// Positions from the root on, such as `0:1:2`.
    pub path: Name,
    /// What is asked about it.
    pub kind: RelocationKind,
}

/// What a CO-RE relocation asks about a type, a field or an enumerator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RelocationKind {
    /// Where a field starts, bytes.
    #[doc(alias = "BPF_CORE_FIELD_BYTE_OFFSET")]
    FieldOffset,
    /// Bytes of a field.
    #[doc(alias = "BPF_CORE_FIELD_BYTE_SIZE")]
    FieldSize,
    /// Whether there is such a field.
    #[doc(alias = "BPF_CORE_FIELD_EXISTS")]
    FieldExists,
    /// Whether a field has a sign.
    #[doc(alias = "BPF_CORE_FIELD_SIGNED")]
    FieldSigned,
    /// How far to shift a bit field to the left in 64 bits.
    #[doc(alias = "BPF_CORE_FIELD_LSHIFT_U64")]
    FieldShiftLeft,
    /// How far to shift it back to the right.
    #[doc(alias = "BPF_CORE_FIELD_RSHIFT_U64")]
    FieldShiftRight,
    /// The type's number in the object's BTF.
    #[doc(alias = "BPF_CORE_TYPE_ID_LOCAL")]
    TypeIdLocal,
    /// The type's number in the target's BTF.
    #[doc(alias = "BPF_CORE_TYPE_ID_TARGET")]
    TypeIdTarget,
    /// Whether there is such a type.
    #[doc(alias = "BPF_CORE_TYPE_EXISTS")]
    TypeExists,
    /// Bytes of a type.
    #[doc(alias = "BPF_CORE_TYPE_SIZE")]
    TypeSize,
    /// Whether there is such an enumerator.
    #[doc(alias = "BPF_CORE_ENUMVAL_EXISTS")]
    EnumeratorExists,
    /// The number of an enumerator.
    #[doc(alias = "BPF_CORE_ENUMVAL_VALUE")]
    EnumeratorValue,
    /// Whether there is a type of this very shape.
    #[doc(alias = "BPF_CORE_TYPE_MATCHES")]
    TypeMatches,
}

/// Every kind with its word, in the order of the numbers that `.BTF.ext` uses.
#[rustfmt::skip]
const RELOCATION_KINDS: &[(RelocationKind, &str)] = &[
    (RelocationKind::FieldOffset, "offset of the field"),
    (RelocationKind::FieldSize, "size of the field"),
    (RelocationKind::FieldExists, "existence of the field"),
    (RelocationKind::FieldSigned, "sign of the field"),
    (RelocationKind::FieldShiftLeft, "left shift of the field"),
    (RelocationKind::FieldShiftRight, "right shift of the field"),
    (RelocationKind::TypeIdLocal, "number of the type in the object"),
    (RelocationKind::TypeIdTarget, "number of the type"),
    (RelocationKind::TypeExists, "existence of the type"),
    (RelocationKind::TypeSize, "size of the type"),
    (RelocationKind::EnumeratorExists, "existence of the enumerator"),
    (RelocationKind::EnumeratorValue, "value of the enumerator"),
    (RelocationKind::TypeMatches, "shape of the type"),
];

impl RelocationKind {
    /// The kind with this number.
    pub fn from_number(number: u32) -> Option<Self> {
        let row = RELOCATION_KINDS.get(usize::try_from(number).ok()?)?;
        Some(row.0)
    }

    /// The number of the kind.
    pub fn number(self) -> u32 {
        let position = RELOCATION_KINDS.iter().position(|(kind, _)| *kind == self);
        position
            .and_then(|position| u32::try_from(position).ok())
            .unwrap_or(u32::MAX)
    }

    /// What is asked, in a few words for messages.
    pub fn words(self) -> &'static str {
        let row = RELOCATION_KINDS.iter().find(|(kind, _)| *kind == self);
        row.map_or("", |(_, words)| words)
    }
}

impl<'data> Ext<'data> {
    /// Reads the header.
    ///
    /// # Errors
    ///
    /// Code O013 with the offset.
    pub fn read(bytes: &'data [u8], order: ByteOrder) -> Result<Self> {
        let magic = u16_at(bytes, 0, order).unwrap_or_default();
        if magic != MAGIC {
            let message = format!("a header starts with {MAGIC:#06x}, not {magic:#06x}");
            return Err(malformed(0, message));
        }
        let version = bytes.get(2).copied().unwrap_or_default();
        if version != VERSION {
            let message = format!("version {version} is not known, only {VERSION}");
            return Err(malformed(2, message));
        }
        let header = u32_at(bytes, 4, order).filter(|length| *length >= OLDEST_HEADER_BYTES);
        let header = header.ok_or_else(|| malformed(4, "the header ends early"))?;
        let part = |at: u32| {
            // A header of before 2019 ends before the relocations.
            if u64::from(at) + 8 > u64::from(header) {
                return Ok(Part::default());
            }
            let at = usize::try_from(at).unwrap_or(usize::MAX);
            let words = [u32_at(bytes, at, order), u32_at(bytes, at + 4, order)];
            let [Some(offset), Some(length)] = words else {
                return Err(malformed(0, "the header ends early"));
            };
            Ok(Part {
                start: u64::from(header) + u64::from(offset),
                length: u64::from(length),
            })
        };
        Ok(Self {
            bytes,
            order,
            functions: part(8)?,
            lines: part(16)?,
            relocations: part(24)?,
        })
    }

    /// Whether anything depends on the target's types.
    pub fn has_relocations(&self) -> bool {
        self.relocations.length > 0
    }

    /// The types of functions.
    ///
    /// # Errors
    ///
    /// Code O013 with the offset.
    pub fn functions(&self, btf: &Btf) -> Result<Vec<Placed<TypeId>>> {
        self.records(self.functions, btf, |[kind], at| {
            known_type(btf, TypeId(kind), at)
        })
    }

    /// Shows the source lines one by one: there may be as many as instructions.
    ///
    /// # Errors
    ///
    /// Code O013 with the offset, or what `each` says.
    pub fn lines(
        &self,
        btf: &Btf,
        mut each: impl FnMut(Placed<LineRecord>) -> Result<()>,
    ) -> Result<()> {
        self.each_record(self.lines, btf, |placed, [file, text, place], at| {
            let record = LineRecord {
                file: known_name(btf, Name(file), at)?,
                text: known_name(btf, Name(text), at)?,
                line: place >> COLUMN_BITS,
                column: place & ((1 << COLUMN_BITS) - 1),
            };
            each(placed.with(record))
        })
    }

    /// The dependences on the target's types.
    ///
    /// # Errors
    ///
    /// Code O013 with the offset.
    pub fn relocations(&self, btf: &Btf) -> Result<Vec<Placed<RelocationRecord>>> {
        self.records(self.relocations, btf, |[root, path, kind], at| {
            let known = RelocationKind::from_number(kind);
            Ok(RelocationRecord {
                root: known_type(btf, TypeId(root), at)?,
                path: known_name(btf, Name(path), at)?,
                kind: known
                    .ok_or_else(|| malformed(at, format!("relocation kind {kind} is not known")))?,
            })
        })
    }

    /// All records of a part; `N` words follow the offset in each.
    fn records<const N: usize, T>(
        &self,
        part: Part,
        btf: &Btf,
        make: impl Fn([u32; N], u64) -> Result<T>,
    ) -> Result<Vec<Placed<T>>> {
        let mut found = Vec::new();
        self.each_record(part, btf, |placed, words, at| {
            found.push(placed.with(make(words, at)?));
            Ok(())
        })?;
        Ok(found)
    }

    /// Shows the records of a part: where each belongs, its `N` words, and where it stands.
    fn each_record<const N: usize>(
        &self,
        part: Part,
        btf: &Btf,
        mut each: impl FnMut(Placed<()>, [u32; N], u64) -> Result<()>,
    ) -> Result<()> {
        if part.length == 0 {
            return Ok(());
        }
        let mut cursor = self.cursor(part)?;
        let at = cursor.at();
        let record_bytes = usize::try_from(cursor.word()?).unwrap_or(usize::MAX);
        if record_bytes < (N + 1) * 4 || !record_bytes.is_multiple_of(4) {
            let message = format!(
                "a record of {record_bytes} bytes, at least {} are needed",
                (N + 1) * 4
            );
            return Err(malformed(at, message));
        }
        while !cursor.rest.is_empty() {
            let at = cursor.at();
            let section = known_name(btf, Name(cursor.word()?), at)?;
            let count = cursor.word()?;
            for _ in 0..count {
                let at = cursor.at();
                let record = cursor.record(record_bytes)?;
                // INVARIANT: the record has at least `N + 1` words, as checked above.
                let word =
                    |position: usize| u32_at(record, position * 4, self.order).unwrap_or_default();
                let placed = Placed {
                    section,
                    offset: word(0),
                    record: (),
                };
                each(
                    placed,
                    std::array::from_fn(|position| word(position + 1)),
                    at,
                )?;
            }
        }
        Ok(())
    }

    fn cursor(&self, part: Part) -> Result<Cursor<'data>> {
        let rest = slice_at(self.bytes, part.start, part.length).ok_or_else(|| {
            let message = format!(
                "records take offsets {:#x} to {:#x} but the section ends at {:#x}",
                part.start,
                part.start + part.length,
                self.bytes.len()
            );
            malformed(0, message)
        })?;
        Ok(Cursor {
            rest,
            end: part.start + part.length,
            order: self.order,
        })
    }
}

/// Where a list of records is, claimed and not yet checked.
#[derive(Debug, Clone, Copy, Default)]
struct Part {
    start: u64,
    length: u64,
}

/// What of a part is not read yet.
struct Cursor<'data> {
    rest: &'data [u8],
    /// Where the part ends in the section.
    end: u64,
    order: ByteOrder,
}

impl<'data> Cursor<'data> {
    fn at(&self) -> u64 {
        self.end
            .saturating_sub(u64::try_from(self.rest.len()).unwrap_or(u64::MAX))
    }

    fn word(&mut self) -> Result<u32> {
        let order = self.order;
        let bytes = self.record(4)?;
        Ok(u32_at(bytes, 0, order).unwrap_or_default())
    }

    fn record(&mut self, length: usize) -> Result<&'data [u8]> {
        let (record, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or_else(|| malformed(self.at(), "the list of records ends early"))?;
        self.rest = rest;
        Ok(record)
    }
}

fn known_type(btf: &Btf, id: TypeId, at: u64) -> Result<TypeId> {
    match btf.get(id) {
        Some(_) => Ok(id),
        None => Err(malformed(at, format!("there is no type {id} in the BTF"))),
    }
}

fn known_name(btf: &Btf, name: Name, at: u64) -> Result<Name> {
    match btf.has_name(name) {
        true => Ok(name),
        false => Err(malformed(
            at,
            format!("there is no name at offset {:#x} of the strings", name.0),
        )),
    }
}

fn malformed(at: u64, message: impl Into<String>) -> Error {
    Diagnosis::new(Code::BTF_MALFORMED, message)
        .at(SECTION, at)
        .into()
}

const SECTION: &str = ".BTF.ext";
pub(super) const MAGIC: u16 = 0xeb9f;
pub(super) const VERSION: u8 = 1;
/// Up to and with the lines.
const OLDEST_HEADER_BYTES: u32 = 24;
pub(super) const COLUMN_BITS: u32 = 10;
