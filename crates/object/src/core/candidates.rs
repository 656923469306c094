//! Types of the target that may be the one the program means: same name without flavours, same kind.

use std::collections::BTreeMap;

use crate::btf::{Btf, Search, Type, TypeId, TypeKinds, essential_name};
use crate::order::Ordered as _;
use crate::target::ModuleTypes;

/// A type of the kernel or of one of its modules.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'a> {
    pub(super) types: &'a Btf,
    pub(super) id: TypeId,
}

/// Where candidates are looked for: first in the kernel's types, in its modules' only for what the kernel does not have.
#[derive(Debug, Default)]
pub(super) struct Searched<'a> {
    kernel: Option<&'a Btf>,
    modules: Vec<&'a Btf>,
}

impl<'a> Searched<'a> {
    /// The target's types, if they are known, and its modules'.
    pub(super) fn new(kernel: Option<&'a Btf>, modules: &'a [ModuleTypes]) -> Self {
        Self {
            kernel,
            modules: modules.iter().map(|each| each.btf.as_ref()).collect(),
        }
    }

    pub(super) fn has_types(&self) -> bool {
        self.kernel.is_some()
    }
}

/// Candidates of each root.
#[derive(Debug)]
pub(super) struct Candidates<'a>(BTreeMap<TypeId, Vec<Candidate<'a>>>);

impl<'a> Candidates<'a> {
    /// Looks for all roots in one walk over the target's types.
    pub(super) fn find(
        local: &Btf,
        searched: &Searched<'a>,
        roots: impl Iterator<Item = TypeId>,
    ) -> Self {
        let mut found = Self(roots.map(|id| (id, Vec::new())).in_map());
        if let Some(kernel) = searched.kernel {
            found.add(local, &[kernel]);
            found.add(local, &searched.modules);
        }
        found
    }

    /// Looks everywhere in `places` for those that have no candidate yet.
    fn add(&mut self, local: &Btf, places: &[&'a Btf]) {
        let mut wanted: BTreeMap<&str, Vec<TypeId>> = BTreeMap::new();
        for (root, candidates) in &self.0 {
            let name = essential_name(local.name_of(*root));
            if candidates.is_empty() && !name.is_empty() {
                wanted.entry(name).or_default().push(*root);
            }
        }
        if wanted.is_empty() {
            return;
        }
        let search = Search::without_flavours(wanted.keys().copied()).of(TypeKinds::DATA);
        let roots: Vec<&Vec<TypeId>> = wanted.values().collect();
        for types in places.iter().copied() {
            for hit in types.search(&search) {
                let (Some(kind), Some(roots)) = (types.get(hit.id), roots.get(hit.name)) else {
                    continue;
                };
                for root in *roots {
                    if local.get(*root).is_some_and(|root| same_kind(root, kind)) {
                        let id = hit.id;
                        self.0
                            .entry(*root)
                            .or_default()
                            .push(Candidate { types, id });
                    }
                }
            }
        }
    }

    /// Candidates of a root.
    pub(super) fn of(&self, root: TypeId) -> &[Candidate<'a>] {
        self.0.get(&root).map_or(&[], Vec::as_slice)
    }

    /// Keeps only these from now on.
    pub(super) fn narrow(&mut self, root: TypeId, kept: Vec<Candidate<'a>>) {
        self.0.insert(root, kept);
    }
}

/// Whether two types are of one kind. Narrow and wide enumerations are one kind here ([`Type::Enumeration`] is both).
pub(super) fn same_kind(one: &Type, other: &Type) -> bool {
    std::mem::discriminant(one) == std::mem::discriminant(other)
}
