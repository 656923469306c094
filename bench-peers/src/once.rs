//! One load in a process of its own, and what it cost.
//!
//! Each library has an executable without the others, so that none pays for their code: how much of an executable is
//! touched, and how large it is, are a good part of what a small load costs.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::meter::Reading;

/// What one load cost.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    /// Processor time of the whole load, in the kernel too.
    pub total_us: f64,
    /// The part of it outside `bpf(2)`.
    pub outside_us: f64,
    /// `bpf(2)` calls.
    pub calls: f64,
    /// The largest amount of memory that the process has had.
    pub peak_kib: f64,
    /// Pages that were not there when they were touched.
    pub faults: f64,
}

/// Loads the object named by the only argument, and prints the figures.
pub fn main<T>(load: impl FnOnce(&Path) -> Result<T, String>) -> ExitCode {
    let Some(path) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("an object is needed");
        return ExitCode::from(2);
    };
    let before = (Reading::now(), faults());
    let result = load(&path);
    let reading = Reading::now().since(before.0);
    let faults = faults() - before.1;
    match result {
        Ok(held) => {
            println!(
                "{} {} {} {} {faults}",
                reading.process_ns,
                reading.outside_ns(),
                reading.calls,
                peak_kib(),
            );
            drop(held);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs one of the executables.
///
/// # Errors
///
/// Why the object was not loaded, in the library's words.
pub fn measure(executable: &Path, object: &Path) -> Result<Figures, String> {
    let output = Command::new(executable)
        .arg(object)
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let numbers: Vec<f64> = text
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    match numbers.as_slice() {
        [total, outside, calls, peak, faults] => Ok(Figures {
            total_us: total / 1000.0,
            outside_us: outside / 1000.0,
            calls: *calls,
            peak_kib: *peak,
            faults: *faults,
        }),
        _ => Err(format!("unexpected output: {text}")),
    }
}

/// The medians, each figure by itself; nothing if there are none.
pub fn median(figures: &[Figures]) -> Option<Figures> {
    let middle = |field: fn(&Figures) -> f64| {
        let mut values: Vec<f64> = figures.iter().map(field).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    };
    Some(Figures {
        total_us: middle(|each| each.total_us)?,
        outside_us: middle(|each| each.outside_us)?,
        calls: middle(|each| each.calls)?,
        peak_kib: middle(|each| each.peak_kib)?,
        faults: middle(|each| each.faults)?,
    })
}

/// The largest amount of memory this process has had, in KiB.
fn peak_kib() -> u64 {
    std::fs::read_to_string("/proc/self/status")
        .unwrap_or_default()
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or_default()
}

fn faults() -> i64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the kernel writes one `rusage` there.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) };
    // SAFETY: all zeros are a `rusage` too.
    unsafe { usage.assume_init() }.ru_minflt
}
