//! Storage of a cgroup and an attachment: one value, which a test run finds zeroed.

use std::sync::Arc;

use twinbpf_object::{Errno, MapSpec};

use super::array::Array;
use super::kind::{Behaviour, Source, Writer};
use super::{ANY, EXIST};
use crate::window::Window;

#[derive(Debug)]
pub(super) struct Local(Array);

impl Local {
    pub(super) fn new(window: &Arc<Window>, spec: &MapSpec, cpus: u32) -> Result<Self, Errno> {
        let one = MapSpec {
            max_entries: 1,
            ..spec.clone()
        };
        Array::new(window, &one, cpus).map(Self)
    }

    /// The value's address for this CPU slot.
    pub(super) fn address(&self, cpu: u32) -> Option<u32> {
        self.0.address_at(0, cpu)
    }

    /// Zeroes the value.
    pub(super) fn renew(&self) {
        self.0.zero();
    }
}

/// KERNEL: callers find an entry only while a program is attached (6.18), which never is the case here.
impl Behaviour for Local {
    fn copy_out(&self, _: &[u8], _: &mut [u8]) -> Result<(), Errno> {
        Err(Errno::ENOENT)
    }

    fn update(&self, _: &[u8], _: Source<'_>, flags: u64, _: Writer) -> Result<(), Errno> {
        match flags {
            ANY | EXIST => Err(Errno::ENOENT),
            _ => Err(Errno::EINVAL),
        }
    }

    fn delete(&self, _: &[u8]) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }

    fn next_key(&self, _: Option<&[u8]>, _: &mut [u8]) -> Result<(), Errno> {
        Err(Errno::ENOENT)
    }
}
