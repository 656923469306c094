//! Development tasks that need more than a Rust toolchain: `cargo xtask TASK`.
//!
//! Nothing that a user installs depends on this crate. Each task is a module with one `run`.

mod age;
mod codes;
mod conformance;
mod differential;
mod fixtures;
mod fuzz;
mod guests;
mod random;
mod seen;
mod stress;

use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask TASK

  fixtures           build the BPF programs that tests and examples use, beside their sources
  fixtures --check   build them into a temporary folder and compare: exit 1 if a byte differs
  codes              write docs/CODES.md from the tables of codes
  codes --check      compare it: exit 1 if it differs
  fuzz [SECONDS [TARGET]]   run every fuzz target, or one, for a while (60 s each), with the stable compiler: exit 1 on a finding
  guests [--kernel X.Y] [--filter WORD] [--tests BINARY] [--console FOLDER] [--record yes]   run the tests of the kernel engine and the façade on Debian's
                                       kernels in QEMU: exit 1 if one fails; skipped, saying so, without QEMU;
                                       with --record, what passed goes into docs/HOOKS.md
  guests --objects FOLDER              `twinbpf check` for every object of FOLDER there
  guests --tools FOLDER                attach opensnoop, execsnoop, tcpconnect and biolatency, objects of bcc's libbpf-tools that
                                       were built in FOLDER, do what they watch for, and read it back
  random [COUNT [FIRST]]   random programs (1,000,000, from number 0 on): the vm's compiler beside its interpreter, and a part of as
                     many beside the running kernel: exit 1 if one differs (needs root)
  seen               run the tests of hooks on this kernel, and say in docs/HOOKS.md on which kernels they passed
  seen --check       compare it with docs/hooks-seen.txt: exit 1 if it differs
  conformance [--json] FOLDER          load each program of the kernel's selftests, built in FOLDER, and compare verdict
                                       and diagnosis with what they declare: exit 1 if a bar is missed (needs root)
  conformance [--json] --source TREE   build them first, from a kernel's source tree (Debian: linux-source-6.12)
  stress [SECONDS]   full rings, changing maps and killed processes, on both engines, for a while each (60 s): exit 1 if
                     something is lost or left behind (needs root)
  differential [--json] [--packets PART] [--table FILE] PATH...   run the packet programs of objects, or of folders of them, on
                                       many packets in both engines and list what differs, with --table also as a page: exit 1 if
                                       more than 3 % of the programs do (needs root)
";

#[expect(clippy::too_many_lines, reason = "one arm for each task")]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["fixtures"] => fixtures::run(fixtures::Mode::Write),
        ["fixtures", "--check"] => fixtures::run(fixtures::Mode::Check),
        ["codes"] => codes::run(false),
        ["codes", "--check"] => codes::run(true),
        ["random"] => random::run(1_000_000, 0),
        ["random", count, ref first @ ..] if first.len() <= 1 => {
            let first = first.first().map_or(Ok(0), |first| first.parse());
            match (count.parse(), first) {
                (Ok(count), Ok(first)) => random::run(count, first),
                _ => Err("COUNT and FIRST are numbers".to_owned()),
            }
        }
        ["seen"] => seen::run(false),
        ["seen", "--check"] => seen::run(true),
        ["fuzz"] => fuzz::run(60, None),
        ["fuzz", seconds, ref target @ ..] if target.len() <= 1 => match seconds.parse() {
            Ok(seconds) => fuzz::run(seconds, target.first().copied()),
            Err(_) => Err(format!("`{seconds}` is not a number of seconds")),
        },
        ["stress"] => stress::run(60),
        ["stress", "children", seconds] => match seconds.parse() {
            Ok(seconds) => stress::children(seconds),
            Err(_) => Err(format!("`{seconds}` is not a number of seconds")),
        },
        ["stress", "child", folder] => stress::child(Path::new(folder)),
        ["stress", seconds] => match seconds.parse() {
            Ok(seconds) => stress::run(seconds),
            Err(_) => Err(format!("`{seconds}` is not a number of seconds")),
        },
        ["guests", ref rest @ ..] => match guests::Options::read(rest) {
            Some(options) => guests::run(&options),
            None => {
                complain(USAGE);
                return ExitCode::from(2);
            }
        },
        ["conformance", ref rest @ ..] => match conformance_options(rest) {
            Some(options) => conformance::run(options),
            None => {
                complain(USAGE);
                return ExitCode::from(2);
            }
        },
        ["differential", ref rest @ ..] => match differential::Options::parse(rest) {
            Some(options) => differential::run(&options),
            None => {
                complain(USAGE);
                return ExitCode::from(2);
            }
        },
        ["help" | "--help" | "-h"] => {
            say(USAGE);
            return ExitCode::SUCCESS;
        }
        _ => {
            complain(USAGE);
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(summary) => {
            say(&summary);
            ExitCode::SUCCESS
        }
        Err(failure) => {
            complain(&failure);
            ExitCode::FAILURE
        }
    }
}

/// What `conformance` is told.
fn conformance_options<'a>(words: &[&'a str]) -> Option<conformance::Options<'a>> {
    let wants_json = words.contains(&"--json");
    let rest: Vec<&str> = words
        .iter()
        .copied()
        .filter(|word| *word != "--json")
        .collect();
    let (objects, source) = match rest[..] {
        ["--source", tree] => (None, Some(Path::new(tree))),
        [folder] if !folder.starts_with('-') => (Some(Path::new(folder)), None),
        _ => return None,
    };
    Some(conformance::Options {
        objects,
        source,
        wants_json,
    })
}

#[expect(clippy::print_stdout, reason = "the result of a task is its output")]
fn say(text: &str) {
    println!("{}", text.trim_end());
}

#[expect(clippy::print_stderr, reason = "a failed task tells why on stderr")]
fn complain(text: &str) {
    eprintln!("{}", text.trim_end());
}
