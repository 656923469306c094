//! The way around the sandbox, for whoever can vouch for a program until the verifier can.
//!
//! Machine code of a program that somebody vouched for uses its registers as addresses just as they are, and counts nothing. What
//! helpers are asked for is checked as ever, as is the depth of calls.

#![expect(
    unsafe_code,
    reason = "declares a function whose callers promise what nothing checks"
)]

use twinbpf_object::link::LinkedProgram;

/// A promise about a program: [`Vm::load_vouched`](crate::Vm::load_vouched) leaves checks out for it.
///
/// Copying memory takes 1.14 times what native code does, and 1.37 with checks; other loops gain little (`cargo bench -p twinbpf-vm`).
#[derive(Debug, Clone, Copy)]
pub struct Vouched<'p>(&'p LinkedProgram);

impl<'p> Vouched<'p> {
    /// Promises that the program behaves, as the kernel's verifier would have it.
    ///
    /// # Safety
    ///
    /// The caller answers for every run of the program in every vm, whatever its context, its packets, and the bytes of maps and rings
    /// are, which other programs may have written:
    ///
    /// - whenever it accesses memory, the register that holds the address has zeros in its upper half. Addresses that are loaded from
    ///   memory, added to or handed over by a tail call are no exception;
    /// - it comes to its end by itself. Its loops are not paid for, and an [`AbortHandle`](crate::AbortHandle) does not end them;
    /// - with [`Guard::Compare`](crate::Guard::Compare), which then compares nothing: every access stays inside what the program may
    ///   reach. With page faults as guards, an access to other addresses inside the window still is an error value.
    pub unsafe fn new(program: &'p LinkedProgram) -> Self {
        Self(program)
    }

    /// The program.
    pub fn program(&self) -> &'p LinkedProgram {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use twinbpf_object::ProgramKind;
    use twinbpf_object::insn::Insn;

    use super::*;
    use crate::config::{Executor, Guard, VmConfig};
    use crate::vm::Vm;

    fn insn(opcode: u8, dst: u8, src: u8, offset: i16, imm: i32) -> Insn {
        Insn {
            opcode,
            dst,
            src,
            offset,
            imm,
        }
    }

    fn run(insns: Vec<Insn>, guard: Guard) -> twinbpf_object::Result<u64> {
        let config = VmConfig {
            guard,
            executor: Executor::Jit,
            budget_insns: 1000,
            ..VmConfig::default()
        };
        let vm = Vm::new(config)?;
        let linked = LinkedProgram::from_insns("vouched", ProgramKind::SocketFilter, insns);
        // SAFETY: the programs of these tests count down to 0, and address memory by the context's register, by numbers below
        // 2^32, and with comparing guards by the first alone.
        let program = vm.load_vouched(unsafe { Vouched::new(&linked) }, &[])?;
        let mut context = [3; 16];
        vm.worker()?.run(&program, &mut context)
    }

    #[test]
    fn a_vouched_program_does_the_same_and_pays_for_no_loop() {
        // 4,000 times `r0 += *(u64 *)(r1 + 8)`, which is more than the budget.
        let insns = vec![
            insn(0xb7, 0, 0, 0, 0),
            insn(0xb7, 2, 0, 0, 4000),
            insn(0x79, 3, 1, 8, 0),
            insn(0x0f, 0, 3, 0, 0),
            insn(0x17, 2, 0, 0, 1),
            insn(0x55, 2, 0, -4, 0),
            insn(0x95, 0, 0, 0, 0),
        ];
        let each = u64::from_ne_bytes([3; 8]);
        for guard in [Guard::Pages, Guard::Compare] {
            let sum = run(insns.clone(), guard).ok();
            assert_eq!(sum, Some(each.wrapping_mul(4000)));
        }
    }

    #[test]
    fn an_access_beside_all_memory_still_is_an_error_with_guards() {
        let insns = vec![
            insn(0xb7, 1, 0, 0, 0),
            insn(0x79, 0, 1, 8, 0),
            insn(0x95, 0, 0, 0, 0),
        ];
        let error = run(insns, Guard::Pages).err();
        assert!(error.is_some_and(|error| error.to_string().contains("0x8")));
    }
}
