//! The part of a target's types that some objects need: for machines whose kernel does not show its own.
//!
//! Every relocation is answered as it would be for a load, and what led to an answer is kept:
//!
//! ```text
//! field        the root; of each struct on the way only the members gone through; what the last one's type is
//! type         what it is made of as far as it was compared: behind pointers, for a match also all members
//! enumerator   the enumeration with this one name
//! ```
//!
//! A pointer whose target nobody needs points to void. What is not there is not there either afterwards, so the same questions
//! get the same answers; only numbers of types are others, as they are for every kernel.

use std::collections::{BTreeMap, BTreeSet};

use super::Asking;
use super::candidates::Searched;
use super::subject::Subject;
use crate::btf::{Btf, BtfBuilder, RelocationKind, Type, TypeId};
use crate::diagnosis::Result;
use crate::spec::Object;

/// The part of `target` that the CO-RE relocations of the objects need.
///
/// # Errors
///
/// If a relocation makes no sense or the target's types contradict themselves, with the code that linking would give. A type
/// or field that the target does not have is no error.
pub fn minimal_types(objects: &[Object], target: &Btf) -> Result<BtfBuilder> {
    let mut keeping = Keeping {
        target,
        kept: BTreeMap::new(),
        compared: BTreeSet::new(),
    };
    for object in objects {
        let Some(local) = object.btf.as_deref() else {
            continue;
        };
        let relocations = || {
            object
                .functions
                .iter()
                .flat_map(|each| &each.type_relocations)
                .filter(|each| each.kind != RelocationKind::TypeIdLocal)
        };
        let roots = relocations().map(|each| each.root);
        let mut asking = Asking::new(local, Searched::new(Some(target), &[]), roots);
        for relocation in relocations() {
            let subject = asking.subject(relocation)?;
            for (_, found) in asking.matching(relocation, &subject)? {
                keeping.subject(&found, relocation.kind);
            }
        }
    }
    Ok(keeping.build())
}

/// What is kept so far.
struct Keeping<'a> {
    target: &'a Btf,
    /// Of each type the members or enumerators, by position.
    kept: BTreeMap<TypeId, BTreeSet<usize>>,
    /// Types whose parts were followed, and whether their members were.
    compared: BTreeSet<(TypeId, bool)>,
}

impl Keeping<'_> {
    fn subject(&mut self, subject: &Subject, kind: RelocationKind) {
        match subject {
            Subject::Type(id) => self.compare(*id, kind == RelocationKind::TypeMatches),
            Subject::Field(field) => {
                self.outline(field.root);
                for place in &field.places {
                    self.part(place.whole, place.position);
                    self.outline(place.member.target);
                }
                self.outline(field.target);
            }
            Subject::Enumerator { whole, position } => {
                self.outline(*whole);
                if let Ok((id, _)) = self.target.resolve(*whole) {
                    self.part(id, *position);
                }
            }
        }
    }

    fn part(&mut self, whole: TypeId, position: usize) {
        self.kept.entry(whole).or_default().insert(position);
    }

    /// Keeps a type without its members and without what it points to: enough for its size and sort.
    fn outline(&mut self, id: TypeId) {
        let mut at = id;
        // Each step keeps one more type, so a circle ends; elements may have been kept before without their array.
        for _ in 0..self.target.len() {
            let Some(found) = self.target.get(at).filter(|_| at != TypeId::VOID) else {
                return;
            };
            self.kept.entry(at).or_default();
            match (found, found.alias_of()) {
                (_, Some(target)) => at = target,
                (Type::Array(array), _) => {
                    if array.index != at {
                        self.kept.entry(array.index).or_default();
                    }
                    at = array.element;
                }
                _ => return,
            }
        }
    }

    /// Keeps what a comparison looks at, members only if it is one of shapes.
    fn compare(&mut self, id: TypeId, with_members: bool) {
        let mut open = vec![(id, with_members)];
        while let Some((id, with_members)) = open.pop() {
            let Some(found) = self.target.get(id).filter(|_| id != TypeId::VOID) else {
                continue;
            };
            if !self.compared.insert((id, with_members)) {
                continue;
            }
            let parts = self.kept.entry(id).or_default();
            match found {
                Type::Struct(whole) | Type::Union(whole) if with_members => {
                    parts.extend(0..whole.members.len());
                    open.extend(whole.members.iter().map(|member| (member.target, true)));
                }
                Type::Enumeration(whole) if with_members => {
                    parts.extend(0..whole.enumerators.len());
                }
                Type::Struct(_) | Type::Union(_) => {}
                // Behind a pointer only the names of structs and unions count.
                Type::Pointer(target) => open.push((*target, false)),
                _ => found.visit_links(&mut |target| open.push((target, with_members))),
            }
        }
    }

    fn build(self) -> BtfBuilder {
        let mut builder = BtfBuilder::new();
        let numbers: BTreeMap<TypeId, TypeId> = (1u32..)
            .map(TypeId)
            .zip(self.kept.keys())
            .map(|(new, old)| (*old, new))
            .collect();
        let mut renumber = |id: TypeId| numbers.get(&id).copied().unwrap_or(TypeId::VOID);
        for (id, parts) in &self.kept {
            // Only what `get` gave was kept.
            let found = self.target.get(*id).unwrap_or(&Type::Void);
            let copy = builder.copied(self.target, &only(found, parts), &mut renumber);
            builder.add(copy);
        }
        builder
    }
}

/// A type with these members or enumerators only.
fn only(found: &Type, parts: &BTreeSet<usize>) -> Type {
    let mut copy = found.clone();
    match &mut copy {
        Type::Struct(whole) | Type::Union(whole) => retain(&mut whole.members, parts),
        Type::Enumeration(whole) => retain(&mut whole.enumerators, parts),
        _ => {}
    }
    copy
}

fn retain<T>(entries: &mut Vec<T>, parts: &BTreeSet<usize>) {
    let mut position = 0;
    entries.retain(|_| {
        position += 1;
        parts.contains(&(position - 1))
    });
}
