//! Ring buffers of the kernel: the reading end of those that programs write, the writing end of those that they read.
//!
//! The protocol is `twinbpf_object::ring`; here are its words in mapped memory, and waiting.

use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use twinbpf_object::ring::{Reader, Room, Step, Writer};
use twinbpf_object::{Errno, MapKind};

use crate::map::KernelMap;
use crate::ring_memory::{Readable, RecordView, Writable};

/// The reading end of a ring buffer.
#[derive(Debug)]
pub struct KernelRing {
    map: KernelMap,
    consumer: Writable,
    data: Readable,
    reader: Reader,
}

impl KernelRing {
    /// Maps the ring. It goes on where the last reader stopped.
    ///
    /// # Errors
    ///
    /// The kernel's number; `EINVAL` if the map is no ring buffer.
    pub fn open(map: &KernelMap) -> Result<Self, Errno> {
        let (page, size) = sizes(map, MapKind::RingBuf)?;
        let consumer = Writable::new(map.as_fd(), 0, page)?;
        let data = Readable::new(map.as_fd(), page, page + 2 * size)?;
        let position = consumer.bytes().load_acquire_u64(0).ok_or(Errno::EFAULT)?;
        let bytes = u64::try_from(size).map_err(|_| Errno::EINVAL)?;
        Ok(Self {
            map: map.clone(),
            consumer,
            data,
            reader: Reader::new(bytes, position).ok_or(Errno::EINVAL)?,
        })
    }

    /// Shows the records that are ready to `look`, until it breaks off. The answer is how many there were.
    ///
    /// # Errors
    ///
    /// `EPROTO` if there is something that is no record: somebody else reads the same ring. What was there is left out.
    pub fn drain(
        &mut self,
        mut look: impl FnMut(RecordView<'_>) -> ControlFlow<()>,
    ) -> Result<usize, Errno> {
        let page = page_bytes();
        let (memory, mut count) = (self.data.bytes(), 0);
        // The next look at the producer must not come before our last store of the consumer, or a record that was written in
        // between would wake nobody.
        fence(Ordering::SeqCst);
        let consumer = self.consumer.bytes().load_acquire_u64(0);
        let producer = memory.load_acquire_u64(0);
        self.reader.begin(
            consumer.ok_or(Errno::EFAULT)?,
            producer.ok_or(Errno::EFAULT)?,
        );
        let mut result = Ok(());
        while let Some(offset) = self.reader.header_offset() {
            let Some(header) = memory.load_acquire_u32(page + offset) else {
                break;
            };
            match self.reader.step(header) {
                Step::Record { offset, len } => {
                    let Some(record) = self.data.record(page + offset, len) else {
                        break;
                    };
                    count += 1;
                    if look(record).is_break() {
                        break;
                    }
                }
                Step::Skipped => {}
                Step::Busy => break,
                Step::Malformed => {
                    self.reader.skip_all();
                    result = Err(Errno::EPROTO);
                }
            }
            self.give_back(false);
        }
        self.give_back(true);
        result.map(|()| count)
    }

    /// Waits until there may be a record, at most for `timeout`. A record whose writer wanted nobody woken may be there also if
    /// the answer is false.
    ///
    /// # Errors
    ///
    /// The kernel's number.
    pub fn wait(&self, timeout: Duration) -> Result<bool, Errno> {
        wait(self.map.as_fd(), PollFlags::IN, timeout)
    }

    /// Bytes that are written and not read, headers included.
    pub fn pending_bytes(&self) -> u64 {
        let producer = self.data.bytes().load_acquire_u64(0).unwrap_or(0);
        let consumer = self.consumer.bytes().load_acquire_u64(0).unwrap_or(0);
        producer.saturating_sub(consumer)
    }

    fn give_back(&mut self, is_pass_over: bool) {
        if let Some(position) = self.reader.give_back(is_pass_over) {
            // The page has room for it: `open` loaded from the same place.
            let _ = self.consumer.bytes().store_release_u64(0, position);
        }
    }
}

impl AsFd for KernelRing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}

/// The writing end of a ring buffer that programs read.
#[derive(Debug)]
pub struct KernelUserRing {
    map: KernelMap,
    consumer: Readable,
    data: Writable,
    writer: Writer,
}

/// Room for a record, which is given up unless it is submitted.
#[derive(Debug)]
#[must_use = "a record that is not submitted is given up"]
pub struct KernelReservation<'a> {
    ring: &'a KernelUserRing,
    room: Room,
    is_submitted: bool,
}

impl KernelUserRing {
    /// Maps the ring. It goes on where the last writer stopped.
    ///
    /// # Errors
    ///
    /// The kernel's number; `EINVAL` if the map is no ring buffer that programs read.
    pub fn open(map: &KernelMap) -> Result<Self, Errno> {
        let (page, size) = sizes(map, MapKind::UserRingBuf)?;
        let consumer = Readable::new(map.as_fd(), 0, page)?;
        let data = Writable::new(map.as_fd(), page, page + 2 * size)?;
        let position = data.bytes().load_acquire_u64(0).ok_or(Errno::EFAULT)?;
        let bytes = u64::try_from(size).map_err(|_| Errno::EINVAL)?;
        Ok(Self {
            map: map.clone(),
            consumer,
            data,
            writer: Writer::new(bytes, position).ok_or(Errno::EINVAL)?,
        })
    }

    /// Room for a record; `None` if there is none now.
    ///
    /// # Errors
    ///
    /// `E2BIG` if the ring can never hold it.
    pub fn reserve(&mut self, len: usize) -> Result<Option<KernelReservation<'_>>, Errno> {
        if !self.writer.can_ever_hold(len) {
            return Err(Errno::E2BIG);
        }
        let consumer = self.consumer.bytes().load_acquire_u64(0);
        let Some(room) = self.writer.reserve(len, consumer.ok_or(Errno::EFAULT)?) else {
            return Ok(None);
        };
        self.store_header(&room, room.busy_header);
        let stored = self.data.bytes().store_release_u64(0, room.producer);
        stored.ok_or(Errno::EFAULT)?;
        Ok(Some(KernelReservation {
            ring: self,
            room,
            is_submitted: false,
        }))
    }

    /// Waits until programs have taken something out, at most for `timeout`.
    ///
    /// # Errors
    ///
    /// The kernel's number.
    pub fn wait(&self, timeout: Duration) -> Result<bool, Errno> {
        wait(self.map.as_fd(), PollFlags::OUT, timeout)
    }

    /// The first word of a header: the length and two marks. The bytes of the record are stored before it.
    fn store_header(&self, room: &Room, header: u32) {
        // The store has the second word too, which has no meaning here: 8 bytes at a multiple of 8.
        let header = if cfg!(target_endian = "big") {
            u64::from(header) << 32
        } else {
            u64::from(header)
        };
        let at = page_bytes() + room.header_offset;
        // A header lies in the mapping: the writer computes it from the ring's size.
        let _ = self.data.bytes().store_release_u64(at, header);
    }
}

impl AsFd for KernelUserRing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}

impl KernelReservation<'_> {
    /// Bytes of the record.
    pub fn len(&self) -> usize {
        self.room.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.room.len == 0
    }

    /// Writes a part of the record; false if it does not fit.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) -> bool {
        let whole = (page_bytes() + self.room.offset, self.room.len);
        let record = self.ring.data.bytes().part(whole.0, whole.1);
        record.is_some_and(|record| record.copy_in(offset, bytes).is_some())
    }

    /// Hands the record to programs.
    pub fn submit(mut self) {
        self.is_submitted = true;
    }
}

impl Drop for KernelReservation<'_> {
    fn drop(&mut self) {
        let header = match self.is_submitted {
            true => self.room.ready_header,
            false => self.room.discarded_header,
        };
        self.ring.store_header(&self.room, header);
    }
}

/// Bytes of a page and of the ring.
fn sizes(map: &KernelMap, kind: MapKind) -> Result<(usize, usize), Errno> {
    if map.spec().kind != kind {
        return Err(Errno::EINVAL);
    }
    let size = usize::try_from(map.spec().max_entries).map_err(|_| Errno::EINVAL)?;
    Ok((page_bytes(), size))
}

fn page_bytes() -> usize {
    rustix::param::page_size()
}

/// Waits for an event on a descriptor. A signal ends the wait early, as if the time was over.
pub(crate) fn wait(
    fd: BorrowedFd<'_>,
    events: PollFlags,
    timeout: Duration,
) -> Result<bool, Errno> {
    let mut waiting = [PollFd::from_borrowed_fd(fd, events)];
    // A time too long for the kernel is for ever.
    let timeout = Timespec::try_from(timeout).ok();
    match poll(&mut waiting, timeout.as_ref()) {
        Ok(count) => Ok(count > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(Errno(error.raw_os_error())),
    }
}
