//! What a vm is told at birth: trust, CPU slots, clock, randomness, identity, budget.
//!
//! Everything a program could observe of its surroundings is here, so that two vms with equal configurations and equal inputs
//! behave alike.

/// How far programs are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trust {
    /// Nothing is believed: every access is checked. Programs of any origin can harm nothing outside the window.
    #[default]
    Sandbox,
}

/// Which executor runs programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Executor {
    /// The fast interpreter: checks what the sandbox needs.
    Interpreter,
    /// Machine code, compiled at load. On CPUs without a compiler: the fast interpreter.
    #[default]
    Jit,
    /// The checked interpreter: knows exact object bounds and where every pointer comes from. Slower; for tests and diagnosis.
    Checked,
}

/// What keeps compiled programs inside the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Guard {
    /// The host's page tables: a wrong access faults, and a signal handler turns that into an error value. The handler is
    /// installed for the whole process with the first program that is compiled this way, serves SIGSEGV and SIGBUS, and passes on
    /// what is not its own. A host that installs a handler later must pass signals on too.
    #[default]
    Pages,
    /// Every access is compared with a table first. Slower, and needs no signal handler.
    Compare,
}

/// The clock programs see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Clock {
    /// The host's monotonic clock.
    #[default]
    Host,
    /// A clock that starts at this many nanoseconds and moves only when told to ([`Vm::advance`](crate::Vm::advance)).
    Manual(u64),
}

/// Where random numbers come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Randomness {
    /// The host.
    #[default]
    Host,
    /// A generator started with this seed, per worker slot.
    Seed(u64),
}

/// Everything a vm is told at birth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmConfig {
    /// How far programs are believed.
    pub trust: Trust,
    /// Which executor runs programs.
    pub executor: Executor,
    /// What keeps compiled programs inside the window.
    pub guard: Guard,
    /// Slots of per-CPU maps, and the most workers that can exist at a time.
    pub cpu_slots: u32,
    /// The clock programs see.
    pub clock: Clock,
    /// Where random numbers come from.
    pub randomness: Randomness,
    /// Process identifier that `bpf_get_current_pid_tgid` answers; `None` for the host's.
    pub pid: Option<u32>,
    /// User identifier that `bpf_get_current_uid_gid` answers; `None` for the host's.
    pub uid: Option<u32>,
    /// Command name that `bpf_get_current_comm` answers; `None` for the host's.
    pub comm: Option<String>,
    /// Ids of the cgroups that `bpf_get_current_cgroup_id`, `bpf_skb_cgroup_id` and their kin answer, from the root to the process's
    /// own; `None` for the host's.
    pub cgroups: Option<Vec<u64>>,
    /// Instructions a run may use, tail calls included. Counted on back edges and calls.
    pub budget_insns: u64,
}

/// A quarter of a billion instructions: about a second of interpretation, far beyond what the kernel's verifier lets through.
const DEFAULT_BUDGET_INSNS: u64 = 1 << 28;

impl Default for VmConfig {
    fn default() -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            trust: Trust::default(),
            executor: Executor::default(),
            guard: Guard::default(),
            cpu_slots: u32::try_from(cpus).unwrap_or(1).max(8),
            clock: Clock::default(),
            randomness: Randomness::default(),
            pid: None,
            uid: None,
            comm: None,
            cgroups: None,
            budget_insns: DEFAULT_BUDGET_INSNS,
        }
    }
}
