//! What `check` found, as a table or as JSON.

use std::time::Duration;

use serde::Serialize;
use twinbpf::{EngineKind, Error, ErrorKind, Object, ProgramSpec};

use crate::error_document::ErrorFields;
use crate::exit::Exit;
use crate::table;

/// Everything that was found.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) engine: EngineKind,
    pub(super) objects: Vec<CheckedObject>,
}

/// One object: its programs, or why it has none to load.
#[derive(Debug)]
pub(super) struct CheckedObject {
    pub(super) file: String,
    pub(super) error: Option<Error>,
    pub(super) warnings: Vec<String>,
    pub(super) programs: Vec<Checked>,
}

/// One program.
#[derive(Debug)]
pub(super) struct Checked {
    name: String,
    section: String,
    kind: Option<String>,
    attach: Option<String>,
    attach_target: Option<String>,
    insns: usize,
    verified_insns: Option<u64>,
    time: Duration,
    error: Option<Error>,
}

/// What an engine said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Accepted,
    /// By the verifier, or by the rules for maps.
    Refused,
    /// No verifier has seen it: a reference, a privilege or a feature is missing.
    NotLoaded,
    BadObject,
}

impl Checked {
    /// A program that was handed to an engine.
    pub(super) fn new(
        program: &ProgramSpec,
        insns: usize,
        time: Duration,
        result: Result<Option<u64>, Error>,
    ) -> Self {
        let (verified_insns, error) = match result {
            Ok(verified_insns) => (verified_insns, None),
            Err(error) => (verified_before_refusal(&error), Some(error)),
        };
        Self {
            name: program.name.clone(),
            section: program.section.clone(),
            kind: program.kind.map(|kind| kind.to_string()),
            attach: program.attach.map(|attach| attach.to_string()),
            attach_target: program.attach_target.clone(),
            insns,
            verified_insns,
            time,
            error,
        }
    }

    /// A program that refers to something which is not there.
    pub(super) fn not_linked(
        program: &ProgramSpec,
        object: &Object,
        reason: Option<Error>,
    ) -> Self {
        let function = object.functions.get(program.function.0);
        let insns = function.map_or(0, |function| function.insns.len());
        let result = reason.map_or(Ok(None), Err);
        Self::new(program, insns, Duration::ZERO, result)
    }

    fn verdict(&self) -> Verdict {
        match &self.error {
            None => Verdict::Accepted,
            // What a verifier has spoken about it has refused, also where we know a better name for the reason.
            Some(error) if error.is_rejected() || error.diagnosis().kernel_text.is_some() => {
                Verdict::Refused
            }
            Some(_) => Verdict::NotLoaded,
        }
    }
}

/// A refusal's diagnosis says how far the verifier came.
fn verified_before_refusal(error: &Error) -> Option<u64> {
    let mut facts = error.diagnosis().facts.iter();
    let fact = facts.find(|fact| fact.label == "instructions verified")?;
    fact.value.parse().ok()
}

#[derive(Debug, Serialize)]
pub(super) struct Document<'a> {
    ok: bool,
    engine: String,
    counts: Counts,
    objects: Vec<ObjectFields<'a>>,
}

#[derive(Debug, Default, Serialize)]
struct Counts {
    objects: usize,
    bad_objects: usize,
    programs: usize,
    accepted: usize,
    refused: usize,
    not_loaded: usize,
}

#[derive(Debug, Serialize)]
struct ObjectFields<'a> {
    file: &'a str,
    error: Option<ErrorFields<'a>>,
    warnings: &'a [String],
    programs: Vec<ProgramFields<'a>>,
}

#[derive(Debug, Serialize)]
struct ProgramFields<'a> {
    section: &'a str,
    program: &'a str,
    #[serde(rename = "type")]
    kind: Option<&'a str>,
    attach: Option<&'a str>,
    attach_target: Option<&'a str>,
    verdict: Verdict,
    insns: usize,
    verified_insns: Option<u64>,
    time_us: u64,
    error: Option<ErrorFields<'a>>,
}

impl Report {
    pub(super) fn document(&self) -> Document<'_> {
        Document {
            ok: self.errors().next().is_none(),
            engine: self.engine.to_string(),
            counts: self.counts(),
            objects: self.objects.iter().map(ObjectFields::new).collect(),
        }
    }

    /// One row per program, then, where asked for or where there is only one, the diagnoses.
    pub(super) fn text(&self, is_verbose: bool, wants_log: bool) -> String {
        let rows: Vec<[String; 9]> = self.objects.iter().flat_map(rows).collect();
        let is_single = rows.len() == 1;
        let heading = [
            "OBJECT",
            "SECTION",
            "PROGRAM",
            "TYPE",
            "VERDICT",
            "INSNS",
            "VERIFIED",
            "TIME",
            "DIAGNOSIS",
        ];
        let mut parts = vec![table::render(heading, &rows)];
        for error in self
            .errors()
            .filter(|_| is_verbose || is_single || wants_log)
        {
            parts.push(error.diagnosis().render());
            let log = error.diagnosis().kernel_text.as_deref();
            parts.extend(
                log.filter(|_| wants_log)
                    .map(|log| log.trim_end().to_owned()),
            );
        }
        parts.join("\n\n")
    }

    /// The numbers in one line.
    pub(super) fn summary(&self) -> String {
        let counts = self.counts();
        let mut text = format!(
            "{}: {} of {} programs accepted",
            self.engine, counts.accepted, counts.programs
        );
        for (count, what) in [
            (counts.refused, "refused"),
            (counts.not_loaded, "not loaded"),
            (counts.bad_objects, "objects without any"),
        ] {
            if count > 0 {
                text.push_str(&format!(", {count} {what}"));
            }
        }
        text
    }

    /// The status of the worst that happened: what is wrong with a file says more than what is wrong with a program.
    pub(super) fn exit(&self) -> Exit {
        let of_objects = self
            .objects
            .iter()
            .filter_map(|object| object.error.as_ref());
        let mut kinds: Vec<ErrorKind> = of_objects.map(Error::kind).collect();
        if kinds.is_empty() {
            kinds = self.errors().map(Error::kind).collect();
        }
        let worst = RANKS
            .iter()
            .find(|kind| kinds.contains(kind))
            .or(kinds.first());
        worst.map_or(Exit::Done, |kind| Exit::of(*kind))
    }

    fn errors(&self) -> impl Iterator<Item = &Error> {
        self.objects.iter().flat_map(|object| {
            let programs = object
                .programs
                .iter()
                .filter_map(|each| each.error.as_ref());
            object.error.iter().chain(programs)
        })
    }

    fn counts(&self) -> Counts {
        let mut counts = Counts {
            objects: self.objects.len(),
            ..Counts::default()
        };
        for object in &self.objects {
            counts.bad_objects += usize::from(object.error.is_some());
            counts.programs += object.programs.len();
            for program in &object.programs {
                match program.verdict() {
                    Verdict::Accepted => counts.accepted += 1,
                    Verdict::Refused => counts.refused += 1,
                    Verdict::NotLoaded | Verdict::BadObject => counts.not_loaded += 1,
                }
            }
        }
        counts
    }
}

/// Which kinds of failure count most, if there are several.
const RANKS: [ErrorKind; 6] = [
    ErrorKind::Permission,
    ErrorKind::BadObject,
    ErrorKind::NotFound,
    ErrorKind::Rejected,
    ErrorKind::Unsupported,
    ErrorKind::Limit,
];

impl<'a> ObjectFields<'a> {
    fn new(object: &'a CheckedObject) -> Self {
        Self {
            file: &object.file,
            error: object.error.as_ref().map(ErrorFields::new),
            warnings: &object.warnings,
            programs: object.programs.iter().map(ProgramFields::new).collect(),
        }
    }
}

impl<'a> ProgramFields<'a> {
    fn new(program: &'a Checked) -> Self {
        Self {
            section: &program.section,
            program: &program.name,
            kind: program.kind.as_deref(),
            attach: program.attach.as_deref(),
            attach_target: program.attach_target.as_deref(),
            verdict: program.verdict(),
            insns: program.insns,
            verified_insns: program.verified_insns,
            time_us: u64::try_from(program.time.as_micros()).unwrap_or(u64::MAX),
            error: program.error.as_ref().map(ErrorFields::new),
        }
    }
}

/// The rows of one object.
fn rows(object: &CheckedObject) -> Vec<[String; 9]> {
    let file = &object.file;
    if let Some(error) = &object.error {
        let dash = || "-".to_owned();
        return vec![[
            file.clone(),
            dash(),
            dash(),
            dash(),
            object_verdict(error).words().to_owned(),
            dash(),
            dash(),
            dash(),
            brief(error),
        ]];
    }
    let programs = object.programs.iter();
    programs.map(|program| program.row(file)).collect()
}

/// An object for another machine has nothing wrong with it.
fn object_verdict(error: &Error) -> Verdict {
    match error.kind() {
        ErrorKind::BadObject => Verdict::BadObject,
        _ => Verdict::NotLoaded,
    }
}

impl Checked {
    fn row(&self, file: &str) -> [String; 9] {
        [
            file.to_owned(),
            self.section.clone(),
            self.name.clone(),
            self.kind.clone().unwrap_or_else(|| "-".to_owned()),
            self.verdict().words().to_owned(),
            self.insns.to_string(),
            self.verified_insns
                .map_or("-".to_owned(), |count| count.to_string()),
            shown_time(self.time),
            self.error.as_ref().map_or("-".to_owned(), brief),
        ]
    }
}

impl Verdict {
    fn words(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::NotLoaded => "not loaded",
            Self::BadObject => "bad object",
        }
    }
}

/// The code and the first line of the message.
fn brief(error: &Error) -> String {
    let diagnosis = error.diagnosis();
    let line = diagnosis.message.lines().next().unwrap_or_default();
    format!("{} {line}", diagnosis.code)
}

/// `0.4 ms`, `120 ms`, `3.2 s`
fn shown_time(time: Duration) -> String {
    let tenths = time.as_micros() / 100;
    match tenths {
        0 if time.is_zero() => "-".to_owned(),
        0..1_000 => format!("{}.{} ms", tenths / 10, tenths % 10),
        1_000..10_000 => format!("{} ms", tenths / 10),
        _ => format!("{}.{} s", tenths / 10_000, tenths / 1_000 % 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_the_unit_a_person_would_choose() {
        for (micros, text) in [
            (0, "-"),
            (40, "0.0 ms"),
            (1_250, "1.2 ms"),
            (120_900, "120 ms"),
            (3_290_000, "3.2 s"),
        ] {
            assert_eq!(shown_time(Duration::from_micros(micros)), text);
        }
    }
}
