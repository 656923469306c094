//! Perf event arrays: the older way to send records to the host, one buffer for each index.
//!
//! A buffer exists once somebody reads it, as in the kernel an event has to be opened first. Each holds a bounded number of
//! bytes; what does not fit is counted as lost.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use twinbpf_object::{Errno, MapSpec};

use super::array::{index, next_index};
use super::bell::Bell;
use super::kind::{Behaviour, Source, Writer};

#[derive(Debug)]
pub(crate) struct Events {
    max_entries: u32,
    /// INVARIANT: with this held, the bell is readable exactly if there is a record.
    buffers: Mutex<BTreeMap<u32, Buffer>>,
    bell: Bell,
}

#[derive(Debug, Default)]
struct Buffer {
    room: usize,
    lost: u64,
    records: VecDeque<Box<[u8]>>,
}

impl Events {
    pub(super) fn new(spec: &MapSpec) -> Self {
        Self {
            max_entries: spec.max_entries,
            buffers: Mutex::default(),
            bell: Bell::default(),
        }
    }

    /// Begins to keep what programs send to `index`.
    pub(super) fn open(&self, index: u32, room_bytes: usize) -> Result<(), Errno> {
        if index >= self.max_entries {
            return Err(Errno::E2BIG);
        }
        let buffer = Buffer {
            room: room_bytes,
            ..Buffer::default()
        };
        let mut buffers = self.buffers();
        buffers.insert(index, buffer);
        self.silence_if_empty(&buffers);
        Ok(())
    }

    /// A record from a program. KERNEL: `E2BIG` out of range, `ENOENT` without a reader, `ENOSPC` without room (6.18).
    pub(crate) fn output(&self, index: u32, record: &[u8]) -> Result<(), Errno> {
        if index >= self.max_entries {
            return Err(Errno::E2BIG);
        }
        let mut buffers = self.buffers();
        let buffer = buffers.get_mut(&index).ok_or(Errno::ENOENT)?;
        match buffer.room.checked_sub(record.len().max(1)) {
            Some(left) => buffer.room = left,
            None => {
                buffer.lost += 1;
                return Err(Errno::ENOSPC);
            }
        }
        buffer.records.push_back(record.into());
        if buffer.records.len() == 1 {
            self.bell.ring();
        }
        Ok(())
    }

    /// A descriptor that is readable when there is a record at any index, made when it is first asked for.
    pub(super) fn descriptor(&self) -> Result<BorrowedFd<'_>, Errno> {
        let buffers = self.buffers();
        self.bell.hang_up()?;
        if buffers.values().any(|buffer| !buffer.records.is_empty()) {
            self.bell.ring();
        }
        drop(buffers);
        self.bell.descriptor().ok_or(Errno::EBADF)
    }

    fn silence_if_empty(&self, buffers: &BTreeMap<u32, Buffer>) {
        if self.bell.is_hung_up() && buffers.values().all(|buffer| buffer.records.is_empty()) {
            self.bell.silence();
        }
    }

    /// Takes the records of an index out, and how many were lost since the last time.
    pub(super) fn take(&self, index: u32) -> (Vec<Box<[u8]>>, u64) {
        let mut buffers = self.buffers();
        let Some(buffer) = buffers.get_mut(&index) else {
            return (Vec::new(), 0);
        };
        let records: Vec<Box<[u8]>> = buffer.records.drain(..).collect();
        buffer.room += records
            .iter()
            .map(|record| record.len().max(1))
            .sum::<usize>();
        let lost = std::mem::take(&mut buffer.lost);
        self.silence_if_empty(&buffers);
        (records, lost)
    }

    fn buffers(&self) -> MutexGuard<'_, BTreeMap<u32, Buffer>> {
        // Records come and go whole; a panic elsewhere leaves a list that is still right.
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Behaviour for Events {
    fn copy_out(&self, _: &[u8], _: &mut [u8]) -> Result<(), Errno> {
        Err(Errno::ENOTSUPP)
    }

    /// KERNEL: the value is the descriptor of a perf event; here a buffer is opened by its reader.
    fn update(&self, key: &[u8], _: Source<'_>, flags: u64, _: Writer) -> Result<(), Errno> {
        if flags != 0 {
            return Err(Errno::EINVAL);
        }
        if index(key)? >= self.max_entries {
            return Err(Errno::E2BIG);
        }
        Err(Errno::EBADF)
    }

    fn delete(&self, key: &[u8]) -> Result<(), Errno> {
        let index = index(key)?;
        if index >= self.max_entries {
            return Err(Errno::E2BIG);
        }
        let mut buffers = self.buffers();
        let removed = buffers.remove(&index);
        self.silence_if_empty(&buffers);
        removed.map(drop).ok_or(Errno::ENOENT)
    }

    fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<(), Errno> {
        next_index(key, next, self.max_entries)
    }
}
