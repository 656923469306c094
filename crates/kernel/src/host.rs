//! Facts about this machine that requests and messages need, each read when first asked for.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use flate2::read::GzDecoder;
use rustix::process::{Resource, Rlimit, setrlimit};
use twinbpf_object::btf::{Btf, Bytes};
use twinbpf_object::spec::ByteOrder;
use twinbpf_object::target::{KernelConfig, ModuleTypes};
use twinbpf_object::{Code, Diagnosis, Error, Result, Target};
use twinbpf_shm::KernelTypes;

/// Since this version the kernel charges maps to the memory cgroup; before, to `RLIMIT_MEMLOCK`.
pub(crate) const MEMLOCK_FREE: u32 = version(5, 11);

/// What linking needs to know about this kernel.
///
/// # Errors
///
/// If the kernel does not say which CPUs are possible.
pub(crate) fn target() -> Result<Target> {
    Ok(Target {
        cpu_slots: possible_cpus()?,
        ..target_without_cpus()
    })
}

/// The same for objects that do not depend on the number of CPUs, which is read from a file.
pub(crate) fn target_without_cpus() -> Target {
    let page_size_bytes = u32::try_from(rustix::param::page_size()).unwrap_or(4096);
    Target::new(0, page_size_bytes, kernel_version())
}

/// The running kernel's types; `None` if it does not show them.
///
/// # Errors
///
/// If they are there but cannot be read.
pub(crate) fn types() -> Result<Option<Arc<Btf>>> {
    let bytes = match KernelTypes::open("vmlinux") {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let message = format!("the kernel's types cannot be read: {error}");
            return Err(Error::from(Diagnosis::new(Code::HOST_IO, message)).in_file(TYPES));
        }
    };
    Btf::open(Bytes::new(Arc::new(bytes)), ByteOrder::HOST)
        .map(|btf| Some(Arc::new(btf)))
        .map_err(|error| error.in_file(TYPES))
}

/// The types of the modules that are loaded now, each on top of the kernel's.
///
/// # Errors
///
/// If some are there but cannot be read.
pub(crate) fn modules(base: &Arc<Btf>) -> Result<Vec<ModuleTypes>> {
    let unreadable = |error: io::Error, file: &str| {
        let message = format!("types of modules cannot be read: {error}");
        Error::from(Diagnosis::new(Code::HOST_IO, message)).in_file(file)
    };
    let names = KernelTypes::modules().map_err(|error| unreadable(error, MODULES))?;
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        let file = format!("{MODULES}/{name}");
        let bytes = match KernelTypes::open(&name) {
            Ok(bytes) => bytes,
            // It has been unloaded since.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(unreadable(error, &file)),
        };
        let btf = Btf::open_split(Bytes::new(Arc::new(bytes)), Arc::clone(base))
            .map_err(|error| error.in_file(file))?;
        found.push(ModuleTypes {
            name,
            btf: Arc::new(btf),
        });
    }
    Ok(found)
}

/// The number of possible CPUs: how many values an element of a per-CPU map has.
///
/// # Errors
///
/// If the kernel's list cannot be read. Nothing is guessed: a wrong number would be a wrong buffer size.
pub(crate) fn possible_cpus() -> Result<u32> {
    static CPUS: OnceLock<Option<u32>> = OnceLock::new();
    CPUS.get_or_init(|| parse_cpu_list(&std::fs::read_to_string(POSSIBLE).ok()?))
        .ok_or_else(|| {
            Diagnosis::new(
                Code::HOST_IO,
                format!("{POSSIBLE} does not say which CPUs are possible"),
            )
            .help("mount sysfs on /sys")
            .into()
        })
}

/// The running kernel's version as `KERNEL_VERSION` packs it; 0 if its name does not start with one.
///
/// This is what `LINUX_VERSION_CODE` was when the kernel was built: what programs compare with, and before 5.0 what probes must
/// name. Debian and Ubuntu leave the sublevel out of the release (`6.1.0-42-amd64` is 6.1.159) and write it elsewhere.
pub(crate) fn kernel_version() -> u32 {
    static VERSION: OnceLock<u32> = OnceLock::new();
    *VERSION.get_or_init(|| {
        let name = rustix::system::uname();
        let signature = std::fs::read_to_string("/proc/version_signature").ok();
        version_of(
            &name.release().to_string_lossy(),
            &name.version().to_string_lossy(),
            signature.as_deref(),
        )
    })
}

/// The version from the three places where it may stand: the release, the words about the build, and Ubuntu's file.
fn version_of(release: &str, build: &str, signature: Option<&str>) -> u32 {
    let ubuntu = signature.and_then(|text| text.split_whitespace().nth(2));
    // `#1 SMP PREEMPT_DYNAMIC Debian 6.1.159-1 (2025-12-30)`.
    let debian = build.split_once("Debian ").map(|(_, version)| version);
    let exact = ubuntu.or(debian).map(parse_release);
    let released = parse_release(release);
    // Words that mean something else are not of this series.
    match exact {
        Some(exact) if exact >> 8 == released >> 8 => exact,
        _ => released,
    }
}

/// Lifts `RLIMIT_MEMLOCK` where the kernel still charges maps to it, once per process. Says whether asking again makes sense: as long
/// as it was lifted at all, for a request may have been refused just before another thread lifted it.
pub(crate) fn raised_memlock() -> bool {
    static RAISED: OnceLock<bool> = OnceLock::new();
    *RAISED.get_or_init(|| {
        let unlimited = Rlimit {
            current: None,
            maximum: None,
        };
        kernel_version() < MEMLOCK_FREE && setrlimit(Resource::Memlock, unlimited).is_ok()
    })
}

/// The wanted options of the running kernel's configuration. One that cannot be read has no options, and its origin says why.
pub(crate) fn configuration(wanted: &BTreeSet<&str>) -> KernelConfig {
    let mut config = KernelConfig::new();
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let mut failures = Vec::new();
    for path in [
        "/proc/config.gz".to_owned(),
        format!("/boot/config-{release}"),
        format!("/lib/modules/{release}/config"),
    ] {
        match text_of(&path) {
            Ok(text) => {
                config.read(&text, wanted);
                config.origin = path;
                return config;
            }
            Err(error) => failures.push(format!("{path}: {error}")),
        }
    }
    config.origin = failures.join("; ");
    config
}

fn text_of(path: &str) -> io::Result<String> {
    let file = File::open(path)?.take(MOST_BYTES);
    let mut bytes = Vec::new();
    if path.ends_with(".gz") {
        GzDecoder::new(file)
            .take(MOST_BYTES)
            .read_to_end(&mut bytes)?;
    } else {
        let mut file = file;
        file.read_to_end(&mut bytes)?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A version as `KERNEL_VERSION` packs it.
pub(crate) const fn version(major: u32, minor: u32) -> u32 {
    major << 16 | minor << 8
}

/// `6.18` from the packed form.
pub(crate) fn shown_version(version: u32) -> String {
    format!("{}.{}", version >> 16, version >> 8 & 0xff)
}

/// Whether the running kernel is at least the release that a table names (`"5.11"`).
pub(crate) fn is_at_least(release: &str) -> bool {
    kernel_version() >= parse_release(release)
}

/// Where the kernel shows its types.
pub(crate) const TYPES: &str = "/sys/kernel/btf/vmlinux";
const MODULES: &str = "/sys/kernel/btf";
/// A configuration has some 300 KiB.
const MOST_BYTES: u64 = 16 << 20;
const ONLINE: &str = "/sys/devices/system/cpu/online";
const POSSIBLE: &str = "/sys/devices/system/cpu/possible";

/// `6.18.44-amd64` as `KERNEL_VERSION(6, 18, 44)`; the kernel itself stops counting sublevels at 255.
fn parse_release(release: &str) -> u32 {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|digits| digits.parse::<u32>().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0).min(255);
    next() << 16 | next() << 8 | next()
}

/// The CPUs that are on now.
///
/// # Errors
///
/// If the kernel's list cannot be read.
pub(crate) fn online_cpus() -> Result<Vec<u32>> {
    let list = std::fs::read_to_string(ONLINE).ok();
    let ranges = list.and_then(|list| cpu_ranges(&list).collect::<Option<Vec<_>>>());
    match ranges {
        Some(ranges) => Ok(ranges
            .into_iter()
            .flat_map(|(first, last)| first..=last)
            .collect()),
        None => {
            let message = format!("{ONLINE} does not say which CPUs are on");
            Err(Diagnosis::new(Code::HOST_IO, message).into())
        }
    }
}

/// The first and last number of each part of a list such as `0-3,8`; `None` for what is no part of one.
fn cpu_ranges(list: &str) -> impl Iterator<Item = Option<(u32, u32)>> {
    list.trim().split(',').map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some((first.parse().ok()?, last.parse().ok()?))
    })
}

/// Counts the CPUs of a list such as `0-3,8`.
fn parse_cpu_list(list: &str) -> Option<u32> {
    let mut count: u32 = 0;
    for range in cpu_ranges(list) {
        let (first, last) = range?;
        count = count.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    Some(count)
}

/// Where the kernel shows its tracepoints.
pub(crate) fn tracing_folder() -> Option<PathBuf> {
    let candidates = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
    let mut folders = candidates.into_iter().map(PathBuf::from);
    folders.find(|folder| folder.join("events").is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists_are_counted_and_nonsense_is_refused() {
        assert_eq!(parse_cpu_list("0-1\n"), Some(2));
        assert_eq!(parse_cpu_list("0"), Some(1));
        assert_eq!(parse_cpu_list("0-3,8,10-11"), Some(7));
        for nonsense in ["", "a", "3-1", "0-4294967295", "1-"] {
            assert_eq!(parse_cpu_list(nonsense), None, "{nonsense:?}");
        }
    }

    #[test]
    fn releases_are_packed_as_the_kernel_does() {
        assert_eq!(parse_release("6.18.44-amd64"), 6 << 16 | 18 << 8 | 44);
        assert_eq!(parse_release("4.14.330"), 4 << 16 | 14 << 8 | 255);
        assert_eq!(parse_release("5.11"), version(5, 11));
        assert_eq!(parse_release("rolling"), 0);
        assert_eq!(shown_version(version(6, 18)), "6.18");
    }

    #[test]
    fn distributions_write_the_sublevel_elsewhere() {
        let debian = "#1 SMP PREEMPT_DYNAMIC Debian 6.1.159-1 (2025-12-30)";
        let packed = version(6, 1) | 159;
        assert_eq!(version_of("6.1.0-42-cloud-amd64", debian, None), packed);
        let ubuntu = Some("Ubuntu 6.8.0-45.45-generic 6.8.12\n");
        let build = "#45-Ubuntu SMP PREEMPT_DYNAMIC Fri Aug 30 12:02:04 UTC 2024";
        let packed = version(6, 8) | 12;
        assert_eq!(version_of("6.8.0-45-generic", build, ubuntu), packed);
        // A kernel of one's own, built on Debian.
        let own = "#2 SMP Debian 12 of Tuesday";
        assert_eq!(version_of("6.18.4", own, None), version(6, 18) | 4);
    }
}
