//! The numbers: what goes into the instruction for one thing in one BTF.
//!
//! A bit field is read with one load of 1, 2, 4 or 8 bytes that covers it, then shifted left and right:
//!
//! ```text
//!  byte offset                  byte size
//!  |------------ load -------------|
//!        |== bit field ==|
//! ```

use crate::btf::{Btf, IntegerEncoding, RelocationKind, Type, TypeId};

use super::fields::Field;
use super::subject::{Subject, enumeration};

/// What goes into the instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    /// The number.
    pub(super) value: u64,
    /// Whether the compiler's instruction holds the number for its own machine, so that it can be checked.
    pub(super) is_certain: bool,
    /// Bytes of the field, where the number is the offset of a load or store of it.
    pub(super) bytes: Option<u64>,
    /// How the field's bytes become a register.
    pub(super) extends: Extension,
}

/// What a load of fewer bytes into a whole register does to the value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extension {
    /// A pointer: the upper half is zero.
    Pointer,
    /// A number without sign: zeros in front change nothing.
    Unsigned,
    /// Anything else: the size must stay.
    No,
}

/// The answer for one thing, or for nothing (`None`); `Ok(None)` if there is no answer for nothing.
///
/// # Errors
///
/// If the types contradict themselves, or the question cannot be asked about this thing.
pub(super) fn of(
    kind: RelocationKind,
    btf: &Btf,
    subject: Option<&Subject>,
) -> Result<Option<Answer>, String> {
    let plain = |value: u64, is_certain: bool| Answer {
        value,
        is_certain,
        bytes: None,
        extends: Extension::No,
    };
    Ok(match (kind, subject) {
        (
            RelocationKind::FieldExists
            | RelocationKind::TypeExists
            | RelocationKind::TypeMatches
            | RelocationKind::EnumeratorExists,
            found,
        ) => Some(plain(u64::from(found.is_some()), true)),
        // A type that is not there has the number and the size 0.
        (RelocationKind::TypeIdTarget | RelocationKind::TypeSize, None) => Some(plain(0, true)),
        (_, None) => None,
        // The numbers of types change when BTF is merged, without the instructions.
        (RelocationKind::TypeIdLocal | RelocationKind::TypeIdTarget, Some(Subject::Type(id))) => {
            Some(plain(u64::from(id.0), false))
        }
        (RelocationKind::TypeSize, Some(Subject::Type(id))) => Some(plain(size(btf, *id)?, true)),
        (RelocationKind::EnumeratorValue, Some(Subject::Enumerator { whole, position })) => {
            let whole = enumeration(btf, *whole)?;
            let found = whole.and_then(|whole| whole.enumerators.get(*position));
            Some(plain(found.ok_or("there is no such name")?.value, true))
        }
        (_, Some(Subject::Field(field))) => Some(of_field(kind, btf, field)?),
        _ => return Err("the question does not fit the thing".to_owned()),
    })
}

fn of_field(kind: RelocationKind, btf: &Btf, field: &Field) -> Result<Answer, String> {
    let (_, found) = btf
        .resolve(field.target)
        .map_err(|error| error.to_string())?;
    let load = Load::of(btf, field)?;
    let is_bitfield = field.bitfield.is_some();
    let start = field.offset_bits - load.offset * 8;
    let answer = |value: u64, is_certain: bool| Answer {
        value,
        is_certain,
        bytes: None,
        extends: Extension::No,
    };
    let beyond = || "the field does not fit 64 bits".to_owned();
    Ok(match kind {
        RelocationKind::FieldOffset => Answer {
            bytes: (!is_bitfield).then_some(load.bytes),
            extends: extension(found),
            ..answer(load.offset, !is_bitfield)
        },
        RelocationKind::FieldSize => answer(load.bytes, !is_bitfield),
        RelocationKind::FieldSigned => answer(u64::from(is_signed(found)), true),
        RelocationKind::FieldShiftLeft => {
            let shift = if cfg!(target_endian = "little") {
                64u64.checked_sub(start + load.bits).ok_or_else(beyond)?
            } else {
                (8u64.checked_sub(load.bytes).ok_or_else(beyond)?) * 8 + start
            };
            answer(shift, !is_bitfield)
        }
        RelocationKind::FieldShiftRight => {
            answer(64u64.checked_sub(load.bits).ok_or_else(beyond)?, true)
        }
        _ => return Err("the question does not fit a field".to_owned()),
    })
}

/// The load that covers a field.
struct Load {
    offset: u64,
    bytes: u64,
    /// Bits of the field itself.
    bits: u64,
}

impl Load {
    fn of(btf: &Btf, field: &Field) -> Result<Self, String> {
        let declared = size(btf, field.target)?;
        let Some(width) = field.bitfield else {
            return Ok(Self {
                offset: field.offset_bits / 8,
                bytes: declared,
                bits: declared.checked_mul(8).ok_or("the field is too large")?,
            });
        };
        let bits = u64::from(width.0);
        // It starts where a number of the declared type would, and grows until the last bit is inside.
        let mut bytes = declared.max(1);
        loop {
            let offset = field.offset_bits / 8 / bytes * bytes;
            if field.offset_bits + bits <= (offset + bytes) * 8 {
                return Ok(Self {
                    offset,
                    bytes,
                    bits,
                });
            }
            if bytes >= 8 {
                return Err("no load of 8 bytes covers the bit field".to_owned());
            }
            bytes *= 2;
        }
    }
}

fn size(btf: &Btf, id: TypeId) -> Result<u64, String> {
    btf.size_of(id).map_err(|error| error.to_string())
}

fn is_signed(kind: &Type) -> bool {
    match kind {
        Type::Integer(integer) => integer.encoding == IntegerEncoding::Signed,
        Type::Enumeration(whole) => whole.is_signed,
        _ => false,
    }
}

fn extension(kind: &Type) -> Extension {
    match kind {
        Type::Pointer(_) => Extension::Pointer,
        Type::Integer(integer) if integer.encoding != IntegerEncoding::Signed => {
            Extension::Unsigned
        }
        _ => Extension::No,
    }
}
