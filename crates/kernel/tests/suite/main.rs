//! The kernel engine on the running kernel. Needs the privilege to use `bpf(2)`; without it every case shows as ignored.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod core;
mod helpers;
mod layouts;
mod map_rules;
mod maps;
mod programs;
mod struct_ops;
mod support;
mod targets;
mod types;

use std::process::ExitCode;

fn main() -> ExitCode {
    twinbpf_trials::run(
        [
            core::cases(),
            helpers::cases(),
            layouts::cases(),
            map_rules::cases(),
            maps::cases(),
            programs::cases(),
            struct_ops::cases(),
            targets::cases(),
            types::cases(),
        ]
        .into_iter()
        .flatten()
        .collect(),
    )
}
