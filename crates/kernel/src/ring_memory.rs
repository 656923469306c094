//! The memory of a ring buffer, mapped: two pages with a position each, and the data twice in a row.
//!
//! ```text
//!  page 0: consumer position | page 1: producer position | data | the same data again
//! ```
//!
//! The reading end may write page 0 only, the writing end everything else: the kernel sees to it. Perf buffers are alike,
//! with one page for both positions and the data once.
#![expect(unsafe_code, reason = "maps and unmaps the memory of rings")]

use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use twinbpf_object::Errno;
use twinbpf_shm::{ReadOnlyBytes, SharedBytes};

/// A mapping that can be written.
///
/// INVARIANT: `bytes` is exactly the range that `mmap` answered; it goes with this value, and views of it are lent only.
#[derive(Debug)]
pub(crate) struct Writable {
    bytes: SharedBytes,
}

/// A mapping that can be read only.
///
/// INVARIANT: as for [`Writable`].
#[derive(Debug)]
pub(crate) struct Readable {
    bytes: ReadOnlyBytes,
}

/// Bytes of a record where they lie, in memory that others may write again once the record is given back.
#[derive(Debug, Clone, Copy)]
pub struct RecordView<'a> {
    bytes: ReadOnlyBytes,
    lent: std::marker::PhantomData<&'a ()>,
}

impl Writable {
    pub(crate) fn new(fd: BorrowedFd<'_>, offset: usize, len: usize) -> Result<Self, Errno> {
        let base = map(fd, offset, len, ProtFlags::READ | ProtFlags::WRITE)?;
        // SAFETY: the range was mapped just now, readable and writable, and `drop` alone unmaps it; views are lent by `&self`
        // only, and its pages belong to a map or event and cannot be truncated.
        let bytes = unsafe { SharedBytes::new(base, len) };
        Ok(Self { bytes })
    }

    /// The memory. The copy must not be used after this value; everything in this crate keeps it inside one call.
    pub(crate) fn bytes(&self) -> SharedBytes {
        self.bytes
    }
}

impl Readable {
    pub(crate) fn new(fd: BorrowedFd<'_>, offset: usize, len: usize) -> Result<Self, Errno> {
        let base = map(fd, offset, len, ProtFlags::READ)?;
        // SAFETY: as in `Writable::new`, for reading.
        let bytes = unsafe { ReadOnlyBytes::new(base, len) };
        Ok(Self { bytes })
    }

    /// The memory. The copy must not be used after this value; everything in this crate keeps it inside one call.
    #[inline]
    pub(crate) fn bytes(&self) -> ReadOnlyBytes {
        self.bytes
    }

    /// A part of it; `None` if it does not fit.
    #[inline]
    pub(crate) fn record(&self, offset: usize, len: usize) -> Option<RecordView<'_>> {
        Some(RecordView {
            bytes: self.bytes.part(offset, len)?,
            lent: std::marker::PhantomData,
        })
    }
}

impl RecordView<'_> {
    /// Number of bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Copies its first bytes into all of `to`; false if there are fewer.
    #[inline]
    pub fn copy_to(&self, to: &mut [u8]) -> bool {
        self.bytes.copy_out(0, to).is_some()
    }
}

fn map(
    fd: BorrowedFd<'_>,
    offset: usize,
    len: usize,
    access: ProtFlags,
) -> Result<NonNull<u8>, Errno> {
    let offset = u64::try_from(offset).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the address is of the kernel's choice, so the new mapping disturbs no other memory of this process.
    let start = unsafe {
        mmap(
            std::ptr::null_mut(),
            len,
            access,
            MapFlags::SHARED,
            fd,
            offset,
        )
    };
    let start = start.map_err(|error| Errno(error.raw_os_error()))?;
    NonNull::new(start.cast::<u8>()).ok_or(Errno::ENOMEM)
}

fn unmap(start: *mut u8, len: usize) {
    // SAFETY: only the two `drop`s below call this, each with the range that it mapped; by their invariants no view is left.
    let result = unsafe { munmap(start.cast(), len) };
    debug_assert!(result.is_ok(), "unmapping our own range cannot be refused");
}

impl Drop for Writable {
    fn drop(&mut self) {
        unmap(self.bytes.as_ptr(), self.bytes.len());
    }
}

impl Drop for Readable {
    fn drop(&mut self) {
        unmap(self.bytes.as_ptr().cast_mut(), self.bytes.len());
    }
}
