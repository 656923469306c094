//! Object files made by hand, for shapes that no compiler at hand writes any more, or never wrote.
//!
//! ```text
//! header | bytes of each section | symbols | symbol names | relocations | section names | section headers
//! ```

use twinbpf_object::spec::ByteOrder;
use twinbpf_object::{Insn, Object};

pub(crate) const PROGBITS: u32 = 1;
pub(crate) const NOBITS: u32 = 8;

pub(crate) const LOCAL: u8 = 0;
pub(crate) const GLOBAL: u8 = 1;
pub(crate) const WEAK: u8 = 2;

pub(crate) const UNTYPED: u8 = 0;
pub(crate) const VARIABLE: u8 = 1;
pub(crate) const FUNCTION: u8 = 2;
pub(crate) const SECTION: u8 = 3;

pub(crate) const R_BPF_64_64: u32 = 1;
pub(crate) const R_BPF_64_32: u32 = 10;

const SYMTAB: u32 = 2;
const STRTAB: u32 = 3;
const RELA: u32 = 4;
const REL: u32 = 9;
const EXECUTABLE: u64 = 4;

struct SectionEntry {
    name: String,
    kind: u32,
    flags: u64,
    data: Vec<u8>,
    link: u32,
    info: u32,
}

/// A symbol as the table has it.
pub(crate) struct SymbolEntry<'a> {
    pub(crate) name: &'a str,
    pub(crate) binding: u8,
    pub(crate) kind: u8,
    /// Section number; 0 for undefined, 0xfff2 for common.
    pub(crate) section: u16,
    pub(crate) value: u64,
    pub(crate) size: u64,
}

/// Collects sections and symbols, then writes the file.
pub(crate) struct ElfBuilder {
    order: ByteOrder,
    sections: Vec<SectionEntry>,
    symbols: Vec<u8>,
    symbol_names: Vec<u8>,
    symbol_count: u32,
    relocations: Vec<(u16, bool, Vec<u8>)>,
}

impl ElfBuilder {
    pub(crate) fn new(order: ByteOrder) -> Self {
        Self {
            order,
            sections: Vec::new(),
            symbols: vec![0; 24],
            symbol_names: vec![0],
            symbol_count: 1,
            relocations: Vec::new(),
        }
    }

    /// Adds a section and gives its number.
    pub(crate) fn section(&mut self, name: &str, kind: u32, flags: u64, data: &[u8]) -> u16 {
        self.sections.push(SectionEntry {
            name: name.to_owned(),
            kind,
            flags,
            data: data.to_vec(),
            link: 0,
            info: 0,
        });
        u16::try_from(self.sections.len()).unwrap()
    }

    /// Adds a section of code.
    pub(crate) fn code(&mut self, name: &str, insns: &[Insn]) -> u16 {
        let order = self.order;
        let bytes: Vec<u8> = insns.iter().flat_map(|insn| insn.to_bytes(order)).collect();
        self.section(name, PROGBITS, EXECUTABLE, &bytes)
    }

    /// Adds a section of 32-bit numbers.
    pub(crate) fn words(&mut self, name: &str, words: &[u32]) -> u16 {
        let bytes: Vec<u8> = words.iter().flat_map(|word| self.u32(*word)).collect();
        self.section(name, PROGBITS, 0, &bytes)
    }

    /// Adds a symbol and gives its number.
    pub(crate) fn symbol(&mut self, symbol: &SymbolEntry<'_>) -> u32 {
        let name = match symbol.name {
            "" => 0,
            name => {
                let offset = u32::try_from(self.symbol_names.len()).unwrap();
                self.symbol_names.extend(name.bytes().chain([0]));
                offset
            }
        };
        let mut entry = self.u32(name).to_vec();
        entry.extend([symbol.binding << 4 | symbol.kind, 0]);
        entry.extend(self.u16(symbol.section));
        entry.extend(self.u64(symbol.value));
        entry.extend(self.u64(symbol.size));
        self.symbols.extend(entry);
        self.symbol_count += 1;
        self.symbol_count - 1
    }

    /// A global function symbol with its size.
    pub(crate) fn function(
        &mut self,
        name: &str,
        section: u16,
        slots: std::ops::Range<u64>,
    ) -> u32 {
        self.symbol(&SymbolEntry {
            name,
            binding: GLOBAL,
            kind: FUNCTION,
            section,
            value: slots.start * 8,
            size: (slots.end - slots.start) * 8,
        })
    }

    /// A symbol as clang wrote them in 2016: no type, no size.
    pub(crate) fn bare(&mut self, name: &str, section: u16, value: u64) -> u32 {
        self.symbol(&SymbolEntry {
            name,
            binding: GLOBAL,
            kind: UNTYPED,
            section,
            value,
            size: 0,
        })
    }

    /// Adds relocations without addends: offset, symbol, kind.
    pub(crate) fn rel(&mut self, of: u16, entries: &[(u64, u32, u32)]) {
        let mut bytes = Vec::new();
        for (offset, symbol, kind) in entries {
            bytes.extend(self.u64(*offset));
            bytes.extend(self.u64(u64::from(*symbol) << 32 | u64::from(*kind)));
        }
        self.relocations.push((of, false, bytes));
    }

    /// Adds relocations with addends: offset, symbol, kind, addend.
    pub(crate) fn rela(&mut self, of: u16, entries: &[(u64, u32, u32, i64)]) {
        let mut bytes = Vec::new();
        for (offset, symbol, kind, addend) in entries {
            bytes.extend(self.u64(*offset));
            bytes.extend(self.u64(u64::from(*symbol) << 32 | u64::from(*kind)));
            bytes.extend(self.u64(addend.cast_unsigned()));
        }
        self.relocations.push((of, true, bytes));
    }

    /// Writes the file.
    pub(crate) fn build(mut self) -> Vec<u8> {
        let strings = u32::try_from(self.sections.len()).unwrap() + 1;
        let names = std::mem::take(&mut self.symbol_names);
        self.section(".strtab", STRTAB, 0, &names);
        let symbols = std::mem::take(&mut self.symbols);
        self.section(".symtab", SYMTAB, 0, &symbols);
        self.sections.last_mut().unwrap().link = strings;
        for (of, has_addends, bytes) in std::mem::take(&mut self.relocations) {
            let kind = if has_addends { RELA } else { REL };
            let name = format!(".rel{}", self.sections[usize::from(of) - 1].name);
            self.section(&name, kind, 0, &bytes);
            let section = self.sections.last_mut().unwrap();
            section.link = strings + 1;
            section.info = u32::from(of);
        }
        self.write()
    }

    /// Writes the file and reads it.
    pub(crate) fn parse(self) -> twinbpf_object::Result<Object> {
        Object::parse(&self.build())
    }

    fn write(mut self) -> Vec<u8> {
        let mut names = vec![0];
        let mut name_offsets = Vec::new();
        self.section(".shstrtab", STRTAB, 0, &[]);
        for section in &self.sections {
            name_offsets.push(u32::try_from(names.len()).unwrap());
            names.extend(section.name.bytes().chain([0]));
        }
        self.sections.last_mut().unwrap().data = names;

        let mut body: Vec<u8> = Vec::new();
        let mut headers = vec![0; 64];
        for (section, name) in self.sections.iter().zip(name_offsets) {
            let offset = u64::try_from(64 + body.len()).unwrap();
            headers.extend(self.u32(name));
            headers.extend(self.u32(section.kind));
            for word in [section.flags, 0, offset] {
                headers.extend(self.u64(word));
            }
            headers.extend(self.u64(u64::try_from(section.data.len()).unwrap()));
            headers.extend(self.u32(section.link));
            headers.extend(self.u32(section.info));
            headers.extend([0; 16]);
            if section.kind != NOBITS {
                body.extend(&section.data);
            }
        }
        let mut file = self.header(u64::try_from(64 + body.len()).unwrap());
        file.extend(body);
        file.extend(headers);
        file
    }

    fn header(&self, section_headers: u64) -> Vec<u8> {
        let count = u16::try_from(self.sections.len()).unwrap();
        let data = match self.order {
            ByteOrder::Little => 1,
            ByteOrder::Big => 2,
        };
        let mut header = vec![0x7f, b'E', b'L', b'F', 2, data, 1];
        header.resize(16, 0);
        header.extend([self.u16(1), self.u16(247)].concat());
        header.extend(self.u32(1));
        for word in [0, 0, section_headers] {
            header.extend(self.u64(word));
        }
        header.extend(self.u32(0));
        for half in [64, 0, 0, 64, count + 1, count] {
            header.extend(self.u16(half));
        }
        header
    }

    fn u16(&self, value: u16) -> [u8; 2] {
        match self.order {
            ByteOrder::Little => value.to_le_bytes(),
            ByteOrder::Big => value.to_be_bytes(),
        }
    }

    fn u32(&self, value: u32) -> [u8; 4] {
        match self.order {
            ByteOrder::Little => value.to_le_bytes(),
            ByteOrder::Big => value.to_be_bytes(),
        }
    }

    fn u64(&self, value: u64) -> [u8; 8] {
        match self.order {
            ByteOrder::Little => value.to_le_bytes(),
            ByteOrder::Big => value.to_be_bytes(),
        }
    }
}

/// An instruction from its fields.
pub(crate) fn insn(opcode: u8, dst: u8, src: u8, offset: i16, imm: i32) -> Insn {
    Insn {
        opcode,
        dst,
        src,
        offset,
        imm,
    }
}

/// `r0 = imm`.
pub(crate) fn mov(imm: i32) -> Insn {
    insn(0xb7, 0, 0, 0, imm)
}

/// `exit`.
pub(crate) fn exit() -> Insn {
    insn(0x95, 0, 0, 0, 0)
}

/// `call` of a function in the file.
pub(crate) fn call(imm: i32) -> Insn {
    insn(0x85, 0, 1, 0, imm)
}

/// `r1 = imm ll`, both slots.
pub(crate) fn wide(imm: i32) -> [Insn; 2] {
    [insn(0x18, 1, 0, 0, imm), Insn::default()]
}
