//! Live packets: a packet socket bound to one interface.
//!
//! The socket is complete before it is bound: it is made with protocol 0, which receives nothing, gets its buffer and
//! its options, and only then asks for all protocols of one interface. So no frame of another interface ever gets in,
//! and none is lost between opening and setting up.
//!
//! KERNEL: observed on 6.18 on `lo`: every frame is seen twice, first as [`PacketKind::Outgoing`] and then as
//! [`PacketKind::Host`], both with the Ethernet header and the same length; frames sent right after the bind are
//! all there.
#![expect(
    unsafe_code,
    reason = "rustix has no packet socket addresses, options and ancillary data, and no interface flags"
)]

use std::io::IoSliceMut;
use std::mem::{MaybeUninit, offset_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno as HostErrno;
use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use twinbpf_object::{Code, Diagnosis, Errno, Error, Result};

use crate::capture::{PacketKind, Vlan};

/// A frame that was just received; its bytes are in the caller's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveFrame {
    /// Bytes that were written to the buffer.
    pub captured_len: usize,
    /// Length of the whole frame; more than `captured_len` if the buffer was too small.
    pub original_len: u32,
    /// To whom the frame was addressed, or that it is leaving.
    pub packet_kind: PacketKind,
    /// The ethertype, as a number (0x0800 is IPv4).
    pub protocol: u16,
    /// The interface's index.
    pub interface: u32,
    /// The VLAN tag, which the kernel keeps beside the frame.
    pub vlan: Option<Vlan>,
}

/// How many frames the kernel had for a socket, since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SocketStatistics {
    /// Frames that were queued for us.
    pub received: u64,
    /// Frames that were lost because the receive buffer was full.
    pub dropped: u64,
}

/// A packet socket that sees every frame of one interface, in both directions.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
    name: String,
    index: u32,
    statistics: SocketStatistics,
}

impl PacketSocket {
    /// Opens a socket on the interface of this name, in the network namespace of the calling thread.
    ///
    /// An interface that is down is no error: frames arrive once it is up. [`PacketSocket::is_up`] tells.
    ///
    /// # Errors
    ///
    /// There is no such interface (`A002`), the privilege is missing (`A001`), the kernel has no packet sockets
    /// (`A005`).
    pub fn open(interface: &str) -> Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = rustix::net::socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)
            .map_err(|errno| open_refused(interface, errno))?;
        let index = rustix::net::netdevice::name_to_index(&fd, interface)
            .map_err(|errno| no_interface(interface, errno))?;
        enlarge_buffer(&fd);
        ask_for_vlan_tags(&fd)
            .map_err(|errno| refused(interface, "packet socket option", errno))?;
        rustix::net::bind(&fd, &LinkAddress::of_interface(index)).map_err(|errno| {
            match errno {
                // The interface went away since its name was looked up.
                HostErrno::NODEV => no_interface(interface, errno),
                _ => refused(interface, "binding a packet socket", errno),
            }
        })?;
        Ok(Self {
            fd,
            name: interface.to_owned(),
            index,
            statistics: SocketStatistics::default(),
        })
    }

    /// Receives one frame if one is waiting. What does not fit into `buffer` is cut off; the length stays true.
    ///
    /// # Errors
    ///
    /// The system call failed. An interface that goes down is no error: nothing is waiting then.
    pub fn recv(&mut self, buffer: &mut [u8]) -> Result<Option<LiveFrame>> {
        loop {
            match receive(&self.fd, buffer) {
                Ok(received) => return Ok(Some(received.frame(buffer.len()))),
                Err(HostErrno::AGAIN) => return Ok(None),
                // KERNEL: 6.18 reports ENETDOWN once when the interface goes down or was down at the bind; frames that
                // were queued before it are still delivered afterwards.
                Err(HostErrno::INTR | HostErrno::NETDOWN) => {}
                Err(errno) => return Err(refused(&self.name, "receiving a frame", errno)),
            }
        }
    }

    /// Frames received and dropped since the socket was opened.
    ///
    /// # Errors
    ///
    /// The system call failed.
    pub fn statistics(&mut self) -> Result<SocketStatistics> {
        let since_last = read_statistics(&self.fd)
            .map_err(|errno| refused(&self.name, "packet socket statistics", errno))?;
        // KERNEL: every read starts the counts from zero again, and `tp_packets` includes the dropped frames (packet(7)).
        self.statistics.dropped += u64::from(since_last.tp_drops);
        let queued = since_last.tp_packets.saturating_sub(since_last.tp_drops);
        self.statistics.received += u64::from(queued);
        Ok(self.statistics)
    }

    /// Whether the interface is up now.
    ///
    /// # Errors
    ///
    /// The interface is gone (`A002`), or the system call failed.
    pub fn is_up(&self) -> Result<bool> {
        let flags = interface_flags(&self.fd, &self.name).map_err(|errno| match errno {
            HostErrno::NODEV => no_interface(&self.name, errno),
            _ => refused(&self.name, "interface flags", errno),
        })?;
        Ok(flags & IFF_UP != 0)
    }

    /// The interface's name.
    pub fn interface(&self) -> &str {
        &self.name
    }

    /// The interface's index.
    pub fn interface_index(&self) -> u32 {
        self.index
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What a `recvmsg` brought: the address and the ancillary data as the kernel wrote them.
struct Received {
    original_len: usize,
    address: libc::sockaddr_ll,
    auxiliary: Option<Auxiliary>,
}

impl Received {
    fn frame(&self, room: usize) -> LiveFrame {
        LiveFrame {
            captured_len: self.original_len.min(room),
            original_len: u32::try_from(self.original_len).unwrap_or(u32::MAX),
            // KERNEL: 5 is never delivered (packet(7)), and the kernel's own 6 and 7 never reach a packet socket.
            packet_kind: PacketKind::from_number(self.address.sll_pkttype)
                .unwrap_or(PacketKind::Host),
            protocol: u16::from_be(self.address.sll_protocol),
            interface: u32::try_from(self.address.sll_ifindex).unwrap_or(0),
            vlan: self.auxiliary.as_ref().and_then(Auxiliary::vlan),
        }
    }
}

/// The part of `struct tpacket_auxdata` that we use.
struct Auxiliary {
    status: u32,
    tci: u16,
    tpid: u16,
}

impl Auxiliary {
    /// Finds the record in ancillary data: a `cmsghdr`, then the bytes of the struct.
    fn parse(control: &[u8]) -> Option<Self> {
        let len = usize::from_ne_bytes(*control.first_chunk()?);
        let level = i32::from_ne_bytes(*control.get(8..)?.first_chunk()?);
        let kind = i32::from_ne_bytes(*control.get(12..)?.first_chunk()?);
        if (level, kind) != (libc::SOL_PACKET, libc::PACKET_AUXDATA) {
            return None;
        }
        let data = control.get(CONTROL_HEADER..len)?;
        let half_at = |offset: usize| Some(u16::from_ne_bytes(*data.get(offset..)?.first_chunk()?));
        Some(Self {
            status: u32::from_ne_bytes(*data.first_chunk()?),
            tci: half_at(offset_of!(libc::tpacket_auxdata, tp_vlan_tci))?,
            tpid: half_at(offset_of!(libc::tpacket_auxdata, tp_vlan_tpid))?,
        })
    }

    fn vlan(&self) -> Option<Vlan> {
        if self.status & libc::TP_STATUS_VLAN_VALID == 0 {
            return None;
        }
        let has_tpid = self.status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
        Some(Vlan {
            tci: self.tci,
            tpid: if has_tpid { self.tpid } else { 0x8100 },
        })
    }
}

/// `struct sockaddr_ll`, for binding.
struct LinkAddress(libc::sockaddr_ll);

impl LinkAddress {
    /// All protocols of one interface.
    fn of_interface(index: u32) -> Self {
        Self(libc::sockaddr_ll {
            sll_family: ADDRESS_FAMILY,
            sll_protocol: ALL_PROTOCOLS.to_be(),
            sll_ifindex: index.cast_signed(),
            ..EMPTY_ADDRESS
        })
    }
}

// SAFETY: the closure gets a pointer to the whole `sockaddr_ll` inside `self`, which lives until it returns, and the size
// of that type, whose family field says AF_PACKET.
unsafe impl SocketAddrArg for LinkAddress {
    unsafe fn with_sockaddr<R>(
        &self,
        f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R,
    ) -> R {
        let address: *const libc::sockaddr_ll = &raw const self.0;
        f(address.cast(), socket_len::<libc::sockaddr_ll>())
    }
}

/// A large receive buffer: beyond the system's limit if we may, else as much as it allows.
fn enlarge_buffer(fd: &OwnedFd) {
    if rustix::net::sockopt::set_socket_recv_buffer_size_force(fd, RECEIVE_BUFFER).is_err() {
        // A small buffer still works; what it loses is counted and reported.
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size(fd, RECEIVE_BUFFER);
    }
}

fn ask_for_vlan_tags(fd: &OwnedFd) -> Result<(), HostErrno> {
    let on: libc::c_int = 1;
    // SAFETY: `fd` is open while it is borrowed; the kernel reads one `c_int` from `on`, which lives until the call
    // returns, and the length is the size of that type.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_AUXDATA,
            (&raw const on).cast(),
            socket_len::<libc::c_int>(),
        )
    };
    check(result).map(drop)
}

fn read_statistics(fd: &OwnedFd) -> Result<libc::tpacket_stats, HostErrno> {
    let mut statistics = libc::tpacket_stats {
        tp_packets: 0,
        tp_drops: 0,
    };
    let mut len = socket_len::<libc::tpacket_stats>();
    // SAFETY: `fd` is open while it is borrowed; the kernel writes at most `len` bytes to `statistics`, whose size `len` is,
    // and the number of bytes to `len`. Both are ours alone until the call returns.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut statistics).cast(),
            &raw mut len,
        )
    };
    check(result).map(|_| statistics)
}

fn receive(fd: &OwnedFd, buffer: &mut [u8]) -> Result<Received, HostErrno> {
    let mut address = EMPTY_ADDRESS;
    let mut control = [0_u8; CONTROL_LEN];
    let mut parts = [IoSliceMut::new(buffer)];
    // SAFETY: `msghdr` is integers and pointers; all zero means no address, no buffers, no ancillary data.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_name = (&raw mut address).cast();
    message.msg_namelen = socket_len::<libc::sockaddr_ll>();
    message.msg_iov = parts.as_mut_ptr().cast();
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = CONTROL_LEN;
    // MSG_TRUNC makes the result the length of the frame, not of what was copied.
    let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
    // SAFETY: `fd` is open while it is borrowed. The message's three areas are `address`, `control` and `buffer` (an
    // `IoSliceMut` has the layout of an `iovec` by its documentation); all live until the call returns, are borrowed by
    // nobody else, and the lengths given are theirs.
    let result = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, flags) };
    let original_len = check(result)?;
    let filled = control.get(..message.msg_controllen).unwrap_or(&control);
    Ok(Received {
        original_len,
        address,
        auxiliary: Auxiliary::parse(filled),
    })
}

/// The flags of an interface (`SIOCGIFFLAGS`).
fn interface_flags(fd: &OwnedFd, name: &str) -> Result<libc::c_short, HostErrno> {
    let mut request = InterfaceRequest {
        name: [0; libc::IFNAMSIZ],
        flags: 0,
        rest: [0; 22],
    };
    // One byte stays zero: the kernel reads the name up to it.
    let room = &mut request.name[..libc::IFNAMSIZ - 1];
    room.get_mut(..name.len())
        .ok_or(HostErrno::NODEV)?
        .copy_from_slice(name.as_bytes());
    // SAFETY: `fd` is open while it is borrowed. SIOCGIFFLAGS reads and writes one `struct ifreq`, and `request` has its
    // size (asserted below), lives until the call returns, and any bytes are valid in its fields.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) };
    check(result).map(|_| request.flags)
}

/// `struct ifreq`, with the member that SIOCGIFFLAGS fills.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; libc::IFNAMSIZ],
    flags: libc::c_short,
    rest: [u8; 22],
}

const _: () = assert!(size_of::<InterfaceRequest>() == size_of::<libc::ifreq>());

/// The result of a system call, or the error number it left.
fn check<T: TryInto<usize>>(result: T) -> Result<usize, HostErrno> {
    // Negative results, which do not convert, are the error returns of the C library.
    result.try_into().map_err(|_| {
        HostErrno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(HostErrno::IO)
    })
}

/// The size of a type as the socket calls take it.
fn socket_len<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).expect("socket structures are small")
}

fn open_refused(interface: &str, errno: HostErrno) -> Error {
    match errno {
        HostErrno::PERM | HostErrno::ACCESS => Diagnosis::new(
            Code::ATTACH_PERMISSION,
            format!("no privilege to watch interface `{interface}`: a packet socket needs CAP_NET_RAW"),
        )
        .errno(host_errno(errno))
        .help("give the command to be watched after `--`: it runs in a private network, which needs no privilege")
        .help("or run as root, or with the capability CAP_NET_RAW")
        .into(),
        HostErrno::AFNOSUPPORT | HostErrno::PROTONOSUPPORT => Diagnosis::new(
            Code::ATTACH_UNSUPPORTED,
            "this kernel has no packet sockets (CONFIG_PACKET)",
        )
        .errno(host_errno(errno))
        .into(),
        _ => refused(interface, "opening a packet socket", errno),
    }
}

fn no_interface(interface: &str, errno: HostErrno) -> Error {
    if errno != HostErrno::NODEV {
        return refused(interface, "looking up the interface", errno);
    }
    let message = format!("there is no network interface `{interface}`");
    let diagnosis = Diagnosis::new(Code::ATTACH_TARGET, message).errno(host_errno(errno));
    match interface_names() {
        Some(names) => diagnosis.fact("interfaces here", names.join(", ")).into(),
        None => diagnosis.into(),
    }
}

fn refused(interface: &str, what: &str, errno: HostErrno) -> Error {
    Diagnosis::new(
        Code::ATTACH,
        format!("{what} was refused on interface `{interface}`"),
    )
    .errno(host_errno(errno))
    .into()
}

/// The names of the interfaces in this thread's network namespace, or `None` if `/proc` does not tell.
fn interface_names() -> Option<Vec<String>> {
    let table = std::fs::read_to_string("/proc/thread-self/net/dev").ok()?;
    // Two lines of headings, then `  name: numbers`.
    let rows = table.lines().skip(2);
    let names = rows.filter_map(|row| row.rsplit_once(':'));
    Some(names.map(|(name, _)| name.trim().to_owned()).collect())
}

fn host_errno(errno: HostErrno) -> Errno {
    Errno(errno.raw_os_error())
}

/// 16 MiB: the frames of one second at 128 Mbit/s.
const RECEIVE_BUFFER: usize = 16 << 20;
/// `ETH_P_ALL`
const ALL_PROTOCOLS: u16 = 3;
/// `IFF_UP`
const IFF_UP: libc::c_short = 1;
/// `AF_PACKET`
const ADDRESS_FAMILY: u16 = 17;
/// A `cmsghdr` with the padding behind it.
const CONTROL_HEADER: usize = 16;
/// Room for one record of auxiliary data.
const CONTROL_LEN: usize = 64;

const _: () = assert!(ADDRESS_FAMILY as libc::c_int == libc::AF_PACKET);
const _: () = assert!(size_of::<libc::cmsghdr>() == CONTROL_HEADER && size_of::<usize>() == 8);
const _: () = assert!(CONTROL_HEADER + size_of::<libc::tpacket_auxdata>() <= CONTROL_LEN);

const EMPTY_ADDRESS: libc::sockaddr_ll = libc::sockaddr_ll {
    sll_family: 0,
    sll_protocol: 0,
    sll_ifindex: 0,
    sll_hatype: 0,
    sll_pkttype: 0,
    sll_halen: 0,
    sll_addr: [0; 8],
};

#[cfg(test)]
mod tests {
    use super::*;

    fn control(status: u32, tci: u16, tpid: u16) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(36_usize.to_ne_bytes());
        bytes.extend(libc::SOL_PACKET.to_ne_bytes());
        bytes.extend(libc::PACKET_AUXDATA.to_ne_bytes());
        bytes.extend(status.to_ne_bytes());
        bytes.extend([0; 12]);
        bytes.extend(tci.to_ne_bytes());
        bytes.extend(tpid.to_ne_bytes());
        bytes
    }

    #[test]
    fn a_vlan_tag_is_read_only_if_the_status_says_it_is_there() {
        let tagged = Auxiliary::parse(&control(0x10 | 0x40, 0x2005, 0x88a8)).unwrap();
        let expected = Vlan {
            tci: 0x2005,
            tpid: 0x88a8,
        };
        assert_eq!(tagged.vlan(), Some(expected));
        let untagged = Auxiliary::parse(&control(0x1, 0x2005, 0x88a8)).unwrap();
        assert_eq!(untagged.vlan(), None);
        let without_tpid = Auxiliary::parse(&control(0x10, 5, 0)).unwrap();
        assert_eq!(without_tpid.vlan().unwrap().tpid, 0x8100);
    }

    #[test]
    fn short_ancillary_data_is_no_vlan_tag() {
        let whole = control(0x10, 5, 0x8100);
        for len in 0..whole.len() {
            assert!(Auxiliary::parse(&whole[..len]).is_none(), "{len} bytes");
        }
    }

    #[test]
    fn an_interface_that_does_not_exist_is_named_with_those_that_do() {
        let error = no_interface("eth99", HostErrno::NODEV);
        assert_eq!(error.diagnosis().code, Code::ATTACH_TARGET);
        assert!(error.to_string().contains("`eth99`"), "{error}");
        let names = &error.diagnosis().facts[0].value;
        assert!(names.split(", ").any(|name| name == "lo"), "{names}");
    }

    #[test]
    fn a_missing_privilege_says_what_to_do() {
        let error = open_refused("lo", HostErrno::PERM);
        assert!(error.is_permission());
        assert!(error.diagnosis().help[0].contains("`--`"), "{error}");
    }
}
