//! What is attached at places that keep a list: cgroups, interfaces, network namespaces; by whomever, with links or without.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use twinbpf_object::{AttachKind, Code, Diagnosis, Errno, Error, Result};

use crate::attr::{ProgramQuery, fd_number};
use crate::netlink::{DUMP, Netlink, Refused, Request, attribute, word};
use crate::privilege::{Capability, Privileges};
use crate::{device, sys};

/// The programs at one place, in the order in which they run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AttachedList {
    /// The programs.
    pub programs: Vec<AttachedProgram>,
    /// How often the list has changed, where the kernel says it: what [`Order::expected_revision`] is compared with.
    ///
    /// [`Order::expected_revision`]: twinbpf_object::hook::Order::expected_revision
    pub revision: u64,
    /// The flags that programs were attached with: 1 lets those below override it, 2 lets them add to it.
    pub flags: u32,
}

/// A program at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttachedProgram {
    /// The program's number.
    pub program: u32,
    /// Its link's number; 0 if it has none, or the kernel does not say.
    pub link: u32,
}

/// An XDP program at an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttachedXdp {
    /// The interface's number.
    pub interface: u32,
    /// Who runs it: `driver`, `generic`, `offload`.
    pub mode: &'static str,
    /// The program's number.
    pub program: u32,
}

/// What is attached in one direction of an interface.
///
/// # Errors
///
/// If a privilege is missing. A kernel without such lists has empty ones.
pub fn attached_to_interface(interface: u32, attach: AttachKind) -> Result<AttachedList> {
    query(interface, attach)
}

/// What is attached to a cgroup itself, not to those above it.
///
/// # Errors
///
/// If the folder is no cgroup's, or a privilege is missing.
pub fn attached_to_cgroup(path: &Path, attach: AttachKind) -> Result<AttachedList> {
    let folder = open(path, OFlags::DIRECTORY)?;
    query(fd_number(folder.as_fd()), attach)
}

/// What is attached to this thread's network namespace.
///
/// # Errors
///
/// If a privilege is missing.
pub fn attached_to_namespace(attach: AttachKind) -> Result<AttachedList> {
    let namespace = open(Path::new("/proc/thread-self/ns/net"), OFlags::empty())?;
    query(fd_number(namespace.as_fd()), attach)
}

/// The numbers of all interfaces of this thread's network namespace.
///
/// # Errors
///
/// If sockets cannot be made.
pub fn interfaces() -> Result<Vec<u32>> {
    device::indices().map_err(|errno| refused(errno).into())
}

/// The XDP programs of all interfaces, with links or without.
///
/// # Errors
///
/// If the kernel does not answer.
pub fn attached_xdp() -> Result<Vec<AttachedXdp>> {
    let unanswered = |refusal: Refused| -> Error { refused(refusal.errno).into() };
    let netlink = Netlink::open().map_err(unanswered)?;
    let answers = netlink
        .ask(Request::new(LIST_INTERFACES, DUMP, &[0; INTERFACE_HEAD]))
        .map_err(unanswered)?;
    let mut found = Vec::new();
    for (_, body) in answers {
        let xdp = body.get(INTERFACE_HEAD..);
        let xdp = xdp.and_then(|attributes| attribute(attributes, XDP));
        let (Some(xdp), Some(interface)) = (xdp, word(&body, 4)) else {
            continue;
        };
        let program = |kind| attribute(xdp, kind).and_then(|value| word(value, 0));
        let modes = [
            (XDP_DRIVER, "driver"),
            (XDP_GENERIC, "generic"),
            (XDP_OFFLOAD, "offload"),
        ];
        found.extend(modes.into_iter().filter_map(|(kind, mode)| {
            Some(AttachedXdp {
                interface,
                mode,
                program: program(kind)?,
            })
        }));
    }
    Ok(found)
}

fn query(target: u32, attach: AttachKind) -> Result<AttachedList> {
    let first = ProgramQuery {
        target,
        attach_type: attach.0,
        ..ProgramQuery::default()
    };
    // KERNEL: 6.18 has lists of links for tcx and netkit only, and refuses their address elsewhere.
    let name = attach.kernel_name().unwrap_or_default();
    let has_links = name.starts_with("TCX_") || name.starts_with("NETKIT_");
    let (reply, programs, links) = match sys::program_query(&first, has_links) {
        Ok(answer) => answer,
        // KERNEL: what a kernel does not know has no programs; 6.18 answers EINVAL to unknown kinds, ENOENT where a device has no list.
        Err(Errno::EINVAL | Errno::ENOENT | Errno::EOPNOTSUPP) => {
            return Ok(AttachedList::default());
        }
        Err(errno) => return Err(refused(errno).into()),
    };
    let links = links.into_iter().chain(std::iter::repeat(0));
    let programs = programs.into_iter().zip(links);
    Ok(AttachedList {
        programs: programs
            .map(|(program, link)| AttachedProgram { program, link })
            .collect(),
        revision: reply.revision,
        flags: reply.attach_flags,
    })
}

fn open(path: &Path, flags: OFlags) -> Result<OwnedFd> {
    rustix::fs::open(
        path,
        OFlags::RDONLY | OFlags::CLOEXEC | flags,
        Mode::empty(),
    )
    .map_err(|errno| {
        Diagnosis::new(
            Code::ATTACH_TARGET,
            format!("{} cannot be opened", path.display()),
        )
        .errno(Errno(errno.raw_os_error()))
        .into()
    })
}

fn refused(errno: Errno) -> Diagnosis {
    let diagnosis = match errno {
        Errno::EPERM | Errno::EACCES => Privileges::read().explain(
            Diagnosis::new(
                Code::ATTACH_PERMISSION,
                "looking at what is attached was refused",
            ),
            &[Capability::NetAdmin],
        ),
        _ => Diagnosis::new(Code::HOST_IO, "what is attached cannot be listed"),
    };
    diagnosis.errno(errno)
}

/// `RTM_GETLINK`, and the bytes of `struct ifinfomsg`.
const LIST_INTERFACES: u16 = 18;
const INTERFACE_HEAD: usize = 16;
/// `IFLA_XDP`, and what is in it: `IFLA_XDP_DRV_PROG_ID` and so on.
const XDP: u16 = 43;
const XDP_DRIVER: u16 = 5;
const XDP_GENERIC: u16 = 6;
const XDP_OFFLOAD: u16 = 7;
