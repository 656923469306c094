//! Whether two objects mean the same type when they declare the same name.
//!
//! Names of typedefs, `const`, the sign of numbers and the like do not matter; sizes and places do. What a pointer leads to is compared by kind and
//! name only, because an object often knows of a struct no more than that it exists. An array may be declared without its
//! length. Maps are compared by what their definitions say.

use std::collections::BTreeSet;

use crate::btf::{Btf, Composite, Type, TypeId};

/// A type and the BTF that it is in.
type In<'a> = (&'a Btf, TypeId);

/// Compares the declarations of a name: functions or variables.
///
/// # Errors
///
/// What is different, in a few words.
pub(super) fn declarations(one: In<'_>, other: In<'_>) -> Result<(), String> {
    match (one.0.get(one.1), other.0.get(other.1)) {
        (Some(Type::Function(here)), Some(Type::Function(there))) => {
            Comparing::default().types((one.0, here.prototype), (other.0, there.prototype))
        }
        (Some(Type::Variable(here)), Some(Type::Variable(there))) => {
            let (one, other) = ((one.0, here.target), (other.0, there.target));
            match (map_definition(one), map_definition(other)) {
                (Some(here), Some(there)) => maps(one.0, here, other.0, there),
                _ => Comparing::default().types(one, other),
            }
        }
        _ => Err("a function and a variable".to_owned()),
    }
}

/// The struct of a map's definition: all its members are pointers, which no map but only its definition has.
fn map_definition(of: In<'_>) -> Option<&Composite> {
    let (_, Type::Struct(whole)) = of.0.resolve(of.1).ok()? else {
        return None;
    };
    let is_definition = |id| {
        let found = of.0.resolve(id).map(|(_, found)| found);
        matches!(found, Ok(Type::Pointer(_) | Type::Array(_)))
    };
    let has_type = |name| of.0.text(name) == "type";
    let members = &whole.members;
    (members.iter().any(|each| has_type(each.name))
        && members.iter().all(|each| is_definition(each.target)))
    .then_some(whole)
}

/// Compares what two definitions of a map say.
fn maps(here: &Btf, one: &Composite, there: &Btf, other: &Composite) -> Result<(), String> {
    if one.members.len() != other.members.len() {
        return Err("the definitions of the map say different things".to_owned());
    }
    for member in &one.members {
        let name = here.text(member.name);
        let twin = other
            .members
            .iter()
            .find(|twin| there.is_named(twin.name, name));
        let Some(twin) = twin else {
            return Err(format!("only one definition of the map has `{name}`"));
        };
        let (one, other) = ((here, member.target), (there, twin.target));
        let behind = |of: In<'_>| match of.0.resolve(of.1) {
            Ok((_, Type::Pointer(target))) => Some(*target),
            _ => None,
        };
        let compared = match (behind(one), behind(other)) {
            (Some(one), Some(other)) => Comparing::exact().types((here, one), (there, other)),
            _ => Comparing::default().types(one, other),
        };
        compared.map_err(|difference| format!("`{name}` of the map: {difference}"))?;
    }
    Ok(())
}

/// A comparison under way.
#[derive(Default)]
struct Comparing {
    /// Pairs that were compared, or are about to be.
    seen: BTreeSet<Pair>,
    open: Vec<Pair>,
    /// Whether an array without length is another than one with it.
    is_exact: bool,
}

/// Two types to be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Pair {
    one: TypeId,
    other: TypeId,
    /// Whether a pointer leads there.
    is_pointed_at: bool,
}

impl Comparing {
    fn exact() -> Self {
        Self {
            is_exact: true,
            ..Self::default()
        }
    }

    /// Compares two types with everything they are made of.
    fn types(mut self, one: In<'_>, other: In<'_>) -> Result<(), String> {
        let (here, there) = (one.0, other.0);
        self.add(one.1, other.1, false);
        while let Some(pair) = self.open.pop() {
            let resolve = |btf: &'_ Btf, id| {
                btf.resolve(id)
                    .map(|(id, _)| id)
                    .map_err(|error| error.to_string())
            };
            let (one, other) = (resolve(here, pair.one)?, resolve(there, pair.other)?);
            let (Some(found), Some(twin)) = (here.get(one), there.get(other)) else {
                continue;
            };
            let words = || format!("{} and {}", words(here, one), words(there, other));
            let names = (here.name_of(one), there.name_of(other));
            let is_same = match (found, twin) {
                (
                    Type::Struct(_) | Type::Forward { .. },
                    Type::Struct(_) | Type::Forward { .. },
                )
                | (Type::Union(_) | Type::Forward { .. }, Type::Union(_) | Type::Forward { .. })
                    if pair.is_pointed_at =>
                {
                    names.0 == names.1
                }
                (Type::Struct(one), Type::Struct(other))
                | (Type::Union(one), Type::Union(other)) => {
                    names.0 == names.1 && self.members((here, one), (there, other))
                }
                _ => self.others(found, twin, names, pair.is_pointed_at),
            };
            if !is_same {
                return Err(words());
            }
        }
        Ok(())
    }

    /// What are not structs and unions.
    fn others(
        &mut self,
        one: &Type,
        other: &Type,
        names: (&str, &str),
        is_pointed_at: bool,
    ) -> bool {
        match (one, other) {
            (Type::Void, Type::Void) => true,
            (Type::Integer(one), Type::Integer(other)) => {
                one.size == other.size && one.bits == other.bits
            }
            (Type::Float { size: one, .. }, Type::Float { size: other, .. }) => one == other,
            (Type::Enumeration(one), Type::Enumeration(other)) => {
                one.size == other.size && names.0 == names.1
            }
            (Type::Forward { .. }, Type::Forward { .. }) => names.0 == names.1,
            (Type::Pointer(one), Type::Pointer(other)) => {
                self.add(*one, *other, true);
                true
            }
            (Type::Array(one), Type::Array(other)) => {
                self.add(one.element, other.element, is_pointed_at);
                let is_open = one.length == 0 || other.length == 0;
                one.length == other.length || (is_open && !self.is_exact)
            }
            (Type::FunctionPrototype(one), Type::FunctionPrototype(other)) => {
                self.add(one.result, other.result, is_pointed_at);
                let pairs = one.parameters.iter().zip(&other.parameters);
                pairs.for_each(|(one, other)| self.add(one.target, other.target, is_pointed_at));
                one.parameters.len() == other.parameters.len()
            }
            _ => false,
        }
    }

    /// Members by name and place; their types are compared next.
    fn members(&mut self, one: (&Btf, &Composite), other: (&Btf, &Composite)) -> bool {
        let ((here, one), (there, other)) = (one, other);
        if one.size != other.size || one.members.len() != other.members.len() {
            return false;
        }
        one.members.iter().zip(&other.members).all(|(one, other)| {
            self.add(one.target, other.target, false);
            one.offset_bits == other.offset_bits
                && one.bitfield == other.bitfield
                && here.text(one.name) == there.text(other.name)
        })
    }

    fn add(&mut self, one: TypeId, other: TypeId, is_pointed_at: bool) {
        let pair = Pair {
            one,
            other,
            is_pointed_at,
        };
        if self.seen.insert(pair) {
            self.open.push(pair);
        }
    }
}

/// A type for messages.
fn words(btf: &Btf, id: TypeId) -> String {
    let found = btf.get(id).unwrap_or(&Type::Void);
    let size = btf.size_of(id).map(|size| format!(" of {size} bytes"));
    let size = size.unwrap_or_default();
    match (found, btf.name_of(id)) {
        (Type::Integer(_) | Type::Float { .. }, name) => format!("`{name}`{size}"),
        (_, "") => format!("{}{size}", found.kind_word()),
        (_, name) => format!("`{} {name}`{size}", found.kind_word()),
    }
}
