//! Programs that exist already, loaded by whomever: found by number, listed, and with their code as the kernel keeps it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use twinbpf_object::btf::{Btf, Name, TypeId};
use twinbpf_object::insn::INSN_BYTES;
use twinbpf_object::spec::ByteOrder;
use twinbpf_object::{Code, Diagnosis, Errno, Error, ErrorKind, Insn, ProgramKind, Result};

use super::{Inner, KernelProgram};
use crate::attr::name_text;
use crate::privilege::{Capability, Privileges};
use crate::sys::{self, Numbered, ProgramFd, ProgramLists};

/// A program's code as the kernel keeps it.
#[derive(Debug, Clone, Default)]
pub struct ProgramCode {
    /// Instructions as the verifier left them.
    pub translated: Vec<Insn>,
    /// Functions, by their first instruction.
    pub functions: Vec<(u32, String)>,
    /// Source lines, by their first instruction.
    pub lines: Vec<CodeLine>,
    /// Machine code, function by function; empty if the program is interpreted or the kernel does not show it.
    pub machine: Vec<MachineFunction>,
}

/// A line of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeLine {
    /// The first instruction that comes from it.
    pub insn: u32,
    /// Where its machine code is, if the kernel shows that.
    pub address: Option<u64>,
    /// The file.
    pub file: String,
    /// Counted from 1.
    pub line: u32,
    /// Counted from 1.
    pub column: u32,
    /// The line itself.
    pub text: String,
}

/// The machine code of one function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineFunction {
    /// Where it is; 0 if the kernel does not show that.
    pub address: u64,
    /// Its name.
    pub name: String,
    /// Its code.
    pub bytes: Vec<u8>,
}

/// The kernel counts runs of programs as long as this exists.
#[derive(Debug)]
#[must_use = "dropping it ends the counting"]
pub struct RunCounting(#[expect(dead_code, reason = "held, not read")] OwnedFd);

impl RunCounting {
    /// Begins counting runs and their time.
    ///
    /// # Errors
    ///
    /// If a privilege is missing, or the kernel is older than 5.8.
    pub fn begin() -> Result<Self> {
        sys::count_runs().map(Self).map_err(|errno| match errno {
            Errno::EINVAL => {
                let message = "this kernel counts no runs on request";
                Diagnosis::new(Code::PROGRAM_UNSUPPORTED, message)
                    .fact("that came with", "Linux 5.8")
                    .help("the setting kernel.bpf_stats_enabled counts from 5.1 on")
                    .errno(errno)
                    .into()
            }
            errno => not_permitted("counting runs", errno),
        })
    }
}

impl KernelProgram {
    /// The program with this number; `None` if there is none (any more).
    ///
    /// # Errors
    ///
    /// If a privilege is missing: numbers reach every program of the system.
    pub fn by_id(id: u32) -> Result<Option<Self>> {
        let fd = sys::program_by_id(id)
            .map_err(|errno| not_permitted("opening a program by its number", errno))?;
        fd.map(Self::found).transpose()
    }

    /// The numbers of all programs of the system, ascending.
    ///
    /// # Errors
    ///
    /// If a privilege is missing.
    pub fn ids() -> Result<Vec<u32>> {
        sys::ids(Numbered::Program).map_err(|errno| not_permitted("listing programs", errno))
    }

    /// The numbers of the maps that it uses.
    ///
    /// # Errors
    ///
    /// The kernel's number.
    pub fn map_ids(&self) -> Result<Vec<u32>, Errno> {
        sys::program_lists(self.as_fd()).map(|lists| lists.map_ids)
    }

    /// Its code, with names and source lines as far as it was loaded with types.
    ///
    /// # Errors
    ///
    /// If the kernel does not show it.
    pub fn code(&self) -> Result<ProgramCode> {
        let unread = |errno| -> Error {
            Diagnosis::new(Code::HOST_IO, "the program's code cannot be read")
                .in_program(self.name())
                .errno(errno)
                .into()
        };
        let lists = sys::program_lists(self.as_fd()).map_err(unread)?;
        let reply = self.0.fd.info().map_err(unread)?;
        let types = match reply.btf_id {
            0 => None,
            id => {
                let bytes = sys::types_bytes(id).map_err(unread)?;
                Some(Btf::parse(&bytes, host_order())?)
            }
        };
        let functions = types
            .as_ref()
            .map_or_else(Vec::new, |types| functions(&lists, types));
        let lines = types
            .as_ref()
            .map_or_else(Vec::new, |types| lines(&lists, types));
        Ok(ProgramCode {
            translated: translated(&lists.translated),
            machine: machine(&lists, &functions, self.name()),
            functions,
            lines,
        })
    }

    pub(crate) fn found(fd: ProgramFd) -> Result<Self> {
        let reply = fd.info().map_err(|errno| {
            Diagnosis::new(Code::HOST_IO, "the kernel does not say what the program is")
                .errno(errno)
        })?;
        Ok(Self(Arc::new(Inner {
            name: full_name(&fd).unwrap_or_else(|| name_text(&reply.name)),
            kind: ProgramKind::from_number(reply.prog_type),
            fd,
            attach: None,
            log: String::new(),
            probe_specs: None,
        })))
    }
}

/// The name of the program's function, where the kernel's own may have been cut.
fn full_name(fd: &ProgramFd) -> Option<String> {
    let reply = fd.info().ok()?;
    if name_text(&reply.name).len() < MOST_NAME || reply.btf_id == 0 {
        return None;
    }
    let lists = sys::program_lists(fd.as_fd()).ok()?;
    let bytes = sys::types_bytes(reply.btf_id).ok()?;
    let types = Btf::parse(&bytes, host_order()).ok()?;
    functions(&lists, &types).into_iter().next().map(|it| it.1)
}

fn host_order() -> ByteOrder {
    if cfg!(target_endian = "big") {
        ByteOrder::Big
    } else {
        ByteOrder::Little
    }
}

fn translated(bytes: &[u8]) -> Vec<Insn> {
    let (insns, _) = bytes.as_chunks::<INSN_BYTES>();
    let insns = insns.iter();
    insns
        .map(|bytes| Insn::from_bytes(*bytes, host_order()))
        .collect()
}

fn functions(lists: &ProgramLists, types: &Btf) -> Vec<(u32, String)> {
    let (records, _) = lists.functions.as_chunks::<2>();
    let named = records.iter().map(|[insn, id]| {
        let name = types.name_of(TypeId(*id)).to_owned();
        (*insn, name)
    });
    named.collect()
}

fn lines(lists: &ProgramLists, types: &Btf) -> Vec<CodeLine> {
    let (records, _) = lists.lines.as_chunks::<4>();
    let addresses = lists.machine_lines.iter().copied().map(Some);
    let addresses = addresses.chain(std::iter::repeat(None));
    let found = records
        .iter()
        .zip(addresses)
        .map(|([insn, file, text, place], address)| CodeLine {
            insn: *insn,
            address: address.filter(|address| *address != 0),
            file: types.text(Name(*file)).to_owned(),
            // The upper 22 bits are the line, the lower 10 the column.
            line: place >> 10,
            column: place & 0x3ff,
            text: types.text(Name(*text)).trim().to_owned(),
        });
    found.collect()
}

fn machine(lists: &ProgramLists, functions: &[(u32, String)], whole: &str) -> Vec<MachineFunction> {
    let mut rest = lists.machine.as_slice();
    if rest.iter().all(|byte| *byte == 0) {
        // KERNEL: 6.18 gives zeros to whoever may not see the kernel's addresses.
        return Vec::new();
    }
    let mut found = Vec::new();
    for (index, length) in lists.lengths.iter().enumerate() {
        let length = usize::try_from(*length).unwrap_or(usize::MAX);
        let Some((bytes, behind)) = rest.split_at_checked(length) else {
            break;
        };
        rest = behind;
        found.push(MachineFunction {
            address: lists.addresses.get(index).copied().unwrap_or(0),
            name: functions
                .get(index)
                .map_or_else(|| whole.to_owned(), |(_, name)| name.clone()),
            bytes: bytes.to_vec(),
        });
    }
    found
}

/// KERNEL: 6.18 answers EPERM to everybody without CAP_SYS_ADMIN in the initial user namespace.
fn not_permitted(doing: &str, errno: Errno) -> Error {
    let message = format!("{doing} was refused");
    match errno {
        Errno::EPERM | Errno::EACCES => Privileges::read()
            .explain(
                Diagnosis::new(Code::PROGRAM_PERMISSION, message).kind(ErrorKind::Permission),
                &[Capability::SysAdmin],
            )
            .errno(errno),
        _ => Diagnosis::new(Code::HOST_IO, message).errno(errno),
    }
    .into()
}

/// Characters of a name that the kernel keeps.
const MOST_NAME: usize = 15;
