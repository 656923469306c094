//! From a program's section to its hook, as far as the section says it; the caller says the rest.
//!
//! `SEC("raw_tp/sched_switch")` names its tracepoint. `SEC("xdp")` names no interface and `SEC("cgroup/dev")` no cgroup: those
//! come from [`Places`], and without them the error says what is missing.

use std::path::PathBuf;

use super::{Cgroup, Hook, IteratorScope, Netkit, NetkitEnd, Order, Tc, TcDirection};
use crate::abi::{AttachKind, ProgramKind, meaning_of_section};
use crate::diagnosis::{Code, Diagnosis, Error, Result};

/// The places that sections leave open.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Places {
    /// For programs on packets of an interface.
    pub interface: Option<String>,
    /// For programs on what processes of a cgroup do.
    pub cgroup: Option<PathBuf>,
    /// For programs on the sockets in a map: its number.
    pub socket_map: Option<u32>,
}

/// The hook that a program's section and kind mean; `None` for programs that nobody attaches, because a map, another program or a
/// caller runs them.
///
/// # Errors
///
/// If the section leaves open what `places` does not say, or says nothing about where programs of this kind go.
pub fn default_hook(
    kind: ProgramKind,
    attach: Option<AttachKind>,
    section: &str,
    places: &Places,
) -> Result<Option<Hook>> {
    let section = section.trim_start_matches('?');
    if is_run_by_others(kind, attach) {
        return Ok(None);
    }
    named(kind, attach, section, places).map(Some)
}

fn named(
    kind: ProgramKind,
    attach: Option<AttachKind>,
    section: &str,
    places: &Places,
) -> Result<Hook> {
    let interface = || -> Result<&str> {
        let named = places.interface.as_deref();
        named.ok_or_else(|| {
            open(
                section,
                "interface",
                "xdp:INTERFACE or tc.ingress:INTERFACE",
            )
        })
    };
    match kind {
        ProgramKind::SocketFilter => Ok(Hook::socket(interface()?)),
        ProgramKind::Xdp => Ok(Hook::xdp(interface()?)),
        ProgramKind::LwtIn | ProgramKind::LwtOut | ProgramKind::LwtXmit => {
            Err(open(section, "route", "route.out:INTERFACE:10.1.0.0/16"))
        }
        ProgramKind::SkMsg | ProgramKind::SkSkb => match places.socket_map {
            Some(map) => Ok(Hook::SocketMap { map }),
            None => Err(open(section, "map of sockets", "sockmap:ID")),
        },
        ProgramKind::SchedCls => {
            let interface = interface()?.to_owned();
            let order = Order::default();
            Ok(match netkit_end(attach) {
                Some(end) => Hook::Netkit(Netkit {
                    interface,
                    end,
                    order,
                }),
                None => Hook::Tc(Tc {
                    interface,
                    direction: direction(attach, section),
                    order,
                }),
            })
        }
        _ if is_of_cgroups(kind, attach) => {
            let path = places.cgroup.clone();
            Ok(Hook::Cgroup(Cgroup {
                path: path.ok_or_else(|| open(section, "cgroup", "cgroup:FOLDER"))?,
                attach: None,
                order: Order::default(),
            }))
        }
        ProgramKind::SkLookup | ProgramKind::FlowDissector => Ok(Hook::network_namespace()),
        ProgramKind::Netfilter => Err(open(
            section,
            "point of the packet filter",
            "netfilter:ipv4:input:0",
        )),
        ProgramKind::RawTracepoint | ProgramKind::RawTracepointWritable => {
            let target = meaning_of_section(section).and_then(|meaning| meaning.target);
            let name = target.filter(|name| !name.is_empty());
            let name = name.ok_or_else(|| open(section, "tracepoint", "raw_tp:NAME"))?;
            Ok(Hook::RawTracepoint { name, cookie: 0 })
        }
        ProgramKind::Tracepoint => {
            from_target(section, "tp:CATEGORY/NAME", |target| format!("tp:{target}"))
        }
        ProgramKind::Kprobe => probe(section),
        ProgramKind::Tracing if attach.and_then(AttachKind::kernel_name) == Some("TRACE_ITER") => {
            Ok(Hook::Iterator(IteratorScope::All))
        }
        ProgramKind::Tracing | ProgramKind::Lsm | ProgramKind::Ext => Ok(Hook::tracing()),
        _ => Err(unknown(kind, section)),
    }
}

/// A hook whose text needs no more than what stands behind the section's slash.
fn from_target(section: &str, form: &str, text: impl Fn(&str) -> String) -> Result<Hook> {
    let target = meaning_of_section(section).and_then(|meaning| meaning.target);
    let target = target.filter(|target| !target.is_empty());
    let target = target.ok_or_else(|| open(section, "place", form))?;
    text(&target).parse().map_err(|reason: String| {
        Diagnosis::new(Code::ATTACH_OPEN, format!("section `{section}`: {reason}")).into()
    })
}

/// Functions of the kernel and of programs: one kind of program, told apart by the section alone.
fn probe(section: &str) -> Result<Hook> {
    let word = section.split('/').next().unwrap_or(section);
    let plain = word.trim_end_matches(".s");
    match plain {
        "kprobe" | "kretprobe" => from_target(section, "kprobe:FUNCTION", |target| {
            format!("{plain}:{target}")
        }),
        "kprobe.multi" | "kretprobe.multi" | "kprobe.session" => {
            from_target(section, "kprobe.multi:PATTERN", |target| {
                format!("{plain}:{target}")
            })
        }
        "uprobe.multi" | "uretprobe.multi" | "uprobe.session" => {
            from_target(section, "uprobe.multi:FILE:PATTERN", |target| {
                format!("{plain}:{target}")
            })
        }
        "ksyscall" | "kretsyscall" => from_target(section, "ksyscall:NAME", |target| {
            format!("{plain}:{target}")
        }),
        "usdt" => from_target(section, "usdt:FILE:PROVIDER:NAME", |target| {
            format!("{plain}:{target}")
        }),
        "uprobe" | "uretprobe" => from_target(section, "uprobe:FILE:FUNCTION", |target| {
            format!("{plain}:{target}")
        }),
        _ => Err(unknown(ProgramKind::Kprobe, section)),
    }
}

/// Programs that a map of devices or CPUs runs, a table of functions, another program, or a caller through a test run.
fn is_run_by_others(kind: ProgramKind, attach: Option<AttachKind>) -> bool {
    let name = attach.and_then(AttachKind::kernel_name);
    match kind {
        ProgramKind::Xdp => matches!(name, Some("XDP_DEVMAP" | "XDP_CPUMAP")),
        ProgramKind::StructOps | ProgramKind::Syscall => true,
        _ => false,
    }
}

fn is_of_cgroups(kind: ProgramKind, attach: Option<AttachKind>) -> bool {
    let is_kind = matches!(
        kind,
        ProgramKind::CgroupSkb
            | ProgramKind::CgroupSock
            | ProgramKind::CgroupDevice
            | ProgramKind::CgroupSockAddr
            | ProgramKind::CgroupSysctl
            | ProgramKind::CgroupSockopt
            | ProgramKind::SockOps
    );
    is_kind || attach.and_then(AttachKind::kernel_name) == Some("LSM_CGROUP")
}

/// KERNEL: of `SEC("tc")`, whose direction is open, tools take the way in.
fn direction(attach: Option<AttachKind>, section: &str) -> TcDirection {
    let is_egress = attach.and_then(AttachKind::kernel_name) == Some("TCX_EGRESS");
    if is_egress || section.ends_with("/egress") {
        TcDirection::Egress
    } else {
        TcDirection::Ingress
    }
}

fn netkit_end(attach: Option<AttachKind>) -> Option<NetkitEnd> {
    match attach.and_then(AttachKind::kernel_name) {
        Some("NETKIT_PRIMARY") => Some(NetkitEnd::Primary),
        Some("NETKIT_PEER") => Some(NetkitEnd::Peer),
        _ => None,
    }
}

fn open(section: &str, what: &str, form: &str) -> Error {
    Diagnosis::new(
        Code::ATTACH_OPEN,
        format!("section `{section}` does not say to which {what} its program attaches"),
    )
    .help(format!("name the {what}, or the whole hook: {form}"))
    .into()
}

fn unknown(kind: ProgramKind, section: &str) -> Error {
    let message =
        format!("no hook follows from section `{section}` for a program of type `{kind}`");
    Diagnosis::new(Code::ATTACH_OPEN, message)
        .help("name its hook, or leave the program out")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn hook_of(section: &str) -> Result<Option<Hook>> {
        let places = Places {
            interface: Some("lo".to_owned()),
            cgroup: Some("/cg".into()),
            socket_map: Some(7),
        };
        let meaning = meaning_of_section(section).unwrap();
        default_hook(meaning.kind, meaning.attach, section, &places)
    }

    #[test]
    fn a_section_and_the_places_make_a_hook() {
        for (section, hook) in [
            ("socket", "socket:lo"),
            ("xdp", "xdp:lo"),
            ("xdp.frags", "xdp:lo"),
            ("tc", "tc.ingress:lo"),
            ("classifier", "tc.ingress:lo"),
            ("tcx/egress", "tc.egress:lo"),
            ("netkit/peer", "netkit.peer:lo"),
            ("sk_msg", "sockmap:7"),
            ("sk_skb/stream_verdict", "sockmap:7"),
            ("cgroup_skb/egress", "cgroup:/cg"),
            ("sockops", "cgroup:/cg"),
            ("lsm_cgroup/socket_bind", "cgroup:/cg"),
            ("lsm/file_open", "tracing"),
            ("fentry/do_exit", "tracing"),
            ("tp_btf/sched_switch", "tracing"),
            ("raw_tp/sys_enter", "raw_tp:sys_enter"),
            ("tp/sched/sched_switch", "tp:sched/sched_switch"),
            ("kprobe/vfs_read+0x8", "kprobe:vfs_read+0x8"),
            ("kretprobe/vfs_read", "kretprobe:vfs_read"),
            ("uprobe//bin/bash:readline", "uprobe:/bin/bash:readline"),
            ("uretprobe.s/libc.so.6:free", "uretprobe:libc.so.6:free"),
            ("kprobe.multi/tcp_*", "kprobe.multi:tcp_*"),
            ("kretprobe.multi/a?", "kretprobe.multi:a?"),
            ("kprobe.session/vfs_read", "kprobe.session:vfs_read"),
            ("uprobe.multi.s//bin/sh:f*", "uprobe.multi:/bin/sh:f*"),
            ("uprobe.session//bin/sh:f", "uprobe.session:/bin/sh:f"),
            ("ksyscall/nanosleep", "ksyscall:nanosleep"),
            ("kretsyscall/nanosleep", "kretsyscall:nanosleep"),
            ("usdt//bin/sh:a:b", "usdt:/bin/sh:a:b"),
            ("freplace/f", "tracing"),
            ("iter/task", "iter"),
            ("sk_lookup", "netns"),
        ] {
            let found = hook_of(section).unwrap().unwrap();
            assert_eq!(found.to_string(), hook, "{section}");
        }
    }

    #[test]
    fn what_stays_open_is_named() {
        let places = Places::default();
        let error = default_hook(ProgramKind::Xdp, None, "?xdp", &places).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.to_string().contains("which interface"), "{error}");
        let error = hook_of("kprobe").unwrap_err();
        assert!(error.to_string().contains("which place"), "{error}");
        let error = hook_of("tp/sched").unwrap_err();
        assert!(error.to_string().contains("CATEGORY/NAME"), "{error}");
        let error = hook_of("raw_tp").unwrap_err();
        assert!(error.to_string().contains("tracepoint"), "{error}");
        let error = hook_of("lirc_mode2").unwrap_err();
        assert_eq!(error.diagnosis().code, Code::ATTACH_OPEN);
    }

    #[test]
    fn programs_that_others_run_have_no_hook() {
        for section in [
            "xdp/devmap",
            "xdp.frags/cpumap",
            "struct_ops/init",
            "syscall",
        ] {
            assert_eq!(hook_of(section).unwrap(), None, "{section}");
        }
    }
}
