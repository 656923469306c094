//! BPF tokens: what an administrator lends to a user namespace.
//!
//! Inside a user namespace capabilities count only there, and `bpf(2)` wants them outside. A bpffs that was mounted with `delegate_cmds`,
//! `delegate_maps`, `delegate_progs` and `delegate_attachs` lends some of it: whoever has the capabilities inside gets a token from its
//! root, and hands it over with each request. Source: the kernel's `kernel/bpf/token.c` in words (`man 2 bpf` has nothing yet), and 6.18.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use twinbpf_object::{Code, Diagnosis, Errno, Error, ErrorKind, Result};

use crate::{host, sys};

/// A token. Clones are the same.
#[derive(Debug, Clone)]
pub struct Token(Arc<OwnedFd>);

impl Token {
    /// Makes a token from a bpffs, given by the folder where it is mounted.
    ///
    /// # Errors
    ///
    /// If there is no bpffs, it lends nothing or belongs to another user namespace, or a capability is missing inside this one.
    pub fn create(bpffs: &Path) -> Result<Self> {
        let folder = File::open(bpffs).map_err(|error| {
            let errno = error.raw_os_error().map_or(Errno::EIO, Errno);
            refused(bpffs, errno)
        })?;
        let token = sys::token_create(folder.as_fd()).map_err(|errno| refused(bpffs, errno))?;
        Ok(Self(Arc::new(token)))
    }
}

impl AsFd for Token {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// KERNEL: 6.18 answers EINVAL to a folder that is not the root of a bpffs, ENOENT to a bpffs that lends nothing, EPERM to one of
/// another user namespace and to callers without CAP_BPF in theirs, EOPNOTSUPP in the first user namespace.
fn refused(bpffs: &Path, errno: Errno) -> Error {
    let (kind, reason, help) = match errno {
        Errno::EINVAL if !host::is_at_least("6.9") => (
            ErrorKind::Unsupported,
            "this kernel has no tokens; they came with Linux 6.9",
            None,
        ),
        Errno::EINVAL => (
            ErrorKind::Usage,
            "it is not the folder where a bpffs is mounted",
            None,
        ),
        Errno::ENOENT if bpffs.exists() => (
            ErrorKind::Permission,
            "the bpffs lends nothing",
            Some(
                "mount it with delegate_cmds=any,delegate_maps=any,delegate_progs=any,delegate_attachs=any",
            ),
        ),
        Errno::ENOENT => (ErrorKind::NotFound, "there is no such folder", None),
        Errno::EPERM => (
            ErrorKind::Permission,
            "the bpffs belongs to another user namespace, or CAP_BPF is missing in this one",
            None,
        ),
        Errno::EOPNOTSUPP => (
            ErrorKind::Usage,
            "this is the first user namespace, where capabilities count by themselves",
            Some("leave the token out"),
        ),
        _ => (ErrorKind::Io, "the kernel refused it", None),
    };
    let message = format!("no token from {}: {reason}", bpffs.display());
    let diagnosis = Diagnosis::new(Code::TOKEN, message).kind(kind).errno(errno);
    match help {
        Some(help) => diagnosis.help(help),
        None => diagnosis,
    }
    .into()
}
