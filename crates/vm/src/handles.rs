//! Numbers that stand for maps and functions in programs, from a range of the window where nothing is ever mapped.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::window::FIRST_HANDLE;

/// Handles of functions start here: above every handle of a map.
pub(crate) const FIRST_FUNCTION_HANDLE: u32 = FIRST_HANDLE + 0x80_0000;
/// Stands for the task that runs a program: below every handle of a function.
pub(crate) const TASK: u32 = FIRST_FUNCTION_HANDLE - 0x1000;
/// Most maps alive at a time: handles of maps fill half of the handle range.
const MOST_MAPS: u32 = 1 << 20;
/// Handles are this far apart, so that a handle plus a small number is not another handle.
const HANDLE_STEP: u32 = 8;

/// Numbers that stand for maps in programs.
#[derive(Debug, Default)]
pub(crate) struct Handles {
    maps: Mutex<Free>,
    programs: AtomicU32,
}

#[derive(Debug, Default)]
struct Free {
    next: u32,
    returned: Vec<u32>,
}

impl Handles {
    pub(crate) fn take(&self) -> Option<u32> {
        let mut free = self.maps.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = free.returned.pop() {
            return Some(handle);
        }
        if free.next >= MOST_MAPS {
            return None;
        }
        free.next += 1;
        Some(FIRST_HANDLE + free.next * HANDLE_STEP)
    }

    /// A number for a program, from 1.
    pub(crate) fn next_program(&self) -> u32 {
        self.programs.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn give_back(&self, handle: u32) {
        self.maps
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .returned
            .push(handle);
    }
}
