//! Pins: names in a bpffs, by which maps and programs outlive the process that made them.
//!
//! Nothing is mounted here and nothing is taken over unseen: a path outside of a bpffs is an error that says how to get one,
//! and an opened map comes with the attributes the kernel says it has.

use std::ffi::CString;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use twinbpf_object::{Code, Diagnosis, Errno, Error, ErrorKind, Result};

use crate::facts::KernelFacts;
use crate::fd_info::FdInfo;
use crate::map::KernelMap;
use crate::map_fd::MapFd;
use crate::program::KernelProgram;
use crate::{host, sys};

impl KernelMap {
    /// Gives the map a name in a bpffs, under which it lives on until the name is removed. Directories in between are made.
    ///
    /// # Errors
    ///
    /// Code M014 if the path is not in a bpffs; kind [`Exists`](ErrorKind::Exists) if the name is taken.
    pub fn pin(&self, path: &Path) -> Result<()> {
        let pinned = pin(self.as_fd(), path);
        pinned.map_err(|error| error.map(|diagnosis| diagnosis.in_map(&self.spec().name)))
    }

    /// The map with this name in a bpffs; `None` if the name is free.
    ///
    /// Its definition is what the kernel says: the name may be cut, and what maps inside look like is not known.
    ///
    /// # Errors
    ///
    /// If the name belongs to a program or link, or a privilege is missing.
    pub fn open_pinned(path: &Path) -> Result<Option<Self>> {
        let opened = sys::object_get(&c_path(path)?);
        let opened = match opened {
            Ok(fd) => MapFd::adopt(fd, host::possible_cpus()?),
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno) => Err(errno),
        };
        let (fd, reply) = opened.map_err(|errno| not_opened(path, errno))?;
        Ok(Some(Self::found(fd, &reply)))
    }
}

impl KernelProgram {
    /// Gives the program a name in a bpffs, under which it lives on until the name is removed. Directories in between are made.
    ///
    /// # Errors
    ///
    /// As [`KernelMap::pin`].
    pub fn pin(&self, path: &Path) -> Result<()> {
        let pinned = pin(self.as_fd(), path);
        pinned.map_err(|error| error.map(|diagnosis| diagnosis.in_program(self.name())))
    }

    /// The program with this name in a bpffs; `None` if the name is free.
    ///
    /// # Errors
    ///
    /// If the name belongs to a map or link, or a privilege is missing.
    pub fn open_pinned(path: &Path) -> Result<Option<Self>> {
        let fd = match sys::object_get(&c_path(path)?) {
            Ok(fd) => fd,
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(not_opened(path, errno)),
        };
        // KERNEL: only programs have a line `prog_type` in /proc; 6.18 answers about maps and links with the same command.
        if FdInfo::read(fd.as_fd()).number("prog_type").is_none() {
            let message = format!("{} is no program", path.display());
            return Err(Diagnosis::new(Code::PIN_REFUSED, message).into());
        }
        Self::found(sys::ProgramFd::adopt(fd)).map(Some)
    }
}

pub(crate) fn pin(object: BorrowedFd<'_>, path: &Path) -> Result<()> {
    let name = c_path(path)?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    if !is_in_bpffs(folder) {
        return Err(outside(path));
    }
    fs::create_dir_all(folder).map_err(|error| {
        let errno = error.raw_os_error().map_or(Errno::EIO, Errno);
        refused(path, "the folder cannot be made", errno)
    })?;
    sys::object_pin(object, &name).map_err(|errno| match errno {
        Errno::EEXIST => Diagnosis::new(Code::PIN_REFUSED, format!("{} is taken", path.display()))
            .kind(ErrorKind::Exists)
            .errno(errno)
            .help(format!(
                "reuse what is pinned there, or remove it: rm {}",
                path.display()
            ))
            .into(),
        _ => refused(path, "the name was refused", errno),
    })
}

pub(crate) fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Diagnosis::new(Code::PIN_PATH, "a path has a zero byte in the middle").into())
}

/// Whether a folder is in a bpffs; one that does not exist yet would be where its parent is.
fn is_in_bpffs(folder: &Path) -> bool {
    let exists = |each: &&Path| fs::exists(each).unwrap_or(false);
    let nearest = folder.ancestors().find(exists);
    nearest.is_some_and(|nearest| {
        rustix::fs::statfs(nearest).is_ok_and(|found| i128::from(found.f_type) == BPFFS_MAGIC)
    })
}

fn outside(path: &Path) -> Error {
    let message = format!("{} is not in a bpffs, where pins live", path.display());
    let diagnosis = Diagnosis::new(Code::PIN_PATH, message);
    let mounted = KernelFacts::read().bpffs;
    match mounted.first() {
        Some(point) => diagnosis.help(format!("a bpffs is mounted at {}", point.display())),
        None => diagnosis.help("mount one: sudo mount -t bpf bpf /sys/fs/bpf"),
    }
    .into()
}

fn refused(path: &Path, what: &str, errno: Errno) -> Error {
    let diagnosis = Diagnosis::new(Code::PIN_REFUSED, format!("{}: {what}", path.display()));
    with_permission(diagnosis, errno).errno(errno).into()
}

fn not_opened(path: &Path, errno: Errno) -> Error {
    // KERNEL: 6.18 answers EACCES to every path that is not in a bpffs, as it does where the user may not look.
    if errno == Errno::EACCES && !is_in_bpffs(path) && fs::symlink_metadata(path).is_ok() {
        return outside(path);
    }
    let message = match errno {
        Errno::EINVAL => format!("{} is no map", path.display()),
        _ => format!("{} cannot be opened", path.display()),
    };
    let diagnosis = Diagnosis::new(Code::PIN_REFUSED, message).errno(errno);
    match errno {
        Errno::EPERM | Errno::EACCES => diagnosis.kind(ErrorKind::Permission).help(
            "it must be readable and writable by this user, and so must be the folders above",
        ),
        _ => diagnosis,
    }
    .into()
}

/// KERNEL: 6.18 answers EPERM to names with a dot, which are reserved, and to everybody without a privilege.
pub(crate) fn with_permission(diagnosis: Diagnosis, errno: Errno) -> Diagnosis {
    match errno {
        Errno::EPERM | Errno::EACCES => diagnosis
            .kind(ErrorKind::Permission)
            .help("names must not have a dot, and the folder must be writable by this user"),
        _ => diagnosis,
    }
}

/// `BPF_FS_MAGIC`
const BPFFS_MAGIC: i128 = 0xcafe_4a11;
