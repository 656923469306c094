//! Dynptrs: pointers that know how long they are, for memory, ring buffer records and packets.
//!
//! The program keeps 16 bytes on its stack and never looks into them. What they stand for is remembered by their address, outside
//! the window; the bytes stay as they are.

use twinbpf_object::{Errno, ProgramKind};
use twinbpf_shm::SharedBytes;

use crate::fault::FaultKind;
use crate::held::{Dynptr, DynptrSource, Place};
use crate::helpers::ring;
use crate::run::{Arguments, Returned, Run};
use crate::semantics::low_32;
use crate::window::Need;

/// Bytes of `struct bpf_dynptr`.
const STRUCT_BYTES: u32 = 16;
/// KERNEL: longest dynptr (`DYNPTR_MAX_SIZE`, 6.18).
const MOST_BYTES: u32 = (1 << 24) - 1;
/// What the checked interpreter calls memory that a dynptr lends.
const DATA: &str = "a dynptr's data";

/// `long bpf_dynptr_from_mem(data, size, flags, dynptr)`
pub(super) fn from_memory(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let [data, size, flags, ..] = arguments.values;
    let (place, size) = (place(run, arguments, 3)?, low_32(size));
    let result = match (size <= MOST_BYTES, flags) {
        (false, _) => Err(Errno::E2BIG),
        (true, 0) => Ok(()),
        (true, _) => Err(Errno::EINVAL),
    };
    let dynptr = match result {
        Ok(()) => {
            run.memory(arguments, 0, size, Need::Both)?;
            Dynptr::new(DynptrSource::Memory(low_32(data)), size, false)
        }
        Err(_) => Dynptr::NULL,
    };
    run.held.set_dynptr(place, dynptr)?;
    Ok(Returned::status(result))
}

/// `long bpf_ringbuf_reserve_dynptr(ring, size, flags, dynptr)`
pub(super) fn reserve(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let [value, size, flags, ..] = arguments.values;
    let (place, size) = (place(run, arguments, 3)?, low_32(size));
    let map = run.map(arguments, 0)?;
    let handle = map.handle();
    let ring = map.ring().ok_or(FaultKind::NotAMap { value })?;
    let result = match (flags, size <= MOST_BYTES) {
        (0, true) => ring.reserve(u64::from(size), run.slot).ok_or(Errno::EINVAL),
        (0, false) => Err(Errno::E2BIG),
        _ => Err(Errno::EINVAL),
    };
    let (dynptr, result) = match result {
        Ok(record) => {
            let source = DynptrSource::Record(record.address);
            ring::keep(run, arguments, handle, record)?;
            (Dynptr::new(source, size, false), Ok(()))
        }
        Err(errno) => (Dynptr::NULL, Err(errno)),
    };
    run.held.set_dynptr(place, dynptr)?;
    Ok(Returned::status(result))
}

/// `void bpf_ringbuf_submit_dynptr(dynptr, flags)`
pub(super) fn submit(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    commit(run, arguments, false)
}

/// `void bpf_ringbuf_discard_dynptr(dynptr, flags)`
pub(super) fn discard(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    commit(run, arguments, true)
}

fn commit(
    run: &mut Run<'_>,
    arguments: &Arguments,
    is_discarded: bool,
) -> Result<Returned, FaultKind> {
    let dynptr = *run.held.dynptr(at(arguments, 0))?;
    if let DynptrSource::Record(address) = dynptr.source {
        let taken = run.held.take_record(address);
        let (ring, record) = taken.ok_or(FaultKind::NotHeld { what: "a record" })?;
        ring.commit(record, is_discarded, arguments.values[1]);
        run.held.forget_record(address);
    }
    Ok(Returned::number(0))
}

/// `long bpf_dynptr_read(to, len, dynptr, offset, flags)`
pub(super) fn read(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let [_, len, _, offset, flags] = arguments.values;
    let dynptr = *run.held.dynptr(at(arguments, 2))?;
    let (offset, len) = (low_32(offset), low_32(len));
    let to = run.memory(arguments, 0, len, Need::Write)?;
    if dynptr.is_null() || flags != 0 {
        return Ok(Returned::error(Errno::EINVAL));
    }
    let from = match dynptr.part(offset, len) {
        Some(part) => bytes(run, &dynptr, part, Need::Read)?,
        None => return Ok(Returned::error(Errno::E2BIG)),
    };
    let copied = from.and_then(|from| to.copy_from(0, from));
    Ok(Returned::status(copied.ok_or(Errno::EFAULT)))
}

/// `long bpf_dynptr_write(dynptr, offset, from, len, flags)`
pub(super) fn write(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let [_, offset, _, len, flags] = arguments.values;
    let dynptr = *run.held.dynptr(at(arguments, 0))?;
    let (offset, len) = (low_32(offset), low_32(len));
    let from = run.memory(arguments, 2, len, Need::Read)?;
    // KERNEL: flags are those of `bpf_skb_store_bytes`, where the packet is a socket buffer's (6.18).
    let is_skb = dynptr.source == DynptrSource::Packet && run.image.kind != ProgramKind::Xdp;
    let has_wrong_flags = flags != 0 && !(is_skb && flags <= 3);
    if dynptr.is_null() || dynptr.is_read_only || has_wrong_flags {
        return Ok(Returned::error(Errno::EINVAL));
    }
    let to = match dynptr.part(offset, len) {
        Some(part) => bytes(run, &dynptr, part, Need::Both)?,
        None => return Ok(Returned::error(Errno::E2BIG)),
    };
    let copied = to.and_then(|to| to.copy_from(0, from));
    Ok(Returned::status(copied.ok_or(Errno::EFAULT)))
}

/// `void *bpf_dynptr_data(dynptr, offset, len)`: the address of the bytes, or 0.
pub(super) fn data(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let [_, offset, len, ..] = arguments.values;
    let dynptr = *run.held.dynptr(at(arguments, 0))?;
    let part = dynptr.part(low_32(offset), low_32(len));
    let address = match dynptr.source {
        DynptrSource::Memory(start) | DynptrSource::Record(start) if !dynptr.is_read_only => {
            part.and_then(|(offset, _)| start.checked_add(offset))
        }
        // KERNEL: packets are lent by the functions on slices alone (6.18).
        _ => None,
    };
    Ok(match address {
        Some(address) => Returned::object(address, low_32(len), DATA),
        None => Returned::number(0),
    })
}

/// `int bpf_dynptr_from_skb(skb, flags, dynptr)`, and the same of XDP.
pub(crate) fn from_packet(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let [context, flags, ..] = arguments.values;
    let place = place(run, arguments, 2)?;
    let packet = run.packet_of(context)?;
    let result = if flags == 0 {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    };
    let dynptr = match result {
        // KERNEL: programs that may not write packets get a dynptr to read (6.18).
        Ok(()) => Dynptr::new(
            DynptrSource::Packet,
            packet.len(),
            !may_write_packets(run.image.kind),
        ),
        Err(_) => Dynptr::NULL,
    };
    run.held.set_dynptr(place, dynptr)?;
    Ok(Returned::status(result))
}

/// `void *bpf_dynptr_slice(dynptr, offset, buffer, len)`: the address of the bytes, those of a copy in the buffer, or 0.
pub(crate) fn slice(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let dynptr = *run.held.dynptr(at(arguments, 0))?;
    lend(run, arguments, &dynptr)
}

/// `void *bpf_dynptr_slice_rdwr(dynptr, offset, buffer, len)`: the same for writing.
pub(crate) fn slice_to_write(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    let dynptr = *run.held.dynptr(at(arguments, 0))?;
    if dynptr.is_read_only {
        return Ok(Returned::number(0));
    }
    lend(run, arguments, &dynptr)
}

fn lend(run: &Run<'_>, arguments: &Arguments, dynptr: &Dynptr) -> Result<Returned, FaultKind> {
    let [_, offset, buffer, len, _] = arguments.values;
    let len = low_32(len);
    let Some((offset, _)) = dynptr
        .part(low_32(offset), len)
        .filter(|_| !dynptr.is_null())
    else {
        return Ok(Returned::number(0));
    };
    let address = match (dynptr.source, run.packet) {
        (DynptrSource::Memory(start) | DynptrSource::Record(start), _) => start.checked_add(offset),
        (DynptrSource::Packet, Some(packet)) => match packet.part(offset, len) {
            Some(from) if from.saturating_add(len) <= packet.end => Some(from),
            // What programs cannot reach directly is copied.
            Some(from) if buffer != 0 => {
                let to = run.memory(arguments, 2, len, Need::Write)?;
                let from = run.window.range(u64::from(from), len, Need::Read);
                let copied = from.and_then(|from| to.copy_from(0, from));
                copied.map(|()| low_32(buffer))
            }
            _ => None,
        },
        (DynptrSource::Null | DynptrSource::Packet, _) => None,
    };
    Ok(match address {
        Some(address) => Returned::object(address, len, DATA),
        None => Returned::number(0),
    })
}

/// `int bpf_dynptr_adjust(dynptr, start, end)`: what is left is from `start` to `end`.
pub(crate) fn adjust(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let [_, start, end, ..] = arguments.values;
    let (start, end) = (low_32(start), low_32(end));
    let dynptr = run.held.dynptr(at(arguments, 0))?;
    if dynptr.is_null() || start > end {
        return Ok(Returned::error(Errno::EINVAL));
    }
    if end > dynptr.size {
        return Ok(Returned::error(Errno::ERANGE));
    }
    dynptr.offset = dynptr.offset.saturating_add(start);
    dynptr.size = end - start;
    Ok(Returned::number(0))
}

/// `bool bpf_dynptr_is_null(dynptr)`
pub(crate) fn is_null(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let dynptr = run.held.dynptr(at(arguments, 0))?;
    Ok(Returned::number(u64::from(dynptr.is_null())))
}

/// `bool bpf_dynptr_is_rdonly(dynptr)`
pub(crate) fn is_read_only(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    let dynptr = run.held.dynptr(at(arguments, 0))?;
    let is_read_only = dynptr.is_read_only && !dynptr.is_null();
    Ok(Returned::number(u64::from(is_read_only)))
}

/// `u32 bpf_dynptr_size(dynptr)`
pub(crate) fn size(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let dynptr = run.held.dynptr(at(arguments, 0))?;
    Ok(if dynptr.is_null() {
        Returned::number(u64::from(low_32(Returned::error(Errno::EINVAL).value)))
    } else {
        Returned::number(u64::from(dynptr.size))
    })
}

/// `int bpf_dynptr_clone(dynptr, clone)`
pub(crate) fn clone(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let place = place(run, arguments, 1)?;
    let dynptr = *run.held.dynptr(at(arguments, 0))?;
    run.held.set_dynptr(place, dynptr)?;
    Ok(if dynptr.is_null() {
        Returned::error(Errno::EINVAL)
    } else {
        Returned::number(0)
    })
}

/// `int bpf_dynptr_copy(to, to_offset, from, from_offset, size)`
pub(crate) fn copy(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let [_, to_offset, _, from_offset, size] = arguments.values;
    let to = *run.held.dynptr(at(arguments, 0))?;
    let from = *run.held.dynptr(at(arguments, 2))?;
    if to.is_null() || from.is_null() || to.is_read_only {
        return Ok(Returned::error(Errno::EINVAL));
    }
    let parts = to
        .part(low_32(to_offset), low_32(size))
        .zip(from.part(low_32(from_offset), low_32(size)));
    let Some((to_part, from_part)) = parts else {
        return Ok(Returned::error(Errno::E2BIG));
    };
    let to = bytes(run, &to, to_part, Need::Both)?;
    let from = bytes(run, &from, from_part, Need::Read)?;
    let copied = to.zip(from).and_then(|(to, from)| {
        let mut buffer = vec![0; from.len()];
        from.copy_out(0, &mut buffer)?;
        to.copy_in(0, &buffer)
    });
    Ok(Returned::status(copied.ok_or(Errno::EFAULT)))
}

/// Whether programs of this kind may write packets directly.
fn may_write_packets(kind: ProgramKind) -> bool {
    matches!(
        kind,
        ProgramKind::Xdp
            | ProgramKind::SchedCls
            | ProgramKind::SchedAct
            | ProgramKind::LwtXmit
            | ProgramKind::SkSkb
            | ProgramKind::SkMsg
    )
}

/// The bytes of a part of what a dynptr stands for; `None` if they are gone.
fn bytes(
    run: &Run<'_>,
    dynptr: &Dynptr,
    (offset, len): (u32, u32),
    need: Need,
) -> Result<Option<SharedBytes>, FaultKind> {
    let address = match (dynptr.source, run.packet) {
        (DynptrSource::Memory(start) | DynptrSource::Record(start), _) => start.checked_add(offset),
        (DynptrSource::Packet, Some(packet)) => packet.part(offset, len),
        (DynptrSource::Null | DynptrSource::Packet, _) => None,
    };
    let bytes = address.map(|address| run.memory_at(u64::from(address), len, need));
    bytes.transpose()
}

/// The place of a dynptr, whose bytes must be the program's.
fn place(run: &Run<'_>, arguments: &Arguments, index: usize) -> Result<Place, FaultKind> {
    run.memory(arguments, index, STRUCT_BYTES, Need::Both)?;
    Ok(at(arguments, index))
}

fn at(arguments: &Arguments, index: usize) -> Place {
    Place(low_32(arguments.values[index]))
}
