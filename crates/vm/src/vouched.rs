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
