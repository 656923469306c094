//! Perf buffers: records from programs over perf events, one buffer for each CPU.
//!
//! ```text
//!  page 0: data_head, data_tail | data, a power of two of pages
//! ```
//!
//! The usual buffer keeps what is there and counts what does not fit; the kernel writes upwards. One that overwrites keeps what is
//! newest: the kernel writes downwards, so that the newest record is always where `data_head` points, and is stopped
//! while we look.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use twinbpf_object::{Errno, MapKind};
use twinbpf_shm::{ReadOnlyBytes, SharedBytes};

use crate::attr::PerfEventAttributes;
use crate::host;
use crate::map::KernelMap;
use crate::ring_memory::{Readable, Writable};
use crate::sys::{self, PerfPlace};

/// The buffers of all CPUs.
#[derive(Debug)]
pub struct KernelPerfBuffer {
    map: KernelMap,
    cpus: Vec<CpuBuffer>,
    scratch: Vec<u8>,
}

/// What a pass brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PerfPass {
    /// Records that were shown.
    pub records: usize,
    /// Records that did not fit since the last pass.
    pub lost: u64,
}

#[derive(Debug)]
struct CpuBuffer {
    cpu: u32,
    event: OwnedFd,
    memory: Memory,
    size: u64,
}

#[derive(Debug)]
enum Memory {
    Keeping(Writable),
    Overwriting {
        mapping: Readable,
        /// Where the newest record was at the last pass.
        seen: u64,
    },
}

/// A place to read from, whichever way it is mapped.
#[derive(Clone, Copy)]
enum View {
    Shared(SharedBytes),
    ReadOnly(ReadOnlyBytes),
}

impl KernelPerfBuffer {
    /// Opens an event on each CPU and puts it into the map. `pages` is a power of two; `is_overwriting` keeps the newest records
    /// instead of the oldest.
    ///
    /// # Errors
    ///
    /// The kernel's number; `EINVAL` if the map is no perf event array or the number of pages no power of two.
    pub fn open(map: &KernelMap, pages: usize, is_overwriting: bool) -> Result<Self, Errno> {
        if map.spec().kind != MapKind::PerfEventArray || !pages.is_power_of_two() {
            return Err(Errno::EINVAL);
        }
        let online = host::online_cpus().map_err(|error| error.errno().unwrap_or(Errno::EIO))?;
        let mut cpus = Vec::new();
        for cpu in online
            .into_iter()
            .filter(|cpu| *cpu < map.spec().max_entries)
        {
            let buffer = CpuBuffer::open(cpu, pages, is_overwriting)?;
            let number = std::os::fd::AsRawFd::as_raw_fd(&buffer.event);
            map.update(&cpu.to_ne_bytes(), &number.to_ne_bytes(), 0)?;
            sys::perf_event_enable(buffer.event.as_fd())?;
            cpus.push(buffer);
        }
        Ok(Self {
            map: map.clone(),
            cpus,
            scratch: Vec::new(),
        })
    }

    /// Shows the records of all CPUs, with the CPU of each, until `look` says no. Those of one CPU are in order.
    ///
    /// # Errors
    ///
    /// The kernel's number.
    pub fn drain(&mut self, mut look: impl FnMut(u32, &[u8]) -> bool) -> Result<PerfPass, Errno> {
        let mut pass = PerfPass::default();
        for buffer in &mut self.cpus {
            let goes_on = match &buffer.memory {
                Memory::Keeping(_) => buffer.drain(&mut self.scratch, &mut pass, &mut look)?,
                Memory::Overwriting { .. } => {
                    buffer.drain_newest(&mut self.scratch, &mut pass, &mut look)?
                }
            };
            if !goes_on {
                break;
            }
        }
        Ok(pass)
    }

    /// Waits until a CPU has a record, at most for `timeout`.
    ///
    /// # Errors
    ///
    /// The kernel's number.
    pub fn wait(&self, timeout: Duration) -> Result<bool, Errno> {
        let events = self.cpus.iter().map(|buffer| &buffer.event);
        let mut waiting: Vec<PollFd<'_>> = events
            .map(|event| PollFd::new(event, PollFlags::IN))
            .collect();
        // A time too long for the kernel is for ever.
        let timeout = Timespec::try_from(timeout).ok();
        match poll(&mut waiting, timeout.as_ref()) {
            Ok(count) => Ok(count > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(Errno(error.raw_os_error())),
        }
    }

    /// The descriptors to wait on with others, one for each CPU.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.cpus.iter().map(|buffer| buffer.event.as_fd())
    }
}

impl Drop for KernelPerfBuffer {
    fn drop(&mut self) {
        for buffer in &self.cpus {
            // Somebody else may have put another event there meanwhile, or removed ours; either way it is not ours any more.
            let _ = self.map.delete(&buffer.cpu.to_ne_bytes());
        }
    }
}

impl CpuBuffer {
    fn open(cpu: u32, pages: usize, is_overwriting: bool) -> Result<Self, Errno> {
        let attributes = PerfEventAttributes {
            event_type: SOFTWARE,
            config: BPF_OUTPUT,
            sample_period: 1,
            sample_type: SAMPLE_RAW,
            flags: if is_overwriting { WRITE_BACKWARD } else { 0 },
            wakeup_events: 1,
            ..PerfEventAttributes::default()
        };
        let place = PerfPlace {
            thread: -1,
            cpu: libc::c_int::try_from(cpu).map_err(|_| Errno::EINVAL)?,
        };
        let event = sys::perf_event_open(&attributes, None, place)?;
        let data = pages.checked_mul(page_bytes()).ok_or(Errno::ENOMEM)?;
        let len = data.checked_add(page_bytes()).ok_or(Errno::ENOMEM)?;
        let memory = match is_overwriting {
            false => Memory::Keeping(Writable::new(event.as_fd(), 0, len)?),
            true => Memory::Overwriting {
                mapping: Readable::new(event.as_fd(), 0, len)?,
                seen: 0,
            },
        };
        Ok(Self {
            cpu,
            event,
            memory,
            size: u64::try_from(data).map_err(|_| Errno::ENOMEM)?,
        })
    }

    fn view(&self) -> View {
        match &self.memory {
            Memory::Keeping(mapping) => View::Shared(mapping.bytes()),
            Memory::Overwriting { mapping, .. } => View::ReadOnly(mapping.bytes()),
        }
    }

    fn drain(
        &self,
        scratch: &mut Vec<u8>,
        pass: &mut PerfPass,
        look: &mut impl FnMut(u32, &[u8]) -> bool,
    ) -> Result<bool, Errno> {
        let Memory::Keeping(mapping) = &self.memory else {
            return Ok(true);
        };
        let (view, page) = (self.view(), mapping.bytes());
        let head = page.load_acquire_u64(DATA_HEAD).ok_or(Errno::EFAULT)?;
        let mut tail = page.load_acquire_u64(DATA_TAIL).ok_or(Errno::EFAULT)?;
        let mut goes_on = true;
        while goes_on && tail < head {
            let whole = self.record(view, tail, head - tail, scratch)?;
            goes_on = shown(scratch, self.cpu, pass, look);
            tail += whole;
        }
        page.store_release_u64(DATA_TAIL, tail)
            .ok_or(Errno::EFAULT)?;
        Ok(goes_on)
    }

    /// What was written since the last pass, as far as it is still there: from the newest to the oldest in memory.
    fn drain_newest(
        &mut self,
        scratch: &mut Vec<u8>,
        pass: &mut PerfPass,
        look: &mut impl FnMut(u32, &[u8]) -> bool,
    ) -> Result<bool, Errno> {
        sys::perf_event_pause(self.event.as_fd(), true)?;
        let records = self.newest(scratch);
        sys::perf_event_pause(self.event.as_fd(), false)?;
        let mut goes_on = true;
        for record in records?.iter().rev() {
            goes_on = goes_on && shown(record, self.cpu, pass, look);
        }
        Ok(goes_on)
    }

    fn newest(&mut self, scratch: &mut Vec<u8>) -> Result<Vec<Vec<u8>>, Errno> {
        let view = self.view();
        let head = view.word(DATA_HEAD).ok_or(Errno::EFAULT)?;
        let Memory::Overwriting { seen, .. } = &mut self.memory else {
            return Ok(Vec::new());
        };
        // The kernel writes downwards from 0, so the distance to what was seen is what is new.
        let mut left = seen.wrapping_sub(head).min(self.size);
        *seen = head;
        let (mut at, mut records) = (head, Vec::new());
        while left >= HEADER_BYTES {
            // The oldest one may be overwritten in part: it does not fit what is left.
            let Ok(whole) = self.record(view, at, left, scratch) else {
                break;
            };
            records.push(scratch.clone());
            (at, left) = (at.wrapping_add(whole), left - whole);
        }
        Ok(records)
    }

    /// Copies the record at a position; the answer is its length. A length that cannot be is `EPROTO`.
    fn record(&self, view: View, at: u64, most: u64, scratch: &mut Vec<u8>) -> Result<u64, Errno> {
        let mut header = [0; 8];
        self.copy(view, at, &mut header)?;
        let whole = u64::from(u16::from_ne_bytes([header[6], header[7]]));
        if whole < HEADER_BYTES || whole > most {
            return Err(Errno::EPROTO);
        }
        scratch.resize(usize::try_from(whole).map_err(|_| Errno::EPROTO)?, 0);
        self.copy(view, at, scratch)?;
        Ok(whole)
    }

    /// Copies from the ring, around its end if need be.
    fn copy(&self, view: View, at: u64, to: &mut [u8]) -> Result<(), Errno> {
        let place = |position: u64| usize::try_from(position).map_err(|_| Errno::EFAULT);
        let start = place(at & (self.size - 1))?;
        let before_end = place(self.size)?.saturating_sub(start).min(to.len());
        let (first, second) = to.split_at_mut(before_end);
        let data = page_bytes();
        view.copy_out(data + start, first)
            .and_then(|()| view.copy_out(data, second))
            .ok_or(Errno::EFAULT)
    }
}

impl View {
    fn word(self, offset: usize) -> Option<u64> {
        match self {
            Self::Shared(bytes) => bytes.load_acquire_u64(offset),
            Self::ReadOnly(bytes) => bytes.load_acquire_u64(offset),
        }
    }

    fn copy_out(self, offset: usize, to: &mut [u8]) -> Option<()> {
        match self {
            Self::Shared(bytes) => bytes.copy_out(offset, to),
            Self::ReadOnly(bytes) => bytes.copy_out(offset, to),
        }
    }
}

/// Shows a record, or counts what it says was lost; whether to go on.
fn shown(
    record: &[u8],
    cpu: u32,
    pass: &mut PerfPass,
    look: &mut impl FnMut(u32, &[u8]) -> bool,
) -> bool {
    let word = |at: usize| {
        record
            .get(at..)?
            .first_chunk()
            .map(|bytes| u32::from_ne_bytes(*bytes))
    };
    match word(0) {
        Some(SAMPLE) => {
            let len = word(8).and_then(|len| usize::try_from(len).ok());
            let Some(bytes) = len.and_then(|len| record.get(12..)?.get(..len)) else {
                return true;
            };
            pass.records += 1;
            look(cpu, bytes)
        }
        Some(LOST) => {
            let lost = record.get(16..).and_then(|rest| rest.first_chunk());
            pass.lost += lost.map_or(0, |bytes| u64::from_ne_bytes(*bytes));
            true
        }
        _ => true,
    }
}

fn page_bytes() -> usize {
    rustix::param::page_size()
}

/// `PERF_TYPE_SOFTWARE`
const SOFTWARE: u32 = 1;
/// `PERF_COUNT_SW_BPF_OUTPUT`
const BPF_OUTPUT: u64 = 10;
/// `PERF_SAMPLE_RAW`
const SAMPLE_RAW: u64 = 1 << 10;
/// The bit field `write_backward`.
const WRITE_BACKWARD: u64 = 1 << 27;
/// `data_head` of `struct perf_event_mmap_page`.
const DATA_HEAD: usize = 1024;
/// `data_tail`, behind it.
const DATA_TAIL: usize = 1032;
/// `struct perf_event_header`: type, misc, size.
const HEADER_BYTES: u64 = 8;
/// `PERF_RECORD_LOST`
const LOST: u32 = 2;
/// `PERF_RECORD_SAMPLE`
const SAMPLE: u32 = 9;
