//! What an object file says, as plain data: printable, cloneable, editable before loading.

mod display;
mod external;
mod map;
mod needs;
mod program;
mod struct_ops;
mod variable;

use std::sync::Arc;

use crate::btf::{Btf, Upload};
pub use crate::bytes::ByteOrder;
pub use external::{ConfigForm, ConfigPlace, Extern, ExternIndex, ExternKind};
pub use map::{
    DeclaredValue, InnerMap, MapIndex, MapOrigin, MapSpec, MapTypes, Pinning, SlotContent,
};
pub use needs::Needs;
pub use program::{
    Function, FunctionIndex, LineInfo, Linkage, ProgramSpec, Reference, ReferenceTo, TypeRelocation,
};
pub use struct_ops::{StructOps, StructOpsMember};
pub use variable::{Variable, no_variable};

/// A section of the file, for listings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SectionInfo {
    /// The name.
    pub name: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// What we take it for, in one word: `program`, `maps`, `license`, `relocations`, `ignored`, ...
    pub role: &'static str,
}

/// What the bytes of one object file say. Editing it and loading it many times is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Byte order of the file.
    pub byte_order: ByteOrder,
    /// Text of the `license` section. A missing license stays missing: nothing is invented.
    pub license: Option<String>,
    /// Number of the `version` section (`KERN_VERSION`).
    pub version: Option<u32>,
    /// Maps in the order of the file: by section, then by offset (the `map_data[]` of old). Those of global variables come
    /// last.
    pub maps: Vec<MapSpec>,
    /// Global variables, by section, then by offset; each lies in one of the maps.
    pub variables: Vec<Variable>,
    /// Functions that a kernel or vm can be asked to run, in the order of the file.
    pub programs: Vec<ProgramSpec>,
    /// All functions of the file, entry points and subprograms; [`ProgramSpec::function`] points here.
    pub functions: Vec<Function>,
    /// Names that its code uses and the kernel defines, by name. [`ReferenceTo::Extern`] points here.
    pub externs: Vec<Extern>,
    /// The object's own types, if it has any that can be read.
    pub btf: Option<Arc<Btf>>,
    /// The same types as the kernel takes them, if they are for this machine's byte order.
    pub upload: Option<Upload>,
    /// Sections in the order of the file.
    pub sections: Vec<SectionInfo>,
    /// What was tolerated or left out, one sentence each.
    pub warnings: Vec<String>,
}

impl Object {
    /// The map with this name.
    pub fn map(&self, name: &str) -> Option<&MapSpec> {
        self.maps.iter().find(|map| map.name == name)
    }

    /// The map with this name, to edit it before loading.
    pub fn map_mut(&mut self, name: &str) -> Option<&mut MapSpec> {
        self.maps.iter_mut().find(|map| map.name == name)
    }

    /// The program with this name.
    pub fn program(&self, name: &str) -> Option<&ProgramSpec> {
        self.programs.iter().find(|program| program.name == name)
    }

    /// The program with this name, to edit it before loading.
    pub fn program_mut(&mut self, name: &str) -> Option<&mut ProgramSpec> {
        self.programs
            .iter_mut()
            .find(|program| program.name == name)
    }
}
