//! User ring buffers: records from the host to programs, in the order in which they were sent.
//!
//! Records wait on the host's heap and are counted as the kernel's ring counts them. The one that a program looks at is copied
//! into the window, so programs can change neither those that wait nor how many there are.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use twinbpf_object::{Errno, MapSpec};

use super::kind::Behaviour;
use crate::window::{Extent, ProgramAccess, Window};

/// Bytes of a record's header, which counts as room.
const HEADER_BYTES: u64 = 8;

#[derive(Debug)]
pub(crate) struct UserRing {
    /// Where the present record lies.
    area: Extent,
    size: u64,
    waiting: Mutex<Waiting>,
    is_drained: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    used: u64,
    records: VecDeque<Box<[u8]>>,
}

/// Proof that nobody else takes records out.
#[derive(Debug)]
pub(crate) struct Draining<'r>(&'r UserRing);

impl UserRing {
    pub(super) fn new(window: &Arc<Window>, spec: &MapSpec) -> Result<Self, Errno> {
        let size = u64::from(spec.max_entries);
        Ok(Self {
            area: window.allocate(size, ProgramAccess::ReadWrite)?,
            size,
            waiting: Mutex::default(),
            is_drained: AtomicBool::new(false),
        })
    }

    /// Whether a record of `len` bytes fits now.
    pub(super) fn has_room(&self, len: usize) -> Result<bool, Errno> {
        let whole = self.whole(len)?;
        Ok(self.waiting().used + whole <= self.size)
    }

    /// Sends a record; false if it does not fit now.
    pub(super) fn push(&self, record: &[u8]) -> Result<bool, Errno> {
        let whole = self.whole(record.len())?;
        let mut waiting = self.waiting();
        if waiting.used + whole > self.size {
            return Ok(false);
        }
        waiting.used += whole;
        waiting.records.push_back(record.into());
        Ok(true)
    }

    /// Begins to take records out; `None` if somebody else does.
    pub(crate) fn drain(&self) -> Option<Draining<'_>> {
        let was_drained = self.is_drained.swap(true, Ordering::Acquire);
        (!was_drained).then_some(Draining(self))
    }

    /// What a record takes of the ring.
    fn whole(&self, len: usize) -> Result<u64, Errno> {
        let len = u64::try_from(len).map_err(|_| Errno::E2BIG)?;
        let whole = len.checked_next_multiple_of(HEADER_BYTES);
        let whole = whole.and_then(|len| len.checked_add(HEADER_BYTES));
        whole
            .filter(|whole| *whole <= self.size)
            .ok_or(Errno::E2BIG)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Records come and go whole.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Draining<'_> {
    /// Copies the next record into the window and takes it out: its address and length.
    pub(crate) fn next(&self) -> Option<(u32, u32)> {
        let ring = self.0;
        let mut waiting = ring.waiting();
        let record = waiting.records.pop_front()?;
        waiting.used -= ring.whole(record.len()).unwrap_or(0);
        ring.area.host().copy_in(0, &record)?;
        Some((ring.area.start(), u32::try_from(record.len()).ok()?))
    }
}

impl Drop for Draining<'_> {
    fn drop(&mut self) {
        self.0.is_drained.store(false, Ordering::Release);
    }
}

/// Callers do not reach records through keys.
impl Behaviour for UserRing {}
