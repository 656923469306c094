//! Every type once: equal types become one, announced structs become the struct that is meant.
//!
//! Several compilation units describe the same types again and again. Two types are the same if they look alike and every
//! path of links from them meets types that look alike; `partition.rs` finds the groups. Variables and sections stay as many as
//! they are: two static variables with one name are two.
//!
//! A forward declaration stands for the struct of its name, if all structs of that name turn out to be the same. That is
//! supposed first and checked afterwards, because structs may differ only in that one of them sees a declaration where the
//! other sees the struct.

use std::collections::{BTreeMap, HashMap};

use super::partition::{Edge, Partition};
use super::{BtfBuilder, Name, Type, TypeId};

/// What became of each type's number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renumbering {
    new: Vec<TypeId>,
}

impl Renumbering {
    /// The number that stands for the old one now; void for numbers that never were.
    pub fn of(&self, old: TypeId) -> TypeId {
        self.new.get(old.get()).copied().unwrap_or_default()
    }
}

impl BtfBuilder {
    /// Makes equal types one. The first of each keeps its place, the numbers close up.
    ///
    /// Texts stay, so every [`Name`] keeps its meaning. Takes time in proportion to the types and their links, times the
    /// logarithm of their number.
    pub fn dedup(&mut self) -> Renumbering {
        let colours = colours(self);
        let mut meant = meant(self, &colours);
        let mut partition = partition(self, &colours, &meant);
        for round in 0.. {
            let wrong = disproven(&meant, &partition);
            if wrong.is_empty() {
                break;
            }
            // Each round disproves something; a file made to need many of them gets no declaration resolved.
            if round == MOST_ROUNDS {
                meant.clear();
            }
            for key in wrong {
                meant.remove(&key);
            }
            partition = self::partition(self, &colours, &meant);
        }
        self.keep_first_of_each(&partition, &stand_ins(&meant))
    }

    fn keep_first_of_each(
        &mut self,
        partition: &Partition,
        stand_ins: &HashMap<TypeId, TypeId>,
    ) -> Renumbering {
        let count = self.len();
        let mut new_of_group: Vec<Option<TypeId>> = vec![None; partition.len()];
        let mut kept = Vec::new();
        for (id, found) in self.iter() {
            let group = partition.group_of(id.get());
            if stand_ins.contains_key(&id) || new_of_group[group].is_some() {
                continue;
            }
            new_of_group[group] = Some(TypeId(u32::try_from(kept.len()).unwrap_or(u32::MAX)));
            kept.push(found.clone());
        }
        let new = (0u32..)
            .take(count)
            .map(|old| {
                let old = TypeId(old);
                let stands_for = stand_ins.get(&old).copied().unwrap_or(old);
                new_of_group[partition.group_of(stands_for.get())].unwrap_or_default()
            })
            .collect();
        let renumbering = Renumbering { new };
        for found in &mut kept {
            found.visit_links_mut(&mut |id| *id = renumbering.of(*id));
        }
        self.replace_types(kept);
        renumbering
    }
}

/// A number for each type; types that look alike without their links have the same.
fn colours(builder: &BtfBuilder) -> Vec<u32> {
    let mut known: HashMap<Type, u32> = HashMap::new();
    let mut next = 0;
    let colour = |(_, found): (TypeId, &Type)| {
        let is_unique = matches!(found, Type::Variable(_) | Type::DataSection(_));
        if !is_unique {
            let mut shape = found.clone();
            shape.visit_links_mut(&mut |id| *id = TypeId::VOID);
            if let Some(colour) = known.get(&shape) {
                return *colour;
            }
            known.insert(shape, next);
        }
        next += 1;
        next - 1
    };
    builder.iter().map(colour).collect()
}

/// What is announced: a struct, union or enumeration, and its name.
type Announced = (&'static str, u32);

/// Who announces something, and the definitions that may be meant.
#[derive(Debug, Default)]
struct Meant {
    declarations: Vec<TypeId>,
    definitions: Vec<TypeId>,
}

/// All declarations whose definitions look alike.
fn meant(builder: &BtfBuilder, colours: &[u32]) -> BTreeMap<Announced, Meant> {
    let mut all: BTreeMap<Announced, Meant> = BTreeMap::new();
    let key = |word: &'static str, name: Name| (word, name.0);
    for (id, found) in builder.iter() {
        let (key, is_definition) = match found {
            Type::Forward { name, is_union } => {
                let word = if *is_union { "union" } else { "struct" };
                (key(word, *name), false)
            }
            Type::Struct(whole) => (key("struct", whole.name), true),
            Type::Union(whole) => (key("union", whole.name), true),
            Type::Enumeration(whole) => {
                let is_definition = !whole.enumerators.is_empty();
                (key("enum", whole.name), is_definition)
            }
            _ => continue,
        };
        if key.1 == 0 {
            continue;
        }
        let meant = all.entry(key).or_default();
        match is_definition {
            true => meant.definitions.push(id),
            false => meant.declarations.push(id),
        }
    }
    all.retain(|_, meant| {
        let mut seen = meant.definitions.iter().map(|id| colours[id.get()]);
        let first = seen.next();
        !meant.declarations.is_empty()
            && first.is_some_and(|first| seen.all(|colour| colour == first))
    });
    all
}

/// Which definition each declaration stands for.
fn stand_ins(meant: &BTreeMap<Announced, Meant>) -> HashMap<TypeId, TypeId> {
    let mut stand_ins = HashMap::new();
    for found in meant.values() {
        if let Some(first) = found.definitions.first() {
            stand_ins.extend(found.declarations.iter().map(|id| (*id, *first)));
        }
    }
    stand_ins
}

/// Groups of equal types, if every declaration stands for what is supposed to be meant.
fn partition(
    builder: &BtfBuilder,
    colours: &[u32],
    meant: &BTreeMap<Announced, Meant>,
) -> Partition {
    let stand_ins = stand_ins(meant);
    let mut edges = Vec::new();
    for (id, found) in builder.iter() {
        let mut label = 0;
        found.visit_links(&mut |target| {
            let target = stand_ins.get(&target).copied().unwrap_or(target);
            if target.get() < builder.len() {
                edges.push(Edge {
                    source: id.0,
                    label,
                    target: target.0,
                });
            }
            label += 1;
        });
    }
    Partition::refined(colours, &edges)
}

/// Names whose definitions look alike and still are not the same.
fn disproven(meant: &BTreeMap<Announced, Meant>, partition: &Partition) -> Vec<Announced> {
    let differ = |found: &Meant| {
        let mut groups = found
            .definitions
            .iter()
            .map(|id| partition.group_of(id.get()));
        let first = groups.next();
        groups.any(|group| Some(group) != first)
    };
    meant
        .iter()
        .filter(|(_, found)| differ(found))
        .map(|(key, _)| *key)
        .collect()
}

/// Real programs need one or two.
const MOST_ROUNDS: u32 = 8;
