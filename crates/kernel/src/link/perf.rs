//! Events of perf with a program: tracepoints, places in code, counters.
//!
//! Each is opened first, given the program through a link, and then switched on. Kernels before 5.15 have no such links: there
//! the event takes the program itself, without a cookie, and closing the event detaches.

use std::ffi::CString;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use twinbpf_object::hook::{Kprobe, PerfEvent, PerfScope, ProbePlace, Sampling, Uprobe};
use twinbpf_object::{AttachKind, Errno, Error, Result};

use super::{code_file, refusal};
use crate::attr::{Arm, CookieArm, LinkCreate, PerfEventAttributes, fd_number};
use crate::host;
use crate::program::KernelProgram;
use crate::sys::{self, PerfPlace};

/// What was made: a link, or an event that has the program itself.
type Made = Result<OwnedFd, Errno>;

/// A tracepoint: the kernel runs the program wherever it is hit, though the event is opened on one CPU.
pub(super) fn tracepoint(
    program: &KernelProgram,
    category: &str,
    name: &str,
    cookie: u64,
) -> Result<Made> {
    let folder = host::tracing_folder().ok_or_else(refusal::no_tracing_folder)?;
    let file = folder.join("events").join(category).join(name).join("id");
    let id = fs::read_to_string(&file).ok();
    let id = id.and_then(|text| text.trim().parse().ok());
    let attributes = PerfEventAttributes {
        event_type: TYPE_TRACEPOINT,
        config: id.ok_or_else(|| refusal::no_such_tracepoint(&folder, category, name))?,
        sample_period: 1,
        flags: DISABLED,
        ..PerfEventAttributes::default()
    };
    Ok(event(&attributes, None, ANYWHERE).and_then(|event| with_program(event, program, cookie)))
}

/// A function of the kernel.
pub(super) fn kprobe(program: &KernelProgram, hook: &Kprobe) -> Result<Made> {
    let unit = unit("kprobe")?;
    let name = CString::new(hook.function.as_str());
    let name = name.map_err(|_| refusal::no_function(&hook.function, Errno::EINVAL))?;
    let attributes = PerfEventAttributes {
        config2: hook.offset,
        ..unit.probe(hook.is_return)
    };
    match event(&attributes, Some(&name), ANYWHERE) {
        Ok(event) => Ok(with_program(event, program, hook.cookie)),
        Err(errno @ (Errno::ENOENT | Errno::EADDRNOTAVAIL | Errno::EINVAL | Errno::EILSEQ)) => {
            Err(refusal::no_function(&hook.function, errno))
        }
        Err(errno) => Ok(Err(errno)),
    }
}

/// A place in a program or library.
pub(super) fn uprobe(program: &KernelProgram, hook: &Uprobe) -> Result<Made> {
    let unit = unit("uprobe")?;
    let path = code_file::locate(&hook.path, hook.pid)?;
    let offset = match &hook.place {
        ProbePlace::Offset(offset) => *offset,
        ProbePlace::Function { name, offset } => code_file::offset_of(&path, name)?
            .checked_add(*offset)
            .ok_or_else(|| refusal::not_in_file(&path, name))?,
    };
    let text = CString::new(path.as_os_str().as_bytes());
    let text = text.map_err(|_| refusal::not_in_file(&path, "a path with a zero byte"))?;
    let attributes = PerfEventAttributes {
        config2: offset,
        config: unit.with_counter(hook.is_return, hook.counter)?,
        ..unit.probe(hook.is_return)
    };
    let place = match hook.pid {
        Some(pid) => PerfPlace {
            thread: libc::pid_t::try_from(pid).map_err(|_| refusal::no_process(pid))?,
            cpu: -1,
        },
        None => ANYWHERE,
    };
    match (event(&attributes, Some(&text), place), hook.pid) {
        (Ok(event), _) => Ok(with_program(event, program, hook.cookie)),
        (Err(Errno::ESRCH), Some(pid)) => Err(refusal::no_process(pid)),
        (Err(errno), _) => Ok(Err(errno)),
    }
}

/// A counter; on every CPU it takes one event for each.
pub(super) fn counter(program: &KernelProgram, hook: &PerfEvent) -> Result<Vec<Made>> {
    let (sample_period, frequency) = match hook.sampling {
        Sampling::Period(period) => (period, 0),
        Sampling::Frequency(frequency) => (frequency, FREQUENCY),
    };
    let attributes = PerfEventAttributes {
        event_type: hook.counter.event_type,
        config: hook.counter.config,
        sample_period,
        flags: DISABLED | frequency,
        ..PerfEventAttributes::default()
    };
    let on_cpu = |cpu| PerfPlace { thread: -1, cpu };
    let too_large = |number: u32| move |_| refusal::no_process(number);
    let places = match hook.scope {
        PerfScope::Thread(thread) => vec![PerfPlace {
            thread: libc::pid_t::try_from(thread).map_err(too_large(thread))?,
            cpu: -1,
        }],
        PerfScope::Cpu(cpu) => vec![on_cpu(libc::c_int::try_from(cpu).map_err(too_large(cpu))?)],
        PerfScope::EveryCpu => host::online_cpus()?
            .into_iter()
            .filter_map(|cpu| libc::c_int::try_from(cpu).ok())
            .map(on_cpu)
            .collect(),
    };
    let open = |place| {
        event(&attributes, None, place).and_then(|event| with_program(event, program, hook.cookie))
    };
    Ok(places.into_iter().map(open).collect())
}

fn event(
    attributes: &PerfEventAttributes,
    text: Option<&std::ffi::CStr>,
    place: PerfPlace,
) -> Made {
    sys::perf_event_open(attributes, text, place)
}

fn with_program(event: OwnedFd, program: &KernelProgram, cookie: u64) -> Made {
    let request = LinkCreate {
        prog_fd: fd_number(program.as_fd()),
        target: fd_number(event.as_fd()),
        attach_type: AttachKind::from_kernel_name("PERF_EVENT").map_or(0, |kind| kind.0),
        flags: 0,
    };
    let arm = Arm::Cookie(CookieArm { bpf_cookie: cookie });
    let holder = match sys::link_create(&request, &arm) {
        Ok(link) => {
            // The link keeps the event, so our descriptor may go.
            sys::perf_event_enable(event.as_fd())?;
            return Ok(link);
        }
        Err(Errno::EINVAL) if cookie == 0 && !host::is_at_least("5.15") => event,
        Err(errno) => return Err(errno),
    };
    sys::perf_event_set_program(holder.as_fd(), program.as_fd())?;
    sys::perf_event_enable(holder.as_fd())?;
    Ok(holder)
}

/// A sort of event whose number differs from machine to machine.
struct Unit {
    event_type: u32,
    return_bit: u32,
}

impl Unit {
    fn probe(&self, is_return: bool) -> PerfEventAttributes {
        PerfEventAttributes {
            event_type: self.event_type,
            config: u64::from(is_return) << self.return_bit,
            flags: DISABLED,
            ..PerfEventAttributes::default()
        }
    }
}

impl Unit {
    /// What says that the event is a return, with the position of the counter in the upper half.
    ///
    /// KERNEL: 6.18 shows `ref_ctr_offset` as `config:32-63`; before 4.20 there were no counters.
    fn with_counter(&self, is_return: bool, counter: Option<u64>) -> Result<u64, Error> {
        let plain = self.probe(is_return).config;
        match counter {
            None => Ok(plain),
            Some(at) if at < 1 << 32 => Ok(plain | at << 32),
            Some(at) => Err(refusal::counter_too_far(at)),
        }
    }
}

fn unit(name: &str) -> Result<Unit, Error> {
    let folder = Path::new("/sys/bus/event_source/devices").join(name);
    let number = |file: &str, prefix: &str| {
        let text = fs::read_to_string(folder.join(file)).ok()?;
        text.trim().strip_prefix(prefix)?.parse().ok()
    };
    let event_type = number("type", "").ok_or_else(|| refusal::no_unit(name))?;
    Ok(Unit {
        event_type,
        return_bit: number("format/retprobe", "config:").unwrap_or(0),
    })
}

/// An event that is not about one process: it must be opened on some CPU.
const ANYWHERE: PerfPlace = PerfPlace { thread: -1, cpu: 0 };
const TYPE_TRACEPOINT: u32 = 2;
/// Bits of the word of flags in `struct perf_event_attr`.
const DISABLED: u64 = 1;
const FREQUENCY: u64 = 1 << 10;
