//! The engine that is a library: a BPF subsystem inside one process, without privilege.
//!
//! Everything a program can reach lives in one *window* of 4 GiB; a BPF pointer is an offset into it, and every access is
//! checked. A wild pointer, an endless loop or runaway recursion is an error value, never the host's problem.
//!
//! ```text
//!  Vm ── create_map ──> VmMap       values in the window, keys and links outside
//!   ├── load_program ─> VmProgram   decoded, checked for shape, handles filled in
//!   └── worker ───────> Worker      the vm's CPU: stack, packet, context; runs one program at a time
//! ```
//!
//! Map operations answer the kernel's error numbers.

#![cfg_attr(
    not(feature = "engine"),
    expect(
        unreachable_code,
        reason = "what takes a handle cannot be reached where handles have no values"
    )
)]

pub mod capture;
mod checked;
mod code;
mod common;
mod config;
mod context;
mod execute;
mod fault;
mod handles;
mod held;
mod helpers;
pub mod hooks;
mod interpret;
#[cfg(target_arch = "x86_64")]
mod jit;
#[cfg(not(target_arch = "x86_64"))]
#[path = "jit_absent.rs"]
mod jit;
mod kfuncs;
pub mod live;
mod machine;
mod maps;
mod objects;
mod packet;
mod presence;
mod program;
mod provenance;
mod reach;
mod run;
pub mod semantics;
mod shared;
mod surroundings;
mod timers;
mod trace;
mod vm;
mod vouched;
mod window;
mod worker;

pub use config::{Clock, Executor, Guard, Randomness, Trust, VmConfig};
pub use fault::{Fault, FaultKind};
pub use kfuncs::{Answer, HostCall, HostClosure, HostFault, HostFunction, HostNumber};
pub use maps::{TakenEvents, VmMap};
pub use program::VmProgram;
pub use trace::Printed;
pub use vm::{Vm, VmBuilder};
pub use vouched::Vouched;
pub use worker::{AbortHandle, Worker};
