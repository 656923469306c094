//! A pointer and a length, with checked loads, stores, copies and atomic updates.
#![expect(
    unsafe_code,
    reason = "turns one promise about a mapping into safe accesses"
)]

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::access;

/// A run of bytes that others may write at any moment.
///
/// INVARIANT: the whole range stays mapped, readable and writable while this value or a copy of it can be used, and Rust code
/// reaches it only through this crate. Whoever calls [`SharedBytes::new`] promises that.
#[derive(Debug, Clone, Copy)]
pub struct SharedBytes {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: a `SharedBytes` is an address and a length; every access through it is a single machine access or an atomic, so
// using it from several threads is a race of values, never of Rust references.
unsafe impl Send for SharedBytes {}
// SAFETY: as for `Send`; the methods take `&self` and keep no state.
unsafe impl Sync for SharedBytes {}

/// An atomic read-modify-write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtomicUpdate {
    /// Adds, wrapping.
    Add,
    /// Bitwise or.
    Or,
    /// Bitwise and.
    And,
    /// Bitwise exclusive or.
    Xor,
    /// Replaces.
    Exchange,
}

/// Declares a checked load and store per width; a generic function cannot name them.
macro_rules! checked_access {
    ($load:ident, $store:ident, $integer:ty) => {
        /// Loads an integer in host order at `offset`, or `None` if it does not fit in the range.
        #[inline(always)]
        pub fn $load(self, offset: usize) -> Option<$integer> {
            let at = self.address(offset, size_of::<$integer>())?;
            // SAFETY: `address` checked that the bytes lie in the range, which is readable by the type's invariant.
            Some(unsafe { access::$load(at) })
        }

        /// Stores an integer in host order at `offset`, or answers `None` if it does not fit in the range.
        #[inline(always)]
        pub fn $store(self, offset: usize, value: $integer) -> Option<()> {
            let at = self.address(offset, size_of::<$integer>())?;
            // SAFETY: `address` checked that the bytes lie in the range, which is writable by the type's invariant.
            unsafe { access::$store(at, value) };
            Some(())
        }
    };
}

impl SharedBytes {
    /// A view of `len` bytes from `base`.
    ///
    /// # Safety
    ///
    /// - The range must stay mapped, readable and writable as long as the view or a copy of it is used for access.
    /// - Rust references into the range must not exist in that time.
    pub unsafe fn new(base: NonNull<u8>, len: usize) -> Self {
        Self { base, len }
    }

    /// The address of the first byte, for code that does its own checks.
    pub fn as_ptr(self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// Number of bytes.
    pub fn len(self) -> usize {
        self.len
    }

    /// Whether the view has no bytes.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// The part of the view from `offset`, `len` bytes long, or `None` if it does not fit.
    #[inline(always)]
    pub fn part(self, offset: usize, len: usize) -> Option<Self> {
        let at = self.address(offset, len)?;
        NonNull::new(at).map(|base| Self { base, len })
    }

    checked_access!(load_u8, store_u8, u8);
    checked_access!(load_u16, store_u16, u16);
    checked_access!(load_u32, store_u32, u32);
    checked_access!(load_u64, store_u64, u64);

    /// Copies from the view into `to`, or answers `None` if the view is too short.
    ///
    /// 1, 2, 4 or 8 bytes are one access, so that a number that is aligned is never torn.
    #[inline]
    pub fn copy_out(self, offset: usize, to: &mut [u8]) -> Option<()> {
        // Most values are one number.
        match to {
            [_, _, _, _, _, _, _, _] => to.copy_from_slice(&self.load_u64(offset)?.to_ne_bytes()),
            [_, _, _, _] => to.copy_from_slice(&self.load_u32(offset)?.to_ne_bytes()),
            _ => return self.copy_many_out(offset, to),
        }
        Some(())
    }

    fn copy_many_out(self, offset: usize, to: &mut [u8]) -> Option<()> {
        let start = self.address(offset, to.len())?;
        // SAFETY: `address` checked that the bytes lie in the range, which is readable by the type's invariant; `to` is ours.
        if unsafe { access::copy_many(start, to.as_mut_ptr(), to.len()) } {
            return Some(());
        }
        let mut at = offset;
        let mut words = to.chunks_exact_mut(8);
        for word in words.by_ref() {
            word.copy_from_slice(&self.load_u64(at)?.to_ne_bytes());
            at += 8;
        }
        match words.into_remainder() {
            rest @ [_, _, _, _] => rest.copy_from_slice(&self.load_u32(at)?.to_ne_bytes()),
            rest @ [_, _] => rest.copy_from_slice(&self.load_u16(at)?.to_ne_bytes()),
            rest => {
                for byte in rest {
                    *byte = self.load_u8(at)?;
                    at += 1;
                }
            }
        }
        Some(())
    }

    /// Copies `from` into the view, or answers `None` if the view is too short.
    ///
    /// 1, 2, 4 or 8 bytes are one access, so that a number that is aligned is never torn.
    #[inline]
    pub fn copy_in(self, offset: usize, from: &[u8]) -> Option<()> {
        if let Ok(eight) = from.try_into() {
            return self.store_u64(offset, u64::from_ne_bytes(eight));
        }
        if let Ok(four) = from.try_into() {
            return self.store_u32(offset, u32::from_ne_bytes(four));
        }
        self.copy_many_in(offset, from)
    }

    fn copy_many_in(self, offset: usize, from: &[u8]) -> Option<()> {
        let start = self.address(offset, from.len())?;
        // SAFETY: `address` checked that the bytes lie in the range, which is writable by the type's invariant; `from` is borrowed.
        if unsafe { access::copy_many(from.as_ptr(), start, from.len()) } {
            return Some(());
        }
        let mut at = offset;
        let mut words = from.chunks_exact(8);
        for word in words.by_ref() {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(word);
            self.store_u64(at, u64::from_ne_bytes(bytes))?;
            at += 8;
        }
        match *words.remainder() {
            [a, b, c, d] => self.store_u32(at, u32::from_ne_bytes([a, b, c, d]))?,
            [a, b] => self.store_u16(at, u16::from_ne_bytes([a, b]))?,
            ref rest => {
                for byte in rest {
                    self.store_u8(at, *byte)?;
                    at += 1;
                }
            }
        }
        Some(())
    }

    /// Copies all of `from` to `offset` of this view, lowest address first, or answers `None` if it does not fit.
    #[inline]
    pub fn copy_from(self, offset: usize, from: Self) -> Option<()> {
        if from.len == 8 {
            return self.store_u64(offset, from.load_u64(0)?);
        }
        self.address(offset, from.len)?;
        let words = from.len / 8 * 8;
        for at in (0..words).step_by(8) {
            self.store_u64(offset + at, from.load_u64(at)?)?;
        }
        for at in words..from.len {
            self.store_u8(offset + at, from.load_u8(at)?)?;
        }
        Some(())
    }

    /// Sets `len` bytes from `offset` to zero, or answers `None` if they do not fit.
    pub fn zero(self, offset: usize, len: usize) -> Option<()> {
        self.address(offset, len)?;
        let words = len / 8 * 8;
        for at in (0..words).step_by(8) {
            self.store_u64(offset + at, 0)?;
        }
        for at in words..len {
            self.store_u8(offset + at, 0)?;
        }
        Some(())
    }

    /// Loads 4 bytes; what is loaded later is not older. `None` if out of range or not aligned.
    #[inline(always)]
    pub fn load_acquire_u32(self, offset: usize) -> Option<u32> {
        Some(self.atomic_u32(offset)?.load(Ordering::Acquire))
    }

    /// Loads 8 bytes; what is loaded later is not older. `None` if out of range or not aligned.
    #[inline(always)]
    pub fn load_acquire_u64(self, offset: usize) -> Option<u64> {
        Some(self.atomic_u64(offset)?.load(Ordering::Acquire))
    }

    /// Stores 8 bytes after all that was stored earlier. `None` if out of range or not aligned.
    #[inline(always)]
    pub fn store_release_u64(self, offset: usize, value: u64) -> Option<()> {
        self.atomic_u64(offset)?.store(value, Ordering::Release);
        Some(())
    }

    /// Updates 4 bytes atomically and returns what was there; `None` if out of range or not aligned.
    pub fn update_u32(self, offset: usize, update: AtomicUpdate, value: u32) -> Option<u32> {
        let cell = self.atomic_u32(offset)?;
        Some(match update {
            AtomicUpdate::Add => cell.fetch_add(value, Ordering::SeqCst),
            AtomicUpdate::Or => cell.fetch_or(value, Ordering::SeqCst),
            AtomicUpdate::And => cell.fetch_and(value, Ordering::SeqCst),
            AtomicUpdate::Xor => cell.fetch_xor(value, Ordering::SeqCst),
            AtomicUpdate::Exchange => cell.swap(value, Ordering::SeqCst),
        })
    }

    /// Updates 8 bytes atomically and returns what was there; `None` if out of range or not aligned.
    pub fn update_u64(self, offset: usize, update: AtomicUpdate, value: u64) -> Option<u64> {
        let cell = self.atomic_u64(offset)?;
        Some(match update {
            AtomicUpdate::Add => cell.fetch_add(value, Ordering::SeqCst),
            AtomicUpdate::Or => cell.fetch_or(value, Ordering::SeqCst),
            AtomicUpdate::And => cell.fetch_and(value, Ordering::SeqCst),
            AtomicUpdate::Xor => cell.fetch_xor(value, Ordering::SeqCst),
            AtomicUpdate::Exchange => cell.swap(value, Ordering::SeqCst),
        })
    }

    /// Replaces 4 bytes if they equal `expected`; returns what was there, or `None` if out of range or not aligned.
    pub fn compare_exchange_u32(self, offset: usize, expected: u32, value: u32) -> Option<u32> {
        let result = self.atomic_u32(offset)?.compare_exchange(
            expected,
            value,
            Ordering::SeqCst,
            Ordering::SeqCst,
        );
        Some(result.unwrap_or_else(|found| found))
    }

    /// Replaces 8 bytes if they equal `expected`; returns what was there, or `None` if out of range or not aligned.
    pub fn compare_exchange_u64(self, offset: usize, expected: u64, value: u64) -> Option<u64> {
        let result = self.atomic_u64(offset)?.compare_exchange(
            expected,
            value,
            Ordering::SeqCst,
            Ordering::SeqCst,
        );
        Some(result.unwrap_or_else(|found| found))
    }

    #[inline(always)]
    fn address(self, offset: usize, size: usize) -> Option<*mut u8> {
        let end = offset.checked_add(size)?;
        (end <= self.len).then(|| self.base.as_ptr().wrapping_add(offset))
    }

    fn atomic_u32(&self, offset: usize) -> Option<&AtomicU32> {
        let at = self.address(offset, 4)?.cast::<u32>();
        if !at.is_aligned() {
            return None;
        }
        // SAFETY: `address` checked the range, which stays mapped by the type's invariant, and the alignment was checked above.
        Some(unsafe { AtomicU32::from_ptr(at) })
    }

    fn atomic_u64(&self, offset: usize) -> Option<&AtomicU64> {
        let at = self.address(offset, 8)?.cast::<u64>();
        if !at.is_aligned() {
            return None;
        }
        // SAFETY: `address` checked the range, which stays mapped by the type's invariant, and the alignment was checked above.
        Some(unsafe { AtomicU64::from_ptr(at) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_view(size: usize, check: impl FnOnce(SharedBytes)) {
        let mut block = vec![0u64; size.div_ceil(8)];
        let base = NonNull::new(block.as_mut_ptr().cast::<u8>()).unwrap();
        // SAFETY: the block outlives the call of `check`, and nothing else touches it meanwhile.
        check(unsafe { SharedBytes::new(base, size) });
        drop(block);
    }

    #[test]
    fn unaligned_accesses_read_what_was_written() {
        with_view(32, |view| {
            view.store_u32(3, 0xdead_beef).unwrap();
            assert_eq!(view.load_u32(3), Some(0xdead_beef));
            view.store_u64(9, 0x0102_0304_0506_0708).unwrap();
            assert_eq!(view.load_u64(9), Some(0x0102_0304_0506_0708));
            view.store_u16(31 - 2, 0xabcd).unwrap();
            assert_eq!(view.load_u16(29), Some(0xabcd));
            view.store_u8(0, 7).unwrap();
            assert_eq!(view.load_u8(0), Some(7));
        });
    }

    #[test]
    fn nothing_outside_the_range_is_reachable() {
        with_view(16, |view| {
            assert_eq!(view.load_u64(9), None);
            assert_eq!(view.store_u8(16, 1), None);
            assert_eq!(view.load_u16(usize::MAX), None);
            assert!(view.copy_out(10, &mut [0; 7]).is_none());
            assert!(view.part(8, 9).is_none());
            assert_eq!(view.part(8, 8).unwrap().len(), 8);
        });
    }

    #[test]
    fn copies_of_every_length_arrive_whole() {
        with_view(64, |view| {
            for len in 0..=40usize {
                let from: Vec<u8> = (0..len)
                    .map(|index| u8::try_from(index * 7 % 251).unwrap())
                    .collect();
                view.copy_in(5, &from).unwrap();
                let mut to = vec![0; len];
                view.copy_out(5, &mut to).unwrap();
                assert_eq!(from, to);
            }
            view.zero(0, 64).unwrap();
            assert_eq!(view.load_u64(40), Some(0));
        });
    }

    #[test]
    fn atomic_updates_return_the_old_value_and_refuse_odd_addresses() {
        with_view(16, |view| {
            assert_eq!(view.update_u64(8, AtomicUpdate::Add, 5), Some(0));
            assert_eq!(view.update_u64(8, AtomicUpdate::Exchange, 9), Some(5));
            assert_eq!(view.compare_exchange_u64(8, 9, 1), Some(9));
            assert_eq!(view.compare_exchange_u64(8, 9, 2), Some(1));
            assert_eq!(view.load_u64(8), Some(1));
            assert_eq!(view.update_u32(2, AtomicUpdate::Add, 1), None);
        });
    }
}
