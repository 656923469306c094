//! What each operation computes: one small pure function per family, used by every executor.
//!
//! Source: RFC 9669, section 4. Division by zero gives 0, a remainder by zero leaves the dividend, shift counts are cut to the
//! width, and the one overflowing signed division wraps.

use twinbpf_object::insn::{AluOp, Condition, Extend, Size, SwapOrder};

/// The low half of a register.
#[inline(always)]
pub fn low_32(value: u64) -> u32 {
    let [b0, b1, b2, b3, ..] = value.to_le_bytes();
    u32::from_le_bytes([b0, b1, b2, b3])
}

/// The low 16 bits of a register.
#[inline(always)]
pub fn low_16(value: u64) -> u16 {
    let [b0, b1, ..] = value.to_le_bytes();
    u16::from_le_bytes([b0, b1])
}

/// The low 8 bits of a register.
#[inline(always)]
pub fn low_8(value: u64) -> u8 {
    value.to_le_bytes()[0]
}

/// An immediate as a 64-bit operand: sign-extended.
#[inline(always)]
pub fn sign_extend(imm: i32) -> u64 {
    i64::from(imm).cast_unsigned()
}

/// 64-bit arithmetic.
#[inline(always)]
pub fn alu_64(op: AluOp, left: u64, right: u64) -> u64 {
    match op {
        AluOp::Add => left.wrapping_add(right),
        AluOp::Sub => left.wrapping_sub(right),
        AluOp::Mul => left.wrapping_mul(right),
        AluOp::Div => left.checked_div(right).unwrap_or(0),
        AluOp::SignedDiv => signed_div_64(left.cast_signed(), right.cast_signed()).cast_unsigned(),
        AluOp::Or => left | right,
        AluOp::And => left & right,
        AluOp::Lsh => left.wrapping_shl(low_32(right)),
        AluOp::Rsh => left.wrapping_shr(low_32(right)),
        AluOp::Mod => left.checked_rem(right).unwrap_or(left),
        AluOp::SignedMod => signed_rem_64(left.cast_signed(), right.cast_signed()).cast_unsigned(),
        AluOp::Xor => left ^ right,
        AluOp::Mov => right,
        AluOp::Arsh => left
            .cast_signed()
            .wrapping_shr(low_32(right))
            .cast_unsigned(),
    }
}

/// 32-bit arithmetic on the low halves.
#[inline(always)]
pub fn alu_32(op: AluOp, left: u32, right: u32) -> u32 {
    match op {
        AluOp::Add => left.wrapping_add(right),
        AluOp::Sub => left.wrapping_sub(right),
        AluOp::Mul => left.wrapping_mul(right),
        AluOp::Div => left.checked_div(right).unwrap_or(0),
        AluOp::SignedDiv => signed_div_32(left.cast_signed(), right.cast_signed()).cast_unsigned(),
        AluOp::Or => left | right,
        AluOp::And => left & right,
        AluOp::Lsh => left.wrapping_shl(right),
        AluOp::Rsh => left.wrapping_shr(right),
        AluOp::Mod => left.checked_rem(right).unwrap_or(left),
        AluOp::SignedMod => signed_rem_32(left.cast_signed(), right.cast_signed()).cast_unsigned(),
        AluOp::Xor => left ^ right,
        AluOp::Mov => right,
        AluOp::Arsh => left.cast_signed().wrapping_shr(right).cast_unsigned(),
    }
}

fn signed_div_64(left: i64, right: i64) -> i64 {
    if right == 0 {
        0
    } else {
        left.wrapping_div(right)
    }
}

fn signed_rem_64(left: i64, right: i64) -> i64 {
    if right == 0 {
        left
    } else {
        left.wrapping_rem(right)
    }
}

fn signed_div_32(left: i32, right: i32) -> i32 {
    if right == 0 {
        0
    } else {
        left.wrapping_div(right)
    }
}

fn signed_rem_32(left: i32, right: i32) -> i32 {
    if right == 0 {
        left
    } else {
        left.wrapping_rem(right)
    }
}

/// A 64-bit comparison.
#[inline(always)]
pub fn holds_64(condition: Condition, left: u64, right: u64) -> bool {
    let signed = (left.cast_signed(), right.cast_signed());
    holds(condition, (left, right), signed, left & right != 0)
}

/// A 32-bit comparison of the low halves.
#[inline(always)]
pub fn holds_32(condition: Condition, left: u32, right: u32) -> bool {
    let signed = (left.cast_signed(), right.cast_signed());
    holds(condition, (left, right), signed, left & right != 0)
}

/// A comparison of either width: the operands as unsigned and as signed numbers, and whether they share a bit.
#[inline(always)]
fn holds<U: Ord, S: Ord>(
    condition: Condition,
    (left, right): (U, U),
    signed: (S, S),
    shares_a_bit: bool,
) -> bool {
    match condition {
        Condition::Eq => left == right,
        Condition::Ne => left != right,
        Condition::Gt => left > right,
        Condition::Ge => left >= right,
        Condition::Lt => left < right,
        Condition::Le => left <= right,
        Condition::Set => shares_a_bit,
        Condition::SignedGt => signed.0 > signed.1,
        Condition::SignedGe => signed.0 >= signed.1,
        Condition::SignedLt => signed.0 < signed.1,
        Condition::SignedLe => signed.0 <= signed.1,
    }
}

/// The low 8, 16 or 32 bits, sign-extended to 64.
#[inline(always)]
pub fn sign_extend_low(bits: u8, value: u64) -> u64 {
    match bits {
        8 => i64::from(low_8(value).cast_signed()).cast_unsigned(),
        16 => i64::from(low_16(value).cast_signed()).cast_unsigned(),
        _ => i64::from(low_32(value).cast_signed()).cast_unsigned(),
    }
}

/// A value of `size` bytes as a register holds it after a load.
#[inline(always)]
pub fn extend(how: Extend, size: Size, value: u64) -> u64 {
    match (how, size) {
        (Extend::Zero, _) | (Extend::Sign, Size::Dw) => value,
        (Extend::Sign, Size::B) => sign_extend_low(8, value),
        (Extend::Sign, Size::H) => sign_extend_low(16, value),
        (Extend::Sign, Size::W) => sign_extend_low(32, value),
    }
}

/// A byte swap of the low `bits`; the rest becomes zero.
#[inline(always)]
pub fn swap(order: SwapOrder, bits: u8, value: u64) -> u64 {
    let swaps = match order {
        SwapOrder::Always => true,
        SwapOrder::ToLittle => cfg!(target_endian = "big"),
        SwapOrder::ToBig => cfg!(target_endian = "little"),
    };
    match (bits, swaps) {
        (16, false) => u64::from(low_16(value)),
        (16, true) => u64::from(low_16(value).swap_bytes()),
        (32, false) => u64::from(low_32(value)),
        (32, true) => u64::from(low_32(value).swap_bytes()),
        (_, false) => value,
        (_, true) => value.swap_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn division_corner_cases_are_those_of_the_rfc() {
        assert_eq!(alu_64(AluOp::Div, 7, 0), 0);
        assert_eq!(alu_64(AluOp::Mod, 7, 0), 7);
        assert_eq!(
            alu_64(AluOp::SignedDiv, i64::MIN.cast_unsigned(), u64::MAX),
            i64::MIN.cast_unsigned()
        );
        assert_eq!(
            alu_64(AluOp::SignedMod, i64::MIN.cast_unsigned(), u64::MAX),
            0
        );
        assert_eq!(
            alu_32(AluOp::SignedDiv, i32::MIN.cast_unsigned(), u32::MAX),
            i32::MIN.cast_unsigned()
        );
        assert_eq!(alu_32(AluOp::SignedMod, 7, 0), 7);
        assert_eq!(
            alu_64(AluOp::SignedDiv, (-8i64).cast_unsigned(), 2),
            (-4i64).cast_unsigned()
        );
        assert_eq!(
            alu_64(AluOp::SignedMod, (-13i64).cast_unsigned(), 3),
            (-1i64).cast_unsigned()
        );
    }

    #[test]
    fn shift_counts_are_cut_to_the_width() {
        assert_eq!(alu_64(AluOp::Lsh, 1, 64), 1);
        assert_eq!(alu_64(AluOp::Lsh, 1, 65), 2);
        assert_eq!(alu_32(AluOp::Rsh, 8, 33), 4);
        assert_eq!(alu_32(AluOp::Arsh, 0x8000_0000, 31), u32::MAX);
        assert_eq!(alu_64(AluOp::Arsh, 1 << 63, 63), u64::MAX);
    }

    #[test]
    fn swaps_cut_what_is_above() {
        let value = 0x1122_3344_5566_7788;
        assert_eq!(swap(SwapOrder::Always, 16, value), 0x8877);
        assert_eq!(swap(SwapOrder::Always, 32, value), 0x8877_6655);
        assert_eq!(swap(SwapOrder::Always, 64, value), 0x8877_6655_4433_2211);
        assert_eq!(
            swap(SwapOrder::ToLittle, 16, value).to_le_bytes()[..2],
            [0x88, 0x77]
        );
        assert_eq!(swap(SwapOrder::ToBig, 64, value).to_be_bytes().len(), 8);
    }

    #[test]
    fn signed_and_unsigned_comparisons_differ_where_they_should() {
        assert!(holds_64(Condition::Gt, u64::MAX, 1));
        assert!(!holds_64(Condition::SignedGt, u64::MAX, 1));
        assert!(holds_32(Condition::SignedLt, u32::MAX, 0));
        assert!(holds_32(Condition::Set, 6, 2));
    }
}
