//! Helpers about the surroundings: time, randomness, CPU, identity. Everything comes from the vm's configuration.

use twinbpf_object::Errno;

use crate::fault::FaultKind;
use crate::run::{Arguments, Returned, Run};
use crate::semantics::low_32;
use crate::window::Need;

/// `u64 bpf_ktime_get_ns(void)`: nanoseconds of the vm's clock.
pub(super) fn ktime_get_ns(run: &mut Run<'_>, _: &Arguments) -> Result<Returned, FaultKind> {
    Ok(Returned::number(run.surroundings.now_ns()))
}

/// `u64 bpf_jiffies64(void)`: the clock in ticks. KERNEL: 250 a second in most distributions' kernels.
pub(super) fn jiffies64(run: &mut Run<'_>, _: &Arguments) -> Result<Returned, FaultKind> {
    Ok(Returned::number(run.surroundings.now_ns() / 4_000_000))
}

/// `u32 bpf_get_prandom_u32(void)`: the next number of the worker's generator.
pub(super) fn get_prandom_u32(run: &mut Run<'_>, _: &Arguments) -> Result<Returned, FaultKind> {
    // SplitMix64 (Steele, Lea, Flood 2014): one addition and three mixing steps.
    run.random = run.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut word = run.random;
    word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    Ok(Returned::number(u64::from(low_32(word ^ word >> 31))))
}

/// `u32 bpf_get_smp_processor_id(void)`: the worker's slot.
pub(super) fn get_smp_processor_id(
    run: &mut Run<'_>,
    _: &Arguments,
) -> Result<Returned, FaultKind> {
    Ok(Returned::number(u64::from(run.slot)))
}

/// `long bpf_get_numa_node_id(void)`: a vm has one node, 0.
pub(super) fn get_numa_node_id(_: &mut Run<'_>, _: &Arguments) -> Result<Returned, FaultKind> {
    Ok(Returned::number(0))
}

/// `u64 bpf_get_current_pid_tgid(void)`: the vm's process in both halves.
pub(super) fn get_current_pid_tgid(
    run: &mut Run<'_>,
    _: &Arguments,
) -> Result<Returned, FaultKind> {
    let pid = u64::from(run.surroundings.pid);
    Ok(Returned::number(pid << 32 | pid))
}

/// `u64 bpf_get_current_uid_gid(void)`: the vm's user in both halves.
pub(super) fn get_current_uid_gid(run: &mut Run<'_>, _: &Arguments) -> Result<Returned, FaultKind> {
    let uid = u64::from(run.surroundings.uid);
    Ok(Returned::number(uid << 32 | uid))
}

/// `long bpf_get_current_comm(buffer, size)`: the vm's command name, cut and padded with zeros.
pub(super) fn get_current_comm(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    let size = low_32(arguments.values[1]);
    if size == 0 {
        return Ok(Returned::status(Err(Errno::EINVAL)));
    }
    let buffer = run.memory(arguments, 0, size, Need::Write)?;
    let name = run.surroundings.comm.as_bytes();
    let kept = name.len().min(buffer.len() - 1);
    let written = buffer
        .zero(0, buffer.len())
        .and_then(|()| buffer.copy_in(0, &name[..kept]));
    Ok(Returned::status(written.ok_or(Errno::EFAULT)))
}
