//! The same packets through the kernel, the vm on a live interface, and the vm on a capture: the maps agree, entry by entry.
//!
//! While the command counts, its child sends and captures. The capture is replayed afterwards, so all packets are the same,
//! down to TCP's acknowledgements.

use std::collections::BTreeMap;

use serde_json::Value;
use twinbpf_trials::{Case, Need};

use crate::sender::{ICMP_BYTES, MODE, UDP_BYTES};
use crate::support::{User, Workshop, put_with_map};

/// The forms in which the same program is written.
const FLAVOURS: &[(&str, &str)] = &[
    ("legacy_20_bytes", "sockex1_legacy20.bpf.o"),
    ("legacy_28_bytes", "sockex1_legacy28.bpf.o"),
    ("iproute2_36_bytes", "sockex1_iproute2.bpf.o"),
    (
        "symbols_without_size_and_type",
        "sockex1_legacy20_2016.bpf.o",
    ),
    ("rela_relocations", "sockex1_legacy20_rela.bpf.o"),
    ("maps_by_btf", "sockex1_btf.bpf.o"),
];

const ICMP: u64 = 1;
const TCP: u64 = 6;
const UDP: u64 = 17;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (flavour, file) in FLAVOURS {
        cases.push(Case::new(
            &format!("counts::{flavour}::kernel_equals_replay"),
            &[Need::Kernel],
            || live_equals_replay(file, "kernel", User::Myself),
        ));
        cases.push(Case::new(
            &format!("counts::{flavour}::vm_equals_replay"),
            &[Need::UserNamespaces],
            || live_equals_replay(file, "vm", User::Ordinary),
        ));
    }
    cases.push(Case::new(
        "counts::an_ordinary_user_gets_the_vm_and_is_told_why",
        &[Need::UserNamespaces, Need::ClosedBpf],
        an_ordinary_user_gets_the_vm_and_is_told_why,
    ));
    cases.push(Case::new(
        "counts::root_gets_the_kernel_and_is_told",
        &[Need::Kernel],
        root_gets_the_kernel_and_is_told,
    ));
    cases.push(Case::new(
        "counts::values_of_all_cpus_are_added_up",
        &[Need::Kernel],
        values_of_all_cpus_are_added_up,
    ));
    cases.push(Case::new(
        "counts::an_unrecorded_direction_comes_from_the_command_line",
        &[],
        an_unrecorded_direction_comes_from_the_command_line,
    ));
    cases
}

/// Counts live while the sender captures, then counts the capture, and compares.
fn live_equals_replay(file: &str, engine: &str, user: User) {
    let workshop = Workshop::new(user);
    workshop.put_fixture(file);
    let live = workshop.run(&[
        "run", file, "--engine", engine, "--json", "--", "./sender", MODE, "lo.pcap",
    ]);
    assert_eq!(live.status, Some(0), "{live:?}");
    let end = live.last_document();
    assert_eq!(end["engine"], engine);
    assert_eq!(end["reason"], "command_ended");
    assert_eq!(end["links"][0]["missed"], 0);
    let live = entries(&end);
    assert_eq!(live.get(&UDP), Some(&UDP_BYTES));
    assert_eq!(live.get(&ICMP), Some(&ICMP_BYTES));
    assert!(live.get(&TCP) > Some(&10_000), "{live:?}");

    let replayed = workshop.run(&["run", file, "--pcap", "lo.pcap", "--json"]);
    assert_eq!(replayed.status, Some(0), "{replayed:?}");
    assert_eq!(entries(&replayed.last_document()), live);
}

fn an_ordinary_user_gets_the_vm_and_is_told_why() {
    let workshop = Workshop::new(User::Ordinary);
    workshop.put_fixture("sockex1_legacy20.bpf.o");
    let answer = workshop.run(&[
        "run",
        "sockex1_legacy20.bpf.o",
        "--",
        "./sender",
        MODE,
        "lo.pcap",
    ]);
    assert_eq!(answer.status, Some(0), "{answer:?}");
    assert!(
        answer
            .stderr
            .contains("engine: vm, because the kernel said: "),
        "{answer:?}"
    );
    let total = answer.stdout.lines().last().unwrap();
    assert!(total.starts_with("total  my_map  1: 980  6: "), "{total}");
    assert!(total.ends_with("  17: 4120"), "{total}");
}

fn root_gets_the_kernel_and_is_told() {
    let workshop = Workshop::new(User::Myself);
    workshop.put_fixture("sockex1_btf.bpf.o");
    let answer = workshop.run(&["run", "sockex1_btf.bpf.o", "--json", "--", "true"]);
    assert_eq!(answer.status, Some(0), "{answer:?}");
    assert!(answer.stderr.contains("engine: kernel"), "{answer:?}");
    let end = answer.last_document();
    assert_eq!(end["engine"], "kernel");
    assert_eq!(end["maps"][0]["name"], "my_map");
    assert_eq!(entries(&end), BTreeMap::new());
}

/// The same program with a per-CPU array in the place of its array.
fn values_of_all_cpus_are_added_up() {
    let workshop = Workshop::new(User::Myself);
    put_with_map(&workshop, "percpu.o", [6, 4, 8, 256, 0]);
    let answer = workshop.run(&[
        "run", "percpu.o", "--engine", "kernel", "--json", "--", "./sender", MODE, "lo.pcap",
    ]);
    assert_eq!(answer.status, Some(0), "{answer:?}");
    let counted = entries(&answer.last_document());
    assert_eq!(counted.get(&UDP), Some(&UDP_BYTES), "{counted:?}");
    assert_eq!(counted.get(&ICMP), Some(&ICMP_BYTES), "{counted:?}");
}

/// An Ethernet capture does not record directions; the program counts outgoing packets only.
fn an_unrecorded_direction_comes_from_the_command_line() {
    let workshop = Workshop::new(User::Myself);
    workshop.put_fixture("sockex1_legacy20.bpf.o");
    workshop.put("udp.pcap", &ethernet_capture(142));
    let count = |direction| {
        let answer = workshop.run(&[
            "run",
            "sockex1_legacy20.bpf.o",
            "--pcap",
            "udp.pcap",
            "--direction",
            direction,
            "--json",
        ]);
        assert_eq!(answer.status, Some(0), "{answer:?}");
        assert_eq!(answer.last_document()["links"][0]["frames"], 1);
        entries(&answer.last_document())
    };
    assert_eq!(count("out"), BTreeMap::from([(UDP, 142)]));
    assert_eq!(count("in"), BTreeMap::new());
}

/// A capture of one IPv4 frame that says UDP and is empty otherwise.
fn ethernet_capture(len: u32) -> Vec<u8> {
    let words: [u32; 10] = [0xa1b2_c3d4, 2 | 4 << 16, 0, 0, 1 << 16, 1, 0, 0, len, len];
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let mut frame = vec![0; usize::try_from(len).unwrap()];
    frame[12..15].copy_from_slice(&[0x08, 0x00, 0x45]);
    frame[23] = 17;
    bytes.extend(frame);
    bytes
}

/// What `my_map` held at the end.
fn entries(end: &Value) -> BTreeMap<u64, u64> {
    let maps = end["maps"].as_array().unwrap();
    let map = maps.iter().find(|map| map["name"] == "my_map").unwrap();
    let entries = map["entries"].as_array().unwrap();
    let number = |entry: &Value, field: &str| entry[field].as_u64().unwrap();
    entries
        .iter()
        .map(|entry| (number(entry, "key"), number(entry, "value")))
        .collect()
}
