//! What a program as a whole refers to: a function or type of the kernel, or a function of another program.
//!
//! Such programs are verified for one target, so the kernel wants to know it when it loads them: as the number of a type in
//! its own BTF, or in that of the program whose function is replaced.

use twinbpf_object::abi::{AttachKind, nearest_name};
use twinbpf_object::btf::{Btf, Type, TypeId};
use twinbpf_object::link::ProgramTarget;
use twinbpf_object::{Code, Diagnosis, Error, LinkedProgram, ProgramKind, Result};

use super::LoadContext;
use super::refusal::unsupported;
use crate::interface::Interface;
use crate::types::KernelTypes;

/// What a program attaches to, as the kernel takes it; all zero for most programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct AttachPoint {
    /// A type's number in the kernel's BTF, or in that of the program replaced.
    pub(super) type_id: u32,
    /// Of an interface's functions, the position of the one that the program implements.
    pub(super) member: Option<u32>,
}

/// Finds what the program attaches to.
///
/// # Errors
///
/// If nothing of that name is there, or the program must name something and does not.
pub(super) fn attach_point(
    program: &LinkedProgram,
    kind: ProgramKind,
    context: &LoadContext<'_>,
    types: &KernelTypes,
) -> Result<AttachPoint> {
    match &program.target {
        ProgramTarget::None if kind == ProgramKind::StructOps => Err(unused()),
        ProgramTarget::None if needs_target(kind) => Err(unnamed(program, kind)),
        ProgramTarget::None => Ok(AttachPoint::default()),
        ProgramTarget::AttachBtf {
            module: Some(module),
            ..
        } => Err(unsupported(&format!("a function of module `{module}`"))),
        ProgramTarget::AttachBtf { name, module: None } => {
            let types = types.get()?.ok_or_else(|| no_types(name))?;
            let sort = Sort::of(program.attach);
            let type_id = sort
                .find(&types, name)
                .ok_or_else(|| missing(&types, sort, name))?;
            Ok(AttachPoint {
                type_id: type_id.0,
                member: None,
            })
        }
        ProgramTarget::Freplace { function } => match context.replaces {
            Some(_) => Err(unsupported(&format!(
                "function `{function}` of another program"
            ))),
            None => Err(no_program(function)),
        },
        ProgramTarget::StructOpsMember { type_name, member } => {
            let interface = Interface::find(type_name, types)?;
            Ok(AttachPoint {
                type_id: interface.type_id.0,
                member: Some(interface.position(member)?),
            })
        }
    }
}

/// KERNEL: programs of these kinds are verified for the types of one target; 6.18 refuses them without one.
fn needs_target(kind: ProgramKind) -> bool {
    matches!(
        kind,
        ProgramKind::Tracing | ProgramKind::Lsm | ProgramKind::Ext
    )
}

/// What a target is in the kernel's BTF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Function,
    /// A raw tracepoint: a typedef of a function's address.
    Tracepoint,
}

impl Sort {
    fn of(attach: Option<AttachKind>) -> Self {
        match attach.and_then(AttachKind::kernel_name) {
            Some("TRACE_RAW_TP") => Self::Tracepoint,
            _ => Self::Function,
        }
    }

    fn has(self, found: &Type) -> bool {
        match self {
            Self::Function => matches!(found, Type::Function(_)),
            Self::Tracepoint => matches!(found, Type::Typedef { .. }),
        }
    }

    fn find(self, types: &Btf, name: &str) -> Option<TypeId> {
        types
            .named(name)
            .find(|id| types.get(*id).is_some_and(|found| self.has(found)))
    }

    fn word(self) -> &'static str {
        match self {
            Self::Function => "function",
            Self::Tracepoint => "tracepoint",
        }
    }
}

/// The prefixes under which the kernel's BTF has some attach points; authors do not write them.
const PREFIXES: [&str; 3] = ["btf_trace_", "bpf_iter_", "bpf_lsm_"];

fn missing(types: &Btf, sort: Sort, name: &str) -> Error {
    let prefix = PREFIXES
        .iter()
        .find(|prefix| name.starts_with(**prefix))
        .copied()
        .unwrap_or_default();
    let (what, name) = match prefix {
        "bpf_iter_" => ("iterator", &name[prefix.len()..]),
        "bpf_lsm_" => ("security hook", &name[prefix.len()..]),
        prefix => (sort.word(), &name[prefix.len()..]),
    };
    let known = types
        .iter()
        .filter(|(_, found)| sort.has(found))
        .filter_map(|(id, _)| types.name_of(id).strip_prefix(prefix));
    let nearest = nearest_name(name, known);
    let diagnosis = Diagnosis::new(
        Code::PROGRAM_TARGET_MISSING,
        format!("the running kernel has no {what} `{name}` to attach to"),
    );
    match nearest {
        Some(near) => diagnosis.help(format!("did you mean `{near}`?")),
        None => diagnosis
            .help("the kernel may be built without it, or have it in a module that is not loaded"),
    }
    .into()
}

fn no_types(name: &str) -> Error {
    Diagnosis::new(
        Code::TARGET_TYPES_MISSING,
        format!("`{name}` is looked up in the kernel's types, which this kernel does not show"),
    )
    .help("a kernel built with CONFIG_DEBUG_INFO_BTF shows them in /sys/kernel/btf/vmlinux")
    .into()
}

fn unnamed(program: &LinkedProgram, kind: ProgramKind) -> Error {
    let section = program.section.trim_start_matches('?');
    Diagnosis::new(
        Code::PROGRAM_TARGET_UNNAMED,
        format!("a program of type `{kind}` is verified for what it attaches to, and section `{section}` names nothing"),
    )
    .help(format!(
        "name it behind a slash, as in `SEC(\"{section}/name\")`, or set the program's attach target before loading"
    ))
    .into()
}

/// Which function of which interface a program implements, only the table says that holds it.
fn unused() -> Error {
    Diagnosis::new(
        Code::PROGRAM_TARGET_UNNAMED,
        "the program stands in no table of functions, so nothing says what it implements",
    )
    .help("put it into a variable in `SEC(\".struct_ops\")` or `SEC(\".struct_ops.link\")`")
    .into()
}

fn no_program(function: &str) -> Error {
    Diagnosis::new(
        Code::PROGRAM_TARGET_UNNAMED,
        format!("the program replaces function `{function}` of another program, and no program was given"),
    )
    .help("load the other program first and hand it over with this one")
    .into()
}
