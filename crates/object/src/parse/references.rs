//! Who refers to whom: relocations, and calls that need none.
//!
//! A relocation says "this instruction means that symbol plus an addend". Compilers disagree about everything else:
//! the symbol is the thing itself or its whole section; the addend stands in the instruction (REL) or in the table
//! (RELA); for calls it counts slots from the next instruction, so that -1 is the symbol itself.
//!
//! ```text
//!                     REL                               RELA
//! wide load           symbol + imm                      symbol + addend
//! call                symbol + (imm + 1) * 8            symbol + addend
//! ```
//!
//! Source: the kernel's `Documentation/bpf/llvm_reloc.rst`, and what clang 3.9 to 19 write.

use crate::diagnosis::{Code as ErrorCode, Diagnosis, Error, Result};
use crate::elf::{self, Elf, Relocation, Section, SectionIndex, SectionKind, Symbol, SymbolPlace};
use crate::insn::{Insn, InsnIndex, opcode};
use crate::order;
use crate::spec::{FunctionIndex, Reference, ReferenceTo};

use super::code::{Code, FunctionPlace, slot_bytes};
use super::externs::Externs;
use super::maps::Maps;
use super::role::Role;

const CALL: u8 = opcode::JMP | opcode::CALL;

/// References of each function, while they are gathered.
type Found = Vec<Vec<Reference>>;

/// What a relocated instruction does with the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// Loads it.
    Load,
    /// Calls it.
    Call,
}

/// Finds the references of all functions.
///
/// # Errors
///
/// If a relocation or call points nowhere, or a relocation changes an instruction that has no address in it.
pub(super) fn resolve(
    elf: &Elf<'_>,
    maps: &Maps,
    externs: &Externs<'_>,
    code: &mut Code,
) -> Result<()> {
    let resolver = Resolver {
        elf,
        maps,
        code,
        externs,
    };
    let mut found: Found = vec![Vec::new(); code.functions.len()];
    let mut last = None;
    for table in &elf.sections {
        let SectionKind::Relocations { of, .. } = table.kind else {
            continue;
        };
        let Some(section) = elf.section(of).filter(|section| has_functions(section)) else {
            continue;
        };
        for relocation in elf::relocations(table, elf.byte_order)? {
            if let Some((function, reference)) =
                resolver.relocation(section, relocation, &mut last)?
            {
                found[function.0].push(reference);
            }
        }
    }
    resolver.order(&mut found)?;
    resolver.relative(&mut found)?;
    for (function, mut references) in code.functions.iter_mut().zip(found) {
        sort(&mut references);
        function.references = references;
    }
    Ok(())
}

/// Compilers write relocations in the order of the instructions; then there is nothing to do.
fn sort(references: &mut [Reference]) {
    if !references.is_sorted_by_key(|each| each.at) {
        order::sort_by_key(references, |each| each.at);
    }
}

fn has_functions(section: &Section<'_>) -> bool {
    matches!(Role::of(section), Role::Programs | Role::Subprograms)
}

struct Resolver<'a, 'data> {
    elf: &'a Elf<'data>,
    maps: &'a Maps,
    code: &'a Code,
    externs: &'a Externs<'data>,
}

impl Resolver<'_, '_> {
    fn relocation(
        &self,
        section: &Section<'_>,
        relocation: Relocation,
        last: &mut Option<FunctionPlace>,
    ) -> Result<Option<(FunctionIndex, Reference)>> {
        let place = Place {
            section: section.name,
            offset: relocation.offset,
        };
        if relocation.offset >= section.size || !relocation.offset.is_multiple_of(slot_bytes()) {
            let message = format!(
                "a relocation changes offset {:#x}, which is no instruction of the {:#x} bytes of code",
                relocation.offset, section.size
            );
            return Err(place.error(message));
        }
        let (index, offset) = (section.index, relocation.offset);
        let Some((function, at)) = self.code.containing_near(index, offset, last) else {
            // Code outside of every function was left out, with a warning.
            return Ok(None);
        };
        let symbol = self.elf.symbols.get(relocation.symbol).ok_or_else(|| {
            place.error(format!(
                "a relocation names symbol {} of {}",
                relocation.symbol,
                self.elf.symbols.len()
            ))
        })?;
        let insn = self.code.functions[function.0].insns[at.get()];
        let usage = place.usage(insn, relocation.kind)?;
        let to = self.target(symbol, addend(relocation, usage, insn), usage, place)?;
        Ok(Some((function, Reference { at, to })))
    }

    /// Puts the references of each function in order; none may be about the same instruction.
    fn order(&self, found: &mut Found) -> Result<()> {
        for (function, references) in self.code.functions.iter().zip(found) {
            sort(references);
            let twice = references.windows(2).find(|pair| pair[0].at == pair[1].at);
            if let Some([reference, ..]) = twice {
                let slot = u64::from(function.offset.0) + u64::from(reference.at.0);
                let place = Place {
                    section: &function.section,
                    offset: slot * slot_bytes(),
                };
                let message = "two relocations change the same instruction";
                return Err(place.error(message.to_owned()));
            }
        }
        Ok(())
    }

    fn target(
        &self,
        symbol: &Symbol<'_>,
        addend: i64,
        usage: Use,
        place: Place<'_>,
    ) -> Result<ReferenceTo> {
        let (index, section) = match symbol.place {
            SymbolPlace::Undefined => {
                let index = self.externs.named(symbol.name);
                let index =
                    index.ok_or_else(|| place.error("a relocation names no symbol".to_owned()))?;
                return Ok(ReferenceTo::Extern { index, addend });
            }
            SymbolPlace::Section(index) => {
                let section = self.elf.section(index).ok_or_else(|| {
                    place.error(format!(
                        "symbol `{}` is in section {} of {}",
                        symbol.name,
                        index.0,
                        self.elf.sections.len()
                    ))
                })?;
                (index, section)
            }
            SymbolPlace::Common => return Ok(common(symbol)),
            SymbolPlace::Absolute => {
                return Err(place.error(format!("symbol `{}` is in no section", symbol.name)));
            }
        };
        let offset = symbol.value.checked_add_signed(addend).ok_or_else(|| {
            place.error(format!(
                "`{}` at {:#x} plus {addend} is no offset",
                symbol.name, symbol.value
            ))
        })?;
        self.meaning(index, section, offset, usage)
            .map_err(|message| place.error(message))
    }

    /// What stands at an offset of a section.
    fn meaning(
        &self,
        index: SectionIndex,
        section: &Section<'_>,
        offset: u64,
        usage: Use,
    ) -> std::result::Result<ReferenceTo, String> {
        let name = section.name;
        if let Some(function) = self.code.starting_at(index, offset) {
            return Ok(ReferenceTo::Function(function));
        }
        if usage == Use::Call {
            return Err(format!(
                "the call goes to section `{name}`, offset {offset:#x}, where no function starts"
            ));
        }
        if let Some(map) = self.maps.starting_at(index, offset) {
            return Ok(ReferenceTo::Map(map));
        }
        if matches!(Role::of(section), Role::LegacyMaps | Role::BtfMaps) {
            return Err(format!(
                "the reference goes to section `{name}`, offset {offset:#x}, where no map starts"
            ));
        }
        if offset > section.size {
            return Err(format!(
                "the reference goes to offset {offset:#x} of section `{name}`, which ends at {:#x}",
                section.size
            ));
        }
        match (self.maps.holding(index), u32::try_from(offset)) {
            (Some(map), Ok(offset)) => Ok(ReferenceTo::MapValue { map, offset }),
            _ => Ok(ReferenceTo::Section {
                name: name.to_owned(),
                offset,
            }),
        }
    }

    /// Calls, and addresses of functions, that the compiler already made relative to the instruction.
    fn relative(&self, found: &mut Found) -> Result<()> {
        let places = self.code.places();
        for (&(section, start), &caller) in places {
            for (at, distance) in self.relative_uses(caller, &found[caller.0]) {
                let offset = start + u64::from(at.0) * slot_bytes();
                let target = i64::from(distance)
                    .checked_add(1)
                    .and_then(|slots| slots.checked_mul(slot_bytes().cast_signed()))
                    .and_then(|bytes| offset.checked_add_signed(bytes))
                    .and_then(|target| self.code.starting_at(section, target));
                let Some(callee) = target else {
                    return Err(self.call_outside(caller, offset, distance));
                };
                let to = ReferenceTo::Function(callee);
                found[caller.0].push(Reference { at, to });
            }
        }
        Ok(())
    }

    fn relative_uses(&self, caller: FunctionIndex, known: &[Reference]) -> Vec<(InsnIndex, i32)> {
        let insns = &self.code.functions[caller.0].insns;
        (0u32..)
            .map(InsnIndex)
            .zip(insns)
            .filter(|(_, insn)| is_relative(**insn))
            .filter(|(at, _)| known.binary_search_by_key(at, |each| each.at).is_err())
            .map(|(at, insn)| (at, insn.imm))
            .collect()
    }

    fn call_outside(&self, caller: FunctionIndex, offset: u64, distance: i32) -> Error {
        let caller = &self.code.functions[caller.0];
        let message = format!(
            "the call goes {distance} instructions past the next one, where no function starts"
        );
        Diagnosis::new(ErrorCode::CALL_OUTSIDE, message)
            .at(&caller.section, offset)
            .in_program(&caller.name)
            .into()
    }
}

/// Where a relocation stands, for errors.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    section: &'a str,
    offset: u64,
}

impl Place<'_> {
    fn usage(self, insn: Insn, kind: u32) -> Result<Use> {
        match insn.opcode {
            opcode::LD_IMM64 => Ok(Use::Load),
            // Before clang 6 the source field of a call to a symbol was 0, as for a helper.
            CALL if insn.src == opcode::PSEUDO_CALL || insn.src == 0 => Ok(Use::Call),
            code => Err(self.error(format!(
                "a relocation of kind {kind} changes an instruction with opcode {code:#04x}, which has no address"
            ))),
        }
    }

    fn error(self, message: String) -> Error {
        Diagnosis::new(ErrorCode::RELOCATION_MALFORMED, message)
            .at(self.section, self.offset)
            .into()
    }
}

/// Storage in no section yet: a name and an offset of its own.
fn common(symbol: &Symbol<'_>) -> ReferenceTo {
    ReferenceTo::Section {
        name: format!("COMMON `{}`", symbol.name),
        offset: 0,
    }
}

fn addend(relocation: Relocation, usage: Use, insn: Insn) -> i64 {
    let implicit = match usage {
        Use::Load => i64::from(insn.imm),
        Use::Call => (i64::from(insn.imm) + 1) * slot_bytes().cast_signed(),
    };
    relocation.addend.unwrap_or(implicit)
}

fn is_relative(insn: Insn) -> bool {
    match insn.opcode {
        CALL => insn.src == opcode::PSEUDO_CALL,
        opcode::LD_IMM64 => insn.src == opcode::PSEUDO_FUNC,
        _ => false,
    }
}
