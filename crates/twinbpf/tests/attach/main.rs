//! Every sort of hook: a program is attached, its event happens, and it ran.
//!
//! The events happen in a network namespace, a cgroup or a process that belongs to the test alone.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cgroups;
mod network;
mod places;
mod probes;
mod sockets;
mod tables;
mod traced;
mod tracing;

use std::process::ExitCode;

fn main() -> ExitCode {
    if places::is_child() {
        places::act();
        return ExitCode::SUCCESS;
    }
    let cases = [
        cgroups::cases(),
        network::cases(),
        probes::cases(),
        sockets::cases(),
        tables::cases(),
        traced::cases(),
        tracing::cases(),
    ];
    twinbpf_trials::run_in_turn(cases.into_iter().flatten().collect())
}
