//! The commands of `bpf(2)` that walk through numbers and open what has one: programs, maps, links, types.
#![expect(unsafe_code, reason = "bpf(2) takes addresses")]

use std::os::fd::OwnedFd;

use twinbpf_object::Errno;

use super::{bpf, bpf_descriptor};
use crate::attr::{Command, ObjectId};

/// What numbers of the kernel stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbered {
    Program,
    Map,
    Link,
    Types,
}

/// The number after `id`; `None` if there is none. Starting from 0 walks through all.
pub(crate) fn next_id(of: Numbered, id: u32) -> Result<Option<u32>, Errno> {
    let command = match of {
        Numbered::Program => Command::ProgramNextId,
        Numbered::Map => Command::MapNextId,
        Numbered::Link => Command::LinkNextId,
        Numbered::Types => Command::BtfNextId,
    };
    let mut request = ObjectId {
        id,
        ..ObjectId::default()
    };
    // SAFETY: the struct has numbers only, no address; the kernel writes `next_id` in it.
    match unsafe { bpf(command, &mut request) } {
        Ok(_) => Ok(Some(request.next_id)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// All numbers, ascending.
pub(crate) fn ids(of: Numbered) -> Result<Vec<u32>, Errno> {
    let (mut all, mut last) = (Vec::new(), 0);
    while let Some(id) = next_id(of, last)? {
        all.push(id);
        last = id;
    }
    Ok(all)
}

/// A descriptor of what has this number; `None` if nothing has it, or nothing any more, or not yet.
pub(crate) fn by_id(of: Numbered, id: u32) -> Result<Option<OwnedFd>, Errno> {
    let command = match of {
        Numbered::Program => Command::ProgramById,
        Numbered::Map => Command::MapById,
        Numbered::Link => Command::LinkById,
        Numbered::Types => Command::BtfById,
    };
    let mut request = ObjectId {
        id,
        ..ObjectId::default()
    };
    // SAFETY: the struct has numbers only, no address. The command makes a descriptor.
    match unsafe { bpf_descriptor(command, &mut request) } {
        Ok(fd) => Ok(Some(fd)),
        // KERNEL: 6.18 lists a link while it is being made, and answers EAGAIN when that one is opened.
        Err(Errno::ENOENT | Errno::EAGAIN) => Ok(None),
        Err(errno) => Err(errno),
    }
}
