//! The `twinbpf` command: loads BPF objects into the kernel or into itself, runs them, and shows what they count.
//!
//! A reader of the library's public API and nothing else. Data goes to stdout, talk to stderr; the exit status says how it
//! went (`exit.rs`).

mod args;
mod assembly;
mod attached;
mod btf;
mod btf_file;
mod check;
mod choice;
mod cleanup;
mod doctor;
mod error_document;
mod exit;
mod explain;
mod feature;
mod generate;
mod hex;
mod inspect;
mod link;
mod map;
mod object_file;
mod output;
mod prog;
mod program_types;
mod replay;
mod run;
mod table;
mod target_choice;
mod typed;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind as ClapErrorKind;
use twinbpf::{Code, Diagnosis};

use args::{Cli, Command};
use exit::Exit;
use output::{Failure, Output};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misused(&error).into(),
    };
    let output = Output::new(cli.command.wants_json());
    let result = match &cli.command {
        Command::Run(args) => run::run(args, &output),
        Command::Btf(args) => btf::btf(args, &output),
        Command::Inspect(args) => inspect::inspect(args, &output),
        Command::Check(args) => check::check(args, &output),
        Command::Explain(args) => explain::explain(args, &output),
        Command::Gen(args) => generate::generate(args, &output),
        Command::Doctor(args) => doctor::doctor(args, &output),
        Command::Prog(args) => prog::prog(args, &output),
        Command::Replay(args) => replay::replay(args, &output),
        Command::Map(args) => map::map(args, &output),
        Command::Net(_) => attached::net(&output),
        Command::Cgroup(args) => attached::cgroup(args, &output),
        Command::Perf(_) => attached::perf(&output),
        Command::Cleanup(args) => cleanup::cleanup(args, &output),
        Command::Feature(args) => feature::feature(args, &output),
        Command::Link(args) => link::link(args, &output),
        Command::Asm(args) => assembly::asm(args, &output),
        Command::Disasm(args) => assembly::disasm(args, &output),
    };
    match result {
        Ok(exit) => exit,
        Err(failure) => report(&output, &failure, cli.command.wants_log()),
    }
    .into()
}

/// Tells a failure in the form that was asked for.
fn report(output: &Output, failure: &Failure, wants_log: bool) -> Exit {
    match failure {
        Failure::Diagnosed(error) => {
            output.error(error, wants_log);
            Exit::of(error.kind())
        }
        // Whoever read our output has seen enough.
        Failure::OutputClosed => Exit::Done,
        Failure::OutputBroken(reason) => {
            output.talk(&format!(
                "error: standard output cannot be written: {reason}"
            ));
            Exit::No
        }
    }
}

/// Help, version, or a command line that makes no sense.
fn misused(error: &clap::Error) -> Exit {
    if matches!(
        error.kind(),
        ClapErrorKind::DisplayHelp | ClapErrorKind::DisplayVersion
    ) {
        // A closed pipe ends the help early, which is what its reader wanted.
        let _ = error.print();
        return Exit::Done;
    }
    let ours = std::env::args_os().take_while(|argument| argument != "--");
    if ours.into_iter().any(|argument| argument == "--json") {
        let text = error.to_string();
        let message = text.lines().next().unwrap_or_default();
        let message = message.strip_prefix("error: ").unwrap_or(message);
        let diagnosis = Diagnosis::new(Code::USAGE, message).help("twinbpf help lists everything");
        Output::new(true).error(&diagnosis.into(), false);
    } else {
        // Standard error is where this goes; if it is closed there is nobody to tell.
        let _ = error.print();
    }
    Exit::Usage
}
