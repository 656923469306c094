//! Maps: the kernel's behaviour to the errno, values in the window, everything else outside.
//!
//! Keys, links and free lists live on the host's heap, where no program can reach them; only values lie in the window.
//! A [`VmMap`] is a handle: cloning it shares the map, and the map goes when the last handle and the last program
//! using it are gone.

mod array;
mod hash;
mod key;

use std::sync::Arc;

use twinbpf_object::abi::MapFlags;
use twinbpf_object::{Errno, MapKind, MapSpec};
use twinbpf_shm::SharedBytes;

use crate::handles::Handles;
use crate::window::{ProgramAccess, Window};

use array::Array;
use hash::Hash;

/// Update flag: only if absent.
pub(crate) const NOEXIST: u64 = 1;
/// Update flag: only if present.
pub(crate) const EXIST: u64 = 2;

/// A map of a vm.
#[derive(Debug, Clone)]
pub struct VmMap(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    spec: MapSpec,
    handle: u32,
    handles: Arc<Handles>,
    storage: Storage,
}

/// The set of kinds is closed.
#[derive(Debug)]
enum Storage {
    Array(Array),
    Hash(Hash),
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.handles.give_back(self.handle);
    }
}

/// A value to be written: from the caller's memory or from the window.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source<'a> {
    Bytes(&'a [u8]),
    Window(SharedBytes),
}

impl Source<'_> {
    fn write_to(self, values: SharedBytes, offset: usize) -> Result<(), Errno> {
        match self {
            Self::Bytes(bytes) => values.copy_in(offset, bytes),
            Self::Window(view) => values.copy_from(offset, view),
        }
        .ok_or(Errno::EFAULT)
    }
}

impl VmMap {
    /// Creates a map whose attributes were checked.
    pub(crate) fn create(
        window: &Arc<Window>,
        handles: &Arc<Handles>,
        spec: &MapSpec,
        spare: u32,
    ) -> Result<Self, Errno> {
        let storage = match spec.kind {
            MapKind::Array => Storage::Array(Array::new(window, spec)?),
            MapKind::Hash => Storage::Hash(Hash::new(window, spec, spare)?),
            _ => return Err(Errno::ENOTSUPP),
        };
        let handle = handles.take().ok_or(Errno::ENFILE)?;
        Ok(Self(Arc::new(Inner {
            spec: spec.clone(),
            handle,
            handles: Arc::clone(handles),
            storage,
        })))
    }

    /// Writes the first value, under the key of zeros, before anybody else has the map.
    pub(crate) fn begin(&self, value: &[u8]) -> Result<(), Errno> {
        let key = vec![0; usize::try_from(self.key_size()).unwrap_or_default()];
        self.check_sizes(key.len(), Some(value.len()))?;
        match &self.0.storage {
            Storage::Array(array) => array.update(&key, Source::Bytes(value), 0),
            Storage::Hash(hash) => hash.update(&key, Source::Bytes(value), 0),
        }
    }

    /// The definition it was created from.
    pub fn spec(&self) -> &MapSpec {
        &self.0.spec
    }

    /// Copies the value under `key` into `value`.
    ///
    /// # Errors
    ///
    /// `ENOENT` if there is no such key, `EINVAL` if a size is wrong, `EPERM` if the map is write-only for callers.
    pub fn lookup(&self, key: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        self.allow(MapFlags::WRONLY)?;
        self.check_sizes(key.len(), Some(value.len()))?;
        match &self.0.storage {
            Storage::Array(array) => array.copy_out(key, value),
            Storage::Hash(hash) => hash.copy_out(key, value),
        }
    }

    /// Writes a value under `key`. `flags`: 0 create or replace, 1 only if absent, 2 only if present.
    ///
    /// # Errors
    ///
    /// As `bpf(2)`: `EEXIST`, `ENOENT`, `E2BIG` (full, or an index out of range), `EINVAL`, `EPERM`.
    pub fn update(&self, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        self.allow_writing()?;
        self.check_sizes(key.len(), Some(value.len()))?;
        match &self.0.storage {
            Storage::Array(array) => array.update(key, Source::Bytes(value), flags),
            Storage::Hash(hash) => hash.update(key, Source::Bytes(value), flags),
        }
    }

    /// Removes a key.
    ///
    /// # Errors
    ///
    /// `ENOENT` if there is no such key, `EINVAL` for kinds whose entries cannot be removed, `EPERM`.
    pub fn delete(&self, key: &[u8]) -> Result<(), Errno> {
        self.allow_writing()?;
        self.check_sizes(key.len(), None)?;
        match &self.0.storage {
            Storage::Array(_) => Err(Errno::EINVAL),
            Storage::Hash(hash) => hash.delete(key),
        }
    }

    /// Copies a part of an array's first value into `bytes`: a global variable.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the part does not lie in the value or the map is no array, `EPERM` if it is write-only for callers.
    pub fn read_part(&self, offset: usize, bytes: &mut [u8]) -> Result<(), Errno> {
        self.allow(MapFlags::WRONLY)?;
        self.part(offset, bytes.len())?
            .copy_out(0, bytes)
            .ok_or(Errno::EINVAL)
    }

    /// Writes a part of an array's first value and leaves the rest alone: a global variable.
    ///
    /// # Errors
    ///
    /// `EPERM` if the map is frozen, `EINVAL` if the part does not lie in the value or the map is no array.
    pub fn write_part(&self, offset: usize, bytes: &[u8]) -> Result<(), Errno> {
        self.allow_writing()?;
        self.part(offset, bytes.len())?
            .copy_in(0, bytes)
            .ok_or(Errno::EINVAL)
    }

    fn part(&self, offset: usize, len: usize) -> Result<SharedBytes, Errno> {
        let Storage::Array(array) = &self.0.storage else {
            return Err(Errno::EINVAL);
        };
        array.part(offset, len).ok_or(Errno::EINVAL)
    }

    /// Writes the key after `key` into `next`; the first one if `key` is `None` or not in the map.
    ///
    /// # Errors
    ///
    /// `ENOENT` after the last key, `EINVAL` if a size is wrong, `EPERM` if the map is write-only for callers.
    pub fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<(), Errno> {
        self.allow(MapFlags::WRONLY)?;
        self.check_sizes(key.map_or(next.len(), <[u8]>::len), None)?;
        self.check_sizes(next.len(), None)?;
        match &self.0.storage {
            Storage::Array(array) => array.next_key(key, next),
            Storage::Hash(hash) => hash.next_key(key, next),
        }
    }

    /// The address of the value under the key in `key`, for a program; `None` if there is none.
    pub(crate) fn lookup_address(&self, key: SharedBytes) -> Option<u32> {
        match &self.0.storage {
            Storage::Array(array) => array.address(key),
            Storage::Hash(hash) => hash.address(key),
        }
    }

    /// An update by a program.
    pub(crate) fn update_from_window(
        &self,
        key: SharedBytes,
        value: SharedBytes,
        flags: u64,
    ) -> Result<(), Errno> {
        self.allow_program_writing()?;
        let key = key::Copied::new(key).ok_or(Errno::EFAULT)?;
        match &self.0.storage {
            Storage::Array(array) => array.update(key.bytes(), Source::Window(value), flags),
            Storage::Hash(hash) => hash.update(key.bytes(), Source::Window(value), flags),
        }
    }

    /// A removal by a program.
    pub(crate) fn delete_from_window(&self, key: SharedBytes) -> Result<(), Errno> {
        self.allow_program_writing()?;
        let key = key::Copied::new(key).ok_or(Errno::EFAULT)?;
        match &self.0.storage {
            Storage::Array(_) => Err(Errno::EINVAL),
            Storage::Hash(hash) => hash.delete(key.bytes()),
        }
    }

    /// Whether the map belongs to the vm with these handles.
    pub(crate) fn is_of(&self, handles: &Arc<Handles>) -> bool {
        Arc::ptr_eq(&self.0.handles, handles)
    }

    /// The number that stands for the map in programs.
    pub(crate) fn handle(&self) -> u32 {
        self.0.handle
    }

    /// The address of the first value of an array: where globals live.
    pub(crate) fn first_value(&self) -> Option<u32> {
        match &self.0.storage {
            Storage::Array(array) => Some(array.first_value()),
            Storage::Hash(_) => None,
        }
    }

    /// Bytes of a key.
    pub(crate) fn key_size(&self) -> u32 {
        self.0.spec.key_size
    }

    /// Bytes of a value.
    pub(crate) fn value_size(&self) -> u32 {
        self.0.spec.value_size
    }

    /// KERNEL: a map created with `BPF_F_RDONLY` or `BPF_F_WRONLY` answers EPERM before anything else is looked at (6.18).
    fn allow(&self, forbidding: MapFlags) -> Result<(), Errno> {
        if self.0.spec.flags.contains(forbidding) {
            Err(Errno::EPERM)
        } else {
            Ok(())
        }
    }

    /// KERNEL: a frozen map answers as one created with `BPF_F_RDONLY` (6.18).
    fn allow_writing(&self) -> Result<(), Errno> {
        if self.0.spec.is_frozen {
            return Err(Errno::EPERM);
        }
        self.allow(MapFlags::RDONLY)
    }

    /// KERNEL: the verifier refuses a program that writes such a map (6.18); the sandbox answers when it happens.
    fn allow_program_writing(&self) -> Result<(), Errno> {
        self.allow(MapFlags::RDONLY_PROG)
    }

    fn check_sizes(&self, key: usize, value: Option<usize>) -> Result<(), Errno> {
        let fits = |len: usize, size: u32| u32::try_from(len).is_ok_and(|len| len == size);
        let is_right =
            fits(key, self.key_size()) && value.is_none_or(|value| fits(value, self.value_size()));
        if is_right { Ok(()) } else { Err(Errno::EINVAL) }
    }
}

/// What programs may do with a map's values.
fn program_access(spec: &MapSpec) -> ProgramAccess {
    if spec.flags.contains(MapFlags::RDONLY_PROG) {
        ProgramAccess::ReadOnly
    } else if spec.flags.contains(MapFlags::WRONLY_PROG) {
        ProgramAccess::WriteOnly
    } else {
        ProgramAccess::ReadWrite
    }
}

/// Bytes from one value to the next: a multiple of 8, as in the kernel.
fn stride(spec: &MapSpec) -> Result<u64, Errno> {
    u64::from(spec.value_size)
        .checked_next_multiple_of(8)
        .filter(|stride| *stride > 0)
        .ok_or(Errno::EINVAL)
}

/// Offset of a slot's value, and its address for programs.
fn offset_of(slot: u32, stride: u64) -> usize {
    // A slot lies within an extent, which lies within the window, so the product fits.
    usize::try_from(u64::from(slot) * stride).unwrap_or(usize::MAX)
}
