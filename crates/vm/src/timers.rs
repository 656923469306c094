//! Timers and work queues of programs: what runs later, without a thread of its own.
//!
//! ```text
//!  bpf_timer in a map's value --address, number--> Timer { map, callback, due }     outside the window
//!  after a run, and when the host asks: everything that is due runs on that worker
//! ```
//!
//! The number is written into the value and compared at every use: an element that was deleted or written anew since holds
//! another one, and its timer is forgotten, as in the kernel. Work queues are timers that are due at once.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use twinbpf_object::{Errno, Error};
use twinbpf_shm::SharedBytes;

use crate::maps::LiveMap;

/// Nothing is due.
const NEVER: u64 = u64::MAX;
/// Most abnormal ends of callbacks that are kept for the host.
const MOST_FAULTS: usize = 64;
/// Most callbacks that are handed out at a time.
const MOST_DUE: usize = 1024;

/// The timers of a vm.
#[derive(Debug)]
pub(crate) struct Timers {
    /// When the first one is due, or [`NEVER`]: what a run looks at when it ends.
    first_ns: AtomicU64,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// By address.
    timers: BTreeMap<u32, Timer>,
    /// When each is due, in which order they were started, and whose address it is.
    queue: BTreeSet<(u64, u64, u32)>,
    last_number: u64,
    faults: Vec<Error>,
}

#[derive(Debug)]
struct Timer {
    number: u64,
    map: LiveMap,
    callback: Option<Callback>,
    /// Its entry in the queue.
    due: Option<(u64, u64)>,
}

/// What a timer runs.
#[derive(Debug, Clone)]
pub(crate) struct Callback {
    pub(crate) program: Arc<dyn Any + Send + Sync>,
    /// The slot at which the function starts.
    pub(crate) start: usize,
}

/// A timer whose time has come.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) address: u32,
    pub(crate) number: u64,
    pub(crate) map: LiveMap,
    pub(crate) callback: Callback,
}

/// A timer's place in a map's value, and the eight bytes there that say which timer it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TimerPlace {
    pub(crate) address: u32,
    pub(crate) word: SharedBytes,
}

impl TimerPlace {
    fn number(&self) -> u64 {
        self.word.load_u64(0).unwrap_or(0)
    }
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            first_ns: AtomicU64::new(NEVER),
            kept: Mutex::default(),
        }
    }
}

impl Timers {
    /// Makes a timer.
    ///
    /// # Errors
    ///
    /// `EBUSY` if there is one already.
    pub(crate) fn init(&self, place: TimerPlace, map: &LiveMap) -> Result<(), Errno> {
        let mut kept = self.kept();
        if kept.timer(place).is_ok() {
            return Err(Errno::EBUSY);
        }
        kept.forget(place.address);
        kept.last_number += 1;
        let number = kept.last_number;
        place.word.store_u64(0, number).ok_or(Errno::EINVAL)?;
        kept.timers.insert(
            place.address,
            Timer {
                number,
                map: map.clone(),
                callback: None,
                due: None,
            },
        );
        self.note_first(&kept);
        Ok(())
    }

    /// Says what a timer runs.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is no timer.
    pub(crate) fn set_callback(&self, place: TimerPlace, callback: Callback) -> Result<(), Errno> {
        self.kept().timer(place)?.callback = Some(callback);
        Ok(())
    }

    /// Lets a timer run at this time, and not when it would have before.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is no timer, or nothing that it runs.
    pub(crate) fn start(&self, place: TimerPlace, due_ns: u64) -> Result<(), Errno> {
        let mut kept = self.kept();
        kept.last_number += 1;
        let due = (due_ns.min(NEVER - 1), kept.last_number);
        let timer = kept.timer(place)?;
        timer.callback.as_ref().ok_or(Errno::EINVAL)?;
        let before = timer.due.replace(due);
        kept.requeue(place.address, before, Some(due));
        self.note_first(&kept);
        Ok(())
    }

    /// Stops a timer, and forgets what it runs; whether it was waiting.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is no timer.
    pub(crate) fn cancel(&self, place: TimerPlace) -> Result<bool, Errno> {
        let mut kept = self.kept();
        let timer = kept.timer(place)?;
        timer.callback = None;
        let before = timer.due.take();
        kept.requeue(place.address, before, None);
        self.note_first(&kept);
        Ok(before.is_some())
    }

    /// When the first timer is due, if any is.
    #[inline(always)]
    pub(crate) fn first_due_ns(&self) -> Option<u64> {
        let first = self.first_ns.load(Ordering::Relaxed);
        (first != NEVER).then_some(first)
    }

    /// Takes out the timers that are due, in their order.
    pub(crate) fn take_due(&self, now_ns: u64) -> Vec<Due> {
        let mut kept = self.kept();
        let mut taken = Vec::new();
        while taken.len() < MOST_DUE {
            let Some((due_ns, _, address)) = kept.queue.first().copied() else {
                break;
            };
            if due_ns > now_ns {
                break;
            }
            kept.queue.pop_first();
            let Some(timer) = kept.timers.get_mut(&address) else {
                continue;
            };
            timer.due = None;
            if let Some(callback) = timer.callback.clone() {
                taken.push(Due {
                    address,
                    number: timer.number,
                    map: timer.map.clone(),
                    callback,
                });
            }
        }
        self.note_first(&kept);
        taken
    }

    /// Forgets a timer whose element is gone.
    pub(crate) fn forget(&self, due: &Due) {
        let mut kept = self.kept();
        let timer = kept.timers.get(&due.address);
        if timer.is_some_and(|timer| timer.number == due.number) {
            kept.forget(due.address);
        }
        self.note_first(&kept);
    }

    /// Keeps the abnormal end of a callback for the host; the first ones, if there are many.
    pub(crate) fn keep_fault(&self, fault: Error) {
        let mut kept = self.kept();
        if kept.faults.len() < MOST_FAULTS {
            kept.faults.push(fault);
        }
    }

    /// Takes the abnormal ends of callbacks out.
    pub(crate) fn take_faults(&self) -> Vec<Error> {
        std::mem::take(&mut self.kept().faults)
    }

    fn note_first(&self, kept: &Kept) {
        let first = kept.queue.first().map_or(NEVER, |(due_ns, ..)| *due_ns);
        self.first_ns.store(first, Ordering::Relaxed);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Every change is whole before anything can panic.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// The timer that the value at this place means.
    fn timer(&mut self, place: TimerPlace) -> Result<&mut Timer, Errno> {
        let timer = self.timers.get_mut(&place.address).ok_or(Errno::EINVAL)?;
        if timer.number == place.number() {
            Ok(timer)
        } else {
            Err(Errno::EINVAL)
        }
    }

    fn forget(&mut self, address: u32) {
        if let Some(timer) = self.timers.remove(&address) {
            self.requeue(address, timer.due, None);
        }
    }

    fn requeue(&mut self, address: u32, before: Option<(u64, u64)>, after: Option<(u64, u64)>) {
        if let Some((due_ns, number)) = before {
            self.queue.remove(&(due_ns, number, address));
        }
        if let Some((due_ns, number)) = after {
            self.queue.insert((due_ns, number, address));
        }
    }
}
