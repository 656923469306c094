//! `twinbpf asm` and `twinbpf disasm`: instructions as text and back.

mod listing;

use std::ffi::OsString;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;
use twinbpf::insn::assemble;
use twinbpf::spec::ByteOrder;
use twinbpf::{Code, Diagnosis, Error, Insn, Object, Result};

use crate::exit::Exit;
use crate::hex;
use crate::object_file;
use crate::output::{Failure, Output};

use listing::Listing;

/// What `asm` is told.
#[derive(Debug, Args)]
pub(crate) struct AsmArgs {
    /// The text, an instruction a line; - for standard input
    #[arg(value_name = "FILE|-")]
    text: PathBuf,

    /// How to write the instructions
    #[arg(long, value_enum, default_value_t = Form::Hex)]
    format: Form,

    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Print one JSON document
    #[arg(long, conflicts_with_all = ["format", "output"])]
    pub(crate) json: bool,
}

/// What instructions look like in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Hex digits, a line a slot
    Hex,
    /// The bytes
    Raw,
    /// An array for C
    C,
}

/// What `disasm` is told.
#[derive(Debug, Args)]
pub(crate) struct DisasmArgs {
    /// An object, and the function if not all are meant; or instructions as bytes or hex digits; - for standard input
    #[arg(value_name = "FILE[:FUNCTION]|-")]
    what: OsString,

    /// Leave out the lines of the source
    #[arg(long)]
    no_source: bool,

    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// An assembled program.
#[derive(Debug, Serialize)]
struct Assembled {
    slots: usize,
    hex: Vec<String>,
}

/// Text to instructions.
pub(crate) fn asm(args: &AsmArgs, output: &Output) -> Result<Exit, Failure> {
    let name = match args.text.as_os_str() == "-" {
        true => "standard input".to_owned(),
        false => args.text.display().to_string(),
    };
    let text = String::from_utf8(read(&args.text)?).map_err(|_| {
        Error::from(Diagnosis::new(Code::ASSEMBLY, "this is no text")).in_file(&name)
    })?;
    let program = assemble(&text).map_err(|error| in_text(error, &name))?;
    let slots: Vec<[u8; 8]> = program
        .iter()
        .map(|insn| insn.to_bytes(ByteOrder::HOST))
        .collect();
    let hex = slots.iter().map(|slot| hex::digits(slot)).collect();
    if output.wants_json() {
        output.document(&Assembled {
            slots: slots.len(),
            hex,
        })?;
        return Ok(Exit::Done);
    }
    let bytes = match args.format {
        Form::Hex => hex.join("\n").into_bytes(),
        Form::Raw => slots.concat(),
        Form::C => c_array(&program).into_bytes(),
    };
    write(args, &bytes)?;
    Ok(Exit::Done)
}

/// Instructions to text.
pub(crate) fn disasm(args: &DisasmArgs, output: &Output) -> Result<Exit, Failure> {
    let (path, function) = object_file::split(&args.what);
    let bytes = read(&path)?;
    let name = path.display().to_string();
    let listing = if bytes.starts_with(b"\x7fELF") {
        let object = Object::parse(&bytes).map_err(|error| error.in_file(&name))?;
        Listing::of_object(&object, function.as_deref())?
    } else {
        let program = instructions(&bytes).map_err(|error| error.in_file(&name))?;
        Listing::of_program(&program)
    };
    if output.wants_json() {
        output.document(&listing)?;
    } else {
        output.data(listing.text(!args.no_source).trim_end())?;
    }
    Ok(Exit::Done)
}

/// Instructions as hex digits if it is all text, else as bytes.
fn instructions(bytes: &[u8]) -> Result<Vec<Insn>> {
    let is_text = bytes
        .iter()
        .all(|byte| byte.is_ascii_hexdigit() || byte.is_ascii_whitespace());
    let bytes = match is_text {
        true => {
            let digits: String = bytes
                .iter()
                .filter(|byte| !byte.is_ascii_whitespace())
                .map(|byte| char::from(*byte))
                .collect();
            hex::parse(&digits).map_err(|message| Diagnosis::new(Code::CODE_MALFORMED, message))?
        }
        false => bytes.to_vec(),
    };
    let (slots, rest) = bytes.as_chunks();
    if !rest.is_empty() || slots.is_empty() {
        let message = format!(
            "{} bytes are not whole instructions of 8 bytes each",
            bytes.len()
        );
        return Err(Diagnosis::new(Code::CODE_MALFORMED, message)
            .help("give an object, the bytes of instructions, or hex digits alone")
            .into());
    }
    Ok(slots
        .iter()
        .map(|slot| Insn::from_bytes(*slot, ByteOrder::HOST))
        .collect())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    if path.as_os_str() != "-" {
        return object_file::bytes(path);
    }
    object_file::whole(io::stdin().lock())
        .map_err(|error| object_file::unreadable(&error).in_file("standard input"))
}

fn write(args: &AsmArgs, bytes: &[u8]) -> Result<(), Failure> {
    let is_text = args.format != Form::Raw;
    let Some(path) = &args.output else {
        let mut stdout = io::stdout().lock();
        if !is_text && io::stdout().is_terminal() {
            return Err(
                Diagnosis::new(Code::USAGE, "instructions are no text for a terminal")
                    .help("name a file with -o")
                    .into(),
            );
        }
        stdout.write_all(bytes)?;
        if is_text {
            stdout.write_all(b"\n")?;
        }
        return Ok(stdout.flush()?);
    };
    fs::write(path, bytes)
        .map_err(|error| object_file::unwritable(path, "the instructions", &error).into())
}

/// The file's name belongs to the line that is wrong.
fn in_text(error: Error, file: &str) -> Error {
    error.map(|mut diagnosis| {
        if let Some(source) = &mut diagnosis.place.source {
            source.file = file.to_owned();
        }
        diagnosis
    })
}

/// `struct bpf_insn` initialisers, each with its text.
fn c_array(program: &[Insn]) -> String {
    let mut lines = vec!["struct bpf_insn program[] = {".to_owned()];
    for row in twinbpf::insn::listing(program) {
        let slots = &program[row.at.get()..];
        let text = row
            .operation
            .map_or_else(|error| error.to_string(), |known| known.to_string());
        let slots = slots.iter().take(if row.slots == 2 { 2 } else { 1 });
        for (position, insn) in slots.enumerate() {
            let comment = match position {
                0 => format!(" /* {text} */"),
                _ => String::new(),
            };
            lines.push(format!(
                "\t{{ {:#04x}, {}, {}, {}, {} }},{comment}",
                insn.opcode, insn.dst, insn.src, insn.offset, insn.imm
            ));
        }
    }
    lines.push("};".to_owned());
    lines.join("\n")
}
