//! Helpers on storage that belongs to tasks and sockets.

use twinbpf_object::{Errno, MapKind};

use crate::fault::FaultKind;
use crate::handles::TASK;
use crate::maps::{Owned, Owner};
use crate::run::{Arguments, Returned, Run};
use crate::window::Need;

/// In the flags: the value is made if it is not there.
const CREATE: u64 = 1;

/// `struct task_struct *bpf_get_current_task_btf()`: a number that stands for the task; nothing can be read through it.
pub(super) fn current_task(_: &mut Run<'_>, _: &Arguments) -> Result<Returned, FaultKind> {
    Ok(Returned::number(u64::from(TASK)))
}

/// `void *bpf_task_storage_get(map, task, value, flags)`
pub(super) fn of_task(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let owner = task(run, arguments)?;
    get(run, arguments, (MapKind::TaskStorage, owner))
}

/// `long bpf_task_storage_delete(map, task)`
pub(super) fn delete_of_task(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    let owner = task(run, arguments)?;
    delete(run, arguments, (MapKind::TaskStorage, owner))
}

/// `void *bpf_sk_storage_get(map, socket, value, flags)`
pub(super) fn of_socket(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let owner = socket(arguments);
    get(run, arguments, (MapKind::SkStorage, owner))
}

/// `long bpf_sk_storage_delete(map, socket)`
pub(super) fn delete_of_socket(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    let owner = socket(arguments);
    delete(run, arguments, (MapKind::SkStorage, owner))
}

/// The task that a program means; `None` for a null pointer.
fn task(run: &Run<'_>, arguments: &Arguments) -> Result<Option<Owner>, FaultKind> {
    match arguments.values[1] {
        0 => Ok(None),
        value if value == u64::from(TASK) => Ok(Some(Owner::Task(run.common.surroundings.pid))),
        _ => Err(FaultKind::NotHeld { what: "this task" }),
    }
}

/// A vm knows no socket but that of a test run.
fn socket(arguments: &Arguments) -> Option<Owner> {
    (arguments.values[1] != 0).then_some(Owner::TestSocket)
}

fn get(
    run: &mut Run<'_>,
    arguments: &Arguments,
    (kind, owner): (MapKind, Option<Owner>),
) -> Result<Returned, FaultKind> {
    let [_, _, value, flags, _] = arguments.values;
    let map = run.map(arguments, 0)?;
    let storage = storage(map.owned(), kind, arguments)?;
    let Some(owner) = owner.filter(|_| flags & !CREATE == 0) else {
        return Ok(Returned::number(0));
    };
    let initial = match (flags, value) {
        (CREATE, 0) => Some(None),
        (CREATE, _) => Some(Some(run.memory(
            arguments,
            2,
            map.value_size(),
            Need::Read,
        )?)),
        _ => None,
    };
    Ok(match storage.address(owner, initial) {
        Some(address) => Returned {
            value: u64::from(address),
            provenance: run.provenance_of_value(map, address),
        },
        None => Returned::number(0),
    })
}

/// KERNEL: without an owner it is EINVAL (6.18).
fn delete(
    run: &mut Run<'_>,
    arguments: &Arguments,
    (kind, owner): (MapKind, Option<Owner>),
) -> Result<Returned, FaultKind> {
    let map = run.map(arguments, 0)?;
    let storage = storage(map.owned(), kind, arguments)?;
    let removed = owner.map_or(Err(Errno::EINVAL), |owner| storage.remove(owner));
    Ok(Returned::status(removed))
}

fn storage<'m>(
    found: Option<&'m Owned>,
    kind: MapKind,
    arguments: &Arguments,
) -> Result<&'m Owned, FaultKind> {
    let [value, ..] = arguments.values;
    let storage = found.filter(|storage| storage.is_of(kind));
    storage.ok_or(FaultKind::NotAMap { value })
}
