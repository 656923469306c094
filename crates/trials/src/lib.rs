//! Tests that need more than a Rust toolchain: run, visibly skipped, or failed where the full machine is promised.
//!
//! A test binary without the standard harness lists its cases with what each needs and hands them to [`run`]. A case whose
//! needs are not met shows as ignored, with the reason beside its name. Where the variable `TWINBPF_REQUIRE` names the need
//! (`kernel`, `linux-6.18`, `userns`, `clang`, separated by commas), the same case fails instead.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use libtest_mimic::{Arguments, Failed, Trial};

pub mod watched;

/// What a case needs beyond a Rust toolchain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// `bpf(2)` with the privileges to create maps and load programs.
    Kernel,
    /// The running kernel's types, readable.
    KernelTypes,
    /// A place for pins.
    Bpffs,
    /// Network namespaces and devices of one's own: root, and `ip`.
    Network,
    /// Cgroups of version 2 that may be made.
    Cgroups,
    /// A kernel that shows its tracepoints.
    Tracefs,
    /// A kernel with probes of its own functions.
    Kprobes,
    /// A kernel that attaches one program to many of its functions (`CONFIG_FPROBE`).
    ManyKprobes,
    /// A kernel that keeps `bpf(2)` from ordinary users, so that missing privileges can be seen.
    ClosedBpf,
    /// Linux 6.18 with pages of 4 KiB, where the rules of maps were observed.
    Linux618,
    /// A kernel of at least this release: what a test shows came with it.
    Since(u32, u32),
    /// User namespaces for ordinary users.
    UserNamespaces,
    /// The compiler that built the fixtures.
    Clang,
    /// The tool whose field names ours are, to compare with. No variable promises it.
    Bpftool,
    /// The module that tracks connections, with functions for programs: Linux 6.1. No variable promises it.
    ConnectionTracking,
    /// A program with probes to be watched ([`watched`]).
    WatchedProgram,
    /// A kernel with pairs of devices of type `netkit`. No variable promises it.
    Netkit,
    /// A kernel that lets programs be called from functions: some are built without. No variable promises it.
    FunctionTracing,
    /// A kernel whose security hooks ask programs (`bpf` among its security modules). No variable promises it.
    SecurityHooks,
}

/// One test.
pub struct Case {
    name: String,
    needs: Vec<Need>,
    body: Box<dyn FnOnce() + Send>,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Case")
            .field("name", &self.name)
            .field("needs", &self.needs)
            .finish_non_exhaustive()
    }
}

/// Bits of `CapEff` any one of which lets a process use `bpf(2)`: `CAP_BPF` and `CAP_SYS_ADMIN`.
const CAPABILITIES: u64 = 1 << 39 | SYS_ADMIN;
const SYS_ADMIN: u64 = 1 << 21;

impl Case {
    /// A case that fails by panicking.
    pub fn new(name: &str, needs: &[Need], body: impl FnOnce() + Send + 'static) -> Self {
        Self {
            name: name.to_owned(),
            needs: needs.to_vec(),
            body: Box::new(body),
        }
    }
}

/// Runs the cases as the arguments of a test binary ask (`cargo test` passes them), and says how it went.
pub fn run(cases: Vec<Case>) -> ExitCode {
    run_as(&Arguments::from_args(), cases)
}

fn run_as(arguments: &Arguments, cases: Vec<Case>) -> ExitCode {
    let required = std::env::var("TWINBPF_REQUIRE").unwrap_or_default();
    let trials = cases
        .into_iter()
        .map(|case| trial(case, &required))
        .collect();
    libtest_mimic::run(arguments, trials).exit_code()
}

/// As [`run`], one case after the other.
///
/// For cases that drop a link and then count on its program being gone: a link lives as long as any descriptor of it, and a process
/// that another case starts meanwhile holds copies of all of them until it executes its program.
pub fn run_in_turn(cases: Vec<Case>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    run_as(&arguments, cases)
}

fn trial(case: Case, required: &str) -> Trial {
    let missing = case
        .needs
        .iter()
        .find_map(|need| need.missing().map(|reason| (*need, reason)));
    match missing {
        None => Trial::test(case.name, || outcome(case.body)),
        Some((need, reason)) if required.split(',').any(|name| need.is_promised_by(name)) => {
            Trial::test(case.name, move || {
                Err(Failed::from(format!(
                    "{reason}, though TWINBPF_REQUIRE promises it"
                )))
            })
        }
        Some((_, reason)) => Trial::test(case.name, || Ok(()))
            .with_kind(reason)
            .with_ignored_flag(true),
    }
}

fn outcome(body: Box<dyn FnOnce() + Send>) -> Result<(), Failed> {
    // The panic hook has printed the message already.
    catch_unwind(AssertUnwindSafe(body)).map_err(|_| Failed::without_message())
}

impl Need {
    fn is_promised_by(self, word: &str) -> bool {
        !word.is_empty() && word == self.name()
    }

    fn name(self) -> &'static str {
        match self {
            Self::Kernel
            | Self::KernelTypes
            | Self::Bpffs
            | Self::Network
            | Self::Cgroups
            | Self::ClosedBpf => "kernel",
            Self::Tracefs => "tracefs",
            Self::Kprobes => "kprobes",
            Self::ManyKprobes => "kprobe-multi",
            Self::Linux618 => "linux-6.18",
            Self::UserNamespaces => "userns",
            Self::Clang => "clang",
            Self::Bpftool => "bpftool",
            Self::WatchedProgram => "sdt",
            Self::ConnectionTracking => "conntrack",
            Self::Netkit => "netkit",
            Self::FunctionTracing => "function-tracing",
            Self::SecurityHooks => "security-hooks",
            // Nobody can promise it: the kernel is what it is.
            Self::Since(..) => "",
        }
    }

    /// Whether a case that needs this would run here.
    #[must_use]
    pub fn is_met(self) -> bool {
        self.missing().is_none()
    }

    /// Why the need is not met, or `None` if it is.
    fn missing(self) -> Option<String> {
        match self {
            Self::Kernel => {
                (effective_capabilities() & CAPABILITIES == 0).then(|| "needs CAP_BPF".to_owned())
            }
            Self::KernelTypes => {
                let is_readable = std::fs::File::open("/sys/kernel/btf/vmlinux").is_ok();
                (!is_readable).then(|| "needs /sys/kernel/btf/vmlinux".to_owned())
            }
            Self::Bpffs => {
                let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
                let is_mounted = mounts.lines().any(|line| {
                    let mut fields = line.split(' ').skip(1);
                    fields.next() == Some("/sys/fs/bpf") && fields.next() == Some("bpf")
                });
                (!is_mounted).then(|| "needs a bpffs at /sys/fs/bpf".to_owned())
            }
            Self::Network => succeeds(
                "unshare",
                &["--net", "ip", "link", "set", "lo", "up"],
                "needs root and `ip`",
            ),
            Self::Cgroups => {
                let is_root = effective_capabilities() & SYS_ADMIN != 0;
                (cgroup_root().is_none() || !is_root)
                    .then(|| "needs root and cgroups of version 2".to_owned())
            }
            Self::Tracefs => (!has_tracefs()).then(|| "needs a tracefs".to_owned()),
            Self::Kprobes => {
                let has_kprobes = Path::new("/sys/bus/event_source/devices/kprobe").is_dir();
                (!has_kprobes).then(|| "needs CONFIG_KPROBE_EVENTS".to_owned())
            }
            Self::ManyKprobes => {
                (!has_symbol("register_fprobe")).then(|| "needs CONFIG_FPROBE".to_owned())
            }
            Self::ClosedBpf => {
                let setting = std::fs::read_to_string("/proc/sys/kernel/unprivileged_bpf_disabled")
                    .unwrap_or_default();
                (setting.trim() == "0").then(|| "needs kernel.unprivileged_bpf_disabled".to_owned())
            }
            Self::Linux618 => {
                let release = release();
                let is_observed = release.starts_with("6.18.") && cfg!(target_arch = "x86_64");
                (!is_observed)
                    .then(|| format!("needs Linux 6.18 on x86-64, this is {}", release.trim()))
            }
            Self::Since(major, minor) => {
                (!is_since(major, minor)).then(|| format!("needs Linux {major}.{minor}"))
            }
            Self::UserNamespaces => succeeds(
                "unshare",
                &["--user", "--net", "true"],
                "needs user namespaces",
            ),
            Self::Clang => succeeds("clang-19", &["--version"], "needs clang-19"),
            Self::Bpftool => succeeds("bpftool", &["version"], "needs bpftool"),
            Self::WatchedProgram => watched::missing(),
            Self::ConnectionTracking => (!has_symbol("bpf_skb_ct_lookup"))
                .then(|| "needs nf_conntrack with functions for programs".to_owned()),
            Self::Netkit => succeeds(
                "unshare",
                &["--net", "ip", "link", "add", "near", "type", "netkit"],
                "needs CONFIG_NETKIT",
            ),
            Self::FunctionTracing => {
                let functions = Path::new("/sys/kernel/tracing/available_filter_functions");
                (!functions.exists()).then(|| "needs a kernel that traces functions".to_owned())
            }
            Self::SecurityHooks => (!has_security_hooks())
                .then(|| "needs `bpf` in /sys/kernel/security/lsm".to_owned()),
        }
    }
}

fn has_security_hooks() -> bool {
    let modules = std::fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    modules.trim().split(',').any(|module| module == "bpf")
}

fn has_tracefs() -> bool {
    let places = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
    let is_mounted = |place| Path::new(place).join("events").is_dir();
    places.into_iter().any(is_mounted)
}

/// Whether the running kernel is at least this release.
pub fn is_since(major: u32, minor: u32) -> bool {
    let release = release();
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|digits| digits.parse::<u32>().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    (next(), next()) >= (major, minor)
}

fn release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default()
}

/// Where cgroups of version 2 are.
pub fn cgroup_root() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let point = fields.next()?;
        (fields.next()? == "cgroup2").then(|| PathBuf::from(point))
    })
}

fn effective_capabilities() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok())
        .unwrap_or(0)
}

fn succeeds(program: &str, arguments: &[&str], otherwise: &str) -> Option<String> {
    let result = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let is_met = result.is_ok_and(|status| status.success());
    (!is_met).then(|| otherwise.to_owned())
}

/// Whether the kernel has something of this name.
fn has_symbol(name: &str) -> bool {
    let symbols = std::fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    let mut names = symbols
        .lines()
        .filter_map(|line| line.split_whitespace().nth(2));
    names.any(|symbol| symbol == name)
}
