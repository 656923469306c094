//! All maps of a file, in its order: by section, then by offset.

use std::collections::BTreeMap;

use crate::abi::MapKind;
use crate::btf::Btf;
use crate::diagnosis::{Code, Diagnosis, Result};
use crate::elf::{Elf, Section, SectionIndex};
use crate::order::Ordered as _;
use crate::spec::{InnerMap, MapIndex, MapOrigin, MapSpec, MapTypes};

use super::legacy_maps::{self, InnerClaim};
use super::maps_section::{MapsSection, malformed};
use super::role::Role;

/// All maps and where their definitions stand.
#[derive(Debug, Default)]
pub(super) struct Maps {
    /// In the order of the file.
    pub(super) specs: Vec<MapSpec>,
    /// Maps by section and offset of their definition.
    places: BTreeMap<(SectionIndex, u64), MapIndex>,
    /// Maps that declare what they hold, by section and offset of the first slot.
    value_places: BTreeMap<(SectionIndex, u64), MapIndex>,
    /// Maps of global variables by section.
    data: BTreeMap<SectionIndex, MapIndex>,
}

/// A map without BTF, until its inner map is found.
struct LegacyMap<'data> {
    index: MapIndex,
    section: &'data str,
    inner: InnerClaim,
}

impl Maps {
    /// The map whose definition starts here.
    pub(super) fn starting_at(&self, section: SectionIndex, offset: u64) -> Option<MapIndex> {
        self.places.get(&(section, offset)).copied()
    }

    /// The map among whose declared values this place is, and where they start.
    pub(super) fn declaring(&self, section: SectionIndex, offset: u64) -> Option<(MapIndex, u64)> {
        let mut before = self.value_places.range((section, 0)..=(section, offset));
        let (&(_, start), &map) = before.next_back()?;
        let mut maps_between = self.places.range((section, start)..=(section, offset));
        maps_between.next().is_none().then_some((map, start))
    }

    /// The map that holds a section of global variables.
    pub(super) fn holding(&self, section: SectionIndex) -> Option<MapIndex> {
        self.data.get(&section).copied()
    }

    /// Adds the map that holds a section of global variables.
    pub(super) fn add_data(&mut self, section: SectionIndex, spec: MapSpec) -> MapIndex {
        let index = MapIndex(self.specs.len());
        self.specs.push(spec);
        self.hold_data(section, index)
    }

    /// Lets a map that is there already hold a section of global variables.
    pub(super) fn hold_data(&mut self, section: SectionIndex, map: MapIndex) -> MapIndex {
        self.data.insert(section, map);
        map
    }
}

/// Reads every section of maps.
///
/// # Errors
///
/// If a definition is malformed, or needs BTF that the object does not have.
pub(super) fn read(elf: &Elf<'_>, warnings: &mut Vec<String>) -> Result<Maps> {
    let mut maps = Maps::default();
    let mut legacy = Vec::new();
    for section in &elf.sections {
        let role = Role::of(section);
        if section.data.is_empty() {
            continue;
        }
        match role {
            Role::LegacyMaps => {
                let found =
                    legacy_maps::read(&MapsSection::read(elf, section)?, elf.byte_order, warnings)?;
                for (spec, inner) in found {
                    legacy.push(LegacyMap {
                        index: MapIndex(maps.specs.len()),
                        section: section.name,
                        inner,
                    });
                    maps.add(section, spec)?;
                }
            }
            Role::BtfMaps => {
                let btf = object_btf(elf, section)?;
                let definitions = MapsSection::read(elf, section)?;
                for (spec, values_at) in super::btf_maps::parse(&definitions, &btf)? {
                    let index = maps.add(section, spec)?;
                    if let Some(offset) = values_at {
                        maps.value_places.insert((section.index, offset), index);
                    }
                }
            }
            _ => {}
        }
    }
    resolve_inner(&mut maps.specs, &legacy)?;
    for spec in &mut maps.specs {
        warnings.extend(forgive(spec));
    }
    Ok(maps)
}

/// Some declare of rings and perf event arrays what their records are. The kernel knows only bytes there and refuses sizes of
/// its own; the meaning is clear, so the sizes become what the kernel takes.
fn forgive(spec: &mut MapSpec) -> Option<String> {
    let size = match spec.kind {
        MapKind::RingBuf | MapKind::UserRingBuf => 0,
        MapKind::PerfEventArray => 4,
        _ => return None,
    };
    let declared = (spec.key_size, spec.value_size);
    if declared == (size, size) {
        return None;
    }
    (spec.key_size, spec.value_size) = (size, size);
    spec.types = MapTypes::default();
    Some(format!(
        "map `{}`: a `{}` map has keys and values of {size} bytes; the {} and {} bytes declared are ignored",
        spec.name, spec.kind, declared.0, declared.1
    ))
}

impl Maps {
    fn add(&mut self, section: &Section<'_>, spec: MapSpec) -> Result<MapIndex> {
        let offset = offset_of(&spec);
        let index = MapIndex(self.specs.len());
        if let Some(other) = self.places.insert((section.index, offset), index) {
            let message = format!(
                "maps `{}` and `{}` stand at the same place",
                self.specs[other.0].name, spec.name
            );
            return Err(malformed(section.name, offset, message));
        }
        self.specs.push(spec);
        Ok(index)
    }
}

fn object_btf(elf: &Elf<'_>, section: &Section<'_>) -> Result<Btf> {
    let Some(btf) = elf.section_named(".BTF") else {
        return Err(Diagnosis::new(
            Code::BTF_MISSING,
            "maps in this section are described by BTF and the object has none",
        )
        .at(section.name, 0)
        .help("compile with `-g`; `llvm-strip -g` keeps BTF, `llvm-strip` alone may not")
        .into());
    };
    Btf::parse(btf.data, elf.byte_order)
}

/// Turns what legacy definitions say about inner maps into positions.
fn resolve_inner(specs: &mut [MapSpec], legacy: &[LegacyMap<'_>]) -> Result<()> {
    let by_identifier = legacy
        .iter()
        .rev()
        .filter_map(|map| Some((identifier(&specs[map.index.0])?, map.index)))
        .in_map();
    for map in legacy {
        let inner = match map.inner {
            InnerClaim::None => continue,
            InnerClaim::Position(position) => usize::try_from(position)
                .ok()
                .and_then(|position| legacy.get(position))
                .map(|inner| inner.index),
            InnerClaim::Identifier(wanted) => by_identifier.get(&wanted).copied(),
        };
        let outer = &mut specs[map.index.0];
        match inner {
            Some(inner) if inner != map.index => outer.inner = Some(InnerMap::Map(inner)),
            _ => {
                let message = format!("{} is no other map of this object", map.inner);
                let error = malformed(map.section, offset_of(outer), message);
                return Err(error.map(|diagnosis| diagnosis.in_map(&outer.name)));
            }
        }
    }
    Ok(())
}

fn offset_of(spec: &MapSpec) -> u64 {
    match spec.origin {
        MapOrigin::Legacy { offset, .. } | MapOrigin::Btf { offset } => offset,
        MapOrigin::Data | MapOrigin::Config | MapOrigin::StructOps | MapOrigin::Caller => 0,
    }
}

fn identifier(spec: &MapSpec) -> Option<u32> {
    match spec.origin {
        MapOrigin::Legacy { id, .. } => id,
        _ => None,
    }
}
