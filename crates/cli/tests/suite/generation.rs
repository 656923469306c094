//! Files that `gen` makes.

use serde_json::Value;
use twinbpf_trials::Case;

use crate::support::{User, Workshop};

pub(crate) fn cases() -> Vec<Case> {
    let cases: [(&str, fn()); 5] = [
        (
            "types_that_are_enough_are_kept",
            types_that_are_enough_are_kept,
        ),
        (
            "standard_output_gets_the_same_bytes",
            standard_output_gets_the_same_bytes,
        ),
        (
            "a_file_without_types_is_a_bad_object",
            a_file_without_types_is_a_bad_object,
        ),
        (
            "objects_are_linked_into_one_that_can_be_run",
            objects_are_linked_into_one_that_can_be_run,
        ),
        (
            "objects_that_do_not_fit_are_refused_by_name",
            objects_that_do_not_fit_are_refused_by_name,
        ),
    ];
    cases
        .into_iter()
        .map(|(name, body)| Case::new(&format!("gen::{name}"), &[], body))
        .collect()
}

const WHOLE: &str = "core_target_moved.bpf.o";
const OBJECT: &str = "core.bpf.o";

fn workshop() -> Workshop {
    let workshop = Workshop::new(User::Ordinary);
    workshop.put_fixture(WHOLE);
    workshop.put_fixture(OBJECT);
    workshop
}

fn types_that_are_enough_are_kept() {
    let workshop = workshop();
    let first = ["gen", "min-core-btf", WHOLE, OBJECT, "-o", "part", "--json"];
    let answer = workshop.run(&first);
    assert_eq!(answer.status, Some(0), "{answer:?}");
    let kept: Value = serde_json::from_str(&answer.stdout).unwrap();
    assert!(kept["types"].as_u64() < kept["of_types"].as_u64(), "{kept}");
    let part = std::fs::read(workshop.path("part")).unwrap();
    assert_eq!(kept["bytes"].as_u64(), u64::try_from(part.len()).ok());

    // What is enough once is all that is kept the second time.
    let again = workshop.run(&["gen", "min-core-btf", "part", OBJECT, "-o", "again"]);
    assert_eq!(again.status, Some(0), "{again:?}");
    assert_eq!(std::fs::read(workshop.path("again")).unwrap(), part);
}

fn standard_output_gets_the_same_bytes() {
    let workshop = workshop();
    let answer = workshop.run(&["gen", "min-core-btf", WHOLE, OBJECT, "-o", "part"]);
    assert_eq!(answer.status, Some(0), "{answer:?}");
    let mut command = workshop.command();
    let output = command
        .args(["gen", "min-core-btf", WHOLE, OBJECT])
        .output();
    let part = std::fs::read(workshop.path("part")).unwrap();
    assert_eq!(output.unwrap().stdout, part);
}

fn a_file_without_types_is_a_bad_object() {
    let workshop = workshop();
    workshop.put_fixture("globals_plain.bpf.o");
    let answer = workshop.run(&["gen", "min-core-btf", "globals_plain.bpf.o", OBJECT]);
    assert_eq!(answer.status, Some(6), "{answer:?}");
    assert!(answer.stderr.contains("no section `.BTF`"), "{answer:?}");
    let answer = workshop.run(&["gen", "min-core-btf", WHOLE, OBJECT, "-o", "none/part"]);
    assert_eq!(answer.status, Some(3), "{answer:?}");
}

fn halves() -> Workshop {
    let workshop = Workshop::new(User::Ordinary);
    for half in ["parts_main", "parts_rest", "parts_other"] {
        workshop.put_fixture(&format!("{half}.bpf.o"));
    }
    workshop
}

fn objects_are_linked_into_one_that_can_be_run() {
    let workshop = halves();
    let halves = ["parts_main.bpf.o", "parts_rest.bpf.o"];
    let answer = workshop.run(&["gen", "object", "whole.o", halves[0], halves[1], "--json"]);
    assert_eq!(answer.status, Some(0), "{answer:?}");
    let linked: Value = serde_json::from_str(&answer.stdout).unwrap();
    assert_eq!(linked["open"], serde_json::json!([]));
    assert_eq!(linked["overridden"][0]["name"], "best_answer");
    let whole = std::fs::read(workshop.path("whole.o")).unwrap();
    assert_eq!(linked["bytes"].as_u64(), u64::try_from(whole.len()).ok());
    let run = ["prog", "run", "whole.o:second", "--engine", "vm", "--data"];
    let answer = workshop.run(&[&run[..], &["00000000000000000000000000000800"]].concat());
    assert_eq!(answer.status, Some(0), "{answer:?}");
    assert!(answer.stdout.contains("13"), "{answer:?}");
}

fn objects_that_do_not_fit_are_refused_by_name() {
    let workshop = halves();
    let (main, other) = ("parts_main.bpf.o", "parts_other.bpf.o");
    let answer = workshop.run(&["gen", "object", "whole.o", main, other]);
    assert_eq!(answer.status, Some(6), "{answer:?}");
    assert!(answer.stderr.contains("error[L018]"), "{answer:?}");
    assert!(answer.stderr.contains("`seen`"), "{answer:?}");
    assert!(!workshop.path("whole.o").exists());
    // A forgotten first argument would overwrite an object.
    let answer = workshop.run(&["gen", "object", main, main, other]);
    assert_eq!(answer.status, Some(2), "{answer:?}");
}
