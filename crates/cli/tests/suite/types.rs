//! What `btf dump` and `btf list` print.

use serde_json::{Value, json};
use twinbpf_trials::{Case, Need};

use crate::support::{User, Workshop, fixture};

pub(crate) fn cases() -> Vec<Case> {
    let cases: [(&str, fn()); 3] = [
        (
            "types_are_printed_as_json_c_and_layout",
            types_are_printed_as_json_c_and_layout,
        ),
        (
            "what_maps_hold_is_printed_as_rust",
            what_maps_hold_is_printed_as_rust,
        ),
        (
            "a_type_that_is_not_there_is_not_found",
            a_type_that_is_not_there_is_not_found,
        ),
    ];
    let listed = Case::new(
        "btf::types_of_the_kernel_are_listed_with_whose_they_are",
        &[Need::Kernel, Need::KernelTypes],
        types_of_the_kernel_are_listed,
    );
    cases
        .into_iter()
        .map(|(name, body)| Case::new(&format!("btf::{name}"), &[], body))
        .chain([listed])
        .collect()
}

fn types_of_the_kernel_are_listed() {
    let object = twinbpf::Object::parse(&fixture("flows.bpf.o")).unwrap();
    let loaded = twinbpf::Engine::kernel()
        .unwrap()
        .load_object(&object)
        .unwrap();
    let info = loaded.raw_map("flows").unwrap().info().unwrap();
    let workshop = Workshop::new(User::Myself);
    let answer = workshop.run(&["btf", "list", "--json"]);
    assert_eq!(answer.status, Some(0), "{answer:?}");
    let rows = answer.last_document();
    let find = |id: Value| -> Value {
        let rows = rows.as_array().unwrap();
        rows.iter().find(|row| row["id"] == id).unwrap().clone()
    };
    let own = find(json!(info.types_id.unwrap()));
    assert_eq!(own["kernel"], false);
    assert!(own.get("name").is_none());
    let maps = own["map_ids"].as_array().unwrap();
    assert!(maps.contains(&json!(info.id.unwrap())), "{own}");
    let program = loaded.programs().next().unwrap().info().unwrap();
    assert_eq!(own["prog_ids"], json!([program.id]));
    assert_eq!(find(json!(1))["name"], "vmlinux");
    let number = info.types_id.unwrap().to_string();
    let dumped = workshop.run(&["btf", "dump", "--id", &number, "--format", "c"]);
    assert!(dumped.stdout.contains("struct flow"), "{dumped:?}");
    let none = workshop.run(&["btf", "dump", "--id", "4294967294"]);
    assert!(none.stderr.contains("btf list"), "{none:?}");
    let text = workshop.run(&["btf", "list"]).stdout;
    assert!(text.contains("vmlinux"), "{text}");
}

const OBJECT: &str = "attributes.bpf.o";

fn types_are_printed_as_json_c_and_layout() {
    let workshop = Workshop::new(User::Myself);
    workshop.put_fixture(OBJECT);
    let dump = |more: &[&str]| {
        let answer = workshop.run(&[&["btf", "dump", OBJECT, "--type", "sample"], more].concat());
        assert_eq!(answer.status, Some(0), "{answer:?}");
        answer
    };
    let document = dump(&["--json"]).last_document();
    let types = document["types"].as_array().unwrap();
    let named =
        |name: &str| -> &Value { types.iter().find(|found| found["name"] == name).unwrap() };
    assert_eq!(named("sample")["kind"], "TYPEDEF");
    assert_eq!(named("flow")["size"], 16);
    assert_eq!(named("flow")["members"][1]["bits_offset"], 64);
    assert!(named("flow")["members"][1].get("bitfield_size").is_none());

    let text = dump(&["--format", "c"]).stdout;
    for part in [
        "typedef struct {\n\tconst volatile __u8 tag;\n\tunion {\n",
        "\tstruct flow *next;\n} sample;\n",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    let document = dump(&["--format", "c", "--json"]).last_document();
    assert_eq!(
        document["text"].as_str().unwrap().trim_end(),
        text.trim_end()
    );

    let text = dump(&["--format", "layout"]).stdout;
    for part in [
        ": 24 bytes, 7 unused\n",
        "\n         1         7  (unused)\n",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    let document = dump(&["--format", "layout", "--json"]).last_document();
    assert_eq!(document["structs"][0]["unused_bits"], json!(56));
}

fn what_maps_hold_is_printed_as_rust() {
    let workshop = Workshop::new(User::Myself);
    workshop.put_fixture("flows.bpf.o");
    let dump = |more: &[&str]| {
        let all = [&["btf", "dump", "flows.bpf.o", "--maps"], more].concat();
        let answer = workshop.run(&all);
        assert_eq!(answer.status, Some(0), "{answer:?}");
        answer.stdout
    };
    let text = dump(&["--format", "rust"]);
    assert_eq!(
        text,
        include_str!("../../../twinbpf/tests/generated/flows.rs")
    );
    let bare = dump(&["--format", "rust", "--bare"]);
    assert!(!bare.contains("zerocopy") && bare.contains("pub struct flow_key"));
    assert!(!dump(&["--format", "layout"]).contains("__sk_buff"));
}

fn a_type_that_is_not_there_is_not_found() {
    let workshop = Workshop::new(User::Myself);
    workshop.put_fixture(OBJECT);
    let answer = workshop.run(&["btf", "dump", OBJECT, "--type", "nothing", "--json"]);
    assert_eq!(answer.status, Some(3), "{answer:?}");
    assert_eq!(answer.last_document()["error"]["kind"], "not_found");
}
