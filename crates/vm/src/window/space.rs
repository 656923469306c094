//! Which parts of the window are taken: a first-fit allocator of page ranges.
//!
//! Every range is followed by at least one free page, so that running off the end of one object does not land in the next.

use std::collections::BTreeMap;

/// Bytes of a page of the window. The window has its own page size; host pages are of this size or the host mapping is larger.
pub(crate) const PAGE_BYTES: u64 = 4096;

/// Free ranges by start; lengths in bytes. Ranges never touch each other.
#[derive(Debug)]
pub(crate) struct Space {
    free: BTreeMap<u64, u64>,
}

impl Space {
    /// Everything from `first` up to `end` is free.
    pub(crate) fn new(first: u64, end: u64) -> Self {
        Self {
            free: BTreeMap::from([(first, end.saturating_sub(first))]),
        }
    }

    /// Takes `len` bytes and a guard page behind them; both are multiples of [`PAGE_BYTES`]. `None` if no range is long enough.
    pub(crate) fn take(&mut self, len: u64) -> Option<u64> {
        let wanted = len.checked_add(PAGE_BYTES)?;
        let (&start, &available) = self
            .free
            .iter()
            .find(|(_, available)| **available >= wanted)?;
        self.free.remove(&start);
        if available > wanted {
            self.free.insert(start + wanted, available - wanted);
        }
        Some(start)
    }

    /// Gives back what [`Space::take`] took with the same `len`, joining it with free neighbours.
    pub(crate) fn give_back(&mut self, start: u64, len: u64) {
        let mut start = start;
        let mut length = len + PAGE_BYTES;
        if let Some(after) = self.free.remove(&(start + length)) {
            length += after;
        }
        let before = self
            .free
            .range(..start)
            .next_back()
            .map(|(&before, &its)| (before, its));
        if let Some((before, its)) = before
            && before + its == start
        {
            self.free.remove(&before);
            start = before;
            length += its;
        }
        self.free.insert(start, length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_have_a_guard_between_them_and_join_when_given_back() {
        let mut space = Space::new(0x1_0000, 0x2_0000);
        let first = space.take(PAGE_BYTES).unwrap();
        let second = space.take(2 * PAGE_BYTES).unwrap();
        assert_eq!((first, second), (0x1_0000, 0x1_2000));
        space.give_back(first, PAGE_BYTES);
        space.give_back(second, 2 * PAGE_BYTES);
        assert_eq!(space.free, BTreeMap::from([(0x1_0000, 0x1_0000)]));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut space = Space::new(0, 4 * PAGE_BYTES);
        assert_eq!(space.take(4 * PAGE_BYTES), None);
        assert_eq!(space.take(u64::MAX - 10), None);
        assert_eq!(space.take(3 * PAGE_BYTES), Some(0));
        assert_eq!(space.take(PAGE_BYTES), None);
    }
}
