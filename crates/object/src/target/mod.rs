//! What parsing and linking must not know by themselves: facts of the engine, given as an argument.
//!
//! An engine fills in only what [`Object::needs`](crate::Object::needs) asks for. Everything here is data: a caller may write a
//! target by hand, or change one before linking (`target.config.overrides`).

mod config;
mod prototype;
mod symbols;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::btf::{Btf, Search, TypeKinds};
use crate::order::Ordered as _;

pub use config::{ConfigValue, KernelConfig};
pub use prototype::{MOST_PARAMETERS, Parameter, Prototype};
pub use symbols::{KernelSymbols, SymbolAddress};

/// What linking needs to know about the engine. An argument, so that linking stays pure.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Target {
    /// Slots of per-CPU maps (possible CPUs); 0 if nobody needs to know.
    pub cpu_slots: u32,
    /// Bytes of a memory page.
    pub page_size_bytes: u32,
    /// The kernel version the engine claims, as `KERNEL_VERSION` packs it.
    pub kernel_version: u32,
    /// The engine's types, if they are needed and known: what CO-RE adapts programs to, and where kernel functions and variables
    /// are declared.
    pub btf: Option<Arc<Btf>>,
    /// Other types for CO-RE to adapt programs to: those of another kernel, or the part of the engine's that a kernel without
    /// types came with. Then nothing is adapted to `btf` and `modules`, which still decide what functions and variables there
    /// are.
    pub core_btf: Option<Arc<Btf>>,
    /// Types of the kernel's modules, each on top of `btf`, if something is looked for that `btf` does not have.
    pub modules: Vec<ModuleTypes>,
    /// Which kernel functions and variables there are.
    pub offers: Offers,
    /// The kernel's configuration, as far as it is needed.
    pub config: KernelConfig,
    /// Addresses of kernel symbols, as far as they are needed.
    pub symbols: KernelSymbols,
}

/// The types of a kernel module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleTypes {
    /// The module's name.
    pub name: String,
    /// Its types; their numbers go on where those of the kernel end.
    pub btf: Arc<Btf>,
}

/// Which functions and variables of the kernel an engine has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Offers {
    /// Those in its types, its modules' included: the engine is a kernel.
    #[default]
    WhatTypesSay,
    /// These functions and no variables, whatever the types say: the engine only borrows them from a kernel. Those whose
    /// prototype is known must be declared alike.
    Functions(BTreeMap<String, Option<Prototype>>),
}

impl Target {
    /// A target of which only the numbers are known.
    pub const fn new(cpu_slots: u32, page_size_bytes: u32, kernel_version: u32) -> Self {
        Self {
            cpu_slots,
            page_size_bytes,
            kernel_version,
            btf: None,
            core_btf: None,
            modules: Vec::new(),
            offers: Offers::WhatTypesSay,
            config: KernelConfig::new(),
            symbols: KernelSymbols::new(),
        }
    }

    /// Whether a type of one of these names, flavours cut off, is not among the engine's own: then its modules' types are
    /// worth having. Linking, which looks for the same names, does not look again.
    pub fn lacks_types(&self, names: &[String]) -> bool {
        let search = Search::without_flavours(names.iter().map(String::as_str));
        self.btf.as_deref().is_some_and(|btf| {
            let hits = btf.search(&search.of(TypeKinds::DATA));
            let found = hits.iter().map(|hit| hit.name).in_set();
            found.len() < names.len()
        })
    }

    /// Whether a kernel function or variable of one of these names is not in the engine's own types: then those of its modules
    /// are worth having.
    pub fn lacks_declarations<'names>(&self, names: impl Iterator<Item = &'names str>) -> bool {
        let names = names.in_set();
        let search = Search::exact(names.iter().copied());
        self.btf.as_deref().is_some_and(|btf| {
            let hits = btf.search(&search.of(TypeKinds::FUNCTION.or(TypeKinds::VARIABLE)));
            let found = hits.iter().map(|hit| hit.name).in_set();
            found.len() < names.len()
        })
    }
}
