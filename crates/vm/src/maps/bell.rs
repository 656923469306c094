//! A bell at a map with records: a descriptor that is readable when there is something for its reader, who waits for others, too.
//!
//! Most readers never ask for it, and then nothing is opened and ringing is a look at a word.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{read, write};
use twinbpf_object::Errno;

#[derive(Debug, Default)]
pub(super) struct Bell(OnceLock<OwnedFd>);

impl Bell {
    /// Makes the descriptor, silent, unless there is one.
    pub(super) fn hang_up(&self) -> Result<(), Errno> {
        if self.is_hung_up() {
            return Ok(());
        }
        let made = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| Errno(error.raw_os_error()))?;
        // If somebody else was faster, theirs is as good.
        let _ = self.0.set(made);
        Ok(())
    }

    pub(super) fn is_hung_up(&self) -> bool {
        self.0.get().is_some()
    }

    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.0.get().map(AsFd::as_fd)
    }

    /// Makes the descriptor readable.
    pub(super) fn ring(&self) {
        if let Some(descriptor) = self.0.get() {
            // It can only be refused because nobody has come for 2^64 rings, and then it is readable.
            let _ = write(descriptor, &1_u64.to_ne_bytes());
        }
    }

    /// Makes it unreadable.
    pub(super) fn silence(&self) {
        if let Some(descriptor) = self.0.get() {
            // It is refused where nobody has rung.
            let _ = read(descriptor, &mut [0; 8]);
        }
    }
}
