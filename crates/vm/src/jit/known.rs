//! What is known of registers at a point of the program, without looking at other paths.
//!
//! Facts are gathered while code is emitted and forgotten wherever a jump can arrive. Each one saves instructions: an address
//! whose upper half is zero needs no cutting, a place in the frame needs no check, and a map whose handle is known is
//! looked up without asking which one it is.

use twinbpf_object::insn::{
    AluOp, ArenaCast, AtomicOp, Call, Extend, Operand, Operation, Register, Size, SwapOrder,
    WideValue, Width,
};

use crate::helpers;
use crate::run::STACK_BYTES;

/// What is known of one register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fact {
    Unknown,
    /// Its upper half is zero.
    Short,
    /// Exactly this number.
    Number(u64),
    /// The frame pointer plus this many bytes, from minus the frame's size to 0.
    Frame(i32),
}

/// What is known of all registers.
#[derive(Debug, Clone)]
pub(super) struct Facts([Fact; 11]);

impl Facts {
    /// Where a jump can arrive: only the frame pointer is known.
    pub(super) fn at_a_target() -> Self {
        let mut facts = [Fact::Unknown; 11];
        facts[Register::FRAME.index()] = Fact::Frame(0);
        Self(facts)
    }

    /// At the entry of a program: everything but context and frame pointer is zero. The context is whatever a tail call hands over.
    pub(super) fn at_entry() -> Self {
        let mut facts = [Fact::Number(0); 11];
        facts[Register::FRAME.index()] = Fact::Frame(0);
        facts[Register::R1.index()] = Fact::Unknown;
        Self(facts)
    }

    pub(super) fn of(&self, register: Register) -> Fact {
        self.0
            .get(register.index())
            .copied()
            .unwrap_or(Fact::Unknown)
    }

    /// Whether the register's upper half is zero.
    pub(super) fn is_short(&self, register: Register) -> bool {
        match self.of(register) {
            Fact::Unknown => false,
            // Frames start far above address 0, so what is below the frame pointer is an address too.
            Fact::Short | Fact::Frame(_) => true,
            Fact::Number(number) => number >> 32 == 0,
        }
    }

    /// What is known after `operation`.
    pub(super) fn after(&mut self, operation: &Operation) {
        match *operation {
            Operation::Alu {
                width,
                op,
                dst,
                src,
            } => {
                let fact = self.of_result(width, op, dst, src);
                self.set(dst, fact);
            }
            Operation::Neg { width, dst } | Operation::MoveSigned { width, dst, .. } => {
                self.set(dst, short_if(width == Width::W32));
            }
            Operation::Swap { order, bits, dst } => {
                let is_kept = order == SwapOrder::ToLittle && bits == 64 && self.is_short(dst);
                self.set(dst, short_if(bits < 64 || is_kept));
            }
            Operation::Load {
                size, extend, dst, ..
            } => self.set(dst, short_if(size != Size::Dw && extend == Extend::Zero)),
            Operation::LoadAcquire { size, dst, .. } => self.set(dst, short_if(size != Size::Dw)),
            Operation::Atomic { op, size, src, .. } => {
                let changed = match op {
                    AtomicOp::CompareExchange => Some(Register::R0),
                    AtomicOp::Exchange => Some(src),
                    AtomicOp::Add { fetch }
                    | AtomicOp::Or { fetch }
                    | AtomicOp::And { fetch }
                    | AtomicOp::Xor { fetch } => fetch.then_some(src),
                };
                if let Some(register) = changed {
                    self.set(register, short_if(size == Size::W));
                }
            }
            Operation::LoadWide { dst, value } => self.set(
                dst,
                match value {
                    WideValue::Number(number) => Fact::Number(number),
                    _ => Fact::Unknown,
                },
            ),
            Operation::LoadPacket { .. } => self.after_call(Fact::Short),
            Operation::Call(Call::Helper(helpers::LOOKUP)) => self.after_call(Fact::Short),
            Operation::Call(Call::Helper(_) | Call::Kfunc { .. }) => self.after_call(Fact::Unknown),
            Operation::Call(_) => {
                for fact in self.0.iter_mut().take(6) {
                    *fact = Fact::Unknown;
                }
            }
            Operation::Cast { cast, dst, .. } => {
                self.set(dst, short_if(cast == ArenaCast::ToKernel));
            }
            Operation::Store { .. }
            | Operation::StoreRelease { .. }
            | Operation::Jump { .. }
            | Operation::MayGoto { .. }
            | Operation::Branch { .. }
            | Operation::Exit => {}
        }
    }

    /// A call back leaves zeros in `r1` to `r5`.
    fn after_call(&mut self, result: Fact) {
        for fact in self.0.iter_mut().take(6) {
            *fact = Fact::Number(0);
        }
        self.set(Register::R0, result);
    }

    fn set(&mut self, register: Register, fact: Fact) {
        if let Some(known) = self.0.get_mut(register.index()) {
            *known = fact;
        }
    }

    fn of_result(&self, width: Width, op: AluOp, dst: Register, src: Operand) -> Fact {
        let right = match src {
            Operand::Register(register) => self.of(register),
            Operand::Immediate(imm) if width == Width::W32 => {
                Fact::Number(u64::from(imm.cast_unsigned()))
            }
            Operand::Immediate(imm) => Fact::Number(i64::from(imm).cast_unsigned()),
        };
        if width == Width::W32 {
            return match (op, right) {
                (AluOp::Mov, Fact::Number(number)) => Fact::Number(number & u64::from(u32::MAX)),
                _ => Fact::Short,
            };
        }
        let left_is_short = self.is_short(dst);
        let right_is_short = match src {
            Operand::Register(register) => self.is_short(register),
            Operand::Immediate(imm) => imm >= 0,
        };
        match (op, self.of(dst), right) {
            (AluOp::Mov, _, right) => right,
            (AluOp::Add, Fact::Frame(offset), Fact::Number(number)) => {
                frame(i64::from(offset).checked_add(number.cast_signed()))
            }
            (AluOp::Sub, Fact::Frame(offset), Fact::Number(number)) => {
                frame(i64::from(offset).checked_sub(number.cast_signed()))
            }
            (AluOp::And, ..) => short_if(left_is_short || right_is_short),
            (AluOp::Or | AluOp::Xor, ..) => short_if(left_is_short && right_is_short),
            (AluOp::Div | AluOp::Mod, ..) => short_if(left_is_short),
            (AluOp::Rsh, _, Fact::Number(count)) => short_if(left_is_short || count & 63 >= 32),
            (AluOp::Rsh, ..) => short_if(left_is_short),
            _ => Fact::Unknown,
        }
    }
}

fn short_if(is_short: bool) -> Fact {
    if is_short { Fact::Short } else { Fact::Unknown }
}

/// A place in the frame, if it is one.
fn frame(offset: Option<i64>) -> Fact {
    let offset = offset.and_then(|offset| i32::try_from(offset).ok());
    match offset {
        Some(offset) if offset <= 0 && offset.unsigned_abs() <= STACK_BYTES => Fact::Frame(offset),
        _ => Fact::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn register(number: u8) -> Register {
        Register::new(number).unwrap()
    }

    fn alu(width: Width, op: AluOp, dst: u8, src: Operand) -> Operation {
        Operation::Alu {
            width,
            op,
            dst: register(dst),
            src,
        }
    }

    #[test]
    fn places_in_the_frame_are_followed_through_copies_and_sums() {
        let mut facts = Facts::at_a_target();
        let copy = alu(
            Width::W64,
            AluOp::Mov,
            2,
            Operand::Register(Register::FRAME),
        );
        facts.after(&copy);
        facts.after(&alu(Width::W64, AluOp::Add, 2, Operand::Immediate(-4)));
        assert_eq!(facts.of(register(2)), Fact::Frame(-4));
        facts.after(&alu(Width::W64, AluOp::Add, 2, Operand::Immediate(8)));
        assert_eq!(facts.of(register(2)), Fact::Unknown);
    }

    #[test]
    fn the_upper_half_is_known_to_be_zero_only_after_operations_that_make_it_so() {
        let mut facts = Facts::at_a_target();
        assert!(!facts.is_short(register(3)));
        facts.after(&alu(Width::W32, AluOp::Add, 3, Operand::Immediate(-1)));
        assert!(facts.is_short(register(3)));
        facts.after(&alu(Width::W64, AluOp::And, 4, Operand::Immediate(0xff)));
        assert!(facts.is_short(register(4)));
        facts.after(&alu(Width::W64, AluOp::And, 5, Operand::Immediate(-1)));
        assert!(!facts.is_short(register(5)));
        facts.after(&alu(Width::W64, AluOp::Add, 3, Operand::Immediate(1)));
        assert!(!facts.is_short(register(3)));
        facts.after(&alu(Width::W64, AluOp::Mov, 3, Operand::Immediate(-1)));
        assert!(!facts.is_short(register(3)));
    }
}
