//! What a program as a whole refers to: a function or type of the kernel, or a function of another program.
//!
//! Such programs are verified for one target, so the kernel wants to know it when it loads them: as the number of a type in
//! its own BTF, or in that of the program whose function is replaced.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use twinbpf_object::abi::{AttachKind, nearest_name};
use twinbpf_object::btf::{Btf, Type, TypeId};
use twinbpf_object::link::ProgramTarget;
use twinbpf_object::spec::ByteOrder;
use twinbpf_object::{Code, Diagnosis, Errno, Error, LinkedProgram, ProgramKind, Result};

use super::LoadContext;
use crate::interface::Interface;
use crate::types::KernelTypes;
use crate::{host, module_types, sys};

/// What a program attaches to, as the kernel takes it; all zero for most programs.
#[derive(Debug, Default)]
pub(super) struct AttachPoint<'a> {
    /// A type's number in the owner's BTF.
    pub(super) type_id: u32,
    /// Whose types count; `None` for the kernel itself.
    pub(super) owner: Option<Owner<'a>>,
    /// Of an interface's functions, the position of the one that the program implements.
    pub(super) member: Option<u32>,
}

/// Whose types the number of an attach point counts in.
#[derive(Debug)]
pub(super) enum Owner<'a> {
    /// The types of a module.
    Module(OwnedFd),
    /// Another program.
    Program(BorrowedFd<'a>),
}

impl AsFd for Owner<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Module(types) => types.as_fd(),
            Self::Program(program) => *program,
        }
    }
}

/// Finds what the program attaches to.
///
/// # Errors
///
/// If nothing of that name is there, or the program must name something and does not.
pub(super) fn attach_point<'a>(
    program: &LinkedProgram,
    kind: ProgramKind,
    context: &LoadContext<'a>,
    types: &KernelTypes,
) -> Result<AttachPoint<'a>> {
    match &program.target {
        ProgramTarget::None if kind == ProgramKind::StructOps => Err(unused()),
        ProgramTarget::None if needs_target(kind) => Err(unnamed(program, kind)),
        ProgramTarget::None => Ok(AttachPoint::default()),
        ProgramTarget::AttachBtf { name, module } => match (context.replaces, module) {
            (Some(other), _) => function_of(other, name),
            (None, Some(module)) => in_modules(program, types, (name, Some(module))),
            (None, None) => in_kernel(program, types, name),
        },
        ProgramTarget::Freplace { function } => match context.replaces {
            Some(other) => function_of(other, function),
            None => Err(no_program(function)),
        },
        ProgramTarget::StructOpsMember { type_name, member } => {
            let interface = Interface::find(type_name, types)?;
            Ok(AttachPoint {
                type_id: interface.type_id.0,
                member: Some(interface.position(member)?),
                ..AttachPoint::default()
            })
        }
    }
}

/// What has this name in the kernel's types, or else in those of any module.
fn in_kernel<'a>(
    program: &LinkedProgram,
    types: &KernelTypes,
    name: &str,
) -> Result<AttachPoint<'a>> {
    let own = types.get()?.ok_or_else(|| no_types(name))?;
    match Sort::of(program.attach).find(&own, name) {
        Some(type_id) => Ok(AttachPoint {
            type_id: type_id.0,
            ..AttachPoint::default()
        }),
        None => in_modules(program, types, (name, None)),
    }
}

/// What has this name in the types of the module, or of any.
fn in_modules<'a>(
    program: &LinkedProgram,
    types: &KernelTypes,
    (name, module): (&str, Option<&String>),
) -> Result<AttachPoint<'a>> {
    let own = types.get()?.ok_or_else(|| no_types(name))?;
    let sort = Sort::of(program.attach);
    let modules = host::modules(&own)?;
    let wanted = modules
        .iter()
        .filter(|each| module.is_none_or(|module| *module == each.name));
    for each in wanted {
        // The kernel's own functions are seen through the module's types; only those of the module count.
        let found = sort.find(&each.btf, name);
        if let Some(type_id) = found.filter(|id| own.get(*id).is_none()) {
            return Ok(AttachPoint {
                type_id: type_id.0,
                owner: Some(Owner::Module(module_types::of_module(&each.name)?)),
                ..AttachPoint::default()
            });
        }
    }
    match module {
        None => Err(missing(&own, sort, name)),
        Some(module) => match modules.iter().find(|each| each.name == *module) {
            Some(found) => Err(missing(&found.btf, sort, name)),
            // Says that the module is not there.
            None => Err(module_types::of_module(module)
                .err()
                .unwrap_or_else(|| missing(&own, sort, name))),
        },
    }
}

/// A function of another program, by its name in the types that program was loaded with.
fn function_of<'a>(other: BorrowedFd<'a>, function: &str) -> Result<AttachPoint<'a>> {
    Ok(AttachPoint {
        type_id: function_number(other, function)?,
        owner: Some(Owner::Program(other)),
        ..AttachPoint::default()
    })
}

/// The number of a function in the types of the program that has it.
///
/// # Errors
///
/// If that program has no types, or no such function.
pub(crate) fn function_number(other: BorrowedFd<'_>, function: &str) -> Result<u32> {
    let cannot = |errno: Errno| {
        let message = format!("the types of the program that has `{function}` cannot be read");
        Error::from(Diagnosis::new(Code::HOST_IO, message).errno(errno))
    };
    let types_id = sys::program_info(other).map_err(cannot)?.btf_id;
    if types_id == 0 {
        let message = format!(
            "the program in which `{function}` is looked up was loaded without types, so its functions have no names"
        );
        return Err(Diagnosis::new(Code::PROGRAM_TARGET_MISSING, message)
            .help("compile it with -g")
            .into());
    }
    let bytes = sys::types_bytes(types_id).map_err(cannot)?;
    let types = Arc::new(Btf::parse(&bytes, ByteOrder::HOST)?);
    let found = Sort::Function.find(&types, function);
    found
        .map(|type_id| type_id.0)
        .ok_or_else(|| no_function(&types, function))
}

fn no_function(types: &Btf, function: &str) -> Error {
    let functions = types.iter().filter(|(_, found)| Sort::Function.has(found));
    let names: Vec<&str> = functions.map(|(id, _)| types.name_of(id)).collect();
    let diagnosis = Diagnosis::new(
        Code::PROGRAM_TARGET_MISSING,
        format!("the other program has no function `{function}`"),
    );
    match nearest_name(function, names.iter().copied()) {
        Some(near) => diagnosis.help(format!("did you mean `{near}`?")),
        None => diagnosis.help(format!("its object has {}", names.join(", "))),
    }
    .into()
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
