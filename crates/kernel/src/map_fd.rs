//! A map's descriptor and the commands of `bpf(2)` on its elements.
//!
//! The kernel copies as many bytes as the map's elements have, whatever the caller meant. So the sizes are part of [`MapFd`],
//! fixed when the map is created or adopted: no caller can mismatch them.
#![expect(unsafe_code, reason = "requests carry addresses of keys and values")]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use twinbpf_object::map_rules;
use twinbpf_object::{Errno, MapKind};
use zerocopy::IntoBytes;

use crate::attr::{Command, MapCreate, MapElement, MapInfoReply, fd_number};
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

    /// Copies the value of `key` into `value`.
    pub(crate) fn lookup(&self, key: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        let mut request = MapElement {
            key: self.key_address(key)?,
            value: writable(exact(value, self.value_bytes)?),
            ..self.element()
        };
        // SAFETY: `key_address` and `exact` checked that both slices have the map's sizes (see the invariant of `MapFd`), so
        // the kernel reads a whole key and writes no more than the value's bytes. Without flags it copies exactly that.
        unsafe { bpf(Command::MapLookup, &mut request) }.map(drop)
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
