//! What records of a ring buffer of the kernel cost their reader, for each library against a bare loop in the same run.
//!
//! ```text
//! cargo bench --bench events
//! ```
//!
//! As root. The ring is filled, then read in one go; figures are the thread's processor time per record of 16 bytes, medians of rounds that
//! alternate between the readers.
#![expect(
    unsafe_code,
    reason = "the baseline is a bare loop over mapped memory, and libbpf is a C library"
)]

use std::error::Error;
use std::ffi::{c_int, c_void};
use std::hint::black_box;
use std::ops::ControlFlow;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{from_mut, null_mut};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use aya::maps::{Map as AyaMap, MapData, RingBuf};
use twinbpf::zerocopy::IntoBytes;
use twinbpf::{Engine, Loaded, Object, RawRing, Ring, TestInput};

type Outcome<T> = Result<T, Box<dyn Error>>;

const ROUNDS: usize = 31;
/// Bytes of a ring.
const RING_BYTES: u32 = 1 << 20;
/// Records that a run of the program tries to send; it gives every seventh up.
const RECORDS: u32 = 4096;
/// Runs that fill a ring.
const RUNS_TO_FILL: usize = 10;

/// A number, and two words in one.
type Event = [u64; 2];

fn main() -> Outcome<()> {
    drains()
}

/// A reader of one ring: takes out what is there. The answer is how many there were.
trait Reader {
    fn read(&mut self, sum: &mut u64) -> usize;
}

fn loaded() -> Outcome<Loaded> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/bpf/events.bpf.o");
    let mut object = Object::parse(&std::fs::read(path)?)?;
    object.set_variable("count", RECORDS.as_bytes())?;
    object
        .map_mut("ring")
        .ok_or("there is no ring")?
        .max_entries = RING_BYTES;
    Ok(Engine::kernel()?.load_object(&object)?)
}

fn reader_of(name: &str, loaded: &Loaded) -> Outcome<Box<dyn Reader>> {
    let map = loaded.raw_map("ring")?;
    let descriptor = map.descriptor().ok_or("the ring has no descriptor")?;
    Ok(match name {
        "twinbpf" => Box::new(Ring::<Event>::open(map)?),
        "twinbpf raw" => Box::new(RawRing::open(map)?),
        "libbpf" => Box::new(Libbpf::open(descriptor)?),
        "aya" => Box::new(Aya(RingBuf::try_from(AyaMap::RingBuf(MapData::from_fd(
            descriptor.try_clone_to_owned()?,
        )?))?)),
        _ => Box::new(Bare::open(descriptor)?),
    })
}

fn drains() -> Outcome<()> {
    let names = [
        "bare",
        "bare again",
        "twinbpf",
        "twinbpf raw",
        "libbpf",
        "aya",
    ];
    let mut readers = Vec::new();
    for name in names {
        // A ring for each: readers remember where they were.
        let loaded = loaded()?;
        let reader = reader_of(name, &loaded)?;
        readers.push((name, loaded, reader, Vec::new()));
    }
    for round in 0..=ROUNDS {
        for (name, loaded, reader, times) in &mut readers {
            (0..RUNS_TO_FILL).try_for_each(|_| send(loaded))?;
            let mut sum = 0;
            let before = thread_ns();
            let count = reader.read(&mut sum);
            let elapsed = thread_ns() - before;
            let expected = RUNS_TO_FILL * (RECORDS - RECORDS / 7) as usize;
            assert_eq!(count, expected, "{name} missed records");
            black_box(sum);
            // The first round warms up.
            if round > 0 {
                times.push(elapsed as f64 / count as f64);
            }
        }
    }
    let medians: Vec<f64> = readers
        .iter_mut()
        .map(|(_, _, _, times)| median(times))
        .collect();
    for (name, median) in names.iter().zip(&medians) {
        println!(
            "drain of 16 bytes    {name:<12} {median:>8.2} ns  {:>6.3} of bare",
            median / medians[0]
        );
    }
    Ok(())
}

fn send(loaded: &Loaded) -> Outcome<()> {
    let input = TestInput {
        data: &[0; 64],
        ..TestInput::default()
    };
    loaded.program("send")?.test_run(&input)?;
    Ok(())
}

impl Reader for Ring<Event> {
    fn read(&mut self, sum: &mut u64) -> usize {
        self.drain(|event| {
            *sum = sum.wrapping_add(event[0]);
            ControlFlow::Continue(())
        })
        .unwrap_or(0)
    }
}

impl Reader for RawRing {
    fn read(&mut self, sum: &mut u64) -> usize {
        self.drain(|record| {
            *sum = sum.wrapping_add(record.read::<u64>().unwrap_or(0));
            ControlFlow::Continue(())
        })
        .unwrap_or(0)
    }
}

struct Aya(RingBuf<MapData>);

impl Reader for Aya {
    fn read(&mut self, sum: &mut u64) -> usize {
        let mut count = 0;
        while let Some(item) = self.0.next() {
            let number = item
                .first_chunk()
                .map_or(0, |bytes| u64::from_ne_bytes(*bytes));
            *sum = sum.wrapping_add(number);
            count += 1;
        }
        count
    }
}

struct Libbpf {
    rings: *mut libbpf_sys::ring_buffer,
    sum: Box<u64>,
}

impl Libbpf {
    fn open(descriptor: BorrowedFd<'_>) -> Outcome<Self> {
        let mut sum = Box::new(0);
        // SAFETY: the sum lives on the heap, as long as the rings.
        let rings = unsafe {
            libbpf_sys::ring_buffer__new(
                descriptor.as_raw_fd(),
                Some(add_up),
                from_mut(&mut *sum).cast(),
                null_mut(),
            )
        };
        match rings.is_null() {
            true => Err("libbpf does not open the ring".into()),
            false => Ok(Self { rings, sum }),
        }
    }
}

/// # Safety
///
/// `sum` is a `u64`, `data` has `len` readable bytes.
unsafe extern "C" fn add_up(sum: *mut c_void, data: *mut c_void, len: libbpf_sys::size_t) -> c_int {
    if len >= 8 {
        // SAFETY: there are 8 bytes.
        let number = unsafe { data.cast::<u64>().read_unaligned() };
        // SAFETY: nobody else has the sum while records are shown.
        let sum = unsafe { &mut *sum.cast::<u64>() };
        *sum = sum.wrapping_add(number);
    }
    0
}

impl Reader for Libbpf {
    fn read(&mut self, sum: &mut u64) -> usize {
        // SAFETY: the rings are open.
        let count = unsafe { libbpf_sys::ring_buffer__consume(self.rings) };
        *sum = sum.wrapping_add(*self.sum);
        usize::try_from(count).unwrap_or(0)
    }
}

impl Drop for Libbpf {
    fn drop(&mut self) {
        // SAFETY: they are open, and nobody uses them any more.
        unsafe { libbpf_sys::ring_buffer__free(self.rings) };
    }
}

/// The least that a reader can do: it looks at the producer once, at each header, at each record, and gives everything back at the end.
struct Bare {
    consumer: *mut c_void,
    producer: *mut c_void,
    page: usize,
}

impl Bare {
    fn open(descriptor: BorrowedFd<'_>) -> Outcome<Self> {
        let page = 4096;
        let map = |len, access, offset| {
            // SAFETY: a new mapping at a place of the kernel's choice.
            let at = unsafe {
                libc::mmap(
                    null_mut(),
                    len,
                    access,
                    libc::MAP_SHARED,
                    descriptor.as_raw_fd(),
                    offset,
                )
            };
            match at == libc::MAP_FAILED {
                true => Err(std::io::Error::last_os_error()),
                false => Ok(at),
            }
        };
        Ok(Self {
            consumer: map(page, libc::PROT_READ | libc::PROT_WRITE, 0)?,
            producer: map(
                page + 2 * RING_BYTES as usize,
                libc::PROT_READ,
                page as libc::off_t,
            )?,
            page,
        })
    }
}

impl Reader for Bare {
    fn read(&mut self, sum: &mut u64) -> usize {
        // SAFETY: the page is mapped, and its first word is the position.
        let consumer = unsafe { AtomicU64::from_ptr(self.consumer.cast()) };
        // SAFETY: as above.
        let producer = unsafe { AtomicU64::from_ptr(self.producer.cast()) };
        let mut position = consumer.load(Ordering::Acquire);
        let end = producer.load(Ordering::Acquire);
        let mut count = 0;
        while position < end {
            let offset = self.page + (position & u64::from(RING_BYTES - 1)) as usize;
            // SAFETY: the ring's data lies behind the page of the producer.
            let at = unsafe { self.producer.byte_add(offset) };
            // SAFETY: headers lie at multiples of 8.
            let header = unsafe { AtomicU32::from_ptr(at.cast()) }.load(Ordering::Acquire);
            if header & 1 << 31 != 0 {
                break;
            }
            if header & 1 << 30 == 0 {
                // SAFETY: the record lies behind its header, and has 16 bytes.
                let number = unsafe { at.byte_add(8).cast::<u64>().read_volatile() };
                *sum = sum.wrapping_add(number);
                count += 1;
            }
            position += (u64::from(header & !(1 << 30)) + 8).next_multiple_of(8);
        }
        consumer.store(position, Ordering::Release);
        count
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let data = self.page + 2 * RING_BYTES as usize;
        for (at, len) in [(self.consumer, self.page), (self.producer, data)] {
            // SAFETY: it was mapped with this length, and nobody uses it any more.
            unsafe { libc::munmap(at, len) };
        }
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn thread_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a live timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
