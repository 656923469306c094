//! Jobs that wait for each other, on the CPUs there are.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Does every job and gives the results in the jobs' order. `after` names, by job, the earlier jobs that must be done before it.
pub(super) fn run<T: Send>(after: &[Vec<usize>], job: impl Fn(usize) -> T + Sync) -> Vec<T> {
    if after.len() < 2 {
        return (0..after.len()).map(job).collect();
    }
    let board = Board::new(after);
    // This thread works as well.
    let helpers = usable_cpus().min(after.len()).saturating_sub(1);
    let work = || {
        let mut results = Vec::new();
        while let Some(turn) = board.take() {
            results.push((turn.position, job(turn.position)));
        }
        results
    };
    let results = thread::scope(|scope| {
        let helpers: Vec<_> = (0..helpers)
            // Where no thread can be had, this one does all the work.
            .map_while(|_| thread::Builder::new().spawn_scoped(scope, work).ok())
            .collect();
        let mut results = work();
        for helper in helpers {
            match helper.join() {
                Ok(more) => results.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        results
    });
    let mut in_order: Vec<Option<_>> = results.iter().map(|_| None).collect();
    for (position, result) in results {
        in_order[position] = Some(result);
    }
    in_order.into_iter().flatten().collect()
}

/// CPUs this thread may run on. The standard library's answer also counts the cgroup's quota: half a dozen files, read for
/// longer than a small object takes to load.
fn usable_cpus() -> usize {
    rustix::thread::sched_getaffinity(None)
        .ok()
        .and_then(|cpus| usize::try_from(cpus.count()).ok())
        .unwrap_or(1)
}

/// What is left to do.
struct Board {
    state: Mutex<State>,
    changed: Condvar,
    /// By job: the later ones that wait for it.
    waiting: Vec<Vec<usize>>,
}

struct State {
    /// Jobs that can start now, in their order.
    ready: VecDeque<usize>,
    /// By job: how many it waits for.
    missing: Vec<usize>,
    /// Jobs that nobody has taken.
    untaken: usize,
}

/// The right to do one job; what waits for it may start when this is dropped, by a panic too.
struct Turn<'a> {
    board: &'a Board,
    position: usize,
}

impl Board {
    fn new(after: &[Vec<usize>]) -> Self {
        let mut waiting = vec![Vec::new(); after.len()];
        for (position, before) in after.iter().enumerate() {
            for earlier in before {
                waiting[*earlier].push(position);
            }
        }
        let missing: Vec<usize> = after.iter().map(Vec::len).collect();
        let is_ready = |position: &usize| missing[*position] == 0;
        Self {
            state: Mutex::new(State {
                ready: (0..after.len()).filter(is_ready).collect(),
                untaken: after.len(),
                missing,
            }),
            changed: Condvar::new(),
            waiting,
        }
    }

    /// The next job that can start, once there is one; `None` if all are taken.
    fn take(&self) -> Option<Turn<'_>> {
        let mut state = self.state();
        loop {
            if state.untaken == 0 {
                return None;
            }
            if let Some(position) = state.ready.pop_front() {
                state.untaken -= 1;
                if state.untaken == 0 {
                    self.changed.notify_all();
                }
                return Some(Turn {
                    board: self,
                    position,
                });
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The state is whole between any two statements, so a panic elsewhere does not matter.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.board.state();
        for later in &self.board.waiting[self.position] {
            state.missing[*later] -= 1;
            if state.missing[*later] == 0 {
                state.ready.push_back(*later);
            }
        }
        self.board.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn results_keep_the_order_of_the_jobs_and_nobody_starts_too_early() {
        // Every third job waits for the one before it.
        let after: Vec<Vec<usize>> = (0..99)
            .map(|position| match position % 3 {
                0 => Vec::new(),
                _ => vec![position - 1],
            })
            .collect();
        let done: Vec<AtomicUsize> = (0..99).map(|_| AtomicUsize::new(0)).collect();
        let results = run(&after, |position| {
            for earlier in &after[position] {
                assert_eq!(done[*earlier].load(Ordering::SeqCst), 1);
            }
            done[position].fetch_add(1, Ordering::SeqCst);
            position
        });
        assert_eq!(results, (0..99).collect::<Vec<_>>());
        assert!(done.iter().all(|each| each.load(Ordering::SeqCst) == 1));
    }

    #[test]
    fn a_panic_reaches_the_caller_and_leaves_nobody_waiting() {
        let after = [vec![], vec![0], vec![1]];
        let result = std::panic::catch_unwind(|| run(&after, |position| assert!(position != 0)));
        assert!(result.is_err());
    }

    #[test]
    fn nothing_to_do_is_done_at_once() {
        assert_eq!(run(&[], |_| ()), Vec::<()>::new());
    }
}
