//! What the fields of an instruction mean, one table per field: decoding, encoding, printing and reading text all look here.
//!
//! Source: RFC 9669, and for the texts the kernel's verifier log (`kernel/bpf/disasm.c` prints it; observed on 6.18).

use super::opcode;
use super::operation::{AluOp, AtomicOp, Condition, Size, SwapOrder};

/// Arithmetic with two operands: operation field, offset field, sign.
pub(super) const ALU: [(AluOp, u8, i16, &str); 14] = [
    (AluOp::Add, opcode::ADD, 0, "+="),
    (AluOp::Sub, opcode::SUB, 0, "-="),
    (AluOp::Mul, opcode::MUL, 0, "*="),
    (AluOp::Div, opcode::DIV, 0, "/="),
    (AluOp::SignedDiv, opcode::DIV, 1, "s/="),
    (AluOp::Or, opcode::OR, 0, "|="),
    (AluOp::And, opcode::AND, 0, "&="),
    (AluOp::Lsh, opcode::LSH, 0, "<<="),
    (AluOp::Rsh, opcode::RSH, 0, ">>="),
    (AluOp::Mod, opcode::MOD, 0, "%="),
    (AluOp::SignedMod, opcode::MOD, 1, "s%="),
    (AluOp::Xor, opcode::XOR, 0, "^="),
    (AluOp::Mov, opcode::MOV, 0, "="),
    (AluOp::Arsh, opcode::ARSH, 0, "s>>="),
];

/// Comparisons: operation field, sign.
pub(super) const CONDITIONS: [(Condition, u8, &str); 11] = [
    (Condition::Eq, opcode::JEQ, "=="),
    (Condition::Gt, opcode::JGT, ">"),
    (Condition::Ge, opcode::JGE, ">="),
    (Condition::Set, opcode::JSET, "&"),
    (Condition::Ne, opcode::JNE, "!="),
    (Condition::SignedGt, opcode::JSGT, "s>"),
    (Condition::SignedGe, opcode::JSGE, "s>="),
    (Condition::Lt, opcode::JLT, "<"),
    (Condition::Le, opcode::JLE, "<="),
    (Condition::SignedLt, opcode::JSLT, "s<"),
    (Condition::SignedLe, opcode::JSLE, "s<="),
];

/// Sizes of memory accesses: size field, unsigned and signed type.
pub(super) const SIZES: [(Size, u8, &str, &str); 4] = [
    (Size::W, opcode::W, "u32", "s32"),
    (Size::H, opcode::H, "u16", "s16"),
    (Size::B, opcode::B, "u8", "s8"),
    (Size::Dw, opcode::DW, "u64", "s64"),
];

/// Atomic operations: immediate; sign without fetching; name with it.
pub(super) const ATOMICS: [(AtomicOp, i32, &str, &str); 10] = [
    (AtomicOp::Add { fetch: false }, ADD, "+=", ""),
    (AtomicOp::Or { fetch: false }, OR, "|=", ""),
    (AtomicOp::And { fetch: false }, AND, "&=", ""),
    (AtomicOp::Xor { fetch: false }, XOR, "^=", ""),
    (
        AtomicOp::Add { fetch: true },
        ADD | opcode::FETCH,
        "",
        "fetch_add",
    ),
    (
        AtomicOp::Or { fetch: true },
        OR | opcode::FETCH,
        "",
        "fetch_or",
    ),
    (
        AtomicOp::And { fetch: true },
        AND | opcode::FETCH,
        "",
        "fetch_and",
    ),
    (
        AtomicOp::Xor { fetch: true },
        XOR | opcode::FETCH,
        "",
        "fetch_xor",
    ),
    (AtomicOp::Exchange, opcode::XCHG, "", "xchg"),
    (AtomicOp::CompareExchange, opcode::CMPXCHG, "", "cmpxchg"),
];

const ADD: i32 = 0x00;
const OR: i32 = 0x40;
const AND: i32 = 0x50;
const XOR: i32 = 0xa0;

/// Byte swaps: class, source bit, name.
pub(super) const SWAPS: [(SwapOrder, u8, u8, &str); 3] = [
    (SwapOrder::ToLittle, opcode::ALU, 0, "le"),
    (SwapOrder::ToBig, opcode::ALU, opcode::X, "be"),
    (SwapOrder::Always, opcode::ALU64, 0, "bswap"),
];

/// The operation with these fields.
pub(super) fn alu_op(bits: u8, offset: i16) -> Option<AluOp> {
    let mut rows = ALU.iter();
    rows.find(|row| row.1 == bits && row.2 == offset)
        .map(|row| row.0)
}

/// Operation and offset field.
pub(super) fn alu_fields(op: AluOp) -> (u8, i16) {
    let mut rows = ALU.iter();
    rows.find(|row| row.0 == op)
        .map_or((0, 0), |row| (row.1, row.2))
}

/// The sign between the operands.
pub(super) fn alu_sign(op: AluOp) -> &'static str {
    let mut rows = ALU.iter();
    rows.find(|row| row.0 == op).map_or("", |row| row.3)
}

/// The comparison with this operation field.
pub(super) fn condition(bits: u8) -> Option<Condition> {
    let mut rows = CONDITIONS.iter();
    rows.find(|row| row.1 == bits).map(|row| row.0)
}

/// Operation field and sign.
pub(super) fn condition_row(condition: Condition) -> (u8, &'static str) {
    let mut rows = CONDITIONS.iter();
    rows.find(|row| row.0 == condition)
        .map_or((0, ""), |row| (row.1, row.2))
}

/// The size that the size field of an opcode says.
pub(super) fn size(code: u8) -> Size {
    match code & opcode::SIZE {
        opcode::W => Size::W,
        opcode::H => Size::H,
        opcode::B => Size::B,
        _ => Size::Dw,
    }
}

/// The size field.
pub(super) fn size_bits(size: Size) -> u8 {
    let mut rows = SIZES.iter();
    rows.find(|row| row.0 == size).map_or(0, |row| row.1)
}

/// The type's name.
pub(super) fn type_name(size: Size, is_signed: bool) -> &'static str {
    let mut rows = SIZES.iter();
    rows.find(|row| row.0 == size)
        .map_or("", |row| if is_signed { row.3 } else { row.2 })
}

/// The atomic operation with this immediate.
pub(super) fn atomic_op(imm: i32) -> Option<AtomicOp> {
    let mut rows = ATOMICS.iter();
    rows.find(|row| row.1 == imm).map(|row| row.0)
}

/// Immediate, sign and name.
pub(super) fn atomic_row(op: AtomicOp) -> (i32, &'static str, &'static str) {
    let mut rows = ATOMICS.iter();
    rows.find(|row| row.0 == op)
        .map_or((0, "", ""), |row| (row.1, row.2, row.3))
}

/// Class, source bit and name.
pub(super) fn swap_row(order: SwapOrder) -> (u8, u8, &'static str) {
    let mut rows = SWAPS.iter();
    rows.find(|row| row.0 == order)
        .map_or((0, 0, ""), |row| (row.1, row.2, row.3))
}
