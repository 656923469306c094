//! What a live map says about itself, and what can be done to it as a whole.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use twinbpf_object::abi::{MapFlags, ProgramKind};
use twinbpf_object::btf::Btf;
use twinbpf_object::spec::MapTypes;
use twinbpf_object::{Code, Diagnosis, Errno, ErrorKind, MapKind, Result, map_rules};

use crate::map_error::named;
use crate::raw_map::{MapHandle, RawMap};

/// What a live map says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MapInfo {
    /// The number by which other processes can ask for it; the vm's maps have none.
    pub id: Option<u32>,
    /// Its name, as the engine keeps it.
    pub name: String,
    /// How it stores and finds.
    pub kind: MapKind,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value (of one CPU's value for per-CPU kinds).
    pub value_size: u32,
    /// Most entries it can hold.
    pub max_entries: u32,
    /// Flags it was created with.
    pub flags: MapFlags,
    /// Attribute `map_extra`.
    pub extra: u64,
    /// Whether only programs may write it.
    pub is_frozen: bool,
    /// Bytes of memory that it takes, as far as the engine says.
    pub memory_bytes: Option<u64>,
    /// The number of its types in the kernel, if it has any there.
    pub types_id: Option<u32>,
    /// What its keys and values are in these types.
    pub types: MapTypes,
    /// The type of the programs in a prog array, and whether they are compiled.
    pub owner: Option<(ProgramKind, bool)>,
}

impl RawMap {
    /// What the engine says about the map now.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn info(&self) -> Result<MapInfo> {
        match &self.0 {
            MapHandle::Kernel(map) => {
                let info = map.info().map_err(|errno| self.refused("asking", errno))?;
                Ok(MapInfo {
                    id: Some(info.id),
                    name: info.name,
                    kind: info.kind,
                    key_size: info.key_size,
                    value_size: info.value_size,
                    max_entries: info.max_entries,
                    flags: info.flags,
                    extra: info.extra,
                    is_frozen: info.is_frozen,
                    memory_bytes: info.memory_bytes,
                    types_id: Some(info.types_id).filter(|id| *id != 0),
                    types: info.types,
                    owner: info
                        .owner
                        .map(|(kind, jited)| (ProgramKind::from_number(kind), jited)),
                })
            }
            MapHandle::Vm(map) => {
                let spec = map.spec();
                let slots = match spec.kind.is_per_cpu() {
                    true => {
                        map.value_bytes()
                            / crate::raw_map::len(spec.value_size.max(1)).next_multiple_of(8)
                    }
                    false => 1,
                };
                let host = twinbpf_object::Target::new(
                    u32::try_from(slots).unwrap_or(1),
                    PAGE_BYTES,
                    u32::MAX,
                );
                Ok(MapInfo {
                    id: None,
                    name: spec.name.clone(),
                    kind: spec.kind,
                    key_size: spec.key_size,
                    value_size: spec.value_size,
                    max_entries: spec.max_entries,
                    flags: spec.flags,
                    extra: spec.extra,
                    is_frozen: map.is_frozen(),
                    memory_bytes: Some(map_rules::bytes_at_creation(spec, &host)),
                    types_id: None,
                    types: spec.types,
                    owner: None,
                })
            }
        }
    }

    /// How many entries it has now. Counting walks over the keys; of kinds whose entries are all there from the start it is how
    /// many there are.
    ///
    /// # Errors
    ///
    /// If the map has no keys that could be counted, or the engine refuses.
    pub fn count(&self) -> Result<u64> {
        if matches!(self.spec().kind, MapKind::Array | MapKind::PerCpuArray) {
            return Ok(u64::from(self.spec().max_entries));
        }
        let mut count = 0;
        self.visit(|_, _| {
            count += 1;
            std::ops::ControlFlow::Continue(())
        })?;
        Ok(count)
    }

    /// Forbids every process to write the map from now on; programs still may. There is no way back.
    ///
    /// # Errors
    ///
    /// If it is frozen already, or somebody has mapped it for writing.
    pub fn freeze(&self) -> Result<()> {
        let result = match &self.0 {
            MapHandle::Kernel(map) => map.freeze(),
            MapHandle::Vm(map) => map.freeze(),
        };
        result.map_err(|errno| match errno {
            Errno::EBUSY | Errno::EPERM if self.is_frozen() => {
                let diagnosis = Diagnosis::new(Code::MAP_OPERATION, "the map is frozen already");
                named(self.spec(), diagnosis)
                    .kind(ErrorKind::Exists)
                    .errno(errno)
                    .into()
            }
            _ => self.refused("freezing", errno),
        })
    }

    /// Whether only programs may write it.
    pub fn is_frozen(&self) -> bool {
        self.spec().is_frozen
            || match &self.0 {
                MapHandle::Kernel(map) => map.info().is_ok_and(|info| info.is_frozen),
                MapHandle::Vm(map) => map.is_frozen(),
            }
    }

    /// The types in which its keys and values are numbers, if the engine has them.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub fn types(&self) -> Result<Option<Arc<Btf>>> {
        match &self.0 {
            MapHandle::Kernel(map) => map.types(),
            MapHandle::Vm(_) => Ok(None),
        }
    }

    /// The descriptor, to be handed to another process or to a system call; the vm's maps have none.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match &self.0 {
            MapHandle::Kernel(map) => Some(map.as_fd()),
            MapHandle::Vm(_) => None,
        }
    }

    fn refused(&self, doing: &str, errno: Errno) -> twinbpf_object::Error {
        let message = format!("{doing} the map was refused");
        named(self.spec(), Diagnosis::new(Code::MAP_OPERATION, message))
            .errno(errno)
            .into()
    }
}

/// The vm's pages.
const PAGE_BYTES: u32 = 4096;
