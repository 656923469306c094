//! The types that the kernel holds: its own, those of its modules, and those that came with maps and programs.

use std::os::fd::AsFd;
use std::sync::Arc;

use twinbpf_object::btf::Btf;
use twinbpf_object::spec::ByteOrder;
use twinbpf_object::{Code, Diagnosis, Errno, Error, ErrorKind, Result};

use crate::host;
use crate::privilege::{Capability, Privileges};
use crate::sys::{self, Numbered};

/// Types in the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TypesInfo {
    /// The number by which maps and programs name them.
    pub id: u32,
    /// Bytes of the BTF.
    pub size_bytes: u32,
    /// `vmlinux` or the module's name, of the kernel's own; `None` for those of programs.
    pub owner: Option<String>,
}

/// All types of the system, ascending by number. What goes meanwhile is left out.
///
/// # Errors
///
/// If a privilege is missing: numbers reach the types of everybody.
pub fn listed_types() -> Result<Vec<TypesInfo>> {
    list().map_err(refused)
}

/// The types with this number; `None` if there are none. A module's continue those of the kernel.
///
/// # Errors
///
/// If a privilege is missing, or the bytes are damaged.
pub fn types_by_id(id: u32) -> Result<Option<Arc<Btf>>> {
    let Some(types) = sys::by_id(Numbered::Types, id).map_err(refused)? else {
        return Ok(None);
    };
    let owner = sys::types_info(types.as_fd()).map_err(refused)?.owner;
    let bytes = sys::types_bytes(id).map_err(refused)?;
    let types = match owner.as_deref() {
        None => Btf::parse(&bytes, ByteOrder::HOST)?,
        Some(KERNEL) => Btf::open(bytes.into(), ByteOrder::HOST)?,
        Some(_) => {
            let kernel = host::types()?.ok_or_else(|| refused(Errno::ENOENT))?;
            Btf::open_split(bytes.into(), kernel)?
        }
    };
    Ok(Some(Arc::new(types)))
}

/// Whose types the kernel's own are.
const KERNEL: &str = "vmlinux";

fn list() -> Result<Vec<TypesInfo>, Errno> {
    let mut all = Vec::new();
    for id in sys::ids(Numbered::Types)? {
        // They may have gone since.
        let Some(types) = sys::by_id(Numbered::Types, id)? else {
            continue;
        };
        let reply = sys::types_info(types.as_fd())?;
        all.push(TypesInfo {
            id: reply.id,
            size_bytes: reply.size_bytes,
            owner: reply.owner,
        });
    }
    Ok(all)
}

fn refused(errno: Errno) -> Error {
    let message = "the kernel does not show the types of the system";
    let diagnosis = Diagnosis::new(Code::MAP_PERMISSION, message).errno(errno);
    match errno {
        // KERNEL: 6.18 lets nobody walk through numbers without it.
        Errno::EPERM | Errno::EACCES => {
            Privileges::read().explain_here(diagnosis, &[Capability::SysAdmin])
        }
        _ => diagnosis.kind(ErrorKind::Io),
    }
    .into()
}
