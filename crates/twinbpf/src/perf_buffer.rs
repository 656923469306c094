//! Perf buffers: the older way of records from programs, one buffer for each CPU.

use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use twinbpf_kernel::{KernelPerfBuffer, PerfPass};
use twinbpf_object::{Errno, Result};
use twinbpf_vm::VmMap;

use crate::raw_map::{MapHandle, RawMap};
use crate::ring::{Record, not_opened, refused};

/// The reading end of a perf event array. Records of one CPU are in order, those of several are not.
///
/// There should be one: what a second one opens takes the place of the first one's buffers.
#[derive(Debug)]
pub struct PerfBuffer {
    map: RawMap,
    handle: Handle,
    lost: u64,
}

/// The set of engines is closed.
#[derive(Debug)]
enum Handle {
    Kernel(Box<KernelPerfBuffer>),
    Vm { map: VmMap, slots: u32 },
}

/// What happens when a buffer is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// New records are lost, and counted.
    #[default]
    LoseNewest,
    /// New records take the place of the oldest ones, which are not counted (kernel only).
    OverwriteOldest,
}

/// After so long, records are looked for also if nobody was woken.
const LONGEST_SLEEP: Duration = Duration::from_millis(100);
/// Slots of the vm that are opened at most.
const MOST_SLOTS: u32 = 1024;
/// Bytes of a page, as far as the vm's buffers are concerned.
const PAGE_BYTES: usize = 4096;

impl PerfBuffer {
    /// Opens a buffer of `pages` pages, a power of two, for each CPU.
    ///
    /// # Errors
    ///
    /// If the map is no perf event array, the number of pages no power of two, a privilege is missing, or the vm is asked to
    /// overwrite.
    pub fn open(map: &RawMap, pages: usize, when_full: WhenFull) -> Result<Self> {
        let is_overwriting = when_full == WhenFull::OverwriteOldest;
        let handle = match &map.0 {
            MapHandle::Kernel(kernel) => KernelPerfBuffer::open(kernel, pages, is_overwriting)
                .map(|buffer| Handle::Kernel(Box::new(buffer))),
            MapHandle::Vm(_) if is_overwriting => Err(Errno::ENOTSUPP),
            MapHandle::Vm(vm) => {
                let slots = vm.spec().max_entries.min(MOST_SLOTS);
                let room = pages.saturating_mul(PAGE_BYTES);
                (0..slots)
                    .try_for_each(|slot| vm.open_events(slot, room))
                    .map(|()| Handle::Vm {
                        map: vm.clone(),
                        slots,
                    })
            }
        };
        Ok(Self {
            map: map.clone(),
            handle: handle.map_err(|errno| not_opened(map, errno))?,
            lost: 0,
        })
    }

    /// Shows all records that are there to `look`, each with its CPU, until it breaks off; does not wait. The answer is how many
    /// there were. The kernel pads records: they may be a few bytes longer than what the program sent.
    ///
    /// # Errors
    ///
    /// If the engine refuses.
    pub fn drain(
        &mut self,
        mut look: impl FnMut(u32, Record<'_>) -> ControlFlow<()>,
    ) -> Result<usize> {
        let mut show = |cpu, bytes: &[u8]| look(cpu, Record::of_bytes(bytes)).is_continue();
        let pass = match &mut self.handle {
            Handle::Kernel(buffer) => buffer.drain(show),
            Handle::Vm { map, slots } => drain_vm(map, *slots, &mut show),
        };
        let pass = pass.map_err(|errno| refused(&self.map, "reading the perf buffer", errno))?;
        self.lost = self.lost.saturating_add(pass.lost);
        Ok(pass.records)
    }

    /// Shows records to `look` as they come, until it breaks off or `timeout` is over. The answer is how many there were.
    ///
    /// # Errors
    ///
    /// If the engine refuses.
    pub fn serve(
        &mut self,
        timeout: Duration,
        mut look: impl FnMut(u32, Record<'_>) -> ControlFlow<()>,
    ) -> Result<usize> {
        let deadline = Instant::now().checked_add(timeout);
        let (mut total, mut is_over) = (0, false);
        loop {
            let found = self.drain(|cpu, record| {
                let flow = look(cpu, record);
                is_over |= flow.is_break();
                flow
            })?;
            total += found;
            let left = deadline.map_or(Duration::MAX, |deadline| {
                deadline.saturating_duration_since(Instant::now())
            });
            if is_over || left.is_zero() {
                return Ok(total);
            }
            if found == 0 {
                self.wait(LONGEST_SLEEP.min(left))?;
            }
        }
    }

    /// How many records were lost so far, as far as the passes have seen.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// The descriptors to wait on with others, as [`RawRing::descriptor`](crate::RawRing::descriptor): one for each CPU in the
    /// kernel, one for all in the vm.
    ///
    /// # Errors
    ///
    /// If the vm can open no more descriptors.
    pub fn descriptors(&self) -> Result<Vec<BorrowedFd<'_>>> {
        match &self.handle {
            Handle::Kernel(buffer) => Ok(buffer.descriptors().collect()),
            Handle::Vm { map, .. } => map
                .records_descriptor()
                .map(|descriptor| vec![descriptor])
                .map_err(|errno| refused(&self.map, "opening a descriptor to wait on", errno)),
        }
    }

    /// The map it is.
    pub fn map(&self) -> &RawMap {
        &self.map
    }

    fn wait(&self, timeout: Duration) -> Result<()> {
        match &self.handle {
            Handle::Kernel(buffer) => buffer
                .wait(timeout)
                .map(drop)
                .map_err(|errno| refused(&self.map, "waiting for records", errno)),
            // Its programs run in this process; a short rest is all that is needed.
            Handle::Vm { .. } => {
                std::thread::sleep(timeout.min(Duration::from_millis(1)));
                Ok(())
            }
        }
    }
}

impl Drop for Handle {
    /// The kernel's buffers close themselves.
    fn drop(&mut self) {
        if let Self::Vm { map, slots } = self {
            for slot in 0..*slots {
                // Somebody else may have closed it already.
                let _ = map.delete(&slot.to_ne_bytes());
            }
        }
    }
}

/// What is taken out and not shown, because `show` broke off, would be lost: so each slot is shown whole.
fn drain_vm(
    map: &VmMap,
    slots: u32,
    show: &mut impl FnMut(u32, &[u8]) -> bool,
) -> std::result::Result<PerfPass, Errno> {
    let mut pass = PerfPass::default();
    for slot in 0..slots {
        let taken = map.take_events(slot)?;
        pass.lost += taken.lost;
        let mut goes_on = true;
        for record in &taken.records {
            pass.records += 1;
            goes_on &= show(slot, record);
        }
        if !goes_on {
            break;
        }
    }
    Ok(pass)
}
