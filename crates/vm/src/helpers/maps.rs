//! Helpers on maps: lookup, update, delete.

use twinbpf_object::{Errno, MapKind};
use twinbpf_shm::SharedBytes;

use crate::fault::FaultKind;
use crate::maps::{LiveMap, Source};
use crate::provenance::Provenance;
use crate::run::{Arguments, Returned, Run};
use crate::semantics::low_32;
use crate::window::Need;

/// `void *bpf_map_lookup_elem(map, key)`: the address of the value, or 0. Of a map of maps, the map.
pub(super) fn lookup(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let map = run.map(arguments, 0)?;
    let key = run.memory(arguments, 1, map.key_size(), Need::Read)?;
    if map.holds_maps() {
        let found = map.lookup_map(key);
        return Ok(found.map_or(Returned::number(0), |map| Returned {
            value: u64::from(run.hold_map(map)),
            provenance: Provenance::Handle,
        }));
    }
    Ok(match map.lookup_address(key, run.slot) {
        Some(address) => Returned {
            value: u64::from(address),
            provenance: run.provenance_of_value(map, address),
        },
        None => Returned::number(0),
    })
}

/// `long bpf_map_update_elem(map, key, value, flags)`: 0 or a negative error number.
pub(super) fn update(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let map = run.map(arguments, 0)?;
    let key = run.memory(arguments, 1, map.key_size(), Need::Read)?;
    let value = run.memory(arguments, 2, map.value_size(), Need::Read)?;
    let [.., flags, _] = arguments.values;
    let result = update_map(map, (key, value), flags, run.slot);
    Ok(Returned::status(result))
}

/// The update itself, by a program on this CPU slot, once its arguments are checked.
pub(crate) fn update_map(
    map: &LiveMap,
    element: (SharedBytes, SharedBytes),
    flags: u64,
    cpu: u32,
) -> Result<(), Errno> {
    // KERNEL: the flag BPF_F_LOCK (4) needs a spin lock in the value; without one it is EINVAL (6.18).
    if flags > 2 {
        return Err(Errno::EINVAL);
    }
    map.update_from_window(element, flags, cpu)
}

/// `long bpf_map_delete_elem(map, key)`: 0 or a negative error number.
pub(super) fn delete(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let map = run.map(arguments, 0)?;
    let key = run.memory(arguments, 1, map.key_size(), Need::Read)?;
    Ok(Returned::status(map.delete_from_window(key)))
}

/// `void *bpf_map_lookup_percpu_elem(map, key, cpu)`: the address of another CPU slot's value, or 0.
pub(super) fn lookup_percpu(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    let map = run.map(arguments, 0)?;
    let key = run.memory(arguments, 1, map.key_size(), Need::Read)?;
    let cpu = low_32(arguments.values[2]);
    let address = if cpu < run.common.surroundings.cpu_slots && map.spec().kind.is_per_cpu() {
        map.lookup_address(key, cpu)
    } else {
        None
    };
    Ok(match address {
        Some(address) => Returned {
            value: u64::from(address),
            provenance: run.provenance_of_value(map, address),
        },
        None => Returned::number(0),
    })
}

/// `void *bpf_get_local_storage(map, flags)`: the address of the value, which is always there.
pub(super) fn local_storage(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    let [value, ..] = arguments.values;
    let map = run.map(arguments, 0)?;
    let address = map
        .local_address(run.slot)
        .ok_or(FaultKind::NotAMap { value })?;
    Ok(Returned {
        value: u64::from(address),
        provenance: run.provenance_of_value(map, address),
    })
}

/// `long bpf_map_push_elem(map, value, flags)`: 0 or a negative error number.
pub(super) fn push(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let map = run.map(arguments, 0)?;
    let value = run.memory(arguments, 1, map.value_size(), Need::Read)?;
    let result = map.push(Source::Window(value), arguments.values[2]);
    Ok(Returned::status(result))
}

/// `long bpf_map_pop_elem(map, value)`: 0 or a negative error number.
pub(super) fn pop(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    take(run, arguments, true)
}

/// `long bpf_map_peek_elem(map, value)`: 0 or a negative error number. Bloom filters are asked for the value.
pub(super) fn peek(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    take(run, arguments, false)
}

/// KERNEL: from an empty queue or stack the value becomes zeros (6.18).
fn take(run: &Run<'_>, arguments: &Arguments, is_removed: bool) -> Result<Returned, FaultKind> {
    let map = run.map(arguments, 0)?;
    let value = run.memory(arguments, 1, map.value_size(), Need::Both)?;
    if map.spec().kind == MapKind::BloomFilter {
        let mut bytes = vec![0; value.len()];
        let copied = value.copy_out(0, &mut bytes);
        let peeked = copied.and_then(|()| map.bloom_peek(&bytes));
        return Ok(Returned::status(peeked.unwrap_or(Err(Errno::EFAULT))));
    }
    let result = map.pop(is_removed, |element| {
        value.copy_in(0, element).ok_or(Errno::EFAULT)
    });
    if result == Err(Errno::ENOENT) {
        value
            .zero(0, value.len())
            .ok_or(FaultKind::Unsupported("this value"))?;
    }
    Ok(Returned::status(result))
}

/// `s64 bpf_map_sum_elem_count(map)`: how many elements a hash has.
///
/// KERNEL: maps of other kinds are not counted and answer 0 (6.18).
pub(crate) fn count_elements(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    let elements = run.map(arguments, 0)?.snapshot(0);
    let count = elements.map_or(0, |elements| elements.len());
    Ok(Returned::number(count as u64))
}
