//! `twinbpf gen`: files made from objects.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;
use twinbpf::core::minimal_types;
use twinbpf::{Code, Diagnosis, Error, ErrorKind, Object, Result};

use crate::btf_file;
use crate::exit::Exit;
use crate::object_file;
use crate::output::{Failure, Output};

/// What `gen` is told.
#[derive(Debug, Args)]
pub(crate) struct GenArgs {
    #[command(subcommand)]
    command: GenCommand,
}

#[derive(Debug, Subcommand)]
enum GenCommand {
    /// Keep of a kernel's types only those that the CO-RE relocations of some objects need
    ///
    /// The result replaces the whole on machines whose kernel does not show its types: programs get the same instructions
    /// from it. A type or field that the kernel does not have is no error, as it is none until a program needs it.
    MinCoreBtf(MinCoreBtfArgs),
}

/// What `gen min-core-btf` is told.
#[derive(Debug, Args)]
struct MinCoreBtfArgs {
    /// The types: raw BTF as in /sys/kernel/btf, or an ELF file that holds them
    #[arg(value_name = "BTF")]
    types: PathBuf,

    /// The BPF object files
    #[arg(required = true, value_name = "OBJECT")]
    objects: Vec<PathBuf>,

    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Print what was kept as one JSON document
    #[arg(long, requires = "output")]
    json: bool,
}

impl GenArgs {
    pub(crate) fn wants_json(&self) -> bool {
        match &self.command {
            GenCommand::MinCoreBtf(args) => args.json,
        }
    }
}

/// Makes a file.
pub(crate) fn generate(args: &GenArgs, output: &Output) -> Result<Exit, Failure> {
    match &args.command {
        GenCommand::MinCoreBtf(args) => min_core_btf(args, output),
    }
}

/// What was kept.
#[derive(Debug, Serialize)]
struct Kept {
    types: usize,
    bytes: usize,
    of_types: usize,
    of_bytes: usize,
}

fn min_core_btf(args: &MinCoreBtfArgs, output: &Output) -> Result<Exit, Failure> {
    if args.output.is_none() && io::stdout().is_terminal() {
        return Err(
            Diagnosis::new(Code::USAGE, "types are no text for a terminal")
                .help("name a file with -o")
                .into(),
        );
    }
    let whole = btf_file::read(&args.types)?;
    let objects: Vec<Object> = args
        .objects
        .iter()
        .map(|path| object_file::read(path))
        .collect::<Result<_>>()?;
    let part = minimal_types(&objects, &whole)?;
    let bytes = part.encode(whole.byte_order())?;
    let kept = Kept {
        types: part.len().saturating_sub(1),
        bytes: bytes.len(),
        of_types: whole.len().saturating_sub(1),
        of_bytes: whole.as_bytes().len(),
    };
    write(args.output.as_deref(), &bytes)?;
    if output.wants_json() {
        output.document(&kept)?;
    } else {
        output.talk(&format!(
            "{} of {} types kept, {} of {} bytes",
            kept.types, kept.of_types, kept.bytes, kept.of_bytes
        ));
    }
    Ok(Exit::Done)
}

/// Writes to a file, or to standard output.
fn write(path: Option<&Path>, bytes: &[u8]) -> Result<(), Failure> {
    let Some(path) = path else {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        return Ok(stdout.flush()?);
    };
    fs::write(path, bytes).map_err(|error| {
        let kind = match error.kind() {
            io::ErrorKind::PermissionDenied => ErrorKind::Permission,
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Io,
        };
        let message = format!("the types cannot be written: {error}");
        let error = Error::from(Diagnosis::new(Code::HOST_IO, message).kind(kind));
        Failure::from(error.in_file(path.display().to_string()))
    })
}
