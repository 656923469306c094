//! One program loaded alone.

use std::sync::Arc;

use twinbpf::btf::Btf;
use twinbpf::{
    Engine, Error, Linked, LinkedProgram, LoadReport, MapKind, NotLoadedReason, Object, ProgramSpec,
};

use super::declared::Declared;

/// What came of it.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    Accepted,
    /// Refused by the verifier, with its diagnosis, and the program as it was linked.
    Refused(Error, Option<Box<LinkedProgram>>),
    /// The verifier was not asked: something else is missing.
    NotAsked(String),
}

/// The tests' own loader randomises upper halves and checks the verifier's invariants.
const TEST_FLAGS: u32 = 1 << 2 | 1 << 7;

/// Loads one program of an object, with the maps it needs and nothing else.
pub(super) fn load_alone(
    engine: &Engine,
    object: &Object,
    program: &ProgramSpec,
    declared: &Declared,
    types: Option<Arc<Btf>>,
) -> Outcome {
    let mut alone = object.clone();
    let mut wanted = program.clone();
    wanted.autoload = true;
    wanted.load_flags = TEST_FLAGS | declared.flags;
    alone.programs = vec![wanted];
    give_sizes(&mut alone);
    match try_load(engine, &alone, types) {
        Ok((linked, report)) => outcome_of(linked, report),
        Err(error) => not_asked(&error),
    }
}

fn try_load(
    engine: &Engine,
    object: &Object,
    types: Option<Arc<Btf>>,
) -> twinbpf::Result<(Linked, LoadReport)> {
    let mut target = engine.target(&object.needs())?;
    if types.is_some() {
        target.btf = types;
        // They build on the running kernel's types.
        target.modules.clear();
    }
    let linked = twinbpf::link_each(object, &target)?;
    let (_, report) = engine.loader(&linked).load_each()?;
    Ok((linked, report))
}

fn outcome_of(linked: Linked, report: LoadReport) -> Outcome {
    let refused_map = report.maps.first().map(ToString::to_string);
    match report
        .programs
        .into_iter()
        .next()
        .map(|program| program.reason)
    {
        None => Outcome::Accepted,
        Some(NotLoadedReason::Refused(error) | NotLoadedReason::NotLinked(error)) => {
            match error.diagnosis().kernel_text {
                Some(_) => {
                    Outcome::Refused(error, linked.programs.into_iter().next().map(Box::new))
                }
                None => not_asked(&error),
            }
        }
        Some(other) => Outcome::NotAsked(refused_map.unwrap_or_else(|| format!("{other:?}"))),
    }
}

fn not_asked(error: &Error) -> Outcome {
    Outcome::NotAsked(format!("{}: {error}", error.diagnosis().code))
}

/// Some maps are sized by the test's user space before loading.
fn give_sizes(object: &mut Object) {
    for map in &mut object.maps {
        if map.max_entries == 0 && !is_sized_otherwise(map.kind) {
            map.max_entries = match map.kind {
                MapKind::RingBuf | MapKind::UserRingBuf => 256 * 1024,
                _ => 64,
            };
        }
    }
}

fn is_sized_otherwise(kind: MapKind) -> bool {
    let name = kind.to_string();
    name.contains("storage")
        || name.contains("struct_ops")
        || name.contains("arena")
        || name == "perf_event_array"
}
