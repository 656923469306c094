//! Whether a type of the target has the very shape of the object's: kinds, names of members, sizes of numbers.
//!
//! Stricter than compatibility: every member the object knows must be there, by name and in turn of the same shape. Behind a
//! pointer only name and kind of a struct or union count; a forward declaration does there too.

use crate::btf::{
    Btf, Composite, Enumeration, IntegerEncoding, Name, Type, TypeId, essential_name,
};

/// Most types on the way from a root.
const DEEPEST: usize = 32;
/// Most types compared for one relocation.
const MOST_STEPS: usize = 100_000;

/// Whether the target's type has the object's shape.
///
/// # Errors
///
/// If the types contradict themselves or are nested too deeply.
pub(super) fn matches(
    local: &Btf,
    here: TypeId,
    target: &Btf,
    there: TypeId,
) -> Result<bool, String> {
    let mut comparison = Comparison {
        local,
        target,
        left: MOST_STEPS,
    };
    let ways = Way {
        depth: DEEPEST,
        is_behind_pointer: false,
    };
    comparison.types(here, there, ways)
}

struct Comparison<'a> {
    local: &'a Btf,
    target: &'a Btf,
    left: usize,
}

/// How a type was reached.
#[derive(Clone, Copy)]
struct Way {
    /// How many more steps may follow.
    depth: usize,
    is_behind_pointer: bool,
}

impl Comparison<'_> {
    fn types(&mut self, here: TypeId, there: TypeId, way: Way) -> Result<bool, String> {
        self.left = self
            .left
            .checked_sub(1)
            .ok_or("types refer to too many types")?;
        let next = Way {
            depth: way
                .depth
                .checked_sub(1)
                .ok_or("types are nested too deeply")?,
            ..way
        };
        let (_, one) = self
            .local
            .resolve(here)
            .map_err(|error| error.to_string())?;
        let (_, other) = self
            .target
            .resolve(there)
            .map_err(|error| error.to_string())?;
        if !self.same_name(one.name(), other.name()) {
            return Ok(false);
        }
        match (one, other) {
            (Type::Void, Type::Void) => Ok(true),
            (Type::Integer(one), Type::Integer(other)) => {
                let is_signed = |encoding| encoding == IntegerEncoding::Signed;
                let is_plain = one.bit_offset == 0 && other.bit_offset == 0;
                let same_sign = is_signed(one.encoding) == is_signed(other.encoding);
                Ok(is_plain && same_sign && one.size == other.size)
            }
            (Type::Enumeration(one), Type::Enumeration(other)) => Ok(self.enumerations(one, other)),
            (Type::Pointer(here), Type::Pointer(there)) => {
                let next = Way {
                    is_behind_pointer: true,
                    ..next
                };
                self.types(*here, *there, next)
            }
            (Type::Array(one), Type::Array(other)) => {
                Ok(one.length == other.length && self.types(one.element, other.element, next)?)
            }
            (Type::Struct(one), Type::Struct(other)) | (Type::Union(one), Type::Union(other)) => {
                match way.is_behind_pointer {
                    true => Ok(true),
                    false => self.members(one, other, next),
                }
            }
            (Type::FunctionPrototype(one), Type::FunctionPrototype(other)) => {
                if one.parameters.len() != other.parameters.len() {
                    return Ok(false);
                }
                let parameter = Way {
                    is_behind_pointer: false,
                    ..next
                };
                for (one, other) in one.parameters.iter().zip(&other.parameters) {
                    if !self.types(one.target, other.target, parameter)? {
                        return Ok(false);
                    }
                }
                self.types(one.result, other.result, next)
            }
            (one, other) => Ok(announces(one, other, way.is_behind_pointer)),
        }
    }

    /// Every member the object has is in the target, by name, and has its shape.
    fn members(&mut self, one: &Composite, other: &Composite, way: Way) -> Result<bool, String> {
        if one.members.len() > other.members.len() {
            return Ok(false);
        }
        for here in &one.members {
            let mut is_there = false;
            for there in &other.members {
                if self.same_name(Some(here.name), Some(there.name))
                    && self.types(here.target, there.target, way)?
                {
                    is_there = true;
                    break;
                }
            }
            if !is_there {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Every name the object has is in the target, whatever its number.
    fn enumerations(&self, one: &Enumeration, other: &Enumeration) -> bool {
        one.size == other.size
            && one.enumerators.len() <= other.enumerators.len()
            && one.enumerators.iter().all(|here| {
                other
                    .enumerators
                    .iter()
                    .any(|there| self.same_name(Some(here.name), Some(there.name)))
            })
    }

    fn same_name(&self, here: Option<Name>, there: Option<Name>) -> bool {
        let here = self.local.text(here.unwrap_or_default());
        let there = self.target.text(there.unwrap_or_default());
        essential_name(here) == essential_name(there)
    }
}

/// Whether both are announcements of the same kind, or, behind a pointer, one announces what the other is.
fn announces(one: &Type, other: &Type, is_behind_pointer: bool) -> bool {
    match (one, other) {
        (
            Type::Forward { is_union: one, .. },
            Type::Forward {
                is_union: other, ..
            },
        ) => one == other,
        (Type::Forward { is_union, .. }, Type::Struct(_))
        | (Type::Struct(_), Type::Forward { is_union, .. }) => is_behind_pointer && !is_union,
        (Type::Forward { is_union, .. }, Type::Union(_))
        | (Type::Union(_), Type::Forward { is_union, .. }) => is_behind_pointer && *is_union,
        _ => false,
    }
}
