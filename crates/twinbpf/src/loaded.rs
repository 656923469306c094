//! What loading gave: live maps and programs, and what was not loaded and why.

use std::fmt;

use twinbpf_kernel::Kernel;
use twinbpf_object::btf::{Btf, Upload};
use twinbpf_object::spec::{ByteOrder, MapTypes};
use twinbpf_object::{Code, Diagnosis, Error, MapSpec, Result, spec};
use zerocopy::{Immutable, IntoBytes};

use crate::layout::Layout;
use crate::map::Map;
use crate::map_value::MapValue;
use crate::program::Program;
use crate::raw_map::RawMap;
use crate::variable::Variable;

/// A loaded object: its maps and programs, in the object's order.
///
/// ```
/// use twinbpf::{Engine, Object};
///
/// let object = Object::parse(&std::fs::read("examples/sockex1/sockex1.bpf.o")?)?;
/// let loaded = Engine::vm()?.load_object(&object)?;
/// for (name, definition, map) in loaded.maps() {
///     println!("{name}: {}, {} bytes a value", definition.kind, map.value_len());
/// }
/// let bytes_by_protocol = loaded.map::<u32, u64>("my_map")?;
/// assert_eq!(bytes_by_protocol.get(&17)?, Some(0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    pub(crate) maps: Vec<(String, RawMap)>,
    pub(crate) variables: Vec<(spec::Variable, RawMap)>,
    pub(crate) programs: Vec<Program>,
    /// The object's types.
    pub(crate) types: Option<ObjectTypes>,
    /// The engine, if it is the kernel.
    pub(crate) kernel: Option<Kernel>,
}

/// An object's types, and what its maps are in them.
#[derive(Debug, Clone)]
pub(crate) struct ObjectTypes {
    pub(crate) all: Upload,
    /// By the name of the map.
    pub(crate) of_maps: Vec<(String, MapTypes)>,
}

impl Loaded {
    /// Every map's name in the object, definition and handle, in the object's order (the `map_data[]` of old).
    pub fn maps(&self) -> impl Iterator<Item = (&str, &MapSpec, &RawMap)> {
        self.maps
            .iter()
            .map(|(name, map)| (name.as_str(), map.spec(), map))
    }

    /// The map with this name, with types, whose sizes are checked here, once.
    ///
    /// # Errors
    ///
    /// If there is no such map, or the types do not have its sizes.
    pub fn map<K: IntoBytes + Immutable, V: MapValue>(&self, name: &str) -> Result<Map<K, V>> {
        Map::new(self.raw_map(name)?.clone())
    }

    /// The map with this name, with types, whose fields are compared with the object's own types, once: a name, a place or a size
    /// that is another is an error. [`layout!`](crate::layout) lets a struct say what its fields are.
    ///
    /// # Errors
    ///
    /// If there is no such map, or which field lies where in Rust and in the object.
    pub fn checked_map<K, V>(&self, name: &str) -> Result<Map<K, V>>
    where
        K: IntoBytes + Immutable + Layout,
        V: MapValue + Layout,
    {
        let map = Map::new(self.raw_map(name)?.clone())?;
        if let Some(types) = &self.types {
            // A map that was taken over has numbers of other types, so those in the object's definition count.
            let ids = types.of_maps.iter().find(|(each, _)| each == name);
            if let Some((_, ids)) = ids {
                map.check(&Btf::parse(types.all.bytes(), ByteOrder::HOST)?, *ids)?;
            }
        }
        Ok(map)
    }

    /// The map with this name, in bytes.
    ///
    /// # Errors
    ///
    /// If there is no such map.
    pub fn raw_map(&self, name: &str) -> Result<&RawMap> {
        let found = self.maps.iter().find(|(each, _)| each == name);
        found.map(|(_, map)| map).ok_or_else(|| {
            let names = self.maps.iter().map(|(name, _)| name.as_str());
            missing(Code::MAP_NOT_FOUND, "map", name, names)
        })
    }

    /// The names of the tables of functions (`struct_ops`) that were created.
    pub fn tables(&self) -> impl Iterator<Item = &str> {
        self.maps()
            .filter(|(_, spec, _)| spec.struct_ops.is_some())
            .map(|(name, ..)| name)
    }

    /// The global variables, in the object's order.
    pub fn variables(&self) -> impl Iterator<Item = &spec::Variable> {
        self.variables.iter().map(|(variable, _)| variable)
    }

    /// The global variable with this name, with a type, whose size is checked here, once.
    ///
    /// # Errors
    ///
    /// If there is no such variable, or the type does not have its size.
    pub fn variable<T>(&self, name: &str) -> Result<Variable<T>> {
        let found = self.variables.iter().find(|(each, _)| each.name == name);
        let Some((variable, map)) = found else {
            let names = self.variables().map(|each| each.name.as_str());
            return Err(spec::no_variable(name, names).into());
        };
        Variable::new(variable, map)
    }

    /// The loaded programs, in the object's order.
    pub fn programs(&self) -> impl Iterator<Item = &Program> {
        self.programs.iter()
    }

    /// The program with this name.
    ///
    /// # Errors
    ///
    /// If no such program was loaded.
    pub fn program(&self, name: &str) -> Result<&Program> {
        let found = self.programs.iter().find(|program| program.name() == name);
        found.ok_or_else(|| {
            let names = self.programs.iter().map(Program::name);
            missing(Code::PROGRAM_NOT_FOUND, "program", name, names)
        })
    }
}

/// What was not loaded, and why. Nothing is left out silently.
#[derive(Debug, Clone, Default)]
pub struct LoadReport {
    /// Maps that could not be created.
    pub maps: Vec<NotLoaded>,
    /// Programs that were not loaded.
    pub programs: Vec<NotLoaded>,
    /// Why the kernel did not take the object's types. Maps and programs were then loaded without them.
    pub types: Option<Error>,
    /// Slots of maps of maps and of prog arrays that do not hold what the object declares.
    pub slots: Vec<EmptySlot>,
}

/// A slot that does not hold what the object declares.
#[derive(Debug, Clone)]
pub struct EmptySlot {
    /// The map it belongs to.
    pub map: String,
    /// Which slot.
    pub slot: u32,
    /// Why.
    pub reason: NotLoadedReason,
}

/// A map or program that was not loaded.
#[derive(Debug, Clone)]
pub struct NotLoaded {
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: NotLoadedReason,
}

/// Why a map or program was not loaded.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum NotLoadedReason {
    /// The object or the caller switched loading off (`SEC("?..")`); with what is wrong with it if it could not have been
    /// linked either.
    SwitchedOff(Option<Error>),
    /// It refers to something that is not there.
    NotLinked(Error),
    /// The program refers to a map that could not be created.
    MapMissing {
        /// The map's name.
        map: String,
    },
    /// The slot is for a program that was not loaded.
    ProgramMissing {
        /// The program's name.
        program: String,
    },
    /// It was refused.
    Refused(Error),
}

impl NotLoadedReason {
    /// The error of what was refused itself. What is missing because of it is no failure of its own, and what is switched off
    /// is none at all.
    pub(crate) fn into_refusal(self) -> Option<Error> {
        match self {
            Self::Refused(error) | Self::NotLinked(error) => Some(error),
            Self::SwitchedOff(_) | Self::MapMissing { .. } | Self::ProgramMissing { .. } => None,
        }
    }
}

impl fmt::Display for NotLoadedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SwitchedOff(None) => f.write_str("loading it is switched off"),
            Self::SwitchedOff(Some(error)) => write!(f, "loading it is switched off, and {error}"),
            Self::MapMissing { map } => write!(f, "its map `{map}` could not be created"),
            Self::ProgramMissing { program } => {
                write!(f, "its program `{program}` was not loaded")
            }
            Self::NotLinked(error) | Self::Refused(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for NotLoaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.name, self.reason)
    }
}

impl fmt::Display for EmptySlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot {} of `{}`: {}", self.slot, self.map, self.reason)
    }
}

/// An error for a name that is not there, with the names that are.
pub(crate) fn missing<'a>(
    code: Code,
    what: &str,
    name: &str,
    known: impl Iterator<Item = &'a str>,
) -> Error {
    let known: Vec<&str> = known.collect();
    let diagnosis = Diagnosis::new(code, format!("there is no {what} `{name}`"));
    if known.is_empty() {
        return diagnosis.fact("it has", format!("no {what}s")).into();
    }
    diagnosis.fact(format!("{what}s"), known.join(", ")).into()
}
