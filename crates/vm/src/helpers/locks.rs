//! Spin locks: a word in a map's value.

use crate::fault::FaultKind;
use crate::run::{Arguments, Returned, Run};
use crate::semantics::low_32;
use crate::window::Need;

/// What it costs to look at a taken lock once more.
const WAIT_INSNS: usize = 16;

/// `long bpf_spin_lock(lock)`: waits, and pays for it, until the lock is free.
///
/// KERNEL: the verifier refuses a second lock (6.18); here it ends the run.
pub(super) fn lock(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let address = low_32(arguments.values[0]);
    let word = run.memory(arguments, 0, 4, Need::Both)?;
    if run.held.lock().is_some() {
        return Err(FaultKind::Unsupported("a second spin lock"));
    }
    while word.compare_exchange_u32(0, 0, 1) != Some(0) {
        if !address.is_multiple_of(4) {
            return Err(FaultKind::Misaligned {
                address: u64::from(address),
                size: 4,
            });
        }
        run.charge(WAIT_INSNS)?;
        std::hint::spin_loop();
    }
    run.held.hold_lock(address, word);
    Ok(Returned::number(0))
}

/// `long bpf_spin_unlock(lock)`
pub(super) fn unlock(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let address = low_32(arguments.values[0]);
    match run.held.take_lock() {
        Some((held, word)) if held == address => {
            // The four bytes were locked through this view, so storing cannot fail.
            let _ = word.store_u32(0, 0);
            Ok(Returned::number(0))
        }
        other => {
            if let Some((address, word)) = other {
                run.held.hold_lock(address, word);
            }
            Err(FaultKind::NotHeld {
                what: "this spin lock",
            })
        }
    }
}
