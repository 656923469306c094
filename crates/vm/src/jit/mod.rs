//! The compiler of the sandbox, for x86-64: one pass, a fixed register for each BPF register, every access compared.
//!
//! Compiled code does exactly what the fast interpreter does, faults and budget included; tests run both on everything. It
//! compares before each access instead of relying on page faults, so it needs no signal handler and works in hosts that
//! allow none.
//!
//! ```text
//!  assembler   bytes of machine instructions
//!  emit        one BPF operation after the other, through the assembler
//!  buffer      memory for code: writable, then executable, never both
//!  runtime     the state shared with running code, and what that code calls back
//! ```

mod assembler;
mod buffer;
mod emit;
mod runtime;

use twinbpf_object::Errno;
use twinbpf_object::insn::Operation;

use crate::fault::Ended;
use crate::run::Run;

use runtime::CompiledCode;

/// A program in machine code.
#[derive(Debug)]
pub(crate) struct Compiled(CompiledCode);

impl Compiled {
    /// Compiles a program whose shape was checked. `bounds`: the first slot of each function, then the program's length.
    ///
    /// # Errors
    ///
    /// If the host gives no executable memory, or the program is too large for 32-bit jumps.
    pub(crate) fn new(operations: &[Option<Operation>], bounds: &[usize]) -> Result<Self, Errno> {
        let code = emit::emit(operations, bounds).ok_or(Errno::E2BIG)?;
        CompiledCode::new(&code).map(Self)
    }

    /// Runs it with `context` in `r1`.
    ///
    /// # Errors
    ///
    /// The instruction and the reason of an abnormal end.
    pub(crate) fn run(&self, run: &mut Run<'_>, context: u64) -> Result<u64, Ended> {
        self.0.enter(run, context)
    }
}

#[cfg(test)]
mod tests {
    use iced_x86::{Code, Decoder, DecoderOptions, Instruction, OpKind, Register};
    use twinbpf_object::insn::Insn;

    use super::*;

    fn insn(opcode: u8, dst: u8, src: u8, offset: i16, imm: i32) -> Insn {
        Insn {
            opcode,
            dst,
            src,
            offset,
            imm,
        }
    }

    /// One function with every opcode byte that decodes, with every pair of registers.
    fn every_operation() -> Vec<Option<Operation>> {
        let mut operations = Vec::new();
        for opcode in 0..=255u8 {
            for (dst, src) in (0..=10).flat_map(|dst| (0..=10).map(move |src| (dst, src))) {
                for (offset, imm) in [
                    (0, 0),
                    (1, 0),
                    (8, 0),
                    (16, 0),
                    (32, 0),
                    (0, 1),
                    (0, 16),
                    (0, 64),
                    (0, 0xe1),
                    (0, 0xf1),
                    (4, 0x100),
                ] {
                    let slots = [insn(opcode, dst, src, offset, imm), Insn::default()];
                    // Jumps and calls need targets; the tests of whole programs have them.
                    match Operation::decode(&slots).map(|decoded| decoded.operation) {
                        Ok(
                            Operation::Jump { .. }
                            | Operation::Branch { .. }
                            | Operation::MayGoto { .. },
                        )
                        | Err(_) => {}
                        Ok(Operation::Call(_) | Operation::Cast { .. }) => {}
                        Ok(operation) if emit::emit(&[Some(operation)], &[0, 1]).is_some() => {
                            operations.push(Some(operation))
                        }
                        Ok(_) => {}
                    }
                }
            }
        }
        operations.push(Some(Operation::Exit));
        operations
    }

    fn instructions(code: &[u8]) -> Vec<Instruction> {
        Decoder::with_ip(64, code, 0, DecoderOptions::NONE)
            .into_iter()
            .collect()
    }

    #[test]
    fn every_emitted_byte_belongs_to_an_instruction_the_manual_knows() {
        let operations = every_operation();
        assert!(
            operations.len() > 10_000,
            "only {} operations",
            operations.len()
        );
        let code = emit::emit(&operations, &[0, operations.len()]).unwrap();
        let decoded = instructions(code.bytes());
        assert!(
            decoded
                .iter()
                .all(|instruction| instruction.code() != Code::INVALID)
        );
        assert_eq!(
            decoded.iter().map(Instruction::len).sum::<usize>(),
            code.bytes().len()
        );
    }

    #[test]
    fn memory_is_reached_through_the_window_the_state_and_the_stack_alone() {
        let operations = every_operation();
        let code = emit::emit(&operations, &[0, operations.len()]).unwrap();
        for instruction in instructions(code.bytes()) {
            let has_memory = (0..instruction.op_count())
                .any(|index| instruction.op_kind(index) == OpKind::Memory);
            if !has_memory || instruction.code() == Code::Lea_r64_m {
                continue;
            }
            let (base, index) = (instruction.memory_base(), instruction.memory_index());
            let is_window = base == Register::R12 && matches!(index, Register::R11 | Register::RBP);
            let is_state = base == Register::R10 && index == Register::None;
            // The table of permissions is only ever tested.
            let is_table = base == Register::R9
                && index == Register::None
                && instruction.code() == Code::Test_rm8_imm8;
            assert!(is_window || is_state || is_table, "{instruction:?}");
        }
    }
}
