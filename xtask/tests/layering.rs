//! Arrows between crates and between modules point one way only. These tables hold the allowed ones.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A name, and the names it may use.
type Row = (&'static str, &'static [&'static str]);

/// Each crate, and the crates of this workspace it may use outside tests.
const CRATES: &[Row] = &[
    ("object", &[]),
    ("shm", &[]),
    ("verify", &["object"]),
    ("kernel", &["object", "shm", "verify"]),
    ("vm", &["object", "shm", "verify"]),
    ("twinbpf", &["object", "kernel", "verify", "vm"]),
    ("cli", &["twinbpf"]),
    ("trials", &[]),
];

/// Each module of a crate, and the modules of the same crate it may use. Nothing else.
const MODULES: &[(&str, &[Row])] = &[
    (
        "object",
        &[
            ("abi", &[]),
            ("bytes", &[]),
            ("order", &[]),
            ("diagnosis", &["abi"]),
            ("insn", &["abi", "bytes", "diagnosis"]),
            ("btf", &["bytes", "diagnosis", "order"]),
            ("target", &["btf", "bytes", "order"]),
            ("elf", &["bytes", "diagnosis", "order"]),
            (
                "spec",
                &["abi", "btf", "bytes", "diagnosis", "insn", "order"],
            ),
            ("map_rules", &["abi", "spec", "target"]),
            ("test_run", &[]),
            ("ring", &[]),
            ("hook", &["abi", "diagnosis"]),
            ("value", &["btf", "bytes", "diagnosis", "spec"]),
            (
                "parse",
                &[
                    "abi",
                    "btf",
                    "bytes",
                    "diagnosis",
                    "elf",
                    "insn",
                    "order",
                    "spec",
                ],
            ),
            (
                "core",
                &["btf", "diagnosis", "insn", "order", "spec", "target"],
            ),
            (
                "combine",
                &["btf", "bytes", "diagnosis", "elf", "insn", "order"],
            ),
            (
                "link",
                &[
                    "abi",
                    "btf",
                    "core",
                    "diagnosis",
                    "insn",
                    "order",
                    "spec",
                    "target",
                ],
            ),
        ],
    ),
    (
        "verify",
        &[
            ("line", &[]),
            ("reason", &[]),
            ("detail", &[]),
            ("structured", &[]),
            ("trace", &["line"]),
            ("log", &["line", "structured", "trace"]),
            ("origin", &["line", "trace"]),
            ("cycle", &["line", "trace"]),
            ("pasted", &["line"]),
            ("places", &["cycle", "detail", "log", "origin", "trace"]),
        ],
    ),
    (
        "shm",
        &[
            ("access", &[]),
            ("bytes", &["access"]),
            ("constant", &[]),
            ("read_only", &["bytes"]),
        ],
    ),
    (
        "kernel",
        &[
            ("attr", &[]),
            ("host", &[]),
            ("externs", &["host"]),
            ("privilege", &["host"]),
            ("prints", &["host", "privilege"]),
            ("facts", &["host", "privilege"]),
            ("sys", &["attr"]),
            ("fd_info", &[]),
            ("map_fd", &["attr", "sys"]),
            ("map_error", &["host", "privilege"]),
            ("mapped", &[]),
            ("module_types", &["privilege", "sys"]),
            ("listed_types", &["host", "privilege", "sys"]),
            ("btf", &["attr", "host", "sys"]),
            (
                "map",
                &[
                    "attr",
                    "btf",
                    "fd_info",
                    "host",
                    "map_error",
                    "map_fd",
                    "mapped",
                ],
            ),
            ("ring_memory", &[]),
            ("ring", &["map", "ring_memory"]),
            (
                "perf_buffer",
                &["attr", "host", "map", "ring_memory", "sys"],
            ),
            ("types", &["host"]),
            ("token", &["host", "sys"]),
            ("interface", &["types"]),
            (
                "program",
                &[
                    "attr",
                    "btf",
                    "fd_info",
                    "host",
                    "interface",
                    "map",
                    "map_fd",
                    "module_types",
                    "privilege",
                    "sys",
                    "types",
                ],
            ),
            (
                "present",
                &[
                    "attr",
                    "fd_info",
                    "host",
                    "map",
                    "map_fd",
                    "privilege",
                    "sys",
                    "types",
                ],
            ),
            (
                "pin",
                &[
                    "facts", "fd_info", "host", "map", "map_fd", "present", "program", "sys",
                ],
            ),
            (
                "struct_ops",
                &[
                    "attr",
                    "host",
                    "interface",
                    "map",
                    "map_error",
                    "map_fd",
                    "program",
                    "types",
                ],
            ),
            ("device", &[]),
            ("holder", &[]),
            ("netlink", &["sys"]),
            (
                "attached",
                &["attr", "device", "netlink", "privilege", "sys"],
            ),
            (
                "filter",
                &[
                    "attr",
                    "device",
                    "holder",
                    "netlink",
                    "privilege",
                    "program",
                ],
            ),
            (
                "route",
                &[
                    "attr",
                    "device",
                    "holder",
                    "netlink",
                    "privilege",
                    "program",
                ],
            ),
            ("socket", &["device", "privilege", "program", "sys"]),
            (
                "xdp",
                &["attr", "device", "host", "netlink", "privilege", "program"],
            ),
            (
                "link",
                &[
                    "attr",
                    "device",
                    "host",
                    "map",
                    "map_fd",
                    "pin",
                    "privilege",
                    "program",
                    "sys",
                    "xdp",
                ],
            ),
            ("test_run", &["program"]),
            ("copier", &["btf", "map", "program", "test_run", "types"]),
        ],
    ),
    (
        "vm",
        &[
            ("config", &[]),
            ("semantics", &[]),
            ("context", &[]),
            ("fault", &[]),
            ("window", &[]),
            ("code", &["semantics"]),
            ("provenance", &["fault"]),
            ("reach", &[]),
            ("presence", &[]),
            ("handles", &["window"]),
            ("trace", &[]),
            ("surroundings", &["config", "trace"]),
            ("maps", &["handles", "presence", "semantics", "window"]),
            ("objects", &["window"]),
            ("held", &["fault", "maps", "objects"]),
            ("machine", &["maps", "window"]),
            ("packet", &[]),
            ("timers", &["maps"]),
            ("common", &["objects", "surroundings", "timers"]),
            (
                "run",
                &[
                    "common",
                    "config",
                    "context",
                    "fault",
                    "handles",
                    "held",
                    "machine",
                    "maps",
                    "packet",
                    "provenance",
                    "semantics",
                    "window",
                ],
            ),
            (
                "helpers",
                &[
                    "context",
                    "objects",
                    "packet",
                    "fault",
                    "handles",
                    "held",
                    "maps",
                    "provenance",
                    "run",
                    "semantics",
                    "timers",
                    "window",
                ],
            ),
            (
                "kfuncs",
                &[
                    "fault",
                    "held",
                    "helpers",
                    "maps",
                    "run",
                    "semantics",
                    "window",
                ],
            ),
            (
                "jit",
                &[
                    "code",
                    "config",
                    "fault",
                    "handles",
                    "helpers",
                    "machine",
                    "maps",
                    "run",
                    "semantics",
                    "window",
                ],
            ),
            ("jit_absent", &["config", "fault", "maps", "run"]),
            (
                "program",
                &[
                    "code",
                    "config",
                    "handles",
                    "helpers",
                    "jit",
                    "kfuncs",
                    "maps",
                    "presence",
                    "reach",
                    "run",
                    "semantics",
                    "window",
                ],
            ),
            (
                "interpret",
                &["code", "fault", "program", "run", "semantics", "window"],
            ),
            (
                "checked",
                &[
                    "code",
                    "context",
                    "fault",
                    "helpers",
                    "maps",
                    "program",
                    "provenance",
                    "run",
                    "semantics",
                    "window",
                ],
            ),
            (
                "execute",
                &["checked", "config", "fault", "interpret", "program", "run"],
            ),
            (
                "shared",
                &["common", "config", "handles", "kfuncs", "window"],
            ),
            (
                "worker",
                &[
                    "config",
                    "context",
                    "execute",
                    "fault",
                    "held",
                    "machine",
                    "program",
                    "provenance",
                    "run",
                    "shared",
                    "timers",
                    "window",
                ],
            ),
            ("vouched", &[]),
            (
                "vm",
                &[
                    "common",
                    "config",
                    "kfuncs",
                    "maps",
                    "objects",
                    "presence",
                    "program",
                    "shared",
                    "surroundings",
                    "timers",
                    "trace",
                    "vouched",
                    "window",
                    "worker",
                ],
            ),
            ("capture", &[]),
            ("live", &["capture"]),
            (
                "hooks",
                &[
                    "capture",
                    "context",
                    "fault",
                    "live",
                    "presence",
                    "program",
                    "run",
                    "semantics",
                    "vm",
                    "worker",
                ],
            ),
        ],
    ),
    (
        "twinbpf",
        &[
            ("engine_kind", &[]),
            ("object_file", &[]),
            ("namespace", &[]),
            ("plain_value", &[]),
            ("map_error", &["plain_value"]),
            ("program", &["engine_kind"]),
            ("packet_replay", &["program"]),
            ("link", &["program"]),
            ("raw_map", &["engine_kind", "map_error", "program"]),
            ("engine", &["engine_kind", "raw_map"]),
            ("walk", &["map_error", "raw_map"]),
            ("batch", &["map_error", "raw_map", "walk"]),
            ("dump", &["batch", "raw_map"]),
            ("keyless", &["map_error", "raw_map"]),
            ("map_info", &["batch", "map_error", "raw_map"]),
            ("sharing", &["engine", "map_info", "raw_map"]),
            ("map_value", &["map_error"]),
            ("lpm", &[]),
            ("layout", &["lpm", "map_value"]),
            ("ring", &["map_error", "map_value", "raw_map"]),
            ("user_ring", &["map_error", "raw_map", "ring"]),
            ("perf_buffer", &["raw_map", "ring"]),
            ("stream", &["map_error", "perf_buffer", "raw_map", "ring"]),
            (
                "map",
                &[
                    "batch",
                    "engine",
                    "layout",
                    "map_error",
                    "map_info",
                    "map_value",
                    "raw_map",
                    "walk",
                ],
            ),
            ("variable", &["raw_map"]),
            (
                "loaded",
                &[
                    "layout",
                    "map",
                    "map_value",
                    "program",
                    "raw_map",
                    "variable",
                ],
            ),
            ("attach", &["engine", "link", "loaded", "program"]),
            ("loader", &["engine", "loaded", "program", "raw_map"]),
        ],
    ),
    (
        "cli",
        &[
            ("error_document", &[]),
            ("exit", &[]),
            ("hex", &[]),
            ("object_file", &[]),
            ("table", &[]),
            ("typed", &[]),
            ("output", &["error_document"]),
            ("btf_file", &["object_file"]),
            (
                "btf",
                &["btf_file", "exit", "object_file", "output", "table"],
            ),
            ("choice", &[]),
            ("target_choice", &["btf_file", "object_file"]),
            ("program_types", &["choice", "output"]),
            (
                "check",
                &[
                    "choice",
                    "error_document",
                    "exit",
                    "object_file",
                    "output",
                    "program_types",
                    "table",
                    "target_choice",
                ],
            ),
            (
                "explain",
                &["error_document", "exit", "object_file", "output"],
            ),
            ("doctor", &["exit", "output"]),
            ("cleanup", &["exit", "output", "table"]),
            ("feature", &["btf_file", "exit", "output", "table"]),
            ("generate", &["btf_file", "exit", "object_file", "output"]),
            ("assembly", &["exit", "hex", "object_file", "output"]),
            (
                "prog",
                &[
                    "choice",
                    "error_document",
                    "exit",
                    "hex",
                    "object_file",
                    "output",
                    "program_types",
                    "table",
                    "target_choice",
                ],
            ),
            (
                "replay",
                &[
                    "choice",
                    "error_document",
                    "exit",
                    "object_file",
                    "output",
                    "prog",
                    "program_types",
                    "table",
                    "target_choice",
                ],
            ),
            ("link", &["exit", "output", "prog", "table"]),
            ("attached", &["exit", "link", "output", "table"]),
            (
                "inspect",
                &[
                    "exit",
                    "object_file",
                    "output",
                    "table",
                    "target_choice",
                    "typed",
                ],
            ),
            (
                "map",
                &["choice", "exit", "object_file", "output", "table", "typed"],
            ),
            (
                "args",
                &[
                    "assembly",
                    "attached",
                    "btf",
                    "check",
                    "choice",
                    "cleanup",
                    "doctor",
                    "explain",
                    "feature",
                    "generate",
                    "inspect",
                    "map",
                    "link",
                    "prog",
                    "replay",
                    "target_choice",
                ],
            ),
            (
                "run",
                &[
                    "args",
                    "choice",
                    "exit",
                    "object_file",
                    "output",
                    "program_types",
                ],
            ),
        ],
    ),
];

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .join("crates")
}

#[test]
fn crates_only_use_what_the_table_allows() {
    let mut wrong = Vec::new();
    for (krate, allowed) in CRATES {
        let manifest = fs::read_to_string(crates().join(krate).join("Cargo.toml")).unwrap();
        let normal = manifest.split("[dev-dependencies]").next().unwrap();
        let dependencies = normal.split("[dependencies]").nth(1).unwrap_or_default();
        for line in dependencies
            .lines()
            .filter(|line| line.starts_with("twinbpf"))
        {
            let name: String = line
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '-')
                .collect();
            let used = name
                .strip_prefix("twinbpf-")
                .unwrap_or("twinbpf")
                .to_owned();
            if !allowed.contains(&used.as_str()) {
                wrong.push(format!("crates/{krate}/Cargo.toml: uses `{name}`"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "arrows that the table does not allow:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn modules_only_use_what_the_table_allows() {
    let mut wrong = Vec::new();
    for (krate, modules) in MODULES {
        let source = crates().join(krate).join("src");
        let known: BTreeSet<&str> = modules.iter().map(|(module, _)| *module).collect();
        for module in modules_of(&source) {
            if !known.contains(module.as_str()) {
                wrong.push(format!(
                    "crates/{krate}: module `{module}` has no row in the table"
                ));
            }
        }
        for (module, allowed) in *modules {
            for (file, text) in files_of(&source, module) {
                for (line, used) in uses(&text) {
                    if used != *module
                        && known.contains(used.as_str())
                        && !allowed.contains(&used.as_str())
                    {
                        wrong.push(format!("{}:{line}: uses `{used}`", file.display()));
                    }
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "arrows that the table does not allow:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn tables_have_no_cycle() {
    for (krate, modules) in MODULES {
        let mut placed: BTreeSet<&str> = BTreeSet::new();
        for (module, allowed) in *modules {
            let missing: Vec<_> = allowed
                .iter()
                .filter(|used| !placed.contains(*used))
                .collect();
            assert!(
                missing.is_empty(),
                "{krate}: `{module}` stands before {missing:?}, which it uses"
            );
            placed.insert(module);
        }
    }
}

/// Names of the modules directly below `source`.
fn modules_of(source: &Path) -> BTreeSet<String> {
    let names = fs::read_dir(source)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let names = names.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned());
    names
        .filter(|name| name != "lib" && name != "main")
        .collect()
}

/// The files of a module: `module.rs`, or everything in `module/`.
fn files_of(source: &Path, module: &str) -> Vec<(PathBuf, String)> {
    let mut paths = vec![source.join(format!("{module}.rs"))];
    paths.extend(
        fs::read_dir(source.join(module))
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().path()),
    );
    paths
        .into_iter()
        .filter_map(|path| fs::read_to_string(&path).ok().map(|text| (path, text)))
        .collect()
}

/// Modules that a text names after `crate::`, groups included, with the line.
fn uses(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for after in line.split("crate::").skip(1) {
            let names: Vec<String> = match after.strip_prefix('{') {
                Some(group) => group
                    .split('}')
                    .next()
                    .unwrap()
                    .split(',')
                    .map(first_name)
                    .collect(),
                None => vec![first_name(after)],
            };
            found.extend(
                names
                    .into_iter()
                    .filter(|name| !name.is_empty())
                    .map(|name| (number + 1, name)),
            );
        }
    }
    found
}

fn first_name(text: &str) -> String {
    text.trim_start()
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}
