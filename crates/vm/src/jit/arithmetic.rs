//! Arithmetic, shifts, divisions and byte swaps in machine code.

use twinbpf_object::insn::{AluOp, ArenaCast, Operand, SwapOrder, Width};

use super::assembler::{Arith, Bits, Cond, R11, RAX, RCX, RDX, Reg, Shift, Unary};
use super::emit::{Emitter, bits, host};
use crate::window::USER_BASE;

impl Emitter<'_> {
    pub(super) fn alu(&mut self, width: Width, op: AluOp, dst: Reg, src: Operand) {
        let bits = bits(width);
        match op {
            AluOp::Mov => self.mov(bits, dst, src),
            AluOp::Add => self.arith(Arith::Add, bits, dst, src),
            AluOp::Sub => self.arith(Arith::Sub, bits, dst, src),
            AluOp::Or => self.arith(Arith::Or, bits, dst, src),
            AluOp::And => self.arith(Arith::And, bits, dst, src),
            AluOp::Xor => self.arith(Arith::Xor, bits, dst, src),
            AluOp::Mul => match src {
                Operand::Register(src) => self.assembler.multiply(bits, dst, host(src)),
                Operand::Immediate(imm) => self.assembler.multiply_imm(bits, dst, dst, imm),
            },
            AluOp::Lsh => self.shift(Shift::Left, bits, dst, src),
            AluOp::Rsh => self.shift(Shift::Right, bits, dst, src),
            AluOp::Arsh => self.shift(Shift::Arithmetic, bits, dst, src),
            AluOp::Div => self.divide(Unary::Div, false, (bits, dst), src),
            AluOp::Mod => self.divide(Unary::Div, true, (bits, dst), src),
            AluOp::SignedDiv => self.divide(Unary::SignedDiv, false, (bits, dst), src),
            AluOp::SignedMod => self.divide(Unary::SignedDiv, true, (bits, dst), src),
        }
    }

    /// The low half of an address, which is where it lies in the window; for user space with the high half of its addresses there, unless
    /// it is null.
    pub(super) fn cast(&mut self, cast: ArenaCast, dst: Reg, src: Reg) {
        self.assembler.mov(Bits::B32, dst, src);
        if cast == ArenaCast::ToKernel {
            return;
        }
        self.forget_address();
        let null = self.assembler.label();
        let a = &mut self.assembler;
        a.test(Bits::B32, dst, dst);
        a.jump_if(Cond::Equal, null);
        a.mov_imm(R11, USER_BASE);
        a.arith(Arith::Or, Bits::B64, dst, R11);
        a.bind(null);
    }

    fn mov(&mut self, bits: Bits, dst: Reg, src: Operand) {
        match (src, bits) {
            (Operand::Register(src), _) => self.assembler.mov(bits, dst, host(src)),
            (Operand::Immediate(0), _) => self.assembler.zero(dst),
            (Operand::Immediate(imm), Bits::B64) => {
                self.assembler.mov_imm(dst, i64::from(imm).cast_unsigned())
            }
            (Operand::Immediate(imm), _) => {
                self.assembler.mov_imm(dst, u64::from(imm.cast_unsigned()))
            }
        }
    }

    pub(super) fn arith(&mut self, op: Arith, bits: Bits, dst: Reg, src: Operand) {
        match src {
            Operand::Register(src) => self.assembler.arith(op, bits, dst, host(src)),
            Operand::Immediate(imm) => self.assembler.arith_imm(op, bits, dst, imm),
        }
    }

    /// Counts are cut to the width by the hardware as by BPF. Without BMI2 a count in a register must be in `cl`, which is `r4`.
    fn shift(&mut self, op: Shift, bits: Bits, dst: Reg, src: Operand) {
        match src {
            Operand::Immediate(count) => {
                let mask = if bits == Bits::B64 { 63 } else { 31 };
                let [count, ..] = (count & mask).to_le_bytes();
                self.assembler.shift_imm(op, bits, dst, count);
                if bits == Bits::B32 && count == 0 {
                    // A count of 0 leaves the upper half alone.
                    self.assembler.mov(Bits::B32, dst, dst);
                }
            }
            Operand::Register(src) if self.options.has_bmi2 => {
                self.assembler.shift_by(op, bits, [dst, dst, host(src)]);
            }
            Operand::Register(src) => self.shift_cl(op, bits, dst, host(src)),
        }
    }

    fn shift_cl(&mut self, op: Shift, bits: Bits, dst: Reg, src: Reg) {
        self.forget_address();
        let a = &mut self.assembler;
        if src == RCX {
            a.shift_cl(op, bits, dst);
        } else if dst == RCX {
            a.mov(Bits::B64, R11, RCX);
            a.mov(Bits::B64, RCX, src);
            a.shift_cl(op, bits, R11);
            a.mov(Bits::B64, RCX, R11);
        } else {
            a.mov(Bits::B64, R11, RCX);
            a.mov(Bits::B64, RCX, src);
            a.shift_cl(op, bits, dst);
            a.mov(Bits::B64, RCX, R11);
        }
        if bits == Bits::B32 {
            // A count of 0 may leave the upper half alone.
            a.mov(Bits::B32, dst, dst);
        }
    }

    /// Division and remainder, with BPF's answers for a divisor of 0 and for the one overflowing signed case.
    fn divide(&mut self, op: Unary, is_remainder: bool, (bits, dst): (Bits, Reg), src: Operand) {
        self.forget_address();
        self.mov(bits, R11, src);
        let (done, special) = (self.assembler.label(), self.assembler.label());
        let a = &mut self.assembler;
        let may_be =
            |number: i32| src == Operand::Immediate(number) || matches!(src, Operand::Register(_));
        if may_be(0) {
            a.test(bits, R11, R11);
            a.jump_if(Cond::Equal, special);
        }
        if op == Unary::SignedDiv && may_be(-1) {
            // Dividing by -1 is negation; the hardware would trap where that overflows.
            let normal = a.label();
            a.arith_imm(Arith::Cmp, bits, R11, -1);
            a.jump_if(Cond::NotEqual, normal);
            if is_remainder {
                a.zero(dst);
            } else {
                a.unary(Unary::Neg, bits, dst);
            }
            a.jump(done);
            a.bind(normal);
        }
        self.divide_by_r11(op, is_remainder, (bits, dst));
        let a = &mut self.assembler;
        if may_be(0) {
            a.jump(done);
            a.bind(special);
            if is_remainder {
                a.mov(bits, dst, dst);
            } else {
                a.zero(dst);
            }
        } else {
            a.bind(special);
        }
        a.bind(done);
    }

    fn divide_by_r11(&mut self, op: Unary, is_remainder: bool, (bits, dst): (Bits, Reg)) {
        let a = &mut self.assembler;
        let saved = [RAX, RDX];
        for reg in saved.into_iter().filter(|reg| *reg != dst) {
            a.push(reg);
        }
        a.mov(bits, RAX, dst);
        if op == Unary::SignedDiv {
            a.sign_of_rax(bits);
        } else {
            a.zero(RDX);
        }
        a.unary(op, bits, R11);
        a.mov(bits, R11, if is_remainder { RDX } else { RAX });
        for reg in saved.into_iter().rev().filter(|reg| *reg != dst) {
            a.pop(reg);
        }
        a.mov(bits, dst, R11);
    }

    pub(super) fn swap(&mut self, order: SwapOrder, bits: u8, dst: Reg) {
        let a = &mut self.assembler;
        // The host is little-endian: to little only cuts.
        match (order, bits) {
            (SwapOrder::ToLittle, 16) => a.zero_extend(Bits::B16, dst, dst),
            (SwapOrder::ToLittle, 32) => a.mov(Bits::B32, dst, dst),
            (SwapOrder::ToLittle, _) => {}
            (_, 16) => {
                a.shift_imm(Shift::Rol, Bits::B16, dst, 8);
                a.zero_extend(Bits::B16, dst, dst);
            }
            (_, 32) => a.byte_swap(Bits::B32, dst),
            (_, _) => a.byte_swap(Bits::B64, dst),
        }
    }
}
