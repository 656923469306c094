//! A worker: the vm's CPU. It owns a stack, a packet area and a context area in the window, and runs one program at a time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use twinbpf_object::{Code, Diagnosis, Errno, Error, InsnIndex, Result};

use crate::context::{BYTES, ContextLayout};
use crate::execute::{caught, caught_outside, enter, execute, keep, switch, type_bytes};
use crate::fault::{Ended, Fault, FaultKind};
use crate::held::Held;
use crate::machine::Machine;
use crate::program::{Program, VmProgram};
use crate::provenance::Provenance;
use crate::run::{MAX_FRAMES, Packet, Returned, Run, STACK_BYTES, Standing};
use crate::shared::Shared;
use crate::timers::Due;
use crate::window::{Extent, Need, ProgramAccess, Runner};

/// Room for a context of the caller's own.
const CONTEXT_BYTES: u32 = 4096;
/// Room for a packet: the largest a socket can deliver on Linux without BIG TCP, and the headers before it.
pub(crate) const PACKET_BYTES: u32 = (72 << 10) + (4 << 10);
/// Most runs that are announced as one.
const MOST_IN_A_ROW: u32 = 256;
/// Free bytes before the packet, for programs that grow it.
pub(crate) const HEADROOM_BYTES: u32 = 256;

/// The vm's CPU. Runs programs one at a time; several workers run side by side.
///
/// `Send` but not usable from two threads at once: running takes `&mut self`.
#[derive(Debug)]
pub struct Worker {
    vm: Arc<Shared>,
    slot: u32,
    runner: Arc<Runner>,
    /// Its address is in `standing`.
    _stack: Extent,
    pub(crate) packet: Extent,
    pub(crate) context: Extent,
    pub(crate) standing: Standing,
}

/// How a run ended that ended well.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    /// What is in `r0`.
    pub(crate) value: u64,
    /// The packet as the program left it.
    pub(crate) packet: Option<Packet>,
}

/// Ends a worker's run from another thread.
#[derive(Debug, Clone)]
pub struct AbortHandle(Arc<AtomicBool>);

impl AbortHandle {
    /// Makes the present run, or the next one, end with [`FaultKind::Aborted`] at its next back edge or call.
    pub fn abort(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Worker {
    pub(crate) fn new(vm: &Arc<Shared>) -> Result<Self> {
        let vm = Arc::clone(vm);
        let slot = vm.take_slot().ok_or_else(|| no_slot(&vm))?;
        let allocate = |bytes: u32| {
            vm.window
                .allocate(u64::from(bytes), ProgramAccess::ReadWrite)
        };
        let areas = allocate(stack_bytes()).and_then(|stack| {
            Ok((
                stack,
                allocate(HEADROOM_BYTES + PACKET_BYTES)?,
                allocate(CONTEXT_BYTES)?,
            ))
        });
        let (stack, packet, context) = areas.map_err(|errno| {
            vm.free_slot(slot);
            no_room(errno)
        })?;
        let runner = vm.window.runner();
        let standing = Standing {
            machine: Machine::new(&vm.window, slot, vm.config.budget_insns),
            enter,
            keep,
            type_bytes,
            switch,
            executor: vm.config.executor,
            slot,
            random: vm.random_start(slot),
            stack: stack.start(),
            context: context.start(),
            data_fields: None,
            abort: Arc::default(),
            budget: vm.config.budget_insns,
            has_tunnel: false,
            held: Held::default(),
            tracked: None,
            ended_in: None,
            present_timer: None,
            fault: None,
        };
        Ok(Self {
            vm,
            slot,
            runner,
            _stack: stack,
            packet,
            context,
            standing,
        })
    }

    /// The CPU number that programs see.
    pub fn slot(&self) -> u32 {
        self.slot
    }

    /// A handle that ends this worker's run from another thread.
    pub fn abort_handle(&self) -> AbortHandle {
        AbortHandle(Arc::clone(&self.standing.abort))
    }

    /// Runs a program on a context of plain bytes, which the program may change; the changes come back.
    ///
    /// # Errors
    ///
    /// If the context is longer than 4,096 bytes, or the run ends abnormally.
    pub fn run(&mut self, program: &VmProgram, context: &mut [u8]) -> Result<u64> {
        if context.is_empty() {
            return self.run_laid_out(program, 0);
        }
        self.lay_out(context)?;
        let result = self.run_laid_out(program, context.len())?;
        self.context
            .host()
            .copy_out(0, context)
            .ok_or_else(|| too_long(context.len()))?;
        Ok(result)
    }

    /// Writes plain bytes to where programs find their context, for [`Worker::run_laid_out`].
    ///
    /// # Errors
    ///
    /// If they are more than 4,096.
    pub fn lay_out(&mut self, context: &[u8]) -> Result<()> {
        let area = self.context.host();
        area.copy_in(0, context)
            .filter(|()| context.len() <= area.len())
            .ok_or_else(|| too_long(context.len()))
    }

    /// Runs a program on the `len` bytes of context that are laid out, as the last run left them; nothing is copied.
    ///
    /// # Errors
    ///
    /// If the context is longer than 4,096 bytes, or the run ends abnormally.
    pub fn run_laid_out(&mut self, program: &VmProgram, len: usize) -> Result<u64> {
        let context_len = u32::try_from(len).unwrap_or(u32::MAX);
        if context_len > CONTEXT_BYTES {
            return Err(too_long(len));
        }
        let what = (&BYTES, context_len);
        match self.execute_times(program, what, &mut None, 1) {
            Ok((value, _)) => Ok(value),
            Err(fault) => Err(Error::from(*fault)),
        }
    }

    /// Runs a program whose context and packet a hook has laid out.
    #[inline]
    pub(crate) fn execute(
        &mut self,
        program: &VmProgram,
        context: (&'static ContextLayout, u32),
        mut packet: Option<Packet>,
    ) -> std::result::Result<Outcome, Fault> {
        match self.execute_times(program, context, &mut packet, 1) {
            Ok((value, _)) => Ok(Outcome { value, packet }),
            Err(fault) => Err(*fault),
        }
    }

    /// Runs a program some times in a row, each time on what the time before left, and at least once. It stops early where timers have to
    /// run; the answer is the last outcome and how many runs there were.
    pub(crate) fn repeat(
        &mut self,
        program: &VmProgram,
        context: (&'static ContextLayout, u32),
        mut packet: Option<Packet>,
        times: u32,
    ) -> std::result::Result<(Outcome, u32), Fault> {
        // Memory that others give up waits until we are back.
        match self.execute_times(program, context, &mut packet, times.min(MOST_IN_A_ROW)) {
            Ok((value, done)) => Ok((Outcome { value, packet }, done)),
            Err(fault) => Err(*fault),
        }
    }

    /// The value and how many runs there were; the packet is then as the program left it.
    ///
    /// What is boxed is rare, and would be moved from place to place at every run.
    #[inline(always)]
    fn execute_times(
        &mut self,
        program: &VmProgram,
        (layout, context_len): (&'static ContextLayout, u32),
        packet: &mut Option<Packet>,
        times: u32,
    ) -> std::result::Result<(u64, u32), Box<Fault>> {
        let program: &Program = &program.0;
        // INVARIANT: only programs of this vm run on its workers. What their maps give up is buried in the vm's window, where
        // this run is announced.
        if !program.is_of(&self.vm.handles) {
            let kind = FaultKind::Unsupported("a program of another vm");
            return Err(Box::new(self.fault(program, (0, kind))));
        }
        self.vm.window.enter(&self.runner);
        let mut run = Run {
            standing: &mut self.standing,
            window: &self.vm.window,
            common: &self.vm.common,
            image: &program.image,
            target: None,
            program,
            layout,
            packet: *packet,
        };
        let mut done = 0;
        let result = loop {
            run.standing.start();
            let result = match program.compiled() {
                // What it calls back catches panics itself.
                Some(compiled) => {
                    let context = u64::from(run.context);
                    match compiled.run_first(&mut run, context) {
                        Err(ended) => catch(&mut run, program, ended),
                        value => value,
                    }
                }
                None => interpret(&mut run, program, (context_len, layout.name)),
            };
            // Before the run is announced as over: the lock lies in memory that may go away then.
            run.standing.end();
            done += 1;
            if done >= times || result.is_err() || run.common.timers.first_due_ns().is_some() {
                break result;
            }
            run.come_back(program);
        };
        *packet = run.packet;
        self.runner.leave();
        if self.vm.common.timers.first_due_ns().is_some() {
            self.run_due_timers();
        }
        match result {
            Ok(value) => Ok((value, done)),
            Err(ended) => Err(Box::new(self.fault_in(program, *ended))),
        }
    }

    /// Runs the callbacks of timers that are due; how many there were.
    #[cold]
    pub(crate) fn run_due_timers(&mut self) -> usize {
        let due = self
            .vm
            .common
            .timers
            .take_due(self.vm.common.surroundings.now_ns());
        for each in &due {
            match self.run_timer(each) {
                Some(Ok(_)) => {}
                Some(Err(fault)) => self.vm.common.timers.keep_fault(fault.into()),
                None => self.vm.common.timers.forget(each),
            }
        }
        due.len()
    }

    /// Runs the callback of a timer; `None` if its element is gone.
    fn run_timer(&mut self, due: &Due) -> Option<std::result::Result<u64, Fault>> {
        let program: &Program = due.callback.program.downcast_ref()?;
        self.vm.window.enter(&self.runner);
        self.standing.start();
        self.standing.present_timer = Some(due.address);
        let mut run = Run {
            standing: &mut self.standing,
            window: &self.vm.window,
            common: &self.vm.common,
            image: &program.image,
            target: None,
            program,
            layout: &BYTES,
            packet: None,
        };
        let arguments = timer_arguments(&run, due);
        let start = due.callback.start;
        let result = arguments.map(|arguments| {
            let ended = catch_unwind(AssertUnwindSafe(|| {
                execute(&mut run, program, start, arguments)
            }));
            ended.unwrap_or(Err((start, FaultKind::Panicked)))
        });
        self.standing.end();
        self.standing.tracked = None;
        self.standing.present_timer = None;
        self.runner.leave();
        Some(match result? {
            Ok(returned) => Ok(returned.value),
            Err(ended) => Err(self.fault_in(program, ended)),
        })
    }

    #[cold]
    fn fault_in(&mut self, program: &Program, (at, kind): Ended) -> Fault {
        let ended_in = self.standing.ended_in.take();
        let (at, inner) = match &ended_in {
            Some(inner) => (inner.at, inner.program.as_ref()),
            None => (at, None),
        };
        let inner = inner.and_then(|inner| inner.downcast_ref());
        self.fault(inner.unwrap_or(program), (at, kind))
    }

    #[cold]
    fn fault(&self, program: &Program, (at, kind): Ended) -> Fault {
        if kind == FaultKind::Aborted {
            self.standing.abort.store(false, Ordering::Relaxed);
        }
        let insn = u32::try_from(at).unwrap_or(u32::MAX);
        let index = InsnIndex(insn);
        let kind = match program.unavailable(index) {
            Some(missing) if matches!(kind, FaultKind::Unavailable { .. }) => {
                FaultKind::Unavailable {
                    code: missing.code,
                    reason: missing.reason.clone(),
                }
            }
            _ => kind,
        };
        Fault {
            kind,
            program: program.name.clone(),
            insn,
            text: program.text(at),
            source: program.source(index).map(Box::new),
        }
    }
}

/// What a compiled program answers that ended abnormally: if it threw an exception, its handler does.
#[cold]
fn catch(
    run: &mut Run<'_>,
    program: &Program,
    ended: Box<Ended>,
) -> std::result::Result<u64, Box<Ended>> {
    let FaultKind::Thrown { cookie } = ended.1 else {
        return Err(ended);
    };
    run.set_depth(0);
    let caught = catch_unwind(AssertUnwindSafe(|| caught_outside(run, program, cookie)));
    let caught = caught.unwrap_or(Err((0, FaultKind::Panicked)));
    caught.map(|returned| returned.value).map_err(Box::new)
}

/// Runs a program on one of the interpreters.
#[inline(never)]
fn interpret(
    run: &mut Run<'_>,
    program: &Program,
    (context_len, context_name): (u32, &'static str),
) -> std::result::Result<u64, Box<Ended>> {
    let mut arguments = [Returned::NOTHING; 5];
    arguments[0] = Returned::object(run.context, context_len, context_name);
    // A helper that panics must not take the host down. What it did up to then stays, which is what a fault does too.
    let ended = catch_unwind(AssertUnwindSafe(|| {
        let ended = execute(run, program, 0, arguments);
        run.set_depth(0);
        caught(run, program, ended)
    }));
    run.tracked = None;
    let ended = ended.unwrap_or(Err((0, FaultKind::Panicked)));
    ended.map(|returned| returned.value).map_err(Box::new)
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.vm.window.retire(&self.runner);
        self.vm.free_slot(self.slot);
    }
}

/// What the callback of a timer gets: the map, a copy of the key, the value. `None` if the element is gone.
fn timer_arguments(run: &Run<'_>, due: &Due) -> Option<[Returned; 5]> {
    let number = run.window.range(u64::from(due.address), 8, Need::Read)?;
    if due.map.is_released() || number.load_u64(0) != Some(due.number) {
        return None;
    }
    let (key, value) = due.map.element_at(due.address)?;
    let map = Returned {
        value: u64::from(due.map.handle()),
        provenance: Provenance::Handle,
    };
    let value = Returned {
        value: u64::from(value),
        provenance: run.provenance_of_value(&due.map, value),
    };
    let key = run.lend_key(&key).ok()?;
    Some([map, key, value, Returned::NOTHING, Returned::NOTHING])
}

fn stack_bytes() -> u32 {
    // The second half is what helpers lend to callbacks.
    2 * u32::try_from(MAX_FRAMES).unwrap_or(8) * STACK_BYTES
}

fn no_slot(vm: &Shared) -> Error {
    let message = format!(
        "all {} CPU slots of the vm have a worker",
        vm.config.cpu_slots
    );
    Diagnosis::new(Code::VM_NO_MEMORY, message)
        .help("drop a worker, or configure more cpu_slots")
        .into()
}

fn no_room(errno: Errno) -> Error {
    Diagnosis::new(
        Code::VM_NO_MEMORY,
        "the window has no room for a worker's stack and packet",
    )
    .errno(errno)
    .into()
}

fn too_long(len: usize) -> Error {
    Diagnosis::new(
        Code::USAGE,
        format!("a context has at most {CONTEXT_BYTES} bytes, this one has {len}"),
    )
    .into()
}
