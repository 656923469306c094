//! BPF helpers: what a program can ask the vm for.
//!
//! A helper gets the run and five arguments and answers a value or a fault. Memory arguments are window addresses: they are
//! checked, copied once, then used. A helper that cannot be answered honestly in a process is missing here on purpose;
//! loading a program that calls it fails and names it.

mod maps;
mod packet;
mod system;

use twinbpf_object::core::UNAVAILABLE_HELPER;

use crate::fault::FaultKind;
use crate::run::{Arguments, Returned, Run};

/// A helper.
pub(crate) type Helper = fn(&mut Run<'_>, &Arguments) -> Result<Returned, FaultKind>;

/// One helper of the vm.
pub(crate) struct Row {
    /// The kernel's number.
    pub(crate) number: i32,
    /// How many of the five arguments it looks at.
    pub(crate) arguments: u8,
    /// What it does.
    pub(crate) call: Helper,
}

/// What CO-RE puts where the target has nothing: reaching it ends the run. Which thing is missing the program knows.
fn unavailable(_: &mut Run<'_>, _: &Arguments) -> Result<Returned, FaultKind> {
    let reason = "the target's types lack something that the program needs".to_owned();
    Err(FaultKind::Unavailable { reason })
}

/// Position of the helper with this number in [`TABLE`].
pub(crate) fn position(number: i32) -> Option<usize> {
    TABLE.iter().position(|row| row.number == number)
}

/// Every helper the vm has. Numbers: `linux/bpf.h`.
#[rustfmt::skip]
pub(crate) static TABLE: &[Row] = &[
    Row { number: 1, arguments: 2, call: maps::lookup },
    Row { number: 2, arguments: 4, call: maps::update },
    Row { number: 3, arguments: 2, call: maps::delete },
    Row { number: 5, arguments: 0, call: system::ktime_get_ns },
    Row { number: 7, arguments: 0, call: system::get_prandom_u32 },
    Row { number: 8, arguments: 0, call: system::get_smp_processor_id },
    Row { number: 14, arguments: 0, call: system::get_current_pid_tgid },
    Row { number: 15, arguments: 0, call: system::get_current_uid_gid },
    Row { number: 16, arguments: 2, call: system::get_current_comm },
    Row { number: 26, arguments: 4, call: packet::skb_load_bytes },
    Row { number: 42, arguments: 0, call: system::get_numa_node_id },
    Row { number: 125, arguments: 0, call: system::ktime_get_ns },
    Row { number: UNAVAILABLE_HELPER, arguments: 0, call: unavailable },
];
