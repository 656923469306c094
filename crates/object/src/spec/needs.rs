//! What an object asks of the engine that is to load it, before any engine is asked.

use super::{Extern, ExternKind, InnerMap, MapSpec, Object};
use crate::abi::{MapKind, ProgramKind};
use crate::btf::{RelocationKind, essential_name};
use crate::order::Ordered as _;

/// What an object asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Needs {
    /// Names that the object uses and the kernel defines, sorted.
    pub externs: Vec<Extern>,
    /// Whether a map's size depends on how many CPUs there are.
    pub cpu_slots: bool,
    /// Whether the target's types are needed: for CO-RE, or to find what a program attaches to.
    pub target_types: bool,
    /// Names of the types that CO-RE looks for, flavours cut off, sorted.
    pub type_names: Vec<String>,
}

impl Needs {
    /// Names of functions and variables that are looked for in the kernel's types, flavours cut off.
    pub fn kernel_names(&self) -> impl Iterator<Item = &str> {
        self.externs
            .iter()
            .filter(|each| matches!(each.kind, ExternKind::Function(_) | ExternKind::Variable(_)))
            .map(Extern::essential_name)
    }

    /// Configuration values that are asked for: options, and the loader's own names (`LINUX_KERNEL_VERSION`).
    pub fn config_names(&self) -> impl Iterator<Item = &str> {
        self.externs
            .iter()
            .filter(|each| matches!(each.kind, ExternKind::Config(_)))
            .map(|each| each.name.as_str())
    }

    /// Symbols of which the address is asked for.
    pub fn symbol_names(&self) -> impl Iterator<Item = &str> {
        self.externs
            .iter()
            .filter(|each| each.kind == ExternKind::Address)
            .map(|each| each.name.as_str())
    }
}

impl Object {
    /// Lists what the object asks of an engine, so that only that has to be fetched.
    pub fn needs(&self) -> Needs {
        let attaches_by_type = self.programs.iter().any(|program| {
            matches!(
                program.kind,
                Some(ProgramKind::Tracing | ProgramKind::Lsm | ProgramKind::StructOps)
            )
        });
        let adapts_to_types = self
            .functions
            .iter()
            .flat_map(|function| &function.type_relocations)
            .any(|relocation| relocation.kind != RelocationKind::TypeIdLocal);
        Needs {
            cpu_slots: self.maps.iter().any(depends_on_cpus),
            externs: self.externs.clone(),
            target_types: attaches_by_type || adapts_to_types,
            type_names: self.type_names(),
        }
    }

    fn type_names(&self) -> Vec<String> {
        let Some(btf) = &self.btf else {
            return Vec::new();
        };
        let relocations = self
            .functions
            .iter()
            .flat_map(|each| &each.type_relocations);
        let names = relocations
            .filter(|relocation| relocation.kind != RelocationKind::TypeIdLocal)
            .map(|relocation| essential_name(btf.name_of(relocation.root)))
            .filter(|name| !name.is_empty())
            .in_set();
        names.into_iter().map(str::to_owned).collect()
    }
}

fn depends_on_cpus(map: &MapSpec) -> bool {
    let inner = match &map.inner {
        Some(InnerMap::Spec(inner)) => Some(&**inner),
        _ => None,
    };
    matches!(map.kind, MapKind::PerfEventArray | MapKind::CpuMap)
        || map.kind.is_per_cpu()
        || inner.is_some_and(depends_on_cpus)
}
