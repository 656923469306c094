//! `twinbpf explain`: what a code or an error number means, or what a verifier's log says.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use clap::Args;
use serde::Serialize;
use twinbpf::abi::meanings_of;
use twinbpf::diagnosis::{CODES, Explanation};
use twinbpf::verify::{self, PastedLog};
use twinbpf::{Code, Diagnosis, Errno, Error, Result};

use crate::error_document::{ErrorFields, category_name, kind_name, stage_name};
use crate::exit::Exit;
use crate::object_file;
use crate::output::{Failure, Output};

/// What `explain` is told.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// A code such as V001, an error number such as EINVAL, or a file with a verifier's log in it; - for standard input
    #[arg(value_name = "CODE|ERRNO|FILE|-")]
    pub(crate) what: OsString,

    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,

    /// Print each log whole, too
    #[arg(long)]
    pub(crate) log: bool,
}

/// A log may be the output of a whole day; its end is what counts, and this much of it is read.
const MOST_BYTES: u64 = 64 << 20;

/// Prints the meaning of a code or the diagnosis of a log.
pub(crate) fn explain(args: &ExplainArgs, output: &Output) -> Result<Exit, Failure> {
    // A name that is no text can only be a file's.
    let word = args.what.to_str().unwrap_or_default();
    if let Some(code) = Code::from_name(word) {
        return explain_code(code, output);
    }
    if let Some(errno) = Errno::from_name(&word.to_ascii_uppercase()) {
        return explain_errno(errno, output);
    }
    if looks_like_a_code(word) && !Path::new(word).exists() {
        return Err(unknown_code(word).into());
    }
    let name = args.what.to_string_lossy();
    let text = read(&args.what).map_err(|error| error.in_file(name.as_ref()))?;
    let logs = verify::pasted::find(&text);
    let errors: Vec<Error> = logs.iter().filter_map(verify::diagnose).collect();
    if errors.is_empty() {
        return Err(without_reason(&name, &logs).into());
    }
    if output.wants_json() {
        let diagnoses = errors.iter().map(ErrorFields::new).collect();
        output.document(&LogDocument {
            ok: true,
            diagnoses,
        })?;
        return Ok(Exit::Done);
    }
    let screens: Vec<String> = errors.iter().map(|error| screen(error, args.log)).collect();
    output.data(&screens.join("\n\n"))?;
    Ok(Exit::Done)
}

#[derive(Debug, Serialize)]
struct LogDocument<'a> {
    ok: bool,
    diagnoses: Vec<ErrorFields<'a>>,
}

#[derive(Debug, Serialize)]
struct CodeDocument<'a> {
    ok: bool,
    code: &'a str,
    title: &'a str,
    kind: &'a str,
    stage: &'a str,
    category: Option<&'a str>,
    cause: Option<&'a str>,
    help: Option<&'a str>,
    example: Option<&'a str>,
}

fn explain_code(code: Code, output: &Output) -> Result<Exit, Failure> {
    let row = code.row();
    let explanation = code.explanation();
    if output.wants_json() {
        let example = explanation.map(|explanation| explanation.example);
        output.document(&CodeDocument {
            ok: true,
            code: code.as_str(),
            title: row.title,
            kind: kind_name(row.kind),
            stage: stage_name(row.stage),
            category: explanation
                .and_then(|text| text.category)
                .map(category_name),
            cause: explanation.map(|text| text.cause),
            help: explanation.map(|text| text.help),
            example: example.filter(|example| !example.is_empty()),
        })?;
        return Ok(Exit::Done);
    }
    let mut text = format!("{code}: {}\n", row.title);
    if let Some(explanation) = explanation {
        text.push_str(&in_full(explanation));
    }
    let exit = Exit::of(row.kind);
    text.push_str(&format!("\nexit status: {}", exit.number()));
    output.data(&text)?;
    Ok(Exit::Done)
}

#[derive(Debug, Serialize)]
struct ErrnoDocument {
    ok: bool,
    errno: &'static str,
    number: i32,
    meanings: Vec<MeaningFields>,
}

#[derive(Debug, Serialize)]
struct MeaningFields {
    request: &'static str,
    meaning: &'static str,
}

/// The same number means different things to different commands of `bpf(2)`.
fn explain_errno(errno: Errno, output: &Output) -> Result<Exit, Failure> {
    let name = errno.name().unwrap_or_default();
    let meanings: Vec<MeaningFields> = meanings_of(errno)
        .map(|(request, meaning)| MeaningFields {
            request: request.words(),
            meaning,
        })
        .collect();
    if output.wants_json() {
        output.document(&ErrnoDocument {
            ok: true,
            errno: name,
            number: errno.0,
            meanings,
        })?;
        return Ok(Exit::Done);
    }
    let mut text = format!("{name} ({}), as the kernel's answer to", errno.0);
    for each in &meanings {
        text.push_str(&format!("\n  {}: {}", each.request, each.meaning));
    }
    if meanings.is_empty() {
        text.push_str(" requests of bpf(2): nothing that is known");
    }
    output.data(&text)?;
    Ok(Exit::Done)
}

fn in_full(explanation: &Explanation) -> String {
    let mut text = String::new();
    if let Some(category) = explanation.category {
        text.push_str(&format!("category: {}\n", category.name()));
    }
    text.push_str(&format!("\ncause: {}\n", explanation.cause));
    if !explanation.example.is_empty() {
        text.push('\n');
        for line in explanation.example.lines() {
            text.push_str(&format!("    {line}\n"));
        }
    }
    text.push_str(&format!("\nhint: {}\n", explanation.help));
    text
}

/// One diagnosis as text, with the log behind it if that is wanted.
fn screen(error: &Error, wants_log: bool) -> String {
    let diagnosis = error.diagnosis();
    let mut text = diagnosis.render();
    text.push_str(&format!(
        "\nhint: `twinbpf explain {}` says more",
        diagnosis.code
    ));
    if let Some(log) = diagnosis.kernel_text.as_ref().filter(|_| wants_log) {
        text.push_str(&format!("\n--- the log ---\n{}", log.trim_end()));
    }
    text
}

/// A letter and three digits.
fn looks_like_a_code(text: &str) -> bool {
    let mut letters = text.chars();
    letters.next().is_some_and(|c| c.is_ascii_alphabetic())
        && text.len() == 4
        && letters.all(|c| c.is_ascii_digit())
}

fn unknown_code(name: &str) -> Error {
    let first = name.chars().next().map(|c| c.to_ascii_uppercase());
    let alike: Vec<&str> = CODES
        .iter()
        .map(|row| row.code.as_str())
        .filter(|code| code.chars().next() == first)
        .collect();
    let diagnosis = Diagnosis::new(Code::TEXT_WITHOUT_LOG, format!("there is no code {name}"));
    match alike.as_slice() {
        [] => diagnosis.help("codes begin with O, L, M, P, V, A, R or H"),
        [first, .., last] => diagnosis.help(format!(
            "codes from {first} to {last} begin with this letter"
        )),
        [only] => diagnosis.help(format!("{only} is the only one with this letter")),
    }
    .into()
}

/// A text whose logs say no reason, if there are any.
fn without_reason(name: &str, logs: &[PastedLog]) -> Error {
    let accepted = logs
        .iter()
        .any(|log| verify::VerifierLog::read(&log.text).processed.is_some());
    let diagnosis = match accepted {
        true => Diagnosis::new(
            Code::TEXT_WITHOUT_LOG,
            "the verifier gives no reason in this log: the program was accepted, or the end is missing",
        ),
        false => Diagnosis::new(
            Code::TEXT_WITHOUT_LOG,
            "there is no verifier's log in this text",
        ),
    };
    Error::from(diagnosis.help(
        "paste the whole output of the loader; bpftool prints the log with -d, libbpf with its debug output",
    ))
    .in_file(name)
}

fn read(name: &OsStr) -> Result<String> {
    let bytes = match name == "-" {
        true => {
            let mut bytes = Vec::new();
            let read = io::stdin().lock().take(MOST_BYTES).read_to_end(&mut bytes);
            read.map(|_| bytes)
        }
        false => File::open(name).and_then(end_of),
    };
    let bytes = bytes.map_err(|error| object_file::unreadable(&error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last [`MOST_BYTES`] of a file.
fn end_of(mut file: File) -> io::Result<Vec<u8>> {
    let metadata = file.metadata()?;
    if metadata.is_file() && metadata.len() > MOST_BYTES {
        file.seek(SeekFrom::Start(metadata.len() - MOST_BYTES))?;
    }
    let mut bytes = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_a_letter_and_three_digits() {
        assert!(looks_like_a_code("V999"));
        for other in ["", "V1", "log.txt", "V99x", "1234", "éabc"] {
            assert!(!looks_like_a_code(other), "{other}");
        }
        assert!(unknown_code("v999").diagnosis().help[0].contains("V000"));
    }
}
