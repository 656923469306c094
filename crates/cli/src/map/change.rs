//! What is done to maps.

use std::path::Path;

use twinbpf::{MapKind, Result, UpdateMode};

use super::entry::Entries;
use super::words::{Words, usage};
use crate::exit::Exit;
use crate::output::Failure;

/// `map set MAP KEY VALUE [any|exist|noexist]`
pub(super) fn set(words: &[String]) -> Result<Exit, Failure> {
    let mut words = Words::new(words);
    let entries = Entries::new(words.map()?)?;
    let key = words.part(&entries.key)?;
    if matches!(
        entries.map.spec().kind,
        MapKind::ArrayOfMaps | MapKind::HashOfMaps
    ) {
        words.takes("value");
        let held = words.map()?;
        words.end()?;
        entries.map.put_map(&key, &held)?;
        return Ok(Exit::Done);
    }
    let one = words.part(&entries.value)?;
    let mode = match words.has_more() {
        false => UpdateMode::Any,
        true => mode(words.next("a condition")?)?,
    };
    words.end()?;
    entries
        .map
        .update(&key, &of_all_cpus(&entries, &one), mode)?;
    Ok(Exit::Done)
}

fn mode(word: &str) -> Result<UpdateMode> {
    match word {
        "any" => Ok(UpdateMode::Any),
        "exist" => Ok(UpdateMode::IfPresent),
        "noexist" => Ok(UpdateMode::IfAbsent),
        other => Err(usage(format!("`{other}` is none of any, exist, noexist"))),
    }
}

/// A value for every CPU, where each has one.
fn of_all_cpus(entries: &Entries, one: &[u8]) -> Vec<u8> {
    if !entries.map.spec().kind.is_per_cpu() {
        return one.to_vec();
    }
    let mut slot = one.to_vec();
    slot.resize(one.len().next_multiple_of(8), 0);
    let slots = entries.map.value_len() / slot.len().max(1);
    slot.repeat(slots)
}

/// `map del MAP KEY`
pub(super) fn del(words: &[String]) -> Result<Exit, Failure> {
    let mut words = Words::new(words);
    let entries = Entries::new(words.map()?)?;
    let key = words.part(&entries.key)?;
    words.end()?;
    if entries.map.remove(&key)? {
        return Ok(Exit::Done);
    }
    let message = format!("key {} is not in the map", entries.key.text(&key));
    let diagnosis = twinbpf::Diagnosis::new(twinbpf::Code::MAP_KEY_NOT_FOUND, message);
    Err(diagnosis.in_map(&entries.map.spec().name).into())
}

/// `map push MAP VALUE`
pub(super) fn push(words: &[String]) -> Result<Exit, Failure> {
    let mut words = Words::new(words);
    let entries = Entries::new(words.map()?)?;
    let value = words.part(&entries.value)?;
    words.end()?;
    entries.map.push(&value)?;
    Ok(Exit::Done)
}

/// `map freeze MAP`
pub(super) fn freeze(words: &[String]) -> Result<Exit, Failure> {
    let mut words = Words::new(words);
    let map = words.map()?;
    words.end()?;
    map.freeze()?;
    Ok(Exit::Done)
}

/// `map pin MAP FILE`
pub(super) fn pin(words: &[String]) -> Result<Exit, Failure> {
    let mut words = Words::new(words);
    let map = words.map()?;
    let path = words.next("a path")?;
    words.end()?;
    map.pin(Path::new(path))?;
    Ok(Exit::Done)
}
