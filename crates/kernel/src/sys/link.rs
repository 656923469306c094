//! The commands of `bpf(2)` about links: made, replaced, detached, listed, asked about.
//!
//! As in `sys.rs`: addresses are filled in here, from slices whose lengths are known here, and nowhere else.
#![expect(unsafe_code, reason = "bpf(2) takes addresses")]

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use twinbpf_object::Errno;
use zerocopy::{Immutable, IntoBytes};

use super::{Numbered, ProgramFd, bpf, bpf_descriptor, by_id, info_request, readable, writable};
use crate::attr::{
    ARM_BYTES, Arm, Command, IterCreate, IteratorArm, KprobesArm, LinkCreate, LinkDetach,
    LinkInfoReply, LinkUpdate, RawTracepointOpen, UprobesArm, fd_number, link_type,
    perf_event_type,
};

/// Makes a link of a sort whose request has no addresses.
pub(crate) fn link_create(head: &LinkCreate, arm: &Arm) -> Result<OwnedFd, Errno> {
    // SAFETY: no variant of `Arm` has an address.
    unsafe { link_create_with(head, arm.bytes()) }
}

/// Makes an iterator's link over what `scope` says, a variant of `union bpf_iter_link_info`.
pub(crate) fn link_create_iterator(
    head: &LinkCreate,
    scope: &(impl IntoBytes + Immutable),
) -> Result<OwnedFd, Errno> {
    let scope = scope.as_bytes();
    let arm = IteratorArm {
        iter_info: readable(scope),
        iter_info_len: u32::try_from(scope.len()).map_err(|_| Errno::E2BIG)?,
        padding: 0,
    };
    // SAFETY: the kernel reads `iter_info_len` bytes at `iter_info`, which is the length of the borrowed slice there.
    unsafe { link_create_with(head, arm.as_bytes()) }
}

/// Makes a link to the functions of the kernel with these names. There are as many cookies as names, or none.
pub(crate) fn link_create_kprobes(
    head: &LinkCreate,
    names: &[CString],
    cookies: &[u64],
    flags: u32,
) -> Result<OwnedFd, Errno> {
    let addresses: Vec<u64> = names
        .iter()
        .map(|name| readable(name.as_bytes_with_nul()))
        .collect();
    let arm = KprobesArm {
        flags,
        cnt: u32::try_from(names.len()).map_err(|_| Errno::E2BIG)?,
        syms: readable(addresses.as_bytes()),
        addrs: 0,
        cookies: list(cookies, names.len())?,
    };
    // SAFETY: the kernel reads `cnt` addresses at `syms`, each of a text up to its zero, which a `CString` has, and as many words
    // at `cookies` or none at 0: `list` checked the length. All are borrowed until the call returns.
    unsafe { link_create_with(head, arm.as_bytes()) }
}

/// Places in a file of code.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CodeAddresses<'a> {
    pub(crate) path: &'a CStr,
    pub(crate) offsets: &'a [u64],
    /// As many as places, or none; as the next.
    pub(crate) counters: &'a [u64],
    pub(crate) cookies: &'a [u64],
    pub(crate) flags: u32,
    /// 0 for all processes.
    pub(crate) pid: u32,
}

/// Makes a link to many places in a file.
pub(crate) fn link_create_uprobes(
    head: &LinkCreate,
    places: &CodeAddresses<'_>,
) -> Result<OwnedFd, Errno> {
    let count = places.offsets.len();
    let arm = UprobesArm {
        path: readable(places.path.to_bytes_with_nul()),
        offsets: list(places.offsets, count)?,
        ref_ctr_offsets: list(places.counters, count)?,
        cookies: list(places.cookies, count)?,
        cnt: u32::try_from(count).map_err(|_| Errno::E2BIG)?,
        flags: places.flags,
        pid: places.pid,
        padding: 0,
    };
    // SAFETY: the kernel reads the path up to its zero, which a `CStr` has, and `cnt` words at each of the three addresses that is
    // not 0: `list` checked their lengths. All are borrowed until the call returns.
    unsafe { link_create_with(head, arm.as_bytes()) }
}

/// The address of exactly so many words; 0 for none.
fn list(words: &[u64], count: usize) -> Result<u64, Errno> {
    match words.len() {
        0 => Ok(0),
        len if len == count => Ok(readable(words.as_bytes())),
        _ => Err(Errno::EINVAL),
    }
}

/// Makes a link.
///
/// # Safety
///
/// Every address in `arm` must be 0 or point to memory that the kernel may read as far as the arm's lengths say.
unsafe fn link_create_with(head: &LinkCreate, arm: &[u8]) -> Result<OwnedFd, Errno> {
    // Eight bytes at a time, so that the request is aligned as the kernel's union is.
    let mut request = [0u64; (size_of::<LinkCreate>() + ARM_BYTES) / 8];
    let bytes = request.as_mut_bytes();
    let (head_bytes, arm_bytes) = bytes.split_at_mut(size_of::<LinkCreate>());
    head_bytes.copy_from_slice(head.as_bytes());
    arm_bytes
        .get_mut(..arm.len())
        .ok_or(Errno::E2BIG)?
        .copy_from_slice(arm);
    // SAFETY: the head has no address, the caller vouches for those of the arm, and the rest is zero. The command makes a
    // descriptor.
    unsafe { bpf_descriptor(Command::LinkCreate, &mut request) }
}

/// Replaces a link's program; with `old`, only if that is the one it has.
pub(crate) fn link_update(
    link: BorrowedFd<'_>,
    new: BorrowedFd<'_>,
    old: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    let mut request = LinkUpdate {
        link_fd: fd_number(link),
        new_prog_fd: fd_number(new),
        flags: if old.is_some() { REPLACE } else { 0 },
        old_prog_fd: old.map_or(0, fd_number),
    };
    // SAFETY: the struct has descriptors and flags, no address.
    unsafe { bpf(Command::LinkUpdate, &mut request) }.map(drop)
}

/// Takes a link's program away from its hook, whoever else holds the link.
pub(crate) fn link_detach(link: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut request = LinkDetach {
        link_fd: fd_number(link),
    };
    // SAFETY: the struct has one descriptor, no address.
    unsafe { bpf(Command::LinkDetach, &mut request) }.map(drop)
}

/// A new reading of an iterator.
pub(crate) fn iterator_create(link: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let mut request = IterCreate {
        link_fd: fd_number(link),
        flags: 0,
    };
    // SAFETY: the struct has one descriptor and flags, no address. The command makes a descriptor.
    unsafe { bpf_descriptor(Command::IterCreate, &mut request) }
}

/// Attaches to a raw tracepoint by its name, or without one to what the program was verified for.
pub(crate) fn raw_tracepoint_open(
    program: BorrowedFd<'_>,
    name: Option<&CStr>,
    cookie: u64,
) -> Result<OwnedFd, Errno> {
    let mut request = RawTracepointOpen {
        name: name.map_or(0, |name| readable(name.to_bytes_with_nul())),
        prog_fd: fd_number(program),
        padding: 0,
        cookie,
    };
    // SAFETY: the kernel reads the name up to its zero, which a `CStr` has, or none at address 0. The command makes a
    // descriptor.
    unsafe { bpf_descriptor(Command::RawTracepointOpen, &mut request) }
}

/// A descriptor of the program with this number; `None` if there is none.
pub(crate) fn program_by_id(id: u32) -> Result<Option<ProgramFd>, Errno> {
    by_id(Numbered::Program, id).map(|fd| fd.map(ProgramFd))
}

/// Asks about a link, without the texts that some sorts have.
pub(crate) fn link_info(link: BorrowedFd<'_>) -> Result<LinkInfoReply, Errno> {
    let mut reply = LinkInfoReply::default();
    let mut request = info_request(link.as_fd(), reply.as_mut_bytes())?;
    // SAFETY: the kernel writes at most `info_len` bytes to `reply`, which is that large, exclusively borrowed here, and takes
    // any bytes. It also reads lengths and addresses of texts and lists from it: all zero, so it copies none.
    unsafe { bpf(Command::ObjectInfo, &mut request) }?;
    Ok(reply)
}

/// Asks about a link again, with room for the text that its sort has: a name or a path. Without one, `text` is left alone.
pub(crate) fn link_info_text(
    link: BorrowedFd<'_>,
    first: &LinkInfoReply,
    text: &mut [u8],
) -> Result<(), Errno> {
    let Some((address, length)) = place_of_text(first) else {
        return Ok(());
    };
    let mut reply = LinkInfoReply::default();
    let room = u32::try_from(text.len()).map_err(|_| Errno::E2BIG)?;
    let bytes = reply.words.as_mut_bytes();
    let mut put = |at: usize, value: &[u8]| {
        let place = bytes.get_mut(at..at + value.len());
        place
            .map(|place| place.copy_from_slice(value))
            .ok_or(Errno::EINVAL)
    };
    put(address, &writable(text).to_ne_bytes())?;
    put(length, &room.to_ne_bytes())?;
    let mut request = info_request(link.as_fd(), reply.as_mut_bytes())?;
    // SAFETY: the kernel writes at most `info_len` bytes to `reply`, as in `link_info`. A link never changes its sort, so the two
    // words set above are address and length of its text: it writes at most `room` bytes to `text`, which has as many and is
    // exclusively borrowed. All other addresses in `reply` are 0.
    unsafe { bpf(Command::ObjectInfo, &mut request) }.map(drop)
}

/// Where the address of a link's text and its length stand, in bytes behind the head; `None` for sorts without a text.
fn place_of_text(reply: &LinkInfoReply) -> Option<(usize, usize)> {
    match (reply.link_type, reply.half(0)) {
        (link_type::RAW_TRACEPOINT | link_type::ITERATOR, _) => Some((0, 8)),
        (link_type::UPROBE_MULTI, _) => Some((0, 32)),
        (link_type::PERF_EVENT, perf_event_type::FIRST_NAMED..=perf_event_type::LAST_NAMED) => {
            Some((8, 16))
        }
        _ => None,
    }
}

/// `BPF_F_REPLACE`
const REPLACE: u32 = 1 << 2;
