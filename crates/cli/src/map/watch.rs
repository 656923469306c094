//! Maps over time: entries that change.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Instant;

use serde::Serialize;
use twinbpf::{PlainValue, Result};

use super::WatchArgs;
use super::entry::{Entries, bytes};
use super::words::Words;
use crate::exit::Exit;
use crate::output::{Failure, Output};

/// What changed at one look.
#[derive(Debug, Serialize)]
struct Change {
    key: Vec<String>,
    /// Nothing if it was removed.
    value: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_second: Option<f64>,
}

/// `map watch MAP`
pub(super) fn watch(args: &WatchArgs, output: &Output) -> Result<Exit, Failure> {
    let mut words = Words::new(&args.words);
    let entries = Entries::new(words.map()?)?;
    words.end()?;
    let mut last = held(&entries)?;
    let mut looked = Instant::now();
    for _ in 0..args.count.unwrap_or(u64::MAX) {
        std::thread::sleep(args.interval);
        let now = held(&entries)?;
        let seconds = looked.elapsed().as_secs_f64();
        looked = Instant::now();
        for (key, change) in changes(&entries, &last, &now, seconds) {
            if output.wants_json() {
                output.document(&change)?;
                continue;
            }
            let value = now.get(&key).map(|value| entries.value_text(value, false));
            let rate = change.per_second.map(|rate| format!("  {rate:+.1}/s"));
            let value = value.unwrap_or_else(|| "removed".to_owned());
            let key = entries.key.text(&key);
            output.data(&format!("{key}: {value}{}", rate.unwrap_or_default()))?;
        }
        last = now;
    }
    Ok(Exit::Done)
}

type Held = BTreeMap<Vec<u8>, Vec<u8>>;

fn held(entries: &Entries) -> Result<Held> {
    let mut held = Held::new();
    entries.map.visit(|key, value| {
        held.insert(key.to_vec(), value.to_vec());
        ControlFlow::Continue(())
    })?;
    Ok(held)
}

fn changes(entries: &Entries, last: &Held, now: &Held, seconds: f64) -> Vec<(Vec<u8>, Change)> {
    let mut changes = Vec::new();
    for (key, value) in now
        .iter()
        .filter(|(key, value)| last.get(*key) != Some(*value))
    {
        let before = last.get(key).and_then(|value| number(entries, value));
        let difference = number(entries, value).map(|after| after - before.unwrap_or(0.0));
        let change = Change {
            key: bytes(key),
            value: Some(bytes(value)),
            per_second: difference.map(|difference| difference / seconds.max(1e-9)),
        };
        changes.push((key.clone(), change));
    }
    for key in last.keys().filter(|key| !now.contains_key(*key)) {
        let change = Change {
            key: bytes(key),
            value: None,
            per_second: None,
        };
        changes.push((key.clone(), change));
    }
    changes
}

/// A value that is one number, or one for each CPU.
fn number(entries: &Entries, value: &[u8]) -> Option<f64> {
    let mut sum = 0_u64;
    for slot in entries.slots(value) {
        match PlainValue::from(slot) {
            PlainValue::Number(number) => sum = sum.wrapping_add(number),
            PlainValue::Bytes(_) => return None,
        }
    }
    // Rates are for people: so many digits are enough.
    sum.to_string().parse().ok()
}
