//! What maps hold, printed.

use std::ops::ControlFlow;

use serde::Serialize;
use twinbpf::{Code, Diagnosis, MapKind, Result};

use super::DumpArgs;
use super::entry::{Entries, bytes};
use super::progress::Progress;
use super::words::Words;
use crate::exit::Exit;
use crate::output::{Failure, Output};

/// `map get MAP KEY`
pub(super) fn get(words: &[String], output: &Output) -> Result<Exit, Failure> {
    let mut words = Words::new(words);
    let entries = Entries::new(words.map()?)?;
    let key = words.part(&entries.key)?;
    words.end()?;
    let Some(value) = entries.map.get(&key)? else {
        let message = format!("key {} is not in the map", entries.key.text(&key));
        let diagnosis = Diagnosis::new(Code::MAP_KEY_NOT_FOUND, message);
        return Err(diagnosis.in_map(&entries.map.spec().name).into());
    };
    if output.wants_json() {
        output.document(&entries.document(&key, &value))?;
    } else {
        output.data(&entries.value_text(&value, false))?;
    }
    Ok(Exit::Done)
}

/// `map dump MAP`
pub(super) fn dump(args: &DumpArgs, output: &Output) -> Result<Exit, Failure> {
    let mut words = Words::new(&args.words);
    let entries = Entries::new(words.map()?)?;
    words.end()?;
    if output.wants_json() {
        return documents(&entries, output);
    }
    let leaves_out = !args.all
        && matches!(
            entries.map.spec().kind,
            MapKind::Array | MapKind::PerCpuArray
        );
    let (mut shown, mut zeros, mut failure) = (0_u64, 0_u64, None);
    let mut progress = Progress::start(entries.map.spec());
    entries.map.visit(|key, value| {
        progress.step();
        if leaves_out && value.iter().all(|byte| *byte == 0) {
            zeros += 1;
            return ControlFlow::Continue(());
        }
        shown += 1;
        let value = entries.value_text(value, args.per_cpu);
        match output.data(&format!("{}: {value}", entries.key.text(key))) {
            Ok(()) => ControlFlow::Continue(()),
            Err(reason) => {
                failure = Some(reason);
                ControlFlow::Break(())
            }
        }
    })?;
    drop(progress);
    if let Some(failure) = failure {
        return Err(failure);
    }
    let left_out = match zeros {
        0 => String::new(),
        zeros => format!(", {zeros} more are zero (--all)"),
    };
    output.talk(&format!("{shown} entries{left_out}"));
    Ok(Exit::Done)
}

/// All entries as one array, written as they come.
fn documents(entries: &Entries, output: &Output) -> Result<Exit, Failure> {
    let (mut lines, mut count) = (String::from("["), 0_u64);
    let mut failure = None;
    let mut progress = Progress::start(entries.map.spec());
    entries.map.visit(|key, value| {
        progress.step();
        if count > 0 {
            lines.push(',');
        }
        count += 1;
        match serde_json::to_string(&entries.document(key, value)) {
            Ok(text) => lines.push_str(&text),
            Err(error) => {
                failure = Some(Failure::from(std::io::Error::from(error)));
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    })?;
    if let Some(failure) = failure {
        return Err(failure);
    }
    lines.push(']');
    output.data(&lines)?;
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct NextDocument {
    value: Vec<String>,
}

/// `map pop MAP`, `map peek MAP [VALUE]`
pub(super) fn next(words: &[String], output: &Output, is_taken: bool) -> Result<Exit, Failure> {
    let mut words = Words::new(words);
    let entries = Entries::new(words.map()?)?;
    if !is_taken && words.has_more() {
        let value = words.part(&entries.value)?;
        words.end()?;
        let may_have = entries.map.may_have(&value)?;
        output.data(if may_have { "perhaps" } else { "no" })?;
        return Ok(if may_have { Exit::Done } else { Exit::No });
    }
    words.end()?;
    let next = match is_taken {
        true => entries.map.pop()?,
        false => entries.map.peek()?,
    };
    let Some(value) = next else {
        let diagnosis = Diagnosis::new(Code::MAP_KEY_NOT_FOUND, "the map is empty");
        return Err(diagnosis.in_map(&entries.map.spec().name).into());
    };
    if output.wants_json() {
        let value = bytes(&value);
        output.document(&NextDocument { value })?;
    } else {
        output.data(&entries.value.text(&value))?;
    }
    Ok(Exit::Done)
}
