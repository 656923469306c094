//! BPF instructions: the eight bytes, and what they mean.
//!
//! [`Insn`] is the encoding as it stands in files and in the kernel. [`Operation`] is the meaning: [`Operation::decode`]
//! checks every reserved field, so that no instruction is ever executed as its older twin. Source: RFC 9669 and
//! the kernel's `Documentation/bpf/standardization`.

mod assemble;
mod decode;
mod display;
mod encode;
pub mod opcode;
mod operation;
mod table;
mod text;
mod token;

pub use assemble::{Listed, assemble, disassemble, listing};
pub use decode::{DecodeError, Decoded};
pub use encode::Encoded;
pub use operation::{
    AluOp, ArenaCast, AtomicOp, Call, Condition, Displacement, Extend, Operand, Operation,
    Register, Size, SwapOrder, WideValue, Width,
};

use std::fmt;

use crate::bytes::ByteOrder;

/// Bytes of one instruction slot.
pub const INSN_BYTES: usize = 8;

/// Index of an instruction slot, from the start of whatever contains it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct InsnIndex(pub u32);

impl InsnIndex {
    /// As an index into a slice.
    pub fn get(self) -> usize {
        // A u32 fits a usize on every 64-bit host this crate is for; saturating keeps 16-bit hosts correct.
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for InsnIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One instruction slot, in host order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Insn {
    /// Class, operation and source bits.
    pub opcode: u8,
    /// Destination register field, 0 to 15.
    pub dst: u8,
    /// Source register field, 0 to 15; for wide loads and calls a kind of immediate.
    pub src: u8,
    /// Signed offset: of a jump in slots, of a memory access in bytes.
    pub offset: i16,
    /// Signed immediate.
    pub imm: i32,
}

impl Insn {
    /// Reads one slot.
    pub fn from_bytes(bytes: [u8; INSN_BYTES], order: ByteOrder) -> Self {
        let [opcode, registers, o0, o1, i0, i1, i2, i3] = bytes;
        match order {
            ByteOrder::Little => Self {
                opcode,
                dst: registers & 0xf,
                src: registers >> 4,
                offset: i16::from_le_bytes([o0, o1]),
                imm: i32::from_le_bytes([i0, i1, i2, i3]),
            },
            ByteOrder::Big => Self {
                opcode,
                dst: registers >> 4,
                src: registers & 0xf,
                offset: i16::from_be_bytes([o0, o1]),
                imm: i32::from_be_bytes([i0, i1, i2, i3]),
            },
        }
    }

    /// Writes one slot.
    pub fn to_bytes(self, order: ByteOrder) -> [u8; INSN_BYTES] {
        let (registers, offset, imm) = match order {
            ByteOrder::Little => (
                self.src << 4 | self.dst & 0xf,
                self.offset.to_le_bytes(),
                self.imm.to_le_bytes(),
            ),
            ByteOrder::Big => (
                self.dst << 4 | self.src & 0xf,
                self.offset.to_be_bytes(),
                self.imm.to_be_bytes(),
            ),
        };
        let [o0, o1] = offset;
        let [i0, i1, i2, i3] = imm;
        [self.opcode, registers, o0, o1, i0, i1, i2, i3]
    }

    /// Whether this slot starts a two-slot load of a 64-bit value.
    pub fn is_wide(self) -> bool {
        self.opcode == opcode::LD_IMM64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_byte_orders_round_trip() {
        let insn = Insn {
            opcode: 0x61,
            dst: 3,
            src: 10,
            offset: -20,
            imm: -2,
        };
        for order in [ByteOrder::Little, ByteOrder::Big] {
            assert_eq!(Insn::from_bytes(insn.to_bytes(order), order), insn);
        }
        assert_eq!(insn.to_bytes(ByteOrder::Little)[1], 0xa3);
        assert_eq!(insn.to_bytes(ByteOrder::Big)[1], 0x3a);
    }
}
