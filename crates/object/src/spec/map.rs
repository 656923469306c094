//! A map before it exists: everything `BPF_MAP_CREATE` needs.

use std::sync::Arc;

use super::StructOps;
use crate::abi::{MapFlags, MapKind};
use crate::btf::{SpecialField, TypeId};
use crate::diagnosis::{Code, Diagnosis, Result};

/// Position of a map in [`Object::maps`](super::Object::maps).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MapIndex(pub usize);

/// A map to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapSpec {
    /// The name in the object; the kernel keeps the first 15 bytes.
    pub name: String,
    /// How it stores and finds.
    pub kind: MapKind,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value (of one CPU's value for per-CPU kinds).
    pub value_size: u32,
    /// Most entries it can hold.
    pub max_entries: u32,
    /// Flags of `BPF_MAP_CREATE`.
    pub flags: MapFlags,
    /// Attribute `map_extra`: meaning depends on the kind.
    pub extra: u64,
    /// Memory node to allocate on.
    pub numa_node: Option<u32>,
    /// Whether and where it wants to be pinned.
    pub pinning: Pinning,
    /// What the maps inside a map-in-map look like.
    pub inner: Option<InnerMap>,
    /// The table of functions it is, if it is one.
    pub struct_ops: Option<Arc<StructOps>>,
    /// What keys and values are, in the object's BTF.
    pub types: MapTypes,
    /// Fields of a value that belong to the engine, ascending, as the object's BTF says.
    pub special: Vec<SpecialField>,
    /// Maps or programs it holds from the start, by slot.
    pub values: Vec<DeclaredValue>,
    /// What its first value starts with, if not with zeros; a shorter one is completed with zeros. Of an arena: what its first
    /// pages hold.
    pub initial: Option<Arc<[u8]>>,
    /// Whether only programs may write it, once it has its first value (`BPF_MAP_FREEZE`).
    pub is_frozen: bool,
    /// Where the definition stands.
    pub origin: MapOrigin,
}

/// What a map's keys and values are, as numbers in the object's BTF; void where it does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct MapTypes {
    /// Type of a key.
    pub key: TypeId,
    /// Type of a value; for globals, their section.
    pub value: TypeId,
}

/// Where a map wants to be pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Pinning {
    /// Not at all.
    #[default]
    None,
    /// Under its name, in the directory the caller gives (`LIBBPF_PIN_BY_NAME`).
    ByName,
    /// iproute2: in a directory of this object (`PIN_OBJECT_NS`, 1).
    ObjectScope,
    /// iproute2: in a directory all objects share (`PIN_GLOBAL_NS`, 2).
    GlobalScope,
    /// A number that only the object's own loader knows; for iproute2 it stands for a directory.
    Custom(u32),
}

/// What the maps inside a map-in-map look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InnerMap {
    /// A definition of its own (`__array(values, struct {..})`).
    Spec(Box<MapSpec>),
    /// Another map of the same object (`inner_map_idx`, or an iproute2 inner id).
    Map(MapIndex),
}

/// What one slot of a map of maps or of a prog array holds from the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredValue {
    /// The key, a 32-bit number.
    pub slot: u32,
    /// What it holds.
    pub holds: SlotContent,
}

/// What a slot can hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SlotContent {
    /// A map of the same object.
    Map(MapIndex),
    /// The program with this name.
    Program(String),
}

/// Where a definition stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MapOrigin {
    /// A struct in `SEC("maps")`.
    Legacy {
        /// Offset in the section, bytes.
        offset: u64,
        /// Size of the struct, bytes.
        size: u64,
        /// The identifier iproute2's form gives it.
        id: Option<u32>,
        /// The slot of its outer map that iproute2 puts it into, if it is some map's inner one.
        slot: Option<u32>,
    },
    /// A variable in `SEC(".maps")`, described by BTF.
    Btf {
        /// Offset in the section, bytes.
        offset: u64,
    },
    /// A section of global variables.
    Data,
    /// The values of the kernel's configuration that the object asks for.
    Config,
    /// A variable in a section of tables of functions.
    StructOps,
    /// Made by the caller, without any object.
    Caller,
}

impl MapSpec {
    /// A map without any object: kind, sizes, number of entries; the rest is zero or absent.
    pub fn new(
        name: &str,
        kind: MapKind,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
    ) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            key_size,
            value_size,
            max_entries,
            flags: MapFlags::default(),
            extra: 0,
            numa_node: None,
            pinning: Pinning::None,
            inner: None,
            struct_ops: None,
            types: MapTypes::default(),
            special: Vec::new(),
            values: Vec::new(),
            initial: None,
            is_frozen: false,
            origin: MapOrigin::Caller,
        }
    }

    /// The whole first value that an engine writes after creating the map; `None` if it starts with zeros.
    ///
    /// # Errors
    ///
    /// If it was given more bytes than a value has.
    pub fn initial_value(&self) -> Result<Option<Vec<u8>>> {
        let Some(initial) = self
            .initial
            .as_ref()
            .filter(|_| self.kind != MapKind::Arena)
        else {
            return Ok(None);
        };
        let size = usize::try_from(self.value_size).unwrap_or(usize::MAX);
        if initial.len() > size {
            let message = format!(
                "its first value has {} bytes and its values have {size}",
                initial.len()
            );
            return Err(Diagnosis::new(Code::MAP_INVALID, message)
                .in_map(&self.name)
                .into());
        }
        let mut value = initial.to_vec();
        value.resize(size, 0);
        Ok(Some(value))
    }
}
