//! The rules of `BPF_MAP_CREATE`: which attributes each kind of map accepts, and the error number of each refusal.
//!
//! The kernel answers most mistakes with a bare `EINVAL`. Every kind has one row here, and [`check`] reads the row to name
//! the attribute and the rule. The kernel engine explains a refusal with it afterwards; the vm decides with it beforehand.
//!
//! KERNEL: observed on 6.18 by asking for every kind with odd attributes, alone and in pairs. Rules that depend on more
//! than the definition are left to the kernel: online memory nodes, the number of CPUs a kernel is built for (`cpumap`),
//! free memory, and types from BTF.

use std::fmt;

use crate::abi::{Errno, MapFlags, MapKind};
use crate::spec::{MapSpec, MapTypes};
use crate::target::Target;

/// Why a map with these attributes cannot be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapRefusal {
    /// What `BPF_MAP_CREATE` answers.
    pub errno: Errno,
    /// The attribute at fault, in the kernel's spelling.
    pub attribute: &'static str,
    /// The rule and the offending number, one sentence.
    pub rule: String,
    /// What to write instead, if there is one answer.
    pub help: Option<String>,
}

/// Checks a definition against the rules of its kind, in an order that gives the kernel's error number.
///
/// Privileges and free memory are not considered. What the map is called does not matter: engines cut and clean names.
///
/// # Errors
///
/// The first rule that the definition breaks.
pub fn check(spec: &MapSpec, host: &Target) -> Result<(), MapRefusal> {
    check_kind(spec.kind, host)?;
    let Some(rules) = rules_of(spec.kind) else {
        return Ok(());
    };
    check_node_number(spec)?;
    check_early(spec, rules, host)?;
    check_extra(spec, host)?;
    check_flags(spec, rules)?;
    check_node_use(spec)?;
    check_entries(spec, rules, host)?;
    check_key(spec, rules)?;
    check_value(spec, rules)?;
    check_size_limits(spec, host)?;
    check_relations(spec)?;
    check_entry_limits(spec, host)
}

/// Bytes of one element's value as system calls see it: per-CPU kinds have one slot of whole words for every CPU.
///
/// `None` if that number does not fit 64 bits.
pub fn value_bytes(kind: MapKind, value_size: u32, cpu_slots: u32) -> Option<u64> {
    if kind.is_per_cpu() {
        u64::from(value_size)
            .next_multiple_of(WORD)
            .checked_mul(u64::from(cpu_slots))
    } else {
        Some(u64::from(value_size))
    }
}

/// Whether the kernel can be told the types of keys and values.
///
/// KERNEL: 6.18 answers ENOTSUPP or EINVAL for the other kinds, tried with keys and values of 4 bytes each.
pub fn takes_types(kind: MapKind) -> bool {
    !matches!(
        kind,
        MapKind::PerfEventArray
            | MapKind::CgroupArray
            | MapKind::StackTrace
            | MapKind::ArrayOfMaps
            | MapKind::HashOfMaps
            | MapKind::DevMap
            | MapKind::DevMapHash
            | MapKind::CpuMap
            | MapKind::XskMap
            | MapKind::SockMap
            | MapKind::SockHash
            | MapKind::Queue
            | MapKind::Stack
            | MapKind::Arena
    )
}

/// About how many bytes creating this map allocates at once; 0 where elements are allocated later.
///
/// An estimate for messages. Too large for 64 bits becomes [`u64::MAX`].
pub fn bytes_at_creation(spec: &MapSpec, host: &Target) -> u64 {
    let entries = u64::from(spec.max_entries);
    let key = u64::from(spec.key_size).next_multiple_of(WORD);
    let value = u64::from(spec.value_size).next_multiple_of(WORD);
    let all_cpus = value.saturating_mul(u64::from(host.cpu_slots));
    let buckets = entries.max(1).next_power_of_two();
    let per_entry = match spec.kind {
        MapKind::Array | MapKind::Queue | MapKind::Stack => value,
        MapKind::PerCpuArray => all_cpus.saturating_add(WORD),
        MapKind::Hash if spec.flags.contains(MapFlags::NO_PREALLOC) => 0,
        MapKind::PerCpuHash if spec.flags.contains(MapFlags::NO_PREALLOC) => 0,
        MapKind::Hash | MapKind::LruHash => HASH_ELEMENT + key + value,
        MapKind::PerCpuHash | MapKind::LruPerCpuHash => all_cpus.saturating_add(HASH_ELEMENT + key),
        MapKind::StackTrace => value + HASH_ELEMENT,
        MapKind::RingBuf | MapKind::UserRingBuf => 1,
        MapKind::LpmTrie | MapKind::Arena | MapKind::BloomFilter | MapKind::HashOfMaps => 0,
        _ => WORD,
    };
    let table = match spec.kind {
        MapKind::Hash
        | MapKind::PerCpuHash
        | MapKind::LruHash
        | MapKind::LruPerCpuHash
        | MapKind::HashOfMaps
        | MapKind::SockHash => buckets * HASH_BUCKET,
        MapKind::StackTrace | MapKind::DevMapHash => buckets * WORD,
        _ => 0,
    };
    entries.saturating_mul(per_entry).saturating_add(table)
}

/// The row of one kind.
struct Rules {
    kind: MapKind,
    allowed: u32,
    required: u32,
    key: Sizes,
    value: Sizes,
    entries: Entries,
}

/// Which sizes a key or value may have.
#[derive(Clone, Copy)]
enum Sizes {
    /// There is none.
    None,
    /// At least one byte.
    Some,
    /// One of these.
    OneOf(&'static [u32]),
    /// From the first to the second.
    Between(u32, u32),
    /// A multiple of a stack frame's record.
    Frames,
}

/// How many entries there may be.
#[derive(Clone, Copy)]
enum Entries {
    /// At least one.
    Some,
    /// The attribute must be 0: elements belong to other objects.
    None,
    /// Bytes of a ring: a power of two and whole pages.
    Ring,
}

fn rules_of(kind: MapKind) -> Option<&'static Rules> {
    RULES.iter().find(|rules| rules.kind == kind)
}

fn check_kind(kind: MapKind, host: &Target) -> Result<(), MapRefusal> {
    let Some(since) = kind.since() else {
        return refuse(
            "map_type",
            format!("there is no map type {} as far as is known", kind.number()),
        );
    };
    if host.kernel_version >= packed_version(since) {
        return Ok(());
    }
    refuse(
        "map_type",
        format!(
            "map type `{kind}` came with Linux {since}, this is {}",
            shown_version(host.kernel_version)
        ),
    )
}

/// What a few kinds look at before the rest.
///
/// KERNEL: bloom filters begin with the value's upper limit; storages of cgroups with the key, then that limit.
fn check_early(spec: &MapSpec, rules: &Rules, host: &Target) -> Result<(), MapRefusal> {
    match spec.kind {
        MapKind::BloomFilter => check_size_limits(spec, host),
        MapKind::CgroupStorage | MapKind::PerCpuCgroupStorage => {
            check_extra(spec, host)?;
            check_key(spec, rules)?;
            check_size_limits(spec, host)
        }
        _ => Ok(()),
    }
}

fn check_extra(spec: &MapSpec, host: &Target) -> Result<(), MapRefusal> {
    let extra = spec.extra;
    match spec.kind {
        MapKind::BloomFilter if extra > 15 => refuse(
            "map_extra",
            format!("a bloom filter has at most 15 hash functions, this one asks for {extra}"),
        ),
        MapKind::Arena if !extra.is_multiple_of(u64::from(host.page_size_bytes.max(1))) => refuse(
            "map_extra",
            format!("an arena starts at a page boundary, {extra:#x} is none"),
        ),
        MapKind::BloomFilter | MapKind::Arena => Ok(()),
        _ if extra != 0 => refuse(
            "map_extra",
            format!(
                "`map_extra` has no meaning for {}, here it is {extra}",
                a(spec.kind)
            ),
        ),
        _ => Ok(()),
    }
}

fn check_flags(spec: &MapSpec, rules: &Rules) -> Result<(), MapRefusal> {
    let flags = spec.flags.0;
    let lru = matches!(spec.kind, MapKind::LruHash | MapKind::LruPerCpuHash);
    let unknown = flags & !rules.allowed;
    if lru && unknown == NO_PREALLOC {
        return Err(MapRefusal {
            errno: Errno::ENOTSUPP,
            attribute: "map_flags",
            rule: format!(
                "{} allocates its elements up front; BPF_F_NO_PREALLOC is not for it",
                a(spec.kind)
            ),
            help: Some("leave BPF_F_NO_PREALLOC out".into()),
        });
    }
    if unknown != 0 {
        return refuse(
            "map_flags",
            format!("{} does not take {}", a(spec.kind), flag_names(unknown)),
        );
    }
    let missing = rules.required & !flags;
    if missing != 0 {
        return Err(MapRefusal {
            errno: Errno::EINVAL,
            attribute: "map_flags",
            rule: format!("{} needs {}", a(spec.kind), flag_names(missing)),
            help: Some(format!("add {} to map_flags", flag_names(missing))),
        });
    }
    for pair in [READ | WRITE, READ_PROG | WRITE_PROG] {
        if flags & pair == pair {
            return refuse(
                "map_flags",
                format!("{} exclude each other", flag_names(pair)),
            );
        }
    }
    Ok(())
}

/// The kernel reads the node only with the flag; the all-ones number means "any".
fn wanted_node(spec: &MapSpec) -> Option<u32> {
    let node = spec.numa_node.unwrap_or(0);
    (spec.flags.0 & NUMA != 0 && node != u32::MAX).then_some(node)
}

/// Which nodes are online only the host knows; no kernel has more than 1024.
fn check_node_number(spec: &MapSpec) -> Result<(), MapRefusal> {
    match wanted_node(spec) {
        Some(node) if node >= HIGHEST_NODES => refuse(
            "numa_node",
            format!(
                "no kernel has memory node {node}, the highest possible is {}",
                HIGHEST_NODES - 1
            ),
        ),
        _ => Ok(()),
    }
}

fn check_node_use(spec: &MapSpec) -> Result<(), MapRefusal> {
    let Some(node) = wanted_node(spec) else {
        return Ok(());
    };
    let has_own_lists = spec.flags.0 & NO_COMMON_LRU != 0;
    let lives_on_all_nodes = matches!(
        spec.kind,
        MapKind::PerCpuHash | MapKind::PerCpuArray | MapKind::LruPerCpuHash
    );
    if has_own_lists || lives_on_all_nodes {
        return refuse(
            "numa_node",
            format!(
                "what every CPU has of its own cannot all be on node {node}: {} takes no BPF_F_NUMA_NODE{}",
                a(spec.kind),
                if has_own_lists {
                    " with BPF_F_NO_COMMON_LRU"
                } else {
                    ""
                }
            ),
        );
    }
    Ok(())
}

fn check_entries(spec: &MapSpec, rules: &Rules, host: &Target) -> Result<(), MapRefusal> {
    let entries = spec.max_entries;
    let page = host.page_size_bytes.max(1);
    let (rule, help) = match rules.entries {
        Entries::Some if entries == 0 => (
            format!(
                "{} needs at least one entry, this one has max_entries 0",
                a(spec.kind)
            ),
            match spec.kind {
                MapKind::PerfEventArray => {
                    format!("{} for this host: one entry for each CPU", host.cpu_slots)
                }
                _ => "set max_entries to the number of elements it shall hold".into(),
            },
        ),
        Entries::None if entries != 0 => (
            format!(
                "elements of {} belong to other objects: max_entries must be 0, this one has {entries}",
                a(spec.kind)
            ),
            "set max_entries to 0".into(),
        ),
        Entries::Ring if !entries.is_power_of_two() || !entries.is_multiple_of(page) => (
            format!(
                "max_entries of {} is its size in bytes, a power of two and a multiple of {page}; this one has {entries}",
                a(spec.kind)
            ),
            format!(
                "the next size that fits is {}",
                u64::from(entries)
                    .next_power_of_two()
                    .max(u64::from(page))
                    .min(1 << 31)
            ),
        ),
        _ => return Ok(()),
    };
    Err(MapRefusal {
        errno: Errno::EINVAL,
        attribute: "max_entries",
        rule,
        help: Some(help),
    })
}

fn check_key(spec: &MapSpec, rules: &Rules) -> Result<(), MapRefusal> {
    let size = spec.key_size;
    match rules.key {
        Sizes::OneOf([4]) if size != 4 => refuse(
            "key_size",
            format!(
                "the key of {} is a 4-byte number, this one has {}",
                a(spec.kind),
                bytes(size)
            ),
        ),
        sizes => check_size("key", size, sizes, spec),
    }
}

fn check_value(spec: &MapSpec, rules: &Rules) -> Result<(), MapRefusal> {
    check_size("value", spec.value_size, rules.value, spec)
}

fn check_size(part: &str, size: u32, sizes: Sizes, spec: &MapSpec) -> Result<(), MapRefusal> {
    let kind = a(spec.kind);
    let attribute = if part == "key" {
        "key_size"
    } else {
        "value_size"
    };
    let has = bytes(size);
    let rule = match sizes {
        Sizes::None if size != 0 => format!("{kind} has no {part}, this one has a {part} of {has}"),
        Sizes::Some if size == 0 => {
            format!("the {part} of {kind} needs at least 1 byte, this one has none")
        }
        Sizes::OneOf(list) if !list.contains(&size) => {
            let list: Vec<String> = list.iter().map(u32::to_string).collect();
            format!(
                "the {part} of {kind} has {} bytes, this one has {has}",
                list.join(" or ")
            )
        }
        Sizes::Between(from, to) if !(from..=to).contains(&size) => {
            format!("the {part} of {kind} has {from} to {to} bytes, this one has {has}")
        }
        Sizes::Frames => return check_frames(spec),
        _ => return Ok(()),
    };
    refuse(attribute, rule)
}

/// A stack trace's value is an array of addresses, or of build identifiers with offsets.
fn check_frames(spec: &MapSpec) -> Result<(), MapRefusal> {
    let frame = if spec.flags.contains(MapFlags::STACK_BUILD_ID) {
        BUILD_ID_FRAME
    } else {
        ADDRESS_FRAME
    };
    let most = frame * STACK_FRAMES;
    if spec.value_size != 0 && spec.value_size.is_multiple_of(frame) && spec.value_size <= most {
        return Ok(());
    }
    refuse(
        "value_size",
        format!(
            "the value of a `stack_trace` map is 1 to {STACK_FRAMES} frames of {frame} bytes, this one has {}",
            bytes(spec.value_size)
        ),
    )
}

/// The upper limits of sizes, which come late and have error numbers of their own.
fn check_size_limits(spec: &MapSpec, host: &Target) -> Result<(), MapRefusal> {
    // KERNEL: the largest single allocation of 6.18 is 1024 pages; several limits are that minus an element's header.
    let allocation = host.page_size_bytes.saturating_mul(1024);
    let value = |most, errno| limit(spec, "value_size", (spec.value_size, most), errno);
    match spec.kind {
        MapKind::Hash | MapKind::LruHash | MapKind::HashOfMaps => {
            check_element(spec, allocation.saturating_sub(49))
        }
        MapKind::PerCpuHash | MapKind::LruPerCpuHash => {
            check_element(spec, allocation.saturating_sub(49))?;
            value(PER_CPU_VALUE, Errno::E2BIG)
        }
        MapKind::Array => value(ARRAY_VALUE, Errno::E2BIG),
        MapKind::PerCpuArray | MapKind::PerCpuCgroupStorage => value(PER_CPU_VALUE, Errno::E2BIG),
        MapKind::CgroupStorage => value(CGROUP_VALUE, Errno::E2BIG),
        MapKind::LpmTrie => value(allocation.saturating_sub(280), Errno::EINVAL),
        MapKind::Queue | MapKind::Stack | MapKind::BloomFilter => value(allocation, Errno::E2BIG),
        MapKind::SockHash => limit(spec, "key_size", (spec.key_size, SOCK_KEY), Errno::E2BIG),
        _ => Ok(()),
    }
}

/// An element of a hash, key and value together, is one allocation.
fn check_element(spec: &MapSpec, most: u32) -> Result<(), MapRefusal> {
    let both = u64::from(spec.key_size) + u64::from(spec.value_size);
    if both <= u64::from(most) {
        return Ok(());
    }
    Err(MapRefusal {
        errno: Errno::E2BIG,
        attribute: if spec.key_size > spec.value_size {
            "key_size"
        } else {
            "value_size"
        },
        rule: format!(
            "key and value of {} have together at most {most} bytes, here they have {both}",
            a(spec.kind)
        ),
        help: None,
    })
}

/// The upper limits of `max_entries`, the last of all.
fn check_entry_limits(spec: &MapSpec, host: &Target) -> Result<(), MapRefusal> {
    let entries = |most, errno| limit(spec, "max_entries", (spec.max_entries, most), errno);
    match spec.kind {
        MapKind::Hash
        | MapKind::PerCpuHash
        | MapKind::LruHash
        | MapKind::LruPerCpuHash
        | MapKind::HashOfMaps => entries(HASH_ENTRIES, Errno::E2BIG),
        MapKind::SockHash => entries(HASH_ENTRIES, Errno::EINVAL),
        MapKind::StackTrace => entries(1 << 31, Errno::E2BIG),
        MapKind::DevMapHash => entries(1 << 31, Errno::EINVAL),
        MapKind::Arena => check_arena(spec, host),
        _ => Ok(()),
    }
}

/// An arena's entries are pages, at most 4 GiB of them, and programs see only the low 32 bits of their addresses.
fn check_arena(spec: &MapSpec, host: &Target) -> Result<(), MapRefusal> {
    let page = u64::from(host.page_size_bytes.max(1));
    let most = u32::try_from(ARENA_BYTES / page).unwrap_or(u32::MAX);
    limit(spec, "max_entries", (spec.max_entries, most), Errno::E2BIG)?;
    let last = (spec.extra % ARENA_BYTES) + u64::from(spec.max_entries) * page;
    if spec.extra != 0 && last > ARENA_BYTES {
        return Err(MapRefusal {
            errno: Errno::ERANGE,
            attribute: "map_extra",
            rule: format!(
                "an arena may not cross a 4 GiB boundary; {} pages from {:#x} do",
                spec.max_entries, spec.extra
            ),
            help: None,
        });
    }
    Ok(())
}

/// What a definition needs beside its own numbers.
fn check_relations(spec: &MapSpec) -> Result<(), MapRefusal> {
    match spec.kind {
        MapKind::ArrayOfMaps | MapKind::HashOfMaps if spec.inner.is_none() => Err(MapRefusal {
            errno: Errno::EINVAL,
            attribute: "inner_map",
            rule: format!(
                "{} needs a template of the maps inside, this one has none",
                a(spec.kind)
            ),
            help: Some("give it an inner definition (`__array(values, struct {..})`)".into()),
        }),
        MapKind::SkStorage
        | MapKind::InodeStorage
        | MapKind::TaskStorage
        | MapKind::CgrpStorage
        | MapKind::StructOps
            if spec.types == MapTypes::default() =>
        {
            refuse(
                "btf",
                format!(
                    "{} needs BTF types of its key and value, a plain definition has none",
                    a(spec.kind)
                ),
            )
        }
        _ => Ok(()),
    }
}

fn limit(
    spec: &MapSpec,
    attribute: &'static str,
    (has, most): (u32, u32),
    errno: Errno,
) -> Result<(), MapRefusal> {
    if has <= most {
        return Ok(());
    }
    Err(MapRefusal {
        errno,
        attribute,
        rule: format!(
            "`{attribute}` of {} is at most {most}, here it is {has}",
            a(spec.kind)
        ),
        help: None,
    })
}

fn refuse(attribute: &'static str, rule: String) -> Result<(), MapRefusal> {
    Err(MapRefusal {
        errno: Errno::EINVAL,
        attribute,
        rule,
        help: None,
    })
}

/// `an `array` map`, `a `hash` map`.
fn a(kind: MapKind) -> impl fmt::Display {
    let name = kind.to_string();
    let article = if name.starts_with(['a', 'i']) || name.starts_with("lru") {
        "an"
    } else {
        "a"
    };
    format!("{article} `{name}` map")
}

fn bytes(size: u32) -> String {
    match size {
        0 => "none".into(),
        1 => "1 byte".into(),
        _ => format!("{size} bytes"),
    }
}

/// `BPF_F_RDONLY and flag 0x8000`.
fn flag_names(mut flags: u32) -> String {
    let mut names = Vec::new();
    for (bit, name) in FLAG_NAMES {
        if flags & bit != 0 {
            names.push((*name).to_owned());
            flags &= !bit;
        }
    }
    if flags != 0 {
        names.push(format!("flag {flags:#x}"));
    }
    names.join(" and ")
}

/// `"6.19"` as `KERNEL_VERSION(6, 19, 0)`.
fn packed_version(release: &str) -> u32 {
    let mut parts = release.split('.').map(|part| part.parse().unwrap_or(0));
    let (major, minor): (u32, u32) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    major << 16 | minor << 8
}

fn shown_version(version: u32) -> String {
    format!("{}.{}", version >> 16, version >> 8 & 0xff)
}

const NO_PREALLOC: u32 = MapFlags::NO_PREALLOC.0;
const NO_COMMON_LRU: u32 = MapFlags::NO_COMMON_LRU.0;
const NUMA: u32 = MapFlags::NUMA_NODE.0;
const READ: u32 = MapFlags::RDONLY.0;
const WRITE: u32 = MapFlags::WRONLY.0;
const BUILD_ID: u32 = MapFlags::STACK_BUILD_ID.0;
const SEED: u32 = MapFlags::ZERO_SEED.0;
const READ_PROG: u32 = MapFlags::RDONLY_PROG.0;
const WRITE_PROG: u32 = MapFlags::WRONLY_PROG.0;
const CLONE: u32 = MapFlags::CLONE.0;
const MMAPABLE: u32 = MapFlags::MMAPABLE.0;
const PRESERVE: u32 = MapFlags::PRESERVE_ELEMS.0;
const INNER: u32 = MapFlags::INNER_MAP.0;
const SEGV_ON_FAULT: u32 = MapFlags::SEGV_ON_FAULT.0;
const NO_USER_CONV: u32 = MapFlags::NO_USER_CONV.0;

/// Access from system calls: most kinds take it.
const ACCESS: u32 = READ | WRITE;
/// Access from system calls and from programs.
const ALL_ACCESS: u32 = ACCESS | READ_PROG | WRITE_PROG;

const WORD: u64 = 8;
/// About the header of a hash element.
const HASH_ELEMENT: u64 = 48;
const HASH_BUCKET: u64 = 16;
/// Above it the table of buckets has more than 32 bits of bytes.
const HASH_ENTRIES: u32 = 1 << 27;
const ARRAY_VALUE: u32 = i32::MAX.cast_unsigned();
const PER_CPU_VALUE: u32 = 32768;
const CGROUP_VALUE: u32 = 65535 - 128;
const SOCK_KEY: u32 = 512;
const ADDRESS_FRAME: u32 = 8;
const BUILD_ID_FRAME: u32 = 32;
/// The sysctl `kernel.perf_event_max_stack`, as it is unless somebody changes it.
const STACK_FRAMES: u32 = 127;
const ARENA_BYTES: u64 = 1 << 32;
const HIGHEST_NODES: u32 = 1024;

const fn row(kind: MapKind, allowed: u32, key: Sizes, value: Sizes, entries: Entries) -> Rules {
    Rules {
        kind,
        allowed,
        required: 0,
        key,
        value,
        entries,
    }
}

const fn requires(required: u32, rules: Rules) -> Rules {
    Rules { required, ..rules }
}

const INDEX: Sizes = Sizes::OneOf(&[4]);
const FD: Sizes = Sizes::OneOf(&[4]);
const FD_OR_MORE: Sizes = Sizes::OneOf(&[4, 8]);
const LOCAL: u32 = NO_PREALLOC | CLONE;

#[rustfmt::skip]
const RULES: &[Rules] = &[
    row(MapKind::Hash, NO_PREALLOC | NUMA | ALL_ACCESS | SEED, Sizes::Some, Sizes::Some, Entries::Some),
    row(MapKind::Array, NUMA | ALL_ACCESS | MMAPABLE | INNER, INDEX, Sizes::Some, Entries::Some),
    row(MapKind::ProgArray, NUMA | ACCESS, INDEX, FD, Entries::Some),
    row(MapKind::PerfEventArray, NUMA | ACCESS | PRESERVE, INDEX, FD, Entries::Some),
    row(MapKind::PerCpuHash, NO_PREALLOC | NUMA | ALL_ACCESS | SEED, Sizes::Some, Sizes::Some, Entries::Some),
    row(MapKind::PerCpuArray, NUMA | ALL_ACCESS, INDEX, Sizes::Some, Entries::Some),
    row(MapKind::StackTrace, NUMA | ACCESS | BUILD_ID, INDEX, Sizes::Frames, Entries::Some),
    row(MapKind::CgroupArray, NUMA | ACCESS, INDEX, FD, Entries::Some),
    row(MapKind::LruHash, NO_COMMON_LRU | NUMA | ALL_ACCESS | SEED, Sizes::Some, Sizes::Some, Entries::Some),
    row(MapKind::LruPerCpuHash, NO_COMMON_LRU | NUMA | ALL_ACCESS | SEED, Sizes::Some, Sizes::Some, Entries::Some),
    requires(NO_PREALLOC, row(MapKind::LpmTrie, NO_PREALLOC | NUMA | ALL_ACCESS, Sizes::Between(5, 260), Sizes::Some, Entries::Some)),
    row(MapKind::ArrayOfMaps, NUMA | ACCESS, INDEX, FD, Entries::Some),
    row(MapKind::HashOfMaps, NO_PREALLOC | NUMA | ALL_ACCESS | SEED, Sizes::Some, FD, Entries::Some),
    row(MapKind::DevMap, NUMA | ACCESS, INDEX, FD_OR_MORE, Entries::Some),
    row(MapKind::SockMap, NUMA | ACCESS, INDEX, FD_OR_MORE, Entries::Some),
    row(MapKind::CpuMap, NUMA, INDEX, FD_OR_MORE, Entries::Some),
    row(MapKind::XskMap, NUMA | ACCESS, INDEX, FD, Entries::Some),
    row(MapKind::SockHash, NUMA | ACCESS, Sizes::Some, FD_OR_MORE, Entries::Some),
    row(MapKind::CgroupStorage, NUMA | ALL_ACCESS, Sizes::OneOf(&[8, 16]), Sizes::Some, Entries::None),
    row(MapKind::ReuseportSockArray, NUMA | ALL_ACCESS, INDEX, FD_OR_MORE, Entries::Some),
    row(MapKind::PerCpuCgroupStorage, NUMA | ALL_ACCESS, Sizes::OneOf(&[8, 16]), Sizes::Some, Entries::None),
    row(MapKind::Queue, NUMA | ALL_ACCESS, Sizes::None, Sizes::Some, Entries::Some),
    row(MapKind::Stack, NUMA | ALL_ACCESS, Sizes::None, Sizes::Some, Entries::Some),
    requires(NO_PREALLOC, row(MapKind::SkStorage, LOCAL, INDEX, Sizes::Some, Entries::None)),
    row(MapKind::DevMapHash, NUMA | ACCESS, INDEX, FD_OR_MORE, Entries::Some),
    row(MapKind::StructOps, 0, INDEX, Sizes::Some, Entries::Some),
    row(MapKind::RingBuf, NUMA, Sizes::None, Sizes::None, Entries::Ring),
    requires(NO_PREALLOC, row(MapKind::InodeStorage, LOCAL, INDEX, Sizes::Some, Entries::None)),
    requires(NO_PREALLOC, row(MapKind::TaskStorage, LOCAL, INDEX, Sizes::Some, Entries::None)),
    row(MapKind::BloomFilter, NUMA | ALL_ACCESS | SEED, Sizes::None, Sizes::Some, Entries::Some),
    row(MapKind::UserRingBuf, NUMA, Sizes::None, Sizes::None, Entries::Ring),
    requires(NO_PREALLOC, row(MapKind::CgrpStorage, LOCAL, INDEX, Sizes::Some, Entries::None)),
    requires(MMAPABLE, row(MapKind::Arena, MMAPABLE | SEGV_ON_FAULT | NO_USER_CONV, Sizes::None, Sizes::None, Entries::Some)),
];

#[rustfmt::skip]
const FLAG_NAMES: &[(u32, &str)] = &[
    (NO_PREALLOC, "BPF_F_NO_PREALLOC"),
    (NO_COMMON_LRU, "BPF_F_NO_COMMON_LRU"),
    (NUMA, "BPF_F_NUMA_NODE"),
    (READ, "BPF_F_RDONLY"),
    (WRITE, "BPF_F_WRONLY"),
    (BUILD_ID, "BPF_F_STACK_BUILD_ID"),
    (SEED, "BPF_F_ZERO_SEED"),
    (READ_PROG, "BPF_F_RDONLY_PROG"),
    (WRITE_PROG, "BPF_F_WRONLY_PROG"),
    (CLONE, "BPF_F_CLONE"),
    (MMAPABLE, "BPF_F_MMAPABLE"),
    (PRESERVE, "BPF_F_PRESERVE_ELEMS"),
    (INNER, "BPF_F_INNER_MAP"),
    (SEGV_ON_FAULT, "BPF_F_SEGV_ON_FAULT"),
    (NO_USER_CONV, "BPF_F_NO_USER_CONV"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Target {
        Target::new(2, 4096, 6 << 16 | 18 << 8)
    }

    fn refusal(kind: MapKind, key: u32, value: u32, entries: u32) -> MapRefusal {
        check(&MapSpec::new("m", kind, key, value, entries), &host()).unwrap_err()
    }

    #[test]
    fn every_kind_of_6_18_has_a_row() {
        for kind in MapKind::all().filter(|kind| *kind != MapKind::InsnArray) {
            assert!(rules_of(kind).is_some(), "{kind}");
        }
    }

    #[test]
    fn a_refusal_names_attribute_rule_and_number() {
        let wrong_key = refusal(MapKind::Array, 8, 4, 1);
        assert_eq!(wrong_key.attribute, "key_size");
        assert_eq!(
            wrong_key.rule,
            "the key of an `array` map is a 4-byte number, this one has 8 bytes"
        );
        let no_entries = refusal(MapKind::Hash, 4, 4, 0);
        assert_eq!(no_entries.attribute, "max_entries");
        let ring = refusal(MapKind::RingBuf, 0, 0, 5000);
        assert_eq!(ring.help.unwrap(), "the next size that fits is 8192");
        let trie = refusal(MapKind::LpmTrie, 8, 4, 1);
        assert_eq!(trie.help.unwrap(), "add BPF_F_NO_PREALLOC to map_flags");
    }

    #[test]
    fn a_kind_that_is_newer_than_the_kernel_names_both_versions() {
        let newer = refusal(MapKind::InsnArray, 4, 4, 1);
        assert_eq!(
            newer.rule,
            "map type `insn_array` came with Linux 6.19, this is 6.18"
        );
        assert_eq!(refusal(MapKind::Other(99), 4, 4, 1).attribute, "map_type");
    }

    #[test]
    fn sizes_at_creation_count_every_cpu_and_saturate() {
        let array = MapSpec::new("m", MapKind::PerCpuArray, 4, 9, 10);
        assert_eq!(bytes_at_creation(&array, &host()), 10 * (2 * 16 + 8));
        let huge = MapSpec::new("m", MapKind::PerCpuArray, 4, u32::MAX, u32::MAX);
        assert_eq!(bytes_at_creation(&huge, &host()), u64::MAX);
        assert_eq!(value_bytes(MapKind::PerCpuHash, 9, 2), Some(32));
        assert_eq!(value_bytes(MapKind::Hash, 9, 2), Some(9));
    }
}
