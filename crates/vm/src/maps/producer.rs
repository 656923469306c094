//! How far a ring is reserved. As long as one CPU slot alone reserves, moving that takes no locked instruction.
//!
//! ```text
//!  nobody ──> the first slot that reserves ──> (another one comes) giving up ──> everybody
//! ```
//!
//! The owner says that it moves, looks whether it still is the owner, moves, and says that it is done. Who wants to share takes the
//! ownership away, makes every thread of the process pass a fence, and waits until the owner is done: either the owner sees
//! that it lost, or the other sees it moving. From then on all compare and exchange. Hosts without such a fence begin there.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, compiler_fence};

use crate::window::{barrier_for_all, has_barrier_for_all};

/// Owner: nobody has reserved anything yet. Other owners are a slot's number plus [`FIRST`].
const NOBODY: u32 = 0;
/// Owner: everybody, with compare and exchange.
const EVERYBODY: u32 = 1;
/// Owner: somebody waits for the last one to be done.
const GIVING_UP: u32 = 2;
const FIRST: u32 = 3;

#[derive(Debug)]
pub(super) struct Producer {
    position: AtomicU64,
    owner: AtomicU32,
    /// Whether the owner is about to move. Nobody else writes it.
    is_moving: AtomicBool,
}

/// A step forward, in the ring that it is to fit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step<'r> {
    pub(super) bytes: u64,
    /// How many bytes may be in use afterwards.
    pub(super) most: u64,
    /// How far the reader is.
    pub(super) consumer: &'r AtomicU64,
}

/// Where a step leads.
enum Outcome {
    To(u64),
    NoRoom,
    /// Others have written since, and the reader has read it all: the position is an old one.
    Stale,
}

impl Step<'_> {
    #[inline(always)]
    fn from(self, position: u64) -> Outcome {
        let end = position + self.bytes;
        match end.checked_sub(self.consumer.load(Ordering::Acquire)) {
            None => Outcome::Stale,
            Some(used) if used > self.most => Outcome::NoRoom,
            Some(_) => Outcome::To(end),
        }
    }
}

impl Producer {
    pub(super) fn new() -> Self {
        let owner = match has_barrier_for_all() {
            true => NOBODY,
            false => EVERYBODY,
        };
        Self {
            position: AtomicU64::new(0),
            owner: AtomicU32::new(owner),
            is_moving: AtomicBool::new(false),
        }
    }

    /// Where it is.
    pub(super) fn get(&self) -> u64 {
        self.position.load(Ordering::Acquire)
    }

    /// Moves on, for a program on this CPU slot; the answer is where it was before. `None` if there is no room.
    #[inline(always)]
    pub(super) fn advance(&self, cpu: u32, step: Step<'_>) -> Option<u64> {
        let me = cpu.wrapping_add(FIRST);
        if self.owner.load(Ordering::Relaxed) != me {
            return self.advance_shared(me, step);
        }
        self.is_moving.store(true, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        let is_owner = self.owner.load(Ordering::Relaxed) == me;
        let position = self.position.load(Ordering::Relaxed);
        let outcome = step.from(position);
        if let (true, Outcome::To(next)) = (is_owner, &outcome) {
            self.position.store(*next, Ordering::Release);
        }
        self.is_moving.store(false, Ordering::Release);
        match (is_owner, outcome) {
            (true, Outcome::To(_)) => Some(position),
            (true, Outcome::NoRoom) => None,
            _ => self.advance_shared(me, step),
        }
    }

    #[cold]
    fn advance_shared(&self, me: u32, step: Step<'_>) -> Option<u64> {
        let (success, failure) = (Ordering::AcqRel, Ordering::Relaxed);
        loop {
            match self.owner.load(Ordering::Acquire) {
                EVERYBODY => break,
                NOBODY => {
                    let claim = |owner: &AtomicU32| {
                        owner.compare_exchange(NOBODY, me, success, failure).is_ok()
                    };
                    if claim(&self.owner) {
                        return self.advance(me.wrapping_sub(FIRST), step);
                    }
                }
                GIVING_UP => std::thread::yield_now(),
                owner => self.share(owner)?,
            }
        }
        let mut position = self.position.load(Ordering::Acquire);
        loop {
            let next = match step.from(position) {
                Outcome::To(next) => next,
                Outcome::NoRoom => return None,
                Outcome::Stale => {
                    position = self.position.load(Ordering::Acquire);
                    continue;
                }
            };
            let moved = self
                .position
                .compare_exchange_weak(position, next, success, failure);
            match moved {
                Ok(_) => return Some(position),
                Err(now) => position = now,
            }
        }
    }

    /// Takes the ownership away; `None` if the host refuses the fence, and then it is as if the ring were full.
    #[cold]
    fn share(&self, owner: u32) -> Option<()> {
        let (success, failure) = (Ordering::AcqRel, Ordering::Relaxed);
        let taken = self
            .owner
            .compare_exchange(owner, GIVING_UP, success, failure);
        if taken.is_err() {
            return Some(());
        }
        let is_fenced = barrier_for_all();
        if is_fenced {
            while self.is_moving.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
        }
        let next = if is_fenced { EVERYBODY } else { owner };
        self.owner.store(next, Ordering::Release);
        is_fenced.then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(bytes: u64, consumer: &AtomicU64) -> Step<'_> {
        Step {
            bytes,
            most: 1 << 20,
            consumer,
        }
    }

    #[test]
    fn every_number_is_handed_out_once_however_many_ask() {
        const EACH: u64 = 20_000;
        let consumer = AtomicU64::new(0);
        for threads in 1..=4_u32 {
            let producer = Producer::new();
            let numbers = |cpu| {
                let next = |_| producer.advance(cpu, step(1, &consumer));
                (0..EACH).filter_map(next).collect::<Vec<u64>>()
            };
            let numbers = &numbers;
            let mut all: Vec<u64> = std::thread::scope(|scope| {
                let workers: Vec<_> = (0..threads)
                    .map(|cpu| scope.spawn(move || numbers(cpu)))
                    .collect();
                let taken = workers.into_iter().map(|worker| worker.join().unwrap());
                taken.flatten().collect()
            });
            all.sort_unstable();
            assert!(all.into_iter().eq(0..u64::from(threads) * EACH));
        }
    }

    #[test]
    fn nobody_moves_where_there_is_no_room() {
        let producer = Producer::new();
        let consumer = AtomicU64::new(0);
        let too_far = step((1 << 20) + 1, &consumer);
        for cpu in [0, 0, 1, 0] {
            assert_eq!(producer.advance(cpu, too_far), None);
        }
        assert_eq!(producer.advance(1, step(24, &consumer)), Some(0));
        assert_eq!(producer.advance(0, step(24, &consumer)), Some(24));
        assert_eq!(producer.get(), 48);
    }
}
