//! Prototypes of BPF helpers: what each takes and answers, who may call it, under which license, since when.
//!
//! KERNEL: who may call and the license gate were observed on 6.18, by loading a call of every helper in a program of every
//! kind with a license that is and one that is not the GPL's. `lsm`, `lirc_mode2` and `ext` could not be loaded there; for
//! them, and for what only iterators and trampolines may call, bpf-helpers(7) and the kernel's documentation speak. Kinds
//! that attach in several ways were tried in one; some ways allow less. Signatures: `linux/bpf.h`. Versions: the documents
//! of bcc and the kernel's release notes.

use crate::abi::ProgramKind;
use ArgumentKind as A;
use ProgramKind::*;
use ReturnKind as R;

/// A helper as programs and verifiers know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HelperPrototype {
    /// The kernel's number.
    pub number: i32,
    /// The name, without `bpf_`.
    pub name: &'static str,
    /// The kernel that brought it.
    pub since: &'static str,
    /// Whether only programs with a GPL-compatible license may call it.
    pub is_gpl_only: bool,
    /// Which kinds of programs may call it.
    pub kinds: &'static [ProgramKind],
    /// Its arguments.
    pub arguments: &'static [ArgumentKind],
    /// What it answers.
    pub returns: ReturnKind,
}

/// What a helper takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ArgumentKind {
    /// A number, flags included.
    Number,
    /// The program's context.
    Context,
    /// A map.
    Map,
    /// A key of that map, to be read.
    Key,
    /// A value of that map, to be read.
    Value,
    /// Room for a value of that map.
    ValueOut,
    /// Bytes to be read; their number is the next argument.
    Memory,
    /// Room for bytes; their number is the next argument.
    MemoryOut,
    /// The number of bytes of the argument before.
    Size,
    /// A string that ends with 0, in read-only memory.
    Text,
    /// Room for a number.
    NumberOut,
    /// Any address, which need not be valid.
    Address,
    /// A function of the program.
    Function,
    /// What the function gets as its last argument.
    CallbackContext,
    /// A lock in a map's value.
    SpinLock,
    /// A timer in a map's value.
    Timer,
    /// A place for a kernel pointer in a map's value, or what goes there.
    Slot,
    /// A dynptr on the stack.
    Dynptr,
    /// A record that was reserved in a ring buffer.
    Record,
    /// A socket.
    Socket,
    /// Another object of the kernel.
    KernelObject,
}

/// What a helper answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReturnKind {
    /// Nothing.
    Nothing,
    /// A number, often 0 or a negative error number.
    Number,
    /// A value of the map, or null.
    Value,
    /// Memory, or null.
    Memory,
    /// A record of the ring buffer, or null.
    Record,
    /// A socket, or null.
    Socket,
    /// An object of the kernel, or null.
    KernelObject,
}

impl HelperPrototype {
    /// Whether programs of this kind may call it.
    pub fn is_for(&self, kind: ProgramKind) -> bool {
        self.kinds.contains(&kind)
    }
}

/// The prototype of the helper with this number, or `None` for a number the kernel never gave out.
pub fn helper_prototype(number: i32) -> Option<&'static HelperPrototype> {
    let index = usize::try_from(number).ok()?.checked_sub(1)?;
    HELPERS.get(index)
}

const fn row(
    number: i32,
    (name, since, is_gpl_only): (&'static str, &'static str, bool),
    kinds: &'static [ProgramKind],
    arguments: &'static [ArgumentKind],
    returns: ReturnKind,
) -> HelperPrototype {
    HelperPrototype {
        number,
        name,
        since,
        is_gpl_only,
        kinds,
        arguments,
        returns,
    }
}

const GPL: bool = true;
const FREE: bool = false;

/// Every kind of program.
const EVERYONE: &[ProgramKind] = &[
    SocketFilter,
    Kprobe,
    SchedCls,
    SchedAct,
    Tracepoint,
    Xdp,
    PerfEvent,
    CgroupSkb,
    CgroupSock,
    LwtIn,
    LwtOut,
    LwtXmit,
    SockOps,
    SkSkb,
    CgroupDevice,
    SkMsg,
    RawTracepoint,
    CgroupSockAddr,
    LwtSeg6local,
    LircMode2,
    SkReuseport,
    FlowDissector,
    CgroupSysctl,
    RawTracepointWritable,
    CgroupSockopt,
    Tracing,
    StructOps,
    Ext,
    Lsm,
    SkLookup,
    Syscall,
    Netfilter,
];

/// Programs that watch the kernel.
const TRACERS: &[ProgramKind] = &[
    Kprobe,
    Tracepoint,
    PerfEvent,
    RawTracepoint,
    RawTracepointWritable,
    Tracing,
    Lsm,
    Syscall,
];

/// Traffic control and the outgoing side of tunnels.
const TC_AND_TRANSMIT: &[ProgramKind] = &[SchedCls, SchedAct, LwtXmit];

/// Traffic control.
const TC: &[ProgramKind] = &[SchedCls, SchedAct];

/// Traffic control and XDP.
const TC_AND_XDP: &[ProgramKind] = &[SchedCls, SchedAct, Xdp];

/// Traffic control and packets of cgroups.
const TC_AND_CGROUPS: &[ProgramKind] = &[SchedCls, SchedAct, CgroupSkb];

/// Programs that see sockets.
const SEES_SOCKETS: &[ProgramKind] = &[
    SocketFilter,
    SchedCls,
    SchedAct,
    Xdp,
    CgroupSkb,
    LwtIn,
    LwtOut,
    LwtXmit,
    SockOps,
    SkSkb,
    SkMsg,
    CgroupSockAddr,
    LwtSeg6local,
    FlowDissector,
    Tracing,
    Lsm,
    SkLookup,
    Syscall,
];

/// Every helper, in the order of numbers.
#[rustfmt::skip]
pub const HELPERS: &[HelperPrototype] = &[
    row(1, ("map_lookup_elem", "3.19", FREE), EVERYONE, &[A::Map, A::Key], R::Value),
    row(2, ("map_update_elem", "3.19", FREE), EVERYONE, &[A::Map, A::Key, A::Value, A::Number], R::Number),
    row(3, ("map_delete_elem", "3.19", FREE), EVERYONE, &[A::Map, A::Key], R::Number),
    row(4, ("probe_read", "4.1", GPL), TRACERS, &[A::MemoryOut, A::Size, A::Address], R::Number),
    row(5, ("ktime_get_ns", "4.1", FREE), EVERYONE, &[], R::Number),
    row(6, ("trace_printk", "4.1", GPL), EVERYONE, &[A::Memory, A::Size, A::Number, A::Number, A::Number], R::Number),
    row(7, ("get_prandom_u32", "4.1", FREE), EVERYONE, &[], R::Number),
    row(8, ("get_smp_processor_id", "4.1", FREE), EVERYONE, &[], R::Number),
    row(9, ("skb_store_bytes", "4.1", FREE), &[SchedCls, SchedAct, LwtXmit, SkSkb], &[A::Context, A::Number, A::Memory, A::Size, A::Number], R::Number),
    row(10, ("l3_csum_replace", "4.1", FREE), TC_AND_TRANSMIT, &[A::Context, A::Number, A::Number, A::Number, A::Number], R::Number),
    row(11, ("l4_csum_replace", "4.1", FREE), TC_AND_TRANSMIT, &[A::Context, A::Number, A::Number, A::Number, A::Number], R::Number),
    row(12, ("tail_call", "4.2", FREE), EVERYONE, &[A::Context, A::Map, A::Number], R::Number),
    row(13, ("clone_redirect", "4.2", FREE), TC_AND_TRANSMIT, &[A::Context, A::Number, A::Number], R::Number),
    row(14, ("get_current_pid_tgid", "4.2", FREE), EVERYONE, &[], R::Number),
    row(15, ("get_current_uid_gid", "4.2", FREE), EVERYONE, &[], R::Number),
    row(16, ("get_current_comm", "4.2", FREE), EVERYONE, &[A::MemoryOut, A::Size], R::Number),
    row(17, ("get_cgroup_classid", "4.3", FREE), EVERYONE, &[A::Context], R::Number),
    row(18, ("skb_vlan_push", "4.3", FREE), TC, &[A::Context, A::Number, A::Number], R::Number),
    row(19, ("skb_vlan_pop", "4.3", FREE), TC, &[A::Context], R::Number),
    row(20, ("skb_get_tunnel_key", "4.3", FREE), TC_AND_TRANSMIT, &[A::Context, A::Key, A::Number, A::Number], R::Number),
    row(21, ("skb_set_tunnel_key", "4.3", FREE), TC_AND_TRANSMIT, &[A::Context, A::Key, A::Number, A::Number], R::Number),
    row(22, ("perf_event_read", "4.3", GPL), EVERYONE, &[A::Map, A::Number], R::Number),
    row(23, ("redirect", "4.4", FREE), &[SchedCls, SchedAct, Xdp, LwtXmit], &[A::Number, A::Number], R::Number),
    row(24, ("get_route_realm", "4.4", FREE), &[SchedCls, SchedAct, LwtIn, LwtOut, LwtXmit, LwtSeg6local], &[A::Context], R::Number),
    row(25, ("perf_event_output", "4.4", GPL), &[SocketFilter, Kprobe, SchedCls, SchedAct, Tracepoint, Xdp, PerfEvent, CgroupSkb, CgroupSock, LwtIn, LwtOut, LwtXmit, SockOps, SkSkb, CgroupDevice, SkMsg, RawTracepoint, CgroupSockAddr, LwtSeg6local, CgroupSysctl, RawTracepointWritable, CgroupSockopt, Tracing, Lsm, SkLookup, Syscall], &[A::Context, A::Map, A::Number, A::Memory, A::Size], R::Number),
    row(26, ("skb_load_bytes", "4.5", FREE), &[SocketFilter, SchedCls, SchedAct, CgroupSkb, LwtIn, LwtOut, LwtXmit, SkSkb, LwtSeg6local, SkReuseport, FlowDissector], &[A::Context, A::Number, A::MemoryOut, A::Size], R::Number),
    row(27, ("get_stackid", "4.6", GPL), TRACERS, &[A::Context, A::Map, A::Number], R::Number),
    row(28, ("csum_diff", "4.6", FREE), &[SchedCls, SchedAct, Xdp, LwtIn, LwtOut, LwtXmit, LwtSeg6local], &[A::Memory, A::Size, A::Memory, A::Size, A::Number], R::Number),
    row(29, ("skb_get_tunnel_opt", "4.6", FREE), TC_AND_TRANSMIT, &[A::Context, A::MemoryOut, A::Size], R::Number),
    row(30, ("skb_set_tunnel_opt", "4.6", FREE), TC_AND_TRANSMIT, &[A::Context, A::Memory, A::Size], R::Number),
    row(31, ("skb_change_proto", "4.8", FREE), TC, &[A::Context, A::Number, A::Number], R::Number),
    row(32, ("skb_change_type", "4.8", FREE), TC, &[A::Context, A::Number], R::Number),
    row(33, ("skb_under_cgroup", "4.8", FREE), &[SchedCls, SchedAct, LwtIn, LwtOut, LwtXmit, LwtSeg6local], &[A::Context, A::Map, A::Number], R::Number),
    row(34, ("get_hash_recalc", "4.8", FREE), &[SchedCls, SchedAct, LwtIn, LwtOut, LwtXmit, LwtSeg6local], &[A::Context], R::Number),
    row(35, ("get_current_task", "4.8", GPL), EVERYONE, &[], R::Number),
    row(36, ("probe_write_user", "4.8", GPL), &[Kprobe, Tracepoint, PerfEvent, RawTracepoint, RawTracepointWritable, Tracing, Lsm], &[A::Address, A::Memory, A::Size], R::Number),
    row(37, ("current_task_under_cgroup", "4.9", FREE), EVERYONE, &[A::Map, A::Number], R::Number),
    row(38, ("skb_change_tail", "4.9", FREE), &[SchedCls, SchedAct, LwtXmit, SkSkb], &[A::Context, A::Number, A::Number], R::Number),
    row(39, ("skb_pull_data", "4.9", FREE), &[SchedCls, SchedAct, LwtIn, LwtOut, LwtXmit, SkSkb, LwtSeg6local], &[A::Context, A::Number], R::Number),
    row(40, ("csum_update", "4.9", FREE), TC_AND_TRANSMIT, &[A::Context, A::Number], R::Number),
    row(41, ("set_hash_invalid", "4.9", FREE), TC_AND_TRANSMIT, &[A::Context], R::Nothing),
    row(42, ("get_numa_node_id", "4.10", FREE), EVERYONE, &[], R::Number),
    row(43, ("skb_change_head", "4.10", FREE), &[SchedCls, SchedAct, LwtXmit, SkSkb], &[A::Context, A::Number, A::Number], R::Number),
    row(44, ("xdp_adjust_head", "4.10", FREE), &[Xdp], &[A::Context, A::Number], R::Number),
    row(45, ("probe_read_str", "4.11", GPL), TRACERS, &[A::MemoryOut, A::Size, A::Address], R::Number),
    row(46, ("get_socket_cookie", "4.12", FREE), &[SocketFilter, SchedCls, SchedAct, CgroupSkb, CgroupSock, SockOps, SkSkb, CgroupSockAddr, SkReuseport, Tracing, Lsm, Syscall], &[A::Context], R::Number),
    row(47, ("get_socket_uid", "4.12", FREE), &[SocketFilter, SchedCls, SchedAct, CgroupSkb, SkSkb], &[A::Context], R::Number),
    row(48, ("set_hash", "4.13", FREE), TC, &[A::Context, A::Number], R::Number),
    row(49, ("setsockopt", "4.13", FREE), &[SockOps, CgroupSockAddr, CgroupSockopt, StructOps], &[A::Context, A::Number, A::Number, A::Memory, A::Size], R::Number),
    row(50, ("skb_adjust_room", "4.13", FREE), &[SchedCls, SchedAct, SkSkb], &[A::Context, A::Number, A::Number, A::Number], R::Number),
    row(51, ("redirect_map", "4.14", FREE), &[Xdp], &[A::Map, A::Number, A::Number], R::Number),
    row(52, ("sk_redirect_map", "4.14", FREE), &[SkSkb], &[A::Context, A::Map, A::Number, A::Number], R::Number),
    row(53, ("sock_map_update", "4.14", FREE), &[SockOps], &[A::Context, A::Map, A::Key, A::Number], R::Number),
    row(54, ("xdp_adjust_meta", "4.15", FREE), &[Xdp], &[A::Context, A::Number], R::Number),
    row(55, ("perf_event_read_value", "4.15", GPL), EVERYONE, &[A::Map, A::Number, A::MemoryOut, A::Size], R::Number),
    row(56, ("perf_prog_read_value", "4.15", GPL), &[PerfEvent], &[A::Context, A::MemoryOut, A::Size], R::Number),
    row(57, ("getsockopt", "4.15", FREE), &[SockOps, CgroupSockAddr, CgroupSockopt, StructOps], &[A::Context, A::Number, A::Number, A::MemoryOut, A::Size], R::Number),
    row(58, ("override_return", "4.16", GPL), &[Kprobe], &[A::Context, A::Number], R::Number),
    row(59, ("sock_ops_cb_flags_set", "4.16", FREE), &[SockOps], &[A::Context, A::Number], R::Number),
    row(60, ("msg_redirect_map", "4.17", FREE), &[SkMsg], &[A::Context, A::Map, A::Number, A::Number], R::Number),
    row(61, ("msg_apply_bytes", "4.17", FREE), &[SkMsg], &[A::Context, A::Number], R::Number),
    row(62, ("msg_cork_bytes", "4.17", FREE), &[SkMsg], &[A::Context, A::Number], R::Number),
    row(63, ("msg_pull_data", "4.17", FREE), &[SkMsg], &[A::Context, A::Number, A::Number, A::Number], R::Number),
    row(64, ("bind", "4.17", FREE), &[CgroupSockAddr], &[A::Context, A::Memory, A::Size], R::Number),
    row(65, ("xdp_adjust_tail", "4.18", FREE), &[Xdp], &[A::Context, A::Number], R::Number),
    row(66, ("skb_get_xfrm_state", "4.18", FREE), TC, &[A::Context, A::Number, A::MemoryOut, A::Size, A::Number], R::Number),
    row(67, ("get_stack", "4.18", GPL), TRACERS, &[A::Context, A::MemoryOut, A::Size, A::Number], R::Number),
    row(68, ("skb_load_bytes_relative", "4.18", FREE), &[SocketFilter, SchedCls, SchedAct, CgroupSkb, SkReuseport], &[A::Context, A::Number, A::MemoryOut, A::Size, A::Number], R::Number),
    row(69, ("fib_lookup", "4.18", GPL), TC_AND_XDP, &[A::Context, A::MemoryOut, A::Size, A::Number], R::Number),
    row(70, ("sock_hash_update", "4.18", FREE), &[SockOps], &[A::Context, A::Map, A::Key, A::Number], R::Number),
    row(71, ("msg_redirect_hash", "4.18", FREE), &[SkMsg], &[A::Context, A::Map, A::Key, A::Number], R::Number),
    row(72, ("sk_redirect_hash", "4.18", FREE), &[SkSkb], &[A::Context, A::Map, A::Key, A::Number], R::Number),
    row(73, ("lwt_push_encap", "4.18", FREE), &[LwtIn, LwtXmit], &[A::Context, A::Number, A::Memory, A::Size], R::Number),
    row(74, ("lwt_seg6_store_bytes", "4.18", FREE), &[LwtSeg6local], &[A::Context, A::Number, A::Memory, A::Size], R::Number),
    row(75, ("lwt_seg6_adjust_srh", "4.18", FREE), &[LwtSeg6local], &[A::Context, A::Number, A::Number], R::Number),
    row(76, ("lwt_seg6_action", "4.18", FREE), &[LwtSeg6local], &[A::Context, A::Number, A::Memory, A::Size], R::Number),
    row(77, ("rc_repeat", "4.18", GPL), &[LircMode2], &[A::Context], R::Number),
    row(78, ("rc_keydown", "4.18", GPL), &[LircMode2], &[A::Context, A::Number, A::Number, A::Number], R::Number),
    row(79, ("skb_cgroup_id", "4.18", FREE), TC_AND_CGROUPS, &[A::Context], R::Number),
    row(80, ("get_current_cgroup_id", "4.18", FREE), EVERYONE, &[], R::Number),
    row(81, ("get_local_storage", "4.19", FREE), &[CgroupSkb, CgroupSock, SockOps, CgroupDevice, CgroupSockAddr, CgroupSysctl, CgroupSockopt], &[A::Map, A::Number], R::Value),
    row(82, ("sk_select_reuseport", "4.19", FREE), &[SkReuseport], &[A::Context, A::Map, A::Key, A::Number], R::Number),
    row(83, ("skb_ancestor_cgroup_id", "4.19", FREE), TC_AND_CGROUPS, &[A::Context, A::Number], R::Number),
    row(84, ("sk_lookup_tcp", "4.20", FREE), &[SchedCls, SchedAct, Xdp, CgroupSkb, SkSkb, CgroupSockAddr], &[A::Context, A::Memory, A::Size, A::Number, A::Number], R::Socket),
    row(85, ("sk_lookup_udp", "4.20", FREE), &[SchedCls, SchedAct, Xdp, CgroupSkb, SkSkb, CgroupSockAddr], &[A::Context, A::Memory, A::Size, A::Number, A::Number], R::Socket),
    row(86, ("sk_release", "4.20", FREE), &[SchedCls, SchedAct, Xdp, CgroupSkb, SkSkb, CgroupSockAddr, SkLookup], &[A::Socket], R::Number),
    row(87, ("map_push_elem", "4.20", FREE), EVERYONE, &[A::Map, A::Value, A::Number], R::Number),
    row(88, ("map_pop_elem", "4.20", FREE), EVERYONE, &[A::Map, A::ValueOut], R::Number),
    row(89, ("map_peek_elem", "4.20", FREE), EVERYONE, &[A::Map, A::ValueOut], R::Number),
    row(90, ("msg_push_data", "4.20", FREE), &[SkMsg], &[A::Context, A::Number, A::Number, A::Number], R::Number),
    row(91, ("msg_pop_data", "5.0", FREE), &[SkMsg], &[A::Context, A::Number, A::Number, A::Number], R::Number),
    row(92, ("rc_pointer_rel", "5.0", GPL), &[LircMode2], &[A::Context, A::Number, A::Number], R::Number),
    row(93, ("spin_lock", "5.1", FREE), EVERYONE, &[A::SpinLock], R::Number),
    row(94, ("spin_unlock", "5.1", FREE), EVERYONE, &[A::SpinLock], R::Number),
    row(95, ("sk_fullsock", "5.1", FREE), TC_AND_CGROUPS, &[A::Socket], R::Socket),
    row(96, ("tcp_sock", "5.1", FREE), &[SchedCls, SchedAct, CgroupSkb, SockOps, CgroupSockopt], &[A::Socket], R::KernelObject),
    row(97, ("skb_ecn_set_ce", "5.1", FREE), TC_AND_CGROUPS, &[A::Context], R::Number),
    row(98, ("get_listener_sock", "5.1", FREE), TC_AND_CGROUPS, &[A::Socket], R::Socket),
    row(99, ("skc_lookup_tcp", "5.2", FREE), &[SchedCls, SchedAct, Xdp, CgroupSkb, SkSkb, CgroupSockAddr], &[A::Context, A::Memory, A::Size, A::Number, A::Number], R::Socket),
    row(100, ("tcp_check_syncookie", "5.2", GPL), TC_AND_XDP, &[A::Socket, A::Memory, A::Size, A::Memory, A::Size], R::Number),
    row(101, ("sysctl_get_name", "5.2", FREE), &[CgroupSysctl], &[A::Context, A::MemoryOut, A::Size, A::Number], R::Number),
    row(102, ("sysctl_get_current_value", "5.2", FREE), &[CgroupSysctl], &[A::Context, A::MemoryOut, A::Size], R::Number),
    row(103, ("sysctl_get_new_value", "5.2", FREE), &[CgroupSysctl], &[A::Context, A::MemoryOut, A::Size], R::Number),
    row(104, ("sysctl_set_new_value", "5.2", FREE), &[CgroupSysctl], &[A::Context, A::Memory, A::Size], R::Number),
    row(105, ("strtol", "5.2", FREE), EVERYONE, &[A::Memory, A::Size, A::Number, A::NumberOut], R::Number),
    row(106, ("strtoul", "5.2", FREE), EVERYONE, &[A::Memory, A::Size, A::Number, A::NumberOut], R::Number),
    row(107, ("sk_storage_get", "5.2", FREE), &[SchedCls, SchedAct, CgroupSkb, CgroupSock, SockOps, SkMsg, CgroupSockAddr, CgroupSockopt, Tracing, StructOps, Lsm, Syscall], &[A::Map, A::Socket, A::ValueOut, A::Number], R::Value),
    row(108, ("sk_storage_delete", "5.2", FREE), &[SchedCls, SchedAct, CgroupSkb, SockOps, SkMsg, CgroupSockAddr, CgroupSockopt, Tracing, StructOps, Lsm, Syscall], &[A::Map, A::Socket], R::Number),
    row(109, ("send_signal", "5.3", FREE), EVERYONE, &[A::Number], R::Number),
    row(110, ("tcp_gen_syncookie", "5.4", GPL), TC_AND_XDP, &[A::Socket, A::Memory, A::Size, A::Memory, A::Size], R::Number),
    row(111, ("skb_output", "5.5", GPL), &[Tracing, Lsm, Syscall], &[A::KernelObject, A::Map, A::Number, A::Memory, A::Size], R::Number),
    row(112, ("probe_read_user", "5.5", GPL), EVERYONE, &[A::MemoryOut, A::Size, A::Address], R::Number),
    row(113, ("probe_read_kernel", "5.5", GPL), EVERYONE, &[A::MemoryOut, A::Size, A::Address], R::Number),
    row(114, ("probe_read_user_str", "5.5", GPL), EVERYONE, &[A::MemoryOut, A::Size, A::Address], R::Number),
    row(115, ("probe_read_kernel_str", "5.5", GPL), EVERYONE, &[A::MemoryOut, A::Size, A::Address], R::Number),
    row(116, ("tcp_send_ack", "5.6", FREE), &[StructOps], &[A::Address, A::Number], R::Number),
    row(117, ("send_signal_thread", "5.6", FREE), EVERYONE, &[A::Number], R::Number),
    row(118, ("jiffies64", "5.6", FREE), EVERYONE, &[], R::Number),
    row(119, ("read_branch_records", "5.6", GPL), &[PerfEvent], &[A::Context, A::MemoryOut, A::Size, A::Number], R::Number),
    row(120, ("get_ns_current_pid_tgid", "5.7", FREE), EVERYONE, &[A::Number, A::Number, A::MemoryOut, A::Size], R::Number),
    row(121, ("xdp_output", "5.7", GPL), &[Tracing, Lsm, Syscall], &[A::KernelObject, A::Map, A::Number, A::Memory, A::Size], R::Number),
    row(122, ("get_netns_cookie", "5.7", FREE), &[SocketFilter, SchedCls, SchedAct, CgroupSkb, CgroupSock, SockOps, SkMsg, CgroupSockAddr, CgroupSockopt], &[A::Context], R::Number),
    row(123, ("get_current_ancestor_cgroup_id", "5.7", FREE), EVERYONE, &[A::Number], R::Number),
    row(124, ("sk_assign", "5.7", FREE), &[SchedCls, SchedAct, SkLookup], &[A::Context, A::Socket, A::Number], R::Number),
    row(125, ("ktime_get_boot_ns", "5.8", FREE), EVERYONE, &[], R::Number),
    row(126, ("seq_printf", "5.8", GPL), &[Tracing], &[A::KernelObject, A::Memory, A::Size, A::Memory, A::Size], R::Number),
    row(127, ("seq_write", "5.8", GPL), &[Tracing], &[A::KernelObject, A::Memory, A::Size], R::Number),
    row(128, ("sk_cgroup_id", "5.8", FREE), &[CgroupSkb], &[A::Socket], R::Number),
    row(129, ("sk_ancestor_cgroup_id", "5.8", FREE), &[CgroupSkb], &[A::Socket, A::Number], R::Number),
    row(130, ("ringbuf_output", "5.8", FREE), EVERYONE, &[A::Map, A::Memory, A::Size, A::Number], R::Number),
    row(131, ("ringbuf_reserve", "5.8", FREE), EVERYONE, &[A::Map, A::Number, A::Number], R::Record),
    row(132, ("ringbuf_submit", "5.8", FREE), EVERYONE, &[A::Record, A::Number], R::Nothing),
    row(133, ("ringbuf_discard", "5.8", FREE), EVERYONE, &[A::Record, A::Number], R::Nothing),
    row(134, ("ringbuf_query", "5.8", FREE), EVERYONE, &[A::Map, A::Number], R::Number),
    row(135, ("csum_level", "5.8", FREE), TC_AND_TRANSMIT, &[A::Context, A::Number], R::Number),
    row(136, ("skc_to_tcp6_sock", "5.9", FREE), SEES_SOCKETS, &[A::Socket], R::KernelObject),
    row(137, ("skc_to_tcp_sock", "5.9", FREE), SEES_SOCKETS, &[A::Socket], R::KernelObject),
    row(138, ("skc_to_tcp_timewait_sock", "5.9", FREE), SEES_SOCKETS, &[A::Socket], R::KernelObject),
    row(139, ("skc_to_tcp_request_sock", "5.9", FREE), SEES_SOCKETS, &[A::Socket], R::KernelObject),
    row(140, ("skc_to_udp6_sock", "5.9", FREE), SEES_SOCKETS, &[A::Socket], R::KernelObject),
    row(141, ("get_task_stack", "5.9", FREE), EVERYONE, &[A::KernelObject, A::MemoryOut, A::Size, A::Number], R::Number),
    row(142, ("load_hdr_opt", "5.10", FREE), &[SockOps], &[A::Context, A::MemoryOut, A::Size, A::Number], R::Number),
    row(143, ("store_hdr_opt", "5.10", FREE), &[SockOps], &[A::Context, A::Memory, A::Size, A::Number], R::Number),
    row(144, ("reserve_hdr_opt", "5.10", FREE), &[SockOps], &[A::Context, A::Number, A::Number], R::Number),
    row(145, ("inode_storage_get", "5.10", FREE), &[Lsm], &[A::Map, A::KernelObject, A::ValueOut, A::Number], R::Value),
    row(146, ("inode_storage_delete", "5.10", FREE), &[Lsm], &[A::Map, A::KernelObject], R::Number),
    row(147, ("d_path", "5.10", FREE), &[Tracing, Lsm, Syscall], &[A::KernelObject, A::MemoryOut, A::Size], R::Number),
    row(148, ("copy_from_user", "5.10", FREE), EVERYONE, &[A::MemoryOut, A::Size, A::Address], R::Number),
    row(149, ("snprintf_btf", "5.10", FREE), EVERYONE, &[A::MemoryOut, A::Size, A::MemoryOut, A::Size, A::Number], R::Number),
    row(150, ("seq_printf_btf", "5.10", GPL), &[Tracing], &[A::KernelObject, A::MemoryOut, A::Size, A::Number], R::Number),
    row(151, ("skb_cgroup_classid", "5.10", FREE), TC, &[A::Context], R::Number),
    row(152, ("redirect_neigh", "5.10", FREE), TC, &[A::Number, A::Memory, A::Size, A::Number], R::Number),
    row(153, ("per_cpu_ptr", "5.10", FREE), EVERYONE, &[A::Address, A::Number], R::Memory),
    row(154, ("this_cpu_ptr", "5.10", FREE), EVERYONE, &[A::Address], R::Memory),
    row(155, ("redirect_peer", "5.10", FREE), TC, &[A::Number, A::Number], R::Number),
    row(156, ("task_storage_get", "5.11", FREE), EVERYONE, &[A::Map, A::KernelObject, A::ValueOut, A::Number], R::Value),
    row(157, ("task_storage_delete", "5.11", FREE), EVERYONE, &[A::Map, A::KernelObject], R::Number),
    row(158, ("get_current_task_btf", "5.11", GPL), EVERYONE, &[], R::KernelObject),
    row(159, ("bprm_opts_set", "5.11", FREE), &[Lsm], &[A::KernelObject, A::Number], R::Number),
    row(160, ("ktime_get_coarse_ns", "5.11", FREE), &[SocketFilter, SchedCls, SchedAct, Xdp, CgroupSkb, CgroupSock, LwtIn, LwtOut, LwtXmit, SockOps, SkSkb, SkMsg, CgroupSockAddr, LwtSeg6local, SkReuseport, FlowDissector, CgroupSysctl, StructOps, SkLookup], &[], R::Number),
    row(161, ("ima_inode_hash", "5.11", FREE), &[Lsm], &[A::KernelObject, A::MemoryOut, A::Size], R::Number),
    row(162, ("sock_from_file", "5.11", FREE), &[Tracing, Lsm, Syscall], &[A::KernelObject], R::KernelObject),
    row(163, ("check_mtu", "5.12", GPL), TC_AND_XDP, &[A::Context, A::Number, A::NumberOut, A::Number, A::Number], R::Number),
    row(164, ("for_each_map_elem", "5.13", FREE), EVERYONE, &[A::Map, A::Function, A::CallbackContext, A::Number], R::Number),
    row(165, ("snprintf", "5.13", GPL), EVERYONE, &[A::MemoryOut, A::Size, A::Text, A::MemoryOut, A::Size], R::Number),
    row(166, ("sys_bpf", "5.14", FREE), &[Syscall], &[A::Number, A::Memory, A::Size], R::Number),
    row(167, ("btf_find_by_name_kind", "5.14", FREE), &[Syscall], &[A::MemoryOut, A::Size, A::Number, A::Number], R::Number),
    row(168, ("sys_close", "5.14", FREE), &[Syscall], &[A::Number], R::Number),
    row(169, ("timer_init", "5.15", GPL), EVERYONE, &[A::Timer, A::Map, A::Number], R::Number),
    row(170, ("timer_set_callback", "5.15", GPL), EVERYONE, &[A::Timer, A::Function], R::Number),
    row(171, ("timer_start", "5.15", GPL), EVERYONE, &[A::Timer, A::Number, A::Number], R::Number),
    row(172, ("timer_cancel", "5.15", GPL), EVERYONE, &[A::Timer], R::Number),
    row(173, ("get_func_ip", "5.15", GPL), TRACERS, &[A::Context], R::Number),
    row(174, ("get_attach_cookie", "5.15", FREE), &[Kprobe, Tracepoint, PerfEvent, RawTracepoint, RawTracepointWritable, Tracing, Lsm], &[A::Context], R::Number),
    row(175, ("task_pt_regs", "5.15", GPL), EVERYONE, &[A::KernelObject], R::Number),
    row(176, ("get_branch_snapshot", "5.16", GPL), EVERYONE, &[A::MemoryOut, A::Size, A::Number], R::Number),
    row(177, ("trace_vprintk", "5.16", GPL), EVERYONE, &[A::Memory, A::Size, A::Memory, A::Size], R::Number),
    row(178, ("skc_to_unix_sock", "5.16", FREE), SEES_SOCKETS, &[A::Socket], R::KernelObject),
    row(179, ("kallsyms_lookup_name", "5.16", FREE), &[Syscall], &[A::Memory, A::Size, A::Number, A::NumberOut], R::Number),
    row(180, ("find_vma", "5.17", FREE), EVERYONE, &[A::KernelObject, A::Number, A::Function, A::CallbackContext, A::Number], R::Number),
    row(181, ("loop", "5.17", FREE), EVERYONE, &[A::Number, A::Function, A::CallbackContext, A::Number], R::Number),
    row(182, ("strncmp", "5.17", FREE), EVERYONE, &[A::Memory, A::Size, A::Text], R::Number),
    row(183, ("get_func_arg", "5.17", FREE), &[Tracing], &[A::Context, A::Number, A::NumberOut], R::Number),
    row(184, ("get_func_ret", "5.17", FREE), &[Tracing], &[A::Context, A::NumberOut], R::Number),
    row(185, ("get_func_arg_cnt", "5.17", FREE), &[Tracing], &[A::Context], R::Number),
    row(186, ("get_retval", "5.18", FREE), &[CgroupSock, CgroupDevice, CgroupSockAddr, CgroupSysctl, CgroupSockopt], &[], R::Number),
    row(187, ("set_retval", "5.18", FREE), &[CgroupSock, CgroupDevice, CgroupSockAddr, CgroupSysctl, CgroupSockopt], &[A::Number], R::Number),
    row(188, ("xdp_get_buff_len", "5.18", FREE), &[Xdp, Tracing, Lsm, Syscall], &[A::Context], R::Number),
    row(189, ("xdp_load_bytes", "5.18", FREE), &[Xdp], &[A::Context, A::Number, A::MemoryOut, A::Size], R::Number),
    row(190, ("xdp_store_bytes", "5.18", FREE), &[Xdp], &[A::Context, A::Number, A::Memory, A::Size], R::Number),
    row(191, ("copy_from_user_task", "5.18", GPL), EVERYONE, &[A::MemoryOut, A::Size, A::Address, A::KernelObject, A::Number], R::Number),
    row(192, ("skb_set_tstamp", "5.18", FREE), TC, &[A::Context, A::Number, A::Number], R::Number),
    row(193, ("ima_file_hash", "5.18", FREE), &[Lsm], &[A::KernelObject, A::MemoryOut, A::Size], R::Number),
    row(194, ("kptr_xchg", "5.19", FREE), EVERYONE, &[A::Slot, A::Slot], R::Memory),
    row(195, ("map_lookup_percpu_elem", "5.19", FREE), EVERYONE, &[A::Map, A::Key, A::Number], R::Value),
    row(196, ("skc_to_mptcp_sock", "5.19", FREE), SEES_SOCKETS, &[A::Socket], R::KernelObject),
    row(197, ("dynptr_from_mem", "5.19", FREE), EVERYONE, &[A::MemoryOut, A::Size, A::Number, A::Dynptr], R::Number),
    row(198, ("ringbuf_reserve_dynptr", "5.19", FREE), EVERYONE, &[A::Map, A::Number, A::Number, A::Dynptr], R::Number),
    row(199, ("ringbuf_submit_dynptr", "5.19", FREE), EVERYONE, &[A::Dynptr, A::Number], R::Nothing),
    row(200, ("ringbuf_discard_dynptr", "5.19", FREE), EVERYONE, &[A::Dynptr, A::Number], R::Nothing),
    row(201, ("dynptr_read", "5.19", FREE), EVERYONE, &[A::MemoryOut, A::Size, A::Dynptr, A::Number, A::Number], R::Number),
    row(202, ("dynptr_write", "5.19", FREE), EVERYONE, &[A::Dynptr, A::Number, A::Memory, A::Size, A::Number], R::Number),
    row(203, ("dynptr_data", "5.19", FREE), EVERYONE, &[A::Dynptr, A::Number, A::Number], R::Memory),
    row(204, ("tcp_raw_gen_syncookie_ipv4", "6.0", GPL), TC_AND_XDP, &[A::KernelObject, A::MemoryOut, A::Size], R::Number),
    row(205, ("tcp_raw_gen_syncookie_ipv6", "6.0", GPL), TC_AND_XDP, &[A::KernelObject, A::MemoryOut, A::Size], R::Number),
    row(206, ("tcp_raw_check_syncookie_ipv4", "6.0", GPL), TC_AND_XDP, &[A::KernelObject, A::KernelObject], R::Number),
    row(207, ("tcp_raw_check_syncookie_ipv6", "6.0", GPL), TC_AND_XDP, &[A::KernelObject, A::KernelObject], R::Number),
    row(208, ("ktime_get_tai_ns", "6.1", FREE), EVERYONE, &[], R::Number),
    row(209, ("user_ringbuf_drain", "6.1", FREE), EVERYONE, &[A::Map, A::Function, A::CallbackContext, A::Number], R::Number),
    row(210, ("cgrp_storage_get", "6.2", FREE), EVERYONE, &[A::Map, A::KernelObject, A::ValueOut, A::Number], R::Value),
    row(211, ("cgrp_storage_delete", "6.2", FREE), EVERYONE, &[A::Map, A::KernelObject], R::Number),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::helper_name;

    #[test]
    fn every_number_has_a_row_and_no_row_contradicts_itself() {
        assert_eq!(HELPERS.len(), 211);
        for (index, helper) in HELPERS.iter().enumerate() {
            assert_eq!(usize::try_from(helper.number), Ok(index + 1));
            assert_eq!(helper_name(helper.number), Some(helper.name));
            assert!(!helper.kinds.is_empty(), "{}", helper.name);
            assert!(helper.arguments.len() <= 5, "{}", helper.name);
            for pair in helper.arguments.windows(2) {
                let needs_size = matches!(pair[0], A::Memory | A::MemoryOut);
                assert_eq!(pair[1] == A::Size, needs_size, "{}", helper.name);
            }
            assert!(!matches!(
                helper.arguments.last(),
                Some(A::Memory | A::MemoryOut)
            ));
        }
    }

    #[test]
    fn what_everybody_knows_is_so() {
        let lookup = helper_prototype(1).unwrap();
        assert!(ProgramKind::all().all(|kind| lookup.is_for(kind)));
        let redirect = helper_prototype(51).unwrap();
        assert!(redirect.is_for(Xdp) && !redirect.is_for(SchedCls));
        assert!(helper_prototype(6).unwrap().is_gpl_only);
        assert!(helper_prototype(0).is_none() && helper_prototype(212).is_none());
    }
}
