//! From meaning to slots: the inverse of decoding.

use super::operation::{
    ArenaCast, AtomicOp, Call, Condition, Displacement, Extend, Operand, Operation, Register, Size,
    WideValue, Width,
};
use super::{Insn, opcode, table};

/// One instruction's slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoded {
    first: Insn,
    second: Option<Insn>,
}

impl Encoded {
    /// The slots, in order.
    pub fn slots(self) -> impl Iterator<Item = Insn> {
        [Some(self.first), self.second].into_iter().flatten()
    }

    /// The first slot, which says what it is.
    pub fn first(self) -> Insn {
        self.first
    }
}

impl From<Insn> for Encoded {
    fn from(first: Insn) -> Self {
        Self {
            first,
            second: None,
        }
    }
}

impl Operation {
    /// The slots that mean this; `None` if none can: a displacement that its 16 bits do not hold, an atomic access of one byte.
    ///
    /// Decoding them gives the operation again.
    pub fn encode(self) -> Option<Encoded> {
        let insn = match self {
            Self::LoadWide { dst, value } => return Some(encode_wide(dst, value)),
            Self::Alu {
                width,
                op,
                dst,
                src,
            } => {
                let (bits, offset) = table::alu_fields(op);
                with_operand(alu_class(width) | bits, dst, offset, src)
            }
            Self::Neg { width, dst } => plain(alu_class(width) | opcode::NEG, dst.number(), 0),
            Self::MoveSigned {
                width,
                bits,
                dst,
                src,
            } => Insn {
                offset: i16::from(bits),
                ..moved(width, dst, src)
            },
            Self::Swap { order, bits, dst } => {
                let (class, source, _) = table::swap_row(order);
                plain(class | source | opcode::END, dst.number(), i32::from(bits))
            }
            Self::Cast { cast, dst, src } => Insn {
                offset: 1,
                imm: match cast {
                    ArenaCast::ToKernel => 1,
                    ArenaCast::ToUser => 0x1_0000,
                },
                ..moved(Width::W64, dst, src)
            },
            Self::Exit => plain(opcode::JMP | opcode::EXIT, 0, 0),
            Self::Call(call) => encode_call(call),
            Self::Jump { .. } | Self::Branch { .. } | Self::MayGoto { .. } => {
                return encode_jump(self).map(Encoded::from);
            }
            access => return encode_access(access).map(Encoded::from),
        };
        Some(insn.into())
    }
}

fn encode_jump(operation: Operation) -> Option<Insn> {
    let near = |to: Displacement| i16::try_from(to.0).ok();
    Some(match operation {
        Operation::Jump { to, far: true } => plain(opcode::JMP32 | opcode::JA, 0, to.0),
        Operation::Jump { to, far: false } => Insn {
            offset: near(to)?,
            ..plain(opcode::JMP | opcode::JA, 0, 0)
        },
        Operation::MayGoto { to } => Insn {
            offset: near(to)?,
            ..plain(opcode::JMP | opcode::JCOND, 0, 0)
        },
        Operation::Branch {
            width,
            condition,
            dst,
            src,
            to,
        } => with_operand(jump_code(width, condition), dst, near(to)?, src),
        _ => return None,
    })
}

fn encode_access(operation: Operation) -> Option<Insn> {
    Some(match operation {
        Operation::Load {
            size,
            extend,
            dst,
            base,
            offset,
        } => {
            let mode = match extend {
                Extend::Zero => opcode::MEM,
                Extend::Sign if size == Size::Dw => return None,
                Extend::Sign => opcode::MEMSX,
            };
            memory(opcode::LDX | mode, size, (dst, base), offset)
        }
        Operation::Store {
            size,
            base,
            offset,
            value,
        } => encode_store(size, base, offset, value),
        Operation::Atomic {
            op,
            size,
            base,
            offset,
            src,
        } => encode_atomic(op, size, (base, src), offset)?,
        Operation::LoadAcquire {
            size,
            dst,
            base,
            offset,
        } => Insn {
            imm: opcode::LOAD_ACQ,
            ..memory(opcode::STX | opcode::ATOMIC, size, (dst, base), offset)
        },
        Operation::StoreRelease {
            size,
            base,
            offset,
            src,
        } => Insn {
            imm: opcode::STORE_REL,
            ..memory(opcode::STX | opcode::ATOMIC, size, (base, src), offset)
        },
        Operation::LoadPacket {
            size,
            index,
            offset,
        } => {
            let mode = if index.is_some() {
                opcode::IND
            } else {
                opcode::ABS
            };
            if size == Size::Dw {
                return None;
            }
            Insn {
                src: index.map_or(0, Register::number),
                ..plain(opcode::LD | mode | table::size_bits(size), 0, offset)
            }
        }
        _ => return None,
    })
}

fn encode_store(size: Size, base: Register, offset: i16, value: Operand) -> Insn {
    match value {
        Operand::Register(src) => memory(opcode::STX | opcode::MEM, size, (base, src), offset),
        Operand::Immediate(imm) => Insn {
            offset,
            ..plain(
                opcode::ST | opcode::MEM | table::size_bits(size),
                base.number(),
                imm,
            )
        },
    }
}

fn encode_atomic(
    op: AtomicOp,
    size: Size,
    registers: (Register, Register),
    offset: i16,
) -> Option<Insn> {
    matches!(size, Size::W | Size::Dw).then(|| Insn {
        imm: table::atomic_row(op).0,
        ..memory(opcode::STX | opcode::ATOMIC, size, registers, offset)
    })
}

fn encode_call(call: Call) -> Insn {
    let (src, offset, imm) = match call {
        Call::Helper(number) => (0, 0, number),
        Call::Local(to) => (opcode::PSEUDO_CALL, 0, to),
        Call::Kfunc { id, module } => (opcode::PSEUDO_KFUNC_CALL, module, id),
    };
    Insn {
        opcode: opcode::JMP | opcode::CALL,
        dst: 0,
        src,
        offset,
        imm,
    }
}

fn encode_wide(dst: Register, value: WideValue) -> Encoded {
    let (src, low, high) = match value {
        WideValue::Number(number) => {
            let [a, b, c, d, e, f, g, h] = number.to_le_bytes();
            let halves = [[a, b, c, d], [e, f, g, h]].map(i32::from_le_bytes);
            (0, halves[0], halves[1])
        }
        WideValue::Map(map) => (opcode::PSEUDO_MAP_FD, map, 0),
        WideValue::MapValue { map, offset } => {
            (opcode::PSEUDO_MAP_VALUE, map, offset.cast_signed())
        }
        WideValue::Btf { id, module } => (opcode::PSEUDO_BTF_ID, id, module),
        WideValue::Function(to) => (opcode::PSEUDO_FUNC, to, 0),
        WideValue::MapByIndex(map) => (opcode::PSEUDO_MAP_IDX, map, 0),
        WideValue::MapValueByIndex { map, offset } => {
            (opcode::PSEUDO_MAP_IDX_VALUE, map, offset.cast_signed())
        }
    };
    Encoded {
        first: Insn {
            src,
            ..plain(opcode::LD_IMM64, dst.number(), low)
        },
        second: Some(plain(0, 0, high)),
    }
}

fn alu_class(width: Width) -> u8 {
    match width {
        Width::W32 => opcode::ALU,
        Width::W64 => opcode::ALU64,
    }
}

fn jump_code(width: Width, condition: Condition) -> u8 {
    let class = match width {
        Width::W32 => opcode::JMP32,
        Width::W64 => opcode::JMP,
    };
    class | table::condition_row(condition).0
}

fn plain(opcode: u8, dst: u8, imm: i32) -> Insn {
    Insn {
        opcode,
        dst,
        src: 0,
        offset: 0,
        imm,
    }
}

fn moved(width: Width, dst: Register, src: Register) -> Insn {
    Insn {
        src: src.number(),
        ..plain(alu_class(width) | opcode::MOV | opcode::X, dst.number(), 0)
    }
}

/// An instruction whose second operand is a register or the immediate.
fn with_operand(code: u8, dst: Register, offset: i16, src: Operand) -> Insn {
    match src {
        Operand::Register(register) => Insn {
            opcode: code | opcode::X,
            dst: dst.number(),
            src: register.number(),
            offset,
            imm: 0,
        },
        Operand::Immediate(imm) => Insn {
            offset,
            ..plain(code, dst.number(), imm)
        },
    }
}

/// An access to memory: the registers are those of the two fields.
fn memory(code: u8, size: Size, (dst, src): (Register, Register), offset: i16) -> Insn {
    Insn {
        src: src.number(),
        offset,
        ..plain(code | table::size_bits(size), dst.number(), 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_decodes_is_encoded_into_the_same_slots() {
        let mut forms = 0_u32;
        for opcode in 0..=u8::MAX {
            for src in 0..=11 {
                for offset in [0, 1, 8, 16, 32, -7] {
                    for imm in [0, 1, 16, 0x41, 0x100, 0x110, 0xe1, 0xf1, 0x1_0000, -1] {
                        let first = Insn {
                            opcode,
                            dst: 3,
                            src,
                            offset,
                            imm,
                        };
                        let second = Insn {
                            imm,
                            ..Insn::default()
                        };
                        forms += u32::from(is_kept([first, second]));
                        forms += u32::from(is_kept([Insn { dst: 0, ..first }, second]));
                    }
                }
            }
        }
        assert!(forms > 10_000, "{forms}");
    }

    /// Whether the slots decode; if so they are what their meaning is encoded into.
    fn is_kept(slots: [Insn; 2]) -> bool {
        let Ok(decoded) = Operation::decode(&slots) else {
            return false;
        };
        let encoded = decoded.operation.encode().expect("it came from slots");
        let again: Vec<Insn> = encoded.slots().collect();
        assert_eq!(again, slots[..again.len()], "{}", decoded.operation);
        true
    }
}
