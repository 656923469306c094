//! Programs in the kernel: holes filled, loaded, and a rejection with the verifier's words.
//!
//! A program is loaded with `log_level` 4: a few statistics, and the reason if it is refused, at the price of a plain load.
//! Only a refused program is verified once more, at level 1, whose buffer keeps the end of the trace: the instruction and
//! the source line. What the words mean is not decided here; the crate `verify` knows.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use twinbpf_object::insn::{Insn, opcode};
use twinbpf_object::link::ProgramTarget;
use twinbpf_object::spec::{ByteOrder, MapIndex};
use twinbpf_object::{
    Code, Diagnosis, Errno, Error, Hole, HoleKind, LinkedProgram, ProgramKind, Result,
};

use twinbpf_verify::VerifierLog;

use crate::attr::{ProgramLoad, kernel_name, name_text};
use crate::map::KernelMap;
use crate::privilege::{Privileges, needed_for_program};
use crate::{host, sys};

/// A program the kernel has accepted. Clones are the same program; it goes when the last holder goes.
#[derive(Debug, Clone)]
pub struct KernelProgram(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    fd: sys::ProgramFd,
    name: String,
    kind: ProgramKind,
    log: String,
}

/// What the kernel says about a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelProgramInfo {
    /// The number by which other processes can ask for it.
    pub id: u32,
    /// The name, as the kernel kept it.
    pub name: String,
    /// What kind of program.
    pub kind: ProgramKind,
    /// A fingerprint of the instructions.
    pub tag: [u8; 8],
    /// Bytes of the instructions after the verifier's changes.
    pub translated_bytes: u32,
    /// Bytes of machine code; 0 if it is interpreted.
    pub machine_code_bytes: u32,
}

impl KernelProgram {
    /// Loads a program. `maps` are in the order of [`Linked::maps`](twinbpf_object::Linked::maps); without a license the
    /// kernel treats it as not GPL.
    ///
    /// # Errors
    ///
    /// `V000` with the verifier's words if it refused the program; else what is missing: a type, a privilege, a feature.
    pub fn load(
        program: &LinkedProgram,
        maps: &[KernelMap],
        license: Option<&str>,
        version: Option<u32>,
    ) -> Result<Self> {
        load(program, maps, license, version)
            .map_err(|error| error.map(|diagnosis| diagnosis.in_program(&program.name)))
    }

    /// The program's name, uncut.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// What kind of program.
    pub fn kind(&self) -> ProgramKind {
        self.0.kind
    }

    /// What the verifier said when it accepted the program: its statistics.
    pub fn verifier_log(&self) -> &str {
        &self.0.log
    }

    /// Asks the kernel about the program.
    ///
    /// # Errors
    ///
    /// The kernel's number.
    pub fn info(&self) -> Result<KernelProgramInfo, Errno> {
        let reply = self.0.fd.info()?;
        Ok(KernelProgramInfo {
            id: reply.id,
            name: name_text(&reply.name),
            kind: ProgramKind::from_number(reply.prog_type),
            tag: reply.tag,
            translated_bytes: reply.xlated_prog_len,
            machine_code_bytes: reply.jited_prog_len,
        })
    }
}

impl AsFd for KernelProgram {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.fd.as_fd()
    }
}

/// Everything one `BPF_PROG_LOAD` needs, so that it can be asked again.
struct Request {
    attributes: ProgramLoad,
    insns: Vec<Insn>,
    code: Vec<u8>,
    license: CString,
}

/// The kernel's answer to one request, with the log it wrote.
struct Answer {
    result: Result<sys::ProgramFd, Errno>,
    log: String,
}

fn load(
    program: &LinkedProgram,
    maps: &[KernelMap],
    license: Option<&str>,
    version: Option<u32>,
) -> Result<KernelProgram> {
    let kind = program.kind.ok_or_else(|| untyped(program))?;
    if program.target != ProgramTarget::None {
        return Err(unsupported(
            "a program that refers to a function or type of the kernel or of another program",
        ));
    }
    let insns = fill_holes(program, maps)?;
    let request = Request {
        attributes: ProgramLoad {
            prog_type: kind.number(),
            kern_version: version.unwrap_or(0),
            prog_flags: flags(program),
            prog_name: kernel_name(&program.name),
            expected_attach_type: program.attach.map_or(0, |attach| attach.0),
            ..ProgramLoad::default()
        },
        code: encode(&insns),
        insns,
        license: license_text(license)?,
    };
    let start = Instant::now();
    let mut answer = request.ask(statistics_level());
    if answer.is_refused_with(Errno::EPERM) && host::raised_memlock() {
        answer = request.ask(statistics_level());
    }
    match answer.result {
        Ok(fd) => Ok(KernelProgram(Arc::new(Inner {
            fd,
            name: program.name.clone(),
            kind,
            log: answer.log,
        }))),
        Err(errno) if answer.log.is_empty() && statistics_level() != 0 => {
            Err(refused_unheard(program, kind, errno))
        }
        Err(errno) => Err(twinbpf_verify::locate(
            rejected(&request, errno, &answer.log, start.elapsed()),
            program,
        )),
    }
}

impl Request {
    /// Asks the kernel once. KERNEL: a signal during verification makes it give up with EAGAIN, so that is asked again.
    fn ask(&self, log_level: u32) -> Answer {
        let mut log = vec![0; if log_level == 0 { 0 } else { LOG_BYTES }];
        let attributes = ProgramLoad {
            log_level,
            ..self.attributes
        };
        let mut result = Err(Errno::EAGAIN);
        for _ in 0..ATTEMPTS {
            result = sys::program_load(&attributes, &self.code, &self.license, &mut log);
            if result.as_ref().err() != Some(&Errno::EAGAIN) {
                break;
            }
        }
        Answer {
            result,
            log: text_of(&log),
        }
    }
}

impl Request {
    /// The end of the trace that the verifier writes within `deadline`; empty if the host allows no child process.
    fn trace(&self, deadline: Duration) -> String {
        let attributes = ProgramLoad {
            log_level: TRACE,
            ..self.attributes
        };
        let log = sys::program_log_within(
            &attributes,
            &self.code,
            &self.license,
            (LOG_BYTES, deadline),
        );
        text_of(&log.unwrap_or_default())
    }
}

/// A log up to its zero.
fn text_of(log: &[u8]) -> String {
    let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
    String::from_utf8_lossy(log.get(..end).unwrap_or_default()).into_owned()
}

impl Answer {
    fn is_refused_with(&self, errno: Errno) -> bool {
        self.log.is_empty() && self.result.as_ref().err() == Some(&errno)
    }
}

/// The level that costs nothing. KERNEL: it came with 5.2; older kernels would write a whole trace.
fn statistics_level() -> u32 {
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

/// Puts the numbers of live things into the instructions.
fn fill_holes(program: &LinkedProgram, maps: &[KernelMap]) -> Result<Vec<Insn>> {
    let mut insns = program.insns.clone();
    for hole in &program.holes {
        fill_hole(&mut insns, hole, maps)?;
    }
    Ok(insns)
}

fn fill_hole(insns: &mut [Insn], hole: &Hole, maps: &[KernelMap]) -> Result<()> {
    let Some([first, second]) = insns
        .get_mut(hole.at.get()..)
        .and_then(<[Insn]>::first_chunk_mut)
    else {
        return Err(malformed(hole, "lies outside the program"));
    };
    if !first.is_wide() {
        return Err(match &hole.kind {
            HoleKind::Kfunc { name, .. } => unsupported(&format!("kernel function `{name}`")),
            _ => malformed(hole, "is not a 64-bit load"),
        });
    }
    match &hole.kind {
        HoleKind::Map(map) => {
            first.src = opcode::PSEUDO_MAP_FD;
            first.imm = map_fd(hole, *map, maps)?;
        }
        HoleKind::MapValue { map, offset } => {
            first.src = opcode::PSEUDO_MAP_VALUE;
            first.imm = map_fd(hole, *map, maps)?;
            second.imm = offset.cast_signed();
        }
        HoleKind::Function(target) => {
            // The distance counts from the slot after the first one of the load.
            let distance = i64::from(target.0) - i64::from(hole.at.0) - 1;
            first.src = opcode::PSEUDO_FUNC;
            first.imm = i32::try_from(distance)
                .map_err(|_| malformed(hole, "is too far from its function"))?;
        }
        HoleKind::Kfunc { name, .. } => {
            return Err(unsupported(&format!("kernel function `{name}`")));
        }
        HoleKind::Ksym { name, .. } => return Err(unsupported(&format!("kernel symbol `{name}`"))),
        HoleKind::Kconfig { name, .. } => {
            return Err(unsupported(&format!("configuration value `{name}`")));
        }
    }
    Ok(())
}

fn map_fd(hole: &Hole, map: MapIndex, maps: &[KernelMap]) -> Result<i32> {
    maps.get(map.0)
        .map(|map| map.as_fd().as_raw_fd())
        .ok_or_else(|| {
            malformed(
                hole,
                &format!("wants map {}, but there are {}", map.0, maps.len()),
            )
        })
}

/// The instructions as the kernel reads them: in the machine's byte order.
fn encode(insns: &[Insn]) -> Vec<u8> {
    let order = if cfg!(target_endian = "big") {
        ByteOrder::Big
    } else {
        ByteOrder::Little
    };
    insns.iter().flat_map(|insn| insn.to_bytes(order)).collect()
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

fn untyped(program: &LinkedProgram) -> Error {
    Diagnosis::new(
        Code::PROGRAM_UNTYPED,
        format!(
            "section `{}` says no program type and none was given",
            program.section
        ),
    )
    .help("name the type: `--type socket_filter`")
    .into()
}

fn unsupported(what: &str) -> Error {
    Diagnosis::new(
        Code::PROGRAM_UNSUPPORTED,
        format!("the kernel engine cannot resolve this yet: {what}"),
    )
    .into()
}

fn malformed(hole: &Hole, what: &str) -> Error {
    Diagnosis::new(
        Code::RELOCATION_MALFORMED,
        format!("the reference at instruction {} {what}", hole.at),
    )
    .into()
}

/// Refused before the verifier spoke.
fn refused_unheard(program: &LinkedProgram, kind: ProgramKind, errno: Errno) -> Error {
    let since = kind.since();
    let diagnosis = match errno {
        Errno::EPERM | Errno::EACCES => Privileges::read().explain(
            Diagnosis::new(
                Code::PROGRAM_PERMISSION,
                format!("loading a program of type `{kind}` is not permitted"),
            ),
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
        .help("the attach type may not fit the program type, or the kernel is built without it"),
    };
    diagnosis.errno(errno).into()
}

/// Refused by the verifier after `taken`: asks again for the trace's end.
///
/// Writing the trace makes the verifier many times slower, so the second request gets no more time than the first one took.
/// If it would need more, the program is a loop or close to it, and the lines that were being walked when the time was
/// over are the ones to show.
///
/// KERNEL: when the trace does not fit, 6.4 and later keep its end, and the number becomes ENOSPC; so number and reason come
/// from the first answer, the trace from the second. Before 6.4 the beginning is kept, which says nothing: it is left out.
fn rejected(request: &Request, errno: Errno, statistics: &str, taken: Duration) -> Error {
    let trace = request.trace(taken.max(SHORTEST_TRACE));
    let is_cut = trace.len() + 1 >= LOG_BYTES;
    let has_end = !is_cut || host::kernel_version() >= host::version(6, 4);
    let text = if has_end && !trace.is_empty() {
        &trace
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
    twinbpf_verify::explain(diagnosis.into(), &request.insns)
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

const STATISTICS: u32 = 4;
const TRACE: u32 = 1;
const LOG_BYTES: usize = 64 * 1024;
const ATTEMPTS: u32 = 5;
/// Time for the trace of a program that was refused faster than a child process can start.
const SHORTEST_TRACE: Duration = Duration::from_millis(100);
/// `BPF_F_SLEEPABLE`
const SLEEPABLE: u32 = 1 << 4;
/// `BPF_F_XDP_HAS_FRAGS`
const XDP_HAS_FRAGMENTS: u32 = 1 << 5;

#[cfg(test)]
mod tests {
    use twinbpf_object::InsnIndex;

    use super::*;

    fn hole(at: u32, kind: HoleKind) -> Hole {
        Hole {
            at: InsnIndex(at),
            kind,
        }
    }

    fn wide() -> Vec<Insn> {
        let first = Insn {
            opcode: opcode::LD_IMM64,
            dst: 1,
            ..Insn::default()
        };
        vec![first, Insn::default(), Insn::default()]
    }

    #[test]
    fn a_function_hole_holds_the_distance_to_its_function() {
        let mut insns = wide();
        fill_hole(&mut insns, &hole(0, HoleKind::Function(InsnIndex(2))), &[]).unwrap();
        assert_eq!((insns[0].src, insns[0].imm), (opcode::PSEUDO_FUNC, 1));
    }

    #[test]
    fn holes_that_point_nowhere_are_refused() {
        for (at, map) in [(0, 0), (2, 0), (9, 0)] {
            let error =
                fill_hole(&mut wide(), &hole(at, HoleKind::Map(MapIndex(map))), &[]).unwrap_err();
            assert_eq!(error.diagnosis().code, Code::RELOCATION_MALFORMED);
        }
    }
}
