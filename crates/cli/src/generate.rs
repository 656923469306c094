//! `twinbpf gen`: files made from objects.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;
use twinbpf::combine::{Bound, Combined, Input, combine};
use twinbpf::core::minimal_types;
use twinbpf::{Code, Diagnosis, Object, Result};

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
    /// Link several objects into one: what one declares and another defines becomes the same
    ///
    /// Sections of one name stand one after another, types are merged. Two definitions of one name are an error unless one is
    /// weak. What no object defines stays open, for the kernel or for the next link. The result is an object like any other.
    Object(ObjectArgs),
}

/// What `gen object` is told.
#[derive(Debug, Args)]
struct ObjectArgs {
    /// The file to write
    output: PathBuf,

    /// The BPF object files
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,

    /// Print what became of sections and names as one JSON document
    #[arg(long)]
    json: bool,
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
            GenCommand::Object(args) => args.json,
        }
    }
}

/// Makes a file.
pub(crate) fn generate(args: &GenArgs, output: &Output) -> Result<Exit, Failure> {
    match &args.command {
        GenCommand::MinCoreBtf(args) => min_core_btf(args, output),
        GenCommand::Object(args) => object(args, output),
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

/// What was linked.
#[derive(Debug, Serialize)]
struct Linked<'a> {
    output: String,
    bytes: usize,
    sections: Vec<LinkedSection<'a>>,
    bound: Vec<BoundName<'a>>,
    overridden: Vec<BoundName<'a>>,
    open: &'a [String],
}

#[derive(Debug, Serialize)]
struct LinkedSection<'a> {
    name: &'a str,
    bytes: u64,
    from: &'a [String],
}

#[derive(Debug, Serialize)]
struct BoundName<'a> {
    name: &'a str,
    from: &'a str,
    to: &'a str,
}

fn object(args: &ObjectArgs, output: &Output) -> Result<Exit, Failure> {
    if args.inputs.contains(&args.output) {
        let message = format!(
            "`{}` is both the file to write and one to read",
            args.output.display()
        );
        return Err(Diagnosis::new(Code::USAGE, message)
            .help("the first file is the one to write")
            .into());
    }
    let files: Vec<(String, Vec<u8>)> = args
        .inputs
        .iter()
        .map(|path| Ok((path.display().to_string(), object_file::bytes(path)?)))
        .collect::<Result<_>>()?;
    let inputs: Vec<Input<'_>> = files
        .iter()
        .map(|(name, bytes)| Input { name, bytes })
        .collect();
    let combined = combine(&inputs)?;
    write(Some(&args.output), &combined.bytes)?;
    if output.wants_json() {
        output.document(&linked(args, &combined))?;
        return Ok(Exit::Done);
    }
    output.talk(&format!(
        "{} objects linked into {} bytes: {} sections, {} names bound, {} overridden",
        inputs.len(),
        combined.bytes.len(),
        combined.sections.len(),
        combined.bound.len(),
        combined.overridden.len()
    ));
    if !combined.open.is_empty() {
        output.talk(&format!("still open: {}", combined.open.join(", ")));
    }
    Ok(Exit::Done)
}

fn linked<'a>(args: &ObjectArgs, combined: &'a Combined) -> Linked<'a> {
    let names = |bound: &'a [Bound]| {
        let one = |each: &'a Bound| BoundName {
            name: &each.name,
            from: &each.in_object,
            to: &each.to_object,
        };
        bound.iter().map(one).collect()
    };
    let sections = combined.sections.iter().map(|each| LinkedSection {
        name: &each.name,
        bytes: each.size,
        from: &each.from,
    });
    Linked {
        output: args.output.display().to_string(),
        bytes: combined.bytes.len(),
        sections: sections.collect(),
        bound: names(&combined.bound),
        overridden: names(&combined.overridden),
        open: &combined.open,
    }
}

/// Writes to a file, or to standard output.
fn write(path: Option<&Path>, bytes: &[u8]) -> Result<(), Failure> {
    let Some(path) = path else {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        return Ok(stdout.flush()?);
    };
    fs::write(path, bytes)
        .map_err(|error| object_file::unwritable(path, "the object", &error).into())
}
