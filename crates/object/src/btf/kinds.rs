//! The kinds of types: their numbers, what their info words may say, and how many bytes they take.

/// The numbers of the kinds.
pub(crate) mod kind {
    pub(crate) const INTEGER: u32 = 1;
    pub(crate) const POINTER: u32 = 2;
    pub(crate) const ARRAY: u32 = 3;
    pub(crate) const STRUCT: u32 = 4;
    pub(crate) const UNION: u32 = 5;
    pub(crate) const ENUM: u32 = 6;
    pub(crate) const FORWARD: u32 = 7;
    pub(crate) const TYPEDEF: u32 = 8;
    pub(crate) const VOLATILE: u32 = 9;
    pub(crate) const CONST: u32 = 10;
    pub(crate) const RESTRICT: u32 = 11;
    pub(crate) const FUNCTION: u32 = 12;
    pub(crate) const FUNCTION_PROTOTYPE: u32 = 13;
    pub(crate) const VARIABLE: u32 = 14;
    pub(crate) const DATA_SECTION: u32 = 15;
    pub(crate) const FLOAT: u32 = 16;
    pub(crate) const DECL_TAG: u32 = 17;
    pub(crate) const TYPE_TAG: u32 = 18;
    pub(crate) const ENUM64: u32 = 19;
}

/// One row per kind: what its info word may say.
pub(super) struct KindRow {
    /// The kernel's name.
    pub(super) name: &'static str,
    /// Whether it can have a name of its own.
    pub(super) has_name: bool,
    /// Whether the count means something.
    pub(super) has_count: bool,
    /// Whether the kind flag means something.
    pub(super) has_flag: bool,
    /// What follows the three words of every type.
    pub(super) tail: Tail,
}

/// What follows the three words of every type.
#[derive(Clone, Copy)]
pub(super) enum Tail {
    /// That many words.
    Words(u8),
    /// As many entries as the count says, of that many words each.
    Entries(u8),
}

/// The row of a kind; `None` for kinds we do not know.
pub(super) fn find(number: u32) -> Option<&'static KindRow> {
    let position = usize::try_from(number).ok()?.checked_sub(1)?;
    KINDS.get(position)
}

/// A type's three words after its name, understood without the table: where the next type starts is asked 100,000 times
/// for a kernel.
#[derive(Clone, Copy)]
pub(super) struct Info {
    pub(super) kind: u32,
    /// Number of entries, or the linkage of a function.
    pub(super) count: u32,
    pub(super) flag: bool,
}

impl Info {
    pub(super) fn of(word: u32) -> Self {
        Self {
            kind: word >> 24 & 0x1f,
            count: word & 0xffff,
            flag: word >> 31 != 0,
        }
    }

    /// Bytes of the whole type; `None` for kinds we do not know.
    pub(super) fn type_bytes(self) -> Option<usize> {
        // INVARIANT: there is a row for each of the 32 kinds that the word can say.
        let (fixed, entry) = *BYTES.get(usize::try_from(self.kind).ok()?)?;
        let entries = usize::try_from(self.count).ok()? * usize::from(entry);
        (fixed != 0).then_some(usize::from(fixed) + entries)
    }
}

/// Bytes of a type without entries, and of an entry; by kind, all zero where there is no such kind.
const BYTES: [(u8, u8); 32] = {
    let mut bytes = [(0, 0); 32];
    let mut position = 0;
    while position < KINDS.len() {
        bytes[position + 1] = match KINDS[position].tail {
            Tail::Words(words) => (HEAD_BYTES + words * 4, 0),
            Tail::Entries(words) => (HEAD_BYTES, words * 4),
        };
        position += 1;
    }
    bytes
};

/// Every type starts with three words.
pub(super) const HEAD_BYTES: u8 = 12;

const fn row(
    name: &'static str,
    has_name: bool,
    has_count: bool,
    has_flag: bool,
    tail: Tail,
) -> KindRow {
    KindRow {
        name,
        has_name,
        has_count,
        has_flag,
        tail,
    }
}

/// INVARIANT: in the order of their numbers, from 1 on.
#[rustfmt::skip]
const KINDS: &[KindRow] = &[
    row("INT", true, false, false, Tail::Words(1)),
    row("PTR", false, false, false, Tail::Words(0)),
    row("ARRAY", false, false, false, Tail::Words(3)),
    row("STRUCT", true, true, true, Tail::Entries(3)),
    row("UNION", true, true, true, Tail::Entries(3)),
    row("ENUM", true, true, true, Tail::Entries(2)),
    row("FWD", true, false, true, Tail::Words(0)),
    row("TYPEDEF", true, false, false, Tail::Words(0)),
    row("VOLATILE", false, false, false, Tail::Words(0)),
    row("CONST", false, false, false, Tail::Words(0)),
    row("RESTRICT", false, false, false, Tail::Words(0)),
    row("FUNC", true, true, false, Tail::Words(0)),
    row("FUNC_PROTO", false, true, false, Tail::Entries(2)),
    row("VAR", true, false, false, Tail::Words(1)),
    row("DATASEC", true, true, false, Tail::Entries(3)),
    row("FLOAT", true, false, false, Tail::Words(0)),
    row("DECL_TAG", true, false, true, Tail::Words(1)),
    row("TYPE_TAG", true, false, true, Tail::Words(0)),
    row("ENUM64", true, true, true, Tail::Entries(3)),
];
