//! The socket-filter hook: a raw packet socket on one interface with a program attached.
//!
//! The order matters. A packet socket receives as soon as it has a protocol, from every interface until it is bound, and
//! unfiltered until a filter is attached. So it is made with protocol 0, gets its program, and only then is bound with
//! interface and protocol in one step: the program sees every frame from then on, and no foreign one.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use twinbpf_object::{Code, Diagnosis, Errno, ProgramKind, Result};

use crate::privilege::{Capability, Privileges};
use crate::program::KernelProgram;
use crate::sys::SocketDuty;
use crate::{device, sys};

/// A program attached to the frames of one interface. Dropping it detaches.
///
/// The descriptor is the packet socket: frames the program lets pass queue up there, and may be read.
#[derive(Debug)]
#[must_use = "dropping the link detaches the program"]
pub struct KernelSocketLink {
    socket: OwnedFd,
    interface: String,
    /// The kernel resets its counters whenever they are read; here are the sums.
    counted: Mutex<SocketStatistics>,
}

/// What happened to the frames that a program let pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SocketStatistics {
    /// Frames the program let pass, those dropped afterwards included.
    pub received: u64,
    /// Frames dropped because the socket's queue was full. The program has seen them.
    pub dropped: u64,
}

impl KernelSocketLink {
    /// Attaches a socket filter to the frames of `interface`, in the network namespace of this thread.
    ///
    /// # Errors
    ///
    /// If the program is no socket filter, the interface does not exist, or raw sockets are not permitted.
    pub fn attach(program: &KernelProgram, interface: &str) -> Result<Self> {
        if program.kind() != ProgramKind::SocketFilter {
            return Err(Diagnosis::new(
                Code::ATTACH_KIND,
                format!("a program of type `{}` is no socket filter", program.kind()),
            )
            .in_program(program.name())
            .into());
        }
        attach(program, interface)
            .map_err(|error| error.map(|diagnosis| diagnosis.in_program(program.name())))
    }

    /// The interface's name.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// Takes the program off the socket at once, whoever else holds a copy of its descriptor.
    ///
    /// # Errors
    ///
    /// If the kernel refuses; it does not for a socket with a program.
    pub fn detach(&self) -> Result<()> {
        sys::detach_program(self.socket.as_fd()).map_err(|errno| {
            let message = "the program was not taken off its packet socket";
            Diagnosis::new(Code::ATTACH, message).errno(errno).into()
        })
    }

    /// Counts since attaching.
    ///
    /// # Errors
    ///
    /// If the kernel does not answer; it always does for packet sockets.
    pub fn statistics(&self) -> Result<SocketStatistics> {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let since = sys::packet_statistics(self.socket.as_fd()).map_err(|errno| {
            Diagnosis::new(Code::HOST_IO, "the packet socket's counters cannot be read")
                .errno(errno)
        })?;
        counted.received += u64::from(since.packets);
        counted.dropped += u64::from(since.drops);
        Ok(*counted)
    }
}

/// Gives a socket that the caller holds a program: a filter decides what it receives, a chooser (`sk_reuseport`) which of the
/// sockets that share its port. The program stays until the socket is closed or given another.
///
/// # Errors
///
/// If the program is of neither kind, the descriptor is no socket that takes one, or a privilege is missing.
pub fn attach_to_socket(program: &KernelProgram, socket: BorrowedFd<'_>) -> Result<()> {
    let duty = match program.kind() {
        ProgramKind::SocketFilter => SocketDuty::Filter,
        ProgramKind::SkReuseport => SocketDuty::Choose,
        kind => {
            let message = format!("a program of type `{kind}` attaches to no socket");
            return Err(Diagnosis::new(Code::ATTACH_KIND, message)
                .in_program(program.name())
                .into());
        }
    };
    sys::attach_program(socket, program.as_fd(), duty).map_err(|errno| {
        let message = "the socket did not take the program";
        let diagnosis = match (errno, duty) {
            (Errno::EPERM | Errno::EACCES, _) => Privileges::read().explain(
                Diagnosis::new(Code::ATTACH_PERMISSION, message),
                &[Capability::Bpf],
            ),
            (Errno::ENOTSOCK | Errno::EBADF, _) => {
                Diagnosis::new(Code::ATTACH_TARGET, "the descriptor is no socket")
            }
            // KERNEL: 6.18 answers EINVAL to a socket that shares no port.
            (Errno::EINVAL, SocketDuty::Choose) => Diagnosis::new(Code::ATTACH_TARGET, message)
                .help("set SO_REUSEPORT on the socket before it is bound"),
            _ => Diagnosis::new(Code::ATTACH, message),
        };
        diagnosis.errno(errno).in_program(program.name()).into()
    })
}

impl AsFd for KernelSocketLink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn attach(program: &KernelProgram, interface: &str) -> Result<KernelSocketLink> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)
        .map_err(|errno| no_socket(Errno(errno.raw_os_error())))?;
    let index = name_to_index(&socket, interface)
        .map_err(|errno| device::missing(interface, Errno(errno.raw_os_error())))?;
    sys::attach_program(socket.as_fd(), program.as_fd(), SocketDuty::Filter).map_err(|errno| {
        Diagnosis::new(
            Code::ATTACH,
            "the kernel refused to attach the program to a packet socket",
        )
        .errno(errno)
    })?;
    sys::bind_packet_socket(socket.as_fd(), index).map_err(|errno| {
        Diagnosis::new(
            Code::ATTACH,
            format!("the packet socket cannot be bound to `{interface}`"),
        )
        .errno(errno)
    })?;
    Ok(KernelSocketLink {
        socket,
        interface: interface.to_owned(),
        counted: Mutex::default(),
    })
}

fn no_socket(errno: Errno) -> Diagnosis {
    let diagnosis = match errno {
        Errno::EPERM | Errno::EACCES => Privileges::read().explain(
            Diagnosis::new(
                Code::ATTACH_PERMISSION,
                "opening a packet socket is not permitted",
            ),
            &[Capability::NetRaw],
        ),
        _ => Diagnosis::new(Code::ATTACH, "a packet socket cannot be opened"),
    };
    diagnosis.errno(errno)
}
