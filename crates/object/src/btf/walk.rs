//! Where types start: found by going from each to the next, several stretches at once.
//!
//! How long a type is, its second word says; so the next one is known only when the processor has that word, and it waits.
//! Eight walks in turn wait together. Each begins where types *likely* start: from there, many in a row make sense.
//!
//! ```text
//! types   | walk 0 ------------> | walk 1 ------------> | walk 2 ------------> | ...
//!                                ^ likely               ^ likely
//! ```
//!
//! A walk that ends exactly where the next one began proves that this one began at a type. If one does not, all is walked
//! again in one stretch, and this is also how damage is found: the types end before the first one that makes no sense.

use super::kinds::{self, HEAD_BYTES, Info};
use crate::bytes::{ByteOrder, u32_at};

/// Of so many types the place of the first is kept; the others are a short walk away.
pub(super) const PAGE_TYPES: usize = 1 << PAGE_BITS;

const FIRST_OF_PAGE: u32 = 1 << PAGE_BITS;
const PAGE_BITS: u32 = 5;

/// Walks at once.
const LANES: usize = 8;
/// Fewest bytes of types for which several walks are worth their start.
const MANY_BYTES: usize = 1 << 16;
/// Types in a row that must make sense where a walk begins.
const LIKELY_RUN: usize = 16;
/// Bytes in which a beginning is looked for.
const LIKELY_BYTES: usize = 1 << 12;
const WORD_BYTES: usize = 4;
const HEAD_LENGTH: usize = HEAD_BYTES as usize;

/// What a walk sees of a type.
#[derive(Clone, Copy)]
pub(super) struct Head {
    pub(super) at: usize,
    pub(super) name: u32,
    pub(super) info: Info,
    bytes: usize,
}

impl Head {
    /// The type at this place; `None` if it does not fit, or is of a kind we do not know.
    #[inline]
    pub(super) fn read(types: &[u8], at: usize, order: ByteOrder) -> Option<Self> {
        let head: &[u8; HEAD_LENGTH] = types.get(at..)?.first_chunk()?;
        let info = Info::of(u32_at(head, WORD_BYTES, order)?);
        let bytes = info.type_bytes()?;
        let name = u32_at(head, 0, order)?;
        (bytes <= types.len() - at).then_some(Self {
            at,
            name,
            info,
            bytes,
        })
    }

    /// Where the next type starts.
    pub(super) fn next(self) -> usize {
        self.at + self.bytes
    }
}

/// A stretch of types.
#[derive(Debug)]
pub(super) struct Stretch {
    /// How many types.
    pub(super) count: u32,
    /// Where every [`PAGE_TYPES`]th of them starts, from the first on.
    pub(super) pages: Vec<u32>,
    at: usize,
    end: usize,
}

/// Walks over all types and shows each to `visit`, with the stretch it is in and its position there.
///
/// `visit` may see types that turn out to be none; `restart` then tells it to forget all.
pub(super) fn walk<V: Visit>(
    types: &[u8],
    order: ByteOrder,
    names_end: usize,
    visit: &mut V,
) -> Vec<Stretch> {
    let starts = likely_starts(types, order, names_end);
    if starts.len() > 1 {
        let stretches = walk_from(types, order, &starts, visit);
        if stretches.iter().all(|each| each.at == each.end) {
            return stretches;
        }
        visit.restart();
    }
    walk_from(types, order, &[0], visit)
}

/// Who is shown types.
pub(super) trait Visit {
    /// A type, in which stretch, and its position there.
    fn visit(&mut self, stretch: u32, position: u32, head: Head);
    /// What was shown were no types.
    fn restart(&mut self);
}

/// From all beginnings in turn, each as far as it gets.
fn walk_from<V: Visit>(
    types: &[u8],
    order: ByteOrder,
    starts: &[usize],
    visit: &mut V,
) -> Vec<Stretch> {
    // The compiler makes two functions of this, so that no step asks for the order.
    match order {
        ByteOrder::Little => walk_in(types, ByteOrder::Little, starts, visit),
        ByteOrder::Big => walk_in(types, ByteOrder::Big, starts, visit),
    }
}

#[inline(always)]
fn walk_in<V: Visit>(
    types: &[u8],
    order: ByteOrder,
    starts: &[usize],
    visit: &mut V,
) -> Vec<Stretch> {
    let ends = starts.iter().skip(1).copied().chain([types.len()]);
    let mut stretches: Vec<Stretch> = starts
        .iter()
        .zip(ends)
        .map(|(start, end)| Stretch {
            count: 0,
            pages: Vec::new(),
            at: *start,
            end,
        })
        .collect();
    let mut is_moving = true;
    while is_moving {
        is_moving = false;
        for (number, stretch) in (0..).zip(stretches.iter_mut()) {
            if stretch.at >= stretch.end {
                continue;
            }
            let Some(head) = Head::read(types, stretch.at, order) else {
                // Damage: no step from here.
                continue;
            };
            is_moving = true;
            if stretch.count % FIRST_OF_PAGE == 0 {
                // The header gives the length of the types as `u32`.
                stretch
                    .pages
                    .push(u32::try_from(head.at).unwrap_or(u32::MAX));
            }
            visit.visit(number, stretch.count, head);
            stretch.count += 1;
            stretch.at = head.next();
        }
    }
    stretches
}

/// Beginnings for several walks, the first at 0; only that one if there are few types or others cannot be seen.
fn likely_starts(types: &[u8], order: ByteOrder, names_end: usize) -> Vec<usize> {
    let mut starts = vec![0];
    if types.len() >= MANY_BYTES {
        for lane in 1..LANES {
            let from = types.len() / LANES * lane / WORD_BYTES * WORD_BYTES;
            let mut places = (from..from + LIKELY_BYTES).step_by(WORD_BYTES);
            let Some(found) = places.find(|at| is_likely(types, *at, order, names_end)) else {
                return vec![0];
            };
            starts.push(found);
        }
    }
    starts
}

/// Whether many types in a row make sense from here.
fn is_likely(types: &[u8], start: usize, order: ByteOrder, names_end: usize) -> bool {
    let mut at = start;
    (0..LIKELY_RUN).all(|_| {
        let Some(head) = Head::read(types, at, order) else {
            return false;
        };
        at = head.next();
        let name = usize::try_from(head.name).unwrap_or(usize::MAX);
        kinds::find(head.info.kind).is_some_and(|row| {
            (row.has_name || name == 0)
                && (row.has_count || head.info.count == 0)
                && (row.has_flag || !head.info.flag)
                && name < names_end
        })
    })
}

/// Follows one page from the place of its first type.
pub(super) fn page(types: &[u8], order: ByteOrder, start: u32) -> impl Iterator<Item = u32> {
    let mut at = usize::try_from(start).ok();
    std::iter::from_fn(move || {
        let head = Head::read(types, at?, order)?;
        at = Some(head.next());
        u32::try_from(head.at).ok()
    })
    .take(PAGE_TYPES)
}
