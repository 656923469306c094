//! The error matrix: one clear cause each, at most one screen, its own exit status, and a whole JSON document.

use serde_json::Value;
use twinbpf_trials::{Case, Need};

use crate::support::{User, Workshop, fixture, put_with_map};

/// Lines of a screen.
const SCREEN: usize = 25;

const OBJECT: &str = "sockex1_legacy20.bpf.o";

/// One row of the matrix.
#[derive(Clone, Copy)]
struct Row {
    name: &'static str,
    needs: &'static [Need],
    user: User,
    /// Puts into the folder what the command line names.
    prepare: fn(&Workshop),
    arguments: &'static [&'static str],
    status: i32,
    /// The code, or how it starts where kernels differ.
    code: &'static str,
    kind: &'static str,
    /// What the text must say.
    says: &'static [&'static str],
}

const ORDINARY: Row = Row {
    name: "",
    needs: &[],
    user: User::Ordinary,
    prepare: |_| {},
    arguments: &[],
    status: 0,
    code: "",
    kind: "",
    says: &[],
};

const PRIVILEGED: Row = Row {
    needs: &[Need::Kernel],
    user: User::Myself,
    ..ORDINARY
};

const IN_PRIVATE_NETWORK: Row = Row {
    needs: &[Need::UserNamespaces],
    ..ORDINARY
};

const FILES: &[Row] = &[
    Row {
        name: "a_missing_file",
        arguments: &["run", "nosuch.o"],
        status: 3,
        code: "O001",
        kind: "not_found",
        says: &["nosuch.o: no such file"],
        ..ORDINARY
    },
    Row {
        name: "a_text_file",
        prepare: |workshop| drop(workshop.put("hello.o", b"hello, world\n")),
        arguments: &["run", "hello.o"],
        status: 6,
        code: "O004",
        kind: "bad_object",
        says: &["hello.o: not an ELF file", "hello, world"],
        ..ORDINARY
    },
    Row {
        name: "an_executable_of_this_machine",
        arguments: &["run", "twinbpf"],
        status: 6,
        code: "O005",
        kind: "bad_object",
        says: &["twinbpf: this is an", "executable, not BPF", "hint: "],
        ..ORDINARY
    },
    Row {
        name: "a_truncated_object",
        prepare: |workshop| drop(workshop.put("cut.o", &fixture(OBJECT)[..300])),
        arguments: &["run", "cut.o"],
        status: 6,
        code: "O007",
        kind: "bad_object",
        says: &["cut.o: "],
        ..ORDINARY
    },
    Row {
        name: "an_empty_file",
        prepare: |workshop| drop(workshop.put("empty.o", b"")),
        arguments: &["run", "empty.o"],
        status: 6,
        code: "O003",
        kind: "bad_object",
        says: &["empty.o: the file is empty"],
        ..ORDINARY
    },
    Row {
        name: "a_folder",
        arguments: &["inspect", "."],
        status: 2,
        code: "O002",
        kind: "usage",
        says: &["a directory, not a file"],
        ..ORDINARY
    },
    Row {
        name: "a_malformed_capture",
        prepare: |workshop| {
            workshop.put_fixture(OBJECT);
            workshop.put("hello.pcap", b"hello, world\n");
        },
        arguments: &["run", OBJECT, "--pcap", "hello.pcap"],
        status: 6,
        code: "H001",
        kind: "bad_object",
        says: &["hello.pcap: "],
        ..ORDINARY
    },
];

const MAPS: &[Row] = &[
    Row {
        name: "a_map_attribute_that_breaks_a_rule::vm",
        prepare: |workshop| put_with_map(workshop, "odd.o", [2, 8, 8, 256, 0]),
        arguments: &["run", "odd.o", "--engine", "vm", "--type", "socket"],
        status: 5,
        code: "M001",
        kind: "rejected",
        says: &["map `my_map`", "key", "8 bytes", "EINVAL"],
        ..ORDINARY
    },
    Row {
        name: "a_map_attribute_that_breaks_a_rule::kernel",
        prepare: |workshop| put_with_map(workshop, "odd.o", [2, 8, 8, 256, 0]),
        arguments: &["run", "odd.o", "--engine", "kernel", "--type", "socket"],
        status: 5,
        code: "M001",
        kind: "rejected",
        says: &["map `my_map`", "key", "8 bytes", "EINVAL"],
        ..PRIVILEGED
    },
    Row {
        name: "a_map_too_large_for_memory::vm",
        prepare: |workshop| put_with_map(workshop, "odd.o", [2, 4, 8, u32::MAX, 0]),
        arguments: &["run", "odd.o", "--engine", "vm", "--type", "socket"],
        status: 8,
        code: "M003",
        kind: "limit",
        says: &["map `my_map`"],
        ..ORDINARY
    },
    Row {
        name: "a_map_too_large_for_memory::kernel",
        prepare: |workshop| put_with_map(workshop, "odd.o", [2, 4, 1 << 20, 1 << 30, 0]),
        arguments: &["run", "odd.o", "--engine", "kernel", "--type", "socket"],
        status: 8,
        code: "M003",
        kind: "limit",
        says: &["map `my_map`"],
        ..PRIVILEGED
    },
    Row {
        name: "a_map_type_that_nobody_knows::kernel",
        prepare: |workshop| put_with_map(workshop, "odd.o", [4000, 4, 8, 256, 0]),
        arguments: &["run", "odd.o", "--engine", "kernel", "--type", "socket"],
        status: 7,
        code: "M004",
        kind: "unsupported",
        says: &["map `my_map`"],
        ..PRIVILEGED
    },
    Row {
        name: "a_map_name_that_is_not_there",
        prepare: |workshop| drop(workshop.put_fixture(OBJECT)),
        arguments: &[
            "run", OBJECT, "--engine", "vm", "--type", "socket", "--watch", "other",
        ],
        status: 3,
        code: "M006",
        kind: "not_found",
        says: &["no map `other`", "my_map"],
        ..ORDINARY
    },
];

const PROGRAMS: &[Row] = &[
    Row {
        name: "a_program_that_the_verifier_rejects",
        prepare: |workshop| drop(workshop.put_fixture("null_value.bpf.o")),
        arguments: &["run", "null_value.bpf.o", "--engine", "kernel"],
        status: 5,
        code: "V001",
        kind: "rejected",
        says: &["program `null_value`", "map_value_or_null", "insn "],
        ..PRIVILEGED
    },
    Row {
        name: "a_program_that_never_ends",
        prepare: |workshop| drop(workshop.put_fixture("endless.bpf.o")),
        arguments: &["run", "endless.bpf.o", "--engine", "kernel"],
        status: 5,
        code: "V",
        kind: "rejected",
        says: &["program `endless`"],
        ..PRIVILEGED
    },
    Row {
        name: "no_privilege",
        needs: &[Need::ClosedBpf],
        prepare: |workshop| drop(workshop.put_fixture(OBJECT)),
        arguments: &["run", OBJECT, "--engine", "kernel", "--attach", "socket:lo"],
        status: 4,
        code: "M002",
        kind: "permission",
        says: &["map `my_map`", "CAP_BPF", "--engine vm"],
        ..ORDINARY
    },
    Row {
        name: "a_program_without_a_type",
        prepare: |workshop| drop(workshop.put_fixture(OBJECT)),
        arguments: &["run", OBJECT, "--engine", "vm"],
        status: 2,
        code: "P001",
        kind: "usage",
        says: &["section `socket1`", "--type socket_filter"],
        ..ORDINARY
    },
    Row {
        name: "a_program_of_the_wrong_type_for_its_hook",
        prepare: |workshop| drop(workshop.put_fixture(OBJECT)),
        arguments: &[
            "run",
            OBJECT,
            "--engine",
            "vm",
            "--type",
            "socket1=kprobe",
            "--",
            "true",
        ],
        status: 2,
        code: "A003",
        kind: "usage",
        says: &["attached to socket:lo", "kprobe", "--type"],
        ..IN_PRIVATE_NETWORK
    },
];

const AROUND: &[Row] = &[
    Row {
        name: "an_interface_that_is_not_there",
        prepare: |workshop| drop(workshop.put_fixture(OBJECT)),
        arguments: &[
            "run",
            OBJECT,
            "--engine",
            "vm",
            "--attach",
            "socket:nosuch0",
            "--",
            "true",
        ],
        status: 3,
        code: "A002",
        kind: "not_found",
        says: &["`nosuch0`", "lo"],
        ..IN_PRIVATE_NETWORK
    },
    Row {
        name: "a_command_that_is_not_there",
        prepare: |workshop| drop(workshop.put_fixture(OBJECT)),
        arguments: &["run", OBJECT, "--engine", "vm", "--", "./nosuch"],
        status: 3,
        code: "H004",
        kind: "not_found",
        says: &["no command `./nosuch`"],
        ..IN_PRIVATE_NETWORK
    },
    Row {
        name: "a_capture_for_the_kernel",
        prepare: |workshop| drop(workshop.put_fixture(OBJECT)),
        arguments: &["run", OBJECT, "--engine", "kernel", "--pcap", "lo.pcap"],
        status: 7,
        code: "A005",
        kind: "unsupported",
        says: &["cannot replay a capture", "--engine vm"],
        ..ORDINARY
    },
    Row {
        name: "an_argument_that_makes_no_sense",
        arguments: &["run", "some.o", "--attach", "sokcet:lo"],
        status: 2,
        code: "H006",
        kind: "usage",
        says: &["sokcet:lo", "socket:INTERFACE"],
        ..ORDINARY
    },
];

pub(crate) fn cases() -> Vec<Case> {
    [FILES, MAPS, PROGRAMS, AROUND]
        .concat()
        .into_iter()
        .map(|row| {
            let name = format!("errors::{}", row.name);
            Case::new(&name, row.needs, move || check(&row))
        })
        .collect()
}

fn check(row: &Row) {
    let workshop = Workshop::new(row.user);
    (row.prepare)(&workshop);
    let text = workshop.run(row.arguments);
    assert_eq!(text.status, Some(row.status), "{text:?}");
    assert_eq!(text.stdout, "");
    assert!(text.stderr.lines().count() <= SCREEN, "{}", text.stderr);
    for part in row.says {
        assert!(
            text.stderr.contains(part),
            "{part:?} is not in\n{}",
            text.stderr
        );
    }

    // Right behind the subcommand, because what follows `--` is not ours.
    let mut arguments = row.arguments.to_vec();
    arguments.insert(1, "--json");
    let json = workshop.run(&arguments);
    assert_eq!(json.status, Some(row.status), "{json:?}");
    let documents = json.documents();
    assert_eq!(documents.len(), 1, "{json:?}");
    assert_eq!(documents[0]["ok"], false);
    is_whole(&documents[0]["error"]);
    let code = documents[0]["error"]["code"].as_str().unwrap();
    assert!(code.starts_with(row.code), "{json:?}");
    assert_eq!(documents[0]["error"]["kind"], row.kind, "{json:?}");
}

/// Every field is there, whether or not it has a value.
fn is_whole(error: &Value) {
    let fields = error.as_object().unwrap();
    for name in [
        "code",
        "title",
        "kind",
        "stage",
        "category",
        "message",
        "text",
        "context",
        "place",
        "related",
        "facts",
        "help",
        "kernel_text",
        "errno",
    ] {
        assert!(fields.contains_key(name), "{name} is missing: {error}");
    }
    let place = error["place"].as_object().unwrap();
    for name in [
        "file", "section", "offset", "map", "program", "insn", "source",
    ] {
        assert!(place.contains_key(name), "{name} is missing: {error}");
    }
    assert!(!error["message"].as_str().unwrap().is_empty());
}
