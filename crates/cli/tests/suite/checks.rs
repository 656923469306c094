//! What `check` prints, and what it ends with.

use serde_json::Value;
use twinbpf_trials::{Case, Need};

use crate::support::{Answer, User, Workshop, put_with_map};

pub(crate) fn cases() -> Vec<Case> {
    let on_kernel: [(&str, fn()); 6] = [
        (
            "a_refused_program_takes_none_with_it",
            a_refused_program_takes_none_with_it,
        ),
        (
            "one_program_alone_gets_its_whole_diagnosis",
            one_program_alone_gets_its_whole_diagnosis,
        ),
        (
            "an_object_that_cannot_be_read_is_a_row",
            an_object_that_cannot_be_read_is_a_row,
        ),
        ("types_can_be_given", types_can_be_given),
        ("open_sizes_can_be_given", open_sizes_can_be_given),
        (
            "types_of_another_machine_can_be_given",
            types_of_another_machine_can_be_given,
        ),
    ];
    let anywhere: [(&str, fn()); 1] = [("the_vm_needs_no_privilege", the_vm_needs_no_privilege)];
    let on_kernel = on_kernel
        .into_iter()
        .map(|(name, body)| Case::new(&format!("check::{name}"), &[Need::Kernel], body));
    let anywhere = anywhere
        .into_iter()
        .map(|(name, body)| Case::new(&format!("check::{name}"), &[], body));
    on_kernel.chain(anywhere).collect()
}

/// Puts the objects into a folder and checks them.
fn check(user: User, objects: &[&str], flags: &[&str]) -> Answer {
    let workshop = Workshop::new(user);
    for object in objects {
        workshop.put_fixture(object);
    }
    let arguments = ["check"].iter().chain(objects).chain(flags);
    workshop.run(&arguments.collect::<Vec<_>>())
}

fn verdicts(document: &Value) -> Vec<(String, String)> {
    let objects = document["objects"].as_array().unwrap().iter();
    let programs = objects.flat_map(|object| object["programs"].as_array().unwrap());
    let word = |program: &Value, name: &str| program[name].as_str().unwrap().to_owned();
    programs
        .map(|program| (word(program, "program"), word(program, "verdict")))
        .collect()
}

fn a_refused_program_takes_none_with_it() {
    let answer = check(
        User::Myself,
        &[
            "null_value.bpf.o",
            "calls_v1.bpf.o",
            "unknown_section.bpf.o",
        ],
        &["--json"],
    );
    assert_eq!(answer.status, Some(5), "{answer:?}");
    let document = answer.last_document();
    let expected = [
        ("null_value", "refused"),
        ("triple_plus_one", "accepted"),
        ("fold", "accepted"),
        ("misspelt", "not_loaded"),
    ];
    let expected = expected.map(|(name, verdict)| (name.to_owned(), verdict.to_owned()));
    assert_eq!(verdicts(&document), expected);
    let refused = &document["objects"][0]["programs"][0];
    assert_eq!(refused["error"]["code"], "V001");
    assert_eq!(refused["error"]["errno"]["name"], "EACCES");
    let words = refused["error"]["kernel_text"].as_str().unwrap();
    assert!(words.contains("R0 invalid mem access"), "{words}");
    let accepted = &document["objects"][1]["programs"][1];
    assert_eq!(accepted["type"], "socket_filter");
    assert_eq!(accepted["section"], "socket");
    assert!(accepted["verified_insns"].as_u64().unwrap() >= 22);
    assert_eq!(document["counts"]["programs"], 4);
    assert_eq!(document["counts"]["accepted"], 2);
    assert_eq!(document["ok"], false);
}

fn one_program_alone_gets_its_whole_diagnosis() {
    let answer = check(User::Myself, &["null_value.bpf.o"], &[]);
    assert_eq!(answer.status, Some(5), "{answer:?}");
    for part in [
        "  OBJECT            SECTION  PROGRAM     TYPE           VERDICT  INSNS  VERIFIED  TIME ",
        "  null_value.bpf.o  socket   null_value  socket_filter  refused  9      7         ",
        "\n\nerror[V001]: program `null_value`: ",
        "null_value.bpf.c:18",
    ] {
        assert!(answer.stdout.contains(part), "{part:?}: {answer:?}");
    }
    assert_eq!(
        answer.stderr,
        "kernel: 0 of 1 programs accepted, 1 refused\n"
    );
    // With a second program, the diagnoses come only when asked for.
    let objects = ["null_value.bpf.o", "no_license.bpf.o"];
    let brief = check(User::Myself, &objects, &[]);
    assert!(!brief.stdout.contains("error[V001]"), "{brief:?}");
    let whole = check(User::Myself, &objects, &["--verbose"]);
    assert!(whole.stdout.contains("error[V001]"), "{whole:?}");
    let only = check(User::Myself, &objects, &["--program", "unlicensed"]);
    assert_eq!(only.status, Some(0), "{only:?}");
}

fn an_object_that_cannot_be_read_is_a_row() {
    let workshop = Workshop::new(User::Myself);
    workshop.put_fixture("calls_v1.bpf.o");
    workshop.put("text.o", b"#!/bin/sh\n");
    let files = ["check", "absent.o", "text.o", "calls_v1.bpf.o"];
    let answer = workshop.run(&files);
    assert_eq!(answer.status, Some(6), "{answer:?}");
    let lines: Vec<&str> = answer.stdout.lines().map(str::trim_start).collect();
    assert!(lines[1].starts_with("absent.o        -"), "{answer:?}");
    assert!(lines[1].ends_with("O001 no such file"), "{answer:?}");
    assert!(lines[2].contains("bad object"), "{answer:?}");
    assert!(lines[3].contains("accepted"), "{answer:?}");
    let document = workshop
        .run(&["check", "absent.o", "calls_v1.bpf.o", "--json"])
        .last_document();
    assert_eq!(document["objects"][0]["error"]["code"], "O001");
    assert_eq!(document["counts"]["accepted"], 2);
}

fn open_sizes_can_be_given() {
    let workshop = Workshop::new(User::Myself);
    put_with_map(&workshop, "open.o", [2, 4, 8, 0, 0]);
    let arguments = ["check", "open.o", "--type", "socket1=socket"];
    let answer = workshop.run(&arguments);
    assert_eq!(answer.status, Some(5), "{answer:?}");
    assert!(answer.stdout.contains("max_entries 0"), "{answer:?}");
    let answer = workshop.run(&[&arguments[..], &["--entries", "8"]].concat());
    assert_eq!(answer.status, Some(0), "{answer:?}");
}

fn types_can_be_given() {
    let object = ["sockex1_legacy20.bpf.o"];
    let answer = check(User::Myself, &object, &["--type", "socket1=socket"]);
    assert_eq!(answer.status, Some(0), "{answer:?}");
    let misspelt = check(
        User::Myself,
        &object,
        &["--type", "socket2=socket", "--json"],
    );
    assert_eq!(misspelt.status, Some(3), "{misspelt:?}");
    let untyped = check(User::Myself, &object, &[]);
    assert_eq!(untyped.status, Some(2), "{untyped:?}");
    assert!(untyped.stdout.contains("P001"), "{untyped:?}");
}

fn the_vm_needs_no_privilege() {
    let answer = check(User::Ordinary, &["calls_v1.bpf.o"], &["--engine", "vm"]);
    assert_eq!(answer.status, Some(0), "{answer:?}");
    assert_eq!(answer.stderr, "vm: 2 of 2 programs accepted\n");
}

fn types_of_another_machine_can_be_given() {
    let workshop = Workshop::new(User::Myself);
    for object in ["core.bpf.o", "core_target_moved.bpf.o"] {
        workshop.put_fixture(object);
    }
    let verdict = |flags: &[&str]| {
        let command = ["check", "core.bpf.o", "--json"];
        let arguments = command
            .iter()
            .chain(&["--program", "size_of_shrunk"])
            .chain(flags);
        let answer = workshop.run(&arguments.collect::<Vec<_>>());
        verdicts(&answer.last_document())
    };
    let of = |word: &str| vec![("size_of_shrunk".to_owned(), word.to_owned())];
    assert_eq!(
        verdict(&["--btf", "core_target_moved.bpf.o"]),
        of("accepted")
    );
    assert_eq!(verdict(&[]), of("refused"));
    let missing = workshop.run(&["check", "core.bpf.o", "--engine", "vm", "--btf", "absent"]);
    assert_eq!(missing.status, Some(3), "{missing:?}");
    assert!(
        missing.stderr.contains("absent: no such file"),
        "{missing:?}"
    );
}
