//! One hook, one request: which command, which target, which arm.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use twinbpf_object::hook::{
    Cgroup, CgroupWalk, IteratorScope, Kprobe, Neighbour, Netfilter, NetfilterFamily,
    NetfilterPoint, Netkit, NetkitEnd, Order, Position, Tc, TcDirection, Xdp,
};
use twinbpf_object::{AttachKind, Code, Diagnosis, Errno, Hook, ProgramKind, Result};

use super::{in_place, perf, refusal, several, usdt};
use crate::attr::{
    Arm, IterateCgroups, IterateMap, IterateTasks, LinkCreate, NetfilterArm, OrderedArm,
    TracingArm, fd_number,
};
use crate::device;
use crate::map::KernelMap;
use crate::program::{KernelProgram, function_number};
use crate::sys::{self, Numbered};
use crate::xdp::mode_flag;

/// Attaches a program whose kind fits the hook.
///
/// # Errors
///
/// If the place does not exist, or the kernel refuses.
pub(super) fn attach(program: &KernelProgram, hook: &Hook) -> Result<(OwnedFd, Vec<OwnedFd>)> {
    let refused = |errno| in_place(refusal::refused(program, hook, errno), hook);
    let made = match hook {
        Hook::Xdp(hook) => xdp(program, hook)?,
        Hook::Tc(hook) => tc(program, hook)?,
        Hook::Netkit(hook) => netkit(program, hook)?,
        Hook::SocketMap { map } => socket_map(program, *map)?,
        Hook::Cgroup(hook) => cgroup(program, hook)?,
        Hook::NetworkNamespace { path } => network_namespace(program, path.as_deref())?,
        Hook::Netfilter(hook) => netfilter(program, hook),
        Hook::Tracing { cookie } => tracing(program, *cookie),
        Hook::RawTracepoint { name, cookie } => raw_tracepoint(program, name, *cookie)?,
        Hook::Tracepoint {
            category,
            name,
            cookie,
        } => perf::tracepoint(program, category, name, *cookie)?,
        Hook::Kprobe(hook) => perf::kprobe(program, hook)?,
        Hook::Uprobe(hook) => perf::uprobe(program, hook)?,
        Hook::SystemCall(call) => perf::kprobe(
            program,
            &Kprobe {
                function: several::system_call(&call.name)?,
                offset: 0,
                is_return: call.is_return,
                cookie: call.cookie,
            },
        )?,
        Hook::KprobeMulti(hook) => several::kprobe(program, hook)?,
        Hook::UprobeMulti(hook) => several::uprobe(program, hook)?,
        Hook::Usdt(hook) => return together(usdt::attach(program, hook)?).map_err(refused),
        Hook::PerfEvent(event) => {
            return together(perf::counter(program, event)?).map_err(refused);
        }
        Hook::Iterator(scope) => iterator(program, scope)?,
        other => return Err(refusal::no_link(other)),
    };
    made.map(|link| (link, Vec::new())).map_err(refused)
}

type Made = Result<OwnedFd, Errno>;

/// Several events under one handle; all of them, or none.
fn together(made: Vec<Made>) -> Result<(OwnedFd, Vec<OwnedFd>), Errno> {
    let mut links = made.into_iter().collect::<Result<Vec<OwnedFd>, Errno>>()?;
    let first = links.pop().ok_or(Errno::ENODEV)?;
    Ok((first, links))
}

fn head(program: &KernelProgram, target: u32, attach_type: u32) -> LinkCreate {
    LinkCreate {
        prog_fd: fd_number(program.as_fd()),
        target,
        attach_type,
        flags: 0,
    }
}

fn xdp(program: &KernelProgram, hook: &Xdp) -> Result<Made> {
    let index = device::index_of(&hook.interface)?;
    let request = LinkCreate {
        flags: mode_flag(hook.mode),
        ..head(program, index, attach_number("XDP"))
    };
    Ok(sys::link_create(&request, &Arm::None))
}

fn tc(program: &KernelProgram, hook: &Tc) -> Result<Made> {
    let index = device::index_of(&hook.interface)?;
    let attach = match hook.direction {
        TcDirection::Ingress => attach_number("TCX_INGRESS"),
        TcDirection::Egress => attach_number("TCX_EGRESS"),
    };
    let (flags, arm) = ordered(&hook.order);
    let request = LinkCreate {
        flags,
        ..head(program, index, attach)
    };
    Ok(sys::link_create(&request, &arm))
}

fn netkit(program: &KernelProgram, hook: &Netkit) -> Result<Made> {
    let index = device::index_of(&hook.interface)?;
    let attach = match hook.end {
        NetkitEnd::Primary => attach_number("NETKIT_PRIMARY"),
        NetkitEnd::Peer => attach_number("NETKIT_PEER"),
    };
    let (flags, arm) = ordered(&hook.order);
    let request = LinkCreate {
        flags,
        ..head(program, index, attach)
    };
    Ok(sys::link_create(&request, &arm))
}

fn socket_map(program: &KernelProgram, map: u32) -> Result<Made> {
    let map = map_numbered(map)?;
    let attach = match (program.attach_kind(), program.kind()) {
        (Some(attach), _) => attach.0,
        (None, ProgramKind::SkMsg) => attach_number("SK_MSG_VERDICT"),
        // `SEC("sk_skb")`: what needs no parser beside it.
        (None, _) => attach_number("SK_SKB_VERDICT"),
    };
    let request = head(program, fd_number(map.as_fd()), attach);
    Ok(sys::link_create(&request, &Arm::None))
}

fn map_numbered(id: u32) -> Result<OwnedFd> {
    let map = sys::by_id(Numbered::Map, id).and_then(|map| map.ok_or(Errno::ENOENT));
    map.map_err(|errno| refusal::no_map(id, errno))
}

fn cgroup(program: &KernelProgram, hook: &Cgroup) -> Result<Made> {
    let attach = hook.attach.or(program.attach_kind());
    let attach = attach
        .or_else(|| default_cgroup_kind(program.kind()))
        .ok_or_else(|| refusal::direction_open(program))?;
    let folder = folder(&hook.path)?;
    let (flags, arm) = ordered(&hook.order);
    let request = LinkCreate {
        flags,
        ..head(program, fd_number(folder.as_fd()), attach.0)
    };
    Ok(sys::link_create(&request, &arm))
}

/// What programs attach to whose section need not say it, because there is only one.
fn default_cgroup_kind(kind: ProgramKind) -> Option<AttachKind> {
    let name = match kind {
        ProgramKind::CgroupDevice => "CGROUP_DEVICE",
        ProgramKind::CgroupSysctl => "CGROUP_SYSCTL",
        ProgramKind::SockOps => "CGROUP_SOCK_OPS",
        ProgramKind::CgroupSock => "CGROUP_INET_SOCK_CREATE",
        _ => return None,
    };
    AttachKind::from_kernel_name(name)
}

/// Where among the programs there, as flags and an arm. No place named means the end, as all kernels have it.
fn ordered(order: &Order) -> (u32, Arm) {
    let (flags, relative) = match order.position {
        Position::Last => (0, 0),
        Position::First => (BEFORE, 0),
        Position::Before(neighbour) => numbered(BEFORE, neighbour),
        Position::After(neighbour) => numbered(AFTER, neighbour),
    };
    let expected_revision = order.expected_revision.unwrap_or(0);
    let arm = Arm::Ordered(OrderedArm {
        relative,
        padding: 0,
        expected_revision,
    });
    (flags, arm)
}

fn numbered(side: u32, neighbour: Neighbour) -> (u32, u32) {
    match neighbour {
        Neighbour::Program(id) => (side | BY_ID, id),
        Neighbour::Link(id) => (side | BY_ID | OF_LINK, id),
    }
}

fn network_namespace(program: &KernelProgram, path: Option<&Path>) -> Result<Made> {
    let path = path.unwrap_or(Path::new("/proc/thread-self/ns/net"));
    let namespace = open(path, OFlags::empty(), "network namespace")?;
    let attach = match program.kind() {
        ProgramKind::FlowDissector => attach_number("FLOW_DISSECTOR"),
        _ => attach_number("SK_LOOKUP"),
    };
    let request = head(program, fd_number(namespace.as_fd()), attach);
    Ok(sys::link_create(&request, &Arm::None))
}

fn netfilter(program: &KernelProgram, hook: &Netfilter) -> Made {
    let arm = NetfilterArm {
        pf: match hook.family {
            NetfilterFamily::Ipv4 => 2,
            NetfilterFamily::Ipv6 => 10,
        },
        hooknum: match hook.point {
            NetfilterPoint::Prerouting => 0,
            NetfilterPoint::Input => 1,
            NetfilterPoint::Forward => 2,
            NetfilterPoint::Output => 3,
            NetfilterPoint::Postrouting => 4,
        },
        priority: hook.priority,
        flags: u32::from(hook.defragments),
    };
    let request = head(program, 0, attach_number("NETFILTER"));
    sys::link_create(&request, &Arm::Netfilter(arm))
}

/// KERNEL: the request for links took tracing programs with 5.19 or so; the older one does without a cookie, and 6.18 still takes it.
fn tracing(program: &KernelProgram, cookie: u64) -> Made {
    let attach = program.attach_kind().map_or(0, |attach| attach.0);
    if cookie == 0 {
        return sys::raw_tracepoint_open(program.as_fd(), None, 0);
    }
    let arm = TracingArm {
        cookie,
        ..TracingArm::default()
    };
    sys::link_create(&head(program, 0, attach), &Arm::Tracing(arm))
}

/// A program in the place of another's function.
///
/// KERNEL: 6.18 takes a target here for programs of this type alone; others attach where they were verified for.
pub(super) fn replacement(
    program: &KernelProgram,
    target: &KernelProgram,
    function: &str,
    cookie: u64,
) -> Result<OwnedFd> {
    let hook = Hook::Tracing { cookie };
    if program.kind() != ProgramKind::Ext {
        return Err(refusal::no_replacement(program));
    }
    let arm = TracingArm {
        target_btf_id: function_number(target.as_fd(), function)?,
        cookie,
        ..TracingArm::default()
    };
    let request = head(program, fd_number(target.as_fd()), 0);
    sys::link_create(&request, &Arm::Tracing(arm)).map_err(|errno| {
        refusal::not_replaced(refusal::refused(program, &hook, errno), function, errno)
    })
}

fn raw_tracepoint(program: &KernelProgram, name: &str, cookie: u64) -> Result<Made> {
    let c_name = CString::new(name).map_err(|_| refusal::no_tracepoint(name))?;
    Ok(sys::raw_tracepoint_open(
        program.as_fd(),
        Some(&c_name),
        cookie,
    ))
}

fn iterator(program: &KernelProgram, scope: &IteratorScope) -> Result<Made> {
    let request = head(program, 0, attach_number("TRACE_ITER"));
    let tasks = |tid, pid| {
        let scope = IterateTasks {
            tid,
            pid,
            pid_fd: 0,
        };
        sys::link_create_iterator(&request, &scope)
    };
    Ok(match scope {
        IteratorScope::All => sys::link_create(&request, &Arm::None),
        IteratorScope::Thread(tid) => tasks(*tid, 0),
        IteratorScope::Process(pid) => tasks(0, *pid),
        IteratorScope::Map(id) => {
            let map = map_numbered(*id)?;
            let map_fd = fd_number(map.as_fd());
            sys::link_create_iterator(&request, &IterateMap { map_fd })
        }
        IteratorScope::Cgroup { path, walk } => {
            let folder = folder(path)?;
            let scope = IterateCgroups {
                order: match walk {
                    CgroupWalk::Itself => 1,
                    CgroupWalk::ParentsFirst => 2,
                    CgroupWalk::ChildrenFirst => 3,
                    CgroupWalk::Upwards => 4,
                },
                cgroup_fd: fd_number(folder.as_fd()),
                cgroup_id: 0,
            };
            sys::link_create_iterator(&request, &scope)
        }
    })
}

/// Puts a table of functions to use.
pub(super) fn struct_ops(table: &KernelMap) -> Result<OwnedFd> {
    let request = LinkCreate {
        prog_fd: fd_number(table.as_fd()),
        attach_type: attach_number("STRUCT_OPS"),
        ..LinkCreate::default()
    };
    sys::link_create(&request, &Arm::None).map_err(refusal::table_not_used)
}

/// A cgroup's folder; anything else is refused here, because the kernel says only that the descriptor is bad.
fn folder(path: &Path) -> Result<OwnedFd> {
    let folder = open(path, OFlags::DIRECTORY, "cgroup")?;
    let is_cgroup = rustix::fs::fstatfs(&folder)
        .is_ok_and(|found| i128::from(found.f_type) == i128::from(libc::CGROUP2_SUPER_MAGIC));
    if is_cgroup {
        Ok(folder)
    } else {
        Err(refusal::no_cgroup(path))
    }
}

fn open(path: &Path, flags: OFlags, what: &str) -> Result<OwnedFd> {
    let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| {
        let message = format!("the {what} {} cannot be opened", path.display());
        let errno = Errno(errno.raw_os_error());
        Diagnosis::new(Code::ATTACH_TARGET, message)
            .errno(errno)
            .into()
    })
}

/// The number of an attach kind that the table has.
fn attach_number(name: &str) -> u32 {
    AttachKind::from_kernel_name(name).map_or(u32::MAX, |attach| attach.0)
}

/// `BPF_F_BEFORE`
const BEFORE: u32 = 1 << 3;
/// `BPF_F_AFTER`
const AFTER: u32 = 1 << 4;
/// `BPF_F_ID`
const BY_ID: u32 = 1 << 5;
/// `BPF_F_LINK`
const OF_LINK: u32 = 1 << 13;
