//! Hash maps: chains of slots, found without locks.
//!
//! ```text
//!  buckets[hash & mask] -> slot -> slot -> 0      links, hashes and keys: host heap
//!                           |       |
//!  values extent:  [ ... value ... value ... ]    in the window, `stride` apart
//! ```
//!
//! Every bucket has a sequence number. A writer makes it odd, which is also its lock, changes the chain, and makes it
//! even again. A reader walks the chain and believes what it found only if the number was even and did not
//! change meanwhile. A walk that strays into another chain, because a slot was reused under its feet, ends by the bound on
//! its steps and is repeated.
//!
//! A deleted slot is reused at once, while a program on another CPU may still hold its address and then sees the new
//! element. The kernel's preallocated hash maps do the same; callers' lookups copy and re-check.
//!
//! Replacing a value takes a new slot, as in the kernel, so a pointer from an earlier lookup keeps pointing to the old value.
//! Only per-CPU forms, whose slots hold one value for each CPU slot, write in place.
//!
//! LRU forms give the least recently used entry up when they are full. Which one that is, a clock hand finds: it passes over
//! entries that programs looked up since it came by last. The kernel's lists differ in detail, and so may the choice.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use twinbpf_object::{Errno, MapSpec};
use twinbpf_shm::SharedBytes;
use zerocopy::FromZeros;

use super::key::Copied;
use super::kind::{Behaviour, Source, Writer};
use super::{EXIST, NOEXIST, offset_of, program_access, stride};
use crate::window::{Extent, Window};

/// Link that ends a chain. Other links are a slot's number plus one, so that zeroed memory is an empty table.
const END: u32 = 0;
/// An odd number with well-spread bits: 2^64 divided by the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

#[derive(Debug)]
pub(super) struct Hash {
    values: Extent,
    /// From one CPU's value to the next.
    stride: u64,
    /// From one slot's values to the next slot's.
    slot_bytes: u64,
    key_size: usize,
    key_words: usize,
    max_entries: u32,
    seed: u64,
    buckets: Box<[Bucket]>,
    links: Box<[AtomicU32]>,
    hashes: Box<[AtomicU32]>,
    keys: Box<[AtomicU64]>,
    slots: Mutex<Slots>,
    clock: Option<Clock>,
}

/// How many values a slot has, how many slots there are beyond the entries, and what happens when the map is full.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) cpus: u32,
    pub(super) spare: u32,
    pub(super) is_lru: bool,
}

/// Which entries of an LRU map were looked up lately.
#[derive(Debug)]
struct Clock {
    hand: AtomicU32,
    looked_up: Box<[AtomicU8]>,
}

#[derive(Debug, FromZeros)]
struct Bucket {
    first: AtomicU32,
    /// Even: stable. Odd: a writer is at work.
    sequence: AtomicU32,
}

/// Which slots are free.
#[derive(Debug)]
struct Slots {
    /// Entries in the map.
    used: u32,
    /// Slots from here on were never used.
    fresh: u32,
    /// All slots; more than `max_entries`, so that a full map's values can still be replaced.
    total: u32,
    freed: Vec<u32>,
}

/// A key as words, the last one padded with zeros.
struct Key {
    words: Vec<u64>,
    short: [u64; 4],
    len: usize,
    hash: u32,
}

impl Hash {
    pub(super) fn new(window: &Arc<Window>, spec: &MapSpec, shape: Shape) -> Result<Self, Errno> {
        let stride = stride(spec)?;
        let slot_bytes = stride
            .checked_mul(u64::from(shape.cpus))
            .ok_or(Errno::ENOMEM)?;
        let total = spec
            .max_entries
            .checked_add(shape.spare)
            .ok_or(Errno::ENOMEM)?;
        let bytes = slot_bytes
            .checked_mul(u64::from(total))
            .ok_or(Errno::ENOMEM)?;
        let values = window.allocate(bytes, program_access(spec))?;
        let key_size = usize::try_from(spec.key_size).map_err(|_| Errno::E2BIG)?;
        let key_words = key_size.div_ceil(8).max(1);
        let slot_count = usize::try_from(total).map_err(|_| Errno::ENOMEM)?;
        let bucket_count = spec
            .max_entries
            .checked_next_power_of_two()
            .ok_or(Errno::ENOMEM)?;
        let word_count = slot_count.checked_mul(key_words).ok_or(Errno::ENOMEM)?;
        Ok(Self {
            values,
            stride,
            slot_bytes,
            key_size,
            key_words,
            max_entries: spec.max_entries,
            seed: RandomState::new().hash_one(0u8),
            buckets: zeroed(usize::try_from(bucket_count).map_err(|_| Errno::ENOMEM)?)?,
            links: zeroed(slot_count)?,
            hashes: zeroed(slot_count)?,
            keys: zeroed(word_count)?,
            slots: Mutex::new(Slots {
                used: 0,
                fresh: 0,
                total,
                freed: Vec::new(),
            }),
            clock: match shape.is_lru {
                true => Some(Clock {
                    hand: AtomicU32::new(0),
                    looked_up: zeroed(slot_count)?,
                }),
                false => None,
            },
        })
    }

    /// The address of the value under `key` for this CPU slot.
    #[inline]
    pub(super) fn address(&self, key: SharedBytes, cpu: u32) -> Option<u32> {
        let key = Copied::new(key)?;
        let key = self.key(key.bytes());
        let slot = self.read(&key, |slot| slot)?;
        if let Some(clock) = &self.clock {
            clock.looked_up[slot as usize].store(1, Ordering::Relaxed);
        }
        self.address_of(slot, cpu)
    }

    fn address_of(&self, slot: u32, cpu: u32) -> Option<u32> {
        let offset = u64::from(slot) * self.slot_bytes + u64::from(cpu) * self.stride;
        self.values.start().checked_add(u32::try_from(offset).ok()?)
    }

    /// The addresses of all keys' values in no particular order: `(key, address)`. Entries that come or go meanwhile may be missed.
    pub(super) fn snapshot(&self, cpu: u32) -> Vec<(Vec<u8>, u32)> {
        let mut found = Vec::new();
        for bucket in &self.buckets {
            if bucket.first.load(Ordering::Relaxed) == END {
                continue;
            }
            let locked = self.lock(bucket);
            let mut link = &locked.bucket.first;
            while let Some(slot) = self.follow(link) {
                let mut key = vec![0; self.key_size];
                if self.key_out(slot, &mut key).is_ok()
                    && let Some(address) = self.address_of(slot, cpu)
                {
                    found.push((key, address));
                }
                link = self.link(slot);
            }
        }
        found
    }

    fn is_per_cpu(&self) -> bool {
        self.slot_bytes != self.stride
    }

    /// Writes a value into a slot: all of it, or that of one CPU slot.
    fn write(
        &self,
        slot: u32,
        value: Source<'_>,
        writer: Writer,
        is_new: bool,
    ) -> Result<(), Errno> {
        let start = offset_of(slot, self.slot_bytes);
        let values = self.values.host();
        let Writer::Program { cpu } = writer else {
            return value.write_to(values, start);
        };
        if !self.is_per_cpu() {
            return value.write_to(values, start);
        }
        if is_new {
            // KERNEL: the other CPUs' values of a new entry are zero (6.18).
            values
                .zero(start, usize::try_from(self.slot_bytes).unwrap_or(0))
                .ok_or(Errno::EFAULT)?;
        }
        value.write_to(values, start.saturating_add(offset_of(cpu, self.stride)))
    }

    /// Makes room in a full LRU map.
    fn give_one_up(&self, clock: &Clock) {
        let total = u32::try_from(clock.looked_up.len()).unwrap_or(u32::MAX);
        // Twice around: the first time may only clear marks.
        for _ in 0..=2 * u64::from(total) {
            let slot = clock.hand.fetch_add(1, Ordering::Relaxed) % total.max(1);
            if clock.looked_up[slot as usize].swap(0, Ordering::Relaxed) != 0 {
                continue;
            }
            let hash = self.hashes[slot as usize].load(Ordering::Relaxed);
            let locked = self.lock(&self.buckets[hash as usize & (self.buckets.len() - 1)]);
            if self.unlink(locked.bucket, slot) {
                drop(locked);
                self.slots().give_back(slot, false);
                return;
            }
        }
    }

    fn update_once(
        &self,
        key: &Key,
        value: Source<'_>,
        flags: u64,
        writer: Writer,
    ) -> Result<(), Errno> {
        let locked = self.lock(self.bucket_of(key));
        let old = self.find(locked.bucket, key);
        match (old, flags) {
            (Some(_), NOEXIST) => return Err(Errno::EEXIST),
            (None, EXIST) => return Err(Errno::ENOENT),
            (Some(old), _) if self.is_per_cpu() => return self.write(old, value, writer, false),
            _ => {}
        }
        let Some(slot) = self.slots().take(old.is_some(), self.max_entries)? else {
            // Every spare slot is in use by other replacements at this moment: write over the old value.
            let slot = old.ok_or(Errno::E2BIG)?;
            return self.write(slot, value, writer, false);
        };
        if let Err(errno) = self.write(slot, value, writer, true) {
            self.slots().give_back(slot, old.is_some());
            return Err(errno);
        }
        self.insert(locked.bucket, slot, key);
        if let Some(old) = old {
            self.unlink(locked.bucket, old);
            drop(locked);
            self.slots().give_back(old, true);
        }
        Ok(())
    }
    /// Finds a key without a lock and hands its slot to `use_slot`; repeats both until nobody interfered.
    fn read<T>(&self, key: &Key, mut use_slot: impl FnMut(u32) -> T) -> Option<T> {
        let bucket = self.bucket_of(key);
        loop {
            let before = bucket.sequence.load(Ordering::Acquire);
            if before.is_multiple_of(2) {
                let found = self.find(bucket, key).map(&mut use_slot);
                fence(Ordering::Acquire);
                if bucket.sequence.load(Ordering::Relaxed) == before {
                    return found;
                }
            }
            std::hint::spin_loop();
        }
    }

    /// Walks a chain. Without the lock the answer counts only if the bucket's sequence did not change.
    fn find(&self, bucket: &Bucket, key: &Key) -> Option<u32> {
        let mut link = &bucket.first;
        for _ in 0..=self.links.len() {
            let slot = self.follow(link)?;
            if self.is_at(slot, key) {
                return Some(slot);
            }
            link = self.link(slot);
        }
        None
    }

    fn is_at(&self, slot: u32, key: &Key) -> bool {
        let index = slot as usize;
        let matches = |(stored, word): (&AtomicU64, &u64)| stored.load(Ordering::Relaxed) == *word;
        self.hashes[index].load(Ordering::Relaxed) == key.hash
            && self.keys[index * self.key_words..]
                .iter()
                .zip(key.words())
                .all(matches)
    }

    fn insert(&self, bucket: &Bucket, slot: u32, key: &Key) {
        let index = slot as usize;
        self.hashes[index].store(key.hash, Ordering::Relaxed);
        for (stored, word) in self.keys[index * self.key_words..].iter().zip(key.words()) {
            stored.store(*word, Ordering::Relaxed);
        }
        self.links[index].store(bucket.first.load(Ordering::Relaxed), Ordering::Relaxed);
        bucket.first.store(slot + 1, Ordering::Relaxed);
    }

    /// Takes a slot out of a chain; false if it is not in it.
    fn unlink(&self, bucket: &Bucket, slot: u32) -> bool {
        let mut link = &bucket.first;
        while let Some(here) = self.follow(link) {
            if here == slot {
                link.store(self.link(slot).load(Ordering::Relaxed), Ordering::Relaxed);
                return true;
            }
            link = self.link(here);
        }
        false
    }

    fn follow(&self, link: &AtomicU32) -> Option<u32> {
        link.load(Ordering::Relaxed).checked_sub(1)
    }

    fn link(&self, slot: u32) -> &AtomicU32 {
        // INVARIANT: links and freed slots hold numbers below `total`, the length of `links`; programs cannot reach them.
        &self.links[slot as usize]
    }

    fn key_out(&self, slot: u32, next: &mut [u8]) -> Result<(), Errno> {
        let words = self
            .keys
            .get(slot as usize * self.key_words..)
            .ok_or(Errno::EFAULT)?;
        for (bytes, word) in next.chunks_mut(8).zip(words) {
            let word = word.load(Ordering::Relaxed).to_ne_bytes();
            bytes.copy_from_slice(word.get(..bytes.len()).ok_or(Errno::EFAULT)?);
        }
        Ok(())
    }

    fn key(&self, bytes: &[u8]) -> Key {
        debug_assert_eq!(bytes.len(), self.key_size, "sizes are checked by `VmMap`");
        let mut key = Key {
            words: Vec::new(),
            short: [0; 4],
            len: self.key_words,
            hash: 0,
        };
        if self.key_words > key.short.len() {
            key.words = vec![0; self.key_words];
        }
        let mut hash = self.seed;
        for (word, chunk) in key.words_mut().iter_mut().zip(bytes.chunks(8)) {
            let mut padded = [0; 8];
            padded[..chunk.len()].copy_from_slice(chunk);
            *word = u64::from_ne_bytes(padded);
            hash = mix(hash ^ *word);
        }
        key.hash = crate::semantics::low_32(hash);
        key
    }

    fn bucket_index(&self, key: &Key) -> usize {
        key.hash as usize & (self.buckets.len() - 1)
    }

    fn bucket_of(&self, key: &Key) -> &Bucket {
        &self.buckets[self.bucket_index(key)]
    }

    fn lock<'a>(&self, bucket: &'a Bucket) -> Locked<'a> {
        let mut tries = 0u32;
        loop {
            let sequence = bucket.sequence.load(Ordering::Relaxed);
            let taken = sequence.is_multiple_of(2)
                && bucket
                    .sequence
                    .compare_exchange_weak(
                        sequence,
                        sequence.wrapping_add(1),
                        Ordering::Acquire,
                        Ordering::Relaxed,
                    )
                    .is_ok();
            if taken {
                fence(Ordering::Release);
                return Locked { bucket };
            }
            tries = tries.wrapping_add(1);
            if tries.is_multiple_of(64) {
                std::thread::yield_now()
            } else {
                std::hint::spin_loop()
            }
        }
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        // Numbers and a list, changed in single steps: what a panicking thread leaves is still true.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Behaviour for Hash {
    fn address(&self, key: SharedBytes, cpu: u32) -> Option<u32> {
        Self::address(self, key, cpu)
    }

    fn copy_out(&self, key: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        let key = self.key(key);
        let copied = self.read(&key, |slot| {
            self.values
                .host()
                .copy_out(offset_of(slot, self.slot_bytes), value)
        });
        copied.flatten().ok_or(Errno::ENOENT)
    }

    fn update(
        &self,
        key: &[u8],
        value: Source<'_>,
        flags: u64,
        writer: Writer,
    ) -> Result<(), Errno> {
        if flags > EXIST {
            return Err(Errno::EINVAL);
        }
        let key = self.key(key);
        loop {
            match (self.update_once(&key, value, flags, writer), &self.clock) {
                (Err(Errno::E2BIG), Some(clock)) => self.give_one_up(clock),
                (result, _) => return result,
            }
        }
    }

    fn take(&self, key: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        let key = self.key(key);
        let locked = self.lock(self.bucket_of(&key));
        let slot = self.find(locked.bucket, &key).ok_or(Errno::ENOENT)?;
        let offset = offset_of(slot, self.slot_bytes);
        let copied = self.values.host().copy_out(offset, value);
        self.unlink(locked.bucket, slot);
        drop(locked);
        self.slots().give_back(slot, false);
        copied.ok_or(Errno::EFAULT)
    }

    fn delete(&self, key: &[u8]) -> Result<(), Errno> {
        let key = self.key(key);
        let locked = self.lock(self.bucket_of(&key));
        let slot = self.find(locked.bucket, &key).ok_or(Errno::ENOENT)?;
        self.unlink(locked.bucket, slot);
        drop(locked);
        self.slots().give_back(slot, false);
        Ok(())
    }

    fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<(), Errno> {
        let mut from = 0;
        if let Some(key) = key {
            let key = self.key(key);
            let index = self.bucket_index(&key);
            let locked = self.lock(self.bucket_of(&key));
            if let Some(slot) = self.find(locked.bucket, &key) {
                if let Some(after) = self.follow(self.link(slot)) {
                    return self.key_out(after, next);
                }
                from = index + 1;
            }
        }
        for bucket in self.buckets.iter().skip(from) {
            if bucket.first.load(Ordering::Relaxed) == END {
                continue;
            }
            let locked = self.lock(bucket);
            if let Some(slot) = self.follow(&locked.bucket.first) {
                return self.key_out(slot, next);
            }
        }
        Err(Errno::ENOENT)
    }
}

/// A bucket with its lock held; dropping it makes the sequence even again.
struct Locked<'a> {
    bucket: &'a Bucket,
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let sequence = self.bucket.sequence.load(Ordering::Relaxed);
        self.bucket
            .sequence
            .store(sequence.wrapping_add(1), Ordering::Release);
    }
}

impl Slots {
    /// A slot for a new entry or a replacement. `Ok(None)`: none left for a replacement.
    fn take(&mut self, is_replacement: bool, max_entries: u32) -> Result<Option<u32>, Errno> {
        if !is_replacement && self.used >= max_entries {
            return Err(Errno::E2BIG);
        }
        let slot = match self.freed.pop() {
            Some(slot) => slot,
            None if self.fresh < self.total => {
                self.fresh += 1;
                self.fresh - 1
            }
            None if is_replacement => return Ok(None),
            None => return Err(Errno::E2BIG),
        };
        self.used += u32::from(!is_replacement);
        Ok(Some(slot))
    }

    /// A slot nobody can find any more. `is_replacement`: another slot keeps the entry.
    fn give_back(&mut self, slot: u32, is_replacement: bool) {
        self.freed.push(slot);
        self.used -= u32::from(!is_replacement);
    }
}

impl Key {
    fn words(&self) -> &[u64] {
        if self.words.is_empty() {
            &self.short[..self.len.min(4)]
        } else {
            &self.words
        }
    }

    fn words_mut(&mut self) -> &mut [u64] {
        if self.words.is_empty() {
            &mut self.short[..self.len.min(4)]
        } else {
            &mut self.words
        }
    }
}

/// Spreads the bits of a word: both halves of a product, folded.
pub(super) fn mix(word: u64) -> u64 {
    let product = u128::from(word) * u128::from(GOLDEN);
    let folded = product ^ product >> 64;
    u64::try_from(folded & u128::from(u64::MAX)).unwrap_or(0)
}

/// A zeroed slice that costs no memory until it is used.
fn zeroed<T: FromZeros>(len: usize) -> Result<Box<[T]>, Errno> {
    <[T]>::new_box_zeroed_with_elems(len).map_err(|_| Errno::ENOMEM)
}
