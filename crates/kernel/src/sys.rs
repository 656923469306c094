//! The system call `bpf(2)`, and three socket calls no crate offers.
//!
//! The kernel reads and writes through addresses in the request, so a wrong length would be a wild write. Therefore each
//! function here takes slices, checks their lengths and fills in the addresses itself. Maps are in `map_fd.rs`.
#![expect(
    unsafe_code,
    reason = "bpf(2) takes addresses; SO_ATTACH_BPF, sockaddr_ll and PACKET_STATISTICS are in no crate"
)]

mod link;
mod numbered;
mod perf;
mod program_lists;

pub(crate) use link::*;
pub(crate) use numbered::*;
pub(crate) use perf::*;
pub(crate) use program_lists::*;

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::time::Duration;

use twinbpf_object::Errno;
use twinbpf_object::insn::INSN_BYTES;
use zerocopy::IntoBytes;

use crate::attr::{
    BtfInfoReply, BtfLoad, Command, FunctionRecord, LineRecord, LinkAddress, ObjectInfo,
    ObjectPath, PacketStatistics, ProgramInfoReply, ProgramLoad, ProgramTestRun, TokenCreate,
    fd_number,
};

/// A program's descriptor.
#[derive(Debug)]
pub(crate) struct ProgramFd(OwnedFd);

/// Gives a map, program or link a name in a bpffs.
pub(crate) fn object_pin(object: BorrowedFd<'_>, path: &CStr) -> Result<(), Errno> {
    let mut request = ObjectPath {
        pathname: readable(path.to_bytes_with_nul()),
        bpf_fd: fd_number(object),
        file_flags: 0,
    };
    // SAFETY: the kernel reads the path up to its zero, which a `CStr` has; the struct has no other address.
    unsafe { bpf(Command::ObjectPin, &mut request) }.map(drop)
}

/// The map, program or link with this name in a bpffs.
pub(crate) fn object_get(path: &CStr) -> Result<OwnedFd, Errno> {
    let mut request = ObjectPath {
        pathname: readable(path.to_bytes_with_nul()),
        ..ObjectPath::default()
    };
    // SAFETY: the kernel reads the path up to its zero, which a `CStr` has; the struct has no other address. The command
    // answers with a new descriptor.
    unsafe { bpf_descriptor(Command::ObjectGet, &mut request) }
}

/// Makes a token out of the root of a bpffs.
pub(crate) fn token_create(bpffs: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let mut request = TokenCreate {
        bpffs_fd: fd_number(bpffs),
        ..TokenCreate::default()
    };
    // SAFETY: the struct has no addresses. The command answers with a new descriptor.
    unsafe { bpf_descriptor(Command::TokenCreate, &mut request) }
}

/// Hands types to the kernel. The log is written to `log`, if that has any room.
pub(crate) fn btf_load(request: &BtfLoad, types: &[u8], log: &mut [u8]) -> Result<OwnedFd, Errno> {
    let mut request = BtfLoad {
        btf: readable(types),
        btf_size: u32::try_from(types.len()).map_err(|_| Errno::E2BIG)?,
        ..*request
    };
    if !log.is_empty() {
        request.btf_log_level = 1;
        request.btf_log_size = u32::try_from(log.len()).map_err(|_| Errno::EINVAL)?;
        request.btf_log_buf = writable(log);
    }
    // SAFETY: the kernel reads `btf_size` bytes of `types` and writes at most `btf_log_size` bytes to `log`, which is
    // exclusively borrowed; both lengths are those of the slices.
    unsafe { bpf_descriptor(Command::BtfLoad, &mut request) }
}

/// What the kernel says about types.
#[derive(Debug)]
pub(crate) struct TypesReply {
    pub(crate) id: u32,
    pub(crate) size_bytes: u32,
    /// `vmlinux` or a module's name, of the kernel's own.
    pub(crate) owner: Option<String>,
}

/// Asks about types.
pub(crate) fn types_info(types: BorrowedFd<'_>) -> Result<TypesReply, Errno> {
    // KERNEL: `MODULE_NAME_LEN` is 56 on machines of 64 bits; 6.18 answers ENOSPC if a name is longer than the room.
    let mut name = [0; 64];
    let mut reply = BtfInfoReply {
        name: writable(&mut name),
        name_len: 64,
        ..BtfInfoReply::default()
    };
    let mut request = info_request(types, reply.as_mut_bytes())?;
    // SAFETY: the kernel writes at most `info_len` bytes to `reply` and at most `name_len` bytes to `name`, whose length that is;
    // both are exclusively borrowed. The address of the types is 0, so they are not copied.
    unsafe { bpf(Command::ObjectInfo, &mut request) }?;
    Ok(TypesReply {
        id: reply.id,
        size_bytes: reply.btf_size,
        owner: (reply.kernel_btf != 0).then(|| text_of(&name)),
    })
}

/// Types with this number, as bytes; `ENOENT` if there are none.
pub(crate) fn types_bytes(id: u32) -> Result<Vec<u8>, Errno> {
    let types = by_id(Numbered::Types, id)?.ok_or(Errno::ENOENT)?;
    let mut bytes = Vec::new();
    // The first question asks for the size only: it has no room for bytes.
    for _ in 0..2 {
        let mut reply = BtfInfoReply {
            btf: writable(&mut bytes),
            btf_size: u32::try_from(bytes.len()).map_err(|_| Errno::E2BIG)?,
            ..BtfInfoReply::default()
        };
        let mut request = info_request(types.as_fd(), reply.as_mut_bytes())?;
        // SAFETY: the kernel writes at most `info_len` bytes to `reply`, and to the address in it at most `btf_size` bytes, which is
        // the length of `bytes`; both are exclusively borrowed. The address of the name is 0.
        unsafe { bpf(Command::ObjectInfo, &mut request) }?;
        let size = usize::try_from(reply.btf_size).map_err(|_| Errno::E2BIG)?;
        bytes.resize(size, 0);
    }
    Ok(bytes)
}

/// A log up to its zero.
pub(crate) fn text_of(log: &[u8]) -> String {
    let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
    String::from_utf8_lossy(log.get(..end).unwrap_or_default()).into_owned()
}

/// What the request for a program points to.
#[derive(Debug, Clone, Default)]
pub(crate) struct ProgramParts {
    /// The instructions, as the kernel reads them.
    pub(crate) code: Vec<u8>,
    /// The license.
    pub(crate) license: CString,
    /// Types of the functions, ascending.
    pub(crate) functions: Vec<FunctionRecord>,
    /// Where instructions come from, ascending.
    pub(crate) lines: Vec<LineRecord>,
    /// Descriptors that instructions name by position: the BTF of modules.
    pub(crate) descriptors: Vec<libc::c_int>,
}

impl ProgramParts {
    /// The request with the addresses and lengths of the parts; the log's are left alone.
    fn named_in(&self, request: &ProgramLoad) -> Result<ProgramLoad, Errno> {
        let count = |number: usize| u32::try_from(number).map_err(|_| Errno::E2BIG);
        let mut request = ProgramLoad {
            insn_cnt: count(self.code.len() / INSN_BYTES)?,
            insns: readable(&self.code),
            license: readable(self.license.to_bytes_with_nul()),
            ..*request
        };
        if !self.functions.is_empty() {
            request.func_info = readable(self.functions.as_bytes());
            request.func_info_cnt = count(self.functions.len())?;
            request.func_info_rec_size = count(size_of::<FunctionRecord>())?;
        }
        if !self.lines.is_empty() {
            request.line_info = readable(self.lines.as_bytes());
            request.line_info_cnt = count(self.lines.len())?;
            request.line_info_rec_size = count(size_of::<LineRecord>())?;
        }
        if !self.descriptors.is_empty() {
            request.fd_array = readable(self.descriptors.as_bytes());
        }
        Ok(request)
    }
}

/// Loads a program: `request` says what, the parts replace its addresses and lengths. The log is written to `log`.
pub(crate) fn program_load(
    request: &ProgramLoad,
    parts: &ProgramParts,
    log: &mut [u8],
) -> Result<ProgramFd, Errno> {
    let mut request = ProgramLoad {
        log_size: u32::try_from(log.len()).map_err(|_| Errno::EINVAL)?,
        log_buf: if log.is_empty() { 0 } else { writable(log) },
        ..parts.named_in(request)?
    };
    // SAFETY: the kernel reads `insn_cnt` whole instructions, which the code has, the license up to its zero, which a `CString`
    // has, as many records as their counts say, and descriptors at the positions that instructions name: reading beyond
    // them gives it a number it refuses or a descriptor of ours. It writes at most `log_size` bytes to `log`, which is
    // exclusively borrowed. The remaining address, `core_relos`, is 0.
    unsafe { bpf_descriptor(Command::ProgramLoad, &mut request) }.map(ProgramFd)
}

/// What loading a program writes to its log within `deadline`: the end of it, at most `log_bytes`. The program is not kept.
///
/// The verifier cannot be told to stop, but it stops for a signal. A signal that interrupts a thread of ours would need a
/// handler for the whole process, which a library must not install. So a child process asks, and is killed at the
/// deadline. The log lies in memory shared with it, where the verifier writes line by line.
///
/// The child is made without an exit signal, so that neither `SIGCHLD` nor a `wait` of the host ever meets it.
pub(crate) fn program_log_within(
    request: &ProgramLoad,
    parts: &ProgramParts,
    (log_bytes, deadline): (usize, Duration),
) -> Result<Vec<u8>, Errno> {
    let log = SharedLog::new(log_bytes)?;
    let mut request = ProgramLoad {
        log_size: u32::try_from(log_bytes).map_err(|_| Errno::EINVAL)?,
        log_buf: log.base.addr().get() as u64,
        ..parts.named_in(request)?
    };
    let size = size_of::<ProgramLoad>();
    let address = std::ptr::from_mut(&mut request);
    let mut child: libc::c_int = -1;
    let child_at = std::ptr::from_mut(&mut child);
    // SAFETY: without CLONE_VM the child gets a copy of this process, as from fork(2), and goes on here on its copy of the
    // stack. The kernel writes one `int`, the descriptor of the child, at `child_at`.
    let made = unsafe { libc::syscall(libc::SYS_clone, libc::CLONE_PIDFD, 0, child_at, 0, 0) };
    if made == 0 {
        // In the child, of a process with perhaps many threads: system calls only, no allocation, no locks, no unwinding.
        // SAFETY: as in `program_load`: the parts and the request are in the copied memory; the log is shared, `log_bytes` long.
        let _ = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                Command::ProgramLoad as libc::c_long,
                address,
                size,
            )
        };
        // SAFETY: ends the child at once, without running anything of the host's.
        unsafe { libc::_exit(0) };
    }
    if made < 0 {
        return Err(last_errno());
    }
    // SAFETY: the call succeeded, so `child` is a new descriptor that nobody else owns.
    let child = unsafe { OwnedFd::from_raw_fd(child) };
    end_within(&child, deadline);
    Ok(log.text())
}

/// Waits for the child, at most until the deadline; then kills it. Nothing of it is left.
fn end_within(child: &OwnedFd, deadline: Duration) {
    let timeout = rustix::event::Timespec::try_from(deadline).ok();
    let mut waiting = [rustix::event::PollFd::new(
        child,
        rustix::event::PollFlags::IN,
    )];
    if rustix::event::poll(&mut waiting, timeout.as_ref()) != Ok(1) {
        // It may have ended a moment ago; then there is nothing to kill.
        let _ = rustix::process::pidfd_send_signal(child, rustix::process::Signal::KILL);
    }
    let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::uninit();
    let number = libc::id_t::try_from(child.as_raw_fd()).unwrap_or(0);
    loop {
        // SAFETY: the kernel writes one `siginfo_t` at the address given, which has room for it and is not read.
        let result = unsafe {
            libc::waitid(
                libc::P_PIDFD,
                number,
                info.as_mut_ptr(),
                libc::WEXITED | libc::__WALL,
            )
        };
        if result == 0 || last_errno() != Errno::EINTR {
            return;
        }
    }
}

/// Memory shared with a child.
struct SharedLog {
    base: NonNull<u8>,
    len: usize,
}

/// Most bytes that get their pages at once: a larger log is seldom filled.
const POPULATED_BYTES: usize = 1 << 20;

impl SharedLog {
    fn new(len: usize) -> Result<Self, Errno> {
        let populated = if len <= POPULATED_BYTES {
            rustix::mm::MapFlags::POPULATE
        } else {
            rustix::mm::MapFlags::empty()
        };
        let flags = rustix::mm::MapFlags::SHARED | populated;
        let both = rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice disturbs nothing.
        let start = unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), len, both, flags) };
        let start = start.map_err(|error| Errno(error.raw_os_error()))?;
        let base = NonNull::new(start.cast::<u8>()).ok_or(Errno::ENOMEM)?;
        Ok(Self { base, len })
    }

    /// A copy of what was written. The child is gone, so nobody writes any more.
    fn text(&self) -> Vec<u8> {
        // SAFETY: the mapping has `len` bytes, lives as long as `self`, and its only other user, the child, has ended.
        let bytes = unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.len) };
        bytes
            .split(|byte| *byte == 0)
            .next()
            .unwrap_or_default()
            .to_vec()
    }
}

impl Drop for SharedLog {
    fn drop(&mut self) {
        // SAFETY: this is the range that `new` mapped, and `text` gave out copies only.
        let result = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len) };
        debug_assert!(result.is_ok(), "unmapping our own range cannot be refused");
    }
}

impl ProgramFd {
    /// Takes charge of a descriptor that is a program's.
    pub(crate) fn adopt(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Runs the program. `data` and `context` are copied in from the first and out to the second of each pair, as far as these
    /// reach; the answer says how long what came out is.
    pub(crate) fn test_run(
        &self,
        data: (&[u8], &mut [u8]),
        context: (&mut [u8], &mut [u8]),
        repeat: u32,
    ) -> Result<ProgramTestRun, Errno> {
        let len = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(|_| Errno::E2BIG);
        let address = |bytes: &[u8]| if bytes.is_empty() { 0 } else { readable(bytes) };
        let room = |bytes: &mut [u8]| if bytes.is_empty() { 0 } else { writable(bytes) };
        let mut request = ProgramTestRun {
            prog_fd: fd_number(self.as_fd()),
            data_size_in: len(data.0)?,
            data_size_out: len(data.1)?,
            data_in: address(data.0),
            data_out: room(data.1),
            repeat,
            ctx_size_in: len(context.0)?,
            ctx_size_out: len(context.1)?,
            ctx_in: room(context.0),
            ctx_out: room(context.1),
            ..ProgramTestRun::default()
        };
        // SAFETY: the kernel reads the two inputs and writes at most as many bytes to the two outputs as their sizes say; all four
        // slices are borrowed until the call returns, all but the packet exclusively: a `syscall` program's context is written in place.
        unsafe { bpf(Command::ProgramTestRun, &mut request) }?;
        Ok(request)
    }

    /// Asks about the program.
    pub(crate) fn info(&self) -> Result<ProgramInfoReply, Errno> {
        program_info(self.as_fd())
    }
}

/// Asks about a program.
pub(crate) fn program_info(program: BorrowedFd<'_>) -> Result<ProgramInfoReply, Errno> {
    let mut reply = ProgramInfoReply::default();
    let mut request = info_request(program, reply.as_mut_bytes())?;
    // SAFETY: the kernel writes at most `info_len` bytes to `reply`, which is that large, exclusively borrowed here, and
    // takes any bytes. It also reads lengths and addresses of arrays from it: all zero, so it copies no arrays.
    unsafe { bpf(Command::ObjectInfo, &mut request) }?;
    Ok(reply)
}

impl AsFd for ProgramFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What a program does for a socket.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SocketDuty {
    /// It decides what the socket receives.
    Filter,
    /// It chooses among the sockets that share a port.
    Choose,
}

/// Gives a socket a program.
pub(crate) fn attach_program(
    socket: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    duty: SocketDuty,
) -> Result<(), Errno> {
    let option = match duty {
        SocketDuty::Filter => libc::SO_ATTACH_BPF,
        SocketDuty::Choose => libc::SO_ATTACH_REUSEPORT_EBPF,
    };
    let number = program.as_raw_fd();
    // SAFETY: the kernel reads one `int` at the address given, which is `number`, alive on this stack during the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            std::ptr::from_ref(&number).cast(),
            option_length::<libc::c_int>(),
        )
    };
    outcome(result)
}

/// Takes the filter of a socket away.
pub(crate) fn detach_program(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    let ignored: libc::c_int = 0;
    // SAFETY: the kernel reads at most one `int` at the address given, which is `ignored`, alive on this stack during the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_DETACH_FILTER,
            std::ptr::from_ref(&ignored).cast(),
            option_length::<libc::c_int>(),
        )
    };
    outcome(result)
}

/// Binds a packet socket to one interface and every protocol.
pub(crate) fn bind_packet_socket(socket: BorrowedFd<'_>, interface: u32) -> Result<(), Errno> {
    let address = LinkAddress {
        family: AF_PACKET,
        protocol: ETH_P_ALL.to_be(),
        interface,
        hardware_type: 0,
        packet_type: 0,
        address_length: 0,
        address: [0; 8],
    };
    // SAFETY: the kernel reads as many bytes as the length says, which is the size of `address`, alive during the call.
    let result = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            std::ptr::from_ref(&address).cast(),
            option_length::<LinkAddress>(),
        )
    };
    outcome(result)
}

/// What happened on a packet socket since this was last asked.
pub(crate) fn packet_statistics(socket: BorrowedFd<'_>) -> Result<PacketStatistics, Errno> {
    let mut statistics = PacketStatistics::default();
    let mut length = option_length::<PacketStatistics>();
    // SAFETY: the kernel writes at most `length` bytes to `statistics`, which has that size and takes any bytes, and then the
    // length it wrote to `length`; both are exclusively borrowed during the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            std::ptr::from_mut(&mut statistics).cast(),
            std::ptr::from_mut(&mut length),
        )
    };
    outcome(result).map(|()| statistics)
}

/// Has the kernel put its refusals of netlink requests into words. Kernels before 4.12 have none, so that a refusal of this is none.
pub(crate) fn netlink_words(socket: BorrowedFd<'_>) {
    let on: libc::c_int = 1;
    for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK] {
        // SAFETY: the kernel reads one `int` at the address given, which is `on`, alive on this stack during the call.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_NETLINK,
                option,
                std::ptr::from_ref(&on).cast(),
                option_length::<libc::c_int>(),
            )
        };
        // Without words the numbers remain.
        let _ = outcome(result);
    }
}

pub(crate) fn info_request(fd: BorrowedFd<'_>, reply: &mut [u8]) -> Result<ObjectInfo, Errno> {
    Ok(ObjectInfo {
        bpf_fd: fd_number(fd),
        info_len: u32::try_from(reply.len()).map_err(|_| Errno::EINVAL)?,
        info: writable(reply),
    })
}

/// The address of bytes that the kernel reads.
pub(crate) fn readable(bytes: &[u8]) -> u64 {
    bytes.as_ptr().expose_provenance() as u64
}

/// The address of bytes that the kernel writes.
pub(crate) fn writable(bytes: &mut [u8]) -> u64 {
    bytes.as_mut_ptr().expose_provenance() as u64
}

/// Makes a call whose result is a new descriptor.
///
/// # Safety
///
/// As for [`bpf`]; and `command` must be one that makes a descriptor.
pub(crate) unsafe fn bpf_descriptor<T: IntoBytes + zerocopy::FromBytes>(
    command: Command,
    request: &mut T,
) -> Result<OwnedFd, Errno> {
    // SAFETY: the caller vouches for the addresses in `request`.
    let number = unsafe { bpf(command, request) }?;
    let fd = libc::c_int::try_from(number).map_err(|_| Errno::EBADF)?;
    // SAFETY: the call succeeded and its command makes a descriptor (the caller's duty), so `fd` is new, open, closed on exec,
    // and known to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes the call; the result is a descriptor or 0.
///
/// # Safety
///
/// Every address in `request` must be 0 or point to memory that the kernel may access in the way and to the length that
/// `command` means.
pub(crate) unsafe fn bpf<T: IntoBytes + zerocopy::FromBytes>(
    command: Command,
    request: &mut T,
) -> Result<libc::c_long, Errno> {
    // SAFETY: `request` is exclusively borrowed, its size is passed with it, and any bytes the kernel writes into it are valid
    // for its type (`FromBytes`). The memory behind its addresses is the caller's duty.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command.number(),
            std::ptr::from_mut(request),
            size_of::<T>(),
        )
    };
    if result >= 0 {
        return Ok(result);
    }
    Err(last_errno())
}

/// Sizes of the structs here are a few bytes, so they always fit.
fn option_length<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0)
}

fn outcome(result: libc::c_int) -> Result<(), Errno> {
    if result == 0 {
        Ok(())
    } else {
        Err(last_errno())
    }
}

fn last_errno() -> Errno {
    let error = std::io::Error::last_os_error();
    Errno(error.raw_os_error().unwrap_or(Errno::EIO.0))
}

const AF_PACKET: u16 = 17;
const ETH_P_ALL: u16 = 3;
