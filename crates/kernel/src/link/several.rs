//! Many places of code in one link: which those are, and the request.

use std::ffi::CString;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use twinbpf_object::hook::{CodePlaces, KprobeMulti, Moment, Names, UprobeMulti};
use twinbpf_object::{AttachKind, Code, Diagnosis, Errno, Error, Result};

use super::{code_file, refusal};
use crate::attr::{LinkCreate, fd_number};
use crate::host;
use crate::program::KernelProgram;
use crate::sys::{self, CodeAddresses};
use std::os::fd::AsFd;

type Made = Result<OwnedFd, Errno>;

/// Functions of the kernel.
pub(super) fn kprobe(program: &KernelProgram, hook: &KprobeMulti) -> Result<Made> {
    let names = match hook.functions.listed() {
        Some(names) => names.into_iter().map(str::to_owned).collect(),
        None => traced_functions(&hook.functions)?,
    };
    check_counts(names.len(), &[&hook.cookies])?;
    let names: Result<Vec<CString>, _> = names.into_iter().map(CString::new).collect();
    let names = names.map_err(|_| none(&hook.functions.to_string(), "the kernel"))?;
    let kind = match hook.moment {
        Moment::Session => "TRACE_KPROBE_SESSION",
        _ => "TRACE_KPROBE_MULTI",
    };
    let head = head(program, kind);
    Ok(sys::link_create_kprobes(
        &head,
        &names,
        &hook.cookies,
        flags(hook.moment),
    ))
}

/// Functions of a program or library.
pub(super) fn uprobe(program: &KernelProgram, hook: &UprobeMulti) -> Result<Made> {
    let path = code_file::locate(&hook.path, hook.pid)?;
    let offsets = match &hook.places {
        CodePlaces::Offsets(offsets) => offsets.clone(),
        CodePlaces::Functions(Names::Listed(names)) => {
            let each = names.iter().map(|name| code_file::offset_of(&path, name));
            each.collect::<Result<_>>()?
        }
        CodePlaces::Functions(names) => code_file::offsets_of(&path, names)?,
    };
    if offsets.is_empty() {
        let file = path.display().to_string();
        return Err(none(&hook.to_string(), &file));
    }
    check_counts(offsets.len(), &[&hook.cookies, &hook.counters])?;
    let text = CString::new(path.as_os_str().as_bytes());
    let text = text.map_err(|_| refusal::not_in_file(&path, "a path with a zero byte"))?;
    let kind = match hook.moment {
        Moment::Session => "TRACE_UPROBE_SESSION",
        _ => "TRACE_UPROBE_MULTI",
    };
    let addresses = CodeAddresses {
        path: &text,
        offsets: &offsets,
        counters: &hook.counters,
        cookies: &hook.cookies,
        flags: flags(hook.moment),
        pid: hook.pid.unwrap_or(0),
    };
    match (
        sys::link_create_uprobes(&head(program, kind), &addresses),
        hook.pid,
    ) {
        (Err(Errno::ESRCH), Some(pid)) => Err(refusal::no_process(pid)),
        (made, _) => Ok(made),
    }
}

/// The name of the function that serves a system call.
///
/// KERNEL: where calls take their arguments from a saved `struct pt_regs` (x86-64 and arm64 since 4.17), the function's name has the
/// machine's before it; 6.18 lists it in `/proc/kallsyms`, whose addresses ordinary users see as zeros.
pub(super) fn system_call(name: &str) -> Result<String> {
    let machine = match std::env::consts::ARCH {
        "x86_64" => "__x64_sys_",
        "aarch64" => "__arm64_sys_",
        "riscv64" => "__riscv_sys_",
        "s390x" => "__s390x_sys_",
        _ => "__se_sys_",
    };
    let symbols = fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    let names: Vec<&str> = symbols
        .lines()
        .filter_map(|line| line.split(' ').nth(2))
        .filter_map(|symbol| symbol.split('\t').next())
        .collect();
    for prefix in [machine, "__se_sys_", "sys_"] {
        let wanted = format!("{prefix}{name}");
        if names.contains(&wanted.as_str()) {
            return Ok(wanted);
        }
    }
    if names.is_empty() {
        return Ok(format!("{machine}{name}"));
    }
    let calls = names.iter().filter_map(|each| each.strip_prefix(machine));
    let near = twinbpf_object::abi::nearest_name(name, calls);
    let message = format!("the kernel has no system call `{name}`");
    let diagnosis = Diagnosis::new(Code::ATTACH_TARGET, message);
    Err(match near {
        Some(near) => diagnosis.help(format!("did you mean `{near}`?")),
        None => diagnosis.help("as manuals write it, without `sys_`"),
    }
    .into())
}

/// The functions that a pattern means, of those that can be traced.
fn traced_functions(wanted: &Names) -> Result<Vec<String>> {
    let folder = host::tracing_folder().ok_or_else(refusal::no_tracing_folder)?;
    let file = folder.join("available_filter_functions");
    let list = fs::read_to_string(&file).map_err(|error| {
        let message = format!("{} cannot be read: {error}", file.display());
        Error::from(
            Diagnosis::new(Code::ATTACH_UNSUPPORTED, message)
                .help("a pattern takes a kernel that lists the functions it traces (CONFIG_DYNAMIC_FTRACE), and root; names go without"),
        )
    })?;
    // Functions of a module have its name behind theirs, and one name may be several functions.
    let names = list
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    let mut found: Vec<String> = names
        .filter(|name| wanted.contain(name))
        .map(str::to_owned)
        .collect();
    found.sort_unstable();
    found.dedup();
    match found.is_empty() {
        true => Err(none(
            &wanted.to_string(),
            "what can be traced in the kernel",
        )),
        false => Ok(found),
    }
}

fn head(program: &KernelProgram, kind: &str) -> LinkCreate {
    LinkCreate {
        prog_fd: fd_number(program.as_fd()),
        attach_type: AttachKind::from_kernel_name(kind).map_or(0, |kind| kind.0),
        ..LinkCreate::default()
    }
}

fn flags(moment: Moment) -> u32 {
    u32::from(moment == Moment::Return)
}

/// What is said for each place must be said for every one.
fn check_counts(places: usize, lists: &[&Vec<u64>]) -> Result<()> {
    let wrong = lists
        .iter()
        .find(|list| !list.is_empty() && list.len() != places);
    match wrong {
        None => Ok(()),
        Some(list) => {
            let message = format!(
                "{places} places take as many cookies and counters, or none, not {}",
                list.len()
            );
            Err(Diagnosis::new(Code::USAGE, message).into())
        }
    }
}

fn none(wanted: &str, place: &str) -> Error {
    let message = format!("no function of {place} is meant by `{wanted}`");
    Diagnosis::new(Code::ATTACH_TARGET, message)
        .help("`*` stands for any text, `?` for any letter")
        .into()
}
