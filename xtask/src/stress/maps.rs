//! Maps that change while they are read.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use twinbpf::{Engine, Map, MapKind};

/// Entries that stay all the time.
const STEADY: u32 = 100_000;
/// Keys of entries that come and go.
const FLEETING: std::ops::Range<u32> = 1 << 20..(1 << 20) + 2_000;

/// Two threads store and remove entries while all are read again and again: those that stay are always there.
pub(super) fn run(engine: &Engine, time: Duration) -> Result<String, String> {
    let words = |error: twinbpf::Error| error.to_string();
    let map = Map::<u32, u64>::create(engine, MapKind::Hash, STEADY + 10_000).map_err(words)?;
    let keys: Vec<u32> = (0..STEADY).collect();
    let values: Vec<u64> = keys.iter().map(|key| u64::from(*key) * 3).collect();
    map.set_many(keys.iter().zip(&values)).map_err(words)?;
    let is_over = AtomicBool::new(false);
    let change = || {
        let mut changes = 0_u64;
        while !is_over.load(Ordering::Relaxed) {
            for key in FLEETING {
                map.set(&key, &1).map_err(words)?;
                map.remove(&key).map_err(words)?;
                changes += 2;
            }
        }
        Ok::<u64, String>(changes)
    };
    let (dumps, changes) = thread::scope(|scope| {
        let writers = [scope.spawn(change), scope.spawn(change)];
        let deadline = Instant::now() + time;
        let mut dumps = 0_u64;
        let mut outcome = Ok(());
        while outcome.is_ok() && Instant::now() < deadline {
            outcome = dump(&map);
            dumps += 1;
        }
        is_over.store(true, Ordering::Relaxed);
        let mut changes = 0;
        for writer in writers {
            changes += writer.join().map_err(|_| "a writer panicked")??;
        }
        outcome.map(|()| (dumps, changes))
    })?;
    let count = map.raw().count().map_err(words)?;
    if count != u64::from(STEADY) {
        return Err(format!("{STEADY} entries stayed, {count} are there"));
    }
    Ok(format!(
        "{dumps} dumps of {STEADY} entries beside {changes} changes, none missing"
    ))
}

fn dump(map: &Map<u32, u64>) -> Result<(), String> {
    let entries = map.entries().map_err(|error| error.to_string())?;
    let mut seen = vec![false; STEADY as usize];
    for (key, value) in entries {
        match seen.get_mut(key as usize) {
            Some(seen) if value == u64::from(key) * 3 => *seen = true,
            Some(_) => return Err(format!("key {key} has the value {value}")),
            None => {}
        }
    }
    match seen.iter().position(|seen| !seen) {
        None => Ok(()),
        Some(missing) => Err(format!("key {missing} was not in a dump")),
    }
}
