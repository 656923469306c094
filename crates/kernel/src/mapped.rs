//! The first value of an array, or an arena, mapped into this process: where variables can be read and written one by one.
//!
//! `bpf(2)` moves whole values only, so that writing one variable through it would undo what programs did to its
//! neighbours meanwhile.
#![expect(unsafe_code, reason = "maps and unmaps the memory of a map")]

use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use twinbpf_object::Errno;
use twinbpf_shm::SharedBytes;

/// A mapping of an array's values.
///
/// INVARIANT: `bytes` is exactly the range that `mmap` answered; it goes with this value and no view of it leaves.
#[derive(Debug)]
pub(crate) struct MappedValue {
    bytes: SharedBytes,
}

impl MappedValue {
    /// Maps at least `len` bytes. The kernel refuses maps that are frozen, too short, or were not created to be mapped.
    pub(crate) fn new(map: BorrowedFd<'_>, len: usize) -> Result<Self, Errno> {
        let len = len.next_multiple_of(rustix::param::page_size());
        Self::at(std::ptr::null_mut(), map, len, MapFlags::SHARED)
    }

    /// Maps all `len` bytes of an arena, at `address` if it is not 0. The kernel refuses any other address once it knows one.
    pub(crate) fn arena(map: BorrowedFd<'_>, len: usize, address: u64) -> Result<Self, Errno> {
        let address = usize::try_from(address).map_err(|_| Errno::ENOMEM)?;
        let flags = if address == 0 {
            MapFlags::SHARED
        } else {
            // Not `FIXED`, which would replace whatever lies there.
            MapFlags::SHARED | MapFlags::FIXED_NOREPLACE
        };
        Self::at(std::ptr::without_provenance_mut(address), map, len, flags)
    }

    fn at(
        address: *mut std::ffi::c_void,
        map: BorrowedFd<'_>,
        len: usize,
        flags: MapFlags,
    ) -> Result<Self, Errno> {
        let both = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the address is of the kernel's choice, or one where nothing is mapped (`FIXED_NOREPLACE`), so the new
        // mapping disturbs no other memory of this process.
        let start = unsafe { mmap(address, len, both, flags, map, 0) };
        let start = start.map_err(|error| Errno(error.raw_os_error()))?;
        let base = NonNull::new(start.cast::<u8>()).ok_or(Errno::ENOMEM)?;
        // SAFETY: the range was mapped just now, readable and writable, and `drop` alone unmaps it; this type hands out
        // copies of bytes, never the view or a reference. The pages belong to the map and cannot be truncated.
        let bytes = unsafe { SharedBytes::new(base, len) };
        Ok(Self { bytes })
    }

    /// Copies from the value. 1, 2, 4 or 8 bytes that are aligned come in one piece.
    pub(crate) fn read(&self, offset: usize, to: &mut [u8]) -> Result<(), Errno> {
        self.bytes.copy_out(offset, to).ok_or(Errno::EINVAL)
    }

    /// Copies into the value. 1, 2, 4 or 8 bytes that are aligned go in one piece.
    pub(crate) fn write(&self, offset: usize, from: &[u8]) -> Result<(), Errno> {
        self.bytes.copy_in(offset, from).ok_or(Errno::EINVAL)
    }
}

impl Drop for MappedValue {
    fn drop(&mut self) {
        // SAFETY: this is the range that `new` mapped; by the invariant nobody else has a view of it.
        let result = unsafe { munmap(self.bytes.as_ptr().cast(), self.bytes.len()) };
        debug_assert!(result.is_ok(), "unmapping our own range cannot be refused");
    }
}
