//! Helpers on maps: lookup, update, delete.

use twinbpf_object::Errno;

use crate::fault::FaultKind;
use crate::run::{Arguments, Returned, Run};
use crate::window::Need;

/// `void *bpf_map_lookup_elem(map, key)`: the address of the value, or 0.
pub(super) fn lookup(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let map = run.map(arguments, 0)?;
    let key = run.memory(arguments, 1, map.key_size(), Need::Read)?;
    Ok(match map.lookup_address(key) {
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
    // KERNEL: the flag BPF_F_LOCK (4) needs a spin lock in the value; without one it is EINVAL (6.18).
    let [.., flags, _] = arguments.values;
    let result = if flags > 2 {
        Err(Errno::EINVAL)
    } else {
        map.update_from_window(key, value, flags)
    };
    Ok(Returned::status(result))
}

/// `long bpf_map_delete_elem(map, key)`: 0 or a negative error number.
pub(super) fn delete(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let map = run.map(arguments, 0)?;
    let key = run.memory(arguments, 1, map.key_size(), Need::Read)?;
    Ok(Returned::status(map.delete_from_window(key)))
}
