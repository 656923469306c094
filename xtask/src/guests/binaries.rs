//! What runs in a guest: the test binaries and the command, as cargo builds them for this machine anyway, without their symbols.
//!
//! A guest has no libraries of its own, so it gets those of this machine that they name.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// A program that cargo built.
#[derive(Debug)]
pub(super) struct Binary {
    /// `crate::target`.
    pub(super) name: String,
    pub(super) is_test: bool,
    /// Where cargo put it, and where it lies in the guest: some tests start themselves.
    pub(super) file: PathBuf,
    /// The same without symbols and debug information, which would be most of the archive.
    pub(super) stripped: PathBuf,
    /// The crate's folder, in which cargo runs tests.
    pub(super) folder: PathBuf,
}

/// Integration tests that ask the kernel: package and target. Those that time the vm or compare it are not here: emulated
/// machines are slow, and its answers do not depend on the kernel.
const TESTED: &[(&str, &[&str])] = &[
    ("twinbpf-kernel", &["suite"]),
    (
        "twinbpf",
        &[
            "attach",
            "externs",
            "globals",
            "loading",
            "map_behaviour",
            "maps",
            "targets",
        ],
    ),
];

/// Builds the tests, the command and the guests' first process.
///
/// # Errors
///
/// If cargo fails; it has said why.
pub(super) fn build(root: &Path, cache: &Path) -> Result<Vec<Binary>, String> {
    let mut built = Vec::new();
    for (package, targets) in TESTED {
        let mut tests = cargo(root, "test");
        tests.args(["--no-run", "-p", package]);
        tests.args(targets.iter().flat_map(|target| ["--test", target]));
        built.extend(executables(tests)?);
    }
    let mut programs = cargo(root, "build");
    let packages = ["guest-init", "guest-tools", "twinbpf-cli"];
    programs.arg("--bins");
    programs.args(packages.iter().flat_map(|package| ["-p", package]));
    built.extend(executables(programs)?);
    for binary in &mut built {
        binary.stripped = cache.join(binary.name.replace(':', "_"));
        strip(&binary.file, &binary.stripped)?;
    }
    Ok(built)
}

fn strip(file: &Path, stripped: &Path) -> Result<(), String> {
    let mut tool = Command::new("strip");
    let status = tool.arg("-o").arg(stripped).arg(file).status();
    let status = status.map_err(|error| format!("strip (Debian: binutils): {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("strip {}: {status}", file.display()))
    }
}

fn cargo(root: &Path, task: &str) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command
        .current_dir(root)
        .args([task, "--quiet", "--locked", "--message-format=json"]);
    command
}

fn executables(mut cargo: Command) -> Result<Vec<Binary>, String> {
    let output = cargo
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo: {error}"))?;
    if !output.status.success() {
        return Err("the programs for guests were not built".to_owned());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(messages.filter_map(|message| binary(&message)).collect())
}

fn binary(message: &Value) -> Option<Binary> {
    let file = PathBuf::from(message["executable"].as_str()?);
    let folder = Path::new(message["manifest_path"].as_str()?).parent()?;
    let target = message["target"]["name"].as_str()?;
    let crate_name = folder.file_name()?.to_string_lossy();
    Some(Binary {
        name: format!("{crate_name}::{target}"),
        is_test: message["target"]["kind"][0] == "test",
        file,
        stripped: PathBuf::new(),
        folder: folder.to_owned(),
    })
}
