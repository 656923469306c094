//! The name of an engine.

use std::fmt;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EngineKind {
    /// The running kernel.
    Kernel,
    /// A BPF subsystem inside this process.
    Vm,
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kernel => "kernel",
            Self::Vm => "vm",
        })
    }
}
