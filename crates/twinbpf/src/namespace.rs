//! A private network for this process and its children, as root or as an ordinary user.
//!
//! A process in a network namespace of its own has only a loopback interface, may open packet sockets on it, and sees
//! nobody else's traffic. An ordinary user may make one inside a user namespace, where the user is root over what belongs to
//! that namespace and nothing more. Both last until the last process in them ends.
#![expect(
    unsafe_code,
    reason = "rustix marks `unshare` unsafe because of file tables, which are not touched here"
)]

use std::fmt;
use std::fs;

use rustix::io::Errno as HostErrno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::thread::UnshareFlags;
use twinbpf_object::{Code, Diagnosis, Errno, Error, ErrorKind, Result};

/// Proof that this process lives in a network namespace of its own, with `lo` up.
///
/// ```no_run
/// // no_run: it changes the whole process, and a doc test shares its process with others.
/// # fn main() -> twinbpf::Result<()> {
/// let network = twinbpf::PrivateNetwork::enter()?;
/// eprintln!("running in {network}");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct PrivateNetwork {
    is_user_namespace: bool,
    allows_ping: bool,
}

impl PrivateNetwork {
    /// Moves this process into a new network namespace; without the privilege for that, into a new user namespace too.
    ///
    /// Call it before any thread starts: a namespace belongs to a thread, so other threads would stay behind, and the
    /// kernel makes no user namespace for a process with several.
    ///
    /// # Errors
    ///
    /// The process has several threads, or this machine forbids it (`H003`, with the causes that were found). The process
    /// may then be left half-way, in a namespace without a usable network: report the error and end.
    pub fn enter() -> Result<Self> {
        refuse_threads()?;
        let is_user_namespace = unshare_network()?;
        bring_up_loopback().map_err(|errno| refused("bringing up `lo`", errno))?;
        Ok(Self {
            is_user_namespace,
            allows_ping: allow_ping(),
        })
    }

    /// Whether it took a user namespace: the process then is root in there, and an ordinary user to everything outside.
    pub fn is_user_namespace(&self) -> bool {
        self.is_user_namespace
    }

    /// Whether unprivileged ICMP sockets work, which `ping` uses. Not so where `/proc/sys` is read-only.
    pub fn allows_ping(&self) -> bool {
        self.allows_ping
    }
}

impl fmt::Display for PrivateNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_user_namespace {
            "a private network namespace, inside a user namespace"
        } else {
            "a private network namespace"
        })
    }
}

fn refuse_threads() -> Result<()> {
    // Without `/proc` the kernel's own check has to do.
    let Ok(tasks) = fs::read_dir("/proc/self/task") else {
        return Ok(());
    };
    match tasks.count() {
        0 | 1 => Ok(()),
        count => Err(Diagnosis::new(
            Code::NAMESPACE,
            format!("a private network needs a process with one thread, and this one has {count}"),
        )
        .kind(ErrorKind::Usage)
        .help("enter the private network first thing in `main`, before any thread starts")
        .into()),
    }
}

/// Leaves the network namespace; true if that took a user namespace.
fn unshare_network() -> Result<bool> {
    match unshare(UnshareFlags::NEWNET) {
        Ok(()) => return Ok(false),
        Err(HostErrno::PERM) => {}
        Err(errno) => return Err(refused("a new network namespace", errno)),
    }
    // Asked for before the change: inside, both are the overflow numbers until the maps are written.
    let user = rustix::process::geteuid().as_raw();
    let group = rustix::process::getegid().as_raw();
    unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNET)
        .map_err(|errno| refused("a new user namespace", errno))?;
    write_map("setgroups", "deny")?;
    write_map("gid_map", &format!("0 {group} 1"))?;
    write_map("uid_map", &format!("0 {user} 1"))?;
    Ok(true)
}

fn unshare(flags: UnshareFlags) -> Result<(), HostErrno> {
    // SAFETY: rustix asks that no thread keeps using descriptors of a file table that this call splits off; that is the
    // effect of CLONE_FILES alone, and both callers above pass network and user namespaces only.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// Writes one of the files that say who is who in the new user namespace (`user_namespaces(7)`).
fn write_map(name: &str, content: &str) -> Result<()> {
    fs::write(format!("/proc/self/{name}"), content).map_err(|error| {
        let errno = HostErrno::from_io_error(&error).unwrap_or(HostErrno::IO);
        refused(&format!("writing /proc/self/{name}"), errno)
    })
}

/// Sets `lo` up with one route netlink request, and waits for the answer.
///
/// ```text
///  nlmsghdr   len 4 | type 2 | flags 2 | sequence 4 | port 4
///  ifinfomsg  family 1 | pad 1 | type 2 | index 4 | flags 4 | change 4
/// ```
fn bring_up_loopback() -> Result<(), HostErrno> {
    // Protocol 0 of netlink is NETLINK_ROUTE.
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    let index = rustix::net::netdevice::name_to_index(&socket, "lo")?;

    let mut request = Vec::new();
    request.extend(REQUEST_LEN.to_ne_bytes());
    request.extend(RTM_NEWLINK.to_ne_bytes());
    request.extend((NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
    request.extend([0; 8]);
    request.extend([0; 4]);
    request.extend(index.to_ne_bytes());
    request.extend(IFF_UP.to_ne_bytes());
    request.extend(IFF_UP.to_ne_bytes());

    let kernel = SocketAddrNetlink::new(0, 0);
    rustix::net::sendto(&socket, &request, SendFlags::empty(), &kernel)?;
    let mut reply = [0; 256];
    let (len, _) = rustix::net::recv(&socket, &mut reply[..], RecvFlags::empty())?;
    let code = reply[..len]
        .get(16..)
        .and_then(<[u8]>::first_chunk)
        .ok_or(HostErrno::IO)?;
    match i32::from_ne_bytes(*code) {
        0 => Ok(()),
        // The kernel answers negative error numbers.
        code => Err(HostErrno::from_raw_os_error(code.saturating_neg())),
    }
}

/// Lets every group open ICMP sockets, or at least our own.
///
/// KERNEL: in a user namespace 6.18 refuses a range with groups that are not mapped into it (EINVAL), so the wide range
/// is only good for real root.
fn allow_ping() -> bool {
    let file = "/proc/sys/net/ipv4/ping_group_range";
    ["0 2147483647", "0 0"]
        .iter()
        .any(|range| fs::write(file, range).is_ok())
}

/// The refusal of one step, with every setting of this machine that explains it.
fn refused(step: &str, errno: HostErrno) -> Error {
    let mut diagnosis = Diagnosis::new(
        Code::NAMESPACE,
        format!("no private network namespace: {step} was refused"),
    )
    .errno(Errno(errno.raw_os_error()));
    let mut is_explained = false;
    for setting in SETTINGS {
        let value = fs::read_to_string(format!("/proc/sys/{}", setting.name)).unwrap_or_default();
        if value.trim() == setting.forbids {
            let name = setting.name.replace('/', ".");
            diagnosis = diagnosis.fact(&name, value.trim()).help(format!(
                "{}: as root, `sysctl -w {name}={}`",
                setting.meaning, setting.allows
            ));
            is_explained = true;
        }
    }
    if has_seccomp_filter() {
        diagnosis = diagnosis
            .fact("seccomp", "a filter is active in this process")
            .help("a seccomp filter may forbid it, as containers do: allow `unshare` there");
        is_explained = true;
    }
    if errno == HostErrno::INVAL {
        diagnosis = diagnosis.help(
            "the kernel has no such namespaces, or the process has several threads: enter before any starts",
        );
    } else if !is_explained {
        diagnosis = diagnosis.help(
            "no setting that is known to forbid it was found; it works as root with CAP_SYS_ADMIN",
        );
    }
    diagnosis.into()
}

fn has_seccomp_filter() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("Seccomp:"))
        .is_some_and(|mode| mode.trim() == "2")
}

/// A setting under `/proc/sys` that can forbid namespaces to ordinary users.
struct Setting {
    name: &'static str,
    forbids: &'static str,
    allows: &'static str,
    meaning: &'static str,
}

const SETTINGS: &[Setting] = &[
    Setting {
        name: "user/max_user_namespaces",
        forbids: "0",
        allows: "10000",
        meaning: "user namespaces are switched off",
    },
    Setting {
        name: "user/max_net_namespaces",
        forbids: "0",
        allows: "10000",
        meaning: "network namespaces are switched off",
    },
    Setting {
        name: "kernel/unprivileged_userns_clone",
        forbids: "0",
        allows: "1",
        meaning: "only root may make user namespaces",
    },
    Setting {
        name: "kernel/apparmor_restrict_unprivileged_userns",
        forbids: "1",
        allows: "0",
        meaning: "AppArmor gives ordinary users no rights in their user namespaces",
    },
];

/// Length of the two headers that are the whole request.
const REQUEST_LEN: u32 = 32;
const RTM_NEWLINK: u16 = 16;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const IFF_UP: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_threads_is_refused_before_anything_changes() {
        // The test harness runs this in a thread beside its main thread, or alone; a second one makes sure.
        let (end, wait) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || wait.recv());
        let before = fs::read_link("/proc/thread-self/ns/net").unwrap();
        let error = PrivateNetwork::enter().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.to_string().contains("one thread"), "{error}");
        assert_eq!(fs::read_link("/proc/thread-self/ns/net").unwrap(), before);
        drop(end);
        assert!(other.join().unwrap().is_err());
    }

    #[test]
    fn a_refusal_names_the_step_and_says_what_to_do() {
        let error = refused("a new user namespace", HostErrno::INVAL);
        let diagnosis = error.diagnosis();
        assert_eq!(diagnosis.code, Code::NAMESPACE);
        assert_eq!(diagnosis.errno, Some(Errno::EINVAL));
        assert!(diagnosis.message.contains("a new user namespace"));
        assert!(diagnosis.help.last().unwrap().contains("several threads"));
    }
}
