//! Maps whose elements a process does not have: sockets, cgroups, stacks. They can be created and hold nothing.

use twinbpf_object::{Errno, MapSpec};

use super::array::next_index;
use super::kind::{Behaviour, Source, Writer};

#[derive(Debug)]
pub(super) struct Absent {
    /// Entries, if keys are indexes.
    entries: Option<u32>,
}

impl Absent {
    pub(super) fn new(spec: &MapSpec, is_by_index: bool) -> Self {
        Self {
            entries: is_by_index.then_some(spec.max_entries),
        }
    }
}

impl Behaviour for Absent {
    fn copy_out(&self, _: &[u8], _: &mut [u8]) -> Result<(), Errno> {
        Err(Errno::ENOENT)
    }

    fn update(&self, _: &[u8], _: Source<'_>, _: u64, _: Writer) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn delete(&self, _: &[u8]) -> Result<(), Errno> {
        Err(Errno::ENOENT)
    }

    fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<(), Errno> {
        match self.entries {
            Some(entries) => next_index(key, next, entries),
            None => Err(Errno::ENOENT),
        }
    }
}
