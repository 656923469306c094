//! Holes: the numbers of live things, put into the instructions.
//!
//! After linking an instruction says "map `packets`"; here it gets the descriptor of that map. What the numbers mean to the
//! kernel is said by the instruction's source field.
//!
//! A program may have a million instructions, and few holes: it is copied once, into the bytes that the kernel reads, and
//! only instructions with a hole are looked at again.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use twinbpf_object::insn::{INSN_BYTES, Insn, opcode};
use twinbpf_object::spec::{ByteOrder, MapIndex};
use twinbpf_object::{Code, Diagnosis, Error, Hole, HoleKind, LinkedProgram, Result};

use crate::map::KernelMap;
use crate::module_types;

/// A program's code with the numbers of live things in it, and what must live while it is handed over.
#[derive(Debug)]
pub(super) struct Filled {
    /// The instructions as the kernel reads them.
    pub(super) code: Vec<u8>,
    modules: Modules,
}

impl Filled {
    /// What calls of modules' functions name by position. The first position stands for the kernel itself.
    pub(super) fn descriptors(&self) -> Vec<i32> {
        let modules = self.modules.0.iter().map(|(_, types)| types.as_raw_fd());
        match self.modules.0.is_empty() {
            true => Vec::new(),
            false => std::iter::once(0).chain(modules).collect(),
        }
    }
}

/// The types of the modules that a program refers to, by name.
#[derive(Debug, Default)]
struct Modules(Vec<(String, OwnedFd)>);

impl Modules {
    /// Where a module's types stand; each is opened once.
    fn position(&mut self, name: &str) -> Result<usize> {
        if let Some(known) = self.0.iter().position(|(each, _)| each == name) {
            return Ok(known);
        }
        self.0
            .push((name.to_owned(), module_types::of_module(name)?));
        Ok(self.0.len() - 1)
    }
}

/// The program's code with the numbers of live things in it.
///
/// # Errors
///
/// If a hole lies outside the program or wants something that is not there.
pub(super) fn fill_holes(program: &LinkedProgram, maps: &[KernelMap]) -> Result<Filled> {
    let mut code = encode(&program.insns);
    let mut modules = Modules::default();
    for hole in &program.holes {
        let (first, second) = filled(&program.insns, hole, maps, &mut modules)?;
        let (slots, _) = code.as_chunks_mut::<INSN_BYTES>();
        let places = slots.iter_mut().skip(hole.at.get());
        for (place, insn) in places.zip([Some(first), second].into_iter().flatten()) {
            *place = insn.to_bytes(ByteOrder::HOST);
        }
    }
    Ok(Filled { code, modules })
}

/// The instructions as the kernel reads them: in the machine's byte order.
fn encode(insns: &[Insn]) -> Vec<u8> {
    let mut code = vec![0; insns.len() * INSN_BYTES];
    let (slots, _) = code.as_chunks_mut::<INSN_BYTES>();
    for (slot, insn) in slots.iter_mut().zip(insns) {
        *slot = insn.to_bytes(ByteOrder::HOST);
    }
    code
}

/// The instruction with the hole, filled, and the second slot if it has one.
fn filled(
    insns: &[Insn],
    hole: &Hole,
    maps: &[KernelMap],
    modules: &mut Modules,
) -> Result<(Insn, Option<Insn>)> {
    let rest = insns.get(hole.at.get()..).unwrap_or_default();
    if let (Some(insn), HoleKind::Kfunc { .. }) = (rest.first(), &hole.kind)
        && !insn.is_wide()
    {
        return fill_call(*insn, hole, modules).map(|insn| (insn, None));
    }
    let Some(&[mut first, mut second]) = rest.first_chunk() else {
        return Err(malformed(hole, "lies outside the program"));
    };
    if !first.is_wide() {
        return Err(malformed(hole, "is not a 64-bit load"));
    }
    match &hole.kind {
        HoleKind::Map(map) => {
            first.src = opcode::PSEUDO_MAP_FD;
            first.imm = map_fd(hole, *map, maps)?;
        }
        HoleKind::MapValue { map, offset } => {
            first.src = opcode::PSEUDO_MAP_VALUE;
            first.imm = map_fd(hole, *map, maps)?;
            second.imm = offset.cast_signed();
        }
        HoleKind::Function(target) => {
            // The distance counts from the slot after the first one of the load.
            let distance = i64::from(target.0) - i64::from(hole.at.0) - 1;
            first.src = opcode::PSEUDO_FUNC;
            first.imm = i32::try_from(distance)
                .map_err(|_| malformed(hole, "is too far from its function"))?;
        }
        HoleKind::Kfunc { module, .. } | HoleKind::Ksym { module, .. } => {
            // In the second slot: the descriptor of the BTF that counts; 0 is the kernel's own.
            first.src = opcode::PSEUDO_BTF_ID;
            first.imm = kernel_type(hole)?;
            second.imm = match module {
                Some(module) => {
                    let position = modules.position(module)?;
                    modules.0[position].1.as_raw_fd()
                }
                None => 0,
            };
        }
    }
    Ok((first, Some(second)))
}

/// A call of a function of the kernel. Its offset says which BTF counts; 0 is the kernel's own.
fn fill_call(mut insn: Insn, hole: &Hole, modules: &mut Modules) -> Result<Insn> {
    insn.src = opcode::PSEUDO_KFUNC_CALL;
    insn.offset = match &hole.kind {
        HoleKind::Kfunc {
            module: Some(module),
            ..
        } => i16::try_from(modules.position(module)? + 1)
            .map_err(|_| malformed(hole, "is about one module too many"))?,
        _ => 0,
    };
    insn.imm = kernel_type(hole)?;
    Ok(insn)
}

/// The number of a function or variable in the kernel's types.
fn kernel_type(hole: &Hole) -> Result<i32> {
    let (name, id) = match &hole.kind {
        HoleKind::Kfunc { name, id, .. } => (name, *id),
        HoleKind::Ksym { name, id, .. } => (name, Some(*id)),
        _ => return Err(malformed(hole, "is not about the kernel's types")),
    };
    let id = id.ok_or_else(|| malformed(hole, &format!("has no number for `{name}`")))?;
    i32::try_from(id.0).map_err(|_| malformed(hole, "has a number that no type has"))
}

fn map_fd(hole: &Hole, map: MapIndex, maps: &[KernelMap]) -> Result<i32> {
    maps.get(map.0)
        .map(|map| map.as_fd().as_raw_fd())
        .ok_or_else(|| {
            malformed(
                hole,
                &format!("wants map {}, but there are {}", map.0, maps.len()),
            )
        })
}

fn malformed(hole: &Hole, what: &str) -> Error {
    Diagnosis::new(
        Code::RELOCATION_MALFORMED,
        format!("the reference at instruction {} {what}", hole.at),
    )
    .into()
}

#[cfg(test)]
mod tests {
    use twinbpf_object::{InsnIndex, ProgramKind};

    use super::*;

    fn hole(at: u32, kind: HoleKind) -> Hole {
        Hole {
            at: InsnIndex(at),
            kind,
        }
    }

    fn wide() -> Vec<Insn> {
        let first = Insn {
            opcode: opcode::LD_IMM64,
            dst: 1,
            ..Insn::default()
        };
        vec![first, Insn::default(), Insn::default()]
    }

    #[test]
    fn a_function_hole_holds_the_distance_to_its_function() {
        let function = hole(0, HoleKind::Function(InsnIndex(2)));
        let (first, _) = filled(&wide(), &function, &[], &mut Modules::default()).unwrap();
        assert_eq!((first.src, first.imm), (opcode::PSEUDO_FUNC, 1));
    }

    #[test]
    fn only_the_instruction_with_the_hole_changes() {
        let mut program = LinkedProgram::from_insns("p", ProgramKind::Xdp, wide());
        let before = encode(&program.insns);
        program.holes = vec![hole(0, HoleKind::Function(InsnIndex(2)))];
        let after = fill_holes(&program, &[]).unwrap().code;
        let differ = (0..before.len()).filter(|at| before[*at] != after[*at]);
        // The registers' byte has the source field; the immediate's lowest byte is the first of four.
        assert_eq!(differ.collect::<Vec<_>>(), [1, 4]);
    }

    #[test]
    fn holes_that_point_nowhere_are_refused() {
        for (at, map) in [(0, 0), (2, 0), (9, 0)] {
            let nowhere = hole(at, HoleKind::Map(MapIndex(map)));
            let error = filled(&wide(), &nowhere, &[], &mut Modules::default()).unwrap_err();
            assert_eq!(error.diagnosis().code, Code::RELOCATION_MALFORMED);
        }
    }
}
