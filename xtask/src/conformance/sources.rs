//! The selftests of a kernel's source tree, built into the target folder.
//!
//! Debian ships the tree as `linux-source-6.12`. The programs need a header of the running kernel's types, one of the helpers, and libbpf's
//! own headers, all made here beside the objects. What does not compile with this compiler is left out, and counted.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const COMPILER: &str = "clang-19";

const FLAGS: &[&str] = &[
    "-target",
    "bpf",
    "-g",
    "-O2",
    "-mcpu=v3",
    "-std=gnu11",
    "-Wno-everything",
    "-D__TARGET_ARCH_x86",
    "-mlittle-endian",
    "-DENABLE_ATOMICS_TESTS",
    "-fno-stack-protector",
    "-idirafter/usr/include/x86_64-linux-gnu",
    "-idirafter/usr/include",
];

/// Builds everything that is not built yet; the folder of the objects.
///
/// # Errors
///
/// If this is no kernel's tree, a tool is missing, or nothing compiles.
pub(super) fn build(tree: &Path) -> Result<PathBuf, String> {
    let tree = fs::canonicalize(tree).map_err(|error| format!("{}: {error}", tree.display()))?;
    let programs = tree.join("tools/testing/selftests/bpf/progs");
    let output = target_folder()?.join("conformance");
    let headers = output.join("include");
    make_headers(&tree, &headers)?;
    let sources = sources_in(&programs)?;
    let mut built = 0;
    for source in &sources {
        built += usize::from(compile(&tree, &headers, source, &output)?);
    }
    if built == 0 {
        return Err(format!(
            "none of {} programs compiles with {COMPILER}",
            sources.len()
        ));
    }
    Ok(output)
}

fn target_folder() -> Result<PathBuf, String> {
    if let Some(folder) = std::env::var_os("CARGO_TARGET_DIR") {
        return Ok(folder.into());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.map(|root| root.join("target"))
        .ok_or_else(|| "xtask lies in the repository".to_owned())
}

fn sources_in(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let at =
        |error: std::io::Error| format!("{}: {error}: is this a kernel's tree?", folder.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(at)? {
        let path = entry.map_err(at)?.path();
        if path.extension().is_some_and(|extension| extension == "c") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// `vmlinux.h`, `bpf/bpf_helper_defs.h`, and links to libbpf's headers.
fn make_headers(tree: &Path, headers: &Path) -> Result<(), String> {
    let library = headers.join("bpf");
    fs::create_dir_all(&library).map_err(|error| format!("{}: {error}", library.display()))?;
    let from = tree.join("tools/lib/bpf");
    let at =
        |error: std::io::Error| format!("{}: {error}: is this a kernel's tree?", from.display());
    for entry in fs::read_dir(&from).map_err(at)? {
        let path = entry.map_err(at)?.path();
        let link = library.join(path.file_name().unwrap_or_default());
        if path.extension().is_some_and(|extension| extension == "h") && !link.exists() {
            symlink(&path, &link).map_err(|error| format!("{}: {error}", link.display()))?;
        }
    }
    let mut types = Command::new("bpftool");
    types.args([
        "btf",
        "dump",
        "file",
        "/sys/kernel/btf/vmlinux",
        "format",
        "c",
    ]);
    write_output(types, &headers.join("vmlinux.h"))?;
    let mut helpers = Command::new("python3");
    helpers
        .arg(tree.join("scripts/bpf_doc.py"))
        .args(["--header", "--file"])
        .arg(tree.join("tools/include/uapi/linux/bpf.h"));
    write_output(helpers, &library.join("bpf_helper_defs.h"))
}

fn write_output(mut command: Command, path: &Path) -> Result<(), String> {
    if path.exists() {
        return Ok(());
    }
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|error| format!("{name}: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "{name}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ));
    }
    fs::write(path, output.stdout).map_err(|error| format!("{}: {error}", path.display()))
}

/// Whether there is an object in the end.
fn compile(tree: &Path, headers: &Path, source: &Path, output: &Path) -> Result<bool, String> {
    let name = source
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let object = output.join(format!("{}.o", name.trim_end_matches(".bpf")));
    if object.exists() {
        return Ok(true);
    }
    let tests = tree.join("tools/testing/selftests/bpf");
    let folders = [
        tests.clone(),
        tests.join("progs"),
        headers.to_owned(),
        tree.join("tools/include/uapi"),
        tree.join("tools/include"),
    ];
    // Prototypes of kernel functions come from the header of types or from the tests, never from both.
    for variant in [&["-DBPF_NO_KFUNC_PROTOTYPES"][..], &[]] {
        let mut command = Command::new(COMPILER);
        command.args(FLAGS).args(variant);
        for folder in &folders {
            let mut include = OsString::from("-I");
            include.push(folder);
            command.arg(include);
        }
        command.arg("-c").arg(source).arg("-o").arg(&object);
        command.stderr(Stdio::null());
        let status = command
            .status()
            .map_err(|error| format!("{COMPILER}: {error}"))?;
        if status.success() {
            return Ok(true);
        }
    }
    Ok(false)
}
