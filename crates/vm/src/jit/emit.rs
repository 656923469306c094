//! From BPF operations to machine code, one after the other.
//!
//! ```text
//!  BPF    r0  r1  r2  r3  r4  r5  r6  r7  r8  r9  r10          budget  state  window  scratch
//!  host   rax rdi rsi rdx rcx r8  rbx r13 r14 r15 rbp          r9      r10    r12     r11
//! ```
//!
//! `r1` to `r5` are where the host's calling convention wants arguments, `r6` to `r9` survive its calls. BPF functions are
//! host functions: a local call is a `call`, after saving `r6` to `r9`; every exit is a `ret`. Inside a function the host
//! stack is 8 bytes off a multiple of 16, so one push before a call back aligns it.
//!
//! The register of the budget holds a slice of it. Only when a slice is used up the host is asked for the next one, and looks at
//! the abort flag.
//!
//! An abnormal end jumps to a stub that notes the instruction, and from there restores the stack pointer of the entry.

use twinbpf_object::insn::{
    AluOp, Call, Condition, Displacement, Extend, Operand, Operation, Register, Size, WideValue,
    Width,
};

use super::assembler::{
    Arith, Assembler, Bits, Cond, Label, Mem, R8, R9, R10, R11, R12, R13, R14, R15, RAX, RBP, RBX,
    RCX, RDI, RDX, RSI, Reg, Unary,
};
use super::known::Facts;
use super::memory::{Access, Place};
use super::runtime::Callback;
use super::sites::{Site, Sites};
use super::{Options, Source};
use crate::code;
use crate::machine::{MAY_GOTO_LOOPS, offset, status};
use crate::run::{MAX_FRAMES, STACK_BYTES};

/// The host register of each BPF register.
const REGISTERS: [Reg; 11] = [RAX, RDI, RSI, RDX, RCX, R8, RBX, R13, R14, R15, RBP];
/// BPF registers that calls back leave empty: `r1` to `r5`.
pub(super) const ARGUMENTS: [Reg; 5] = [RDI, RSI, RDX, RCX, R8];
/// BPF registers that a function keeps for its caller: `r6` to `r9`.
pub(super) const SAVED: [Reg; 4] = [RBX, R13, R14, R15];
pub(super) const BUDGET: Reg = R9;
pub(super) const STATE: Reg = R10;
pub(super) const WINDOW: Reg = R12;

/// What [`emit`] made; nothing else can make one.
#[derive(Debug)]
pub(super) struct EmittedCode {
    bytes: Vec<u8>,
    entry: usize,
    function_entry: usize,
    functions: Vec<(usize, usize)>,
    sites: Sites,
}

impl EmittedCode {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Offset of the first instruction to execute.
    pub(super) fn entry(&self) -> usize {
        self.entry
    }

    /// Offset of the way in for functions.
    pub(super) fn function_entry(&self) -> usize {
        self.function_entry
    }

    /// The first slot of every function but the main one, ascending, with the offset of its code.
    pub(super) fn functions(&self) -> &[(usize, usize)] {
        &self.functions
    }

    pub(super) fn into_sites(self) -> Sites {
        self.sites
    }
}

/// Compiles a program. `None` if it is too large, or has operations that loading should have refused.
pub(super) fn emit(source: &Source<'_>, options: Options) -> Option<EmittedCode> {
    let operations = source.operations;
    let mut assembler = Assembler::default();
    let slots = operations.iter().map(|_| assembler.label()).collect();
    let (exit, leave, refill) = (assembler.label(), assembler.label(), assembler.label());
    let depart = assembler.label();
    let mut emitter = Emitter {
        assembler,
        slots,
        exit,
        leave,
        refill,
        depart,
        departs: false,
        stubs: Vec::new(),
        sites: Vec::new(),
        source,
        options,
        facts: Facts::at_entry(),
        cut_register: None,
        main_end: main_end(source),
        last_branches: vec![0; operations.len()],
    };
    let targets = targets(source, &mut emitter.last_branches)?;
    // Slots before this one are emitted already.
    let mut fused = 0;
    for (at, operation) in operations.iter().enumerate() {
        let label = *emitter.slots.get(at)?;
        emitter.assembler.bind(label);
        if targets.get(at).is_some_and(|is_target| *is_target) {
            emitter.facts = Facts::at_a_target();
            emitter.forget_address();
        }
        if at < fused {
            continue;
        }
        let sum = Sum::at(operations, &targets, at);
        fused = at + sum.as_ref().map_or(1, |sum| sum.slots);
        match (sum, operation) {
            (Some(sum), _) => emitter.sum(&sum),
            (None, Some(operation)) => emitter.operation(at, *operation)?,
            (None, None) => {}
        }
        for operation in operations.get(at..fused)?.iter().flatten() {
            emitter.facts.after(operation);
            emitter.forget_address_if_changed(operation);
        }
    }
    emitter.stubs();
    let trapped = u32::try_from(emitter.assembler.len()).ok()?;
    emitter.trapped();
    emitter.leave();
    emitter.refill();
    emitter.exit();
    emitter.depart();
    let entry = emitter.assembler.len();
    emitter.entry()?;
    let function_entry = emitter.assembler.len();
    emitter.function_entry();
    let functions = emitter.functions();
    let sites = Sites {
        sites: emitter.sites.into_boxed_slice(),
        trapped,
    };
    let bytes = emitter.assembler.finish()?;
    Some(EmittedCode {
        bytes,
        entry,
        function_entry,
        functions,
        sites,
    })
}

/// The end of the first function, if it is entered from outside alone: then it needs no call and no return.
fn main_end(source: &Source<'_>) -> usize {
    let is_called = source.operations.iter().enumerate().any(|(at, operation)| {
        matches!(operation, Some(Operation::Call(Call::Local(to))) if code::destination(at, *to) == Some(0))
    });
    match source.bounds.get(1) {
        Some(end) if !is_called => *end,
        _ => 0,
    }
}

/// Which slots a jump or call can arrive at, and from where last.
fn targets(source: &Source<'_>, last_branches: &mut [usize]) -> Option<Vec<bool>> {
    let mut targets = vec![false; source.operations.len()];
    // The first function is entered from outside; what is known there is known unless something jumps back to it.
    for start in source.bounds.iter().skip(1) {
        if let Some(is_target) = targets.get_mut(*start) {
            *is_target = true;
        }
    }
    for (at, operation) in source.operations.iter().enumerate() {
        let displacement = match operation {
            Some(
                Operation::Jump { to, .. }
                | Operation::Branch { to, .. }
                | Operation::MayGoto { to },
            ) => to.0,
            Some(Operation::Call(Call::Local(to))) => *to,
            _ => continue,
        };
        let target = code::destination(at, displacement)?;
        *targets.get_mut(target)? = true;
        *last_branches.get_mut(target)? = at;
    }
    Some(targets)
}

/// A copy and the additions to it right behind: one instruction of the host.
#[derive(Debug)]
struct Sum {
    dst: Register,
    base: Register,
    index: Option<Register>,
    displacement: i32,
    slots: usize,
}

impl Sum {
    /// The sum that begins at `at`, if one does.
    fn at(operations: &[Option<Operation>], targets: &[bool], at: usize) -> Option<Self> {
        let Some(Operation::Alu {
            width: Width::W64,
            op: AluOp::Mov,
            dst,
            src: Operand::Register(base),
        }) = *operations.get(at)?
        else {
            return None;
        };
        let mut sum = Self {
            dst,
            base,
            index: None,
            displacement: 0,
            slots: 1,
        };
        let behind = operations.iter().zip(targets).skip(at + 1);
        for (operation, is_target) in behind {
            let goes_on = match operation {
                Some(operation) if !is_target && dst != base => sum.add(operation),
                _ => None,
            };
            match goes_on {
                Some(()) => sum.slots += 1,
                None => break,
            }
        }
        (sum.slots > 1).then_some(sum)
    }

    /// Takes one more addition in, if it is one and there is room.
    fn add(&mut self, operation: &Operation) -> Option<()> {
        let Operation::Alu {
            width: Width::W64,
            op,
            dst,
            src,
        } = *operation
        else {
            return None;
        };
        match (op, src) {
            _ if dst != self.dst => return None,
            (AluOp::Add, Operand::Immediate(imm)) => {
                self.displacement = self.displacement.checked_add(imm)?;
            }
            (AluOp::Sub, Operand::Immediate(imm)) => {
                self.displacement = self.displacement.checked_sub(imm)?;
            }
            (AluOp::Add, Operand::Register(index)) if index != dst && self.index.is_none() => {
                self.index = Some(index);
            }
            _ => return None,
        }
        Some(())
    }
}

/// What the out-of-line end of an instruction notes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stub {
    /// What happened; `None`: a call back has said it already.
    pub(super) status: Option<u32>,
    pub(super) size: Size,
    /// What to make the address of.
    pub(super) address: Option<(Register, i32)>,
}

/// A comparison.
#[derive(Debug, Clone, Copy)]
struct Comparison {
    width: Width,
    condition: Condition,
    dst: Reg,
    src: Operand,
}

/// Code that is rarely needed and stands behind the rest.
#[derive(Debug, Clone, Copy)]
enum Rare {
    Fault(Stub),
    /// The slice of the budget is too small for what a jump or call costs.
    Refill {
        insns: i32,
        /// Where to go on: behind the payment.
        back: Label,
    },
    /// A jump back that is seldom taken.
    PayAndJump {
        insns: i32,
        to: Label,
    },
}

pub(super) struct Emitter<'p> {
    pub(super) assembler: Assembler,
    pub(super) slots: Vec<Label>,
    /// Restores the host's registers and returns.
    pub(super) exit: Label,
    /// Ends everything at once.
    pub(super) leave: Label,
    /// Asks for more budget.
    pub(super) refill: Label,
    /// Goes over to another program.
    pub(super) depart: Label,
    /// Whether anything jumps there.
    pub(super) departs: bool,
    stubs: Vec<(Label, u32, Rare)>,
    pub(super) sites: Vec<Site>,
    pub(super) source: &'p Source<'p>,
    pub(super) options: Options,
    pub(super) facts: Facts,
    /// The scratch register holds the low half of this one.
    pub(super) cut_register: Option<Register>,
    /// Slots before this one belong to the main function, which nothing calls; 0 if something does.
    pub(super) main_end: usize,
    /// For each slot the last one that jumps to it, or 0.
    last_branches: Vec<usize>,
}

pub(super) fn field(offset: i32) -> Mem {
    Mem::Base(STATE, offset)
}

pub(super) fn host(register: Register) -> Reg {
    REGISTERS.get(register.index()).copied().unwrap_or(RAX)
}

pub(super) fn bits(width: Width) -> Bits {
    match width {
        Width::W32 => Bits::B32,
        Width::W64 => Bits::B64,
    }
}

pub(super) fn bits_of(size: Size) -> Bits {
    match size {
        Size::B => Bits::B8,
        Size::H => Bits::B16,
        Size::W => Bits::B32,
        Size::Dw => Bits::B64,
    }
}

pub(super) fn status_imm(status: u32) -> i32 {
    status.cast_signed()
}

impl Emitter<'_> {
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
                let place = place(size, base, offset);
                let checked = self.checked(at, place, Access::Read);
                let memory = self.operand(at, checked);
                match extend {
                    Extend::Zero => self.assembler.load(bits_of(size), host(dst), memory),
                    Extend::Sign => self.assembler.load_signed(bits_of(size), host(dst), memory),
                }
            }
            Operation::Store {
                size,
                base,
                offset,
                value,
            } => {
                let checked = self.checked(at, place(size, base, offset), Access::Write);
                let memory = self.operand(at, checked);
                match value {
                    Operand::Register(src) => {
                        self.assembler.store(bits_of(size), memory, host(src))
                    }
                    Operand::Immediate(imm) => self.assembler.store_imm(bits_of(size), memory, imm),
                }
            }
            Operation::LoadAcquire {
                size,
                dst,
                base,
                offset,
            } => {
                let place = place(size, base, offset);
                self.check_alignment(at, place);
                let checked = self.checked(at, place, Access::Read);
                let memory = self.operand(at, checked);
                self.assembler.load(bits_of(size), host(dst), memory);
            }
            Operation::StoreRelease {
                size,
                base,
                offset,
                src,
            } => {
                let place = place(size, base, offset);
                self.check_alignment(at, place);
                let checked = self.checked(at, place, Access::Write);
                let memory = self.operand(at, checked);
                self.assembler.store(bits_of(size), memory, host(src));
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
            Operation::Jump { to, .. } => self.jump(at, to)?,
            Operation::MayGoto { to } => self.may_goto(at, to)?,
            Operation::Branch {
                width,
                condition,
                dst,
                src,
                to,
            } => {
                let comparison = Comparison {
                    width,
                    condition,
                    dst: host(dst),
                    src,
                };
                self.branch(at, comparison, to)?;
            }
            Operation::Call(Call::Helper(number)) => self.call_helper(at, number)?,
            Operation::Call(Call::Local(to)) => self.call_local(at, to)?,
            Operation::Exit => self.return_from(at),
            Operation::Call(Call::Kfunc { id, .. }) => self.call_kfunc(at, id),
            Operation::Cast { cast, dst, src } => self.cast(cast, host(dst), host(src)),
            Operation::LoadWide { .. } => return None,
        }
        Some(())
    }

    /// Where the code of each function begins, but of the main one, which has a way in of its own.
    fn functions(&self) -> Vec<(usize, usize)> {
        let starts = self.source.bounds.iter().skip(1);
        let place = |start: &usize| {
            let label = self.slots.get(*start)?;
            Some((*start, self.assembler.place(*label)?))
        };
        starts.filter_map(place).collect()
    }

    fn sum(&mut self, sum: &Sum) {
        let base = host(sum.base);
        let memory = match sum.index {
            Some(index) => Mem::Indexed(base, host(index), sum.displacement),
            None => Mem::Base(base, sum.displacement),
        };
        self.assembler.lea(host(sum.dst), memory);
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

    fn branch(&mut self, at: usize, comparison: Comparison, to: Displacement) -> Option<()> {
        let target = code::destination(at, to.0)?;
        let label = *self.slots.get(target)?;
        if target > at {
            let cond = self.compare(comparison);
            self.assembler.jump_if(cond, label);
            return Some(());
        }
        let insns = i32::try_from(at - target + 1).ok()?;
        let cond = self.compare(comparison);
        if self.source.is_vouched {
            self.assembler.jump_if(cond, label);
            return Some(());
        }
        // The last branch back to a place is likely the loop's end, which is usually taken. Earlier ones are usually not.
        if self
            .last_branches
            .get(target)
            .is_some_and(|last| *last > at)
        {
            let rare = self.rare(at, Rare::PayAndJump { insns, to: label });
            self.assembler.jump_if(cond, rare);
            return Some(());
        }
        let not_taken = self.assembler.skip_if(cond.negated());
        let rare = self.rare(at, Rare::Refill { insns, back: label });
        self.assembler
            .arith_imm(Arith::Sub, Bits::B64, BUDGET, insns);
        self.assembler.jump_if(Cond::AboveOrEqual, label);
        self.assembler.jump(rare);
        self.assembler.end_skip(not_taken);
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
    fn compare(&mut self, comparison: Comparison) -> Cond {
        let Comparison {
            width,
            condition,
            dst,
            src,
        } = comparison;
        let bits = bits(width);
        match (condition, src) {
            (Condition::Set, Operand::Register(src)) => self.assembler.test(bits, dst, host(src)),
            (Condition::Set, Operand::Immediate(imm)) => self.assembler.test_imm(bits, dst, imm),
            (Condition::Eq | Condition::Ne, Operand::Immediate(0)) => {
                self.assembler.test(bits, dst, dst)
            }
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

    /// Pays for instructions, as [`Run::charge`](crate::run::Run::charge) does, unless somebody promised that they come to an end.
    pub(super) fn charge(&mut self, at: usize, insns: usize) -> Option<()> {
        if self.source.is_vouched {
            return Some(());
        }
        let insns = i32::try_from(insns).ok()?;
        let back = self.assembler.label();
        let rare = self.rare(at, Rare::Refill { insns, back });
        self.assembler
            .arith_imm(Arith::Sub, Bits::B64, BUDGET, insns);
        self.assembler.jump_if(Cond::Below, rare);
        self.assembler.bind(back);
        Some(())
    }

    /// Slots of the function that starts at `start`.
    pub(super) fn function_len(&self, start: usize) -> Option<usize> {
        let mut bounds = self.source.bounds.iter();
        let end = bounds.find(|bound| **bound > start)?;
        Some(*end - start)
    }

    fn call_local(&mut self, at: usize, to: i32) -> Option<()> {
        let target = code::destination(at, to)?;
        self.charge(at, self.function_len(target)?)?;
        let label = *self.slots.get(target)?;
        let frame_bytes = i32::try_from(STACK_BYTES).ok()?;
        self.forget_address();
        self.begin_depth(at)?;
        let a = &mut self.assembler;
        for reg in SAVED {
            a.push(reg);
        }
        // The fifth push also keeps the alignment that the callee expects.
        a.load(Bits::B64, R11, field(offset::LOOPS));
        a.push(R11);
        a.mov_imm(R11, MAY_GOTO_LOOPS);
        a.store(Bits::B64, field(offset::LOOPS), R11);
        a.arith_imm(Arith::Add, Bits::B64, RBP, frame_bytes);
        a.call(label);
        a.arith_imm(Arith::Sub, Bits::B64, RBP, frame_bytes);
        a.pop(R11);
        a.store(Bits::B64, field(offset::LOOPS), R11);
        for reg in SAVED.iter().rev() {
            a.pop(*reg);
        }
        a.arith_mem_imm(Arith::Sub, Bits::B32, field(offset::DEPTH), 1);
        Some(())
    }

    /// Counts one more function, unless there are too many.
    pub(super) fn begin_depth(&mut self, at: usize) -> Option<()> {
        let too_deep = self.stub(
            at,
            Stub {
                status: Some(status::DEPTH),
                size: Size::B,
                address: None,
            },
        );
        let deepest = i32::try_from(MAX_FRAMES).ok()? - 1;
        let a = &mut self.assembler;
        a.arith_mem_imm(Arith::Cmp, Bits::B32, field(offset::DEPTH), deepest);
        a.jump_if(Cond::AboveOrEqual, too_deep);
        a.arith_mem_imm(Arith::Add, Bits::B32, field(offset::DEPTH), 1);
        Some(())
    }

    /// Calls a function of the host with what is in the argument registers and the state as the sixth; its answer is in
    /// `rax`. The budget is in the state meanwhile.
    pub(super) fn call_back(&mut self, callback: Callback) {
        self.forget_address();
        let a = &mut self.assembler;
        a.store(Bits::B64, field(offset::SLICE), BUDGET);
        a.mov(Bits::B64, R9, STATE);
        a.mov_imm(RAX, callback.address());
        a.push(STATE);
        a.call_reg(RAX);
        a.pop(STATE);
        a.load(Bits::B64, BUDGET, field(offset::SLICE));
    }

    /// After a call back `r1` to `r5` are empty: never host values.
    pub(super) fn clear_arguments(&mut self) {
        for reg in ARGUMENTS {
            self.assembler.zero(reg);
        }
    }

    pub(super) fn leave_on_fault(&mut self, at: usize) {
        let stub = self.stub(
            at,
            Stub {
                status: None,
                size: Size::B,
                address: None,
            },
        );
        self.assembler.arith_mem_imm(
            Arith::Cmp,
            Bits::B32,
            field(offset::STATUS),
            status_imm(status::RUNNING),
        );
        self.assembler.jump_if(Cond::NotEqual, stub);
    }

    /// The scratch register is about to hold something else.
    pub(super) fn forget_address(&mut self) {
        self.cut_register = None;
    }

    fn forget_address_if_changed(&mut self, operation: &Operation) {
        let (Operation::Alu { dst, .. }
        | Operation::Neg { dst, .. }
        | Operation::MoveSigned { dst, .. }
        | Operation::Swap { dst, .. }
        | Operation::Load { dst, .. }
        | Operation::LoadAcquire { dst, .. }
        | Operation::LoadWide { dst, .. }) = *operation
        else {
            if !matches!(operation, Operation::Store { .. }) {
                self.forget_address();
            }
            return;
        };
        if self.cut_register == Some(dst) {
            self.forget_address();
        }
    }

    pub(super) fn stub(&mut self, at: usize, stub: Stub) -> Label {
        self.rare(at, Rare::Fault(stub))
    }

    fn rare(&mut self, at: usize, rare: Rare) -> Label {
        let label = self.assembler.label();
        let insn = u32::try_from(at).unwrap_or(u32::MAX);
        self.stubs.push((label, insn, rare));
        label
    }

    /// The code that is rarely needed.
    fn stubs(&mut self) {
        for (label, insn, rare) in std::mem::take(&mut self.stubs) {
            self.assembler.bind(label);
            if let Rare::PayAndJump { insns, to } = rare {
                self.assembler
                    .arith_imm(Arith::Sub, Bits::B64, BUDGET, insns);
                self.assembler.jump_if(Cond::AboveOrEqual, to);
            }
            self.assembler
                .store_imm(Bits::B32, field(offset::FAULT_INSN), insn.cast_signed());
            match rare {
                Rare::Fault(stub) => self.fault(stub),
                Rare::Refill { insns, back } | Rare::PayAndJump { insns, to: back } => {
                    self.pay_again(insns, back)
                }
            }
        }
    }

    /// What happened goes into the state, then everything is left at once.
    fn fault(&mut self, stub: Stub) {
        let a = &mut self.assembler;
        if let Some((base, displacement)) = stub.address {
            a.mov(Bits::B32, R11, host(base));
            a.arith_imm(Arith::Add, Bits::B64, R11, displacement);
            a.store(Bits::B64, field(offset::FAULT_ADDRESS), R11);
        }
        if let Some(status) = stub.status {
            let size = stub.size.bytes().cast_signed();
            a.store_imm(Bits::B32, field(offset::STATUS), status_imm(status));
            a.store_imm(Bits::B32, field(offset::FAULT_SIZE), size);
        }
        a.jump(self.leave);
    }

    fn pay_again(&mut self, insns: i32, back: Label) {
        self.assembler
            .arith_imm(Arith::Add, Bits::B64, BUDGET, insns);
        self.assembler.mov_imm(R11, u64::from(insns.unsigned_abs()));
        self.assembler.call(self.refill);
        self.assembler.jump(back);
    }
}

fn place(size: Size, base: Register, offset: i16) -> Place {
    Place {
        base,
        displacement: i32::from(offset),
        size,
    }
}
