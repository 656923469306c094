//! Programs at hooks: made, replaced, asked about, taken away, and why not.
//!
//! ```text
//! KernelProgram + Hook --request--> BPF_LINK_CREATE | BPF_RAW_TRACEPOINT_OPEN --> KernelLink
//!                                        |
//!                                        '--refusal--> why not
//! ```
//!
//! A link is a descriptor of its own: the program runs as long as somebody holds it, or a pin does. What the kernel says
//! about links, ours and others', is in `info.rs`.

mod code_file;
mod debug_file;
mod info;
mod perf;
mod refusal;
mod request;
mod several;
mod usdt;

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use twinbpf_object::{Errno, Error, Hook, Result};

pub use self::info::{LinkInfo, LinkPlace};
use crate::map::KernelMap;
use crate::pin;
use crate::program::KernelProgram;
use crate::sys::{self, Numbered};

/// A program at a hook. Dropping it detaches, unless it is pinned or somebody else holds the same link.
#[derive(Debug)]
#[must_use = "dropping the link detaches the program"]
pub struct KernelLink {
    fd: OwnedFd,
    /// A counter on several CPUs is as many links.
    others: Vec<OwnedFd>,
}

impl KernelLink {
    /// Attaches a program. Names and interfaces are those of this thread's namespaces.
    ///
    /// # Errors
    ///
    /// If the program's kind does not go there, the place does not exist or is taken, or a privilege is missing.
    pub fn attach(program: &KernelProgram, hook: &Hook) -> Result<Self> {
        let attached = if hook.takes(program.kind()) {
            request::attach(program, hook)
        } else {
            Err(refusal::wrong_kind(program, hook))
        };
        attached
            .map(|(fd, others)| Self { fd, others })
            .map_err(|error| error.map(|diagnosis| diagnosis.in_program(program.name())))
    }

    /// Puts a program of type `ext` in the place of a function of `target`, which need not be the program it was verified for: one whose
    /// function takes and answers the same will do.
    ///
    /// # Errors
    ///
    /// If the program is of another type; `target` has no such function, or one of another shape; the function is replaced already; or
    /// a privilege is missing.
    pub fn attach_into(
        program: &KernelProgram,
        target: &KernelProgram,
        function: &str,
        cookie: u64,
    ) -> Result<Self> {
        request::replacement(program, target, function, cookie)
            .map(Self::one)
            .map_err(|error| error.map(|diagnosis| diagnosis.in_program(program.name())))
    }

    /// Puts a filled table of functions to use, as `SEC(".struct_ops.link")` declares it: until the link is dropped.
    ///
    /// # Errors
    ///
    /// If the table is not filled, or does not want a link; if the interface has somebody else's table under the same name; if a
    /// privilege is missing.
    pub fn attach_struct_ops(table: &KernelMap) -> Result<Self> {
        let made = request::struct_ops(table);
        made.map(Self::one)
            .map_err(|error| error.map(|diagnosis| diagnosis.in_map(&table.spec().name)))
    }

    fn one(fd: OwnedFd) -> Self {
        Self {
            fd,
            others: Vec::new(),
        }
    }

    /// The link with this name in a bpffs; `None` if the name is free.
    ///
    /// # Errors
    ///
    /// If the name belongs to a map or program, or a privilege is missing.
    pub fn open_pinned(path: &Path) -> Result<Option<Self>> {
        match sys::object_get(&pin::c_path(path)?) {
            Ok(fd) if is_link(fd.as_fd()) => Ok(Some(Self::one(fd))),
            Ok(_) => Err(refusal::no_link_at(path, Errno::EINVAL)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(refusal::no_link_at(path, errno)),
        }
    }

    /// The link with this number; `None` if there is none.
    ///
    /// # Errors
    ///
    /// If a privilege is missing.
    pub fn by_id(id: u32) -> Result<Option<Self>> {
        let fd = sys::by_id(Numbered::Link, id).map_err(refusal::not_listed)?;
        Ok(fd.map(Self::one))
    }

    /// Gives the link a name in a bpffs, under which the program stays attached until the name is removed.
    ///
    /// # Errors
    ///
    /// As [`KernelMap::pin`](crate::KernelMap::pin); or if it is a counter on several CPUs, which are as many links.
    pub fn pin(&self, path: &Path) -> Result<()> {
        if !self.others.is_empty() {
            return Err(refusal::several_links());
        }
        if !is_link(self.as_fd()) {
            return Err(refusal::unanswered(self.as_fd(), Errno::EINVAL));
        }
        pin::pin(self.as_fd(), path)
    }

    /// Puts another program in the place of the link's, in one step: every event meets the one or the other.
    ///
    /// With `expected`, only if that program is the one there now.
    ///
    /// # Errors
    ///
    /// Code A008 if another program is there; or if links of this sort, or programs of this kind, cannot be exchanged.
    pub fn update(&self, new: &KernelProgram, expected: Option<&KernelProgram>) -> Result<()> {
        let mut links = std::iter::once(&self.fd).chain(&self.others);
        let updated = links.try_for_each(|link| {
            sys::link_update(link.as_fd(), new.as_fd(), expected.map(AsFd::as_fd))
        });
        updated.map_err(|errno| {
            refusal::not_updated(errno, expected).map(|diagnosis| diagnosis.in_program(new.name()))
        })
    }

    /// Puts another table of functions in the place of the link's, in one step. With `expected`, only if that is the one there now.
    ///
    /// # Errors
    ///
    /// Code A008 if another table is there; or if the new one is not filled, or its interface cannot exchange them.
    pub fn update_struct_ops(&self, new: &KernelMap, expected: Option<&KernelMap>) -> Result<()> {
        let old = expected.map(AsFd::as_fd);
        sys::link_update(self.as_fd(), new.as_fd(), old).map_err(|errno| {
            refusal::table_not_exchanged(errno, expected.is_some())
                .map(|diagnosis| diagnosis.in_map(&new.spec().name))
        })
    }

    /// Detaches the program, even if the link is pinned or somebody else holds it; the link stays, without effect.
    ///
    /// # Errors
    ///
    /// If links of this sort end only with their last holder.
    pub fn detach(&self) -> Result<()> {
        let mut links = std::iter::once(&self.fd).chain(&self.others);
        links
            .try_for_each(|link| sys::link_detach(link.as_fd()))
            .map_err(refusal::not_detached)
    }

    /// What the kernel says about the link.
    ///
    /// # Errors
    ///
    /// The kernel's number.
    pub fn info(&self) -> Result<LinkInfo> {
        info::of(self.as_fd()).map_err(|errno| refusal::unanswered(self.as_fd(), errno))
    }

    /// A new reading of an iterator: each begins anew.
    ///
    /// # Errors
    ///
    /// If the link is no iterator.
    pub fn read(&self) -> Result<File> {
        let reading = sys::iterator_create(self.as_fd());
        reading.map(File::from).map_err(refusal::not_readable)
    }
}

impl AsFd for KernelLink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The numbers of all links of this kernel, ascending.
///
/// # Errors
///
/// If a privilege is missing.
pub fn link_ids() -> Result<Vec<u32>> {
    sys::ids(Numbered::Link).map_err(refusal::not_listed)
}

/// Whether a descriptor is a link, as `/proc` says it.
fn is_link(fd: BorrowedFd<'_>) -> bool {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    // KERNEL: 6.18 writes `anon_inode:bpf_link`, and before 6.12 the same with a dash.
    link.is_ok_and(|target| {
        matches!(
            target.to_str(),
            Some("anon_inode:bpf_link" | "anon_inode:bpf-link")
        )
    })
}

/// An error with the place's name; for callers that turn numbers into words.
fn in_place(error: Error, hook: &Hook) -> Error {
    error.map(|diagnosis| diagnosis.fact("hook", hook))
}
