//! What a program must give back before it ends: locks, records of ring buffers, iterators, sections. Whatever is left when a
//! run ends is given back for it.

use std::ops::Range;
use std::sync::Arc;

use twinbpf_shm::SharedBytes;

use crate::fault::FaultKind;
use crate::maps::{LiveMap, Record, Ring};
use crate::objects::Objects;

/// Most iterators, sections and the like that a run can have open: far more than frames have room for.
const MOST_OPEN: usize = 4096;

/// What a program must give back before it ends. Dropping it gives everything back.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// The lock it holds, by address. KERNEL: at most one at a time (6.18).
    lock: Option<(u32, SharedBytes)>,
    /// Maps that it looked up in maps of maps, held until the run ends.
    maps: Vec<LiveMap>,
    /// Records it has reserved, with the positions of their ring buffers.
    records: Vec<(usize, Record)>,
    /// Those ring buffers and their handles, held until the run ends: taking one again for every record would cost as much as the record.
    rings: Vec<(u32, LiveMap)>,
    iterators: Vec<(Place, Iterator)>,
    sections: Vec<Section>,
    dynptrs: Vec<(Place, Dynptr)>,
    /// Objects that the run owns, one as often as it owns it.
    objects: Vec<u32>,
    heap: Option<Arc<Objects>>,
    /// Whether there was anything in this run.
    is_laden: bool,
}

/// The address of a struct by which the program means something of the vm's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place(pub(crate) u32);

/// Where a loop stands.
#[derive(Debug)]
pub(crate) enum Iterator {
    /// Numbers that are left.
    Numbers(Range<i64>),
    /// Words, and the first bit to look at.
    Bits { words: Box<[u64]>, next: u32 },
}

/// What a dynptr stands for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dynptr {
    pub(crate) source: DynptrSource,
    /// Where it starts in that.
    pub(crate) offset: u32,
    pub(crate) size: u32,
    pub(crate) is_read_only: bool,
}

/// What a dynptr points into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DynptrSource {
    /// Nothing: making it failed.
    Null,
    /// Memory of the program at this address.
    Memory(u32),
    /// A record of a ring buffer whose data are at this address.
    Record(u32),
    /// The run's packet, wherever it lies at present.
    Packet,
}

impl Dynptr {
    /// One that points to nothing.
    pub(crate) const NULL: Self = Self {
        source: DynptrSource::Null,
        offset: 0,
        size: 0,
        is_read_only: false,
    };

    /// One for the first `size` bytes.
    pub(crate) fn new(source: DynptrSource, size: u32, is_read_only: bool) -> Self {
        Self {
            source,
            offset: 0,
            size,
            is_read_only,
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        self.source == DynptrSource::Null
    }

    /// A part of it as a part of what it points into; `None` if it does not have that.
    pub(crate) fn part(&self, offset: u32, len: u32) -> Option<(u32, u32)> {
        let end = offset.checked_add(len)?;
        (end <= self.size).then_some((self.offset.checked_add(offset)?, len))
    }
}

/// A part of a program that must not be interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    Reading,
    NoPreemption,
    /// By the address of what was saved.
    NoInterrupts(u32),
}

impl Held {
    /// The lock it holds: its address and its word.
    pub(crate) fn lock(&self) -> Option<(u32, SharedBytes)> {
        self.lock
    }

    /// Notes that it holds a lock.
    pub(crate) fn hold_lock(&mut self, address: u32, word: SharedBytes) {
        self.is_laden = true;
        self.lock = Some((address, word));
    }

    /// Forgets the lock.
    pub(crate) fn take_lock(&mut self) -> Option<(u32, SharedBytes)> {
        self.lock.take()
    }

    /// Maps that the run looked up, the last one first.
    pub(crate) fn maps(&self) -> impl std::iter::Iterator<Item = &LiveMap> {
        self.maps.iter().rev()
    }

    /// Holds a map until the run ends.
    #[cold]
    pub(crate) fn hold_map(&mut self, map: LiveMap) {
        self.is_laden = true;
        self.maps.push(map);
    }

    /// The position of the ring buffer with this handle, if it is held.
    #[inline(always)]
    pub(crate) fn ring(&self, handle: u32) -> Option<usize> {
        self.rings.iter().position(|(known, _)| *known == handle)
    }

    /// Holds a ring buffer until the run ends; the answer is its position.
    #[cold]
    pub(crate) fn hold_ring(&mut self, ring: LiveMap) -> usize {
        self.is_laden = true;
        self.rings.push((ring.handle(), ring));
        self.rings.len() - 1
    }

    /// Notes a record of the ring buffer at this position.
    #[inline(always)]
    pub(crate) fn keep_record(&mut self, ring: usize, record: Record) {
        self.records.push((ring, record));
    }

    /// Takes the record whose data is at `address` out.
    #[inline(always)]
    pub(crate) fn take_record(&mut self, address: u32) -> Option<(&Ring, Record)> {
        let is_last = self.records.last().map(|(_, last)| last.address) == Some(address);
        let (ring, record) = match is_last {
            true => self.records.pop()?,
            false => {
                let mut records = self.records.iter();
                let index = records.position(|(_, record)| record.address == address)?;
                self.records.swap_remove(index)
            }
        };
        let (_, ring) = self.rings.get(ring)?;
        Some((ring.ring()?, record))
    }

    /// Begins a loop; an older one at the same place is over.
    ///
    /// # Errors
    ///
    /// Too many at a time.
    pub(crate) fn begin_iterator(
        &mut self,
        place: Place,
        iterator: Iterator,
    ) -> Result<(), FaultKind> {
        self.iterators.retain(|(at, _)| *at != place);
        if self.iterators.len() >= MOST_OPEN {
            return Err(FaultKind::Unsupported("so many iterators"));
        }
        self.is_laden = true;
        self.iterators.push((place, iterator));
        Ok(())
    }

    /// The loop at this place.
    ///
    /// # Errors
    ///
    /// There is none.
    pub(crate) fn iterator(&mut self, place: Place) -> Result<&mut Iterator, FaultKind> {
        let mut iterators = self.iterators.iter_mut().rev();
        let found = iterators.find(|(at, _)| *at == place);
        let (_, iterator) = found.ok_or(NO_ITERATOR)?;
        Ok(iterator)
    }

    /// Ends the loop at this place.
    ///
    /// # Errors
    ///
    /// There is none.
    pub(crate) fn end_iterator(&mut self, place: Place) -> Result<(), FaultKind> {
        let index = self.iterators.iter().rposition(|(at, _)| *at == place);
        self.iterators.remove(index.ok_or(NO_ITERATOR)?);
        Ok(())
    }

    /// Makes the run own an object; false if it owns too many.
    pub(crate) fn hold_object(&mut self, heap: &Arc<Objects>, address: u32) -> bool {
        if self.objects.len() >= MOST_OPEN {
            return false;
        }
        self.heap.get_or_insert_with(|| Arc::clone(heap));
        self.is_laden = true;
        self.objects.push(address);
        true
    }

    /// Takes an object away from the run; false if it does not own it.
    pub(crate) fn take_object(&mut self, address: u32) -> bool {
        let index = self.objects.iter().rposition(|held| *held == address);
        index.map(|index| self.objects.swap_remove(index)).is_some()
    }

    /// Makes a dynptr; an older one at the same place is gone.
    ///
    /// # Errors
    ///
    /// Too many at a time.
    pub(crate) fn set_dynptr(&mut self, place: Place, dynptr: Dynptr) -> Result<(), FaultKind> {
        self.dynptrs.retain(|(at, _)| *at != place);
        if self.dynptrs.len() >= MOST_OPEN {
            return Err(FaultKind::Unsupported("so many dynptrs"));
        }
        self.is_laden = true;
        self.dynptrs.push((place, dynptr));
        Ok(())
    }

    /// The dynptr at this place.
    ///
    /// # Errors
    ///
    /// There is none.
    pub(crate) fn dynptr(&mut self, place: Place) -> Result<&mut Dynptr, FaultKind> {
        let mut dynptrs = self.dynptrs.iter_mut().rev();
        let found = dynptrs.find(|(at, _)| *at == place);
        let (_, dynptr) = found.ok_or(FaultKind::NotHeld {
            what: "this dynptr",
        })?;
        Ok(dynptr)
    }

    /// Forgets every dynptr to a record that was given back.
    pub(crate) fn forget_record(&mut self, address: u32) {
        let source = DynptrSource::Record(address);
        self.dynptrs.retain(|(_, dynptr)| dynptr.source != source);
    }

    /// Begins a section. Those of one kind nest.
    ///
    /// # Errors
    ///
    /// Too many at a time.
    pub(crate) fn begin_section(&mut self, section: Section) -> Result<(), FaultKind> {
        if self.sections.len() >= MOST_OPEN {
            return Err(FaultKind::Unsupported("so many nested sections"));
        }
        self.is_laden = true;
        self.sections.push(section);
        Ok(())
    }

    /// Ends the youngest section of this kind.
    ///
    /// # Errors
    ///
    /// There is none.
    pub(crate) fn end_section(&mut self, section: Section) -> Result<(), FaultKind> {
        let index = self.sections.iter().rposition(|open| *open == section);
        let index = index.ok_or(FaultKind::NotHeld {
            what: section.words(),
        })?;
        self.sections.remove(index);
        Ok(())
    }
}

impl Section {
    fn words(self) -> &'static str {
        match self {
            Self::Reading => "an RCU read lock",
            Self::NoPreemption => "preemption",
            Self::NoInterrupts(_) => "interrupts",
        }
    }
}

const NO_ITERATOR: FaultKind = FaultKind::NotHeld {
    what: "this iterator",
};

impl Held {
    /// Gives everything back.
    #[inline(always)]
    pub(crate) fn give_back(&mut self) {
        if self.is_laden {
            self.give_back_all();
        }
    }

    #[cold]
    fn give_back_all(&mut self) {
        self.iterators.clear();
        self.sections.clear();
        self.dynptrs.clear();
        for object in self.objects.drain(..) {
            if let Some(heap) = &self.heap {
                heap.give_up(object);
            }
        }
        self.is_laden = false;
        if let Some((_, word)) = self.lock.take() {
            // The view has the four bytes that were locked through it, so storing cannot fail.
            let _ = word.store_u32(0, 0);
        }
        for (ring, record) in self.records.drain(..) {
            let map = self.rings.get(ring);
            if let Some(ring) = map.and_then(|(_, map)| map.ring()) {
                ring.commit(record, true, 0);
            }
        }
        self.rings.clear();
        self.maps.clear();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.give_back();
    }
}
