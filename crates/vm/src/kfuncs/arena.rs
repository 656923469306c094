//! Pages of arenas for programs.

use twinbpf_object::Errno;

use crate::fault::FaultKind;
use crate::maps::Arena;
use crate::run::{Arguments, Returned, Run};
use crate::semantics::low_32;
use crate::window::user_address;

/// `void *bpf_arena_alloc_pages(map, address, count, node, flags)`: the address for user space, or 0.
pub(super) fn take(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let [_, address, count, _, flags] = arguments.values;
    let (arena, count) = (arena(run, arguments)?, low_32(count));
    let at = (address != 0).then_some(low_32(address));
    let start = match (flags, count) {
        (0, 1..) => arena.take(at, count),
        _ => None,
    };
    let address = start.map(user_address);
    Ok(Returned::number(address.unwrap_or(0)))
}

/// `int bpf_arena_reserve_pages(map, address, count)`
pub(super) fn reserve(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let [_, address, count, ..] = arguments.values;
    let (arena, count) = (arena(run, arguments)?, low_32(count));
    let reserved = match count {
        0 => Ok::<(), Errno>(()),
        _ => arena.reserve(low_32(address), count),
    };
    Ok(Returned::status(reserved))
}

/// `void bpf_arena_free_pages(map, address, count)`
pub(super) fn give_back(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let [_, address, count, ..] = arguments.values;
    let (arena, count) = (arena(run, arguments)?, low_32(count));
    if address != 0 && count > 0 {
        arena.give_back(low_32(address), count);
    }
    Ok(Returned::number(0))
}

fn arena<'r>(run: &'r Run<'_>, arguments: &Arguments) -> Result<&'r Arena, FaultKind> {
    let [value, ..] = arguments.values;
    let map = run.map(arguments, 0)?;
    map.arena().ok_or(FaultKind::NotAMap { value })
}
