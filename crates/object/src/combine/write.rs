//! The file: sections, symbols and relocations as a relocatable object, through the `object` crate's writer.

use object::elf;
use object::write::{
    Object as Writer, Relocation, SectionId, Symbol, SymbolId, SymbolScope, SymbolSection,
};
use object::{Architecture, BinaryFormat, RelocationFlags, SectionFlags, SectionKind, SymbolFlags};

use super::layout::{Layout, Whole};
use super::moved::{Content, MovedTo};
use super::names::{Home, Named, Names};
use super::types::MergedTypes;
use crate::bytes::ByteOrder;
use crate::diagnosis::{Code, Diagnosis, Result};
use crate::elf::{Binding, SymbolKind, endianness};

/// Writes the file.
///
/// # Errors
///
/// If it becomes too large for its format.
pub(super) fn write(
    order: ByteOrder,
    layout: &Layout<'_>,
    names: &Names<'_>,
    contents: &[Content],
    types: MergedTypes,
) -> Result<Vec<u8>> {
    let mut file = Writer::new(BinaryFormat::Elf, Architecture::Bpf, endianness(order));
    let sections: Vec<SectionId> = layout
        .wholes
        .iter()
        .zip(contents)
        .map(|(whole, content)| add_section(&mut file, whole, content))
        .collect();
    for (name, bytes) in [(".BTF", types.btf), (".BTF.ext", types.ext)] {
        if let Some(bytes) = bytes {
            let id = file.add_section(Vec::new(), name.into(), SectionKind::Other);
            file.section_mut(id).flags = flags(elf::SHT_PROGBITS, 0);
            file.append_section_data(id, &bytes, 4);
        }
    }
    let symbols: Vec<SymbolId> = names
        .list
        .iter()
        .map(|named| file.add_symbol(symbol(named, &sections)))
        .collect();
    for (content, section) in contents.iter().zip(&sections) {
        for moved in &content.relocations {
            let symbol = match moved.to {
                MovedTo::Whole(whole) => file.section_symbol(sections[whole]),
                MovedTo::Symbol(number) => symbols[number],
            };
            let relocation = Relocation {
                offset: moved.offset,
                symbol,
                addend: 0,
                flags: RelocationFlags::Elf {
                    r_type: elf::RelocationType(moved.kind),
                },
            };
            file.add_relocation(*section, relocation).map_err(refused)?;
        }
    }
    file.write().map_err(refused)
}

fn add_section(file: &mut Writer<'_>, whole: &Whole<'_>, content: &Content) -> SectionId {
    let kind = match whole.is_zero_filled {
        true => SectionKind::UninitializedData,
        false => SectionKind::Data,
    };
    let id = file.add_section(Vec::new(), whole.name.into(), kind);
    if whole.is_zero_filled {
        file.section_mut(id).flags = flags(elf::SHT_NOBITS, whole.flags);
        file.append_section_bss(id, whole.size, whole.alignment);
    } else {
        file.section_mut(id).flags = flags(elf::SHT_PROGBITS, whole.flags);
        file.append_section_data(id, &content.bytes, whole.alignment);
    }
    id
}

fn flags(sh_type: elf::SectionType, flags: u64) -> SectionFlags {
    SectionFlags::Elf {
        sh_type,
        sh_flags: elf::SectionFlags(flags),
    }
}

fn symbol(named: &Named<'_>, sections: &[SectionId]) -> Symbol {
    let (section, value) = match named.home {
        Home::Open => (SymbolSection::Undefined, 0),
        Home::At(spot) => (SymbolSection::Section(sections[spot.whole]), spot.start),
        Home::Constant(value) => (SymbolSection::Absolute, value),
    };
    let st_type = match named.kind {
        SymbolKind::Function => elf::STT_FUNC,
        SymbolKind::Variable => elf::STT_OBJECT,
        _ => elf::STT_NOTYPE,
    };
    let (st_bind, scope) = match named.binding {
        Binding::Local => (elf::STB_LOCAL, SymbolScope::Compilation),
        Binding::Global => (elf::STB_GLOBAL, SymbolScope::Dynamic),
        Binding::Weak => (elf::STB_WEAK, SymbolScope::Dynamic),
    };
    let visibility = match named.is_hidden {
        true => elf::STV_HIDDEN,
        false => elf::STV_DEFAULT,
    };
    Symbol {
        name: named.name.into(),
        value,
        size: named.size,
        kind: object::SymbolKind::Unknown,
        scope,
        weak: named.binding == Binding::Weak,
        section,
        flags: SymbolFlags::Elf {
            st_info: elf::SymbolInfo::new(st_bind, st_type),
            st_other: visibility.into(),
        },
    }
}

fn refused(error: object::write::Error) -> crate::diagnosis::Error {
    let message = format!("the linked object cannot be written: {error}");
    Diagnosis::new(Code::LINK_TOO_LARGE, message).into()
}
