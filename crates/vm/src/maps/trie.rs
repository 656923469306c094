//! Longest-prefix match: a key is a number of bits and the bits themselves.
//!
//! Entries are kept in the order in which the kernel walks its trie: of two prefixes, the longer one comes first if it starts
//! with the shorter, else the one with the smaller bits. A lookup tries the lengths that are in use, longest first.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use twinbpf_object::{Errno, MapSpec};
use twinbpf_shm::SharedBytes;

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
    entries: RwLock<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    slots: BTreeMap<Prefix, Stored>,
    /// How many entries there are of each length.
    lengths: BTreeMap<u32, u32>,
    free: Vec<u32>,
    fresh: u32,
}

/// Where an entry's value is, and its key's bytes as they were given: with the bits beyond the prefix.
#[derive(Debug, Clone)]
struct Stored {
    slot: u32,
    data: Vec<u8>,
}

/// A prefix; bits beyond its length are zero.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Prefix {
    bits: u32,
    data: Vec<u8>,
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
            entries: RwLock::default(),
        })
    }

    fn find(&self, key: &[u8]) -> Option<u32> {
        let prefix = Prefix::new(key).filter(|prefix| prefix.bits <= self.most_bits)?;
        let entries = self.read();
        let mut lengths = entries.lengths.range(..=prefix.bits).rev();
        lengths.find_map(|(bits, _)| Some(entries.slots.get(&prefix.cut(*bits))?.slot))
    }

    fn read(&self) -> RwLockReadGuard<'_, Entries> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Entries> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
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
        let prefix = Prefix::new(key).ok_or(Errno::EINVAL)?;
        if prefix.bits > self.most_bits {
            return Err(Errno::EINVAL);
        }
        let mut entries = self.write();
        let old = entries.slots.get(&prefix).map(|stored| stored.slot);
        // KERNEL: a full trie refuses everything new with ENOSPC before it looks at EXIST (6.18).
        match (old, flags) {
            (Some(_), NOEXIST) => return Err(Errno::EEXIST),
            (None, EXIST) => return Err(Errno::ENOENT),
            (None, _) if entries.len() >= self.max_entries => return Err(Errno::ENOSPC),
            _ => {}
        }
        let slot = entries.take();
        if let Err(errno) = value.write_to(self.values.host(), offset_of(slot, self.stride)) {
            entries.free.push(slot);
            return Err(errno);
        }
        if old.is_none() {
            *entries.lengths.entry(prefix.bits).or_insert(0) += 1;
        }
        let data = key.get(LENGTH_BYTES..).unwrap_or_default().to_vec();
        entries.slots.insert(prefix, Stored { slot, data });
        entries.free.extend(old);
        Ok(())
    }

    fn delete(&self, key: &[u8]) -> Result<(), Errno> {
        let prefix = Prefix::new(key).ok_or(Errno::EINVAL)?;
        if prefix.bits > self.most_bits {
            return Err(Errno::EINVAL);
        }
        let mut entries = self.write();
        let stored = entries.slots.remove(&prefix).ok_or(Errno::ENOENT)?;
        entries.free.push(stored.slot);
        if let Some(count) = entries.lengths.get_mut(&prefix.bits) {
            *count -= 1;
            if *count == 0 {
                entries.lengths.remove(&prefix.bits);
            }
        }
        Ok(())
    }

    fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<(), Errno> {
        let entries = self.read();
        let known = key
            .and_then(Prefix::new)
            .filter(|prefix| entries.slots.contains_key(prefix));
        let start = match &known {
            Some(prefix) => Bound::Excluded(prefix),
            None => Bound::Unbounded,
        };
        let following = entries.slots.range((start, Bound::Unbounded)).next();
        let (prefix, stored) = following.ok_or(Errno::ENOENT)?;
        let (length, data) = next.split_at_mut(LENGTH_BYTES);
        length.copy_from_slice(&prefix.bits.to_ne_bytes());
        data.copy_from_slice(&stored.data);
        Ok(())
    }
}

impl Entries {
    fn len(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    /// A slot for a value. There is always one: the map has spare slots, and replacing frees the old one at once.
    fn take(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.fresh += 1;
            self.fresh - 1
        })
    }
}

impl Prefix {
    fn new(key: &[u8]) -> Option<Self> {
        let (length, data) = key.split_first_chunk()?;
        let whole = Self {
            bits: u32::from_ne_bytes(*length),
            data: data.to_vec(),
        };
        Some(whole.cut(whole.bits))
    }

    /// The first `bits` bits of the prefix.
    fn cut(&self, bits: u32) -> Self {
        let mut data = self.data.clone();
        for (index, byte) in data.iter_mut().enumerate() {
            let before = u32::try_from(index).unwrap_or(u32::MAX).saturating_mul(8);
            let kept = bits.saturating_sub(before).min(8);
            *byte &= !(0xff_u16 >> kept).to_le_bytes()[0];
        }
        Self { bits, data }
    }
}

impl PartialOrd for Prefix {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Prefix {
    fn cmp(&self, other: &Self) -> Ordering {
        let shorter = self.bits.min(other.bits);
        let by_bits = self.cut(shorter).data.cmp(&other.cut(shorter).data);
        by_bits.then(other.bits.cmp(&self.bits))
    }
}
