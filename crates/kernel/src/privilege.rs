//! Explains `EPERM` by checking what this process may do, instead of guessing.
//!
//! [`Privileges`] is a snapshot of what the kernel decides by: effective capabilities, two sysctls, the user namespace.
//! Comparing it with what the request needs names the missing capability; if none is missing, the message says so.

use std::fmt;

use twinbpf_object::abi::MapFlags;
use twinbpf_object::{Diagnosis, MapKind, MapSpec, ProgramKind};

use crate::host;

/// A capability that BPF requests can need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Capability {
    NetAdmin,
    NetRaw,
    SysAdmin,
    SysResource,
    Perfmon,
    Bpf,
}

/// What this process may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Privileges {
    /// `CapEff` of `/proc/self/status`; `None` if unreadable.
    effective: Option<u64>,
    /// The sysctl `kernel.unprivileged_bpf_disabled`.
    pub(crate) unprivileged_bpf_disabled: Option<u32>,
    /// The active lockdown mode, if the kernel has lockdown.
    pub(crate) lockdown: Option<String>,
    /// Whether capabilities count only inside a user namespace.
    pub(crate) is_in_user_namespace: bool,
}

impl Capability {
    /// All of them, the most needed first.
    pub(crate) const ALL: [Self; 6] = [
        Self::Bpf,
        Self::Perfmon,
        Self::NetAdmin,
        Self::NetRaw,
        Self::SysAdmin,
        Self::SysResource,
    ];

    /// The bit in the kernel's sets.
    fn bit(self) -> u32 {
        match self {
            Self::NetAdmin => 12,
            Self::NetRaw => 13,
            Self::SysAdmin => 21,
            Self::SysResource => 24,
            Self::Perfmon => 38,
            Self::Bpf => 39,
        }
    }

    /// The kernel's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::NetRaw => "CAP_NET_RAW",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::SysResource => "CAP_SYS_RESOURCE",
            Self::Perfmon => "CAP_PERFMON",
            Self::Bpf => "CAP_BPF",
        }
    }

    /// `CAP_SYS_ADMIN` still contains what was split off from it, but never raw sockets or limits.
    fn is_part_of_sys_admin(self) -> bool {
        !matches!(self, Self::NetRaw | Self::SysResource)
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Privileges {
    /// Reads the snapshot.
    pub(crate) fn read() -> Self {
        let read = |path| std::fs::read_to_string(path).ok();
        // The thread's own file: capabilities belong to threads.
        let status = read("/proc/thread-self/status").unwrap_or_default();
        Self {
            effective: parse_effective(&status),
            unprivileged_bpf_disabled: read("/proc/sys/kernel/unprivileged_bpf_disabled")
                .and_then(|text| text.trim().parse().ok()),
            lockdown: read("/sys/kernel/security/lockdown").and_then(|text| active_mode(&text)),
            is_in_user_namespace: read("/proc/self/uid_map")
                .is_some_and(|text| !is_initial_namespace(&text)),
        }
    }

    /// Whether the process holds the capability itself.
    pub(crate) fn holds(&self, capability: Capability) -> bool {
        let effective = self.effective.unwrap_or(0);
        effective >> capability.bit() & 1 == 1
    }

    /// Whether the process may do what the capability allows.
    fn has(&self, capability: Capability) -> bool {
        self.holds(capability)
            || capability.is_part_of_sys_admin() && self.holds(Capability::SysAdmin)
    }

    /// Completes a diagnosis whose message says what was refused: the cause, the facts, the ways out.
    pub(crate) fn explain(&self, diagnosis: Diagnosis, needed: &[Capability]) -> Diagnosis {
        self.explain_here(diagnosis, needed)
            .help("the engine inside the process needs no privilege: `--engine vm`")
    }

    /// The same where only the kernel can do what was asked, as to list what it holds.
    pub(crate) fn explain_here(
        &self,
        mut diagnosis: Diagnosis,
        needed: &[Capability],
    ) -> Diagnosis {
        let missing: Vec<&str> = needed
            .iter()
            .filter(|capability| !self.has(**capability))
            .map(|capability| capability.name())
            .collect();
        let cause = if !missing.is_empty() {
            format!("this process lacks {}", missing.join(" and "))
        } else if self.is_in_user_namespace {
            "its capabilities count only inside its user namespace".into()
        } else {
            format!(
                "it has {}, so a security module, a seccomp filter or the kernel's build forbids it",
                names(needed)
            )
        };
        diagnosis.message = format!("{}: {cause}", diagnosis.message);
        let has: Vec<&str> = Capability::ALL
            .iter()
            .filter(|capability| self.has(**capability))
            .map(|capability| capability.name())
            .collect();
        diagnosis = diagnosis.fact(
            "capabilities",
            if has.is_empty() {
                "none that matter here".into()
            } else {
                has.join(", ")
            },
        );
        if let Some(value) = self.unprivileged_bpf_disabled {
            diagnosis = diagnosis.fact("kernel.unprivileged_bpf_disabled", value);
        }
        if let Some(mode) = self.lockdown.as_ref().filter(|mode| *mode != "none") {
            diagnosis = diagnosis.fact("kernel lockdown", mode);
        }
        if self.is_in_user_namespace {
            diagnosis = diagnosis.fact("user namespace", "not the initial one");
        }
        if !missing.is_empty() {
            diagnosis = diagnosis.help(format!(
                "run it with {} (root has them)",
                missing.join(" and ")
            ));
        }
        diagnosis
    }
}

/// What creating this map needs.
///
/// KERNEL: tried on 6.18 with one capability at a time.
pub(crate) fn needed_for_map(spec: &MapSpec) -> Vec<Capability> {
    let mut needed = match spec.kind {
        MapKind::SockMap
        | MapKind::SockHash
        | MapKind::DevMap
        | MapKind::DevMapHash
        | MapKind::CpuMap
        | MapKind::XskMap => vec![Capability::Bpf, Capability::NetAdmin],
        _ => vec![Capability::Bpf],
    };
    if spec.flags.contains(MapFlags::ZERO_SEED) {
        needed.push(Capability::SysAdmin);
    }
    needed
}

/// What loading a program of this kind needs.
///
/// KERNEL: tried on 6.18 with one capability at a time, and on 6.1 and 6.12, of which the older one is stricter about infrared.
pub(crate) fn needed_for_program(kind: ProgramKind) -> &'static [Capability] {
    match kind {
        ProgramKind::LircMode2 if !host::is_at_least("6.12") => {
            &[Capability::Bpf, Capability::NetAdmin]
        }
        ProgramKind::SocketFilter
        | ProgramKind::CgroupSkb
        | ProgramKind::LircMode2
        | ProgramKind::SkLookup
        | ProgramKind::SkReuseport
        | ProgramKind::Syscall => &[Capability::Bpf],
        ProgramKind::Kprobe
        | ProgramKind::Tracepoint
        | ProgramKind::PerfEvent
        | ProgramKind::RawTracepoint
        | ProgramKind::RawTracepointWritable
        | ProgramKind::Tracing
        | ProgramKind::StructOps
        | ProgramKind::Lsm => &[Capability::Bpf, Capability::Perfmon],
        ProgramKind::Ext => &[Capability::Bpf, Capability::NetAdmin, Capability::Perfmon],
        _ => &[Capability::Bpf, Capability::NetAdmin],
    }
}

fn names(capabilities: &[Capability]) -> String {
    let names: Vec<&str> = capabilities
        .iter()
        .map(|capability| capability.name())
        .collect();
    names.join(" and ")
}

fn parse_effective(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// `none [integrity] confidentiality`: the active one is in brackets.
fn active_mode(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    rest.split_once(']').map(|(mode, _)| mode.to_owned())
}

/// The initial namespace maps every identifier to itself.
fn is_initial_namespace(uid_map: &str) -> bool {
    uid_map.split_whitespace().eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use twinbpf_object::Code;

    use super::*;

    fn privileges(effective: u64) -> Privileges {
        Privileges {
            effective: Some(effective),
            unprivileged_bpf_disabled: Some(2),
            lockdown: Some("none".into()),
            is_in_user_namespace: false,
        }
    }

    fn explained(privileges: &Privileges, needed: &[Capability]) -> Diagnosis {
        privileges.explain(Diagnosis::new(Code::PROGRAM_PERMISSION, "refused"), needed)
    }

    #[test]
    fn the_missing_capability_is_named_and_the_present_one_is_not() {
        let only_bpf = privileges(1 << 39);
        let diagnosis = explained(&only_bpf, &[Capability::Bpf, Capability::NetAdmin]);
        assert_eq!(
            diagnosis.message,
            "refused: this process lacks CAP_NET_ADMIN"
        );
        assert_eq!(diagnosis.facts[0].value, "CAP_BPF");
        assert_eq!(diagnosis.facts[1].value, "2");
        assert!(
            diagnosis
                .help
                .iter()
                .any(|help| help.contains("--engine vm"))
        );
    }

    #[test]
    fn sys_admin_contains_bpf_but_not_raw_sockets() {
        let admin = privileges(1 << 21);
        assert!(admin.has(Capability::Bpf) && admin.has(Capability::Perfmon));
        assert!(!admin.has(Capability::NetRaw));
    }

    #[test]
    fn with_every_capability_the_user_namespace_or_a_policy_is_the_cause() {
        let mut all = privileges(u64::MAX);
        assert!(
            explained(&all, &[Capability::Bpf])
                .message
                .contains("security module")
        );
        all.is_in_user_namespace = true;
        assert!(
            explained(&all, &[Capability::Bpf])
                .message
                .contains("inside its user namespace")
        );
    }

    #[test]
    fn the_kernels_files_are_read_as_they_are_written() {
        assert_eq!(
            parse_effective("Name:\tx\nCapEff:\t000001ffffffffff\n"),
            Some(0x1ff_ffff_ffff)
        );
        assert_eq!(
            active_mode("none [integrity] confidentiality\n").unwrap(),
            "integrity"
        );
        assert!(is_initial_namespace("         0          0 4294967295\n"));
        assert!(!is_initial_namespace("         0       1000          1\n"));
    }
}
