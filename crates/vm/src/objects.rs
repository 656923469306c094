//! Objects that programs allocate (`bpf_obj_new`), and what owns them: a run, a place in a map's value, a list or a tree.
//!
//! ```text
//!  window:  [ object ][ object ] ...        blocks of one size each; programs read and write their fields
//!  host:    which blocks are objects, how often each is owned, what lies in which list, tree or slot
//! ```
//!
//! Programs see addresses and hold nothing else: order and ownership are the host's alone. A list or tree is known by the address of
//! its head and a number written there; memory that was cleared since holds another one, and what the old one owned is dropped.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use twinbpf_object::Errno;
use twinbpf_shm::SharedBytes;

use crate::window::{Extent, Need, ProgramAccess, Window};

/// KERNEL: largest object (6.18).
const MOST_BYTES: u32 = 4096;
/// Smallest block.
const LEAST_BYTES: u32 = 16;
/// Blocks are cut from pieces of this size.
const PIECE_BYTES: u32 = 64 << 10;
/// Most memory that objects take.
const MOST_PIECES: usize = 1024;

/// The objects of a vm.
#[derive(Debug)]
pub(crate) struct Objects {
    window: Arc<Window>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    pieces: Vec<Extent>,
    /// Free blocks by size.
    free: HashMap<u32, Vec<u32>>,
    objects: BTreeMap<u32, Object>,
    rows: BTreeMap<u32, Row>,
    /// In which row each node lies, by head.
    nodes: HashMap<u32, u32>,
    /// Which object each place in a value owns.
    slots: BTreeMap<u32, u32>,
    last_number: u64,
}

#[derive(Debug)]
struct Object {
    bytes: u32,
    owners: u32,
}

/// A list, or a tree as the list of its nodes in their order.
#[derive(Debug)]
struct Row {
    number: u64,
    nodes: Vec<u32>,
}

/// The head of a list or tree, and the eight bytes there that say which one it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    pub(crate) address: u32,
    pub(crate) word: SharedBytes,
}

impl Objects {
    pub(crate) fn new(window: &Arc<Window>) -> Self {
        Self {
            window: Arc::clone(window),
            kept: Mutex::default(),
        }
    }

    /// A new object of zeros, owned once; `None` if it is too large or there is no room.
    pub(crate) fn allocate(&self, bytes: u32) -> Option<u32> {
        if bytes == 0 || bytes > MOST_BYTES {
            return None;
        }
        let block = bytes.max(LEAST_BYTES).next_power_of_two();
        let mut kept = self.kept();
        if kept.free.get(&block).is_none_or(Vec::is_empty) {
            self.add_piece(&mut kept, block)?;
        }
        let address = kept.free.get_mut(&block)?.pop()?;
        let view = self.window.range(u64::from(address), block, Need::Both)?;
        view.zero(0, view.len())?;
        kept.objects.insert(address, Object { bytes, owners: 1 });
        Some(address)
    }

    /// The object that this address lies in: its start and length.
    pub(crate) fn at(&self, address: u32) -> Option<(u32, u32)> {
        self.kept().object_at(address)
    }

    /// One owner more; false if there is no such object.
    pub(crate) fn share(&self, address: u32) -> bool {
        let mut kept = self.kept();
        let object = kept.objects.get_mut(&address);
        object.map(|object| object.owners += 1).is_some()
    }

    /// One owner less. With the last one the object goes, and what its lists and slots own.
    pub(crate) fn give_up(&self, address: u32) {
        self.kept().give_up(address);
    }

    /// Puts an object into a place of a value; what was there before.
    pub(crate) fn exchange(&self, slot: u32, word: SharedBytes, new: Option<u32>) -> Option<u32> {
        let mut kept = self.kept();
        let old = match new {
            Some(new) => kept.slots.insert(slot, new),
            None => kept.slots.remove(&slot),
        };
        let seen = word.load_u64(0).unwrap_or(0);
        // The place is eight bytes of the program's.
        let _ = word.store_u64(0, new.map_or(0, u64::from));
        match old {
            // The place was cleared since: whoever did that did not know of the object.
            Some(old) if u64::from(old) != seen => {
                kept.give_up(old);
                None
            }
            old => old,
        }
    }

    /// The nodes of a list or tree, in their order.
    pub(crate) fn nodes(&self, head: Head) -> Vec<u32> {
        let mut kept = self.kept();
        kept.row(head)
            .map_or_else(Vec::new, |row| row.nodes.clone())
    }

    /// Puts a node into a list or tree at this position, or at the end if that is beyond it. Its object's owner is the list from now on.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the node is in a list already, or in no object.
    pub(crate) fn insert(&self, head: Head, node: u32, position: usize) -> Result<(), Errno> {
        let mut kept = self.kept();
        if kept.nodes.contains_key(&node) || kept.object_at(node).is_none() {
            return Err(Errno::EINVAL);
        }
        kept.make_row(head)?;
        kept.nodes.insert(node, head.address);
        if let Some(row) = kept.row(head) {
            let position = position.min(row.nodes.len());
            row.nodes.insert(position, node);
        }
        Ok(())
    }

    /// Takes the node that `choose` finds out of a list or tree; its object's owner is the caller from now on.
    pub(crate) fn remove(
        &self,
        head: Head,
        choose: impl FnOnce(&[u32]) -> Option<usize>,
    ) -> Option<u32> {
        let mut kept = self.kept();
        let row = kept.row(head)?;
        let position = choose(&row.nodes)?;
        let node = (position < row.nodes.len()).then(|| row.nodes.remove(position))?;
        kept.nodes.remove(&node);
        Some(node)
    }

    fn add_piece(&self, kept: &mut Kept, block: u32) -> Option<()> {
        if kept.pieces.len() >= MOST_PIECES {
            return None;
        }
        let allocated = self
            .window
            .allocate(u64::from(PIECE_BYTES), ProgramAccess::ReadWrite);
        let piece = allocated.ok()?;
        let start = piece.start();
        let blocks = (0..PIECE_BYTES / block)
            .rev()
            .map(|index| start + index * block);
        kept.free.entry(block).or_default().extend(blocks);
        kept.pieces.push(piece);
        Some(())
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // A panic between two steps could lose a block, and nothing else.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn object_at(&self, address: u32) -> Option<(u32, u32)> {
        let (start, object) = self.objects.range(..=address).next_back()?;
        (address - start < object.bytes).then_some((*start, object.bytes))
    }

    /// What a head stands for; what an older one at its address owned is dropped.
    fn row(&mut self, head: Head) -> Option<&mut Row> {
        let number = head.word.load_u64(0).unwrap_or(0);
        if self.rows.get(&head.address)?.number != number {
            self.drop_row(head.address);
        }
        self.rows.get_mut(&head.address)
    }

    fn make_row(&mut self, head: Head) -> Result<(), Errno> {
        if self.row(head).is_some() {
            return Ok(());
        }
        self.last_number += 1;
        let number = self.last_number;
        head.word.store_u64(0, number).ok_or(Errno::EINVAL)?;
        let nodes = Vec::new();
        self.rows.insert(head.address, Row { number, nodes });
        Ok(())
    }

    fn drop_row(&mut self, address: u32) {
        let row = self.rows.remove(&address);
        for node in row.into_iter().flat_map(|row| row.nodes) {
            self.nodes.remove(&node);
            if let Some((object, _)) = self.object_at(node) {
                self.give_up(object);
            }
        }
    }

    fn give_up(&mut self, address: u32) {
        // Objects own objects: a queue instead of calls, because a program decides how deep that goes.
        let mut given_up = vec![address];
        while let Some(address) = given_up.pop() {
            let Some(object) = self.objects.get_mut(&address) else {
                continue;
            };
            object.owners = object.owners.saturating_sub(1);
            if object.owners > 0 {
                continue;
            }
            let bytes = object.bytes;
            self.objects.remove(&address);
            let block = bytes.max(LEAST_BYTES).next_power_of_two();
            self.free.entry(block).or_default().push(address);
            let inside = address..address + bytes;
            let slots = self.slots.range(inside.clone()).map(|(slot, _)| *slot);
            let slots: Vec<u32> = slots.collect();
            given_up.extend(slots.iter().filter_map(|slot| self.slots.remove(slot)));
            let heads: Vec<u32> = self.rows.range(inside).map(|(head, _)| *head).collect();
            for head in heads {
                let row = self.rows.remove(&head);
                for node in row.into_iter().flat_map(|row| row.nodes) {
                    self.nodes.remove(&node);
                    given_up.extend(self.object_at(node).map(|(object, _)| object));
                }
            }
        }
    }
}
