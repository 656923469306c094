//! The coarsest way to group nodes of a graph so that members of a group lead to the same groups.
//!
//! Two types are equal if they look alike and each of their links leads to equal types. With circles (a list's node points to
//! a list's node) that cannot be decided from the bottom up. So the question is turned round: nodes that look alike start in
//! one group, and a group is split only where a difference is proven, until nothing is left to prove. The method is the
//! one for making finite automata minimal (Hopcroft, 1971): after a split only the smaller half has to be looked at again,
//! which bounds the work by links times the logarithm of nodes.

/// A link: the source's `label`-th one leads to `target`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Edge {
    pub(super) source: u32,
    pub(super) label: u32,
    pub(super) target: u32,
}

/// Groups of nodes.
///
/// INVARIANT: `order` is a permutation of the nodes in which every group is the range `ranges[group]`; `place` is its inverse.
#[derive(Debug)]
pub(super) struct Partition {
    order: Vec<u32>,
    place: Vec<usize>,
    group_of: Vec<usize>,
    ranges: Vec<(usize, usize)>,
    /// Of each group, how many nodes at its start are marked.
    marked: Vec<usize>,
}

impl Partition {
    /// Groups nodes by `colours`, then splits until the members of every group lead to the same groups.
    pub(super) fn refined(colours: &[u32], edges: &[Edge]) -> Self {
        let mut partition = Self::by_colour(colours);
        let incoming = Incoming::new(colours.len(), edges);
        let mut waiting: Vec<usize> = (0..partition.ranges.len()).collect();
        let mut is_waiting = vec![true; waiting.len()];
        let mut arriving: Vec<(u32, u32)> = Vec::new();
        while let Some(group) = waiting.pop() {
            is_waiting[group] = false;
            let (start, end) = partition.ranges[group];
            arriving.clear();
            for node in &partition.order[start..end] {
                arriving.extend_from_slice(incoming.of(*node));
            }
            arriving.sort_unstable();
            for same_label in arriving.chunk_by(|one, other| one.0 == other.0) {
                for (old, new) in partition.split_by(same_label) {
                    is_waiting.push(false);
                    let smaller = match partition.len_of(old) < partition.len_of(new) {
                        true => old,
                        false => new,
                    };
                    let next = if is_waiting[old] { new } else { smaller };
                    is_waiting[next] = true;
                    waiting.push(next);
                }
            }
        }
        partition
    }

    /// The group of a node.
    pub(super) fn group_of(&self, node: usize) -> usize {
        self.group_of[node]
    }

    /// How many groups there are.
    pub(super) fn len(&self) -> usize {
        self.ranges.len()
    }

    fn by_colour(colours: &[u32]) -> Self {
        let mut order: Vec<u32> = (0u32..).take(colours.len()).collect();
        order.sort_by_key(|node| colours[index(*node)]);
        let mut ranges = Vec::new();
        let mut group_of = vec![0; colours.len()];
        let mut place = vec![0; colours.len()];
        let mut start = 0;
        let same = |one: &u32, other: &u32| colours[index(*one)] == colours[index(*other)];
        for group in order.chunk_by(same) {
            for (offset, node) in group.iter().enumerate() {
                group_of[index(*node)] = ranges.len();
                place[index(*node)] = start + offset;
            }
            ranges.push((start, start + group.len()));
            start += group.len();
        }
        let marked = vec![0; ranges.len()];
        Self {
            order,
            place,
            group_of,
            ranges,
            marked,
        }
    }

    fn len_of(&self, group: usize) -> usize {
        let (start, end) = self.ranges[group];
        end - start
    }

    /// Splits every group into those that are among the sources and those that are not; the groups that were split, each with
    /// the new group that left it.
    fn split_by(&mut self, sources: &[(u32, u32)]) -> Vec<(usize, usize)> {
        let mut touched = Vec::new();
        for (_, source) in sources {
            let group = self.group_of[index(*source)];
            if self.marked[group] == 0 {
                touched.push(group);
            }
            self.mark(*source, group);
        }
        let mut split = Vec::new();
        for group in touched {
            let marked = std::mem::take(&mut self.marked[group]);
            if marked == self.len_of(group) {
                continue;
            }
            let (start, end) = self.ranges[group];
            let new = self.ranges.len();
            self.ranges.push((start, start + marked));
            self.marked.push(0);
            self.ranges[group] = (start + marked, end);
            for node in &self.order[start..start + marked] {
                self.group_of[index(*node)] = new;
            }
            split.push((group, new));
        }
        split
    }

    /// Moves a node to the marked ones at the start of its group.
    fn mark(&mut self, node: u32, group: usize) {
        let from = self.place[index(node)];
        let to = self.ranges[group].0 + self.marked[group];
        if from < to {
            return;
        }
        let other = self.order[to];
        self.order.swap(from, to);
        self.place[index(node)] = to;
        self.place[index(other)] = from;
        self.marked[group] += 1;
    }
}

/// Links by the node that they lead to.
struct Incoming {
    /// Where the links to each node start in `links`; one more than there are nodes.
    starts: Vec<usize>,
    /// Label and source.
    links: Vec<(u32, u32)>,
}

impl Incoming {
    fn new(nodes: usize, edges: &[Edge]) -> Self {
        let mut starts = vec![0; nodes + 1];
        for edge in edges {
            starts[index(edge.target) + 1] += 1;
        }
        for node in 0..nodes {
            starts[node + 1] += starts[node];
        }
        let mut next = starts.clone();
        let mut links = vec![(0, 0); edges.len()];
        for edge in edges {
            let free = &mut next[index(edge.target)];
            links[*free] = (edge.label, edge.source);
            *free += 1;
        }
        Self { starts, links }
    }

    fn of(&self, node: u32) -> &[(u32, u32)] {
        let node = index(node);
        &self.links[self.starts[node]..self.starts[node + 1]]
    }
}

fn index(node: u32) -> usize {
    usize::try_from(node).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(source: u32, label: u32, target: u32) -> Edge {
        Edge {
            source,
            label,
            target,
        }
    }

    #[test]
    fn two_circles_alike_are_one_group_however_long_they_are() {
        let edges = [
            edge(0, 0, 1),
            edge(1, 0, 0),
            edge(2, 0, 3),
            edge(3, 0, 4),
            edge(4, 0, 2),
        ];
        assert_eq!(Partition::refined(&[7; 5], &edges).len(), 1);
    }

    #[test]
    fn a_difference_far_away_splits_everything_that_leads_to_it() {
        let edges = [edge(0, 0, 1), edge(1, 0, 2), edge(3, 0, 4), edge(4, 0, 5)];
        let partition = Partition::refined(&[1, 1, 2, 1, 1, 3], &edges);
        assert_eq!(partition.len(), 6);
        let partition = Partition::refined(&[1, 1, 2, 1, 1, 2], &edges);
        assert_eq!(partition.len(), 3);
        assert_eq!(partition.group_of(0), partition.group_of(3));
    }

    #[test]
    fn the_label_of_a_link_counts() {
        let edges = [edge(0, 0, 2), edge(0, 1, 3), edge(1, 0, 3), edge(1, 1, 2)];
        let partition = Partition::refined(&[1, 1, 2, 3], &edges);
        assert_ne!(partition.group_of(0), partition.group_of(1));
    }
}
