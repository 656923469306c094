//! Array maps: a fixed number of slots, all present from the start; one value in each, or one per CPU slot.
//!
//! Nothing is ever inserted or removed, so a slot's address never changes and programs may keep it.
//!
//! KERNEL (6.18): an update out of range is E2BIG whatever else is wrong with its flags except EINVAL, `NOEXIST` is EEXIST since
//! every slot exists, deleting is EINVAL, and `next_key` after a key out of range answers 0.

use std::sync::Arc;

use twinbpf_object::{Errno, MapSpec};
use twinbpf_shm::SharedBytes;

use super::kind::{Behaviour, Source, Writer};
use super::{ArrayLayout, EXIST, NOEXIST, offset_of, program_access, stride};
use crate::window::{Extent, Window};

#[derive(Debug)]
pub(super) struct Array {
    values: Extent,
    /// From one CPU's value to the next.
    stride: u64,
    /// From one slot to the next.
    slot_bytes: u64,
    value_bytes: usize,
    entries: u32,
}

impl Array {
    /// An array with `cpus` values in each slot.
    pub(super) fn new(window: &Arc<Window>, spec: &MapSpec, cpus: u32) -> Result<Self, Errno> {
        let stride = stride(spec)?;
        let slot_bytes = stride.checked_mul(u64::from(cpus)).ok_or(Errno::ENOMEM)?;
        let bytes = slot_bytes
            .checked_mul(u64::from(spec.max_entries))
            .ok_or(Errno::ENOMEM)?;
        let values = window.allocate(bytes, program_access(spec))?;
        Ok(Self {
            values,
            stride,
            slot_bytes,
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

    /// Where the values are.
    pub(super) fn layout(&self) -> Option<ArrayLayout> {
        let is_per_cpu = self.slot_bytes != self.stride;
        let cpu_stride = u32::try_from(self.stride).ok()?;
        Some(ArrayLayout {
            start: self.values.start(),
            stride: u32::try_from(self.slot_bytes).ok()?,
            cpu_stride: is_per_cpu.then_some(cpu_stride),
            entries: self.entries,
        })
    }

    /// Zeroes every value.
    pub(super) fn zero(&self) {
        let host = self.values.host();
        // The whole extent is the map's own.
        let _ = host.zero(0, host.len());
    }

    /// Key and value address of the element in whose first value this address lies.
    pub(super) fn element_at(&self, address: u32) -> Option<(Vec<u8>, u32)> {
        let offset = u64::from(address.checked_sub(self.values.start())?);
        let index = u32::try_from(offset / self.slot_bytes).ok()?;
        let value = self.address_at(index, 0)?;
        let end = u64::from(value) + u64::try_from(self.value_bytes).ok()?;
        (u64::from(address) < end).then(|| (index.to_ne_bytes().to_vec(), value))
    }

    /// The address of the value at `index` for this CPU slot.
    pub(super) fn address_at(&self, index: u32, cpu: u32) -> Option<u32> {
        if index >= self.entries {
            return None;
        }
        let offset = u64::from(index) * self.slot_bytes + u64::from(cpu) * self.stride;
        self.values.start().checked_add(u32::try_from(offset).ok()?)
    }
}

impl Behaviour for Array {
    fn address(&self, key: SharedBytes, cpu: u32) -> Option<u32> {
        self.address_at(key.load_u32(0)?, cpu)
    }

    fn copy_out(&self, key: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        let index = index(key)?;
        if index >= self.entries {
            return Err(Errno::ENOENT);
        }
        self.values
            .host()
            .copy_out(offset_of(index, self.slot_bytes), value)
            .ok_or(Errno::EFAULT)
    }

    fn update(
        &self,
        key: &[u8],
        value: Source<'_>,
        flags: u64,
        writer: Writer,
    ) -> Result<(), Errno> {
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
        let slot = offset_of(index, self.slot_bytes);
        let offset = match writer {
            Writer::Program { cpu } if self.slot_bytes != self.stride => {
                slot.saturating_add(offset_of(cpu, self.stride))
            }
            _ => slot,
        };
        value.write_to(self.values.host(), offset)
    }

    fn delete(&self, _: &[u8]) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }

    fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<(), Errno> {
        next_index(key, next, self.entries)
    }
}

/// The index after `key`, the first one if there is none or it is out of range.
pub(super) fn next_index(key: Option<&[u8]>, next: &mut [u8], entries: u32) -> Result<(), Errno> {
    let following = match key.map(index).transpose()? {
        Some(index) if index < entries => index + 1,
        _ => 0,
    };
    if following >= entries {
        return Err(Errno::ENOENT);
    }
    next.copy_from_slice(&following.to_ne_bytes());
    Ok(())
}

/// The index that a key is.
pub(super) fn index(key: &[u8]) -> Result<u32, Errno> {
    key.try_into()
        .map(u32::from_ne_bytes)
        .map_err(|_| Errno::EINVAL)
}
