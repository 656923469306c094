//! Ring buffers the other way: records from user space, which programs take out.

use std::time::{Duration, Instant};

use twinbpf_kernel::{KernelReservation, KernelUserRing};
use twinbpf_object::{Code, Diagnosis, Errno, ErrorKind, Result};

use crate::map_error::named;
use crate::raw_map::{MapHandle, RawMap};
use crate::ring::{not_opened, refused};

/// The writing end of a user ring buffer. There should be one: two writers of the same ring overwrite each other's records.
#[derive(Debug)]
pub struct UserRing {
    map: RawMap,
    ring: KernelUserRing,
}

/// Room for a record of a user ring buffer. Dropped without [`submit`](Self::submit), it is skipped by programs.
#[derive(Debug)]
#[must_use = "a record that is not submitted is given up"]
pub struct Reservation<'a>(KernelReservation<'a>);

/// How long to rest when programs have taken something out and it was not enough.
const REST: Duration = Duration::from_micros(50);
/// How long to wait at most before looking again.
const LONGEST_SLEEP: Duration = Duration::from_millis(100);

impl UserRing {
    /// Opens a user ring buffer for writing. It goes on where the last writer stopped.
    ///
    /// # Errors
    ///
    /// If the map is no user ring buffer, is one of a vm, or its memory cannot be mapped.
    pub fn open(map: &RawMap) -> Result<Self> {
        let MapHandle::Kernel(kernel) = &map.0 else {
            let message = "the vm has no user ring buffers";
            let diagnosis = Diagnosis::new(Code::MAP_UNSUPPORTED, message);
            return Err(named(map.spec(), diagnosis).into());
        };
        let ring = KernelUserRing::open(kernel).map_err(|errno| not_opened(map, errno))?;
        Ok(Self {
            map: map.clone(),
            ring,
        })
    }

    /// Room for a record of `len` bytes; `None` if the ring is full now.
    ///
    /// # Errors
    ///
    /// If the ring can never hold it.
    pub fn reserve(&mut self, len: usize) -> Result<Option<Reservation<'_>>> {
        let Self { map, ring } = self;
        match ring.reserve(len) {
            Ok(room) => Ok(room.map(Reservation)),
            Err(errno) => Err(too_long(map, len, errno)),
        }
    }

    /// Sends a record; false if the ring is full now.
    ///
    /// # Errors
    ///
    /// If the ring can never hold it.
    pub fn send(&mut self, record: &[u8]) -> Result<bool> {
        let Some(mut room) = self.reserve(record.len())? else {
            return Ok(false);
        };
        room.write(0, record);
        room.submit();
        Ok(true)
    }

    /// Sends a record, for which room is waited at most for `timeout`; false if there was none.
    ///
    /// # Errors
    ///
    /// If the ring can never hold it, or the kernel refuses.
    pub fn send_within(&mut self, record: &[u8], timeout: Duration) -> Result<bool> {
        let deadline = Instant::now().checked_add(timeout);
        let mut was_woken = false;
        while !self.send(record)? {
            let left = deadline.map_or(Duration::MAX, |deadline| {
                deadline.saturating_duration_since(Instant::now())
            });
            if left.is_zero() {
                return Ok(false);
            }
            // The ring counts as writable as soon as it has any room, be it too little.
            if was_woken {
                std::thread::sleep(REST.min(left));
                was_woken = false;
                continue;
            }
            was_woken = self
                .ring
                .wait(LONGEST_SLEEP.min(left))
                .map_err(|errno| refused(&self.map, "waiting for room", errno))?;
        }
        Ok(true)
    }

    /// The map it is.
    pub fn map(&self) -> &RawMap {
        &self.map
    }
}

impl Reservation<'_> {
    /// Bytes of the record.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes a part of the record; false if it does not fit.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) -> bool {
        self.0.write(offset, bytes)
    }

    /// Hands the record to programs.
    pub fn submit(self) {
        self.0.submit();
    }
}

fn too_long(map: &RawMap, len: usize, errno: Errno) -> twinbpf_object::Error {
    let message = format!(
        "a record of {len} bytes never fits a ring of {}",
        map.spec().max_entries
    );
    named(map.spec(), Diagnosis::new(Code::MAP_OPERATION, message))
        .kind(ErrorKind::Limit)
        .errno(errno)
        .into()
}
