//! Hooks: what builds a context, runs a program on it, and acts on the verdict.

pub mod observer;
pub mod packets;
pub mod point;
pub mod socket;
pub mod test_run;
