//! Putting things in order without a copy of the sorting algorithm for every type.
//!
//! Each type that the standard library sorts, and each map that is collected, brings kilobytes of code of which a load runs next to
//! nothing: there are few things to sort in an object. Here everything goes through one sort of positions.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// Sorts by a key; what has equal keys keeps its order.
pub(crate) fn sort_by_key<T, K: Ord>(items: &mut [T], key: impl Fn(&T) -> K) {
    // In order already, mostly: as compilers write things down.
    if items.is_sorted_by_key(&key) {
        return;
    }
    let mut arrangement = arrangement(items.len(), &|one, other| {
        key(&items[one]).cmp(&key(&items[other]))
    });
    arrange(items, &mut arrangement);
}

/// The positions of things in their order; `compare` is asked about two positions.
fn arrangement(len: usize, compare: &dyn Fn(usize, usize) -> Ordering) -> Vec<usize> {
    let mut positions: Vec<usize> = (0..len).collect();
    positions.sort_unstable_by(|one, other| compare(*one, *other).then(one.cmp(other)));
    positions
}

/// Moves each item to its place: at `place` belongs what was at `from[place]`.
fn arrange<T>(items: &mut [T], from: &mut [usize]) {
    for start in 0..from.len() {
        let mut place = start;
        // Along the cycle that begins here, until what was here is due.
        while from[place] != start {
            let next = from[place];
            items.swap(place, next);
            from[place] = place;
            place = next;
        }
        from[place] = place;
    }
}

/// Collecting into maps and sets one by one: the standard library sorts first, which pays for thousands.
pub(crate) trait Ordered: Iterator + Sized {
    /// A map of these entries; of entries with the same key the last one counts.
    fn in_map<K: Ord, V>(self) -> BTreeMap<K, V>
    where
        Self: Iterator<Item = (K, V)>,
    {
        let mut map = BTreeMap::new();
        map.extend(self);
        map
    }

    /// A set of these.
    fn in_set(self) -> BTreeSet<Self::Item>
    where
        Self::Item: Ord,
    {
        let mut set = BTreeSet::new();
        set.extend(self);
        set
    }
}

impl<I: Iterator> Ordered for I {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_comes_to_its_place_and_equals_keep_their_order() {
        let mut state = 1_u32;
        for len in 0..200 {
            let mut items: Vec<(u32, usize)> = Vec::new();
            for number in 0..len {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                items.push((state >> 28, number));
            }
            let mut expected = items.clone();
            expected.sort_by_key(|item| item.0);
            sort_by_key(&mut items, |item| item.0);
            assert_eq!(items, expected);
        }
    }
}
