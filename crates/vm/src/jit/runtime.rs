//! What compiled code shares with the host while it runs, and the functions it calls back.

#![expect(unsafe_code, reason = "enters machine code and is called back from it")]

use std::mem::offset_of;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

use twinbpf_object::Errno;

use crate::code::unpack_size;
use crate::config::Guard;
use crate::fault::{Ended, FaultKind};
use crate::helpers;
use crate::maps::LiveMap;
use crate::run::{Arguments, NO_TAIL_CALL, Returned, Run, access_fault};
use crate::semantics::low_32;
use crate::window::Need;

use super::buffer::CodeBuffer;
use super::emit::EmittedCode;
use super::trap::{self, Registration};

/// Instructions of the budget that code counts down on its own. Then it looks at the abort flag: some tens of microseconds.
const SLICE_INSNS: u64 = 1 << 16;

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
    pub(crate) const DEPTH: u32 = 6;
}

/// The state that compiled code reaches through a register. The order of fields is its business alone: the emitter takes
/// offsets from here.
#[repr(C)]
pub(super) struct State {
    window: *mut u8,
    permissions: *const u8,
    stack_top: u64,
    context: u64,
    /// What code may still count down on its own; in a register while code runs.
    slice: u64,
    loops: u64,
    saved_rsp: u64,
    r0: u64,
    arguments: [u64; 5],
    fault_address: u64,
    fault_insn: u32,
    fault_size: u32,
    status: u32,
    depth: u32,
    /// Position of the helper to call.
    helper: u32,
    // From here on only the host looks.
    /// The budget beyond the slice.
    rest: u64,
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
    WINDOW: window, PERMISSIONS: permissions, STACK_TOP: stack_top, CONTEXT: context, SLICE: slice, LOOPS: loops,
    SAVED_RSP: saved_rsp, R0: r0, ARGUMENTS: arguments, FAULT_ADDRESS: fault_address, FAULT_INSN: fault_insn,
    FAULT_SIZE: fault_size, STATUS: status, DEPTH: depth, HELPER: helper,
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
/// INVARIANT: the buffer holds what [`emit`](super::emit::emit) returned, whole, and if that code relies on page faults, it is
/// registered with the fault handler.
#[derive(Debug)]
pub(super) struct CompiledCode {
    // Before the buffer, so that the handler forgets the code first.
    _registration: Option<Registration>,
    buffer: CodeBuffer,
}

impl CompiledCode {
    /// Takes the emitter's code.
    pub(super) fn new(code: EmittedCode, guard: Guard) -> Result<Self, Errno> {
        let buffer = CodeBuffer::new(code.bytes())?;
        let len = code.bytes().len();
        let registration = match guard {
            Guard::Pages => Some(trap::register(buffer.start(), len, code.into_sites())?),
            Guard::Compare => None,
        };
        Ok(Self {
            _registration: registration,
            buffer,
        })
    }

    /// Runs the code.
    pub(super) fn enter(&self, run: &mut Run<'_>, context: u64) -> Result<u64, Ended> {
        enter(self.buffer.start(), run, context)
    }
}

/// Runs code of the emitter; only [`CompiledCode`] calls it, with the start of such code.
fn enter(entry: NonNull<u8>, run: &mut Run<'_>, context: u64) -> Result<u64, Ended> {
    let (window, permissions) = run.window.addresses();
    let slice = run.budget_left.min(SLICE_INSNS);
    let mut state = State {
        window,
        permissions,
        stack_top: run.stack_top(run.depth),
        context,
        slice,
        rest: run.budget_left - slice,
        loops: run.loops_left,
        saved_rsp: 0,
        r0: 0,
        arguments: [0; 5],
        fault_address: 0,
        fault_insn: 0,
        fault_size: 0,
        status: status::RUNNING,
        depth: u32::try_from(run.depth).unwrap_or(u32::MAX),
        helper: 0,
        run: std::ptr::from_mut(run).cast(),
        fault: None,
    };
    // SAFETY: `entry` is the start of what the emitter wrote (invariant of `CompiledCode`), whose prologue follows this
    // signature, in memory that lives as long as the `CompiledCode` that `enter` borrows.
    let entry = unsafe { std::mem::transmute::<NonNull<u8>, Entry>(entry) };
    let result = entry(&raw mut state);
    state.hand_over(run);
    if state.status == status::RUNNING {
        return Ok(result);
    }
    Err((state.fault_insn as usize, state.fault_kind()))
}

impl State {
    #[cold]
    fn fault_kind(&mut self) -> FaultKind {
        let size = unpack_size(u64::from(self.fault_size));
        let address = self.fault_address.cast_signed();
        match self.status {
            status::DEPTH => FaultKind::CallDepth,
            status::READ => access_fault(address, size, false),
            status::WRITE => access_fault(address, size, true),
            status::MISALIGNED => FaultKind::Misaligned {
                address: self.fault_address,
                size: self.fault_size,
            },
            _ => self.fault.take().unwrap_or(FaultKind::Panicked),
        }
    }

    /// Makes the run know what is left of the counts.
    fn hand_over(&self, run: &mut Run<'_>) {
        run.budget_left = self.rest.saturating_add(self.slice);
        run.loops_left = self.loops;
        run.depth = self.depth as usize;
    }

    /// Takes a new slice of what is left of the run's counts.
    fn take_back(&mut self, run: &Run<'_>) {
        self.slice = run.budget_left.min(SLICE_INSNS);
        self.rest = run.budget_left - self.slice;
        self.loops = run.loops_left;
    }
}

/// What compiled code can call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Callback {
    Helper,
    Lookup,
    Update,
    Delete,
    LoadPacket,
    TailCall,
    Refill,
}

impl Callback {
    /// The address to call.
    pub(super) fn address(self) -> u64 {
        let address = match self {
            Self::Helper => call_helper as *const () as usize,
            Self::Lookup => look_up as *const () as usize,
            Self::Update => update as *const () as usize,
            Self::Delete => delete as *const () as usize,
            Self::LoadPacket => load_packet as *const () as usize,
            Self::TailCall => tail_call as *const () as usize,
            Self::Refill => refill as *const () as usize,
        };
        address as u64
    }
}

/// Calls the helper that the state names, by its position in the table.
extern "sysv64" fn call_helper(
    r1: u64,
    r2: u64,
    r3: u64,
    r4: u64,
    r5: u64,
    state: *mut State,
) -> u64 {
    call_back(state, |state, run| {
        let arguments = Arguments {
            values: [r1, r2, r3, r4, r5],
            provenance: None,
        };
        let row = helpers::TABLE.get(state.helper as usize);
        let row = row.ok_or(FaultKind::Unsupported("this helper"))?;
        state.hand_over(run);
        let returned = (row.call)(run, &arguments);
        state.take_back(run);
        returned.map(|returned| returned.value)
    })
}

/// `bpf_map_lookup_elem` on the program's map at `position`.
extern "sysv64" fn look_up(
    position: u64,
    key: u64,
    _: u64,
    _: u64,
    _: u64,
    state: *mut State,
) -> u64 {
    call_back(state, |_, run| {
        let map = map_at(run, position)?;
        let key = run.memory_at(key, map.key_size(), Need::Read)?;
        Ok(map.lookup_address(key, run.slot).map_or(0, u64::from))
    })
}

/// `bpf_map_update_elem` on the program's map at `position`.
extern "sysv64" fn update(
    position: u64,
    key: u64,
    value: u64,
    flags: u64,
    _: u64,
    state: *mut State,
) -> u64 {
    call_back(state, |_, run| {
        let map = map_at(run, position)?;
        let key = run.memory_at(key, map.key_size(), Need::Read)?;
        let value = run.memory_at(value, map.value_size(), Need::Read)?;
        let updated = helpers::update_map(map, (key, value), flags, run.slot);
        Ok(Returned::status(updated).value)
    })
}

/// `bpf_map_delete_elem` on the program's map at `position`.
extern "sysv64" fn delete(
    position: u64,
    key: u64,
    _: u64,
    _: u64,
    _: u64,
    state: *mut State,
) -> u64 {
    call_back(state, |_, run| {
        let map = map_at(run, position)?;
        let key = run.memory_at(key, map.key_size(), Need::Read)?;
        Ok(Returned::status(map.delete_from_window(key)).value)
    })
}

fn map_at<'w>(run: &Run<'w>, position: u64) -> Result<&'w LiveMap, FaultKind> {
    let position = usize::try_from(position).unwrap_or(usize::MAX);
    run.maps
        .get(position)
        .ok_or(FaultKind::NotAMap { value: 0 })
}

/// A packet load. With `status::LEAVE` the function ends with 0.
extern "sysv64" fn load_packet(
    r6: u64,
    offset: u64,
    size: u64,
    _: u64,
    _: u64,
    state: *mut State,
) -> u64 {
    call_back(state, |state, run| {
        let loaded = run.load_packet(r6, low_32(offset).cast_signed(), unpack_size(size))?;
        if loaded.is_none() {
            state.status = status::LEAVE;
        }
        Ok(loaded.unwrap_or(0))
    })
}

/// A tail call. With `status::LEAVE` the function ends with the answer.
extern "sysv64" fn tail_call(
    r1: u64,
    r2: u64,
    r3: u64,
    r4: u64,
    r5: u64,
    state: *mut State,
) -> u64 {
    call_back(state, |state, run| {
        let arguments = Arguments {
            values: [r1, r2, r3, r4, r5],
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

/// Pays for instructions that the slice was too small for.
extern "sysv64" fn refill(insns: u64, _: u64, _: u64, _: u64, _: u64, state: *mut State) -> u64 {
    call_back(state, |state, run| {
        state.hand_over(run);
        let insns = usize::try_from(insns).unwrap_or(usize::MAX);
        run.charge(insns)?;
        state.take_back(run);
        Ok(0)
    })
}

/// Runs a callback; a fault or a panic becomes a status, because nothing may unwind through compiled code.
#[inline(always)]
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
    match outcome {
        Ok(Ok(value)) => value,
        Ok(Err(kind)) => state.end(kind),
        Err(_) => state.end(FaultKind::Panicked),
    }
}

impl State {
    #[cold]
    fn end(&mut self, kind: FaultKind) -> u64 {
        self.fault = Some(kind);
        self.status = status::FAULT;
        0
    }
}
