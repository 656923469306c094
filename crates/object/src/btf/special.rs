//! Fields of a map's value that belong to the engine: locks, timers, heads of lists and trees, pointers to objects.
//!
//! The engine knows them by the names of their types, and pointers by their tags. Programs reach them through functions only, and callers,
//! who read and write values as bytes, are shown zeros there.

use super::Btf;
use super::types::{Array, Composite, Tag, Type, TypeId};
use crate::order;

/// A field that belongs to the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpecialField {
    /// What it is.
    pub kind: SpecialKind,
    /// Where it starts, bytes from the start of the value.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
}

/// What a field of the engine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SpecialKind {
    /// `bpf_spin_lock`, `bpf_res_spin_lock`.
    Lock,
    /// `bpf_timer`, `bpf_wq`.
    Timer,
    /// `bpf_list_head`, `bpf_rb_root`.
    Head,
    /// `bpf_list_node`, `bpf_rb_node`, `bpf_refcount`: in objects that programs allocate.
    Node,
    /// A pointer to an object (`__kptr`, `__percpu_kptr`, `__kptr_untrusted`, `__uptr`).
    Object,
}

/// Structs of the engine.
const STRUCTS: &[(&str, SpecialKind)] = &[
    ("bpf_spin_lock", SpecialKind::Lock),
    ("bpf_res_spin_lock", SpecialKind::Lock),
    ("bpf_timer", SpecialKind::Timer),
    ("bpf_wq", SpecialKind::Timer),
    ("bpf_list_head", SpecialKind::Head),
    ("bpf_rb_root", SpecialKind::Head),
    ("bpf_list_node", SpecialKind::Node),
    ("bpf_rb_node", SpecialKind::Node),
    ("bpf_refcount", SpecialKind::Node),
];

/// Tags of pointers that the engine keeps.
const TAGS: &[&str] = &["kptr", "kptr_untrusted", "percpu_kptr", "uptr"];

/// Most types that are looked at for one value: a malformed BTF can nest structs in ever so many ways.
const MOST_STEPS: usize = 100_000;
/// Most structs inside each other.
const MOST_DEPTH: usize = 32;

impl Btf {
    /// The fields of the engine in a value of this type, ascending; none of a type that is not there. A value that holds more than some
    /// thousand parts is looked at in part.
    pub fn special_fields(&self, id: TypeId) -> Vec<SpecialField> {
        let mut search = Search {
            btf: self,
            found: Vec::new(),
            steps: 0,
        };
        search.visit(id, 0, 0);
        order::sort_by_key(&mut search.found, |field| field.offset);
        search.found
    }
}

struct Search<'a> {
    btf: &'a Btf,
    found: Vec<SpecialField>,
    steps: usize,
}

impl Search<'_> {
    /// Whether anything was found is the answer: elements of an array are looked at one by one only then.
    fn visit(&mut self, id: TypeId, offset: u64, depth: usize) -> bool {
        self.steps += 1;
        if self.steps > MOST_STEPS || depth > MOST_DEPTH {
            return false;
        }
        let Ok((id, found)) = self.btf.resolve(id) else {
            return false;
        };
        match found {
            Type::Pointer(target) if self.has_tag(*target) => {
                self.add(SpecialKind::Object, offset, id)
            }
            Type::Struct(composite) => {
                let name = self.btf.text(composite.name);
                match STRUCTS.iter().find(|(known, _)| *known == name) {
                    Some((_, kind)) => self.add(*kind, offset, id),
                    None => self.visit_members(composite, offset, depth),
                }
            }
            Type::Union(composite) => self.visit_members(composite, offset, depth),
            Type::Array(array) => self.visit_elements(array, offset, depth),
            Type::Variable(variable) => self.visit(variable.target, offset, depth + 1),
            Type::DataSection(section) => {
                let mut any = false;
                for part in &section.variables {
                    any |= self.visit(part.variable, u64::from(part.offset), depth + 1);
                }
                any
            }
            _ => false,
        }
    }

    fn visit_members(&mut self, composite: &Composite, offset: u64, depth: usize) -> bool {
        let mut any = false;
        for member in &composite.members {
            let at = offset + u64::from(member.offset_bits / 8);
            any |= self.visit(member.target, at, depth + 1);
        }
        any
    }

    fn visit_elements(&mut self, array: &Array, offset: u64, depth: usize) -> bool {
        let Ok(size) = self.btf.size_of(array.element) else {
            return false;
        };
        let mut any = false;
        for index in 0..u64::from(array.length) {
            let at = index
                .checked_mul(size)
                .and_then(|at| at.checked_add(offset));
            let is_found = at.is_some_and(|at| self.visit(array.element, at, depth + 1));
            if !is_found {
                break;
            }
            any = true;
        }
        any
    }

    fn add(&mut self, kind: SpecialKind, offset: u64, id: TypeId) -> bool {
        let size = self.btf.size_of(id).ok();
        let size = size.and_then(|size| u32::try_from(size).ok());
        match (u32::try_from(offset), size) {
            (Ok(offset), Some(size)) => {
                self.found.push(SpecialField { kind, offset, size });
                true
            }
            _ => false,
        }
    }

    /// Whether a pointer to this is one that the engine keeps.
    fn has_tag(&self, target: TypeId) -> bool {
        let mut at = target;
        for _ in 0..MOST_DEPTH {
            match self.btf.get(at) {
                Some(Type::TypeTag(Tag { text, target, .. })) => {
                    if TAGS.contains(&self.btf.text(*text)) {
                        return true;
                    }
                    at = *target;
                }
                Some(Type::Const(target) | Type::Volatile(target)) => at = *target,
                _ => return false,
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BtfBuilder, Member, Name};
    use super::*;
    use crate::bytes::ByteOrder;

    fn member(target: TypeId, offset_bits: u32) -> Member {
        Member {
            name: Name::default(),
            target,
            offset_bits,
            bitfield: None,
        }
    }

    fn composite(builder: &mut BtfBuilder, name: &str, size: u32, members: Vec<Member>) -> TypeId {
        let name = builder.name(name);
        builder.add(Type::Struct(Composite {
            name,
            size,
            members,
            has_bitfields: false,
        }))
    }

    #[test]
    fn fields_of_the_engine_are_found_in_structs_and_arrays_and_behind_tags() {
        let mut builder = BtfBuilder::new();
        let number = builder.add_integer("int", 4);
        let lock = composite(&mut builder, "bpf_spin_lock", 4, vec![member(number, 0)]);
        let head = composite(&mut builder, "bpf_list_head", 16, Vec::new());
        let heads = builder.add(Type::Array(Array {
            element: head,
            index: number,
            length: 2,
        }));
        let text = builder.name("kptr");
        let tag = builder.add(Type::TypeTag(Tag {
            text,
            target: number,
            is_attribute: false,
        }));
        let pointer = builder.add(Type::Pointer(tag));
        let plain = builder.add(Type::Pointer(number));
        let members = vec![
            member(number, 0),
            member(lock, 32),
            member(heads, 64),
            member(pointer, 320),
            member(plain, 384),
        ];
        let value = composite(&mut builder, "value", 56, members);
        let bytes = builder.encode(ByteOrder::HOST).unwrap();
        let btf = Btf::parse(&bytes, ByteOrder::HOST).unwrap();
        let found: Vec<_> = btf
            .special_fields(value)
            .iter()
            .map(|field| (field.kind, field.offset, field.size))
            .collect();
        let expected = [
            (SpecialKind::Lock, 4, 4),
            (SpecialKind::Head, 8, 16),
            (SpecialKind::Head, 24, 16),
            (SpecialKind::Object, 40, 8),
        ];
        assert_eq!(found, expected);
        assert_eq!(btf.special_fields(number), []);
    }
}
