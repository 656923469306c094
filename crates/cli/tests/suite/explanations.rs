//! `twinbpf explain`: codes, logs in files and on standard input, and texts that are neither.

use std::io::Write;
use std::process::Stdio;

use serde_json::Value;
use twinbpf_trials::Case;

use crate::support::{Answer, User, Workshop};

/// What libbpf prints, as a terminal shows it, of Linux 6.18.
const LIBBPF: &str = "\
libbpf: prog 'count': BPF program load failed: Permission denied
libbpf: prog 'count': -- BEGIN PROG LOAD LOG --
0: R1=ctx() R10=fp0
; long *value = bpf_map_lookup_elem(&counts, &key); @ null.bpf.c:6
5: (85) call bpf_map_lookup_elem#1    ; R0=map_value_or_null(id=1,ks=4,vs=8)
; return *value + 1; @ null.bpf.c:7
6: (79) r1 = *(u64 *)(r0 +0)
R0 invalid mem access 'map_value_or_null'
processed 6 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
-- END PROG LOAD LOG --
libbpf: prog 'count': failed to load: -13
libbpf: failed to load object 'null.bpf.o'
Error: failed to load object file
";

pub(crate) fn cases() -> Vec<Case> {
    let cases: [(&str, fn()); 7] = [
        (
            "an_error_number_is_explained_per_command",
            an_error_number_is_explained_per_command,
        ),
        (
            "a_code_is_explained_in_any_case",
            a_code_is_explained_in_any_case,
        ),
        (
            "a_code_as_json_has_every_field",
            a_code_as_json_has_every_field,
        ),
        ("a_log_in_a_file_is_diagnosed", a_log_in_a_file_is_diagnosed),
        (
            "several_logs_on_standard_input_are_several_diagnoses",
            several_logs_on_standard_input_are_several_diagnoses,
        ),
        (
            "every_code_is_explained_on_one_screen",
            every_code_is_explained_on_one_screen,
        ),
        (
            "what_is_neither_code_nor_log_is_said_to_be",
            what_is_neither_code_nor_log_is_said_to_be,
        ),
    ];
    cases
        .into_iter()
        .map(|(name, body)| Case::new(&format!("explanations::{name}"), &[], body))
        .collect()
}

fn a_code_is_explained_in_any_case() {
    let workshop = Workshop::new(User::Ordinary);
    let answer = workshop.run(&["explain", "v001"]);
    assert_eq!(answer.status, Some(0), "{answer:?}");
    assert!(answer.stdout.starts_with("V001: "), "{answer:?}");
    for part in [
        "category: Register Type Safety",
        "cause: ",
        "hint: ",
        "exit status: 5",
    ] {
        assert!(answer.stdout.contains(part), "{part}: {answer:?}");
    }
}

fn an_error_number_is_explained_per_command() {
    let workshop = Workshop::new(User::Ordinary);
    let answer = workshop.run(&["explain", "e2big"]);
    assert_eq!(answer.status, Some(0), "{answer:?}");
    for part in [
        "E2BIG (7)",
        "loading a program: ",
        "creating a map: ",
        "element: the map is full",
    ] {
        assert!(answer.stdout.contains(part), "{part}: {answer:?}");
    }
    let document = workshop
        .run(&["explain", "EBUSY", "--json"])
        .last_document();
    assert_eq!(document["errno"], "EBUSY");
    assert!(!document["meanings"].as_array().unwrap().is_empty());
}

fn a_code_as_json_has_every_field() {
    let workshop = Workshop::new(User::Ordinary);
    let document = workshop.run(&["explain", "V010", "--json"]).last_document();
    assert_eq!(document["ok"], true);
    assert_eq!(document["code"], "V010");
    assert_eq!(document["category"], "memory");
    for field in ["title", "kind", "stage", "cause", "help", "example"] {
        assert!(document[field].is_string(), "{field}: {document}");
    }
}

fn a_log_in_a_file_is_diagnosed() {
    let workshop = Workshop::new(User::Ordinary);
    workshop.put("load.txt", LIBBPF.as_bytes());
    let answer = workshop.run(&["explain", "load.txt"]);
    assert_eq!(answer.status, Some(0), "{answer:?}");
    let expected = "\
error[V001]: program `count`: r0 is a map value that may be null and used without a null test
  (EACCES)
  --> null.bpf.c:7, insn 6: r1 = *(u64 *)(r0 +0)
     6 | long *value = bpf_map_lookup_elem(&counts, &key);
       | r0 is what this call returns, insn 5: call bpf_map_lookup_elem#1
     7 | return *value + 1;
  r0: map_value_or_null(id=1,ks=4,vs=8)
  verifier: R0 invalid mem access 'map_value_or_null'
  instructions verified: 6
  log: 7 lines of the verifier; --log shows them
hint: test it first: `if (!value) return 0;` between the call that gave it and this line
hint: `twinbpf explain V001` says more
";
    assert_eq!(answer.stdout, expected);
}

fn several_logs_on_standard_input_are_several_diagnoses() {
    let workshop = Workshop::new(User::Ordinary);
    let mut command = workshop.command();
    let mut child = command
        .args(["explain", "-", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(LIBBPF.as_bytes()).unwrap();
    input
        .write_all(LIBBPF.replace("'count'", "'other'").as_bytes())
        .unwrap();
    drop(input);
    let answer = Answer::from(child.wait_with_output().unwrap());
    let document = answer.last_document();
    let diagnoses = document["diagnoses"].as_array().unwrap();
    let programs: Vec<&Value> = diagnoses
        .iter()
        .map(|each| &each["place"]["program"])
        .collect();
    assert_eq!(programs, ["count", "other"], "{document}");
    assert_eq!(diagnoses[0]["errno"]["name"], "EACCES");
    assert_eq!(diagnoses[0]["related"][0]["insn"]["index"], 5);
}

fn every_code_is_explained_on_one_screen() {
    let workshop = Workshop::new(User::Ordinary);
    for number in 0..100 {
        let answer = workshop.run(&["explain", &format!("V{number:03}")]);
        if answer.status == Some(3) {
            continue;
        }
        assert_eq!(answer.status, Some(0), "{answer:?}");
        assert!(answer.stdout.lines().count() <= 24, "{answer:?}");
    }
}

fn what_is_neither_code_nor_log_is_said_to_be() {
    let workshop = Workshop::new(User::Ordinary);
    workshop.put("hello.txt", b"hello, world\n");
    for (argument, says) in [
        ("V999", "no code V999"),
        ("hello.txt", "no verifier's log in this text"),
        ("nosuch.txt", "no such file"),
    ] {
        let answer = workshop.run(&["explain", argument]);
        assert_eq!(answer.status, Some(3), "{answer:?}");
        assert!(answer.stderr.contains(says), "{answer:?}");
        assert_eq!(answer.stdout, "");
    }
}
