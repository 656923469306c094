//! The checked interpreter: knows for every value where it comes from, and for every pointer the exact object.
//!
//! It reads the decoded operations directly and shares nothing with the fast interpreter but the pure functions of
//! `semantics.rs` and the run itself, so each is a check of the other. It is the oracle for the verifier: what a verifier
//! accepts must run here without a fault.
//!
//! A value's origin is its [`Provenance`]. Pointers keep it through copies, through additions and subtractions of
//! numbers, and through spills of 8 bytes; every other operation makes a number of it.

use twinbpf_object::insn::{
    AluOp, ArenaCast, AtomicOp, Call, Condition, Displacement, Extend, Operand, Operation,
    Register, Size, WideValue, Width,
};

use crate::code;
use crate::context::PacketPointer;
use crate::fault::{Ended, FaultKind};
use crate::helpers;
use crate::maps::{Arena, LiveMap};
use crate::program::Program;
use crate::provenance::{self, ObjectReference, Provenance, Returned as Value, Tracked};
use crate::run::{self, Arguments, MAX_FRAMES, Packet, Run, STACK_BYTES};
use crate::semantics::{self, low_32, sign_extend};
use crate::window::{FIRST_HANDLE, user_address};

/// How many arguments `bpf_tail_call` has.
const TAIL_CALL_ARGUMENTS: u8 = 3;

/// What a local call saves.
struct Frame {
    return_to: usize,
    saved: [Value; 4],
    number: u32,
    loops_left: u64,
}

/// The state of a checked run beyond the run itself.
struct Machine<'r, 'w> {
    run: &'r mut Run<'w>,
    registers: [Value; 11],
    frames: Vec<Frame>,
    /// Functions below the first one of this machine.
    below: usize,
    frame: u32,
}

/// Runs the function of `program` that starts at `start` with `arguments` in `r1` to `r5`.
///
/// # Errors
///
/// The instruction and the reason of an abnormal end.
pub(crate) fn interpret(
    run: &mut Run<'_>,
    program: &Program,
    start: usize,
    arguments: [Value; 5],
) -> Result<Value, Ended> {
    let mut machine = Machine {
        below: run.depth(),
        run,
        registers: [Value::NOTHING; 11],
        frames: Vec::new(),
        frame: 0,
    };
    machine.registers[1..=5].copy_from_slice(&arguments);
    machine.frame = machine.new_frame();
    machine.enter_frame();
    let result = machine.interpret_from(program, start);
    machine.tracked().frames.pop();
    result
}

/// Where a run goes on.
enum Next {
    At(usize),
    Ended(Value),
}

impl Machine<'_, '_> {
    fn interpret_from(&mut self, program: &Program, start: usize) -> Result<Value, Ended> {
        let mut pc = start;
        loop {
            let Some(Some(operation)) = program.operations.get(pc) else {
                return Err((pc, FaultKind::Unsupported("running off the end")));
            };
            match self
                .step(program, pc, *operation)
                .map_err(|kind| (pc, kind))?
            {
                Next::At(next) => pc = next,
                Next::Ended(value) => return Ok(value),
            }
        }
    }

    fn tracked(&mut self) -> &mut Tracked {
        self.run.tracked.get_or_insert_default()
    }

    /// Numbers a frame that is now on the stack. Frame 0 stands for objects that outlive the run.
    fn new_frame(&mut self) -> u32 {
        let tracked = self.tracked();
        tracked.last_frame = tracked.last_frame.wrapping_add(1).max(1);
        tracked.frames.push(tracked.last_frame);
        tracked.last_frame
    }

    #[expect(clippy::too_many_lines, reason = "a flat match, one arm per operation")]
    fn step(
        &mut self,
        program: &Program,
        pc: usize,
        operation: Operation,
    ) -> Result<Next, FaultKind> {
        let mut next = pc + 1;
        match operation {
            Operation::Alu {
                width,
                op,
                dst,
                src,
            } => self.alu(width, op, dst, src)?,
            Operation::Neg { width, dst } => {
                let negated = self.read(dst)?.value.wrapping_neg();
                self.write_number(
                    dst,
                    if width == Width::W64 {
                        negated
                    } else {
                        u64::from(low_32(negated))
                    },
                );
            }
            Operation::MoveSigned {
                width,
                bits,
                dst,
                src,
            } => {
                let moved = semantics::sign_extend_low(bits, self.read(src)?.value);
                self.write_number(
                    dst,
                    if width == Width::W64 {
                        moved
                    } else {
                        u64::from(low_32(moved))
                    },
                );
            }
            Operation::Swap { order, bits, dst } => {
                let swapped = semantics::swap(order, bits, self.read(dst)?.value);
                self.write_number(dst, swapped);
            }
            Operation::Load {
                size,
                extend,
                dst,
                base,
                offset,
            } => {
                let loaded = self.load(size, extend, base, offset)?;
                self.registers[dst.index()] = loaded;
            }
            Operation::Store {
                size,
                base,
                offset,
                value,
            } => self.store(size, base, offset, value)?,
            Operation::Atomic {
                op,
                size,
                base,
                offset,
                src,
            } => self.atomic(op, size, (base, offset), src)?,
            Operation::LoadAcquire {
                size,
                dst,
                base,
                offset,
            } => {
                let address = self.accessible(base, offset, size)?;
                let value = self.run.load_acquire(address, size)?;
                self.write_number(dst, value);
            }
            Operation::StoreRelease {
                size,
                base,
                offset,
                src,
            } => {
                let address = self.accessible(base, offset, size)?;
                let value = self.read(src)?.value;
                self.run.store_release(address, size, value)?;
            }
            Operation::LoadWide { dst, value } => {
                self.load_wide(program, pc, dst, value)?;
                next = pc + 2;
            }
            Operation::LoadPacket {
                size,
                index,
                offset,
            } => match self.load_packet(size, index, offset)? {
                Some(value) => {
                    self.write_number(Register::R0, value);
                    self.forget_arguments();
                }
                None => {
                    self.write_number(Register::R0, 0);
                    return Ok(self.leave());
                }
            },
            Operation::Jump { to, .. } => next = self.jump(pc, to)?,
            Operation::MayGoto { to } => {
                if !self.run.may_go_on() {
                    next = self.jump(pc, to)?;
                }
            }
            Operation::Branch {
                width,
                condition,
                dst,
                src,
                to,
            } => {
                if self.holds(width, condition, dst, src)? {
                    next = self.jump(pc, to)?;
                }
            }
            Operation::Call(Call::Helper(code::TAIL_CALL)) => {
                let arguments = self.arguments(TAIL_CALL_ARGUMENTS)?;
                self.run.set_depth(self.below + self.frames.len());
                let returned = self.run.tail_call(&arguments)?;
                self.forget_arguments();
                self.registers[0] = returned.unwrap_or(Value::number(run::NO_TAIL_CALL));
                if returned.is_some() {
                    return Ok(self.leave());
                }
            }
            Operation::Call(Call::Helper(number)) => self.call_helper(number)?,
            Operation::Call(Call::Local(to)) => next = self.call_local(program, pc, to)?,
            Operation::Exit => return Ok(self.leave()),
            Operation::Call(Call::Kfunc { id, .. }) => self.call_kfunc(id)?,
            Operation::Cast { dst, src, cast } => {
                let value = low_32(self.read(src)?.value);
                let cast_value = self.cast(value, cast);
                self.registers[dst.index()] = cast_value;
            }
        }
        Ok(Next::At(next))
    }

    fn cast(&self, address: u32, cast: ArenaCast) -> Value {
        if cast == ArenaCast::ToUser {
            return Value::number(user_address(address));
        }
        let mut arenas = self.run.image.maps.iter().filter_map(LiveMap::arena);
        let is_in = |arena: &&Arena| {
            let offset = address.checked_sub(arena.start());
            offset.is_some_and(|offset| offset < arena.len())
        };
        match arenas.find(is_in) {
            Some(arena) => Value {
                value: u64::from(address),
                provenance: Provenance::object(arena.start(), arena.len(), "an arena"),
            },
            None => Value::number(u64::from(address)),
        }
    }

    fn read(&self, register: Register) -> Result<Value, FaultKind> {
        let value = self.registers[register.index()];
        match value.provenance {
            Provenance::Uninitialised => Err(FaultKind::Uninitialised {
                register: register.number(),
            }),
            _ => Ok(value),
        }
    }

    fn operand(&self, operand: Operand) -> Result<Value, FaultKind> {
        match operand {
            Operand::Register(register) => self.read(register),
            Operand::Immediate(imm) => Ok(Value {
                value: sign_extend(imm),
                provenance: Provenance::Number,
            }),
        }
    }

    fn write_number(&mut self, register: Register, bits: u64) {
        self.registers[register.index()] = Value {
            value: bits,
            provenance: Provenance::Number,
        };
    }

    fn alu(
        &mut self,
        width: Width,
        op: AluOp,
        dst: Register,
        src: Operand,
    ) -> Result<(), FaultKind> {
        let right = self.operand(src)?;
        let left = if op == AluOp::Mov {
            right
        } else {
            self.read(dst)?
        };
        let value = match width {
            Width::W32 => {
                let bits = u64::from(semantics::alu_32(
                    op,
                    low_32(left.value),
                    low_32(right.value),
                ));
                Value {
                    value: bits,
                    provenance: Provenance::Number,
                }
            }
            Width::W64 => {
                let bits = semantics::alu_64(op, left.value, right.value);
                Value {
                    value: bits,
                    provenance: provenance::of_result(op, left.provenance, right.provenance),
                }
            }
        };
        self.registers[dst.index()] = value;
        Ok(())
    }

    fn holds(
        &self,
        width: Width,
        condition: Condition,
        dst: Register,
        src: Operand,
    ) -> Result<bool, FaultKind> {
        let (left, right) = (self.read(dst)?.value, self.operand(src)?.value);
        Ok(match width {
            Width::W64 => semantics::holds_64(condition, left, right),
            Width::W32 => semantics::holds_32(condition, low_32(left), low_32(right)),
        })
    }

    /// The address of an access, if the base register's object has those bytes.
    fn accessible(&self, base: Register, offset: i16, size: Size) -> Result<i64, FaultKind> {
        let value = self.read(base)?;
        let address = run::address(value.value, i32::from(offset));
        value.provenance.check_access(address, size.bytes())?;
        if let Provenance::Object(object) = value.provenance
            && object.frame != 0
            && object.frame != self.frame
            && !self.is_on_the_stack(object.frame)
        {
            return Err(FaultKind::Gone {
                object: object.what,
            });
        }
        Ok(address)
    }

    fn is_on_the_stack(&self, frame: u32) -> bool {
        let tracked = self.run.tracked.as_ref();
        tracked.is_some_and(|tracked| tracked.frames.contains(&frame))
    }

    fn load(
        &self,
        size: Size,
        extend: Extend,
        base: Register,
        offset: i16,
    ) -> Result<Value, FaultKind> {
        let address = self.accessible(base, offset, size)?;
        let loaded = self
            .run
            .window
            .load(address, size)
            .ok_or_else(|| run::access_fault(address, size, false))?;
        let bits = semantics::extend(extend, size, loaded);
        let tracked = self.run.tracked.as_ref();
        let spilled = tracked
            .and_then(|tracked| tracked.spilled.get(&address))
            .filter(|spilled| size == Size::Dw && spilled.value == bits);
        let provenance = match (spilled, self.packet_field(address, size)) {
            (Some(spilled), _) => spilled.provenance,
            (None, Some(field)) => self.packet_provenance(field),
            (None, None) => self.origin_in_memory(size, bits),
        };
        Ok(Value {
            value: bits,
            provenance,
        })
    }

    /// What nobody of this run stored may still be an object that a value owns.
    fn origin_in_memory(&self, size: Size, bits: u64) -> Provenance {
        let address = u32::try_from(bits).ok().filter(|_| size == Size::Dw);
        match address.and_then(|address| self.run.common.objects.at(address)) {
            Some((start, len)) => Provenance::object(start, len, "an object"),
            None => Provenance::Number,
        }
    }

    fn store(
        &mut self,
        size: Size,
        base: Register,
        offset: i16,
        value: Operand,
    ) -> Result<(), FaultKind> {
        let address = self.accessible(base, offset, size)?;
        let value = self.operand(value)?;
        self.run
            .window
            .store(address, size, value.value)
            .ok_or_else(|| run::access_fault(address, size, true))?;
        self.tracked().spilled.remove(&address);
        if size == Size::Dw && value.provenance != Provenance::Number {
            self.tracked().spilled.insert(address, value);
        }
        Ok(())
    }

    fn atomic(
        &mut self,
        op: AtomicOp,
        size: Size,
        (base, offset): (Register, i16),
        src: Register,
    ) -> Result<(), FaultKind> {
        let address = self.accessible(base, offset, size)?;
        let expected = if op == AtomicOp::CompareExchange {
            self.read(Register::R0)?.value
        } else {
            0
        };
        let old = self
            .run
            .atomic(op, size, address, (self.read(src)?.value, expected))?;
        if let Some((into_r0, old)) = old {
            self.write_number(if into_r0 { Register::R0 } else { src }, old);
        }
        Ok(())
    }

    fn load_wide(
        &mut self,
        program: &Program,
        pc: usize,
        dst: Register,
        value: WideValue,
    ) -> Result<(), FaultKind> {
        let WideValue::Number(bits) = value else {
            return Err(FaultKind::Unsupported("this reference"));
        };
        let is_handle = (u64::from(FIRST_HANDLE)..1 << 32).contains(&bits);
        let provenance = match program.value_at(pc) {
            Some((start, len)) => Provenance::object(start, len, "a map value"),
            None if is_handle => Provenance::Handle,
            None => Provenance::Number,
        };
        self.registers[dst.index()] = Value {
            value: bits,
            provenance,
        };
        Ok(())
    }

    fn load_packet(
        &self,
        size: Size,
        index: Option<Register>,
        offset: i32,
    ) -> Result<Option<u64>, FaultKind> {
        let index = match index {
            Some(register) => low_32(self.read(register)?.value).cast_signed(),
            None => 0,
        };
        self.run.load_packet(
            self.read(Register::R6)?.value,
            offset.wrapping_add(index),
            size,
        )
    }

    fn jump(
        &mut self,
        pc: usize,
        Displacement(displacement): Displacement,
    ) -> Result<usize, FaultKind> {
        let to = code::destination(pc, displacement)
            .ok_or(FaultKind::Unsupported("a jump out of the program"))?;
        if to <= pc {
            self.run.charge(pc - to + 1)?;
        }
        Ok(to)
    }

    fn call_helper(&mut self, number: i32) -> Result<(), FaultKind> {
        let row = helpers::position(number).and_then(|position| helpers::TABLE.get(position));
        let row = row.ok_or(FaultKind::Unsupported("this helper"))?;
        let arguments = self.arguments(row.arguments)?;
        self.run.set_depth(self.below + self.frames.len());
        self.registers[0] = (row.call)(self.run, &arguments)?;
        self.forget_arguments();
        Ok(())
    }

    /// Calls the function at this position of the program's list.
    fn call_kfunc(&mut self, position: i32) -> Result<(), FaultKind> {
        let position = usize::try_from(position).unwrap_or(usize::MAX);
        let kfunc = self.run.image.kfuncs.get(position);
        let count = kfunc.map_or(0, |kfunc| kfunc.arguments);
        let arguments = self.arguments(count)?;
        self.run.set_depth(self.below + self.frames.len());
        self.registers[0] = self.run.call_kfunc(position, &arguments)?;
        self.forget_arguments();
        Ok(())
    }

    /// The arguments of a call, the first `count` of which must have been written.
    fn arguments(&self, count: u8) -> Result<Arguments, FaultKind> {
        let mut values = [0; 5];
        let mut provenance = [Provenance::Uninitialised; 5];
        for index in 0..5 {
            let value = self.registers[index + 1];
            if value.provenance == Provenance::Uninitialised && index < usize::from(count) {
                return Err(FaultKind::Uninitialised {
                    register: u8::try_from(index + 1).unwrap_or(5),
                });
            }
            (values[index], provenance[index]) = (value.value, value.provenance);
        }
        Ok(Arguments {
            values,
            provenance: Some(provenance),
        })
    }

    /// After a call nothing may be read from `r1` to `r5`.
    fn forget_arguments(&mut self) {
        for value in &mut self.registers[1..=5] {
            value.provenance = Provenance::Uninitialised;
        }
    }

    fn call_local(
        &mut self,
        program: &Program,
        pc: usize,
        displacement: i32,
    ) -> Result<usize, FaultKind> {
        let to = code::destination(pc, displacement)
            .ok_or(FaultKind::Unsupported("a call out of the program"))?;
        self.run.charge(program.function_len(to))?;
        if self.below + self.frames.len() + 1 >= MAX_FRAMES {
            return Err(FaultKind::CallDepth);
        }
        let [.., r6, r7, r8, r9, _] = self.registers;
        self.frames.push(Frame {
            return_to: pc + 1,
            saved: [r6, r7, r8, r9],
            number: self.frame,
            loops_left: self.run.enter_loops(),
        });
        self.frame = self.new_frame();
        for value in &mut self.registers[6..=9] {
            value.provenance = Provenance::Uninitialised;
        }
        self.enter_frame();
        Ok(to)
    }

    /// Points `r10` to the frame of the present depth.
    fn enter_frame(&mut self) {
        let top = self.run.stack_top(self.below + self.frames.len());
        let start = low_32(top) - STACK_BYTES;
        let object = ObjectReference {
            start,
            len: STACK_BYTES,
            what: "a stack frame",
            frame: self.frame,
        };
        self.registers[10] = Value {
            value: top,
            provenance: Provenance::Object(object),
        };
    }

    fn leave(&mut self) -> Next {
        let Some(frame) = self.frames.pop() else {
            return Next::Ended(self.registers[0]);
        };
        self.tracked().frames.pop();
        self.registers[6..10].copy_from_slice(&frame.saved);
        self.forget_arguments();
        self.frame = frame.number;
        self.run.machine.loops = frame.loops_left;
        self.enter_frame();
        Next::At(frame.return_to)
    }

    fn packet_field(&self, address: i64, size: Size) -> Option<PacketPointer> {
        let offset = u32::try_from(address - i64::from(self.run.context)).ok()?;
        if let Some(fields) = self.run.data_fields.filter(|_| size == Size::Dw) {
            return match offset {
                _ if offset == fields.start => Some(PacketPointer::Data),
                _ if offset == fields.end => Some(PacketPointer::DataEnd),
                _ => None,
            };
        }
        let field = self
            .run
            .layout
            .packet_pointers
            .iter()
            .find(|(at, _)| *at == offset && size == Size::W);
        field.map(|(_, field)| *field)
    }

    fn packet_provenance(&self, field: PacketPointer) -> Provenance {
        match (field, self.run.packet) {
            (PacketPointer::Data, Some(Packet { data, end, .. })) => {
                Provenance::object(data, end.saturating_sub(data), "the packet")
            }
            (PacketPointer::DataMeta, Some(Packet { data, meta, .. })) => {
                Provenance::object(meta, data.saturating_sub(meta), "the packet's metadata")
            }
            (PacketPointer::DataEnd, Some(_)) => Provenance::PacketEnd,
            (_, None) => Provenance::Number,
        }
    }
}
