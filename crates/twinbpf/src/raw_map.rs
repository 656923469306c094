//! A live map of either engine, in bytes.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

use twinbpf_kernel::KernelMap;
use twinbpf_object::{Code, Diagnosis, Errno, Error, MapSpec, Result};
use twinbpf_vm::VmMap;

use crate::engine_kind::EngineKind;
use crate::map_error::{self, Operation};
use crate::program::{Program, ProgramHandle};

/// A map whose keys and values are bytes. Clones are the same map.
///
/// Use it where the types are known only at run time, or where [`Map`](crate::Map) has no shape for the values: a value of a
/// per-CPU map is one value per CPU slot, each rounded up to 8 bytes.
///
/// ```
/// use twinbpf::{Engine, MapKind, MapSpec, UpdateMode};
///
/// let map = Engine::vm()?.create_map(&MapSpec::new("names", MapKind::Hash, 4, 3, 16))?;
/// map.update(b"eth0", b"foo", UpdateMode::Any)?;
/// assert_eq!(map.get(b"eth0")?.as_deref(), Some(&b"foo"[..]));
/// assert_eq!(map.get(b"eth1")?, None);
/// assert!(map.remove(b"eth0")?);
/// # Ok::<(), twinbpf::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct RawMap(pub(crate) MapHandle);

/// The set of engines is closed.
#[derive(Debug, Clone)]
pub(crate) enum MapHandle {
    Kernel(KernelMap),
    Vm(VmMap),
}

/// Under which condition an update stores a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UpdateMode {
    /// Create the key or replace its value.
    #[default]
    #[doc(alias = "BPF_ANY")]
    Any,
    /// Only if the key is absent.
    #[doc(alias = "BPF_NOEXIST")]
    IfAbsent,
    /// Only if the key is present.
    #[doc(alias = "BPF_EXIST")]
    IfPresent,
}

impl UpdateMode {
    pub(crate) fn flags(self) -> u64 {
        match self {
            Self::Any => 0,
            Self::IfAbsent => 1,
            Self::IfPresent => 2,
        }
    }
}

/// `BPF_F_LOCK`
const LOCK: u64 = 4;

impl RawMap {
    /// The definition it was created from.
    pub fn spec(&self) -> &MapSpec {
        match &self.0 {
            MapHandle::Kernel(map) => map.spec(),
            MapHandle::Vm(map) => map.spec(),
        }
    }

    /// The engine that holds it.
    pub fn engine(&self) -> EngineKind {
        match &self.0 {
            MapHandle::Kernel(_) => EngineKind::Kernel,
            MapHandle::Vm(_) => EngineKind::Vm,
        }
    }

    /// Bytes of a key.
    pub fn key_len(&self) -> usize {
        len(self.spec().key_size)
    }

    /// Bytes of a value as operations take and give it: of all CPU slots together for per-CPU kinds.
    pub fn value_len(&self) -> usize {
        match &self.0 {
            MapHandle::Kernel(map) => map.value_bytes(),
            MapHandle::Vm(map) => map.value_bytes(),
        }
    }

    /// A copy of the value under `key`, or `None` if the key is absent.
    ///
    /// # Errors
    ///
    /// If the key has the wrong length, or the engine refuses.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut value = vec![0; self.value_len()];
        Ok(self.read(key, &mut value)?.then_some(value))
    }

    /// Copies the value under `key` into `value`; false if the key is absent.
    ///
    /// # Errors
    ///
    /// If key or buffer have the wrong length, or the engine refuses.
    pub fn read(&self, key: &[u8], value: &mut [u8]) -> Result<bool> {
        self.read_flagged(key, value, 0)
    }

    /// As [`RawMap::read`], holding the spin lock in the value, so that no program is in the middle of changing it.
    ///
    /// # Errors
    ///
    /// As [`RawMap::read`]; or if values have no spin lock.
    pub fn read_locked(&self, key: &[u8], value: &mut [u8]) -> Result<bool> {
        self.read_flagged(key, value, LOCK)
    }

    fn read_flagged(&self, key: &[u8], value: &mut [u8], flags: u64) -> Result<bool> {
        self.check_key(key)?;
        self.check_value(value)?;
        let result = match &self.0 {
            MapHandle::Kernel(map) => map.lookup_with(key, value, flags),
            MapHandle::Vm(map) => map.lookup_with(key, value, flags),
        };
        self.present(Operation::Lookup, key, result)
    }

    /// Copies the value under `key` and removes the key, in one step; `None` if the key is absent.
    ///
    /// # Errors
    ///
    /// If the key has the wrong length, the kind of map cannot do this, or the engine refuses.
    pub fn take(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.check_key(key)?;
        let mut value = vec![0; self.value_len()];
        let result = match &self.0 {
            MapHandle::Kernel(map) => map.take(key, &mut value, 0),
            MapHandle::Vm(map) => map.take(key, &mut value, 0),
        };
        Ok(self.present(Operation::Take, key, result)?.then_some(value))
    }

    /// Stores `value` under `key`.
    ///
    /// # Errors
    ///
    /// If a length is wrong, the condition of `mode` does not hold, the map is full, or the engine refuses.
    pub fn update(&self, key: &[u8], value: &[u8], mode: UpdateMode) -> Result<()> {
        self.update_flagged(key, value, mode.flags())
    }

    /// As [`RawMap::update`], holding the spin lock in the value that is there; the lock itself is left as it is.
    ///
    /// # Errors
    ///
    /// As [`RawMap::update`]; or if values have no spin lock.
    pub fn update_locked(&self, key: &[u8], value: &[u8], mode: UpdateMode) -> Result<()> {
        self.update_flagged(key, value, mode.flags() | LOCK)
    }

    fn update_flagged(&self, key: &[u8], value: &[u8], flags: u64) -> Result<()> {
        self.check_key(key)?;
        self.check_value(value)?;
        let result = match &self.0 {
            MapHandle::Kernel(map) => map.update(key, value, flags),
            MapHandle::Vm(map) => map.update(key, value, flags),
        };
        result.map_err(|errno| self.explain(Operation::Update, key, errno))
    }

    /// Gives the map a name in a bpffs, under which it lives on until the name is removed. Folders in between are made.
    ///
    /// # Errors
    ///
    /// If the path is not in a bpffs, the name is taken, or the map is a vm's, which ends with its process.
    pub fn pin(&self, path: &Path) -> Result<()> {
        match &self.0 {
            MapHandle::Kernel(map) => map.pin(path),
            MapHandle::Vm(map) => Err(vm_has_no_pins().in_map(&map.spec().name).into()),
        }
    }

    /// Puts a map into this map of maps, under `key`.
    ///
    /// # Errors
    ///
    /// If the key has the wrong length, the map does not look like those this map holds, or the engine refuses.
    pub fn put_map(&self, key: &[u8], map: &RawMap) -> Result<()> {
        self.check_key(key)?;
        let result = match (&self.0, &map.0) {
            (MapHandle::Kernel(outer), MapHandle::Kernel(inner)) => {
                outer.update(key, &descriptor(inner.as_fd()), UpdateMode::Any.flags())
            }
            (MapHandle::Vm(outer), MapHandle::Vm(inner)) => {
                outer.insert_map(key, inner, UpdateMode::Any.flags())
            }
            _ => Err(Errno::ENOTSUPP),
        };
        result.map_err(|errno| self.explain(Operation::Put, key, errno))
    }

    /// Puts a program into this prog array, under `key`.
    ///
    /// # Errors
    ///
    /// If the key has the wrong length, the program's type is not that of the others, or the engine refuses.
    pub fn put_program(&self, key: &[u8], program: &Program) -> Result<()> {
        self.check_key(key)?;
        let result = match (&self.0, &program.handle) {
            (MapHandle::Kernel(array), ProgramHandle::Kernel(program)) => {
                array.update(key, &descriptor(program.as_fd()), UpdateMode::Any.flags())
            }
            (MapHandle::Vm(array), ProgramHandle::Vm { vm, program }) => {
                vm.insert_program(array, key, program)
            }
            _ => Err(Errno::ENOTSUPP),
        };
        result.map_err(|errno| self.explain(Operation::Put, key, errno))
    }

    /// Removes `key`; false if it was absent.
    ///
    /// # Errors
    ///
    /// If the key has the wrong length, the kind of map cannot remove, or the engine refuses.
    pub fn remove(&self, key: &[u8]) -> Result<bool> {
        self.check_key(key)?;
        let result = match &self.0 {
            MapHandle::Kernel(map) => map.delete(key),
            MapHandle::Vm(map) => map.delete(key),
        };
        self.present(Operation::Remove, key, result)
    }

    /// Writes the key after `key` into `next`, the first one without `key`; false after the last.
    pub(crate) fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<bool> {
        let result = match &self.0 {
            MapHandle::Kernel(map) => map.next_key(key, next),
            MapHandle::Vm(map) => map.next_key(key, next),
        };
        self.present(Operation::Walk, key.unwrap_or_default(), result)
    }

    pub(crate) fn check_key(&self, key: &[u8]) -> Result<()> {
        self.check_length("key", self.key_len(), key.len())
    }

    pub(crate) fn check_value(&self, value: &[u8]) -> Result<()> {
        self.check_length("value", self.value_len(), value.len())
    }

    fn check_length(&self, what: &str, has: usize, given: usize) -> Result<()> {
        if has == given {
            return Ok(());
        }
        Err(map_error::wrong_length(self.spec(), what, has, given))
    }

    /// Absence is an answer, not an error.
    pub(crate) fn present(
        &self,
        operation: Operation,
        key: &[u8],
        result: Result<(), Errno>,
    ) -> Result<bool> {
        match result {
            Ok(()) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(self.explain(operation, key, errno)),
        }
    }

    pub(crate) fn explain(&self, operation: Operation, key: &[u8], errno: Errno) -> Error {
        // A map may have been frozen after it was created, by anybody.
        let is_frozen = errno == Errno::EPERM && self.is_frozen();
        map_error::explain(self.spec(), operation, key, (errno, is_frozen))
    }
}

/// What to say to somebody who wants a vm's map or program to outlive the process.
pub(crate) fn vm_has_no_pins() -> Diagnosis {
    let message = "the vm has no pins: its maps and programs end with the process";
    Diagnosis::new(Code::MAP_UNSUPPORTED, message)
        .help("load it into the kernel (`--engine kernel`), or without a place for pins")
}

/// A descriptor as a value that the kernel takes.
fn descriptor(fd: BorrowedFd<'_>) -> [u8; 4] {
    fd.as_raw_fd().to_ne_bytes()
}

/// A size of the kernel's interface as a length in memory.
pub(crate) fn len(size: u32) -> usize {
    // A u32 fits a usize on every host this project is for; saturating makes any other host refuse the buffer.
    usize::try_from(size).unwrap_or(usize::MAX)
}
