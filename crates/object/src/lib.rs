//! From file bytes to linked BPF programs, as pure functions.
//!
//! Nothing here makes a system call, reads a clock or opens a file: the same bytes give the same answer on every
//! machine. The states of a program are types of their own: [`Object`] is what the file says, [`Linked`] is what an
//! engine can load, with holes where maps and other live things will be.
//!
//! The facts of the kernel interface that both engines need live here too, one table each: error numbers, map kinds,
//! program kinds, section names, opcodes.
#![forbid(unsafe_code)]

pub mod abi;
pub mod btf;
mod bytes;
pub mod combine;
pub mod core;
pub mod diagnosis;
mod elf;
pub mod hook;
pub mod insn;
pub mod link;
pub mod map_rules;
mod order;
mod parse;
pub mod ring;
pub mod spec;
pub mod target;
pub mod test_run;
pub mod value;

pub use abi::{AttachKind, Errno, MapKind, ProgramKind};
pub use diagnosis::{Code, Diagnosis, Error, ErrorKind, Result};
pub use elf::read_without_debugging;
pub use hook::Hook;
pub use insn::{Insn, InsnIndex};
pub use link::{Hole, HoleKind, Linked, LinkedProgram, Target, link, link_each};
pub use parse::{read_types, read_types_on};
pub use spec::{MapIndex, MapSpec, Object, ProgramSpec};
pub use test_run::{TestInput, TestOutput};
