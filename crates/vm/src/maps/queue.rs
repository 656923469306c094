//! Queues and stacks: values without keys, taken out in the order of arrival or the last one first.
//!
//! Programs never hold the address of an element, only copies, so elements live on the host's heap.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use twinbpf_object::{Errno, MapSpec};

use super::kind::{Behaviour, Source, Writer};
use super::{ANY, EXIST};

#[derive(Debug)]
pub(super) struct Queue {
    is_stack: bool,
    max_entries: usize,
    elements: Mutex<VecDeque<Box<[u8]>>>,
}

impl Queue {
    pub(super) fn new(spec: &MapSpec, is_stack: bool) -> Result<Self, Errno> {
        Ok(Self {
            is_stack,
            max_entries: usize::try_from(spec.max_entries).map_err(|_| Errno::ENOMEM)?,
            elements: Mutex::default(),
        })
    }

    /// Adds an element. KERNEL: flag 2 makes room by dropping the oldest element, every other flag is EINVAL (6.18).
    pub(super) fn push(&self, value: Source<'_>, flags: u64) -> Result<(), Errno> {
        if flags != ANY && flags != EXIST {
            return Err(Errno::EINVAL);
        }
        let value = value.copied()?;
        let mut elements = self.elements();
        if elements.len() >= self.max_entries {
            if flags != EXIST {
                return Err(Errno::E2BIG);
            }
            elements.pop_front();
        }
        elements.push_back(value);
        Ok(())
    }

    /// Copies the next element out, and removes it if asked to.
    pub(super) fn take(
        &self,
        is_removed: bool,
        use_value: impl FnOnce(&[u8]) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let mut elements = self.elements();
        let next = if self.is_stack {
            elements.back()
        } else {
            elements.front()
        };
        use_value(next.ok_or(Errno::ENOENT)?)?;
        match (is_removed, self.is_stack) {
            (false, _) => {}
            (true, true) => drop(elements.pop_back()),
            (true, false) => drop(elements.pop_front()),
        }
        Ok(())
    }

    fn elements(&self) -> MutexGuard<'_, VecDeque<Box<[u8]>>> {
        // Elements come and go whole; a panic elsewhere leaves a list that is still right.
        self.elements.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Behaviour for Queue {
    fn copy_out(&self, _: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        self.take(false, |element| {
            value.copy_from_slice(element);
            Ok(())
        })
    }

    fn update(&self, _: &[u8], value: Source<'_>, flags: u64, _: Writer) -> Result<(), Errno> {
        self.push(value, flags)
    }

    fn take(&self, _: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        self.take(true, |element| {
            value.copy_from_slice(element);
            Ok(())
        })
    }

    fn delete(&self, _: &[u8]) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }

    fn next_key(&self, _: Option<&[u8]>, _: &mut [u8]) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }
}
