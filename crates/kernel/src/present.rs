//! Maps that exist already, made by whomever: found by number, taken over as descriptors, listed, and with their types.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use twinbpf_object::abi::MapFlags;
use twinbpf_object::btf::{Btf, TypeId};
use twinbpf_object::spec::{ByteOrder, MapTypes};
use twinbpf_object::{Code, Diagnosis, Errno, Error, ErrorKind, MapKind, MapSpec, Result};

use crate::attr::{MapInfoReply, name_text};
use crate::fd_info::FdInfo;
use crate::host;
use crate::map::KernelMap;
use crate::map_fd::MapFd;
use crate::privilege::{Capability, Privileges};
use crate::sys::{self, Numbered};
use crate::types::KernelTypes;

impl KernelMap {
    /// The map with this number; `None` if there is none (any more).
    ///
    /// # Errors
    ///
    /// If a privilege is missing: numbers reach every map of the system.
    pub fn by_id(id: u32) -> Result<Option<Self>> {
        let fd = sys::by_id(Numbered::Map, id)
            .map_err(|errno| not_permitted(format!("opening map {id}"), errno))?;
        fd.map(Self::from_fd).transpose()
    }

    /// Takes a descriptor of a map: inherited, received over a socket, or opened elsewhere.
    ///
    /// # Errors
    ///
    /// If it is no map.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        let (fd, reply) = MapFd::adopt(fd, host::possible_cpus()?).map_err(|errno| {
            let message = match errno {
                Errno::EINVAL => "the descriptor is no map",
                _ => "the kernel does not say what the descriptor is",
            };
            Error::from(Diagnosis::new(Code::HOST_IO, message).errno(errno))
        })?;
        Ok(Self::found(fd, &reply))
    }

    /// The numbers of all maps of the system, ascending.
    ///
    /// # Errors
    ///
    /// If a privilege is missing.
    pub fn ids() -> Result<Vec<u32>> {
        sys::ids(Numbered::Map)
            .map_err(|errno| not_permitted("listing the maps of the system".to_owned(), errno))
    }

    /// The types in which the map's keys and values are numbers, if it has any.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub fn types(&self) -> Result<Option<Arc<Btf>>> {
        let cannot = |errno| -> Error {
            Diagnosis::new(Code::HOST_IO, "the types of the map cannot be read")
                .in_map(&self.spec().name)
                .errno(errno)
                .into()
        };
        let info = self.info().map_err(cannot)?;
        if info.types_id == 0 {
            return match info.kernel_value_type {
                0 => Ok(None),
                _ => KernelTypes::default().get(),
            };
        }
        let bytes = sys::types_bytes(info.types_id).map_err(cannot)?;
        let order = if cfg!(target_endian = "big") {
            ByteOrder::Big
        } else {
            ByteOrder::Little
        };
        Btf::parse(&bytes, order).map(|types| Some(Arc::new(types)))
    }

    pub(crate) fn found(fd: MapFd, reply: &MapInfoReply) -> Self {
        let is_frozen = FdInfo::read(fd.as_fd()).number("frozen") == Some(1);
        Self::adopt(fd, spec_of(reply, is_frozen))
    }
}

fn spec_of(reply: &MapInfoReply, is_frozen: bool) -> MapSpec {
    let mut spec = MapSpec::new(
        &name_text(&reply.name),
        MapKind::from_number(reply.map_type),
        reply.key_size,
        reply.value_size,
        reply.max_entries,
    );
    spec.flags = MapFlags(reply.map_flags);
    spec.extra = reply.map_extra;
    spec.is_frozen = is_frozen;
    spec.types = MapTypes {
        key: TypeId(reply.btf_key_type_id),
        value: TypeId(reply.btf_value_type_id),
    };
    spec
}

/// KERNEL: 6.18 answers EPERM to everybody without CAP_SYS_ADMIN in the initial user namespace.
fn not_permitted(doing: String, errno: Errno) -> Error {
    let diagnosis = Diagnosis::new(Code::MAP_PERMISSION, format!("{doing} was refused"));
    match errno {
        Errno::EPERM | Errno::EACCES => Privileges::read()
            .explain_here(
                diagnosis.kind(ErrorKind::Permission),
                &[Capability::SysAdmin],
            )
            .errno(errno),
        _ => diagnosis.kind(ErrorKind::Io).errno(errno),
    }
    .into()
}
