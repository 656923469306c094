//! Many entries at a time: the kernel copies a thousand for little more than the price of one.
//!
//! Where a kind of map, a kernel or the vm has no batches, entries come one by one, by the same rules. Either way everything
//! is delivered: a batch that comes back short is not the end, only the kernel's word for the end is.
//!
//! ```text
//! cursor 0 ──batch──> 1021 entries, cursor 17 ──batch──> ENOSPC: more room ──batch──> 4096 ... ──batch──> 3, the last
//! ```

use std::collections::HashSet;
use std::ops::ControlFlow;

use twinbpf_kernel::{BatchCursor, KernelMap};
use twinbpf_object::{Errno, Error, MapKind, Result};

use crate::map_error::{self, Operation};
use crate::raw_map::{MapHandle, RawMap, UpdateMode};

/// Entries asked for at a time: a thousandth of the cost of a call is left to each, and memory stays small.
const CHUNK_ENTRIES: usize = 4096;
/// Bytes asked for at a time, unless entries are larger.
const CHUNK_BYTES: usize = 1 << 20;

impl RawMap {
    /// Shows every entry to `look`, until it breaks off. By far the fastest way to read a map: many entries a call, no copies
    /// but the kernel's own.
    ///
    /// The policy when the map changes meanwhile is that of [`RawEntries`](crate::RawEntries): no key comes twice, and a key
    /// that stays in the map all the time comes exactly once.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// use twinbpf::{Engine, MapKind, MapSpec, UpdateMode};
    ///
    /// let map = Engine::vm()?.create_map(&MapSpec::new("", MapKind::Hash, 1, 1, 16))?;
    /// map.update_many(b"abc", &[1, 2, 3], UpdateMode::Any)?;
    /// let mut sum = 0;
    /// map.visit(|_, value| {
    ///     sum += value[0];
    ///     ControlFlow::Continue(())
    /// })?;
    /// assert_eq!(sum, 6);
    /// # Ok::<(), twinbpf::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the engine refuses.
    pub fn visit(&self, mut look: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>) -> Result<()> {
        if let MapHandle::Kernel(map) = &self.0
            && has_batches(self.spec().kind)
        {
            let mut batches = Batches::new(self, map, false);
            let Err(refused) = batches.run(&mut look) else {
                return Ok(());
            };
            if let Some(error) = refused.explain(self, Operation::Walk) {
                return Err(error);
            }
        }
        for entry in self.entries() {
            let (key, value) = entry?;
            if look(&key, &value).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Takes every entry out of the map and shows it to `look`. What is stored meanwhile may stay.
    ///
    /// # Errors
    ///
    /// If entries cannot be removed from this kind of map, or the engine refuses; what was shown is removed.
    pub fn take_all(&self, mut look: impl FnMut(&[u8], &[u8])) -> Result<()> {
        let mut show = |key: &[u8], value: &[u8]| {
            look(key, value);
            ControlFlow::Continue(())
        };
        if let MapHandle::Kernel(map) = &self.0
            && takes_batches(self.spec().kind)
        {
            let mut batches = Batches::new(self, map, true);
            let Err(refused) = batches.run(&mut show) else {
                return Ok(());
            };
            if let Some(error) = refused.explain(self, Operation::Remove) {
                return Err(error);
            }
        }
        for entry in self.entries() {
            let (key, _) = entry?;
            if let Some(value) = self.take(&key)? {
                look(&key, &value);
            }
        }
        Ok(())
    }

    /// Stores many values: `keys` and `values` one after another without gaps.
    ///
    /// # Errors
    ///
    /// If the lengths do not fit each other, or the engine refuses an entry: the first one it refuses is named, and those before it
    /// are stored.
    pub fn update_many(&self, keys: &[u8], values: &[u8], mode: UpdateMode) -> Result<()> {
        let count = self.count_keys(keys)?;
        if count.checked_mul(self.value_len()) != Some(values.len()) {
            let has = count.saturating_mul(self.value_len());
            return Err(map_error::wrong_length(
                self.spec(),
                "values together",
                has,
                values.len(),
            ));
        }
        let mut done = 0;
        // KERNEL: batches take no condition (6.18).
        if let MapHandle::Kernel(map) = &self.0
            && has_batches(self.spec().kind)
            && mode == UpdateMode::Any
            && count > 0
        {
            let (stored, result) = map.update_batch(keys, values, 0);
            if result.is_ok() {
                return Ok(());
            }
            // The entry that was refused is tried alone, which says why, or that this kernel has no batches.
            done = stored;
        }
        let entries = chunks(keys, self.key_len()).zip(chunks(values, self.value_len()));
        for (key, value) in entries.skip(done) {
            self.update(key, value, mode)?;
        }
        Ok(())
    }

    /// Removes many keys, one after another without gaps; the answer is how many were there.
    ///
    /// # Errors
    ///
    /// If the length is no multiple of a key's, or the engine refuses.
    pub fn remove_many(&self, keys: &[u8]) -> Result<usize> {
        let count = self.count_keys(keys)?;
        let (mut at, mut removed) = (0, 0);
        while at < count {
            let rest = keys.get(at * self.key_len()..).unwrap_or_default();
            if let MapHandle::Kernel(map) = &self.0
                && takes_batches(self.spec().kind)
            {
                let (done, result) = map.delete_batch(rest);
                (at, removed) = (at + done, removed + done);
                if result.is_ok() {
                    break;
                }
            }
            // The key that stopped the batch: absent, or the batch as a whole was refused.
            let Some(key) = chunks(keys, self.key_len()).nth(at) else {
                break;
            };
            removed += usize::from(self.remove(key)?);
            at += 1;
        }
        Ok(removed)
    }

    fn count_keys(&self, keys: &[u8]) -> Result<usize> {
        match keys.len().checked_div(self.key_len()) {
            Some(count) if count * self.key_len() == keys.len() => Ok(count),
            _ => Err(map_error::wrong_length(
                self.spec(),
                "key",
                self.key_len(),
                keys.len(),
            )),
        }
    }
}

/// Pieces of `len` bytes; none where that is 0.
fn chunks(bytes: &[u8], len: usize) -> impl Iterator<Item = &[u8]> {
    bytes.chunks_exact(len.max(1))
}

/// KERNEL: kinds whose entries 6.18 copies out and in by the batch.
fn has_batches(kind: MapKind) -> bool {
    takes_batches(kind)
        || matches!(
            kind,
            MapKind::Array | MapKind::PerCpuArray | MapKind::ArrayOfMaps
        )
}

/// KERNEL: kinds from which 6.18 removes entries by the batch.
fn takes_batches(kind: MapKind) -> bool {
    matches!(
        kind,
        MapKind::Hash
            | MapKind::PerCpuHash
            | MapKind::LruHash
            | MapKind::LruPerCpuHash
            | MapKind::LpmTrie
            | MapKind::HashOfMaps
    )
}

/// KERNEL: these go on after a key, and start again with the first if that key has vanished (6.18). The others go on
/// after a bucket or an index, which never vanish.
fn may_start_again(kind: MapKind) -> bool {
    matches!(kind, MapKind::LpmTrie | MapKind::HashOfMaps)
}

/// Why batches ended early.
enum Refused {
    /// The first one was refused: this kernel has none, or none for this kind of map.
    AtOnce,
    For(Errno),
    /// Keys vanish faster than a walk that starts again with each can get on.
    Restless,
}

/// Batches in a row that may bring nothing but keys shown before.
const MOST_IDLE: u32 = 1 << 12;

impl Refused {
    fn explain(&self, map: &RawMap, operation: Operation) -> Option<Error> {
        match self {
            Self::AtOnce => None,
            Self::For(errno) => Some(map.explain(operation, &[], *errno)),
            Self::Restless => Some(map_error::restless(map.spec())),
        }
    }
}

/// What is shown a key and its value, and says whether to go on.
type Look<'l> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'l;

/// A walk over a map of the kernel.
struct Batches<'a> {
    map: &'a KernelMap,
    is_removed: bool,
    cursor: BatchCursor,
    key_len: usize,
    value_len: usize,
    keys: Vec<u8>,
    values: Vec<u8>,
    /// Keys shown, where a walk may start again.
    seen: Option<HashSet<Vec<u8>>>,
}

impl<'a> Batches<'a> {
    fn new(raw: &RawMap, map: &'a KernelMap, is_removed: bool) -> Self {
        let may_repeat = !is_removed && may_start_again(raw.spec().kind);
        let mut batches = Self {
            map,
            is_removed,
            cursor: BatchCursor::default(),
            key_len: raw.key_len(),
            value_len: raw.value_len(),
            keys: Vec::new(),
            values: Vec::new(),
            seen: may_repeat.then(HashSet::new),
        };
        let entry = (batches.key_len + batches.value_len).max(1);
        let entries = usize::try_from(raw.spec().max_entries).unwrap_or(usize::MAX);
        batches.make_room((CHUNK_BYTES / entry).clamp(1, CHUNK_ENTRIES.min(entries.max(1))));
        batches
    }

    fn make_room(&mut self, entries: usize) {
        self.keys = vec![0; entries.saturating_mul(self.key_len)];
        self.values = vec![0; entries.saturating_mul(self.value_len)];
    }

    fn run(&mut self, look: &mut Look<'_>) -> std::result::Result<(), Refused> {
        let (mut is_first, mut idle) = (true, 0);
        loop {
            let room = (&mut self.keys[..], &mut self.values[..]);
            let found = match self
                .map
                .lookup_batch(&mut self.cursor, room, self.is_removed)
            {
                Ok(found) => found,
                // Entries that come together do not fit: nothing was copied, and the cursor stands where it stood.
                Err(Errno::ENOSPC) => {
                    self.make_room(self.keys.len() / self.key_len.max(1) * 2);
                    continue;
                }
                Err(Errno::EINVAL | Errno::ENOTSUPP | Errno::EOPNOTSUPP) if is_first => {
                    return Err(Refused::AtOnce);
                }
                Err(Errno::EINTR | Errno::EAGAIN) => continue,
                Err(errno) => return Err(Refused::For(errno)),
            };
            is_first = false;
            let before = self.seen.as_ref().map(HashSet::len);
            if self.show(found.count, look).is_break() || found.is_last {
                return Ok(());
            }
            let is_idle = before.is_some() && before == self.seen.as_ref().map(HashSet::len);
            idle = if is_idle { idle + 1 } else { 0 };
            if idle > MOST_IDLE {
                return Err(Refused::Restless);
            }
        }
    }

    fn show(&mut self, count: usize, look: &mut Look<'_>) -> ControlFlow<()> {
        let entries = chunks(&self.keys, self.key_len).zip(chunks(&self.values, self.value_len));
        for (key, value) in entries.take(count) {
            if let Some(seen) = &mut self.seen
                && !seen.insert(key.to_vec())
            {
                continue;
            }
            look(key, value)?;
        }
        ControlFlow::Continue(())
    }
}
