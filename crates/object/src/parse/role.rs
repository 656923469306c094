//! What a section is for, from its name and kind.

use crate::elf::{Section, SectionKind};

/// The section of variables that clang gives the address space of arenas.
const ARENA: &str = ".addr_space.1";

/// What a section is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Code that hooks run.
    Programs,
    /// Code that only other code calls.
    Subprograms,
    /// Map structs without BTF.
    LegacyMaps,
    /// Map variables that BTF describes.
    BtfMaps,
    /// The license's text.
    License,
    /// The kernel version.
    Version,
    /// Global variables.
    Data,
    /// Variables in an arena.
    Arena,
    /// Tables of functions for kernel interfaces.
    StructOps,
    /// Types.
    Btf,
    /// Lines, functions and field accesses, in terms of types.
    BtfExt,
    /// Relocations.
    Relocations,
    /// Symbols.
    Symbols,
    /// Names.
    Strings,
    /// For debuggers.
    Debug,
    /// Nothing we know.
    Ignored,
}

impl Role {
    /// The role of a section.
    pub(super) fn of(section: &Section<'_>) -> Self {
        match section.kind {
            SectionKind::Content => Self::of_content(section),
            SectionKind::ZeroFilled if is_data(section.name) => Self::Data,
            SectionKind::ZeroFilled if section.name == ARENA => Self::Arena,
            SectionKind::Symbols => Self::Symbols,
            SectionKind::Strings => Self::Strings,
            SectionKind::Relocations { .. } => Self::Relocations,
            SectionKind::ZeroFilled | SectionKind::Null | SectionKind::Other => Self::Ignored,
        }
    }

    fn of_content(section: &Section<'_>) -> Self {
        let name = section.name;
        if section.is_executable {
            // An empty `.text` is in every object of older compilers; it is listed as what it would be.
            let is_shared = name == ".text" || name.starts_with(".text.");
            return match (is_shared, section.data.is_empty()) {
                (true, _) => Self::Subprograms,
                (false, false) => Self::Programs,
                (false, true) => Self::Ignored,
            };
        }
        match name {
            "license" => Self::License,
            "version" => Self::Version,
            ".maps" => Self::BtfMaps,
            "maps" => Self::LegacyMaps,
            ARENA => Self::Arena,
            ".BTF" => Self::Btf,
            ".BTF.ext" => Self::BtfExt,
            ".struct_ops" | ".struct_ops.link" | "?.struct_ops" | "?.struct_ops.link" => {
                Self::StructOps
            }
            _ if name.starts_with("maps/") => Self::LegacyMaps,
            _ if name.starts_with(".debug_") => Self::Debug,
            _ if is_data(name) => Self::Data,
            _ => Self::Ignored,
        }
    }

    /// The role in one word or two, for listings.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Programs => "program",
            Self::Subprograms => "subprograms",
            Self::LegacyMaps | Self::BtfMaps => "maps",
            Self::License => "license",
            Self::Version => "version",
            Self::Data => "data",
            Self::Arena => "arena",
            Self::StructOps => "struct_ops",
            Self::Btf => "btf",
            Self::BtfExt => "btf-ext",
            Self::Relocations => "relocations",
            Self::Symbols => "symbols",
            Self::Strings => "strings",
            Self::Debug => "debug",
            Self::Ignored => "ignored",
        }
    }
}

fn is_data(name: &str) -> bool {
    [".data", ".rodata", ".bss"].iter().any(|family| {
        name.strip_prefix(family)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}
