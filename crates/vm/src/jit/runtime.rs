//! The way into compiled code, and the functions it calls back.

#![expect(unsafe_code, reason = "enters machine code and is called back from it")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use twinbpf_object::Errno;

use crate::code::unpack_size;
use crate::config::Guard;
use crate::fault::{Ended, FaultKind};
use crate::helpers;
use crate::machine::{Machine, status};
use crate::maps::{LiveMap, Successor};
use crate::run::{Arguments, EndedIn, NO_TAIL_CALL, Returned, Run, access_fault};
use crate::semantics::low_32;
use crate::window::Need;

use super::buffer::CodeBuffer;
use super::emit::EmittedCode;
use super::trap::{self, Registration};

/// Machine code that takes its state, the frame pointer, and the context or the address of a function; it returns `r0`.
type Entry = extern "sysv64" fn(*mut Machine, u64, u64) -> u64;

/// Code of the emitter in executable memory.
///
/// INVARIANT: the buffer holds what [`emit`](super::emit::emit) returned, whole, and if that code relies on page faults, it is
/// registered with the fault handler.
#[derive(Debug)]
pub(super) struct CompiledCode {
    // Before the buffer, so that the handler forgets the code first.
    _registration: Option<Registration>,
    _buffer: CodeBuffer,
    /// Where in it to begin.
    entry: NonNull<u8>,
    /// The way in for functions.
    function_entry: NonNull<u8>,
    /// The first slot of every function but the main one, ascending, and where its code is.
    functions: Box<[(usize, NonNull<u8>)]>,
}

// SAFETY: its pointers point into the buffer, which may be shared and sent.
unsafe impl Send for CompiledCode {}
// SAFETY: as for `Send`.
unsafe impl Sync for CompiledCode {}

impl CompiledCode {
    /// Takes the emitter's code.
    pub(super) fn new(code: EmittedCode, guard: Guard) -> Result<Self, Errno> {
        let buffer = CodeBuffer::new(code.bytes())?;
        let len = code.bytes().len();
        let entry = buffer.at(code.entry()).ok_or(Errno::EFAULT)?;
        let function_entry = buffer.at(code.function_entry()).ok_or(Errno::EFAULT)?;
        let place = |(start, offset): &(usize, usize)| Some((*start, buffer.at(*offset)?));
        let functions = code.functions().iter().map(place);
        let functions = functions.collect::<Option<_>>().ok_or(Errno::EFAULT)?;
        let registration = match guard {
            Guard::Pages => Some(trap::register(buffer.start(), len, code.into_sites())?),
            Guard::Compare => None,
        };
        Ok(Self {
            _registration: registration,
            _buffer: buffer,
            entry,
            function_entry,
            functions,
        })
    }

    /// Where to begin, for tail calls of other code.
    pub(super) fn entry(&self) -> *mut u8 {
        self.entry.as_ptr()
    }

    /// Runs the code; nothing further out does for this worker.
    #[inline(always)]
    pub(super) fn enter_first(&self, run: &mut Run<'_>, context: u64) -> Result<u64, Box<Ended>> {
        let frame = run.stack_top(0);
        *run.machine.run.get_mut() = std::ptr::from_mut(run).cast();
        *run.machine.target.get_mut() = target_of(run);
        let result = go(self.entry, run, frame, context);
        if run.machine.status == status::RUNNING {
            return Ok(result);
        }
        run.machine.depth = 0;
        let target = *run.machine.target.get_mut();
        Err(ended(run, target))
    }

    /// Runs the code inside of a run.
    pub(super) fn enter(&self, run: &mut Run<'_>, context: u64) -> Result<u64, Box<Ended>> {
        enter(self.entry, run, context)
    }

    /// Runs the function that starts at this slot, if it is one; the main function is none.
    pub(super) fn enter_function(
        &self,
        run: &mut Run<'_>,
        start: usize,
        arguments: [u64; 5],
    ) -> Option<Result<u64, Box<Ended>>> {
        let found = self.functions.binary_search_by_key(&start, |(at, _)| *at);
        let (_, function) = self.functions.get(found.ok()?)?;
        run.machine.arguments = arguments;
        // The host's addresses have 64 bits where there is a compiler.
        let function = u64::try_from(function.addr().get()).ok()?;
        Some(enter(self.function_entry, run, function))
    }
}

/// Runs code of the emitter inside of a run; only [`CompiledCode`] calls it, with the entry of such code.
fn enter(entry: NonNull<u8>, run: &mut Run<'_>, context: u64) -> Result<u64, Box<Ended>> {
    let (frame, depth) = (run.stack_top(run.depth()), run.machine.depth);
    let address = std::ptr::from_mut(run).cast();
    // What is further out may be compiled code that called back.
    let saved_rsp = run.machine.saved_rsp;
    let outer = std::mem::replace(run.machine.run.get_mut(), address);
    let target = target_of(run);
    let outer_target = std::mem::replace(run.machine.target.get_mut(), target);
    let result = go(entry, run, frame, context);
    run.machine.saved_rsp = saved_rsp;
    *run.machine.run.get_mut() = outer;
    let target = std::mem::replace(run.machine.target.get_mut(), outer_target);
    if run.machine.status == status::RUNNING {
        return Ok(result);
    }
    run.machine.depth = depth;
    Err(ended(run, target))
}

/// How compiled code came to the present program.
#[inline(always)]
fn target_of(run: &Run<'_>) -> *mut Successor {
    let target = run.target.map_or(std::ptr::null(), std::ptr::from_ref);
    target.cast_mut()
}

/// Goes to machine code.
#[inline(always)]
fn go(entry: NonNull<u8>, run: &mut Run<'_>, frame: u64, context: u64) -> u64 {
    // SAFETY: `entry` is where what the emitter wrote begins (invariant of `CompiledCode`), whose prologue follows this
    // signature, in memory that lives as long as the `CompiledCode` that the caller borrows.
    let entry = unsafe { std::mem::transmute::<NonNull<u8>, Entry>(entry) };
    entry(&raw mut run.machine, frame, context)
}

/// How compiled code ended abnormally.
#[cold]
fn ended(run: &mut Run<'_>, target: *mut Successor) -> Box<Ended> {
    let ended = (run.machine.fault_insn as usize, fault_kind(run));
    name_program(run, target, ended.0);
    Box::new(ended)
}

/// Notes in which program compiled code ended abnormally, if it went over to another one.
#[cold]
fn name_program(run: &mut Run<'_>, target: *mut Successor, at: usize) {
    // SAFETY: null, or what compiled code took from a prog array during this run, which therefore lives until the run is over
    // (invariant of `Holder`).
    if let Some(target) = unsafe { target.as_ref() } {
        let ended_in = run.ended_in.get_or_insert(EndedIn { program: None, at });
        let name = || Arc::clone(&target.program);
        ended_in.program.get_or_insert_with(name);
    }
}

/// What ended a run of compiled code. From here on it stands as before.
#[cold]
fn fault_kind(run: &mut Run<'_>) -> FaultKind {
    let machine = &mut run.machine;
    let size = unpack_size(u64::from(machine.fault_size));
    let address = machine.fault_address.cast_signed();
    match std::mem::replace(&mut machine.status, status::RUNNING) {
        status::DEPTH => FaultKind::CallDepth,
        status::READ => access_fault(address, size, false),
        status::WRITE => access_fault(address, size, true),
        status::MISALIGNED => FaultKind::Misaligned {
            address: machine.fault_address,
            size: machine.fault_size,
        },
        _ => run.fault.take().unwrap_or(FaultKind::Panicked),
    }
}

/// What compiled code can call.
#[derive(Debug, Clone, Copy)]
pub(super) enum Callback {
    Helper(Called),
    Kfunc,
    Lookup,
    Update,
    Delete,
    Reserve,
    LoadPacket,
    TailCall,
    Refill,
}

impl Callback {
    /// The helper with this number, if there is one.
    pub(super) fn helper(number: i32) -> Option<Self> {
        let position = helpers::position(number)?;
        HELPERS.get(position).copied().map(Self::Helper)
    }

    /// The address to call.
    pub(super) fn address(self) -> u64 {
        let address = match self {
            Self::Helper(called) => called as *const () as usize,
            Self::Kfunc => call_kfunc as *const () as usize,
            Self::Lookup => look_up as *const () as usize,
            Self::Update => update as *const () as usize,
            Self::Delete => delete as *const () as usize,
            Self::Reserve => reserve as *const () as usize,
            Self::LoadPacket => load_packet as *const () as usize,
            Self::TailCall => tail_call as *const () as usize,
            Self::Refill => refill as *const () as usize,
        };
        address as u64
    }
}

/// What compiled code calls: five registers, and the state.
pub(super) type Called = extern "sysv64" fn(u64, u64, u64, u64, u64, *mut Machine) -> u64;

/// A function for each row of the table of helpers, so that short helpers become part of theirs and the others are called by name.
static HELPERS: [Called; 256] = {
    macro_rules! sixteen {
        ($($tens:literal)*) => { [$(one!($tens 0), one!($tens 1), one!($tens 2), one!($tens 3), one!($tens 4), one!($tens 5),
            one!($tens 6), one!($tens 7), one!($tens 8), one!($tens 9), one!($tens 10), one!($tens 11), one!($tens 12),
            one!($tens 13), one!($tens 14), one!($tens 15)),*] };
    }
    macro_rules! one {
        ($tens:literal $ones:literal) => {
            call_helper::<{ 16 * $tens + $ones }>
        };
    }
    const {
        assert!(
            helpers::TABLE.len() <= 256,
            "every helper has its function here"
        )
    };
    sixteen!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
};

/// Calls the helper at this position of the table.
extern "sysv64" fn call_helper<const POSITION: usize>(
    r1: u64,
    r2: u64,
    r3: u64,
    r4: u64,
    r5: u64,
    machine: *mut Machine,
) -> u64 {
    call_back(machine, |run| {
        let arguments = Arguments {
            values: [r1, r2, r3, r4, r5],
            provenance: None,
        };
        let row = const {
            if POSITION < helpers::TABLE.len() {
                Some(&helpers::TABLE[POSITION])
            } else {
                None
            }
        };
        let row = row.ok_or(FaultKind::Unsupported("this helper"))?;
        (row.call)(run, &arguments).map(|returned| returned.value)
    })
}

/// Calls the function whose position in the program's list the state names.
extern "sysv64" fn call_kfunc(
    r1: u64,
    r2: u64,
    r3: u64,
    r4: u64,
    r5: u64,
    machine: *mut Machine,
) -> u64 {
    call_back(machine, |run| {
        let arguments = Arguments {
            values: [r1, r2, r3, r4, r5],
            provenance: None,
        };
        let position = run.machine.kfunc as usize;
        let returned = run.call_kfunc(position, &arguments);
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
    machine: *mut Machine,
) -> u64 {
    call_back(machine, |run| {
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
    machine: *mut Machine,
) -> u64 {
    call_back(machine, |run| {
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
    machine: *mut Machine,
) -> u64 {
    call_back(machine, |run| {
        let map = map_at(run, position)?;
        let key = run.memory_at(key, map.key_size(), Need::Read)?;
        Ok(Returned::status(map.delete_from_window(key)).value)
    })
}

/// `bpf_ringbuf_reserve` on the program's ring buffer at `position`.
extern "sysv64" fn reserve(
    position: u64,
    size: u64,
    flags: u64,
    _: u64,
    _: u64,
    machine: *mut Machine,
) -> u64 {
    call_back(machine, |run| {
        let map = map_at(run, position)?;
        match flags {
            0 => helpers::reserve_in(run, map, size),
            _ => Ok(0),
        }
    })
}

fn map_at<'w>(run: &Run<'w>, position: u64) -> Result<&'w LiveMap, FaultKind> {
    let position = usize::try_from(position).unwrap_or(usize::MAX);
    run.image
        .maps
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
    machine: *mut Machine,
) -> u64 {
    call_back(machine, |run| {
        let loaded = run.load_packet(r6, low_32(offset).cast_signed(), unpack_size(size))?;
        if loaded.is_none() {
            run.machine.status = status::LEAVE;
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
    machine: *mut Machine,
) -> u64 {
    call_back(machine, |run| {
        let arguments = Arguments {
            values: [r1, r2, r3, r4, r5],
            provenance: None,
        };
        Ok(match run.tail_call(&arguments)? {
            Some(returned) => {
                run.machine.status = status::LEAVE;
                returned.value
            }
            None => NO_TAIL_CALL,
        })
    })
}

/// Pays for instructions that the slice was too small for.
extern "sysv64" fn refill(
    insns: u64,
    _: u64,
    _: u64,
    _: u64,
    _: u64,
    machine: *mut Machine,
) -> u64 {
    call_back(machine, |run| {
        run.charge(usize::try_from(insns).unwrap_or(usize::MAX))?;
        Ok(0)
    })
}

/// Runs a callback; a fault or a panic becomes a status, because nothing may unwind through compiled code.
#[inline(always)]
fn call_back(
    machine: *mut Machine,
    body: impl FnOnce(&mut Run<'_>) -> Result<u64, FaultKind>,
) -> u64 {
    // SAFETY: compiled code passes on the pointer that `enter` gave it, to the state in the run that it noted there. Nothing
    // else uses that state while compiled code runs, and that is here, not there.
    let state = unsafe { &*machine };
    let run = state.run.load(Ordering::Relaxed);
    // Read here rather than through the run, which would have to be read first.
    let target = state.target.load(Ordering::Relaxed);
    // SAFETY: `enter` made it of the `&mut Run` that it holds and does not use while compiled code runs. The lifetime is that
    // of the borrow, which is alive.
    let run = unsafe { &mut *run.cast::<Run<'_>>() };
    if target.cast_const() != run.target.map_or(std::ptr::null(), std::ptr::from_ref) {
        follow(run, target);
    }
    let outcome = catch_unwind(AssertUnwindSafe(|| body(run)));
    match outcome {
        Ok(Ok(value)) => value,
        Ok(Err(kind)) => end(run, kind),
        Err(_) => end(run, FaultKind::Panicked),
    }
}

/// Makes the program that compiled code went over to the present one.
#[cold]
fn follow(run: &mut Run<'_>, target: *mut Successor) {
    // SAFETY: null, or what compiled code took from a prog array during this run. The map belongs to the vm in which the program
    // runs, so what it gives up lives until the run is over (invariants of `Holder` and of `Worker::execute`), as do the run's
    // other borrows.
    let target = unsafe { target.as_ref() };
    if let Some(target) = target {
        (run.switch)(run, &*target.program);
    }
    run.target = target;
}

#[cold]
fn end(run: &mut Run<'_>, kind: FaultKind) -> u64 {
    run.fault = Some(kind);
    run.machine.status = status::FAULT;
    0
}
