//! Global variables on the command line: set for a run, and shown by name while it runs.

use serde_json::json;
use twinbpf_trials::Case;

use crate::support::{User, Workshop};

pub(crate) fn cases() -> Vec<Case> {
    let cases: [(&str, fn()); 2] = [
        (
            "a_run_starts_with_what_was_set_and_shows_variables_by_name",
            a_run_starts_with_what_was_set_and_shows_variables_by_name,
        ),
        (
            "what_cannot_be_set_is_refused_before_anything_runs",
            what_cannot_be_set_is_refused_before_anything_runs,
        ),
    ];
    cases
        .into_iter()
        .map(|(name, body)| Case::new(&format!("variables::{name}"), &[], body))
        .collect()
}

/// A capture of two frames of 60 bytes and one of 61.
fn capture() -> Vec<u8> {
    let words =
        |words: &[u32]| -> Vec<u8> { words.iter().flat_map(|word| word.to_le_bytes()).collect() };
    let mut bytes = words(&[0xa1b2_c3d4, 2 | 4 << 16, 0, 0, 1 << 16, 1]);
    for length in [60, 60, 61_u32] {
        bytes.extend(words(&[0, 0, length, length]));
        bytes.extend(vec![0; usize::try_from(length).unwrap()]);
    }
    bytes
}

fn a_run_starts_with_what_was_set_and_shows_variables_by_name() {
    let workshop = Workshop::new(User::Myself);
    workshop.put_fixture("globals.bpf.o");
    workshop.put("three.pcap", &capture());
    let run = ["run", "globals.bpf.o", "--pcap", "three.pcap"];
    let set = [
        "--set",
        "step=0x10",
        "--set",
        "balance=-2",
        "--set",
        "limit=60",
    ];
    let answer = workshop.run(&[&run[..], &set[..], &["--json"]].concat());
    assert_eq!(answer.status, Some(0), "{answer:?}");
    // The third frame is longer than the limit.
    assert_eq!(
        answer.last_document()["maps"],
        json!([
            { "name": ".data", "entries": [{ "key": "total", "value": 5_000_000_120_u64 }] },
            { "name": ".data.marks", "entries": [{ "key": "mark", "value": 0x600d + 2 }] },
            { "name": ".bss", "entries": [
                { "key": "count.calls", "value": 3 },
                { "key": "long_frames", "value": 1 },
                { "key": "seen", "value": 32 },
                { "key": "slots", "value": "hex:02000000000000000000000000000000" },
            ] },
        ])
    );
    let answer = workshop.run(&[&run[..], &["--watch", ".bss"]].concat());
    assert!(
        answer.stdout.contains("count.calls: 3  seen: 3"),
        "{answer:?}"
    );
}

fn what_cannot_be_set_is_refused_before_anything_runs() {
    let workshop = Workshop::new(User::Myself);
    workshop.put_fixture("globals.bpf.o");
    for (setting, status, message) in [
        (
            "limit=65536",
            2,
            "error[H006]: globals.bpf.o: --set limit=65536: variable `limit` has 2 bytes: from -32768 to 65535\n",
        ),
        (
            "slots=1",
            2,
            "error[H006]: globals.bpf.o: --set slots=1: variable `slots` has 16 bytes and is no integer\n",
        ),
        (
            "limits=1",
            3,
            "error[M012]: globals.bpf.o: there is no variable `limits`\n",
        ),
        ("limit", 2, "a variable is set as NAME=VALUE"),
    ] {
        let answer = workshop.run(&["run", "globals.bpf.o", "--engine", "vm", "--set", setting]);
        assert_eq!(answer.status, Some(status), "{answer:?}");
        assert!(answer.stderr.contains(message), "{answer:?}");
    }
}
