//! What is to be loaded, and what has to wait for what.
//!
//! Programs are independent of each other, except where the kernel lets the first one decide: a prog array takes the type of
//! the first program that uses it, and programs of another type are refused from then on. Where the users of one prog
//! array differ, they are loaded in the object's order, so that the outcome does not depend on luck.

use std::collections::{BTreeMap, BTreeSet};

use twinbpf_object::spec::SlotContent;
use twinbpf_object::{HoleKind, Linked, LinkedProgram, MapKind, MapSpec};

use crate::engine::inner_index;

/// What is to be loaded of a linked object.
#[derive(Debug)]
pub(super) struct Plan {
    /// By program: whether it is to be loaded.
    pub(super) programs: Vec<bool>,
    /// By map: whether it is to be created.
    pub(super) maps: Vec<bool>,
    /// By program: the earlier ones that must be done before it.
    pub(super) after: Vec<Vec<usize>>,
}

impl Plan {
    /// Everything that is not switched off; or one program alone, with the maps it needs.
    pub(super) fn new(linked: &Linked, only: Option<usize>) -> Self {
        let (programs, maps): (Vec<bool>, Vec<bool>) = match only {
            None => {
                let wanted = linked.programs.iter().map(|program| program.autoload);
                let maps = linked.maps.iter();
                (wanted.collect(), maps.map(is_made_by_itself).collect())
            }
            Some(only) => {
                let wanted = (0..linked.programs.len()).map(|position| position == only);
                (wanted.collect(), maps_for(linked, &linked.programs[only]))
            }
        };
        let after = order(linked, &programs);
        Self {
            programs,
            maps,
            after,
        }
    }

    /// By map: whether it is to be created and has none of these names.
    pub(super) fn maps_without<'a>(
        &self,
        linked: &Linked,
        names: impl Iterator<Item = &'a str>,
    ) -> Vec<bool> {
        let names: BTreeSet<&str> = names.collect();
        let maps = linked.maps.iter().zip(&self.maps);
        maps.map(|(spec, is_wanted)| *is_wanted && !names.contains(spec.name.as_str()))
            .collect()
    }

    /// The wanted programs by position, and for each, as a position in that list, those that must be done before it.
    pub(super) fn jobs(&self) -> (Vec<usize>, Vec<Vec<usize>>) {
        let positions = 0..self.programs.len();
        let wanted: Vec<usize> = positions.filter(|each| self.programs[*each]).collect();
        let job_of = |program: &usize| wanted.binary_search(program).ok();
        let after = wanted
            .iter()
            .map(|program| self.after[*program].iter().filter_map(job_of).collect())
            .collect();
        (wanted, after)
    }
}

/// Whether loading the object creates the map: not if it is a table of functions that is switched off.
fn is_made_by_itself(map: &MapSpec) -> bool {
    let table = map.struct_ops.as_ref();
    table.is_none_or(|table| table.autoload)
}

/// The maps that a program refers to, and those that these name.
fn maps_for(linked: &Linked, program: &LinkedProgram) -> Vec<bool> {
    let mut needed = vec![false; linked.maps.len()];
    let mut waiting: Vec<usize> = program.holes.iter().filter_map(map_of).collect();
    while let Some(index) = waiting.pop() {
        let Some(is_needed) = needed.get_mut(index).filter(|is_needed| !**is_needed) else {
            continue;
        };
        *is_needed = true;
        let spec = &linked.maps[index];
        waiting.extend(inner_index(spec));
        waiting.extend(spec.values.iter().filter_map(|value| match value.holds {
            SlotContent::Map(inner) => Some(inner.0),
            SlotContent::Program(_) => None,
        }));
    }
    needed
}

/// The map that a hole stands for.
fn map_of(hole: &twinbpf_object::Hole) -> Option<usize> {
    match hole.kind {
        HoleKind::Map(index) | HoleKind::MapValue { map: index, .. } => Some(index.0),
        _ => None,
    }
}

/// For each program, the last earlier user of each prog array whose users differ.
fn order(linked: &Linked, wanted: &[bool]) -> Vec<Vec<usize>> {
    let mut users: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (position, program) in linked.programs.iter().enumerate() {
        if !wanted[position] {
            continue;
        }
        let maps = program.holes.iter().filter_map(map_of);
        for map in maps.filter(|map| is_prog_array(linked, *map)) {
            let users = users.entry(map).or_default();
            if users.last() != Some(&position) {
                users.push(position);
            }
        }
    }
    let mut after = vec![Vec::new(); linked.programs.len()];
    for users in users.values() {
        let shape = |position: &usize| {
            let program = &linked.programs[*position];
            (program.kind, program.attach, program.is_sleepable)
        };
        let differ = users
            .windows(2)
            .any(|pair| shape(&pair[0]) != shape(&pair[1]));
        for pair in users.windows(2).filter(|_| differ) {
            after[pair[1]].push(pair[0]);
        }
    }
    after
}

fn is_prog_array(linked: &Linked, map: usize) -> bool {
    let spec = linked.maps.get(map);
    spec.is_some_and(|spec| spec.kind == MapKind::ProgArray)
}

#[cfg(test)]
mod tests {
    use twinbpf_object::spec::MapIndex;
    use twinbpf_object::{Hole, InsnIndex, ProgramKind};

    use super::*;

    fn linked(kinds: [ProgramKind; 3]) -> Linked {
        let program = |kind| {
            let mut program = LinkedProgram::from_insns("p", kind, Vec::new());
            program.holes = vec![Hole {
                at: InsnIndex(0),
                kind: HoleKind::Map(MapIndex(1)),
            }];
            program
        };
        let map = |name, kind| MapSpec::new(name, kind, 4, 4, 1);
        let mut linked = Linked::from_program(program(kinds[0]));
        linked.maps = vec![
            map("plain", MapKind::Array),
            map("jumps", MapKind::ProgArray),
        ];
        linked
            .programs
            .extend([program(kinds[1]), program(kinds[2])]);
        linked
    }

    #[test]
    fn users_of_one_prog_array_wait_for_each_other_only_where_they_differ() {
        let (xdp, tc) = (ProgramKind::Xdp, ProgramKind::SchedCls);
        let plan = Plan::new(&linked([xdp, xdp, xdp]), None);
        assert_eq!(plan.after, vec![Vec::<usize>::new(); 3]);
        let plan = Plan::new(&linked([xdp, tc, xdp]), None);
        assert_eq!(plan.after, vec![vec![], vec![0], vec![1]]);
    }

    #[test]
    fn one_program_alone_needs_only_the_maps_it_refers_to() {
        let xdp = ProgramKind::Xdp;
        let plan = Plan::new(&linked([xdp, xdp, xdp]), Some(1));
        assert_eq!(plan.programs, [false, true, false]);
        assert_eq!(plan.maps, [false, true]);
    }
}
