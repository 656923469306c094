//! What must stand between members so that a C compiler puts each where the BTF says.
//!
//! BTF says where members are, not how they got there: alignment attributes and packing are lost. So the compiler's rules are
//! followed member by member, and unnamed bit fields fill what would otherwise be too short; they align nothing. If the rules lead
//! beyond a member's place the whole is packed, and if that does not do either it is shown as bytes.
//!
//! ```text
//! offset in bits     0       8              32                64
//!                    | a     | char: 8, short: 16 | b         |     struct { char a; char: 8; short: 16; int b; } packed
//! ```

use std::collections::HashMap;

use crate::btf::{Bitfield, Btf, Composite, Member, Type, TypeId};

/// How the inside of a struct or union is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    /// What comes after what.
    pub(super) pieces: Vec<Piece>,
    /// Whether the compiler must not align members.
    pub(super) is_packed: bool,
    /// What the compiler will align the whole to, bytes.
    align: u64,
}

/// A part of a struct or union.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece {
    /// The member at this position, and its width if it is a bit field.
    Member(usize, Option<Bitfield>),
    /// An unnamed bit field of so many bits.
    Bits(u64),
    /// So many bytes.
    Bytes(u64),
    /// So many bytes that are all there is to say.
    Opaque(u64),
}

/// The shapes found so far.
pub(super) struct Shapes<'btf> {
    btf: &'btf Btf,
    known: HashMap<TypeId, Shape>,
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
        if let Some(known) = self.known.get(&id) {
            return known.clone();
        }
        let opaque = Shape {
            pieces: vec![Piece::Opaque(u64::from(whole.size))],
            is_packed: false,
            align: 1,
        };
        if self.depth == MOST_DEPTH {
            return opaque;
        }
        // A struct that contains itself finds this.
        self.known.insert(id, opaque.clone());
        self.depth += 1;
        let parts = self.parts(whole);
        self.depth -= 1;
        let is_union = matches!(self.btf.get(id), Some(Type::Union(_)));
        let planned = parts.and_then(|parts| {
            let plan = |is_packed| {
                let size = u64::from(whole.size) * 8;
                match is_union {
                    true => union_shape(&parts, size, is_packed),
                    false => struct_shape(&parts, size, is_packed),
                }
            };
            plan(false).or_else(|| plan(true))
        });
        let shape = planned.unwrap_or(opaque);
        self.known.insert(id, shape.clone());
        shape
    }

    /// What the compiler has to know of each member; `None` if it cannot be said in C.
    fn parts(&mut self, whole: &Composite) -> Option<Vec<Part>> {
        whole
            .members
            .iter()
            .map(|member| {
                let unit_bits = self.btf.size_of(member.target).ok()?.checked_mul(8)?;
                let align_bits = self.align_bits(member.target)?;
                let (offset, bitfield) = place(self.btf, member);
                if bitfield.is_some_and(|width| u64::from(width.0) > unit_bits) {
                    return None;
                }
                Some(Part {
                    offset,
                    bitfield,
                    unit_bits,
                    align_bits,
                })
            })
            .collect()
    }

    /// What the compiler aligns a type to.
    fn align_bits(&mut self, id: TypeId) -> Option<u64> {
        let mut at = id;
        for _ in 0..self.btf.len() {
            let (resolved, found) = self.btf.resolve(at).ok()?;
            return match found {
                Type::Array(array) => {
                    at = array.element;
                    continue;
                }
                Type::Pointer(_) => Some(64),
                Type::Struct(whole) | Type::Union(whole) => {
                    Some(self.of(resolved, whole).align * 8)
                }
                Type::Integer(_) | Type::Enumeration(_) | Type::Float { .. } => {
                    let size = self.btf.size_of(resolved).ok()?;
                    matches!(size, 1 | 2 | 4 | 8 | 16).then_some(size * 8)
                }
                _ => None,
            };
        }
        None
    }
}

/// Where a member starts and its width if it is a bit field; those of old compilers hide in the integer.
pub(super) fn place(btf: &Btf, member: &Member) -> (u64, Option<Bitfield>) {
    let offset = u64::from(member.offset_bits);
    match (member.bitfield, btf.resolve(member.target)) {
        (None, Ok((_, Type::Integer(integer))))
            if u64::from(integer.bits) != u64::from(integer.size) * 8 && integer.bits != 0 =>
        {
            let offset = offset + u64::from(integer.bit_offset);
            (offset, Some(Bitfield(integer.bits)))
        }
        (bitfield, _) => (offset, bitfield),
    }
}

/// A member as the compiler sees it, everything in bits.
struct Part {
    offset: u64,
    bitfield: Option<Bitfield>,
    unit_bits: u64,
    align_bits: u64,
}

impl Part {
    fn bits(&self) -> u64 {
        self.bitfield
            .map_or(self.unit_bits, |width| u64::from(width.0))
    }

    /// Where it goes if it comes after `at` bits.
    fn natural(&self, at: u64, is_packed: bool) -> u64 {
        match (self.bitfield, is_packed) {
            (Some(_), true) => at,
            // A bit field lies within one unit of its type.
            (Some(width), false) => {
                let last = at + u64::from(width.0) - 1;
                match at / self.unit_bits == last / self.unit_bits {
                    true => at,
                    false => at.next_multiple_of(self.unit_bits),
                }
            }
            (None, true) => at.next_multiple_of(8),
            (None, false) => at.next_multiple_of(self.align_bits),
        }
    }
}

fn struct_shape(parts: &[Part], size: u64, is_packed: bool) -> Option<Shape> {
    let mut pieces = Vec::new();
    let mut at = 0;
    let mut align = 8;
    for (position, part) in parts.iter().enumerate() {
        if part.natural(at, is_packed) != part.offset {
            fill(at, part.offset, &mut pieces)?;
            at = part.offset;
        }
        if part.natural(at, is_packed) != part.offset {
            return None;
        }
        pieces.push(Piece::Member(position, part.bitfield));
        at = part.offset.checked_add(part.bits())?;
        if !is_packed {
            align = align.max(part.align_bits);
        }
    }
    if !size.is_multiple_of(align) || at > size {
        return None;
    }
    if at.next_multiple_of(align) != size {
        fill(at, size, &mut pieces)?;
    }
    Some(Shape {
        pieces,
        is_packed,
        align: align / 8,
    })
}

fn union_shape(parts: &[Part], size: u64, is_packed: bool) -> Option<Shape> {
    let mut pieces = Vec::new();
    let mut longest = 0;
    let mut align = 8;
    for (position, part) in parts.iter().enumerate() {
        if part.offset != 0 {
            return None;
        }
        longest = longest.max(part.bits());
        if !is_packed {
            align = align.max(part.align_bits);
        }
        pieces.push(Piece::Member(position, part.bitfield));
    }
    if !size.is_multiple_of(align) || longest > size {
        return None;
    }
    if longest.next_multiple_of(align) != size {
        pieces.push(Piece::Bytes(size / 8));
    }
    Some(Shape {
        pieces,
        is_packed,
        align: align / 8,
    })
}

/// Fills the bits between two places; `None` if they are in the wrong order.
fn fill(mut at: u64, end: u64, pieces: &mut Vec<Piece>) -> Option<()> {
    if end < at {
        return None;
    }
    while at < end {
        let left = end - at;
        if at.is_multiple_of(8) && left >= MOST_FILLED_BITS {
            pieces.push(Piece::Bytes(left / 8));
            at += left / 8 * 8;
            continue;
        }
        // The longest that needs no more alignment than there is, or what is left of this byte.
        let bits = [64, 32, 16, 8]
            .into_iter()
            .find(|bits| at.is_multiple_of(*bits) && *bits <= left);
        let bits = bits.unwrap_or_else(|| left.min(8 - at % 8));
        pieces.push(Piece::Bits(bits));
        at += bits;
    }
    Some(())
}

/// Structs within structs; compilers promise 63.
const MOST_DEPTH: u32 = 128;
/// From here on an array is shorter than unnamed bit fields.
const MOST_FILLED_BITS: u64 = 1024;
