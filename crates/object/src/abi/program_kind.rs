//! Kinds of programs: their numbers, names and the kernel that brought them.

use std::fmt;

/// What kind of program: which hook runs it, with which context, and what its return value means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ProgramKind {
    /// Sees the packets of one socket and says how many bytes to keep.
    #[doc(alias = "BPF_PROG_TYPE_SOCKET_FILTER")]
    SocketFilter,
    /// Runs at a kernel or user function (kprobe, uprobe, usdt and their multi forms).
    #[doc(alias = "BPF_PROG_TYPE_KPROBE")]
    Kprobe,
    /// A traffic-control classifier (tc, tcx, netkit).
    #[doc(alias = "BPF_PROG_TYPE_SCHED_CLS")]
    SchedCls,
    /// A traffic-control action.
    #[doc(alias = "BPF_PROG_TYPE_SCHED_ACT")]
    SchedAct,
    /// Runs at a tracepoint with its record as context.
    #[doc(alias = "BPF_PROG_TYPE_TRACEPOINT")]
    Tracepoint,
    /// Runs on a packet before the stack sees it.
    #[doc(alias = "BPF_PROG_TYPE_XDP")]
    Xdp,
    /// Runs at a perf event.
    #[doc(alias = "BPF_PROG_TYPE_PERF_EVENT")]
    PerfEvent,
    /// Sees the packets of a cgroup.
    #[doc(alias = "BPF_PROG_TYPE_CGROUP_SKB")]
    CgroupSkb,
    /// Runs at socket life events of a cgroup.
    #[doc(alias = "BPF_PROG_TYPE_CGROUP_SOCK")]
    CgroupSock,
    /// Lightweight tunnel, input.
    #[doc(alias = "BPF_PROG_TYPE_LWT_IN")]
    LwtIn,
    /// Lightweight tunnel, output.
    #[doc(alias = "BPF_PROG_TYPE_LWT_OUT")]
    LwtOut,
    /// Lightweight tunnel, transmit.
    #[doc(alias = "BPF_PROG_TYPE_LWT_XMIT")]
    LwtXmit,
    /// Runs at TCP events of a cgroup.
    #[doc(alias = "BPF_PROG_TYPE_SOCK_OPS")]
    SockOps,
    /// Parses or redirects stream data of a socket map.
    #[doc(alias = "BPF_PROG_TYPE_SK_SKB")]
    SkSkb,
    /// Allows or denies device access in a cgroup.
    #[doc(alias = "BPF_PROG_TYPE_CGROUP_DEVICE")]
    CgroupDevice,
    /// Sees messages sent on sockets of a socket map.
    #[doc(alias = "BPF_PROG_TYPE_SK_MSG")]
    SkMsg,
    /// Runs at a tracepoint with its raw arguments.
    #[doc(alias = "BPF_PROG_TYPE_RAW_TRACEPOINT")]
    RawTracepoint,
    /// Sees and changes socket addresses in a cgroup.
    #[doc(alias = "BPF_PROG_TYPE_CGROUP_SOCK_ADDR")]
    CgroupSockAddr,
    /// Lightweight tunnel, IPv6 segment routing.
    #[doc(alias = "BPF_PROG_TYPE_LWT_SEG6LOCAL")]
    LwtSeg6local,
    /// Decodes infrared signals.
    #[doc(alias = "BPF_PROG_TYPE_LIRC_MODE2")]
    LircMode2,
    /// Chooses a socket of a reuseport group.
    #[doc(alias = "BPF_PROG_TYPE_SK_REUSEPORT")]
    SkReuseport,
    /// Dissects packets into flow keys.
    #[doc(alias = "BPF_PROG_TYPE_FLOW_DISSECTOR")]
    FlowDissector,
    /// Allows, denies or changes sysctl access in a cgroup.
    #[doc(alias = "BPF_PROG_TYPE_CGROUP_SYSCTL")]
    CgroupSysctl,
    /// A raw tracepoint that may write its first argument.
    #[doc(alias = "BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE")]
    RawTracepointWritable,
    /// Sees and changes socket options in a cgroup.
    #[doc(alias = "BPF_PROG_TYPE_CGROUP_SOCKOPT")]
    CgroupSockopt,
    /// Typed tracing: fentry, fexit, fmod_ret, tp_btf, iterators.
    #[doc(alias = "BPF_PROG_TYPE_TRACING")]
    Tracing,
    /// Implements a function of a kernel interface.
    #[doc(alias = "BPF_PROG_TYPE_STRUCT_OPS")]
    StructOps,
    /// Replaces a function of another program (freplace).
    #[doc(alias = "BPF_PROG_TYPE_EXT")]
    Ext,
    /// Runs at a security hook.
    #[doc(alias = "BPF_PROG_TYPE_LSM")]
    Lsm,
    /// Chooses the socket for an incoming connection.
    #[doc(alias = "BPF_PROG_TYPE_SK_LOOKUP")]
    SkLookup,
    /// Runs on request and may call `bpf(2)`.
    #[doc(alias = "BPF_PROG_TYPE_SYSCALL")]
    Syscall,
    /// Runs at a netfilter hook.
    #[doc(alias = "BPF_PROG_TYPE_NETFILTER")]
    Netfilter,
    /// A number that has no row in our table; newer kernels may know it.
    Other(u32),
}

/// One row: what the kernel calls a kind and since when it has it.
struct Row {
    kind: ProgramKind,
    number: u32,
    name: &'static str,
    kernel_name: &'static str,
    since: &'static str,
}

impl ProgramKind {
    /// The kind with this number; [`ProgramKind::Other`] if the table has none.
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

impl fmt::Display for ProgramKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "type {}", self.number()),
        }
    }
}

const fn row(
    kind: ProgramKind,
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
    row(ProgramKind::SocketFilter, 1, "socket_filter", "BPF_PROG_TYPE_SOCKET_FILTER", "3.19"),
    row(ProgramKind::Kprobe, 2, "kprobe", "BPF_PROG_TYPE_KPROBE", "4.1"),
    row(ProgramKind::SchedCls, 3, "sched_cls", "BPF_PROG_TYPE_SCHED_CLS", "4.1"),
    row(ProgramKind::SchedAct, 4, "sched_act", "BPF_PROG_TYPE_SCHED_ACT", "4.1"),
    row(ProgramKind::Tracepoint, 5, "tracepoint", "BPF_PROG_TYPE_TRACEPOINT", "4.7"),
    row(ProgramKind::Xdp, 6, "xdp", "BPF_PROG_TYPE_XDP", "4.8"),
    row(ProgramKind::PerfEvent, 7, "perf_event", "BPF_PROG_TYPE_PERF_EVENT", "4.9"),
    row(ProgramKind::CgroupSkb, 8, "cgroup_skb", "BPF_PROG_TYPE_CGROUP_SKB", "4.10"),
    row(ProgramKind::CgroupSock, 9, "cgroup_sock", "BPF_PROG_TYPE_CGROUP_SOCK", "4.10"),
    row(ProgramKind::LwtIn, 10, "lwt_in", "BPF_PROG_TYPE_LWT_IN", "4.10"),
    row(ProgramKind::LwtOut, 11, "lwt_out", "BPF_PROG_TYPE_LWT_OUT", "4.10"),
    row(ProgramKind::LwtXmit, 12, "lwt_xmit", "BPF_PROG_TYPE_LWT_XMIT", "4.10"),
    row(ProgramKind::SockOps, 13, "sock_ops", "BPF_PROG_TYPE_SOCK_OPS", "4.13"),
    row(ProgramKind::SkSkb, 14, "sk_skb", "BPF_PROG_TYPE_SK_SKB", "4.14"),
    row(ProgramKind::CgroupDevice, 15, "cgroup_device", "BPF_PROG_TYPE_CGROUP_DEVICE", "4.15"),
    row(ProgramKind::SkMsg, 16, "sk_msg", "BPF_PROG_TYPE_SK_MSG", "4.17"),
    row(ProgramKind::RawTracepoint, 17, "raw_tracepoint", "BPF_PROG_TYPE_RAW_TRACEPOINT", "4.17"),
    row(ProgramKind::CgroupSockAddr, 18, "cgroup_sock_addr", "BPF_PROG_TYPE_CGROUP_SOCK_ADDR", "4.17"),
    row(ProgramKind::LwtSeg6local, 19, "lwt_seg6local", "BPF_PROG_TYPE_LWT_SEG6LOCAL", "4.18"),
    row(ProgramKind::LircMode2, 20, "lirc_mode2", "BPF_PROG_TYPE_LIRC_MODE2", "4.18"),
    row(ProgramKind::SkReuseport, 21, "sk_reuseport", "BPF_PROG_TYPE_SK_REUSEPORT", "4.19"),
    row(ProgramKind::FlowDissector, 22, "flow_dissector", "BPF_PROG_TYPE_FLOW_DISSECTOR", "4.20"),
    row(ProgramKind::CgroupSysctl, 23, "cgroup_sysctl", "BPF_PROG_TYPE_CGROUP_SYSCTL", "5.2"),
    row(ProgramKind::RawTracepointWritable, 24, "raw_tracepoint_writable", "BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE", "5.2"),
    row(ProgramKind::CgroupSockopt, 25, "cgroup_sockopt", "BPF_PROG_TYPE_CGROUP_SOCKOPT", "5.3"),
    row(ProgramKind::Tracing, 26, "tracing", "BPF_PROG_TYPE_TRACING", "5.5"),
    row(ProgramKind::StructOps, 27, "struct_ops", "BPF_PROG_TYPE_STRUCT_OPS", "5.6"),
    row(ProgramKind::Ext, 28, "ext", "BPF_PROG_TYPE_EXT", "5.6"),
    row(ProgramKind::Lsm, 29, "lsm", "BPF_PROG_TYPE_LSM", "5.7"),
    row(ProgramKind::SkLookup, 30, "sk_lookup", "BPF_PROG_TYPE_SK_LOOKUP", "5.9"),
    row(ProgramKind::Syscall, 31, "syscall", "BPF_PROG_TYPE_SYSCALL", "5.14"),
    row(ProgramKind::Netfilter, 32, "netfilter", "BPF_PROG_TYPE_NETFILTER", "6.4"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_number_and_by_its_name() {
        for kind in ProgramKind::all() {
            assert_eq!(ProgramKind::from_number(kind.number()), kind);
            assert_eq!(ProgramKind::from_name(kind.name().unwrap()), Some(kind));
        }
        assert_eq!(ProgramKind::from_number(9999).number(), 9999);
    }
}
