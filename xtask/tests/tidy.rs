//! What no compiler checks: file lengths, opening sentences, listed unsafe files, leftovers.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

/// No file is longer. A flat table may be.
const MOST_LINES: usize = 1000;

/// Words that mark unfinished work. Limits belong in `docs/LIMITS.md`, defects in a test.
const LEFTOVERS: &[&str] = &["TODO", "FIXME", "XXX", "unimplemented!", "todo!"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// Every Rust file of the workspace, with its text.
fn sources() -> Vec<(String, String)> {
    let mut files = Vec::new();
    for folder in ["crates", "xtask", "fuzz"] {
        collect(&root().join(folder), &mut files);
    }
    assert!(
        files.len() > 30,
        "the walk found only {} files",
        files.len()
    );
    files
}

fn collect(folder: &Path, files: &mut Vec<(String, String)>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        // What the command prints is data of tests, not source.
        let is_ours = !path.ends_with("target") && !path.ends_with("generated");
        if path.is_dir() && is_ours {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path
                .strip_prefix(root())
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            files.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

fn assert_none(wrong: &[String], rule: &str) {
    assert!(wrong.is_empty(), "{rule}:\n{}", wrong.join("\n"));
}

#[test]
fn no_file_is_longer_than_a_reader_can_hold() {
    let long = sources()
        .into_iter()
        .filter(|(_, text)| text.lines().count() > MOST_LINES);
    let long: Vec<String> = long
        .map(|(name, text)| format!("{name}: {} lines", text.lines().count()))
        .collect();
    assert_none(&long, "files over 1,000 lines");
}

#[test]
fn every_file_opens_with_its_purpose() {
    let silent = sources().into_iter().filter(|(_, text)| {
        !text
            .trim_start_matches("#![no_main]")
            .trim_start()
            .starts_with("//!")
    });
    assert_none(
        &silent.map(|(name, _)| name).collect::<Vec<_>>(),
        "files that do not open with `//!`",
    );
}

#[test]
fn nothing_is_left_open_in_code() {
    let mut left = Vec::new();
    for (name, text) in sources()
        .into_iter()
        .filter(|(name, _)| !name.ends_with("tests/tidy.rs"))
    {
        for (number, line) in text.lines().enumerate() {
            if LEFTOVERS.iter().any(|word| line.contains(word)) {
                left.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert_none(&left, "left open");
}

#[test]
fn files_with_unsafe_code_are_listed_and_listed_files_have_some() {
    let architecture = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let section = architecture.split("## Where the unsafe is").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let opens_unsafe = |text: &str| {
        let marked = ["expect(unsafe_code", "expect(\n    unsafe_code"]
            .iter()
            .any(|mark| text.contains(mark));
        marked
            || text
                .lines()
                .any(|line| line.trim_start().starts_with("unsafe_code,"))
    };
    let wrong: Vec<String> = sources()
        .into_iter()
        .filter(|(name, _)| !name.ends_with("tests/tidy.rs"))
        .filter(|(name, text)| opens_unsafe(text) != section.contains(&format!("`{name}`")))
        .map(|(name, _)| name)
        .collect();
    assert_none(
        &wrong,
        "unsafe files and the list in ARCHITECTURE.md differ",
    );
}

#[test]
fn pure_crates_forbid_unsafe_code() {
    for krate in ["object", "verify"] {
        let text =
            fs::read_to_string(root().join("crates").join(krate).join("src/lib.rs")).unwrap();
        assert!(
            text.contains("#![forbid(unsafe_code)]"),
            "crates/{krate}/src/lib.rs"
        );
    }
}
