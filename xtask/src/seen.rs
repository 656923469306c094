//! On which kernels the tests of each hook have passed, and the column of `docs/HOOKS.md` that says so.
//!
//! ```text
//! cargo xtask seen             tests on this kernel ─┐
//! cargo xtask guests --record  tests in guests ──────┴─> docs/hooks-seen.txt ──> the column "seen on"
//! ```
//!
//! The file has a kernel's series and a test a line. A test that ran again replaces what was known of it; one that was left out
//! is no longer said to have passed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A kernel's series, as numbers, and a test.
type Seen = BTreeSet<((u32, u32), String)>;

/// Where the column stands among a row's cells, and where the tests are named from which it follows.
const COLUMN: usize = 4;
const TESTS: usize = 3;
const CELLS: usize = 6;

/// Runs the hooks' tests on this kernel and writes what passed; with `is_check`, compares the column with what is known instead.
///
/// # Errors
///
/// If the tests cannot be run, a file cannot be read or written, or (checking) the column differs.
pub(crate) fn run(is_check: bool) -> Result<String, String> {
    if is_check {
        let document = read(&page())?;
        return match with_column(&document, &parse(&read(&known())?)) == document {
            true => Ok("the table of hooks says what the tests showed".to_owned()),
            false => Err(
                "docs/HOOKS.md differs from docs/hooks-seen.txt: run `cargo xtask seen`".to_owned(),
            ),
        };
    }
    let release = read(Path::new("/proc/sys/kernel/osrelease"))?;
    let output = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["test", "--locked", "-p", "twinbpf", "--test", "attach"])
        .output()
        .map_err(|error| format!("cargo: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    record(&release, text.lines())
}

/// Takes what a test run on a kernel wrote into the file of results, and brings the table up to date.
///
/// # Errors
///
/// If a file cannot be read or written, or no test ran.
pub(crate) fn record<'a>(
    release: &str,
    lines: impl Iterator<Item = &'a str>,
) -> Result<String, String> {
    let series = series(release).ok_or_else(|| format!("`{release}` is no kernel's release"))?;
    let mut seen = parse(&read(&known())?);
    let mut ran = 0;
    for (name, has_passed) in lines.filter_map(outcome) {
        let row = (series, name.to_owned());
        ran += 1;
        match has_passed {
            true => seen.insert(row),
            false => seen.remove(&row),
        };
    }
    if ran == 0 {
        return Err(format!("{}.{}: no test ran", series.0, series.1));
    }
    write(&known(), &text_of(&seen))?;
    let document = with_column(&read(&page())?, &seen);
    write(&page(), &document)?;
    let passed = seen.iter().filter(|(each, _)| *each == series).count();
    Ok(format!(
        "{}.{}: {ran} tests, {passed} known to pass",
        series.0, series.1
    ))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn page() -> PathBuf {
    root().join("docs/HOOKS.md")
}

fn known() -> PathBuf {
    root().join("docs/hooks-seen.txt")
}

fn read(file: &Path) -> Result<String, String> {
    fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))
}

/// `6.12` of `6.12.117-cloud-amd64`.
fn series(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.trim().split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// A test's name without its module, and whether it passed: `test traced::it_runs   ... ok`. Tests that were left out did not.
fn outcome(line: &str) -> Option<(&str, bool)> {
    let (name, end) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    let name = name.rsplit_once("] ").map_or(name, |(_, name)| name).trim();
    let name = name.rsplit("::").next().unwrap_or(name);
    Some((name, end == "ok"))
}

fn parse(text: &str) -> Seen {
    let rows = text.lines().filter_map(|line| line.split_once(' '));
    rows.filter_map(|(release, name)| Some((series(release)?, name.to_owned())))
        .collect()
}

fn text_of(seen: &Seen) -> String {
    let line = |((major, minor), name): &((u32, u32), String)| format!("{major}.{minor} {name}\n");
    seen.iter().map(line).collect()
}

/// The document with the column of its table computed anew.
fn with_column(document: &str, seen: &Seen) -> String {
    let lines = document.lines().map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
        let is_row = line.starts_with("| ") && cells.len() == CELLS && !line.starts_with("| hook");
        if !is_row {
            return format!("{line}\n");
        }
        let column = format!(" {} ", seen_on(cells[TESTS], seen));
        let mut cells = cells;
        cells[COLUMN] = &column;
        format!("|{}|\n", cells.join("|"))
    });
    lines.collect()
}

/// The kernels on which the tests between backquotes passed; where not all of them did, how many.
fn seen_on(shown_by: &str, seen: &Seen) -> String {
    let tests: Vec<&str> = shown_by.split('`').skip(1).step_by(2).collect();
    let kernels: BTreeSet<(u32, u32)> = seen.iter().map(|(series, _)| *series).collect();
    let cells: Vec<String> = kernels
        .into_iter()
        .filter_map(|(major, minor)| {
            let is_seen = |test: &&&str| seen.contains(&((major, minor), (**test).to_owned()));
            match tests.iter().filter(is_seen).count() {
                0 => None,
                all if all == tests.len() => Some(format!("{major}.{minor}")),
                some => Some(format!("{major}.{minor} ({some} of {})", tests.len())),
            }
        })
        .collect();
    match cells.is_empty() {
        true => "nowhere yet".to_owned(),
        false => cells.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_hooks_says_what_the_tests_showed() {
        run(true).unwrap();
    }

    #[test]
    fn a_test_that_ran_is_read_with_its_outcome() {
        let lines = [
            "test traced::it_runs    ... ok",
            "test [needs `ip`] network::it_waits ... ignored",
            "test it_fails ... FAILED",
            "test result: ok. 1 passed",
            "a line",
        ];
        let outcomes: Vec<_> = lines.into_iter().filter_map(outcome).collect();
        assert_eq!(
            outcomes,
            [("it_runs", true), ("it_waits", false), ("it_fails", false)]
        );
    }

    #[test]
    fn kernels_are_named_where_tests_passed() {
        let seen = parse("6.12 a\n6.1 a\n6.1 b\nnonsense\n");
        assert_eq!(seen_on("`a`", &seen), "6.1, 6.12");
        assert_eq!(seen_on("`a`, `b`", &seen), "6.1, 6.12 (1 of 2)");
        assert_eq!(seen_on("not tried", &seen), "nowhere yet");
        let text =
            "words | here\n| hook | t | s | by | on | vm |\n| x | t | s | `b` | old | no |\n";
        let new = "words | here\n| hook | t | s | by | on | vm |\n| x | t | s | `b` | 6.1 | no |\n";
        assert_eq!(with_column(text, &seen), new);
        assert_eq!(parse(&text_of(&seen)), seen);
    }
}
