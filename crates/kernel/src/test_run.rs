//! One test run of a program in the kernel (`BPF_PROG_TEST_RUN`).

use twinbpf_object::{Code, Diagnosis, Errno, Error, ProgramKind, Result, TestInput, TestOutput};

use crate::program::KernelProgram;

/// The most bytes a packet can grow beyond what was given: the kernel's headroom and tailroom are pages.
const GROWTH_BYTES: usize = 64 << 10;
/// More than any context that a test run gives back.
const LARGEST_CONTEXT: usize = 512;

/// Runs the program on `input`, not attached to anything.
///
/// # Errors
///
/// With the kernel's errno: `EINVAL` for packets shorter than their headers or contexts with fields set that mean nothing,
/// `ENOTSUPP` for types of programs without test runs.
pub fn test_run(program: &KernelProgram, input: &TestInput<'_>) -> Result<TestOutput> {
    ask(program, input).map_err(|errno| explain(program, input, errno))
}

fn ask(program: &KernelProgram, input: &TestInput<'_>) -> std::result::Result<TestOutput, Errno> {
    let has_packet = !input.data.is_empty();
    let room = if has_packet { GROWTH_BYTES } else { 0 };
    let mut data = vec![0; input.data.len() + room];
    let mut given = input.context.to_vec();
    // KERNEL: programs without packets refuse room for an output and a repetition. `syscall` programs write their context in place,
    // the others' does not come back; where it does, too little room is ENOSPC (6.18).
    let takes_no_packet = matches!(
        program.kind(),
        ProgramKind::Syscall | ProgramKind::RawTracepoint | ProgramKind::Tracing
    );
    let mut context = match given.len() {
        0 => Vec::new(),
        _ if takes_no_packet => Vec::new(),
        len => vec![0; len.max(LARGEST_CONTEXT)],
    };
    let repeat = match input.repeat {
        1 if takes_no_packet => 0,
        repeat => repeat,
    };
    let reply = program.descriptor().test_run(
        (input.data, &mut data),
        (&mut given, &mut context),
        repeat,
    )?;
    if takes_no_packet {
        context = given;
    } else {
        let written = usize::try_from(reply.ctx_size_out).unwrap_or(0);
        context.truncate(written.min(given.len()));
    }
    data.truncate(usize::try_from(reply.data_size_out).unwrap_or(0));
    Ok(TestOutput {
        value: reply.retval,
        data,
        context,
        duration_ns: reply.duration,
    })
}

fn explain(program: &KernelProgram, input: &TestInput<'_>, errno: Errno) -> Error {
    let kind = program.kind();
    let (code, message) = match errno {
        Errno::ENOTSUPP => (
            Code::PROGRAM_UNSUPPORTED,
            format!("this kernel has no test runs of programs of type {kind}"),
        ),
        Errno::EPERM => (
            Code::PROGRAM_PERMISSION,
            "no privilege for a test run".to_owned(),
        ),
        _ => (
            Code::RUN_REFUSED,
            format!(
                "the kernel refused a test run with {} bytes of packet and {} of context",
                input.data.len(),
                input.context.len()
            ),
        ),
    };
    Diagnosis::new(code, message)
        .in_program(program.name())
        .errno(errno)
        .into()
}
