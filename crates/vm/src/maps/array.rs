//! Array maps: a fixed number of slots, all present from the start.
//!
//! Nothing is ever inserted or removed, so a slot's address never changes and programs may keep it.
//!
//! KERNEL (6.18): an update out of range is E2BIG whatever else is wrong with its flags except EINVAL, `NOEXIST` is EEXIST since
//! every slot exists, deleting is EINVAL, and `next_key` after a key out of range answers 0.

use std::sync::Arc;

use twinbpf_object::{Errno, MapSpec};
use twinbpf_shm::SharedBytes;

use super::{EXIST, NOEXIST, Source, offset_of, program_access, stride};
use crate::window::{Extent, Window};

#[derive(Debug)]
pub(super) struct Array {
    values: Extent,
    stride: u64,
    value_bytes: usize,
    entries: u32,
}

impl Array {
    pub(super) fn new(window: &Arc<Window>, spec: &MapSpec) -> Result<Self, Errno> {
        let stride = stride(spec)?;
        let bytes = stride
            .checked_mul(u64::from(spec.max_entries))
            .ok_or(Errno::ENOMEM)?;
        let values = window.allocate(bytes, program_access(spec))?;
        Ok(Self {
            values,
            stride,
            value_bytes: usize::try_from(spec.value_size).map_err(|_| Errno::ENOMEM)?,
            entries: spec.max_entries,
        })
    }

    /// A part of the value at index 0; `None` if it does not lie in it.
    pub(super) fn part(&self, offset: usize, len: usize) -> Option<SharedBytes> {
        let value = self.values.host().part(0, self.value_bytes)?;
        value.part(offset, len)
    }

    /// The address of the value at index 0.
    pub(super) fn first_value(&self) -> u32 {
        self.values.start()
    }

    pub(super) fn address(&self, key: SharedBytes) -> Option<u32> {
        let index = key.load_u32(0).filter(|index| *index < self.entries)?;
        let offset = u32::try_from(offset_of(index, self.stride)).ok()?;
        self.values.start().checked_add(offset)
    }

    pub(super) fn copy_out(&self, key: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        let index = index(key)?;
        if index >= self.entries {
            return Err(Errno::ENOENT);
        }
        self.values
            .host()
            .copy_out(offset_of(index, self.stride), value)
            .ok_or(Errno::EFAULT)
    }

    pub(super) fn update(&self, key: &[u8], value: Source<'_>, flags: u64) -> Result<(), Errno> {
        let index = index(key)?;
        if flags > EXIST {
            return Err(Errno::EINVAL);
        }
        if index >= self.entries {
            return Err(Errno::E2BIG);
        }
        if flags == NOEXIST {
            return Err(Errno::EEXIST);
        }
        value.write_to(self.values.host(), offset_of(index, self.stride))
    }

    pub(super) fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<(), Errno> {
        let following = match key.map(index).transpose()? {
            Some(index) if index < self.entries => index + 1,
            _ => 0,
        };
        if following >= self.entries {
            return Err(Errno::ENOENT);
        }
        next.copy_from_slice(&following.to_ne_bytes());
        Ok(())
    }
}

fn index(key: &[u8]) -> Result<u32, Errno> {
    key.try_into()
        .map(u32::from_ne_bytes)
        .map_err(|_| Errno::EINVAL)
}
