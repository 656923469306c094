//! The vm through its public API. Whatever a program can observe runs on every executor.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod calls;
mod core;
mod fixtures;
mod held;
mod known_bugs;
mod maps;
mod plugin;
mod random;
mod random_maps;
mod sandbox;
mod socket;
mod support;
mod tail_calls;
mod test_run;
mod timers;
mod vouched;
