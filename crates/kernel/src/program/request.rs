//! One `BPF_PROG_LOAD`, so that it can be asked again: at another log level, after a limit was raised.
//!
//! The first question is asked at `log_level` 4: a few statistics, and the reason if the program is refused, at the price of
//! a plain load. Level 1 writes the whole trace and is many times slower; a child process asks for it.

use std::ffi::CString;
use std::os::fd::AsFd;
use std::time::Duration;

use twinbpf_object::insn::{INSN_BYTES, Insn};
use twinbpf_object::spec::ByteOrder;
use twinbpf_object::{Code, Diagnosis, Errno, LinkedProgram, ProgramKind, Result};

use super::{LoadContext, records};
use crate::attr::{ProgramLoad, TOKEN_FD, fd_number, kernel_name};
use crate::sys::ProgramParts;
use crate::{host, sys};

/// Everything one `BPF_PROG_LOAD` needs, so that it can be asked again.
pub(super) struct Request {
    pub(super) attributes: ProgramLoad,
    pub(super) parts: ProgramParts,
}

/// The kernel's answer to one request, with the log it wrote.
pub(super) struct Answer {
    pub(super) result: Result<sys::ProgramFd, Errno>,
    pub(super) log: String,
}

impl Request {
    /// The request for a program whose holes are filled.
    ///
    /// # Errors
    ///
    /// If the license is no text.
    pub(super) fn new(
        program: &LinkedProgram,
        kind: ProgramKind,
        code: Vec<u8>,
        context: &LoadContext<'_>,
    ) -> Result<Self> {
        let types = context.types;
        Ok(Self {
            attributes: ProgramLoad {
                prog_type: kind.number(),
                kern_version: context.version.unwrap_or(0),
                prog_flags: flags(program) | context.token.map_or(0, |_| TOKEN_FD),
                prog_token_fd: context.token.map_or(0, fd_number),
                prog_btf_fd: types.map_or(0, |types| fd_number(types.as_fd())),
                prog_name: kernel_name(&program.name),
                expected_attach_type: program.attach.map_or(0, |attach| attach.0),
                ..ProgramLoad::default()
            },
            parts: ProgramParts {
                code,
                license: license_text(context.license)?,
                functions: types.map_or_else(Vec::new, |_| records::functions(program)),
                lines: types.map_or_else(Vec::new, |_| records::lines(program)),
                ..ProgramParts::default()
            },
        })
    }

    /// Asks the kernel once. KERNEL: a signal during verification makes it give up with EAGAIN, so that is asked again.
    pub(super) fn ask(&self, log_level: u32) -> Answer {
        let answer = self.ask_with_room(log_level, STATISTICS_BYTES);
        // KERNEL: 6.18 answers so to a program that it would have accepted, or refused otherwise.
        if answer.result.as_ref().err() == Some(&Errno::ENOSPC) {
            return self.ask_with_room(log_level, LOG_BYTES);
        }
        answer
    }

    fn ask_with_room(&self, log_level: u32, room: usize) -> Answer {
        let mut log = vec![0; if log_level == 0 { 0 } else { room }];
        let attributes = ProgramLoad {
            log_level,
            ..self.attributes
        };
        let mut result = Err(Errno::EAGAIN);
        for _ in 0..ATTEMPTS {
            result = sys::program_load(&attributes, &self.parts, &mut log);
            if result.as_ref().err() != Some(&Errno::EAGAIN) {
                break;
            }
        }
        Answer {
            result,
            log: sys::text_of(&log),
        }
    }
}

impl Request {
    /// The instructions, holes filled.
    pub(super) fn insns(&self) -> Vec<Insn> {
        let (slots, _) = self.parts.code.as_chunks::<INSN_BYTES>();
        slots
            .iter()
            .map(|slot| Insn::from_bytes(*slot, ByteOrder::HOST))
            .collect()
    }

    /// The end of the trace that the verifier writes within `deadline`; empty if the host allows no child process.
    pub(super) fn trace(&self, deadline: Duration) -> String {
        let attributes = ProgramLoad {
            log_level: TRACE,
            ..self.attributes
        };
        let log = sys::program_log_within(&attributes, &self.parts, (trace_bytes(), deadline));
        sys::text_of(&log.unwrap_or_default())
    }
}

impl Answer {
    pub(super) fn is_refused_with(&self, errno: Errno) -> bool {
        self.log.is_empty() && self.result.as_ref().err() == Some(&errno)
    }
}

/// The level that costs nothing. KERNEL: it came with 5.2; older kernels would write a whole trace.
/// Room for a trace. KERNEL: 6.4 and later keep the end of one that does not fit, older ones the beginning (seen on 6.1): there it
/// gets as much room as all of them take.
pub(super) fn trace_bytes() -> usize {
    if host::kernel_version() >= host::version(6, 4) {
        LOG_BYTES
    } else {
        LARGEST_LOG_BYTES
    }
}

pub(super) fn statistics_level() -> u32 {
    if host::kernel_version() >= host::version(5, 2) {
        STATISTICS
    } else {
        0
    }
}

fn flags(program: &LinkedProgram) -> u32 {
    let sleepable = if program.is_sleepable { SLEEPABLE } else { 0 };
    let fragments =
        if program.kind == Some(ProgramKind::Xdp) && program.section.contains("xdp.frags") {
            XDP_HAS_FRAGMENTS
        } else {
            0
        };
    sleepable | fragments | program.load_flags
}

/// A missing license stays missing: the kernel wants a text, and the empty one grants nothing.
fn license_text(license: Option<&str>) -> Result<CString> {
    CString::new(license.unwrap_or_default()).map_err(|_| {
        Diagnosis::new(
            Code::LICENSE_MALFORMED,
            "the license has a zero byte in the middle",
        )
        .into()
    })
}

const STATISTICS: u32 = 4;
const TRACE: u32 = 1;
/// Room for statistics, or one reason. All of it is zeroed and so touched; a larger room would cost more than all else that
/// a small program needs.
const STATISTICS_BYTES: usize = 4 * 1024;
/// Room for what the verifier writes.
pub(super) const LOG_BYTES: usize = 64 * 1024;
/// KERNEL: kernels before 5.16 take no larger one.
const LARGEST_LOG_BYTES: usize = (16 << 20) - 1;
const ATTEMPTS: u32 = 5;
/// `BPF_F_SLEEPABLE`
const SLEEPABLE: u32 = 1 << 4;
/// `BPF_F_XDP_HAS_FRAGS`
const XDP_HAS_FRAGMENTS: u32 = 1 << 5;
