//! What a run prints: lines for people, or documents for programs.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use serde::Serialize;
use twinbpf::{EngineKind, LinkStats};

use super::ending::Ending;
use super::watch::{Entry, MapEntries, Watch};
use crate::args::RunArgs;
use crate::output::{Failure, Output};

/// Entries that one line shows. JSON has them all.
const ENTRIES_PER_LINE: usize = 64;

/// Prints in the form that was asked for.
#[derive(Debug)]
pub(super) struct View<'a> {
    output: &'a Output,
    object: String,
    engine: EngineKind,
}

#[derive(Debug, Serialize)]
struct TickDocument<'a> {
    event: &'static str,
    seconds: f64,
    /// Maps that changed, with what changed in them.
    maps: &'a [MapEntries],
}

#[derive(Debug, Serialize)]
struct EndDocument<'a> {
    event: &'static str,
    ok: bool,
    object: &'a str,
    engine: String,
    reason: &'static str,
    command: Option<CommandFields>,
    links: Vec<LinkFields>,
    /// Every watched map, with everything in it that is not zero.
    maps: Vec<MapEntries>,
}

#[derive(Debug, Serialize)]
struct CommandFields {
    exit_status: Option<i32>,
    signal: Option<i32>,
}

#[derive(Debug, Serialize)]
struct LinkFields {
    frames: Option<u64>,
    accepted: u64,
    /// How often which verdict was given; empty where nobody counted.
    verdicts: BTreeMap<&'static str, u64>,
    missed: u64,
    faults: u64,
    first_fault: Option<String>,
}

impl<'a> View<'a> {
    pub(super) fn new(output: &'a Output, args: &RunArgs, engine: EngineKind) -> Self {
        Self {
            output,
            object: args.object.display().to_string(),
            engine,
        }
    }

    /// Prints what changed in the last second; people see nothing if nothing did.
    pub(super) fn tick(&self, elapsed: Duration, changes: &[MapEntries]) -> Result<(), Failure> {
        if self.output.wants_json() {
            return self.output.document(&TickDocument {
                event: "tick",
                seconds: elapsed.as_secs_f64(),
                maps: changes,
            });
        }
        let time = format!("{}s", elapsed.as_secs());
        changes
            .iter()
            .try_for_each(|map| self.output.data(&line(&time, map)))
    }

    /// Prints how it ended and what the maps hold.
    pub(super) fn end(
        &self,
        ending: &Ending,
        watch: &mut Watch,
        stats: &[LinkStats],
    ) -> Result<(), Failure> {
        self.warn(stats);
        if let Some(sentence) = ending.sentence() {
            self.output.talk(&sentence);
        }
        let totals = watch.totals()?;
        if self.output.wants_json() {
            return self.output.document(&EndDocument {
                event: "end",
                ok: true,
                object: &self.object,
                engine: self.engine.to_string(),
                reason: ending.word(),
                command: command_fields(ending),
                links: stats.iter().map(LinkFields::new).collect(),
                maps: totals,
            });
        }
        totals
            .iter()
            .try_for_each(|map| self.output.data(&line("total", map)))
    }

    /// Says which frames the programs did not see, and which runs went wrong.
    fn warn(&self, stats: &[LinkStats]) {
        for link in stats {
            if link.missed > 0 {
                self.output.talk(&format!(
                    "warning: {} frames were dropped before the program could see them; the counts lack them",
                    link.missed
                ));
            }
            if let Some(fault) = &link.first_fault {
                self.output.talk(&format!(
                    "warning: {} of {} runs ended abnormally; the first:\n{}",
                    link.faults,
                    link.frames.unwrap_or(link.faults),
                    fault.diagnosis().render()
                ));
            }
        }
    }
}

impl LinkFields {
    fn new(stats: &LinkStats) -> Self {
        Self {
            frames: stats.frames,
            accepted: stats.accepted,
            verdicts: stats.verdicts.clone(),
            missed: stats.missed,
            faults: stats.faults,
            first_fault: stats.first_fault.as_ref().map(ToString::to_string),
        }
    }
}

fn command_fields(ending: &Ending) -> Option<CommandFields> {
    match ending {
        Ending::Command(status) => Some(CommandFields {
            exit_status: status.code(),
            signal: status.signal(),
        }),
        _ => None,
    }
}

/// `1s  my_map  1: 980  17: 4120`
fn line(label: &str, map: &MapEntries) -> String {
    let mut parts = vec![label.to_owned(), map.name.clone()];
    parts.extend(map.entries.iter().take(ENTRIES_PER_LINE).map(entry));
    match map.entries.len().checked_sub(ENTRIES_PER_LINE) {
        Some(left_out) if left_out > 0 => parts.push(format!("... and {left_out} more")),
        _ if map.entries.is_empty() => parts.push("all zero".to_owned()),
        _ => {}
    }
    parts.join("  ")
}

fn entry(entry: &Entry) -> String {
    match &entry.value {
        Some(value) => format!("{}: {value}", entry.key),
        None => format!("{}: removed", entry.key),
    }
}
