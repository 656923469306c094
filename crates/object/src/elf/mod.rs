//! The ELF container: sections, symbols and relocations as they stand in the file, every range checked.
//!
//! Nothing here knows BPF, apart from refusing other machines. Reading is done through the `object` crate's raw tables
//! (`object::read::elf`), because its unified view hides what old compilers left out: symbol types, sizes, addends.
//!
//! INVARIANT: an [`Elf`] borrows all bytes from the file; every [`Section::data`] lies inside it, and the sections together
//! are no longer than the file, so that work done per section is bounded by the file's length.

mod any;
mod identify;
mod sparse;
mod tables;

use crate::bytes::ByteOrder;
use crate::diagnosis::Result;

pub(crate) use any::section_of_any;
pub(crate) use identify::endianness;
pub use sparse::read_without_debugging;

/// Position of a section in the section header table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SectionIndex(pub(crate) usize);

/// A relocatable BPF object, taken apart.
#[derive(Debug)]
pub(crate) struct Elf<'data> {
    /// Byte order of everything in the file, code included.
    pub(crate) byte_order: ByteOrder,
    /// Sections by header position; the first is the empty one that ELF demands.
    pub(crate) sections: Vec<Section<'data>>,
    /// Symbols by table position; the first is the empty one that ELF demands.
    pub(crate) symbols: Vec<Symbol<'data>>,
    /// What was tolerated, one sentence each.
    pub(crate) warnings: Vec<String>,
}

/// One section.
#[derive(Debug)]
pub(crate) struct Section<'data> {
    /// Where its header stands.
    pub(crate) index: SectionIndex,
    /// Its name.
    pub(crate) name: &'data str,
    /// What its bytes are.
    pub(crate) kind: SectionKind,
    /// Whether its bytes are code.
    pub(crate) is_executable: bool,
    /// Its flags, as ELF numbers them.
    pub(crate) flags: u64,
    /// What its address should be a multiple of; 0 and 1 both mean anything.
    pub(crate) alignment: u64,
    /// Size in memory; equals the length of `data` unless the section has no bytes in the file.
    pub(crate) size: u64,
    /// Its bytes; empty for sections without any in the file.
    pub(crate) data: &'data [u8],
}

/// What the bytes of a section are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SectionKind {
    /// The entry that ELF demands at position 0, or a header that is switched off.
    Null,
    /// The program's own: code or data.
    Content,
    /// Data without bytes in the file (`.bss`).
    ZeroFilled,
    /// Symbols.
    Symbols,
    /// Strings.
    Strings,
    /// Relocations of the named section.
    Relocations {
        /// The section whose bytes are to be changed.
        of: SectionIndex,
        /// Whether the addend is in the table (RELA) or in the bytes to be changed (REL).
        has_addends: bool,
    },
    /// Something else: notes, groups, vendor's own.
    Other,
}

/// One symbol.
#[derive(Debug)]
pub(crate) struct Symbol<'data> {
    /// Its name; empty for section symbols.
    pub(crate) name: &'data str,
    /// Where it is defined.
    pub(crate) place: SymbolPlace,
    /// Offset within its section.
    pub(crate) value: u64,
    /// Size in bytes; 0 if the compiler did not say.
    pub(crate) size: u64,
    /// What it names.
    pub(crate) kind: SymbolKind,
    /// Who can see it.
    pub(crate) binding: Binding,
    /// Whether a linker that makes a whole of several files keeps it inside.
    pub(crate) is_hidden: bool,
}

/// Where a symbol is defined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SymbolPlace {
    /// Not in this file.
    Undefined,
    /// In this section.
    Section(SectionIndex),
    /// Nowhere in particular: a constant, a file name.
    Absolute,
    /// Storage that a linker would merge (`-fcommon`).
    Common,
}

/// What a symbol names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SymbolKind {
    /// The compiler did not say. Until 2018 clang said so of everything.
    Untyped,
    /// A variable.
    Variable,
    /// A function.
    Function,
    /// A section.
    Section,
    /// A source file, a thread-local variable, or something newer.
    Other,
}

/// Who can see a symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binding {
    /// Its own file.
    Local,
    /// Every file.
    Global,
    /// Every file; another definition may win, or none be there.
    Weak,
}

/// One relocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Relocation {
    /// Offset of the bytes to be changed in their section.
    pub(crate) offset: u64,
    /// The kind, as the BPF architecture numbers it.
    pub(crate) kind: u32,
    /// Position of the symbol.
    pub(crate) symbol: usize,
    /// What to add, if the table says; otherwise it stands in the bytes.
    pub(crate) addend: Option<i64>,
}

impl<'data> Elf<'data> {
    /// Takes a file apart.
    ///
    /// # Errors
    ///
    /// If it is not an ELF file, not for BPF, not relocatable, truncated or contradicts itself; each its own code.
    pub(crate) fn parse(bytes: &'data [u8]) -> Result<Self> {
        let header = identify::identify(bytes)?;
        tables::read(bytes, header)
    }

    /// The section at this position, if there is one.
    pub(crate) fn section(&self, index: SectionIndex) -> Option<&Section<'data>> {
        self.sections.get(index.0)
    }

    /// The first section with this name.
    pub(crate) fn section_named(&self, name: &str) -> Option<&Section<'data>> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// Symbols defined in this section, with their positions, in the order of the table.
    pub(crate) fn symbols_in(&self, index: SectionIndex) -> impl Iterator<Item = &Symbol<'data>> {
        self.symbols
            .iter()
            .filter(move |symbol| symbol.place == SymbolPlace::Section(index))
    }
}

pub(crate) use tables::relocations;
