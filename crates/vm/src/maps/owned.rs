//! Storage that belongs to something of the host's: a task, a socket, an inode or a cgroup. One value for each owner, in memory of its own.
//!
//! Callers name the owner by a descriptor, programs by the pointer that they were given: the task that runs them, the socket of their
//! test run. The vm does not hear of owners that end; their values stay until they are removed or the map goes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use twinbpf_object::{Errno, MapKind, MapSpec};
use twinbpf_shm::SharedBytes;

use super::kind::{Behaviour, Source, Writer};
use super::{EXIST, NOEXIST};
use crate::window::{Extent, ProgramAccess, Window};

/// `CGROUP2_SUPER_MAGIC` (`linux/magic.h`)
const CGROUP2: u64 = 0x6367_7270;

#[derive(Debug)]
pub(crate) struct Owned {
    window: Arc<Window>,
    kind: MapKind,
    value_bytes: usize,
    values: Mutex<BTreeMap<Owner, Extent>>,
}

/// Whose value it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    /// A process, by its number.
    Task(u32),
    /// A socket of the host's, by the number of its inode.
    Socket(u64),
    /// The socket that a test run makes.
    TestSocket,
    /// An inode, by its device and number.
    Inode(u64, u64),
    /// A cgroup, by its number.
    Cgroup(u64),
}

impl Owned {
    pub(super) fn new(window: &Arc<Window>, spec: &MapSpec) -> Result<Self, Errno> {
        Ok(Self {
            window: Arc::clone(window),
            kind: spec.kind,
            value_bytes: usize::try_from(spec.value_size).map_err(|_| Errno::E2BIG)?,
            values: Mutex::default(),
        })
    }

    /// The address of an owner's value; with `initial`, it is made if it is not there: zeros, or a copy of that.
    pub(crate) fn address(
        &self,
        owner: Owner,
        initial: Option<Option<SharedBytes>>,
    ) -> Option<u32> {
        let mut values = self.values();
        if let Some(value) = values.get(&owner) {
            return Some(value.start());
        }
        let value = self.make(initial?.map(Source::Window)).ok()?;
        let start = value.start();
        values.insert(owner, value);
        Some(start)
    }

    /// Takes an owner's value away.
    ///
    /// # Errors
    ///
    /// `ENOENT` if it has none.
    pub(crate) fn remove(&self, owner: Owner) -> Result<(), Errno> {
        let value = self.values().remove(&owner);
        value.map(drop).ok_or(Errno::ENOENT)
    }

    /// Whether it is storage of this kind of owner.
    pub(crate) fn is_of(&self, kind: MapKind) -> bool {
        self.kind == kind
    }

    fn make(&self, initial: Option<Source<'_>>) -> Result<Extent, Errno> {
        let bytes = u64::try_from(self.value_bytes).map_err(|_| Errno::E2BIG)?;
        let value = self.window.allocate(bytes, ProgramAccess::ReadWrite)?;
        if let Some(initial) = initial {
            initial.write_to(value.host(), 0)?;
        }
        Ok(value)
    }

    fn values(&self) -> MutexGuard<'_, BTreeMap<Owner, Extent>> {
        // Entries come and go in single steps.
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whom the descriptor in a key stands for.
    ///
    /// KERNEL: a descriptor that is none, or of something else, is EBADF; a file where a socket is wanted ENOTSOCK (6.18).
    fn owner(&self, key: &[u8]) -> Result<Owner, Errno> {
        let number = key.try_into().map(i32::from_ne_bytes);
        let number = number.map_err(|_| Errno::EINVAL)?;
        let place = PathBuf::from(format!("/proc/self/fd/{number}"));
        let target = fs::read_link(&place).map_err(|_| Errno::EBADF)?;
        let target = target.to_string_lossy();
        match self.kind {
            MapKind::TaskStorage => task(number).map(Owner::Task).ok_or(Errno::EBADF),
            MapKind::SkStorage => {
                let number = target.strip_prefix("socket:[");
                let number = number.and_then(|rest| rest.strip_suffix(']')?.parse().ok());
                number.map(Owner::Socket).ok_or(Errno::ENOTSOCK)
            }
            _ => {
                let file = fs::metadata(&place).map_err(|_| Errno::EBADF)?;
                if self.kind == MapKind::InodeStorage {
                    return Ok(Owner::Inode(file.dev(), file.ino()));
                }
                let system = rustix::fs::statfs(&place).map_err(|_| Errno::EBADF)?;
                let is_cgroup = u64::try_from(system.f_type).is_ok_and(|kind| kind == CGROUP2);
                (is_cgroup && file.is_dir())
                    .then_some(Owner::Cgroup(file.ino()))
                    .ok_or(Errno::EBADF)
            }
        }
    }
}

/// The process that a descriptor is of.
fn task(descriptor: i32) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).ok()?;
    let pid = text.lines().find_map(|line| line.strip_prefix("Pid:"))?;
    pid.trim().parse().ok()
}

/// KERNEL: there is no next key, nor anything in batches (6.18).
impl Behaviour for Owned {
    fn copy_out(&self, key: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        let owner = self.owner(key)?;
        let values = self.values();
        let found = values.get(&owner).ok_or(Errno::ENOENT)?;
        found.host().copy_out(0, value).ok_or(Errno::EFAULT)
    }

    fn update(&self, key: &[u8], value: Source<'_>, flags: u64, _: Writer) -> Result<(), Errno> {
        let owner = self.owner(key)?;
        if flags > EXIST {
            return Err(Errno::EINVAL);
        }
        let mut values = self.values();
        match values.get(&owner) {
            Some(_) if flags == NOEXIST => return Err(Errno::EEXIST),
            None if flags == EXIST => return Err(Errno::ENOENT),
            _ => {}
        }
        // A new place, as in the kernel: a program that found the old value keeps it.
        let new = self.make(Some(value))?;
        values.insert(owner, new);
        Ok(())
    }

    fn delete(&self, key: &[u8]) -> Result<(), Errno> {
        self.remove(self.owner(key)?)
    }
}
