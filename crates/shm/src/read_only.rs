//! Views of memory that this process cannot write: loads and copies only.
#![expect(
    unsafe_code,
    reason = "turns one promise about a mapping into safe accesses"
)]

use std::ptr::NonNull;

use crate::bytes::SharedBytes;

/// A run of bytes that others may write at any moment and this process never does.
///
/// INVARIANT: the whole range stays mapped and readable while this value or a copy of it can be used, and Rust code reaches it
/// only through this crate. Whoever calls [`ReadOnlyBytes::new`] promises that.
#[derive(Debug, Clone, Copy)]
pub struct ReadOnlyBytes(SharedBytes);

impl ReadOnlyBytes {
    /// A view of `len` bytes from `base`.
    ///
    /// # Safety
    ///
    /// - The range must stay mapped and readable as long as the view or a copy of it is used for access.
    /// - Rust references into the range must not exist in that time.
    pub unsafe fn new(base: NonNull<u8>, len: usize) -> Self {
        // SAFETY: the caller promises all that `SharedBytes` needs but that the range is writable, and it needs that only to
        // store: no method here stores, and the view inside never leaves.
        Self(unsafe { SharedBytes::new(base, len) })
    }

    /// The address of the first byte.
    pub fn as_ptr(self) -> *const u8 {
        self.0.as_ptr()
    }

    /// Number of bytes.
    pub fn len(self) -> usize {
        self.0.len()
    }

    /// Whether the view has no bytes.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The part of the view from `offset`, `len` bytes long, or `None` if it does not fit.
    #[inline(always)]
    pub fn part(self, offset: usize, len: usize) -> Option<Self> {
        self.0.part(offset, len).map(Self)
    }

    /// Loads 4 bytes; what is loaded later is not older. `None` if out of range or not aligned.
    #[inline(always)]
    pub fn load_acquire_u32(self, offset: usize) -> Option<u32> {
        self.0.load_acquire_u32(offset)
    }

    /// Loads 8 bytes; what is loaded later is not older. `None` if out of range or not aligned.
    #[inline(always)]
    pub fn load_acquire_u64(self, offset: usize) -> Option<u64> {
        self.0.load_acquire_u64(offset)
    }

    /// Copies from the view into `to`, or answers `None` if the view is too short.
    #[inline]
    pub fn copy_out(self, offset: usize, to: &mut [u8]) -> Option<()> {
        self.0.copy_out(offset, to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_what_is_there_and_nothing_outside() {
        let block = [0x0102_0304_0506_0708_u64, 9];
        let base = NonNull::from(&block).cast();
        // SAFETY: the block outlives the view, and nobody writes it.
        let view = unsafe { ReadOnlyBytes::new(base, 16) };
        assert_eq!(view.load_acquire_u64(8), Some(9));
        assert_eq!(view.load_acquire_u64(9), None);
        let mut bytes = [0; 8];
        view.part(8, 8).unwrap().copy_out(0, &mut bytes).unwrap();
        assert_eq!(u64::from_ne_bytes(bytes), 9);
        assert!(view.part(8, 9).is_none() && view.copy_out(12, &mut bytes).is_none());
    }
}
