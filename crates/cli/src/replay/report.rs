//! What a replay found, as text or as JSON.

use std::collections::BTreeMap;

use serde::Serialize;
use twinbpf::{EngineKind, Error, PacketAnswer, Program, Result};

use crate::error_document::ErrorFields;
use crate::exit::Exit;
use crate::prog::MapContents;
use crate::table;

/// Everything that was found.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) engine: EngineKind,
    /// Packets of the capture.
    pub(super) packets: u64,
    pub(super) programs: Vec<ProgramRow>,
    pub(super) maps: Vec<MapContents>,
}

/// What one program did.
#[derive(Debug)]
pub(super) struct ProgramRow {
    name: String,
    kind: String,
    /// Packets that it answered.
    runs: u64,
    verdicts: BTreeMap<&'static str, u64>,
    /// Packets that it left otherwise than they came.
    changed: u64,
    /// Packets that do not come by its hook.
    pub(super) passed_by: u64,
    /// Runs without an answer, and the first reason.
    failed: u64,
    first_failure: Option<Error>,
}

impl ProgramRow {
    pub(super) fn new(program: &Program) -> Self {
        Self {
            name: program.name().to_owned(),
            kind: program.kind().to_string(),
            runs: 0,
            verdicts: BTreeMap::new(),
            changed: 0,
            passed_by: 0,
            failed: 0,
            first_failure: None,
        }
    }

    pub(super) fn count(&mut self, answer: &Result<PacketAnswer>) {
        match answer {
            Ok(answer) => {
                self.runs += 1;
                self.changed += u64::from(answer.changed.is_some());
                *self.verdicts.entry(answer.verdict.word).or_default() += 1;
            }
            Err(error) => {
                self.failed += 1;
                self.first_failure.get_or_insert_with(|| error.clone());
            }
        }
    }

    fn cells(&self) -> [String; 6] {
        let verdicts: Vec<String> = self
            .verdicts
            .iter()
            .map(|(word, count)| format!("{word} {count}"))
            .collect();
        [
            self.name.clone(),
            self.runs.to_string(),
            verdicts.join(", "),
            self.changed.to_string(),
            self.passed_by.to_string(),
            self.failed.to_string(),
        ]
    }
}

impl Report {
    /// A table of programs, what went wrong first, then the maps.
    pub(super) fn text(&self) -> String {
        let head = [
            "PROGRAM", "RUNS", "VERDICTS", "CHANGED", "NOT SEEN", "FAILED",
        ];
        let rows: Vec<[String; 6]> = self.programs.iter().map(ProgramRow::cells).collect();
        let mut parts = vec![
            format!("{} packets", self.packets),
            table::render(head, &rows),
        ];
        for program in &self.programs {
            if let Some(error) = &program.first_failure {
                let (failed, name) = (program.failed, &program.name);
                let reason = error.diagnosis().render();
                parts.push(format!(
                    "{failed} runs of {name} failed; the first:\n{reason}"
                ));
            }
        }
        parts.extend(self.maps.iter().map(MapContents::text));
        parts.join("\n")
    }

    /// A run that failed turns "done" into "no".
    pub(super) fn exit(&self) -> Exit {
        match self.programs.iter().any(|program| program.failed > 0) {
            true => Exit::No,
            false => Exit::Done,
        }
    }
}

#[derive(Serialize)]
struct Document<'a> {
    ok: bool,
    engine: String,
    packets: u64,
    programs: Vec<ProgramFields<'a>>,
    maps: &'a [MapContents],
}

#[derive(Serialize)]
struct ProgramFields<'a> {
    program: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    runs: u64,
    verdicts: &'a BTreeMap<&'static str, u64>,
    changed: u64,
    not_seen: u64,
    failed: u64,
    first_failure: Option<ErrorFields<'a>>,
}

impl Serialize for Report {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let programs = self.programs.iter().map(|program| ProgramFields {
            program: &program.name,
            kind: &program.kind,
            runs: program.runs,
            verdicts: &program.verdicts,
            changed: program.changed,
            not_seen: program.passed_by,
            failed: program.failed,
            first_failure: program.first_failure.as_ref().map(ErrorFields::new),
        });
        let document = Document {
            ok: self.exit() == Exit::Done,
            engine: self.engine.to_string(),
            packets: self.packets,
            programs: programs.collect(),
            maps: &self.maps,
        };
        document.serialize(serializer)
    }
}
