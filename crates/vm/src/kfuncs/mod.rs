//! Kernel functions (kfuncs): what programs call by name instead of by number. The vm's own, and those of its host.
//!
//! Both look like helpers to the executors: a run and five arguments, a value or a fault. The vm's own are rows of one table.
//! What a process cannot answer honestly is missing here on purpose, and linking names it.

mod arena;
mod host;
mod iterators;
mod sections;
mod strings;

use std::collections::BTreeMap;
use std::sync::Arc;

use twinbpf_object::target::Prototype;

use crate::helpers::{Helper, count_elements, dynptr, objects, timers};
use crate::run::{Kfunc, KfuncBody};

pub use host::{Answer, HostCall, HostClosure, HostFault, HostFunction, HostNumber};

/// One of the vm's own functions.
#[derive(Debug)]
struct Row {
    name: &'static str,
    /// How many of the five arguments it looks at.
    arguments: u8,
    call: Helper,
}

/// Functions of the host by name.
pub(crate) type HostFunctions = BTreeMap<String, Arc<HostFunction>>;

/// The function of this name.
pub(crate) fn find(host: &HostFunctions, name: &str) -> Option<Kfunc> {
    let own = TABLE.iter().find(|row| row.name == name).map(|row| Kfunc {
        arguments: row.arguments,
        body: KfuncBody::Own(row.call),
    });
    own.or_else(|| {
        let function = Arc::clone(host.get(name)?);
        Some(Kfunc {
            arguments: u8::try_from(function.prototype().parameters.len()).unwrap_or(u8::MAX),
            body: KfuncBody::Host(Arc::new(move |run, arguments| {
                function.call(run, arguments)
            })),
        })
    })
}

/// Names and prototypes of everything that programs can call by name; prototypes of the vm's own are not compared.
pub(crate) fn offers(host: &HostFunctions) -> BTreeMap<String, Option<Prototype>> {
    let own = TABLE.iter().map(|row| (row.name.to_owned(), None));
    let host = host
        .iter()
        .map(|(name, function)| (name.clone(), Some(function.prototype().clone())));
    own.chain(host).collect()
}

/// Every kernel function the vm has, by name.
#[rustfmt::skip]
static TABLE: &[Row] = &[
    Row { name: "bpf_arena_alloc_pages", arguments: 5, call: arena::take },
    Row { name: "bpf_arena_free_pages", arguments: 3, call: arena::give_back },
    Row { name: "bpf_arena_reserve_pages", arguments: 3, call: arena::reserve },
    Row { name: "bpf_dynptr_adjust", arguments: 3, call: dynptr::adjust },
    Row { name: "bpf_dynptr_clone", arguments: 2, call: dynptr::clone },
    Row { name: "bpf_dynptr_copy", arguments: 5, call: dynptr::copy },
    Row { name: "bpf_dynptr_from_skb", arguments: 3, call: dynptr::from_packet },
    Row { name: "bpf_dynptr_from_xdp", arguments: 3, call: dynptr::from_packet },
    Row { name: "bpf_dynptr_is_null", arguments: 1, call: dynptr::is_null },
    Row { name: "bpf_dynptr_is_rdonly", arguments: 1, call: dynptr::is_read_only },
    Row { name: "bpf_dynptr_size", arguments: 1, call: dynptr::size },
    Row { name: "bpf_dynptr_slice", arguments: 4, call: dynptr::slice },
    Row { name: "bpf_dynptr_slice_rdwr", arguments: 4, call: dynptr::slice_to_write },
    Row { name: "bpf_iter_bits_destroy", arguments: 1, call: iterators::destroy },
    Row { name: "bpf_iter_bits_new", arguments: 3, call: iterators::new_bits },
    Row { name: "bpf_iter_bits_next", arguments: 1, call: iterators::next_bit },
    Row { name: "bpf_iter_num_destroy", arguments: 1, call: iterators::destroy },
    Row { name: "bpf_iter_num_new", arguments: 3, call: iterators::new_numbers },
    Row { name: "bpf_iter_num_next", arguments: 1, call: iterators::next_number },
    Row { name: "bpf_list_back", arguments: 1, call: objects::last },
    Row { name: "bpf_list_front", arguments: 1, call: objects::first },
    Row { name: "bpf_list_pop_back", arguments: 1, call: objects::pop_back },
    Row { name: "bpf_list_pop_front", arguments: 1, call: objects::pop_front },
    Row { name: "bpf_list_push_back_impl", arguments: 2, call: objects::push_back },
    Row { name: "bpf_list_push_front_impl", arguments: 2, call: objects::push_front },
    Row { name: "bpf_local_irq_restore", arguments: 1, call: sections::restore_interrupts },
    Row { name: "bpf_local_irq_save", arguments: 1, call: sections::save_interrupts },
    Row { name: "bpf_map_sum_elem_count", arguments: 1, call: count_elements },
    Row { name: "bpf_obj_drop_impl", arguments: 1, call: objects::give_up },
    Row { name: "bpf_obj_new_impl", arguments: 1, call: objects::new },
    Row { name: "bpf_preempt_disable", arguments: 0, call: sections::disable_preemption },
    Row { name: "bpf_preempt_enable", arguments: 0, call: sections::enable_preemption },
    Row { name: "bpf_rbtree_add_impl", arguments: 3, call: objects::add },
    Row { name: "bpf_rbtree_first", arguments: 1, call: objects::first },
    Row { name: "bpf_rbtree_remove", arguments: 2, call: objects::remove },
    Row { name: "bpf_rcu_read_lock", arguments: 0, call: sections::begin_reading },
    Row { name: "bpf_rcu_read_unlock", arguments: 0, call: sections::end_reading },
    Row { name: "bpf_refcount_acquire_impl", arguments: 1, call: objects::share },
    Row { name: "bpf_strchr", arguments: 2, call: strings::first },
    Row { name: "bpf_strchrnul", arguments: 2, call: strings::first_or_end },
    Row { name: "bpf_strcmp", arguments: 2, call: strings::compare },
    Row { name: "bpf_strcspn", arguments: 2, call: strings::span_without },
    Row { name: "bpf_strlen", arguments: 1, call: strings::length },
    Row { name: "bpf_strnchr", arguments: 3, call: strings::first_up_to },
    Row { name: "bpf_strnlen", arguments: 2, call: strings::length_up_to },
    Row { name: "bpf_strnstr", arguments: 3, call: strings::part_up_to },
    Row { name: "bpf_strrchr", arguments: 2, call: strings::last },
    Row { name: "bpf_strspn", arguments: 2, call: strings::span },
    Row { name: "bpf_strstr", arguments: 2, call: strings::part },
    Row { name: "bpf_throw", arguments: 1, call: sections::throw },
    Row { name: "bpf_wq_init", arguments: 3, call: timers::init_work },
    Row { name: "bpf_wq_set_callback_impl", arguments: 3, call: timers::set_callback },
    Row { name: "bpf_wq_start", arguments: 2, call: timers::start_work },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_stand_in_the_order_of_their_names() {
        assert!(TABLE.is_sorted_by(|before, after| before.name < after.name));
    }
}
