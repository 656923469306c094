//! The bytes of the result's sections, and its relocations: each at its new place, each meaning what it meant.
//!
//! Addends stand in the bytes to be changed, whatever the objects did: tables with addends are turned into that. A relocation
//! that means "this section, plus so much" means the same with the place of the section in the whole added.

use super::layout::Layout;
use super::names::{Became, Names};
use super::part::Part;
use crate::bytes::ByteOrder;
use crate::diagnosis::{Code, Result};
use crate::elf::{self, Relocation, Section, SectionKind};
use crate::insn::opcode;

/// The bytes of a section, and what changes them.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// Empty if the section has none in the file.
    pub(super) bytes: Vec<u8>,
    pub(super) relocations: Vec<Moved>,
}

/// A relocation of the result.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moved {
    pub(super) offset: u64,
    pub(super) kind: u32,
    pub(super) to: MovedTo,
}

/// What a relocation of the result means.
#[derive(Debug, Clone, Copy)]
pub(super) enum MovedTo {
    /// The start of a section.
    Whole(usize),
    /// A symbol.
    Symbol(usize),
}

/// The contents of all sections of the result.
///
/// # Errors
///
/// Code O016 if a relocation points nowhere.
pub(super) fn contents(
    parts: &[Part<'_>],
    layout: &Layout<'_>,
    names: &Names<'_>,
) -> Result<Vec<Content>> {
    let mut contents: Vec<Content> = Vec::with_capacity(layout.wholes.len());
    for whole in &layout.wholes {
        let mut content = Content::default();
        for piece in whole.pieces.iter().filter(|_| !whole.is_zero_filled) {
            // The bytes are in the file, so that their number fits.
            let start = usize::try_from(piece.start).unwrap_or(usize::MAX);
            content.bytes.resize(start, 0);
            if let Some(section) = parts[piece.part].elf.section(piece.section) {
                content.bytes.extend_from_slice(section.data);
            }
        }
        contents.push(content);
    }
    for (position, part) in parts.iter().enumerate() {
        for table in &part.elf.sections {
            let SectionKind::Relocations { of, .. } = table.kind else {
                continue;
            };
            let (Some(section), Some(spot)) = (part.elf.section(of), layout.spot(position, of))
            else {
                continue;
            };
            let moving = Moving {
                part,
                section,
                names,
                position,
                start: spot.start,
            };
            let content = &mut contents[spot.whole];
            for relocation in elf::relocations(table, part.elf.byte_order)? {
                let moved = moving.relocation(relocation, &mut content.bytes)?;
                content.relocations.push(moved);
            }
        }
    }
    Ok(contents)
}

/// The relocations of one section of an object, on their way.
struct Moving<'a, 'data> {
    part: &'a Part<'data>,
    section: &'a Section<'data>,
    names: &'a Names<'data>,
    /// The object's position.
    position: usize,
    /// Where the section came to stand in its whole.
    start: u64,
}

impl Moving<'_, '_> {
    fn relocation(&self, relocation: Relocation, bytes: &mut [u8]) -> Result<Moved> {
        let error = |message: &str| {
            let code = Code::RELOCATION_MALFORMED;
            let message = message.to_owned();
            self.part
                .error(code, self.section.name, relocation.offset, message)
        };
        let (to, shift) = match self.names.became(self.position, relocation.symbol) {
            Became::Symbol(number) => (MovedTo::Symbol(number), 0),
            Became::Section(spot) => (MovedTo::Whole(spot.whole), spot.start),
            Became::Nothing => {
                let message = format!(
                    "a relocation names symbol {} of {}, which is nothing that linking keeps",
                    relocation.symbol,
                    self.part.elf.symbols.len()
                );
                return Err(error(&message));
            }
        };
        if relocation.offset >= self.section.size {
            return Err(error("a relocation changes what is behind the section"));
        }
        let offset = relocation.offset.checked_add(self.start);
        let offset = offset.ok_or_else(|| error("a relocation is out of reach"))?;
        if shift != 0 || relocation.addend.is_some() {
            let place = usize::try_from(offset)
                .ok()
                .and_then(|offset| bytes.get_mut(offset..));
            let rest = place.ok_or_else(|| error("a relocation changes no bytes of the file"))?;
            let order = self.part.elf.byte_order;
            self.change(rest, relocation, shift, order)
                .ok_or_else(|| error("the addend of a relocation cannot be moved"))?;
        }
        Ok(Moved {
            offset,
            kind: relocation.kind,
            to,
        })
    }

    /// Writes an addend for the moved section into the bytes to be changed; `None` if it has no place there.
    fn change(
        &self,
        bytes: &mut [u8],
        relocation: Relocation,
        shift: u64,
        order: ByteOrder,
    ) -> Option<()> {
        let shift = i64::try_from(shift).ok()?;
        let field = self.field(bytes, relocation.kind)?;
        let (at, width) = match field {
            Field::Wide => (4, 4),
            Field::Call => (4, 4),
            Field::Word => (0, 4),
            Field::DoubleWord => (0, 8),
        };
        let place = bytes.get_mut(at..at + width)?;
        let present = read(place, order)?;
        // A call counts instructions from the next one on.
        let value = match (field, relocation.addend) {
            (Field::Call, None) => present.checked_add(shift / INSN_BYTES)?,
            (Field::Call, Some(addend)) => addend.checked_add(shift)? / INSN_BYTES - 1,
            (_, addend) => addend.unwrap_or(present).checked_add(shift)?,
        };
        write(place, value, order)
    }

    fn field(&self, bytes: &[u8], kind: u32) -> Option<Field> {
        if self.section.is_executable {
            return match bytes.first()? {
                &opcode::LD_IMM64 => Some(Field::Wide),
                code if *code == opcode::JMP | opcode::CALL => Some(Field::Call),
                _ => None,
            };
        }
        match kind {
            R_BPF_64_64 | R_BPF_64_ABS64 => Some(Field::DoubleWord),
            R_BPF_64_ABS32 | R_BPF_64_NODYLD32 | R_BPF_64_32 => Some(Field::Word),
            _ => None,
        }
    }
}

/// Where an addend stands.
#[derive(Debug, Clone, Copy)]
enum Field {
    /// In the first half of a wide load.
    Wide,
    /// In a call, counted in instructions.
    Call,
    /// In data.
    Word,
    DoubleWord,
}

fn read(place: &[u8], order: ByteOrder) -> Option<i64> {
    match (place.len(), order) {
        (4, ByteOrder::Little) => Some(i32::from_le_bytes(place.try_into().ok()?).into()),
        (4, ByteOrder::Big) => Some(i32::from_be_bytes(place.try_into().ok()?).into()),
        (8, ByteOrder::Little) => Some(i64::from_le_bytes(place.try_into().ok()?)),
        (8, ByteOrder::Big) => Some(i64::from_be_bytes(place.try_into().ok()?)),
        _ => None,
    }
}

fn write(place: &mut [u8], value: i64, order: ByteOrder) -> Option<()> {
    match (place.len(), order) {
        (4, ByteOrder::Little) => place.copy_from_slice(&i32::try_from(value).ok()?.to_le_bytes()),
        (4, ByteOrder::Big) => place.copy_from_slice(&i32::try_from(value).ok()?.to_be_bytes()),
        (8, ByteOrder::Little) => place.copy_from_slice(&value.to_le_bytes()),
        (8, ByteOrder::Big) => place.copy_from_slice(&value.to_be_bytes()),
        _ => return None,
    }
    Some(())
}

const INSN_BYTES: i64 = 8;
const R_BPF_64_64: u32 = 1;
const R_BPF_64_ABS64: u32 = 2;
const R_BPF_64_ABS32: u32 = 3;
const R_BPF_64_NODYLD32: u32 = 4;
const R_BPF_64_32: u32 = 10;
