//! The object's types, completed as the kernel wants them.
//!
//! | what a compiler leaves open | what the kernel gets |
//! |---|---|
//! | sizes of data sections, and where their variables stand | as the sections and symbols of the file say |
//! | sections of names that are the kernel's (`.ksyms`, `.kconfig`) | nameless structs: those variables have no place |
//! | declarations of such names | definitions, those of variables as numbers |
//! | parameters without names | the name of their function |
//! | functions hidden from other files | static ones, which are not verified on their own |
//! | arrays of 4 GiB and more, with which maps state large numbers | arrays of one element |
//! | names that are no C identifiers, as Rust has them | `_` for every other character |
//!
//! KERNEL: each row is something 6.18 refuses (`BPF_BTF_LOAD`, EINVAL), except the hidden functions.

use std::collections::{BTreeMap, BTreeSet};

use crate::btf::{Image, Record, Upload, any_integer, kind, neutralise_section};
use crate::elf::{Binding, Elf, SymbolKind, SymbolPlace};
use crate::order::Ordered as _;
use crate::spec::ByteOrder;

/// The types as the kernel takes them; nothing if the object has none, or they are for machines of the other byte order.
pub(super) fn read(elf: &Elf<'_>) -> Option<Upload> {
    let section = elf
        .section_named(".BTF")
        .filter(|_| elf.byte_order == ByteOrder::HOST)?;
    let image = Image::read(section.data, elf.byte_order)?;
    let integer = any_integer(&image)?;
    let mut completing = Completing {
        offsets: offsets(elf),
        hidden: hidden_functions(elf),
        elf,
        image,
        integer,
    };
    completing.complete();
    Some(completing.image.into())
}

struct Completing<'a> {
    elf: &'a Elf<'a>,
    image: Image,
    /// Some integer type, to stand in for what the object does not know.
    integer: u32,
    /// Where variables stand, by section and name.
    offsets: BTreeMap<(&'a str, &'a [u8]), u64>,
    hidden: BTreeSet<&'a [u8]>,
}

impl Completing<'_> {
    fn complete(&mut self) {
        for number in 1..self.image.len() {
            let Some(record) = self.image.record(number) else {
                continue;
            };
            match record.kind {
                kind::DATA_SECTION => self.section(record),
                kind::VARIABLE => self.variable(record),
                kind::FUNCTION => self.function(record),
                kind::ARRAY => self.array(record),
                kind::POINTER
                | kind::CONST
                | kind::VOLATILE
                | kind::RESTRICT
                | kind::FUNCTION_PROTOTYPE
                    if record.name != 0 =>
                {
                    self.image.set_word(record.at, 0);
                }
                _ => {}
            }
            if has_identifier(record.kind) {
                self.clean(record.name);
            }
        }
    }

    fn section(&mut self, record: Record) {
        if self.place_variables(record).is_none() {
            neutralise_section(&mut self.image, record, self.integer);
        }
    }

    /// Fills in a section's size and its variables' offsets, ascending; nothing if that cannot be right.
    fn place_variables(&mut self, record: Record) -> Option<()> {
        let name = std::str::from_utf8(self.image.text(record.name)).ok()?;
        let section = self.elf.section_named(name)?;
        let size = u32::try_from(section.size).ok().filter(|size| *size > 0)?;
        let section = section.name;
        let mut entries = Vec::new();
        for entry in 0..usize::try_from(record.count).ok()? {
            let at = record.entries() + entry * ENTRY_BYTES;
            let variable = self.image.word(at)?;
            let place = self.offset_of(section, variable, self.image.word(at + 4)?)?;
            entries.push((place, self.image.word(at + 8)?, variable));
        }
        entries.sort_unstable();
        let mut end = 0;
        for (offset, bytes, _) in &entries {
            if *offset < end || *bytes == 0 {
                return None;
            }
            end = offset.checked_add(*bytes).filter(|end| *end <= size)?;
        }
        self.image.set_word(record.at + 8, size);
        for (position, (offset, bytes, variable)) in entries.into_iter().enumerate() {
            let at = record.entries() + position * ENTRY_BYTES;
            self.image.set_word(at, variable);
            self.image.set_word(at + 4, offset);
            self.image.set_word(at + 8, bytes);
        }
        Some(())
    }

    /// Where a variable stands: static ones have their offset already, the symbols of others say it.
    fn offset_of(&self, section: &str, variable: u32, written: u32) -> Option<u32> {
        let record = self.image.record(usize::try_from(variable).ok()?)?;
        if record.kind != kind::VARIABLE {
            return None;
        }
        let name = self.image.text(record.name);
        match self.offsets.get(&(section, name)) {
            Some(offset) => u32::try_from(*offset).ok(),
            None => Some(written),
        }
    }

    fn variable(&mut self, record: Record) {
        if self.image.word(record.entries()) == Some(LINKAGE_EXTERN) {
            self.image.set_word(record.at + 8, self.integer);
            self.image.set_word(record.entries(), LINKAGE_GLOBAL);
        }
    }

    fn array(&mut self, record: Record) {
        let word = |at| self.image.word(record.entries() + at);
        let (Some(element), Some(count)) = (word(0), word(8)) else {
            return;
        };
        let element = usize::try_from(element)
            .ok()
            .and_then(|number| self.image.record(number))
            .filter(|element| element.kind == kind::INTEGER);
        if element.is_some_and(|element| element.size_or_target.checked_mul(count).is_none()) {
            self.image.set_word(record.entries() + 8, 1);
        }
    }

    fn function(&mut self, record: Record) {
        self.name_parameters(record);
        if record.count == LINKAGE_EXTERN {
            self.image.set_kind(record, kind::FUNCTION, LINKAGE_GLOBAL);
        } else if record.count == LINKAGE_GLOBAL
            && self.hidden.contains(self.image.text(record.name))
        {
            self.image.set_kind(record, kind::FUNCTION, LINKAGE_STATIC);
        }
    }

    /// Gives parameters that were left nameless the function's own name.
    fn name_parameters(&mut self, function: Record) {
        let prototype = usize::try_from(function.size_or_target)
            .ok()
            .and_then(|number| self.image.record(number))
            .filter(|record| record.kind == kind::FUNCTION_PROTOTYPE);
        let Some(prototype) = prototype else { return };
        for parameter in 0..usize::try_from(prototype.count).unwrap_or(0) {
            let at = prototype.entries() + parameter * PARAMETER_BYTES;
            let is_nameless = self.image.word(at) == Some(0);
            // A last one without type stands for `...` and has no name.
            if is_nameless && self.image.word(at + 4) != Some(0) {
                self.image.set_word(at, function.name);
            }
        }
    }

    fn clean(&mut self, name: u32) {
        let is_fit = |position: usize, byte: u8| {
            byte == b'_'
                || byte == b'.'
                || byte.is_ascii_alphabetic()
                || position > 0 && byte.is_ascii_digit()
        };
        let text = self.image.text(name);
        if text.iter().enumerate().any(|(at, byte)| !is_fit(at, *byte)) {
            let change = |at, byte| if is_fit(at, byte) { byte } else { b'_' };
            self.image.change_text(name, change);
        }
    }
}

/// Whether the kernel insists on an identifier as the name of a type of this kind.
fn has_identifier(number: u32) -> bool {
    matches!(
        number,
        kind::STRUCT
            | kind::UNION
            | kind::ENUM
            | kind::ENUM64
            | kind::FORWARD
            | kind::TYPEDEF
            | kind::VARIABLE
            | kind::FUNCTION
    )
}

/// Offsets of the variables that other files could name.
fn offsets<'a>(elf: &'a Elf<'a>) -> BTreeMap<(&'a str, &'a [u8]), u64> {
    let visible = elf.symbols.iter().filter(|symbol| {
        symbol.binding != Binding::Local
            && matches!(symbol.kind, SymbolKind::Variable | SymbolKind::Untyped)
    });
    visible
        .filter_map(|symbol| match symbol.place {
            SymbolPlace::Section(index) => {
                let section = elf.section(index)?;
                Some(((section.name, symbol.name.as_bytes()), symbol.value))
            }
            _ => None,
        })
        .in_map()
}

fn hidden_functions<'a>(elf: &'a Elf<'a>) -> BTreeSet<&'a [u8]> {
    elf.symbols
        .iter()
        .filter(|symbol| symbol.is_hidden && symbol.kind == SymbolKind::Function)
        .map(|symbol| symbol.name.as_bytes())
        .in_set()
}

/// A variable in its section: its type's number, where it starts, its size.
const ENTRY_BYTES: usize = 12;
/// A parameter: its name and its type's number.
const PARAMETER_BYTES: usize = 8;
const LINKAGE_STATIC: u32 = 0;
const LINKAGE_GLOBAL: u32 = 1;
const LINKAGE_EXTERN: u32 = 2;
