//! The first process of a test guest: mounts what tests need, loads modules, runs what the plan says, powers off.
//!
//! The plan is the file `/plan`, one step a line, words separated by tabs:
//!
//! ```text
//! module  FILE
//! run     NAME  FOLDER  PROGRAM  ARGUMENT...
//! ```
//!
//! Everything goes to the console. Lines that start with [`MARK`] are for the reader outside: `begin NAME`, `end NAME STATUS`,
//! and at last `over`, without which nothing before it counts. Nothing here may end early: if the first process dies, so does
//! the kernel, and nobody learns why.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::process::Command;

use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, finit_module, reboot};

/// What a line for the reader outside starts with.
const MARK: &str = "@guest ";

/// What is mounted: a name of no meaning, where, and the type.
const MOUNTS: &[(&str, &str, &CStr)] = &[
    ("proc", "/proc", c""),
    ("sysfs", "/sys", c""),
    ("devtmpfs", "/dev", c""),
    ("bpf", "/sys/fs/bpf", c""),
    ("cgroup2", "/sys/fs/cgroup", c""),
    ("debugfs", "/sys/kernel/debug", c""),
    ("tracefs", "/sys/kernel/tracing", c""),
    ("securityfs", "/sys/kernel/security", c""),
];

fn main() {
    for (kind, place, options) in MOUNTS {
        // The folders of virtual file systems are there, those in the archive may not be.
        let made = fs::create_dir_all(place);
        let mounted = mount(*kind, *place, *kind, MountFlags::empty(), *options);
        if let Err(error) = made.and(mounted.map_err(io::Error::from)) {
            say(&format!("{place}: {error}"));
        }
    }
    for place in ["/tmp", "/run"] {
        // Not mounted: what the plan names may lie in there.
        if let Err(error) = fs::create_dir_all(place) {
            say(&format!("{place}: {error}"));
        }
    }
    match fs::read_to_string("/plan") {
        Ok(plan) => plan.lines().for_each(step),
        Err(error) => say(&format!("/plan: {error}")),
    }
    say(&format!("{MARK}over"));
    if let Err(error) = reboot(RebootCommand::PowerOff) {
        say(&format!("powering off: {error}"));
    }
    loop {
        std::thread::park();
    }
}

fn step(line: &str) {
    let words: Vec<&str> = line.split('\t').collect();
    match words[..] {
        ["module", file] => {
            if let Err(error) = load_module(file) {
                say(&format!("{file}: {error}"));
            }
        }
        ["run", name, folder, program, ref arguments @ ..] => {
            say(&format!("{MARK}begin {name}"));
            let status = Command::new(program)
                .args(arguments)
                .current_dir(folder)
                .env("PATH", "/bin")
                .env("TMPDIR", "/tmp")
                .env("TWINBPF_REQUIRE", "kernel")
                .status();
            let status = match status {
                Ok(status) => status.to_string(),
                Err(error) => error.to_string(),
            };
            say(&format!("{MARK}end {name} {status}"));
        }
        _ => say(&format!("a step of no known kind: {line}")),
    }
}

fn load_module(file: &str) -> io::Result<()> {
    let flags = if file.ends_with(".xz") { COMPRESSED } else { 0 };
    Ok(finit_module(File::open(file)?, c"", flags)?)
}

#[expect(clippy::print_stdout, reason = "the console is all there is")]
fn say(text: &str) {
    println!("{text}");
}

/// `MODULE_INIT_COMPRESSED_FILE`
const COMPRESSED: i32 = 4;
