//! Names that a Rust compiler accepts, and no two types have in common.
//!
//! C keeps `struct a` and a typedef `a` apart, Rust does not. The struct keeps the name; a typedef of that very struct is
//! dropped, as is one that calls an integer what Rust calls it anyway (`u32`); others get a number. A type without a name is called
//! after the typedef, or the member, that leads to it.

use std::collections::{HashMap, HashSet};

use crate::btf::print::names::{Space, word};
use crate::btf::{Btf, Composite, Type, TypeId};

/// The names of everything in one BTF that is called by name.
pub(super) struct Names {
    types: HashMap<TypeId, String>,
    /// Typedefs that are not written, because their target has their name.
    dropped: HashSet<TypeId>,
    /// Enumerators of types without a name, by type and position.
    constants: HashMap<(TypeId, usize), String>,
}

impl Names {
    pub(super) fn new(btf: &Btf) -> Self {
        let mut names = Self {
            types: HashMap::new(),
            dropped: HashSet::new(),
            constants: HashMap::new(),
        };
        let mut space = Space::default();
        let forwards = names.name_tagged(btf, &mut space);
        names.name_forwards(btf, forwards, &mut space);
        for (id, found) in btf.iter_all() {
            if let Type::Typedef { target, .. } = found {
                names.name_typedef(btf, id, *target, &mut space);
            }
        }
        names.name_nameless(btf, &mut space);
        names.name_constants(btf, &mut space);
        names
    }

    /// The name of a type; `None` if it is written in place.
    pub(super) fn of(&self, id: TypeId) -> Option<&str> {
        self.types.get(&id).map(String::as_str)
    }

    /// Whether a typedef is not to be written.
    pub(super) fn is_dropped(&self, id: TypeId) -> bool {
        self.dropped.contains(&id)
    }

    /// The constant for an enumerator of a type without a name.
    pub(super) fn of_constant(&self, id: TypeId, position: usize) -> &str {
        self.constants
            .get(&(id, position))
            .map_or("_", String::as_str)
    }

    /// Structs, unions and enumerations; returns the declarations.
    fn name_tagged<'a>(
        &mut self,
        btf: &'a Btf,
        space: &mut Space,
    ) -> Vec<(TypeId, &'static str, &'a str)> {
        let mut forwards = Vec::new();
        for (id, found) in btf.iter_all() {
            let own = btf.name_of(id);
            match found {
                Type::Struct(_) | Type::Union(_) | Type::Enumeration(_) if !own.is_empty() => {
                    self.types.insert(id, space.take(identifier(own)));
                }
                Type::Forward { is_union: true, .. } => forwards.push((id, "union", own)),
                Type::Forward { .. } => forwards.push((id, "struct", own)),
                _ => {}
            }
        }
        forwards
    }

    /// A declaration has the name of the first struct that it can mean, or one of its own.
    fn name_forwards(
        &mut self,
        btf: &Btf,
        forwards: Vec<(TypeId, &'static str, &str)>,
        space: &mut Space,
    ) {
        let mut meant: HashMap<(&str, &str), String> = HashMap::new();
        for (id, found) in btf.iter_all() {
            if let (Type::Struct(_) | Type::Union(_), Some(name)) = (found, self.types.get(&id)) {
                meant
                    .entry((found.kind_word(), btf.name_of(id)))
                    .or_insert_with(|| name.clone());
            }
        }
        for (id, kind, own) in forwards {
            let name = meant
                .entry((kind, own))
                .or_insert_with(|| space.take(identifier(own)));
            self.types.insert(id, name.clone());
        }
    }

    fn name_typedef(&mut self, btf: &Btf, id: TypeId, target: TypeId, space: &mut Space) {
        let own = btf.name_of(id);
        let (target, found) = without_qualifiers(btf, target);
        match found {
            Some(Type::Struct(_) | Type::Union(_) | Type::Enumeration(_)) => {
                match self.types.get(&target) {
                    Some(name) if btf.name_of(target) == own => {
                        self.types.insert(id, name.clone());
                        self.dropped.insert(id);
                        return;
                    }
                    Some(_) => {}
                    None => {
                        let name = space.take(identifier(own));
                        self.types.insert(target, name.clone());
                        self.types.insert(id, name);
                        self.dropped.insert(id);
                        return;
                    }
                }
            }
            // An alias that leads to a declaration of its own name would be one of itself.
            Some(Type::Forward { .. }) if btf.name_of(target) == own => {
                if let Some(name) = self.types.get(&target) {
                    self.types.insert(id, name.clone());
                    self.dropped.insert(id);
                    return;
                }
            }
            _ => {}
        }
        if PRIMITIVES.contains(&own) && matches!(btf.resolve(id), Ok((_, Type::Integer(_)))) {
            self.dropped.insert(id);
            return;
        }
        self.types.insert(id, space.take(identifier(own)));
    }

    /// Members' types without a name, called after the member; whatever else there is, by number.
    fn name_nameless(&mut self, btf: &Btf, space: &mut Space) {
        for (id, found) in btf.iter_all() {
            if let (Type::Struct(whole) | Type::Union(whole), true) =
                (found, self.types.contains_key(&id))
            {
                self.name_members_types(btf, id, whole, space);
            }
        }
        for (id, found) in btf.iter_all() {
            match found {
                Type::Struct(whole) | Type::Union(whole) if !self.types.contains_key(&id) => {
                    let name = space.take(format!("anonymous_{}", id.0));
                    self.types.insert(id, name);
                    self.name_members_types(btf, id, whole, space);
                }
                _ => {}
            }
        }
    }

    fn name_constants(&mut self, btf: &Btf, space: &mut Space) {
        for (id, found) in btf.iter_all() {
            let (Type::Enumeration(whole), None) = (found, self.types.get(&id)) else {
                continue;
            };
            for (position, each) in whole.enumerators.iter().enumerate() {
                let name = space.take(identifier(btf.text(each.name)));
                self.constants.insert((id, position), name);
            }
        }
    }

    fn name_members_types(&mut self, btf: &Btf, id: TypeId, whole: &Composite, space: &mut Space) {
        let mut open = vec![(id, whole)];
        while let Some((id, whole)) = open.pop() {
            let of = self.types.get(&id).cloned().unwrap_or_default();
            for (position, member) in whole.members.iter().enumerate() {
                let (target, found) = innermost(btf, member.target);
                let (Some(Type::Struct(inside) | Type::Union(inside)), false) =
                    (found, self.types.contains_key(&target))
                else {
                    continue;
                };
                let name = match btf.text(member.name) {
                    "" => format!("{of}_{position}"),
                    text => format!("{of}_{}", word(text)),
                };
                self.types.insert(target, space.take(name));
                open.push((target, inside));
            }
        }
    }
}

/// What is behind qualifiers and tags.
fn without_qualifiers(btf: &Btf, id: TypeId) -> (TypeId, Option<&Type>) {
    let mut at = id;
    for _ in 0..btf.len() {
        match btf.get(at) {
            Some(Type::Const(target) | Type::Volatile(target) | Type::Restrict(target)) => {
                at = *target;
            }
            Some(Type::TypeTag(tag)) => at = tag.target,
            found => return (at, found),
        }
    }
    (at, None)
}

/// What pointers lead to and arrays consist of.
fn innermost(btf: &Btf, id: TypeId) -> (TypeId, Option<&Type>) {
    let mut at = id;
    for _ in 0..btf.len() {
        let (next, found) = without_qualifiers(btf, at);
        match found {
            Some(Type::Pointer(target)) => at = *target,
            Some(Type::Array(array)) => at = array.element,
            _ => return (next, found),
        }
    }
    (at, None)
}

/// A text as an identifier of Rust: what cannot be in one becomes an underscore.
pub(super) fn identifier(text: &str) -> String {
    let mut name = word(text);
    if name == "_" || NEVER_RAW.contains(&name.as_str()) || PRIMITIVES.contains(&name.as_str()) {
        name.push('_');
    } else if KEYWORDS.contains(&name.as_str()) {
        name.insert_str(0, "r#");
    }
    name
}

/// Keywords that are none behind `r#` either, and what the printed text itself means something by.
const NEVER_RAW: &[&str] = &["self", "Self", "super", "crate", "core", "Option"];

/// Types that every Rust module knows.
const PRIMITIVES: &[&str] = &[
    "bool", "char", "str", "f32", "f64", "i8", "i16", "i32", "i64", "i128", "isize", "u8", "u16",
    "u32", "u64", "u128", "usize",
];

/// Words that need `r#` before them, in the editions up to 2024.
const KEYWORDS: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "do", "dyn",
    "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let",
    "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return",
    "static", "struct", "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use",
    "virtual", "where", "while", "yield",
];

#[cfg(test)]
mod tests {
    use super::identifier;

    #[test]
    fn names_are_identifiers() {
        assert_eq!(identifier("type"), "r#type");
        assert_eq!(identifier("self"), "self_");
        assert_eq!(identifier("u32"), "u32_");
        assert_eq!(identifier("_"), "__");
        assert_eq!(
            identifier("core::option::Option<u8>"),
            "core__option__Option_u8_"
        );
    }
}
