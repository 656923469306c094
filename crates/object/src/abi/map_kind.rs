//! Kinds of maps: their numbers, names and the kernel that brought them.

use std::fmt;

/// The flags of `BPF_MAP_CREATE`, as the kernel's bit set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct MapFlags(pub u32);

impl MapFlags {
    /// Allocate elements when they are needed instead of up front.
    #[doc(alias = "BPF_F_NO_PREALLOC")]
    pub const NO_PREALLOC: Self = Self(1 << 0);
    /// LRU lists per CPU instead of one.
    #[doc(alias = "BPF_F_NO_COMMON_LRU")]
    pub const NO_COMMON_LRU: Self = Self(1 << 1);
    /// The `numa_node` attribute counts.
    #[doc(alias = "BPF_F_NUMA_NODE")]
    pub const NUMA_NODE: Self = Self(1 << 2);
    /// Read-only for system calls.
    #[doc(alias = "BPF_F_RDONLY")]
    pub const RDONLY: Self = Self(1 << 3);
    /// Write-only for system calls.
    #[doc(alias = "BPF_F_WRONLY")]
    pub const WRONLY: Self = Self(1 << 4);
    /// Stack traces hold build identifiers and offsets.
    #[doc(alias = "BPF_F_STACK_BUILD_ID")]
    pub const STACK_BUILD_ID: Self = Self(1 << 5);
    /// Hash with seed zero, for tests.
    #[doc(alias = "BPF_F_ZERO_SEED")]
    pub const ZERO_SEED: Self = Self(1 << 6);
    /// Read-only for programs.
    #[doc(alias = "BPF_F_RDONLY_PROG")]
    pub const RDONLY_PROG: Self = Self(1 << 7);
    /// Write-only for programs.
    #[doc(alias = "BPF_F_WRONLY_PROG")]
    pub const WRONLY_PROG: Self = Self(1 << 8);
    /// Sockets inherit the storage.
    #[doc(alias = "BPF_F_CLONE")]
    pub const CLONE: Self = Self(1 << 9);
    /// The array can be mapped into user space.
    #[doc(alias = "BPF_F_MMAPABLE")]
    pub const MMAPABLE: Self = Self(1 << 10);
    /// Perf events outlive the file descriptor that put them in.
    #[doc(alias = "BPF_F_PRESERVE_ELEMS")]
    pub const PRESERVE_ELEMS: Self = Self(1 << 11);
    /// Inner maps may differ in `max_entries`.
    #[doc(alias = "BPF_F_INNER_MAP")]
    pub const INNER_MAP: Self = Self(1 << 12);
    /// Of an arena: the host may not touch pages that no program was given.
    #[doc(alias = "BPF_F_SEGV_ON_FAULT")]
    pub const SEGV_ON_FAULT: Self = Self(1 << 17);
    /// Of an arena: its addresses are not made addresses of user space.
    #[doc(alias = "BPF_F_NO_USER_CONV")]
    pub const NO_USER_CONV: Self = Self(1 << 18);

    /// Whether all bits of `other` are set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What kind of map: how it stores, finds and forgets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum MapKind {
    /// A table with keys of any shape.
    #[doc(alias = "BPF_MAP_TYPE_HASH")]
    Hash,
    /// A fixed number of slots, all present from the start, keyed by a 32-bit index.
    #[doc(alias = "BPF_MAP_TYPE_ARRAY")]
    Array,
    /// Programs to tail-call, by index.
    #[doc(alias = "BPF_MAP_TYPE_PROG_ARRAY")]
    ProgArray,
    /// Perf events, one per CPU: the older way to send records to user space.
    #[doc(alias = "BPF_MAP_TYPE_PERF_EVENT_ARRAY")]
    PerfEventArray,
    /// A hash table with one value per CPU under each key.
    #[doc(alias = "BPF_MAP_TYPE_PERCPU_HASH")]
    PerCpuHash,
    /// An array with one value per CPU in each slot.
    #[doc(alias = "BPF_MAP_TYPE_PERCPU_ARRAY")]
    PerCpuArray,
    /// Stack traces by identifier.
    #[doc(alias = "BPF_MAP_TYPE_STACK_TRACE")]
    StackTrace,
    /// Cgroups by index, to test membership.
    #[doc(alias = "BPF_MAP_TYPE_CGROUP_ARRAY")]
    CgroupArray,
    /// A hash table that forgets the least recently used entry when full.
    #[doc(alias = "BPF_MAP_TYPE_LRU_HASH")]
    LruHash,
    /// An LRU hash table with one value per CPU.
    #[doc(alias = "BPF_MAP_TYPE_LRU_PERCPU_HASH")]
    LruPerCpuHash,
    /// Longest-prefix match.
    #[doc(alias = "BPF_MAP_TYPE_LPM_TRIE")]
    LpmTrie,
    /// Maps by index.
    #[doc(alias = "BPF_MAP_TYPE_ARRAY_OF_MAPS")]
    ArrayOfMaps,
    /// Maps by key.
    #[doc(alias = "BPF_MAP_TYPE_HASH_OF_MAPS")]
    HashOfMaps,
    /// Network devices by index, to redirect to.
    #[doc(alias = "BPF_MAP_TYPE_DEVMAP")]
    DevMap,
    /// Sockets by index, to redirect to.
    #[doc(alias = "BPF_MAP_TYPE_SOCKMAP")]
    SockMap,
    /// CPUs to redirect packets to.
    #[doc(alias = "BPF_MAP_TYPE_CPUMAP")]
    CpuMap,
    /// `AF_XDP` sockets by queue.
    #[doc(alias = "BPF_MAP_TYPE_XSKMAP")]
    XskMap,
    /// Sockets by key, to redirect to.
    #[doc(alias = "BPF_MAP_TYPE_SOCKHASH")]
    SockHash,
    /// Storage of a cgroup and attachment (superseded by [`MapKind::CgrpStorage`]).
    #[doc(alias = "BPF_MAP_TYPE_CGROUP_STORAGE")]
    CgroupStorage,
    /// Sockets of a reuseport group.
    #[doc(alias = "BPF_MAP_TYPE_REUSEPORT_SOCKARRAY")]
    ReuseportSockArray,
    /// Storage of a cgroup, per CPU (superseded).
    #[doc(alias = "BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE")]
    PerCpuCgroupStorage,
    /// First in, first out; no keys.
    #[doc(alias = "BPF_MAP_TYPE_QUEUE")]
    Queue,
    /// Last in, first out; no keys.
    #[doc(alias = "BPF_MAP_TYPE_STACK")]
    Stack,
    /// Storage attached to a socket.
    #[doc(alias = "BPF_MAP_TYPE_SK_STORAGE")]
    SkStorage,
    /// Network devices by key.
    #[doc(alias = "BPF_MAP_TYPE_DEVMAP_HASH")]
    DevMapHash,
    /// A table of functions that implements a kernel interface.
    #[doc(alias = "BPF_MAP_TYPE_STRUCT_OPS")]
    StructOps,
    /// Records to user space, in order, shared by all CPUs.
    #[doc(alias = "BPF_MAP_TYPE_RINGBUF")]
    RingBuf,
    /// Storage attached to an inode.
    #[doc(alias = "BPF_MAP_TYPE_INODE_STORAGE")]
    InodeStorage,
    /// Storage attached to a task.
    #[doc(alias = "BPF_MAP_TYPE_TASK_STORAGE")]
    TaskStorage,
    /// A set that may answer "perhaps"; no keys.
    #[doc(alias = "BPF_MAP_TYPE_BLOOM_FILTER")]
    BloomFilter,
    /// Records from user space to programs.
    #[doc(alias = "BPF_MAP_TYPE_USER_RINGBUF")]
    UserRingBuf,
    /// Storage attached to a cgroup.
    #[doc(alias = "BPF_MAP_TYPE_CGRP_STORAGE")]
    CgrpStorage,
    /// Memory shared between programs and user space, with pointers in it.
    #[doc(alias = "BPF_MAP_TYPE_ARENA")]
    Arena,
    /// Instruction addresses, for indirect jumps.
    #[doc(alias = "BPF_MAP_TYPE_INSN_ARRAY")]
    InsnArray,
    /// A number that has no row in our table; newer kernels may know it.
    Other(u32),
}

/// One row: what the kernel calls a kind and since when it has it.
struct Row {
    kind: MapKind,
    number: u32,
    name: &'static str,
    kernel_name: &'static str,
    since: &'static str,
}

impl MapKind {
    /// Whether every CPU has a value of its own.
    pub fn is_per_cpu(self) -> bool {
        matches!(
            self,
            Self::PerCpuHash | Self::PerCpuArray | Self::LruPerCpuHash | Self::PerCpuCgroupStorage
        )
    }

    /// The kind with this number; [`MapKind::Other`] if the table has none.
    pub fn from_number(number: u32) -> Self {
        ROWS.iter()
            .find(|row| row.number == number)
            .map_or(Self::Other(number), |row| row.kind)
    }

    /// The kind with this short name, as `bpftool` and the command line write it.
    pub fn from_name(name: &str) -> Option<Self> {
        ROWS.iter().find(|row| row.name == name).map(|row| row.kind)
    }

    /// The number that `bpf(2)` takes.
    pub fn number(self) -> u32 {
        match self {
            Self::Other(number) => number,
            _ => self.row().map_or(0, |row| row.number),
        }
    }

    /// The short name, or `None` for a number without a row.
    pub fn name(self) -> Option<&'static str> {
        self.row().map(|row| row.name)
    }

    /// The kernel's own spelling, or `None` for a number without a row.
    pub fn kernel_name(self) -> Option<&'static str> {
        self.row().map(|row| row.kernel_name)
    }

    /// The first kernel release that has this kind.
    pub fn since(self) -> Option<&'static str> {
        self.row().map(|row| row.since)
    }

    /// Every kind of the table, in the order of their numbers.
    pub fn all() -> impl Iterator<Item = Self> {
        ROWS.iter().map(|row| row.kind)
    }

    fn row(self) -> Option<&'static Row> {
        ROWS.iter().find(|row| row.kind == self)
    }
}

impl fmt::Display for MapKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "type {}", self.number()),
        }
    }
}

const fn row(
    kind: MapKind,
    number: u32,
    name: &'static str,
    kernel_name: &'static str,
    since: &'static str,
) -> Row {
    Row {
        kind,
        number,
        name,
        kernel_name,
        since,
    }
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    row(MapKind::Hash, 1, "hash", "BPF_MAP_TYPE_HASH", "3.19"),
    row(MapKind::Array, 2, "array", "BPF_MAP_TYPE_ARRAY", "3.19"),
    row(MapKind::ProgArray, 3, "prog_array", "BPF_MAP_TYPE_PROG_ARRAY", "4.2"),
    row(MapKind::PerfEventArray, 4, "perf_event_array", "BPF_MAP_TYPE_PERF_EVENT_ARRAY", "4.3"),
    row(MapKind::PerCpuHash, 5, "percpu_hash", "BPF_MAP_TYPE_PERCPU_HASH", "4.6"),
    row(MapKind::PerCpuArray, 6, "percpu_array", "BPF_MAP_TYPE_PERCPU_ARRAY", "4.6"),
    row(MapKind::StackTrace, 7, "stack_trace", "BPF_MAP_TYPE_STACK_TRACE", "4.6"),
    row(MapKind::CgroupArray, 8, "cgroup_array", "BPF_MAP_TYPE_CGROUP_ARRAY", "4.8"),
    row(MapKind::LruHash, 9, "lru_hash", "BPF_MAP_TYPE_LRU_HASH", "4.10"),
    row(MapKind::LruPerCpuHash, 10, "lru_percpu_hash", "BPF_MAP_TYPE_LRU_PERCPU_HASH", "4.10"),
    row(MapKind::LpmTrie, 11, "lpm_trie", "BPF_MAP_TYPE_LPM_TRIE", "4.11"),
    row(MapKind::ArrayOfMaps, 12, "array_of_maps", "BPF_MAP_TYPE_ARRAY_OF_MAPS", "4.12"),
    row(MapKind::HashOfMaps, 13, "hash_of_maps", "BPF_MAP_TYPE_HASH_OF_MAPS", "4.12"),
    row(MapKind::DevMap, 14, "devmap", "BPF_MAP_TYPE_DEVMAP", "4.14"),
    row(MapKind::SockMap, 15, "sockmap", "BPF_MAP_TYPE_SOCKMAP", "4.14"),
    row(MapKind::CpuMap, 16, "cpumap", "BPF_MAP_TYPE_CPUMAP", "4.15"),
    row(MapKind::XskMap, 17, "xskmap", "BPF_MAP_TYPE_XSKMAP", "4.18"),
    row(MapKind::SockHash, 18, "sockhash", "BPF_MAP_TYPE_SOCKHASH", "4.18"),
    row(MapKind::CgroupStorage, 19, "cgroup_storage", "BPF_MAP_TYPE_CGROUP_STORAGE", "4.19"),
    row(MapKind::ReuseportSockArray, 20, "reuseport_sockarray", "BPF_MAP_TYPE_REUSEPORT_SOCKARRAY", "4.19"),
    row(MapKind::PerCpuCgroupStorage, 21, "percpu_cgroup_storage", "BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE", "4.20"),
    row(MapKind::Queue, 22, "queue", "BPF_MAP_TYPE_QUEUE", "4.20"),
    row(MapKind::Stack, 23, "stack", "BPF_MAP_TYPE_STACK", "4.20"),
    row(MapKind::SkStorage, 24, "sk_storage", "BPF_MAP_TYPE_SK_STORAGE", "5.2"),
    row(MapKind::DevMapHash, 25, "devmap_hash", "BPF_MAP_TYPE_DEVMAP_HASH", "5.4"),
    row(MapKind::StructOps, 26, "struct_ops", "BPF_MAP_TYPE_STRUCT_OPS", "5.6"),
    row(MapKind::RingBuf, 27, "ringbuf", "BPF_MAP_TYPE_RINGBUF", "5.8"),
    row(MapKind::InodeStorage, 28, "inode_storage", "BPF_MAP_TYPE_INODE_STORAGE", "5.10"),
    row(MapKind::TaskStorage, 29, "task_storage", "BPF_MAP_TYPE_TASK_STORAGE", "5.11"),
    row(MapKind::BloomFilter, 30, "bloom_filter", "BPF_MAP_TYPE_BLOOM_FILTER", "5.16"),
    row(MapKind::UserRingBuf, 31, "user_ringbuf", "BPF_MAP_TYPE_USER_RINGBUF", "6.1"),
    row(MapKind::CgrpStorage, 32, "cgrp_storage", "BPF_MAP_TYPE_CGRP_STORAGE", "6.2"),
    row(MapKind::Arena, 33, "arena", "BPF_MAP_TYPE_ARENA", "6.9"),
    row(MapKind::InsnArray, 34, "insn_array", "BPF_MAP_TYPE_INSN_ARRAY", "6.19"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_number_and_by_its_name() {
        for kind in MapKind::all() {
            assert_eq!(MapKind::from_number(kind.number()), kind);
            assert_eq!(MapKind::from_name(kind.name().unwrap()), Some(kind));
        }
        assert_eq!(MapKind::from_number(9999).number(), 9999);
    }
}
