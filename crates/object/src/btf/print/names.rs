//! Names that a C compiler accepts, and no two things that it would confuse have in common.
//!
//! BTF has types of one name and different content, where each was private to its file, and names that are none in C. The first
//! that comes keeps a name; others get a number behind three underscores, which CO-RE takes for a flavour of the same type.

use std::collections::{HashMap, HashSet};

use crate::btf::{Btf, Type, TypeId};

/// The names of everything in one BTF that is called by name.
pub(super) struct Names {
    /// What follows `struct`, `union` or `enum`; the whole name of a typedef.
    types: HashMap<TypeId, String>,
    /// Enumerators that cannot keep theirs: by type and position.
    enumerators: HashMap<(TypeId, usize), String>,
}

impl Names {
    pub(super) fn new(btf: &Btf) -> Self {
        let mut names = Self {
            types: HashMap::new(),
            enumerators: HashMap::new(),
        };
        let mut tags = Space::default();
        let mut ordinary = Space::default();
        let mut defined: HashMap<(&str, String), TypeId> = HashMap::new();
        for (id, found) in btf.iter_all() {
            let word = match found {
                Type::Struct(_) => "struct",
                Type::Union(_) => "union",
                Type::Enumeration(whole) => {
                    for (position, enumerator) in whole.enumerators.iter().enumerate() {
                        let own = btf.text(enumerator.name);
                        let unique = ordinary.take(identifier(own));
                        if unique != own {
                            names.enumerators.insert((id, position), unique);
                        }
                    }
                    "enum"
                }
                Type::Typedef { name, .. } => {
                    let unique = ordinary.take(identifier(btf.text(*name)));
                    names.types.insert(id, unique);
                    continue;
                }
                _ => continue,
            };
            let own = btf.name_of(id);
            if !own.is_empty() {
                let unique = tags.take(identifier(own));
                defined.entry((word, own.to_owned())).or_insert(id);
                names.types.insert(id, unique);
            }
        }
        names.name_declarations(btf, &mut tags, &defined);
        names
    }

    /// A declaration has the name of the first struct that it can mean, or one of its own.
    fn name_declarations(
        &mut self,
        btf: &Btf,
        tags: &mut Space,
        defined: &HashMap<(&str, String), TypeId>,
    ) {
        let mut own: HashMap<(&str, &str), String> = HashMap::new();
        for (id, found) in btf.iter_all() {
            let Type::Forward { name, is_union } = found else {
                continue;
            };
            let word = if *is_union { "union" } else { "struct" };
            let text = btf.text(*name);
            let meant = defined.get(&(word, text.to_owned()));
            let name = match meant.and_then(|id| self.types.get(id)) {
                Some(name) => name.clone(),
                None => own
                    .entry((word, text))
                    .or_insert_with(|| tags.take(identifier(text)))
                    .clone(),
            };
            self.types.insert(id, name);
        }
    }

    /// The name of a type; `None` if it has none.
    pub(super) fn of(&self, id: TypeId) -> Option<&str> {
        self.types.get(&id).map(String::as_str)
    }

    /// The name of an enumerator, given the text that it has in the BTF.
    pub(super) fn of_enumerator<'a>(
        &'a self,
        id: TypeId,
        position: usize,
        text: &'a str,
    ) -> &'a str {
        let changed = self.enumerators.get(&(id, position));
        changed.map_or(text, String::as_str)
    }
}

/// Names that must differ from each other.
#[derive(Default)]
pub(super) struct Space {
    taken: HashSet<String>,
    /// How often each name was asked for, so that the next number is found at once.
    asked: HashMap<String, u32>,
}

impl Space {
    /// This identifier if nothing has it yet, else one with a number.
    pub(super) fn take(&mut self, name: String) -> String {
        let asked = self.asked.entry(name.clone()).or_default();
        loop {
            *asked += 1;
            let unique = match *asked {
                1 => name.clone(),
                number => format!("{name}___{number}"),
            };
            if self.taken.insert(unique.clone()) {
                return unique;
            }
        }
    }
}

/// A text as an identifier of C: what cannot be in one becomes an underscore.
pub(super) fn identifier(text: &str) -> String {
    let mut name = word(text);
    if KEYWORDS.contains(&name.as_str()) {
        name.push('_');
    }
    name
}

/// A text as letters, digits and underscores, with no digit before the others.
pub(super) fn word(text: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut word: String = text
        .chars()
        .map(|c| if allowed(c) { c } else { '_' })
        .collect();
    if word.is_empty() || word.starts_with(|c: char| c.is_ascii_digit()) {
        word.insert(0, '_');
    }
    word
}

/// Words of C that can name nothing, and the name of a type that compilers have already, of another size on each machine.
const KEYWORDS: &[&str] = &[
    "asm",
    "auto",
    "break",
    "case",
    "char",
    "const",
    "continue",
    "default",
    "do",
    "double",
    "else",
    "enum",
    "extern",
    "float",
    "for",
    "goto",
    "if",
    "inline",
    "int",
    "long",
    "register",
    "restrict",
    "return",
    "short",
    "signed",
    "sizeof",
    "static",
    "struct",
    "switch",
    "typedef",
    "typeof",
    "union",
    "unsigned",
    "void",
    "volatile",
    "while",
    "_Alignas",
    "_Alignof",
    "_Atomic",
    "_Bool",
    "_Complex",
    "_Generic",
    "_Imaginary",
    "_Noreturn",
    "_Static_assert",
    "_Thread_local",
    "__builtin_va_list",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_identifiers_and_differ() {
        assert_eq!(identifier("Option<u32>"), "Option_u32_");
        assert_eq!(identifier("7up"), "_7up");
        assert_eq!(identifier("int"), "int_");
        let mut space = Space::default();
        assert_eq!(space.take("a".to_owned()), "a");
        assert_eq!(space.take("a___2".to_owned()), "a___2");
        assert_eq!(space.take("a".to_owned()), "a___3");
    }
}
