//! Single loads and stores of 1, 2, 4 and 8 bytes at any alignment, opaque to the optimiser.
//!
//! On x86-64 one `mov` does each of them, aligned or not, and inline assembly is the only way to ask for exactly that: an
//! `AtomicU32` must be aligned, a volatile read of a packed field is a race in Rust's model. Elsewhere, and under
//! Miri, an unaligned access is a series of one-byte atomics.
#![expect(unsafe_code, reason = "raw loads and stores are what this file is for")]

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod machine {
    use std::arch::asm;

    /// Copies many bytes at once, front to back, if this machine has something faster than word by word; whether it did.
    ///
    /// # Safety
    ///
    /// `len` bytes from `from` must be readable and as many from `to` writable.
    pub(crate) unsafe fn copy_many(from: *const u8, to: *mut u8, len: usize) -> bool {
        // Below this the instruction takes longer to start than a loop to end.
        if len < 128 {
            return false;
        }
        // SAFETY: the caller promises both ranges; the instruction touches nothing else. The direction flag is clear outside of
        // assembly that sets it.
        unsafe {
            asm!("rep movsb", inout("rcx") len => _, inout("rsi") from => _, inout("rdi") to => _, options(nostack, preserves_flags));
        }
        true
    }

    /// Loads one byte.
    ///
    /// # Safety
    ///
    /// `at` must be readable.
    pub(crate) unsafe fn load_u8(at: *const u8) -> u8 {
        let value: u32;
        // SAFETY: the caller promises that the byte is readable; the instruction touches nothing else.
        unsafe {
            asm!("movzx {v:e}, byte ptr [{at}]", v = out(reg) value, at = in(reg) at, options(nostack, preserves_flags, readonly));
        }
        value.to_le_bytes()[0]
    }

    /// Loads two bytes.
    ///
    /// # Safety
    ///
    /// `at` and the byte after it must be readable.
    pub(crate) unsafe fn load_u16(at: *const u8) -> u16 {
        let value: u32;
        // SAFETY: the caller promises that both bytes are readable; the instruction touches nothing else.
        unsafe {
            asm!("movzx {v:e}, word ptr [{at}]", v = out(reg) value, at = in(reg) at, options(nostack, preserves_flags, readonly));
        }
        let [low, high, ..] = value.to_le_bytes();
        u16::from_le_bytes([low, high])
    }

    /// Loads four bytes.
    ///
    /// # Safety
    ///
    /// Four bytes from `at` must be readable.
    pub(crate) unsafe fn load_u32(at: *const u8) -> u32 {
        let value: u32;
        // SAFETY: the caller promises that the four bytes are readable; the instruction touches nothing else.
        unsafe {
            asm!("mov {v:e}, dword ptr [{at}]", v = out(reg) value, at = in(reg) at, options(nostack, preserves_flags, readonly));
        }
        value
    }

    /// Loads eight bytes.
    ///
    /// # Safety
    ///
    /// Eight bytes from `at` must be readable.
    pub(crate) unsafe fn load_u64(at: *const u8) -> u64 {
        let value: u64;
        // SAFETY: the caller promises that the eight bytes are readable; the instruction touches nothing else.
        unsafe {
            asm!("mov {v}, qword ptr [{at}]", v = out(reg) value, at = in(reg) at, options(nostack, preserves_flags, readonly));
        }
        value
    }

    /// Stores one byte.
    ///
    /// # Safety
    ///
    /// `at` must be writable memory that Rust code reaches only through this module.
    pub(crate) unsafe fn store_u8(at: *mut u8, value: u8) {
        // SAFETY: the caller promises that the byte is writable; the instruction touches nothing else.
        unsafe {
            asm!("mov byte ptr [{at}], {v}", v = in(reg_byte) value, at = in(reg) at, options(nostack, preserves_flags));
        }
    }

    /// Stores two bytes.
    ///
    /// # Safety
    ///
    /// Two bytes from `at` must be writable memory that Rust code reaches only through this module.
    pub(crate) unsafe fn store_u16(at: *mut u8, value: u16) {
        // SAFETY: the caller promises that both bytes are writable; the instruction touches nothing else.
        unsafe {
            asm!("mov word ptr [{at}], {v:x}", v = in(reg) value, at = in(reg) at, options(nostack, preserves_flags));
        }
    }

    /// Stores four bytes.
    ///
    /// # Safety
    ///
    /// Four bytes from `at` must be writable memory that Rust code reaches only through this module.
    pub(crate) unsafe fn store_u32(at: *mut u8, value: u32) {
        // SAFETY: the caller promises that the four bytes are writable; the instruction touches nothing else.
        unsafe {
            asm!("mov dword ptr [{at}], {v:e}", v = in(reg) value, at = in(reg) at, options(nostack, preserves_flags));
        }
    }

    /// Stores eight bytes.
    ///
    /// # Safety
    ///
    /// Eight bytes from `at` must be writable memory that Rust code reaches only through this module.
    pub(crate) unsafe fn store_u64(at: *mut u8, value: u64) {
        // SAFETY: the caller promises that the eight bytes are writable; the instruction touches nothing else.
        unsafe {
            asm!("mov qword ptr [{at}], {v}", v = in(reg) value, at = in(reg) at, options(nostack, preserves_flags));
        }
    }
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
mod machine {
    use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};

    /// Never: word by word is the only way here.
    ///
    /// # Safety
    ///
    /// None; the other machine has conditions.
    pub(crate) unsafe fn copy_many(_: *const u8, _: *mut u8, _: usize) -> bool {
        false
    }

    /// Loads one byte.
    ///
    /// # Safety
    ///
    /// `at` must be readable.
    pub(crate) unsafe fn load_u8(at: *const u8) -> u8 {
        // SAFETY: the caller promises that the byte is readable; one byte is always aligned.
        unsafe { AtomicU8::from_ptr(at.cast_mut()) }.load(Relaxed)
    }

    /// Stores one byte.
    ///
    /// # Safety
    ///
    /// `at` must be writable memory that Rust code reaches only through this module.
    pub(crate) unsafe fn store_u8(at: *mut u8, value: u8) {
        // SAFETY: the caller promises that the byte is writable; one byte is always aligned.
        unsafe { AtomicU8::from_ptr(at) }.store(value, Relaxed);
    }

    /// One pair of functions per width; a generic function cannot name the atomic type of an integer.
    macro_rules! wide {
        ($load:ident, $store:ident, $integer:ty, $atomic:ty) => {
            /// Loads an integer.
            ///
            /// # Safety
            ///
            /// As many bytes as the integer has must be readable from `at`.
            pub(crate) unsafe fn $load(at: *const u8) -> $integer {
                if at.cast::<$atomic>().is_aligned() {
                    // SAFETY: the caller promises readable bytes, and the line above checked the alignment.
                    return unsafe { <$atomic>::from_ptr(at.cast_mut().cast()) }.load(Relaxed);
                }
                let mut bytes = [0; size_of::<$integer>()];
                for (index, byte) in bytes.iter_mut().enumerate() {
                    // SAFETY: the caller promises that every byte of the integer is readable.
                    *byte = unsafe { load_u8(at.wrapping_add(index)) };
                }
                <$integer>::from_ne_bytes(bytes)
            }

            /// Stores an integer.
            ///
            /// # Safety
            ///
            /// As many bytes as the integer has must be writable from `at`, and reached only through this module.
            pub(crate) unsafe fn $store(at: *mut u8, value: $integer) {
                if at.cast::<$atomic>().is_aligned() {
                    // SAFETY: the caller promises writable bytes, and the line above checked the alignment.
                    return unsafe { <$atomic>::from_ptr(at.cast()) }.store(value, Relaxed);
                }
                for (index, byte) in value.to_ne_bytes().into_iter().enumerate() {
                    // SAFETY: the caller promises that every byte of the integer is writable.
                    unsafe { store_u8(at.wrapping_add(index), byte) };
                }
            }
        };
    }

    wide!(load_u16, store_u16, u16, AtomicU16);
    wide!(load_u32, store_u32, u32, AtomicU32);
    wide!(load_u64, store_u64, u64, AtomicU64);
}

pub(crate) use machine::{
    copy_many, load_u8, load_u16, load_u32, load_u64, store_u8, store_u16, store_u32, store_u64,
};
