//! The requests about links and about programs at hooks.
//!
//! `BPF_LINK_CREATE` is a head of 16 bytes and an *arm*, one of a union, which says more about the sort of link:
//!
//! ```text
//!  0 program | 4 target (descriptor or interface) | 8 attach type | 12 flags | 16 arm ...
//! ```

use std::mem::{offset_of, size_of};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Layout;

/// The head of `BPF_LINK_CREATE`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct LinkCreate {
    /// The program, or the map of kind `struct_ops`.
    pub(crate) prog_fd: u32,
    /// A descriptor or an interface's number.
    pub(crate) target: u32,
    pub(crate) attach_type: u32,
    pub(crate) flags: u32,
}

const _: () = {
    assert!(size_of::<LinkCreate>() == 16);
    assert!(offset_of!(LinkCreate, attach_type) == 8);
};

/// Bytes of the longest arm.
pub(crate) const ARM_BYTES: usize = 48;

/// An arm without addresses.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Arm {
    /// All zero.
    None,
    Cookie(CookieArm),
    Tracing(TracingArm),
    Netfilter(NetfilterArm),
    Ordered(OrderedArm),
}

impl Arm {
    /// The arm's bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::None => &[],
            Self::Cookie(arm) => arm.as_bytes(),
            Self::Tracing(arm) => arm.as_bytes(),
            Self::Netfilter(arm) => arm.as_bytes(),
            Self::Ordered(arm) => arm.as_bytes(),
        }
    }
}

/// Of links to perf events.
#[derive(Debug, Clone, Copy, Default, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct CookieArm {
    pub(crate) bpf_cookie: u64,
}

/// Of links to what a program was verified for.
#[derive(Debug, Clone, Copy, Default, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct TracingArm {
    pub(crate) target_btf_id: u32,
    pub(crate) padding: u32,
    pub(crate) cookie: u64,
}

/// Of links to the packet filter.
#[derive(Debug, Clone, Copy, Default, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct NetfilterArm {
    pub(crate) pf: u32,
    pub(crate) hooknum: u32,
    pub(crate) priority: i32,
    pub(crate) flags: u32,
}

/// Of links to hooks with several programs in an order: tcx, netkit, cgroups.
#[derive(Debug, Clone, Copy, Default, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct OrderedArm {
    /// Number of a program or link; a flag says which.
    pub(crate) relative: u32,
    pub(crate) padding: u32,
    pub(crate) expected_revision: u64,
}

/// Of iterators.
#[derive(Debug, Clone, Copy, Default, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct IteratorArm {
    pub(crate) iter_info: u64,
    pub(crate) iter_info_len: u32,
    pub(crate) padding: u32,
}

/// Of links to many functions of the kernel.
#[derive(Debug, Clone, Copy, Default, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct KprobesArm {
    pub(crate) flags: u32,
    pub(crate) cnt: u32,
    /// Address of so many addresses of names.
    pub(crate) syms: u64,
    pub(crate) addrs: u64,
    /// Address of so many cookies, or 0.
    pub(crate) cookies: u64,
}

/// Of links to many places in a file.
#[derive(Debug, Clone, Copy, Default, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct UprobesArm {
    pub(crate) path: u64,
    /// Address of so many positions, as the next two.
    pub(crate) offsets: u64,
    pub(crate) ref_ctr_offsets: u64,
    pub(crate) cookies: u64,
    pub(crate) cnt: u32,
    pub(crate) flags: u32,
    pub(crate) pid: u32,
    pub(crate) padding: u32,
}

const _: () = {
    assert!(size_of::<KprobesArm>() == 32);
    assert!(size_of::<UprobesArm>() == ARM_BYTES);
    assert!(size_of::<TracingArm>() == 16);
    assert!(size_of::<NetfilterArm>() == 16);
    assert!(size_of::<OrderedArm>() == 16);
    assert!(size_of::<IteratorArm>() == 16);
};

/// `union bpf_iter_link_info` for one map.
#[derive(Debug, Clone, Copy, Default, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct IterateMap {
    pub(crate) map_fd: u32,
}

/// `union bpf_iter_link_info` for cgroups.
#[derive(Debug, Clone, Copy, Default, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct IterateCgroups {
    pub(crate) order: u32,
    pub(crate) cgroup_fd: u32,
    pub(crate) cgroup_id: u64,
}

/// `union bpf_iter_link_info` for tasks.
#[derive(Debug, Clone, Copy, Default, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct IterateTasks {
    pub(crate) tid: u32,
    pub(crate) pid: u32,
    pub(crate) pid_fd: u32,
}

const _: () = {
    assert!(size_of::<IterateMap>() == 4);
    assert!(size_of::<IterateCgroups>() == 16);
    assert!(size_of::<IterateTasks>() == 12);
};

/// `BPF_LINK_UPDATE`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct LinkUpdate {
    pub(crate) link_fd: u32,
    pub(crate) new_prog_fd: u32,
    pub(crate) flags: u32,
    pub(crate) old_prog_fd: u32,
}

/// `BPF_LINK_DETACH`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct LinkDetach {
    pub(crate) link_fd: u32,
}

/// `BPF_ITER_CREATE`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct IterCreate {
    pub(crate) link_fd: u32,
    pub(crate) flags: u32,
}

/// `BPF_RAW_TRACEPOINT_OPEN`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct RawTracepointOpen {
    pub(crate) name: u64,
    pub(crate) prog_fd: u32,
    pub(crate) padding: u32,
    pub(crate) cookie: u64,
}

const _: () = {
    assert!(size_of::<LinkUpdate>() == 16);
    assert!(size_of::<IterCreate>() == 8);
    assert!(size_of::<RawTracepointOpen>() == 24);
};

/// `struct perf_event_attr` as far as its second published size, which every kernel with BPF knows.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct PerfEventAttributes {
    pub(crate) event_type: u32,
    pub(crate) size: u32,
    pub(crate) config: u64,
    /// Counts between two samples, or samples a second; a flag says which.
    pub(crate) sample_period: u64,
    pub(crate) sample_type: u64,
    pub(crate) read_format: u64,
    /// Bit fields, the first lowest.
    pub(crate) flags: u64,
    pub(crate) wakeup_events: u32,
    pub(crate) bp_type: u32,
    /// Of places in code, the address of a name.
    pub(crate) config1: u64,
    /// Of places in code, the offset.
    pub(crate) config2: u64,
}

const _: () = {
    assert!(size_of::<PerfEventAttributes>() == 72);
    assert!(offset_of!(PerfEventAttributes, flags) == 40);
    assert!(offset_of!(PerfEventAttributes, config1) == 56);
};

/// The answer about a link (`struct bpf_link_info`): a head of 16 bytes, and 48 bytes whose meaning the sort of link decides.
/// Where these have addresses, they are set before asking.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct LinkInfoReply {
    pub(crate) link_type: u32,
    pub(crate) id: u32,
    pub(crate) prog_id: u32,
    pub(crate) padding: u32,
    /// Eight bytes each.
    pub(crate) words: [u64; 6],
}

const _: () = assert!(size_of::<LinkInfoReply>() == 64);

/// `enum bpf_link_type`: the first word of the answer.
pub(crate) mod link_type {
    pub(crate) const RAW_TRACEPOINT: u32 = 1;
    pub(crate) const TRACING: u32 = 2;
    pub(crate) const CGROUP: u32 = 3;
    pub(crate) const ITERATOR: u32 = 4;
    pub(crate) const NETNS: u32 = 5;
    pub(crate) const XDP: u32 = 6;
    pub(crate) const PERF_EVENT: u32 = 7;
    pub(crate) const KPROBE_MULTI: u32 = 8;
    pub(crate) const STRUCT_OPS: u32 = 9;
    pub(crate) const NETFILTER: u32 = 10;
    pub(crate) const TCX: u32 = 11;
    pub(crate) const UPROBE_MULTI: u32 = 12;
    pub(crate) const NETKIT: u32 = 13;
    pub(crate) const SOCKMAP: u32 = 14;
}

/// `enum bpf_perf_event_type`: of perf events, the first word behind the head.
pub(crate) mod perf_event_type {
    pub(crate) const UPROBE: u32 = 1;
    pub(crate) const URETPROBE: u32 = 2;
    pub(crate) const KPROBE: u32 = 3;
    pub(crate) const KRETPROBE: u32 = 4;
    pub(crate) const TRACEPOINT: u32 = 5;
    pub(crate) const EVENT: u32 = 6;
    /// Those from here to the last have a name.
    pub(crate) const FIRST_NAMED: u32 = UPROBE;
    pub(crate) const LAST_NAMED: u32 = TRACEPOINT;
}

impl LinkInfoReply {
    /// The half word at an offset behind the head.
    pub(crate) fn half(&self, index: usize) -> u32 {
        let mut halves = self.words.as_bytes().chunks_exact(4);
        let bytes = halves.nth(index);
        bytes
            .and_then(|bytes| bytes.first_chunk())
            .map_or(0, |bytes| u32::from_ne_bytes(*bytes))
    }

    /// The word at an offset behind the head.
    pub(crate) fn word(&self, index: usize) -> u64 {
        self.words.get(index).copied().unwrap_or(0)
    }
}

/// Where the fields of these requests stand, by the kernel's names.
pub const LINK_LAYOUTS: &[Layout] = &[
    layout!("" &["", "", "attach_type", "flags", ""], LinkCreate:
        attach_type = "attach_type", flags = "flags"),
    layout!("" &["bpf_cookie"], CookieArm: bpf_cookie = "bpf_cookie"),
    layout!("perf_event_attr" &["type", "size"], PerfEventAttributes:
        event_type = "type", size = "size", config = "config", sample_type = "sample_type",
        read_format = "read_format"),
    layout!("" &["target_btf_id", "cookie"], TracingArm:
        target_btf_id = "target_btf_id", cookie = "cookie"),
    layout!("" &["pf", "hooknum", "priority", "flags"], NetfilterArm:
        pf = "pf", hooknum = "hooknum", priority = "priority", flags = "flags"),
    layout!("" &["", "expected_revision"], OrderedArm:
        relative = "", expected_revision = "expected_revision"),
    layout!("" &["iter_info", "iter_info_len"], IteratorArm:
        iter_info = "iter_info", iter_info_len = "iter_info_len"),
    layout!("" &["flags", "cnt", "syms"], KprobesArm:
        flags = "flags", cnt = "cnt", syms = "syms", addrs = "addrs", cookies = "cookies"),
    layout!("" &["path", "offsets"], UprobesArm:
        path = "path", offsets = "offsets", ref_ctr_offsets = "ref_ctr_offsets", cookies = "cookies",
        cnt = "cnt", flags = "flags", pid = "pid"),
    layout!("" &["map_fd"], IterateMap: map_fd = "map_fd"),
    layout!("" &["order", "cgroup_fd"], IterateCgroups:
        order = "order", cgroup_fd = "cgroup_fd", cgroup_id = "cgroup_id"),
    layout!("" &["tid", "pid", "pid_fd"], IterateTasks: tid = "tid", pid = "pid", pid_fd = "pid_fd"),
    layout!("" &["link_fd", ""], LinkUpdate: link_fd = "link_fd", flags = "flags"),
    layout!("" &["link_fd", "flags"], IterCreate: link_fd = "link_fd", flags = "flags"),
    layout!("" &["name", "prog_fd"], RawTracepointOpen:
        name = "name", prog_fd = "prog_fd", cookie = "cookie"),
    layout!("bpf_link_info" &["type"], LinkInfoReply:
        link_type = "type", id = "id", prog_id = "prog_id", words = ""),
];
