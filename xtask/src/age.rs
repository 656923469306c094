//! Turns an object of today's compiler into what other compilers wrote: clang of 2016, or one that uses RELA.
//!
//! Such compilers cannot be installed any more (or not next to the current one), but what distinguishes their objects is known
//! exactly, and loaders must cope with it.

use std::collections::BTreeSet;

use object::build::elf::{Builder, SectionData};
use object::elf::{self, SymbolInfo};
use twinbpf_object::insn::{INSN_BYTES, Insn};
use twinbpf_object::spec::ByteOrder;

/// Makes the symbols what clang of 2016 wrote: no sizes, no types, and a local label at every jump target.
pub(crate) fn forget_symbol_types(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut builder = read(bytes)?;
    for symbol in &mut builder.symbols {
        if symbol.st_info.st_type() != elf::STT_SECTION {
            symbol.st_info = SymbolInfo::new(symbol.st_info.st_bind(), elf::STT_NOTYPE);
            symbol.st_size = 0;
        }
    }
    let mut labels = Vec::new();
    for section in &builder.sections {
        if let (SectionData::Data(code), true) =
            (&section.data, section.sh_flags.contains(elf::SHF_EXECINSTR))
        {
            for target in jump_targets(code) {
                labels.push((section.id(), target));
            }
        }
    }
    for (number, (section, target)) in labels.into_iter().enumerate() {
        let symbol = builder.symbols.add();
        symbol.name = format!("LBB0_{}", number + 1).into_bytes().into();
        symbol.section = Some(section);
        symbol.st_info = SymbolInfo::new(elf::STB_LOCAL, elf::STT_NOTYPE);
        symbol.st_value = target;
    }
    write(builder)
}

/// Turns the relocations of code from REL into RELA: the addend moves from the instruction's immediate to the table.
pub(crate) fn move_addends_to_relocations(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut builder = read(bytes)?;
    let tables: Vec<_> = builder
        .sections
        .iter()
        .filter_map(|section| match section.data {
            SectionData::Relocation(_) => Some((section.id(), section.sh_info_section?)),
            _ => None,
        })
        .collect();
    for (table, code) in tables {
        let SectionData::Data(code_bytes) = &mut builder.sections.get_mut(code).data else {
            return Err("a relocated section has no bytes".to_owned());
        };
        let mut code_bytes = code_bytes.to_vec();
        let table = builder.sections.get_mut(table);
        table.sh_type = elf::SHT_RELA;
        table.sh_entsize = RELA_BYTES;
        table.name = rela_name(&table.name).into();
        let SectionData::Relocation(relocations) = &mut table.data else {
            return Err("a table of relocations has no entries".to_owned());
        };
        for relocation in relocations {
            let slot = usize::try_from(relocation.r_offset)
                .ok()
                .and_then(|offset| code_bytes.get_mut(offset..))
                .and_then(<[u8]>::first_chunk_mut::<INSN_BYTES>)
                .ok_or("a relocation points outside its section")?;
            let mut insn = Insn::from_bytes(*slot, ByteOrder::Little);
            relocation.r_addend = match insn.opcode {
                // In the instruction a call counts slots from the next one; in the table everything is bytes.
                CALL => (i64::from(insn.imm) + 1) * 8,
                _ => i64::from(insn.imm),
            };
            insn.imm = 0;
            *slot = insn.to_bytes(ByteOrder::Little);
        }
        builder.sections.get_mut(code).data = SectionData::Data(code_bytes.into());
    }
    write(builder)
}

fn rela_name(name: &[u8]) -> Vec<u8> {
    let rest = name.strip_prefix(b".rel").unwrap_or(name);
    [b".rela", rest].concat()
}

/// Byte offsets that jumps in this code go to.
fn jump_targets(code: &[u8]) -> BTreeSet<u64> {
    let (slots, _) = code.as_chunks::<INSN_BYTES>();
    let mut targets = BTreeSet::new();
    for (index, slot) in (0_i64..).zip(slots) {
        let insn = Insn::from_bytes(*slot, ByteOrder::Little);
        let is_jump = matches!(insn.opcode & 7, CLASS_JMP | CLASS_JMP32)
            && !matches!(insn.opcode, CALL | EXIT);
        if is_jump {
            let target = index + 1 + i64::from(insn.offset);
            targets.extend(u64::try_from(target).map(|slot| slot * SLOT_BYTES));
        }
    }
    targets
}

/// Reads an object for editing. LLVM keeps all names in one table; the writer wants the sections' in their own.
fn read(bytes: &[u8]) -> Result<Builder<'_>, String> {
    let mut builder = Builder::read(bytes).map_err(|error| error.to_string())?;
    let has_section_names = builder
        .sections
        .iter()
        .any(|section| matches!(section.data, SectionData::SectionString));
    if !has_section_names {
        let names = builder.sections.add();
        names.name = b".shstrtab"[..].into();
        names.sh_type = elf::SHT_STRTAB;
        names.sh_addralign = 1;
        names.data = SectionData::SectionString;
    }
    Ok(builder)
}

fn write(builder: Builder<'_>) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    builder
        .write(&mut bytes)
        .map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// Jump classes and the two operations in them that jump nowhere.
const CLASS_JMP: u8 = 5;
const CLASS_JMP32: u8 = 6;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
/// Bytes of an instruction, as offsets count.
const SLOT_BYTES: u64 = 8;
/// Bytes of one relocation with an addend.
const RELA_BYTES: u64 = 24;
