//! Where packets can be redirected to: interfaces and CPUs by index, each present or absent, and interfaces by any number.
//!
//! A vm has no interfaces: it takes the number of any, where the kernel wants one that is there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use twinbpf_object::{Errno, MapKind, MapSpec};
use twinbpf_shm::SharedBytes;
use zerocopy::FromZeros;

use super::array::{Array, index, next_index};
use super::hash::Hash;
use super::kind::{Behaviour, Source, Writer};
use super::{ANY, EXIST, NOEXIST};
use crate::window::Window;

#[derive(Debug)]
pub(super) struct Targets {
    values: Array,
    present: Box<[AtomicU8]>,
    are_devices: bool,
}

impl Targets {
    pub(super) fn new(window: &Arc<Window>, spec: &MapSpec) -> Result<Self, Errno> {
        let entries = usize::try_from(spec.max_entries).map_err(|_| Errno::ENOMEM)?;
        Ok(Self {
            values: Array::new(window, spec, 1)?,
            are_devices: spec.kind == MapKind::DevMap,
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
        if !self.are_devices {
            self.values.update(key, value, ANY, by)?;
            present.store(1, Ordering::Relaxed);
            return Ok(());
        }
        // KERNEL: interface 0 takes the entry away (6.18).
        let stored = device(value)?;
        if let Some(stored) = &stored {
            self.values.update(key, Source::Bytes(stored), ANY, by)?;
        }
        present.store(stored.is_some().into(), Ordering::Relaxed);
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

/// Interfaces under any number.
#[derive(Debug)]
pub(super) struct DeviceHash(Hash);

impl DeviceHash {
    pub(super) fn new(hash: Hash) -> Self {
        Self(hash)
    }
}

impl Behaviour for DeviceHash {
    fn address(&self, key: SharedBytes, cpu: u32) -> Option<u32> {
        self.0.address(key, cpu)
    }

    fn copy_out(&self, key: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        self.0.copy_out(key, value)
    }

    fn update(&self, key: &[u8], value: Source<'_>, flags: u64, by: Writer) -> Result<(), Errno> {
        if flags > EXIST {
            return Err(Errno::EINVAL);
        }
        // KERNEL: EXIST is taken and means nothing here (6.18).
        let flags = if flags == EXIST { ANY } else { flags };
        let number = value.copied()?;
        if number.first_chunk() == Some(&[0; 4]) {
            return Err(Errno::EINVAL);
        }
        let mut old = number.clone();
        let is_taken = flags == NOEXIST && self.0.copy_out(key, &mut old).is_ok();
        match device(value) {
            _ if is_taken => Err(Errno::EEXIST),
            Ok(Some(stored)) => self.0.update(key, Source::Bytes(&stored), flags, by),
            _ => Err(Errno::EINVAL),
        }
    }

    fn delete(&self, key: &[u8]) -> Result<(), Errno> {
        self.0.delete(key)
    }

    fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<(), Errno> {
        self.0.next_key(key, next)
    }
}

/// What is stored of an interface's number and a program's descriptor, which is the program's number; `None` for no interface.
fn device(value: Source<'_>) -> Result<Option<Box<[u8]>>, Errno> {
    let mut value = value.copied()?;
    let (interface, program) = value.split_first_chunk_mut::<4>().ok_or(Errno::EINVAL)?;
    let number = i32::from_ne_bytes(*interface);
    if let Some(program) = program.first_chunk_mut::<4>() {
        // Programs of a vm have no descriptors.
        if i32::from_ne_bytes(*program) > 0 {
            return Err(Errno::EINVAL);
        }
        *program = [0; 4];
    }
    match number {
        0 => Ok(None),
        1.. => Ok(Some(value)),
        _ => Err(Errno::EINVAL),
    }
}
