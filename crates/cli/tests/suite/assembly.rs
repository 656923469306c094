//! What `asm` and `disasm` print.

use serde_json::json;
use twinbpf_trials::Case;

use crate::support::{User, Workshop};

pub(crate) fn cases() -> Vec<Case> {
    let cases: [(&str, fn()); 3] = [
        (
            "an_object_is_listed_with_its_source_and_what_it_refers_to",
            an_object_is_listed_with_its_source_and_what_it_refers_to,
        ),
        (
            "a_listing_assembles_into_the_same_instructions",
            a_listing_assembles_into_the_same_instructions,
        ),
        (
            "a_line_that_is_no_instruction_is_shown_with_its_column",
            a_line_that_is_no_instruction_is_shown_with_its_column,
        ),
    ];
    cases
        .into_iter()
        .map(|(name, body)| Case::new(&format!("assembly::{name}"), &[], body))
        .collect()
}

const OBJECT: &str = "null_value.bpf.o";

fn an_object_is_listed_with_its_source_and_what_it_refers_to() {
    let workshop = Workshop::new(User::Myself);
    workshop.put_fixture(OBJECT);
    let answer = workshop.run(&["disasm", OBJECT]);
    assert_eq!(answer.status, Some(0), "{answer:?}");
    for part in [
        "; null_value, in section ",
        ":18  return *value;\n   7: (79) r0 = *(u64 *)(r0 +0)\n",
        "; map `empty`\n",
        "(85) call bpf_map_lookup_elem#1\n",
    ] {
        assert!(answer.stdout.contains(part), "{part:?}: {answer:?}");
    }
    let answer = workshop.run(&["disasm", "null_value.bpf.o:null_value", "--json"]);
    let document = answer.last_document();
    let insns = &document["functions"][0]["insns"];
    assert_eq!(insns[6]["text"], "r0 = *(u64 *)(r0 +0)");
    assert_eq!(insns[6]["at"], 7);
    assert_eq!(insns[6]["source"]["line"], 18);
    let missing = workshop.run(&["disasm", "null_value.bpf.o:nothing"]);
    assert_eq!(missing.status, Some(3), "{missing:?}");
    assert!(
        missing.stderr.contains("functions: null_value"),
        "{missing:?}"
    );
}

fn a_listing_assembles_into_the_same_instructions() {
    let workshop = Workshop::new(User::Myself);
    workshop.put_fixture(OBJECT);
    let listing = workshop.run(&["disasm", OBJECT]).stdout;
    workshop.put("listing", listing.as_bytes());
    let hex = workshop.run(&["asm", "listing"]);
    assert_eq!(hex.status, Some(0), "{hex:?}");
    workshop.put("program.hex", hex.stdout.as_bytes());
    let raw = workshop.run(&["asm", "listing", "--format", "raw", "-o", "program.raw"]);
    assert_eq!(raw.status, Some(0), "{raw:?}");
    let bare = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with(';'));
        let code = lines.map(|line| line.split(';').next().unwrap_or_default());
        code.map(|line| line.trim_end().to_owned()).collect()
    };
    for file in ["program.hex", "program.raw"] {
        let again = workshop.run(&["disasm", file]);
        assert_eq!(bare(&again.stdout), bare(&listing), "{again:?}");
    }
}

fn a_line_that_is_no_instruction_is_shown_with_its_column() {
    let workshop = Workshop::new(User::Myself);
    workshop.put("wrong.s", b"r0 = 0\nr0 = r1 + 4\nexit\n");
    let answer = workshop.run(&["asm", "wrong.s"]);
    assert_eq!(answer.status, Some(6), "{answer:?}");
    for part in [
        "error[O020]",
        "--> wrong.s:2:9",
        "2 | r0 = r1 + 4\n       |         ^",
    ] {
        assert!(answer.stderr.contains(part), "{part:?}: {answer:?}");
    }
    workshop.put(
        "right.s",
        b"r0 = 1\nif r1 == 0 goto end\nr0 = 2\nend: exit\n",
    );
    let answer = workshop.run(&["asm", "right.s", "--json"]);
    assert_eq!(
        answer.last_document(),
        json!({"slots": 4, "hex": ["b700000001000000", "1501010000000000", "b700000002000000", "9500000000000000"]})
    );
    let half = workshop.put("half", b"95000000");
    let answer = workshop.run(&["disasm".as_ref(), half.as_os_str()]);
    assert_eq!(answer.status, Some(6), "{answer:?}");
    assert!(
        answer.stderr.contains("4 bytes are not whole instructions"),
        "{answer:?}"
    );
}
