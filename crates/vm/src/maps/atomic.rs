//! The atomics of hash tables: the standard ones, or those of the model checker `loom`, which tries every order in which threads may
//! see each other's writes (`RUSTFLAGS="--cfg loom" cargo test -p twinbpf-vm --release --lib every_order`).

#[cfg(loom)]
mod chosen {
    pub(in crate::maps) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
    pub(in crate::maps) use loom::thread::yield_now;
    pub(in crate::maps) use loom::thread::yield_now as spin_loop;

    use twinbpf_object::Errno;

    /// Every model is the same every time.
    pub(in crate::maps) fn seed() -> u64 {
        0
    }

    pub(in crate::maps) fn zeroed_words(len: usize) -> Result<Box<[AtomicU64]>, Errno> {
        Ok((0..len).map(|_| AtomicU64::new(0)).collect())
    }
}

#[cfg(not(loom))]
mod chosen {
    use std::hash::{BuildHasher, RandomState};
    pub(in crate::maps) use std::hint::spin_loop;
    pub(in crate::maps) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
    pub(in crate::maps) use std::thread::yield_now;

    use twinbpf_object::Errno;

    /// What hashes begin with, so that nobody can choose keys that collide.
    pub(in crate::maps) fn seed() -> u64 {
        RandomState::new().hash_one(0u8)
    }

    /// Zeros that cost no memory until they are used.
    pub(in crate::maps) fn zeroed_words(len: usize) -> Result<Box<[AtomicU64]>, Errno> {
        crate::maps::table::zeroed(len)
    }
}

pub(super) use chosen::*;
