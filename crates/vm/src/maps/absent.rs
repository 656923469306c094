//! Maps whose elements a vm does not have: sockets, cgroups, stacks. They answer as the kernel's do while they are empty, and take nothing.
//!
//! KERNEL: which request is refused for what, and in which order, was seen on 6.18.

use std::fs;
use std::os::unix::fs::FileTypeExt;

use twinbpf_object::{Errno, MapKind, MapSpec};

use super::array::{index, next_index};
use super::kind::{Behaviour, Source, Writer};
use super::{ANY, EXIST};

#[derive(Debug)]
pub(super) struct Absent {
    kind: MapKind,
    entries: u32,
    /// Values of 8 bytes are what a lookup answers with: a socket's cookie. There is none for those of 4.
    has_cookies: bool,
}

impl Absent {
    pub(super) fn new(spec: &MapSpec) -> Self {
        Self {
            kind: spec.kind,
            entries: spec.max_entries,
            has_cookies: spec.value_size == 8,
        }
    }

    /// Whether keys are indexes, and if so, which this is; `None` for one behind the last.
    fn place(&self, key: &[u8]) -> Result<Option<u32>, Errno> {
        let index = index(key)?;
        let entries = match self.kind {
            // Stacks are kept by hashes, in as many places as there are bits for.
            MapKind::StackTrace => self.entries.checked_next_power_of_two().unwrap_or(u32::MAX),
            _ => self.entries,
        };
        Ok((index < entries).then_some(index))
    }

    fn lookup(&self) -> Errno {
        match self.kind {
            MapKind::XskMap => Errno::EOPNOTSUPP,
            MapKind::CgroupArray => Errno::ENOTSUPP,
            MapKind::SockMap | MapKind::SockHash | MapKind::ReuseportSockArray
                if !self.has_cookies =>
            {
                Errno::ENOSPC
            }
            _ => Errno::ENOENT,
        }
    }
}

impl Behaviour for Absent {
    fn copy_out(&self, _: &[u8], _: &mut [u8]) -> Result<(), Errno> {
        Err(self.lookup())
    }

    fn update(&self, key: &[u8], value: Source<'_>, flags: u64, _: Writer) -> Result<(), Errno> {
        match self.kind {
            MapKind::StackTrace => return Err(Errno::EINVAL),
            MapKind::CgroupArray if flags != ANY => return Err(Errno::EINVAL),
            MapKind::XskMap | MapKind::ReuseportSockArray if flags > EXIST => {
                return Err(Errno::EINVAL);
            }
            _ => {}
        }
        let looks_at_key_first = !matches!(self.kind, MapKind::SockMap | MapKind::SockHash);
        if looks_at_key_first && self.place(key)?.is_none() {
            return Err(Errno::E2BIG);
        }
        let value = value.copied()?;
        let number = match (value.first_chunk(), value.first_chunk()) {
            (Some(eight), _) => u64::from_ne_bytes(*eight),
            (None, Some(four)) => u32::from_ne_bytes(*four).into(),
            (None, None) => return Err(Errno::EINVAL),
        };
        let is_descriptor = i32::try_from(number).is_ok();
        match self.kind {
            MapKind::SockMap | MapKind::SockHash if !is_descriptor => Err(Errno::EINVAL),
            MapKind::ReuseportSockArray if !is_descriptor && self.has_cookies => Err(Errno::EINVAL),
            _ => Err(unwanted(number, self.kind == MapKind::CgroupArray)),
        }
    }

    fn delete(&self, key: &[u8]) -> Result<(), Errno> {
        let Some(_) = (match self.kind {
            MapKind::SockHash => return Err(Errno::ENOENT),
            _ => self.place(key)?,
        }) else {
            return Err(match self.kind {
                MapKind::XskMap | MapKind::SockMap => Errno::EINVAL,
                _ => Errno::E2BIG,
            });
        };
        match self.kind {
            MapKind::XskMap => Ok(()),
            MapKind::SockMap => Err(Errno::EINVAL),
            _ => Err(Errno::ENOENT),
        }
    }

    fn take(&self, _: &[u8], _: &mut [u8]) -> Result<(), Errno> {
        match self.kind {
            MapKind::StackTrace => Err(Errno::ENOENT),
            _ => Err(Errno::ENOTSUPP),
        }
    }

    fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<(), Errno> {
        match self.kind {
            MapKind::SockHash | MapKind::StackTrace => Err(Errno::ENOENT),
            _ => next_index(key, next, self.entries),
        }
    }
}

/// Why the map does not take this descriptor, which programs of a vm could do nothing with.
fn unwanted(descriptor: u64, is_for_cgroups: bool) -> Errno {
    let file = fs::metadata(format!("/proc/self/fd/{descriptor}"));
    match file {
        Err(_) => Errno::EBADF,
        Ok(file) if is_for_cgroups => match file.is_dir() {
            true => Errno::EOPNOTSUPP,
            false => Errno::EBADF,
        },
        Ok(file) if file.file_type().is_socket() => Errno::EOPNOTSUPP,
        Ok(_) => Errno::ENOTSOCK,
    }
}
