//! Records as a stream for programs that run on `tokio`, of either engine (feature `tokio`).
//!
//! A stream takes out what is there until nothing is, and only then waits: a descriptor wakes a reader that has caught up, and no
//! other. The mark that it was readable is taken away *before* looking, so what comes while we look sets it again. And as programs may ask
//! that nobody be woken, a clock wakes us now and then.

#![expect(unsafe_code, reason = "tokio is promised that a descriptor stays open")]

use std::collections::VecDeque;
use std::fmt;
use std::ops::ControlFlow;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;
use tokio::time::{Interval, MissedTickBehavior, interval};
use twinbpf_object::{Code, Diagnosis, Result};
use zerocopy::FromBytes;

use crate::map_error::named;
use crate::perf_buffer::PerfBuffer;
use crate::raw_map::RawMap;
use crate::ring::{RawRing, Record, Ring, too_short};

/// Records as they come: those of a ring buffer or of a perf buffer. It has no end.
///
/// A few records at a time are taken out before they are asked for; dropping the stream drops them.
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
/// # runtime.block_on(async {
/// use twinbpf::{Engine, Object, RawRing, TestInput};
///
/// let object = Object::parse(&std::fs::read("../../testdata/bpf/events.bpf.o")?)?;
/// let loaded = Engine::vm()?.load_object(&object)?;
/// let mut records = RawRing::open(loaded.raw_map("ring")?)?.into_stream()?;
///
/// let packet = TestInput { data: &[0; 64], ..TestInput::default() };
/// loaded.program("send")?.test_run(&packet)?;
/// assert_eq!(records.next().await?.len(), 16);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a stream takes nothing out unless it is asked"]
pub struct RecordStream<T> {
    source: Source,
    convert: fn(&RawMap, u32, Record<'_>) -> Result<T>,
    taken: VecDeque<Result<T>>,
    descriptors: Vec<AsyncFd<OwnedFd>>,
    clock: Interval,
    in_a_row: u32,
}

#[derive(Debug)]
enum Source {
    Ring(RawRing),
    Perf(PerfBuffer),
}

/// Records that are taken out at a time.
const MOST_TAKEN: usize = 64;
/// Records after which other tasks of the runtime have their turn.
const MOST_IN_A_ROW: u32 = 256;
/// After so long, what came without waking anybody is looked for.
const LONGEST_SLEEP: Duration = Duration::from_millis(100);

impl<T: FromBytes> Ring<T> {
    /// The records as a stream. A record that is too short is an error, and the stream goes on behind it.
    ///
    /// # Errors
    ///
    /// If there is no `tokio` runtime around, or no descriptor can be opened.
    ///
    /// # Panics
    ///
    /// If the runtime was built without its input and output or its clock (`enable_all`).
    pub fn into_stream(self) -> Result<RecordStream<T>> {
        RecordStream::open(Source::Ring(self.into_raw()), |map, _, record| {
            record
                .read()
                .ok_or_else(|| too_short::<T>(map, record.len()))
        })
    }
}

impl RawRing {
    /// Copies of the records as a stream.
    ///
    /// # Errors
    ///
    /// As [`Ring::into_stream`].
    ///
    /// # Panics
    ///
    /// As [`Ring::into_stream`].
    pub fn into_stream(self) -> Result<RecordStream<Vec<u8>>> {
        RecordStream::open(Source::Ring(self), |_, _, record| Ok(record.to_vec()))
    }
}

impl PerfBuffer {
    /// Copies of the records as a stream, each with its CPU.
    ///
    /// # Errors
    ///
    /// As [`Ring::into_stream`].
    ///
    /// # Panics
    ///
    /// As [`Ring::into_stream`].
    pub fn into_stream(self) -> Result<RecordStream<(u32, Vec<u8>)>> {
        RecordStream::open(Source::Perf(self), |_, cpu, record| {
            Ok((cpu, record.to_vec()))
        })
    }
}

impl<T> RecordStream<T> {
    fn open(source: Source, convert: fn(&RawMap, u32, Record<'_>) -> Result<T>) -> Result<Self> {
        let no_runtime = |error: &dyn fmt::Display| {
            let message = format!("waiting for records with tokio: {error}");
            named(
                source.map().spec(),
                Diagnosis::new(Code::MAP_OPERATION, message),
            )
        };
        Handle::try_current().map_err(|error| no_runtime(&error))?;
        let mut descriptors = Vec::new();
        for descriptor in source.descriptors()? {
            // A descriptor of its own, so that it goes when the stream goes, whoever else has the ring.
            let owned = descriptor
                .try_clone_to_owned()
                .map_err(|error| no_runtime(&error))?;
            // SAFETY: the descriptor must stay open, and be the same, for as long as the registration lives. `AsyncFd` owns it, an
            // `OwnedFd` never changes its number, and nobody here takes it out again.
            let registered = unsafe { AsyncFd::register_with_interest(owned, Interest::READABLE) };
            descriptors.push(registered.map_err(|error| no_runtime(&error))?);
        }
        let mut clock = interval(LONGEST_SLEEP);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            source,
            convert,
            taken: VecDeque::new(),
            descriptors,
            clock,
            in_a_row: 0,
        })
    }

    /// The next record. Giving up waiting loses none.
    ///
    /// # Errors
    ///
    /// As draining what it reads.
    pub async fn next(&mut self) -> Result<T> {
        std::future::poll_fn(|context| self.poll_record(context)).await
    }

    /// How many records of a perf buffer were lost so far, as far as was looked; 0 for ring buffers, whose programs know.
    pub fn lost(&self) -> u64 {
        match &self.source {
            Source::Ring(_) => 0,
            Source::Perf(buffer) => buffer.lost(),
        }
    }

    fn poll_record(&mut self, context: &mut Context<'_>) -> Poll<Result<T>> {
        loop {
            if let Some(record) = self.taken.pop_front() {
                self.in_a_row += 1;
                return Poll::Ready(record);
            }
            if self.in_a_row >= MOST_IN_A_ROW {
                self.in_a_row = 0;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.take_out()?;
            if self.taken.is_empty() {
                self.in_a_row = 0;
                ready!(self.poll_woken(context))?;
            }
        }
    }

    fn take_out(&mut self) -> Result<()> {
        let Self {
            source,
            convert,
            taken,
            ..
        } = self;
        let map = source.map().clone();
        source.drain(|cpu, record| {
            taken.push_back(convert(&map, cpu, record));
            match taken.len() < MOST_TAKEN {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        })
    }

    /// Ready if there may be something: a descriptor said so, or it is time to look anyway.
    fn poll_woken(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        let mut is_woken = self.clock.poll_tick(context).is_ready();
        for descriptor in &self.descriptors {
            let Poll::Ready(readable) = descriptor.poll_read_ready(context) else {
                continue;
            };
            let mut readable = readable.map_err(|error| {
                let message = format!("waiting for records with tokio: {error}");
                named(
                    self.source.map().spec(),
                    Diagnosis::new(Code::MAP_OPERATION, message),
                )
            })?;
            readable.clear_ready();
            is_woken = true;
        }
        match is_woken {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }
}

impl<T: Unpin> Stream for RecordStream<T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_record(context).map(Some)
    }
}

impl<T> fmt::Debug for RecordStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordStream")
            .field("source", &self.source)
            .field("taken", &self.taken.len())
            .finish_non_exhaustive()
    }
}

impl Source {
    fn map(&self) -> &RawMap {
        match self {
            Self::Ring(ring) => ring.map(),
            Self::Perf(buffer) => buffer.map(),
        }
    }

    fn descriptors(&self) -> Result<Vec<BorrowedFd<'_>>> {
        match self {
            Self::Ring(ring) => ring.descriptor().map(|descriptor| vec![descriptor]),
            Self::Perf(buffer) => buffer.descriptors(),
        }
    }

    /// The records of a ring have no CPU; they count as those of CPU 0.
    fn drain(&mut self, mut look: impl FnMut(u32, Record<'_>) -> ControlFlow<()>) -> Result<()> {
        match self {
            Self::Ring(ring) => ring.drain(|record| look(0, record)),
            Self::Perf(buffer) => buffer.drain(look),
        }
        .map(drop)
    }
}
