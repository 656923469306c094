//! The types of a target: found when first asked for, and kept.
//!
//! ```text
//! index    stretch 0 | stretch 1 | ...      one walk of walk.rs, whose stretches follow each other in number
//! stretch  start, start, ...                where every 32nd type starts, and with it a page
//! group    page | page | ...                16 pages; made when one of its types is asked for, as are
//! page     slot | slot | ...                where each type starts, and the type
//! ```
//!
//! A kernel has 126,000 types (6.18): 4,000 pages, of which a program touches a few dozen. So a page that is not touched takes
//! the four bytes of its start.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::Btf;
use super::search::{Hit, Question, Search};
use super::types::{Type, TypeId};
use super::walk::{self, Head, PAGE_TYPES, Stretch, Visit};

/// What was touched.
#[derive(Default)]
pub(super) struct Lazy {
    index: OnceLock<Index>,
    /// What searches found, also if it was nothing: an engine asks whether all names are there, linking asks where.
    known: Mutex<Known>,
}

/// Types by what was looked for.
type Known = HashMap<Question, Vec<TypeId>>;

/// Names that are remembered; they are the callers', who may have any number of objects.
const MOST_KNOWN: usize = 1 << 14;

/// Where all types are.
pub(super) struct Index {
    stretches: Vec<Pages>,
    /// The number after the last type.
    end: usize,
}

struct Pages {
    /// The number of the first type.
    first: usize,
    count: usize,
    /// By page.
    starts: Vec<u32>,
    groups: Vec<OnceLock<Group>>,
}

type Group = Box<[OnceLock<Box<[Slot]>>; GROUP_PAGES]>;

const GROUP_PAGES: usize = 16;

struct Slot {
    at: u32,
    /// `None` if it is damaged. Boxed, because of a page only few types are asked for.
    found: OnceLock<Option<Box<Type>>>,
}

impl Lazy {
    /// Where all types are.
    pub(super) fn index(&self, btf: &Btf) -> &Index {
        self.index.get_or_init(|| {
            Index::new(
                walk::walk(btf.own_types(), btf.order, btf.strings_end(), &mut Nobody),
                btf,
            )
        })
    }

    /// A type by its number.
    pub(super) fn get(&self, btf: &Btf, id: TypeId) -> Option<&Type> {
        let index = self.index(btf);
        let (stretch, position) = index.place(id.get())?;
        let page = position / PAGE_TYPES;
        let start = *stretch.starts.get(page)?;
        let group = stretch.groups.get(page / GROUP_PAGES)?;
        let pages = group.get_or_init(Box::default);
        let slots = pages.get(page % GROUP_PAGES)?.get_or_init(|| {
            walk::page(btf.own_types(), btf.order, start)
                .map(|at| Slot {
                    at,
                    found: OnceLock::new(),
                })
                .collect()
        });
        let slot = slots.get(position % PAGE_TYPES)?;
        let found = slot.found.get_or_init(|| {
            let at = usize::try_from(slot.at).ok()?;
            btf.decoder(at, id).decode().ok().map(Box::new)
        });
        found.as_deref()
    }

    /// The types with wanted names. The first search also finds where all types are, in the same walk.
    pub(super) fn search(&self, btf: &Btf, search: &Search<'_>) -> Vec<Hit> {
        if let Some(hits) = self.recall(search) {
            return hits;
        }
        let mut looking = search.look(btf);
        let stretches = walk::walk(btf.own_types(), btf.order, btf.strings_end(), &mut looking);
        let index = self.index.get_or_init(|| Index::new(stretches, btf));
        let hits = looking.hits(|stretch, position| index.number(stretch, position));
        self.remember(search, &hits);
        hits
    }

    /// What is known, if all names are.
    fn recall(&self, search: &Search<'_>) -> Option<Vec<Hit>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut hits = Vec::new();
        for (name, question) in search.questions() {
            hits.extend(known.get(&question)?.iter().map(|id| Hit { name, id: *id }));
        }
        hits.sort_unstable_by_key(|hit| hit.id);
        Some(hits)
    }

    fn remember(&self, search: &Search<'_>, hits: &[Hit]) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() > MOST_KNOWN {
            known.clear();
        }
        for (name, question) in search.questions() {
            let ids = hits.iter().filter(|hit| hit.name == name);
            known.insert(question, ids.map(|hit| hit.id).collect());
        }
    }
}

impl Index {
    fn new(stretches: Vec<Stretch>, btf: &Btf) -> Self {
        // Number 0 is void, which is not written.
        let mut end = usize::try_from(btf.first_number().max(1)).unwrap_or(usize::MAX);
        let stretches = stretches
            .into_iter()
            .map(|stretch| {
                let first = end;
                // There are no more types than bytes of them.
                let count = usize::try_from(stretch.count).unwrap_or(usize::MAX);
                end = end.saturating_add(count);
                let groups = 0..stretch.pages.len().div_ceil(GROUP_PAGES);
                Pages {
                    first,
                    count,
                    groups: groups.map(|_| OnceLock::new()).collect(),
                    starts: stretch.pages,
                }
            })
            .collect();
        Self { stretches, end }
    }

    /// The number after the last type.
    pub(super) fn end(&self) -> usize {
        self.end
    }

    fn place(&self, number: usize) -> Option<(&Pages, usize)> {
        self.stretches.iter().find_map(|stretch| {
            let position = number.checked_sub(stretch.first)?;
            (position < stretch.count).then_some((stretch, position))
        })
    }

    fn number(&self, stretch: u32, position: u32) -> Option<TypeId> {
        let stretch = usize::try_from(stretch).ok()?;
        let first = u32::try_from(self.stretches.get(stretch)?.first).ok()?;
        first.checked_add(position).map(TypeId)
    }
}

/// For a walk that only finds where types are.
struct Nobody;

impl Visit for Nobody {
    fn visit(&mut self, _stretch: u32, _position: u32, _head: Head) {}
    fn restart(&mut self) {}
}
