//! What every kind of map answers, with the kernel's refusals as defaults.

use std::fmt;

use twinbpf_object::Errno;
use twinbpf_shm::SharedBytes;

/// A value to be written: from the caller's memory or from the window.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source<'a> {
    Bytes(&'a [u8]),
    Window(SharedBytes),
}

impl Source<'_> {
    /// Writes the value at `offset`.
    pub(super) fn write_to(self, values: SharedBytes, offset: usize) -> Result<(), Errno> {
        match self {
            Self::Bytes(bytes) => values.copy_in(offset, bytes),
            Self::Window(view) => values.copy_from(offset, view),
        }
        .ok_or(Errno::EFAULT)
    }

    /// A copy of the value on the host's heap.
    pub(super) fn copied(self) -> Result<Box<[u8]>, Errno> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.into()),
            Self::Window(view) => {
                let mut bytes = vec![0; view.len()];
                view.copy_out(0, &mut bytes).ok_or(Errno::EFAULT)?;
                Ok(bytes.into())
            }
        }
    }
}

/// Who changes a map: callers write the values of all CPU slots, programs that of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writer {
    Caller,
    Program { cpu: u32 },
}

/// What every kind of map answers. Sizes of keys and values were checked by [`VmMap`](super::VmMap).
///
/// KERNEL: operations a kind does not have are `ENOTSUPP`, number 524, as for ring buffers (6.18).
pub(super) trait Behaviour: fmt::Debug + Send + Sync {
    /// Copies the value under `key` out.
    fn copy_out(&self, _key: &[u8], _value: &mut [u8]) -> Result<(), Errno> {
        Err(Errno::ENOTSUPP)
    }

    /// Writes a value under `key`.
    fn update(&self, _: &[u8], _: Source<'_>, _flags: u64, _: Writer) -> Result<(), Errno> {
        Err(Errno::ENOTSUPP)
    }

    /// Removes `key`.
    fn delete(&self, _key: &[u8]) -> Result<(), Errno> {
        Err(Errno::ENOTSUPP)
    }

    /// Copies the value under `key` out and removes the key, in one step.
    fn take(&self, _key: &[u8], _value: &mut [u8]) -> Result<(), Errno> {
        Err(Errno::ENOTSUPP)
    }

    /// Writes the key after `key` into `next`.
    fn next_key(&self, _key: Option<&[u8]>, _next: &mut [u8]) -> Result<(), Errno> {
        Err(Errno::ENOTSUPP)
    }

    /// The address of the value under `key` for a program on this CPU slot.
    fn address(&self, _key: SharedBytes, _cpu: u32) -> Option<u32> {
        None
    }
}
