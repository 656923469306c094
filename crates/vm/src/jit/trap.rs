//! The fault handler: turns a page fault of compiled code into the end of its run.
//!
//! One handler for SIGSEGV and SIGBUS serves the whole process, from the first guarded program on. It acts only if the program
//! counter is at a *site*, an instruction that the emitter noted as an access, and the address is the one that this
//! instruction accesses; a thread can only be there while it runs that program. Then it changes the registers so that the thread goes
//! on in a stub of its own code, which leaves the run: no Rust frame is unwound. Everything else goes to whoever handled the signal
//! before.
//!
//! The handler allocates nothing, locks nothing and calls nothing. It runs on the thread's alternate stack if there is one; if not,
//! on its ordinary stack, which is intact, since programs have theirs in the window.

#![expect(
    unsafe_code,
    reason = "installs a signal handler and changes the registers of a faulting thread"
)]

use std::mem::MaybeUninit;
use std::ptr::{NonNull, null, null_mut};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering, fence};
use std::sync::{Mutex, OnceLock, PoisonError};

use libc::{c_int, c_void, sigaction, siginfo_t, ucontext_t};
use twinbpf_object::Errno;

use super::sites::{Site, Sites};
use crate::semantics::low_32;

/// Code whose faults are handled, until dropped.
#[derive(Debug)]
pub(super) struct Registration(&'static Entry);

/// Registers code, and installs the handler if this is the first. `start`: where the code is; `len`: its bytes.
///
/// # Errors
///
/// If the host refuses signal handlers.
pub(super) fn register(
    start: NonNull<u8>,
    len: usize,
    sites: Sites,
) -> Result<Registration, Errno> {
    install()?;
    let entry = free_entry();
    entry.set(start.as_ptr().addr(), len, sites);
    Ok(Registration(entry))
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.0.clear();
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        free.push(self.0);
    }
}

/// One registered code. Entries are never freed, only reused, so that the handler can walk their list at any time.
#[derive(Debug)]
struct Entry {
    /// Odd while the rest changes.
    sequence: AtomicUsize,
    start: AtomicUsize,
    len: AtomicUsize,
    sites: AtomicPtr<Sites>,
    /// Does not change once the entry is in the list.
    next: Option<&'static Entry>,
}

/// The list that the handler walks.
static ENTRIES: AtomicPtr<Entry> = AtomicPtr::new(null_mut());
/// Entries of the list that are not in use.
static FREE: Mutex<Vec<&'static Entry>> = Mutex::new(Vec::new());
/// Who handled SIGSEGV and SIGBUS before us.
static PREVIOUS: OnceLock<[sigaction; 2]> = OnceLock::new();

const SIGNALS: [c_int; 2] = [libc::SIGSEGV, libc::SIGBUS];

/// Positions of the hardware's registers, in the order of their numbers, in a signal's context.
const CONTEXT_POSITIONS: [c_int; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

fn free_entry() -> &'static Entry {
    let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(entry) = free.pop() {
        return entry;
    }
    let head = ENTRIES.load(Ordering::Relaxed);
    let entry: &'static Entry = Box::leak(Box::new(Entry {
        sequence: AtomicUsize::new(0),
        start: AtomicUsize::new(0),
        len: AtomicUsize::new(0),
        sites: AtomicPtr::new(null_mut()),
        // SAFETY: entries are leaked, so a pointer in the list is valid for ever, and shared references only are made of it.
        next: unsafe { head.as_ref() },
    }));
    // The list grows under the lock only.
    ENTRIES.store(std::ptr::from_ref(entry).cast_mut(), Ordering::Release);
    entry
}

impl Entry {
    fn set(&self, start: usize, len: usize, sites: Sites) {
        self.change(start, len, Box::into_raw(Box::new(sites)));
    }

    fn clear(&self) {
        let sites = self.sites.load(Ordering::Relaxed);
        self.change(0, 0, null_mut());
        if !sites.is_null() {
            // SAFETY: `set` made it of a box, `change` took it out of the entry. The handler uses the sites of an entry only on a
            // thread that is inside its code; a registration goes with its code, which no thread is inside then.
            drop(unsafe { Box::from_raw(sites) });
        }
    }

    fn change(&self, start: usize, len: usize, sites: *mut Sites) {
        // One owner at a time: a registration, or `register` before it exists.
        self.sequence.fetch_add(1, Ordering::AcqRel);
        fence(Ordering::SeqCst);
        self.start.store(start, Ordering::Relaxed);
        self.len.store(len, Ordering::Relaxed);
        self.sites.store(sites, Ordering::Relaxed);
        self.sequence.fetch_add(1, Ordering::Release);
    }

    /// The offset of `pc` in this code, and its sites. An entry that changes meanwhile is not the one this thread is in.
    fn find(&self, pc: usize) -> Option<(usize, *const Sites)> {
        let before = self.sequence.load(Ordering::Acquire);
        let offset = pc.checked_sub(self.start.load(Ordering::Relaxed))?;
        let is_inside = offset < self.len.load(Ordering::Relaxed);
        let sites = self.sites.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        let after = self.sequence.load(Ordering::Relaxed);
        (is_inside && before == after && before.is_multiple_of(2) && !sites.is_null())
            .then_some((offset, sites.cast_const()))
    }
}

/// Installs the handler once.
fn install() -> Result<(), Errno> {
    static INSTALLED: OnceLock<Result<(), Errno>> = OnceLock::new();
    *INSTALLED.get_or_init(|| {
        let mut previous = [empty_action(), empty_action()];
        for (signal, previous) in SIGNALS.into_iter().zip(&mut previous) {
            // SAFETY: asks only; `previous` is a valid place for the answer.
            check(unsafe { sigaction(signal, null(), previous) })?;
        }
        // Known before the first fault can arrive.
        let _ = PREVIOUS.set(previous);
        let mut action = empty_action();
        action.sa_sigaction = handle as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        for signal in SIGNALS {
            // SAFETY: `handle` has the signature that SA_SIGINFO asks for and does only what a signal handler may.
            check(unsafe { sigaction(signal, &raw const action, null_mut()) })?;
        }
        Ok(())
    })
}

fn check(result: c_int) -> Result<(), Errno> {
    if result == 0 {
        return Ok(());
    }
    let errno = std::io::Error::last_os_error().raw_os_error();
    Err(Errno(errno.unwrap_or(libc::ENOSYS)))
}

fn empty_action() -> sigaction {
    // SAFETY: zeros are a valid `sigaction`: the default action, an empty mask, no flags.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

/// The signal handler.
extern "C" fn handle(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes the context of the interrupted thread, which is ours alone until this function returns.
    let registers = unsafe { &mut *context.cast::<ucontext_t>() };
    // SAFETY: the kernel passes a valid description of the signal.
    let information = unsafe { &*info };
    // Positive codes come from the kernel: a fault, not somebody's `kill`.
    if information.si_code > 0 {
        // SAFETY: for these two signals, sent by the kernel, the address is set.
        let address = unsafe { information.si_addr() };
        if leave_run(&mut registers.uc_mcontext.gregs, address.addr() as u64) {
            return;
        }
    }
    pass_on(signal, info, context);
}

/// Sends the thread to the stub of its code, if it is at a site and this is the site's fault.
fn leave_run(registers: &mut [i64; 23], fault: u64) -> bool {
    let pc = at(registers, libc::REG_RIP);
    let Some((offset, sites)) = usize::try_from(pc).ok().and_then(find) else {
        return false;
    };
    // SAFETY: the program counter is inside the code these sites belong to, so a run of it is active on this thread, and it
    // keeps program, code and registration alive.
    let sites = unsafe { &*sites };
    let Some(site) = sites.at(offset) else {
        return false;
    };
    let position = CONTEXT_POSITIONS.get(usize::from(site.register));
    let base = at(registers, *position.unwrap_or(&libc::REG_R11));
    let address = i64::from(low_32(base)) + i64::from(site.displacement);
    let start = at(registers, libc::REG_R12).wrapping_add_signed(address);
    if fault.wrapping_sub(start) >= u64::from(site.size) {
        return false;
    }
    note(registers, site, address);
    let stub = pc - offset as u64 + u64::from(sites.trapped);
    set(registers, libc::REG_RIP, stub.cast_signed());
    true
}

/// Puts what happened into the registers that the stub stores into the run's state.
fn note(registers: &mut [i64; 23], site: &Site, address: i64) {
    set(registers, libc::REG_R11, address);
    set(registers, libc::REG_R9, i64::from(site.insn));
    let packed = u64::from(site.size) << 32 | u64::from(site.status);
    set(registers, libc::REG_RAX, packed.cast_signed());
}

fn find(pc: usize) -> Option<(usize, *const Sites)> {
    let head = ENTRIES.load(Ordering::Acquire);
    // SAFETY: entries are leaked, so a pointer in the list is valid for ever.
    let mut entry = unsafe { head.as_ref() };
    while let Some(here) = entry {
        if let Some(found) = here.find(pc) {
            return Some(found);
        }
        entry = here.next;
    }
    None
}

fn at(registers: &[i64; 23], position: c_int) -> u64 {
    let position = usize::try_from(position).unwrap_or(usize::MAX);
    registers
        .get(position)
        .map_or(0, |value| value.cast_unsigned())
}

fn set(registers: &mut [i64; 23], position: c_int, value: i64) {
    let position = usize::try_from(position).unwrap_or(usize::MAX);
    if let Some(register) = registers.get_mut(position) {
        *register = value;
    }
}

/// Gives a signal that is not ours to whoever handled it before.
fn pass_on(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let index = usize::from(signal != libc::SIGSEGV);
    let previous = PREVIOUS.get().and_then(|previous| previous.get(index));
    let Some(previous) = previous else {
        return take_default(signal);
    };
    match previous.sa_sigaction {
        libc::SIG_DFL => take_default(signal),
        libc::SIG_IGN => {}
        handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: whoever installed it with SA_SIGINFO promised the kernel this signature.
            let handler = unsafe {
                std::mem::transmute::<usize, extern "C" fn(c_int, *mut siginfo_t, *mut c_void)>(
                    handler,
                )
            };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: whoever installed it without SA_SIGINFO promised the kernel this signature.
            let handler = unsafe { std::mem::transmute::<usize, extern "C" fn(c_int)>(handler) };
            handler(signal);
        }
    }
}

/// Restores the default action and returns: a fault happens again at once and ends the process as it would have without us.
fn take_default(signal: c_int) {
    let action = empty_action();
    // SAFETY: `action` is a valid default action; `sigaction` may be called in signal handlers.
    unsafe { sigaction(signal, &raw const action, null_mut()) };
}
