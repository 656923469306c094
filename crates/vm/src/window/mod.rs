//! The window: everything a program can reach lives in one reserved range of 4 GiB.
//!
//! A BPF pointer is an offset into the window; host addresses never enter a BPF register. A table with one byte a page
//! says what programs may do there, so the interpreters and helpers compare and never fault.
//!
//! INVARIANT: a page has a permission in the table only while pages are mapped there, and pages are unmapped only after the last
//! run that could have seen the permission ([`epochs`]).

mod epochs;
mod reservation;
mod space;

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use twinbpf_object::Errno;
use twinbpf_object::insn::Size;
use twinbpf_shm::SharedBytes;

use epochs::{Epochs, Grave};
use reservation::{Mapping, Reservation};
use space::Space;

pub(crate) use space::PAGE_BYTES;

pub(crate) use epochs::{Runner, Thing, barrier_for_all, has_barrier_for_all};

/// The first bytes are never mapped: a null pointer plus a displacement ends here.
pub(crate) const FIRST_ADDRESS: u64 = 1 << 16;
/// From here on nothing is mapped: map and function handles are numbers of this range.
pub(crate) const FIRST_HANDLE: u32 = 0xff00_0000;

pub(crate) const PAGE_SHIFT: u32 = PAGE_BYTES.trailing_zeros();
/// Permission bit: programs may read the page.
pub(crate) const READ: u8 = 1;
/// Permission bit: programs may write the page.
pub(crate) const WRITE: u8 = 2;

/// Entries before and behind the table's pages that never permit anything. Compiled code looks them up for addresses just
/// outside the window: a displacement reaches 8 pages, an access one more.
const TABLE_MARGIN: usize = 16;

/// What programs may do with an extent. Host code may always read and write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProgramAccess {
    ReadWrite,
    ReadOnly,
    WriteOnly,
}

/// What an access wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Read,
    Write,
    Both,
}

/// The window of one vm.
pub(crate) struct Window {
    view: SharedBytes,
    permissions: Box<[AtomicU8]>,
    space: Mutex<Space>,
    epochs: Epochs,
    // Last, so that everything above is gone before the range is.
    reservation: Reservation,
}

/// The high half of arenas' addresses for user space. Programs only keep and compare those: no address of the host's is among them.
pub(crate) const USER_BASE: u64 = 1 << 44;

/// The address for user space of what is at this address in the window: with the same low half; null stays null.
///
/// KERNEL: so it is where the low half is 0 (6.18).
pub(crate) fn user_address(address: u32) -> u64 {
    match address {
        0 => 0,
        address => USER_BASE | u64::from(address),
    }
}

/// A range of the window that belongs to one object: a map's values, a stack, a packet.
///
/// Dropping it takes the permissions away at once and the pages when no run can reach them any more.
pub(crate) struct Extent {
    window: Arc<Window>,
    start: u32,
    len: u32,
    host: SharedBytes,
    second_mapping: Option<Mapping>,
}

impl Window {
    /// Reserves a window.
    pub(crate) fn new() -> Result<Arc<Self>, Errno> {
        let reservation = Reservation::new()?;
        let end = u64::try_from(reservation.len()).map_err(|_| Errno::ENOMEM)?;
        let pages = reservation.len() >> PAGE_SHIFT;
        let permissions = zeroed_table(pages + 2 * TABLE_MARGIN);
        let end = end.min(u64::from(FIRST_HANDLE));
        Ok(Arc::new(Self {
            view: reservation.view(),
            permissions,
            space: Mutex::new(Space::new(FIRST_ADDRESS, end)),
            epochs: Epochs::new(),
            reservation,
        }))
    }

    /// Allocates zeroed memory, rounded up to whole pages.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if the window or the host has no room.
    pub(crate) fn allocate(
        self: &Arc<Self>,
        size_bytes: u64,
        access: ProgramAccess,
    ) -> Result<Extent, Errno> {
        self.empty_graves();
        let len = size_bytes
            .max(1)
            .checked_next_multiple_of(PAGE_BYTES)
            .ok_or(Errno::ENOMEM)?;
        let start = self.space().take(len).ok_or(Errno::ENOMEM)?;
        self.fill(start, len, access)
            .inspect_err(|_| self.space().give_back(start, len))
    }

    fn fill(
        self: &Arc<Self>,
        start: u64,
        len: u64,
        access: ProgramAccess,
    ) -> Result<Extent, Errno> {
        let (at, bytes) = (to_usize(start)?, to_usize(len)?);
        let second_mapping = match access {
            ProgramAccess::ReadOnly => Some(self.reservation.map_twice(at, bytes)?),
            ProgramAccess::ReadWrite | ProgramAccess::WriteOnly => {
                self.reservation.map(at, bytes)?;
                None
            }
        };
        let host = match &second_mapping {
            Some(mapping) => mapping.view(),
            None => self.view.part(at, bytes).ok_or(Errno::ENOMEM)?,
        };
        let start = u32::try_from(start).map_err(|_| Errno::ENOMEM)?;
        let len = u32::try_from(len).map_err(|_| Errno::ENOMEM)?;
        self.permit(
            start,
            len,
            match access {
                ProgramAccess::ReadWrite => READ | WRITE,
                ProgramAccess::ReadOnly => READ,
                ProgramAccess::WriteOnly => WRITE,
            },
        );
        Ok(Extent {
            window: Arc::clone(self),
            start,
            len,
            host,
            second_mapping,
        })
    }

    /// Loads `size` bytes, zero-extended; `None` if a program may not.
    #[inline(always)]
    pub(crate) fn load(&self, address: i64, size: Size) -> Option<u64> {
        let at = self.check(address, size.bytes(), READ)?;
        match size {
            Size::B => self.view.load_u8(at).map(u64::from),
            Size::H => self.view.load_u16(at).map(u64::from),
            Size::W => self.view.load_u32(at).map(u64::from),
            Size::Dw => self.view.load_u64(at),
        }
    }

    /// Stores the low `size` bytes of `value`; `None` if a program may not.
    #[inline(always)]
    pub(crate) fn store(&self, address: i64, size: Size, value: u64) -> Option<()> {
        let at = self.check(address, size.bytes(), WRITE)?;
        let [b0, b1, b2, b3, ..] = value.to_le_bytes();
        match size {
            Size::B => self.view.store_u8(at, b0),
            Size::H => self.view.store_u16(at, u16::from_le_bytes([b0, b1])),
            Size::W => self
                .view
                .store_u32(at, u32::from_le_bytes([b0, b1, b2, b3])),
            Size::Dw => self.view.store_u64(at, value),
        }
    }

    /// The bytes of a range, if a program may do what is needed with all of them.
    #[inline(always)]
    pub(crate) fn range(&self, address: u64, len: u32, need: Need) -> Option<SharedBytes> {
        let needed = match need {
            Need::Read => READ,
            Need::Write => WRITE,
            Need::Both => READ | WRITE,
        };
        let start = usize::try_from(address).ok()?;
        let len = usize::try_from(len).ok()?;
        let end = start.checked_add(len)?;
        if len > 0 && !self.allows(start >> PAGE_SHIFT, (end - 1) >> PAGE_SHIFT, needed) {
            return None;
        }
        self.view.part(start, len)
    }

    /// Whether programs may do that with all pages from `first` to `last`.
    #[inline(always)]
    fn allows(&self, first: usize, last: usize, needed: u8) -> bool {
        let allowed = |page| {
            let permission = self.permission(page);
            permission.is_some_and(|here| here.load(Ordering::Relaxed) & needed == needed)
        };
        allowed(first) && (first == last || (first + 1..=last).all(allowed))
    }

    /// A new worker's announcements.
    pub(crate) fn runner(&self) -> Arc<Runner> {
        self.epochs.runner()
    }

    /// Ends a worker's announcements.
    pub(crate) fn retire(&self, runner: &Arc<Runner>) {
        self.epochs.retire(runner);
        self.empty_graves();
    }

    /// Drops a thing once no run can use it any more. Runs that start from now on must not find it.
    pub(crate) fn drop_when_unused(&self, thing: Thing) {
        self.epochs.bury_thing(thing);
        self.empty_graves();
    }

    /// Announces a run; whether it is the outermost one.
    pub(crate) fn enter(&self, runner: &Runner) {
        runner.enter(&self.epochs);
    }

    /// Checks at most 8 bytes; the answer is the offset into the view.
    #[inline(always)]
    fn check(&self, address: i64, len: u32, needed: u8) -> Option<usize> {
        let start = usize::try_from(address).ok()?;
        let last = start + (len as usize) - 1;
        let first_page = self.permission(start >> PAGE_SHIFT)?;
        if first_page.load(Ordering::Relaxed) & needed != needed {
            return None;
        }
        if last >> PAGE_SHIFT != start >> PAGE_SHIFT {
            let next_page = self.permission(last >> PAGE_SHIFT)?;
            if next_page.load(Ordering::Relaxed) & needed != needed {
                return None;
            }
        }
        Some(start)
    }

    /// The entry of a page, or of the margin behind the last one.
    #[inline(always)]
    fn permission(&self, page: usize) -> Option<&AtomicU8> {
        self.permissions.get(page.checked_add(TABLE_MARGIN)?)
    }

    /// Addresses for compiled code: of the window's first byte, and of the first page's entry in the table.
    pub(crate) fn addresses(&self) -> (*mut u8, *const u8) {
        let table = self.permissions.as_ptr().wrapping_add(TABLE_MARGIN);
        (self.view.as_ptr(), table.cast())
    }

    fn permit(&self, start: u32, len: u32, permission: u8) {
        let first = TABLE_MARGIN + (start as usize >> PAGE_SHIFT);
        let pages = len as usize >> PAGE_SHIFT;
        for page in self.permissions.iter().skip(first).take(pages) {
            page.store(permission, Ordering::Relaxed);
        }
    }

    /// Unmaps what no run can reach any more and makes it allocatable again.
    fn empty_graves(&self) {
        let (graves, things) = self.epochs.reclaim();
        for Grave { start, len } in graves {
            let unmapped =
                to_usize(start).and_then(|at| self.reservation.unmap(at, to_usize(len)?));
            // Pages that could not be taken away stay mapped and unpermitted; reusing their addresses would hand out old bytes.
            if unmapped.is_ok() {
                self.space().give_back(start, len);
            }
        }
        // A program takes its maps along, which come back here: no lock is held.
        drop(things);
    }

    fn space(&self) -> MutexGuard<'_, Space> {
        // `Space` changes in single steps; a panic elsewhere while it was locked cannot have left it half changed.
        self.space.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Window")
            .field("space", &self.space)
            .finish_non_exhaustive()
    }
}

impl Extent {
    /// The pointer a program uses for the first byte.
    pub(crate) fn start(&self) -> u32 {
        self.start
    }

    /// The host's view: readable and writable whatever programs may do.
    #[inline(always)]
    pub(crate) fn host(&self) -> SharedBytes {
        self.host
    }
}

impl Drop for Extent {
    fn drop(&mut self) {
        self.window.permit(self.start, self.len, 0);
        // Host code reaches the second mapping only through this extent, so it may go at once.
        self.second_mapping = None;
        self.window.epochs.bury(Grave {
            start: u64::from(self.start),
            len: u64::from(self.len),
        });
        self.window.empty_graves();
    }
}

impl fmt::Debug for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Extent({:#x}..{:#x})",
            self.start,
            u64::from(self.start) + u64::from(self.len)
        )
    }
}

/// Zeroed without touching the pages, so that a window costs no memory for what is not used.
fn zeroed_table(pages: usize) -> Box<[AtomicU8]> {
    <[AtomicU8] as zerocopy::FromZeros>::new_box_zeroed_with_elems(pages).unwrap_or_default()
}

fn to_usize(value: u64) -> Result<usize, Errno> {
    usize::try_from(value).map_err(|_| Errno::ENOMEM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_reachable_outside_extents() {
        let window = Window::new().unwrap();
        let extent = window.allocate(100, ProgramAccess::ReadWrite).unwrap();
        let start = i64::from(extent.start());
        assert_eq!(window.load(start, Size::Dw), Some(0));
        assert_eq!(
            window.store(start + 8, Size::W, 0xffff_ffff_0000_0007),
            Some(())
        );
        assert_eq!(window.load(start + 8, Size::Dw), Some(7));
        for outside in [
            0,
            8,
            0xffff,
            start - 1,
            start + 4096 - 7,
            start + 4096,
            -1,
            1 << 32,
            i64::MAX,
            i64::MIN,
            0xffff_fff9,
        ] {
            assert_eq!(window.load(outside, Size::Dw), None, "{outside:#x}");
            assert_eq!(window.store(outside, Size::Dw, 1), None, "{outside:#x}");
        }
    }

    #[test]
    fn read_only_extents_change_through_the_host_view_alone() {
        let window = Window::new().unwrap();
        let extent = window.allocate(8, ProgramAccess::ReadOnly).unwrap();
        let start = i64::from(extent.start());
        assert_eq!(window.store(start, Size::W, 1), None);
        extent.host().store_u32(0, 42).unwrap();
        assert_eq!(window.load(start, Size::W), Some(42));
        assert!(
            window
                .range(u64::from(extent.start()), 8, Need::Write)
                .is_none()
        );
    }

    #[test]
    fn a_dropped_extent_is_unreachable_at_once_and_its_room_comes_back() {
        let window = Window::new().unwrap();
        let runner = window.runner();
        let extent = window.allocate(4096, ProgramAccess::ReadWrite).unwrap();
        let start = extent.start();
        extent.host().store_u64(0, 99).unwrap();
        window.enter(&runner);
        drop(extent);
        assert_eq!(window.load(i64::from(start), Size::Dw), None);
        assert_ne!(
            window
                .allocate(4096, ProgramAccess::ReadWrite)
                .unwrap()
                .start(),
            start
        );
        runner.leave();
        let again = window.allocate(4096, ProgramAccess::ReadWrite).unwrap();
        assert_eq!(again.start(), start);
        assert_eq!(again.host().load_u64(0), Some(0));
    }

    #[test]
    fn what_does_not_fit_is_enomem() {
        let window = Window::new().unwrap();
        for size in [1 << 32, u64::MAX, u64::from(FIRST_HANDLE)] {
            assert_eq!(
                window.allocate(size, ProgramAccess::ReadWrite).err(),
                Some(Errno::ENOMEM)
            );
        }
    }

    #[test]
    fn ranges_are_checked_page_by_page() {
        let window = Window::new().unwrap();
        let extent = window.allocate(3 * 4096, ProgramAccess::ReadWrite).unwrap();
        let start = u64::from(extent.start());
        assert_eq!(
            window
                .range(start + 100, 3 * 4096 - 100, Need::Both)
                .unwrap()
                .len(),
            3 * 4096 - 100
        );
        assert!(
            window
                .range(start + 100, 3 * 4096 - 99, Need::Read)
                .is_none()
        );
        assert!(window.range(u64::MAX, 8, Need::Read).is_none());
    }
}
