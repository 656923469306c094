//! What the kernel says about links, ours and others', one variant per sort.

use std::os::fd::BorrowedFd;

use twinbpf_object::{AttachKind, Errno};

use crate::attr::{LinkInfoReply, link_type, perf_event_type};
use crate::{device, sys};

/// What the kernel says about a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkInfo {
    /// The number by which other processes can ask for it.
    pub id: u32,
    /// The number of its program; 0 if it has none, as links of `struct_ops`.
    pub program: u32,
    /// Where it is.
    pub place: LinkPlace,
}

/// Where a link is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkPlace {
    /// A raw tracepoint.
    RawTracepoint {
        /// Its name.
        name: String,
        /// What the program can ask for.
        cookie: u64,
    },
    /// What the program was verified for.
    Tracing {
        /// Which end of it.
        attach: AttachKind,
        /// The BTF, or program, that has it.
        object: u32,
        /// The type's number in there.
        type_id: u32,
        /// What the program can ask for.
        cookie: u64,
    },
    /// A cgroup.
    Cgroup {
        /// Its number.
        cgroup: u64,
        /// What its processes do.
        attach: AttachKind,
    },
    /// An iterator.
    Iterator {
        /// Over what.
        target: String,
        /// The map, for iterators over elements of one.
        map: Option<u32>,
    },
    /// A network namespace.
    NetworkNamespace {
        /// Its number, as `/proc/self/ns/net` shows it; 0 once it has gone.
        inode: u32,
        /// Lookup or dissection.
        attach: AttachKind,
    },
    /// Frames as a driver receives them.
    Xdp {
        /// The interface; 0 once it has gone.
        interface: u32,
    },
    /// A table of functions.
    StructOps {
        /// The map.
        map: u32,
    },
    /// The packet filter.
    Netfilter {
        /// `NFPROTO_*`
        family: u32,
        /// `NF_INET_*`
        point: u32,
        /// Programs with lower numbers run first.
        priority: i32,
        /// Whether fragments are put together first.
        defragments: bool,
    },
    /// Traffic control.
    Tcx {
        /// The interface; 0 once it has gone.
        interface: u32,
        /// In or out.
        attach: AttachKind,
    },
    /// A netkit device.
    Netkit {
        /// The interface; 0 once it has gone.
        interface: u32,
        /// Which end.
        attach: AttachKind,
    },
    /// A map of sockets.
    SockMap {
        /// The map.
        map: u32,
        /// What the sockets do.
        attach: AttachKind,
    },
    /// Entries or returns of many functions of the kernel.
    KprobeMulti {
        /// How many functions.
        count: u32,
        /// Whether their returns.
        is_return: bool,
        /// Events the program missed.
        missed: u64,
    },
    /// Entries or returns of many functions of a file.
    UprobeMulti {
        /// The file.
        path: String,
        /// How many functions.
        count: u32,
        /// Whether their returns.
        is_return: bool,
        /// The only process, or 0 for all.
        pid: u32,
    },
    /// A function of a file.
    Uprobe {
        /// The file.
        path: String,
        /// Where in it.
        offset: u32,
        /// Whether its return.
        is_return: bool,
        /// What the program can ask for.
        cookie: u64,
    },
    /// A function of the kernel.
    Kprobe {
        /// Its name.
        function: String,
        /// How far behind its begin.
        offset: u32,
        /// Whether its return.
        is_return: bool,
        /// Its address, if this process may see it.
        address: u64,
        /// Events the program missed.
        missed: u64,
        /// What the program can ask for.
        cookie: u64,
    },
    /// A tracepoint.
    Tracepoint {
        /// Its name.
        name: String,
        /// What the program can ask for.
        cookie: u64,
    },
    /// Another event of perf.
    PerfEvent {
        /// `PERF_TYPE_*`
        event_type: u32,
        /// What is counted.
        config: u64,
        /// What the program can ask for.
        cookie: u64,
    },
    /// A sort that is newer than this library.
    Other(u32),
}

impl LinkPlace {
    /// What the sort of link is called: the words of `bpftool link`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::RawTracepoint { .. } => "raw_tracepoint",
            Self::Tracing { .. } => "tracing",
            Self::Cgroup { .. } => "cgroup",
            Self::Iterator { .. } => "iter",
            Self::NetworkNamespace { .. } => "netns",
            Self::Xdp { .. } => "xdp",
            Self::StructOps { .. } => "struct_ops",
            Self::Netfilter { .. } => "netfilter",
            Self::Tcx { .. } => "tcx",
            Self::Netkit { .. } => "netkit",
            Self::SockMap { .. } => "sockmap",
            Self::KprobeMulti { .. } => "kprobe_multi",
            Self::UprobeMulti { .. } => "uprobe_multi",
            Self::Uprobe { .. }
            | Self::Kprobe { .. }
            | Self::Tracepoint { .. }
            | Self::PerfEvent { .. } => "perf_event",
            Self::Other(_) => "unknown",
        }
    }

    /// The interface's number, for links on one that is still there.
    pub fn interface(&self) -> Option<u32> {
        match self {
            Self::Xdp { interface }
            | Self::Tcx { interface, .. }
            | Self::Netkit { interface, .. } => Some(*interface).filter(|index| *index != 0),
            _ => None,
        }
    }

    /// The interface's name, if this thread's namespace has it.
    pub fn interface_name(&self) -> Option<String> {
        self.interface().and_then(device::name_of)
    }

    /// The attach kind, for sorts that have one.
    pub fn attach(&self) -> Option<AttachKind> {
        match self {
            Self::Tracing { attach, .. }
            | Self::Cgroup { attach, .. }
            | Self::NetworkNamespace { attach, .. }
            | Self::Tcx { attach, .. }
            | Self::Netkit { attach, .. }
            | Self::SockMap { attach, .. } => Some(*attach),
            _ => None,
        }
    }
}

/// Asks about a link.
pub(super) fn of(link: BorrowedFd<'_>) -> Result<LinkInfo, Errno> {
    let reply = sys::link_info(link)?;
    let mut text = [0; TEXT_BYTES];
    match sys::link_info_text(link, &reply, &mut text) {
        // A longer text is cut, which is better than nothing.
        Ok(()) | Err(Errno::ENOSPC) => {}
        Err(errno) => return Err(errno),
    }
    let text = sys::text_of(&text);
    let place = match reply.link_type {
        link_type::PERF_EVENT => perf_event(&reply, text),
        _ => place(&reply, text),
    };
    Ok(LinkInfo {
        id: reply.id,
        program: reply.prog_id,
        place,
    })
}

fn place(reply: &LinkInfoReply, text: String) -> LinkPlace {
    let attach = |index| AttachKind(reply.half(index));
    match reply.link_type {
        link_type::RAW_TRACEPOINT => LinkPlace::RawTracepoint {
            name: text,
            cookie: reply.word(2),
        },
        link_type::TRACING => LinkPlace::Tracing {
            attach: attach(0),
            object: reply.half(1),
            type_id: reply.half(2),
            cookie: reply.word(2),
        },
        link_type::CGROUP => LinkPlace::Cgroup {
            cgroup: reply.word(0),
            attach: attach(2),
        },
        link_type::ITERATOR => LinkPlace::Iterator {
            map: text.starts_with("bpf_map_elem").then(|| reply.half(3)),
            target: text,
        },
        link_type::NETNS => LinkPlace::NetworkNamespace {
            inode: reply.half(0),
            attach: attach(1),
        },
        link_type::XDP => LinkPlace::Xdp {
            interface: reply.half(0),
        },
        link_type::STRUCT_OPS => LinkPlace::StructOps { map: reply.half(0) },
        link_type::NETFILTER => LinkPlace::Netfilter {
            family: reply.half(0),
            point: reply.half(1),
            priority: reply.half(2).cast_signed(),
            defragments: reply.half(3) & 1 != 0,
        },
        link_type::TCX => LinkPlace::Tcx {
            interface: reply.half(0),
            attach: attach(1),
        },
        link_type::NETKIT => LinkPlace::Netkit {
            interface: reply.half(0),
            attach: attach(1),
        },
        link_type::SOCKMAP => LinkPlace::SockMap {
            map: reply.half(0),
            attach: attach(1),
        },
        link_type::KPROBE_MULTI => LinkPlace::KprobeMulti {
            count: reply.half(2),
            is_return: reply.half(3) & 1 != 0,
            missed: reply.word(2),
        },
        link_type::UPROBE_MULTI => LinkPlace::UprobeMulti {
            path: text,
            count: reply.half(9),
            is_return: reply.half(10) & 1 != 0,
            pid: reply.half(11),
        },
        other => LinkPlace::Other(other),
    }
}

fn perf_event(reply: &LinkInfoReply, text: String) -> LinkPlace {
    match reply.half(0) {
        sort @ (perf_event_type::UPROBE | perf_event_type::URETPROBE) => LinkPlace::Uprobe {
            path: text,
            offset: reply.half(5),
            is_return: sort == perf_event_type::URETPROBE,
            cookie: reply.word(3),
        },
        sort @ (perf_event_type::KPROBE | perf_event_type::KRETPROBE) => LinkPlace::Kprobe {
            function: text,
            offset: reply.half(5),
            is_return: sort == perf_event_type::KRETPROBE,
            address: reply.word(3),
            missed: reply.word(4),
            cookie: reply.word(5),
        },
        perf_event_type::TRACEPOINT => LinkPlace::Tracepoint {
            name: text,
            cookie: reply.word(3),
        },
        perf_event_type::EVENT => LinkPlace::PerfEvent {
            config: reply.word(1),
            event_type: reply.half(4),
            cookie: reply.word(3),
        },
        _ => LinkPlace::Other(reply.link_type),
    }
}

/// Room for a path.
const TEXT_BYTES: usize = 4096;
