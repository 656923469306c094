//! What programs can observe of the world around them: the clock, and whom they run for.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use twinbpf_object::btf::{Btf, Bytes};
use twinbpf_object::spec::ByteOrder;
use twinbpf_object::target::ModuleTypes;
use twinbpf_shm::KernelTypes;

use crate::config::{Clock, VmConfig};
use crate::trace::Trace;

/// What programs can observe of the world around them.
#[derive(Debug)]
pub(crate) struct Surroundings {
    pub(crate) pid: u32,
    pub(crate) uid: u32,
    pub(crate) comm: String,
    pub(crate) cpu_slots: u32,
    pub(crate) trace: Trace,
    /// Looked up when a program asks: few do.
    cgroups: OnceLock<Vec<u64>>,
    clock: Clock,
    manual_ns: AtomicU64,
    started: Instant,
    started_ns: u64,
}

impl Surroundings {
    pub(crate) fn new(config: &VmConfig) -> Self {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        let nanoseconds = u64::try_from(now.tv_nsec).unwrap_or(0);
        let manual_ns = match config.clock {
            Clock::Manual(start) => start,
            Clock::Host => 0,
        };
        Self {
            pid: config.pid.unwrap_or_else(std::process::id),
            uid: config
                .uid
                .unwrap_or_else(|| rustix::process::getuid().as_raw()),
            comm: config.comm.clone().unwrap_or_else(host_comm),
            cpu_slots: config.cpu_slots,
            trace: Trace::default(),
            cgroups: config
                .cgroups
                .clone()
                .map(OnceLock::from)
                .unwrap_or_default(),
            clock: config.clock,
            manual_ns: AtomicU64::new(manual_ns),
            started: Instant::now(),
            started_ns: seconds
                .saturating_mul(1_000_000_000)
                .saturating_add(nanoseconds),
        }
    }

    /// Nanoseconds of the vm's clock.
    pub(crate) fn now_ns(&self) -> u64 {
        match self.clock {
            Clock::Manual(_) => self.manual_ns.load(Ordering::Relaxed),
            Clock::Host => {
                let since = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
                self.started_ns.saturating_add(since)
            }
        }
    }

    /// Ids of the process's cgroups, from the root to its own; empty if nobody knows.
    pub(crate) fn cgroups(&self) -> &[u64] {
        self.cgroups
            .get_or_init(|| host_cgroups().unwrap_or_default())
    }

    /// Moves a manual clock forward to this time.
    pub(crate) fn advance_to(&self, nanoseconds: u64) {
        self.manual_ns.fetch_max(nanoseconds, Ordering::Relaxed);
    }
}

/// The types of the kernel below, if they can be read.
pub(crate) fn host_types() -> Option<Arc<Btf>> {
    let bytes = KernelTypes::open("vmlinux").ok()?;
    let btf = Btf::open(Bytes::new(Arc::new(bytes)), ByteOrder::HOST);
    btf.ok().map(Arc::new)
}

/// The types of the kernel's modules, on top of its own, as far as they can be read.
pub(crate) fn host_modules(base: &Arc<Btf>) -> Vec<ModuleTypes> {
    let names = KernelTypes::modules().unwrap_or_default();
    let types = |name: &str| {
        let bytes = Bytes::new(Arc::new(KernelTypes::open(name).ok()?));
        Btf::open_split(bytes, Arc::clone(base)).ok()
    };
    names
        .into_iter()
        .filter_map(|name| {
            let btf = Arc::new(types(&name)?);
            Some(ModuleTypes { name, btf })
        })
        .collect()
}

fn host_comm() -> String {
    std::fs::read_to_string("/proc/self/comm")
        .map(|name| name.trim_end().to_owned())
        .unwrap_or_default()
}

/// The root's id. KERNEL: ids are inode numbers (6.18).
const ROOT_CGROUP: u64 = 1;

/// The ids of the process's cgroup and of those above it. In a namespace of cgroups only the root is known of those outside.
fn host_cgroups() -> Option<Vec<u64>> {
    let listed = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = listed.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mut folder = mounted_cgroups()?;
    let id = |folder: &Path| Some(std::fs::metadata(folder).ok()?.ino());
    let first = id(&folder)?;
    let outside = (first != ROOT_CGROUP).then_some(ROOT_CGROUP);
    let mut ids: Vec<u64> = outside.into_iter().chain([first]).collect();
    for part in Path::new(path) {
        folder.push(part);
        ids.push(id(&folder)?);
    }
    Some(ids)
}

/// Where version 2 of cgroups is mounted from its root on, as this process sees it.
fn mounted_cgroups() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(|line| {
        // Number, parent, device, root, place, options and more, then a hyphen and the type.
        let (before, after) = line.split_once(" - ")?;
        let mut words = before.split(' ').skip(3);
        let (root, place) = (words.next()?, words.next()?);
        (root == "/" && after.starts_with("cgroup2 ")).then(|| PathBuf::from(place))
    })
}
