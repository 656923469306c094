//! Programs written in the test itself, and every executor to run them on.

use twinbpf_object::insn::{Insn, InsnIndex};
use twinbpf_object::link::{Hole, HoleKind, LinkedFunction, LinkedProgram};
use twinbpf_object::{MapIndex, ProgramKind};
use twinbpf_vm::{Executor, Guard, Vm, VmConfig, VmMap, VmProgram};

/// One slot.
pub(crate) fn insn(opcode: u8, dst: u8, src: u8, offset: i16, imm: i32) -> Insn {
    Insn {
        opcode,
        dst,
        src,
        offset,
        imm,
    }
}

pub(crate) fn mov(dst: u8, imm: i32) -> Insn {
    insn(0xb7, dst, 0, 0, imm)
}

pub(crate) fn copy(dst: u8, src: u8) -> Insn {
    insn(0xbf, dst, src, 0, 0)
}

pub(crate) fn add(dst: u8, imm: i32) -> Insn {
    insn(0x07, dst, 0, 0, imm)
}

pub(crate) fn load(dst: u8, base: u8, offset: i16) -> Insn {
    insn(0x79, dst, base, offset, 0)
}

pub(crate) fn store(base: u8, offset: i16, src: u8) -> Insn {
    insn(0x7b, base, src, offset, 0)
}

pub(crate) fn store_word(base: u8, offset: i16, imm: i32) -> Insn {
    insn(0x62, base, 0, offset, imm)
}

pub(crate) fn wide(dst: u8, value: u64) -> [Insn; 2] {
    let bytes = value.to_le_bytes();
    let [a, b, c, d, e, f, g, h] = bytes;
    [
        insn(0x18, dst, 0, 0, i32::from_le_bytes([a, b, c, d])),
        insn(0, 0, 0, 0, i32::from_le_bytes([e, f, g, h])),
    ]
}

pub(crate) fn jump(offset: i16) -> Insn {
    insn(0x05, 0, 0, offset, 0)
}

pub(crate) fn jump_if_zero(dst: u8, offset: i16) -> Insn {
    insn(0x15, dst, 0, offset, 0)
}

pub(crate) fn call(helper: i32) -> Insn {
    insn(0x85, 0, 0, 0, helper)
}

pub(crate) fn call_local(displacement: i32) -> Insn {
    insn(0x85, 0, 1, 0, displacement)
}

pub(crate) fn exit() -> Insn {
    insn(0x95, 0, 0, 0, 0)
}

/// A program of the given type. `maps`: slots of wide loads that stand for a map, by its index.
pub(crate) fn linked(insns: Vec<Insn>, functions: &[u32], maps: &[(u32, usize)]) -> LinkedProgram {
    let start = |index: &u32| LinkedFunction {
        type_id: None,
        name: format!("function_{index}"),
        start: InsnIndex(*index),
    };
    let hole = |(at, map): &(u32, usize)| Hole {
        at: InsnIndex(*at),
        kind: HoleKind::Map(MapIndex(*map)),
    };
    LinkedProgram {
        functions: functions.iter().map(start).collect(),
        holes: maps.iter().map(hole).collect(),
        ..LinkedProgram::from_insns("test", ProgramKind::SocketFilter, insns)
    }
}

/// A vm for each executor.
pub(crate) fn vms() -> Vec<Vm> {
    configs()
        .into_iter()
        .map(|config| Vm::new(config).unwrap())
        .collect()
}

/// A small configuration for each executor.
pub(crate) fn configs() -> Vec<VmConfig> {
    [
        (Executor::Interpreter, Guard::Pages),
        (Executor::Checked, Guard::Pages),
        (Executor::Jit, Guard::Pages),
        (Executor::Jit, Guard::Compare),
    ]
    .into_iter()
    .map(|(executor, guard)| VmConfig {
        executor,
        guard,
        cpu_slots: 2,
        budget_insns: 100_000,
        ..VmConfig::default()
    })
    .collect()
}

/// Loads a program without subprograms.
pub(crate) fn load_program(
    vm: &Vm,
    insns: Vec<Insn>,
    maps: &[VmMap],
    holes: &[(u32, usize)],
) -> VmProgram {
    vm.load_program(&linked(insns, &[0], holes), maps).unwrap()
}
