//! A program with functions and probes to be watched, built in every form in which compilers leave probes in programs.
//!
//! Guests have no compiler: they get it ready, in all forms.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The names of the forms, and what the compiler is told.
pub const FORMS: &[(&str, &[&str])] = &[
    ("plain", &[]),
    ("moving", &["-fPIE", "-pie"]),
    ("fixed", &["-fno-pie", "-no-pie"]),
    ("unoptimised", &["-O0"]),
    ("stripped", &["-fPIE", "-pie", "-Wl,-s"]),
    ("guarded-moving", &["-fPIE", "-pie", "-DGUARDED"]),
    ("guarded-fixed", &["-fno-pie", "-no-pie", "-DGUARDED"]),
];

/// Where guests have it, under the names of the forms.
pub const READY: &str = "/watched";

/// The program in this form: that which lies ready, or one built into `folder`.
///
/// # Errors
///
/// If there is no such form, or it does not compile; the compiler has said why.
pub fn build(form: &str, folder: &Path) -> Result<PathBuf, String> {
    let ready = Path::new(READY).join(form);
    if ready.exists() {
        return Ok(ready);
    }
    let (_, flags) = FORMS
        .iter()
        .find(|(name, _)| *name == form)
        .ok_or_else(|| format!("there is no form `{form}`"))?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("watched.c");
    let path = folder.join(form);
    let status = Command::new("clang-19")
        .args(["-O2", "-Wall", "-Werror", "-o"])
        .arg(&path)
        .args(*flags)
        .arg(source)
        .status();
    match status {
        Ok(status) if status.success() => Ok(path),
        Ok(status) => Err(format!("clang-19 for `{form}`: {status}")),
        Err(error) => Err(format!("clang-19: {error}")),
    }
}

/// Why there can be no such program here.
pub(crate) fn missing() -> Option<String> {
    if Path::new(READY).exists() {
        return None;
    }
    let folders = ["/usr/include", "/usr/include/x86_64-linux-gnu"];
    let is_there = |folder: &str| Path::new(folder).join("sys/sdt.h").exists();
    let is_x86_64 = cfg!(target_arch = "x86_64");
    let has_compiler = || Command::new("clang-19").arg("--version").output().is_ok();
    (!(is_x86_64 && folders.into_iter().any(is_there) && has_compiler()))
        .then(|| "needs x86-64, clang-19 and sys/sdt.h (systemtap-sdt-dev)".to_owned())
}
