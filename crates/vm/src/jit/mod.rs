//! The compiler of the sandbox, for x86-64: one pass, a fixed register for each BPF register.
//!
//! Compiled code does exactly what the fast interpreter does, faults and budget included; tests run both on everything. The
//! window's page tables check its accesses, and a signal handler turns their faults into error values; in hosts that allow no
//! handler it compares before each access instead ([`Guard`]).
//!
//! ```text
//!  assembler   bytes of machine instructions
//!  known       what is known of registers at a point of the program
//!  emit        one BPF operation after the other, through the assembler; arithmetic, memory, calls: parts of it
//!  frame       the ways into machine code and out of it
//!  sites       which machine instructions access the window, and for whom
//!  buffer      memory for code: writable, then executable, never both
//!  trap        the fault handler
//!  runtime     the state shared with running code, and what that code calls back
//! ```

mod arithmetic;
mod assembler;
mod buffer;
mod calls;
mod emit;
mod frame;
mod known;
mod memory;
mod runtime;
mod sites;
mod trap;

use twinbpf_object::Errno;
use twinbpf_object::insn::Operation;

use crate::config::Guard;
use crate::fault::Ended;
use crate::maps::MapLayout;
use crate::run::Run;

use runtime::CompiledCode;

/// What is compiled: a program whose shape was checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) operations: &'a [Option<Operation>],
    /// The first slot of each function, then the program's length.
    pub(crate) bounds: &'a [usize],
    /// The program's maps, in their order.
    pub(crate) maps: &'a [MapLayout],
    /// Whether addresses and loops are believed.
    pub(crate) is_vouched: bool,
}

/// How code is made.
#[derive(Debug, Clone, Copy)]
struct Options {
    guard: Guard,
    /// The host has three-operand shifts.
    has_bmi2: bool,
}

/// A program in machine code.
#[derive(Debug)]
pub(crate) struct Compiled(CompiledCode);

impl Compiled {
    /// Compiles a program.
    ///
    /// # Errors
    ///
    /// If the host gives no executable memory or refuses signal handlers, or the program is too large for 32-bit jumps.
    pub(crate) fn new(source: &Source<'_>, guard: Guard) -> Result<Self, Errno> {
        let options = Options {
            guard,
            has_bmi2: std::arch::is_x86_feature_detected!("bmi2"),
        };
        let code = emit::emit(source, options).ok_or(Errno::E2BIG)?;
        CompiledCode::new(code, guard).map(Self)
    }

    /// Where it begins.
    pub(crate) fn entry(&self) -> *mut u8 {
        self.0.entry()
    }

    /// Runs it with `context` in `r1`, where no other machine code runs for this worker.
    ///
    /// # Errors
    ///
    /// The instruction and the reason of an abnormal end; boxed, so that the answer of a good one fits into registers.
    #[inline(always)]
    pub(crate) fn run_first(&self, run: &mut Run<'_>, context: u64) -> Result<u64, Box<Ended>> {
        self.0.enter_first(run, context)
    }

    /// The same inside a run, for what helpers call back.
    ///
    /// # Errors
    ///
    /// As for [`Compiled::run_first`].
    pub(crate) fn run(&self, run: &mut Run<'_>, context: u64) -> Result<u64, Box<Ended>> {
        self.0.enter(run, context)
    }

    /// Runs the function that starts at this slot; `None` if there is none, or it is the main one.
    ///
    /// # Errors
    ///
    /// As for [`Compiled::run_first`].
    #[inline]
    pub(crate) fn run_function(
        &self,
        run: &mut Run<'_>,
        start: usize,
        arguments: [u64; 5],
    ) -> Option<Result<u64, Box<Ended>>> {
        self.0.enter_function(run, start, arguments)
    }
}

#[cfg(test)]
mod tests {
    use iced_x86::{Code, Decoder, DecoderOptions, Instruction, OpKind, Register};
    use twinbpf_object::insn::{Insn, WideValue};

    use super::*;

    const OPTIONS: [Options; 4] = [
        options(Guard::Pages, true),
        options(Guard::Pages, false),
        options(Guard::Compare, true),
        options(Guard::Compare, false),
    ];

    const fn options(guard: Guard, has_bmi2: bool) -> Options {
        Options { guard, has_bmi2 }
    }

    fn insn(opcode: u8, dst: u8, src: u8, offset: i16, imm: i32) -> Insn {
        Insn {
            opcode,
            dst,
            src,
            offset,
            imm,
        }
    }

    fn emitted(operations: &[Option<Operation>], bounds: &[usize], options: Options) -> Vec<u8> {
        let source = Source {
            operations,
            bounds,
            maps: &[],
            is_vouched: false,
        };
        emit::emit(&source, options).unwrap().bytes().to_vec()
    }

    /// Every opcode byte that decodes, with every pair of registers. Jumps and calls of functions need targets; the tests of whole
    /// programs have them.
    fn every_operation() -> Vec<Operation> {
        let mut operations = Vec::new();
        for opcode in 0..=255u8 {
            for (dst, src) in (0..=10).flat_map(|dst| (0..=10).map(move |src| (dst, src))) {
                for (offset, imm) in [
                    (0, 0),
                    (1, 0),
                    (8, 0),
                    (16, 0),
                    (32, 0),
                    (300, 0),
                    (0, 1),
                    (0, 16),
                    (0, 64),
                    (0, 0xe1),
                    (0, 0xf1),
                    (-4, 0x51),
                    (4, 0x100),
                ] {
                    let slots = [insn(opcode, dst, src, offset, imm), Insn::default()];
                    match Operation::decode(&slots).map(|decoded| decoded.operation) {
                        Ok(
                            Operation::Jump { .. }
                            | Operation::Branch { .. }
                            | Operation::MayGoto { .. }
                            | Operation::Call(_),
                        )
                        | Err(_) => {}
                        // Other values are holes that loading fills.
                        Ok(Operation::LoadWide { value, .. })
                            if !matches!(value, WideValue::Number(_)) => {}
                        Ok(operation) => operations.push(operation),
                    }
                }
            }
        }
        assert!(operations.len() > 10_000, "{} operations", operations.len());
        operations
    }

    fn instructions(code: &[u8]) -> Vec<Instruction> {
        Decoder::with_ip(64, code, 0, DecoderOptions::NONE)
            .into_iter()
            .collect()
    }

    #[test]
    fn every_emitted_byte_belongs_to_an_instruction_the_manual_knows() {
        let mut operations: Vec<_> = every_operation().into_iter().map(Some).collect();
        operations.push(Some(Operation::Exit));
        for options in OPTIONS {
            let code = emitted(&operations, &[0, operations.len()], options);
            let decoded = instructions(&code);
            let is_known = |instruction: &Instruction| instruction.code() != Code::INVALID;
            assert!(decoded.iter().all(is_known));
            assert_eq!(
                decoded.iter().map(Instruction::len).sum::<usize>(),
                code.len()
            );
        }
    }

    #[test]
    fn memory_is_reached_through_the_window_the_state_and_the_stack_alone() {
        for options in OPTIONS {
            for operation in every_operation() {
                // In a second function nothing is known of registers, so that every address has to be cut.
                let operations = [Operation::Exit, operation, Operation::Exit].map(Some);
                for instruction in instructions(&emitted(&operations, &[0, 1, 3], options)) {
                    let has_memory = (0..instruction.op_count())
                        .any(|index| instruction.op_kind(index) == OpKind::Memory);
                    if has_memory {
                        check_place(&instruction, operation);
                    }
                }
            }
        }
    }

    #[test]
    fn rounds_of_a_known_function_are_calls_from_machine_code_that_keeps_its_stack_in_order() {
        let wide = Operation::LoadWide {
            dst: twinbpf_object::insn::Register::new(2).unwrap(),
            value: WideValue::Number(u64::from(crate::handles::FIRST_FUNCTION_HANDLE | 4)),
        };
        let call = Operation::Call(twinbpf_object::insn::Call::Helper(crate::helpers::LOOP));
        let [wide, call, exit] = [wide, call, Operation::Exit].map(Some);
        let operations = [wide, None, call, exit, exit];
        for options in OPTIONS {
            let decoded = instructions(&emitted(&operations, &[0, 4, 5], options));
            let is = |code: Code| decoded.iter().filter(move |it| it.code() == code).count();
            assert_eq!(is(Code::INVALID), 0);
            assert_eq!(is(Code::Push_r64), is(Code::Pop_r64));
            // Nothing of the host is called but what pays for more rounds; functions are, from the loop and from the way in.
            assert_eq!(is(Code::Call_rm64), 2, "refill, and the way in");
            assert_eq!(is(Code::Call_rel32_64), 2, "the round, and its refill");
        }
    }

    fn check_place(instruction: &Instruction, operation: Operation) {
        let (base, index) = (instruction.memory_base(), instruction.memory_index());
        let is_window = base == Register::R12 && matches!(index, Register::R11 | Register::RBP);
        let is_state = base == Register::R10 && index == Register::None;
        // The table of permissions is only ever tested.
        let is_table = base == Register::R11
            && index == Register::None
            && instruction.code() == Code::Test_rm8_imm8;
        // What the entry keeps for the host.
        let is_stack = base == Register::RSP
            && index == Register::None
            && instruction.memory_displacement64() < 48;
        let is_displaced_far = instruction.memory_displacement64().cast_signed().abs() > 1 << 15;
        assert!(
            (is_window && !is_displaced_far) || is_state || is_table || is_stack,
            "{operation}: {instruction:?}"
        );
    }

    #[test]
    fn a_copy_and_what_is_added_to_it_are_one_instruction_unless_a_jump_arrives_between() {
        let decode = |slots: [Insn; 5]| {
            let decoded = slots.map(|slot| Operation::decode(&[slot, Insn::default()]).unwrap());
            decoded.map(|decoded| Some(decoded.operation))
        };
        let sum = [
            insn(0xbf, 2, 10, 0, 0),
            insn(0x0f, 2, 3, 0, 0),
            insn(0x07, 2, 0, 0, -4),
        ];
        let [copy, index, imm] = sum;
        let exit = insn(0x95, 0, 0, 0, 0);
        let into = insn(0x55, 5, 0, -2, 0);
        let has_sum = |slots| {
            let code = emitted(&decode(slots), &[0, 5], options(Guard::Pages, true));
            let is_sum = |found: &&Instruction| {
                found.code() == Code::Lea_r64_m
                    && (found.op0_register(), found.memory_base()) == (Register::RSI, Register::RBP)
                    && found.memory_displacement64() == (-4_i64).cast_unsigned()
            };
            let found = instructions(&code).iter().find(is_sum).copied();
            found.map(|found| found.memory_index())
        };
        assert_eq!(has_sum([copy, index, imm, exit, exit]), Some(Register::RDX));
        assert_eq!(
            has_sum([copy, imm, index, into, exit]),
            Some(Register::None)
        );
    }

    #[test]
    fn every_guarded_access_to_the_window_is_a_site() {
        for operation in every_operation() {
            let operations = [Operation::Exit, operation, Operation::Exit].map(Some);
            let source = Source {
                operations: &operations,
                bounds: &[0, 1, 3],
                maps: &[],
                is_vouched: false,
            };
            let code = emit::emit(&source, options(Guard::Pages, true)).unwrap();
            let accesses: Vec<u32> = instructions(code.bytes())
                .iter()
                .filter(|instruction| {
                    instruction.memory_base() == Register::R12
                        && instruction.memory_index() != Register::RBP
                })
                .map(|instruction| u32::try_from(instruction.ip()).unwrap())
                .collect();
            let sites = code.into_sites();
            let noted: Vec<u32> = sites.sites.iter().map(|site| site.offset).collect();
            // Through the frame pointer, but outside the frame, an access is a site too.
            let is_frame = |offset: &u32| !accesses.contains(offset);
            assert!(
                noted
                    .iter()
                    .filter(|offset| !is_frame(offset))
                    .eq(&accesses),
                "{operation}"
            );
        }
    }
}
