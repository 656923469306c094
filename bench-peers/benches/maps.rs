//! What operations on maps of the kernel cost, each library against bare system calls in the same run.
//!
//! ```text
//! cargo bench --bench maps
//! ```
//!
//! As root. All work on the same map, a hash of 4-byte keys and 8-byte values. Rounds alternate between the libraries, so that what
//! else the machine does falls on all alike; figures are the thread's processor time per operation or entry, medians of the rounds.
//! Dumps come in two sizes, because the larger one does not fit the processor's caches.
#![expect(
    unsafe_code,
    reason = "the baseline is a bare system call, and libbpf is a C library"
)]

use std::error::Error;
use std::hint::black_box;
use std::ops::ControlFlow;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::from_mut;

use aya::maps::{HashMap, Map as AyaMap, MapData};
use twinbpf::zerocopy::IntoBytes;
use twinbpf::{Dump, Engine, Map, MapKind};

type Outcome<T> = Result<T, Box<dyn Error>>;

const ROUNDS: usize = 31;
/// Operations in a round.
const OPERATIONS: u32 = 4096;
/// Entries that a batch asks for.
const BATCH: usize = 4096;

fn main() -> Outcome<()> {
    let engine = Engine::kernel()?;
    single(&filled(&engine, OPERATIONS)?)?;
    for entries in [10_000, 100_000] {
        dumps(&filled(&engine, entries)?, entries)?;
    }
    Ok(())
}

fn filled(engine: &Engine, entries: u32) -> Outcome<Map<u32, u64>> {
    let map = Map::<u32, u64>::create(engine, MapKind::Hash, entries)?;
    let keys: Vec<u32> = (0..entries).collect();
    let values: Vec<u64> = keys.iter().map(|key| u64::from(*key)).collect();
    map.set_many(keys.iter().zip(&values))?;
    Ok(map)
}

/// One entry at a time.
fn single(map: &Map<u32, u64>) -> Outcome<()> {
    let raw = Raw(descriptor(map)?);
    let fd = raw.0.as_raw_fd();
    let mut aya = aya_map(map)?;
    let keys = 0..OPERATIONS;
    report(
        "lookup",
        OPERATIONS,
        &mut [
            ("raw", &mut || {
                keys.clone().all(|key| raw.element(1, key).is_ok())
            }),
            ("raw again", &mut || {
                keys.clone().all(|key| raw.element(1, key).is_ok())
            }),
            ("twinbpf", &mut || {
                keys.clone().all(|key| matches!(map.get(&key), Ok(Some(value)) if black_box(value) == u64::from(key)))
            }),
            ("libbpf", &mut || {
                keys.clone().all(|mut key| {
                    let mut value = 0_u64;
                    // SAFETY: the map's keys have 4 bytes and its values 8, as `key` and `value`.
                    let result = unsafe {
                        libbpf_sys::bpf_map_lookup_elem(
                            fd,
                            from_mut(&mut key).cast(),
                            from_mut(&mut value).cast(),
                        )
                    };
                    result == 0 && black_box(value) == u64::from(key)
                })
            }),
            ("aya", &mut || {
                keys.clone().all(|key| {
                    aya.get(&key, 0)
                        .is_ok_and(|value| black_box(value) == u64::from(key))
                })
            }),
        ],
    );
    report(
        "update",
        OPERATIONS,
        &mut [
            ("raw", &mut || {
                keys.clone().all(|key| raw.element(2, key).is_ok())
            }),
            ("raw again", &mut || {
                keys.clone().all(|key| raw.element(2, key).is_ok())
            }),
            ("twinbpf", &mut || {
                keys.clone()
                    .all(|key| map.set(&key, &u64::from(key)).is_ok())
            }),
            ("libbpf", &mut || {
                keys.clone().all(|mut key| {
                    let mut value = u64::from(key);
                    // SAFETY: as for the lookup.
                    let result = unsafe {
                        libbpf_sys::bpf_map_update_elem(
                            fd,
                            from_mut(&mut key).cast(),
                            from_mut(&mut value).cast(),
                            0,
                        )
                    };
                    result == 0
                })
            }),
            ("aya", &mut || {
                keys.clone()
                    .all(|key| aya.insert(key, u64::from(key), 0).is_ok())
            }),
        ],
    );
    // A deletion needs something to delete, so each comes with an update.
    report(
        "delete and update",
        OPERATIONS,
        &mut [
            ("raw", &mut || {
                keys.clone()
                    .all(|key| raw.element(3, key).is_ok() && raw.element(2, key).is_ok())
            }),
            ("raw again", &mut || {
                keys.clone()
                    .all(|key| raw.element(3, key).is_ok() && raw.element(2, key).is_ok())
            }),
            ("twinbpf", &mut || {
                keys.clone().all(|key| {
                    matches!(map.remove(&key), Ok(true)) && map.set(&key, &u64::from(key)).is_ok()
                })
            }),
            ("aya", &mut || {
                keys.clone().all(|key| {
                    aya.remove(&key).is_ok() && aya.insert(key, u64::from(key), 0).is_ok()
                })
            }),
        ],
    );
    Ok(())
}

/// All entries.
fn dumps(map: &Map<u32, u64>, entries: u32) -> Outcome<()> {
    let raw = Raw(descriptor(map)?);
    let aya = aya_map(map)?;
    let count = entries as usize;
    let mut dump = Dump::new(map.raw());
    let (mut keys, mut values) = (vec![0_u32; BATCH], vec![0_u64; BATCH]);
    let (mut more_keys, mut more_values) = (vec![0_u32; BATCH], vec![0_u64; BATCH]);
    report(
        &format!("dump of {entries}"),
        entries,
        &mut [
            ("raw batches", &mut || {
                raw.dump(&mut keys, &mut values) == Some(count)
            }),
            ("raw again", &mut || {
                raw.dump(&mut more_keys, &mut more_values) == Some(count)
            }),
            ("visit", &mut || {
                let (mut seen, mut sum) = (0, 0_u64);
                let shown = map.raw().visit(|key, value| {
                    (seen, sum) = (
                        seen + 1,
                        sum.wrapping_add(u64::from(key[0]))
                            .wrapping_add(u64::from(value[0])),
                    );
                    ControlFlow::Continue(())
                });
                shown.is_ok() && seen == count && black_box(sum) > 0
            }),
            ("Dump", &mut || {
                let (mut seen, mut sum) = (0, 0_u64);
                let shown = dump.visit(|key, value| {
                    (seen, sum) = (
                        seen + 1,
                        sum.wrapping_add(u64::from(key[0]))
                            .wrapping_add(u64::from(value[0])),
                    );
                    ControlFlow::Continue(())
                });
                shown.is_ok() && seen == count && dump.is_in_kernel() && black_box(sum) > 0
            }),
            ("aya", &mut || {
                aya.iter().filter(Result::is_ok).count() == count
            }),
        ],
    );
    Ok(())
}

/// The contestants in turn, and their medians against the first one's.
fn report(what: &str, operations: u32, contestants: &mut [(&str, &mut dyn FnMut() -> bool)]) {
    let mut times = vec![Vec::new(); contestants.len()];
    for _ in 0..=ROUNDS {
        for (times, (name, work)) in times.iter_mut().zip(contestants.iter_mut()) {
            let before = thread_ns();
            let is_right = work();
            times.push(thread_ns() - before);
            assert!(is_right, "{what}: {name} gave a wrong answer");
        }
    }
    // The first round warms up.
    let medians: Vec<f64> = times
        .iter_mut()
        .map(|times| {
            times.remove(0);
            times.sort_unstable();
            times[times.len() / 2] as f64 / f64::from(operations)
        })
        .collect();
    for ((name, _), median) in contestants.iter().zip(&medians) {
        println!(
            "{what:<20} {name:<12} {median:>8.1} ns  {:>6.3} of raw",
            median / medians[0]
        );
    }
}

/// Bare system calls, with the arguments prepared as cheaply as can be.
struct Raw<'a>(BorrowedFd<'a>);

/// `union bpf_attr` for one element.
#[repr(C)]
struct Element {
    map: u64,
    key: u64,
    value: u64,
    flags: u64,
}

/// `union bpf_attr` for a batch.
#[repr(C)]
struct Batch {
    from: u64,
    to: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    flags: [u64; 2],
}

impl Raw<'_> {
    /// Looks up (1), updates (2) or deletes (3).
    fn element(&self, command: libc::c_int, key: u32) -> Result<u64, i64> {
        let (mut key, mut value) = (key, u64::from(key));
        let mut request = Element {
            map: self.0.as_raw_fd() as u64,
            key: from_mut(&mut key) as u64,
            value: if command == 3 {
                0
            } else {
                from_mut(&mut value) as u64
            },
            flags: 0,
        };
        // SAFETY: the map's keys have 4 bytes and its values 8, as `key` and `value`, which outlive the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                command,
                from_mut(&mut request),
                size_of::<Element>(),
            )
        };
        match result {
            0 => Ok(black_box(value)),
            error => Err(error),
        }
    }

    fn dump(&self, keys: &mut [u32], values: &mut [u64]) -> Option<usize> {
        let (mut cursor, mut total, mut sum, mut is_first) = (0_u32, 0, 0_u64, true);
        loop {
            let mut request = Batch {
                from: if is_first {
                    0
                } else {
                    from_mut(&mut cursor) as u64
                },
                to: from_mut(&mut cursor) as u64,
                keys: keys.as_mut_ptr() as u64,
                values: values.as_mut_ptr() as u64,
                count: keys.len().min(values.len()) as u32,
                map: self.0.as_raw_fd() as u32,
                flags: [0; 2],
            };
            // SAFETY: there is room for `count` keys of 4 bytes and values of 8; the cursor of a hash has 4 bytes.
            let result = unsafe {
                libc::syscall(
                    libc::SYS_bpf,
                    24,
                    from_mut(&mut request),
                    size_of::<Batch>(),
                )
            };
            let is_last =
                result != 0 && std::io::Error::last_os_error().raw_os_error() == Some(libc::ENOENT);
            if result != 0 && !is_last {
                return None;
            }
            let count = request.count as usize;
            for (key, value) in keys.iter().zip(values.iter()).take(count) {
                sum = sum
                    .wrapping_add(u64::from(key.as_bytes()[0]))
                    .wrapping_add(u64::from(value.as_bytes()[0]));
            }
            (total, is_first) = (total + count, false);
            if is_last {
                black_box(sum);
                return Some(total);
            }
        }
    }
}

fn descriptor(map: &Map<u32, u64>) -> Outcome<BorrowedFd<'_>> {
    map.raw()
        .descriptor()
        .ok_or_else(|| "the map has no descriptor".into())
}

fn aya_map(map: &Map<u32, u64>) -> Outcome<HashMap<MapData, u32, u64>> {
    let data = MapData::from_fd(descriptor(map)?.try_clone_to_owned()?)?;
    Ok(HashMap::try_from(AyaMap::HashMap(data))?)
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
