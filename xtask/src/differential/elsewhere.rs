//! A second vm, whose memory lies elsewhere, and programs whose stack was written before they start: what answers otherwise there shows
//! addresses, or memory that nobody wrote. Privileged programs may do both.

use twinbpf::{Engine, Insn, Linked, LinkedProgram, Map, MapKind, RawMap, VmConfig};
use twinbpf_object::{HoleKind, InsnIndex};

/// Bytes of a stack, all of which are written.
const STACK_BYTES: i16 = 512;
/// Entries of the map that lies in front of everything else: no round number, so that no low half of an address stays the same.
const MOVED_BY: u32 = 0x3_7000 / 8;

/// The second vm.
#[derive(Debug)]
pub(super) struct Elsewhere {
    pub(super) vm: Engine,
    /// Where other things lie in the first vm.
    _space: RawMap,
}

impl Elsewhere {
    /// Such a vm.
    ///
    /// # Errors
    ///
    /// If there is no memory for it.
    pub(super) fn new(config: VmConfig) -> twinbpf::Result<Self> {
        let vm = Engine::vm_with(config)?;
        let space = Map::<u32, u64>::create(&vm, MapKind::Array, MOVED_BY)?;
        Ok(Self {
            vm,
            _space: space.raw().clone(),
        })
    }
}

/// The same programs; the one at this position writes its whole stack first.
pub(super) fn with_written_stack(linked: &Linked, position: usize) -> Linked {
    let mut linked = linked.clone();
    if let Some(program) = linked.programs.get_mut(position) {
        write_stack(program);
    }
    linked
}

fn write_stack(program: &mut LinkedProgram) {
    let store = |offset| Insn {
        opcode: 0x7a,
        dst: 10,
        src: 0,
        offset,
        // Both halves: the number is extended with its sign.
        imm: -0x5a5a_5a5b,
    };
    let first: Vec<Insn> = (-STACK_BYTES..0).step_by(8).map(store).collect();
    let count = u32::try_from(first.len()).unwrap_or(0);
    program.insns.splice(0..0, first);
    let behind = |at: &mut InsnIndex| at.0 += count;
    // The entry function starts with the stores.
    program
        .functions
        .iter_mut()
        .skip(1)
        .for_each(|function| behind(&mut function.start));
    program.exception_handler.iter_mut().for_each(behind);
    for hole in &mut program.holes {
        behind(&mut hole.at);
        if let HoleKind::Function(start) = &mut hole.kind {
            behind(start);
        }
    }
    for unavailable in &mut program.unavailable {
        behind(&mut unavailable.at);
    }
}

#[cfg(test)]
mod tests {
    use twinbpf::{ProgramKind, TestInput};

    use super::*;

    #[test]
    fn all_of_the_stack_is_written() {
        let insn = |opcode, src, offset| Insn {
            opcode,
            dst: 0,
            src,
            offset,
            imm: 0,
        };
        // r0 = *(u32 *)(r10 - 4); exit
        let insns = vec![insn(0x61, 10, -4), insn(0x95, 0, 0)];
        let program = LinkedProgram::from_insns("reads", ProgramKind::SchedCls, insns);
        let linked = with_written_stack(&Linked::from_program(program), 0);
        let loaded = Engine::vm().unwrap().loader(&linked).load().unwrap();
        let input = TestInput {
            data: &[0; 64],
            ..TestInput::default()
        };
        let output = loaded.program("reads").unwrap().test_run(&input);
        assert_ne!(output.unwrap().value, 0);
    }
}
