//! When memory may really go away: after every run that might still reach it has ended.
//!
//! A program may hold a pointer into a map that another thread drops. Taking the permission away makes new accesses
//! fail, but a run may have passed its check an instant ago. So freed ranges are *buried* with a number, and a
//! run announces under which number it started; a grave is emptied once no run older than it is left.
//!
//! ```text
//!  bury:   take permissions away;  barrier;  look who runs
//!  enter:  announce the run;       fence;    use permissions
//! ```
//!
//! Either the burier sees the run, or the run sees the missing permissions.
//!
//! Runs are many and burials few, so the burier pays: where the host has `membarrier(2)`, its barrier makes every running
//! thread of the process pass a fence, and the one in `enter` only has to keep the compiler from reordering.

use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering, compiler_fence, fence};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::thread::{MembarrierCommand, MembarrierQuery, membarrier, membarrier_query};

/// A range that waits to be unmapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grave {
    /// First byte in the window.
    pub(crate) start: u64,
    /// Length in bytes.
    pub(crate) len: u64,
}

/// The numbering of runs and graves of one window.
#[derive(Debug)]
pub(crate) struct Epochs {
    current: AtomicU64,
    /// Whether the burier's barrier is one for all threads.
    is_one_sided: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    runners: Vec<Arc<Runner>>,
    graves: Vec<(u64, Grave)>,
    things: Vec<(u64, Thing)>,
}

/// Something on the host's side that runs may still use: it is dropped when none can.
pub(crate) type Thing = Arc<dyn Any + Send + Sync>;

/// A worker's announcement: 0 while idle, else the number under which its run started.
#[derive(Debug, Default)]
pub(crate) struct Runner {
    since: AtomicU64,
}

impl Runner {
    /// Announces a run, the only one of its worker, until [`Runner::leave`].
    #[inline(always)]
    pub(crate) fn enter(&self, epochs: &Epochs) {
        debug_assert_eq!(self.since.load(Ordering::Relaxed), 0, "one run at a time");
        self.since
            .store(epochs.current.load(Ordering::Acquire), Ordering::Relaxed);
        if epochs.is_one_sided {
            compiler_fence(Ordering::SeqCst);
        } else {
            fence(Ordering::SeqCst);
        }
    }

    /// Ends the run.
    #[inline(always)]
    pub(crate) fn leave(&self) {
        self.since.store(0, Ordering::Release);
    }
}

impl Epochs {
    pub(crate) fn new() -> Self {
        Self {
            current: AtomicU64::new(1),
            is_one_sided: has_barrier_for_all(),
            state: Mutex::default(),
        }
    }

    /// A new worker.
    pub(crate) fn runner(&self) -> Arc<Runner> {
        let runner = Arc::new(Runner::default());
        self.state().runners.push(Arc::clone(&runner));
        runner
    }

    /// A worker that is gone.
    pub(crate) fn retire(&self, runner: &Arc<Runner>) {
        self.state()
            .runners
            .retain(|known| !Arc::ptr_eq(known, runner));
    }

    /// Buries a range whose permissions are already gone.
    pub(crate) fn bury(&self, grave: Grave) {
        let number = self.current.fetch_add(1, Ordering::SeqCst) + 1;
        self.state().graves.push((number, grave));
    }

    /// Buries a thing that runs which start from now on do not find any more.
    pub(crate) fn bury_thing(&self, thing: Thing) {
        let number = self.current.fetch_add(1, Ordering::SeqCst) + 1;
        self.state().things.push((number, thing));
    }

    /// Takes out everything that no run can reach any more.
    pub(crate) fn reclaim(&self) -> (Vec<Grave>, Vec<Thing>) {
        let mut state = self.state();
        if state.graves.is_empty() && state.things.is_empty() {
            return Default::default();
        }
        if !self.barrier() {
            return Default::default();
        }
        let oldest = state
            .runners
            .iter()
            .map(|runner| runner.since.load(Ordering::Acquire))
            .filter(|since| *since != 0)
            .min();
        let graves = done_by(oldest, &mut state.graves);
        (graves, done_by(oldest, &mut state.things))
    }

    /// Between taking permissions away and looking who runs; false if the host refused, and then nothing is known.
    fn barrier(&self) -> bool {
        fence(Ordering::SeqCst);
        !self.is_one_sided || barrier_for_all()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while the lock is held leaves lists that are still lists; going on is right.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes out what was buried before every run that is on since `oldest`.
fn done_by<T>(oldest: Option<u64>, buried: &mut Vec<(u64, T)>) -> Vec<T> {
    let is_done = |(number, _): &mut (u64, T)| oldest.is_none_or(|oldest| oldest >= *number);
    buried.extract_if(.., is_done).map(|(_, it)| it).collect()
}

/// Makes every running thread of this process pass a fence; false if the host refused.
pub(crate) fn barrier_for_all() -> bool {
    membarrier(MembarrierCommand::PrivateExpedited).is_ok()
}

/// Whether the host has barriers for all threads of this process, which has to say once that it wants them.
pub(crate) fn has_barrier_for_all() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| {
        // The interpreter of Miri has no such call.
        !cfg!(miri)
            && membarrier_query().contains(MembarrierQuery::PRIVATE_EXPEDITED)
            && membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grave_waits_for_the_runs_that_started_before_it() {
        let epochs = Epochs::new();
        let (early, late) = (epochs.runner(), epochs.runner());
        let grave = Grave {
            start: 0x10000,
            len: 4096,
        };
        early.enter(&epochs);
        epochs.bury(grave);
        late.enter(&epochs);
        assert_eq!(epochs.reclaim().0, []);
        early.leave();
        assert_eq!(epochs.reclaim().0, [grave]);
        assert_eq!(epochs.reclaim().0, []);
    }
}
