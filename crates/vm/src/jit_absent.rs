//! CPUs without a compiler: the interpreter runs everything.

use twinbpf_object::Errno;
use twinbpf_object::insn::Operation;

use crate::fault::Ended;
use crate::run::Run;

/// A program in machine code: never made on this CPU.
#[derive(Debug)]
pub(crate) enum Compiled {}

impl Compiled {
    /// Refuses.
    ///
    /// # Errors
    ///
    /// Always `ENOTSUPP`.
    pub(crate) fn new(_: &[Option<Operation>], _: &[usize]) -> Result<Self, Errno> {
        Err(Errno::ENOTSUPP)
    }

    /// Cannot be called.
    pub(crate) fn run(&self, _: &mut Run<'_>, _: u64) -> Result<u64, Ended> {
        match *self {}
    }
}
