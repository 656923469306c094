//! What maps of maps and prog arrays hold from the start, put in once it exists.
//!
//! Maps go in before programs are loaded, programs afterwards. A map that was there before keeps the maps it holds: somebody
//! else may have put them in. Programs go into it all the same, because those of the last time are gone or old.

use twinbpf_object::spec::{DeclaredValue, SlotContent};
use twinbpf_object::{Code, Linked, MapSpec};

use crate::loaded::{EmptySlot, NotLoadedReason, missing};
use crate::program::Program;
use crate::raw_map::RawMap;

use super::{Maps, Outcome};

/// Puts maps into the maps that declare them; gives the slots that stay empty. `is_new` says, by map, whether it was just made.
pub(super) fn put_maps(
    linked: &Linked,
    maps: &Maps,
    is_new: impl Fn(&MapSpec) -> bool,
) -> Vec<EmptySlot> {
    let mut empty = Vec::new();
    for (spec, outer, value) in declared(linked, maps) {
        let SlotContent::Map(index) = &value.holds else {
            continue;
        };
        if !is_new(spec) {
            continue;
        }
        let result = match maps.get(index.0) {
            Some(Some(Ok(inner))) => outer
                .put_map(&value.slot.to_ne_bytes(), inner)
                .map_err(NotLoadedReason::Refused),
            _ => Err(NotLoadedReason::MapMissing {
                map: linked
                    .maps
                    .get(index.0)
                    .map_or_else(|| format!("map {}", index.0), |map| map.name.clone()),
            }),
        };
        empty.extend(result.err().map(|reason| empty_slot(spec, value, reason)));
    }
    empty
}

/// Puts programs into the prog arrays that declare them; gives the slots that stay empty.
pub(super) fn put_programs(
    linked: &Linked,
    maps: &Maps,
    programs: &[Option<Outcome<Program>>],
) -> Vec<EmptySlot> {
    let mut empty = Vec::new();
    for (spec, array, value) in declared(linked, maps) {
        let SlotContent::Program(name) = &value.holds else {
            continue;
        };
        let result = find(linked, programs, name).and_then(|program| {
            array
                .put_program(&value.slot.to_ne_bytes(), program)
                .map_err(NotLoadedReason::Refused)
        });
        empty.extend(result.err().map(|reason| empty_slot(spec, value, reason)));
    }
    empty
}

/// The declared values of the maps that are there.
fn declared<'a>(
    linked: &'a Linked,
    maps: &'a Maps,
) -> impl Iterator<Item = (&'a MapSpec, &'a RawMap, &'a DeclaredValue)> {
    let present = linked
        .maps
        .iter()
        .zip(maps)
        .filter_map(|(spec, map)| match map {
            Some(Ok(map)) => Some((spec, map)),
            _ => None,
        });
    present.flat_map(|(spec, map)| spec.values.iter().map(move |value| (spec, map, value)))
}

fn find<'a>(
    linked: &Linked,
    programs: &'a [Option<Outcome<Program>>],
    name: &str,
) -> Outcome<&'a Program> {
    let Some(position) = linked.programs.iter().position(|each| each.name == name) else {
        if linked.left_out.iter().any(|each| each.name == name) {
            let program = name.to_owned();
            return Err(NotLoadedReason::ProgramMissing { program });
        }
        let names = linked.programs.iter().map(|each| each.name.as_str());
        let error = missing(Code::PROGRAM_NOT_FOUND, "program", name, names);
        return Err(NotLoadedReason::Refused(error));
    };
    match programs.get(position) {
        Some(Some(Ok(program))) => Ok(program),
        _ => Err(NotLoadedReason::ProgramMissing {
            program: name.to_owned(),
        }),
    }
}

fn empty_slot(spec: &MapSpec, value: &DeclaredValue, reason: NotLoadedReason) -> EmptySlot {
    EmptySlot {
        map: spec.name.clone(),
        slot: value.slot,
        reason,
    }
}
