//! The rules of `BPF_MAP_CREATE` against the running kernel: every kind with odd attributes, alone and in pairs.
//!
//! The kernel is the judge: whatever number it answers, `map_rules::check` must answer the same.

use twinbpf_kernel::{Kernel, KernelMap};
use twinbpf_object::abi::MapFlags;
use twinbpf_object::map_rules;
use twinbpf_object::spec::InnerMap;
use twinbpf_object::{Errno, MapKind, MapSpec, Target};
use twinbpf_trials::{Case, Need};

/// The cases of this file.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "map_rules::every_kind_answers_odd_attributes_as_the_kernel_does",
            &[Need::Kernel, Need::Linux618],
            every_kind_answers_odd_attributes_as_the_kernel_does,
        ),
        Case::new(
            "map_rules::plain_definitions_of_28_kinds_are_accepted",
            &[Need::Kernel, Need::Linux618],
            plain_definitions_of_28_kinds_are_accepted,
        ),
    ]
}

/// A definition of this kind that the kernel accepts, if a plain definition can be one.
fn plain(kind: MapKind) -> MapSpec {
    let (key, value, entries, flags) = match kind {
        MapKind::LpmTrie => (8, 4, 4, MapFlags::NO_PREALLOC),
        MapKind::StackTrace => (4, 64, 4, MapFlags::default()),
        MapKind::Queue | MapKind::Stack | MapKind::BloomFilter => (0, 4, 4, MapFlags::default()),
        MapKind::RingBuf | MapKind::UserRingBuf => (0, 0, 4096, MapFlags::default()),
        MapKind::Arena => (0, 0, 4, MapFlags::MMAPABLE),
        MapKind::CgroupStorage | MapKind::PerCpuCgroupStorage => (16, 4, 0, MapFlags::default()),
        MapKind::SkStorage
        | MapKind::InodeStorage
        | MapKind::TaskStorage
        | MapKind::CgrpStorage => (4, 4, 0, MapFlags::NO_PREALLOC),
        _ => (4, 4, 4, MapFlags::default()),
    };
    let mut spec = MapSpec::new("odd-name", kind, key, value, entries);
    spec.flags = flags;
    if matches!(kind, MapKind::ArrayOfMaps | MapKind::HashOfMaps) {
        let template = MapSpec::new("inner", MapKind::Array, 4, 4, 1);
        spec.inner = Some(InnerMap::Spec(Box::new(template)));
    }
    spec
}

type Change = Box<dyn Fn(&mut MapSpec)>;

/// Odd attributes. No change makes the kernel allocate more than a few MiB.
fn changes() -> Vec<Change> {
    let mut list: Vec<Change> = Vec::new();
    for size in [0, 1, 3, 4, 5, 7, 8, 9, 16, 17, 64, 260, 261, 512, 513] {
        list.push(Box::new(move |spec| spec.key_size = size));
    }
    for size in [4_194_247, 4_194_248, 4_194_251, 4_194_252, 1 << 31] {
        list.push(Box::new(move |spec| spec.key_size = size));
    }
    for size in [0, 1, 3, 4, 7, 8, 16, 32, 48, 1016, 1024, 4064, 4096] {
        list.push(Box::new(move |spec| spec.value_size = size));
    }
    for entries in [1, 5, 128, 8192, 12288] {
        list.push(Box::new(move |spec| spec.max_entries = entries));
    }
    // Bit 16 says that a token descriptor is given, which no definition can.
    for bit in (0..20).filter(|bit| *bit != 16) {
        list.push(Box::new(move |spec| spec.flags.0 ^= 1 << bit));
    }
    for extra in [1, 15, 16, 4096, 0x1_0000_0000 - 4096, 0x7fff_0000_0000] {
        list.push(Box::new(move |spec| spec.extra = extra));
    }
    for node in [0, 1024, u32::MAX] {
        list.push(Box::new(move |spec| spec.numa_node = Some(node)));
    }
    list.extend(decisive_changes());
    list
}

/// The changes whose refusal competes with others for the error number: each is paired with every change.
fn decisive_changes() -> Vec<Change> {
    let mut list: Vec<Change> = Vec::new();
    for size in [0, 513, u32::MAX] {
        list.push(Box::new(move |spec| spec.key_size = size));
    }
    for size in [
        32769,
        65407,
        65408,
        4_194_024,
        4_194_025,
        4_194_252,
        1 << 22,
        (1 << 22) + 1,
        u32::MAX,
    ] {
        list.push(Box::new(move |spec| spec.value_size = size));
    }
    for entries in [0, 3] {
        list.push(Box::new(move |spec| spec.max_entries = entries));
    }
    for flags in [
        MapFlags::NO_PREALLOC,
        MapFlags::NUMA_NODE,
        MapFlags::RDONLY_PROG,
    ] {
        list.push(Box::new(move |spec| spec.flags.0 ^= flags.0));
    }
    list.push(Box::new(|spec| spec.extra = 7));
    list.push(Box::new(|spec| {
        spec.flags.0 |= MapFlags::NUMA_NODE.0;
        spec.numa_node = Some(1024);
    }));
    list.push(Box::new(|spec| spec.inner = None));
    list
}

/// Very large numbers of entries, only for kinds whose limit answers before anything is allocated.
fn too_many_entries(kind: MapKind) -> &'static [u32] {
    match kind {
        MapKind::Hash | MapKind::PerCpuHash | MapKind::LruHash | MapKind::LruPerCpuHash => {
            &[(1 << 27) + 1, 1 << 28, 1 << 31, u32::MAX]
        }
        MapKind::HashOfMaps => &[(1 << 27) + 1, u32::MAX],
        MapKind::SockHash => &[(1 << 30) + 1, u32::MAX],
        MapKind::StackTrace | MapKind::DevMapHash => &[(1 << 31) + 1, u32::MAX],
        MapKind::Arena => &[(1 << 20) + 1, u32::MAX],
        _ => &[],
    }
}

/// Both answers; `None` for acceptance.
fn answers(spec: &MapSpec, target: &Target) -> (Option<Errno>, Option<Errno>) {
    let kernel = KernelMap::create(spec)
        .err()
        .map(|error| error.errno().unwrap());
    let rules = map_rules::check(spec, target)
        .err()
        .map(|refusal| refusal.errno);
    (kernel, rules)
}

/// Compares the answers, as far as the rules promise one.
fn compare(spec: &MapSpec, target: &Target, differences: &mut Vec<String>) {
    let (kernel, rules) = answers(spec, target);
    let beyond_the_rules = match kernel {
        // Free memory.
        Some(Errno::ENOMEM) => true,
        // The number of CPUs a kernel is built for.
        Some(Errno::E2BIG) => spec.kind == MapKind::CpuMap,
        _ => false,
    };
    let expected = kernel.filter(|_| !beyond_the_rules);
    if expected != rules {
        differences.push(format!("kernel {kernel:?}, rules {rules:?}: {spec:?}"));
    }
}

/// One kind's plain definition with each change, and with each pair of a change and a decisive one.
fn walk(kind: MapKind, target: &Target) -> (usize, Vec<String>) {
    let mut differences = Vec::new();
    let mut asked = 0;
    for first in &changes() {
        let mut spec = plain(kind);
        first(&mut spec);
        compare(&spec, target, &mut differences);
        asked += 1;
        for second in &decisive_changes() {
            let mut spec = plain(kind);
            first(&mut spec);
            second(&mut spec);
            compare(&spec, target, &mut differences);
            asked += 1;
        }
        for entries in too_many_entries(kind) {
            let mut spec = plain(kind);
            first(&mut spec);
            spec.max_entries = *entries;
            // What the rules accept would really be allocated, gigabytes of it.
            if map_rules::check(&spec, target).is_err() {
                compare(&spec, target, &mut differences);
                asked += 1;
            }
        }
    }
    (asked, differences)
}

fn every_kind_answers_odd_attributes_as_the_kernel_does() {
    let target = Kernel::open().unwrap().target().unwrap();
    let mut asked = 0;
    let mut differences = Vec::new();
    for kind in MapKind::all() {
        let (count, found) = walk(kind, &target);
        asked += count;
        if !found.is_empty() {
            differences.push(format!(
                "{kind}: {} differences, such as\n  {}",
                found.len(),
                found[..found.len().min(6)].join("\n  ")
            ));
        }
    }
    assert!(asked > 40_000, "only {asked} definitions asked");
    assert!(
        differences.is_empty(),
        "of {asked} definitions:\n{}",
        differences.join("\n")
    );
}

fn plain_definitions_of_28_kinds_are_accepted() {
    let accepted = MapKind::all().filter(|kind| KernelMap::create(&plain(*kind)).is_ok());
    assert_eq!(accepted.count(), 28);
}
