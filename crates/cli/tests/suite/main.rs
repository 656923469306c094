//! The `twinbpf` command from outside: what it counts, how it ends, what it says when something is wrong.
//!
//! The tests start the built command. Where traffic is wanted, this program is the command that runs in the private network:
//! given the argument `traffic` it sends a known pattern and writes what it saw on `lo` to a capture file.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod assembly;
mod attached;
mod checks;
mod cleanup;
mod counts;
mod diagnoses;
mod endings;
mod errors;
mod explanations;
mod features;
mod generation;
mod inspection;
mod links;
mod maps;
mod programs;
mod rejections;
mod replays;
mod sender;
mod support;
mod test_runs;
#[path = "../../../twinbpf/examples/sockex1/traffic.rs"]
mod traffic;
mod types;
mod variables;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, mode, capture] = &arguments[..]
        && mode == sender::MODE
    {
        sender::send_and_capture(Path::new(capture));
        return ExitCode::SUCCESS;
    }
    let programs = support::Programs::install();
    let mut cases = checks::cases();
    cases.extend(attached::cases());
    cases.extend(cleanup::cases());
    cases.extend(features::cases());
    cases.extend(counts::cases());
    cases.extend(diagnoses::cases());
    cases.extend(endings::cases());
    cases.extend(generation::cases());
    cases.extend(errors::cases());
    cases.extend(explanations::cases());
    cases.extend(inspection::cases());
    cases.extend(maps::cases());
    cases.extend(links::cases());
    cases.extend(programs::cases());
    cases.extend(rejections::cases());
    cases.extend(replays::cases());
    cases.extend(test_runs::cases());
    cases.extend(types::cases());
    cases.extend(assembly::cases());
    cases.extend(variables::cases());
    let exit = twinbpf_trials::run(cases);
    programs.remove();
    exit
}
