//! Global variables: each section of data becomes a map, each symbol in it a variable.
//!
//! | section | map | programs may write it | starts with |
//! |---|---|---|---|
//! | `.data`, `.data.x` | array with one entry | yes | the section's bytes |
//! | `.bss`, `.bss.x` | array with one entry | yes | zeros |
//! | `.rodata`, `.rodata.x` | array with one entry, frozen | no | the section's bytes |
//!
//! | `.addr_space.1` | the object's arena | yes | the section's bytes, on the arena's first pages |
//!
//! The map is called like its section, but for the arena, which the object defines. What programs may write can be mapped into processes (`BPF_F_MMAPABLE`): only so a
//! variable can be written without undoing what programs do to its neighbours. Constants can be mapped where they
//! can with libbpf: if BTF is there and another file could name one of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::abi::{MapFlags, MapKind};
use crate::btf::{Btf, DataSection, SpecialField, Type};
use crate::diagnosis::{Code, Diagnosis, Error, Result};
use crate::elf::{Binding, Elf, Section, SectionIndex, SectionKind, Symbol, SymbolKind};
use crate::order::{self, Ordered as _};
use crate::spec::{InnerMap, MapIndex, MapOrigin, MapSpec, Variable};

use super::extents;
use super::maps::Maps;
use super::role::Role;

/// Adds a map for every section of data behind the maps there are, and finds the variables.
///
/// # Errors
///
/// If a section is too large for a map, or a variable lies outside its section.
pub(super) fn read(
    elf: &Elf<'_>,
    maps: &mut Maps,
    warnings: &mut Vec<String>,
) -> Result<Vec<Variable>> {
    let mut variables = Vec::new();
    let mut pointing = sections_with_pointers(elf);
    for section in &elf.sections {
        let role = Role::of(section);
        if !matches!(role, Role::Data | Role::Arena) || section.size == 0 {
            continue;
        }
        let symbols = symbols(elf, section.index);
        let index = if role == Role::Arena {
            fill_arena(section, maps)?
        } else {
            maps.add_data(section.index, spec(elf, section, &symbols)?)
        };
        variables.extend(variables_of(section, &symbols, index)?);
        if pointing.remove(&section.index) {
            warnings.push(format!(
                "section `{}` holds addresses, which nothing fills in: programs read zeros or offsets there",
                section.name
            ));
        }
    }
    Ok(variables)
}

/// Gives the object's arena its variables, on its first pages.
///
/// KERNEL: 6.18 lets no instruction name an offset of 512 MiB or more, so the last pages of a large arena would be out of reach.
fn fill_arena(section: &Section<'_>, maps: &mut Maps) -> Result<MapIndex> {
    let is_arena = |spec: &MapSpec| spec.kind == MapKind::Arena;
    let Some(position) = maps.specs.iter().position(is_arena) else {
        let message = "these are variables of an arena, and the object defines none";
        return Err(malformed(section, 0, message.to_owned()));
    };
    let size = usize::try_from(section.size)
        .ok()
        .filter(|size| *size <= MOST_ARENA_BYTES);
    let Some(size) = size else {
        let message = format!(
            "{} bytes of variables do not fit into an arena",
            section.size
        );
        return Err(malformed(section, 0, message));
    };
    let mut bytes = section.data.to_vec();
    bytes.resize(size, 0);
    maps.specs[position].initial = Some(Arc::from(bytes));
    Ok(maps.hold_data(section.index, MapIndex(position)))
}

/// Far more than an object file can say; a section without bytes of its own may claim any size.
const MOST_ARENA_BYTES: usize = 1 << 30;

fn spec(elf: &Elf<'_>, section: &Section<'_>, symbols: &[&Symbol<'_>]) -> Result<MapSpec> {
    let size = u32::try_from(section.size).map_err(|_| {
        let message = format!("{} bytes of data do not fit into a map", section.size);
        malformed(section, 0, message)
    })?;
    let mut map = MapSpec::new(section.name, MapKind::Array, 4, size, 1);
    map.origin = MapOrigin::Data;
    if section.kind == SectionKind::Content {
        map.initial = Some(Arc::from(section.data));
    }
    map.is_frozen = is_constant(section.name);
    if map.is_frozen {
        map.flags.0 |= MapFlags::RDONLY_PROG.0;
    }
    let is_visible = symbols.iter().any(|each| each.binding != Binding::Local);
    if !map.is_frozen || (is_visible && elf.section_named(".BTF").is_some()) {
        map.flags.0 |= MapFlags::MMAPABLE.0;
    }
    Ok(map)
}

/// Says of the maps of globals which sections of the object's types they are, and of all maps which fields are the engine's.
pub(super) fn name_types(btf: &Btf, maps: &mut [MapSpec], variables: &[Variable]) {
    name_sections(btf, maps);
    for (index, map) in maps.iter_mut().enumerate() {
        map.special = match btf.get(map.types.value) {
            Some(Type::DataSection(section)) => {
                let own = variables.iter().filter(|each| each.map.0 == index);
                let places = own.map(|each| (each.name.as_str(), each.offset)).in_map();
                special_variables(btf, section, &places)
            }
            _ => btf.special_fields(map.types.value),
        };
        if let Some(InnerMap::Spec(inner)) = &mut map.inner {
            inner.special = btf.special_fields(inner.types.value);
        }
    }
}

/// The engine's fields in the variables of a section, whose symbols say where they are.
fn special_variables(
    btf: &Btf,
    section: &DataSection,
    places: &BTreeMap<&str, u32>,
) -> Vec<SpecialField> {
    let mut found = Vec::new();
    for part in &section.variables {
        let place = places.get(btf.name_of(part.variable)).copied();
        let start = place.unwrap_or(part.offset);
        let fields = btf.special_fields(part.variable).into_iter();
        found.extend(fields.filter_map(|field| {
            let offset = field.offset.checked_add(start)?;
            Some(SpecialField { offset, ..field })
        }));
    }
    order::sort_by_key(&mut found, |field| field.offset);
    found
}

fn name_sections(btf: &Btf, maps: &mut [MapSpec]) {
    let mut data: Vec<&mut MapSpec> = maps
        .iter_mut()
        .filter(|map| map.origin == MapOrigin::Data)
        .collect();
    if data.is_empty() {
        return;
    }
    for (id, found) in btf.iter() {
        let Type::DataSection(section) = found else {
            continue;
        };
        let name = btf.text(section.name);
        for map in data.iter_mut().filter(|map| map.name == name) {
            map.types.value = id;
        }
    }
}

fn is_constant(name: &str) -> bool {
    name.strip_prefix(".rodata")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The named symbols of a section by offset, without the compiler's own labels.
fn symbols<'elf, 'data>(elf: &'elf Elf<'data>, section: SectionIndex) -> Vec<&'elf Symbol<'data>> {
    let mut symbols: Vec<&Symbol<'data>> = elf
        .symbols_in(section)
        .filter(|symbol| {
            matches!(symbol.kind, SymbolKind::Untyped | SymbolKind::Variable)
                && !symbol.name.is_empty()
                && !symbol.name.starts_with(".L")
        })
        .collect();
    order::sort_by_key(&mut symbols, |symbol| symbol.value);
    symbols
}

fn variables_of(
    section: &Section<'_>,
    symbols: &[&Symbol<'_>],
    map: MapIndex,
) -> Result<Vec<Variable>> {
    let mut variables = Vec::with_capacity(symbols.len());
    for (position, symbol) in symbols.iter().enumerate() {
        let size = extents::size_of(section, symbols, position).map_err(|size| {
            let message = format!(
                "variable `{}` of {size} bytes does not fit the section of {} bytes",
                symbol.name, section.size
            );
            malformed(section, symbol.value, message)
        })?;
        let too_large = |_| malformed(section, symbol.value, "a variable too large".to_owned());
        variables.push(Variable {
            name: symbol.name.to_owned(),
            map,
            offset: u32::try_from(symbol.value).map_err(too_large)?,
            size: u32::try_from(size).map_err(too_large)?,
            is_static: symbol.binding == Binding::Local,
        });
    }
    Ok(variables)
}

/// Sections whose bytes the linker was asked to complete with addresses.
fn sections_with_pointers(elf: &Elf<'_>) -> BTreeSet<SectionIndex> {
    elf.sections
        .iter()
        .filter_map(|table| match table.kind {
            SectionKind::Relocations { of, .. } if !table.data.is_empty() => Some(of),
            _ => None,
        })
        .in_set()
}

fn malformed(section: &Section<'_>, offset: u64, message: String) -> Error {
    Diagnosis::new(Code::DATA_MALFORMED, message)
        .at(section.name, offset)
        .into()
}
