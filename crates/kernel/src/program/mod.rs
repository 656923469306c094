//! Programs in the kernel: holes filled, loaded, and a rejection with the verifier's words.
//!
//! ```text
//! LinkedProgram --holes--> instructions --request--> BPF_PROG_LOAD --> KernelProgram
//!                                                         |
//!                                                         '--refusal--> why not
//! ```
//!
//! A program is loaded with `log_level` 4: a few statistics, and the reason if it is refused, at the price of a plain load.
//! Only a refused program is verified once more, at level 1, whose buffer keeps the end of the trace: the instruction and
//! the source line. What the words mean is not decided here; the crate `verify` knows.

mod holes;
mod older;
mod present;
mod records;
mod refusal;
mod request;
mod target;

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

use twinbpf_object::{AttachKind, Errno, HoleKind, LinkedProgram, ProgramKind, Result};

pub use self::present::{CodeLine, MachineFunction, ProgramCode, RunCounting};
use self::request::{Request, statistics_level};
pub(crate) use self::target::function_number;
use crate::attr::{fd_number, name_text};
use crate::btf::KernelBtf;
use crate::fd_info::FdInfo;
use crate::map::KernelMap;
use crate::types::KernelTypes;
use crate::{host, sys};

/// A program the kernel has accepted. Clones are the same program; it goes when the last holder goes.
#[derive(Debug, Clone)]
pub struct KernelProgram(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    fd: sys::ProgramFd,
    name: String,
    kind: ProgramKind,
    attach: Option<AttachKind>,
    log: String,
    /// The map in which it looks up where a probe's arguments are, if it has one.
    probe_specs: Option<KernelMap>,
}

/// The map in which programs at probes of a file's author look up where arguments are, by the convention of libbpf's header.
const PROBE_SPECS: &str = "__bpf_usdt_specs";

/// What a program is loaded with.
#[derive(Debug, Clone, Copy, Default)]
pub struct LoadContext<'a> {
    /// Maps in the order of [`Linked::maps`](twinbpf_object::Linked::maps).
    pub maps: &'a [KernelMap],
    /// The license; without one the kernel treats the program as not GPL.
    pub license: Option<&'a str>,
    /// Number of the `version` section, which old kernels compare with their own.
    pub version: Option<u32>,
    /// The object's types, in which functions and lines are described.
    pub types: Option<&'a KernelBtf>,
    /// Stands for privileges the process does not have (a BPF token).
    pub token: Option<BorrowedFd<'a>>,
    /// The program one of whose functions this one replaces (type `ext`) or traces.
    pub replaces: Option<BorrowedFd<'a>>,
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
    /// When it was loaded, in nanoseconds since the system started.
    pub loaded_ns: u64,
    /// The user who loaded it.
    pub user: u32,
    /// Whether its license lets it call what only GPL programs may.
    pub is_gpl: bool,
    /// The number of its types in the kernel; 0 without types.
    pub types_id: u32,
    /// The interface it was loaded for (offload), 0 for none.
    pub interface: u32,
    /// Nanoseconds that its runs took, while they were counted.
    pub run_time_ns: u64,
    /// Runs while they were counted.
    pub runs: u64,
    /// Runs left out because the program was running already.
    pub recursion_misses: u64,
    /// Instructions that the verifier walked through; 0 from kernels that do not say.
    pub verified_insns: u32,
    /// The number of the types in which `attach_type` is one; 0 if it was verified for no particular place.
    pub attach_types: u32,
    /// What it was verified for, as a number in those types.
    pub attach_type: u32,
    /// Bytes of memory that it takes, as far as the kernel says.
    pub memory_bytes: Option<u64>,
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
        let context = LoadContext {
            maps,
            license,
            version,
            ..LoadContext::default()
        };
        Self::load_with(program, &context, &KernelTypes::default())
    }

    /// Loads a program with everything that can go with it; `types` are read if it attaches to one of them.
    pub(crate) fn load_with(
        program: &LinkedProgram,
        context: &LoadContext<'_>,
        types: &KernelTypes,
    ) -> Result<Self> {
        load(program, context, types)
            .map_err(|error| error.map(|diagnosis| diagnosis.in_program(&program.name)))
    }

    /// The program's descriptor.
    pub(crate) fn descriptor(&self) -> &sys::ProgramFd {
        &self.0.fd
    }

    /// The program's name, uncut.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// What kind of program.
    pub fn kind(&self) -> ProgramKind {
        self.0.kind
    }

    /// Where within its kind it attaches, as it was loaded.
    pub fn attach_kind(&self) -> Option<AttachKind> {
        self.0.attach
    }

    /// The map in which it looks up where a probe's arguments are.
    pub(crate) fn probe_specs(&self) -> Option<&KernelMap> {
        self.0.probe_specs.as_ref()
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
        info_of(&self.0.fd)
    }
}

/// What the kernel says about the program with this number; `None` if there is none.
///
/// # Errors
///
/// The kernel's number: `EPERM` without `CAP_SYS_ADMIN`.
pub fn program_by_id(id: u32) -> Result<Option<KernelProgramInfo>, Errno> {
    let found = sys::program_by_id(id)?;
    found.as_ref().map(info_of).transpose()
}

fn info_of(fd: &sys::ProgramFd) -> Result<KernelProgramInfo, Errno> {
    let reply = fd.info()?;
    Ok(KernelProgramInfo {
        id: reply.id,
        name: name_text(&reply.name),
        kind: ProgramKind::from_number(reply.prog_type),
        tag: reply.tag,
        translated_bytes: reply.xlated_prog_len,
        machine_code_bytes: reply.jited_prog_len,
        loaded_ns: reply.load_time,
        user: reply.created_by_uid,
        is_gpl: reply.gpl_compatible & 1 != 0,
        types_id: reply.btf_id,
        interface: reply.ifindex,
        run_time_ns: reply.run_time_ns,
        runs: reply.run_cnt,
        recursion_misses: reply.recursion_misses,
        verified_insns: reply.verified_insns,
        attach_types: reply.attach_btf_obj_id,
        attach_type: reply.attach_btf_id,
        memory_bytes: FdInfo::read(fd.as_fd()).number("memlock"),
    })
}

impl AsFd for KernelProgram {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.fd.as_fd()
    }
}

fn load(
    program: &LinkedProgram,
    context: &LoadContext<'_>,
    types: &KernelTypes,
) -> Result<KernelProgram> {
    let kind = program.kind.ok_or_else(|| program.type_missing())?;
    let point = target::attach_point(program, kind, context, types)?;
    let mut filled = holes::fill_holes(program, context.maps)?;
    let mut code = std::mem::take(&mut filled.code);
    older::adapt(&mut code);
    let mut request = Request::new(program, kind, code, context)?;
    request.parts.descriptors = filled.descriptors();
    request.attributes.attach_btf_id = point.type_id;
    request.attributes.attach_fd = point
        .owner
        .as_ref()
        .map_or(0, |owner| fd_number(owner.as_fd()));
    if let Some(member) = point.member {
        request.attributes.expected_attach_type = member;
    }
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
            attach: program.attach,
            log: answer.log,
            probe_specs: probe_specs(program, context.maps),
        }))),
        Err(errno) if refusal::is_unheard(&answer.log) && statistics_level() != 0 => {
            Err(refusal::refused_unheard(program, kind, errno))
        }
        Err(errno) => Err(twinbpf_verify::locate(
            refusal::rejected(&request, errno, &answer.log, start.elapsed()),
            program,
        )),
    }
}

/// The map of a probe's arguments, if the program refers to it.
fn probe_specs(program: &LinkedProgram, maps: &[KernelMap]) -> Option<KernelMap> {
    let (position, map) = maps
        .iter()
        .enumerate()
        .find(|(_, map)| map.spec().name == PROBE_SPECS)?;
    let mut holes = program.holes.iter();
    let is_used =
        holes.any(|hole| matches!(hole.kind, HoleKind::Map(index) if index.0 == position));
    is_used.then(|| map.clone())
}
