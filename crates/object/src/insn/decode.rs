//! From slots to meaning, refusing every reserved field that is not zero.

use std::fmt;

use super::operation::{
    AluOp, ArenaCast, AtomicOp, Call, Displacement, Extend, Operand, Operation, Register, Size,
    WideValue, Width,
};
use super::{Insn, opcode, table};

/// An operation and how many slots it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoded {
    /// The meaning.
    pub operation: Operation,
    /// 1 or 2.
    pub slots: u32,
}

/// Why a slot is not an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DecodeError {
    /// No instruction has this opcode byte.
    UnknownOpcode(u8),
    /// A field that must be zero, or one of a few values, is not.
    ReservedField {
        /// The opcode byte.
        opcode: u8,
        /// Which field: `dst`, `src`, `offset` or `imm`.
        field: &'static str,
        /// What it holds.
        value: i64,
    },
    /// A register number above 10.
    NoSuchRegister(u8),
    /// A write to `r10`.
    FrameWritten,
    /// A wide load without its second slot.
    HalfWide,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownOpcode(opcode) => write!(f, "no instruction has opcode {opcode:#04x}"),
            Self::ReservedField {
                opcode,
                field,
                value,
            } => {
                write!(
                    f,
                    "field `{field}` of opcode {opcode:#04x} holds {value}, which has no meaning there"
                )
            }
            Self::NoSuchRegister(number) => write!(f, "there is no register r{number}"),
            Self::FrameWritten => f.write_str("r10, the frame pointer, is read-only"),
            Self::HalfWide => {
                f.write_str("a 64-bit load needs two slots and the second is missing or not empty")
            }
        }
    }
}

impl std::error::Error for DecodeError {}

impl Operation {
    /// Decodes the first instruction of `slots`.
    ///
    /// # Errors
    ///
    /// If the opcode is unknown, a reserved field is set, a register does not exist, `r10` would be written, or a
    /// wide load lacks its second slot.
    pub fn decode(slots: &[Insn]) -> Result<Decoded, DecodeError> {
        let insn = *slots.first().ok_or(DecodeError::HalfWide)?;
        if insn.opcode == opcode::LD_IMM64 {
            let operation = decode_wide(insn, slots.get(1).copied())?;
            return Ok(Decoded {
                operation,
                slots: 2,
            });
        }
        let operation = match insn.opcode & opcode::CLASS {
            opcode::LD => decode_packet_load(insn),
            opcode::LDX => decode_load(insn),
            opcode::ST | opcode::STX => decode_store(insn),
            opcode::ALU => decode_alu(insn, Width::W32),
            opcode::ALU64 => decode_alu(insn, Width::W64),
            opcode::JMP => decode_jump(insn, Width::W64),
            _ => decode_jump(insn, Width::W32),
        }?;
        Ok(Decoded {
            operation,
            slots: 1,
        })
    }
}

fn decode_wide(first: Insn, second: Option<Insn>) -> Result<Operation, DecodeError> {
    let second = second.ok_or(DecodeError::HalfWide)?;
    if second.opcode != 0 || second.dst != 0 || second.src != 0 || second.offset != 0 {
        return Err(DecodeError::HalfWide);
    }
    zero(first, "offset", first.offset)?;
    let dst = writable(first.dst)?;
    let offset = second.imm.cast_unsigned();
    let value = match first.src {
        0 => WideValue::Number(u64::from(offset) << 32 | u64::from(first.imm.cast_unsigned())),
        opcode::PSEUDO_MAP_VALUE => WideValue::MapValue {
            map: first.imm,
            offset,
        },
        opcode::PSEUDO_MAP_IDX_VALUE => WideValue::MapValueByIndex {
            map: first.imm,
            offset,
        },
        opcode::PSEUDO_BTF_ID => WideValue::Btf {
            id: first.imm,
            module: second.imm,
        },
        opcode::PSEUDO_MAP_FD | opcode::PSEUDO_FUNC | opcode::PSEUDO_MAP_IDX => {
            zero(first, "imm", second.imm)?;
            match first.src {
                opcode::PSEUDO_MAP_FD => WideValue::Map(first.imm),
                opcode::PSEUDO_FUNC => WideValue::Function(first.imm),
                _ => WideValue::MapByIndex(first.imm),
            }
        }
        _ => return Err(reserved(first, "src", first.src)),
    };
    Ok(Operation::LoadWide { dst, value })
}

fn decode_packet_load(insn: Insn) -> Result<Operation, DecodeError> {
    let size = table::size(insn.opcode);
    let index = match insn.opcode & opcode::MODE {
        opcode::ABS => {
            zero(insn, "src", insn.src)?;
            None
        }
        opcode::IND => Some(register(insn.src)?),
        _ => return Err(DecodeError::UnknownOpcode(insn.opcode)),
    };
    if size == Size::Dw {
        return Err(DecodeError::UnknownOpcode(insn.opcode));
    }
    zero(insn, "dst", insn.dst)?;
    zero(insn, "offset", insn.offset)?;
    Ok(Operation::LoadPacket {
        size,
        index,
        offset: insn.imm,
    })
}

fn decode_load(insn: Insn) -> Result<Operation, DecodeError> {
    let size = table::size(insn.opcode);
    let extend = match insn.opcode & opcode::MODE {
        opcode::MEM => Extend::Zero,
        opcode::MEMSX if size != Size::Dw => Extend::Sign,
        _ => return Err(DecodeError::UnknownOpcode(insn.opcode)),
    };
    zero(insn, "imm", insn.imm)?;
    Ok(Operation::Load {
        size,
        extend,
        dst: writable(insn.dst)?,
        base: register(insn.src)?,
        offset: insn.offset,
    })
}

fn decode_store(insn: Insn) -> Result<Operation, DecodeError> {
    let size = table::size(insn.opcode);
    let from_register = insn.opcode & opcode::CLASS == opcode::STX;
    match insn.opcode & opcode::MODE {
        opcode::MEM if from_register => {
            zero(insn, "imm", insn.imm)?;
            let value = Operand::Register(register(insn.src)?);
            Ok(Operation::Store {
                size,
                base: register(insn.dst)?,
                offset: insn.offset,
                value,
            })
        }
        opcode::MEM => {
            zero(insn, "src", insn.src)?;
            let value = Operand::Immediate(insn.imm);
            Ok(Operation::Store {
                size,
                base: register(insn.dst)?,
                offset: insn.offset,
                value,
            })
        }
        opcode::ATOMIC if from_register => decode_atomic(insn, size),
        _ => Err(DecodeError::UnknownOpcode(insn.opcode)),
    }
}

fn decode_atomic(insn: Insn, size: Size) -> Result<Operation, DecodeError> {
    let offset = insn.offset;
    match insn.imm {
        opcode::LOAD_ACQ => {
            return Ok(Operation::LoadAcquire {
                size,
                dst: writable(insn.dst)?,
                base: register(insn.src)?,
                offset,
            });
        }
        opcode::STORE_REL => {
            return Ok(Operation::StoreRelease {
                size,
                base: register(insn.dst)?,
                offset,
                src: register(insn.src)?,
            });
        }
        _ => {}
    }
    if !matches!(size, Size::W | Size::Dw) {
        return Err(DecodeError::UnknownOpcode(insn.opcode));
    }
    let op = table::atomic_op(insn.imm).ok_or_else(|| reserved(insn, "imm", insn.imm))?;
    let fetch = insn.imm & opcode::FETCH != 0;
    let fetched_into_src = fetch && op != AtomicOp::CompareExchange;
    let src = if fetched_into_src {
        writable(insn.src)?
    } else {
        register(insn.src)?
    };
    Ok(Operation::Atomic {
        op,
        size,
        base: register(insn.dst)?,
        offset,
        src,
    })
}

fn decode_alu(insn: Insn, width: Width) -> Result<Operation, DecodeError> {
    let dst = writable(insn.dst)?;
    match insn.opcode & opcode::OP {
        opcode::NEG => {
            if insn.opcode & opcode::X != 0 {
                return Err(DecodeError::UnknownOpcode(insn.opcode));
            }
            zero(insn, "src", insn.src)?;
            zero(insn, "offset", insn.offset)?;
            zero(insn, "imm", insn.imm)?;
            return Ok(Operation::Neg { width, dst });
        }
        opcode::END => return decode_swap(insn, dst),
        opcode::MOV if insn.opcode & opcode::X != 0 && insn.offset != 0 => {
            return decode_move(insn, width, dst);
        }
        _ => {}
    }
    let op = alu_op(insn)?;
    let src = second_operand(insn)?;
    // A shift count beyond the width is a verifier's matter: the machine cuts it (RFC 9669, section 4.1).
    Ok(Operation::Alu {
        width,
        op,
        dst,
        src,
    })
}

fn alu_op(insn: Insn) -> Result<AluOp, DecodeError> {
    let bits = insn.opcode & opcode::OP;
    table::alu_op(bits, insn.offset).ok_or_else(|| match table::alu_op(bits, 0) {
        Some(_) => reserved(insn, "offset", insn.offset),
        None => DecodeError::UnknownOpcode(insn.opcode),
    })
}

fn decode_swap(insn: Insn, dst: Register) -> Result<Operation, DecodeError> {
    let class = insn.opcode & opcode::CLASS;
    let mut rows = table::SWAPS.iter();
    let (order, ..) = rows
        .find(|row| row.1 == class && row.2 == insn.opcode & opcode::X)
        .ok_or(DecodeError::UnknownOpcode(insn.opcode))?;
    zero(insn, "src", insn.src)?;
    zero(insn, "offset", insn.offset)?;
    let bits = match insn.imm {
        16 => 16,
        32 => 32,
        64 => 64,
        _ => return Err(reserved(insn, "imm", insn.imm)),
    };
    Ok(Operation::Swap {
        order: *order,
        bits,
        dst,
    })
}

fn decode_move(insn: Insn, width: Width, dst: Register) -> Result<Operation, DecodeError> {
    let src = register(insn.src)?;
    if insn.offset == 1 && width == Width::W64 {
        return match insn.imm {
            1 => Ok(Operation::Cast {
                cast: ArenaCast::ToKernel,
                dst,
                src,
            }),
            0x1_0000 => Ok(Operation::Cast {
                cast: ArenaCast::ToUser,
                dst,
                src,
            }),
            _ => Err(reserved(insn, "imm", insn.imm)),
        };
    }
    zero(insn, "imm", insn.imm)?;
    let bits = match (insn.offset, width) {
        (8, _) => 8,
        (16, _) => 16,
        (32, Width::W64) => 32,
        _ => return Err(reserved(insn, "offset", insn.offset)),
    };
    Ok(Operation::MoveSigned {
        width,
        bits,
        dst,
        src,
    })
}

fn decode_jump(insn: Insn, width: Width) -> Result<Operation, DecodeError> {
    let near = Displacement(i32::from(insn.offset));
    match (
        insn.opcode & opcode::OP,
        insn.opcode & opcode::X != 0,
        width,
    ) {
        (opcode::JA, false, Width::W64) => {
            zeros(insn, &["dst", "src", "imm"])?;
            Ok(Operation::Jump {
                to: near,
                far: false,
            })
        }
        (opcode::JA, false, Width::W32) => {
            zeros(insn, &["dst", "src", "offset"])?;
            Ok(Operation::Jump {
                to: Displacement(insn.imm),
                far: true,
            })
        }
        (opcode::CALL, false, Width::W64) => decode_call(insn),
        (opcode::EXIT, false, Width::W64) => {
            zeros(insn, &["dst", "src", "offset", "imm"])?;
            Ok(Operation::Exit)
        }
        (opcode::JCOND, false, Width::W64) => {
            zeros(insn, &["dst", "src", "imm"])?;
            Ok(Operation::MayGoto { to: near })
        }
        _ => {
            let condition = table::condition(insn.opcode & opcode::OP)
                .ok_or(DecodeError::UnknownOpcode(insn.opcode))?;
            Ok(Operation::Branch {
                width,
                condition,
                dst: register(insn.dst)?,
                src: second_operand(insn)?,
                to: near,
            })
        }
    }
}

fn decode_call(insn: Insn) -> Result<Operation, DecodeError> {
    zero(insn, "dst", insn.dst)?;
    let call = match insn.src {
        opcode::PSEUDO_KFUNC_CALL => {
            return Ok(Operation::Call(Call::Kfunc {
                id: insn.imm,
                module: insn.offset,
            }));
        }
        0 => Call::Helper(insn.imm),
        opcode::PSEUDO_CALL => Call::Local(insn.imm),
        _ => return Err(reserved(insn, "src", insn.src)),
    };
    zero(insn, "offset", insn.offset)?;
    Ok(Operation::Call(call))
}

fn second_operand(insn: Insn) -> Result<Operand, DecodeError> {
    if insn.opcode & opcode::X == 0 {
        zero(insn, "src", insn.src)?;
        return Ok(Operand::Immediate(insn.imm));
    }
    zero(insn, "imm", insn.imm)?;
    register(insn.src).map(Operand::Register)
}

fn register(number: u8) -> Result<Register, DecodeError> {
    Register::new(number).ok_or(DecodeError::NoSuchRegister(number))
}

fn writable(number: u8) -> Result<Register, DecodeError> {
    match register(number)? {
        Register::FRAME => Err(DecodeError::FrameWritten),
        register => Ok(register),
    }
}

fn zeros(insn: Insn, fields: &[&'static str]) -> Result<(), DecodeError> {
    for field in fields {
        let value = match *field {
            "dst" => i64::from(insn.dst),
            "src" => i64::from(insn.src),
            "offset" => i64::from(insn.offset),
            _ => i64::from(insn.imm),
        };
        zero(insn, field, value)?;
    }
    Ok(())
}

fn zero(insn: Insn, field: &'static str, value: impl Into<i64>) -> Result<(), DecodeError> {
    match value.into() {
        0 => Ok(()),
        value => Err(DecodeError::ReservedField {
            opcode: insn.opcode,
            field,
            value,
        }),
    }
}

fn reserved(insn: Insn, field: &'static str, value: impl Into<i64>) -> DecodeError {
    DecodeError::ReservedField {
        opcode: insn.opcode,
        field,
        value: value.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insn(opcode: u8, dst: u8, src: u8, offset: i16, imm: i32) -> Insn {
        Insn {
            opcode,
            dst,
            src,
            offset,
            imm,
        }
    }

    #[test]
    fn a_signed_division_is_not_its_unsigned_twin() {
        let signed = Operation::decode(&[insn(0x37, 1, 0, 1, 2)])
            .unwrap()
            .operation;
        assert_eq!(
            signed,
            Operation::Alu {
                width: Width::W64,
                op: AluOp::SignedDiv,
                dst: Register::R1,
                src: Operand::Immediate(2)
            }
        );
        assert!(Operation::decode(&[insn(0x37, 1, 0, 2, 2)]).is_err());
    }

    #[test]
    fn reserved_fields_are_refused_by_name() {
        assert_eq!(
            Operation::decode(&[insn(0x95, 0, 0, 0, 1)]),
            Err(DecodeError::ReservedField {
                opcode: 0x95,
                field: "imm",
                value: 1
            })
        );
        assert_eq!(
            Operation::decode(&[insn(0xb7, 10, 0, 0, 1)]),
            Err(DecodeError::FrameWritten)
        );
        assert_eq!(
            Operation::decode(&[insn(0xbf, 1, 11, 0, 0)]),
            Err(DecodeError::NoSuchRegister(11))
        );
        assert_eq!(
            Operation::decode(&[insn(0x18, 1, 0, 0, 0)]),
            Err(DecodeError::HalfWide)
        );
    }

    #[test]
    fn no_opcode_byte_panics_and_every_decoded_one_is_stable() {
        for opcode in 0..=255u8 {
            for imm in [0, 1, 16, 0x100, 0xe1, -1] {
                let slots = [insn(opcode, 1, 2, 0, imm), Insn::default()];
                assert_eq!(Operation::decode(&slots), Operation::decode(&slots));
            }
        }
    }
}
