//! The address range behind the window: reserved once, pages put in where something lives.
//!
//! ```text
//!  | guard | 64 KiB never mapped |  pages of extents, unmapped gaps  | handles: never mapped | guard |
//!          ^ base                                                                            ^ base + 4 GiB
//! ```
//!
//! A displacement is at most 32 KiB and an access 8 bytes, so the guards catch whatever leaves the 4 GiB. Under Miri the
//! range is a small heap block, and only the table of permissions keeps programs inside.

#![expect(unsafe_code, reason = "maps and unmaps the window's address range")]

use std::ptr::NonNull;

use twinbpf_object::Errno;
use twinbpf_shm::SharedBytes;

pub(crate) use machine::{Mapping, Reservation};

#[cfg(not(miri))]
mod machine {
    use super::{Errno, NonNull, SharedBytes};
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
    use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap, mmap_anonymous, mprotect, munmap};
    use std::ffi::c_void;

    /// Bytes a program can address.
    pub(crate) const BYTES: usize = 1 << 32;
    /// Unmapped bytes on each side.
    const GUARD_BYTES: usize = 1 << 16;

    /// The reserved range.
    #[derive(Debug)]
    pub(crate) struct Reservation {
        base: NonNull<u8>,
    }

    /// A second mapping of an extent that programs may only read.
    #[derive(Debug)]
    pub(crate) struct Mapping {
        base: NonNull<u8>,
        len: usize,
    }

    // SAFETY: the value is an address range owned by it; the methods only make system calls on parts of the range.
    unsafe impl Send for Reservation {}
    // SAFETY: as for `Send`; concurrent `mmap` and `mprotect` calls on disjoint ranges are independent in the kernel.
    unsafe impl Sync for Reservation {}
    // SAFETY: the value is an owned address range; nothing is tied to a thread.
    unsafe impl Send for Mapping {}
    // SAFETY: as for `Send`; the type has no methods that change it.
    unsafe impl Sync for Mapping {}

    impl Reservation {
        /// Reserves the range; no memory is used yet.
        pub(crate) fn new() -> Result<Self, Errno> {
            let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
            let len = BYTES + 2 * GUARD_BYTES;
            // SAFETY: a new anonymous mapping at an address of the kernel's choice disturbs nothing.
            let start =
                unsafe { mmap_anonymous(std::ptr::null_mut(), len, ProtFlags::empty(), flags) }
                    .map_err(errno)?;
            let base = start.cast::<u8>().wrapping_add(GUARD_BYTES);
            NonNull::new(base)
                .map(|base| Self { base })
                .ok_or(Errno::ENOMEM)
        }

        /// Bytes a program can address.
        pub(crate) fn len(&self) -> usize {
            BYTES
        }

        /// The view of the whole range. Only mapped parts may be accessed; the table of permissions says which.
        pub(crate) fn view(&self) -> SharedBytes {
            // SAFETY: the range is reserved as long as `self` lives, and `Window`, the only user, keeps both together. Its
            // table of permissions lets accesses through only where `map` or `map_twice` has put pages. No Rust reference into
            // the range is ever formed: it is reached through this view alone.
            unsafe { SharedBytes::new(self.base, BYTES) }
        }

        /// Puts zeroed, writable pages at `offset`.
        pub(crate) fn map(&self, offset: usize, len: usize) -> Result<(), Errno> {
            let at = self.at(offset, len)?;
            // SAFETY: `at` checked that the range lies in the reservation, and `Space` hands out a range to one extent at
            // a time, so no other extent loses its pages or gains permissions.
            unsafe { mprotect(at, len, MprotectFlags::READ | MprotectFlags::WRITE) }.map_err(errno)
        }

        /// Puts zeroed pages at `offset` that can only be read there, and maps the same pages writable elsewhere.
        pub(crate) fn map_twice(&self, offset: usize, len: usize) -> Result<Mapping, Errno> {
            let at = self.at(offset, len)?;
            let file = memfd_create("twinbpf-read-only", MemfdFlags::CLOEXEC).map_err(errno)?;
            ftruncate(&file, u64::try_from(len).map_err(|_| Errno::ENOMEM)?).map_err(errno)?;
            let both = ProtFlags::READ | ProtFlags::WRITE;
            // SAFETY: a new shared mapping of our own file at an address of the kernel's choice disturbs nothing.
            let host = unsafe { mmap(std::ptr::null_mut(), len, both, MapFlags::SHARED, &file, 0) }
                .map_err(errno)?;
            let base = NonNull::new(host.cast::<u8>()).ok_or(Errno::ENOMEM)?;
            let mapping = Mapping { base, len };
            // SAFETY: `MAP_FIXED` replaces pages of the reservation only, as `at` checked, and `Space` gave this range to no
            // other extent.
            unsafe {
                mmap(
                    at,
                    len,
                    ProtFlags::READ,
                    MapFlags::SHARED | MapFlags::FIXED,
                    &file,
                    0,
                )
            }
            .map_err(errno)?;
            Ok(mapping)
        }

        /// Takes the pages at `offset` away and gives their memory back.
        pub(crate) fn unmap(&self, offset: usize, len: usize) -> Result<(), Errno> {
            let at = self.at(offset, len)?;
            let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
            // SAFETY: `MAP_FIXED` replaces pages of the reservation only, as `at` checked; the caller unmaps what it mapped,
            // after the last run that could reach it (`Epochs`).
            unsafe { mmap_anonymous(at, len, ProtFlags::empty(), flags) }.map_err(errno)?;
            Ok(())
        }

        fn at(&self, offset: usize, len: usize) -> Result<*mut c_void, Errno> {
            let end = offset.checked_add(len).ok_or(Errno::ENOMEM)?;
            if end > BYTES {
                return Err(Errno::ENOMEM);
            }
            Ok(self.base.as_ptr().wrapping_add(offset).cast())
        }
    }

    impl Drop for Reservation {
        fn drop(&mut self) {
            let start = self.base.as_ptr().wrapping_sub(GUARD_BYTES).cast();
            // SAFETY: this is the range that `new` mapped; extents and workers hold the window, so none of them is left.
            let result = unsafe { munmap(start, BYTES + 2 * GUARD_BYTES) };
            debug_assert!(result.is_ok(), "unmapping our own range cannot be refused");
        }
    }

    impl Mapping {
        /// The writable view.
        pub(crate) fn view(&self) -> SharedBytes {
            // SAFETY: the mapping lives as long as `self`; `Extent` keeps both together and uses the view only while it lives.
            unsafe { SharedBytes::new(self.base, self.len) }
        }
    }

    impl Drop for Mapping {
        fn drop(&mut self) {
            // SAFETY: this is the range that `map_twice` mapped, and its views end with it.
            let result = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
            debug_assert!(result.is_ok(), "unmapping our own range cannot be refused");
        }
    }

    fn errno(error: rustix::io::Errno) -> Errno {
        Errno(error.raw_os_error())
    }
}

#[cfg(miri)]
mod machine {
    use super::{Errno, NonNull, SharedBytes};
    use std::alloc::{Layout, alloc_zeroed, dealloc};

    const BYTES: usize = 1 << 21;

    /// The reserved range: a heap block.
    #[derive(Debug)]
    pub(crate) struct Reservation {
        base: NonNull<u8>,
    }

    /// A second mapping of an extent; under Miri the same bytes.
    #[derive(Debug)]
    pub(crate) struct Mapping {
        view: SharedBytes,
    }

    // SAFETY: the value owns a heap block that is reached through `SharedBytes` only.
    unsafe impl Send for Reservation {}
    // SAFETY: as for `Send`.
    unsafe impl Sync for Reservation {}

    impl Reservation {
        pub(crate) fn new() -> Result<Self, Errno> {
            // SAFETY: the layout has a size above zero.
            let block = unsafe { alloc_zeroed(layout()) };
            NonNull::new(block)
                .map(|base| Self { base })
                .ok_or(Errno::ENOMEM)
        }

        pub(crate) fn len(&self) -> usize {
            BYTES
        }

        pub(crate) fn view(&self) -> SharedBytes {
            // SAFETY: the block lives as long as `self`, and is reached through this view only.
            unsafe { SharedBytes::new(self.base, BYTES) }
        }

        pub(crate) fn map(&self, offset: usize, len: usize) -> Result<(), Errno> {
            self.view().zero(offset, len).ok_or(Errno::ENOMEM)
        }

        pub(crate) fn map_twice(&self, offset: usize, len: usize) -> Result<Mapping, Errno> {
            self.map(offset, len)?;
            self.view()
                .part(offset, len)
                .map(|view| Mapping { view })
                .ok_or(Errno::ENOMEM)
        }

        pub(crate) fn unmap(&self, _offset: usize, _len: usize) -> Result<(), Errno> {
            Ok(())
        }
    }

    impl Drop for Reservation {
        fn drop(&mut self) {
            // SAFETY: `new` allocated the block with this layout.
            unsafe { dealloc(self.base.as_ptr(), layout()) };
        }
    }

    impl Mapping {
        pub(crate) fn view(&self) -> SharedBytes {
            self.view
        }
    }

    fn layout() -> Layout {
        Layout::from_size_align(BYTES, 4096).expect("a power of two is a valid alignment")
    }
}
