//! Memory that holds machine code: written once, then executable, never both.

#![expect(unsafe_code, reason = "maps memory for code and makes it executable")]

use std::ptr::NonNull;

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};
use twinbpf_object::Errno;

/// Executable code. It stays at its address until dropped.
#[derive(Debug)]
pub(super) struct CodeBuffer {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory is never written after `new`; reading and executing it from several threads is independent.
unsafe impl Send for CodeBuffer {}
// SAFETY: as for `Send`.
unsafe impl Sync for CodeBuffer {}

impl CodeBuffer {
    /// Copies code into fresh memory and makes that executable.
    ///
    /// # Errors
    ///
    /// If the host gives no memory, or forbids executable memory (`EACCES`, `EPERM`).
    pub(super) fn new(code: &[u8]) -> Result<Self, Errno> {
        let len = code.len().max(1);
        let both = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice disturbs nothing.
        let start = unsafe { mmap_anonymous(std::ptr::null_mut(), len, both, MapFlags::PRIVATE) }
            .map_err(errno)?;
        let base = NonNull::new(start.cast::<u8>()).ok_or(Errno::ENOMEM)?;
        let buffer = Self { base, len };
        // SAFETY: the mapping has at least `code.len()` writable bytes, it is fresh, so nothing overlaps or refers to it.
        unsafe { std::ptr::copy_nonoverlapping(code.as_ptr(), base.as_ptr(), code.len()) };
        // SAFETY: the range is the mapping above, and nothing writes to it from here on.
        unsafe { mprotect(start, len, MprotectFlags::READ | MprotectFlags::EXEC) }
            .map_err(errno)?;
        Ok(buffer)
    }

    /// The address at this offset, if it is inside.
    pub(super) fn at(&self, offset: usize) -> Option<NonNull<u8>> {
        let address = self.base.as_ptr().wrapping_add(offset);
        NonNull::new(address).filter(|_| offset < self.len)
    }

    /// The address of the first instruction.
    pub(super) fn start(&self) -> NonNull<u8> {
        self.base
    }
}

impl Drop for CodeBuffer {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `new`; no code of it is executing: a run borrows the program that owns this buffer, or came to it by
        // a tail call, and then the window keeps the program until the run is over.
        let result = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
        debug_assert!(result.is_ok(), "unmapping our own range cannot be refused");
    }
}

fn errno(error: rustix::io::Errno) -> Errno {
    Errno(error.raw_os_error())
}
