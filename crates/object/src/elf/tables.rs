//! Section headers, symbols and relocations out of a file whose header is known to be right.

use object::read::elf::{FileHeader as _, Rel as _, Rela as _, SectionHeader as _, Sym as _};
use object::{Endianness, elf};

use super::identify::{Header, endianness};
use super::{
    Binding, Elf, Relocation, Section, SectionIndex, SectionKind, Symbol, SymbolKind, SymbolPlace,
};
use crate::bytes::ByteOrder;
use crate::bytes::{slice_at, text_at};
use crate::diagnosis::{Code, Diagnosis, Error, Result};

type SectionHeader = elf::SectionHeader64<Endianness>;

const SECTION_HEADER_BYTES: u64 = 64;
const SYMBOL_BYTES: usize = 24;

/// Longest name we read; the kernel's own stop at 512. Without a limit, a small file whose names all point into one long
/// string would cost its length squared.
const NAME_LIMIT: usize = 2048;

/// A file while its tables are read.
struct Reader<'data> {
    bytes: &'data [u8],
    endian: Endianness,
    headers: &'data [SectionHeader],
}

/// Reads all tables.
///
/// # Errors
///
/// If a table or section reaches beyond the file, or the tables contradict each other.
pub(super) fn read<'data>(bytes: &'data [u8], header: &'data Header) -> Result<Elf<'data>> {
    let byte_order = if header.is_big_endian() {
        ByteOrder::Big
    } else {
        ByteOrder::Little
    };
    let endian = endianness(byte_order);
    let reader = Reader {
        bytes,
        endian,
        headers: section_headers(bytes, header, endian)?,
    };
    let sections = reader.sections(header)?;
    let mut warnings = Vec::new();
    if header.e_machine(endian) == elf::EM_NONE {
        warnings.push("the file names no machine, as the first BPF compilers did".to_owned());
    }
    let symbols = reader.symbols()?;
    Ok(Elf {
        byte_order,
        sections,
        symbols,
        warnings,
    })
}

/// The entries of a relocation section; none if it is not one.
///
/// # Errors
///
/// If the section is not made of whole entries.
pub(crate) fn relocations(section: &Section<'_>, order: ByteOrder) -> Result<Vec<Relocation>> {
    let endian = endianness(order);
    let SectionKind::Relocations { has_addends, .. } = section.kind else {
        return Ok(Vec::new());
    };
    if has_addends {
        let entries: &[elf::Rela64<Endianness>] =
            object::pod::slice_from_all_bytes(section.data).map_err(|()| ragged(section))?;
        return Ok(entries.iter().map(|entry| rela(entry, endian)).collect());
    }
    let entries: &[elf::Rel64<Endianness>] =
        object::pod::slice_from_all_bytes(section.data).map_err(|()| ragged(section))?;
    Ok(entries.iter().map(|entry| rel(entry, endian)).collect())
}

fn rel(entry: &elf::Rel64<Endianness>, endian: Endianness) -> Relocation {
    Relocation {
        offset: entry.r_offset(endian),
        kind: entry.r_type(endian).0,
        symbol: usize::try_from(entry.r_sym(endian)).unwrap_or(usize::MAX),
        addend: None,
    }
}

fn rela(entry: &elf::Rela64<Endianness>, endian: Endianness) -> Relocation {
    Relocation {
        offset: entry.r_offset(endian),
        kind: entry.r_type(endian, false).0,
        symbol: usize::try_from(entry.r_sym(endian, false)).unwrap_or(usize::MAX),
        addend: Some(entry.r_addend(endian)),
    }
}

fn ragged(section: &Section<'_>) -> Error {
    let message = format!(
        "section `{}` of {} bytes is not made of whole relocations",
        section.name,
        section.data.len()
    );
    Diagnosis::new(Code::MALFORMED_ELF, message).into()
}

fn section_headers<'data>(
    bytes: &'data [u8],
    header: &'data Header,
    endian: Endianness,
) -> Result<&'data [SectionHeader]> {
    let offset = header.e_shoff(endian);
    if offset == 0 {
        return Err(malformed("the file has no section header table"));
    }
    let count = u64::from(header.e_shnum(endian)).max(1);
    check_header_table(bytes, offset, count)?;
    // A count that does not fit its 16 bits stands in the first header; `shnum` follows that.
    let count = header.shnum(endian, bytes).map_err(container)?;
    check_header_table(bytes, offset, u64::from(count))?;
    header.section_headers(endian, bytes).map_err(container)
}

fn check_header_table(bytes: &[u8], offset: u64, count: u64) -> Result<()> {
    let length = count.saturating_mul(SECTION_HEADER_BYTES);
    if slice_at(bytes, offset, length).is_some() {
        return Ok(());
    }
    let message = format!(
        "the section header table takes offsets {offset:#x} to {:#x} but the file ends at {:#x}",
        offset.saturating_add(length),
        bytes.len()
    );
    Err(Diagnosis::new(Code::TRUNCATED, message)
        .help("the file was cut off: copy or compile it again")
        .into())
}

impl<'data> Reader<'data> {
    fn sections(&self, header: &Header) -> Result<Vec<Section<'data>>> {
        let names = self.section_names(header)?;
        let mut sections = Vec::with_capacity(self.headers.len());
        let mut total: u64 = 0;
        for (number, header) in self.headers.iter().enumerate() {
            let section = self.section(number, header, names)?;
            total = total.saturating_add(section.data.len().try_into().unwrap_or(u64::MAX));
            sections.push(section);
        }
        if slice_at(self.bytes, 0, total).is_none() {
            let message = format!(
                "the sections announce {total} bytes together but the file has {}: they overlap",
                self.bytes.len()
            );
            return Err(malformed(message));
        }
        Ok(sections)
    }

    fn section_names(&self, header: &Header) -> Result<&'data [u8]> {
        let index = header
            .section_strings_index(self.endian, self.bytes)
            .map_err(container)?;
        let strings = self.headers.get(index.0).ok_or_else(|| {
            malformed(format!(
                "section {} should hold the section names but there are only {} sections",
                index.0,
                self.headers.len()
            ))
        })?;
        self.data(strings, index.0, "")
    }

    fn section(
        &self,
        number: usize,
        header: &'data SectionHeader,
        names: &'data [u8],
    ) -> Result<Section<'data>> {
        let name = name_at(names, header.sh_name(self.endian))
            .ok_or_else(|| no_name("section", number, header.sh_name(self.endian), names))?;
        let kind = self.kind(header);
        let data = match kind {
            SectionKind::Null | SectionKind::ZeroFilled => &[][..],
            _ => self.data(header, number, name)?,
        };
        Ok(Section {
            index: SectionIndex(number),
            is_executable: header.sh_flags(self.endian).contains(elf::SHF_EXECINSTR),
            flags: header.sh_flags(self.endian).0,
            alignment: header.sh_addralign(self.endian),
            size: header.sh_size(self.endian),
            name,
            kind,
            data,
        })
    }

    fn kind(&self, header: &SectionHeader) -> SectionKind {
        let info = usize::try_from(header.sh_info(self.endian)).unwrap_or(usize::MAX);
        match header.sh_type(self.endian) {
            elf::SHT_NULL => SectionKind::Null,
            elf::SHT_PROGBITS => SectionKind::Content,
            elf::SHT_NOBITS => SectionKind::ZeroFilled,
            elf::SHT_SYMTAB => SectionKind::Symbols,
            elf::SHT_STRTAB => SectionKind::Strings,
            elf::SHT_REL => SectionKind::Relocations {
                of: SectionIndex(info),
                has_addends: false,
            },
            elf::SHT_RELA => SectionKind::Relocations {
                of: SectionIndex(info),
                has_addends: true,
            },
            _ => SectionKind::Other,
        }
    }

    fn data(&self, header: &SectionHeader, number: usize, name: &str) -> Result<&'data [u8]> {
        let (offset, size) = (header.sh_offset(self.endian), header.sh_size(self.endian));
        slice_at(self.bytes, offset, size).ok_or_else(|| {
            let message = format!(
                "section {number} `{name}` takes offsets {offset:#x} to {:#x} but the file ends at {:#x}",
                offset.saturating_add(size),
                self.bytes.len()
            );
            Diagnosis::new(Code::TRUNCATED, message)
                .help("the file was cut off: copy or compile it again")
                .into()
        })
    }

    fn symbols(&self) -> Result<Vec<Symbol<'data>>> {
        let Some(number) = self
            .headers
            .iter()
            .position(|header| header.sh_type(self.endian) == elf::SHT_SYMTAB)
        else {
            return Ok(Vec::new());
        };
        let header = &self.headers[number];
        let data = self.data(header, number, ".symtab")?;
        let entries: &[elf::Sym64<Endianness>] =
            object::pod::slice_from_all_bytes(data).map_err(|()| {
                malformed(format!(
                    "the symbol table of {} bytes is not made of whole symbols of {SYMBOL_BYTES} bytes",
                    data.len()
                ))
            })?;
        let strings_number = usize::try_from(header.sh_link(self.endian)).unwrap_or(usize::MAX);
        let strings = self.headers.get(strings_number).ok_or_else(|| {
            malformed(format!(
                "section {strings_number} should hold the symbol names but there are only {} sections",
                self.headers.len()
            ))
        })?;
        let strings = self.data(strings, strings_number, "")?;
        entries
            .iter()
            .enumerate()
            .map(|(position, entry)| self.symbol(position, entry, strings))
            .collect()
    }

    fn symbol(
        &self,
        position: usize,
        entry: &elf::Sym64<Endianness>,
        strings: &'data [u8],
    ) -> Result<Symbol<'data>> {
        let offset = entry.st_name(self.endian);
        let name = match offset {
            0 => "",
            _ => name_at(strings, offset)
                .ok_or_else(|| no_name("symbol", position, offset, strings))?,
        };
        Ok(Symbol {
            name,
            place: self.place(entry),
            value: entry.st_value(self.endian),
            size: entry.st_size(self.endian),
            kind: match entry.st_type() {
                elf::STT_NOTYPE => SymbolKind::Untyped,
                elf::STT_OBJECT => SymbolKind::Variable,
                elf::STT_FUNC => SymbolKind::Function,
                elf::STT_SECTION => SymbolKind::Section,
                _ => SymbolKind::Other,
            },
            binding: match entry.st_bind() {
                elf::STB_LOCAL => Binding::Local,
                elf::STB_WEAK => Binding::Weak,
                _ => Binding::Global,
            },
            is_hidden: matches!(entry.st_visibility(), elf::STV_HIDDEN | elf::STV_INTERNAL),
        })
    }

    /// Objects with 65,280 sections and more keep section numbers in a table of their own; no compiler writes such
    /// BPF, so that their symbols count as absolute.
    fn place(&self, entry: &elf::Sym64<Endianness>) -> SymbolPlace {
        let section = entry.st_shndx(self.endian);
        match section {
            elf::SHN_UNDEF => SymbolPlace::Undefined,
            elf::SHN_COMMON => SymbolPlace::Common,
            _ => section.index().map_or(SymbolPlace::Absolute, |number| {
                SymbolPlace::Section(SectionIndex(usize::from(number)))
            }),
        }
    }
}

fn name_at(strings: &[u8], offset: u32) -> Option<&str> {
    std::str::from_utf8(text_at(strings, offset, NAME_LIMIT)?).ok()
}

fn no_name(what: &str, number: usize, offset: u32, strings: &[u8]) -> Error {
    malformed(format!(
        "{what} {number} has no readable name at offset {offset:#x} of the {} bytes of names",
        strings.len()
    ))
}

fn container(error: object::read::Error) -> Error {
    malformed(format!("ELF container: {error}"))
}

fn malformed(message: impl Into<String>) -> Error {
    Diagnosis::new(Code::MALFORMED_ELF, message).into()
}
