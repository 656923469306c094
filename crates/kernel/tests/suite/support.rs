//! What the tests on the real kernel share: the decision to skip, small programs, open descriptors.

use twinbpf_object::insn::{Insn, opcode};
use twinbpf_object::{Hole, HoleKind, InsnIndex, LinkedProgram, MapIndex, ProgramKind};

/// The number of open descriptors of this process.
pub(crate) fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

pub(crate) fn insn(opcode: u8, dst: u8, src: u8, offset: i16, imm: i32) -> Insn {
    Insn {
        opcode,
        dst,
        src,
        offset,
        imm,
    }
}

/// `r<dst> = imm`
pub(crate) fn mov(dst: u8, imm: i32) -> Insn {
    insn(opcode::ALU64 | opcode::MOV, dst, 0, 0, imm)
}

pub(crate) fn exit() -> Insn {
    insn(opcode::JMP | opcode::EXIT, 0, 0, 0, 0)
}

pub(crate) fn call(helper: i32) -> Insn {
    insn(opcode::JMP | opcode::CALL, 0, 0, 0, helper)
}

/// A program of one function.
pub(crate) fn program(kind: ProgramKind, insns: Vec<Insn>, holes: Vec<Hole>) -> LinkedProgram {
    LinkedProgram {
        holes,
        ..LinkedProgram::from_insns("a test-program with a long name", kind, insns)
    }
}

/// A socket filter that adds the length of every frame to slot 0 of map 0 (8-byte values), and lets `returns` bytes pass.
pub(crate) fn byte_counter(returns: i32) -> LinkedProgram {
    let insns = vec![
        // r6 = skb->len
        insn(opcode::LDX | opcode::MEM | opcode::W, 6, 1, 0, 0),
        // *(u32 *)(r10 - 4) = 0; r2 = r10 - 4
        insn(opcode::ST | opcode::MEM | opcode::W, 10, 0, -4, 0),
        insn(opcode::ALU64 | opcode::MOV | opcode::X, 2, 10, 0, 0),
        insn(opcode::ALU64 | opcode::ADD, 2, 0, 0, -4),
        insn(opcode::LD_IMM64, 1, 0, 0, 0),
        Insn::default(),
        call(1),
        insn(opcode::JMP | opcode::JEQ, 0, 0, 1, 0),
        insn(opcode::STX | opcode::ATOMIC | opcode::DW, 0, 6, 0, 0),
        mov(0, returns),
        exit(),
    ];
    program(ProgramKind::SocketFilter, insns, vec![map_hole(4)])
}

pub(crate) fn map_hole(at: u32) -> Hole {
    Hole {
        at: InsnIndex(at),
        kind: HoleKind::Map(MapIndex(0)),
    }
}
