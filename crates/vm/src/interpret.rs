//! The interpreter of the sandbox: one flat match, registers in an array, every access compared against the window's table.
//!
//! It checks exactly what keeps a program inside its window, its budget and its call depth. What a pointer may point to
//! is the business of the checked interpreter and of the verifier.

use twinbpf_object::insn::{AluOp, Condition, Size};

use crate::code::{Op, Opcode, unpack_atomic, unpack_size, unpack_swap};
use crate::fault::{Ended, FaultKind};
use crate::program::Program;
use crate::run::{self, Arguments, Run};
use crate::semantics::{alu_32, alu_64, holds_32, holds_64, low_32, sign_extend_low, swap};
use crate::window::user_address;

/// Registers, padded to a power of two so that a masked number needs no bounds check.
type Registers = [u64; 16];

/// What a local call saves.
struct Frame {
    return_to: usize,
    saved: [u64; 4],
    loops_left: u64,
}

/// Runs the function of `program` that starts at `start` with `arguments` in `r1` to `r5`.
///
/// # Errors
///
/// The instruction and the reason of an abnormal end.
#[rustfmt::skip]
#[expect(clippy::too_many_lines, reason = "a flat match, one short arm per opcode")]
pub(crate) fn interpret(run: &mut Run<'_>, program: &Program, start: usize, arguments: [u64; 5]) -> Result<u64, Ended> {
    let code: &[Op] = &program.code;
    let mut registers: Registers = [0; 16];
    let mut frames: Vec<Frame> = Vec::new();
    let below = run.depth();
    registers[1..=5].copy_from_slice(&arguments);
    registers[10] = run.stack_top(below);
    let mut pc = start;

    loop {
        let Some(op) = code.get(pc).copied() else { return Err((pc, FaultKind::Unsupported("running off the end"))) };
        let (dst, src) = (usize::from(op.dst & 15), usize::from(op.src & 15));
        let at = pc;
        pc += 1;

        /// The second operand of the current instruction.
        macro_rules! second {
            (X) => { registers[src] };
            (K) => { op.imm };
        }
        /// An arithmetic arm: 56 opcodes differ in these three words only.
        macro_rules! alu {
            (64, $form:ident, $op:ident) => { registers[dst] = alu_64(AluOp::$op, registers[dst], second!($form)) };
            (32, $form:ident, $op:ident) => {
                registers[dst] = u64::from(alu_32(AluOp::$op, low_32(registers[dst]), low_32(second!($form))))
            };
        }
        /// A conditional jump: 44 opcodes differ in these three words only.
        macro_rules! jump {
            (64, $form:ident, $condition:ident) => {
                if holds_64(Condition::$condition, registers[dst], second!($form)) { goto!() }
            };
            (32, $form:ident, $condition:ident) => {
                if holds_32(Condition::$condition, low_32(registers[dst]), low_32(second!($form))) { goto!() }
            };
        }
        /// A taken jump. Backwards it is paid for, and the abort flag is looked at.
        macro_rules! goto {
            () => {{
                let to = jump_target(op.offset);
                if to <= at { pay(run, at - to + 1, at)?; }
                pc = to;
            }};
        }
        macro_rules! load {
            ($size:ident) => {{
                let address = run::address(registers[src], op.offset);
                match run.window.load(address, Size::$size) {
                    Some(value) => value,
                    None => return Err((at, run::access_fault(address, Size::$size, false))),
                }
            }};
        }
        macro_rules! store {
            ($size:ident, $form:ident) => {{
                let address = run::address(registers[dst], op.offset);
                if run.window.store(address, Size::$size, second!($form)).is_none() {
                    return Err((at, run::access_fault(address, Size::$size, true)));
                }
            }};
        }

        match op.opcode {
            Opcode::Add64X => alu!(64, X, Add),
            Opcode::Sub64X => alu!(64, X, Sub),
            Opcode::Mul64X => alu!(64, X, Mul),
            Opcode::Div64X => alu!(64, X, Div),
            Opcode::SignedDiv64X => alu!(64, X, SignedDiv),
            Opcode::Or64X => alu!(64, X, Or),
            Opcode::And64X => alu!(64, X, And),
            Opcode::Lsh64X => alu!(64, X, Lsh),
            Opcode::Rsh64X => alu!(64, X, Rsh),
            Opcode::Mod64X => alu!(64, X, Mod),
            Opcode::SignedMod64X => alu!(64, X, SignedMod),
            Opcode::Xor64X => alu!(64, X, Xor),
            Opcode::Mov64X => alu!(64, X, Mov),
            Opcode::Arsh64X => alu!(64, X, Arsh),
            Opcode::Add64K => alu!(64, K, Add),
            Opcode::Sub64K => alu!(64, K, Sub),
            Opcode::Mul64K => alu!(64, K, Mul),
            Opcode::Div64K => alu!(64, K, Div),
            Opcode::SignedDiv64K => alu!(64, K, SignedDiv),
            Opcode::Or64K => alu!(64, K, Or),
            Opcode::And64K => alu!(64, K, And),
            Opcode::Lsh64K => alu!(64, K, Lsh),
            Opcode::Rsh64K => alu!(64, K, Rsh),
            Opcode::Mod64K => alu!(64, K, Mod),
            Opcode::SignedMod64K => alu!(64, K, SignedMod),
            Opcode::Xor64K => alu!(64, K, Xor),
            Opcode::Mov64K => alu!(64, K, Mov),
            Opcode::Arsh64K => alu!(64, K, Arsh),
            Opcode::Add32X => alu!(32, X, Add),
            Opcode::Sub32X => alu!(32, X, Sub),
            Opcode::Mul32X => alu!(32, X, Mul),
            Opcode::Div32X => alu!(32, X, Div),
            Opcode::SignedDiv32X => alu!(32, X, SignedDiv),
            Opcode::Or32X => alu!(32, X, Or),
            Opcode::And32X => alu!(32, X, And),
            Opcode::Lsh32X => alu!(32, X, Lsh),
            Opcode::Rsh32X => alu!(32, X, Rsh),
            Opcode::Mod32X => alu!(32, X, Mod),
            Opcode::SignedMod32X => alu!(32, X, SignedMod),
            Opcode::Xor32X => alu!(32, X, Xor),
            Opcode::Mov32X => alu!(32, X, Mov),
            Opcode::Arsh32X => alu!(32, X, Arsh),
            Opcode::Add32K => alu!(32, K, Add),
            Opcode::Sub32K => alu!(32, K, Sub),
            Opcode::Mul32K => alu!(32, K, Mul),
            Opcode::Div32K => alu!(32, K, Div),
            Opcode::SignedDiv32K => alu!(32, K, SignedDiv),
            Opcode::Or32K => alu!(32, K, Or),
            Opcode::And32K => alu!(32, K, And),
            Opcode::Lsh32K => alu!(32, K, Lsh),
            Opcode::Rsh32K => alu!(32, K, Rsh),
            Opcode::Mod32K => alu!(32, K, Mod),
            Opcode::SignedMod32K => alu!(32, K, SignedMod),
            Opcode::Xor32K => alu!(32, K, Xor),
            Opcode::Mov32K => alu!(32, K, Mov),
            Opcode::Arsh32K => alu!(32, K, Arsh),
            Opcode::Neg64 => registers[dst] = registers[dst].wrapping_neg(),
            Opcode::Neg32 => registers[dst] = u64::from(low_32(registers[dst]).wrapping_neg()),
            Opcode::MoveSigned64 => registers[dst] = sign_extend_low(op.imm.to_le_bytes()[0], registers[src]),
            Opcode::MoveSigned32 => {
                registers[dst] = u64::from(low_32(sign_extend_low(op.imm.to_le_bytes()[0], registers[src])));
            }
            Opcode::Swap => {
                let (order, bits) = unpack_swap(op.imm);
                registers[dst] = swap(order, bits, registers[dst]);
            }
            Opcode::LoadB => registers[dst] = load!(B),
            Opcode::LoadH => registers[dst] = load!(H),
            Opcode::LoadW => registers[dst] = load!(W),
            Opcode::LoadDw => registers[dst] = load!(Dw),
            Opcode::LoadSignedB => registers[dst] = sign_extend_low(8, load!(B)),
            Opcode::LoadSignedH => registers[dst] = sign_extend_low(16, load!(H)),
            Opcode::LoadSignedW => registers[dst] = sign_extend_low(32, load!(W)),
            Opcode::StoreBX => store!(B, X),
            Opcode::StoreHX => store!(H, X),
            Opcode::StoreWX => store!(W, X),
            Opcode::StoreDwX => store!(Dw, X),
            Opcode::StoreBK => store!(B, K),
            Opcode::StoreHK => store!(H, K),
            Opcode::StoreWK => store!(W, K),
            Opcode::StoreDwK => store!(Dw, K),
            Opcode::Atomic => {
                let (operation, size) = unpack_atomic(op.imm);
                let address = run::address(registers[dst], op.offset);
                let old = run.atomic(operation, size, address, (registers[src], registers[0])).map_err(|kind| (at, kind))?;
                if let Some((into_r0, old)) = old {
                    registers[if into_r0 { 0 } else { src }] = old;
                }
            }
            Opcode::LoadAcquire => {
                let address = run::address(registers[src], op.offset);
                registers[dst] = run.load_acquire(address, unpack_size(op.imm)).map_err(|kind| (at, kind))?;
            }
            Opcode::StoreRelease => {
                let address = run::address(registers[dst], op.offset);
                run.store_release(address, unpack_size(op.imm), registers[src]).map_err(|kind| (at, kind))?;
            }
            Opcode::LoadWide => {
                registers[dst] = op.imm;
                pc += 1;
            }
            Opcode::LoadPacket => {
                let index = if op.dst == 1 { low_32(registers[src]) } else { 0 };
                let offset = op.offset.cast_unsigned().wrapping_add(index).cast_signed();
                let loaded = run.load_packet(registers[6], offset, unpack_size(op.imm)).map_err(|kind| (at, kind))?;
                clear_arguments(&mut registers);
                match loaded {
                    Some(value) => registers[0] = value,
                    None => {
                        registers[0] = 0;
                        if !leave(run, &mut frames, &mut registers, &mut pc) { return Ok(0); }
                        registers[10] = run.stack_top(below + frames.len());
                    }
                }
            }
            Opcode::CastToUser => {
                registers[dst] = user_address(low_32(registers[src]));
            }
            Opcode::Jump => goto!(),
            Opcode::MayGoto => if !run.may_go_on() { goto!() },
            Opcode::JumpEq64X => jump!(64, X, Eq),
            Opcode::JumpNe64X => jump!(64, X, Ne),
            Opcode::JumpGt64X => jump!(64, X, Gt),
            Opcode::JumpGe64X => jump!(64, X, Ge),
            Opcode::JumpLt64X => jump!(64, X, Lt),
            Opcode::JumpLe64X => jump!(64, X, Le),
            Opcode::JumpSet64X => jump!(64, X, Set),
            Opcode::JumpSignedGt64X => jump!(64, X, SignedGt),
            Opcode::JumpSignedGe64X => jump!(64, X, SignedGe),
            Opcode::JumpSignedLt64X => jump!(64, X, SignedLt),
            Opcode::JumpSignedLe64X => jump!(64, X, SignedLe),
            Opcode::JumpEq64K => jump!(64, K, Eq),
            Opcode::JumpNe64K => jump!(64, K, Ne),
            Opcode::JumpGt64K => jump!(64, K, Gt),
            Opcode::JumpGe64K => jump!(64, K, Ge),
            Opcode::JumpLt64K => jump!(64, K, Lt),
            Opcode::JumpLe64K => jump!(64, K, Le),
            Opcode::JumpSet64K => jump!(64, K, Set),
            Opcode::JumpSignedGt64K => jump!(64, K, SignedGt),
            Opcode::JumpSignedGe64K => jump!(64, K, SignedGe),
            Opcode::JumpSignedLt64K => jump!(64, K, SignedLt),
            Opcode::JumpSignedLe64K => jump!(64, K, SignedLe),
            Opcode::JumpEq32X => jump!(32, X, Eq),
            Opcode::JumpNe32X => jump!(32, X, Ne),
            Opcode::JumpGt32X => jump!(32, X, Gt),
            Opcode::JumpGe32X => jump!(32, X, Ge),
            Opcode::JumpLt32X => jump!(32, X, Lt),
            Opcode::JumpLe32X => jump!(32, X, Le),
            Opcode::JumpSet32X => jump!(32, X, Set),
            Opcode::JumpSignedGt32X => jump!(32, X, SignedGt),
            Opcode::JumpSignedGe32X => jump!(32, X, SignedGe),
            Opcode::JumpSignedLt32X => jump!(32, X, SignedLt),
            Opcode::JumpSignedLe32X => jump!(32, X, SignedLe),
            Opcode::JumpEq32K => jump!(32, K, Eq),
            Opcode::JumpNe32K => jump!(32, K, Ne),
            Opcode::JumpGt32K => jump!(32, K, Gt),
            Opcode::JumpGe32K => jump!(32, K, Ge),
            Opcode::JumpLt32K => jump!(32, K, Lt),
            Opcode::JumpLe32K => jump!(32, K, Le),
            Opcode::JumpSet32K => jump!(32, K, Set),
            Opcode::JumpSignedGt32K => jump!(32, K, SignedGt),
            Opcode::JumpSignedGe32K => jump!(32, K, SignedGe),
            Opcode::JumpSignedLt32K => jump!(32, K, SignedLt),
            Opcode::JumpSignedLe32K => jump!(32, K, SignedLe),
            Opcode::CallHelper => {
                let [_, r1, r2, r3, r4, r5, ..] = registers;
                let arguments = Arguments { values: [r1, r2, r3, r4, r5], provenance: None };
                let helper = program.helper(op.imm);
                run.set_depth(below + frames.len());
                registers[0] = helper(run, &arguments).map_err(|kind| (at, kind))?.value;
                clear_arguments(&mut registers);
            }
            Opcode::CallKfunc => {
                let [_, r1, r2, r3, r4, r5, ..] = registers;
                let arguments = Arguments { values: [r1, r2, r3, r4, r5], provenance: None };
                run.set_depth(below + frames.len());
                let position = usize::try_from(op.imm).unwrap_or(usize::MAX);
                registers[0] = run.call_kfunc(position, &arguments).map_err(|kind| (at, kind))?.value;
                clear_arguments(&mut registers);
            }
            Opcode::TailCall => {
                let [_, r1, r2, r3, r4, r5, ..] = registers;
                let arguments = Arguments { values: [r1, r2, r3, r4, r5], provenance: None };
                run.set_depth(below + frames.len());
                let returned = run.tail_call(&arguments).map_err(|kind| (at, kind))?;
                clear_arguments(&mut registers);
                match returned {
                    Some(returned) => {
                        registers[0] = returned.value;
                        if !leave(run, &mut frames, &mut registers, &mut pc) { return Ok(registers[0]); }
                        registers[10] = run.stack_top(below + frames.len());
                    }
                    None => registers[0] = run::NO_TAIL_CALL,
                }
            }
            Opcode::CallLocal => {
                let to = jump_target(op.offset);
                pay(run, program.function_len(to), at)?;
                let [_, _, _, _, _, _, r6, r7, r8, r9, ..] = registers;
                if below + frames.len() + 1 >= run::MAX_FRAMES { return Err((at, FaultKind::CallDepth)); }
                frames.push(Frame { return_to: pc, saved: [r6, r7, r8, r9], loops_left: run.enter_loops() });
                registers[10] = run.stack_top(below + frames.len());
                pc = to;
            }
            Opcode::Exit => {
                if !leave(run, &mut frames, &mut registers, &mut pc) { return Ok(registers[0]); }
                registers[10] = run.stack_top(below + frames.len());
            }
            Opcode::SecondSlot | Opcode::Unsupported => return Err((at, FaultKind::Unsupported("this instruction"))),
        }
    }
}

/// Pays for instructions at `at`.
#[inline(always)]
fn pay(run: &mut Run<'_>, insns: usize, at: usize) -> Result<(), Ended> {
    run.charge(insns).map_err(|kind| (at, kind))
}

/// Returns to the caller; false if there is none.
fn leave(
    run: &mut Run<'_>,
    frames: &mut Vec<Frame>,
    registers: &mut Registers,
    pc: &mut usize,
) -> bool {
    let Some(frame) = frames.pop() else {
        return false;
    };
    registers[6..10].copy_from_slice(&frame.saved);
    *pc = frame.return_to;
    run.machine.loops = frame.loops_left;
    true
}

/// After helpers and packet loads nothing is left in `r1` to `r5`: what the host's registers held must not show in compiled code,
/// and both executors do the same.
#[inline(always)]
fn clear_arguments(registers: &mut Registers) {
    registers[1..6].fill(0);
}

/// Targets are absolute and were checked at load; a negative one cannot occur and would end the run.
#[inline(always)]
fn jump_target(offset: i32) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}
