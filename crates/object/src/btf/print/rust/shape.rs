//! Where the fields of a Rust struct must stand so that it is laid out as the BTF says.
//!
//! Rust has no bit fields and no alignment of single fields. So neighbouring bit fields become an array of bytes, every gap
//! is a field of its own, and a struct whose members stand where `repr(C)` would not put them is packed. A struct without gaps of
//! the compiler's making is also what conversions to bytes ask for.
//!
//! ```text
//! offset in bits     0       8                32    35                64
//!                    | a     | (nothing)      | b:3 | (nothing)       |
//!                    a: u8,  padding: [u8; 3],  bits: [u8; 1], padding: [u8; 3]
//! ```

use std::collections::HashMap;

use crate::btf::print::shape::place;
use crate::btf::{Btf, Composite, Type, TypeId};

/// How the inside of a struct or union is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) fields: Vec<Field>,
    /// Whether the compiler must not align fields.
    pub(super) is_packed: bool,
    /// What it aligns the whole to, bytes.
    align: u64,
}

/// A field of the Rust type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Field {
    /// The member at this position.
    Member(usize),
    /// Bytes that hold bit fields.
    Bits(Bits),
    /// So many bytes that nobody uses.
    Padding(u64),
    /// So many bytes that are all there is to say.
    Opaque(u64),
}

/// Neighbouring bit fields, in the bytes that they touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bits {
    /// Where the bytes start, from the start of the whole.
    pub(super) at: u64,
    /// How many bytes there are.
    pub(super) bytes: u64,
    /// The positions of the members in them.
    pub(super) members: Vec<usize>,
}

/// The shapes found so far.
pub(super) struct Shapes<'btf> {
    btf: &'btf Btf,
    /// `None` while a shape is being found.
    known: HashMap<TypeId, Option<Shape>>,
    depth: u32,
}

impl<'btf> Shapes<'btf> {
    pub(super) fn new(btf: &'btf Btf) -> Self {
        Self {
            btf,
            known: HashMap::new(),
            depth: 0,
        }
    }

    /// The shape of this struct or union.
    pub(super) fn of(&mut self, id: TypeId, whole: &Composite) -> Shape {
        if let Some(Some(known)) = self.known.get(&id) {
            return known.clone();
        }
        let size = u64::from(whole.size);
        self.known.insert(id, None);
        self.depth += 1;
        let items = match self.depth <= MOST_DEPTH {
            true => self.items(whole, matches!(self.btf.get(id), Some(Type::Union(_)))),
            false => None,
        };
        self.depth -= 1;
        let planned = items.and_then(|(items, is_union)| {
            let plan = |is_packed| match is_union {
                true => union_shape(&items, size, is_packed),
                false => struct_shape(&items, size, is_packed),
            };
            plan(false).or_else(|| plan(true))
        });
        let shape = planned.unwrap_or_else(|| Shape {
            fields: vec![Field::Opaque(size)],
            is_packed: false,
            align: 1,
        });
        self.known.insert(id, Some(shape.clone()));
        shape
    }

    /// What has to be placed; nothing if a member has no place of its own, or is the whole again.
    fn items(&mut self, whole: &Composite, is_union: bool) -> Option<(Vec<Item>, bool)> {
        let mut items: Vec<Item> = Vec::new();
        for (position, member) in whole.members.iter().enumerate() {
            let (offset, bitfield) = place(self.btf, member);
            let Some(width) = bitfield else {
                let start = offset.is_multiple_of(8).then_some(offset / 8)?;
                items.push(Item {
                    start,
                    end: start.checked_add(self.btf.size_of(member.target).ok()?)?,
                    align: self.align_of(member.target)?,
                    field: Field::Member(position),
                });
                continue;
            };
            let end = (offset + u64::from(width.0)).div_ceil(8);
            if let Some(Item {
                end: last,
                field: Field::Bits(bits),
                ..
            }) = items.last_mut()
                && !is_union
            {
                // Those of a big-endian machine count from the other end of their unit.
                *last = end.max(*last);
                bits.bytes = last.checked_sub(bits.at)?;
                bits.members.push(position);
                (offset >= bits.at * 8).then_some(())?;
                continue;
            }
            let at = offset / 8;
            let bits = Bits {
                at,
                bytes: end - at,
                members: vec![position],
            };
            items.push(Item {
                start: at,
                end,
                align: 1,
                field: Field::Bits(bits),
            });
        }
        Some((items, is_union))
    }

    /// What Rust aligns the type to that is written for this one.
    fn align_of(&mut self, id: TypeId) -> Option<u64> {
        let mut at = id;
        for _ in 0..self.btf.len() {
            let (resolved, found) = self.btf.resolve(at).ok()?;
            return match found {
                Type::Array(array) => {
                    at = array.element;
                    continue;
                }
                Type::Pointer(_) => Some(8),
                Type::Struct(whole) | Type::Union(whole) => {
                    if matches!(self.known.get(&resolved), Some(None)) {
                        return None;
                    }
                    Some(self.of(resolved, whole).align)
                }
                Type::Integer(_) | Type::Enumeration(_) => {
                    let size = self.btf.size_of(resolved).ok()?;
                    Some(if is_word(size) { size } else { 1 })
                }
                Type::Float { size, .. } => Some(match size {
                    4 | 8 => u64::from(*size),
                    _ => 1,
                }),
                _ => None,
            };
        }
        None
    }
}

/// Whether Rust has an integer of so many bytes.
pub(super) fn is_word(bytes: u64) -> bool {
    matches!(bytes, 1 | 2 | 4 | 8 | 16)
}

/// A field with its place, in bytes.
struct Item {
    start: u64,
    end: u64,
    align: u64,
    field: Field,
}

fn struct_shape(items: &[Item], size: u64, is_packed: bool) -> Option<Shape> {
    let mut fields = Vec::new();
    let mut at: u64 = 0;
    let mut align = 1;
    for item in items {
        let wanted = if is_packed { 1 } else { item.align };
        // What the compiler would leave out by itself is a field too.
        match item.start.checked_sub(at)? {
            0 => {}
            gap => fields.push(Field::Padding(gap)),
        }
        item.start.is_multiple_of(wanted).then_some(())?;
        fields.push(item.field.clone());
        at = item.end;
        align = align.max(wanted);
    }
    let left = size.checked_sub(at)?;
    if left > 0 {
        fields.push(Field::Padding(left));
    }
    size.is_multiple_of(align).then_some(Shape {
        fields,
        is_packed,
        align,
    })
}

fn union_shape(items: &[Item], size: u64, is_packed: bool) -> Option<Shape> {
    let mut fields = Vec::new();
    let mut align = 1;
    let mut longest = 0;
    for item in items {
        (item.start == 0 || matches!(item.field, Field::Bits(_))).then_some(())?;
        (item.end <= size).then_some(())?;
        let mut field = item.field.clone();
        if let Field::Bits(bits) = &mut field {
            bits.bytes = item.end;
            bits.at = 0;
        }
        fields.push(field);
        longest = longest.max(item.end);
        align = align.max(if is_packed { 1 } else { item.align });
    }
    if longest.next_multiple_of(align) != size {
        fields.push(Field::Padding(size));
    }
    size.is_multiple_of(align).then_some(Shape {
        fields,
        is_packed,
        align,
    })
}

/// Structs within structs; compilers promise 63.
const MOST_DEPTH: u32 = 128;
