//! Objects that programs allocate, and the lists, trees and places in values that own them.
//!
//! Whoever passes an object on must hold it, and does not afterwards; whatever a run holds at its end is dropped.

use crate::fault::FaultKind;
use crate::objects::Head;
use crate::provenance::Provenance;
use crate::run::{Arguments, Returned, Run};
use crate::semantics::low_32;
use crate::window::Need;

/// Bytes of `struct bpf_list_head` and `struct bpf_rb_root`.
const HEAD_BYTES: u32 = 16;
/// What the checked interpreter calls an object.
const OBJECT: &str = "an object";
/// Something that is no object of this run's.
const NOT_HELD: FaultKind = FaultKind::NotHeld {
    what: "this object",
};

/// `void *bpf_obj_new_impl(type, ..)`: a new object of this type, or 0.
pub(crate) fn new(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let bytes = (run.type_bytes)(run, low_32(arguments.values[0]));
    match bytes.and_then(|bytes| run.common.objects.allocate(bytes)) {
        Some(address) => lend(run, address),
        None => Ok(Returned::number(0)),
    }
}

/// `void bpf_obj_drop_impl(object, ..)`
pub(crate) fn give_up(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let address = taken(run, arguments.values[0])?;
    run.common.objects.give_up(address);
    Ok(Returned::number(0))
}

/// `void *bpf_refcount_acquire_impl(object, ..)`
pub(crate) fn share(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let address = low_32(arguments.values[0]);
    match run.common.objects.share(address) {
        true => lend(run, address),
        false => Err(NOT_HELD),
    }
}

/// `int bpf_list_push_front_impl(head, node, ..)`
pub(crate) fn push_front(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    insert(run, arguments, 0)
}

/// `int bpf_list_push_back_impl(head, node, ..)`
pub(crate) fn push_back(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    insert(run, arguments, usize::MAX)
}

/// KERNEL: an object that is in a list already is dropped, and the answer is -EINVAL (6.18).
fn insert(
    run: &mut Run<'_>,
    arguments: &Arguments,
    position: usize,
) -> Result<Returned, FaultKind> {
    let head = head(run, arguments)?;
    let node = low_32(arguments.values[1]);
    let (object, _) = run.common.objects.at(node).ok_or(NOT_HELD)?;
    taken(run, u64::from(object))?;
    let inserted = run.common.objects.insert(head, node, position);
    if inserted.is_err() {
        run.common.objects.give_up(object);
    }
    Ok(Returned::status(inserted))
}

/// `struct bpf_list_node *bpf_list_pop_front(head)`
pub(crate) fn pop_front(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let head = head(run, arguments)?;
    let node = run
        .common
        .objects
        .remove(head, |nodes| (!nodes.is_empty()).then_some(0));
    owned_node(run, node)
}

/// `struct bpf_list_node *bpf_list_pop_back(head)`
pub(crate) fn pop_back(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let head = head(run, arguments)?;
    let node = run
        .common
        .objects
        .remove(head, |nodes| nodes.len().checked_sub(1));
    owned_node(run, node)
}

/// `bpf_list_front(head)` and `bpf_rbtree_first(root)`: the node, which stays there.
pub(crate) fn first(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let head = head(run, arguments)?;
    let node = run.common.objects.nodes(head).first().copied();
    Ok(node.map_or(Returned::number(0), |node| pointer(run, node)))
}

/// `struct bpf_list_node *bpf_list_back(head)`
pub(crate) fn last(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let head = head(run, arguments)?;
    let node = run.common.objects.nodes(head).last().copied();
    Ok(node.map_or(Returned::number(0), |node| pointer(run, node)))
}

/// `int bpf_rbtree_add_impl(root, node, less, ..)`: behind every node that is not larger, as `less` says.
pub(crate) fn add(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let root = head(run, arguments)?;
    let less = run.function(arguments, 2)?;
    let node = low_32(arguments.values[1]);
    let nodes = run.common.objects.nodes(root);
    let (mut from, mut to) = (0, nodes.len());
    while from < to {
        let middle = from + (to - from) / 2;
        let mut handed_over = [Returned::NOTHING; 5];
        handed_over[0] = pointer(run, node);
        handed_over[1] = pointer(run, nodes[middle]);
        match run.call_function(less, handed_over)? {
            0 => from = middle + 1,
            _ => to = middle,
        }
    }
    insert(run, arguments, from)
}

/// `struct bpf_rb_node *bpf_rbtree_remove(root, node)`: the node, or 0 if it is not in the tree.
pub(crate) fn remove(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let root = head(run, arguments)?;
    let wanted = low_32(arguments.values[1]);
    let node = run
        .common
        .objects
        .remove(root, |nodes| nodes.iter().position(|node| *node == wanted));
    owned_node(run, node)
}

/// `void *bpf_kptr_xchg(place, object)`: what the place owned.
pub(super) fn exchange(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let [place, new, ..] = arguments.values;
    let word = run.memory(arguments, 0, 8, Need::Both)?;
    if !place.is_multiple_of(8) {
        return Err(FaultKind::Misaligned {
            address: place,
            size: 8,
        });
    }
    let new = match new {
        0 => None,
        _ => Some(taken(run, new)?),
    };
    match run.common.objects.exchange(low_32(place), word, new) {
        Some(old) => lend(run, old),
        None => Ok(Returned::number(0)),
    }
}

/// Takes an object from the run, which must hold it.
fn taken(run: &mut Run<'_>, address: u64) -> Result<u32, FaultKind> {
    let address = low_32(address);
    match run.held.take_object(address) {
        true => Ok(address),
        false => Err(NOT_HELD),
    }
}

/// Makes the run hold an object, and gives its address out.
fn lend(run: &mut Run<'_>, address: u32) -> Result<Returned, FaultKind> {
    let heap = &run.common.objects;
    if !run.held.hold_object(heap, address) {
        run.common.objects.give_up(address);
        return Err(FaultKind::Unsupported("so many objects at a time"));
    }
    Ok(pointer(run, address))
}

/// Makes the run hold the object of a node, and gives the node's address out.
fn owned_node(run: &mut Run<'_>, node: Option<u32>) -> Result<Returned, FaultKind> {
    let Some(node) = node else {
        return Ok(Returned::number(0));
    };
    let (object, _) = run.common.objects.at(node).ok_or(NOT_HELD)?;
    lend(run, object)?;
    Ok(pointer(run, node))
}

/// An address in an object.
fn pointer(run: &Run<'_>, address: u32) -> Returned {
    Returned {
        value: u64::from(address),
        provenance: match run.common.objects.at(address) {
            Some((start, len)) => Provenance::object(start, len, OBJECT),
            None => Provenance::Number,
        },
    }
}

fn head(run: &Run<'_>, arguments: &Arguments) -> Result<Head, FaultKind> {
    let word = run.memory(arguments, 0, HEAD_BYTES, Need::Both)?;
    let address = low_32(arguments.values[0]);
    if !address.is_multiple_of(8) {
        return Err(FaultKind::Misaligned {
            address: u64::from(address),
            size: 8,
        });
    }
    Ok(Head { address, word })
}
