//! Types of the target that may be the one the program means: same name without flavours, same kind.

use std::collections::{BTreeMap, HashMap};

use crate::btf::{Btf, Type, TypeId, essential_name};

/// Candidates of each root.
#[derive(Debug, Default)]
pub(super) struct Candidates(BTreeMap<TypeId, Vec<TypeId>>);

impl Candidates {
    /// Looks for all roots in one pass over the target's types.
    pub(super) fn find(local: &Btf, target: &Btf, roots: impl Iterator<Item = TypeId>) -> Self {
        let mut found: BTreeMap<TypeId, Vec<TypeId>> = roots.map(|id| (id, Vec::new())).collect();
        let mut wanted: HashMap<&str, Vec<TypeId>> = HashMap::new();
        for root in found.keys() {
            let name = essential_name(local.name_of(*root));
            if !name.is_empty() {
                wanted.entry(name).or_default().push(*root);
            }
        }
        let starts = Starts::of(wanted.keys().copied());
        for (id, kind) in target.iter() {
            let Some(name) = kind
                .name()
                .filter(|name| starts.have(target.start_of(*name)))
            else {
                continue;
            };
            let Some(roots) = wanted.get(essential_name(target.text(name))) else {
                continue;
            };
            for root in roots {
                if local.get(*root).is_some_and(|root| same_kind(root, kind)) {
                    found.entry(*root).or_default().push(id);
                }
            }
        }
        Self(found)
    }

    /// Candidates of a root.
    pub(super) fn of(&self, root: TypeId) -> &[TypeId] {
        self.0.get(&root).map_or(&[], Vec::as_slice)
    }

    /// Keeps only these from now on.
    pub(super) fn narrow(&mut self, root: TypeId, ids: Vec<TypeId>) {
        self.0.insert(root, ids);
    }
}

/// The first two bytes of the wanted names: a kernel has over 100,000 names, and nearly all of them differ there.
struct Starts(Vec<bool>);

impl Starts {
    fn of<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut starts = Self(vec![false; 1 << 16]);
        for name in names {
            match *name.as_bytes() {
                [] => {}
                // In the target such a name may have a flavour.
                [only] => [0, b'_']
                    .into_iter()
                    .for_each(|second| starts.0[position([only, second])] = true),
                [first, second, ..] => starts.0[position([first, second])] = true,
            }
        }
        starts
    }

    fn have(&self, start: [u8; 2]) -> bool {
        self.0[position(start)]
    }
}

fn position(start: [u8; 2]) -> usize {
    usize::from(u16::from_ne_bytes(start))
}

/// Whether two types are of one kind. Narrow and wide enumerations are one kind here ([`Type::Enumeration`] is both).
pub(super) fn same_kind(one: &Type, other: &Type) -> bool {
    std::mem::discriminant(one) == std::mem::discriminant(other)
}
