//! What maps of maps and prog arrays hold from the start.
//!
//! The definition is a struct whose last member is an array of pointers; the compiler writes zeros there and a relocation for
//! each pointer that is not null:
//!
//! ```text
//! struct { ... int (*values[])(void *); } jumps SEC(".maps") = { .values = { [3] = &leaf } };
//!
//! .maps:   | ... | slot 0 | slot 1 | slot 2 | slot 3 |       8 bytes each
//!                                             ^ relocation: symbol `leaf`
//! ```
//!
//! iproute2 knows two older forms: a legacy map that another one names as its inner map says in which slot it goes, and a program
//! in a section called `7/2` goes into slot 2 of the map with identifier 7.

use crate::abi::MapKind;
use crate::bytes::slice_at;
use crate::diagnosis::{Code as ErrorCode, Diagnosis, Error, Result};
use crate::elf::{self, Elf, Relocation, Section, SectionKind, SymbolPlace};
use crate::order::{self, Ordered as _};
use crate::spec::{ByteOrder, DeclaredValue, InnerMap, MapIndex, MapOrigin, MapSpec, SlotContent};

use super::code::Code;
use super::maps::Maps;
use super::role::Role;

/// Bytes of a pointer in a definition.
const SLOT_BYTES: u64 = 8;

/// Gives every map what it declares to hold, by slot.
///
/// # Errors
///
/// Code O016 if a relocation changes something else than a slot, or points to something else than a map or function.
pub(super) fn resolve(elf: &Elf<'_>, maps: &mut Maps, code: &Code) -> Result<()> {
    for table in &elf.sections {
        let SectionKind::Relocations { of, .. } = table.kind else {
            continue;
        };
        let section = elf.section(of);
        let Some(section) = section.filter(|each| Role::of(each) == Role::BtfMaps) else {
            continue;
        };
        for relocation in elf::relocations(table, elf.byte_order)? {
            let place = Place {
                elf,
                section,
                relocation,
            };
            let (map, slot) = place.slot(maps)?;
            let holds = place.content(maps, code)?;
            maps.specs[map.0].values.push(DeclaredValue { slot, holds });
        }
    }
    inner_maps_with_slots(&mut maps.specs);
    programs_with_slots(&mut maps.specs, code);
    for map in &mut maps.specs {
        order::sort_by_key(&mut map.values, |value| value.slot);
    }
    Ok(())
}

/// One relocation of a section of maps.
struct Place<'a, 'data> {
    elf: &'a Elf<'data>,
    section: &'a Section<'data>,
    relocation: Relocation,
}

impl Place<'_, '_> {
    fn slot(&self, maps: &Maps) -> Result<(MapIndex, u32)> {
        let offset = self.relocation.offset;
        let found = maps.declaring(self.section.index, offset);
        let slot = found.and_then(|(map, start)| {
            let distance = offset - start;
            let is_whole = distance.is_multiple_of(SLOT_BYTES) && offset < self.section.size;
            let slot = u32::try_from(distance / SLOT_BYTES)
                .ok()
                .filter(|_| is_whole)?;
            Some((map, slot))
        });
        slot.ok_or_else(|| self.error("a relocation changes a place where no map declares a value"))
    }

    fn content(&self, maps: &Maps, code: &Code) -> Result<SlotContent> {
        let Some(symbol) = self.elf.symbols.get(self.relocation.symbol) else {
            return Err(self.error("a relocation names a symbol that is not there"));
        };
        let index = match symbol.place {
            // Whoever loads the object says that there is no such program.
            SymbolPlace::Undefined if !symbol.name.is_empty() => {
                return Ok(SlotContent::Program(symbol.name.to_owned()));
            }
            SymbolPlace::Section(index) => index,
            _ => return Err(self.error("a relocation names a symbol that is in no section")),
        };
        let addend = self
            .relocation
            .addend
            .unwrap_or_else(|| self.implicit_addend());
        let offset = symbol.value.checked_add_signed(addend);
        let offset = offset.ok_or_else(|| self.error("a relocation points before its section"))?;
        if let Some(map) = maps.starting_at(index, offset) {
            return Ok(SlotContent::Map(map));
        }
        let function = code.starting_at(index, offset);
        let function = function.and_then(|function| code.functions.get(function.0));
        match function {
            Some(function) => Ok(SlotContent::Program(function.name.clone())),
            None => Err(self.error("a slot points to neither a map nor a function")),
        }
    }

    fn implicit_addend(&self) -> i64 {
        let bytes = slice_at(self.section.data, self.relocation.offset, SLOT_BYTES);
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        match self.elf.byte_order {
            ByteOrder::Little => i64::from_le_bytes(bytes.unwrap_or_default()),
            ByteOrder::Big => i64::from_be_bytes(bytes.unwrap_or_default()),
        }
    }

    fn error(&self, message: &str) -> Error {
        Diagnosis::new(ErrorCode::RELOCATION_MALFORMED, message)
            .at(self.section.name, self.relocation.offset)
            .into()
    }
}

/// iproute2's inner maps go into the slot they name.
fn inner_maps_with_slots(specs: &mut [MapSpec]) {
    let slot_of = |map: &MapSpec| match map.origin {
        MapOrigin::Legacy { slot, .. } => slot,
        _ => None,
    };
    for outer in 0..specs.len() {
        let Some(InnerMap::Map(inner)) = specs[outer].inner else {
            continue;
        };
        if let Some(slot) = specs.get(inner.0).and_then(slot_of) {
            let holds = SlotContent::Map(inner);
            specs[outer].values.push(DeclaredValue { slot, holds });
        }
    }
}

/// Programs in sections called `identifier/slot` go there, if there is such a prog array.
fn programs_with_slots(specs: &mut [MapSpec], code: &Code) {
    let arrays = specs
        .iter()
        .enumerate()
        .filter(|(_, map)| map.kind == MapKind::ProgArray)
        .filter_map(|(index, map)| match map.origin {
            MapOrigin::Legacy { id, .. } => Some((id?, index)),
            _ => None,
        })
        .in_map();
    if arrays.is_empty() {
        return;
    }
    for function in &code.functions {
        let Some((identifier, slot)) = function.section.split_once('/') else {
            continue;
        };
        // iproute2 reads both as C does, so a hexadecimal number is one too.
        let (Some(identifier), Some(slot)) = (c_number(identifier), c_number(slot)) else {
            continue;
        };
        if let Some(array) = arrays.get(&identifier) {
            let holds = SlotContent::Program(function.name.clone());
            specs[*array].values.push(DeclaredValue { slot, holds });
        }
    }
}

fn c_number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}
