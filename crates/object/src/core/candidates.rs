//! Types of the target that may be the one the program means: same name without flavours, same kind.

use std::collections::{BTreeMap, HashMap};

use crate::btf::{Btf, Search, Type, TypeId, TypeKinds, essential_name};

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
        let names: Vec<&str> = wanted.keys().copied().collect();
        let search = Search::without_flavours(names.iter().copied()).of(TypeKinds::DATA);
        for hit in target.search(&search) {
            let (Some(kind), Some(roots)) = (target.get(hit.id), wanted.get(names[hit.name]))
            else {
                continue;
            };
            for root in roots {
                if local.get(*root).is_some_and(|root| same_kind(root, kind)) {
                    found.entry(*root).or_default().push(hit.id);
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

/// Whether two types are of one kind. Narrow and wide enumerations are one kind here ([`Type::Enumeration`] is both).
pub(super) fn same_kind(one: &Type, other: &Type) -> bool {
    std::mem::discriminant(one) == std::mem::discriminant(other)
}
