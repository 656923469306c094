//! Where the members of a struct are, and where there is nothing.

use super::shape::place;
use crate::btf::{Btf, Composite, Type, TypeId};
use crate::diagnosis::Result;
use crate::order;

/// The inside of a struct or union, members and holes in the order in which they stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Bytes.
    pub size: u32,
    /// Members and holes.
    pub places: Vec<Place>,
}

/// A stretch of bits in a struct.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The member's name, empty if it has none; `None` for a hole.
    pub name: Option<String>,
    /// The member's type; void for a hole.
    pub target: TypeId,
    /// Where it starts, bits from the start of the whole.
    pub offset_bits: u64,
    /// How long it is, bits.
    pub size_bits: u64,
    /// Whether it is a bit field.
    pub is_bitfield: bool,
}

/// The layout of a struct or union, or of what a typedef of one stands for; `None` for other types.
///
/// # Errors
///
/// Code O013 if there is no such type, or a typedef of itself.
pub fn layout(btf: &Btf, id: TypeId) -> Result<Option<Layout>> {
    let (_, found) = btf.resolve(id)?;
    Ok(match found {
        Type::Struct(whole) => Some(with_holes(members(btf, whole), whole.size)),
        Type::Union(whole) => Some(Layout {
            size: whole.size,
            places: members(btf, whole),
        }),
        _ => None,
    })
}

fn members(btf: &Btf, whole: &Composite) -> Vec<Place> {
    let members = whole.members.iter().map(|member| {
        let (offset_bits, bitfield) = place(btf, member);
        // A member without a size (void, a declaration) takes no place.
        let size_bits = match bitfield {
            Some(width) => u64::from(width.0),
            None => btf
                .size_of(member.target)
                .unwrap_or_default()
                .saturating_mul(8),
        };
        Place {
            name: Some(btf.text(member.name).to_owned()),
            target: member.target,
            offset_bits,
            size_bits,
            is_bitfield: bitfield.is_some(),
        }
    });
    members.collect()
}

/// The members with a place between them wherever nothing is, and at the end.
fn with_holes(mut members: Vec<Place>, size: u32) -> Layout {
    order::sort_by_key(&mut members, |member| member.offset_bits);
    let mut places = Vec::new();
    let mut at = 0;
    let close = |at: u64, end: u64, places: &mut Vec<Place>| {
        if at < end {
            places.push(Place {
                name: None,
                target: TypeId::VOID,
                offset_bits: at,
                size_bits: end - at,
                is_bitfield: false,
            });
        }
    };
    for member in members {
        close(at, member.offset_bits, &mut places);
        at = at.max(member.offset_bits.saturating_add(member.size_bits));
        places.push(member);
    }
    close(at, u64::from(size) * 8, &mut places);
    Layout { size, places }
}
