//! Longest-prefix match: a key is a number of bits and the bits themselves. Lookups take no lock.

mod tree;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use twinbpf_object::{Errno, MapSpec};
use twinbpf_shm::SharedBytes;

use self::tree::{Prefix, Spare, Tree};
use super::key::Copied;
use super::kind::{Behaviour, Source, Writer};
use super::{EXIST, NOEXIST, offset_of, program_access, stride};
use crate::window::{Extent, Window};

/// Bytes of the number of bits at the start of a key.
const LENGTH_BYTES: usize = 4;

#[derive(Debug)]
pub(super) struct Trie {
    values: Extent,
    stride: u64,
    max_entries: u32,
    /// Bits of the longest prefix.
    most_bits: u32,
    prefixes: Box<Tree>,
    writer: Mutex<Writing>,
}

/// What whoever changes the trie works with.
#[derive(Debug, Default)]
struct Writing {
    nodes: Spare,
    free_slots: Vec<u32>,
    used_slots: u32,
    entries: u32,
}

impl Trie {
    pub(super) fn new(window: &Arc<Window>, spec: &MapSpec, spare: u32) -> Result<Self, Errno> {
        let stride = stride(spec)?;
        let total = spec.max_entries.checked_add(spare).ok_or(Errno::ENOMEM)?;
        let bytes = stride.checked_mul(u64::from(total)).ok_or(Errno::ENOMEM)?;
        let data_bytes = spec.key_size.checked_sub(4).ok_or(Errno::EINVAL)?;
        Ok(Self {
            values: window.allocate(bytes, program_access(spec))?,
            stride,
            max_entries: spec.max_entries,
            most_bits: data_bytes.saturating_mul(8),
            prefixes: Box::new(Tree::new(
                usize::try_from(data_bytes).map_err(|_| Errno::E2BIG)?,
            )),
            writer: Mutex::default(),
        })
    }

    /// A key as a prefix; `None` if it is longer than a key can be.
    fn prefix<'k>(&self, key: &'k [u8]) -> Option<Prefix<'k>> {
        let (length, data) = key.split_first_chunk::<LENGTH_BYTES>()?;
        let bits = u32::from_ne_bytes(*length);
        (bits <= self.most_bits).then(|| Prefix::new(bits, data))
    }

    fn find(&self, key: &[u8]) -> Option<u32> {
        self.prefixes.longest(self.prefix(key)?)
    }

    fn write(&self) -> MutexGuard<'_, Writing> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Behaviour for Trie {
    fn address(&self, key: SharedBytes, _: u32) -> Option<u32> {
        let slot = self.find(Copied::new(key)?.bytes())?;
        let offset = u32::try_from(offset_of(slot, self.stride)).ok()?;
        self.values.start().checked_add(offset)
    }

    fn copy_out(&self, key: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        let slot = self.find(key).ok_or(Errno::ENOENT)?;
        self.values
            .host()
            .copy_out(offset_of(slot, self.stride), value)
            .ok_or(Errno::EFAULT)
    }

    fn update(&self, key: &[u8], value: Source<'_>, flags: u64, _: Writer) -> Result<(), Errno> {
        if flags > EXIST {
            return Err(Errno::EINVAL);
        }
        let prefix = self.prefix(key).ok_or(Errno::EINVAL)?;
        let mut writing = self.write();
        let is_there = self.prefixes.exact(prefix).is_some();
        match (is_there, flags) {
            (true, NOEXIST) => return Err(Errno::EEXIST),
            (false, EXIST) => return Err(Errno::ENOENT),
            (false, _) if writing.entries >= self.max_entries => return Err(Errno::ENOSPC),
            _ => {}
        }
        let slot = writing.take();
        if let Err(errno) = value.write_to(self.values.host(), offset_of(slot, self.stride)) {
            writing.free_slots.push(slot);
            return Err(errno);
        }
        match self.prefixes.insert(&mut writing.nodes, prefix, slot) {
            Some(old) => writing.free_slots.push(old),
            None => writing.entries += 1,
        }
        Ok(())
    }

    fn delete(&self, key: &[u8]) -> Result<(), Errno> {
        let prefix = self.prefix(key).ok_or(Errno::EINVAL)?;
        let mut writing = self.write();
        let removed = self.prefixes.remove(&mut writing.nodes, prefix);
        writing.free_slots.push(removed.ok_or(Errno::ENOENT)?);
        writing.entries -= 1;
        Ok(())
    }

    fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<(), Errno> {
        let _unchanged = self.write();
        let after = key.and_then(|key| self.prefix(key));
        let (length, data) = next
            .split_first_chunk_mut::<LENGTH_BYTES>()
            .ok_or(Errno::EINVAL)?;
        let bits = self.prefixes.next(after, data).ok_or(Errno::ENOENT)?;
        *length = bits.to_ne_bytes();
        Ok(())
    }
}

impl Writing {
    /// A slot for a value. There is always one: the map has spare slots, and replacing frees the old one at once.
    fn take(&mut self) -> u32 {
        self.free_slots.pop().unwrap_or_else(|| {
            self.used_slots += 1;
            self.used_slots - 1
        })
    }
}
