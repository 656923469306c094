//! Types by name, for many names in one walk.
//!
//! A kernel has over 100,000 names, and nearly all differ from the wanted ones in the first four bytes; so a small table
//! tells which beginnings are wanted, and only names it lets through are compared.

use super::kinds::kind;
use super::types::{Name, Type, TypeId};
use super::walk::{Head, Visit};
use super::{Btf, essential_name};

/// Kinds of types, as a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TypeKinds(u32);

impl TypeKinds {
    /// All that have names. Tags have a text, which is none.
    pub const NAMED: Self = Self(!(1 << kind::DECL_TAG | 1 << kind::TYPE_TAG));
    /// Functions.
    pub const FUNCTION: Self = Self(1 << kind::FUNCTION);
    /// Variables.
    pub const VARIABLE: Self = Self(1 << kind::VARIABLE);
    /// What data can be declared with: all that have names, but functions, variables and data sections.
    pub const DATA: Self = Self(
        1 << kind::INTEGER
            | 1 << kind::STRUCT
            | 1 << kind::UNION
            | 1 << kind::ENUM
            | 1 << kind::ENUM64
            | 1 << kind::FORWARD
            | 1 << kind::TYPEDEF
            | 1 << kind::FLOAT,
    );

    /// Those of both sets.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn has(self, number: u32) -> bool {
        self.0 >> (number & 31) & 1 != 0
    }
}

/// The names that somebody looks for.
#[derive(Debug, Clone)]
pub struct Search<'names> {
    /// Each with its position among the wanted ones; ascending, none twice.
    names: Vec<(&'names str, usize)>,
    kinds: TypeKinds,
    cuts_flavours: bool,
    starts: Starts,
}

/// One name, and how it is looked for.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct Question {
    name: Box<str>,
    kinds: TypeKinds,
    cuts_flavours: bool,
}

/// A type with a wanted name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    /// Which name, by its position among the wanted ones.
    pub name: usize,
    /// The type's number.
    pub id: TypeId,
}

impl<'names> Search<'names> {
    /// Types with exactly these names. Of equal names the last counts; types without a name are never found.
    pub fn exact(names: impl IntoIterator<Item = &'names str>) -> Self {
        let names = names.into_iter().enumerate();
        let mut names: Vec<(&str, usize)> = names
            .filter(|(_, name)| !name.is_empty())
            .map(|(position, name)| (name, position))
            .collect();
        names.sort_unstable_by_key(|(name, position)| (*name, std::cmp::Reverse(*position)));
        names.dedup_by_key(|(name, _)| *name);
        Self {
            kinds: TypeKinds::NAMED,
            cuts_flavours: false,
            starts: Starts::of(&names),
            names,
        }
    }

    /// Types that have these names once their flavours are cut off, as [`essential_name`] does.
    pub fn without_flavours(names: impl IntoIterator<Item = &'names str>) -> Self {
        Self {
            cuts_flavours: true,
            ..Self::exact(names)
        }
    }

    /// Only types of these kinds.
    #[must_use]
    pub fn of(self, kinds: TypeKinds) -> Self {
        Self { kinds, ..self }
    }

    /// Among types that were all read.
    pub(super) fn among(&self, btf: &Btf) -> Vec<Hit> {
        btf.iter()
            .filter(|(_, found)| self.kinds.has(number_of(found)))
            .filter_map(|(id, found)| {
                let name = self.position(btf, found.name()?)?;
                Some(Hit { name, id })
            })
            .collect()
    }

    /// What is asked, one name at a time, with its position among the wanted ones.
    pub(super) fn questions(&self) -> impl Iterator<Item = (usize, Question)> {
        self.names.iter().map(|(name, position)| {
            let question = Question {
                name: (*name).into(),
                kinds: self.kinds,
                cuts_flavours: self.cuts_flavours,
            };
            (*position, question)
        })
    }

    /// For a walk over types.
    pub(super) fn look<'a>(&'a self, btf: &'a Btf) -> Looking<'a, 'names> {
        Looking {
            search: self,
            btf,
            names: btf.own_strings(),
            names_start: btf.strings_end() - btf.strings.len(),
            waiting: Box::new([Waiting::default(); MOST_WAITING]),
            waiting_count: 0,
            seen: Vec::new(),
        }
    }

    fn position(&self, btf: &Btf, name: Name) -> Option<usize> {
        let text = btf.text(name);
        let wanted = match self.cuts_flavours {
            true => essential_name(text),
            false => text,
        };
        let place = self.names.binary_search_by_key(&wanted, |(name, _)| name);
        place
            .ok()
            .and_then(|place| self.names.get(place))
            .map(|(_, position)| *position)
    }

    /// The wanted name that a name of `btf` is, which starts as `start` does. Only what might be a flavour is read to its end.
    #[inline]
    fn position_from(
        &self,
        btf: &Btf,
        name: Name,
        (start, rest): ([u8; 4], &[u8]),
    ) -> Option<usize> {
        for (wanted, position) in self
            .starts
            .like(start)
            .filter_map(|place| self.names.get(place))
        {
            match rest.strip_prefix(wanted.as_bytes()) {
                Some([0, ..]) if !self.cuts_flavours || essential_name(wanted) == *wanted => {
                    return Some(*position);
                }
                Some([b'_', b'_', b'_', ..]) if self.cuts_flavours => {
                    let found = self.position(btf, name);
                    if found.is_some() {
                        return found;
                    }
                }
                _ => {}
            }
        }
        None
    }
}

/// A search during a walk.
///
/// Which kind comes next is nearly random, and a wrong guess of the processor costs more than everything else here. So each
/// type is written down, and kept by counting on only if its kind is wanted; names are looked at later, many in a row.
pub(super) struct Looking<'a, 'names> {
    search: &'a Search<'names>,
    btf: &'a Btf,
    /// The strings of its own, and the name at their start.
    names: &'a [u8],
    names_start: usize,
    waiting: Box<[Waiting; MOST_WAITING]>,
    /// INVARIANT: less than [`MOST_WAITING`] between visits.
    waiting_count: usize,
    /// Stretch, position there, and which name.
    seen: Vec<(u32, u32, usize)>,
}

/// A type of a wanted kind.
#[derive(Debug, Clone, Copy, Default)]
struct Waiting {
    stretch: u32,
    position: u32,
    name: u32,
}

const MOST_WAITING: usize = 256;

impl Visit for Looking<'_, '_> {
    #[inline]
    fn visit(&mut self, stretch: u32, position: u32, head: Head) {
        if let Some(next) = self.waiting.get_mut(self.waiting_count) {
            *next = Waiting {
                stretch,
                position,
                name: head.name,
            };
        }
        self.waiting_count += usize::from(self.search.kinds.has(head.info.kind));
        if self.waiting_count == MOST_WAITING {
            self.look_at_names();
        }
    }

    fn restart(&mut self) {
        self.waiting_count = 0;
        self.seen.clear();
    }
}

impl Looking<'_, '_> {
    fn look_at_names(&mut self) {
        for each in self.waiting.iter().take(self.waiting_count) {
            if let Some(name) = self.wanted(each.name) {
                self.seen.push((each.stretch, each.position, name));
            }
        }
        self.waiting_count = 0;
    }

    /// Which wanted name this is. Names of the base and the last name of all are looked at whatever they start with.
    #[inline]
    fn wanted(&self, name: u32) -> Option<usize> {
        let at = usize::try_from(name).unwrap_or(usize::MAX);
        let own = at.checked_sub(self.names_start);
        let rest = own.and_then(|at| self.names.get(at..)).unwrap_or_default();
        let Some(start) = rest.first_chunk() else {
            return self.search.position(self.btf, Name(name));
        };
        if !self.search.starts.have(*start) {
            return None;
        }
        self.search
            .position_from(self.btf, Name(name), (*start, rest))
    }

    /// What was found, by number.
    pub(super) fn hits(mut self, number: impl Fn(u32, u32) -> Option<TypeId>) -> Vec<Hit> {
        self.look_at_names();
        let mut hits: Vec<Hit> = self
            .seen
            .into_iter()
            .filter_map(|(stretch, position, name)| {
                let id = number(stretch, position)?;
                Some(Hit { name, id })
            })
            .collect();
        hits.sort_unstable_by_key(|hit| hit.id);
        hits
    }
}

/// The first four bytes of the wanted names: as a set that may say yes in vain, and each with its name.
#[derive(Debug, Clone)]
struct Starts {
    set: Box<[u64; STARTS / 64]>,
    /// Ascending; the place is that of the name.
    all: Vec<([u8; 4], usize)>,
}

const STARTS: usize = 1 << 13;

impl Starts {
    fn of(names: &[(&str, usize)]) -> Self {
        let mut starts = Self {
            set: Box::new([0; STARTS / 64]),
            all: Vec::with_capacity(names.len()),
        };
        for (place, (name, _)) in names.iter().enumerate() {
            for start in starts_of(name) {
                let position = position(start);
                starts.set[position / 64] |= 1 << (position % 64);
                starts.all.push((start, place));
            }
        }
        starts.all.sort_unstable();
        starts.all.dedup();
        starts
    }

    /// Whether a wanted name may start like this.
    #[inline]
    fn have(&self, start: [u8; 4]) -> bool {
        let position = position(until_nul(start));
        self.set[position / 64] >> (position % 64) & 1 != 0
    }

    /// The places of the names that start like this.
    #[inline]
    fn like(&self, start: [u8; 4]) -> impl Iterator<Item = usize> {
        let start = until_nul(start);
        let first = self.all.partition_point(|(other, _)| *other < start);
        let rest = self.all.get(first..).unwrap_or_default().iter();
        rest.take_while(move |(other, _)| *other == start)
            .map(|(_, place)| *place)
    }
}

/// What types with this name may start with: a name of less than four bytes ends, or goes on with the underscores of a
/// flavour.
fn starts_of(name: &str) -> [[u8; 4]; 2] {
    [*b"\0\0\0\0", *b"____"].map(|mut start| {
        let bytes = start.iter_mut().zip(name.bytes());
        bytes.for_each(|(to, byte)| *to = byte);
        start
    })
}

/// The bytes before the first NUL; those after it become NUL too.
#[inline]
fn until_nul(start: [u8; 4]) -> [u8; 4] {
    let word = u32::from_le_bytes(start);
    // The lowest bit of this is the highest bit of the first byte that is 0; none if there is no such byte.
    let ends = word.wrapping_sub(0x0101_0101) & !word & 0x8080_8080;
    let before = (ends & ends.wrapping_neg()).wrapping_sub(1);
    (word & before).to_le_bytes()
}

/// Any spread does that is the same every time; this is the golden ratio's.
fn position(start: [u8; 4]) -> usize {
    let spread = u32::from_le_bytes(start).wrapping_mul(0x9e37_79b9);
    usize::try_from(spread >> (32 - STARTS.ilog2())).unwrap_or(0) % STARTS
}

/// The number of a type's kind, for kinds that have names.
fn number_of(found: &Type) -> u32 {
    match found {
        Type::Integer(_) => kind::INTEGER,
        Type::Struct(_) => kind::STRUCT,
        Type::Union(_) => kind::UNION,
        Type::Enumeration(_) => kind::ENUM,
        Type::Forward { .. } => kind::FORWARD,
        Type::Typedef { .. } => kind::TYPEDEF,
        Type::Function(_) => kind::FUNCTION,
        Type::Variable(_) => kind::VARIABLE,
        Type::DataSection(_) => kind::DATA_SECTION,
        Type::Float { .. } => kind::FLOAT,
        _ => 0,
    }
}
