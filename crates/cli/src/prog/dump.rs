//! `twinbpf prog dump`: the code of a loaded program as the kernel keeps it, with the source lines between.
//!
//! Instructions are printed as `disasm` prints them. Machine code is printed as bytes, from source line to source line, for a
//! disassembler of the machine to take over.

use clap::{Args, ValueEnum};
use serde::Serialize;
use twinbpf::insn::listing;
use twinbpf::{Code, CodeLine, Diagnosis, ProgramCode};

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
        let ends = starts.iter().skip(1).map(|(at, _)| *at).chain([length]);
        let rows = starts.iter().zip(ends).map(|((at, line), end)| {
            let bound = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
            let bytes = function.bytes.get(bound(*at)..bound(end));
            Row {
                at: *at,
                text: hex::digits(bytes.unwrap_or_default()),
                source: line.map(Source::from),
            }
        });
        Function {
            name: function.name.clone(),
            address: (function.address != 0).then(|| format!("{:#x}", function.address)),
            rows: rows.collect(),
        }
    });
    functions.collect()
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
