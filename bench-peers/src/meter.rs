//! Counts `bpf(2)` calls and the processor time inside them, whoever makes them.
//!
//! All three libraries reach the system call through libc's `syscall`. An executable's own definition of a symbol comes
//! before that of a shared library, so the one here is called instead: it does what libc's does and keeps two sums.

use std::ffi::{c_int, c_long};
use std::sync::atomic::{AtomicU64, Ordering};

static CALLS: AtomicU64 = AtomicU64::new(0);
static INSIDE_NS: AtomicU64 = AtomicU64::new(0);

/// What was counted since the process began.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reading {
    /// `bpf(2)` calls.
    pub calls: u64,
    /// Processor time inside them.
    pub inside_ns: u64,
    /// Processor time of the whole process.
    pub process_ns: u64,
}

impl Reading {
    /// Reads the counters.
    pub fn now() -> Self {
        Self {
            calls: CALLS.load(Ordering::Relaxed),
            inside_ns: INSIDE_NS.load(Ordering::Relaxed),
            process_ns: clock_ns(libc::CLOCK_PROCESS_CPUTIME_ID),
        }
    }

    /// What came since `earlier`, the meter's own clock readings taken out.
    pub fn since(self, earlier: Self) -> Self {
        let calls = self.calls - earlier.calls;
        let own_ns = calls * 2 * clock_cost_ns();
        Self {
            calls,
            inside_ns: self.inside_ns - earlier.inside_ns,
            process_ns: (self.process_ns - earlier.process_ns).saturating_sub(own_ns),
        }
    }

    /// Processor time outside `bpf(2)`.
    pub fn outside_ns(self) -> u64 {
        self.process_ns.saturating_sub(self.inside_ns)
    }
}

/// Stands in for libc's function of that name.
///
/// # Safety
///
/// As libc's: the arguments must be what the system call `number` asks for.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn syscall(
    number: c_long,
    a: c_long,
    b: c_long,
    c: c_long,
    d: c_long,
    e: c_long,
    f: c_long,
) -> c_long {
    let arguments = [a, b, c, d, e, f];
    if number != libc::SYS_bpf {
        // SAFETY: the caller promises what the system call asks for.
        return unsafe { raw(number, arguments) };
    }
    let before = clock_ns(libc::CLOCK_THREAD_CPUTIME_ID);
    // SAFETY: as above.
    let result = unsafe { raw(number, arguments) };
    let after = clock_ns(libc::CLOCK_THREAD_CPUTIME_ID);
    CALLS.fetch_add(1, Ordering::Relaxed);
    INSIDE_NS.fetch_add(after.saturating_sub(before), Ordering::Relaxed);
    result
}

/// Enters the kernel, and leaves the error number where C expects it.
///
/// # Safety
///
/// The arguments must be what the system call asks for.
#[cfg(target_arch = "x86_64")]
unsafe fn raw(number: c_long, arguments: [c_long; 6]) -> c_long {
    let [a, b, c, d, e, f] = arguments;
    let result: c_long;
    // SAFETY: the kernel's calling convention for x86-64; it changes rax, rcx and r11 only.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
            options(nostack)
        );
    }
    if (-4095..0).contains(&result) {
        // SAFETY: libc gives each thread its own `errno`.
        unsafe { *libc::__errno_location() = (-result) as c_int };
        return -1;
    }
    result
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a live timespec.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// What one reading of a thread's clock costs: the smallest of many.
fn clock_cost_ns() -> u64 {
    (0..64)
        .map(|_| {
            let before = clock_ns(libc::CLOCK_THREAD_CPUTIME_ID);
            clock_ns(libc::CLOCK_THREAD_CPUTIME_ID) - before
        })
        .min()
        .unwrap_or_default()
}
