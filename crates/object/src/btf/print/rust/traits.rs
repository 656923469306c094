//! Which types are plain bytes: those may be keys and values of typed maps.

use std::collections::HashMap;

use crate::btf::{Btf, Composite, Type, TypeId};

/// What a type can be converted from and to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Traits {
    /// Any bytes are a value of it: it holds no address.
    pub(super) is_from_bytes: bool,
    /// It is bytes, every one of them initialised: no union is in it either.
    pub(super) is_into_bytes: bool,
}

/// The answers so far.
pub(super) struct Plain<'btf> {
    btf: &'btf Btf,
    known: HashMap<TypeId, Traits>,
    depth: u32,
}

impl<'btf> Plain<'btf> {
    pub(super) fn new(btf: &'btf Btf) -> Self {
        Self {
            btf,
            known: HashMap::new(),
            depth: 0,
        }
    }

    /// The traits of a type.
    pub(super) fn of(&mut self, id: TypeId) -> Traits {
        let mut at = id;
        for _ in 0..self.btf.len() {
            let Ok((resolved, found)) = self.btf.resolve(at) else {
                return NEITHER;
            };
            return match found {
                Type::Array(array) => {
                    at = array.element;
                    continue;
                }
                Type::Integer(_) | Type::Enumeration(_) | Type::Float { .. } => BOTH,
                Type::Struct(whole) => self.composite(resolved, whole),
                Type::Union(whole) => Traits {
                    is_into_bytes: false,
                    ..self.composite(resolved, whole)
                },
                _ => NEITHER,
            };
        }
        NEITHER
    }

    fn composite(&mut self, id: TypeId, whole: &Composite) -> Traits {
        if let Some(known) = self.known.get(&id) {
            return *known;
        }
        if self.depth == MOST_DEPTH {
            return NEITHER;
        }
        // A struct that contains itself finds this.
        self.known.insert(id, NEITHER);
        self.depth += 1;
        let mut traits = BOTH;
        for member in &whole.members {
            let inside = self.of(member.target);
            traits.is_from_bytes &= inside.is_from_bytes;
            traits.is_into_bytes &= inside.is_into_bytes;
        }
        self.depth -= 1;
        self.known.insert(id, traits);
        traits
    }
}

const BOTH: Traits = Traits {
    is_from_bytes: true,
    is_into_bytes: true,
};
const NEITHER: Traits = Traits {
    is_from_bytes: false,
    is_into_bytes: false,
};
const MOST_DEPTH: u32 = 128;
