//! Where programs run, as plain data: one variant per sort of hook, with what the kernel lets a caller choose there.
//!
//! A hook names its place (an interface, a cgroup's folder, a tracepoint) and holds nothing live, so it can be printed, read
//! from a command line, and used many times. Engines turn it into a link. What a section's name says about a program's
//! hook is in `section.rs`; how a hook is written as text, in `text.rs`.

mod probe;
mod section;
mod several;
mod text;
mod usdt;

use std::path::{Path, PathBuf};

pub use probe::{Counter, Kprobe, PerfEvent, PerfScope, ProbePlace, Sampling, SystemCall, Uprobe};
pub use section::{Places, default_hook};
pub use several::{CodePlaces, KprobeMulti, Moment, Names, UprobeMulti};
pub use usdt::Usdt;

use crate::abi::{AttachKind, ProgramKind};

/// A place where programs run.
///
/// ```
/// use twinbpf_object::hook::Hook;
///
/// let hook: Hook = "xdp.generic:lo".parse()?;
/// assert_eq!(hook.to_string(), "xdp.generic:lo");
/// assert_eq!(Hook::socket("lo").to_string(), "socket:lo");
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hook {
    /// The frames of one interface, both directions, as a raw packet socket sees them.
    Socket {
        /// The interface's name.
        interface: String,
    },
    /// Frames as the driver receives them.
    Xdp(Xdp),
    /// Packets as traffic control sees them.
    Tc(Tc),
    /// Packets as traffic control sees them, as a filter among those of other tools.
    TcFilter(TcFilter),
    /// Packets of a pair of devices between network namespaces (`netkit`).
    Netkit(Netkit),
    /// Packets of a route.
    Route(Route),
    /// The sockets in a map: what is sent by them, or received.
    ///
    /// KERNEL: a socket takes over the programs that the map has when it is put in, and keeps them until it is taken out, even if they
    /// were detached meanwhile (6.18). So attach first.
    SocketMap {
        /// The map's number.
        map: u32,
    },
    /// What processes of a cgroup do.
    Cgroup(Cgroup),
    /// A network namespace as a whole: socket lookup, flow dissection.
    NetworkNamespace {
        /// A file that stands for it, such as `/run/netns/blue`; `None` is the caller's own.
        path: Option<PathBuf>,
    },
    /// A hook of the packet filter.
    Netfilter(Netfilter),
    /// What the program was verified for: entry or exit of a function, a function to replace, a security hook, a tracepoint
    /// with types.
    Tracing {
        /// A number that the program can ask for.
        cookie: u64,
    },
    /// A tracepoint, with its arguments as the kernel passes them.
    RawTracepoint {
        /// The tracepoint's name.
        name: String,
        /// A number that the program can ask for.
        cookie: u64,
    },
    /// A tracepoint, with its arguments as its format lays them out.
    Tracepoint {
        /// The folder it is in, such as `sched`.
        category: String,
        /// Its name.
        name: String,
        /// A number that the program can ask for.
        cookie: u64,
    },
    /// A function of the kernel, or a place in it.
    Kprobe(Kprobe),
    /// A function of a program or library, or a place in it.
    Uprobe(Uprobe),
    /// A system call.
    SystemCall(SystemCall),
    /// Many functions of the kernel.
    KprobeMulti(KprobeMulti),
    /// Many functions of a program or library.
    UprobeMulti(UprobeMulti),
    /// A probe that a program's author left in it.
    Usdt(Usdt),
    /// What the processor or the kernel counts.
    PerfEvent(PerfEvent),
    /// Everything of one sort that the kernel can list; the program writes a line for each.
    Iterator(IteratorScope),
}

/// Where frames are received, and by whom they are handed to the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Xdp {
    /// The interface's name.
    pub interface: String,
    /// Who runs the program.
    pub mode: XdpMode,
    /// Whether the interface is given the program over netlink instead of a link, as `ip link` does: it keeps it when the process ends. Needs
    /// Linux 5.7.
    pub by_netlink: bool,
}

/// Who runs an XDP program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum XdpMode {
    /// The driver if it can, else the kernel.
    #[default]
    Any,
    /// The kernel, after it has made a socket buffer.
    Generic,
    /// The driver.
    Native,
    /// The device itself.
    Offload,
}

/// A direction of an interface's packets, in traffic control.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tc {
    /// The interface's name.
    pub interface: String,
    /// Which packets.
    pub direction: TcDirection,
    /// Where among the programs that are there already.
    pub order: Order,
}

/// A filter of the discipline `clsact`, which every kernel has, and which stays when its process is killed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcFilter {
    /// The interface's name.
    pub interface: String,
    /// Which packets.
    pub direction: TcDirection,
    /// Filters with lower numbers run first; with 0 the kernel chooses one before those that are there.
    pub priority: u16,
    /// The number among those of one priority; with 0 the kernel chooses.
    pub handle: u32,
}

/// Which packets of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TcDirection {
    /// Those that come in.
    Ingress,
    /// Those that go out.
    Egress,
}

/// One end of a pair of devices, where programs are attached by whoever holds the first one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Netkit {
    /// The name of the first device of the pair.
    pub interface: String,
    /// Packets that leave which of the two.
    pub end: NetkitEnd,
    /// Where among the programs that are there already.
    pub order: Order,
}

/// One of the two devices of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NetkitEnd {
    /// The first.
    #[doc(alias = "BPF_NETKIT_PRIMARY")]
    Primary,
    /// The other one.
    #[doc(alias = "BPF_NETKIT_PEER")]
    Peer,
}

/// A route that is made for its program, and stays when its process is killed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The name of the interface that its packets leave by.
    pub interface: String,
    /// Where they go: an address, or a network such as `10.1.0.0/16`.
    pub destination: String,
    /// Where on their way they meet the program.
    pub moment: RouteMoment,
}

/// Where on its way a packet of a route meets the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RouteMoment {
    /// Received, before it is delivered or sent on.
    #[doc(alias = "lwt_in")]
    Input,
    /// Before it is sent on.
    #[doc(alias = "lwt_out")]
    Output,
    /// Just before the device, when the program may change it.
    #[doc(alias = "lwt_xmit")]
    Transmit,
}

/// The processes of a cgroup and of those below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup {
    /// The cgroup's folder.
    pub path: PathBuf,
    /// What they do; `None` is what the program was loaded for.
    pub attach: Option<AttachKind>,
    /// Where among the programs that are there already. Kernels before 6.17 know only the end.
    pub order: Order,
}

/// A hook of the packet filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Netfilter {
    /// Which packets.
    pub family: NetfilterFamily,
    /// Where on their way.
    pub point: NetfilterPoint,
    /// Programs with lower numbers run first. The lowest and the highest number are not free.
    pub priority: i32,
    /// Whether fragments are put together before the program sees them.
    pub defragments: bool,
}

/// Which packets a hook of the packet filter sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NetfilterFamily {
    /// IP version 4.
    #[doc(alias = "NFPROTO_IPV4")]
    Ipv4,
    /// IP version 6.
    #[doc(alias = "NFPROTO_IPV6")]
    Ipv6,
}

/// Where on a packet's way a hook of the packet filter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NetfilterPoint {
    /// Received, not routed yet.
    #[doc(alias = "NF_INET_PRE_ROUTING")]
    Prerouting,
    /// For this host.
    #[doc(alias = "NF_INET_LOCAL_IN")]
    Input,
    /// For another host.
    #[doc(alias = "NF_INET_FORWARD")]
    Forward,
    /// From this host.
    #[doc(alias = "NF_INET_LOCAL_OUT")]
    Output,
    /// About to be sent.
    #[doc(alias = "NF_INET_POST_ROUTING")]
    Postrouting,
}

/// Where a program goes among those that are at the hook already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Order {
    /// The place.
    pub position: Position,
    /// Attach only if the list of programs has this revision, so if nobody changed it since it was asked for.
    pub expected_revision: Option<u64>,
}

/// A place in a list of programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Position {
    /// Behind all others.
    #[default]
    Last,
    /// Before all others.
    First,
    /// Just before one.
    Before(Neighbour),
    /// Just behind one.
    After(Neighbour),
}

/// A program in a list, by the number the kernel gave it or its link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Neighbour {
    /// A program.
    Program(u32),
    /// A link.
    Link(u32),
}

/// Which things an iterator lists.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum IteratorScope {
    /// All there are.
    #[default]
    All,
    /// The elements of one map, by the kernel's number.
    Map(u32),
    /// One task, by its thread's number.
    Thread(u32),
    /// The tasks of one process.
    Process(u32),
    /// Cgroups from one folder on.
    Cgroup {
        /// The folder to start from.
        path: PathBuf,
        /// Which, and in which order.
        walk: CgroupWalk,
    },
}

/// Which cgroups an iterator lists, and in which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CgroupWalk {
    /// This one alone.
    Itself,
    /// This one, then all below it.
    ParentsFirst,
    /// All below it, then this one.
    ChildrenFirst,
    /// This one, then those above it.
    Upwards,
}

impl Hook {
    /// The frames of one interface.
    pub fn socket(interface: &str) -> Self {
        Self::Socket {
            interface: interface.to_owned(),
        }
    }

    /// Frames as the driver of one interface receives them.
    pub fn xdp(interface: &str) -> Self {
        Self::xdp_in(interface, XdpMode::Any)
    }

    /// Frames as the driver of one interface receives them, and who runs the program.
    pub fn xdp_in(interface: &str, mode: XdpMode) -> Self {
        Self::Xdp(Xdp {
            interface: interface.to_owned(),
            mode,
            by_netlink: false,
        })
    }

    /// Packets that come in at an interface, behind all other programs.
    pub fn tc_ingress(interface: &str) -> Self {
        Self::tc(interface, TcDirection::Ingress)
    }

    /// Packets that go out at an interface, behind all other programs.
    pub fn tc_egress(interface: &str) -> Self {
        Self::tc(interface, TcDirection::Egress)
    }

    fn tc(interface: &str, direction: TcDirection) -> Self {
        Self::Tc(Tc {
            interface: interface.to_owned(),
            direction,
            order: Order::default(),
        })
    }

    /// The sockets in a map, by the number the kernel gave it.
    pub fn socket_map(map: u32) -> Self {
        Self::SocketMap { map }
    }

    /// What the processes of a cgroup do, as far as the program was loaded for it.
    pub fn cgroup(path: impl Into<PathBuf>) -> Self {
        Self::Cgroup(Cgroup {
            path: path.into(),
            attach: None,
            order: Order::default(),
        })
    }

    /// The caller's network namespace.
    pub fn network_namespace() -> Self {
        Self::NetworkNamespace { path: None }
    }

    /// A hook of the packet filter.
    pub fn netfilter(family: NetfilterFamily, point: NetfilterPoint, priority: i32) -> Self {
        Self::Netfilter(Netfilter {
            family,
            point,
            priority,
            defragments: false,
        })
    }

    /// What the program was verified for.
    pub fn tracing() -> Self {
        Self::Tracing { cookie: 0 }
    }

    /// A tracepoint, with its arguments as the kernel passes them.
    pub fn raw_tracepoint(name: &str) -> Self {
        Self::RawTracepoint {
            name: name.to_owned(),
            cookie: 0,
        }
    }

    /// What the sort of hook is called, as its text begins.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Socket { .. } => "socket",
            Self::Xdp(_) => "xdp",
            Self::Tc(_) => "tc",
            Self::TcFilter(_) => "clsact",
            Self::Netkit(_) => "netkit",
            Self::Route(_) => "route",
            Self::SocketMap { .. } => "sockmap",
            Self::Cgroup(_) => "cgroup",
            Self::NetworkNamespace { .. } => "netns",
            Self::Netfilter(_) => "netfilter",
            Self::Tracing { .. } => "tracing",
            Self::RawTracepoint { .. } => "raw_tp",
            Self::Tracepoint { .. } => "tp",
            Self::Kprobe(hook) if hook.is_return => "kretprobe",
            Self::Kprobe(_) => "kprobe",
            Self::Uprobe(hook) if hook.is_return => "uretprobe",
            Self::Uprobe(_) => "uprobe",
            Self::SystemCall(hook) if hook.is_return => "kretsyscall",
            Self::SystemCall(_) => "ksyscall",
            Self::KprobeMulti(hook) => several::word("kprobe", hook.moment),
            Self::UprobeMulti(hook) => several::word("uprobe", hook.moment),
            Self::Usdt(_) => "usdt",
            Self::PerfEvent(_) => "perf_event",
            Self::Iterator(_) => "iter",
        }
    }

    /// The interface it is on, if it is on one.
    pub fn interface(&self) -> Option<&str> {
        match self {
            Self::Socket { interface } => Some(interface),
            Self::Xdp(hook) => Some(&hook.interface),
            Self::Tc(hook) => Some(&hook.interface),
            Self::TcFilter(hook) => Some(&hook.interface),
            Self::Netkit(hook) => Some(&hook.interface),
            Self::Route(hook) => Some(&hook.interface),
            _ => None,
        }
    }

    /// The file or folder that stands for its place, if one does.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Cgroup(hook) => Some(&hook.path),
            Self::Uprobe(hook) => Some(&hook.path),
            Self::UprobeMulti(hook) => Some(&hook.path),
            Self::Usdt(hook) => Some(&hook.path),
            Self::NetworkNamespace { path } => path.as_deref(),
            Self::Iterator(IteratorScope::Cgroup { path, .. }) => Some(path),
            _ => None,
        }
    }

    /// Whether programs of this kind can be there at all.
    pub fn takes(&self, kind: ProgramKind) -> bool {
        match self {
            Self::Socket { .. } => kind == ProgramKind::SocketFilter,
            Self::Xdp(_) => kind == ProgramKind::Xdp,
            Self::Tc(_) | Self::TcFilter(_) => {
                matches!(kind, ProgramKind::SchedCls | ProgramKind::SchedAct)
            }
            Self::Netkit(_) => kind == ProgramKind::SchedCls,
            Self::Route(hook) => {
                kind == match hook.moment {
                    RouteMoment::Input => ProgramKind::LwtIn,
                    RouteMoment::Output => ProgramKind::LwtOut,
                    RouteMoment::Transmit => ProgramKind::LwtXmit,
                }
            }
            Self::SocketMap { .. } => matches!(kind, ProgramKind::SkMsg | ProgramKind::SkSkb),
            Self::Cgroup(_) => matches!(
                kind,
                ProgramKind::CgroupSkb
                    | ProgramKind::CgroupSock
                    | ProgramKind::CgroupDevice
                    | ProgramKind::CgroupSockAddr
                    | ProgramKind::CgroupSysctl
                    | ProgramKind::CgroupSockopt
                    | ProgramKind::SockOps
                    | ProgramKind::Lsm
            ),
            Self::NetworkNamespace { .. } => {
                matches!(kind, ProgramKind::SkLookup | ProgramKind::FlowDissector)
            }
            Self::Netfilter(_) => kind == ProgramKind::Netfilter,
            Self::Tracing { .. } => matches!(
                kind,
                ProgramKind::Tracing | ProgramKind::Lsm | ProgramKind::Ext
            ),
            Self::RawTracepoint { .. } => matches!(
                kind,
                ProgramKind::RawTracepoint | ProgramKind::RawTracepointWritable
            ),
            Self::Tracepoint { .. } => kind == ProgramKind::Tracepoint,
            Self::Kprobe(_)
            | Self::Uprobe(_)
            | Self::SystemCall(_)
            | Self::KprobeMulti(_)
            | Self::UprobeMulti(_)
            | Self::Usdt(_) => kind == ProgramKind::Kprobe,
            Self::PerfEvent(_) => kind == ProgramKind::PerfEvent,
            Self::Iterator(_) => kind == ProgramKind::Tracing,
        }
    }
}
