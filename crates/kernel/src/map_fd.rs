//! A map's descriptor and the commands of `bpf(2)` on its elements.
//!
//! The kernel copies as many bytes as the map's elements have, whatever the caller meant. So the sizes are part of [`MapFd`],
//! fixed when the map is created or adopted: no caller can mismatch them.
#![expect(unsafe_code, reason = "requests carry addresses of keys and values")]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use twinbpf_object::map_rules;
use twinbpf_object::{Errno, MapKind};
use zerocopy::IntoBytes;

use crate::attr::{Command, MapBatch, MapCreate, MapElement, MapInfoReply, fd_number};
use crate::sys::{bpf, bpf_descriptor, info_request, readable, writable};

/// A map's descriptor together with the sizes of its elements.
///
/// INVARIANT: `fd` is a map whose elements have `key_bytes` and `value_bytes` as system calls see them; both come from
/// the request the kernel accepted, and a map never changes them.
#[derive(Debug)]
pub(crate) struct MapFd {
    fd: OwnedFd,
    key_bytes: usize,
    value_bytes: usize,
}

impl MapFd {
    /// Takes a descriptor of a map that exists, with the sizes the kernel says it has. `cpu_slots` is as for [`map_create`].
    ///
    /// A descriptor of anything else is `EINVAL`.
    pub(crate) fn adopt(fd: OwnedFd, cpu_slots: u32) -> Result<(Self, MapInfoReply), Errno> {
        if !is_map(fd.as_fd()) {
            return Err(Errno::EINVAL);
        }
        let mut map = Self {
            fd,
            key_bytes: 0,
            value_bytes: 0,
        };
        let reply = map.info()?;
        let kind = MapKind::from_number(reply.map_type);
        let value_bytes = map_rules::value_bytes(kind, reply.value_size, cpu_slots)
            .and_then(|bytes| usize::try_from(bytes).ok())
            .ok_or(Errno::E2BIG)?;
        map.key_bytes = usize::try_from(reply.key_size).map_err(|_| Errno::E2BIG)?;
        map.value_bytes = value_bytes;
        Ok((map, reply))
    }

    /// Bytes of a key.
    pub(crate) fn key_bytes(&self) -> usize {
        self.key_bytes
    }

    /// Bytes of a value; for per-CPU kinds, of all CPUs together.
    pub(crate) fn value_bytes(&self) -> usize {
        self.value_bytes
    }

    /// Copies the value of `key` into `value`. Of a bloom filter: asks whether it may have `value`.
    pub(crate) fn lookup(&self, key: &[u8], value: &mut [u8], flags: u64) -> Result<(), Errno> {
        let mut request = self.copied_out(key, value, flags)?;
        // SAFETY: `copied_out` checked that both slices have the map's sizes (see the invariant of `MapFd`), so the kernel reads
        // a whole key and writes, or reads, no more than the value's bytes. No flag makes it write more.
        unsafe { bpf(Command::MapLookup, &mut request) }.map(drop)
    }

    /// Copies the value of `key` into `value` and removes the key, or takes the next element of a queue or stack.
    pub(crate) fn take(&self, key: &[u8], value: &mut [u8], flags: u64) -> Result<(), Errno> {
        let mut request = self.copied_out(key, value, flags)?;
        // SAFETY: as for `lookup`.
        unsafe { bpf(Command::MapLookupAndDelete, &mut request) }.map(drop)
    }

    fn copied_out(&self, key: &[u8], value: &mut [u8], flags: u64) -> Result<MapElement, Errno> {
        Ok(MapElement {
            key: self.key_address(key)?,
            value: writable(exact(value, self.value_bytes)?),
            flags,
            ..self.element()
        })
    }

    /// Stores `value` under `key`.
    pub(crate) fn update(&self, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        if value.len() != self.value_bytes {
            return Err(Errno::EINVAL);
        }
        let mut request = MapElement {
            key: self.key_address(key)?,
            value: readable(value),
            flags,
            ..self.element()
        };
        // SAFETY: both slices have the map's sizes, checked above; the kernel only reads them, at most that far. No flag
        // makes it read more than all CPUs' values.
        unsafe { bpf(Command::MapUpdate, &mut request) }.map(drop)
    }

    /// Removes `key`.
    pub(crate) fn delete(&self, key: &[u8]) -> Result<(), Errno> {
        let mut request = MapElement {
            key: self.key_address(key)?,
            ..self.element()
        };
        // SAFETY: the key has the map's key size, checked by `key_address`; the kernel reads it and nothing else.
        unsafe { bpf(Command::MapDelete, &mut request) }.map(drop)
    }

    /// Copies the key after `key` into `next`, or the first key if there is none.
    pub(crate) fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<(), Errno> {
        let mut request = MapElement {
            key: key.map_or(Ok(0), |key| self.key_address(key))?,
            value: writable(exact(next, self.key_bytes)?),
            ..self.element()
        };
        // SAFETY: the key given and the room for the next one both have the map's key size, checked above; the kernel reads
        // one key, or none at address 0, and writes one key.
        unsafe { bpf(Command::MapNextKey, &mut request) }.map(drop)
    }

    /// Copies as many entries as there is room for, and removes them if asked to.
    pub(crate) fn lookup_batch(
        &self,
        cursor: &mut BatchCursor,
        (keys, values): (&mut [u8], &mut [u8]),
        is_removed: bool,
    ) -> Result<BatchFound, Errno> {
        let count = self.elements(keys.len(), Some(values.len()))?;
        let mut next = vec![0; self.key_bytes.max(CURSOR_BYTES)];
        let mut request = MapBatch {
            in_batch: cursor.0.as_deref().map_or(0, readable),
            out_batch: writable(&mut next),
            keys: writable(keys),
            values: writable(values),
            ..self.batch(count)
        };
        let command = if is_removed {
            Command::MapLookupAndDeleteBatch
        } else {
            Command::MapLookupBatch
        };
        if cursor
            .0
            .as_ref()
            .is_some_and(|bytes| bytes.len() != next.len())
        {
            return Err(Errno::EINVAL);
        }
        // SAFETY: `elements` checked that there is room for `count` whole keys and values, and the kernel writes no more than that.
        // A place to go on from is a key or a number of 4 bytes; both places have room for the larger.
        let result = unsafe { bpf(command, &mut request) };
        let is_last = match result {
            Ok(_) => false,
            Err(Errno::ENOENT) => true,
            Err(errno) => return Err(errno),
        };
        cursor.0 = Some(next);
        let count = usize::try_from(request.count.min(count)).map_err(|_| Errno::E2BIG)?;
        Ok(BatchFound { count, is_last })
    }

    /// Stores many values; the answer is how many were stored, and why not all.
    pub(crate) fn update_batch(
        &self,
        keys: &[u8],
        values: &[u8],
        flags: u64,
    ) -> (usize, Result<(), Errno>) {
        let count = match self.elements(keys.len(), Some(values.len())) {
            Ok(count) => count,
            Err(errno) => return (0, Err(errno)),
        };
        let mut request = MapBatch {
            keys: readable(keys),
            values: readable(values),
            elem_flags: flags,
            ..self.batch(count)
        };
        // SAFETY: `elements` checked that there are `count` whole keys and values, which the kernel only reads.
        let result = unsafe { bpf(Command::MapUpdateBatch, &mut request) };
        done(count, request.count, result)
    }

    /// Removes many keys; the answer is how many were removed, and why not all.
    pub(crate) fn delete_batch(&self, keys: &[u8]) -> (usize, Result<(), Errno>) {
        let count = match self.elements(keys.len(), None) {
            Ok(count) => count,
            Err(errno) => return (0, Err(errno)),
        };
        let mut request = MapBatch {
            keys: readable(keys),
            ..self.batch(count)
        };
        // SAFETY: `elements` checked that there are `count` whole keys, which the kernel only reads.
        let result = unsafe { bpf(Command::MapDeleteBatch, &mut request) };
        done(count, request.count, result)
    }

    fn batch(&self, count: u32) -> MapBatch {
        MapBatch {
            count,
            map_fd: fd_number(self.fd.as_fd()),
            ..MapBatch::default()
        }
    }

    /// How many whole elements these lengths are; at least one.
    fn elements(&self, keys: usize, values: Option<usize>) -> Result<u32, Errno> {
        let count = keys.checked_div(self.key_bytes).ok_or(Errno::ENOTSUPP)?;
        let is_whole = count.checked_mul(self.key_bytes) == Some(keys)
            && values.is_none_or(|len| count.checked_mul(self.value_bytes) == Some(len));
        if !is_whole || count == 0 {
            return Err(Errno::EINVAL);
        }
        u32::try_from(count).map_err(|_| Errno::E2BIG)
    }

    /// Forbids this and every other process to write the map from now on; programs still may.
    pub(crate) fn freeze(&self) -> Result<(), Errno> {
        let mut request = self.element();
        // SAFETY: the command takes a descriptor and no address; the other fields are zero, as it demands.
        unsafe { bpf(Command::MapFreeze, &mut request) }.map(drop)
    }

    /// Asks about the map.
    pub(crate) fn info(&self) -> Result<MapInfoReply, Errno> {
        let mut reply = MapInfoReply::default();
        let mut request = info_request(self.as_fd(), reply.as_mut_bytes())?;
        // SAFETY: the kernel writes at most `info_len` bytes to `reply`, which is that large, exclusively borrowed here, and
        // takes any bytes. The part of a map's answer that we send has no address in it.
        unsafe { bpf(Command::ObjectInfo, &mut request) }?;
        Ok(reply)
    }

    fn element(&self) -> MapElement {
        MapElement {
            map_fd: fd_number(self.fd.as_fd()),
            ..MapElement::default()
        }
    }

    /// The address of a key of the right size. A map without keys wants none: address 0.
    fn key_address(&self, key: &[u8]) -> Result<u64, Errno> {
        if key.len() != self.key_bytes {
            return Err(Errno::EINVAL);
        }
        Ok(if key.is_empty() { 0 } else { readable(key) })
    }
}

impl AsFd for MapFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Where a walk over a map in batches goes on: bytes that only the kernel understands. The default is the beginning.
#[derive(Debug, Clone, Default)]
pub struct BatchCursor(Option<Vec<u8>>);

/// What a batch brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchFound {
    /// How many entries.
    pub count: usize,
    /// Whether there are no more after them.
    pub is_last: bool,
}

/// KERNEL: hash tables say in 4 bytes where to go on, other kinds with a key (6.18).
const CURSOR_BYTES: usize = 4;

/// How many of `asked` were done. KERNEL: 6.18 leaves the count alone where it refuses a request as a whole; nothing was done.
fn done(asked: u32, count: u32, result: Result<libc::c_long, Errno>) -> (usize, Result<(), Errno>) {
    let count = match result {
        Ok(_) => asked,
        Err(_) if count >= asked => 0,
        Err(_) => count,
    };
    (usize::try_from(count).unwrap_or(0), result.map(drop))
}

/// Creates a map.
///
/// `cpu_slots` is the number of possible CPUs; it counts for per-CPU kinds only and must be the kernel's own number.
pub(crate) fn map_create(request: &MapCreate, cpu_slots: u32) -> Result<MapFd, Errno> {
    let kind = MapKind::from_number(request.map_type);
    let value_bytes = map_rules::value_bytes(kind, request.value_size, cpu_slots)
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or(Errno::E2BIG)?;
    let key_bytes = usize::try_from(request.key_size).map_err(|_| Errno::E2BIG)?;
    let mut request = *request;
    // SAFETY: a `MapCreate` has no address in it; the kernel reads the struct and nothing else of
    // ours, and answers with a new descriptor.
    let fd = unsafe { bpf_descriptor(Command::MapCreate, &mut request) }?;
    Ok(MapFd {
        fd,
        key_bytes,
        value_bytes,
    })
}

/// Whether a descriptor is a map. `BPF_OBJ_GET_INFO_BY_FD` answers about programs and links as well, in other words.
fn is_map(fd: BorrowedFd<'_>) -> bool {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    // KERNEL: 6.18 writes `anon_inode:bpf-map`, and the same with `bpf_link` and `bpf-prog`.
    link.is_ok_and(|target| target.as_os_str() == "anon_inode:bpf-map")
}

fn exact(bytes: &mut [u8], length: usize) -> Result<&mut [u8], Errno> {
    if bytes.len() == length {
        Ok(bytes)
    } else {
        Err(Errno::EINVAL)
    }
}
