//! One program's instructions: functions one behind the other, calls made relative, the rest turned into holes.

use crate::core::make_unavailable;
use crate::diagnosis::{Code, Diagnosis, Error, Result};
use crate::insn::{Insn, InsnIndex, opcode};
use crate::order;
use crate::spec::{
    ExternIndex, Function, FunctionIndex, Object, ProgramSpec, Reference, ReferenceTo,
};

use super::externs::{Found, Outcome};
use super::gather::Gathered;
use super::{Hole, HoleKind, Resolution, SourceLines, Unavailable};

const CALL: u8 = opcode::JMP | opcode::CALL;

/// The instructions of one program and what they still miss.
#[derive(Debug)]
pub(super) struct Resolved {
    pub(super) insns: Vec<Insn>,
    pub(super) holes: Vec<Hole>,
    pub(super) lines: SourceLines,
    pub(super) unavailable: Vec<Unavailable>,
}

/// One function while its instructions are copied behind the others'.
struct Linking<'a> {
    object: &'a Object,
    program: &'a ProgramSpec,
    gathered: &'a Gathered,
    resolution: &'a Resolution,
    function: &'a Function,
    start: InsnIndex,
}

/// Copies and completes the instructions of all gathered functions.
///
/// # Errors
///
/// If an instruction needs something that is not there or not supported yet.
pub(super) fn resolve(
    object: &Object,
    program: &ProgramSpec,
    gathered: &Gathered,
    resolution: &Resolution,
) -> Result<Resolved> {
    let mut resolved = Resolved {
        insns: Vec::new(),
        holes: Vec::new(),
        lines: SourceLines::new(object.btf.clone()),
        unavailable: Vec::new(),
    };
    for (index, start) in &gathered.order {
        let Some(function) = object.functions.get(index.0) else {
            continue;
        };
        let linking = Linking {
            object,
            program,
            gathered,
            resolution,
            function,
            start: *start,
        };
        linking.check_numbers()?;
        resolved.insns.extend_from_slice(&function.insns);
        resolved.lines.extend(*start, &function.lines);
        linking.adapt(*index, &mut resolved)?;
        for reference in &function.references {
            linking.apply(reference, &mut resolved)?;
        }
    }
    order::sort_by_key(&mut resolved.unavailable, |each| each.at);
    Ok(resolved)
}

impl Linking<'_> {
    /// Adapts the function's instructions to the target's types.
    fn adapt(&self, index: FunctionIndex, resolved: &mut Resolved) -> Result<()> {
        let relocations = &self.function.type_relocations;
        let insns = resolved.insns.get_mut(self.start.get()..);
        let adapted = &self.resolution.adapted;
        let unavailable = adapted
            .apply(index, relocations, insns.unwrap_or_default())
            .map_err(|(at, error)| self.located(error, at))?;
        resolved
            .unavailable
            .extend(unavailable.into_iter().map(|each| Unavailable {
                at: InsnIndex(self.start.0.saturating_add(each.at.0)),
                ..each
            }));
        Ok(())
    }

    /// No instruction holds a number that only a running system can give: an object must name what it means.
    fn check_numbers(&self) -> Result<()> {
        let mut is_second_slot = false;
        for (at, insn) in (0u32..).map(InsnIndex).zip(&self.function.insns) {
            if is_second_slot {
                is_second_slot = false;
                continue;
            }
            is_second_slot = insn.is_wide();
            let what = match (insn.opcode, insn.src) {
                (opcode::LD_IMM64, 0 | opcode::PSEUDO_FUNC) => continue,
                (opcode::LD_IMM64, opcode::PSEUDO_BTF_ID) => "a kernel variable",
                (opcode::LD_IMM64, _) => "a map",
                (CALL, opcode::PSEUDO_KFUNC_CALL) => "a kernel function",
                _ => continue,
            };
            let is_named = self
                .function
                .references
                .binary_search_by_key(&at, |reference| reference.at)
                .is_ok();
            if !is_named {
                let message = format!(
                    "the instruction refers to {what} by number {}; only a running system has such numbers",
                    insn.imm
                );
                return Err(self.error(Code::UNRESOLVED_SYMBOL, at, message));
            }
        }
        Ok(())
    }

    fn apply(&self, reference: &Reference, resolved: &mut Resolved) -> Result<()> {
        let at = InsnIndex(self.start.0.saturating_add(reference.at.0));
        match &reference.to {
            ReferenceTo::Function(callee) => self.function_reference(*callee, at, resolved),
            ReferenceTo::Map(map) if map.0 < self.object.maps.len() => {
                self.set_wide(resolved, at, opcode::PSEUDO_MAP_FD, [0, 0])?;
                resolved.holes.push(Hole {
                    at,
                    kind: HoleKind::Map(*map),
                });
                Ok(())
            }
            ReferenceTo::MapValue { map, offset } if map.0 < self.object.maps.len() => {
                let immediates = [0, offset.cast_signed()];
                self.set_wide(resolved, at, opcode::PSEUDO_MAP_VALUE, immediates)?;
                let kind = HoleKind::MapValue {
                    map: *map,
                    offset: *offset,
                };
                resolved.holes.push(Hole { at, kind });
                Ok(())
            }
            ReferenceTo::Map(map) | ReferenceTo::MapValue { map, .. } => {
                let message = format!("map {} of {} is needed", map.0, self.object.maps.len());
                Err(self.error(Code::UNRESOLVED_SYMBOL, reference.at, message))
            }
            ReferenceTo::Extern { index, addend } => {
                self.extern_reference((*index, *addend), at, resolved)
            }
            ReferenceTo::Section { name, offset } => {
                let message = format!(
                    "the program uses section `{name}` (offset {offset:#x}), which is neither code, maps nor variables"
                );
                Err(self.error(Code::UNSUPPORTED_REFERENCE, reference.at, message))
            }
        }
    }

    fn function_reference(
        &self,
        callee: FunctionIndex,
        at: InsnIndex,
        resolved: &mut Resolved,
    ) -> Result<()> {
        let reach = || {
            let start = self.gathered.start_of(callee)?;
            let distance = i64::from(start.0) - i64::from(at.0) - 1;
            Some((start, i32::try_from(distance).ok()?))
        };
        let Some((start, distance)) = reach() else {
            let message = format!("function {} is out of reach", callee.0);
            return Err(self.error(Code::CALL_OUTSIDE, self.within(at), message));
        };
        match resolved.insns.get_mut(at.get()) {
            Some(insn) if insn.opcode == CALL => {
                insn.src = opcode::PSEUDO_CALL;
                insn.imm = distance;
                Ok(())
            }
            _ => {
                self.set_wide(resolved, at, opcode::PSEUDO_FUNC, [distance, 0])?;
                resolved.holes.push(Hole {
                    at,
                    kind: HoleKind::Function(start),
                });
                Ok(())
            }
        }
    }

    /// Fills both slots of a wide load.
    fn set_wide(
        &self,
        resolved: &mut Resolved,
        at: InsnIndex,
        source: u8,
        immediates: [i32; 2],
    ) -> Result<()> {
        match resolved.insns.get_mut(at.get()..) {
            Some([first, second, ..]) if first.is_wide() => {
                first.src = source;
                [first.imm, second.imm] = immediates;
                Ok(())
            }
            _ => {
                let message = "a reference stands at an instruction that is no 64-bit load";
                Err(self.error(Code::UNRESOLVED_SYMBOL, self.within(at), message.to_owned()))
            }
        }
    }

    /// Puts in what the target has for an extern.
    fn extern_reference(
        &self,
        (index, addend): (ExternIndex, i64),
        at: InsnIndex,
        resolved: &mut Resolved,
    ) -> Result<()> {
        let Some(outcome) = self.resolution.externs.outcome(index) else {
            let message = format!(
                "extern {} of {} is needed",
                index.0,
                self.object.externs.len()
            );
            return Err(self.error(Code::UNRESOLVED_SYMBOL, self.within(at), message));
        };
        let is_call = resolved
            .insns
            .get(at.get())
            .is_some_and(|insn| insn.opcode == CALL);
        match outcome {
            Outcome::Failed(error) => Err(self.located(error.clone(), self.within(at))),
            Outcome::Absent { code, reason } if is_call => {
                make_unavailable(resolved.insns.get_mut(at.get()..).unwrap_or_default());
                resolved.unavailable.push(Unavailable {
                    at,
                    code: *code,
                    reason: reason.clone(),
                });
                Ok(())
            }
            Outcome::Function(found) if is_call && addend == 0 => {
                self.kfunc_call(found, at, resolved)
            }
            _ if is_call => Err(self.misused(index, "is called and is no function", at)),
            Outcome::Absent { .. } => self.set_wide(resolved, at, 0, [0, 0]),
            Outcome::Address(address) => {
                let address = address.wrapping_add_signed(addend);
                self.set_wide(resolved, at, 0, halves(address))
            }
            Outcome::Config(place) => {
                let inside = u32::try_from(addend)
                    .ok()
                    .filter(|addend| *addend <= place.size);
                let offset = inside
                    .and_then(|addend| place.offset.checked_add(addend))
                    .ok_or_else(|| self.misused(index, "is used beyond its end", at))?;
                let kind = HoleKind::MapValue {
                    map: place.map,
                    offset,
                };
                let immediates = [0, offset.cast_signed()];
                self.set_wide(resolved, at, opcode::PSEUDO_MAP_VALUE, immediates)?;
                resolved.holes.push(Hole { at, kind });
                Ok(())
            }
            Outcome::Variable(found) | Outcome::Function(found) => {
                if addend != 0 {
                    return Err(self.misused(index, "is used from its middle on", at));
                }
                let kind = match (outcome, found.id) {
                    (Outcome::Variable(_), Some(id)) => HoleKind::Ksym {
                        name: found.name.clone(),
                        module: found.module.clone(),
                        id,
                    },
                    _ => kfunc(found),
                };
                self.set_wide(resolved, at, opcode::PSEUDO_BTF_ID, [0, 0])?;
                resolved.holes.push(Hole { at, kind });
                Ok(())
            }
        }
    }

    fn kfunc_call(&self, found: &Found, at: InsnIndex, resolved: &mut Resolved) -> Result<()> {
        let Some(insn) = resolved.insns.get_mut(at.get()) else {
            let message = "a call lies outside the program".to_owned();
            return Err(self.error(Code::UNRESOLVED_SYMBOL, self.within(at), message));
        };
        insn.src = opcode::PSEUDO_KFUNC_CALL;
        insn.imm = 0;
        resolved.holes.push(Hole {
            at,
            kind: kfunc(found),
        });
        Ok(())
    }

    fn misused(&self, index: ExternIndex, how: &str, at: InsnIndex) -> Error {
        let name = self
            .object
            .externs
            .get(index.0)
            .map_or("", |each| &each.name);
        let message = format!("`{name}` {how}");
        self.error(Code::UNRESOLVED_SYMBOL, self.within(at), message)
    }

    /// An index of the program as one of the function.
    fn within(&self, at: InsnIndex) -> InsnIndex {
        InsnIndex(at.0.saturating_sub(self.start.0))
    }

    fn error(&self, code: Code, at: InsnIndex, message: String) -> Error {
        self.located(Diagnosis::new(code, message).into(), at)
    }

    /// Adds program, section, offset and source line of an instruction of the function.
    fn located(&self, error: Error, at: InsnIndex) -> Error {
        let slot = u64::from(self.function.offset.0).saturating_add(u64::from(at.0));
        let mut lines = SourceLines::new(self.object.btf.clone());
        lines.extend(InsnIndex(0), &self.function.lines);
        error.map(|mut diagnosis| {
            diagnosis.place.source = lines.find(at, InsnIndex(0));
            diagnosis
                .at(&self.function.section, slot.saturating_mul(8))
                .in_program(&self.program.name)
        })
    }
}

fn kfunc(found: &Found) -> HoleKind {
    HoleKind::Kfunc {
        name: found.name.clone(),
        module: found.module.clone(),
        id: found.id,
    }
}

/// A number as the two immediates of a wide load, the lower first.
fn halves(number: u64) -> [i32; 2] {
    let [a, b, c, d, e, f, g, h] = number.to_le_bytes();
    [
        i32::from_le_bytes([a, b, c, d]),
        i32::from_le_bytes([e, f, g, h]),
    ]
}
