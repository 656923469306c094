//! Fuzzing with the stable compiler: builds the targets of `fuzz/` with coverage counters and runs each for a while.
//!
//! Sanitizers need a nightly compiler and `cargo fuzz`; this finds panics, overflows and hangs, which is what safe code can do
//! wrong. What is found stays in `fuzz/artifacts`, and belongs into a test.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A target, and the files its corpus starts from.
struct Target {
    name: &'static str,
    seeds: Option<&'static str>,
}

const TARGETS: &[Target] = &[
    Target {
        name: "object",
        seeds: Some("testdata/bpf"),
    },
    Target {
        name: "capture",
        seeds: None,
    },
    Target {
        name: "program",
        seeds: None,
    },
    Target {
        name: "btf",
        seeds: Some("fuzz/seeds/btf"),
    },
    Target {
        name: "btf_ext",
        seeds: Some("fuzz/seeds/btf_ext"),
    },
    Target {
        name: "combine",
        seeds: Some("testdata/bpf"),
    },
    Target {
        name: "assembly",
        seeds: Some("fuzz/seeds/assembly"),
    },
    Target {
        name: "verifier_log",
        seeds: Some("fuzz/seeds/verifier_log"),
    },
];

/// What makes the compiler insert the counters that libFuzzer reads, and keep its overflow checks.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cdebug-assertions -Coverflow-checks -Ccodegen-units=1";

/// Runs the target called `name`, or every one, for `seconds`.
///
/// # Errors
///
/// If there is no such target, the build fails (libFuzzer needs a C++ compiler), or a target finds something.
pub(crate) fn run(seconds: u32, name: Option<&str>) -> Result<String, String> {
    let chosen: Vec<&Target> = TARGETS
        .iter()
        .filter(|target| name.is_none_or(|name| name == target.name))
        .collect();
    if chosen.is_empty() {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        return Err(format!(
            "there is no such target; there are {}",
            names.join(", ")
        ));
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .ok_or("xtask lies in the repository")?;
    let built = root.join("target/fuzz");
    build(root, &built)?;
    let mut summary = String::new();
    for target in chosen {
        let binary = built.join(platform()).join("release").join(target.name);
        let runs = run_target(root, target, &binary, seconds)?;
        summary.push_str(&format!("{}: {runs}, no finding\n", target.name));
    }
    Ok(summary)
}

fn platform() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

fn build(root: &Path, built: &Path) -> Result<(), String> {
    let status = Command::new("cargo")
        .args([
            "build",
            "--release",
            "--locked",
            "--quiet",
            "--target",
            &platform(),
            "--target-dir",
        ])
        .arg(built)
        .current_dir(root.join("fuzz"))
        .env("RUSTFLAGS", FLAGS)
        .status()
        .map_err(|error| format!("cargo does not start: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(
            "the fuzz targets do not build; cargo said why (libFuzzer itself needs a C++ compiler)"
                .to_owned(),
        )
    }
}

fn run_target(root: &Path, target: &Target, binary: &Path, seconds: u32) -> Result<String, String> {
    let artifacts = folder(root.join("fuzz/artifacts").join(target.name))?;
    let corpus = folder(root.join("fuzz/corpus-work").join(target.name))?;
    let mut prefix = OsString::from("-artifact_prefix=");
    prefix.push(artifacts.join(""));
    let mut command = Command::new(binary);
    command
        .arg(format!("-max_total_time={seconds}"))
        .args(["-print_final_stats=1", "-timeout=10"])
        .arg(prefix)
        .arg(corpus);
    command.args(target.seeds.map(|seeds| root.join(seeds)));
    let output = command
        .output()
        .map_err(|error| format!("{} does not start: {error}", binary.display()))?;
    let report = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        let end: Vec<&str> = report.lines().rev().take(20).collect();
        let end: Vec<&str> = end.into_iter().rev().collect();
        return Err(format!(
            "{} found something, kept in {}:\n{}",
            target.name,
            artifacts.display(),
            end.join("\n")
        ));
    }
    let runs = report
        .lines()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    Ok(format!(
        "{} runs in {seconds} s",
        runs.map_or("?", str::trim)
    ))
}

fn folder(path: PathBuf) -> Result<PathBuf, String> {
    fs::create_dir_all(&path)
        .map_err(|error| format!("{} cannot be made: {error}", path.display()))?;
    Ok(path)
}
