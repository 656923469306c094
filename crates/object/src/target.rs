//! What parsing and linking must not know by themselves: facts of the engine, given as an argument.

use std::sync::Arc;

use crate::btf::Btf;

/// What linking needs to know about the engine. An argument, so that linking stays pure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Slots of per-CPU maps (possible CPUs).
    pub cpu_slots: u32,
    /// Bytes of a memory page.
    pub page_size_bytes: u32,
    /// The kernel version the engine claims, as `KERNEL_VERSION` packs it.
    pub kernel_version: u32,
    /// The engine's types, if they are needed and known: what CO-RE adapts programs to.
    pub btf: Option<Arc<Btf>>,
}
