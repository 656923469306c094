//! Fields: a path walked in the object's types, and the same names found in the target's.
//!
//! What counts are names and elements. A member of an anonymous struct or union is found wherever it is nested, because its
//! users do not say where either.

use std::collections::BTreeSet;

use crate::btf::{Array, Bitfield, Btf, Composite, Member, Type, TypeId};

use super::compatible;

/// Something inside a type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    /// Where the path starts.
    pub(super) root: TypeId,
    /// What is looked for, step by step.
    steps: Vec<Step>,
    /// The members gone through, those without a name included.
    pub(super) places: Vec<Place>,
    /// Where it starts, bits from the root's start.
    pub(super) offset_bits: u64,
    /// Its type.
    pub(super) target: TypeId,
    /// Its width, if it is a bit field.
    pub(super) bitfield: Option<Bitfield>,
}

/// A member where it is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The struct or union.
    pub(super) whole: TypeId,
    /// Its position there.
    pub(super) position: usize,
    pub(super) member: Member,
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// An element: of the array that the root pointer points into, or of an array.
    Element(u32),
    /// A named member.
    Member(Member),
}

impl Field {
    fn at(root: TypeId) -> Self {
        Self {
            root,
            steps: Vec::new(),
            places: Vec::new(),
            offset_bits: 0,
            target: root,
            bitfield: None,
        }
    }

    /// `struct task_struct.se[2].load`
    pub(super) fn shown(&self, btf: &Btf) -> String {
        let mut text = btf.reference_text(self.root);
        for (position, step) in self.steps.iter().enumerate() {
            match step {
                Step::Element(0) if position == 0 => {}
                Step::Element(index) => text.push_str(&format!("[{index}]")),
                Step::Member(member) => {
                    text.push('.');
                    text.push_str(btf.text(member.name));
                }
            }
        }
        text
    }

    /// Goes on to an element; `element` is its type.
    fn enter_element(&mut self, btf: &Btf, element: TypeId, index: u32) -> Result<(), String> {
        // The size of element 0 does not matter, and may not be known.
        let size = match index {
            0 => 0,
            _ => btf.size_of(element).map_err(|error| error.to_string())?,
        };
        let moved = size
            .checked_mul(8)
            .and_then(|bits| bits.checked_mul(u64::from(index)));
        self.advance(moved)?;
        self.target = element;
        self.bitfield = None;
        self.steps.push(Step::Element(index));
        Ok(())
    }

    /// Goes on to a member, named or not.
    fn enter_member(&mut self, place: Place) -> Result<(), String> {
        let member = place.member;
        self.advance(Some(u64::from(member.offset_bits)))?;
        self.target = member.target;
        self.bitfield = member.bitfield;
        if !member.name.is_empty() {
            self.steps.push(Step::Member(member));
        }
        self.places.push(place);
        Ok(())
    }

    fn advance(&mut self, bits: Option<u64>) -> Result<(), String> {
        let sum = bits.and_then(|bits| self.offset_bits.checked_add(bits));
        self.offset_bits = sum.ok_or("an offset does not fit 64 bits")?;
        Ok(())
    }
}

/// Walks a path of positions from the root.
///
/// # Errors
///
/// If a step leads nowhere.
pub(super) fn walk(btf: &Btf, root: TypeId, path: &[u32]) -> Result<Field, String> {
    let mut field = Field::at(root);
    let Some((first, rest)) = path.split_first() else {
        return Err("the path is empty".to_owned());
    };
    field.enter_element(btf, root, *first)?;
    let mut is_last_member = false;
    for step in rest {
        let (id, found) = btf
            .resolve(field.target)
            .map_err(|error| error.to_string())?;
        match found {
            Type::Struct(whole) | Type::Union(whole) => {
                let position = usize::try_from(*step).unwrap_or(usize::MAX);
                let member = whole.members.get(position).ok_or_else(|| {
                    format!(
                        "step {step} of the path, but there are {} members",
                        whole.members.len()
                    )
                })?;
                field.enter_member(Place {
                    whole: id,
                    position,
                    member: *member,
                })?;
                is_last_member = position + 1 == whole.members.len();
            }
            Type::Array(array) => {
                if !has_element(array, *step, is_last_member) {
                    return Err(format!(
                        "element {step} of the path, but there are {}",
                        array.length
                    ));
                }
                field.enter_element(btf, array.element, *step)?;
                is_last_member = false;
            }
            other => {
                return Err(format!(
                    "step {step} of the path goes into a type of kind {}",
                    other.kind_word()
                ));
            }
        }
    }
    Ok(field)
}

/// A flexible array, the last member of its struct, has as many elements as its user believes.
fn has_element(array: &Array, index: u32, is_last_member: bool) -> bool {
    index < array.length || (array.length == 0 && is_last_member)
}

/// Finds the same names from a root of the target; nothing if one is not there, or is something else.
///
/// # Errors
///
/// If the target's types contradict themselves.
pub(super) fn find(
    local: &Btf,
    field: &Field,
    target: &Btf,
    root: TypeId,
) -> Result<Option<Field>, String> {
    let mut found = Field::at(root);
    let mut is_last_member = false;
    for (position, step) in field.steps.iter().enumerate() {
        match step {
            Step::Element(index) if position == 0 => found.enter_element(target, root, *index)?,
            Step::Element(index) => {
                let (_, whole) = target
                    .resolve(found.target)
                    .map_err(|error| error.to_string())?;
                let Type::Array(array) = whole else {
                    return Ok(None);
                };
                if !has_element(array, *index, is_last_member) {
                    return Ok(None);
                }
                found.enter_element(target, array.element, *index)?;
                is_last_member = false;
            }
            Step::Member(wanted) => {
                let mut search = Search {
                    target,
                    name: local.text(wanted.name),
                    seen: BTreeSet::new(),
                };
                let Some(way) = search.in_type(found.target)? else {
                    return Ok(None);
                };
                for place in way.places.into_iter().rev() {
                    found.enter_member(place)?;
                }
                is_last_member = way.is_last;
                if !compatible::fields(local, wanted.target, target, found.target)? {
                    return Ok(None);
                }
            }
        }
    }
    Ok(Some(found))
}

/// A search for one name in a struct or union and its anonymous parts.
struct Search<'a> {
    target: &'a Btf,
    name: &'a str,
    /// Types searched in vain: a malformed BTF may nest them in a circle.
    seen: BTreeSet<TypeId>,
}

/// The members to go through, innermost first.
struct Way {
    places: Vec<Place>,
    /// Whether the named one is the last of its struct.
    is_last: bool,
}

impl Search<'_> {
    fn in_type(&mut self, id: TypeId) -> Result<Option<Way>, String> {
        let (id, found) = self.target.resolve(id).map_err(|error| error.to_string())?;
        match found {
            Type::Struct(whole) | Type::Union(whole) if self.seen.insert(id) => {
                if self.seen.len() > MOST_NESTED {
                    return Err("anonymous structs are nested too deeply".to_owned());
                }
                self.in_whole(id, whole)
            }
            _ => Ok(None),
        }
    }

    fn in_whole(&mut self, id: TypeId, whole: &Composite) -> Result<Option<Way>, String> {
        for (position, member) in whole.members.iter().enumerate() {
            let place = Place {
                whole: id,
                position,
                member: *member,
            };
            if member.name.is_empty() {
                if let Some(mut way) = self.in_type(member.target)? {
                    way.places.push(place);
                    return Ok(Some(way));
                }
            } else if self.target.is_named(member.name, self.name) {
                return Ok(Some(Way {
                    places: vec![place],
                    is_last: position + 1 == whole.members.len(),
                }));
            }
        }
        Ok(None)
    }
}

/// Most anonymous structs and unions searched for one name; the recursion is never deeper than this.
const MOST_NESTED: usize = 512;
