//! Structs as members and holes.

use serde::Serialize;
use twinbpf::btf::{Btf, Type, TypeId, print};

use super::called;
use crate::output::{Failure, Output};

#[derive(Debug, Serialize)]
struct LayoutDocument {
    structs: Vec<StructRow>,
}

#[derive(Debug, Serialize)]
struct StructRow {
    id: u32,
    name: String,
    size: u32,
    /// Bits in which nothing is.
    unused_bits: u64,
    places: Vec<PlaceRow>,
}

#[derive(Debug, Serialize)]
struct PlaceRow {
    /// `null` for a hole.
    name: Option<String>,
    type_id: Option<u32>,
    offset_bits: u64,
    size_bits: u64,
    is_bitfield: bool,
}

/// Prints the layouts of those types that have one.
pub(super) fn dump(btf: &Btf, ids: &[TypeId], output: &Output) -> Result<(), Failure> {
    let mut structs = Vec::new();
    for id in ids {
        let is_composite = matches!(btf.get(*id), Some(Type::Struct(_) | Type::Union(_)));
        let is_typedef = matches!(btf.get(*id), Some(Type::Typedef { .. })) && ids.len() == 1;
        if !is_composite && !is_typedef {
            continue;
        }
        if let Some(layout) = print::layout(btf, *id)? {
            structs.push(row(btf, *id, layout));
        }
    }
    if output.wants_json() {
        return output.document(&LayoutDocument { structs });
    }
    let texts: Vec<String> = structs.iter().map(text).collect();
    output.data(&texts.join("\n\n"))
}

fn row(btf: &Btf, id: TypeId, layout: print::Layout) -> StructRow {
    let holes = layout.places.iter().filter(|place| place.name.is_none());
    let unused_bits = holes.map(|place| place.size_bits).sum();
    let places = layout.places.into_iter().map(|place| PlaceRow {
        type_id: place.name.is_some().then_some(place.target.0),
        name: place.name,
        offset_bits: place.offset_bits,
        size_bits: place.size_bits,
        is_bitfield: place.is_bitfield,
    });
    StructRow {
        id: id.0,
        name: called(btf, id),
        size: layout.size,
        unused_bits,
        places: places.collect(),
    }
}

fn text(row: &StructRow) -> String {
    let mut lines = vec![format!(
        "{} [{}]: {} bytes, {} unused",
        row.name.trim_end(),
        row.id,
        row.size,
        bits(row.unused_bits)
    )];
    for place in &row.places {
        let name = match place.name.as_deref() {
            None => "(unused)",
            Some("") => "(nameless)",
            Some(name) => name,
        };
        let (offset, size) = (bits(place.offset_bits), bits(place.size_bits));
        lines.push(format!("  {offset:>8}  {size:>8}  {name}"));
    }
    lines.join("\n")
}

/// Bytes, and bits after a colon if there are any.
fn bits(bits: u64) -> String {
    match bits % 8 {
        0 => (bits / 8).to_string(),
        rest => format!("{}:{rest}", bits / 8),
    }
}
