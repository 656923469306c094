//! BPF helpers: what a program can ask the vm for.
//!
//! A helper gets the run and five arguments and answers a value or a fault. Memory arguments are window addresses: they are
//! checked, copied once, then used. A helper that cannot be answered honestly in a process is missing here on purpose;
//! loading a program that calls it fails and names it.

mod callbacks;
mod checksum;
pub(crate) mod dynptr;
mod locks;
mod maps;
mod memory;
mod network;
pub(crate) mod objects;
mod packet;
mod reroute;
mod reshape;
mod ring;
mod room;
mod storage;
mod system;
mod text;
pub(crate) mod timers;

pub(crate) use callbacks::MOST_ROUNDS;
pub(crate) use maps::{count_elements, update_map};
pub(crate) use ring::reserve_in;

use twinbpf_object::Code;
use twinbpf_object::core::UNAVAILABLE_HELPER;

use crate::fault::FaultKind;
use crate::run::{Arguments, Returned, Run};

/// A helper.
pub(crate) type Helper = fn(&mut Run<'_>, &Arguments) -> Result<Returned, FaultKind>;

/// One helper of the vm.
pub(crate) struct Row {
    /// The kernel's number.
    pub(crate) number: i32,
    /// How many of the five arguments it looks at.
    pub(crate) arguments: u8,
    /// What it does.
    pub(crate) call: Helper,
}

/// The number of `bpf_map_lookup_elem`, which compiled code may carry out itself.
pub(crate) const LOOKUP: i32 = 1;
/// The number of `bpf_map_update_elem`.
pub(crate) const UPDATE: i32 = 2;
/// The number of `bpf_map_delete_elem`.
pub(crate) const DELETE: i32 = 3;

/// The number of `bpf_ringbuf_reserve`.
pub(crate) const RESERVE: i32 = 131;

/// The number of `bpf_loop`, whose rounds compiled code may call itself.
pub(crate) const LOOP: i32 = 181;

/// What linking puts where the target has nothing: reaching it ends the run. Which thing is missing the program knows.
fn unavailable(_: &mut Run<'_>, _: &Arguments) -> Result<Returned, FaultKind> {
    let reason = "the target lacks something that the program needs".to_owned();
    let code = Code::CORE_MISSING;
    Err(FaultKind::Unavailable { code, reason })
}

/// Position of the helper with this number in [`TABLE`].
pub(crate) fn position(number: i32) -> Option<usize> {
    TABLE.iter().position(|row| row.number == number)
}

/// Every helper the vm has. Numbers: `linux/bpf.h`.
#[rustfmt::skip]
pub(crate) const TABLE: &[Row] = &[
    Row { number: LOOKUP, arguments: 2, call: maps::lookup },
    Row { number: UPDATE, arguments: 4, call: maps::update },
    Row { number: DELETE, arguments: 2, call: maps::delete },
    Row { number: 4, arguments: 3, call: memory::probe_read },
    Row { number: 5, arguments: 0, call: system::ktime_get_ns },
    Row { number: 6, arguments: 2, call: text::trace_printk },
    Row { number: 7, arguments: 0, call: system::get_prandom_u32 },
    Row { number: 8, arguments: 0, call: system::get_smp_processor_id },
    Row { number: 9, arguments: 5, call: packet::skb_store_bytes },
    Row { number: 10, arguments: 5, call: checksum::replace_l3 },
    Row { number: 11, arguments: 5, call: checksum::replace_l4 },
    Row { number: 13, arguments: 3, call: reroute::clone_redirect },
    Row { number: 14, arguments: 0, call: system::get_current_pid_tgid },
    Row { number: 15, arguments: 0, call: system::get_current_uid_gid },
    Row { number: 16, arguments: 2, call: system::get_current_comm },
    Row { number: 17, arguments: 1, call: network::unset },
    Row { number: 18, arguments: 3, call: reshape::skb_vlan_push },
    Row { number: 19, arguments: 1, call: reshape::skb_vlan_pop },
    Row { number: 20, arguments: 4, call: reroute::tunnel_key },
    Row { number: 21, arguments: 4, call: reroute::set_tunnel_key },
    Row { number: 23, arguments: 2, call: packet::redirect },
    Row { number: 24, arguments: 1, call: network::unset },
    Row { number: 25, arguments: 5, call: ring::perf_output },
    Row { number: 26, arguments: 4, call: packet::skb_load_bytes },
    Row { number: 28, arguments: 5, call: checksum::diff },
    Row { number: 29, arguments: 3, call: network::no_tunnel },
    Row { number: 30, arguments: 3, call: reroute::set_tunnel_options },
    Row { number: 31, arguments: 3, call: reroute::change_protocol },
    Row { number: 32, arguments: 2, call: reshape::skb_change_type },
    Row { number: 34, arguments: 1, call: reroute::hash },
    Row { number: 38, arguments: 3, call: reshape::skb_change_tail },
    Row { number: 39, arguments: 2, call: reshape::skb_pull_data },
    Row { number: 40, arguments: 2, call: reshape::csum_update },
    Row { number: 41, arguments: 1, call: reshape::set_hash_invalid },
    Row { number: 42, arguments: 0, call: system::get_numa_node_id },
    Row { number: 43, arguments: 3, call: reshape::skb_change_head },
    Row { number: 44, arguments: 2, call: reshape::xdp_adjust_head },
    Row { number: 45, arguments: 3, call: memory::probe_read_str },
    Row { number: 48, arguments: 2, call: reshape::set_hash },
    Row { number: 50, arguments: 4, call: room::adjust },
    Row { number: 51, arguments: 3, call: packet::redirect_map },
    Row { number: 54, arguments: 2, call: reshape::xdp_adjust_meta },
    Row { number: 65, arguments: 2, call: reshape::xdp_adjust_tail },
    Row { number: 66, arguments: 5, call: network::no_transformation },
    Row { number: 68, arguments: 5, call: packet::skb_load_bytes_relative },
    Row { number: 69, arguments: 4, call: packet::fib_lookup },
    Row { number: 79, arguments: 1, call: system::packet_cgroup },
    Row { number: 80, arguments: 0, call: system::current_cgroup },
    Row { number: 81, arguments: 2, call: maps::local_storage },
    Row { number: 83, arguments: 2, call: system::packet_cgroup_above },
    Row { number: 84, arguments: 5, call: packet::no_socket },
    Row { number: 85, arguments: 5, call: packet::no_socket },
    Row { number: 86, arguments: 1, call: packet::no_socket },
    Row { number: 87, arguments: 3, call: maps::push },
    Row { number: 88, arguments: 2, call: maps::pop },
    Row { number: 89, arguments: 2, call: maps::peek },
    Row { number: 93, arguments: 1, call: locks::lock },
    Row { number: 94, arguments: 1, call: locks::unlock },
    Row { number: 95, arguments: 1, call: packet::sk_fullsock },
    Row { number: 96, arguments: 1, call: packet::no_socket },
    Row { number: 97, arguments: 1, call: reshape::skb_ecn_set_ce },
    Row { number: 98, arguments: 1, call: packet::no_socket },
    Row { number: 99, arguments: 5, call: packet::no_socket },
    Row { number: 100, arguments: 5, call: network::not_listening },
    Row { number: 105, arguments: 4, call: memory::strtol },
    Row { number: 106, arguments: 4, call: memory::strtoul },
    Row { number: 107, arguments: 4, call: storage::of_socket },
    Row { number: 108, arguments: 2, call: storage::delete_of_socket },
    Row { number: 110, arguments: 5, call: network::not_listening },
    Row { number: 112, arguments: 3, call: memory::probe_read_user },
    Row { number: 113, arguments: 3, call: memory::probe_read },
    Row { number: 114, arguments: 3, call: memory::probe_read_user },
    Row { number: 115, arguments: 3, call: memory::probe_read_str },
    Row { number: 118, arguments: 0, call: system::jiffies64 },
    Row { number: 122, arguments: 1, call: network::network_cookie },
    Row { number: 123, arguments: 1, call: system::current_cgroup_above },
    Row { number: 124, arguments: 3, call: network::assign_socket },
    Row { number: 125, arguments: 0, call: system::ktime_get_ns },
    Row { number: 128, arguments: 1, call: system::socket_cgroup },
    Row { number: 129, arguments: 2, call: system::socket_cgroup_above },
    Row { number: 130, arguments: 4, call: ring::output },
    Row { number: RESERVE, arguments: 3, call: ring::reserve },
    Row { number: 132, arguments: 2, call: ring::submit },
    Row { number: 133, arguments: 2, call: ring::discard },
    Row { number: 134, arguments: 2, call: ring::query },
    Row { number: 135, arguments: 2, call: network::checksum_level },
    Row { number: 136, arguments: 1, call: network::other_socket },
    Row { number: 137, arguments: 1, call: network::other_socket },
    Row { number: 138, arguments: 1, call: network::other_socket },
    Row { number: 139, arguments: 1, call: network::other_socket },
    Row { number: 140, arguments: 1, call: network::other_socket },
    Row { number: 151, arguments: 1, call: network::unset },
    Row { number: 152, arguments: 4, call: network::redirect_to_neighbour },
    Row { number: 155, arguments: 2, call: network::redirect_to_peer },
    Row { number: 156, arguments: 4, call: storage::of_task },
    Row { number: 157, arguments: 2, call: storage::delete_of_task },
    Row { number: 158, arguments: 0, call: storage::current_task },
    Row { number: 160, arguments: 0, call: system::ktime_get_ns },
    Row { number: 163, arguments: 5, call: network::check_mtu },
    Row { number: 164, arguments: 4, call: callbacks::for_each },
    Row { number: 165, arguments: 5, call: text::snprintf },
    Row { number: 169, arguments: 3, call: timers::init },
    Row { number: 170, arguments: 2, call: timers::set_callback },
    Row { number: 171, arguments: 3, call: timers::start },
    Row { number: 172, arguments: 1, call: timers::cancel },
    Row { number: 177, arguments: 4, call: text::trace_vprintk },
    Row { number: 178, arguments: 1, call: network::other_socket },
    Row { number: LOOP, arguments: 4, call: callbacks::repeat },
    Row { number: 182, arguments: 3, call: memory::strncmp },
    Row { number: 188, arguments: 1, call: packet::xdp_len },
    Row { number: 189, arguments: 4, call: packet::xdp_load_bytes },
    Row { number: 190, arguments: 4, call: packet::xdp_store_bytes },
    Row { number: 192, arguments: 3, call: network::set_time },
    Row { number: 194, arguments: 2, call: objects::exchange },
    Row { number: 195, arguments: 3, call: maps::lookup_percpu },
    Row { number: 196, arguments: 1, call: network::other_socket },
    Row { number: 197, arguments: 4, call: dynptr::from_memory },
    Row { number: 198, arguments: 4, call: dynptr::reserve },
    Row { number: 199, arguments: 2, call: dynptr::submit },
    Row { number: 200, arguments: 2, call: dynptr::discard },
    Row { number: 201, arguments: 5, call: dynptr::read },
    Row { number: 202, arguments: 5, call: dynptr::write },
    Row { number: 203, arguments: 3, call: dynptr::data },
    Row { number: 208, arguments: 0, call: system::ktime_get_ns },
    Row { number: 209, arguments: 4, call: ring::drain },
    Row { number: UNAVAILABLE_HELPER, arguments: 0, call: unavailable },
];

#[cfg(test)]
mod tests {
    use twinbpf_object::abi::helper_prototype;

    use super::*;

    #[test]
    fn helpers_look_at_as_many_arguments_as_their_prototypes_have() {
        // Prints take as many as their format says.
        let is_fixed = |row: &&Row| !matches!(row.number, UNAVAILABLE_HELPER | 6);
        for row in TABLE.iter().filter(is_fixed) {
            let prototype = helper_prototype(row.number).unwrap();
            let count = prototype.arguments.len();
            assert_eq!(usize::from(row.arguments), count, "{}", prototype.name);
        }
        assert!(TABLE.is_sorted_by_key(|row| row.number.cast_unsigned()));
    }
}
