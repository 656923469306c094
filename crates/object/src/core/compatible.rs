//! Whether a type or field of the target can stand for the object's, as far as reading it is concerned.
//!
//! Roots were found by name; below them the rules are loose on purpose, so that a program survives changes that do not matter
//! to it: for a field only its own type counts, for a type only its skeleton.

use crate::btf::{Btf, Type, TypeId, essential_name};

use super::candidates::same_kind;

/// Most types on the way from a root; what is nested deeper is no type anybody wrote.
const DEEPEST: usize = 32;

/// Whether a field of type `there` can be read where the program has one of type `here`.
///
/// Structs and unions stand for each other; integers and floats of any size, pointers to anything and enumerations of the same
/// name do; arrays do if their elements do.
///
/// # Errors
///
/// If the types contradict themselves.
pub(super) fn fields(
    local: &Btf,
    here: TypeId,
    target: &Btf,
    there: TypeId,
) -> Result<bool, String> {
    let (mut here, mut there) = (here, there);
    for _ in 0..DEEPEST {
        let (_, one) = local.resolve(here).map_err(|error| error.to_string())?;
        let (_, other) = target.resolve(there).map_err(|error| error.to_string())?;
        match (one, other) {
            (Type::Struct(_) | Type::Union(_), Type::Struct(_) | Type::Union(_))
            | (Type::Pointer(_), Type::Pointer(_))
            | (Type::Float { .. }, Type::Float { .. }) => return Ok(true),
            // Integers that start within a byte are bit fields of old compilers: their place is not what it seems.
            (Type::Integer(one), Type::Integer(other)) => {
                return Ok(one.bit_offset == 0 && other.bit_offset == 0);
            }
            (Type::Enumeration(_), Type::Enumeration(_))
            | (Type::Forward { .. }, Type::Forward { .. }) => {
                let name = |btf: &Btf, kind: &Type| {
                    let name = kind.name().unwrap_or_default();
                    essential_name(btf.text(name)).to_owned()
                };
                let (one, other) = (name(local, one), name(target, other));
                return Ok(one.is_empty() || other.is_empty() || one == other);
            }
            (Type::Array(one), Type::Array(other)) => (here, there) = (one.element, other.element),
            _ => return Ok(false),
        }
    }
    Err("arrays are nested too deeply".to_owned())
}

/// Whether a type of the target is the object's type, names below the root ignored.
///
/// # Errors
///
/// If the types contradict themselves or are nested too deeply.
pub(super) fn types(
    local: &Btf,
    here: TypeId,
    target: &Btf,
    there: TypeId,
    announced: Announced,
) -> Result<bool, String> {
    let mut comparison = Comparison {
        local,
        target,
        announced,
        left: MOST_STEPS,
    };
    comparison.types(here, there, DEEPEST)
}

/// Most types compared for one relocation: prototypes of prototypes multiply.
const MOST_STEPS: usize = 10_000;

/// What a struct or union is that one side only announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Announced {
    /// Nothing but another announcement.
    Itself,
    /// The same as a whole one: who only hands pointers on need not know what is inside.
    Whole,
}

struct Comparison<'a> {
    local: &'a Btf,
    target: &'a Btf,
    announced: Announced,
    left: usize,
}

impl Comparison<'_> {
    fn types(&mut self, here: TypeId, there: TypeId, depth: usize) -> Result<bool, String> {
        let depth = depth.checked_sub(1).ok_or("types are nested too deeply")?;
        self.left = self
            .left
            .checked_sub(1)
            .ok_or("types refer to too many types")?;
        let (_, one) = self
            .local
            .resolve(here)
            .map_err(|error| error.to_string())?;
        let (_, other) = self
            .target
            .resolve(there)
            .map_err(|error| error.to_string())?;
        match (one, other) {
            (Type::Integer(one), Type::Integer(other)) => {
                Ok(one.bit_offset == 0 && other.bit_offset == 0)
            }
            (Type::Pointer(here), Type::Pointer(there)) => self.types(*here, *there, depth),
            (Type::Array(one), Type::Array(other)) => self.types(one.element, other.element, depth),
            (Type::FunctionPrototype(one), Type::FunctionPrototype(other)) => {
                if one.parameters.len() != other.parameters.len() {
                    return Ok(false);
                }
                for (one, other) in one.parameters.iter().zip(&other.parameters) {
                    if !self.types(one.target, other.target, depth)? {
                        return Ok(false);
                    }
                }
                self.types(one.result, other.result, depth)
            }
            (Type::Float { .. }, _) => Ok(false),
            (Type::Forward { is_union, .. }, whole) | (whole, Type::Forward { is_union, .. })
                if self.announced == Announced::Whole =>
            {
                Ok(match whole {
                    Type::Struct(_) => !is_union,
                    Type::Union(_) => *is_union,
                    Type::Forward {
                        is_union: other, ..
                    } => is_union == other,
                    _ => false,
                })
            }
            _ => Ok(same_kind(one, other)),
        }
    }
}
