//! From BPF operations to machine code, one after the other.
//!
//! ```text
//!  BPF    r0  r1  r2  r3  r4  r5  r6  r7  r8  r9  r10          state  window  scratch
//!  host   rax rdi rsi rdx rcx r8  rbx r13 r14 r15 rbp          r10    r12     r9 r11
//! ```
//!
//! `r1` to `r5` are where the host's calling convention wants arguments, `r6` to `r9` survive its calls. BPF functions are
//! host functions: a local call is a `call`, after saving `r6` to `r9`; every exit is a `ret`. Inside a function the host
//! stack is 8 bytes off a multiple of 16, so one push before a call back aligns it.
//!
//! An abnormal end jumps to a stub that notes the instruction, and from there restores the stack pointer of the entry.

use twinbpf_object::insn::{
    AluOp, AtomicOp, Call, Condition, Displacement, Extend, Operand, Operation, Register, Size,
    SwapOrder, WideValue, Width,
};

use super::assembler::{
    Arith, Assembler, Bits, Cond, Label, Mem, R8, R9, R10, R11, R12, R13, R14, R15, RAX, RBP, RBX,
    RCX, RDI, RDX, RSI, RSP, Reg, Shift, Unary,
};
use super::runtime::{Callback, offset, status};
use crate::code;
use crate::helpers;
use crate::run::{MAX_FRAMES, STACK_BYTES};

/// The host register of each BPF register.
const REGISTERS: [Reg; 11] = [RAX, RDI, RSI, RDX, RCX, R8, RBX, R13, R14, R15, RBP];
/// BPF registers that a call back may change and that programs keep: `r1` to `r5`.
const ARGUMENTS: [Reg; 5] = [RDI, RSI, RDX, RCX, R8];
/// BPF registers that a function keeps for its caller: `r6` to `r9`.
const SAVED: [Reg; 4] = [RBX, R13, R14, R15];
/// Host registers that the host's convention keeps for the caller.
const HOST_SAVED: [Reg; 6] = [RBP, RBX, R12, R13, R14, R15];

const STATE: Reg = R10;
const WINDOW: Reg = R12;

/// What [`emit`] made; nothing else can make one.
#[derive(Debug)]
pub(super) struct EmittedCode(Vec<u8>);

impl EmittedCode {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Compiles a program. `None` if it is too large, or has operations that loading should have refused.
pub(super) fn emit(operations: &[Option<Operation>], bounds: &[usize]) -> Option<EmittedCode> {
    let mut assembler = Assembler::default();
    let slots = operations.iter().map(|_| assembler.label()).collect();
    let exit = assembler.label();
    let mut emitter = Emitter {
        assembler,
        slots,
        exit,
        stubs: Vec::new(),
        bounds,
    };
    emitter.entry();
    for (at, operation) in operations.iter().enumerate() {
        let label = *emitter.slots.get(at)?;
        emitter.assembler.bind(label);
        if let Some(operation) = operation {
            emitter.operation(at, *operation)?;
        }
    }
    emitter.stubs();
    emitter.assembler.finish().map(EmittedCode)
}

/// The out-of-line end of an instruction that faults.
struct Stub {
    label: Label,
    insn: u32,
    status: Option<u32>,
    size: u32,
}

struct Emitter<'p> {
    assembler: Assembler,
    slots: Vec<Label>,
    /// Restores the host's registers and returns.
    exit: Label,
    stubs: Vec<Stub>,
    bounds: &'p [usize],
}

fn field(offset: i32) -> Mem {
    Mem::Base(STATE, offset)
}

fn argument(index: usize) -> Mem {
    // Five arguments of 8 bytes: the offset stays far below any limit.
    let index = i32::try_from(index).unwrap_or(0);
    field(offset::ARGUMENTS + 8 * index)
}

fn host(register: Register) -> Reg {
    REGISTERS.get(register.index()).copied().unwrap_or(RAX)
}

fn bits(width: Width) -> Bits {
    match width {
        Width::W32 => Bits::B32,
        Width::W64 => Bits::B64,
    }
}

fn size_bits(size: Size) -> Bits {
    match size {
        Size::B => Bits::B8,
        Size::H => Bits::B16,
        Size::W => Bits::B32,
        Size::Dw => Bits::B64,
    }
}

impl Emitter<'_> {
    /// Saves the host's registers, sets up ours, calls the program, and returns its `r0`.
    fn entry(&mut self) {
        let a = &mut self.assembler;
        for reg in HOST_SAVED {
            a.push(reg);
        }
        a.arith_imm(Arith::Sub, Bits::B64, RSP, 8);
        a.mov(Bits::B64, STATE, RDI);
        a.store(Bits::B64, field(offset::SAVED_RSP), RSP);
        a.load(Bits::B64, WINDOW, field(offset::WINDOW));
        a.load(Bits::B64, RBP, field(offset::STACK_TOP));
        a.load(Bits::B64, RDI, field(offset::CONTEXT));
        for reg in [RAX, RSI, RDX, RCX, R8, RBX, R13, R14, R15] {
            a.mov_imm(reg, 0);
        }
        if let Some(first) = self.slots.first() {
            a.call(*first);
        }
        a.bind(self.exit);
        a.arith_imm(Arith::Add, Bits::B64, RSP, 8);
        for reg in HOST_SAVED.iter().rev() {
            a.pop(*reg);
        }
        a.ret();
    }

    #[expect(clippy::too_many_lines, reason = "a flat match, one arm per operation")]
    fn operation(&mut self, at: usize, operation: Operation) -> Option<()> {
        match operation {
            Operation::Alu {
                width,
                op,
                dst,
                src,
            } => self.alu(width, op, host(dst), src),
            Operation::Neg { width, dst } => {
                self.assembler.unary(Unary::Neg, bits(width), host(dst))
            }
            Operation::MoveSigned {
                width,
                bits: from,
                dst,
                src,
            } => {
                let from = match from {
                    8 => Bits::B8,
                    16 => Bits::B16,
                    _ => Bits::B32,
                };
                self.assembler
                    .sign_extend(from, bits(width), host(dst), host(src));
            }
            Operation::Swap { order, bits, dst } => self.swap(order, bits, host(dst)),
            Operation::Load {
                size,
                extend,
                dst,
                base,
                offset,
            } => {
                let memory = self.checked(at, (base, offset), size, status::READ);
                match extend {
                    Extend::Zero => self.assembler.load(size_bits(size), host(dst), memory),
                    Extend::Sign => self
                        .assembler
                        .load_signed(size_bits(size), host(dst), memory),
                }
            }
            Operation::Store {
                size,
                base,
                offset,
                value,
            } => {
                let memory = self.checked(at, (base, offset), size, status::WRITE);
                match value {
                    Operand::Register(src) => {
                        self.assembler.store(size_bits(size), memory, host(src))
                    }
                    Operand::Immediate(imm) => {
                        self.assembler.store_imm(size_bits(size), memory, imm)
                    }
                }
            }
            Operation::LoadAcquire {
                size,
                dst,
                base,
                offset,
            } => {
                self.check_alignment(at, (base, offset), size);
                let memory = self.checked(at, (base, offset), size, status::READ);
                self.assembler.load(size_bits(size), host(dst), memory);
            }
            Operation::StoreRelease {
                size,
                base,
                offset,
                src,
            } => {
                self.check_alignment(at, (base, offset), size);
                let memory = self.checked(at, (base, offset), size, status::WRITE);
                self.assembler.store(size_bits(size), memory, host(src));
            }
            Operation::Atomic { .. } => self.atomic(at, operation)?,
            Operation::LoadWide {
                dst,
                value: WideValue::Number(number),
            } => self.assembler.mov_imm(host(dst), number),
            Operation::LoadPacket {
                size,
                index,
                offset,
            } => self.load_packet(at, size, index, offset),
            Operation::Jump { to } => self.jump(at, to)?,
            Operation::MayGoto { to } => self.may_goto(at, to)?,
            Operation::Branch {
                width,
                condition,
                dst,
                src,
                to,
            } => {
                let cond = self.compare(width, condition, host(dst), src);
                self.branch(at, cond, to)?;
            }
            Operation::Call(Call::Helper(code::TAIL_CALL)) => self.tail_call(at),
            Operation::Call(Call::Helper(number)) => {
                let position = u64::try_from(helpers::position(number)?).ok()?;
                self.save_arguments();
                self.assembler.mov_imm(RSI, position);
                self.call_back(Callback::Helper);
                self.leave_on_fault(at);
                self.restore_arguments();
            }
            Operation::Call(Call::Local(to)) => self.call_local(at, to)?,
            Operation::Exit => self.assembler.ret(),
            Operation::Cast { .. }
            | Operation::LoadWide { .. }
            | Operation::Call(Call::Kfunc { .. }) => return None,
        }
        Some(())
    }

    fn alu(&mut self, width: Width, op: AluOp, dst: Reg, src: Operand) {
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

    fn mov(&mut self, bits: Bits, dst: Reg, src: Operand) {
        match (src, bits) {
            (Operand::Register(src), _) => self.assembler.mov(bits, dst, host(src)),
            (Operand::Immediate(imm), Bits::B64) => {
                self.assembler.mov_imm(dst, i64::from(imm).cast_unsigned())
            }
            (Operand::Immediate(imm), _) => {
                self.assembler.mov_imm(dst, u64::from(imm.cast_unsigned()))
            }
        }
    }

    fn arith(&mut self, op: Arith, bits: Bits, dst: Reg, src: Operand) {
        match src {
            Operand::Register(src) => self.assembler.arith(op, bits, dst, host(src)),
            Operand::Immediate(imm) => self.assembler.arith_imm(op, bits, dst, imm),
        }
    }

    /// Counts are cut to the width by the hardware as by BPF. A count in a register must be in `cl`, which is `r4`.
    fn shift(&mut self, op: Shift, bits: Bits, dst: Reg, src: Operand) {
        let a = &mut self.assembler;
        match src {
            Operand::Immediate(count) => {
                let mask = if bits == Bits::B64 { 63 } else { 31 };
                let [count, ..] = (count & mask).to_le_bytes();
                a.shift_imm(op, bits, dst, count);
            }
            Operand::Register(src) => {
                let src = host(src);
                a.mov(Bits::B64, R11, dst);
                a.mov(Bits::B64, R9, RCX);
                a.mov(Bits::B64, RCX, src);
                a.shift_cl(op, bits, R11);
                a.mov(Bits::B64, RCX, R9);
                a.mov(Bits::B64, dst, R11);
            }
        }
        if bits == Bits::B32 {
            // A count of 0 may leave the upper half alone.
            self.assembler.mov(Bits::B32, dst, dst);
        }
    }

    /// Division and remainder, with BPF's answers for a divisor of 0 and for the one overflowing signed case.
    fn divide(&mut self, op: Unary, is_remainder: bool, (bits, dst): (Bits, Reg), src: Operand) {
        self.mov(bits, R11, src);
        let (done, special, normal) = (
            self.assembler.label(),
            self.assembler.label(),
            self.assembler.label(),
        );
        let a = &mut self.assembler;
        a.test(bits, R11, R11);
        a.jump_if(Cond::Equal, special);
        if op == Unary::SignedDiv {
            // Dividing by -1 is negation; the hardware would trap where that overflows.
            a.arith_imm(Arith::Cmp, bits, R11, -1);
            a.jump_if(Cond::NotEqual, normal);
            if is_remainder {
                a.mov_imm(dst, 0);
            } else {
                a.unary(Unary::Neg, bits, dst);
            }
            a.jump(done);
        }
        a.bind(normal);
        a.push(RAX);
        a.push(RDX);
        a.mov(bits, RAX, dst);
        if op == Unary::SignedDiv {
            a.sign_of_rax(bits);
        } else {
            a.mov_imm(RDX, 0);
        }
        a.unary(op, bits, R11);
        a.mov(bits, R11, if is_remainder { RDX } else { RAX });
        a.pop(RDX);
        a.pop(RAX);
        a.mov(bits, dst, R11);
        a.jump(done);
        a.bind(special);
        if is_remainder {
            a.mov(bits, dst, dst);
        } else {
            a.mov_imm(dst, 0);
        }
        a.bind(done);
    }

    fn swap(&mut self, order: SwapOrder, bits: u8, dst: Reg) {
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

    /// Compares a memory access with the window's table. The answer is the operand to access.
    ///
    /// Accesses to the frame through `r10` need no comparison: `r10` cannot be written, and the frame is always mapped.
    fn checked(
        &mut self,
        at: usize,
        (base, displacement): (Register, i16),
        size: Size,
        status: u32,
    ) -> Mem {
        let displacement = i32::from(displacement);
        let bytes = i32::try_from(size.bytes()).unwrap_or(8);
        let frame_bytes = i32::try_from(STACK_BYTES).unwrap_or(512);
        if base == Register::FRAME && displacement >= -frame_bytes && displacement + bytes <= 0 {
            return Mem::Indexed(WINDOW, RBP, displacement);
        }
        let permission = if status == status::READ {
            crate::window::READ
        } else {
            crate::window::WRITE
        };
        let stub = self.stub(at, Some(status), size);
        self.address(base, displacement);
        let a = &mut self.assembler;
        for last in [0, bytes - 1] {
            if last == 0 {
                a.mov(Bits::B64, R9, R11);
            } else {
                a.lea(R9, Mem::Base(R11, last));
            }
            a.shift_imm(
                Shift::Arithmetic,
                Bits::B64,
                R9,
                crate::window::PAGE_SHIFT.to_le_bytes()[0],
            );
            a.arith_mem(Arith::Add, Bits::B64, R9, field(offset::PERMISSIONS));
            a.test_byte(Mem::Base(R9, 0), permission);
            a.jump_if(Cond::Equal, stub);
            if bytes == 1 {
                break;
            }
        }
        Mem::Indexed(WINDOW, R11, 0)
    }

    /// `r11 = low half of base + displacement`
    fn address(&mut self, base: Register, displacement: i32) {
        self.assembler.mov(Bits::B32, R11, host(base));
        if displacement != 0 {
            self.assembler
                .arith_imm(Arith::Add, Bits::B64, R11, displacement);
        }
    }

    fn check_alignment(&mut self, at: usize, (base, displacement): (Register, i16), size: Size) {
        let mask = i32::try_from(size.bytes()).unwrap_or(8) - 1;
        if mask == 0 {
            return;
        }
        let stub = self.stub(at, Some(status::MISALIGNED), size);
        self.address(base, i32::from(displacement));
        self.assembler.test_imm(Bits::B32, R11, mask);
        self.assembler.jump_if(Cond::NotEqual, stub);
    }

    fn atomic(&mut self, at: usize, operation: Operation) -> Option<()> {
        let Operation::Atomic {
            op,
            base,
            offset: displacement,
            src,
            ..
        } = operation
        else {
            return None;
        };
        // One packing for interpreter and compiled code.
        let packed = code::lower(operation, at).imm;
        self.address(base, i32::from(displacement));
        self.assembler.store(Bits::B64, field(offset::R0), RAX);
        self.assembler.mov(Bits::B64, R9, host(src));
        self.save_arguments();
        self.assembler.mov(Bits::B64, RSI, R11);
        self.assembler.mov_imm(RDX, packed);
        self.assembler.mov(Bits::B64, RCX, R9);
        self.call_back(Callback::Atomic);
        self.leave_on_fault(at);
        self.restore_arguments();
        let fetched_into = match op {
            AtomicOp::CompareExchange => return Some(()),
            AtomicOp::Exchange => Some(src),
            AtomicOp::Add { fetch }
            | AtomicOp::Or { fetch }
            | AtomicOp::And { fetch }
            | AtomicOp::Xor { fetch } => fetch.then_some(src),
        };
        self.assembler.mov(Bits::B64, R11, RAX);
        self.assembler.load(Bits::B64, RAX, field(offset::R0));
        if let Some(register) = fetched_into {
            self.assembler.mov(Bits::B64, host(register), R11);
        }
        Some(())
    }

    fn load_packet(&mut self, at: usize, size: Size, index: Option<Register>, displacement: i32) {
        self.assembler
            .mov_imm(R11, u64::from(displacement.cast_unsigned()));
        if let Some(index) = index {
            self.assembler
                .arith(Arith::Add, Bits::B32, R11, host(index));
        }
        self.save_arguments();
        self.assembler.mov(Bits::B64, RSI, RBX);
        self.assembler.mov(Bits::B64, RDX, R11);
        self.assembler.mov_imm(RCX, u64::from(size.bytes()));
        self.call_back(Callback::LoadPacket);
        self.leave_if_told(at);
    }

    fn tail_call(&mut self, at: usize) {
        self.save_arguments();
        self.call_back(Callback::TailCall);
        self.leave_if_told(at);
    }

    /// After a call back that can end the function: returns with what it answered, faults, or goes on.
    fn leave_if_told(&mut self, at: usize) {
        let goes_on = self.assembler.label();
        let stub = self.stub(at, None, Size::B);
        let a = &mut self.assembler;
        a.arith_mem_imm(
            Arith::Cmp,
            Bits::B32,
            field(offset::STATUS),
            status_imm(status::RUNNING),
        );
        a.jump_if(Cond::Equal, goes_on);
        a.arith_mem_imm(
            Arith::Cmp,
            Bits::B32,
            field(offset::STATUS),
            status_imm(status::LEAVE),
        );
        a.jump_if(Cond::NotEqual, stub);
        a.store_imm(
            Bits::B32,
            field(offset::STATUS),
            status_imm(status::RUNNING),
        );
        self.restore_arguments();
        self.assembler.ret();
        self.assembler.bind(goes_on);
        self.restore_arguments();
    }

    fn jump(&mut self, at: usize, to: Displacement) -> Option<()> {
        let target = code::destination(at, to.0)?;
        if target <= at {
            self.charge(at, at - target + 1)?;
        }
        let label = *self.slots.get(target)?;
        self.assembler.jump(label);
        Some(())
    }

    fn branch(&mut self, at: usize, cond: Cond, to: Displacement) -> Option<()> {
        let target = code::destination(at, to.0)?;
        if target > at {
            let label = *self.slots.get(target)?;
            self.assembler.jump_if(cond, label);
            return Some(());
        }
        let skip = self.assembler.label();
        self.assembler.jump_if(cond.negated(), skip);
        self.jump(at, to)?;
        self.assembler.bind(skip);
        Some(())
    }

    fn may_goto(&mut self, at: usize, to: Displacement) -> Option<()> {
        let goes_on = self.assembler.label();
        self.assembler
            .arith_mem_imm(Arith::Sub, Bits::B64, field(offset::LOOPS), 1);
        self.assembler.jump_if(Cond::AboveOrEqual, goes_on);
        self.assembler.store_imm(Bits::B64, field(offset::LOOPS), 0);
        self.jump(at, to)?;
        self.assembler.bind(goes_on);
        Some(())
    }

    /// Sets flags; the answer is the condition under which the comparison holds.
    fn compare(&mut self, width: Width, condition: Condition, dst: Reg, src: Operand) -> Cond {
        let bits = bits(width);
        match (condition, src) {
            (Condition::Set, Operand::Register(src)) => self.assembler.test(bits, dst, host(src)),
            (Condition::Set, Operand::Immediate(imm)) => self.assembler.test_imm(bits, dst, imm),
            _ => self.arith(Arith::Cmp, bits, dst, src),
        }
        match condition {
            Condition::Eq => Cond::Equal,
            Condition::Ne | Condition::Set => Cond::NotEqual,
            Condition::Gt => Cond::Above,
            Condition::Ge => Cond::AboveOrEqual,
            Condition::Lt => Cond::Below,
            Condition::Le => Cond::BelowOrEqual,
            Condition::SignedGt => Cond::Greater,
            Condition::SignedGe => Cond::GreaterOrEqual,
            Condition::SignedLt => Cond::Less,
            Condition::SignedLe => Cond::LessOrEqual,
        }
    }

    /// Pays for instructions and looks at the abort flag, as [`Run::charge`](crate::run::Run::charge) does.
    fn charge(&mut self, at: usize, insns: usize) -> Option<()> {
        let insns = i32::try_from(insns).ok()?;
        let (budget, aborted) = (
            self.stub(at, Some(status::BUDGET), Size::B),
            self.stub(at, Some(status::ABORTED), Size::B),
        );
        let a = &mut self.assembler;
        a.arith_mem_imm(Arith::Sub, Bits::B64, field(offset::BUDGET), insns);
        a.jump_if(Cond::Below, budget);
        a.load(Bits::B64, R11, field(offset::ABORT));
        a.cmp_byte(Mem::Base(R11, 0), 0);
        a.jump_if(Cond::NotEqual, aborted);
        Some(())
    }

    fn call_local(&mut self, at: usize, to: i32) -> Option<()> {
        let target = code::destination(at, to)?;
        let end = self.bounds.iter().find(|bound| **bound > target).copied()?;
        self.charge(at, end - target)?;
        let too_deep = self.stub(at, Some(status::DEPTH), Size::B);
        let label = *self.slots.get(target)?;
        let frame_bytes = i32::try_from(STACK_BYTES).ok()?;
        let deepest = i32::try_from(MAX_FRAMES).ok()? - 1;
        let a = &mut self.assembler;
        a.arith_mem_imm(Arith::Cmp, Bits::B32, field(offset::DEPTH), deepest);
        a.jump_if(Cond::AboveOrEqual, too_deep);
        a.arith_mem_imm(Arith::Add, Bits::B32, field(offset::DEPTH), 1);
        for reg in SAVED {
            a.push(reg);
        }
        // A fifth push keeps the alignment that the callee expects.
        a.push(STATE);
        a.arith_imm(Arith::Add, Bits::B64, RBP, frame_bytes);
        a.call(label);
        a.arith_imm(Arith::Sub, Bits::B64, RBP, frame_bytes);
        a.pop(STATE);
        for reg in SAVED.iter().rev() {
            a.pop(*reg);
        }
        a.arith_mem_imm(Arith::Sub, Bits::B32, field(offset::DEPTH), 1);
        Some(())
    }

    fn save_arguments(&mut self) {
        for (index, reg) in ARGUMENTS.into_iter().enumerate() {
            self.assembler.store(Bits::B64, argument(index), reg);
        }
    }

    /// After a call back, `r1` to `r5` hold what they held before: never a host value.
    fn restore_arguments(&mut self) {
        for (index, reg) in ARGUMENTS.into_iter().enumerate() {
            self.assembler.load(Bits::B64, reg, argument(index));
        }
    }

    /// Calls a function of the host whose first argument is the state; its answer is in `rax`.
    fn call_back(&mut self, callback: Callback) {
        let a = &mut self.assembler;
        a.mov(Bits::B64, RDI, STATE);
        a.mov_imm(RAX, callback.address());
        a.push(STATE);
        a.call_reg(RAX);
        a.pop(STATE);
    }

    fn leave_on_fault(&mut self, at: usize) {
        let stub = self.stub(at, None, Size::B);
        self.assembler.arith_mem_imm(
            Arith::Cmp,
            Bits::B32,
            field(offset::STATUS),
            status_imm(status::RUNNING),
        );
        self.assembler.jump_if(Cond::NotEqual, stub);
    }

    fn stub(&mut self, at: usize, status: Option<u32>, size: Size) -> Label {
        let label = self.assembler.label();
        let insn = u32::try_from(at).unwrap_or(u32::MAX);
        self.stubs.push(Stub {
            label,
            insn,
            status,
            size: size.bytes(),
        });
        label
    }

    /// The out-of-line ends: what happened goes into the state, then everything is left at once.
    fn stubs(&mut self) {
        let leave = self.assembler.label();
        for stub in std::mem::take(&mut self.stubs) {
            let a = &mut self.assembler;
            a.bind(stub.label);
            a.store_imm(
                Bits::B32,
                field(offset::FAULT_INSN),
                stub.insn.cast_signed(),
            );
            if let Some(status) = stub.status {
                a.store_imm(Bits::B32, field(offset::STATUS), status_imm(status));
                a.store_imm(
                    Bits::B32,
                    field(offset::FAULT_SIZE),
                    stub.size.cast_signed(),
                );
                a.store(Bits::B64, field(offset::FAULT_ADDRESS), R11);
            }
            a.jump(leave);
        }
        let a = &mut self.assembler;
        a.bind(leave);
        a.load(Bits::B64, RSP, field(offset::SAVED_RSP));
        a.jump(self.exit);
    }
}

fn status_imm(status: u32) -> i32 {
    status.cast_signed()
}
