//! Events of perf: opened, given a program, switched on.
#![expect(
    unsafe_code,
    reason = "no crate has perf_event_open(2) and its requests"
)]

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use twinbpf_object::Errno;

use super::{last_errno, outcome, readable};
use crate::attr::PerfEventAttributes;

/// Whose doings are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PerfPlace {
    /// A thread, or -1 for all.
    pub(crate) thread: libc::pid_t,
    /// A CPU, or -1 for all. One of the two must be named.
    pub(crate) cpu: libc::c_int,
}

/// Opens an event. `text` is what the first address in the attributes points to, for events that are places in code.
pub(crate) fn perf_event_open(
    attributes: &PerfEventAttributes,
    text: Option<&CStr>,
    place: PerfPlace,
) -> Result<OwnedFd, Errno> {
    let mut attributes = *attributes;
    attributes.size = u32::try_from(size_of::<PerfEventAttributes>()).map_err(|_| Errno::E2BIG)?;
    attributes.config1 = text.map_or(0, |text| readable(text.to_bytes_with_nul()));
    let no_group: libc::c_int = -1;
    // SAFETY: the kernel reads `size` bytes at the first argument, which is that large, and a text at `config1` up to its zero,
    // which a `CStr` has, or none at address 0. It writes nothing; of too new a `size` it would write the one it knows to
    // `attributes`, which is ours alone.
    let number = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            std::ptr::from_mut(&mut attributes),
            place.thread,
            place.cpu,
            no_group,
            CLOSE_ON_EXEC,
        )
    };
    let fd = match libc::c_int::try_from(number) {
        Ok(fd) if fd >= 0 => fd,
        _ => return Err(last_errno()),
    };
    // SAFETY: the call succeeded, so `fd` is new, open, and known to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Lets the event happen.
pub(crate) fn perf_event_enable(event: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: the request takes no address; its argument is a flag.
    let result = unsafe { libc::ioctl(event.as_raw_fd(), ENABLE, 0) };
    outcome(result)
}

/// Gives the event a program, the way of kernels that have no links for events. The program stays until the event is closed.
pub(crate) fn perf_event_set_program(
    event: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
) -> Result<(), Errno> {
    // SAFETY: the request takes a descriptor's number, no address.
    let result = unsafe { libc::ioctl(event.as_raw_fd(), SET_PROGRAM, program.as_raw_fd()) };
    outcome(result)
}

/// Stops the event's output into its buffer, or lets it go on.
pub(crate) fn perf_event_pause(event: BorrowedFd<'_>, is_paused: bool) -> Result<(), Errno> {
    // SAFETY: the request takes a flag, no address.
    let result = unsafe {
        libc::ioctl(
            event.as_raw_fd(),
            PAUSE_OUTPUT,
            libc::c_int::from(is_paused),
        )
    };
    outcome(result)
}

/// `PERF_FLAG_FD_CLOEXEC`
const CLOSE_ON_EXEC: libc::c_ulong = 8;
/// `PERF_EVENT_IOC_ENABLE`
const ENABLE: libc::Ioctl = rustix::ioctl::opcode::none(b'$', 0) as libc::Ioctl;
/// `PERF_EVENT_IOC_SET_BPF`
const SET_PROGRAM: libc::Ioctl = rustix::ioctl::opcode::write::<u32>(b'$', 8) as libc::Ioctl;
/// `PERF_EVENT_IOC_PAUSE_OUTPUT`
const PAUSE_OUTPUT: libc::Ioctl = rustix::ioctl::opcode::write::<u32>(b'$', 9) as libc::Ioctl;
