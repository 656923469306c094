//! What `prog run` found, as text or as JSON.

use std::fmt::Write as _;

use serde::Serialize;
use twinbpf::{
    EngineKind, Error, LinkedProgram, Loaded, MapKind, RawMap, Result, TestInput, TestOutput,
};

use crate::error_document::ErrorFields;
use crate::exit::Exit;
use crate::hex;
use crate::table;

/// Entries of a map that are printed.
const MOST_ENTRIES: usize = 1000;

/// Everything that was found.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) engine: EngineKind,
    pub(super) programs: Vec<TestedProgram>,
}

/// One program.
#[derive(Debug)]
pub(super) struct TestedProgram {
    name: String,
    section: String,
    kind: Option<String>,
    error: Option<Error>,
    runs: Vec<TestedRun>,
    maps: Vec<MapContents>,
}

/// One run.
#[derive(Debug)]
pub(super) struct TestedRun {
    packet: String,
    outcome: Result<Answer>,
}

/// What a run answered.
#[derive(Debug, Serialize)]
struct Answer {
    value: u32,
    /// Whether the packet came out as it went in.
    same: bool,
    len: usize,
    data: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    context: String,
}

/// What a map holds; of arrays, what is not zero.
#[derive(Debug, Serialize)]
pub(crate) struct MapContents {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    entries: Vec<[String; 2]>,
    is_cut: bool,
}

impl TestedProgram {
    /// A program that was run.
    pub(super) fn loaded(
        spec: &LinkedProgram,
        runs: Vec<TestedRun>,
        maps: Vec<MapContents>,
    ) -> Self {
        Self {
            name: spec.name.clone(),
            section: spec.section.clone(),
            kind: spec.kind.map(|kind| kind.to_string()),
            error: None,
            runs,
            maps,
        }
    }

    /// A program that could not be loaded.
    pub(super) fn not_loaded(name: String, section: String, error: Error) -> Self {
        Self {
            name,
            section,
            kind: None,
            error: Some(error),
            runs: Vec::new(),
            maps: Vec::new(),
        }
    }
}

impl TestedRun {
    pub(super) fn new(packet: &str, input: &TestInput<'_>, outcome: Result<TestOutput>) -> Self {
        Self {
            packet: packet.to_owned(),
            outcome: outcome.map(|output| Answer {
                value: output.value,
                same: output.data == input.data,
                len: output.data.len(),
                data: hex::digits(&output.data),
                context: hex::digits(&output.context),
            }),
        }
    }
}

/// What the maps hold. The kernel keeps no more of a ring than its reader; both engines leave kinds without keys out.
pub(crate) fn maps(loaded: &Loaded, is_vm: bool) -> Vec<MapContents> {
    let has_contents = |map: &RawMap| {
        matches!(
            map.spec().kind,
            MapKind::Array
                | MapKind::Hash
                | MapKind::PerCpuArray
                | MapKind::PerCpuHash
                | MapKind::LruHash
                | MapKind::LruPerCpuHash
                | MapKind::LpmTrie
        ) && !map.spec().is_frozen
    };
    loaded
        .maps()
        .filter(|(_, _, map)| has_contents(map))
        .map(|(name, spec, map)| contents(name, spec.kind, map, is_vm))
        .collect()
}

fn contents(name: &str, kind: MapKind, map: &RawMap, is_vm: bool) -> MapContents {
    let is_array = matches!(kind, MapKind::Array | MapKind::PerCpuArray);
    let mut entries: Vec<[String; 2]> = Vec::new();
    let mut is_cut = false;
    // What cannot be read, as write-only maps, has nothing to print.
    for (key, value) in map.entries().filter_map(Result::ok) {
        if is_array && value.iter().all(|byte| *byte == 0) {
            continue;
        }
        if entries.len() == MOST_ENTRIES {
            is_cut = true;
            break;
        }
        entries.push([hex::digits(&key), hex::digits(&value)]);
    }
    if is_vm || !is_array {
        // The order of a hash is its engine's own.
        entries.sort();
    }
    MapContents {
        name: name.to_owned(),
        kind: kind.to_string(),
        entries,
        is_cut,
    }
}

#[derive(Serialize)]
struct Document<'a> {
    ok: bool,
    engine: String,
    programs: Vec<ProgramFields<'a>>,
}

#[derive(Serialize)]
struct ProgramFields<'a> {
    program: &'a str,
    section: &'a str,
    #[serde(rename = "type")]
    kind: Option<&'a str>,
    error: Option<ErrorFields<'a>>,
    runs: Vec<RunFields<'a>>,
    maps: &'a [MapContents],
}

#[derive(Serialize)]
struct RunFields<'a> {
    packet: &'a str,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    answer: Option<&'a Answer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorFields<'a>>,
}

impl Serialize for Report {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let programs = self.programs.iter().map(|program| ProgramFields {
            program: &program.name,
            section: &program.section,
            kind: program.kind.as_deref(),
            error: program.error.as_ref().map(ErrorFields::new),
            runs: program.runs.iter().map(RunFields::new).collect(),
            maps: &program.maps,
        });
        let document = Document {
            ok: self.exit() == Exit::Done,
            engine: self.engine.to_string(),
            programs: programs.collect(),
        };
        document.serialize(serializer)
    }
}

impl<'a> RunFields<'a> {
    fn new(run: &'a TestedRun) -> Self {
        Self {
            packet: &run.packet,
            answer: run.outcome.as_ref().ok(),
            error: run.outcome.as_ref().err().map(ErrorFields::new),
        }
    }
}

impl Report {
    /// A table of runs for each program, then its maps.
    pub(super) fn text(&self) -> String {
        let parts: Vec<String> = self.programs.iter().map(TestedProgram::text).collect();
        parts.join("\n\n")
    }

    /// The status of the first program that could not be loaded, else of the first run that failed.
    pub(super) fn exit(&self) -> Exit {
        let not_loaded = self.programs.iter().filter_map(|each| each.error.as_ref());
        let runs = self.programs.iter().flat_map(|program| &program.runs);
        let failed = runs.filter_map(|run| run.outcome.as_ref().err());
        let first = not_loaded.chain(failed).next();
        first.map_or(Exit::Done, |error| Exit::of(error.kind()))
    }
}

impl TestedProgram {
    fn text(&self) -> String {
        let kind = self.kind.as_deref().unwrap_or("not loaded");
        let mut text = format!("{} ({kind})\n", self.name);
        if let Some(error) = &self.error {
            text.push_str(&error.diagnosis().render());
            return text;
        }
        let rows: Vec<[String; 4]> = self.runs.iter().map(TestedRun::row).collect();
        text.push_str(&table::render(["PACKET", "VALUE", "BYTES", "DATA"], &rows));
        for map in &self.maps {
            text.push('\n');
            text.push_str(&map.text());
        }
        text
    }
}

impl MapContents {
    /// A line for the map and one for each entry.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{} ({})", self.name, self.kind);
        for [key, value] in &self.entries {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n  {key}  {value}");
        }
        if self.is_cut {
            text.push_str("\n  and more");
        }
        text
    }
}

impl TestedRun {
    fn row(&self) -> [String; 4] {
        match &self.outcome {
            Ok(answer) => [
                self.packet.clone(),
                answer.value.to_string(),
                answer.len.to_string(),
                if answer.same {
                    "unchanged".to_owned()
                } else {
                    answer.data.clone()
                },
            ],
            Err(error) => [
                self.packet.clone(),
                "-".to_owned(),
                "-".to_owned(),
                error.to_string(),
            ],
        }
    }
}
