//! Remarks on types and declarations, as the attributes that a compiler turns into such remarks again.

use std::collections::HashMap;
use std::fmt::Write as _;

use crate::btf::{Btf, Tag, Type, TypeId};

/// The remarks on declarations, by what they are about.
pub(super) struct DeclarationTags {
    tags: HashMap<(TypeId, Option<u32>), Vec<Tag>>,
}

impl DeclarationTags {
    pub(super) fn new(btf: &Btf) -> Self {
        let mut tags: HashMap<(TypeId, Option<u32>), Vec<Tag>> = HashMap::new();
        for (_, found) in btf.iter_all() {
            if let Type::DeclTag { tag, component } = found {
                tags.entry((tag.target, *component)).or_default().push(*tag);
            }
        }
        Self { tags }
    }

    /// What stands behind a declaration, or one of its members: a blank and an attribute each.
    pub(super) fn attributes(&self, btf: &Btf, id: TypeId, member: Option<usize>) -> String {
        let member = member.and_then(|member| u32::try_from(member).ok());
        let mut text = String::new();
        for tag in self.tags.get(&(id, member)).into_iter().flatten() {
            let _ = write!(text, " {}", attribute(btf, *tag, "btf_decl_tag"));
        }
        text
    }

    /// The functions that have this remark, by number.
    pub(super) fn functions_with(&self, btf: &Btf, text: &str) -> Vec<TypeId> {
        let has_it = |tags: &[Tag]| tags.iter().any(|tag| btf.is_named(tag.text, text));
        let found = self.tags.iter().filter(|((id, member), tags)| {
            member.is_none() && has_it(tags) && matches!(btf.get(*id), Some(Type::Function(_)))
        });
        let mut found: Vec<TypeId> = found.map(|((id, _), _)| *id).collect();
        found.sort_unstable();
        found
    }
}

/// A remark as an attribute: an attribute of its own if it says so and can be one, else the text of one called `word`.
pub(super) fn attribute(btf: &Btf, tag: Tag, word: &str) -> String {
    let text = btf.text(tag.text);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_(), ".contains(c);
    if tag.is_attribute && !text.is_empty() && text.chars().all(is_plain) {
        return format!("__attribute__(({text}))");
    }
    let mut quoted = String::new();
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => {
                quoted.push('\\');
                quoted.push(char::from(byte));
            }
            b' '..=b'~' => quoted.push(char::from(byte)),
            _ => {
                let _ = write!(quoted, "\\{byte:03o}");
            }
        }
    }
    format!("__attribute__(({word}(\"{quoted}\")))")
}
