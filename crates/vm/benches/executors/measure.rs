//! Time: CPU time of this thread, rounds of about 10 ms, medians.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Rounds of which the median counts.
pub(crate) const ROUNDS: usize = 21;
const ROUND_NS: f64 = 10e6;

/// The median over rounds of about 10 ms, nanoseconds per run.
pub(crate) fn measure<E>(mut run: impl FnMut() -> Result<(), E>) -> Result<f64, E> {
    let runs = calibrate(&mut run)?;
    let mut rounds = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        rounds.push(time(runs, &mut run)?);
    }
    Ok(median(rounds))
}

/// How often to run so that a round takes about 10 ms.
pub(crate) fn calibrate<E>(mut run: impl FnMut() -> Result<(), E>) -> Result<u32, E> {
    let mut runs = 1u32;
    while runs < 1 << 24 && time(runs, &mut run)? * f64::from(runs) < ROUND_NS {
        runs *= 2;
    }
    Ok(runs)
}

/// Nanoseconds of this thread's CPU time per run.
pub(crate) fn time<E>(runs: u32, mut run: impl FnMut() -> Result<(), E>) -> Result<f64, E> {
    let start = cpu_seconds();
    for _ in 0..runs {
        run()?;
    }
    Ok((cpu_seconds() - start) * 1e9 / f64::from(runs))
}

fn cpu_seconds() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let nanoseconds = u32::try_from(now.tv_nsec).unwrap_or(0);
    Duration::new(now.tv_sec.unsigned_abs(), nanoseconds).as_secs_f64()
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
