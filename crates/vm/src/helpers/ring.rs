//! Helpers that send records to the host: ring buffers and perf event arrays.

use twinbpf_object::Errno;

use crate::fault::FaultKind;
use crate::held::{Dynptr, DynptrSource, Place};
use crate::maps::{LiveMap, Record, Ring};
use crate::run::{Arguments, Returned, Run};
use crate::semantics::low_32;
use crate::window::Need;

/// Wake-up flags of ring buffers.
const WAKEUP_FLAGS: u64 = 3;
/// In the flags of perf output: the index.
const INDEX_MASK: u64 = 0xffff_ffff;
/// In the flags of perf output: how many bytes of the packet follow the record.
const PACKET_BYTES_MASK: u64 = 0xf_ffff << 32;
/// Most records that one pass over a user ring buffer hands out.
const MOST_DRAINED: u64 = 128 << 10;
/// Bytes of `struct bpf_dynptr`.
const DYNPTR_BYTES: u32 = 16;
/// What the checked interpreter calls a reserved record.
const RECORD: &str = "a ring buffer record";

/// `long bpf_ringbuf_output(ring, data, size, flags)`
pub(super) fn output(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let [_, _, size, flags, _] = arguments.values;
    let data = run.memory(arguments, 1, low_32(size), Need::Read)?;
    let mut bytes = vec![0; data.len()];
    data.copy_out(0, &mut bytes)
        .ok_or(FaultKind::Unsupported("this record"))?;
    let ring = ring(run, arguments)?;
    if flags & !WAKEUP_FLAGS != 0 {
        return Ok(Returned::error(Errno::EINVAL));
    }
    Ok(Returned::status(ring.output(&bytes, flags, run.slot)))
}

/// `void *bpf_ringbuf_reserve(ring, size, flags)`
pub(super) fn reserve(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let [value, size, flags, ..] = arguments.values;
    let map = run.map(arguments, 0)?;
    let handle = map.handle();
    let ring = map.ring().ok_or(FaultKind::NotAMap { value })?;
    if flags != 0 {
        return Ok(Returned::number(0));
    }
    let Some(record) = ring.reserve(size, run.slot) else {
        return Ok(Returned::number(0));
    };
    keep(run, arguments, handle, record)?;
    Ok(Returned::object(record.address, record.len, RECORD))
}

/// Notes a record of the ring buffer that the first argument names.
pub(super) fn keep(
    run: &mut Run<'_>,
    arguments: &Arguments,
    handle: u32,
    record: Record,
) -> Result<(), FaultKind> {
    let ring = match run.held.ring(handle) {
        Some(ring) => ring,
        None => {
            let map = run.map(arguments, 0)?.clone();
            run.held.hold_ring(map)
        }
    };
    run.held.keep_record(ring, record);
    Ok(())
}

/// The address of a new record of a ring buffer that the program names itself, 0 if there is no room: `bpf_ringbuf_reserve` of compiled
/// code.
#[inline(always)]
pub(crate) fn reserve_in(run: &mut Run<'_>, map: &LiveMap, size: u64) -> Result<u64, FaultKind> {
    let handle = map.handle();
    let value = u64::from(handle);
    let ring = map.ring().ok_or(FaultKind::NotAMap { value })?;
    let Some(record) = ring.reserve(size, run.slot) else {
        return Ok(0);
    };
    let ring = match run.held.ring(handle) {
        Some(ring) => ring,
        None => run.held.hold_ring(map.clone()),
    };
    run.held.keep_record(ring, record);
    Ok(u64::from(record.address))
}

/// `void bpf_ringbuf_submit(record, flags)`
#[inline]
pub(super) fn submit(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    commit(run, arguments, false)
}

/// `void bpf_ringbuf_discard(record, flags)`
#[inline]
pub(super) fn discard(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    commit(run, arguments, true)
}

#[inline(always)]
fn commit(
    run: &mut Run<'_>,
    arguments: &Arguments,
    is_discarded: bool,
) -> Result<Returned, FaultKind> {
    let [record, flags, ..] = arguments.values;
    let taken = run.held.take_record(low_32(record));
    let (ring, record) = taken.ok_or(FaultKind::NotHeld { what: RECORD })?;
    ring.commit(record, is_discarded, flags);
    Ok(Returned::number(0))
}

/// `u64 bpf_ringbuf_query(ring, question)`
pub(super) fn query(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let ring = ring(run, arguments)?;
    Ok(Returned::number(ring.query(arguments.values[1])))
}

/// `long bpf_user_ringbuf_drain(ring, callback, context, flags)`: how many records the callback got.
///
/// KERNEL: the callback ends the pass by answering 1, and one pass hands out at most 131,072 records (6.18).
pub(super) fn drain(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let [value, _, _, flags, _] = arguments.values;
    let map = run.map(arguments, 0)?.clone();
    let ring = map.user_ring().ok_or(FaultKind::NotAMap { value })?;
    let callback = run.function(arguments, 1)?;
    if flags & !WAKEUP_FLAGS != 0 {
        return Ok(Returned::error(Errno::EINVAL));
    }
    let Some(draining) = ring.drain() else {
        return Ok(Returned::error(Errno::EBUSY));
    };
    let (at, _) = run.scratch()?;
    let mut count = 0;
    while count < MOST_DRAINED {
        let Some((address, len)) = draining.next() else {
            break;
        };
        let dynptr = Dynptr::new(DynptrSource::Memory(address), len, false);
        run.held.set_dynptr(Place(at), dynptr)?;
        let handed_over = [
            Returned::object(at, DYNPTR_BYTES, "a dynptr"),
            arguments.get(2),
            Returned::NOTHING,
            Returned::NOTHING,
            Returned::NOTHING,
        ];
        count += 1;
        if run.call_function(callback, handed_over)? != 0 {
            break;
        }
    }
    Ok(Returned::number(count))
}

fn ring<'r>(run: &'r Run<'_>, arguments: &Arguments) -> Result<&'r Ring, FaultKind> {
    let [value, ..] = arguments.values;
    let map = run.map(arguments, 0)?;
    map.ring().ok_or(FaultKind::NotAMap { value })
}

/// `long bpf_perf_event_output(context, events, flags, data, size)`
///
/// KERNEL: an index other than the present CPU's, of an event that its reader opened there, is EOPNOTSUPP (6.18).
pub(super) fn perf_output(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let [_, value, flags, _, size] = arguments.values;
    let data = run.memory(arguments, 3, low_32(size), Need::Read)?;
    let map = run.map(arguments, 1)?;
    let events = map.events().ok_or(FaultKind::NotAMap { value })?;
    if flags & !(INDEX_MASK | PACKET_BYTES_MASK) != 0 {
        return Ok(Returned::error(Errno::EINVAL));
    }
    let mut record = vec![0; data.len()];
    data.copy_out(0, &mut record)
        .ok_or(FaultKind::Unsupported("this record"))?;
    let packet_bytes = low_32(flags >> 32);
    if packet_bytes > 0 {
        let Some(bytes) = run.packet_bytes(packet_bytes) else {
            return Ok(Returned::error(Errno::EFAULT));
        };
        record.extend(bytes);
    }
    let index = match flags & INDEX_MASK {
        INDEX_MASK => run.slot,
        index => low_32(index),
    };
    let result = match events.output(index, &record) {
        Ok(()) if index != run.slot => Err(Errno::EOPNOTSUPP),
        result => result,
    };
    Ok(Returned::status(result))
}
