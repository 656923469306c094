//! What must hold under load and after a sudden end: rings that are full most of the time, maps that change while they are read, and
//! processes that are killed in the middle of what they do.
//!
//! ```text
//! ring.rs     four writers, one reader who is too slow: every record once, or counted as lost
//! maps.rs     entries that stay are found, whatever others come and go
//! killed.rs   children that load, attach and pin are killed; the next starts cleanly, and nothing is left
//! ```

mod killed;
mod maps;
mod ring;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use twinbpf::Engine;

pub(crate) use killed::{child, children};

/// Runs everything for about so many seconds each.
///
/// # Errors
///
/// If something did not hold; the text says what.
pub(crate) fn run(seconds: u64) -> Result<String, String> {
    let time = Duration::from_secs(seconds);
    let mut summary = String::new();
    for (name, engine) in [("vm", Engine::vm()), ("kernel", Engine::kernel())] {
        let engine = engine.map_err(|error| format!("{name}: {error}"))?;
        let before = open_files()?;
        for (what, outcome) in [
            ("ring", ring::run(&engine, time)),
            ("maps", maps::run(&engine, time)),
        ] {
            let line = outcome.map_err(|error| format!("{name}, {what}: {error}"))?;
            // Writing into a string cannot fail.
            let _ = writeln!(summary, "{name:<7} {what:<7} {line}");
        }
        let left = open_files()?.saturating_sub(before);
        if left > 0 {
            return Err(format!("{name}: {left} descriptors are still open"));
        }
    }
    let line = killed::run(time)?;
    let _ = writeln!(summary, "kernel  killed  {line}");
    Ok(summary)
}

fn open_files() -> Result<usize, String> {
    let files = std::fs::read_dir("/proc/self/fd").map_err(|error| error.to_string())?;
    Ok(files.count())
}

/// The bytes of an object that tests use.
fn object(name: &str) -> Result<twinbpf::Object, String> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../testdata/bpf");
    let path = folder.join(name);
    let bytes = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    twinbpf::Object::parse(&bytes).map_err(|error| error.to_string())
}
