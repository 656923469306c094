//! Which kernel knows which kinds of types, and what stands in for those it does not know.
//!
//! A stand-in takes as many bytes and has the same number, so nothing else changes: types that refer to it stay valid, and
//! only what it said is lost.
//!
//! | kind | since | stand-in |
//! |---|---|---|
//! | `FUNC` | 5.0 | a typedef of `int` |
//! | `FUNC_PROTO` | 5.0 | an enum with as many values, all 0 |
//! | `VAR` | 5.2 | an integer of one byte |
//! | `DATASEC` | 5.2 | a struct with as many integers in the same place |
//! | global `FUNC` | 5.6 | a static one |
//! | `DATASEC` without variables | 5.12 | an empty struct |
//! | `FLOAT` | 5.13 | an empty struct of that size |
//! | `DECL_TAG` | 5.16 | an integer of one byte |
//! | `TYPE_TAG` | 5.17 | `const` |
//! | signed `ENUM` | 6.0 | an unsigned one |
//! | `ENUM64` | 6.0 | a union with as many integers |
//! | `DATASEC` with `?` in its name | 6.10 | `_` in its place |
//!
//! Source: the kernel's release notes and `Documentation/bpf/btf.rst` of those releases.

use super::image::{Image, Record};
use super::kinds::kind;

/// Whether a kernel of this version knows everything that is replaced here.
pub(super) fn knows_all(version: u32) -> bool {
    version >= release(6, 10)
}

/// Replaces what a kernel of this version does not know.
pub(super) fn replace_unknown(image: &mut Image, version: u32) {
    let Some(integer) = any_integer(image) else {
        return;
    };
    for number in 1..image.len() {
        if let Some(record) = image.record(number) {
            replace(image, record, version, integer);
        }
    }
}

/// The number of some integer of at most eight bytes.
pub(crate) fn any_integer(image: &Image) -> Option<u32> {
    let number = (1..image.len()).find(|number| {
        image
            .record(*number)
            .is_some_and(|record| record.kind == kind::INTEGER && record.size_or_target <= 8)
    })?;
    u32::try_from(number).ok()
}

/// Makes a data section a nameless struct of integers, all at its start: valid everywhere, and of no meaning.
pub(crate) fn neutralise_section(image: &mut Image, record: Record, integer: u32) {
    image.set_kind(record, kind::STRUCT, record.count);
    image.set_word(record.at, 0);
    image.set_word(record.at + 8, 8);
    members(image, record, integer);
}

fn replace(image: &mut Image, record: Record, version: u32, integer: u32) {
    let before = |major, minor| version < release(major, minor);
    match record.kind {
        kind::FUNCTION if before(5, 0) => {
            image.set_kind(record, kind::TYPEDEF, 0);
            image.set_word(record.at + 8, integer);
        }
        kind::FUNCTION if before(5, 6) => image.set_kind(record, kind::FUNCTION, 0),
        kind::FUNCTION_PROTOTYPE if before(5, 0) => enumerate(image, record),
        kind::VARIABLE if before(5, 2) => byte_sized(image, record),
        kind::DATA_SECTION if before(5, 2) => neutralise_section(image, record, integer),
        // KERNEL: 5.10 answers "vlen == 0".
        kind::DATA_SECTION if record.count == 0 && before(5, 12) => {
            neutralise_section(image, record, integer);
        }
        kind::DATA_SECTION if before(6, 10) => {
            image.change_text(
                record.name,
                |_, byte| if byte == b'?' { b'_' } else { byte },
            );
        }
        kind::FLOAT if before(5, 13) => {
            image.set_kind(record, kind::STRUCT, 0);
            image.set_word(record.at, 0);
        }
        kind::DECL_TAG if before(5, 16) => byte_sized(image, record),
        kind::TYPE_TAG if before(5, 17) => {
            image.set_kind(record, kind::CONST, 0);
            image.set_word(record.at, 0);
        }
        // KERNEL: 5.10 answers "Invalid btf_info kind_flag".
        kind::ENUM if before(6, 0) => image.set_kind(record, kind::ENUM, record.count),
        kind::ENUM64 if before(6, 0) => {
            image.set_kind(record, kind::UNION, record.count);
            members(image, record, integer);
        }
        _ => {}
    }
}

/// An integer of one byte, which has a name and one word more than the head.
fn byte_sized(image: &mut Image, record: Record) {
    image.set_kind(record, kind::INTEGER, 0);
    image.set_word(record.at + 8, 1);
    image.set_word(record.entries(), 8);
}

/// Each pair of words becomes an enumerator: its name is that of the type (an enumerator must have one), its value 0.
fn enumerate(image: &mut Image, record: Record) {
    image.set_kind(record, kind::ENUM, record.count);
    image.set_word(record.at + 8, 4);
    let Some(name) = any_name(image) else { return };
    for entry in 0..usize::try_from(record.count).unwrap_or(0) {
        image.set_word(record.entries() + entry * 8, name);
        image.set_word(record.entries() + entry * 8 + 4, 0);
    }
}

fn any_name(image: &Image) -> Option<u32> {
    let integer = usize::try_from(any_integer(image)?).ok()?;
    image.record(integer).map(|record| record.name)
}

/// Each triple of words becomes a nameless member of integer type at offset 0.
fn members(image: &mut Image, record: Record, integer: u32) {
    for entry in 0..usize::try_from(record.count).unwrap_or(0) {
        let at = record.entries() + entry * 12;
        image.set_word(at, 0);
        image.set_word(at + 4, integer);
        image.set_word(at + 8, 0);
    }
}

const fn release(major: u32, minor: u32) -> u32 {
    major << 16 | minor << 8
}
