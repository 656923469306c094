//! Timers and work queues: helpers and kernel functions that make them, start them and stop them.

use twinbpf_object::Errno;

use crate::fault::FaultKind;
use crate::run::{Arguments, Returned, Run};
use crate::semantics::low_32;
use crate::timers::{Callback, TimerPlace};
use crate::window::Need;

/// Bytes of `struct bpf_timer` and of `struct bpf_wq`.
const STRUCT_BYTES: u32 = 16;
/// `CLOCK_REALTIME`, `CLOCK_MONOTONIC` and `CLOCK_BOOTTIME`: in a vm they are one clock.
const CLOCKS: [u64; 3] = [0, 1, 7];
/// `BPF_F_TIMER_ABS`, and `BPF_F_TIMER_CPU_PIN`, which here changes nothing.
const ABSOLUTE: u64 = 1;
const START_FLAGS: u64 = 3;

/// `long bpf_timer_init(timer, map, flags)`
pub(super) fn init(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let is_clock = CLOCKS.contains(&arguments.values[2]);
    make(run, arguments, is_clock)
}

/// `int bpf_wq_init(queue, map, flags)`
pub(crate) fn init_work(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let is_right = low_32(arguments.values[2]) == 0;
    make(run, arguments, is_right)
}

fn make(
    run: &Run<'_>,
    arguments: &Arguments,
    are_flags_right: bool,
) -> Result<Returned, FaultKind> {
    let place = place(run, arguments)?;
    let map = run.map(arguments, 1)?;
    let result = if !are_flags_right || map.element_at(place.address).is_none() {
        Err(Errno::EINVAL)
    } else if map.is_released() {
        // KERNEL: only while somebody outside programs holds the map (6.18).
        Err(Errno::EPERM)
    } else {
        run.common.timers.init(place, map)
    };
    Ok(Returned::status(result))
}

/// `long bpf_timer_set_callback(timer, callback)`, and `int bpf_wq_set_callback_impl(queue, callback, ..)`.
pub(crate) fn set_callback(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    let place = place(run, arguments)?;
    let start = run.function(arguments, 1)?;
    let program = (run.keep)(run).ok_or(FaultKind::Unsupported("a callback of this program"))?;
    let result = run
        .common
        .timers
        .set_callback(place, Callback { program, start });
    Ok(Returned::status(result))
}

/// `long bpf_timer_start(timer, nanoseconds, flags)`
pub(super) fn start(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let [_, nanoseconds, flags, ..] = arguments.values;
    let place = place(run, arguments)?;
    if flags & !START_FLAGS != 0 {
        return Ok(Returned::error(Errno::EINVAL));
    }
    let due_ns = if flags & ABSOLUTE != 0 {
        nanoseconds
    } else {
        run.common.surroundings.now_ns().saturating_add(nanoseconds)
    };
    Ok(Returned::status(run.common.timers.start(place, due_ns)))
}

/// `int bpf_wq_start(queue, flags)`
pub(crate) fn start_work(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let place = place(run, arguments)?;
    if low_32(arguments.values[1]) != 0 {
        return Ok(Returned::error(Errno::EINVAL));
    }
    let now = run.common.surroundings.now_ns();
    Ok(Returned::status(run.common.timers.start(place, now)))
}

/// `long bpf_timer_cancel(timer)`: 1 if it was waiting, 0 if not.
pub(super) fn cancel(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let place = place(run, arguments)?;
    // KERNEL: a callback cannot wait for its own end (6.18).
    if run.present_timer == Some(place.address) {
        return Ok(Returned::error(Errno::EDEADLK));
    }
    Ok(match run.common.timers.cancel(place) {
        Ok(was_waiting) => Returned::number(u64::from(was_waiting)),
        Err(errno) => Returned::error(errno),
    })
}

fn place(run: &Run<'_>, arguments: &Arguments) -> Result<TimerPlace, FaultKind> {
    let word = run.memory(arguments, 0, STRUCT_BYTES, Need::Both)?;
    let address = low_32(arguments.values[0]);
    if !address.is_multiple_of(8) {
        return Err(FaultKind::Misaligned {
            address: u64::from(address),
            size: 8,
        });
    }
    Ok(TimerPlace { address, word })
}
