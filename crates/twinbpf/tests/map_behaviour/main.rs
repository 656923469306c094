//! What every kind of map answers to every request, on both engines: to the value, to the errno.
//!
//! ```text
//! table.txt   the answers, kind by kind, as a table for people and for table.rs
//! walk.rs     long random sequences of requests, the same to both engines
//! ```
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod table;
mod walk;

use std::process::ExitCode;

fn main() -> ExitCode {
    let cases = [table::cases(), walk::cases()];
    twinbpf_trials::run(cases.into_iter().flatten().collect())
}
