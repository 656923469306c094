//! Atomic views of memory that somebody else writes: load and store, never a reference; and memory that nobody writes.
//!
//! A BPF program, the kernel or another CPU may change these bytes at any moment. Rust's `&u64` and `&[u8]` promise the
//! opposite, so no function here ever forms one. [`SharedBytes`] is a pointer and a length; every access is checked
//! against the length and goes through `access.rs`, whose loads and stores the compiler may neither split, repeat nor
//! invent.
//!
//! Concurrent accesses to the same bytes give some mixture of old and new bytes for unaligned or long accesses, and one of the
//! two values for aligned accesses of 1, 2, 4 and 8 bytes. That is what the hardware gives BPF programs too.

mod access;
mod bytes;
mod constant;
mod read_only;

pub use bytes::{AtomicUpdate, SharedBytes};
pub use constant::KernelTypes;
pub use read_only::ReadOnlyBytes;
