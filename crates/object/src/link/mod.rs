//! From an object to programs an engine can load: functions gathered, calls resolved, holes named.

mod hole;

pub use hole::{Hole, HoleKind, ProgramTarget};

use crate::abi::{AttachKind, ProgramKind};
use crate::insn::{Insn, InsnIndex};
use crate::spec::MapSpec;

/// What linking needs to know about the engine. An argument, so that linking stays pure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Slots of per-CPU maps (possible CPUs).
    pub cpu_slots: u32,
    /// Bytes of a memory page.
    pub page_size_bytes: u32,
    /// The kernel version the engine claims, as `KERNEL_VERSION` packs it.
    pub kernel_version: u32,
}

/// An object, linked: what an engine loads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linked {
    /// Text of the license, if there is one.
    pub license: Option<String>,
    /// Number of the `version` section.
    pub version: Option<u32>,
    /// Maps in the object's order. [`HoleKind::Map`] points here.
    pub maps: Vec<MapSpec>,
    /// Programs in the object's order.
    pub programs: Vec<LinkedProgram>,
}

/// One program with everything it calls behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkedProgram {
    /// The program's name.
    pub name: String,
    /// The section it came from.
    pub section: String,
    /// Its kind; `None` if neither section nor caller says.
    pub kind: Option<ProgramKind>,
    /// Where within its kind it attaches.
    pub attach: Option<AttachKind>,
    /// What follows the slash in the section name.
    pub attach_target: Option<String>,
    /// Whether it may sleep.
    pub is_sleepable: bool,
    /// Whether it is loaded with the object.
    pub autoload: bool,
    /// What else of the engine the program as a whole refers to.
    pub target: ProgramTarget,
    /// Entry function first, then every function it reaches, each once.
    pub insns: Vec<Insn>,
    /// Where each function starts, ascending; the first is the entry at 0.
    pub functions: Vec<LinkedFunction>,
    /// What the engine has to fill in, ascending by instruction.
    pub holes: Vec<Hole>,
}

/// A function within a linked program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkedFunction {
    /// Its name.
    pub name: String,
    /// Its first instruction.
    pub start: InsnIndex,
}
