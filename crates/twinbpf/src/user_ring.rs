//! Ring buffers the other way: records from user space, which programs take out.

use std::time::{Duration, Instant};

use twinbpf_kernel::{KernelReservation, KernelUserRing};
use twinbpf_object::{Code, Diagnosis, Errno, ErrorKind, Result};
use twinbpf_vm::VmMap;

use crate::map_error::named;
use crate::raw_map::{MapHandle, RawMap};
use crate::ring::{not_opened, refused};

/// The writing end of a user ring buffer. There should be one: two writers of the same ring overwrite each other's records.
#[derive(Debug)]
pub struct UserRing {
    map: RawMap,
    ring: Handle,
}

/// The set of engines is closed.
#[derive(Debug)]
enum Handle {
    Kernel(KernelUserRing),
    Vm(VmMap),
}

/// Room for a record of a user ring buffer. Dropped without [`submit`](Self::submit), it is skipped by programs.
#[derive(Debug)]
#[must_use = "a record that is not submitted is given up"]
pub struct Reservation<'a>(Room<'a>);

/// Of a vm's ring the record waits here until it is sent.
#[derive(Debug)]
enum Room<'a> {
    Kernel(KernelReservation<'a>),
    Vm { ring: &'a VmMap, record: Vec<u8> },
}

/// How long to rest when programs have taken something out and it was not enough.
const REST: Duration = Duration::from_micros(50);
/// How long to wait at most before looking again.
const LONGEST_SLEEP: Duration = Duration::from_millis(100);

impl UserRing {
    /// Opens a user ring buffer for writing. It goes on where the last writer stopped.
    ///
    /// # Errors
    ///
    /// If the map is no user ring buffer, or its memory cannot be mapped.
    pub fn open(map: &RawMap) -> Result<Self> {
        let ring = match &map.0 {
            MapHandle::Kernel(kernel) => KernelUserRing::open(kernel).map(Handle::Kernel),
            MapHandle::Vm(vm) => vm.has_room(0).map(|_| Handle::Vm(vm.clone())),
        };
        Ok(Self {
            map: map.clone(),
            ring: ring.map_err(|errno| not_opened(map, errno))?,
        })
    }

    /// Room for a record of `len` bytes; `None` if the ring is full now.
    ///
    /// # Errors
    ///
    /// If the ring can never hold it.
    pub fn reserve(&mut self, len: usize) -> Result<Option<Reservation<'_>>> {
        let Self { map, ring } = self;
        let room = match ring {
            Handle::Kernel(ring) => ring.reserve(len).map(|room| room.map(Room::Kernel)),
            Handle::Vm(ring) => ring.has_room(len).map(|has_room| {
                let record = vec![0; len];
                has_room.then_some(Room::Vm { ring, record })
            }),
        };
        match room {
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
            was_woken = match &self.ring {
                Handle::Kernel(ring) => ring
                    .wait(LONGEST_SLEEP.min(left))
                    .map_err(|errno| refused(&self.map, "waiting for room", errno))?,
                Handle::Vm(_) => true,
            };
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
        match &self.0 {
            Room::Kernel(room) => room.len(),
            Room::Vm { record, .. } => record.len(),
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes a part of the record; false if it does not fit.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) -> bool {
        match &mut self.0 {
            Room::Kernel(room) => room.write(offset, bytes),
            Room::Vm { record, .. } => {
                let end = offset.checked_add(bytes.len());
                let part = end.and_then(|end| record.get_mut(offset..end));
                part.map(|part| part.copy_from_slice(bytes)).is_some()
            }
        }
    }

    /// Hands the record to programs.
    pub fn submit(self) {
        match self.0 {
            Room::Kernel(room) => room.submit(),
            Room::Vm { ring, record } => {
                // There was room for it, and there is one writer: it has not become less.
                let _ = ring.send(&record);
            }
        }
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
