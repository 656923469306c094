//! Calls of helpers in machine code: those on maps known at compile time go to the map, the rest through the table.

use twinbpf_object::Errno;
use twinbpf_object::insn::{Register, Size};

use super::assembler::{Arith, Bits, Cond, Mem, R8, R11, RAX, RBP, RCX, RDI, RDX, RSI, RSP, Shift};
use super::emit::{Emitter, SAVED, STATE, field};
use super::known::Fact;
use super::memory::{Access, Place};
use super::runtime::Callback;
use crate::code;
use crate::handles::FIRST_FUNCTION_HANDLE;
use crate::helpers;
use crate::machine::{MAX_TAIL_CALLS, MAY_GOTO_LOOPS, offset};
use crate::maps::{ArrayLayout, MapLayout, ProgramsLayout};
use crate::run::{NO_TAIL_CALL, Returned, STACK_BYTES};

/// Of a loop that the helper `bpf_loop` asks for: places on the host's stack during its rounds.
const ROUND: Mem = Mem::Base(RSP, 0);
const ROUNDS: Mem = Mem::Base(RSP, 8);
const CONTEXT: Mem = Mem::Base(RSP, 16);

impl Emitter<'_> {
    pub(super) fn call_helper(&mut self, at: usize, number: i32) -> Option<()> {
        if number == code::TAIL_CALL {
            let array = self.map_in(Register::new(2)?);
            if let Some(programs) = array.and_then(|(_, map)| map.programs)
                && self.can_depart(at)
            {
                return self.tail_call(at, programs);
            }
            self.call_back(Callback::TailCall);
            self.leave_if_told(at);
            self.clear_arguments();
            return Some(());
        }
        if let (helpers::LOOP, Some(start)) = (number, self.function_in(Register::new(2)?)) {
            return self.repeat(at, start);
        }
        let (index, array) = match (number, self.map_in(Register::R1)) {
            (helpers::LOOKUP, Some((index, map))) if map.has_values => (Some(index), map.array),
            (helpers::UPDATE | helpers::DELETE, Some((index, _))) => (Some(index), None),
            (helpers::RESERVE, Some((index, map))) if map.is_ring => (Some(index), None),
            _ => (None, None),
        };
        if let Some(array) = array {
            self.look_up_in_array(at, array);
            self.clear_arguments();
            return Some(());
        }
        let callback = match (index, number) {
            (Some(_), helpers::LOOKUP) => Callback::Lookup,
            (Some(_), helpers::UPDATE) => Callback::Update,
            (Some(_), helpers::RESERVE) => Callback::Reserve,
            (Some(_), _) => Callback::Delete,
            (None, _) => Callback::helper(number)?,
        };
        // The map's position among the program's maps takes the place of its handle.
        if let Some(index) = index {
            self.assembler.mov_imm(RDI, u64::try_from(index).ok()?);
        }
        self.call_back(callback);
        self.leave_on_fault(at);
        self.clear_arguments();
        Some(())
    }

    /// Goes over to the program at the index in `r3`, if there is one and not too many came before.
    fn tail_call(&mut self, at: usize, programs: ProgramsLayout) -> Option<()> {
        let entries = i32::try_from(programs.entries).ok()?;
        let most = i32::try_from(MAX_TAIL_CALLS).ok()?;
        let absent = self.assembler.label();
        self.forget_address();
        let a = &mut self.assembler;
        a.mov(Bits::B32, R11, RDX);
        a.arith_imm(Arith::Cmp, Bits::B32, R11, entries);
        a.jump_if(Cond::AboveOrEqual, absent);
        a.shift_imm(Shift::Left, Bits::B64, R11, 3);
        a.mov_imm(RAX, programs.table);
        a.arith(Arith::Add, Bits::B64, R11, RAX);
        a.load(Bits::B64, RAX, Mem::Base(R11, 0));
        a.test(Bits::B64, RAX, RAX);
        a.jump_if(Cond::Equal, absent);
        a.arith_mem_imm(Arith::Cmp, Bits::B32, field(offset::TAIL_CALLS), most);
        a.jump_if(Cond::AboveOrEqual, absent);
        a.arith_mem_imm(Arith::Add, Bits::B32, field(offset::TAIL_CALLS), 1);
        self.charge(at, 1)?;
        self.departs = true;
        self.assembler.jump(self.depart);
        self.assembler.bind(absent);
        self.assembler.mov_imm(RAX, NO_TAIL_CALL);
        self.clear_arguments();
        Some(())
    }

    /// Calls the function at this position of the program's list.
    pub(super) fn call_kfunc(&mut self, at: usize, position: i32) {
        self.assembler
            .store_imm(Bits::B32, field(offset::KFUNC), position);
        self.call_back(Callback::Kfunc);
        self.leave_on_fault(at);
        self.clear_arguments();
    }

    /// The map whose handle is in a register, if that is known, and its position.
    fn map_in(&self, register: Register) -> Option<(usize, MapLayout)> {
        let Fact::Number(number) = self.facts.of(register) else {
            return None;
        };
        let mut maps = self.source.maps.iter().copied().enumerate();
        maps.find(|(_, map)| u64::from(map.handle) == number)
    }

    /// The slot at which the function starts whose handle is in a register, if that is known and host code calls it as a function.
    fn function_in(&self, register: Register) -> Option<usize> {
        let Fact::Number(number) = self.facts.of(register) else {
            return None;
        };
        let handle = u32::try_from(number).ok()?;
        let start = handle.checked_sub(FIRST_FUNCTION_HANDLE)?;
        let start = usize::try_from(start).ok()?;
        let is_function = start >= self.main_end.max(1) && self.source.bounds.contains(&start);
        (is_function && start < self.source.operations.len()).then_some(start)
    }

    /// `bpf_loop` with the function that starts at `start`: the rounds are calls from here, paid for and counted as the helper does.
    ///
    /// ```text
    ///  stack during the rounds:   [round][rounds][context][may_goto's left][r9 .. r6]
    /// ```
    fn repeat(&mut self, at: usize, start: usize) -> Option<()> {
        let [again, over, refused, too_many, done] =
            std::array::from_fn(|_| self.assembler.label());
        let most = i32::try_from(helpers::MOST_ROUNDS).ok()?;
        self.forget_address();
        let a = &mut self.assembler;
        a.test(Bits::B64, RCX, RCX);
        a.jump_if(Cond::NotEqual, refused);
        a.mov(Bits::B32, RDI, RDI);
        a.arith_imm(Arith::Cmp, Bits::B32, RDI, most);
        a.jump_if(Cond::Above, too_many);
        a.zero(RAX);
        a.test(Bits::B32, RDI, RDI);
        a.jump_if(Cond::Equal, done);
        self.begin_rounds(at)?;
        self.assembler.bind(again);
        self.round(at, start)?;
        let a = &mut self.assembler;
        a.load(Bits::B64, R11, ROUND);
        a.arith_imm(Arith::Add, Bits::B64, R11, 1);
        a.store(Bits::B64, ROUND, R11);
        a.test(Bits::B64, RAX, RAX);
        a.jump_if(Cond::NotEqual, over);
        a.arith_mem(Arith::Cmp, Bits::B64, R11, ROUNDS);
        a.jump_if(Cond::Below, again);
        a.bind(over);
        self.end_rounds()?;
        let a = &mut self.assembler;
        a.jump(done);
        a.bind(refused);
        a.mov_imm(RAX, Returned::error(Errno::EINVAL).value);
        a.jump(done);
        a.bind(too_many);
        a.mov_imm(RAX, Returned::error(Errno::E2BIG).value);
        a.bind(done);
        self.clear_arguments();
        Some(())
    }

    /// Puts on the stack what outlives the rounds. An even number of pushes keeps the alignment that paying expects.
    fn begin_rounds(&mut self, at: usize) -> Option<()> {
        self.begin_depth(at)?;
        let a = &mut self.assembler;
        for reg in SAVED {
            a.push(reg);
        }
        a.load(Bits::B64, R11, field(offset::LOOPS));
        for reg in [R11, RDX, RDI, RAX] {
            a.push(reg);
        }
        a.arith_imm(Arith::Add, Bits::B64, RBP, i32::try_from(STACK_BYTES).ok()?);
        Some(())
    }

    /// One call, with nothing in registers but the round and the context.
    fn round(&mut self, at: usize, start: usize) -> Option<()> {
        let label = *self.slots.get(start)?;
        self.charge(at, self.function_len(start)?)?;
        let a = &mut self.assembler;
        a.mov_imm(R11, MAY_GOTO_LOOPS);
        a.store(Bits::B64, field(offset::LOOPS), R11);
        a.load(Bits::B64, RDI, ROUND);
        a.load(Bits::B64, RSI, CONTEXT);
        for reg in [RAX, RDX, RCX, R8].into_iter().chain(SAVED) {
            a.zero(reg);
        }
        a.push(STATE);
        a.call(label);
        a.pop(STATE);
        Some(())
    }

    /// Takes everything off the stack again; `r0` is how many rounds there were.
    fn end_rounds(&mut self) -> Option<()> {
        let a = &mut self.assembler;
        a.arith_imm(Arith::Sub, Bits::B64, RBP, i32::try_from(STACK_BYTES).ok()?);
        for reg in [RAX, R11, R11, R11] {
            a.pop(reg);
        }
        a.store(Bits::B64, field(offset::LOOPS), R11);
        for reg in SAVED.iter().rev() {
            a.pop(*reg);
        }
        a.arith_mem_imm(Arith::Sub, Bits::B32, field(offset::DEPTH), 1);
        Some(())
    }

    /// `r0 = start + index * stride`, and the CPU slot's part of that, or 0 if the index is too large.
    fn look_up_in_array(&mut self, at: usize, array: ArrayLayout) {
        let key = Place {
            base: Register::new(2).unwrap_or(Register::R1),
            displacement: 0,
            size: Size::W,
        };
        let checked = self.checked(at, key, Access::Read);
        let memory = self.operand(at, checked);
        self.forget_address();
        let done = self.assembler.label();
        let a = &mut self.assembler;
        a.load(Bits::B32, R11, memory);
        a.zero(RAX);
        match i32::try_from(array.entries) {
            Ok(entries) => a.arith_imm(Arith::Cmp, Bits::B32, R11, entries),
            Err(_) => {
                a.mov_imm(RDI, u64::from(array.entries));
                a.arith(Arith::Cmp, Bits::B32, R11, RDI);
            }
        }
        a.jump_if(Cond::AboveOrEqual, done);
        a.mov_imm(RAX, u64::from(array.start));
        self.scale(array.stride);
        self.assembler.arith(Arith::Add, Bits::B64, RAX, R11);
        if let Some(stride) = array.cpu_stride {
            let a = &mut self.assembler;
            a.load(Bits::B32, R11, field(offset::SLOT));
            self.scale(stride);
            self.assembler.arith(Arith::Add, Bits::B64, RAX, R11);
        }
        self.assembler.bind(done);
    }

    /// Multiplies `r11`; `rdi` is free for that.
    fn scale(&mut self, factor: u32) {
        let a = &mut self.assembler;
        if factor.is_power_of_two() {
            let [count, ..] = factor.trailing_zeros().to_le_bytes();
            a.shift_imm(Shift::Left, Bits::B64, R11, count);
        } else {
            a.mov_imm(RDI, u64::from(factor));
            a.multiply(Bits::B64, R11, RDI);
        }
    }
}
