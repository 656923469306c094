//! Where the sections of the objects come to stand: those of one name one after another, each as aligned as it asks.

use std::collections::BTreeMap;

use super::part::{Part, is_kept};
use super::{CombinedSection, disagree};
use crate::diagnosis::{Code, Result};
use crate::elf::{Section, SectionIndex, SectionKind};

/// The sections of the result.
#[derive(Debug)]
pub(super) struct Layout<'data> {
    pub(super) wholes: Vec<Whole<'data>>,
    /// Of each object, where its sections came to stand.
    spots: Vec<BTreeMap<SectionIndex, Spot>>,
}

/// A section of the result.
#[derive(Debug)]
pub(super) struct Whole<'data> {
    pub(super) name: &'data str,
    /// Whether it has no bytes in the file.
    pub(super) is_zero_filled: bool,
    /// Whether it is written to, allocated, executed, as ELF numbers that.
    pub(super) flags: u64,
    pub(super) alignment: u64,
    /// Bytes in memory.
    pub(super) size: u64,
    pub(super) pieces: Vec<Piece>,
}

/// A section of an object in one of the result.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    /// The object's position.
    pub(super) part: usize,
    /// Which of its sections.
    pub(super) section: SectionIndex,
    /// Where it starts in the whole.
    pub(super) start: u64,
}

/// Where a section of an object came to stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    /// Position of the whole.
    pub(super) whole: usize,
    /// Where it starts in the whole.
    pub(super) start: u64,
}

impl<'data> Layout<'data> {
    /// Gives every section its place.
    ///
    /// # Errors
    ///
    /// Code L018 if sections of one name cannot become one; O008 for an alignment that is none.
    pub(super) fn of(parts: &[Part<'data>]) -> Result<Self> {
        let mut layout = Self {
            wholes: Vec::new(),
            spots: vec![BTreeMap::new(); parts.len()],
        };
        let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
        for (position, part) in parts.iter().enumerate() {
            for section in part.elf.sections.iter().filter(|each| is_kept(each)) {
                let next = layout.wholes.len();
                let whole = *by_name.entry(section.name).or_insert(next);
                if whole == next {
                    layout.wholes.push(Whole::new(section));
                }
                layout.add(parts, position, section, whole)?;
            }
        }
        Ok(layout)
    }

    /// Where a section came to stand, if the result has it.
    pub(super) fn spot(&self, part: usize, section: SectionIndex) -> Option<Spot> {
        self.spots.get(part)?.get(&section).copied()
    }

    /// The sections for a listing.
    pub(super) fn summary(&self, parts: &[Part<'_>]) -> Vec<CombinedSection> {
        let one = |whole: &Whole<'_>| {
            let mut from: Vec<String> = Vec::new();
            for piece in &whole.pieces {
                let name = parts[piece.part].name;
                if from.last().is_none_or(|last| last != name) {
                    from.push(name.to_owned());
                }
            }
            CombinedSection {
                name: whole.name.to_owned(),
                size: whole.size,
                from,
            }
        };
        self.wholes.iter().map(one).collect()
    }

    fn add(
        &mut self,
        parts: &[Part<'data>],
        position: usize,
        section: &Section<'data>,
        number: usize,
    ) -> Result<()> {
        let part = &parts[position];
        let whole = &mut self.wholes[number];
        if let Some(first) = whole.pieces.first() {
            let other = &parts[first.part];
            if is_said_once(section.name) {
                let said = other.elf.section(first.section).map(|found| found.data);
                return match said == Some(section.data) {
                    true => Ok(()),
                    false => {
                        let what = format!("differ in section `{}`", section.name);
                        Err(disagree(other, part, &what))
                    }
                };
            }
            if !whole.is_like(section) {
                let what = format!("have a section `{}` each, of different kinds", section.name);
                return Err(disagree(other, part, &what));
            }
        }
        let too_large = || {
            let message = "the section becomes too large together with those of other objects";
            part.error(Code::MALFORMED_ELF, section.name, 0, message.to_owned())
        };
        let alignment = alignment(section).ok_or_else(|| {
            let message = format!("an alignment of {:#x} is none", section.alignment);
            part.error(Code::MALFORMED_ELF, section.name, 0, message)
        })?;
        let start = whole.size.checked_next_multiple_of(alignment);
        let start = start.ok_or_else(too_large)?;
        whole.size = start.checked_add(section.size).ok_or_else(too_large)?;
        whole.alignment = whole.alignment.max(alignment);
        whole.flags |= section.flags & KEPT_FLAGS;
        whole.pieces.push(Piece {
            part: position,
            section: section.index,
            start,
        });
        let spot = Spot {
            whole: number,
            start,
        };
        self.spots[position].insert(section.index, spot);
        Ok(())
    }
}

impl<'data> Whole<'data> {
    fn new(section: &Section<'data>) -> Self {
        Self {
            name: section.name,
            is_zero_filled: section.kind == SectionKind::ZeroFilled,
            flags: section.flags & KEPT_FLAGS,
            alignment: 1,
            size: 0,
            pieces: Vec::new(),
        }
    }

    /// Whether it can take in a section: both have bytes or none, both are code or none.
    fn is_like(&self, section: &Section<'_>) -> bool {
        self.is_zero_filled == (section.kind == SectionKind::ZeroFilled)
            && (self.flags & EXECUTABLE != 0) == section.is_executable
    }
}

/// Sections that speak for the whole object: all must say the same, and it is said once.
fn is_said_once(name: &str) -> bool {
    matches!(name, "license" | "version")
}

/// What addresses are multiples of; `None` if it is no power of two, or larger than anything in an object needs.
fn alignment(section: &Section<'_>) -> Option<u64> {
    let alignment = section.alignment.max(1);
    // Code consists of whole instructions, wherever a compiler let it start.
    let least = if section.is_executable { 8 } else { 1 };
    (alignment.is_power_of_two() && alignment <= MOST_ALIGNMENT).then(|| alignment.max(least))
}

const MOST_ALIGNMENT: u64 = 1 << 16;
const EXECUTABLE: u64 = 4;
/// Written to, allocated, executed. The others are about merging strings and groups, which is not done.
const KEPT_FLAGS: u64 = 1 | 2 | EXECUTABLE;
