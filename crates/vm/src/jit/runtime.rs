//! What compiled code shares with the host while it runs, and the functions it calls back.

#![expect(unsafe_code, reason = "enters machine code and is called back from it")]

use std::mem::offset_of;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

use twinbpf_object::Errno;

use crate::code::{unpack_atomic, unpack_size};
use crate::fault::{Ended, FaultKind};
use crate::helpers;
use crate::run::{Arguments, NO_TAIL_CALL, Run, access_fault};
use crate::semantics::low_32;

use super::buffer::CodeBuffer;
use super::emit::EmittedCode;

/// How a run stands. 0 lets compiled code go on.
pub(super) mod status {
    pub(crate) const RUNNING: u32 = 0;
    /// A packet load found no bytes, or a tail call came back: the function ends with the answer.
    pub(crate) const LEAVE: u32 = 1;
    /// A callback left its reason in the state.
    pub(crate) const FAULT: u32 = 2;
    pub(crate) const READ: u32 = 3;
    pub(crate) const WRITE: u32 = 4;
    pub(crate) const MISALIGNED: u32 = 5;
    pub(crate) const BUDGET: u32 = 6;
    pub(crate) const ABORTED: u32 = 7;
    pub(crate) const DEPTH: u32 = 8;
}

/// The state that compiled code reaches through a register. The order of fields is its business alone: the emitter takes
/// offsets from here.
#[repr(C)]
pub(super) struct State {
    window: *mut u8,
    permissions: *const u8,
    abort: *const u8,
    stack_top: u64,
    context: u64,
    budget: u64,
    loops: u64,
    saved_rsp: u64,
    r0: u64,
    arguments: [u64; 5],
    fault_address: u64,
    fault_insn: u32,
    fault_size: u32,
    status: u32,
    depth: u32,
    // From here on only the host looks.
    run: *mut (),
    fault: Option<FaultKind>,
}

/// Declares the offset of each field that the emitter uses; `offset_of!` cannot be called with a variable.
macro_rules! offsets {
    ($($name:ident: $field:ident),* $(,)?) => {
        /// Offsets of the state's fields, bytes.
        pub(super) mod offset {
            $(pub(crate) const $name: i32 = super::field_offset(super::offset_of!(super::State, $field));)*
        }
    };
}

offsets! {
    WINDOW: window, PERMISSIONS: permissions, ABORT: abort, STACK_TOP: stack_top, CONTEXT: context, BUDGET: budget,
    LOOPS: loops, SAVED_RSP: saved_rsp, R0: r0, ARGUMENTS: arguments, FAULT_ADDRESS: fault_address,
    FAULT_INSN: fault_insn, FAULT_SIZE: fault_size, STATUS: status, DEPTH: depth,
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

/// Machine code that takes a state and returns `r0`.
type Entry = extern "sysv64" fn(*mut State) -> u64;

/// Code of the emitter in executable memory.
///
/// INVARIANT: the buffer holds what [`emit`](super::emit::emit) returned, whole.
#[derive(Debug)]
pub(super) struct CompiledCode(CodeBuffer);

impl CompiledCode {
    /// Takes the emitter's code.
    pub(super) fn new(code: &EmittedCode) -> Result<Self, Errno> {
        CodeBuffer::new(code.bytes()).map(Self)
    }

    /// Runs the code.
    pub(super) fn enter(&self, run: &mut Run<'_>, context: u64) -> Result<u64, Ended> {
        enter(self.0.start(), run, context)
    }
}

/// Runs code of the emitter; only [`CompiledCode`] calls it, with the start of such code.
fn enter(entry: NonNull<u8>, run: &mut Run<'_>, context: u64) -> Result<u64, Ended> {
    let (window, permissions) = run.window.addresses();
    let mut state = State {
        window,
        permissions,
        abort: std::ptr::from_ref(run.abort).cast(),
        stack_top: run.stack_top(run.depth),
        context,
        budget: run.budget_left,
        loops: run.loops_left,
        saved_rsp: 0,
        r0: 0,
        arguments: [0; 5],
        fault_address: 0,
        fault_insn: 0,
        fault_size: 0,
        status: status::RUNNING,
        depth: u32::try_from(run.depth).unwrap_or(u32::MAX),
        run: std::ptr::from_mut(run).cast(),
        fault: None,
    };
    // SAFETY: `entry` is the start of what the emitter wrote (invariant of `CompiledCode`), whose prologue follows this
    // signature, in memory that lives as long as the `CompiledCode` that `enter` borrows.
    let entry = unsafe { std::mem::transmute::<NonNull<u8>, Entry>(entry) };
    let result = entry(&raw mut state);
    run.budget_left = state.budget;
    run.loops_left = state.loops;
    let kind = match state.status {
        status::RUNNING => return Ok(result),
        status::BUDGET => FaultKind::Budget { insns: run.budget },
        status::ABORTED => FaultKind::Aborted,
        status::DEPTH => FaultKind::CallDepth,
        status::READ => access_fault(
            state.fault_address.cast_signed(),
            unpack_size(u64::from(state.fault_size)),
            false,
        ),
        status::WRITE => access_fault(
            state.fault_address.cast_signed(),
            unpack_size(u64::from(state.fault_size)),
            true,
        ),
        status::MISALIGNED => FaultKind::Misaligned {
            address: state.fault_address,
            size: state.fault_size,
        },
        _ => state.fault.take().unwrap_or(FaultKind::Panicked),
    };
    Err((state.fault_insn as usize, kind))
}

/// What compiled code can call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Callback {
    Helper,
    LoadPacket,
    TailCall,
    Atomic,
}

impl Callback {
    /// The address to call.
    pub(super) fn address(self) -> u64 {
        let address = match self {
            Self::Helper => call_helper as *const () as usize,
            Self::LoadPacket => load_packet as *const () as usize,
            Self::TailCall => tail_call as *const () as usize,
            Self::Atomic => atomic as *const () as usize,
        };
        address as u64
    }
}

/// Calls a helper by its position in the table, with the arguments from the state.
extern "sysv64" fn call_helper(state: *mut State, position: u64) -> u64 {
    call_back(state, |state, run| {
        let arguments = Arguments {
            values: state.arguments,
            provenance: None,
        };
        let row = usize::try_from(position)
            .ok()
            .and_then(|position| helpers::TABLE.get(position));
        let row = row.ok_or(FaultKind::Unsupported("this helper"))?;
        state.hand_over(run);
        let returned = (row.call)(run, &arguments);
        state.take_back(run);
        returned.map(|returned| returned.value)
    })
}

/// A tail call, with the arguments from the state. With `status::LEAVE` the function ends with the answer.
extern "sysv64" fn tail_call(state: *mut State, _: u64) -> u64 {
    call_back(state, |state, run| {
        let arguments = Arguments {
            values: state.arguments,
            provenance: None,
        };
        state.hand_over(run);
        let returned = run.tail_call(&arguments);
        state.take_back(run);
        Ok(match returned? {
            Some(returned) => {
                state.status = status::LEAVE;
                returned.value
            }
            None => NO_TAIL_CALL,
        })
    })
}

impl State {
    /// What a callback or another program, running inside a helper, needs of the counts.
    fn hand_over(&self, run: &mut Run<'_>) {
        run.budget_left = self.budget;
        run.loops_left = self.loops;
        run.depth = self.depth as usize;
    }

    /// What is left of the counts after it.
    fn take_back(&mut self, run: &Run<'_>) {
        self.budget = run.budget_left;
        self.loops = run.loops_left;
    }
}

/// A packet load. With `status::LEAVE` the function ends with 0.
extern "sysv64" fn load_packet(state: *mut State, r6: u64, offset: u64, size: u64) -> u64 {
    call_back(state, |state, run| {
        let loaded = run.load_packet(r6, low_32(offset).cast_signed(), unpack_size(size))?;
        if loaded.is_none() {
            state.status = status::LEAVE;
        }
        Ok(loaded.unwrap_or(0))
    })
}

/// An atomic operation, packed as in lowered code; returns the old value.
extern "sysv64" fn atomic(state: *mut State, address: u64, packed: u64, operand: u64) -> u64 {
    call_back(state, |state, run| {
        let (op, size) = unpack_atomic(packed);
        let old = run.atomic(op, size, address.cast_signed(), (operand, state.r0))?;
        Ok(old.map_or(0, |(_, old)| old))
    })
}

/// Runs a callback; a fault or a panic becomes a status, because nothing may unwind through compiled code.
fn call_back(
    state: *mut State,
    body: impl FnOnce(&mut State, &mut Run<'_>) -> Result<u64, FaultKind>,
) -> u64 {
    // SAFETY: compiled code passes on the pointer that `enter` gave it. `enter` waits for that code and does not touch its
    // state meanwhile, and compiled code is here, not there.
    let state = unsafe { &mut *state };
    // SAFETY: the pointer was made from the `&mut Run` that `enter` holds and does not use while compiled code runs. The
    // lifetime is that of the borrow, which is alive.
    let run = unsafe { &mut *state.run.cast::<Run<'_>>() };
    let outcome = catch_unwind(AssertUnwindSafe(|| body(state, run)));
    match outcome.unwrap_or(Err(FaultKind::Panicked)) {
        Ok(value) => value,
        Err(kind) => {
            state.fault = Some(kind);
            state.status = status::FAULT;
            0
        }
    }
}
