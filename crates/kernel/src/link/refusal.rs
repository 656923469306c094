//! Why the kernel did not attach: its number, put into words by what was asked for.
//!
//! One number means different things at different hooks (`EBUSY` is another XDP program at an interface, and the same priority
//! in the packet filter), so the words are chosen by hook and number. What cannot be told apart is not guessed at.

use std::os::fd::BorrowedFd;
use std::path::Path;

use twinbpf_object::abi::nearest_name;
use twinbpf_object::btf::Type;
use twinbpf_object::hook::{IteratorScope, Moment, XdpMode};
use twinbpf_object::{Code, Diagnosis, Errno, Error, ErrorKind, Hook};

use crate::host;
use crate::privilege::{Capability, Privileges};
use crate::program::KernelProgram;

/// A program that cannot go there at all.
pub(super) fn wrong_kind(program: &KernelProgram, hook: &Hook) -> Error {
    let kind = program.kind();
    Diagnosis::new(
        Code::ATTACH_KIND,
        format!("a program of type `{kind}` does not attach to the hook {hook}"),
    )
    .into()
}

/// A hook that has no link.
pub(super) fn no_link(hook: &Hook) -> Error {
    let message = format!("the hook {hook} is no link of the kernel");
    Diagnosis::new(Code::ATTACH_UNSUPPORTED, message).into()
}

/// `SEC("cgroup/skb")` says neither in nor out.
pub(super) fn direction_open(program: &KernelProgram) -> Error {
    let message = format!(
        "neither the program's section nor the hook says what `{}` attaches to in the cgroup",
        program.name()
    );
    Diagnosis::new(Code::ATTACH_OPEN, message)
        .help("name it in the hook, as in cgroup.inet_ingress:FOLDER or cgroup.inet_egress:FOLDER")
        .into()
}

pub(super) fn no_cgroup(path: &Path) -> Error {
    let message = format!(
        "{} is no folder of a cgroup of version 2, the only one that programs attach to",
        path.display()
    );
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mounted = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let point = fields.next()?;
        (fields.next()? == "cgroup2").then(|| point.to_owned())
    });
    let diagnosis = Diagnosis::new(Code::ATTACH_TARGET, message);
    match mounted {
        Some(point) => diagnosis.help(format!("version 2 is mounted at {point}")),
        None => diagnosis.help("mount one: sudo mount -t cgroup2 none FOLDER"),
    }
    .into()
}

pub(super) fn no_map(id: u32, errno: Errno) -> Error {
    let message = format!("the map {id} cannot be opened");
    Diagnosis::new(Code::ATTACH_TARGET, message)
        .errno(errno)
        .into()
}

/// There is no tracepoint with this name; the kernel's types know those that there are.
pub(super) fn no_tracepoint(name: &str) -> Error {
    let message = format!("the kernel has no tracepoint `{name}`");
    let diagnosis = Diagnosis::new(Code::ATTACH_TARGET, message).errno(Errno::ENOENT);
    let types = host::types().ok().flatten();
    let near = types.as_ref().and_then(|types| {
        let names = types
            .iter()
            .filter(|(_, found)| matches!(found, Type::Typedef { .. }))
            .filter_map(|(id, _)| types.name_of(id).strip_prefix("btf_trace_"));
        nearest_name(name, names)
    });
    match near {
        Some(near) => diagnosis.help(format!("did you mean `{near}`?")),
        None => diagnosis.help("those of a module exist only while it is loaded"),
    }
    .into()
}

/// There is no function with this name that could be probed.
pub(super) fn no_function(name: &str, errno: Errno) -> Error {
    let message = format!("the kernel has no function `{name}` that can be probed there");
    let diagnosis = Diagnosis::new(Code::ATTACH_TARGET, message).errno(errno);
    let types = host::types().ok().flatten();
    let near = types.as_ref().and_then(|types| {
        let names = types
            .iter()
            .filter(|(_, found)| matches!(found, Type::Function(_)))
            .map(|(id, _)| types.name_of(id));
        nearest_name(name, names)
    });
    match near {
        Some(near) => diagnosis.help(format!("did you mean `{near}`?")),
        None => diagnosis
            .help("functions that were compiled into others, and those of modules not loaded, are not there"),
    }
    .into()
}

/// The kernel's sort of event is missing as a whole.
pub(super) fn no_unit(name: &str) -> Error {
    let option = format!("CONFIG_{}_EVENTS", name.to_ascii_uppercase());
    let message = format!("this kernel has no {name} events");
    Diagnosis::new(Code::ATTACH_UNSUPPORTED, message)
        .help(format!(
            "it takes Linux 4.17 or later, built with {option}, and sysfs on /sys"
        ))
        .into()
}

/// A counter behind the first 4 GiB of a file.
pub(super) fn counter_too_far(at: u64) -> Error {
    let message =
        format!("the counter at {at:#x} of the file is beyond what the kernel takes, 0xffffffff");
    Diagnosis::new(Code::ATTACH_TARGET, message).into()
}

pub(super) fn no_process(id: u32) -> Error {
    let message = format!("there is no process, thread or CPU {id}");
    Diagnosis::new(Code::ATTACH_TARGET, message)
        .errno(Errno::ESRCH)
        .into()
}

pub(super) fn not_in_file(path: &Path, place: &str) -> Error {
    let message = format!("{} has no place `{place}`", path.display());
    Diagnosis::new(Code::ATTACH_TARGET, message).into()
}

pub(super) fn several_links() -> Error {
    let message = "a counter on several CPUs is as many links, which one name cannot hold";
    Diagnosis::new(Code::ATTACH_UNSUPPORTED, message)
        .help("attach to one CPU at a time, as in perf_event:cpu-clock@cpu=0")
        .into()
}

pub(super) fn no_tracing_folder() -> Error {
    let message = "the kernel's tracepoints cannot be looked up: no tracefs is mounted";
    Diagnosis::new(Code::ATTACH_UNSUPPORTED, message)
        .help("mount it: sudo mount -t tracefs none /sys/kernel/tracing")
        .into()
}

/// There is no tracepoint with this name; the folder knows those that there are.
pub(super) fn no_such_tracepoint(folder: &Path, category: &str, name: &str) -> Error {
    let names = |folder: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect()
    };
    let events = folder.join("events");
    let in_category = names(&events.join(category));
    let near = if in_category.is_empty() {
        nearest_name(category, names(&events).iter().map(String::as_str))
            .map(|near| format!("{near}/{name}"))
    } else {
        nearest_name(name, in_category.iter().map(String::as_str))
            .map(|near| format!("{category}/{near}"))
    };
    let message = format!("the kernel has no tracepoint `{category}/{name}`");
    let diagnosis = Diagnosis::new(Code::ATTACH_TARGET, message);
    match near {
        Some(near) => diagnosis.help(format!("did you mean `{near}`?")),
        None => diagnosis.fact("tracepoints are listed in", events.display()),
    }
    .into()
}

/// Why a link was not made.
pub(super) fn refused(program: &KernelProgram, hook: &Hook, errno: Errno) -> Error {
    let diagnosis = match (hook, errno) {
        (_, Errno::EPERM | Errno::EACCES) => not_permitted(hook),
        (Hook::RawTracepoint { name, .. }, Errno::ENOENT) => return no_tracepoint(name),
        (_, Errno::ESTALE) => changed("the programs at the hook are not of the revision expected"),
        (Hook::Tc(_) | Hook::Netkit(_) | Hook::Cgroup(_), Errno::ENOENT | Errno::EBADF | Errno::ESRCH) => {
            changed("the neighbour named for the order is not at the hook")
        }
        (Hook::KprobeMulti(hook), Errno::ESRCH | Errno::ENOENT) => {
            return no_function(&hook.functions.to_string(), errno);
        }
        (Hook::KprobeMulti(_), Errno::EOPNOTSUPP) => Diagnosis::new(
            Code::ATTACH_UNSUPPORTED,
            "this kernel was built without links to many of its functions",
        )
        .help("it takes one with CONFIG_FPROBE"),
        (Hook::PerfEvent(_), Errno::ENOENT | Errno::ENODEV | Errno::EOPNOTSUPP) => Diagnosis::new(
            Code::ATTACH_UNSUPPORTED,
            "this machine does not count that; virtual ones often lack the counters of the processor",
        )
        .help("cpu-clock and the others of the kernel are everywhere"),
        // What a request has beyond what the kernel knows makes it too big.
        (_, Errno::E2BIG) if !host::is_at_least(since(hook)) => not_supported(program, hook),
        (_, Errno::ENOSPC | Errno::E2BIG | Errno::ERANGE) => {
            Diagnosis::new(Code::ATTACH, "the hook has no room for another program")
                .kind(ErrorKind::Limit)
        }
        (Hook::Xdp(_), Errno::EBUSY | Errno::EEXIST) => {
            taken("another XDP program is at the interface, or one in another mode")
                .help("replace its program through its link, or detach it; `ip link` shows it")
        }
        (Hook::Xdp(hook), Errno::EOPNOTSUPP | Errno::EINVAL) if hook.mode != XdpMode::Generic => {
            Diagnosis::new(
                Code::ATTACH_UNSUPPORTED,
                format!(
                    "the driver of `{}` does not take the program",
                    hook.interface
                ),
            )
            .help("let the kernel run it: mode generic (`xdp.generic:INTERFACE`)")
        }
        (Hook::Netfilter(hook), Errno::EBUSY) => {
            taken("a program is at this point with the same priority")
                .fact("priority", hook.priority)
        }
        (_, Errno::EBUSY | Errno::EEXIST) => {
            taken("the program, or one that excludes it, is at the hook already")
        }
        (_, Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP | Errno::ENOTSUPP) => {
            not_supported(program, hook)
        }
        (_, Errno::ENODEV) => Diagnosis::new(Code::ATTACH_TARGET, "the place has gone meanwhile"),
        _ => Diagnosis::new(
            Code::ATTACH,
            format!("the kernel refused to attach to {hook}"),
        ),
    };
    diagnosis.errno(errno).into()
}

/// A program that takes nobody's place.
pub(super) fn no_replacement(program: &KernelProgram) -> Error {
    let message = format!(
        "a program of type `{}` does not replace a function of another program",
        program.kind()
    );
    Diagnosis::new(Code::ATTACH_KIND, message)
        .help("programs in `SEC(\"freplace/FUNCTION\")` do")
        .into()
}

/// Why a program was not put in the place of another's function, beside what its number says.
pub(super) fn not_replaced(error: Error, function: &str, errno: Errno) -> Error {
    if errno != Errno::EINVAL {
        return error.map(|diagnosis| diagnosis.fact("function", function));
    }
    // KERNEL: 6.18 compares both functions' types again, and answers EINVAL if they differ.
    let message = format!("`{function}` does not take and answer what the program does");
    Diagnosis::new(Code::ATTACH_KIND, message)
        .errno(errno)
        .into()
}

/// Why a table of functions was not put to use.
pub(super) fn table_not_used(errno: Errno) -> Error {
    let diagnosis = match errno {
        Errno::EPERM | Errno::EACCES => Privileges::read().explain(
            Diagnosis::new(
                Code::ATTACH_PERMISSION,
                "putting a table of functions to use was refused",
            ),
            &[Capability::Bpf, Capability::NetAdmin],
        ),
        Errno::EEXIST | Errno::EBUSY => {
            taken("the interface has a table with this name, or is in use, already")
        }
        // KERNEL: 6.18 answers EINVAL to a table that is not filled yet and to one that was made without the flag for links.
        Errno::EINVAL if host::is_at_least("6.4") => Diagnosis::new(
            Code::ATTACH_KIND,
            "only a filled table that was declared in `SEC(\".struct_ops.link\")` takes a link",
        ),
        Errno::EINVAL => Diagnosis::new(
            Code::ATTACH_UNSUPPORTED,
            "this kernel has no links for tables of functions",
        )
        .fact("they came with", "Linux 6.4"),
        _ => Diagnosis::new(Code::ATTACH, "the kernel did not put the table to use"),
    };
    diagnosis.errno(errno).into()
}

/// Why a link's table of functions was not exchanged.
pub(super) fn table_not_exchanged(errno: Errno, is_expected: bool) -> Error {
    let diagnosis = match errno {
        // KERNEL: 6.18 answers EPERM if the link has another table than the one expected.
        Errno::EPERM if is_expected => {
            changed("the link does not have the table that was expected")
        }
        Errno::EINVAL | Errno::EOPNOTSUPP => Diagnosis::new(
            Code::ATTACH_KIND,
            "the table cannot take the other's place: it is not filled, is for another interface or, as interfaces ask, has another name",
        ),
        _ => Diagnosis::new(
            Code::ATTACH,
            "the link's table of functions was not exchanged",
        ),
    };
    diagnosis.errno(errno).into()
}

/// Why the kernel says nothing about a link.
pub(super) fn unanswered(link: BorrowedFd<'_>, errno: Errno) -> Error {
    if errno == Errno::EINVAL && !super::is_link(link) {
        let message = "the program is at an event of perf, which the kernel has no link for";
        return Diagnosis::new(Code::ATTACH_UNSUPPORTED, message)
            .errno(errno)
            .fact("they came with", "Linux 5.15")
            .fact("this is", host::shown_version(host::kernel_version()))
            .into();
    }
    Diagnosis::new(Code::HOST_IO, "the kernel does not say what the link is")
        .errno(errno)
        .into()
}

/// Why a link's program was not exchanged.
pub(super) fn not_updated(errno: Errno, expected: Option<&KernelProgram>) -> Error {
    let diagnosis = match errno {
        Errno::EPERM if expected.is_some() => {
            changed("the link does not have the program that was expected")
        }
        Errno::EPERM | Errno::EACCES => Privileges::read().explain(
            Diagnosis::new(
                Code::ATTACH_PERMISSION,
                "exchanging a link's program was refused",
            ),
            &[Capability::Bpf],
        ),
        Errno::EINVAL => Diagnosis::new(
            Code::ATTACH_KIND,
            "links of this sort cannot have their program exchanged, or not for one of this type",
        ),
        Errno::ENOLINK => Diagnosis::new(Code::LINK_NOT_FOUND, "the link was detached"),
        _ => Diagnosis::new(Code::ATTACH, "the link's program was not exchanged"),
    };
    diagnosis.errno(errno).into()
}

pub(super) fn not_detached(errno: Errno) -> Error {
    let diagnosis = match errno {
        Errno::EOPNOTSUPP => Diagnosis::new(
            Code::ATTACH_UNSUPPORTED,
            "links of this sort end only when their last holder and their last pin go",
        ),
        _ => Diagnosis::new(Code::ATTACH, "the link was not detached"),
    };
    diagnosis.errno(errno).into()
}

pub(super) fn not_readable(errno: Errno) -> Error {
    let diagnosis = match errno {
        Errno::EINVAL => Diagnosis::new(Code::ATTACH_KIND, "the link is no iterator"),
        _ => Diagnosis::new(Code::ATTACH, "the iterator cannot be read"),
    };
    diagnosis.errno(errno).into()
}

pub(super) fn not_listed(errno: Errno) -> Error {
    let diagnosis = match errno {
        // KERNEL: 6.18 wants CAP_SYS_ADMIN for everything that goes by numbers.
        Errno::EPERM => Privileges::read().explain_here(
            Diagnosis::new(
                Code::ATTACH_PERMISSION,
                "looking at the kernel's links was refused",
            ),
            &[Capability::SysAdmin],
        ),
        _ => Diagnosis::new(Code::HOST_IO, "the kernel's links cannot be listed"),
    };
    diagnosis.errno(errno).into()
}

pub(super) fn no_link_at(path: &Path, errno: Errno) -> Error {
    let message = match errno {
        Errno::EINVAL => format!("{} is no link", path.display()),
        _ => format!("{} cannot be opened", path.display()),
    };
    let diagnosis = Diagnosis::new(Code::PIN_REFUSED, message);
    crate::pin::with_permission(diagnosis, errno)
        .errno(errno)
        .into()
}

fn not_permitted(hook: &Hook) -> Diagnosis {
    let needed: &[Capability] = match hook {
        Hook::Tracing { .. }
        | Hook::RawTracepoint { .. }
        | Hook::Tracepoint { .. }
        | Hook::Kprobe(_)
        | Hook::Uprobe(_)
        | Hook::SystemCall(_)
        | Hook::KprobeMulti(_)
        | Hook::UprobeMulti(_)
        | Hook::Usdt(_)
        | Hook::PerfEvent(_)
        | Hook::Iterator(_) => &[Capability::Bpf, Capability::Perfmon],
        _ => &[Capability::Bpf, Capability::NetAdmin],
    };
    let message = format!("attaching to {hook} was refused");
    let diagnosis =
        Privileges::read().explain(Diagnosis::new(Code::ATTACH_PERMISSION, message), needed);
    match hook {
        Hook::Cgroup(_) => diagnosis.help(
            "a program attached above this cgroup without `multi` or `override` forbids others below it",
        ),
        _ => diagnosis,
    }
}

fn taken(message: &str) -> Diagnosis {
    Diagnosis::new(Code::ATTACH_TAKEN, message)
}

fn changed(message: &str) -> Diagnosis {
    Diagnosis::new(Code::ATTACH_CHANGED, message)
}

/// The numbers of a kernel that is too old, too small, or was asked for what makes no sense to it.
fn not_supported(program: &KernelProgram, hook: &Hook) -> Diagnosis {
    let since = since(hook);
    if !host::is_at_least(since) {
        let message = format!("this kernel has no links for {hook}");
        return Diagnosis::new(Code::ATTACH_UNSUPPORTED, message)
            .fact("they came with", format!("Linux {since}"))
            .fact("this is", host::shown_version(host::kernel_version()));
    }
    let mut diagnosis = Diagnosis::new(
        Code::ATTACH,
        format!("the kernel takes the program, but not at {hook}"),
    );
    if let Some(attach) = program.attach_kind() {
        diagnosis = diagnosis.fact("the program was loaded for", attach);
    }
    diagnosis
}

/// The release that brought links for a hook, with everything that this one asks for.
fn since(hook: &Hook) -> &'static str {
    use IteratorScope::{Cgroup, Process, Thread};
    match hook {
        Hook::Xdp(_) => "5.9",
        Hook::Tc(_) => "6.6",
        Hook::Netkit(_) => "6.7",
        Hook::SocketMap { .. } => "6.10",
        Hook::Cgroup(_) => "5.7",
        Hook::Iterator(Thread(_) | Process(_) | Cgroup { .. }) => "6.1",
        Hook::NetworkNamespace { .. } | Hook::Iterator(_) => "5.8",
        Hook::Netfilter(_) => "6.4",
        Hook::Tracing { cookie } if *cookie != 0 => "5.19",
        Hook::Tracing { .. } => "5.5",
        Hook::RawTracepoint { cookie, .. } if *cookie != 0 => "6.10",
        Hook::RawTracepoint { .. } => "4.17",
        Hook::Tracepoint { .. }
        | Hook::Kprobe(_)
        | Hook::Uprobe(_)
        | Hook::SystemCall(_)
        | Hook::Usdt(_)
        | Hook::PerfEvent(_) => "5.15",
        Hook::KprobeMulti(hook) if hook.moment == Moment::Session => "6.10",
        Hook::KprobeMulti(_) => "5.18",
        Hook::UprobeMulti(hook) if hook.moment == Moment::Session => "6.13",
        Hook::UprobeMulti(_) => "6.6",
        _ => "0",
    }
}
