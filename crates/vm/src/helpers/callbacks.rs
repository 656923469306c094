//! Helpers that call the program back.

use twinbpf_object::{Errno, MapKind};
use twinbpf_shm::SharedBytes;

use crate::fault::FaultKind;
use crate::maps::LiveMap;
use crate::provenance::Provenance;
use crate::run::{Arguments, Returned, Run};
use crate::semantics::low_32;

/// KERNEL: most rounds of `bpf_loop` (`BPF_MAX_LOOPS`, 6.18).
pub(crate) const MOST_ROUNDS: u32 = 1 << 23;
/// What the checked interpreter calls a key that is handed to a callback.
const KEY: &str = "a map key";

/// `long bpf_loop(rounds, callback, context, flags)`: rounds done.
pub(super) fn repeat(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let [rounds, _, _, flags, _] = arguments.values;
    let callback = run.function(arguments, 1)?;
    if flags != 0 {
        return Ok(Returned::error(Errno::EINVAL));
    }
    let rounds = low_32(rounds);
    if rounds > MOST_ROUNDS {
        return Ok(Returned::error(Errno::E2BIG));
    }
    for round in 0..rounds {
        let mut handed_over = [Returned::NOTHING; 5];
        handed_over[0] = Returned::number(u64::from(round));
        handed_over[1] = arguments.get(2);
        if run.call_function(callback, handed_over)? != 0 {
            return Ok(Returned::number(u64::from(round) + 1));
        }
    }
    Ok(Returned::number(u64::from(rounds)))
}

/// `long bpf_for_each_map_elem(map, callback, context, flags)`: elements visited.
pub(super) fn for_each(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let map = run.map(arguments, 0)?.clone();
    let callback = run.function(arguments, 1)?;
    if arguments.values[3] != 0 {
        return Ok(Returned::error(Errno::EINVAL));
    }
    // The same for every key: what a callback lends is a call deeper.
    let place = run.scratch()?;
    let mut visited = 0;
    let mut visit = |run: &mut Run<'_>, key: &[u8], value: u32| {
        visited += 1;
        let handed_over = [
            arguments.get(0),
            lend(place, key)?,
            Returned::object(value, map.value_size(), "a map value"),
            arguments.get(2),
            Returned::NOTHING,
        ];
        run.call_function(callback, handed_over)
    };
    match map.spec().kind {
        MapKind::Array | MapKind::PerCpuArray => {
            for index in 0..map.spec().max_entries {
                let value = map.address_at(index, run.slot).unwrap_or(0);
                if visit(run, &index.to_ne_bytes(), value)? != 0 {
                    break;
                }
            }
        }
        _ => {
            for (key, value) in map.snapshot(run.slot).ok_or_else(|| not_walkable(&map))? {
                if visit(run, &key, value)? != 0 {
                    break;
                }
            }
        }
    }
    Ok(Returned::number(visited))
}

fn not_walkable(map: &LiveMap) -> FaultKind {
    FaultKind::NotAMap {
        value: u64::from(map.handle()),
    }
}

impl Run<'_> {
    /// Copies a key to where a callback can read it; every depth of calls has a place of its own.
    pub(crate) fn lend_key(&self, key: &[u8]) -> Result<Returned, FaultKind> {
        lend(self.scratch()?, key)
    }
}

#[inline]
fn lend((address, place): (u32, SharedBytes), key: &[u8]) -> Result<Returned, FaultKind> {
    let len = u32::try_from(key.len()).unwrap_or(u32::MAX);
    place
        .copy_in(0, key)
        .ok_or(FaultKind::Unsupported("a callback with such a long key"))?;
    Ok(Returned {
        value: u64::from(address),
        provenance: Provenance::object(address, len, KEY),
    })
}
