//! `twinbpf prog dump`: the code of a loaded program as the kernel keeps it, with the source lines between.
//!
//! Instructions are printed as `disasm` prints them. Machine code of x86-64 is printed instruction by instruction, that of other
//! machines as bytes, from source line to source line, for a disassembler of the machine to take over.

use clap::{Args, ValueEnum};
use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};
use serde::Serialize;
use twinbpf::insn::listing;
use twinbpf::{Code, CodeLine, Diagnosis, MachineFunction, ProgramCode};

use super::show;
use crate::exit::Exit;
use crate::hex;
use crate::output::{Failure, Output};

/// What `prog dump` is told.
#[derive(Debug, Args)]
pub(super) struct DumpArgs {
    /// Which code
    form: Form,

    /// Its number, its name, or the path of its pin
    #[arg(value_name = "PROGRAM")]
    program: String,

    /// Print one JSON document
    #[arg(long)]
    pub(super) json: bool,
}

/// Which code of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Instructions as the verifier left them
    Xlated,
    /// Machine code
    Jited,
}

#[derive(Debug, Serialize)]
struct Function {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    /// The instruction's number, or its distance from the function's begin.
    at: u64,
    text: String,
    /// Of machine code, in hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<Source>,
}

#[derive(Debug, Clone, Serialize)]
struct Source {
    file: String,
    line: u32,
    column: u32,
    text: String,
}

impl From<&CodeLine> for Source {
    fn from(line: &CodeLine) -> Self {
        Self {
            file: line.file.clone(),
            line: line.line,
            column: line.column,
            text: line.text.clone(),
        }
    }
}

/// `prog dump xlated|jited PROGRAM`
pub(super) fn dump(args: &DumpArgs, output: &Output) -> Result<Exit, Failure> {
    let program = show::open(&args.program)?;
    let code = program.code()?;
    let functions = match args.form {
        Form::Xlated => translated(&code, program.name()),
        Form::Jited => machine(&code),
    };
    if functions.is_empty() {
        let message = match args.form {
            Form::Xlated => "the kernel does not show the program's instructions",
            Form::Jited => {
                "the program is not compiled, or the kernel does not show its machine code"
            }
        };
        return Err(Diagnosis::new(Code::PROGRAM_UNSUPPORTED, message)
            .in_program(program.name())
            .help(
                "it is shown to root where kernel.kptr_restrict and kernel.bpf_jit_harden allow it",
            )
            .into());
    }
    match output.wants_json() {
        true => output.document(&functions)?,
        false => output.data(&text(&functions))?,
    }
    Ok(Exit::Done)
}

fn translated(code: &ProgramCode, whole: &str) -> Vec<Function> {
    let mut functions: Vec<Function> = Vec::new();
    for row in listing(&code.translated) {
        let at = row.at.0;
        let begun = code.functions.iter().find(|(insn, _)| *insn == at);
        if begun.is_some() || functions.is_empty() {
            functions.push(Function {
                name: begun.map_or_else(|| whole.to_owned(), |(_, name)| name.clone()),
                address: None,
                rows: Vec::new(),
            });
        }
        let text = match &row.operation {
            Ok(operation) => format!("({:02x}) {operation}", row.first.opcode),
            Err(error) => format!("({:02x}) ; {error}", row.first.opcode),
        };
        let source = code.lines.iter().find(|line| line.insn == at);
        if let Some(function) = functions.last_mut() {
            function.rows.push(Row {
                at: at.into(),
                text,
                bytes: None,
                source: source.map(Source::from),
            });
        }
    }
    functions
}

fn machine(code: &ProgramCode) -> Vec<Function> {
    let functions = code.machine.iter().map(|function| {
        let length = u64::try_from(function.bytes.len()).unwrap_or(u64::MAX);
        // Where in the function a line's code begins, with the line.
        let mut starts: Vec<(u64, Option<&CodeLine>)> = code
            .lines
            .iter()
            .filter_map(|line| {
                let at = line.address?.checked_sub(function.address)?;
                (at < length).then_some((at, Some(line)))
            })
            .collect();
        starts.sort_by_key(|(at, _)| *at);
        if starts.first().is_none_or(|(at, _)| *at != 0) {
            starts.insert(0, (0, None));
        }
        let rows = match cfg!(target_arch = "x86_64") {
            true => instructions(function, &starts),
            false => stretches(function, &starts),
        };
        Function {
            name: function.name.clone(),
            address: (function.address != 0).then(|| format!("{:#x}", function.address)),
            rows,
        }
    });
    functions.collect()
}

/// A row for each instruction of x86-64. Where a jump goes is an address, like the function's.
fn instructions(function: &MachineFunction, starts: &[(u64, Option<&CodeLine>)]) -> Vec<Row> {
    let mut decoder = Decoder::with_ip(64, &function.bytes, function.address, DecoderOptions::NONE);
    let mut formatter = IntelFormatter::new();
    let options = formatter.options_mut();
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_branch_leading_zeros(false);
    let mut rows = Vec::new();
    while decoder.can_decode() {
        let start = decoder.position();
        let instruction = decoder.decode();
        let mut text = String::new();
        formatter.format(&instruction, &mut text);
        let bytes = function.bytes.get(start..decoder.position());
        let at = u64::try_from(start).unwrap_or(u64::MAX);
        let line = starts.iter().find(|(begin, _)| *begin == at);
        rows.push(Row {
            at,
            text,
            bytes: bytes.map(hex::digits),
            source: line.and_then(|(_, line)| line.map(Source::from)),
        });
    }
    rows
}

/// A row for the bytes of each source line.
fn stretches(function: &MachineFunction, starts: &[(u64, Option<&CodeLine>)]) -> Vec<Row> {
    let length = u64::try_from(function.bytes.len()).unwrap_or(u64::MAX);
    let ends = starts.iter().skip(1).map(|(at, _)| *at).chain([length]);
    let rows = starts.iter().zip(ends).map(|((at, line), end)| {
        let bound = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        let bytes = function.bytes.get(bound(*at)..bound(end));
        let digits = hex::digits(bytes.unwrap_or_default());
        Row {
            at: *at,
            text: digits.clone(),
            bytes: Some(digits),
            source: line.map(Source::from),
        }
    });
    rows.collect()
}

fn text(functions: &[Function]) -> String {
    let mut lines = Vec::new();
    for function in functions {
        let place = function.address.as_deref();
        let place = place.map(|address| format!(" at {address}"));
        lines.push(format!("{}:{}", function.name, place.unwrap_or_default()));
        for row in &function.rows {
            if let Some(source) = &row.source {
                lines.push(format!(
                    "; {} @ {}:{}",
                    source.text, source.file, source.line
                ));
            }
            lines.push(format!("{:4}: {}", row.at, row.text));
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_code_is_read_instruction_by_instruction() {
        let function = MachineFunction {
            address: 0x1000,
            name: "f".to_owned(),
            // Behind the last instruction is half of one.
            bytes: vec![0x31, 0xc0, 0xe9, 0x00, 0x01, 0x00, 0x00, 0xc3, 0x48],
        };
        let line = CodeLine {
            insn: 1,
            address: Some(0x1002),
            file: "f.c".to_owned(),
            line: 3,
            column: 1,
            text: "goto out;".to_owned(),
        };
        let rows = instructions(&function, &[(0, None), (2, Some(&line))]);
        let texts: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
        assert_eq!(texts, ["xor eax,eax", "jmp 0x1107", "ret", "(bad)"]);
        assert_eq!(rows[1].bytes.as_deref(), Some("e900010000"));
        let sources = rows.iter().map(|row| row.source.is_some());
        assert_eq!(sources.collect::<Vec<_>>(), [false, true, false, false]);
        let rows = stretches(&function, &[(0, None), (2, Some(&line))]);
        assert_eq!([&rows[0].text, &rows[1].text], ["31c0", "e900010000c348"]);
    }
}
