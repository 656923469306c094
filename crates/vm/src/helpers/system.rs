//! Helpers about the surroundings: time, randomness, CPU, identity. Everything comes from the vm's configuration.

use twinbpf_object::Errno;

use crate::context::{SK_BUFF, sk_buff};
use crate::fault::FaultKind;
use crate::run::{Arguments, Returned, Run};
use crate::semantics::low_32;
use crate::window::Need;

/// `u64 bpf_ktime_get_ns(void)`: nanoseconds of the vm's clock.
pub(super) fn ktime_get_ns(run: &mut Run<'_>, _: &Arguments) -> Result<Returned, FaultKind> {
    Ok(Returned::number(run.common.surroundings.now_ns()))
}

/// `u64 bpf_jiffies64(void)`: the clock in ticks. KERNEL: 250 a second in most distributions' kernels.
pub(super) fn jiffies64(run: &mut Run<'_>, _: &Arguments) -> Result<Returned, FaultKind> {
    Ok(Returned::number(
        run.common.surroundings.now_ns() / 4_000_000,
    ))
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
    let pid = u64::from(run.common.surroundings.pid);
    Ok(Returned::number(pid << 32 | pid))
}

/// `u64 bpf_get_current_uid_gid(void)`: the vm's user in both halves.
pub(super) fn get_current_uid_gid(run: &mut Run<'_>, _: &Arguments) -> Result<Returned, FaultKind> {
    let uid = u64::from(run.common.surroundings.uid);
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
    let name = run.common.surroundings.comm.as_bytes();
    let kept = name.len().min(buffer.len() - 1);
    let written = buffer
        .zero(0, buffer.len())
        .and_then(|()| buffer.copy_in(0, &name[..kept]));
    Ok(Returned::status(written.ok_or(Errno::EFAULT)))
}

/// `u64 bpf_get_current_cgroup_id(void)`: the cgroup of the vm's process.
pub(super) fn current_cgroup(run: &mut Run<'_>, _: &Arguments) -> Result<Returned, FaultKind> {
    Ok(own_cgroup(run))
}

/// `u64 bpf_get_current_ancestor_cgroup_id(level)`
pub(super) fn current_cgroup_above(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    Ok(cgroup_at(run, arguments.values[0]))
}

/// `u64 bpf_skb_cgroup_id(skb)`: that of the packet's socket; 0 if it has none.
///
/// KERNEL: the socket of a test run is in the cgroup of its caller (6.18).
pub(super) fn packet_cgroup(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    Ok(if has_socket(run, arguments.values[0])? {
        own_cgroup(run)
    } else {
        Returned::number(0)
    })
}

/// `u64 bpf_skb_ancestor_cgroup_id(skb, level)`
pub(super) fn packet_cgroup_above(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    let [skb, level, ..] = arguments.values;
    Ok(if has_socket(run, skb)? {
        cgroup_at(run, level)
    } else {
        Returned::number(0)
    })
}

/// `u64 bpf_sk_cgroup_id(socket)`: the one socket that a vm has is that of a test run.
pub(super) fn socket_cgroup(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    let is_there = low_32(arguments.values[0]) != 0;
    Ok(if is_there {
        own_cgroup(run)
    } else {
        Returned::number(0)
    })
}

/// `u64 bpf_sk_ancestor_cgroup_id(socket, level)`
pub(super) fn socket_cgroup_above(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    let [socket, level, ..] = arguments.values;
    Ok(if low_32(socket) != 0 {
        cgroup_at(run, level)
    } else {
        Returned::number(0)
    })
}

fn own_cgroup(run: &Run<'_>) -> Returned {
    Returned::number(
        run.common
            .surroundings
            .cgroups()
            .last()
            .copied()
            .unwrap_or(0),
    )
}

/// The cgroup at a level of the tree, 0 being the root; 0 if the process is not that far down.
fn cgroup_at(run: &Run<'_>, level: u64) -> Returned {
    let level = usize::try_from(low_32(level).cast_signed()).ok();
    let id = level.and_then(|level| run.common.surroundings.cgroups().get(level));
    Returned::number(id.copied().unwrap_or(0))
}

fn has_socket(run: &Run<'_>, skb: u64) -> Result<bool, FaultKind> {
    let is_buffer = std::ptr::eq(run.layout, &raw const SK_BUFF);
    if !is_buffer || low_32(skb) != run.context {
        return Err(FaultKind::NoPacket);
    }
    Ok(run.field(sk_buff::SK) != 0)
}
