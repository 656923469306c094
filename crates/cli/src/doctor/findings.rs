//! What the machine says about itself, judged.

use std::path::{Path, PathBuf};

use twinbpf::KernelFacts;

use super::Finding;

/// Judges everything that is known without trying.
pub(super) fn judge(facts: &KernelFacts) -> Vec<Finding> {
    let mut findings = vec![kernel(facts), namespace(facts)];
    findings.extend(capabilities(facts));
    findings.extend([
        unprivileged(facts),
        lockdown(facts),
        memlock(facts),
        bpffs(&facts.bpffs),
        types(facts),
        jit(facts),
    ]);
    findings.extend(harden(facts));
    findings.push(config(facts));
    findings
}

fn kernel(facts: &KernelFacts) -> Finding {
    let release = facts.release.as_str();
    match facts.version {
        0 => Finding::warn(
            "kernel",
            release,
            "its release does not start with a version",
        ),
        version if version < packed(4, 15) => Finding::bad(
            "kernel",
            release,
            "global variables, BTF and most hooks came later",
        )
        .mended_by("install Linux 5.8 or later"),
        version if version < packed(5, 8) => {
            let means =
                "before 5.8 there is no CAP_BPF, no ring buffer, and often no BTF of the kernel";
            Finding::warn("kernel", release, means)
        }
        _ => Finding::ok("kernel", release),
    }
}

fn namespace(facts: &KernelFacts) -> Finding {
    if !facts.is_in_user_namespace {
        return Finding::ok("user namespace", "the initial one");
    }
    let means = "capabilities count only inside it, and the kernel asks for them outside";
    Finding::bad("user namespace", "not the initial one", means).mended_by(
        "run it outside of the container, or let the container runtime delegate a BPF token",
    )
}

/// One line per capability that this process lacks; one for all if it lacks none.
fn capabilities(facts: &KernelFacts) -> Vec<Finding> {
    let missing: Vec<(&str, &str)> = MEANINGS
        .into_iter()
        .filter(|(name, _)| is_missing(facts, name))
        .collect();
    if missing.is_empty() {
        return vec![Finding::ok("capabilities", "all that BPF needs")];
    }
    let mend = set_capabilities(&missing);
    let is_closed = facts.unprivileged_bpf_disabled != Some(0);
    let findings = missing.into_iter().map(|(name, means)| {
        let finding = match name {
            "CAP_BPF" if is_closed => Finding::bad(name, "missing", means),
            _ => Finding::warn(name, "missing", means),
        };
        match name {
            "CAP_SYS_ADMIN" => finding.mended_by("run it with sudo"),
            _ => finding.mended_by(&mend),
        }
    });
    findings.collect()
}

fn is_missing(facts: &KernelFacts, name: &str) -> bool {
    let holds = |name: &str| {
        let mut all = facts.capabilities.iter();
        all.any(|(each, is_held)| *each == name && *is_held)
    };
    let is_its_own = matches!(name, "CAP_NET_RAW" | "CAP_SYS_RESOURCE");
    // Memory is charged to the cgroup on newer kernels; nobody needs to raise that limit any more.
    let is_needed = name != "CAP_SYS_RESOURCE" || facts.is_memlock_charged;
    is_needed && !holds(name) && (is_its_own || !holds("CAP_SYS_ADMIN"))
}

/// The command for all that are missing: each call of `setcap` takes back what an earlier one gave.
fn set_capabilities(missing: &[(&str, &str)]) -> String {
    let names: Vec<String> = missing
        .iter()
        .filter(|(name, _)| *name != "CAP_SYS_ADMIN")
        .map(|(name, _)| name.to_lowercase())
        .collect();
    format!(
        "sudo setcap {}+ep $(command -v twinbpf), or run it with sudo",
        names.join(",")
    )
}

/// Capabilities and what cannot be done without them.
const MEANINGS: [(&str, &str); 6] = [
    (
        "CAP_BPF",
        "no maps, and no programs but what an administrator lets everybody load",
    ),
    (
        "CAP_PERFMON",
        "no kprobes, tracepoints, perf events, fentry, LSM and struct_ops programs",
    ),
    (
        "CAP_NET_ADMIN",
        "no XDP, tc, cgroup and sockmap programs; nothing is attached to an interface",
    ),
    (
        "CAP_NET_RAW",
        "no packet sockets, so socket filters are not attached to an interface",
    ),
    (
        "CAP_SYS_ADMIN",
        "no list of all programs and maps of the machine (bpftool prog list)",
    ),
    (
        "CAP_SYS_RESOURCE",
        "the limit on locked memory cannot be raised",
    ),
];

fn unprivileged(facts: &KernelFacts) -> Finding {
    const CHECK: &str = "kernel.unprivileged_bpf_disabled";
    match facts.unprivileged_bpf_disabled {
        Some(0) => Finding::warn(
            CHECK,
            "0",
            "every user may load socket filters, and attack the kernel through its verifier",
        )
        .mended_by("sudo sysctl kernel.unprivileged_bpf_disabled=2"),
        Some(1) => Finding::ok(CHECK, "1: users need CAP_BPF, fixed until the next start"),
        Some(value) => Finding::ok(CHECK, format!("{value}: users need CAP_BPF")),
        None => Finding::ok(CHECK, "not there: users need a privilege"),
    }
}

fn lockdown(facts: &KernelFacts) -> Finding {
    match facts.lockdown.as_deref() {
        None => Finding::ok("lockdown", "not in this kernel"),
        Some("none") => Finding::ok("lockdown", "none"),
        Some(mode @ "integrity") => {
            let means = "programs may not write user memory (bpf_probe_write_user)";
            Finding::warn("lockdown", mode, means)
        }
        Some(mode) => {
            let means = "programs may not read kernel memory, so tracing programs are refused";
            Finding::warn("lockdown", mode, means)
                .mended_by("start the kernel with lockdown=integrity, or with secure boot off")
        }
    }
}

fn memlock(facts: &KernelFacts) -> Finding {
    const CHECK: &str = "limit on locked memory";
    match facts.memlock_bytes {
        _ if !facts.is_memlock_charged => Finding::ok(CHECK, "does not count since Linux 5.11"),
        None => Finding::ok(CHECK, "none"),
        Some(bytes) if bytes >= 64 << 20 => Finding::ok(CHECK, format!("{} MiB", bytes >> 20)),
        Some(bytes) => Finding::warn(
            CHECK,
            format!("{} KiB", bytes >> 10),
            "maps and programs are charged to it on this kernel",
        )
        .mended_by("ulimit -l unlimited"),
    }
}

fn bpffs(mounted: &[PathBuf]) -> Finding {
    const USUAL: &str = "/sys/fs/bpf";
    if mounted.iter().any(|each| each == Path::new(USUAL)) {
        return Finding::ok("bpffs", USUAL);
    }
    match mounted.first() {
        Some(other) => Finding::ok("bpffs", other.display().to_string()),
        None => Finding::warn("bpffs", "not mounted", "nothing can be pinned")
            .mended_by(format!("sudo mount -t bpf bpf {USUAL}")),
    }
}

fn types(facts: &KernelFacts) -> Finding {
    const CHECK: &str = "the kernel's types (BTF)";
    let means = "programs that adapt to the kernel (CO-RE), and fentry, LSM and struct_ops programs, are not loaded";
    match (facts.types_bytes, facts.has_types) {
        (Some(bytes), _) => Finding::ok(
            CHECK,
            format!("{} KiB in /sys/kernel/btf/vmlinux", bytes >> 10),
        ),
        (None, true) => Finding::warn(CHECK, "not readable by this user", means)
            .mended_by("sudo chmod a+r /sys/kernel/btf/vmlinux"),
        (None, false) => Finding::warn(CHECK, "not there", means)
            .mended_by("take a kernel with CONFIG_DEBUG_INFO_BTF=y, or give the types: --btf FILE"),
    }
}

fn jit(facts: &KernelFacts) -> Finding {
    const CHECK: &str = "net.core.bpf_jit_enable";
    match facts.jit_enable {
        Some(0) => Finding::warn(CHECK, "0", "programs are interpreted, several times slower")
            .mended_by("sudo sysctl net.core.bpf_jit_enable=1"),
        Some(1) => Finding::ok(CHECK, "1: programs are compiled"),
        Some(value) => Finding::warn(
            CHECK,
            value.to_string(),
            "machine code is written to the kernel's log",
        )
        .mended_by("sudo sysctl net.core.bpf_jit_enable=1"),
        None => Finding::ok(CHECK, "only root may read it"),
    }
}

/// Only root may read it; whoever cannot is told nothing.
fn harden(facts: &KernelFacts) -> Option<Finding> {
    const CHECK: &str = "net.core.bpf_jit_harden";
    Some(match facts.jit_harden? {
        0 => Finding::ok(CHECK, "0: constants are compiled as they are"),
        1 => Finding::ok(CHECK, "1: constants of unprivileged programs are hidden"),
        value => Finding::warn(
            CHECK,
            value.to_string(),
            "compiled programs hide their constants, which makes them slower",
        )
        .mended_by("sudo sysctl net.core.bpf_jit_harden=1"),
    })
}

/// Options of the kernel's configuration and what is missing without them.
const OPTIONS: [(&str, &str); 9] = [
    ("CONFIG_BPF_SYSCALL", "BPF itself"),
    ("CONFIG_BPF_JIT", "the compiler"),
    (
        "CONFIG_BPF_EVENTS",
        "kprobe, tracepoint and perf event programs",
    ),
    ("CONFIG_KPROBE_EVENTS", "attaching to kprobes"),
    ("CONFIG_DYNAMIC_FTRACE", "fentry, fexit and LSM programs"),
    ("CONFIG_CGROUP_BPF", "cgroup programs"),
    ("CONFIG_NET_CLS_BPF", "tc programs"),
    ("CONFIG_BPF_LSM", "LSM programs"),
    ("CONFIG_DEBUG_INFO_BTF", "the kernel's types"),
];

fn config(facts: &KernelFacts) -> Finding {
    const CHECK: &str = "the kernel's configuration";
    if facts.config.is_empty() {
        return Finding::ok(CHECK, format!("not readable: {}", facts.config_origin));
    }
    let is_off = |name: &str| facts.config.contains(&(name, false));
    let missing: Vec<(&str, &str)> = OPTIONS
        .into_iter()
        .filter(|(name, _)| is_off(name))
        .collect();
    if missing.is_empty() {
        let says = format!("{}: everything for BPF is on", facts.config_origin);
        return Finding::ok(CHECK, says);
    }
    let names: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
    let means: Vec<&str> = missing.iter().map(|(_, means)| *means).collect();
    let means = format!("not in this kernel: {}", means.join("; "));
    Finding::warn(CHECK, format!("off: {}", names.join(", ")), means)
        .mended_by("take a kernel that is built with them")
}

fn packed(major: u32, minor: u32) -> u32 {
    major << 16 | minor << 8
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    fn healthy() -> KernelFacts {
        let names = MEANINGS.map(|(name, _)| (name, true));
        KernelFacts {
            release: "6.18.4".to_owned(),
            version: packed(6, 18),
            capabilities: names.to_vec(),
            is_in_user_namespace: false,
            unprivileged_bpf_disabled: Some(2),
            lockdown: None,
            is_memlock_charged: false,
            memlock_bytes: Some(8 << 20),
            bpffs: vec![PathBuf::from("/sys/fs/bpf")],
            types_bytes: Some(5 << 20),
            has_types: true,
            jit_enable: Some(1),
            jit_harden: Some(0),
            config_origin: "/proc/config.gz".to_owned(),
            config: OPTIONS.map(|(name, _)| (name, true)).to_vec(),
        }
    }

    /// What is wrong: the check, how much, and what mends it.
    fn wrong(facts: &KernelFacts) -> Vec<(String, State, String)> {
        judge(facts)
            .into_iter()
            .filter(|finding| finding.state != State::Ok)
            .map(|finding| {
                (
                    finding.check,
                    finding.state,
                    finding.mend.unwrap_or_default(),
                )
            })
            .collect()
    }

    fn only(facts: &KernelFacts) -> (String, State, String) {
        let wrong = wrong(facts);
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        wrong[0].clone()
    }

    #[test]
    fn a_healthy_machine_has_nothing_to_mend() {
        assert_eq!(wrong(&healthy()), []);
    }

    #[test]
    fn without_capabilities_each_is_named_and_only_one_is_decisive() {
        let mut facts = healthy();
        facts.capabilities = MEANINGS.map(|(name, _)| (name, false)).to_vec();
        let found = wrong(&facts);
        let states: Vec<_> = found
            .iter()
            .map(|(name, state, _)| (name.as_str(), *state))
            .collect();
        assert_eq!(
            states,
            [
                ("CAP_BPF", State::Bad),
                ("CAP_PERFMON", State::Warn),
                ("CAP_NET_ADMIN", State::Warn),
                ("CAP_NET_RAW", State::Warn),
                ("CAP_SYS_ADMIN", State::Warn),
            ]
        );
        assert!(
            found[0].2.contains("setcap cap_bpf,cap_perfmon,"),
            "{found:?}"
        );
        // The administrator of old holds everything but raw sockets.
        facts.capabilities = vec![("CAP_SYS_ADMIN", true)];
        assert_eq!(only(&facts).0, "CAP_NET_RAW");
    }

    #[test]
    fn each_trouble_has_its_line_and_its_cure() {
        type Change = fn(&mut KernelFacts);
        let troubles: [(Change, &str, &str); 8] = [
            (
                |facts| facts.config[7].1 = false,
                "the kernel's configuration",
                "a kernel that is built with them",
            ),
            (
                |facts| facts.bpffs.clear(),
                "bpffs",
                "mount -t bpf bpf /sys/fs/bpf",
            ),
            (
                |facts| facts.is_in_user_namespace = true,
                "user namespace",
                "token",
            ),
            (
                |facts| facts.jit_enable = Some(0),
                "net.core.bpf_jit_enable",
                "=1",
            ),
            (
                |facts| facts.jit_harden = Some(2),
                "net.core.bpf_jit_harden",
                "=1",
            ),
            (
                |facts| {
                    facts.types_bytes = None;
                    facts.has_types = false;
                },
                "the kernel's types (BTF)",
                "--btf FILE",
            ),
            (
                |facts| facts.lockdown = Some("confidentiality".to_owned()),
                "lockdown",
                "lockdown=integrity",
            ),
            (
                |facts| {
                    facts.is_memlock_charged = true;
                    facts.memlock_bytes = Some(64 << 10);
                },
                "limit on locked memory",
                "ulimit -l unlimited",
            ),
        ];
        for (change, check, mend) in troubles {
            let mut facts = healthy();
            change(&mut facts);
            let found = only(&facts);
            assert_eq!(found.0, check);
            assert!(found.2.contains(mend), "{found:?}");
        }
    }
}
