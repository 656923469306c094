//! What decides whether this process can use BPF, as the machine says it: nothing judged, nothing tried.
//!
//! Everything here is read from files that any user may read; what cannot be read is `None`. The judging is the reader's.

use std::fs;
use std::path::PathBuf;

use rustix::process::{Resource, getrlimit};
use twinbpf_object::target::{ConfigValue, KernelConfig};

use crate::host;
use crate::privilege::{Capability, Privileges};

/// What decides whether this process can use BPF.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelFacts {
    /// The kernel's release, such as `6.18.4-amd64`.
    pub release: String,
    /// The same as `KERNEL_VERSION` packs it; 0 if it does not start with a version.
    pub version: u32,
    /// Each capability that BPF requests can need, and whether this process has it itself. `CAP_SYS_ADMIN` contains most of
    /// the others.
    pub capabilities: Vec<(&'static str, bool)>,
    /// Whether capabilities count only inside a user namespace.
    pub is_in_user_namespace: bool,
    /// The sysctl `kernel.unprivileged_bpf_disabled`: 0 lets everybody load socket filters, 1 nobody until the next start, 2
    /// nobody.
    pub unprivileged_bpf_disabled: Option<u32>,
    /// The active lockdown mode, if the kernel has lockdown.
    pub lockdown: Option<String>,
    /// Whether maps are charged to the limit on locked memory.
    pub is_memlock_charged: bool,
    /// The limit on locked memory, bytes; `None` if there is none.
    pub memlock_bytes: Option<u64>,
    /// Where file systems for pins are mounted.
    pub bpffs: Vec<PathBuf>,
    /// Bytes of the kernel's types, if it has them and they can be read.
    pub types_bytes: Option<u64>,
    /// Whether the kernel has types.
    pub has_types: bool,
    /// The sysctl `net.core.bpf_jit_enable`.
    pub jit_enable: Option<u32>,
    /// The sysctl `net.core.bpf_jit_harden`.
    pub jit_harden: Option<u32>,
    /// Where the kernel's configuration is, or where it was looked for in vain.
    pub config_origin: String,
    /// Options that matter for BPF, and whether they are on; empty if the configuration cannot be read.
    pub config: Vec<(&'static str, bool)>,
}

/// Options that decide what BPF can do.
const OPTIONS: [&str; 9] = [
    "CONFIG_BPF_SYSCALL",
    "CONFIG_BPF_JIT",
    "CONFIG_BPF_EVENTS",
    "CONFIG_KPROBE_EVENTS",
    "CONFIG_DYNAMIC_FTRACE",
    "CONFIG_CGROUP_BPF",
    "CONFIG_NET_CLS_BPF",
    "CONFIG_BPF_LSM",
    "CONFIG_DEBUG_INFO_BTF",
];

impl KernelFacts {
    /// Reads them. Makes no `bpf(2)` call and needs no privilege.
    pub fn read() -> Self {
        let privileges = Privileges::read();
        let capabilities = Capability::ALL.iter();
        let config = host::configuration(&OPTIONS.into());
        Self {
            release: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            version: host::kernel_version(),
            capabilities: capabilities
                .map(|each| (each.name(), privileges.holds(*each)))
                .collect(),
            is_in_user_namespace: privileges.is_in_user_namespace,
            unprivileged_bpf_disabled: privileges.unprivileged_bpf_disabled,
            lockdown: privileges.lockdown,
            is_memlock_charged: host::kernel_version() < host::MEMLOCK_FREE,
            memlock_bytes: getrlimit(Resource::Memlock).current,
            bpffs: bpffs(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default()),
            types_bytes: fs::File::open(host::TYPES)
                .and_then(|file| file.metadata())
                .map(|metadata| metadata.len())
                .ok(),
            has_types: fs::exists(host::TYPES).unwrap_or(false),
            jit_enable: sysctl("net/core/bpf_jit_enable"),
            jit_harden: sysctl("net/core/bpf_jit_harden"),
            config: switches(&config),
            config_origin: config.origin,
        }
    }
}

/// Which options are on, built in or as a module; nothing if none of them is known.
fn switches(config: &KernelConfig) -> Vec<(&'static str, bool)> {
    if config.options.is_empty() {
        return Vec::new();
    }
    let is_on = |name: &str| matches!(config.options.get(name), Some(ConfigValue::Is(_)));
    OPTIONS.map(|name| (name, is_on(name))).to_vec()
}

fn sysctl(name: &str) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/sys/{name}")).ok()?;
    text.trim().parse().ok()
}

/// The mount points with a file system of type `bpf`.
///
/// ```text
/// 43 42 0:39 / /sys/fs/bpf rw,relatime shared:9 - bpf bpf rw,mode=700
///              ^ point, \040 for a blank          ^ type, behind the only lone dash
/// ```
fn bpffs(mountinfo: &str) -> Vec<PathBuf> {
    mountinfo
        .lines()
        .filter_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let is_bpffs = after.split(' ').next() == Some("bpf");
            let point = before.split(' ').nth(4).filter(|_| is_bpffs)?;
            Some(PathBuf::from(unescaped(point)))
        })
        .collect()
}

/// The kernel writes blanks, tabs, newlines and backslashes in paths as three octal digits.
fn unescaped(text: &str) -> String {
    let escapes = [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ];
    let unescape = |text: String, (escape, plain): (&str, &str)| text.replace(escape, plain);
    escapes.into_iter().fold(text.to_owned(), unescape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_of_bpffs_are_found() {
        let mountinfo = "\
            23 1 0:22 / /sys rw,nosuid - sysfs sysfs rw\n\
            43 42 0:39 / /sys/fs/bpf rw,relatime shared:9 - bpf bpf rw,mode=700\n\
            44 42 0:40 / /mnt/a\\040b rw master:1 - bpf none rw\n\
            broken line\n";
        let expected = [PathBuf::from("/sys/fs/bpf"), PathBuf::from("/mnt/a b")];
        assert_eq!(bpffs(mountinfo), expected);
    }

    #[test]
    fn the_running_kernel_has_a_version_and_every_capability_is_listed() {
        let facts = KernelFacts::read();
        assert!(facts.version > 0, "{}", facts.release);
        let names: Vec<_> = facts.capabilities.iter().map(|(name, _)| *name).collect();
        assert!(names.contains(&"CAP_BPF") && names.contains(&"CAP_SYS_RESOURCE"));
    }
}
