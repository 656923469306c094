//! Where packets can be redirected to: interfaces and CPUs by index, each present or absent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use twinbpf_object::{Errno, MapSpec};
use twinbpf_shm::SharedBytes;
use zerocopy::FromZeros;

use super::array::{Array, index, next_index};
use super::kind::{Behaviour, Source, Writer};
use super::{ANY, EXIST, NOEXIST};
use crate::window::Window;

#[derive(Debug)]
pub(super) struct Targets {
    values: Array,
    present: Box<[AtomicU8]>,
}

impl Targets {
    pub(super) fn new(window: &Arc<Window>, spec: &MapSpec) -> Result<Self, Errno> {
        let entries = usize::try_from(spec.max_entries).map_err(|_| Errno::ENOMEM)?;
        Ok(Self {
            values: Array::new(window, spec, 1)?,
            present: <[AtomicU8]>::new_box_zeroed_with_elems(entries).map_err(|_| Errno::ENOMEM)?,
        })
    }

    fn is_present(&self, index: u32) -> bool {
        let present = self.present.get(index as usize);
        present.is_some_and(|present| present.load(Ordering::Relaxed) != 0)
    }
}

impl Behaviour for Targets {
    fn address(&self, key: SharedBytes, _: u32) -> Option<u32> {
        let index = key.load_u32(0).filter(|index| self.is_present(*index))?;
        self.values.address_at(index, 0)
    }

    fn copy_out(&self, key: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        if !self.is_present(index(key)?) {
            return Err(Errno::ENOENT);
        }
        self.values.copy_out(key, value)
    }

    fn update(&self, key: &[u8], value: Source<'_>, flags: u64, by: Writer) -> Result<(), Errno> {
        let index = index(key)?;
        if flags > EXIST {
            return Err(Errno::EINVAL);
        }
        let present = self.present.get(index as usize).ok_or(Errno::E2BIG)?;
        if flags == NOEXIST {
            return Err(Errno::EEXIST);
        }
        self.values.update(key, value, ANY, by)?;
        present.store(1, Ordering::Relaxed);
        Ok(())
    }

    fn delete(&self, key: &[u8]) -> Result<(), Errno> {
        let present = self.present.get(index(key)? as usize);
        present.ok_or(Errno::EINVAL)?.store(0, Ordering::Relaxed);
        Ok(())
    }

    fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<(), Errno> {
        let entries = u32::try_from(self.present.len()).unwrap_or(u32::MAX);
        next_index(key, next, entries)
    }
}
