//! Programs as the interpreter reads them: 16 bytes an instruction, one dense opcode.
//!
//! Decoding happens once, at load; jump targets become absolute, maps become handles. One slot of the program is one
//! entry here, so that indices mean the same everywhere; the second slot of a wide load is never executed.

use twinbpf_object::insn::{
    AluOp, ArenaCast, AtomicOp, Call, Condition, Extend, Operand, Operation, Register, Size,
    SwapOrder, WideValue, Width,
};

use crate::semantics::sign_extend;

/// The number of `bpf_tail_call`, which executors carry out themselves: it does not come back.
pub(crate) const TAIL_CALL: i32 = 12;

/// One instruction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Op {
    /// What to do.
    pub(crate) opcode: Opcode,
    /// Destination or base register, 0 to 10.
    pub(crate) dst: u8,
    /// Source register, 0 to 10.
    pub(crate) src: u8,
    /// Displacement of a memory access in bytes, or target of a jump as an absolute index.
    pub(crate) offset: i32,
    /// Immediate operand, extended to 64 bits.
    pub(crate) imm: u64,
}

/// Every form of every operation. `X` takes a register as second operand, `K` the immediate.
#[rustfmt::skip]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opcode {
    Add64X, Sub64X, Mul64X, Div64X, SignedDiv64X, Or64X, And64X, Lsh64X, Rsh64X, Mod64X, SignedMod64X, Xor64X, Mov64X, Arsh64X,
    Add64K, Sub64K, Mul64K, Div64K, SignedDiv64K, Or64K, And64K, Lsh64K, Rsh64K, Mod64K, SignedMod64K, Xor64K, Mov64K, Arsh64K,
    Add32X, Sub32X, Mul32X, Div32X, SignedDiv32X, Or32X, And32X, Lsh32X, Rsh32X, Mod32X, SignedMod32X, Xor32X, Mov32X, Arsh32X,
    Add32K, Sub32K, Mul32K, Div32K, SignedDiv32K, Or32K, And32K, Lsh32K, Rsh32K, Mod32K, SignedMod32K, Xor32K, Mov32K, Arsh32K,
    Neg64, Neg32, MoveSigned64, MoveSigned32, Swap,
    LoadB, LoadH, LoadW, LoadDw, LoadSignedB, LoadSignedH, LoadSignedW,
    StoreBX, StoreHX, StoreWX, StoreDwX, StoreBK, StoreHK, StoreWK, StoreDwK,
    Atomic, LoadAcquire, StoreRelease, LoadWide, LoadPacket, CastToUser, Jump, MayGoto,
    JumpEq64X, JumpNe64X, JumpGt64X, JumpGe64X, JumpLt64X, JumpLe64X, JumpSet64X, JumpSignedGt64X, JumpSignedGe64X, JumpSignedLt64X, JumpSignedLe64X,
    JumpEq64K, JumpNe64K, JumpGt64K, JumpGe64K, JumpLt64K, JumpLe64K, JumpSet64K, JumpSignedGt64K, JumpSignedGe64K, JumpSignedLt64K, JumpSignedLe64K,
    JumpEq32X, JumpNe32X, JumpGt32X, JumpGe32X, JumpLt32X, JumpLe32X, JumpSet32X, JumpSignedGt32X, JumpSignedGe32X, JumpSignedLt32X, JumpSignedLe32X,
    JumpEq32K, JumpNe32K, JumpGt32K, JumpGe32K, JumpLt32K, JumpLe32K, JumpSet32K, JumpSignedGt32K, JumpSignedGe32K, JumpSignedLt32K, JumpSignedLe32K,
    CallHelper, CallKfunc, TailCall, CallLocal, Exit, SecondSlot, Unsupported,
}

/// The entry for `operation`, which stands at slot `at`.
#[expect(clippy::too_many_lines, reason = "a flat match, one arm per operation")]
pub(crate) fn lower(operation: Operation, at: usize) -> Op {
    match operation {
        Operation::Alu {
            width,
            op,
            dst,
            src,
        } => {
            let (src, imm) = operand(src, width);
            Op {
                opcode: alu_opcode(width, op, src.is_some()),
                dst: dst.number(),
                src: number(src),
                offset: 0,
                imm,
            }
        }
        Operation::Neg { width, dst } => simple(
            if width == Width::W64 {
                Opcode::Neg64
            } else {
                Opcode::Neg32
            },
            dst,
            dst,
            0,
        ),
        Operation::MoveSigned {
            width,
            bits,
            dst,
            src,
        } => {
            let opcode = if width == Width::W64 {
                Opcode::MoveSigned64
            } else {
                Opcode::MoveSigned32
            };
            simple(opcode, dst, src, u64::from(bits))
        }
        Operation::Swap { order, bits, dst } => Op {
            imm: pack_swap(order, bits),
            ..simple(Opcode::Swap, dst, dst, 0)
        },
        Operation::Load {
            size,
            extend,
            dst,
            base,
            offset,
        } => Op {
            offset: i32::from(offset),
            ..simple(load_opcode(size, extend), dst, base, 0)
        },
        Operation::Store {
            size,
            base,
            offset,
            value,
        } => {
            let (src, imm) = operand(value, Width::W64);
            let opcode = store_opcode(size, src.is_some());
            Op {
                opcode,
                dst: base.number(),
                src: number(src),
                offset: i32::from(offset),
                imm,
            }
        }
        Operation::Atomic {
            op,
            size,
            base,
            offset,
            src,
        } => Op {
            offset: i32::from(offset),
            ..simple(Opcode::Atomic, base, src, pack_atomic(op, size))
        },
        Operation::LoadAcquire {
            size,
            dst,
            base,
            offset,
        } => Op {
            offset: i32::from(offset),
            ..simple(Opcode::LoadAcquire, dst, base, pack_size(size))
        },
        Operation::StoreRelease {
            size,
            base,
            offset,
            src,
        } => Op {
            offset: i32::from(offset),
            ..simple(Opcode::StoreRelease, base, src, pack_size(size))
        },
        Operation::LoadWide {
            dst,
            value: WideValue::Number(number),
        } => simple(Opcode::LoadWide, dst, dst, number),
        Operation::LoadPacket {
            size,
            index,
            offset,
        } => Op {
            opcode: Opcode::LoadPacket,
            dst: u8::from(index.is_some()),
            src: number(index),
            offset,
            imm: pack_size(size),
        },
        Operation::Jump { to, .. } => Op {
            offset: target(at, to.0),
            ..simple(Opcode::Jump, Register::R0, Register::R0, 0)
        },
        Operation::MayGoto { to } => Op {
            offset: target(at, to.0),
            ..simple(Opcode::MayGoto, Register::R0, Register::R0, 0)
        },
        Operation::Branch {
            width,
            condition,
            dst,
            src,
            to,
        } => {
            let (src, imm) = operand(src, width);
            let opcode = jump_opcode(width, condition, src.is_some());
            Op {
                opcode,
                dst: dst.number(),
                src: number(src),
                offset: target(at, to.0),
                imm,
            }
        }
        Operation::Call(Call::Helper(TAIL_CALL)) => {
            simple(Opcode::TailCall, Register::R0, Register::R0, 0)
        }
        Operation::Call(Call::Helper(helper)) => simple(
            Opcode::CallHelper,
            Register::R0,
            Register::R0,
            sign_extend(helper),
        ),
        // Loading has put the position in the program's list in.
        Operation::Call(Call::Kfunc { id, .. }) => simple(
            Opcode::CallKfunc,
            Register::R0,
            Register::R0,
            u64::from(id.cast_unsigned()),
        ),
        Operation::Call(Call::Local(to)) => Op {
            offset: target(at, to),
            ..simple(Opcode::CallLocal, Register::R0, Register::R0, 0)
        },
        Operation::Exit => simple(Opcode::Exit, Register::R0, Register::R0, 0),
        Operation::Cast { cast, dst, src } => simple(cast_opcode(cast), dst, src, 0),
        Operation::LoadWide { .. } => simple(Opcode::Unsupported, Register::R0, Register::R0, 0),
    }
}

impl Op {
    /// The second slot of a wide load: never reached.
    pub(crate) const SECOND_SLOT: Self = Self {
        opcode: Opcode::SecondSlot,
        dst: 0,
        src: 0,
        offset: 0,
        imm: 0,
    };
}

fn simple(opcode: Opcode, dst: Register, src: Register, imm: u64) -> Op {
    Op {
        opcode,
        dst: dst.number(),
        src: src.number(),
        offset: 0,
        imm,
    }
}

fn operand(operand: Operand, width: Width) -> (Option<Register>, u64) {
    match (operand, width) {
        (Operand::Register(register), _) => (Some(register), 0),
        (Operand::Immediate(imm), Width::W64) => (None, sign_extend(imm)),
        (Operand::Immediate(imm), Width::W32) => (None, u64::from(imm.cast_unsigned())),
    }
}

fn number(register: Option<Register>) -> u8 {
    register.map_or(0, Register::number)
}

/// Where a jump at slot `at` goes, if that is not before the program.
pub(crate) fn destination(at: usize, displacement: i32) -> Option<usize> {
    let next = i64::try_from(at).ok()?.checked_add(1)?;
    usize::try_from(next.checked_add(i64::from(displacement))?).ok()
}

/// Targets were checked at load to lie within the program, whose length fits an `i32`.
fn target(at: usize, displacement: i32) -> i32 {
    i32::try_from(at)
        .unwrap_or(i32::MAX)
        .saturating_add(1)
        .saturating_add(displacement)
}

fn pack_size(size: Size) -> u64 {
    u64::from(size.bytes())
}

/// The size that [`pack_size`] packed.
pub(crate) fn unpack_size(imm: u64) -> Size {
    match imm & 0xf {
        1 => Size::B,
        2 => Size::H,
        4 => Size::W,
        _ => Size::Dw,
    }
}

fn pack_swap(order: SwapOrder, bits: u8) -> u64 {
    let order = match order {
        SwapOrder::ToLittle => 0,
        SwapOrder::ToBig => 1,
        SwapOrder::Always => 2,
    };
    order << 8 | u64::from(bits)
}

/// The order and bits that `pack_swap` packed.
pub(crate) fn unpack_swap(imm: u64) -> (SwapOrder, u8) {
    let order = match imm >> 8 {
        0 => SwapOrder::ToLittle,
        1 => SwapOrder::ToBig,
        _ => SwapOrder::Always,
    };
    (order, imm.to_le_bytes()[0])
}

fn pack_atomic(op: AtomicOp, size: Size) -> u64 {
    let code = match op {
        AtomicOp::Add { fetch } => u64::from(fetch),
        AtomicOp::Or { fetch } => 2 + u64::from(fetch),
        AtomicOp::And { fetch } => 4 + u64::from(fetch),
        AtomicOp::Xor { fetch } => 6 + u64::from(fetch),
        AtomicOp::Exchange => 8,
        AtomicOp::CompareExchange => 9,
    };
    code << 8 | pack_size(size)
}

/// The operation and size that `pack_atomic` packed.
pub(crate) fn unpack_atomic(imm: u64) -> (AtomicOp, Size) {
    let fetch = imm >> 8 & 1 == 1;
    let op = match imm >> 8 {
        0 | 1 => AtomicOp::Add { fetch },
        2 | 3 => AtomicOp::Or { fetch },
        4 | 5 => AtomicOp::And { fetch },
        6 | 7 => AtomicOp::Xor { fetch },
        8 => AtomicOp::Exchange,
        _ => AtomicOp::CompareExchange,
    };
    (op, unpack_size(imm))
}

fn load_opcode(size: Size, extend: Extend) -> Opcode {
    match (size, extend) {
        (Size::B, Extend::Zero) => Opcode::LoadB,
        (Size::H, Extend::Zero) => Opcode::LoadH,
        (Size::W, Extend::Zero) => Opcode::LoadW,
        (Size::Dw, _) => Opcode::LoadDw,
        (Size::B, Extend::Sign) => Opcode::LoadSignedB,
        (Size::H, Extend::Sign) => Opcode::LoadSignedH,
        (Size::W, Extend::Sign) => Opcode::LoadSignedW,
    }
}

fn store_opcode(size: Size, from_register: bool) -> Opcode {
    match (size, from_register) {
        (Size::B, true) => Opcode::StoreBX,
        (Size::H, true) => Opcode::StoreHX,
        (Size::W, true) => Opcode::StoreWX,
        (Size::Dw, true) => Opcode::StoreDwX,
        (Size::B, false) => Opcode::StoreBK,
        (Size::H, false) => Opcode::StoreHK,
        (Size::W, false) => Opcode::StoreWK,
        (Size::Dw, false) => Opcode::StoreDwK,
    }
}

/// A cast to the kernel's side leaves the low half of an address, which is where it lies in the window.
fn cast_opcode(cast: ArenaCast) -> Opcode {
    match cast {
        ArenaCast::ToKernel => Opcode::Mov32X,
        ArenaCast::ToUser => Opcode::CastToUser,
    }
}

#[rustfmt::skip]
fn alu_opcode(width: Width, op: AluOp, from_register: bool) -> Opcode {
    let forms = match op {
        AluOp::Add => [Opcode::Add64X, Opcode::Add64K, Opcode::Add32X, Opcode::Add32K],
        AluOp::Sub => [Opcode::Sub64X, Opcode::Sub64K, Opcode::Sub32X, Opcode::Sub32K],
        AluOp::Mul => [Opcode::Mul64X, Opcode::Mul64K, Opcode::Mul32X, Opcode::Mul32K],
        AluOp::Div => [Opcode::Div64X, Opcode::Div64K, Opcode::Div32X, Opcode::Div32K],
        AluOp::SignedDiv => [Opcode::SignedDiv64X, Opcode::SignedDiv64K, Opcode::SignedDiv32X, Opcode::SignedDiv32K],
        AluOp::Or => [Opcode::Or64X, Opcode::Or64K, Opcode::Or32X, Opcode::Or32K],
        AluOp::And => [Opcode::And64X, Opcode::And64K, Opcode::And32X, Opcode::And32K],
        AluOp::Lsh => [Opcode::Lsh64X, Opcode::Lsh64K, Opcode::Lsh32X, Opcode::Lsh32K],
        AluOp::Rsh => [Opcode::Rsh64X, Opcode::Rsh64K, Opcode::Rsh32X, Opcode::Rsh32K],
        AluOp::Mod => [Opcode::Mod64X, Opcode::Mod64K, Opcode::Mod32X, Opcode::Mod32K],
        AluOp::SignedMod => [Opcode::SignedMod64X, Opcode::SignedMod64K, Opcode::SignedMod32X, Opcode::SignedMod32K],
        AluOp::Xor => [Opcode::Xor64X, Opcode::Xor64K, Opcode::Xor32X, Opcode::Xor32K],
        AluOp::Mov => [Opcode::Mov64X, Opcode::Mov64K, Opcode::Mov32X, Opcode::Mov32K],
        AluOp::Arsh => [Opcode::Arsh64X, Opcode::Arsh64K, Opcode::Arsh32X, Opcode::Arsh32K],
    };
    choose(width, from_register, forms)
}

#[rustfmt::skip]
fn jump_opcode(width: Width, condition: Condition, from_register: bool) -> Opcode {
    let forms = match condition {
        Condition::Eq => [Opcode::JumpEq64X, Opcode::JumpEq64K, Opcode::JumpEq32X, Opcode::JumpEq32K],
        Condition::Ne => [Opcode::JumpNe64X, Opcode::JumpNe64K, Opcode::JumpNe32X, Opcode::JumpNe32K],
        Condition::Gt => [Opcode::JumpGt64X, Opcode::JumpGt64K, Opcode::JumpGt32X, Opcode::JumpGt32K],
        Condition::Ge => [Opcode::JumpGe64X, Opcode::JumpGe64K, Opcode::JumpGe32X, Opcode::JumpGe32K],
        Condition::Lt => [Opcode::JumpLt64X, Opcode::JumpLt64K, Opcode::JumpLt32X, Opcode::JumpLt32K],
        Condition::Le => [Opcode::JumpLe64X, Opcode::JumpLe64K, Opcode::JumpLe32X, Opcode::JumpLe32K],
        Condition::Set => [Opcode::JumpSet64X, Opcode::JumpSet64K, Opcode::JumpSet32X, Opcode::JumpSet32K],
        Condition::SignedGt => [Opcode::JumpSignedGt64X, Opcode::JumpSignedGt64K, Opcode::JumpSignedGt32X, Opcode::JumpSignedGt32K],
        Condition::SignedGe => [Opcode::JumpSignedGe64X, Opcode::JumpSignedGe64K, Opcode::JumpSignedGe32X, Opcode::JumpSignedGe32K],
        Condition::SignedLt => [Opcode::JumpSignedLt64X, Opcode::JumpSignedLt64K, Opcode::JumpSignedLt32X, Opcode::JumpSignedLt32K],
        Condition::SignedLe => [Opcode::JumpSignedLe64X, Opcode::JumpSignedLe64K, Opcode::JumpSignedLe32X, Opcode::JumpSignedLe32K],
    };
    choose(width, from_register, forms)
}

fn choose(width: Width, from_register: bool, [x64, k64, x32, k32]: [Opcode; 4]) -> Opcode {
    match (width, from_register) {
        (Width::W64, true) => x64,
        (Width::W64, false) => k64,
        (Width::W32, true) => x32,
        (Width::W32, false) => k32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_takes_16_bytes() {
        assert_eq!(size_of::<Op>(), 16);
    }

    #[test]
    fn packed_fields_come_back() {
        for op in [
            AtomicOp::Add { fetch: false },
            AtomicOp::Xor { fetch: true },
            AtomicOp::Exchange,
            AtomicOp::CompareExchange,
        ] {
            for size in [Size::W, Size::Dw] {
                assert_eq!(unpack_atomic(pack_atomic(op, size)), (op, size));
            }
        }
        for order in [SwapOrder::ToLittle, SwapOrder::ToBig, SwapOrder::Always] {
            for bits in [16, 32, 64] {
                assert_eq!(unpack_swap(pack_swap(order, bits)), (order, bits));
            }
        }
    }
}
