//! Calls of helpers in machine code: those on maps known at compile time go to the map, the rest through the table.

use twinbpf_object::insn::{Register, Size};

use super::assembler::{Arith, Bits, Cond, R11, RAX, RDI, Shift};
use super::emit::{Emitter, field};
use super::known::Fact;
use super::memory::{Access, Place};
use super::runtime::Callback;
use crate::code;
use crate::helpers;
use crate::machine::offset;
use crate::maps::{ArrayLayout, MapLayout};

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
        let (index, array) = match (number, self.map_in(Register::R1)) {
            (helpers::LOOKUP, Some((index, map))) if map.has_values => (Some(index), map.array),
            (helpers::UPDATE | helpers::DELETE, Some((index, _))) => (Some(index), None),
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
            (Some(_), _) => Callback::Delete,
            (None, _) => Callback::Helper,
        };
        match index {
            // The map's position among the program's maps takes the place of its handle.
            Some(index) => self.assembler.mov_imm(RDI, u64::try_from(index).ok()?),
            None => {
                let position = i32::try_from(helpers::position(number)?).ok()?;
                self.assembler
                    .store_imm(Bits::B32, field(offset::HELPER), position);
            }
        }
        self.call_back(callback);
        self.leave_on_fault(at);
        self.clear_arguments();
        Some(())
    }

    /// Calls the function at this position of the program's list.
    pub(super) fn call_kfunc(&mut self, at: usize, position: i32) {
        self.assembler
            .store_imm(Bits::B32, field(offset::HELPER), position);
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

    /// `r0 = start + index * stride`, or 0 if the index is too large.
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
        if array.stride.is_power_of_two() {
            let [count, ..] = array.stride.trailing_zeros().to_le_bytes();
            a.shift_imm(Shift::Left, Bits::B64, R11, count);
        } else {
            a.mov_imm(RDI, u64::from(array.stride));
            a.multiply(Bits::B64, R11, RDI);
        }
        a.arith(Arith::Add, Bits::B64, RAX, R11);
        a.bind(done);
    }
}
