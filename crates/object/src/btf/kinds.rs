//! The kinds of types: their numbers and what their info words may say.

/// The numbers of the kinds.
pub(super) mod kind {
    pub(in crate::btf) const INTEGER: u32 = 1;
    pub(in crate::btf) const POINTER: u32 = 2;
    pub(in crate::btf) const ARRAY: u32 = 3;
    pub(in crate::btf) const STRUCT: u32 = 4;
    pub(in crate::btf) const UNION: u32 = 5;
    pub(in crate::btf) const ENUM: u32 = 6;
    pub(in crate::btf) const FORWARD: u32 = 7;
    pub(in crate::btf) const TYPEDEF: u32 = 8;
    pub(in crate::btf) const VOLATILE: u32 = 9;
    pub(in crate::btf) const CONST: u32 = 10;
    pub(in crate::btf) const RESTRICT: u32 = 11;
    pub(in crate::btf) const FUNCTION: u32 = 12;
    pub(in crate::btf) const FUNCTION_PROTOTYPE: u32 = 13;
    pub(in crate::btf) const VARIABLE: u32 = 14;
    pub(in crate::btf) const DATA_SECTION: u32 = 15;
    pub(in crate::btf) const FLOAT: u32 = 16;
    pub(in crate::btf) const DECL_TAG: u32 = 17;
    pub(in crate::btf) const TYPE_TAG: u32 = 18;
    pub(in crate::btf) const ENUM64: u32 = 19;
}

/// One row per kind: what its info word may say.
pub(super) struct KindRow {
    number: u32,
    /// The kernel's name.
    pub(super) name: &'static str,
    /// Whether it can have a name of its own.
    pub(super) has_name: bool,
    /// Whether the count means something.
    pub(super) has_count: bool,
    /// Whether the kind flag means something.
    pub(super) has_flag: bool,
}

/// The row of a kind; `None` for kinds we do not know.
pub(super) fn find(number: u32) -> Option<&'static KindRow> {
    KINDS.iter().find(|row| row.number == number)
}

const fn row(
    number: u32,
    name: &'static str,
    has_name: bool,
    has_count: bool,
    has_flag: bool,
) -> KindRow {
    KindRow {
        number,
        name,
        has_name,
        has_count,
        has_flag,
    }
}

#[rustfmt::skip]
const KINDS: &[KindRow] = &[
    row(kind::INTEGER, "INT", true, false, false),
    row(kind::POINTER, "PTR", false, false, false),
    row(kind::ARRAY, "ARRAY", false, false, false),
    row(kind::STRUCT, "STRUCT", true, true, true),
    row(kind::UNION, "UNION", true, true, true),
    row(kind::ENUM, "ENUM", true, true, true),
    row(kind::FORWARD, "FWD", true, false, true),
    row(kind::TYPEDEF, "TYPEDEF", true, false, false),
    row(kind::VOLATILE, "VOLATILE", false, false, false),
    row(kind::CONST, "CONST", false, false, false),
    row(kind::RESTRICT, "RESTRICT", false, false, false),
    row(kind::FUNCTION, "FUNC", true, true, false),
    row(kind::FUNCTION_PROTOTYPE, "FUNC_PROTO", false, true, false),
    row(kind::VARIABLE, "VAR", true, false, false),
    row(kind::DATA_SECTION, "DATASEC", true, true, false),
    row(kind::FLOAT, "FLOAT", true, false, false),
    row(kind::DECL_TAG, "DECL_TAG", true, false, true),
    row(kind::TYPE_TAG, "TYPE_TAG", true, false, true),
    row(kind::ENUM64, "ENUM64", true, true, true),
];
