//! What a program must give back before it ends: a lock, records of ring buffers. Whatever is left when a run ends is given back
//! for it.

use twinbpf_shm::SharedBytes;

use crate::maps::{LiveMap, Record};

/// What a program must give back before it ends. Dropping it gives everything back.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// The lock it holds, by address. KERNEL: at most one at a time (6.18).
    pub(crate) lock: Option<(u32, SharedBytes)>,
    /// Records it has reserved, with their ring buffers.
    pub(crate) records: Vec<(LiveMap, Record)>,
}

impl Held {
    /// Takes the record whose data is at `address` out.
    pub(crate) fn take_record(&mut self, address: u32) -> Option<(LiveMap, Record)> {
        let mut records = self.records.iter();
        let index = records.position(|(_, record)| record.address == address)?;
        Some(self.records.swap_remove(index))
    }
}

impl Held {
    /// Gives everything back.
    #[inline(always)]
    pub(crate) fn give_back(&mut self) {
        if self.lock.is_some() || !self.records.is_empty() {
            self.give_back_all();
        }
    }

    #[cold]
    fn give_back_all(&mut self) {
        if let Some((_, word)) = self.lock.take() {
            // The view has the four bytes that were locked through it, so storing cannot fail.
            let _ = word.store_u32(0, 0);
        }
        for (map, record) in self.records.drain(..) {
            if let Some(ring) = map.ring() {
                ring.commit(record, true, 0);
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.give_back();
    }
}
