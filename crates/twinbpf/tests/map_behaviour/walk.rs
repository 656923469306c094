//! The same map operations on both engines, step by step: every answer of the vm must be the kernel's, to the errno.
//!
//! Each case creates the same map in both and walks a fixed pseudo-random sequence of lookups, updates with every flag,
//! deletions and iterations over a small set of keys, so that maps fill up, refuse, and empty again.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::LazyLock;

use twinbpf::abi::MapFlags;
use twinbpf::spec::InnerMap;
use twinbpf::{Errno, MapKind, MapSpec, Vm, VmConfig};
use twinbpf_kernel::KernelMap;
use twinbpf_trials::{Case, Need, is_since};
use twinbpf_vm::VmMap;

const STEPS: u32 = 4000;

/// The cases of this file.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    // KERNEL: a full trie of 5.10 refuses to change what it has.
    let is_like_ours = |spec: &MapSpec| spec.kind != MapKind::LpmTrie || is_since(6, 1);
    let known = |spec: &MapSpec| is_known(spec) && is_like_ours(spec);
    for (name, spec) in specs().into_iter().filter(|(_, spec)| known(spec)) {
        cases.push(Case::new(
            &format!("operations::{name}"),
            &[Need::Kernel],
            move || compare_operations(&spec),
        ));
    }
    for (name, spec) in creations().into_iter().filter(|(_, spec)| is_known(spec)) {
        cases.push(Case::new(
            &format!("creation::{name}"),
            &[Need::Kernel],
            move || compare_creation(&spec),
        ));
    }
    cases
}

fn specs() -> Vec<(String, MapSpec)> {
    let flagged = |spec: MapSpec, flags| MapSpec { flags, ..spec };
    let array = |value_size, entries| MapSpec::new("array", MapKind::Array, 4, value_size, entries);
    let hash = |key_size, value_size, entries| {
        MapSpec::new("hash", MapKind::Hash, key_size, value_size, entries)
    };
    let mut specs = vec![
        ("array of 8".to_owned(), array(8, 8)),
        ("array with values of 3 bytes".to_owned(), array(3, 5)),
        ("array of 1".to_owned(), array(64, 1)),
        (
            "array read-only for callers".to_owned(),
            flagged(array(8, 4), MapFlags::RDONLY),
        ),
        (
            "array write-only for callers".to_owned(),
            flagged(array(8, 4), MapFlags::WRONLY),
        ),
        (
            "array read-only for programs".to_owned(),
            flagged(array(8, 4), MapFlags::RDONLY_PROG),
        ),
    ];
    for key_size in [1, 3, 4, 8, 20, 100] {
        specs.push((
            format!("hash with keys of {key_size} bytes"),
            hash(key_size, 8, 6),
        ));
    }
    specs.push((
        "hash without preallocation".to_owned(),
        flagged(hash(4, 8, 6), MapFlags::NO_PREALLOC),
    ));
    specs.push(("hash with values of 13 bytes".to_owned(), hash(4, 13, 6)));
    specs.push(("hash of 1".to_owned(), hash(4, 8, 1)));
    specs.push((
        "hash read-only for callers".to_owned(),
        flagged(hash(4, 8, 4), MapFlags::RDONLY),
    ));
    specs.extend(other_kinds());
    specs
}

/// Kinds beside plain arrays and hashes. LRU kinds never fill up here: which entry they give up is the engine's own choice.
fn other_kinds() -> Vec<(String, MapSpec)> {
    let named = |name: &str, spec| (name.to_owned(), spec);
    let spec = |kind, key, value, entries| MapSpec::new("map", kind, key, value, entries);
    let trie = |key, entries| MapSpec {
        flags: MapFlags::NO_PREALLOC,
        ..spec(MapKind::LpmTrie, key, 8, entries)
    };
    let inner = |kind, key| MapSpec {
        inner: Some(InnerMap::Spec(Box::new(spec(MapKind::Array, 4, 8, 2)))),
        ..spec(kind, key, 4, 6)
    };
    vec![
        named("per-CPU array", spec(MapKind::PerCpuArray, 4, 8, 6)),
        named(
            "per-CPU array of 3 bytes",
            spec(MapKind::PerCpuArray, 4, 3, 6),
        ),
        named("per-CPU hash", spec(MapKind::PerCpuHash, 4, 8, 6)),
        named(
            "per-CPU hash of 13 bytes",
            spec(MapKind::PerCpuHash, 8, 13, 6),
        ),
        named("LRU hash", spec(MapKind::LruHash, 4, 8, 500)),
        named("LRU per-CPU hash", spec(MapKind::LruPerCpuHash, 4, 8, 500)),
        named("prog array", spec(MapKind::ProgArray, 4, 4, 5)),
        named("perf event array", spec(MapKind::PerfEventArray, 4, 4, 2)),
        named("array of maps", inner(MapKind::ArrayOfMaps, 4)),
        named("hash of maps", inner(MapKind::HashOfMaps, 4)),
        named("ring buffer", spec(MapKind::RingBuf, 0, 0, 4096)),
        named("queue", spec(MapKind::Queue, 0, 8, 4)),
        named("stack", spec(MapKind::Stack, 0, 3, 4)),
        named("bloom filter", spec(MapKind::BloomFilter, 0, 8, 1 << 16)),
        named("trie of 8 bits", trie(5, 6)),
        named("trie of 32 bits", trie(8, 40)),
        named("CPU map", spec(MapKind::CpuMap, 4, 4, 2)),
        named("device map", spec(MapKind::DevMap, 4, 4, 3)),
        named("device map with programs", spec(MapKind::DevMap, 4, 8, 3)),
        named("device hash", spec(MapKind::DevMapHash, 4, 4, 3)),
        named("XSK map", spec(MapKind::XskMap, 4, 4, 3)),
        named("socket map", spec(MapKind::SockMap, 4, 4, 3)),
        named("socket map of 8 bytes", spec(MapKind::SockMap, 4, 8, 3)),
        named("socket hash", spec(MapKind::SockHash, 6, 4, 3)),
        named("socket hash of 8 bytes", spec(MapKind::SockHash, 6, 8, 3)),
        named(
            "sockets that share a port",
            spec(MapKind::ReuseportSockArray, 4, 4, 3),
        ),
        named(
            "sockets that share a port, by cookie",
            spec(MapKind::ReuseportSockArray, 4, 8, 3),
        ),
        named("cgroup array", spec(MapKind::CgroupArray, 4, 4, 3)),
        named("stack traces", spec(MapKind::StackTrace, 4, 80, 5)),
        named("user ring buffer", spec(MapKind::UserRingBuf, 0, 0, 4096)),
        named("cgroup storage", spec(MapKind::CgroupStorage, 8, 8, 0)),
        named(
            "cgroup storage by attachment",
            spec(MapKind::CgroupStorage, 16, 8, 0),
        ),
        named(
            "per-CPU cgroup storage",
            spec(MapKind::PerCpuCgroupStorage, 8, 8, 0),
        ),
    ]
}

/// Attributes that at least one rule forbids, and a few that look odd and are fine.
fn creations() -> Vec<(String, MapSpec)> {
    let mut specs = Vec::new();
    let kinds = [
        MapKind::Array,
        MapKind::Hash,
        MapKind::PerCpuArray,
        MapKind::PerCpuHash,
        MapKind::ProgArray,
        MapKind::RingBuf,
        MapKind::Queue,
        MapKind::LpmTrie,
        MapKind::BloomFilter,
        MapKind::Stack,
        MapKind::LruHash,
        MapKind::LruPerCpuHash,
        MapKind::PerfEventArray,
        MapKind::StackTrace,
        MapKind::CgroupArray,
        MapKind::DevMap,
        MapKind::DevMapHash,
        MapKind::CpuMap,
        MapKind::XskMap,
        MapKind::SockMap,
        MapKind::SockHash,
        MapKind::ReuseportSockArray,
        MapKind::CgroupStorage,
        MapKind::PerCpuCgroupStorage,
        MapKind::UserRingBuf,
        MapKind::Arena,
        MapKind::SkStorage,
        MapKind::InodeStorage,
        MapKind::TaskStorage,
        MapKind::CgrpStorage,
    ];
    for kind in kinds {
        for key_size in [0, 1, 4, 8, 512, 513, 1 << 20] {
            for value_size in [0, 1, 8, 1 << 16] {
                for entries in [0, 1, 3] {
                    let name =
                        format!("{kind} key {key_size} value {value_size} entries {entries}");
                    specs.push((name, MapSpec::new("m", kind, key_size, value_size, entries)));
                }
            }
        }
        for bit in 0..17 {
            let spec = MapSpec {
                flags: MapFlags(1 << bit),
                ..MapSpec::new("m", kind, 4, 8, 4)
            };
            specs.push((format!("{kind} flag bit {bit}"), spec));
        }
        let both = MapFlags::RDONLY.union(MapFlags::WRONLY);
        specs.push((
            format!("{kind} read-only and write-only"),
            MapSpec {
                flags: both,
                ..MapSpec::new("m", kind, 4, 8, 4)
            },
        ));
    }
    specs
}

/// KERNEL: 5.10 takes out of queues and stacks only, and none before 6.18 out of stack traces.
fn takes_as_ours(spec: &MapSpec) -> bool {
    match spec.kind {
        MapKind::Queue | MapKind::Stack => true,
        MapKind::StackTrace => is_since(6, 18),
        _ => is_since(5, 14),
    }
}

/// Whether the running kernel has what the vm has. KERNEL: 5.10 refuses longer keys.
fn is_known(spec: &MapSpec) -> bool {
    let is_long = spec.key_size > 512;
    match spec.kind {
        MapKind::BloomFilter => is_since(5, 16),
        MapKind::UserRingBuf => is_since(6, 1),
        MapKind::Arena => is_since(6, 9),
        MapKind::TaskStorage => is_since(5, 11),
        MapKind::CgrpStorage => is_since(6, 2),
        MapKind::Hash | MapKind::PerCpuHash | MapKind::LruHash | MapKind::LruPerCpuHash
            if is_long =>
        {
            is_since(5, 11)
        }
        _ => true,
    }
}

/// Flags of updates that mean the same in the vm, which has the rules of 6.18, as in the running kernel.
fn update_flags() -> &'static [u64] {
    // KERNEL: from 6.19 on per-CPU maps know more flags, and the others check these first; seen on 7.2.
    match is_since(6, 19) {
        true => &[0, 1, 2, 4],
        false => &[0, 1, 2, 3, 4, 5, 8, 1 << 40],
    }
}

/// As [`update_flags`], for lookups.
fn lookup_flags() -> &'static [u64] {
    match is_since(6, 19) {
        true => &[1, 2, 4],
        false => &[1, 2, 4, 8, 1 << 40],
    }
}

/// A vm with as many CPU slots as the kernel has.
pub(crate) fn vm() -> Vm {
    let per_cpu = KernelMap::create(&MapSpec::new("cpus", MapKind::PerCpuArray, 4, 8, 1)).unwrap();
    let cpu_slots = u32::try_from(per_cpu.value_bytes() / 8).unwrap();
    Vm::new(VmConfig {
        cpu_slots,
        ..VmConfig::default()
    })
    .unwrap()
}

fn compare_creation(spec: &MapSpec) {
    let kernel = KernelMap::create(spec)
        .map(drop)
        .map_err(|error| error.errno());
    let vm = vm()
        .create_map(spec)
        .map(drop)
        .map_err(|error| error.errno());
    assert_eq!(
        vm, kernel,
        "vm (left) and kernel (right) differ for {spec:?}"
    );
}

fn compare_operations(spec: &MapSpec) {
    let kernel = KernelMap::create(spec).unwrap();
    let vm = vm().create_map(spec).unwrap();
    assert_eq!(vm.value_bytes(), kernel.value_bytes());
    let mut random = Random(0x5eed);
    for step in 0..STEPS {
        let key = key(spec, random.below(9));
        match random.below(12) {
            0..=3 => {
                let value = value(spec, &mut random, kernel.value_bytes());
                let known = update_flags();
                let flags = known[random.below(known.len() as u64) as usize];
                let flags = if random.below(2) == 0 { 0 } else { flags };
                let answers = (
                    vm.update(&key, &value, flags),
                    kernel.update(&key, &value, flags),
                );
                assert_eq!(
                    answers.0, answers.1,
                    "step {step}: update {key:?} flags {flags:#x}"
                );
            }
            4..=6 => {
                let answers = (lookup_vm(&vm, &key), lookup_kernel(&kernel, &key));
                assert_eq!(answers.0, answers.1, "step {step}: lookup {key:?}");
            }
            10 if takes_as_ours(spec) => {
                let flags = [0, 0, 0, 1, 4, 8][random.below(6) as usize];
                let mut values = (vec![0; vm.value_bytes()], vec![0; vm.value_bytes()]);
                let answers = (
                    vm.take(&key, &mut values.0, flags),
                    kernel.take(&key, &mut values.1, flags),
                );
                assert_eq!(
                    answers.0, answers.1,
                    "step {step}: take {key:?} flags {flags:#x}"
                );
                assert_eq!(values.0, values.1, "step {step}: take {key:?}");
            }
            // KERNEL: 7.2 looks at the map's access before the flags.
            11 if !(is_since(6, 19) && spec.flags.contains(MapFlags::WRONLY)) => {
                let known = lookup_flags();
                let flags = known[random.below(known.len() as u64) as usize];
                let mut value = vec![0; vm.value_bytes()];
                assert_eq!(
                    vm.lookup_with(&key, &mut value, flags),
                    kernel.lookup_with(&key, &mut value, flags),
                    "step {step}: lookup {key:?} flags {flags:#x}"
                );
            }
            7 | 8 => assert_eq!(
                vm.delete(&key),
                kernel.delete(&key),
                "step {step}: delete {key:?}"
            ),
            _ => {
                let keys = (
                    keys_of(spec, |key, next| vm.next_key(key, next)),
                    keys_of(spec, |key, next| kernel.next_key(key, next)),
                );
                assert_eq!(keys.0, keys.1, "step {step}: iteration");
            }
        }
    }
    compare_freezing(&vm, &kernel);
    let (key, value) = (key(spec, 0), vec![0; vm.value_bytes()]);
    assert_eq!(
        vm.update(&key, &value, 0),
        kernel.update(&key, &value, 0),
        "frozen"
    );
    assert_eq!(lookup_vm(&vm, &key), lookup_kernel(&kernel, &key), "frozen");
}

/// KERNEL: freezing is for those who may write, and happens once (6.18; 6.1 answers EBUSY to the second, and does not ask whether
/// the caller may write).
fn compare_freezing(vm: &VmMap, kernel: &KernelMap) {
    for _ in 0..2 {
        let answers = (vm.freeze(), kernel.freeze());
        assert!(answers.0 == answers.1 || !is_since(6, 12), "{answers:?}");
    }
}

fn lookup_vm(map: &VmMap, key: &[u8]) -> Result<Vec<u8>, Errno> {
    let mut value = vec![0; map.value_bytes()];
    map.lookup(key, &mut value).map(|()| value)
}

fn lookup_kernel(map: &KernelMap, key: &[u8]) -> Result<Vec<u8>, Errno> {
    let mut value = vec![0; map.value_bytes()];
    map.lookup(key, &mut value).map(|()| value)
}

/// All keys as a set (the order of a hash map is the engine's own), and the errno that ended the iteration.
fn keys_of(
    spec: &MapSpec,
    next_key: impl Fn(Option<&[u8]>, &mut [u8]) -> Result<(), Errno>,
) -> (BTreeSet<Vec<u8>>, Errno) {
    let mut keys = BTreeSet::new();
    let mut key: Option<Vec<u8>> = None;
    let mut next = vec![0; spec.key_size as usize];
    loop {
        if let Err(errno) = next_key(key.as_deref(), &mut next) {
            return (keys, errno);
        }
        assert!(keys.insert(next.clone()), "a key came twice: {next:?}");
        key = Some(next.clone());
    }
}

/// A value to store: every CPU slot's is padded to 8 bytes with zeros. Descriptors are never valid ones.
fn value(spec: &MapSpec, random: &mut Random, len: usize) -> Vec<u8> {
    let byte = random.byte();
    let holds_descriptors = matches!(
        spec.kind,
        MapKind::ProgArray
            | MapKind::PerfEventArray
            | MapKind::ArrayOfMaps
            | MapKind::HashOfMaps
            | MapKind::CgroupArray
    );
    if holds_descriptors {
        return (-1_i32).to_ne_bytes().to_vec();
    }
    let number = |numbers: &[u64]| {
        let number = numbers[usize::from(byte) % numbers.len()];
        number.to_ne_bytes()[..spec.value_size as usize].to_vec()
    };
    match spec.kind {
        // The vm takes any interface; every kernel has the first.
        MapKind::DevMap | MapKind::DevMapHash => return number(&[0, 1, 1, u64::MAX, 1 << 31]),
        // No file that is open, or one that is no socket.
        MapKind::XskMap | MapKind::SockMap | MapKind::SockHash | MapKind::ReuseportSockArray => {
            return number(&[open_file(), 1 << 30, u64::MAX, 1 << 31]);
        }
        _ => {}
    }
    if spec.kind == MapKind::CpuMap {
        return vec![0x10, 0, 0, 0];
    }
    let size = spec.value_size as usize;
    let padded = |index: usize| {
        if size == len || index % size.next_multiple_of(8) < size {
            byte
        } else {
            0
        }
    };
    (0..len).map(padded).collect()
}

/// The descriptor of a file that is no socket.
pub(crate) fn open_file() -> u64 {
    static FILE: LazyLock<File> = LazyLock::new(|| File::open("/dev/null").unwrap());
    u64::try_from(FILE.as_raw_fd()).unwrap()
}

/// The key for a small number: for arrays the number itself, so that some are out of range.
fn key(spec: &MapSpec, number: u32) -> Vec<u8> {
    if spec.kind == MapKind::LpmTrie {
        let bits = [0, 1, 3, 7, 8, 8, 9, 24, 33][number as usize % 9];
        let data = [0x5a, 0xa5, 0x5b, 0xff].into_iter().cycle();
        let data = data
            .skip(number as usize % 4)
            .take(spec.key_size as usize - 4);
        return u32::to_ne_bytes(bits).into_iter().chain(data).collect();
    }
    let mut key = vec![0xa5; spec.key_size as usize];
    let bytes = number.to_ne_bytes();
    let len = key.len().min(4);
    key[..len].copy_from_slice(&bytes[..len]);
    key
}

/// A fixed sequence (xorshift), so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u32 {
        u32::try_from((self.next() >> 16) % limit).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[3]
    }
}
