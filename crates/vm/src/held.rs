//! What a program must give back before it ends: locks, records of ring buffers, iterators, sections. Whatever is left when a
//! run ends is given back for it.

use std::ops::Range;

use twinbpf_shm::SharedBytes;

use crate::fault::FaultKind;
use crate::maps::{LiveMap, Record};

/// Most iterators, sections and the like that a run can have open: far more than frames have room for.
const MOST_OPEN: usize = 4096;

/// What a program must give back before it ends. Dropping it gives everything back.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// The lock it holds, by address. KERNEL: at most one at a time (6.18).
    pub(crate) lock: Option<(u32, SharedBytes)>,
    /// Records it has reserved, with their ring buffers.
    pub(crate) records: Vec<(LiveMap, Record)>,
    iterators: Vec<(Place, Iterator)>,
    sections: Vec<Section>,
    /// Whether there was an iterator or section in this run.
    is_open: bool,
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

/// A part of a program that must not be interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    Reading,
    NoPreemption,
    /// By the address of what was saved.
    NoInterrupts(u32),
}

impl Held {
    /// Takes the record whose data is at `address` out.
    pub(crate) fn take_record(&mut self, address: u32) -> Option<(LiveMap, Record)> {
        let mut records = self.records.iter();
        let index = records.position(|(_, record)| record.address == address)?;
        Some(self.records.swap_remove(index))
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
        self.is_open = true;
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

    /// Begins a section. Those of one kind nest.
    ///
    /// # Errors
    ///
    /// Too many at a time.
    pub(crate) fn begin_section(&mut self, section: Section) -> Result<(), FaultKind> {
        if self.sections.len() >= MOST_OPEN {
            return Err(FaultKind::Unsupported("so many nested sections"));
        }
        self.is_open = true;
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
        if self.lock.is_some() || !self.records.is_empty() || self.is_open {
            self.give_back_all();
        }
    }

    #[cold]
    fn give_back_all(&mut self) {
        self.iterators.clear();
        self.sections.clear();
        self.is_open = false;
        if let Some((_, word)) = self.lock.take() {
            // The view has the four bytes that were locked through it, so storing cannot fail.
            let _ = word.store_u32(0, 0);
        }
        for (map, record) in self.records.drain(..) {
            if let Some(ring) = map.ring() {
                ring.commit(record, true, 0);
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.give_back();
    }
}
