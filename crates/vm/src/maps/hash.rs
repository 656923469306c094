//! Hash maps: values in slots, slots found by key without locks ([`table`](super::table)).
//!
//! ```text
//!  table:           key -> slot                    host heap
//!  values extent:   [ ... value ... value ... ]    in the window, `slot_bytes` apart
//! ```
//!
//! A deleted slot is reused at once, while a program on another CPU may still hold its address and then sees the new
//! element. The kernel's preallocated hash maps do the same; callers' lookups copy and re-check.
//!
//! Replacing a value takes a new slot, as in the kernel, so a pointer from an earlier lookup keeps pointing to the old value.
//! Each CPU slot has one extra slot for that, and gets the old one for the next time: nothing shared is touched.
//! Only per-CPU forms, whose slots hold one value for each CPU slot, write in place.
//!
//! LRU forms give the least recently used entry up when they are full. Which one that is, a clock hand finds: it passes over
//! entries that programs looked up since it came by last. The kernel's lists differ in detail, and so may the choice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use twinbpf_object::{Errno, MapSpec};
use twinbpf_shm::SharedBytes;

use super::kind::{Behaviour, Source, Writer};
use super::table::{Fresh, Key, Place, Rest, Stack, Table, zeroed};
use super::{EXIST, NOEXIST, offset_of, program_access, stride};
use crate::window::{Extent, Window};

#[derive(Debug)]
pub(super) struct Hash {
    values: Extent,
    /// From one CPU's value to the next.
    stride: u64,
    /// From one slot's values to the next slot's.
    slot_bytes: u64,
    key_bytes: usize,
    table: Table,
    /// Slots for new entries: those given back, and those never used. Together with the entries they are `max_entries`.
    free: Stack,
    fresh: Fresh,
    /// Slots for values that callers replace.
    spare: Stack,
    /// The slot for the next value that programs on a CPU slot replace.
    extra: Box<[Extra]>,
    clock: Option<Clock>,
}

/// A slot's number, alone on its cache lines.
#[derive(Debug)]
#[repr(align(128))]
struct Extra(AtomicU32);

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

impl Hash {
    pub(super) fn new(window: &Arc<Window>, spec: &MapSpec, shape: Shape) -> Result<Self, Errno> {
        let stride = stride(spec)?;
        let slot_bytes = stride
            .checked_mul(u64::from(shape.cpus))
            .ok_or(Errno::ENOMEM)?;
        let entries = spec.max_entries;
        let extra_end = entries.checked_add(shape.spare).ok_or(Errno::ENOMEM)?;
        let total = extra_end.checked_add(shape.spare).ok_or(Errno::ENOMEM)?;
        let bytes = slot_bytes
            .checked_mul(u64::from(total))
            .ok_or(Errno::ENOMEM)?;
        let values = window.allocate(bytes, program_access(spec))?;
        let table = Table::new(spec.key_size, entries, total)?;
        let spare = Stack::default();
        for slot in extra_end..total {
            spare.push(&table, slot);
        }
        let slot_count = usize::try_from(total).map_err(|_| Errno::ENOMEM)?;
        Ok(Self {
            values,
            stride,
            slot_bytes,
            key_bytes: usize::try_from(spec.key_size).map_err(|_| Errno::E2BIG)?,
            table,
            free: Stack::default(),
            fresh: Fresh::new(0..entries),
            spare,
            extra: (entries..extra_end)
                .map(|slot| Extra(AtomicU32::new(slot)))
                .collect(),
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
    #[inline(always)]
    pub(super) fn address(&self, key: SharedBytes, cpu: u32) -> Option<u32> {
        if self.table.has_short_keys() {
            return self.address_under(self.table.short_key_in(key)?, cpu);
        }
        self.address_under_long(key, cpu)
    }

    #[inline(never)]
    fn address_under_long(&self, key: SharedBytes, cpu: u32) -> Option<u32> {
        let mut rest = Rest::default();
        self.address_under(self.table.key_in(key, &mut rest)?, cpu)
    }

    #[inline(always)]
    fn address_under(&self, key: Key<'_>, cpu: u32) -> Option<u32> {
        let slot = self.table.read(key, |slot| slot)?;
        if let Some(clock) = &self.clock {
            clock.looked_up[slot as usize].store(1, Ordering::Relaxed);
        }
        self.address_of(slot, cpu)
    }

    /// As [`Behaviour::update`], with the key in the window.
    #[inline(always)]
    pub(super) fn update_from_window(
        &self,
        (key, value): (SharedBytes, SharedBytes),
        flags: u64,
        cpu: u32,
    ) -> Result<(), Errno> {
        let (value, writer) = (Source::Window(value), Writer::Program { cpu });
        if self.table.has_short_keys() {
            let key = self.table.short_key_in(key).ok_or(Errno::EFAULT)?;
            return self.update_key(key, value, flags, writer);
        }
        self.update_under_long(key, value, flags, writer)
    }

    #[inline(never)]
    fn update_under_long(
        &self,
        key: SharedBytes,
        value: Source<'_>,
        flags: u64,
        writer: Writer,
    ) -> Result<(), Errno> {
        let mut rest = Rest::default();
        let key = self.table.key_in(key, &mut rest).ok_or(Errno::EFAULT)?;
        self.update_key(key, value, flags, writer)
    }

    #[inline(always)]
    fn copy_under(&self, key: Key<'_>, value: &mut [u8]) -> Result<(), Errno> {
        let values = self.values.host();
        let copy = |slot| values.copy_out(offset_of(slot, self.slot_bytes), value);
        let copied = self.table.read(key, copy);
        copied.flatten().ok_or(Errno::ENOENT)
    }

    #[inline(never)]
    fn copy_under_long(&self, key: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        let mut rest = Rest::default();
        self.copy_under(self.table.key(key, &mut rest), value)
    }

    /// Key and value address of the element in whose first value this address lies.
    pub(super) fn element_at(&self, address: u32) -> Option<(Vec<u8>, u32)> {
        let offset = u64::from(address.checked_sub(self.values.start())?);
        let slot = u32::try_from(offset / self.slot_bytes).ok()?;
        if !self.table.has(slot) {
            return None;
        }
        self.table.lock_of(slot).place_of(slot)?;
        let mut key = vec![0; self.key_bytes];
        self.table.key_out(slot, &mut key);
        Some((key, self.address_of(slot, 0)?))
    }

    fn address_of(&self, slot: u32, cpu: u32) -> Option<u32> {
        let offset = u64::from(slot) * self.slot_bytes + u64::from(cpu) * self.stride;
        self.values.start().checked_add(u32::try_from(offset).ok()?)
    }

    /// The addresses of all keys' values in no particular order: `(key, address)`. Entries that come or go meanwhile may be missed.
    pub(super) fn snapshot(&self, cpu: u32) -> Vec<(Vec<u8>, u32)> {
        let mut found = Vec::new();
        for bucket in 0..self.table.bucket_count() {
            if self.table.is_empty(bucket) {
                continue;
            }
            let locked = self.table.lock_bucket(bucket);
            for slot in locked.slots() {
                if let Some(address) = self.address_of(slot, cpu) {
                    let mut key = vec![0; self.key_bytes];
                    self.table.key_out(slot, &mut key);
                    found.push((key, address));
                }
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
            let mut locked = self.table.lock_of(slot);
            if let Some(place) = locked.place_of(slot) {
                locked.remove(place);
                drop(locked);
                self.free.push(&self.table, slot);
                return;
            }
        }
    }

    #[inline(always)]
    fn update_key(
        &self,
        key: Key<'_>,
        value: Source<'_>,
        flags: u64,
        writer: Writer,
    ) -> Result<(), Errno> {
        if flags > EXIST {
            return Err(Errno::EINVAL);
        }
        loop {
            match (self.update_once(key, value, flags, writer), &self.clock) {
                (Err(Errno::E2BIG), Some(clock)) => self.give_one_up(clock),
                (result, _) => return result,
            }
        }
    }

    #[inline(always)]
    fn update_once(
        &self,
        key: Key<'_>,
        value: Source<'_>,
        flags: u64,
        writer: Writer,
    ) -> Result<(), Errno> {
        let mut locked = self.table.lock(key);
        if let Some(old) = locked.find(key) {
            if flags == NOEXIST {
                return Err(Errno::EEXIST);
            }
            let new = self.take_for_replacement(writer);
            // Per-CPU forms write in place, and so does everybody else if all spare slots are in use by other callers' replacements.
            let Some(slot) = new else {
                return self.write(old.slot, value, writer, false);
            };
            let written = self.write(slot, value, writer, true);
            if written.is_ok() {
                locked.replace(old, slot, key);
            }
            drop(locked);
            let unused = if written.is_ok() { old.slot } else { slot };
            self.keep_for_replacement(writer, unused);
            return written;
        }
        if flags == EXIST {
            return Err(Errno::ENOENT);
        }
        let slot = self.free.pop(&self.table).or_else(|| self.fresh.take());
        let slot = slot.ok_or(Errno::E2BIG)?;
        let written = self.write(slot, value, writer, true);
        match written {
            Ok(()) => locked.insert(slot, key),
            Err(_) => self.free.push(&self.table, slot),
        }
        written
    }

    /// A slot for a value that takes the place of another.
    #[inline(always)]
    fn take_for_replacement(&self, writer: Writer) -> Option<u32> {
        if self.is_per_cpu() {
            return None;
        }
        match writer {
            // One program at a time runs on a CPU slot, so nobody else takes its extra slot.
            Writer::Program { cpu } => {
                let extra = self.extra.get(cpu as usize)?;
                Some(extra.0.load(Ordering::Relaxed))
            }
            Writer::Caller => self.spare.pop(&self.table),
        }
    }

    /// Keeps the slot that is unused now for the next replacement.
    #[inline(always)]
    fn keep_for_replacement(&self, writer: Writer, slot: u32) {
        match writer {
            Writer::Program { cpu } => {
                if let Some(extra) = self.extra.get(cpu as usize) {
                    extra.0.store(slot, Ordering::Relaxed);
                }
            }
            Writer::Caller => self.spare.push(&self.table, slot),
        }
    }

    /// Takes an entry out.
    fn remove(&self, key: Key<'_>, use_slot: impl FnOnce(Place)) -> Result<(), Errno> {
        let mut locked = self.table.lock(key);
        let place = locked.find(key).ok_or(Errno::ENOENT)?;
        use_slot(place);
        locked.remove(place);
        drop(locked);
        self.free.push(&self.table, place.slot);
        Ok(())
    }
}

impl Behaviour for Hash {
    fn address(&self, key: SharedBytes, cpu: u32) -> Option<u32> {
        Self::address(self, key, cpu)
    }

    #[inline]
    fn copy_out(&self, key: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        match self.table.short_key(key) {
            Some(key) => self.copy_under(key, value),
            None => self.copy_under_long(key, value),
        }
    }

    fn update(
        &self,
        key: &[u8],
        value: Source<'_>,
        flags: u64,
        writer: Writer,
    ) -> Result<(), Errno> {
        match self.table.short_key(key) {
            Some(key) => self.update_key(key, value, flags, writer),
            None => {
                let mut rest = Rest::default();
                self.update_key(self.table.key(key, &mut rest), value, flags, writer)
            }
        }
    }

    fn take(&self, key: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        let mut copied = None;
        self.remove(self.table.key(key, &mut Rest::default()), |place| {
            let offset = offset_of(place.slot, self.slot_bytes);
            copied = self.values.host().copy_out(offset, value);
        })?;
        copied.ok_or(Errno::EFAULT)
    }

    fn delete(&self, key: &[u8]) -> Result<(), Errno> {
        self.remove(self.table.key(key, &mut Rest::default()), |_| {})
    }

    fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<(), Errno> {
        let mut from = 0;
        if let Some(key) = key {
            let mut rest = Rest::default();
            let key = self.table.key(key, &mut rest);
            let locked = self.table.lock(key);
            if let Some(place) = locked.find(key) {
                if let Some(after) = locked.after(place.slot) {
                    self.table.key_out(after, next);
                    return Ok(());
                }
                from = self.table.bucket_of(key) + 1;
            }
        }
        for bucket in from..self.table.bucket_count() {
            if self.table.is_empty(bucket) {
                continue;
            }
            let locked = self.table.lock_bucket(bucket);
            if let Some(slot) = locked.slots().next() {
                self.table.key_out(slot, next);
                return Ok(());
            }
        }
        Err(Errno::ENOENT)
    }
}
