//! The chains of a hash map: which slot has which key, found without locks.
//!
//! ```text
//!  buckets[hash & mask] = sequence | first ──> node ──> node ──> 0
//!
//!  node of slot n:   hash | link   key word   key word ...          host heap
//! ```
//!
//! Every bucket has a sequence number. A writer makes it odd, which is also its lock, changes the chain, and makes it even
//! again together with the new first link. A reader walks the chain and believes what it found only if the bucket was even and
//! is still the same word. A walk that strays into another chain, because a slot was reused under its feet, ends by the bound
//! on its steps and is repeated.
//!
//! Slots in no chain wait in [`Stack`]s, linked by the same words.

use twinbpf_object::Errno;
use twinbpf_shm::SharedBytes;
use zerocopy::FromZeros;

use super::atomic::{
    AtomicU32, AtomicU64, Ordering, fence, seed, spin_loop, yield_now, zeroed_words,
};
use crate::semantics::low_32;

/// Link that ends a chain. Other links are a slot's number plus one, so that zeroed memory is an empty table.
const END: u32 = 0;
/// An odd number with well-spread bits: 2^64 divided by the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
/// Keys with up to this many words after the first need no allocation.
const SHORT_WORDS: usize = 7;

#[derive(Debug)]
pub(super) struct Table {
    key_bytes: usize,
    key_words: usize,
    seed: u64,
    buckets: Box<[AtomicU64]>,
    nodes: Box<[AtomicU64]>,
}

/// A key as words, the last one padded with zeros, and its hash. Most keys have one word.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key<'k> {
    first: u64,
    rest: &'k [u64],
    hash: u32,
}

/// Room for the words of a key after the first.
#[derive(Debug, Default)]
pub(super) struct Rest {
    short: [u64; SHORT_WORDS],
    long: Vec<u64>,
}

impl Rest {
    fn room(&mut self, words: usize) -> &mut [u64] {
        if words > SHORT_WORDS {
            self.long = vec![0; words];
            return &mut self.long;
        }
        &mut self.short[..words]
    }
}

/// Where a slot is in its chain: behind another one, or first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) slot: u32,
    before: Option<u32>,
}

/// A bucket with its lock held; dropping it makes the sequence even again.
#[derive(Debug)]
pub(super) struct Locked<'t> {
    table: &'t Table,
    bucket: &'t AtomicU64,
    sequence: u32,
    first: u32,
}

impl Table {
    /// For `slots` keys of `key_bytes`, at most `entries` of them in chains.
    pub(super) fn new(key_bytes: u32, entries: u32, slots: u32) -> Result<Self, Errno> {
        let key_bytes = usize::try_from(key_bytes).map_err(|_| Errno::E2BIG)?;
        let key_words = key_bytes.div_ceil(8).max(1);
        let slots = usize::try_from(slots).map_err(|_| Errno::ENOMEM)?;
        // Twice as many buckets as entries: most chains have one node.
        let buckets = u64::from(entries).next_power_of_two() * 2;
        let words = slots.checked_mul(key_words + 1).ok_or(Errno::ENOMEM)?;
        Ok(Self {
            key_bytes,
            key_words,
            seed: seed(),
            buckets: zeroed_words(usize::try_from(buckets).map_err(|_| Errno::ENOMEM)?)?,
            nodes: zeroed_words(words)?,
        })
    }

    /// A key of the caller's, whose length was checked, if it has one of the lengths that most have.
    #[inline(always)]
    pub(super) fn short_key(&self, bytes: &[u8]) -> Option<Key<'static>> {
        let word = match (bytes.try_into(), bytes.try_into()) {
            (Ok(four), _) => u64::from(u32::from_ne_bytes(four)),
            (_, Ok(eight)) => u64::from_ne_bytes(eight),
            _ => return None,
        };
        Some(self.with_hash(word, &[]))
    }

    /// A key of the caller's; its length was checked.
    pub(super) fn key<'k>(&self, bytes: &[u8], rest: &'k mut Rest) -> Key<'k> {
        debug_assert_eq!(bytes.len(), self.key_bytes, "sizes are checked by `VmMap`");
        let word = |chunk: &[u8]| {
            let mut padded = [0; 8];
            padded[..chunk.len()].copy_from_slice(chunk);
            u64::from_ne_bytes(padded)
        };
        let mut words = bytes.chunks(8).map(word);
        let first = words.next().unwrap_or(0);
        let rest = rest.room(self.key_words - 1);
        for (place, word) in rest.iter_mut().zip(words) {
            *place = word;
        }
        self.with_hash(first, rest)
    }

    /// Whether keys have one word, as most have: then [`Table::short_key_in`] is enough.
    #[inline(always)]
    pub(super) fn has_short_keys(&self) -> bool {
        self.key_words == 1
    }

    /// A key of one word from the window.
    #[inline(always)]
    pub(super) fn short_key_in(&self, view: SharedBytes) -> Option<Key<'static>> {
        Some(self.with_hash(self.word_in(view, 0)?, &[]))
    }

    /// A key from the window, each word read once. `None` if the view is too short.
    pub(super) fn key_in<'k>(&self, view: SharedBytes, rest: &'k mut Rest) -> Option<Key<'k>> {
        let first = self.word_in(view, 0)?;
        let rest = rest.room(self.key_words - 1);
        for (index, place) in rest.iter_mut().enumerate() {
            *place = self.word_in(view, 8 * (index + 1))?;
        }
        Some(self.with_hash(first, rest))
    }

    #[inline(always)]
    fn word_in(&self, view: SharedBytes, at: usize) -> Option<u64> {
        match self.key_bytes - at {
            4 => view.load_u32(at).map(u64::from),
            8.. => view.load_u64(at),
            rest => {
                let mut padded = [0; 8];
                view.copy_out(at, padded.get_mut(..rest)?)?;
                Some(u64::from_ne_bytes(padded))
            }
        }
    }

    #[inline(always)]
    fn with_hash<'k>(&self, first: u64, rest: &'k [u64]) -> Key<'k> {
        let hash = rest
            .iter()
            .fold(mix(self.seed ^ first), |hash, word| mix(hash ^ word));
        Key {
            first,
            rest,
            hash: low_32(hash),
        }
    }

    /// Writes the key of a slot out.
    pub(super) fn key_out(&self, slot: u32, to: &mut [u8]) {
        for (bytes, word) in to.chunks_mut(8).zip(self.key_at(slot)) {
            let word = word.load(Ordering::Relaxed).to_ne_bytes();
            bytes.copy_from_slice(&word[..bytes.len()]);
        }
    }

    /// Finds a key without a lock and hands its slot to `use_slot`; repeats both until nobody interfered.
    #[inline(always)]
    pub(super) fn read<T>(&self, key: Key<'_>, mut use_slot: impl FnMut(u32) -> T) -> Option<T> {
        let bucket = self.bucket(key.hash);
        loop {
            let before = bucket.load(Ordering::Acquire);
            let (sequence, first) = unpack(before);
            if sequence.is_multiple_of(2) {
                let found = self.find(first, key).map(|place| use_slot(place.slot));
                fence(Ordering::Acquire);
                if bucket.load(Ordering::Relaxed) == before {
                    return found;
                }
            }
            spin_loop();
        }
    }

    /// Walks a chain. Without the lock the answer counts only if the bucket did not change.
    #[inline(always)]
    fn find(&self, first: u32, key: Key<'_>) -> Option<Place> {
        let (mut link, mut before) = (first, None);
        for _ in 0..=self.nodes.len() {
            let slot = link.checked_sub(1)?;
            let [node, first, rest @ ..] = self.words_at(slot, key) else {
                return None;
            };
            let is_same = |(stored, word): (&AtomicU64, &u64)| load(stored) == *word;
            if load(first) == key.first && rest.iter().zip(key.rest).all(is_same) {
                return Some(Place { slot, before });
            }
            before = Some(slot);
            link = low_32(load(node));
        }
        None
    }

    /// Node and words of a slot's key, which has as many as this one.
    #[inline(always)]
    fn words_at(&self, slot: u32, key: Key<'_>) -> &[AtomicU64] {
        // INVARIANT: as for `node`.
        let words = key.rest.len() + 2;
        let start = slot as usize * words;
        &self.nodes[start..start + words]
    }

    #[inline(always)]
    fn bucket(&self, hash: u32) -> &AtomicU64 {
        &self.buckets[self.index(hash)]
    }

    /// The bucket's number: below the number of buckets, which is a power of two.
    fn index(&self, hash: u32) -> usize {
        hash as usize & (self.buckets.len() - 1)
    }

    /// How many buckets there are.
    pub(super) fn bucket_count(&self) -> usize {
        self.buckets.len()
    }

    /// The number of the key's bucket.
    pub(super) fn bucket_of(&self, key: Key<'_>) -> usize {
        self.index(key.hash)
    }

    /// Whether the bucket with this number had no chain a moment ago.
    pub(super) fn is_empty(&self, bucket: usize) -> bool {
        unpack(self.buckets[bucket].load(Ordering::Relaxed)).1 == END
    }

    /// Whether there is a slot with this number.
    pub(super) fn has(&self, slot: u32) -> bool {
        (slot as usize) < self.nodes.len() / (self.key_words + 1)
    }

    #[inline(always)]
    fn node(&self, slot: u32) -> &AtomicU64 {
        // INVARIANT: links and free slots hold numbers of slots; programs cannot reach them.
        &self.nodes[slot as usize * (self.key_words + 1)]
    }

    #[inline(always)]
    fn key_at(&self, slot: u32) -> &[AtomicU64] {
        let start = slot as usize * (self.key_words + 1) + 1;
        &self.nodes[start..start + self.key_words]
    }

    #[inline(always)]
    fn link(&self, slot: u32) -> u32 {
        low_32(self.node(slot).load(Ordering::Relaxed))
    }

    fn set_link(&self, slot: u32, link: u32) {
        let node = self.node(slot);
        let (hash, _) = unpack(node.load(Ordering::Relaxed));
        node.store(pack(hash, link), Ordering::Relaxed);
    }

    /// The lock of the key's bucket.
    #[inline(always)]
    pub(super) fn lock(&self, key: Key<'_>) -> Locked<'_> {
        self.lock_bucket(self.index(key.hash))
    }

    /// The lock of the bucket in which the slot was last.
    pub(super) fn lock_of(&self, slot: u32) -> Locked<'_> {
        let (hash, _) = unpack(self.node(slot).load(Ordering::Relaxed));
        self.lock_bucket(self.index(hash))
    }

    /// The lock of the bucket with this number.
    #[inline(always)]
    pub(super) fn lock_bucket(&self, index: usize) -> Locked<'_> {
        let bucket = &self.buckets[index];
        let mut tries = 0u32;
        loop {
            let word = bucket.load(Ordering::Relaxed);
            let (sequence, first) = unpack(word);
            let odd = pack(sequence.wrapping_add(1), first);
            let is_free = sequence.is_multiple_of(2);
            if is_free
                && bucket
                    .compare_exchange_weak(word, odd, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
            {
                fence(Ordering::Release);
                return Locked {
                    table: self,
                    bucket,
                    sequence,
                    first,
                };
            }
            tries = tries.wrapping_add(1);
            if tries.is_multiple_of(64) {
                yield_now()
            } else {
                spin_loop()
            }
        }
    }
}

impl Locked<'_> {
    #[inline(always)]
    pub(super) fn find(&self, key: Key<'_>) -> Option<Place> {
        self.table.find(self.first, key)
    }

    /// Where the slot is, if it is in this chain.
    pub(super) fn place_of(&self, slot: u32) -> Option<Place> {
        let mut before = None;
        for here in self.slots() {
            if here == slot {
                return Some(Place { slot, before });
            }
            before = Some(here);
        }
        None
    }

    /// The slots of the chain.
    pub(super) fn slots(&self) -> impl Iterator<Item = u32> {
        let mut link = self.first;
        std::iter::from_fn(move || {
            let slot = link.checked_sub(1)?;
            link = self.table.link(slot);
            Some(slot)
        })
    }

    /// The slot behind this one.
    pub(super) fn after(&self, slot: u32) -> Option<u32> {
        self.table.link(slot).checked_sub(1)
    }

    /// Puts a slot in front.
    #[inline(always)]
    pub(super) fn insert(&mut self, slot: u32, key: Key<'_>) {
        self.fill(slot, key, self.first);
        self.first = slot + 1;
    }

    /// Puts a slot in the place of another.
    #[inline(always)]
    pub(super) fn replace(&mut self, place: Place, slot: u32, key: Key<'_>) {
        self.fill(slot, key, self.table.link(place.slot));
        self.set_behind(place, slot + 1);
    }

    /// Takes a slot out.
    pub(super) fn remove(&mut self, place: Place) {
        self.set_behind(place, self.table.link(place.slot));
    }

    #[inline(always)]
    fn fill(&self, slot: u32, key: Key<'_>, link: u32) {
        if let [node, first, rest @ ..] = self.table.words_at(slot, key) {
            node.store(pack(key.hash, link), Ordering::Relaxed);
            first.store(key.first, Ordering::Relaxed);
            for (stored, word) in rest.iter().zip(key.rest) {
                stored.store(*word, Ordering::Relaxed);
            }
        }
    }

    #[inline(always)]
    fn set_behind(&mut self, place: Place, link: u32) {
        match place.before {
            Some(before) => self.table.set_link(before, link),
            None => self.first = link,
        }
    }
}

impl Drop for Locked<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        let word = pack(self.sequence.wrapping_add(2), self.first);
        self.bucket.store(word, Ordering::Release);
    }
}

/// Slots in no chain; the last one given back is the first one taken.
#[derive(Debug, Default)]
pub(super) struct Stack {
    /// How often it changed, so that a slot that comes back is not mistaken for one that never left, and the first link.
    head: AtomicU64,
}

impl Stack {
    pub(super) fn push(&self, table: &Table, slot: u32) {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            let (changes, first) = unpack(head);
            table.set_link(slot, first);
            match self.head.compare_exchange_weak(
                head,
                pack(changes.wrapping_add(1), slot + 1),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    pub(super) fn pop(&self, table: &Table) -> Option<u32> {
        let mut head = self.head.load(Ordering::Acquire);
        loop {
            let (changes, first) = unpack(head);
            let slot = first.checked_sub(1)?;
            // Somebody may take the slot now and use its link; then the head has changed.
            let next = pack(changes.wrapping_add(1), table.link(slot));
            match self
                .head
                .compare_exchange_weak(head, next, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return Some(slot),
                Err(now) => head = now,
            }
        }
    }
}

/// Slots that were never used, in order.
#[derive(Debug)]
pub(super) struct Fresh {
    next: AtomicU32,
    end: u32,
}

impl Fresh {
    pub(super) fn new(slots: std::ops::Range<u32>) -> Self {
        Self {
            next: AtomicU32::new(slots.start),
            end: slots.end,
        }
    }

    pub(super) fn take(&self) -> Option<u32> {
        let taken = |next: u32| (next < self.end).then_some(next + 1);
        self.next
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken)
            .ok()
    }
}

#[inline(always)]
fn load(word: &AtomicU64) -> u64 {
    word.load(Ordering::Relaxed)
}

fn pack(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

fn unpack(word: u64) -> (u32, u32) {
    (low_32(word >> 32), low_32(word))
}

/// Spreads the bits of a word: both halves of a product, folded.
#[inline(always)]
pub(super) fn mix(word: u64) -> u64 {
    let product = u128::from(word) * u128::from(GOLDEN);
    let folded = product ^ product >> 64;
    u64::try_from(folded & u128::from(u64::MAX)).unwrap_or(0)
}

/// A zeroed slice that costs no memory until it is used.
pub(super) fn zeroed<T: FromZeros>(len: usize) -> Result<Box<[T]>, Errno> {
    <[T]>::new_box_zeroed_with_elems(len).map_err(|_| Errno::ENOMEM)
}

#[cfg(all(test, loom))]
mod models {
    //! Small tables and few threads, in every order of their steps.

    use std::sync::Arc;

    use loom::sync::atomic::AtomicU64 as Value;
    use loom::thread;

    use super::*;

    /// Two buckets and three slots, each with a value.
    struct Model {
        table: Table,
        values: [Value; 3],
        free: Stack,
    }

    impl Model {
        fn new() -> Arc<Self> {
            let free = Stack::default();
            let table = Table::new(8, 1, 3).unwrap();
            for slot in 0..3 {
                free.push(&table, slot);
            }
            Arc::new(Self {
                table,
                values: std::array::from_fn(|_| Value::new(0)),
                free,
            })
        }

        fn key(&self, number: u64) -> Key<'static> {
            self.table.short_key(&number.to_ne_bytes()).unwrap()
        }

        fn insert(&self, number: u64, value: u64) {
            let key = self.key(number);
            let mut locked = self.table.lock(key);
            let slot = self.free.pop(&self.table).unwrap();
            self.values[slot as usize].store(value, Ordering::Relaxed);
            match locked.find(key) {
                Some(old) => {
                    locked.replace(old, slot, key);
                    drop(locked);
                    self.free.push(&self.table, old.slot);
                }
                None => locked.insert(slot, key),
            }
        }

        fn remove(&self, number: u64) {
            let key = self.key(number);
            let mut locked = self.table.lock(key);
            let place = locked.find(key).unwrap();
            locked.remove(place);
            drop(locked);
            self.free.push(&self.table, place.slot);
        }

        fn value(&self, number: u64) -> Option<u64> {
            let read = |slot: u32| self.values[slot as usize].load(Ordering::Relaxed);
            self.table.read(self.key(number), read)
        }
    }

    /// Few preemptions find what there is to find, in seconds instead of hours.
    fn in_every_order(model: impl Fn() + Send + Sync + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(5);
        builder.check(model);
    }

    #[test]
    fn a_reader_never_takes_one_keys_slot_for_anothers_in_every_order() {
        in_every_order(|| {
            let model = Model::new();
            model.insert(1, 10);
            let writer = Arc::clone(&model);
            let writer = thread::spawn(move || {
                writer.remove(1);
                // The slot that was given back last is the one that is taken.
                writer.insert(2, 20);
            });
            assert!(matches!(model.value(1), Some(10) | None));
            writer.join().unwrap();
            assert_eq!((model.value(1), model.value(2)), (None, Some(20)));
        });
    }

    #[test]
    fn a_reader_sees_a_whole_value_in_every_order() {
        in_every_order(|| {
            let model = Model::new();
            model.insert(1, 10);
            let writer = Arc::clone(&model);
            let writer = thread::spawn(move || {
                writer.insert(1, 11);
                writer.insert(1, 12);
            });
            let (first, second) = (model.value(1).unwrap(), model.value(1).unwrap());
            assert!((10..=12).contains(&first) && (first..=12).contains(&second));
            writer.join().unwrap();
            assert_eq!(model.value(1), Some(12));
        });
    }

    #[test]
    fn two_writers_lose_nothing_in_every_order() {
        in_every_order(|| {
            let model = Model::new();
            let other = Arc::clone(&model);
            let other = thread::spawn(move || other.insert(1, 10));
            model.insert(2, 20);
            other.join().unwrap();
            assert_eq!((model.value(1), model.value(2)), (Some(10), Some(20)));
        });
    }

    #[test]
    fn no_slot_is_given_twice_in_every_order() {
        in_every_order(|| {
            let model = Model::new();
            let other = Arc::clone(&model);
            let other = thread::spawn(move || {
                let first = other.free.pop(&other.table);
                let kept = other.free.pop(&other.table);
                // The first link is now what it was, and what is behind it is not.
                if let Some(first) = first {
                    other.free.push(&other.table, first);
                }
                kept
            });
            let mine = [(); 2].map(|()| model.free.pop(&model.table));
            let kept = other.join().unwrap();
            let taken = || mine.into_iter().chain([kept]).flatten();
            let is_once = |slot: &u32| taken().filter(|other| other == slot).count() == 1;
            assert!(taken().all(|slot| is_once(&slot)), "{mine:?} {kept:?}");
        });
    }
}
