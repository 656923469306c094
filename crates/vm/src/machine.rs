//! The part of a run that machine code reaches through a register: where its memory is, its counts, and how it ended.
//!
//! A worker keeps it from run to run. Interpreters count with it too, so nothing has to be copied when compiled code calls the
//! host and the other way round.

use std::mem::offset_of;
use std::sync::atomic::AtomicPtr;

use crate::maps::Successor;
use crate::window::Window;

/// KERNEL: most tail calls in a run (`MAX_TAIL_CALL_CNT`, 6.18).
pub(crate) const MAX_TAIL_CALLS: u32 = 33;
/// How often `may_goto` goes on. KERNEL: `BPF_MAX_LOOPS`, 8 Mi (`Documentation/bpf/bpf_iterators`, 6.12).
pub(crate) const MAY_GOTO_LOOPS: u64 = 8 << 20;
/// Instructions of the budget that are counted down in one go. Then the abort flag is looked at: some tens of microseconds.
const SLICE_INSNS: u64 = 1 << 16;

/// How a run stands. 0 lets compiled code go on.
pub(crate) mod status {
    pub(crate) const RUNNING: u32 = 0;
    /// A packet load found no bytes, or a tail call came back: the function ends with the answer.
    pub(crate) const LEAVE: u32 = 1;
    /// A callback left its reason in the run.
    pub(crate) const FAULT: u32 = 2;
    pub(crate) const READ: u32 = 3;
    pub(crate) const WRITE: u32 = 4;
    pub(crate) const MISALIGNED: u32 = 5;
    pub(crate) const DEPTH: u32 = 6;
}

/// What compiled code works with. The order of fields is its business alone: the emitter takes offsets from here.
///
/// Addresses are atomic only because a worker may move to another thread between runs.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) window: AtomicPtr<u8>,
    pub(crate) permissions: AtomicPtr<u8>,
    /// The run that compiled code was entered for.
    pub(crate) run: AtomicPtr<()>,
    /// The program that compiled code went over to by a tail call; null while it is in the one it was entered for.
    pub(crate) target: AtomicPtr<Successor>,
    /// What may still be counted down before the rest is looked at; in a register while code runs.
    pub(crate) slice: u64,
    /// The budget beyond the slice.
    pub(crate) rest: u64,
    /// How often `may_goto` may still go on in the present function.
    pub(crate) loops: u64,
    pub(crate) saved_rsp: u64,
    pub(crate) status: u32,
    /// Functions below the present one.
    pub(crate) depth: u32,
    /// Tail calls so far.
    pub(crate) tail_calls: u32,
    /// Position of the kernel function to call.
    pub(crate) kfunc: u32,
    /// The worker's number: the CPU a program sees.
    pub(crate) slot: u32,
    pub(crate) r0: u64,
    pub(crate) arguments: [u64; 5],
    pub(crate) fault_address: u64,
    pub(crate) fault_insn: u32,
    pub(crate) fault_size: u32,
    /// The slice that a run begins with, and what there is beyond it.
    first: [u64; 2],
}

/// Declares the offset of each field that the emitter uses; `offset_of!` cannot be called with a variable.
macro_rules! offsets {
    ($($name:ident: $field:ident),* $(,)?) => {
        /// Offsets of the fields, bytes.
        pub(crate) mod offset {
            $(pub(crate) const $name: i32 = super::field_offset(super::offset_of!(super::Machine, $field));)*
        }
    };
}

offsets! {
    WINDOW: window, PERMISSIONS: permissions, SLICE: slice, LOOPS: loops, SAVED_RSP: saved_rsp, R0: r0, ARGUMENTS: arguments,
    FAULT_ADDRESS: fault_address, FAULT_INSN: fault_insn, FAULT_SIZE: fault_size, STATUS: status, DEPTH: depth, KFUNC: kfunc,
    TARGET: target, TAIL_CALLS: tail_calls, SLOT: slot,
}

const fn field_offset(offset: usize) -> i32 {
    assert!(offset < 4096);
    // Below 4,096 by the line above.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "checked to be below 4,096"
    )]
    let offset = offset as i32;
    offset
}

impl Machine {
    /// For the worker with this number, whose runs have this budget each.
    pub(crate) fn new(window: &Window, slot: u32, budget: u64) -> Self {
        let slice = budget.min(SLICE_INSNS);
        let (window, permissions) = window.addresses();
        Self {
            window: AtomicPtr::new(window),
            permissions: AtomicPtr::new(permissions.cast_mut()),
            run: AtomicPtr::default(),
            target: AtomicPtr::default(),
            slice: 0,
            rest: 0,
            loops: 0,
            saved_rsp: 0,
            status: status::RUNNING,
            depth: 0,
            tail_calls: 0,
            kfunc: 0,
            slot,
            r0: 0,
            arguments: [0; 5],
            fault_address: 0,
            fault_insn: 0,
            fault_size: 0,
            first: [slice, budget - slice],
        }
    }

    /// At the start of a run.
    #[inline(always)]
    pub(crate) fn start(&mut self) {
        [self.slice, self.rest] = self.first;
        self.loops = MAY_GOTO_LOOPS;
        self.status = status::RUNNING;
        self.depth = 0;
        self.tail_calls = 0;
        self.kfunc = 0;
    }

    /// Pays for `insns` instructions from the slice; false if that is too small.
    #[inline(always)]
    pub(crate) fn pay(&mut self, insns: u64) -> bool {
        match self.slice.checked_sub(insns) {
            Some(left) => {
                self.slice = left;
                true
            }
            None => false,
        }
    }

    /// Pays from the whole budget and cuts a new slice; false if not that much is left.
    #[cold]
    pub(crate) fn pay_from_rest(&mut self, insns: u64) -> bool {
        let Some(left) = self.slice.saturating_add(self.rest).checked_sub(insns) else {
            return false;
        };
        self.slice = left.min(SLICE_INSNS);
        self.rest = left - self.slice;
        true
    }
}
