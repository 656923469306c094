//! Arenas: pages that programs and the host share, handed out to programs page by page.
//!
//! All pages lie in the window from the beginning, zeroed, and cost memory once they are written. A program that writes to a page
//! that was not handed out changes nothing that anybody reads later: pages are zeroed when they are handed out.
//!
//! KERNEL: a page that the host touches first is handed out thereby, and is not given to a program any more; errors of the functions
//! that programs call are null pointers; giving back what is not there does nothing (6.18).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use twinbpf_object::abi::MapFlags;
use twinbpf_object::{Errno, MapSpec};
use twinbpf_shm::SharedBytes;

use super::kind::{Behaviour, Source, Writer};
use crate::window::{Extent, PAGE_BYTES, ProgramAccess, Window};

#[derive(Debug)]
pub(crate) struct Arena {
    memory: Extent,
    pages: u32,
    /// Whether the host may only touch what programs were given.
    is_strict: bool,
    free: Mutex<Free>,
}

/// Pages that nobody has: how many from which on. Ranges never touch each other.
#[derive(Debug)]
struct Free(BTreeMap<u32, u32>);

impl Free {
    /// So many pages in a row: from the shortest range that has them, as the kernel takes them.
    fn take(&mut self, count: u32) -> Option<u32> {
        let ranges = self.0.iter().map(|(start, len)| (*len, *start));
        let (_, start) = ranges.filter(|(len, _)| *len >= count).min()?;
        self.remove(start, count);
        Some(start)
    }

    /// These pages, if nobody has any of them.
    fn take_at(&mut self, start: u32, count: u32) -> bool {
        let range = self.0.range(..=start).next_back();
        let is_free = range.is_some_and(|(first, len)| start + count <= first + len);
        if is_free {
            self.remove(start, count);
        }
        is_free
    }

    /// Takes whatever is free of these pages.
    fn remove(&mut self, start: u32, count: u32) {
        let end = start + count;
        let touched: Vec<(u32, u32)> = self
            .0
            .range(..end)
            .map(|(first, len)| (*first, first + len))
            .filter(|(_, last)| *last > start)
            .collect();
        for (first, last) in touched {
            self.0.remove(&first);
            if first < start {
                self.0.insert(first, start - first);
            }
            if last > end {
                self.0.insert(end, last - end);
            }
        }
    }

    /// Makes these pages free, whether or not some of them are.
    fn give_back(&mut self, start: u32, count: u32) {
        self.remove(start, count);
        let (mut first, mut end) = (start, start + count);
        if let Some(len) = self.0.remove(&end) {
            end += len;
        }
        let before = self.0.range(..first).next_back();
        if let Some((before, len)) = before.map(|(before, len)| (*before, *len))
            && before + len == first
        {
            first = before;
        }
        self.0.insert(first, end - first);
    }
}

impl Arena {
    pub(super) fn new(window: &Arc<Window>, spec: &MapSpec) -> Result<Self, Errno> {
        let bytes = u64::from(spec.max_entries) * PAGE_BYTES;
        Ok(Self {
            memory: window.allocate(bytes, ProgramAccess::ReadWrite)?,
            pages: spec.max_entries,
            is_strict: spec.flags.contains(MapFlags::SEGV_ON_FAULT),
            free: Mutex::new(Free(BTreeMap::from([(0, spec.max_entries)]))),
        })
    }

    /// Where its first page is in the window.
    pub(crate) fn start(&self) -> u32 {
        self.memory.start()
    }

    /// Its bytes, handed out or not.
    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.memory.host().len()).unwrap_or(u32::MAX)
    }

    /// Hands pages out, zeroed: at an address in the window, or anywhere. `None` if there are not as many.
    pub(crate) fn take(&self, at: Option<u32>, count: u32) -> Option<u32> {
        let first = match at {
            Some(address) => {
                let first = self.page_at(address)?;
                let is_inside = count <= self.pages.checked_sub(first)?;
                (is_inside && self.free().take_at(first, count)).then_some(first)?
            }
            None => self.free().take(count)?,
        };
        self.zero(first, count)?;
        self.memory
            .start()
            .checked_add(u32::try_from(u64::from(first) * PAGE_BYTES).ok()?)
    }

    /// Keeps pages from being handed out but at their address.
    ///
    /// # Errors
    ///
    /// `EINVAL` if they are not pages of the arena, `EBUSY` if somebody has one of them.
    pub(crate) fn reserve(&self, address: u32, count: u32) -> Result<(), Errno> {
        let first = self.page_at(address).ok_or(Errno::EINVAL)?;
        let rest = self.pages.checked_sub(first).ok_or(Errno::EINVAL)?;
        match count <= rest {
            true if self.free().take_at(first, count) => Ok(()),
            true => Err(Errno::EBUSY),
            false => Err(Errno::EINVAL),
        }
    }

    /// Takes pages back, as far as they are the arena's.
    pub(crate) fn give_back(&self, address: u32, count: u32) {
        let Some(offset) = address.checked_sub(self.memory.start()) else {
            return;
        };
        let first = u32::try_from(u64::from(offset) / PAGE_BYTES).unwrap_or(u32::MAX);
        let count = count.min(self.pages.saturating_sub(first));
        if count > 0 {
            let mut free = self.free();
            // Before anybody else gets them, and so that their memory reads as nothing from here on.
            let _ = self.zero(first, count);
            free.give_back(first, count);
        }
    }

    /// A part of its memory for the host, which has the pages from here on.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it does not lie in the arena; `EFAULT` if the host may not have pages that no program has.
    pub(super) fn part(&self, offset: usize, len: usize) -> Result<SharedBytes, Errno> {
        let view = self.memory.host().part(offset, len).ok_or(Errno::EINVAL)?;
        if len > 0 {
            let page = |at: usize| u32::try_from(at as u64 / PAGE_BYTES).unwrap_or(u32::MAX);
            let (first, last) = (page(offset), page(offset + len - 1));
            let mut free = self.free();
            let is_new = |page| {
                free.0
                    .range(..=page)
                    .next_back()
                    .is_some_and(|(start, len)| page < start + len)
            };
            let new: Vec<u32> = (first..=last).filter(|page| is_new(*page)).collect();
            if self.is_strict && !new.is_empty() {
                return Err(Errno::EFAULT);
            }
            for page in new {
                let _ = self.zero(page, 1);
                free.remove(page, 1);
            }
        }
        Ok(view)
    }

    /// The number of the page that begins at this address in the window.
    fn page_at(&self, address: u32) -> Option<u32> {
        let offset = u64::from(address.checked_sub(self.memory.start())?);
        let page = u32::try_from(offset / PAGE_BYTES).ok()?;
        offset.is_multiple_of(PAGE_BYTES).then_some(page)
    }

    fn zero(&self, first: u32, count: u32) -> Option<()> {
        let start = usize::try_from(u64::from(first) * PAGE_BYTES).ok()?;
        let len = usize::try_from(u64::from(count) * PAGE_BYTES).ok()?;
        self.memory.host().zero(start, len)
    }

    fn free(&self) -> MutexGuard<'_, Free> {
        // Ranges change in single steps; a panic elsewhere cannot have left them half changed.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// KERNEL: which request is refused with what was seen on 6.18.
impl Behaviour for Arena {
    fn copy_out(&self, _: &[u8], _: &mut [u8]) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }

    fn update(&self, _: &[u8], _: Source<'_>, _: u64, _: Writer) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn delete(&self, _: &[u8]) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn next_key(&self, _: Option<&[u8]>, _: &mut [u8]) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_come_from_the_shortest_range_that_has_them_and_join_again() {
        let mut free = Free(BTreeMap::from([(0, 10)]));
        assert_eq!(free.take(4), Some(0));
        assert!(free.take_at(6, 1));
        assert!(!free.take_at(5, 2));
        // 4 and 5 are free, and 7 to 9.
        assert_eq!(free.take(2), Some(4));
        assert_eq!(free.take(4), None);
        free.give_back(1, 2);
        free.give_back(2, 2);
        assert_eq!(free.0, BTreeMap::from([(1, 3), (7, 3)]));
        free.give_back(0, 10);
        assert_eq!(free.0, BTreeMap::from([(0, 10)]));
        assert_eq!(free.take(11), None);
    }
}
