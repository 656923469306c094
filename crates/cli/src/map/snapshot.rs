//! What a map held at one moment, in a file: written, compared, stored again.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use serde::{Deserialize, Serialize};
use twinbpf::{Code, Diagnosis, Error, RawMap, Result, UpdateMode};

use super::entry::Entries;
use super::progress::Progress;
use super::words::{Words, usage};
use super::{RestoreArgs, SnapshotArgs};
use crate::exit::Exit;
use crate::object_file;
use crate::output::{Failure, Output};

/// The entries of a map: keys and values as hex digits, those of all CPUs one after another.
#[derive(Debug, Serialize, Deserialize)]
struct Snapshot {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    bytes_key: usize,
    bytes_value: usize,
    entries: BTreeMap<String, String>,
}

/// How a key differs.
#[derive(Debug, Serialize)]
struct Difference {
    key: String,
    before: Option<String>,
    after: Option<String>,
}

impl Snapshot {
    fn of(map: &RawMap) -> Result<Self> {
        let mut entries = BTreeMap::new();
        let mut progress = Progress::start(map.spec());
        map.visit(|key, value| {
            progress.step();
            entries.insert(hex(key), hex(value));
            ControlFlow::Continue(())
        })?;
        Ok(Self {
            name: map.spec().name.clone(),
            kind: map.spec().kind.to_string(),
            bytes_key: map.key_len(),
            bytes_value: map.value_len(),
            entries,
        })
    }

    fn read(path: &str) -> Result<Self> {
        let bytes = object_file::bytes(path.as_ref())?;
        serde_json::from_slice(&bytes).map_err(|error| {
            let message = format!("this is no snapshot of a map: {error}");
            let error = Error::from(Diagnosis::new(Code::SNAPSHOT_MALFORMED, message));
            error.in_file(path)
        })
    }

    /// Keys and values in bytes.
    fn bytes(&self) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let part = |text: &str, size: usize| {
            let bytes = unhex(text).filter(|bytes| bytes.len() == size);
            bytes.ok_or_else(|| usage(format!("`{text}` in the snapshot is not {size} bytes")))
        };
        let entries = self.entries.iter();
        entries
            .map(|(key, value)| Ok((part(key, self.bytes_key)?, part(value, self.bytes_value)?)))
            .collect()
    }
}

/// `map snapshot MAP -o FILE`
pub(super) fn snapshot(args: &SnapshotArgs, output: &Output) -> Result<Exit, Failure> {
    let mut words = Words::new(&args.words);
    let map = words.map()?;
    words.end()?;
    let snapshot = Snapshot::of(&map)?;
    let Some(path) = &args.output else {
        output.document(&snapshot)?;
        return Ok(Exit::Done);
    };
    let text = serde_json::to_string(&snapshot).map_err(std::io::Error::from)?;
    write_whole(path, &text)?;
    output.talk(&format!("{} entries", snapshot.entries.len()));
    Ok(Exit::Done)
}

/// A file is there whole or not at all, also if this process is killed in the middle.
fn write_whole(path: &Path, text: &str) -> Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(format!(".{}.partial", std::process::id()));
    let written = fs::write(&partial, text).and_then(|()| fs::rename(&partial, path));
    written.map_err(|error| {
        // What was begun is of no use; if it cannot be removed either, the error below says enough.
        let _ = fs::remove_file(&partial);
        object_file::unwritable(path, "the snapshot", &error)
    })
}

/// `map diff FILE FILE`, `map diff FILE MAP`
pub(super) fn diff(words: &[String], output: &Output) -> Result<Exit, Failure> {
    let mut words = Words::new(words);
    let before = Snapshot::read(words.next("the file of a snapshot")?)?;
    let is_file = words.is_file();
    let (after, entries) = match is_file {
        true => (Snapshot::read(words.next("a file")?)?, None),
        false => {
            let map = words.map()?;
            (Snapshot::of(&map)?, Some(Entries::new(map)?))
        }
    };
    words.end()?;
    if (before.bytes_key, before.bytes_value) != (after.bytes_key, after.bytes_value) {
        let message = "the snapshots are of maps with different sizes of keys or values";
        return Err(usage(message.to_owned()).into());
    }
    let differences = differences(&before, &after);
    if output.wants_json() {
        output.document(&differences)?;
    } else {
        for difference in &differences {
            output.data(&line(difference, entries.as_ref()))?;
        }
    }
    Ok(if differences.is_empty() {
        Exit::Done
    } else {
        Exit::No
    })
}

fn differences(before: &Snapshot, after: &Snapshot) -> Vec<Difference> {
    let mut keys: Vec<&String> = before.entries.keys().chain(after.entries.keys()).collect();
    keys.sort();
    keys.dedup();
    let compared = keys.into_iter().map(|key| Difference {
        key: key.clone(),
        before: before.entries.get(key).cloned(),
        after: after.entries.get(key).cloned(),
    });
    compared
        .filter(|difference| difference.before != difference.after)
        .collect()
}

/// `+ key: value`, `- key: value`, `~ key: value -> value`
fn line(difference: &Difference, entries: Option<&Entries>) -> String {
    let key = match (entries, unhex(&difference.key)) {
        (Some(entries), Some(key)) => entries.key.text(&key),
        (_, Some(key)) => twinbpf::PlainValue::from(&key[..]).to_string(),
        (_, None) => difference.key.clone(),
    };
    let text = |value: &String| match (entries, unhex(value)) {
        (Some(entries), Some(value)) => entries.value_text(&value, false),
        (_, Some(value)) => twinbpf::PlainValue::from(&value[..]).to_string(),
        (_, None) => value.clone(),
    };
    match (&difference.before, &difference.after) {
        (Some(before), Some(after)) => format!("~ {key}: {} -> {}", text(before), text(after)),
        (Some(before), None) => format!("- {key}: {}", text(before)),
        (None, Some(after)) => format!("+ {key}: {}", text(after)),
        (None, None) => format!("  {key}"),
    }
}

/// `map restore MAP FILE [--exact]`
pub(super) fn restore(args: &RestoreArgs) -> Result<Exit, Failure> {
    let mut words = Words::new(&args.words);
    let map = words.map()?;
    let snapshot = Snapshot::read(words.next("the file of a snapshot")?)?;
    words.end()?;
    if (snapshot.bytes_key, snapshot.bytes_value) != (map.key_len(), map.value_len()) {
        let message = format!(
            "the snapshot has keys of {} and values of {} bytes, the map {} and {}",
            snapshot.bytes_key,
            snapshot.bytes_value,
            map.key_len(),
            map.value_len()
        );
        return Err(usage(message).into());
    }
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    for (key, value) in snapshot.bytes()? {
        keys.extend(key);
        values.extend(value);
    }
    if args.exact {
        let mut others = Vec::new();
        map.visit(|key, _| {
            if !snapshot.entries.contains_key(&hex(key)) {
                others.extend_from_slice(key);
            }
            ControlFlow::Continue(())
        })?;
        map.remove_many(&others)?;
    }
    map.update_many(&keys, &values, UpdateMode::Any)?;
    Ok(Exit::Done)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> = text
        .chars()
        .map(|c| c.to_digit(16))
        .collect::<Option<_>>()?;
    let pairs = digits.chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => u8::try_from(high * 16 + low).ok(),
            _ => None,
        })
        .collect()
}
