//! A type as one would declare something with it: for messages. Nothing has to compile, so names are as they stand, and nameless types are
//! left at their kind.

use super::super::types::Type;
use super::super::{Btf, TypeId};

/// Parts between a name and the type that it ends in; what has more contradicts itself.
const MOST_PARTS: usize = 32;

/// A declaration of `name`, which may be empty, with this type: `struct task_struct *find(int pid)`.
pub fn spelled(btf: &Btf, id: TypeId, name: &str) -> String {
    spelled_within(btf, id, name, 3)
}

fn spelled_within(btf: &Btf, id: TypeId, name: &str, depth: u32) -> String {
    let mut declarator = name.to_owned();
    let mut at = id;
    for _ in 0..MOST_PARTS {
        let bound = match declarator.starts_with('*') {
            true => format!("({declarator})"),
            false => declarator.clone(),
        };
        match btf.get(at) {
            Some(Type::Pointer(target)) => {
                declarator.insert(0, '*');
                at = *target;
            }
            Some(Type::Array(array)) => {
                declarator = format!("{bound}[{}]", array.length);
                at = array.element;
            }
            Some(Type::FunctionPrototype(prototype)) => {
                let parameters = prototype.parameters.iter().map(|parameter| match depth {
                    0 => "...".to_owned(),
                    _ => {
                        let name = btf.text(parameter.name);
                        spelled_within(btf, parameter.target, name, depth - 1)
                    }
                });
                let parameters: Vec<String> = parameters.collect();
                let list = match parameters.is_empty() {
                    true => "void".to_owned(),
                    false => parameters.join(", "),
                };
                declarator = format!("{bound}({list})");
                at = prototype.result;
            }
            // Where a pointer that cannot be changed ends is of no interest here.
            Some(Type::Const(target) | Type::Volatile(target) | Type::Restrict(target)) => {
                at = *target;
            }
            Some(Type::TypeTag(tag)) => at = tag.target,
            found => {
                let base = base(btf, at, found);
                return match declarator.as_str() {
                    "" => base,
                    declarator => format!("{base} {declarator}"),
                };
            }
        }
    }
    "a type that never ends".to_owned()
}

fn base(btf: &Btf, id: TypeId, found: Option<&Type>) -> String {
    if id == TypeId::VOID {
        return "void".to_owned();
    }
    let Some(found) = found else {
        return format!("type {}", id.0);
    };
    let name = found.name().map(|name| btf.text(name)).unwrap_or_default();
    let word = match found {
        Type::Struct(_) => "struct",
        Type::Union(_) => "union",
        Type::Enumeration(_) => "enum",
        Type::Forward { is_union, .. } => match is_union {
            true => "union",
            false => "struct",
        },
        _ => return name.to_owned(),
    };
    match name {
        "" => format!("{word} {{...}}"),
        name => format!("{word} {name}"),
    }
}
