//! One test run of a program, as `BPF_PROG_TEST_RUN` means it: what goes in and what comes out, for both engines.

/// What goes into a test run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TestInput<'a> {
    /// The packet, from its link-layer header on. Empty for programs without packets.
    pub data: &'a [u8],
    /// The context; empty for the kernel's default.
    pub context: &'a [u8],
    /// How often to run; 0 means once. Every run sees the packet as the one before left it.
    pub repeat: u32,
}

/// What comes out of a test run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TestOutput {
    /// What the last run returned.
    pub value: u32,
    /// The packet as the last run left it.
    pub data: Vec<u8>,
    /// The context as the last run left it, if one was given.
    pub context: Vec<u8>,
    /// Nanoseconds a run took on average.
    pub duration_ns: u32,
}
