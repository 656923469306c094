//! The table of hooks in `docs/HOOKS.md` against the code: its texts are hooks, its tests exist, the vm lacks what it says.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use twinbpf::{Engine, Hook, Object};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The rows of the table: hook, text, since, shown by, seen on, vm.
fn rows() -> Vec<[String; 6]> {
    let text = fs::read_to_string(root().join("docs/HOOKS.md")).unwrap();
    let table = text.lines().filter(|line| line.starts_with("| "));
    let rows = table.map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        <[&str; 6]>::try_from(cells).unwrap().map(str::to_owned)
    });
    // The first is the heading.
    rows.skip(1).collect()
}

/// What stands between backquotes.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_text_in_the_table_of_hooks_is_a_hook() {
    let object = root().join("crates/twinbpf/examples/sockex1/sockex1.bpf.o");
    let object = Object::parse(&fs::read(object).unwrap()).unwrap();
    let loaded = Engine::vm().unwrap().load_object(&object).unwrap();
    let program = loaded.programs().next().unwrap();
    let mut seen = 0;
    for [_, texts, _, _, _, vm] in rows() {
        // A continuation of the text before it, or a call.
        let texts = quoted(&texts).into_iter();
        for text in texts.filter(|text| !text.starts_with("...") && !text.contains("::")) {
            let hook: Hook = text
                .parse()
                .unwrap_or_else(|error| panic!("{text}: {error}"));
            assert!(text.starts_with(hook.word()), "{text}");
            // A packet socket takes a privilege; what the vm lacks it says to everybody.
            if vm == "no" {
                let error = program.attach(&hook).unwrap_err();
                assert!(error.is_unsupported(), "{text}: {error}");
            }
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen} texts");
}

#[test]
fn every_test_in_the_table_of_hooks_exists() {
    let folder = root().join("crates/twinbpf/tests/attach");
    let files = fs::read_dir(folder).unwrap();
    let sources: String = files
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let mut seen = 0;
    for [hook, _, since, shown, _, _] in rows() {
        assert!(!since.is_empty(), "{hook}");
        for name in quoted(&shown) {
            let exists = match name.contains('/') {
                true => root().join(name).exists(),
                false => sources.contains(&format!("fn {name}()")),
            };
            assert!(exists, "{hook}: there is no `{name}`");
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen} tests");
}
