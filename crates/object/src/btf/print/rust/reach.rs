//! What has to be written: everything that the wanted types consist of, and declarations of what they only point to.

use std::collections::{BTreeSet, HashSet};

use crate::btf::{Btf, Type, TypeId};

/// The types to write, by number.
#[derive(Default)]
pub(super) struct Reached {
    /// Types that are written whole.
    pub(super) whole: BTreeSet<TypeId>,
    /// Structs and unions that only need a name, unless they are also written whole.
    pub(super) named: BTreeSet<TypeId>,
}

impl Reached {
    /// Follows what these types lead to.
    pub(super) fn from(btf: &Btf, roots: impl Iterator<Item = TypeId>) -> Self {
        let mut reached = Self::default();
        let mut seen = HashSet::new();
        let mut open: Vec<(TypeId, bool)> = roots.map(|id| (id, true)).collect();
        while let Some((id, is_whole)) = open.pop() {
            if seen.insert((id, is_whole)) {
                reached.visit(btf, id, is_whole, &mut open);
            }
        }
        reached
    }

    fn visit(&mut self, btf: &Btf, id: TypeId, is_whole: bool, open: &mut Vec<(TypeId, bool)>) {
        match btf.get(id) {
            Some(Type::Pointer(target)) => open.push((*target, false)),
            Some(Type::Array(array)) => open.push((array.element, true)),
            Some(Type::Const(target) | Type::Volatile(target) | Type::Restrict(target)) => {
                open.push((*target, is_whole));
            }
            Some(Type::TypeTag(tag)) => open.push((tag.target, is_whole)),
            Some(Type::Variable(variable)) => open.push((variable.target, true)),
            Some(Type::DataSection(section)) => {
                open.extend(
                    section
                        .variables
                        .iter()
                        .map(|placed| (placed.variable, true)),
                );
            }
            Some(Type::Function(function)) => open.push((function.prototype, false)),
            Some(Type::FunctionPrototype(prototype)) => {
                open.push((prototype.result, false));
                let parameters = prototype.parameters.iter();
                open.extend(parameters.map(|parameter| (parameter.target, false)));
            }
            Some(Type::Struct(whole) | Type::Union(whole)) if is_whole => {
                self.whole.insert(id);
                open.extend(whole.members.iter().map(|member| (member.target, true)));
            }
            Some(Type::Struct(_) | Type::Union(_) | Type::Forward { .. }) => {
                self.named.insert(id);
            }
            Some(Type::Enumeration(_)) => {
                self.whole.insert(id);
            }
            Some(Type::Typedef { target, .. }) => {
                self.whole.insert(id);
                open.push((*target, is_whole));
            }
            _ => {}
        }
    }
}
