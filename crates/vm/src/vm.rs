//! The vm: one trust domain with its window, maps and programs.

use std::sync::{Arc, Mutex, OnceLock};

use twinbpf_object::link::{LinkedProgram, Target};
use twinbpf_object::map_rules::{self, MapRefusal};
use twinbpf_object::spec::{InnerMap, Needs};
use twinbpf_object::target::{Offers, Prototype};
use twinbpf_object::{Code, Diagnosis, Errno, Error, ErrorKind, MapKind, MapSpec, Result};

use crate::common::Common;
use crate::config::{Executor, VmConfig};
use crate::kfuncs::{self, HostCall, HostClosure, HostFault, HostFunction, HostFunctions};
use crate::maps::{Element, Successor, Surroundings as MapSurroundings, VmMap};
use crate::objects::Objects;
use crate::presence::{Presence, presence};
use crate::program::{Program, VmProgram};
use crate::shared::Shared;
use crate::surroundings::{Surroundings, host_modules, host_types};
use crate::timers::Timers;
use crate::trace::Printed;
use crate::vouched::Vouched;
use crate::window::{PAGE_BYTES, Window};
use crate::worker::Worker;

/// The kernel whose behaviour the vm follows, as `KERNEL_VERSION` packs it: 6.18.0.
const KERNEL_VERSION: u32 = 6 << 16 | 18 << 8;
/// Most steps of one move of a manual clock: timers that are due at once again do not hold it up.
const MOST_STEPS: usize = 1 << 16;

/// A BPF subsystem inside this process. Cloning shares it.
///
/// ```
/// use twinbpf_object::{MapKind, MapSpec};
/// use twinbpf_vm::{Vm, VmConfig};
///
/// let vm = Vm::new(VmConfig::default())?;
/// let map = vm.create_map(&MapSpec::new("counts", MapKind::Array, 4, 8, 256))?;
/// map.update(&6u32.to_ne_bytes(), &1024u64.to_ne_bytes(), 0)?;
/// let mut value = [0; 8];
/// map.lookup(&6u32.to_ne_bytes(), &mut value)?;
/// assert_eq!(u64::from_ne_bytes(value), 1024);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Vm(pub(crate) Arc<Shared>, pub(crate) Presence);

impl Vm {
    /// A new vm.
    ///
    /// # Errors
    ///
    /// If the host cannot reserve the 4 GiB of address space for the window, or the configuration has no CPU slots.
    pub fn new(config: VmConfig) -> Result<Self> {
        VmBuilder::new(config).build()
    }

    fn built(config: VmConfig, host_functions: HostFunctions) -> Result<Self> {
        if config.cpu_slots == 0 {
            return Err(Diagnosis::new(Code::USAGE, "a vm needs at least one CPU slot").into());
        }
        let presence = presence()?;
        let window = Window::new().map_err(no_window)?;
        let objects = Arc::new(Objects::new(&window));
        let slots = usize::try_from(config.cpu_slots)
            .unwrap_or(usize::MAX)
            .min(1 << 12);
        let shared = Arc::new(Shared {
            window,
            handles: Arc::default(),
            common: Common {
                surroundings: Surroundings::new(&config),
                timers: Timers::default(),
                objects,
            },
            slots: Mutex::new(vec![false; slots]),
            types: OnceLock::new(),
            host_functions,
            config,
        });
        Ok(Self(shared, presence))
    }

    /// What linking needs to know about this engine to serve `needs`. The vm has no types of its own: it takes the host
    /// kernel's, read only if CO-RE asks for any, and leaves them out where they cannot be read.
    pub fn target_for(&self, needs: &Needs) -> Target {
        let mut target = self.target();
        if !needs.type_names.is_empty() {
            target.btf = self.0.types.get_or_init(host_types).clone();
            if target.lacks_types(&needs.type_names)
                && let Some(types) = &target.btf
            {
                target.modules = host_modules(types);
            }
        }
        target
    }

    /// What linking needs to know about this engine, types left out.
    pub fn target(&self) -> Target {
        let mut target = Target::new(
            self.0.config.cpu_slots,
            u32::try_from(rustix::param::page_size()).unwrap_or(4096),
            KERNEL_VERSION,
        );
        // The types are borrowed from a kernel; its variables are not in here, and its functions only if we have our own.
        target.offers = Offers::Functions(kfuncs::offers(&self.0.host_functions));
        target.config.has_syscall_wrapper = true;
        target
    }

    /// Creates a map. The template of a map of maps is the definition inside its own.
    ///
    /// # Errors
    ///
    /// With the kernel's errno: an attribute that breaks a rule of its kind, no room in the window, or a kind the vm lacks.
    pub fn create_map(&self, spec: &MapSpec) -> Result<VmMap> {
        self.create_map_like(spec, None)
    }

    /// Creates a map whose inner maps look like `template`.
    ///
    /// # Errors
    ///
    /// As [`Vm::create_map`].
    pub fn create_map_like(&self, spec: &MapSpec, template: Option<&VmMap>) -> Result<VmMap> {
        map_rules::check(spec, &self.target()).map_err(|refusal| explain(spec, refusal))?;
        let first_value = spec.initial_value()?;
        let template = match (template, &spec.inner) {
            (Some(template), _) => Some(template.spec().clone()),
            (None, Some(InnerMap::Spec(inner))) => Some((**inner).clone()),
            (None, _) => None,
        };
        if let Some(template) = &template {
            map_rules::check(template, &self.target())
                .map_err(|refusal| explain(template, refusal))?;
        }
        let around = MapSurroundings {
            window: &self.0.window,
            handles: &self.0.handles,
            cpu_slots: self.0.config.cpu_slots,
            template,
        };
        let map = VmMap::create(self.1, &around, spec).map_err(|errno| refuse(spec, errno))?;
        // The variables of an arena lie on its first pages.
        let variables = spec
            .initial
            .as_deref()
            .filter(|_| spec.kind == MapKind::Arena);
        if let Some(value) = first_value.as_deref().or(variables) {
            map.begin(value).map_err(|errno| refuse(spec, errno))?;
        }
        Ok(map)
    }

    /// Checks a program's shape and prepares it. `maps` are the live maps in the order of the linked object.
    ///
    /// # Errors
    ///
    /// If the program has no type, is malformed, or calls something the vm does not have.
    pub fn load_program(&self, program: &LinkedProgram, maps: &[VmMap]) -> Result<VmProgram> {
        self.load(program, maps, false)
    }

    /// As [`Vm::load_program`], but the compiled program is believed: it runs without the sandbox's checks.
    ///
    /// # Errors
    ///
    /// As [`Vm::load_program`].
    pub fn load_vouched(&self, program: Vouched<'_>, maps: &[VmMap]) -> Result<VmProgram> {
        self.load(program.program(), maps, true)
    }

    /// `is_vouched`: somebody made the promise of [`Vouched`] about it.
    fn load(&self, program: &LinkedProgram, maps: &[VmMap], is_vouched: bool) -> Result<VmProgram> {
        if maps.iter().any(|map| !map.is_of(&self.0.handles)) {
            return Err(foreign_map(program));
        }
        let mut program = Program::new(program, maps, &self.0.host_functions)?;
        program.number = self.0.handles.next_program();
        program.home = Arc::clone(&self.0.handles);
        if self.0.config.executor == Executor::Jit && cfg!(target_arch = "x86_64") {
            program.compile(self.0.config.guard, is_vouched)?;
        }
        let program = Arc::new_cyclic(|itself| {
            program.itself = itself.clone();
            program
        });
        Ok(VmProgram(program, self.1))
    }

    /// Puts a program into a prog array, for `bpf_tail_call`. The array forgets its programs when the caller's last handle of
    /// it is dropped.
    ///
    /// # Errors
    ///
    /// `EINVAL` if this is no prog array, its programs have another type, or one of the two is of another vm; `E2BIG` if the index is
    /// out of range; `EPERM` if the map is read-only for callers.
    pub fn insert_program(
        &self,
        array: &VmMap,
        key: &[u8],
        program: &VmProgram,
    ) -> std::result::Result<(), Errno> {
        let is_ours = program.0.is_of(&self.0.handles);
        if !is_ours || !array.is_of(&self.0.handles) || !array.live().admits(program.kind()) {
            return Err(Errno::EINVAL);
        }
        let element = Element::Program {
            number: program.number(),
            target: Arc::new(Successor::new(program.0.entry(), program.0.clone())),
        };
        array.insert(key, element, 0)
    }

    /// A new worker: the vm's CPU.
    ///
    /// # Errors
    ///
    /// If all CPU slots are taken or the window has no room for its stack and packet.
    pub fn worker(&self) -> Result<Worker> {
        Worker::new(&self.0)
    }

    /// Takes out what programs printed (`bpf_trace_printk`), and how many prints were lost since the last time: the vm keeps a
    /// mebibyte.
    pub fn take_trace(&self) -> (Vec<Printed>, u64) {
        self.0.common.surroundings.trace.take()
    }

    /// Moves a manual clock forward, and runs each timer that becomes due at its time. Does nothing on the host's clock.
    ///
    /// If every CPU slot has a worker, timers run after the next run of one of them.
    pub fn advance(&self, nanoseconds: u64) {
        let around = &self.0.common.surroundings;
        let end = around.now_ns().saturating_add(nanoseconds);
        for _ in 0..MOST_STEPS {
            match self
                .0
                .common
                .timers
                .first_due_ns()
                .filter(|due| *due <= end)
            {
                Some(due) => around.advance_to(due),
                None => break,
            }
            if self.run_timers().is_err() {
                break;
            }
        }
        around.advance_to(end);
    }

    /// Runs what is due of programs' timers and work queues; how many there were. They also run whenever a run ends, so hosts
    /// whose programs run often need not call this. What ends abnormally is kept for [`Vm::take_faults`].
    ///
    /// # Errors
    ///
    /// If every CPU slot has a worker.
    pub fn run_timers(&self) -> Result<usize> {
        let now = self.0.common.surroundings.now_ns();
        if self
            .0
            .common
            .timers
            .first_due_ns()
            .is_none_or(|due| due > now)
        {
            return Ok(0);
        }
        Ok(self.worker()?.run_due_timers())
    }

    /// Takes out why callbacks of timers and work queues ended abnormally; the vm keeps the first 64.
    pub fn take_faults(&self) -> Vec<Error> {
        self.0.common.timers.take_faults()
    }
}

/// What a vm is made of: its configuration, and the functions of the host that programs can call by name.
///
/// ```
/// use twinbpf_vm::{VmBuilder, VmConfig};
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use std::sync::Arc;
///
/// let total = Arc::new(AtomicU64::new(0));
/// let counter = Arc::clone(&total);
/// let vm = VmBuilder::new(VmConfig::default())
///     // In a program: extern __u64 host_count(__u32 by) __ksym;
///     .function("host_count", move |by: u32| -> u64 {
///         counter.fetch_add(u64::from(by), Ordering::Relaxed)
///     })
///     .build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use]
pub struct VmBuilder {
    config: VmConfig,
    functions: HostFunctions,
    /// The first thing that was wrong.
    error: Option<Error>,
}

impl VmBuilder {
    /// A vm without functions of the host.
    pub fn new(config: VmConfig) -> Self {
        Self {
            config,
            functions: HostFunctions::new(),
            error: None,
        }
    }

    /// Adds a function on numbers; its prototype is that of the closure. Programs find it by its name, declared
    /// `extern ... __ksym`, and it may be called by several workers at a time.
    pub fn function<Parameters>(self, name: &str, closure: impl HostClosure<Parameters>) -> Self {
        self.add(HostFunction::of(name, closure))
    }

    /// Adds a function with a prototype of its own: for those that take addresses. An error ends the run of the program.
    pub fn kfunc(
        self,
        name: &str,
        prototype: Prototype,
        body: impl Fn(&mut HostCall<'_, '_>) -> std::result::Result<u64, HostFault>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.add(HostFunction::new(name, prototype, body))
    }

    /// The vm.
    ///
    /// # Errors
    ///
    /// As [`Vm::new`]; if a function has no proper name or prototype, or a name was taken.
    pub fn build(self) -> Result<Vm> {
        match self.error {
            Some(error) => Err(error),
            None => Vm::built(self.config, self.functions),
        }
    }

    fn add(mut self, function: Result<HostFunction>) -> Self {
        let added = function.and_then(|function| {
            let name = function.name().to_owned();
            if kfuncs::find(&self.functions, &name).is_some() {
                let message = format!("there is a function `{name}` already");
                return Err(Diagnosis::new(Code::USAGE, message).into());
            }
            self.functions.insert(name, Arc::new(function));
            Ok(())
        });
        if let Err(error) = added {
            self.error.get_or_insert(error);
        }
        self
    }
}

fn foreign_map(program: &LinkedProgram) -> Error {
    let message = "a map of another vm cannot be used here: every vm has memory of its own";
    Diagnosis::new(Code::USAGE, message)
        .in_program(&program.name)
        .into()
}

fn no_window(errno: Errno) -> Error {
    let message = "the host has no 4 GiB of free address space for the vm's memory window";
    Diagnosis::new(Code::VM_NO_MEMORY, message)
        .errno(errno)
        .help("raise the limit on address space (ulimit -v)")
        .into()
}

fn explain(spec: &MapSpec, refusal: MapRefusal) -> Error {
    let mut diagnosis = Diagnosis::new(Code::MAP_INVALID, refusal.rule)
        .in_map(&spec.name)
        .errno(refusal.errno)
        .fact("attribute", refusal.attribute);
    diagnosis.help.extend(refusal.help);
    diagnosis.into()
}

fn refuse(spec: &MapSpec, errno: Errno) -> Error {
    let diagnosis = match errno {
        Errno::ENOMEM => {
            let entry_bytes = match spec.kind {
                MapKind::Arena => PAGE_BYTES,
                _ => u64::from(spec.value_size).next_multiple_of(8),
            };
            let bytes = entry_bytes.saturating_mul(u64::from(spec.max_entries));
            Diagnosis::new(
                Code::MAP_NO_MEMORY,
                format!("{bytes} bytes of values do not fit into the vm's window of 4 GiB"),
            )
            .help("lower max_entries or the value size")
        }
        Errno::ENOTSUPP => Diagnosis::new(
            Code::MAP_UNSUPPORTED,
            format!("the vm does not have maps of type {} yet", spec.kind),
        )
        .help("try `--engine kernel`; docs/LIMITS.md lists what the vm has")
        .kind(ErrorKind::Unsupported),
        Errno::ENFILE => Diagnosis::new(Code::MAP_CREATE, "a vm holds at most a million maps")
            .kind(ErrorKind::Limit),
        _ => Diagnosis::new(
            Code::MAP_CREATE,
            format!("the vm refused a map of type {}", spec.kind),
        ),
    };
    diagnosis.in_map(&spec.name).errno(errno).into()
}
