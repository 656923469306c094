//! CPUs without a compiler: the interpreter runs everything.

use twinbpf_object::Errno;
use twinbpf_object::insn::Operation;

use crate::config::Guard;
use crate::fault::Ended;
use crate::maps::MapLayout;
use crate::run::Run;

/// What would be compiled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) operations: &'a [Option<Operation>],
    pub(crate) bounds: &'a [usize],
    pub(crate) maps: &'a [MapLayout],
    /// Whether addresses and loops are believed.
    pub(crate) is_vouched: bool,
}

/// A program in machine code: never made on this CPU.
#[derive(Debug)]
pub(crate) enum Compiled {}

impl Compiled {
    /// Refuses.
    ///
    /// # Errors
    ///
    /// Always `ENOTSUPP`.
    pub(crate) fn new(_: &Source<'_>, _: Guard) -> Result<Self, Errno> {
        Err(Errno::ENOTSUPP)
    }

    /// Cannot be called.
    pub(crate) fn entry(&self) -> *mut u8 {
        match *self {}
    }

    /// Cannot be called.
    pub(crate) fn run_first(&self, _: &mut Run<'_>, _: u64) -> Result<u64, Box<Ended>> {
        match *self {}
    }

    /// Cannot be called.
    pub(crate) fn run(&self, _: &mut Run<'_>, _: u64) -> Result<u64, Box<Ended>> {
        match *self {}
    }

    /// Cannot be called.
    pub(crate) fn run_function(
        &self,
        _: &mut Run<'_>,
        _: usize,
        _: [u64; 5],
    ) -> Option<Result<u64, Box<Ended>>> {
        match *self {}
    }
}
