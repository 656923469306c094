//! The peers, behind functions that benchmarks and tests share: libbpf through `libbpf-sys`, aya, and us.
//!
//! [`meter`] counts the `bpf(2)` calls of whichever library runs and the time inside them, so that what is left is the
//! library's own work; [`once`] is one load in a process of its own. [`libbpf`] also shows the instructions libbpf would hand to the kernel, and [`compare`] holds ours
//! against them.

#![expect(
    unsafe_code,
    reason = "libbpf is a C library, and the meter stands in for libc's `syscall`"
)]

pub mod compare;
pub mod libbpf;
pub mod meter;
pub mod once;
