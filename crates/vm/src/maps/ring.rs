//! Ring buffers: records from programs to the host, in the order in which they were reserved.
//!
//! ```text
//!  window:   [ data ........ ][ data of a record that goes on behind the end ]     twice the size
//!  host:     headers, one for every 8 bytes: length, committed, discarded;  positions
//! ```
//!
//! The kernel maps a ring's pages twice so that records are contiguous. Here the second half is memory of its own: a
//! record lies where it starts and simply goes on, and nobody looks at the bytes it would have aliased. Headers and positions
//! are the host's alone, so nothing a program writes can mislead the reader.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, compiler_fence, fence};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use twinbpf_object::{Errno, MapSpec};
use zerocopy::FromZeros;

use super::bell::Bell;
use super::kind::Behaviour;
use super::producer::{Producer, Step};
use crate::window::{Extent, ProgramAccess, Window, barrier_for_all, has_barrier_for_all};

/// Bytes of a record's header, which programs never see but positions count.
const HEADER_BYTES: u64 = 8;
/// KERNEL: longest record, a quarter of 2^32 (`RINGBUF_MAX_RECORD_SZ`, 6.18).
const MOST_BYTES: u32 = u32::MAX / 4;
/// In a header: the record is whole.
const COMMITTED: u32 = 1 << 31;
/// In a header: the record is to be skipped.
const DISCARDED: u32 = 1 << 30;

/// How long a reader sleeps that may miss its wake-up.
const UNSURE_WAIT: Duration = Duration::from_millis(1);

/// `BPF_RB_NO_WAKEUP`
const NO_WAKEUP: u64 = 1;
/// `BPF_RB_FORCE_WAKEUP`
const FORCE_WAKEUP: u64 = 2;

#[derive(Debug)]
pub(crate) struct Ring {
    data: Extent,
    size: u64,
    producer: Apart<Producer>,
    consumer: Apart<AtomicU64>,
    headers: Box<[AtomicU32]>,
    /// Whether a reader that goes to sleep makes the fence for the programs, too.
    is_one_sided: bool,
    /// Held by the one reader; copies of records are made in it.
    reader: Mutex<Vec<u8>>,
    wakeups: Mutex<u64>,
    wakeup: Condvar,
    bell: Bell,
}

/// Something on cache lines of its own: programs write one side, the reader the other.
#[derive(Debug)]
#[repr(align(128))]
struct Apart<T>(T);

/// A record that a program is writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    /// Address of the data.
    pub(crate) address: u32,
    /// Bytes of the data.
    pub(crate) len: u32,
    position: u64,
}

impl Ring {
    pub(super) fn new(window: &Arc<Window>, spec: &MapSpec) -> Result<Self, Errno> {
        let size = u64::from(spec.max_entries);
        let words = usize::try_from(size / HEADER_BYTES).map_err(|_| Errno::ENOMEM)?;
        Ok(Self {
            data: window.allocate(2 * size, ProgramAccess::ReadWrite)?,
            size,
            producer: Apart(Producer::new()),
            consumer: Apart(AtomicU64::new(0)),
            headers: <[AtomicU32]>::new_box_zeroed_with_elems(words).map_err(|_| Errno::ENOMEM)?,
            is_one_sided: has_barrier_for_all(),
            reader: Mutex::default(),
            wakeups: Mutex::default(),
            wakeup: Condvar::new(),
            bell: Bell::default(),
        })
    }

    /// Room for a record of a program on this CPU slot; `None` if there is none.
    #[inline]
    pub(crate) fn reserve(&self, len: u64, cpu: u32) -> Option<Record> {
        let len = u32::try_from(len).ok().filter(|len| *len <= MOST_BYTES)?;
        let whole = (u64::from(len) + HEADER_BYTES).next_multiple_of(HEADER_BYTES);
        let step = Step {
            bytes: whole,
            // KERNEL: one byte less than the size can be in use (6.18).
            most: self.size - 1,
            consumer: &self.consumer.0,
        };
        let position = self.producer.0.advance(cpu, step)?;
        let offset = u32::try_from(self.place(position) + HEADER_BYTES).ok()?;
        let address = self.data.start().checked_add(offset)?;
        Some(Record {
            address,
            len,
            position,
        })
    }

    /// Hands a record to the reader, or has it skipped.
    #[inline]
    pub(crate) fn commit(&self, record: Record, is_discarded: bool, flags: u64) {
        let discarded = if is_discarded { DISCARDED } else { 0 };
        let word = record.len | COMMITTED | discarded;
        let header = self.header(record.position);
        // Either the reader sees this record, or we see that it has caught up: each side looks only after its own word has left for
        // the other. Where the host has a barrier for all threads, the reader's covers us (`wait`); records are many, and
        // readers that go to sleep are few.
        if self.is_one_sided {
            header.store(word, Ordering::Release);
            compiler_fence(Ordering::SeqCst);
        } else {
            header.swap(word, Ordering::SeqCst);
        }
        // KERNEL: the reader is woken when it had read everything before this record, or always or never, as flags say.
        let is_caught_up = self.consumer.0.load(Ordering::SeqCst) == record.position;
        if flags & FORCE_WAKEUP != 0 || (is_caught_up && flags & NO_WAKEUP == 0) {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        *self.wakeups.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.wakeup.notify_all();
        // Either we see the bell that a reader has just hung up, or it sees our record (`descriptor`).
        fence(Ordering::SeqCst);
        self.bell.ring();
    }

    /// Copies a whole record in.
    pub(crate) fn output(&self, bytes: &[u8], flags: u64, cpu: u32) -> Result<(), Errno> {
        let len = u64::try_from(bytes.len()).map_err(|_| Errno::E2BIG)?;
        let record = self.reserve(len, cpu).ok_or(Errno::EAGAIN)?;
        let offset = usize::try_from(record.address - self.data.start()).unwrap_or(usize::MAX);
        let copied = self.data.host().copy_in(offset, bytes);
        self.commit(record, copied.is_none(), flags);
        copied.ok_or(Errno::EFAULT)
    }

    /// What `bpf_ringbuf_query` answers; 0 for an unknown question.
    pub(crate) fn query(&self, question: u64) -> u64 {
        let consumer = self.consumer.0.load(Ordering::Acquire);
        let producer = self.producer.0.get();
        match question {
            0 => producer.saturating_sub(consumer),
            1 => self.size,
            2 => consumer,
            3 => producer,
            _ => 0,
        }
    }

    /// Hands every record that is ready to `use_record`, until it says stop or `most` were read.
    pub(super) fn drain(&self, most: usize, mut use_record: impl FnMut(&[u8]) -> bool) -> usize {
        let mut copy = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        self.bell.silence();
        let read = self.read(most, &mut copy, &mut use_record);
        self.ring_if_ready();
        read
    }

    fn read(
        &self,
        most: usize,
        copy: &mut Vec<u8>,
        use_record: &mut impl FnMut(&[u8]) -> bool,
    ) -> usize {
        let mut read = 0;
        while read < most {
            let position = self.consumer.0.load(Ordering::Relaxed);
            if position == self.producer.0.get() {
                break;
            }
            let header = self.header(position);
            let state = header.load(Ordering::Acquire);
            if state & COMMITTED == 0 {
                break;
            }
            let len = state & !(COMMITTED | DISCARDED);
            let whole = (u64::from(len) + HEADER_BYTES).next_multiple_of(HEADER_BYTES);
            let mut goes_on = true;
            if state & DISCARDED == 0 {
                // A header's length was checked against the ring's size when the record was reserved.
                copy.resize(usize::try_from(len).unwrap_or(0), 0);
                let offset = usize::try_from(self.place(position) + HEADER_BYTES).unwrap_or(0);
                if self.data.host().copy_out(offset, copy).is_some() {
                    goes_on = use_record(copy);
                    read += 1;
                }
            }
            header.store(0, Ordering::Relaxed);
            self.consumer.0.store(position + whole, Ordering::Release);
            if !goes_on {
                break;
            }
        }
        read
    }

    /// A descriptor that is readable when the reader is to look, made when it is first asked for.
    pub(super) fn descriptor(&self) -> Result<BorrowedFd<'_>, Errno> {
        self.bell.hang_up()?;
        self.ring_if_ready();
        self.bell.descriptor().ok_or(Errno::EBADF)
    }

    /// Has a reader come that waits on the descriptor, if there is something, or if nobody can know.
    fn ring_if_ready(&self) {
        if self.bell.is_hung_up() && (!self.is_sure() || self.is_ready()) {
            self.bell.ring();
        }
    }

    /// Whether from here on a record is seen by us, or whoever commits it sees that we have caught up.
    fn is_sure(&self) -> bool {
        !self.is_one_sided || barrier_for_all()
    }

    /// Waits until a program wakes the reader, or for `timeout`; whether something may be there.
    pub(super) fn wait(&self, timeout: Duration) -> bool {
        let wakeups = self.wakeups.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_ready() {
            return true;
        }
        // Without the barrier nobody knows, so nobody sleeps for long.
        let is_sure = self.is_sure();
        if self.is_ready() {
            return true;
        }
        let timeout = if is_sure {
            timeout
        } else {
            timeout.min(UNSURE_WAIT)
        };
        let before = *wakeups;
        let waited = self
            .wakeup
            .wait_timeout_while(wakeups, timeout, |now| *now == before);
        drop(waited);
        self.is_ready()
    }

    fn is_ready(&self) -> bool {
        // Between the position that `drain` published and the header that is looked at; see `commit`.
        fence(Ordering::SeqCst);
        let position = self.consumer.0.load(Ordering::Acquire);
        position != self.producer.0.get()
            && self.header(position).load(Ordering::Acquire) & COMMITTED != 0
    }

    fn header(&self, position: u64) -> &AtomicU32 {
        // The place is below the size, whose eighth part is the number of headers.
        let index = usize::try_from(self.place(position) / HEADER_BYTES).unwrap_or(0);
        &self.headers[index]
    }

    /// Where in the ring a position is: its size is a power of two.
    fn place(&self, position: u64) -> u64 {
        position & (self.size - 1)
    }
}

/// Callers do not reach records through keys.
impl Behaviour for Ring {}
