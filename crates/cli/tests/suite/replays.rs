//! Programs on packets as the network stack shows them: out of a capture on both engines, and on a live interface.

use std::fs;

use serde_json::{Value, json};
use twinbpf_trials::{Case, Need};
use twinbpf_vm::capture::Capture;

use crate::sender::MODE;
use crate::support::{Answer, User, Workshop};

/// Ethernet addresses, then IPv4: version, kind of service, protocol.
fn frame(kind_of_service: u8, protocol: u8) -> Vec<u8> {
    let mut frame = vec![0; 64];
    frame[12] = 8;
    frame[14] = 0x45;
    frame[15] = kind_of_service;
    frame[23] = protocol;
    frame
}

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// A capture of Ethernet frames that says nothing about their direction.
fn capture(frames: &[Vec<u8>]) -> Vec<u8> {
    let header: [u32; 6] = [0xa1b2_c3d4, 2 | 4 << 16, 0, 0, 1 << 16, 1];
    let mut bytes: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
    for (second, frame) in (1_u32..).zip(frames) {
        let len = u32::try_from(frame.len()).unwrap();
        let record = [second, 0, len, len];
        bytes.extend(record.iter().flat_map(|word| word.to_le_bytes()));
        bytes.extend(frame);
    }
    bytes
}

/// Three datagrams, an echo, a segment, and something that is not IP.
fn frames() -> Vec<Vec<u8>> {
    let mut other = frame(0, 0);
    other[12..14].copy_from_slice(&[8, 6]);
    other[14] = 0;
    let [udp, icmp, tcp] = [UDP, ICMP, TCP].map(|protocol| frame(0, protocol));
    vec![udp.clone(), udp.clone(), icmp, udp, tcp, other]
}

pub(crate) fn cases() -> Vec<Case> {
    let case = |name: &str, needs: &[Need], body: fn()| {
        Case::new(&format!("replays::{name}"), needs, body)
    };
    vec![
        case(
            "the_vm_counts_verdicts_and_writes_what_changed",
            &[],
            || {
                counts_verdicts("vm");
            },
        ),
        case("the_kernel_does_the_same", &[Need::Kernel], || {
            counts_verdicts("kernel");
        }),
        case("a_direction_decides_who_sees_a_packet", &[], a_direction),
        case("a_tag_beside_a_frame_is_in_what_xdp_sees", &[], a_tag),
        case("a_program_without_packets_is_refused", &[], || {
            let workshop = workshop();
            let answer = replay(&workshop, "attach.bpf.o:lookup", &[]);
            assert_eq!(answer.status, Some(2), "{answer:?}");
        }),
        case("an_unknown_program_is_not_found", &[], || {
            let answer = replay(&workshop(), "packets.bpf.o:nobody", &[]);
            assert_eq!(answer.status, Some(3), "{answer:?}");
        }),
        case("people_get_a_table_and_the_maps", &[], || {
            let answer = replay(&workshop(), "packets.bpf.o:no_datagrams", &[]);
            assert_eq!(answer.status, Some(0), "{answer:?}");
            for part in ["6 packets", "aborted 1, drop 3, pass 2", "seen (array)"] {
                assert!(answer.stdout.contains(part), "{part}: {answer:?}");
            }
        }),
        case(
            "programs_observe_a_live_interface",
            &[Need::UserNamespaces],
            observe,
        ),
        case(
            "nobody_is_given_an_observer_in_the_place_of_a_guard",
            &[Need::UserNamespaces, Need::ClosedBpf],
            no_silent_observer,
        ),
    ]
}

fn workshop() -> Workshop {
    let workshop = Workshop::new(User::Myself);
    workshop.put_fixture("packets.bpf.o");
    workshop.put_fixture("attach.bpf.o");
    workshop.put("six.pcap", &capture(&frames()));
    workshop
}

fn replay(workshop: &Workshop, object: &str, more: &[&str]) -> Answer {
    workshop.run(&[&["replay", "six.pcap", object][..], more].concat())
}

/// The row of a program in the document.
fn row<'a>(document: &'a Value, program: &str) -> &'a Value {
    let rows = document["programs"].as_array().unwrap();
    let found = rows.iter().find(|row| row["program"] == program);
    found.unwrap_or_else(|| panic!("no {program}: {document}"))
}

/// A counter of the map `seen`.
fn seen(count: u8) -> Value {
    json!(format!("{count:02x}{}", "00".repeat(7)))
}

fn counts_verdicts(engine: &str) {
    let workshop = workshop();
    let more = ["--engine", engine, "--out", "changed.pcap", "--json"];
    let answer = replay(&workshop, "packets.bpf.o", &more);
    assert_eq!(answer.status, Some(0), "{answer:?}");
    let document = answer.last_document();
    assert_eq!(document["packets"], 6);
    let frames_seen = row(&document, "no_datagrams");
    assert_eq!(
        frames_seen["verdicts"],
        json!({"aborted": 1, "drop": 3, "pass": 2})
    );
    assert_eq!(frames_seen["changed"], 2);
    assert_eq!(
        row(&document, "outgoing")["verdicts"],
        json!({"shot": 2, "unspec": 4})
    );
    let leaving = row(&document, "leaving");
    assert_eq!(leaving["verdicts"], json!({"drop": 1, "pass": 4}));
    assert_eq!(leaving["not_seen"], 1, "a cgroup sees IP alone");
    let entries = document["maps"][0]["entries"].as_array().unwrap();
    let values: Vec<&Value> = entries.iter().map(|entry| &entry[1]).collect();
    assert_eq!(values, [&seen(6), &seen(6), &seen(6), &seen(5)]);

    let changed = Capture::open(&workshop.path("changed.pcap")).unwrap();
    let changed: Vec<_> = changed.map(Result::unwrap).collect();
    let data: Vec<&Vec<u8>> = changed.iter().map(|frame| &frame.data).collect();
    assert_eq!(data, [&frame(4, ICMP), &frame(4, TCP)]);
    assert_eq!(changed[0].timestamp.as_secs(), 3);
}

fn a_direction() {
    let answer = replay(
        &workshop(),
        "packets.bpf.o",
        &["--direction", "out", "--json"],
    );
    let document = answer.last_document();
    for (program, runs) in [
        ("no_datagrams", 0),
        ("incoming", 0),
        ("outgoing", 6),
        ("leaving", 5),
    ] {
        assert_eq!(row(&document, program)["runs"], runs, "{program}");
    }
}

fn a_tag() {
    let workshop = workshop();
    let mut tagged = frame(0, ICMP);
    tagged.splice(12..12, [0x81, 0, 0, 5]);
    workshop.put("six.pcap", &capture(&[tagged]));
    let answer = replay(&workshop, "packets.bpf.o", &["--json"]);
    let document = answer.last_document();
    let of = |program| &row(&document, program)["verdicts"];
    assert_eq!(
        of("no_datagrams"),
        &json!({"aborted": 1}),
        "IP lies deeper for XDP"
    );
    assert_eq!(of("outgoing"), &json!({"shot": 1}), "tc finds the echo");
}

/// Each program at its hook on a private `lo`, while known traffic goes over it unharmed.
fn observe() {
    let workshop = Workshop::new(User::Ordinary);
    workshop.put_fixture("packets.bpf.o");
    let hooks = [
        "no_datagrams=xdp:lo",
        "incoming=tc.ingress:lo",
        "outgoing=tc.egress:lo",
        "leaving=socket:lo",
    ];
    let mut arguments = vec!["run", "packets.bpf.o", "--engine", "vm", "--json"];
    for hook in &hooks {
        arguments.extend(["--attach", hook]);
    }
    arguments.extend(["--", "./sender", MODE, "lo.pcap"]);
    let answer = workshop.run(&arguments);
    assert_eq!(answer.status, Some(0), "{answer:?}");
    let end = answer.last_document();
    let links = end["links"].as_array().unwrap();
    let [frames, incoming, outgoing, leaving] = &links[..] else {
        panic!("{end}");
    };
    // Ten datagrams; ten echoes and replies.
    assert_eq!(frames["verdicts"]["drop"], 10, "{end}");
    assert_eq!(outgoing["verdicts"]["shot"], 10, "{end}");
    assert_eq!(incoming["verdicts"]["ok"], incoming["frames"], "{end}");
    assert_eq!(leaving["verdicts"]["pass"], 20, "{end}");
    assert!(answer.stderr.contains("observed at xdp:lo"), "{answer:?}");
    assert!(fs::metadata(workshop.path("lo.pcap")).unwrap().len() > 10_000);
}

fn no_silent_observer() {
    let workshop = Workshop::new(User::Ordinary);
    workshop.put_fixture("packets.bpf.o");
    let hook = "no_datagrams=xdp:lo";
    let arguments = ["run", "packets.bpf.o", "--attach", hook, "--", "true"];
    let answer = workshop.run(&arguments);
    assert_eq!(answer.status, Some(4), "{answer:?}");
    assert!(answer.stderr.contains("only observes"), "{answer:?}");
}
