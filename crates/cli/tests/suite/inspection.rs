//! What `inspect` prints.

use serde_json::json;
use twinbpf_trials::Case;

use crate::support::{User, Workshop};

pub(crate) fn cases() -> Vec<Case> {
    let cases: [(&str, fn()); 7] = [
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
        (
            "slots_and_inner_maps_are_shown",
            slots_and_inner_maps_are_shown,
        ),
        (
            "relocations_are_shown_with_what_they_resolve_to",
            relocations_are_shown_with_what_they_resolve_to,
        ),
        (
            "functions_say_what_they_refer_to",
            functions_say_what_they_refer_to,
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
        "  limit        .rodata      0x4     2      __u16     1000\n",
        "  table        .rodata      0x6     4      __u8[4]   [11, 22, 33, 44]\n",
        "  balance      .data        0x8     4      __s32     -3\n",
        "  seen         .bss         0x10    8      __u64     0\n",
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
            "is_static": true, "is_constant": true, "type": "char[18]",
            "value": "\"len %u of socket\\n\"", "typed_value": "len %u of socket\n",
        }])
    );
}

fn slots_and_inner_maps_are_shown() {
    let workshop = Workshop::new(User::Myself);
    workshop.put_fixture("map_in_map.bpf.o");
    let answer = workshop.run(&["inspect", "map_in_map.bpf.o"]);
    for part in [
        "  MAP          SLOT  HOLDS\n  outer_array  1     map inner\n  jumps        1     program leaf\n",
        "`outer_hash.inner`: hash, key 8 B, value 4 B, 16 entries",
    ] {
        assert!(answer.stdout.contains(part), "{part:?}: {answer:?}");
    }
    let document = workshop
        .run(&["inspect", "map_in_map.bpf.o", "--json"])
        .last_document();
    let outer = &document["maps"][1];
    assert_eq!(
        outer["values"],
        json!([{"slot": 1, "kind": "map", "name": "inner"}])
    );
    assert_eq!(outer["inner_map"]["type"], "array");
    assert_eq!(outer["inner_map"]["max_entries"], 1);
}

fn relocations_are_shown_with_what_they_resolve_to() {
    let workshop = Workshop::new(User::Myself);
    workshop.put_fixture("core.bpf.o");
    workshop.put_fixture("core_target_moved.bpf.o");
    let alone = workshop
        .run(&["inspect", "core.bpf.o", "--json"])
        .last_document();
    let first = &alone["relocations"][0];
    assert_eq!(first["subject"], "struct outer.moved");
    assert_eq!(first["kind"], "offset of the field");
    assert_eq!(first["path"], "0:0");
    assert_eq!(first["compiled"], 0);
    assert_eq!(first["resolved"], json!(null));
    let arguments = ["inspect", "core.bpf.o", "--resolve", "--btf"];
    let arguments = [&arguments[..], &["core_target_moved.bpf.o"]].concat();
    let answer = workshop.run(&[&arguments[..], &["--json"]].concat());
    let document = answer.last_document();
    assert_eq!(document["relocations"][0]["resolved"], 31);
    let relocations = document["relocations"].as_array().unwrap();
    let gone = relocations
        .iter()
        .find(|each| each["function"] == "load_gone");
    let problem = gone.unwrap()["problem"].as_str().unwrap();
    assert!(problem.contains("struct outer.gone"), "{problem}");
    let text = workshop.run(&arguments).stdout;
    let row = text
        .lines()
        .rfind(|line| line.starts_with("  offset_of_moved "));
    let columns: Vec<&str> = row.unwrap().split_whitespace().collect();
    assert_eq!(columns[columns.len() - 3..], ["0:0", "0", "31"]);
}

fn functions_say_what_they_refer_to() {
    let workshop = Workshop::new(User::Myself);
    workshop.put_fixture("calls_v3.bpf.o");
    let document = workshop
        .run(&["inspect", "calls_v3.bpf.o", "--json"])
        .last_document();
    let functions = document["functions"].as_array().unwrap();
    let programs = functions.iter().filter(|each| each["is_program"] == true);
    assert_eq!(
        programs.count(),
        document["programs"].as_array().unwrap().len()
    );
    let callers = functions.iter().filter(|each| each["calls"] != json!([]));
    assert!(callers.count() > 0, "{document}");
    assert!(document["btf"]["types"].as_u64().unwrap() > 0);
}
