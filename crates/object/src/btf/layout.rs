//! How large types are, and what is left of a type without its names and qualifiers.
//!
//! Types refer to each other freely, so a malformed BTF can hold a typedef of itself or an array of itself. Both questions
//! follow one chain, and a chain without a circle has no more steps than there are types.

use super::Btf;
use super::types::{Array, Composite, DataSection, Enumeration, Integer, Type, TypeId, Variable};
use crate::diagnosis::{Code, Diagnosis, Error, Result};

/// Bytes of a pointer, in a BPF object and in a kernel that runs BPF programs of 64 bits.
const POINTER_BYTES: u64 = 8;

const TOO_LARGE: &str = "is larger than 64 bits can say";

impl Btf {
    /// The type behind typedefs, qualifiers and type tags.
    ///
    /// # Errors
    ///
    /// Code O013 if there is no such type, or the chain never ends.
    pub fn resolve(&self, id: TypeId) -> Result<(TypeId, &Type)> {
        let mut at = id;
        for _ in 0..self.len() {
            let found = self.known(at)?;
            match found.alias_of() {
                Some(target) => at = target,
                None => return Ok((at, found)),
            }
        }
        Err(self.wrong(id, "is defined by itself"))
    }

    /// Bytes that a value of this type occupies.
    ///
    /// # Errors
    ///
    /// Code O013 if there is no such type, it has no size (void, functions, forward declarations), or its size does
    /// not fit 64 bits.
    pub fn size_of(&self, id: TypeId) -> Result<u64> {
        let mut count: u64 = 1;
        let mut at = id;
        for _ in 0..self.len() {
            let size = match self.known(at)? {
                Type::Array(Array {
                    element, length, ..
                }) => {
                    count = count
                        .checked_mul(u64::from(*length))
                        .ok_or_else(|| self.wrong(id, TOO_LARGE))?;
                    at = *element;
                    continue;
                }
                Type::Variable(Variable { target, .. }) => {
                    at = *target;
                    continue;
                }
                Type::Pointer(_) => POINTER_BYTES,
                Type::Integer(Integer { size, .. })
                | Type::Struct(Composite { size, .. })
                | Type::Union(Composite { size, .. })
                | Type::Enumeration(Enumeration { size, .. })
                | Type::DataSection(DataSection { size, .. })
                | Type::Float { size, .. } => u64::from(*size),
                other => match other.alias_of() {
                    Some(target) => {
                        at = target;
                        continue;
                    }
                    None => return Err(self.wrong(at, "has no size")),
                },
            };
            return count
                .checked_mul(size)
                .ok_or_else(|| self.wrong(id, TOO_LARGE));
        }
        Err(self.wrong(id, "contains itself"))
    }

    fn known(&self, id: TypeId) -> Result<&Type> {
        self.get(id).ok_or_else(|| {
            let message = format!(
                "there is no type {id}, the last is [{}]",
                self.len().saturating_sub(1)
            );
            Diagnosis::new(Code::BTF_MALFORMED, message).into()
        })
    }

    /// `struct foo [12] has no size`.
    fn wrong(&self, id: TypeId, what: &str) -> Error {
        let kind = self.get(id).map_or("type", Type::kind_word);
        let message = match self.name_of(id) {
            "" => format!("{kind} {id} {what}"),
            name => format!("{kind} `{name}` {id} {what}"),
        };
        Diagnosis::new(Code::BTF_MALFORMED, message).into()
    }
}
