//! Ring buffers: records from programs, in order, of either engine.
//!
//! A record is lent where it lies and copied at most once, into the caller's own type: its memory is written again as soon as it
//! is given back, so no reference to it is ever made.
//!
//! Waiting has three pitfalls, and [`RawRing::serve`] knows them. A program may ask that nobody be woken, so what came is looked
//! for also after a wait in vain. A reader that is too eager takes the cache line of the positions away from the writer with
//! each look, so after a short harvest it rests. And a record whose writer is not done makes the ring ready without anything
//! to read, so then it rests too.

use std::fmt;
use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use twinbpf_kernel::{KernelRing, RecordView};
use twinbpf_object::{Code, Diagnosis, Errno, Error, Result};
use twinbpf_vm::VmMap;
use zerocopy::FromBytes;

use crate::map_error::named;
use crate::map_value::with_room;
use crate::raw_map::{MapHandle, RawMap};

/// The reading end of a ring buffer, its records as bytes. There should be one: two readers of the same ring share the
/// records between them.
#[derive(Debug)]
pub struct RawRing {
    map: RawMap,
    handle: RingHandle,
}

/// The set of engines is closed.
#[derive(Debug)]
enum RingHandle {
    Kernel(Box<KernelRing>),
    Vm(VmMap),
}

/// A record of a ring buffer, where it lies.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a>(RecordHandle<'a>);

#[derive(Debug, Clone, Copy)]
enum RecordHandle<'a> {
    Kernel(RecordView<'a>),
    Bytes(&'a [u8]),
}

/// Fewer records than this at a time are a short harvest.
const HARVEST: usize = 64;
/// How long to rest after one: less than a reader notices, more than a hundred records take to come.
const REST: Duration = Duration::from_micros(50);
/// After so long, what came without waking anybody is looked for.
const LONGEST_SLEEP: Duration = Duration::from_millis(100);

impl RawRing {
    /// Opens a ring buffer for reading. It goes on where the last reader stopped.
    ///
    /// # Errors
    ///
    /// If the map is no ring buffer that programs write, or its memory cannot be mapped.
    pub fn open(map: &RawMap) -> Result<Self> {
        let handle = match &map.0 {
            MapHandle::Kernel(kernel) => KernelRing::open(kernel)
                .map(|ring| RingHandle::Kernel(Box::new(ring)))
                .map_err(|errno| not_opened(map, errno))?,
            MapHandle::Vm(vm) => {
                vm.drain_ring(0, |_| false)
                    .map_err(|errno| not_opened(map, errno))?;
                RingHandle::Vm(vm.clone())
            }
        };
        Ok(Self {
            map: map.clone(),
            handle,
        })
    }

    /// Shows all records that are ready to `look`, until it breaks off; does not wait. The answer is how many there were.
    ///
    /// # Errors
    ///
    /// If somebody else reads the ring at the same time and left it in disorder.
    pub fn drain(&mut self, mut look: impl FnMut(Record<'_>) -> ControlFlow<()>) -> Result<usize> {
        let drained = match &mut self.handle {
            RingHandle::Kernel(ring) => {
                ring.drain(|record| look(Record(RecordHandle::Kernel(record))))
            }
            RingHandle::Vm(map) => map.drain_ring(usize::MAX, |bytes| {
                look(Record(RecordHandle::Bytes(bytes))).is_continue()
            }),
        };
        drained.map_err(|errno| refused(&self.map, "reading the ring buffer", errno))
    }

    /// Waits until there may be a record, at most for `timeout`. Look also if the answer is false: programs may ask that nobody be
    /// woken.
    ///
    /// # Errors
    ///
    /// If the engine refuses.
    pub fn wait(&self, timeout: Duration) -> Result<bool> {
        let waited = match &self.handle {
            RingHandle::Kernel(ring) => ring.wait(timeout),
            RingHandle::Vm(map) => map.wait_for_ring(timeout),
        };
        waited.map_err(|errno| refused(&self.map, "waiting for records", errno))
    }

    /// Shows records to `look` as they come, until it breaks off or `timeout` is over. The answer is how many there were.
    ///
    /// # Errors
    ///
    /// As [`RawRing::drain`].
    pub fn serve(
        &mut self,
        timeout: Duration,
        mut look: impl FnMut(Record<'_>) -> ControlFlow<()>,
    ) -> Result<usize> {
        // A time too long to be counted is for ever.
        let deadline = Instant::now().checked_add(timeout);
        let (mut total, mut is_over, mut was_woken) = (0, false, false);
        loop {
            let found = self.drain(|record| {
                let flow = look(record);
                is_over |= flow.is_break();
                flow
            })?;
            total += found;
            let left = deadline.map_or(Duration::MAX, |deadline| {
                deadline.saturating_duration_since(Instant::now())
            });
            if is_over || left.is_zero() {
                return Ok(total);
            }
            let is_unfinished = found == 0 && was_woken;
            was_woken = false;
            if is_unfinished || (found > 0 && found < HARVEST) {
                std::thread::sleep(REST.min(left));
            } else if found == 0 {
                was_woken = self.wait(LONGEST_SLEEP.min(left))?;
            }
        }
    }

    /// The descriptor to wait on with others, readable when there is a record. Drain until there is nothing, then wait; and look now
    /// and then also if nothing happens: programs may ask that nobody be woken. A ring of the vm has one from the first
    /// time that somebody asks, and each drain costs two or three system calls from then on.
    ///
    /// # Errors
    ///
    /// If the vm can open no more descriptors.
    pub fn descriptor(&self) -> Result<BorrowedFd<'_>> {
        match &self.handle {
            RingHandle::Kernel(ring) => Ok(ring.as_fd()),
            RingHandle::Vm(map) => map
                .records_descriptor()
                .map_err(|errno| refused(&self.map, "opening a descriptor to wait on", errno)),
        }
    }

    /// The map it is.
    pub fn map(&self) -> &RawMap {
        &self.map
    }
}

impl<'a> Record<'a> {
    /// A record in memory of our own.
    pub(crate) fn of_bytes(bytes: &'a [u8]) -> Self {
        Self(RecordHandle::Bytes(bytes))
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        match &self.0 {
            RecordHandle::Kernel(record) => record.len(),
            RecordHandle::Bytes(bytes) => bytes.len(),
        }
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies its first bytes into all of `to`; false if there are fewer.
    pub fn copy_to(&self, to: &mut [u8]) -> bool {
        match &self.0 {
            RecordHandle::Kernel(record) => record.copy_to(to),
            RecordHandle::Bytes(bytes) => match bytes.get(..to.len()) {
                Some(bytes) => {
                    to.copy_from_slice(bytes);
                    true
                }
                None => false,
            },
        }
    }

    /// A copy of its bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len()];
        // The length is the record's own.
        let _ = self.copy_to(&mut bytes);
        bytes
    }

    /// The value that its first bytes are; `None` if there are fewer.
    pub fn read<T: FromBytes>(&self) -> Option<T> {
        with_room(size_of::<T>(), |room| {
            self.copy_to(room)
                .then(|| T::read_from_bytes(room).ok())
                .flatten()
        })
    }
}

/// The reading end of a ring buffer whose records are `T`s, or begin with one.
///
/// ```
/// use std::ops::ControlFlow;
/// use std::time::Duration;
/// use twinbpf::zerocopy::{FromBytes, IntoBytes};
/// use twinbpf::{Engine, Object, Ring, TestInput};
///
/// #[derive(Debug, FromBytes)]
/// #[repr(C)]
/// struct Event {
///     number: u64,
///     writer: u32,
///     kind: u32,
/// }
///
/// let mut object = Object::parse(&std::fs::read("../../testdata/bpf/events.bpf.o")?)?;
/// object.set_variable("count", 3u32.as_bytes())?;
/// let loaded = Engine::vm()?.load_object(&object)?;
/// let mut ring = Ring::<Event>::open(loaded.raw_map("ring")?)?;
///
/// let packet = TestInput { data: &[0; 64], ..TestInput::default() };
/// loaded.program("send")?.test_run(&packet)?;
/// let mut numbers = Vec::new();
/// ring.serve(Duration::from_secs(1), |event| {
///     numbers.push(event.number);
///     if numbers.len() < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
/// })?;
/// assert_eq!(numbers, [0, 1, 2]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Ring<T> {
    raw: RawRing,
    types: PhantomData<fn() -> T>,
}

impl<T: FromBytes> Ring<T> {
    /// As [`RawRing::open`].
    ///
    /// # Errors
    ///
    /// As [`RawRing::open`].
    pub fn open(map: &RawMap) -> Result<Self> {
        Ok(Self {
            raw: RawRing::open(map)?,
            types: PhantomData,
        })
    }

    /// As [`RawRing::drain`].
    ///
    /// # Errors
    ///
    /// If a record has fewer bytes than `T`; it is gone, those behind it are not. Else as [`RawRing::drain`].
    pub fn drain(&mut self, mut look: impl FnMut(T) -> ControlFlow<()>) -> Result<usize> {
        let mut wrong = None;
        let count = self
            .raw
            .drain(|record| typed(record, &mut look, &mut wrong))?;
        self.judge(count, wrong)
    }

    /// As [`RawRing::serve`].
    ///
    /// # Errors
    ///
    /// As [`Ring::drain`].
    pub fn serve(
        &mut self,
        timeout: Duration,
        mut look: impl FnMut(T) -> ControlFlow<()>,
    ) -> Result<usize> {
        let mut wrong = None;
        let count = self
            .raw
            .serve(timeout, |record| typed(record, &mut look, &mut wrong))?;
        self.judge(count, wrong)
    }

    /// The next record, waited for at most for `timeout`.
    ///
    /// # Errors
    ///
    /// As [`Ring::drain`].
    pub fn next_within(&mut self, timeout: Duration) -> Result<Option<T>> {
        let mut next = None;
        self.serve(timeout, |record| {
            next = Some(record);
            ControlFlow::Break(())
        })?;
        Ok(next)
    }

    /// The ring in bytes.
    pub fn raw(&mut self) -> &mut RawRing {
        &mut self.raw
    }

    /// The ring in bytes, for good.
    pub fn into_raw(self) -> RawRing {
        self.raw
    }

    fn judge(&self, count: usize, wrong: Option<usize>) -> Result<usize> {
        wrong.map_or(Ok(count), |len| Err(too_short::<T>(&self.raw.map, len)))
    }
}

impl<T> fmt::Debug for Ring<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ring").field(&self.raw).finish()
    }
}

/// Shows a record as a `T`; one that is too short ends the pass.
fn typed<T: FromBytes>(
    record: Record<'_>,
    look: &mut impl FnMut(T) -> ControlFlow<()>,
    wrong: &mut Option<usize>,
) -> ControlFlow<()> {
    match record.read() {
        Some(value) => look(value),
        None => {
            *wrong = Some(record.len());
            ControlFlow::Break(())
        }
    }
}

/// What is wrong with a record of `len` bytes.
pub(crate) fn too_short<T>(map: &RawMap, len: usize) -> Error {
    let message = format!(
        "a record has {len} bytes, `{}` has {}",
        std::any::type_name::<T>(),
        size_of::<T>()
    );
    named(map.spec(), Diagnosis::new(Code::MAP_TYPE_SIZE, message)).into()
}

/// Why a ring cannot be opened.
pub(crate) fn not_opened(map: &RawMap, errno: Errno) -> Error {
    if errno != Errno::EINVAL {
        return refused(map, "mapping the ring buffer", errno);
    }
    let message = format!(
        "a map of type {} is not read or written like this",
        map.spec().kind
    );
    let diagnosis = Diagnosis::new(Code::MAP_OPERATION, message);
    named(map.spec(), diagnosis).errno(errno).into()
}

pub(crate) fn refused(map: &RawMap, doing: &str, errno: Errno) -> Error {
    let message = match errno {
        Errno::EPROTO => format!("{doing}: it was in disorder, because somebody else reads it too"),
        _ => format!("{doing} was refused"),
    };
    named(map.spec(), Diagnosis::new(Code::MAP_OPERATION, message))
        .errno(errno)
        .into()
}
