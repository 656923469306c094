//! Bytes of x86-64 instructions: just the forms the emitter needs, each a method.
//!
//! Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2. Every form is decoded again by an independent
//! decoder in the tests.

/// A host register, by its hardware number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reg(pub(super) u8);

pub(super) const RAX: Reg = Reg(0);
pub(super) const RCX: Reg = Reg(1);
pub(super) const RDX: Reg = Reg(2);
pub(super) const RBX: Reg = Reg(3);
pub(super) const RSP: Reg = Reg(4);
pub(super) const RBP: Reg = Reg(5);
pub(super) const RSI: Reg = Reg(6);
pub(super) const RDI: Reg = Reg(7);
pub(super) const R8: Reg = Reg(8);
pub(super) const R9: Reg = Reg(9);
pub(super) const R10: Reg = Reg(10);
pub(super) const R11: Reg = Reg(11);
pub(super) const R12: Reg = Reg(12);
pub(super) const R13: Reg = Reg(13);
pub(super) const R14: Reg = Reg(14);
pub(super) const R15: Reg = Reg(15);

/// Operand width of an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bits {
    B8,
    B16,
    B32,
    B64,
}

/// A memory operand.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mem {
    /// `[base + displacement]`
    Base(Reg, i32),
    /// `[base + index + displacement]`
    Indexed(Reg, Reg, i32),
}

/// Two-operand arithmetic by the number the manual gives it (`/digit` of opcode 81).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arith {
    Add = 0,
    Or = 1,
    And = 4,
    Sub = 5,
    Xor = 6,
    Cmp = 7,
}

/// Shifts by the `/digit` of opcodes C1 and D3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shift {
    Rol = 0,
    Left = 4,
    Right = 5,
    Arithmetic = 7,
}

/// One-operand forms of opcode F7 by their `/digit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unary {
    Neg = 3,
    Div = 6,
    SignedDiv = 7,
}

/// Conditions by the low half of opcode 0F 8x.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cond {
    Below = 0x2,
    AboveOrEqual = 0x3,
    Equal = 0x4,
    NotEqual = 0x5,
    BelowOrEqual = 0x6,
    Above = 0x7,
    Less = 0xc,
    GreaterOrEqual = 0xd,
    LessOrEqual = 0xe,
    Greater = 0xf,
}

impl Cond {
    /// The condition that holds exactly when this one does not: the lowest bit of the opcode flips it.
    pub(super) fn negated(self) -> Self {
        match self {
            Self::Below => Self::AboveOrEqual,
            Self::AboveOrEqual => Self::Below,
            Self::Equal => Self::NotEqual,
            Self::NotEqual => Self::Equal,
            Self::BelowOrEqual => Self::Above,
            Self::Above => Self::BelowOrEqual,
            Self::Less => Self::GreaterOrEqual,
            Self::GreaterOrEqual => Self::Less,
            Self::LessOrEqual => Self::Greater,
            Self::Greater => Self::LessOrEqual,
        }
    }
}

/// What the prefix of a memory form must say.
#[derive(Debug, Clone, Copy)]
struct Form {
    is_wide: bool,
    /// The register is a byte register: without the prefix, numbers 4 to 7 would mean the second bytes of 0 to 3.
    is_byte: bool,
}

/// A place to jump to, known or not yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Label(usize);

/// A jump over a few instructions, by the offset behind it.
#[derive(Debug)]
pub(super) struct Skip(usize);

/// Code in the making.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    bytes: Vec<u8>,
    labels: Vec<Option<usize>>,
    /// Places of 32-bit displacements, and the labels they go to.
    fixups: Vec<(usize, Label)>,
    /// Bit n: the register with that number may have been named.
    named: u16,
}

/// The prefix that makes a read and write of memory one step for all CPUs.
const LOCK: u8 = 0xf0;

impl Assembler {
    /// Bytes so far: the offset of the next instruction.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Where a label is, if it is bound.
    pub(super) fn place(&self, label: Label) -> Option<usize> {
        self.labels.get(label.0).copied().flatten()
    }

    /// Whether any instruction so far may name this register.
    pub(super) fn names(&self, reg: Reg) -> bool {
        self.named >> reg.0 & 1 != 0
    }

    /// A label to be bound later.
    pub(super) fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// Binds a label to the present place.
    pub(super) fn bind(&mut self, label: Label) {
        if let Some(place) = self.labels.get_mut(label.0) {
            *place = Some(self.bytes.len());
        }
    }

    /// The finished code; `None` if a label was never bound or a jump is too far.
    pub(super) fn finish(mut self) -> Option<Vec<u8>> {
        for (at, label) in self.fixups {
            let target = i64::try_from(self.labels.get(label.0).copied().flatten()?).ok()?;
            let next = i64::try_from(at + 4).ok()?;
            let displacement = i32::try_from(target - next).ok()?;
            self.bytes
                .get_mut(at..at + 4)?
                .copy_from_slice(&displacement.to_le_bytes());
        }
        Some(self.bytes)
    }

    /// `dst = src`
    pub(super) fn mov(&mut self, bits: Bits, dst: Reg, src: Reg) {
        self.reg_reg(bits, &[0x89], src, dst);
    }

    /// `dst = 0`. Changes the flags.
    pub(super) fn zero(&mut self, dst: Reg) {
        self.arith(Arith::Xor, Bits::B32, dst, dst);
    }

    /// `dst = imm`, the shortest form that leaves the flags alone.
    pub(super) fn mov_imm(&mut self, dst: Reg, imm: u64) {
        if let Ok(imm) = u32::try_from(imm) {
            self.rex(false, [Reg(0), Reg(0), dst], false);
            self.bytes.push(0xb8 | dst.0 & 7);
            self.bytes.extend(imm.to_le_bytes());
        } else if let Ok(imm) = i32::try_from(imm.cast_signed()) {
            self.reg_digit(Bits::B64, &[0xc7], 0, dst);
            self.bytes.extend(imm.to_le_bytes());
        } else {
            self.rex(true, [Reg(0), Reg(0), dst], false);
            self.bytes.push(0xb8 | dst.0 & 7);
            self.bytes.extend(imm.to_le_bytes());
        }
    }

    /// `dst op= src`
    pub(super) fn arith(&mut self, op: Arith, bits: Bits, dst: Reg, src: Reg) {
        self.reg_reg(bits, &[(op as u8) << 3 | 1], src, dst);
    }

    /// `dst op= imm`, the immediate sign-extended.
    pub(super) fn arith_imm(&mut self, op: Arith, bits: Bits, dst: Reg, imm: i32) {
        match i8::try_from(imm) {
            Ok(short) => {
                self.reg_digit(bits, &[0x83], op as u8, dst);
                self.bytes.extend(short.to_le_bytes());
            }
            Err(_) => {
                self.reg_digit(bits, &[0x81], op as u8, dst);
                self.bytes.extend(imm.to_le_bytes());
            }
        }
    }

    /// `[mem] op= imm`, the immediate sign-extended.
    pub(super) fn arith_mem_imm(&mut self, op: Arith, bits: Bits, mem: Mem, imm: i32) {
        match i8::try_from(imm) {
            Ok(short) => {
                self.reg_mem(bits, &[0x83], Reg(op as u8), mem);
                self.bytes.extend(short.to_le_bytes());
            }
            Err(_) => {
                self.reg_mem(bits, &[0x81], Reg(op as u8), mem);
                self.bytes.extend(imm.to_le_bytes());
            }
        }
    }

    /// `dst op= [mem]`
    pub(super) fn arith_mem(&mut self, op: Arith, bits: Bits, dst: Reg, mem: Mem) {
        self.reg_mem(bits, &[(op as u8) << 3 | 3], dst, mem);
    }

    /// Sets flags from `[mem] & imm`, one byte.
    pub(super) fn test_byte(&mut self, mem: Mem, imm: u8) {
        self.reg_mem(Bits::B32, &[0xf6], Reg(0), mem);
        self.bytes.push(imm);
    }

    /// Sets flags from `left & right`.
    pub(super) fn test(&mut self, bits: Bits, left: Reg, right: Reg) {
        self.reg_reg(bits, &[0x85], right, left);
    }

    /// Sets flags from `left & imm`.
    pub(super) fn test_imm(&mut self, bits: Bits, left: Reg, imm: i32) {
        self.reg_digit(bits, &[0xf7], 0, left);
        self.bytes.extend(imm.to_le_bytes());
    }

    /// `dst *= src`, low half.
    pub(super) fn multiply(&mut self, bits: Bits, dst: Reg, src: Reg) {
        self.reg_reg(bits, &[0x0f, 0xaf], dst, src);
    }

    /// `dst = src * imm`, low half.
    pub(super) fn multiply_imm(&mut self, bits: Bits, dst: Reg, src: Reg, imm: i32) {
        self.reg_reg(bits, &[0x69], dst, src);
        self.bytes.extend(imm.to_le_bytes());
    }

    /// A one-operand form; division takes `rdx:rax`.
    pub(super) fn unary(&mut self, op: Unary, bits: Bits, dst: Reg) {
        self.reg_digit(bits, &[0xf7], op as u8, dst);
    }

    /// Sign of `rax` into `rdx`.
    pub(super) fn sign_of_rax(&mut self, bits: Bits) {
        self.rex(bits == Bits::B64, [Reg(0), Reg(0), Reg(0)], false);
        self.bytes.push(0x99);
    }

    /// `dst shift= count`
    pub(super) fn shift_imm(&mut self, op: Shift, bits: Bits, dst: Reg, count: u8) {
        self.reg_digit(bits, &[0xc1], op as u8, dst);
        self.bytes.push(count);
    }

    /// `dst shift= cl`
    pub(super) fn shift_cl(&mut self, op: Shift, bits: Bits, dst: Reg) {
        self.reg_digit(bits, &[0xd3], op as u8, dst);
    }

    /// `dst = src shift count`, all in registers, flags left alone (BMI2). Not for rotations.
    pub(super) fn shift_by(&mut self, op: Shift, bits: Bits, [dst, src, count]: [Reg; 3]) {
        let prefix = match op {
            Shift::Right => 3,
            Shift::Arithmetic => 2,
            Shift::Left | Shift::Rol => 1,
        };
        // The three-byte VEX prefix: its extension bits and its register are stored inverted.
        let wide = u8::from(bits == Bits::B64) << 7;
        self.named |= 1 << dst.0 | 1 << src.0 | 1 << count.0;
        self.bytes.extend([
            0xc4,
            (!dst.0 >> 3 & 1) << 7 | 0x40 | (!src.0 >> 3 & 1) << 5 | 2,
            wide | (!count.0 & 0xf) << 3 | prefix,
            0xf7,
            0xc0 | (dst.0 & 7) << 3 | src.0 & 7,
        ]);
    }

    /// `dst = the low bits of src, zeros above`
    pub(super) fn zero_extend(&mut self, from: Bits, dst: Reg, src: Reg) {
        match from {
            Bits::B8 => self.reg_reg_byte(Bits::B32, &[0x0f, 0xb6], dst, src),
            Bits::B16 => self.reg_reg(Bits::B32, &[0x0f, 0xb7], dst, src),
            Bits::B32 | Bits::B64 => self.mov(from, dst, src),
        }
    }

    /// `dst = the low bits of src, sign above`; the result has `to` bits and zeros above those.
    pub(super) fn sign_extend(&mut self, from: Bits, to: Bits, dst: Reg, src: Reg) {
        match from {
            Bits::B8 => self.reg_reg_byte(to, &[0x0f, 0xbe], dst, src),
            Bits::B16 => self.reg_reg(to, &[0x0f, 0xbf], dst, src),
            Bits::B32 | Bits::B64 => self.reg_reg(Bits::B64, &[0x63], dst, src),
        }
    }

    /// Reverses the bytes of a register of 32 or 64 bits.
    pub(super) fn byte_swap(&mut self, bits: Bits, dst: Reg) {
        self.rex(bits == Bits::B64, [Reg(0), Reg(0), dst], false);
        self.bytes.extend([0x0f, 0xc8 | dst.0 & 7]);
    }

    /// `dst = the address of mem`. Leaves the flags alone.
    pub(super) fn lea(&mut self, dst: Reg, mem: Mem) {
        self.reg_mem(Bits::B64, &[0x8d], dst, mem);
    }

    /// `dst = [mem]`, zeros above.
    pub(super) fn load(&mut self, bits: Bits, dst: Reg, mem: Mem) {
        match bits {
            Bits::B8 => self.reg_mem(Bits::B32, &[0x0f, 0xb6], dst, mem),
            Bits::B16 => self.reg_mem(Bits::B32, &[0x0f, 0xb7], dst, mem),
            Bits::B32 | Bits::B64 => self.reg_mem(bits, &[0x8b], dst, mem),
        }
    }

    /// `dst = [mem]`, sign above.
    pub(super) fn load_signed(&mut self, bits: Bits, dst: Reg, mem: Mem) {
        match bits {
            Bits::B8 => self.reg_mem(Bits::B64, &[0x0f, 0xbe], dst, mem),
            Bits::B16 => self.reg_mem(Bits::B64, &[0x0f, 0xbf], dst, mem),
            Bits::B32 | Bits::B64 => self.reg_mem(Bits::B64, &[0x63], dst, mem),
        }
    }

    /// `[mem] = src`
    pub(super) fn store(&mut self, bits: Bits, mem: Mem, src: Reg) {
        match bits {
            Bits::B8 => self.reg_mem_byte(&[0x88], src, mem),
            _ => self.reg_mem(bits, &[0x89], src, mem),
        }
    }

    /// `[mem] = imm`; for 64 bits the immediate is sign-extended.
    pub(super) fn store_imm(&mut self, bits: Bits, mem: Mem, imm: i32) {
        let [b0, b1, ..] = imm.to_le_bytes();
        match bits {
            Bits::B8 => {
                self.reg_mem(Bits::B32, &[0xc6], Reg(0), mem);
                self.bytes.push(b0);
            }
            Bits::B16 => {
                self.reg_mem(Bits::B16, &[0xc7], Reg(0), mem);
                self.bytes.extend([b0, b1]);
            }
            Bits::B32 | Bits::B64 => {
                self.reg_mem(bits, &[0xc7], Reg(0), mem);
                self.bytes.extend(imm.to_le_bytes());
            }
        }
    }

    /// `[mem] op= src`, as one step for all CPUs.
    pub(super) fn locked_arith(&mut self, op: Arith, bits: Bits, mem: Mem, src: Reg) {
        self.bytes.push(LOCK);
        self.reg_mem(bits, &[(op as u8) << 3 | 1], src, mem);
    }

    /// `src = [mem]` and `[mem] += src`, as one step for all CPUs.
    pub(super) fn locked_exchange_add(&mut self, bits: Bits, mem: Mem, src: Reg) {
        self.bytes.push(LOCK);
        self.reg_mem(bits, &[0x0f, 0xc1], src, mem);
    }

    /// `[mem] = src` if `[mem]` is `rax`, else `rax = [mem]`, as one step for all CPUs.
    pub(super) fn locked_compare_exchange(&mut self, bits: Bits, mem: Mem, src: Reg) {
        self.bytes.push(LOCK);
        self.reg_mem(bits, &[0x0f, 0xb1], src, mem);
    }

    /// Swaps `src` and `[mem]`, as one step for all CPUs.
    pub(super) fn exchange(&mut self, bits: Bits, mem: Mem, src: Reg) {
        self.reg_mem(bits, &[0x87], src, mem);
    }

    pub(super) fn push(&mut self, reg: Reg) {
        self.rex(false, [Reg(0), Reg(0), reg], false);
        self.bytes.push(0x50 | reg.0 & 7);
    }

    pub(super) fn pop(&mut self, reg: Reg) {
        self.rex(false, [Reg(0), Reg(0), reg], false);
        self.bytes.push(0x58 | reg.0 & 7);
    }

    pub(super) fn ret(&mut self) {
        self.bytes.push(0xc3);
    }

    pub(super) fn call_reg(&mut self, target: Reg) {
        self.reg_digit(Bits::B32, &[0xff], 2, target);
    }

    /// Jumps to the address in memory.
    pub(super) fn jump_through(&mut self, mem: Mem) {
        self.reg_mem(Bits::B32, &[0xff], Reg(4), mem);
    }

    pub(super) fn call(&mut self, label: Label) {
        self.bytes.push(0xe8);
        self.displacement_to(label);
    }

    pub(super) fn jump(&mut self, label: Label) {
        if let Some(back) = self.short_way_back(label) {
            self.bytes.extend([0xeb, back]);
            return;
        }
        self.bytes.push(0xe9);
        self.displacement_to(label);
    }

    pub(super) fn jump_if(&mut self, cond: Cond, label: Label) {
        if let Some(back) = self.short_way_back(label) {
            self.bytes.extend([0x70 | cond as u8, back]);
            return;
        }
        self.bytes.extend([0x0f, 0x80 | cond as u8]);
        self.displacement_to(label);
    }

    /// A conditional jump over a few instructions, which [`Assembler::end_skip`] ends.
    pub(super) fn skip_if(&mut self, cond: Cond) -> Skip {
        self.bytes.extend([0x70 | cond as u8, 0]);
        Skip(self.bytes.len())
    }

    /// The place where a skip arrives: at most 127 bytes behind it, else the code is never finished.
    pub(super) fn end_skip(&mut self, Skip(start): Skip) {
        match i8::try_from(self.bytes.len() - start) {
            Ok(distance) => {
                if let Some(byte) = self.bytes.get_mut(start - 1) {
                    *byte = distance.cast_unsigned();
                }
            }
            Err(_) => {
                let never = self.label();
                self.jump(never);
            }
        }
    }

    /// The displacement of a jump of two bytes to a label behind us, if that reaches.
    fn short_way_back(&self, label: Label) -> Option<u8> {
        let distance = (self.bytes.len() + 2).checked_sub(self.place(label)?)?;
        let distance = i16::try_from(distance).ok()?;
        let displacement = i8::try_from(-distance).ok()?;
        Some(displacement.cast_unsigned())
    }

    fn displacement_to(&mut self, label: Label) {
        self.fixups.push((self.bytes.len(), label));
        self.bytes.extend([0; 4]);
    }

    /// The prefix that extends register numbers to 4 bits; left out where it says nothing, unless `is_forced`.
    fn rex(&mut self, is_wide: bool, [reg, index, base]: [Reg; 3], is_forced: bool) {
        self.named |= 1 << reg.0 | 1 << index.0 | 1 << base.0;
        let rex = 0x40 | u8::from(is_wide) << 3 | reg.0 >> 3 << 2 | index.0 >> 3 << 1 | base.0 >> 3;
        if rex != 0x40 || is_forced {
            self.bytes.push(rex);
        }
    }

    fn reg_reg(&mut self, bits: Bits, opcode: &[u8], reg: Reg, rm: Reg) {
        self.prefix(bits);
        self.rex(bits == Bits::B64, [reg, Reg(0), rm], false);
        self.bytes.extend(opcode);
        self.bytes.push(0xc0 | (reg.0 & 7) << 3 | rm.0 & 7);
    }

    /// As `reg_reg` where `rm` is a byte register: without REX, numbers 4 to 7 would mean the second bytes of 0 to 3.
    fn reg_reg_byte(&mut self, bits: Bits, opcode: &[u8], reg: Reg, rm: Reg) {
        self.rex(bits == Bits::B64, [reg, Reg(0), rm], true);
        self.bytes.extend(opcode);
        self.bytes.push(0xc0 | (reg.0 & 7) << 3 | rm.0 & 7);
    }

    fn reg_digit(&mut self, bits: Bits, opcode: &[u8], digit: u8, rm: Reg) {
        self.reg_reg(bits, opcode, Reg(digit), rm);
    }

    fn reg_mem(&mut self, bits: Bits, opcode: &[u8], reg: Reg, mem: Mem) {
        self.prefix(bits);
        let is_wide = bits == Bits::B64;
        self.memory(
            Form {
                is_wide,
                is_byte: false,
            },
            opcode,
            reg,
            mem,
        );
    }

    fn reg_mem_byte(&mut self, opcode: &[u8], reg: Reg, mem: Mem) {
        self.memory(
            Form {
                is_wide: false,
                is_byte: true,
            },
            opcode,
            reg,
            mem,
        );
    }

    fn prefix(&mut self, bits: Bits) {
        if bits == Bits::B16 {
            self.bytes.push(0x66);
        }
    }

    fn memory(&mut self, form: Form, opcode: &[u8], reg: Reg, mem: Mem) {
        let (base, index, displacement) = match mem {
            Mem::Base(base, displacement) => (base, None, displacement),
            Mem::Indexed(base, index, displacement) => (base, Some(index), displacement),
        };
        self.rex(
            form.is_wide,
            [reg, index.unwrap_or(Reg(0)), base],
            form.is_byte,
        );
        self.bytes.extend(opcode);
        // Without a displacement, the numbers of `rbp` and `r13` mean something else.
        let short = i8::try_from(displacement).ok();
        let mode = match short {
            Some(0) if base.0 & 7 != 5 => 0x00,
            Some(_) => 0x40,
            None => 0x80,
        };
        let field = (reg.0 & 7) << 3;
        match index {
            Some(index) => self
                .bytes
                .extend([mode | field | 4, (index.0 & 7) << 3 | base.0 & 7]),
            // The number of `rsp` and `r12` means that a second byte follows: that one says "no index".
            None if base.0 & 7 == 4 => self.bytes.extend([mode | field | 4, 0x24]),
            None => self.bytes.push(mode | field | base.0 & 7),
        }
        match (mode, short) {
            (0x00, _) => {}
            (0x40, Some(short)) => self.bytes.extend(short.to_le_bytes()),
            _ => self.bytes.extend(displacement.to_le_bytes()),
        }
    }
}
