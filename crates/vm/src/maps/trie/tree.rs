//! A binary tree of prefixes, which readers walk without a lock.
//!
//! A node stands where prefixes part or end. Nodes are words that readers share with the one writer; a counter, odd while the writer
//! works, tells a reader that it has to walk again. Nodes stay with the tree, so a walk that was disturbed reads other nodes at worst, and
//! it ends because every step goes to more bits.

use std::hint;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::thread;

/// The number of no node.
const NONE: u32 = 0;
/// Nodes of the first chunk; each further one has as many as all before it, and these.
const FIRST: usize = 256;
/// Words of a node before its prefix.
const HEAD: usize = 2;
/// Readings after which a reader lets others work: the writer may have been interrupted.
const PATIENCE: u32 = 64;

/// A prefix as callers have it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prefix<'a> {
    bits: u32,
    /// The first eight bytes: most prefixes have no more.
    first: u64,
    data: &'a [u8],
}

impl<'a> Prefix<'a> {
    /// Of the bits in `data`, the first in the highest of the first byte, so many; what follows them does not matter.
    pub(super) fn new(bits: u32, data: &'a [u8]) -> Self {
        let first = eight_bytes(data);
        Self { bits, first, data }
    }

    /// Eight bytes of the data; zeros behind its end.
    fn word(&self, index: usize) -> u64 {
        match index {
            0 => self.first,
            _ => eight_bytes(self.data.get(index * 8..).unwrap_or_default()),
        }
    }

    /// The bit at this place.
    fn turn(&self, at: u32) -> usize {
        usize::from(self.word(at as usize / 64) << (at % 64) >> 63 != 0)
    }
}

fn eight_bytes(data: &[u8]) -> u64 {
    if let Some(eight) = data.first_chunk() {
        return u64::from_be_bytes(*eight);
    }
    if let Ok(four) = data.try_into() {
        return u64::from(u32::from_be_bytes(four)) << 32;
    }
    let mut eight = [0; 8];
    eight
        .iter_mut()
        .zip(data)
        .for_each(|(to, from)| *to = *from);
    u64::from_be_bytes(eight)
}

/// The tree. Its one writer is whoever holds the [`Spare`].
#[derive(Debug)]
pub(super) struct Tree {
    /// Words of a node.
    stride: usize,
    root: AtomicU32,
    /// Odd while the writer works.
    changes: AtomicU64,
    chunks: [OnceLock<Box<[AtomicU64]>>; 25],
}

/// Nodes that are in no tree, for the writer.
#[derive(Debug, Default)]
pub(super) struct Spare {
    free: Vec<u32>,
    used: u32,
}

/// Nodes lie in chunks that are made when they are needed.
#[derive(Debug, Clone, Copy)]
struct Node<'a> {
    number: u32,
    words: &'a [AtomicU64],
}

impl Node<'_> {
    fn word(self, index: usize) -> u64 {
        let word = self.words.get(index);
        word.map_or(0, |word| word.load(Ordering::Relaxed))
    }

    fn set(self, index: usize, value: u64) {
        if let Some(word) = self.words.get(index) {
            word.store(value, Ordering::Relaxed);
        }
    }

    fn bits(self) -> u32 {
        low(self.word(0))
    }

    /// Where the prefix's value is; `None` where prefixes only part.
    fn slot(self) -> Option<u32> {
        high(self.word(0)).checked_sub(1)
    }

    fn end_here(self, bits: u32, slot: Option<u32>) {
        self.set(0, both(bits, slot.map_or(0, |slot| slot + 1)));
    }

    fn child(self, turn: usize) -> u32 {
        match turn {
            0 => low(self.word(1)),
            _ => high(self.word(1)),
        }
    }

    fn set_child(self, turn: usize, child: u32) {
        let children = match turn {
            0 => both(child, self.child(1)),
            _ => both(self.child(0), child),
        };
        self.set(1, children);
    }

    fn copy_data(self, from: Prefix<'_>) {
        for index in 0..self.words.len().saturating_sub(HEAD) {
            self.set(HEAD + index, from.word(index));
        }
    }

    /// How many bits the node and `prefix` begin with alike, of those that both have.
    #[inline]
    fn common(self, prefix: Prefix<'_>) -> u32 {
        let most = self.bits().min(prefix.bits);
        let difference = self.word(HEAD) ^ prefix.first;
        if difference != 0 || most <= 64 {
            return most.min(difference.leading_zeros());
        }
        let (mut at, mut index) = (64, 1);
        while at < most {
            let difference = self.word(HEAD + index) ^ prefix.word(index);
            if difference != 0 {
                return most.min(at + difference.leading_zeros());
            }
            (at, index) = (at + 64, index + 1);
        }
        most
    }
}

fn low(word: u64) -> u32 {
    u32::try_from(word & u64::from(u32::MAX)).unwrap_or(0)
}

fn high(word: u64) -> u32 {
    (word >> 32) as u32
}

fn both(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

/// Holds the counter odd.
struct Change<'a>(&'a AtomicU64);

impl Drop for Change<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

/// Which way a node hangs in the tree.
#[derive(Debug, Clone, Copy)]
enum Place<'a> {
    Root,
    Below(Node<'a>, usize),
}

impl Tree {
    /// An empty tree for prefixes of up to so many bytes.
    pub(super) fn new(data_bytes: usize) -> Self {
        Self {
            stride: HEAD + data_bytes.div_ceil(8),
            root: AtomicU32::new(NONE),
            changes: AtomicU64::new(0),
            chunks: [const { OnceLock::new() }; 25],
        }
    }

    /// The slot of the longest prefix in the tree that `prefix` starts with.
    pub(super) fn longest(&self, prefix: Prefix<'_>) -> Option<u32> {
        let mut readings = 0;
        loop {
            let before = self.changes.load(Ordering::Acquire);
            if before & 1 == 0 {
                let found = self.walk(prefix);
                fence(Ordering::Acquire);
                if self.changes.load(Ordering::Relaxed) == before {
                    return found;
                }
            }
            readings += 1;
            match readings % PATIENCE {
                0 => thread::yield_now(),
                _ => hint::spin_loop(),
            }
        }
    }

    fn walk(&self, prefix: Prefix<'_>) -> Option<u32> {
        let mut found = None;
        let mut next = self.root.load(Ordering::Relaxed);
        // Nodes of one way have ever more bits, unless the walk is disturbed.
        let mut least = 0;
        while let Some(node) = self.node(next) {
            let bits = node.bits();
            if bits < least || node.common(prefix) < bits {
                break;
            }
            found = node.slot().or(found);
            if bits == prefix.bits {
                break;
            }
            least = bits + 1;
            next = node.child(prefix.turn(bits));
        }
        found
    }

    /// The slot of exactly this prefix; for the writer, which nobody disturbs.
    pub(super) fn exact(&self, prefix: Prefix<'_>) -> Option<u32> {
        self.way_to(prefix).last()?.slot()
    }

    /// The nodes from the root to that of exactly this prefix; empty if there is none.
    fn way_to(&self, prefix: Prefix<'_>) -> Vec<Node<'_>> {
        let mut way = Vec::new();
        let mut next = self.root.load(Ordering::Relaxed);
        while let Some(node) = self.node(next) {
            if node.common(prefix) < node.bits() {
                break;
            }
            way.push(node);
            if node.bits() == prefix.bits {
                return way;
            }
            next = node.child(prefix.turn(node.bits()));
        }
        Vec::new()
    }

    /// Puts a prefix with its slot into the tree; the slot that it had before.
    pub(super) fn insert(&self, spare: &mut Spare, prefix: Prefix<'_>, slot: u32) -> Option<u32> {
        let mut place = Place::Root;
        let mut next = self.root.load(Ordering::Relaxed);
        let parting = loop {
            let Some(node) = self.node(next) else {
                break None;
            };
            let common = node.common(prefix);
            if common < node.bits() || common == prefix.bits {
                break Some((node, common));
            }
            place = Place::Below(node, prefix.turn(common));
            next = node.child(prefix.turn(common));
        };
        if let Some((node, common)) = parting
            && common == node.bits()
        {
            let _change = self.change();
            let old = node.slot();
            node.copy_data(prefix);
            node.end_here(common, Some(slot));
            return old;
        }
        let new = self.take(spare);
        new.copy_data(prefix);
        new.end_here(prefix.bits, Some(slot));
        new.set(1, 0);
        let Some((node, common)) = parting else {
            let _change = self.change();
            self.hang(place, new.number);
            return None;
        };
        let word = node.word(HEAD + common as usize / 64);
        let turn = usize::from(word << (common % 64) >> 63 != 0);
        if common == prefix.bits {
            new.set_child(turn, node.number);
            let _change = self.change();
            self.hang(place, new.number);
            return None;
        }
        let fork = self.take(spare);
        fork.copy_data(prefix);
        fork.end_here(common, None);
        fork.set_child(turn, node.number);
        fork.set_child(1 - turn, new.number);
        let _change = self.change();
        self.hang(place, fork.number);
        None
    }

    /// Takes a prefix out of the tree; the slot that it had.
    pub(super) fn remove(&self, spare: &mut Spare, prefix: Prefix<'_>) -> Option<u32> {
        let way = self.way_to(prefix);
        let (node, above) = way.split_last()?;
        let slot = node.slot()?;
        let _change = self.change();
        let children = [node.child(0), node.child(1)];
        if !children.contains(&NONE) {
            node.end_here(prefix.bits, None);
            return Some(slot);
        }
        // What hangs on it, if anything, takes its place.
        let heir = children[0].max(children[1]);
        let place = place_of(*node, above);
        match (place, heir) {
            // A node where prefixes only parted has nothing to part any more.
            (Place::Below(fork, turn), NONE) if fork.slot().is_none() => {
                let above = above.split_last().map_or(&[][..], |(_, above)| above);
                self.hang(place_of(fork, above), fork.child(1 - turn));
                spare.free.push(fork.number);
            }
            _ => self.hang(place, heir),
        }
        spare.free.push(node.number);
        Some(slot)
    }

    /// The prefix after this one, longer ones before those that they start with; the first without one, or if it is not there.
    /// `data` gets its bytes as they were given; the answer is how many bits count.
    pub(super) fn next(&self, after: Option<Prefix<'_>>, data: &mut [u8]) -> Option<u32> {
        let way = after.map_or_else(Vec::new, |prefix| self.way_to(prefix));
        let known = way.last().is_some_and(|node| node.slot().is_some());
        let node = match way.split_last() {
            Some((node, above)) if known => self.following(*node, above)?,
            _ => self.first(self.node(self.root.load(Ordering::Relaxed))?),
        };
        for (index, bytes) in data.chunks_mut(8).enumerate() {
            let eight = node.word(HEAD + index).to_be_bytes();
            bytes
                .iter_mut()
                .zip(eight)
                .for_each(|(to, from)| *to = from);
        }
        Some(node.bits())
    }

    fn following<'t>(&'t self, node: Node<'t>, above: &[Node<'t>]) -> Option<Node<'t>> {
        let mut from = node.number;
        for parent in above.iter().rev() {
            let other = self.node(parent.child(1));
            match other {
                Some(other) if parent.child(0) == from => return Some(self.first(other)),
                _ if parent.slot().is_some() => return Some(*parent),
                _ => from = parent.number,
            }
        }
        None
    }

    /// The first prefix at or below a node. Nothing ends without a prefix.
    fn first<'t>(&'t self, mut node: Node<'t>) -> Node<'t> {
        let below = |node: Node<'_>| {
            let first = self.node(node.child(0));
            first.or_else(|| self.node(node.child(1)))
        };
        while let Some(next) = below(node) {
            node = next;
        }
        node
    }

    fn change(&self) -> Change<'_> {
        self.changes.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::Release);
        Change(&self.changes)
    }

    fn hang(&self, place: Place<'_>, number: u32) {
        match place {
            Place::Root => self.root.store(number, Ordering::Relaxed),
            Place::Below(node, turn) => node.set_child(turn, number),
        }
    }

    fn take(&self, spare: &mut Spare) -> Node<'_> {
        let number = spare.free.pop().unwrap_or_else(|| {
            spare.used += 1;
            spare.used
        });
        let (chunk, at) = self.place(number);
        let words = self.chunks.get(chunk).map(|chunk_of| {
            let nodes = FIRST << chunk;
            let zeros = || {
                (0..nodes * self.stride)
                    .map(|_| AtomicU64::new(0))
                    .collect()
            };
            &**chunk_of.get_or_init(zeros)
        });
        let words = words.and_then(|words| words.get(at..at + self.stride));
        Node {
            number,
            words: words.unwrap_or_default(),
        }
    }

    #[inline]
    fn node(&self, number: u32) -> Option<Node<'_>> {
        if number == NONE {
            return None;
        }
        let (chunk, at) = self.place(number);
        let words = self.chunks.get(chunk)?.get()?.get(at..at + self.stride)?;
        Some(Node { number, words })
    }

    /// Chunk and word of a node.
    #[inline]
    fn place(&self, number: u32) -> (usize, usize) {
        let before = (number - 1) as usize;
        if before < FIRST {
            return (0, before * self.stride);
        }
        let counted = before + FIRST;
        let chunk = (counted.ilog2() - FIRST.ilog2()) as usize;
        (chunk, (counted - (FIRST << chunk)) * self.stride)
    }
}

fn place_of<'t>(node: Node<'t>, above: &[Node<'t>]) -> Place<'t> {
    match above.last() {
        None => Place::Root,
        Some(parent) => {
            let turn = usize::from(parent.child(0) != node.number);
            Place::Below(*parent, turn)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every change beside a plain list of prefixes, which is searched from end to end.
    #[test]
    fn it_answers_as_a_list_does() {
        let tree = Tree::new(4);
        let (mut spare, mut list) = (Spare::default(), Vec::<(u32, [u8; 4], u32)>::new());
        let mut state = 1_u64;
        let mut random = |below: u8| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state.to_be_bytes()[0] % below
        };
        for slot in 0..20_000 {
            // Few bits that differ, so that prefixes meet.
            let data = [random(2) * 128, random(4), 0, random(2)];
            let bits = [0, 1, 8, 14, 15, 16, 24, 31, 32][usize::from(random(9))];
            let prefix = Prefix::new(bits, &data);
            let same = |(length, other, _): &(u32, [u8; 4], u32)| {
                *length == bits && starts_with(&data, other, bits)
            };
            let known = list.iter().position(same);
            let old = known.map(|at| list.swap_remove(at).2);
            assert_eq!(tree.exact(prefix), old);
            if random(3) == 0 {
                assert_eq!(tree.remove(&mut spare, prefix), old);
            } else {
                assert_eq!(tree.insert(&mut spare, prefix, slot), old);
                list.push((bits, data, slot));
            }
            let fitting = list
                .iter()
                .filter(|(length, other, _)| *length <= bits && starts_with(&data, other, *length));
            let longest = fitting.max_by_key(|(length, ..)| *length);
            assert_eq!(tree.longest(prefix), longest.map(|(.., slot)| *slot));
        }
        let (mut seen, mut last) = (0, None);
        let mut data = [0; 4];
        while let Some(bits) = tree.next(last.as_ref().map(prefix_of), &mut data) {
            seen += 1;
            last = Some((bits, data));
        }
        assert_eq!((seen, list.len() > 10), (list.len(), true));
        for (bits, data, slot) in list {
            let removed = tree.remove(&mut spare, Prefix::new(bits, &data));
            assert_eq!(removed, Some(slot));
        }
        assert_eq!(
            spare.free.len(),
            spare.used as usize,
            "every node is spare again"
        );
    }

    fn prefix_of((bits, data): &(u32, [u8; 4])) -> Prefix<'_> {
        Prefix::new(*bits, data)
    }

    fn starts_with(data: &[u8; 4], other: &[u8; 4], bits: u32) -> bool {
        let cut = |bytes: &[u8; 4]| u64::from(u32::from_be_bytes(*bytes)) << bits >> 32;
        cut(data) == cut(other)
    }

    #[test]
    fn readers_see_one_state_or_the_other() {
        let tree = Tree::new(8);
        let mut spare = Spare::default();
        let all = Prefix::new(0, &[0; 8]);
        tree.insert(&mut spare, all, 7);
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let key = [9; 8];
                let prefix = Prefix::new(64, &key);
                (0..200_000).all(|_| matches!(tree.longest(prefix), Some(7 | 8)))
            });
            for round in 0..50_000_u64 {
                let data = round.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
                let bits = (round % 65) as u32;
                let noise = Prefix::new(bits, &data);
                let is_other = noise.turn(0) != 0 && bits > 0;
                let exact = Prefix::new(64, &[9; 8]);
                tree.insert(&mut spare, exact, 8);
                if is_other {
                    tree.insert(&mut spare, noise, 9);
                    tree.remove(&mut spare, noise);
                }
                tree.remove(&mut spare, exact);
            }
            assert!(reader.join().unwrap());
        });
    }
}
