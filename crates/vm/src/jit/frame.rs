//! The ways into machine code and out of it: what is kept for the host, and how everything is left at once.

use super::assembler::{
    Arith, Bits, Cond, Mem, R8, R9, R11, R12, R13, R14, R15, RAX, RBP, RBX, RCX, RDI, RDX, RSI,
    RSP, Reg, Shift,
};
use super::emit::{ARGUMENTS, BUDGET, Emitter, STATE, WINDOW, field, status_imm};
use super::runtime::Callback;
use crate::machine::{MAY_GOTO_LOOPS, offset, status};

/// Host registers that the host's convention keeps for the caller.
const HOST_SAVED: [Reg; 6] = [RBP, RBX, R12, R13, R14, R15];

impl Emitter<'_> {
    /// Saves the registers of the host that the program changes, and sets up ours. It comes last, when those are known.
    pub(super) fn entry(&mut self) -> Option<()> {
        let first = *self.slots.first()?;
        self.take_over();
        let a = &mut self.assembler;
        a.mov(Bits::B64, RDI, RDX);
        let used: Vec<Reg> = [RSI, RDX, RCX, R8, RBX, R13, R14, R15]
            .into_iter()
            .filter(|reg| a.names(*reg))
            .collect();
        for reg in [RAX].into_iter().chain(used) {
            a.zero(reg);
        }
        if self.main_end == 0 {
            a.call(first);
            a.jump(self.exit);
        } else {
            a.jump(first);
        }
        Some(())
    }

    /// The way in for what the host calls of a program: it gives the address of a function, whose arguments are in the state.
    pub(super) fn function_entry(&mut self) {
        self.take_over();
        let a = &mut self.assembler;
        a.mov(Bits::B64, R11, RDX);
        for (index, reg) in ARGUMENTS.into_iter().enumerate() {
            a.load(Bits::B64, reg, argument(index));
        }
        let used = [RBX, R13, R14, R15].into_iter();
        let used: Vec<Reg> = used.filter(|reg| a.names(*reg)).collect();
        for reg in [RAX].into_iter().chain(used) {
            a.zero(reg);
        }
        // Where main functions are jumped to, the stack is aligned for that and not for a call.
        let is_off = self.main_end != 0;
        if is_off {
            a.push(STATE);
        }
        a.call_reg(R11);
        if is_off {
            a.pop(STATE);
        }
        a.jump(self.exit);
    }

    /// Saves what is the host's, and takes the state, the frame pointer and what the state has for registers.
    fn take_over(&mut self) {
        let saved = self.saved();
        let a = &mut self.assembler;
        a.arith_imm(Arith::Sub, Bits::B64, RSP, frame_bytes(self.main_end));
        for (place, reg) in &saved {
            a.store(Bits::B64, *place, *reg);
        }
        a.mov(Bits::B64, STATE, RDI);
        a.store(Bits::B64, field(offset::SAVED_RSP), RSP);
        a.load(Bits::B64, WINDOW, field(offset::WINDOW));
        a.load(Bits::B64, BUDGET, field(offset::SLICE));
        a.mov(Bits::B64, RBP, RSI);
    }

    /// Puts another program in the place of this one, whose main function is at its end: all is given back to the host, and the other
    /// program entered in its stead. The address of its `Successor` is in `rax`.
    pub(super) fn depart(&mut self) {
        let loops = i32::try_from(MAY_GOTO_LOOPS).unwrap_or(i32::MAX);
        if !self.departs {
            self.assembler.bind(self.depart);
            return;
        }
        let a = &mut self.assembler;
        a.bind(self.depart);
        a.store(Bits::B64, field(offset::TARGET), RAX);
        a.store_imm(Bits::B64, field(offset::LOOPS), loops);
        a.store(Bits::B64, field(offset::SLICE), BUDGET);
        a.mov(Bits::B64, RSI, RBP);
        a.mov(Bits::B64, RDX, RDI);
        a.mov(Bits::B64, RDI, STATE);
        self.give_back();
        self.assembler.jump_through(Mem::Base(RAX, 0));
    }

    /// Whether the function that `at` belongs to was entered by the host, so that another program can be entered instead.
    pub(super) fn can_depart(&self, at: usize) -> bool {
        at < self.main_end
    }

    /// Gives the host its registers back and returns.
    pub(super) fn exit(&mut self) {
        self.assembler.bind(self.exit);
        self.assembler
            .store(Bits::B64, field(offset::SLICE), BUDGET);
        self.give_back();
        self.assembler.ret();
    }

    fn give_back(&mut self) {
        for (place, reg) in self.saved() {
            self.assembler.load(Bits::B64, reg, place);
        }
        let bytes = frame_bytes(self.main_end);
        self.assembler.arith_imm(Arith::Add, Bits::B64, RSP, bytes);
    }

    /// The registers of the host that this code changes, and where on the stack they are kept.
    fn saved(&self) -> Vec<(Mem, Reg)> {
        let places = (0..).step_by(8).map(|at| Mem::Base(RSP, at));
        let always = |reg: Reg| reg == RBP || reg == WINDOW;
        places
            .zip(HOST_SAVED)
            .filter(|(_, reg)| always(*reg) || self.assembler.names(*reg))
            .collect()
    }

    /// Ends the function that `at` belongs to.
    pub(super) fn return_from(&mut self, at: usize) {
        if at < self.main_end {
            self.assembler.jump(self.exit);
        } else {
            self.assembler.ret();
        }
    }

    /// Where the fault handler sends a thread: `r11` the address, `r9` the instruction, `rax` status and size.
    pub(super) fn trapped(&mut self) {
        let a = &mut self.assembler;
        a.store(Bits::B64, field(offset::FAULT_ADDRESS), R11);
        a.store(Bits::B32, field(offset::FAULT_INSN), R9);
        a.store(Bits::B32, field(offset::STATUS), RAX);
        a.shift_imm(Shift::Right, Bits::B64, RAX, 32);
        a.store(Bits::B32, field(offset::FAULT_SIZE), RAX);
        a.zero(BUDGET);
    }

    /// Ends everything at once, however deep in calls.
    pub(super) fn leave(&mut self) {
        let a = &mut self.assembler;
        a.bind(self.leave);
        a.load(Bits::B64, RSP, field(offset::SAVED_RSP));
        a.jump(self.exit);
    }

    /// Called with the price in `r11` where the slice was too small; comes back with the price paid and all registers as they were.
    pub(super) fn refill(&mut self) {
        self.assembler.bind(self.refill);
        for (index, reg) in ARGUMENTS.into_iter().enumerate() {
            self.assembler.store(Bits::B64, argument(index), reg);
        }
        self.assembler.store(Bits::B64, field(offset::R0), RAX);
        self.assembler.mov(Bits::B64, RDI, R11);
        // Called from inside a function: a second push aligns the stack again.
        self.assembler.push(STATE);
        self.call_back(Callback::Refill);
        self.assembler.pop(STATE);
        for (index, reg) in ARGUMENTS.into_iter().enumerate() {
            self.assembler.load(Bits::B64, reg, argument(index));
        }
        let a = &mut self.assembler;
        a.load(Bits::B64, RAX, field(offset::R0));
        let running = status_imm(status::RUNNING);
        a.arith_mem_imm(Arith::Cmp, Bits::B32, field(offset::STATUS), running);
        a.jump_if(Cond::NotEqual, self.leave);
        a.ret();
    }
}

fn argument(index: usize) -> Mem {
    // Five arguments of 8 bytes: the offset stays far below any limit.
    let index = i32::try_from(index).unwrap_or(0);
    field(offset::ARGUMENTS + 8 * index)
}

/// Bytes of the host's stack for what is saved. A main function that is jumped to needs 8 more, so that all functions see the
/// same alignment.
fn frame_bytes(main_end: usize) -> i32 {
    if main_end == 0 { 56 } else { 64 }
}
