//! Sections of a program that must not be interrupted: in a process nothing interrupts them, but what is begun must be ended.

use crate::fault::FaultKind;
use crate::held::Section;
use crate::run::{Arguments, Returned, Run};
use crate::semantics::low_32;
use crate::window::Need;

/// `void bpf_rcu_read_lock(void)`
pub(super) fn begin_reading(run: &mut Run<'_>, _: &Arguments) -> Result<Returned, FaultKind> {
    begin(run, Section::Reading)
}

/// `void bpf_rcu_read_unlock(void)`
pub(super) fn end_reading(run: &mut Run<'_>, _: &Arguments) -> Result<Returned, FaultKind> {
    end(run, Section::Reading)
}

/// `void bpf_preempt_disable(void)`
pub(super) fn disable_preemption(run: &mut Run<'_>, _: &Arguments) -> Result<Returned, FaultKind> {
    begin(run, Section::NoPreemption)
}

/// `void bpf_preempt_enable(void)`
pub(super) fn enable_preemption(run: &mut Run<'_>, _: &Arguments) -> Result<Returned, FaultKind> {
    end(run, Section::NoPreemption)
}

/// `void bpf_local_irq_save(flags)`: what is saved means nothing to programs.
pub(super) fn save_interrupts(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    run.memory(arguments, 0, 8, Need::Write)?;
    begin(run, Section::NoInterrupts(low_32(arguments.values[0])))
}

/// `void bpf_local_irq_restore(flags)`
pub(super) fn restore_interrupts(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    end(run, Section::NoInterrupts(low_32(arguments.values[0])))
}

/// `void bpf_throw(u64 cookie)`: ends all functions of the program; what it holds then would be lost, so it may hold nothing.
pub(super) fn throw(_: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    Err(FaultKind::Thrown {
        cookie: arguments.values[0],
    })
}

fn begin(run: &mut Run<'_>, section: Section) -> Result<Returned, FaultKind> {
    run.held.begin_section(section)?;
    Ok(Returned::number(0))
}

fn end(run: &mut Run<'_>, section: Section) -> Result<Returned, FaultKind> {
    run.held.end_section(section)?;
    Ok(Returned::number(0))
}
