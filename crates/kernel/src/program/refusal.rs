//! Why the kernel refused a program: what it lacks, who may not load it, or the verifier's words.

use std::time::Duration;

use twinbpf_object::abi::{AttachKind, BpfRequest};
use twinbpf_object::{Code, Diagnosis, Errno, Error, LinkedProgram, ProgramKind};
use twinbpf_verify::VerifierLog;

use super::request::{LOG_BYTES, Request, trace_bytes};
use crate::host;
use crate::privilege::{Privileges, needed_for_program};

/// Whether the verifier did not get as far as to look at an instruction, and said nothing.
///
/// KERNEL: 6.18 answers `struct_ops` programs without a type ENOTSUPP, with statistics of zeros and no word.
pub(super) fn is_unheard(log: &str) -> bool {
    let log = VerifierLog::read(log);
    log.reason.is_none() && log.processed.unwrap_or(0) == 0
}

/// Refused before the verifier spoke.
pub(super) fn refused_unheard(program: &LinkedProgram, kind: ProgramKind, errno: Errno) -> Error {
    let since = kind.since();
    let diagnosis = match errno {
        Errno::EPERM | Errno::EACCES => Privileges::read().explain(
            Diagnosis::new(Code::PROGRAM_PERMISSION, not_permitted(program, kind)),
            needed_for_program(kind),
        ),
        Errno::EINVAL | Errno::E2BIG | Errno::EOPNOTSUPP | Errno::ENOTSUPP | Errno::ENOSYS
            if since.is_none_or(|since| !host::is_at_least(since)) =>
        {
            let message = match since {
                Some(since) => format!(
                    "program type `{kind}` came with Linux {since}, this is {}",
                    host::shown_version(host::kernel_version())
                ),
                None => format!("this kernel refuses program type {}", kind.number()),
            };
            Diagnosis::new(Code::PROGRAM_UNSUPPORTED, message)
        }
        _ => Diagnosis::new(
            Code::PROGRAM_LOAD,
            "the kernel refused the program before its verifier looked at it, and gave no reason",
        )
        .fact("program type", kind)
        .fact("instructions", program.insns.len())
        .fact(
            "attach type",
            program
                .attach
                .map_or("none".into(), |attach| attach.to_string()),
        )
        .fact("kernel", host::shown_version(host::kernel_version()))
        .fact(
            format!("{errno} here means"),
            BpfRequest::ProgramLoad
                .meaning_of(errno)
                .unwrap_or("nothing that is known"),
        )
        .help("the attach type may not fit the program type, or the kernel is built without it"),
    };
    diagnosis.errno(errno).into()
}

/// KERNEL: a 6.18 that loads everything else as root can answer EPERM, before its verifier, to all programs that are called
/// through a trampoline (fentry, fexit, fmod_ret, lsm, freplace). So the message says which programs are meant.
fn not_permitted(program: &LinkedProgram, kind: ProgramKind) -> String {
    let attach = program.attach.and_then(AttachKind::kernel_name);
    let is_called_by_functions = match kind {
        ProgramKind::Lsm | ProgramKind::Ext => true,
        ProgramKind::Tracing => !matches!(attach, Some("TRACE_RAW_TP" | "TRACE_ITER")),
        _ => false,
    };
    let which = if is_called_by_functions {
        ", which is called from the kernel's own functions,"
    } else {
        ""
    };
    format!("loading a program of type `{kind}`{which} is not permitted")
}

/// Refused by the verifier after `taken`: asks again for the trace's end.
///
/// Writing the trace makes the verifier many times slower, so the second request gets no more time than the first one took.
/// If it would need more, the program is a loop or close to it, and the lines that were being walked when the time was
/// over are the ones to show.
///
/// KERNEL: when the trace does not fit, 6.4 and later keep its end, and the number becomes ENOSPC; so number and reason come
/// from the first answer, the trace from the second. Before 6.4 the beginning is kept. It is left out, but for a program that is
/// refused for its length: so far into it, one turn of the loop is as good as another.
pub(super) fn rejected(
    request: &Request,
    errno: Errno,
    statistics: &str,
    taken: Duration,
) -> Error {
    let trace = request.trace(taken.max(SHORTEST_TRACE));
    let is_full = trace.len() + 1 >= trace_bytes();
    let has_end = !is_full || errno == Errno::E2BIG || trace_bytes() == LOG_BYTES;
    let is_cut = trace.len() + 1 >= LOG_BYTES;
    let text = if has_end && !trace.is_empty() {
        last_bytes(&trace, LOG_BYTES)
    } else {
        statistics
    };
    let reason = VerifierLog::read(statistics)
        .reason
        .or_else(|| VerifierLog::read(text).reason)
        .unwrap_or_else(|| "the verifier refused the program without a word".into());
    let mut diagnosis = Diagnosis::new(Code::VERIFIER_REJECTED, reason).errno(errno);
    if is_cut {
        diagnosis = diagnosis.fact("verifier log", format!("cut to its last {LOG_BYTES} bytes"));
    }
    // The first line of a cut log has lost its beginning.
    let whole_lines = text.split_once('\n').filter(|_| is_cut);
    let text = whole_lines.map_or(text, |(_, rest)| rest);
    diagnosis.kernel_text = Some(with_whole_count(text, statistics));
    twinbpf_verify::explain(diagnosis.into(), &request.insns())
}

fn last_bytes(text: &str, most: usize) -> &str {
    let mut start = text.len().saturating_sub(most);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}

/// The trace, with the first answer's count of verified instructions: its own ends where the time was over.
fn with_whole_count(trace: &str, statistics: &str) -> String {
    let is_count = |line: &&str| line.starts_with("processed ");
    let Some(count) = statistics.lines().find(is_count) else {
        return trace.to_owned();
    };
    let lines = trace.lines().filter(|line| !is_count(line));
    lines.chain([count]).flat_map(|line| [line, "\n"]).collect()
}

/// Time for the trace of a program that was refused faster than a child process can start.
const SHORTEST_TRACE: Duration = Duration::from_millis(100);
