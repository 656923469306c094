//! Types of modules as descriptors: how requests say in whose types a number counts.
//!
//! There is no way to ask for a module by its name; all types of the system are walked through.

use std::os::fd::{AsFd, OwnedFd};

use twinbpf_object::{Code, Diagnosis, Errno, Error, Result};

use crate::privilege::{Capability, Privileges};
use crate::sys::{self, Numbered};

/// The types of a module.
///
/// # Errors
///
/// If it is not loaded (any more), or a privilege is missing.
pub(crate) fn of_module(name: &str) -> Result<OwnedFd> {
    match search(name) {
        Ok(Some(types)) => Ok(types),
        Ok(None) => Err(Diagnosis::new(
            Code::PROGRAM_TARGET_MISSING,
            format!("the module `{name}` is not loaded, or was built without types"),
        )
        .help(format!("load it: modprobe {name}"))
        .into()),
        Err(errno) => Err(refused(name, errno)),
    }
}

fn search(name: &str) -> Result<Option<OwnedFd>, Errno> {
    for id in sys::ids(Numbered::Types)? {
        // They may have gone since.
        let Some(types) = sys::by_id(Numbered::Types, id)? else {
            continue;
        };
        if sys::types_info(types.as_fd())?.owner.as_deref() == Some(name) {
            return Ok(Some(types));
        }
    }
    Ok(None)
}

fn refused(name: &str, errno: Errno) -> Error {
    let message = format!("looking for the types of module `{name}` was refused");
    let diagnosis = Diagnosis::new(Code::PROGRAM_PERMISSION, message).errno(errno);
    match errno {
        // KERNEL: 6.18 lets nobody walk through numbers without it.
        Errno::EPERM => Privileges::read().explain_here(diagnosis, &[Capability::SysAdmin]),
        _ => diagnosis,
    }
    .into()
}
