//! What `inspect` prints.

use serde_json::json;
use twinbpf_trials::Case;

use crate::support::{User, Workshop};

pub(crate) fn cases() -> Vec<Case> {
    let cases: [(&str, fn()); 4] = [
        (
            "maps_keep_the_order_of_the_file",
            maps_keep_the_order_of_the_file,
        ),
        (
            "a_legacy_object_is_shown_whole",
            a_legacy_object_is_shown_whole,
        ),
        (
            "a_missing_license_stays_missing",
            a_missing_license_stays_missing,
        ),
        (
            "variables_are_shown_with_what_they_start_with",
            variables_are_shown_with_what_they_start_with,
        ),
    ];
    cases
        .into_iter()
        .map(|(name, body)| Case::new(&format!("inspect::{name}"), &[], body))
        .collect()
}

fn maps_keep_the_order_of_the_file() {
    let workshop = Workshop::new(User::Myself);
    workshop.put_fixture("several.bpf.o");
    let answer = workshop.run(&["inspect", "several.bpf.o", "--json"]);
    assert_eq!(answer.status, Some(0), "{answer:?}");
    let document = answer.last_document();
    let names = |list: &str| -> Vec<String> {
        let rows = document[list].as_array().unwrap();
        rows.iter()
            .map(|row| row["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names("maps"), ["zebra", "ant"]);
    assert_eq!(names("programs"), ["first", "second", "third", "fourth"]);
    assert_eq!(document["programs"][3]["section"], "socket2");
    assert_eq!(document["maps"][1]["type"], "hash");
    assert_eq!(document["maps"][1]["key_size"], 8);
    assert_eq!(document["maps"][1]["value_size"], 16);
    assert_eq!(document["maps"][1]["max_entries"], 2);
}

fn a_legacy_object_is_shown_whole() {
    let workshop = Workshop::new(User::Myself);
    workshop.put_fixture("sockex1_legacy20_2016.bpf.o");
    let answer = workshop.run(&["inspect", "sockex1_legacy20_2016.bpf.o"]);
    assert_eq!(answer.status, Some(0), "{answer:?}");
    let text = &answer.stdout;
    for part in [
        "sockex1_legacy20_2016.bpf.o: little-endian, license \"GPL\"",
        "  my_map  array  4    8      256      0x0    -        -\n",
        "\nsections\n",
        "did you mean `socket`?",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

fn a_missing_license_stays_missing() {
    let workshop = Workshop::new(User::Myself);
    workshop.put_fixture("no_license.bpf.o");
    let text = workshop.run(&["inspect", "no_license.bpf.o"]);
    assert!(text.stdout.contains("no license"), "{text:?}");
    let document = workshop
        .run(&["inspect", "no_license.bpf.o", "--json"])
        .last_document();
    assert_eq!(document["license"], json!(null));
}

fn variables_are_shown_with_what_they_start_with() {
    let workshop = Workshop::new(User::Myself);
    workshop.put_fixture("globals.bpf.o");
    workshop.put_fixture("globals_print.bpf.o");
    let answer = workshop.run(&["inspect", "globals.bpf.o"]);
    for part in [
        "  .rodata      array  4    10     1        0x480  -        -\n",
        "  limit        .rodata      0x4     2      1000\n",
        "  total        .data        0x0     8      5000000000\n",
        "  seen         .bss         0x10    8      0\n",
    ] {
        assert!(answer.stdout.contains(part), "{part:?}: {answer:?}");
    }
    let document = workshop
        .run(&["inspect", "globals_print.bpf.o", "--json"])
        .last_document();
    assert_eq!(
        document["variables"],
        json!([{
            "name": "print.format", "map": ".rodata", "offset": 0, "size_bytes": 18,
            "is_static": true, "is_constant": true, "value": "\"len %u of socket\\n\"",
        }])
    );
}
