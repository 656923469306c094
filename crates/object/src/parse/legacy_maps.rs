//! Map definitions of before BTF: a struct of 32-bit numbers in `SEC("maps")`.
//!
//! ```text
//! offset   0     4         8           12           16     20             24         28        32
//!         +-----+---------+-----------+------------+------+--------------+----------+---------+----------+
//!         |kind |key size |value size |max entries |flags |inner position|NUMA node |                        kernel samples
//!         |  "  |    "    |     "     |     "      |  "   |id            |pinning   |inner id |inner slot|   iproute2
//!         +-----+---------+-----------+------------+------+--------------+----------+---------+----------+
//! sizes seen                                       16     20             24         28        32         36
//! ```
//!
//! The first 20 bytes mean the same everywhere. Two families continue differently: the kernel's samples of 2017 (24 and 28
//! bytes) and iproute2 (28 bytes until 2017, then 36; `<iproute2/bpf_elf.h>`). **Both have a form of 28 bytes**, and real objects of
//! both are around: 28 bytes with pinning 2 in Cilium's, with an inner position in `test_map_in_map_kern.o`. They are
//! told apart by what the samples' fields need to mean anything: an inner position needs a map-in-map, a NUMA node needs the
//! flag `BPF_F_NUMA_NODE`, and iproute2's short form can describe neither. So a 28-byte definition that is a map-in-map or
//! has that flag is the samples' form, every other is iproute2's; where both fields are zero there is no difference.
//!
//! What no form explains must be zero, or the definition means something that we would silently drop.

use std::fmt;

use crate::abi::{MapFlags, MapKind};
use crate::bytes::{slice_at, u32_at};
use crate::diagnosis::{Code, Diagnosis, Error, Result};
use crate::spec::{ByteOrder, MapOrigin, MapSpec, Pinning};

use super::maps_section::{MapVariable, MapsSection};

const FEWEST_BYTES: u64 = 16;
const WORD_BYTES: usize = 4;

/// Numbers by their place in the struct.
const KIND: usize = 0;
const KEY_SIZE: usize = 1;
const VALUE_SIZE: usize = 2;
const MAX_ENTRIES: usize = 3;
const FLAGS: usize = 4;
const INNER_POSITION_OR_ID: usize = 5;
const NUMA_NODE_OR_PINNING: usize = 6;
const INNER_ID: usize = 7;
const INNER_SLOT: usize = 8;

/// iproute2's "no slot": the inner map is not put into the outer one.
const NO_SLOT: u32 = u32::MAX;

/// How a definition names its inner map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InnerClaim {
    /// Not at all.
    None,
    /// By position among the maps.
    Position(u32),
    /// By iproute2's identifier.
    Identifier(u32),
}

impl fmt::Display for InnerClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("no inner map"),
            Self::Position(position) => write!(f, "the inner map at position {position}"),
            Self::Identifier(id) => write!(f, "the inner map with id {id}"),
        }
    }
}

/// Which family a definition belongs to; decides what the numbers after the flags mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Nothing after the flags.
    Plain,
    /// `inner_map_idx`, `numa_node`.
    KernelSamples,
    /// `id`, `pinning`, `inner_id`, `inner_idx`.
    Iproute2,
}

/// One definition while it is read.
struct Definition<'data> {
    section: &'data str,
    variable: MapVariable<'data>,
    bytes: &'data [u8],
    order: ByteOrder,
}

/// Reads all definitions of one section, in order.
///
/// # Errors
///
/// If no symbol says where definitions are, one is shorter than 16 bytes, or has a tail that means nothing to us.
pub(super) fn read(
    section: &MapsSection<'_>,
    order: ByteOrder,
    warnings: &mut Vec<String>,
) -> Result<Vec<(MapSpec, InnerClaim)>> {
    let first = section.variables.first().map(|variable| variable.offset);
    if first.is_none() {
        let message = format!(
            "{} bytes of map definitions, but no symbol says where each starts",
            section.data.len()
        );
        return Err(Diagnosis::new(Code::MAP_DEFINITION, message)
            .at(section.name, 0)
            .into());
    }
    if let Some(gap) = first.filter(|offset| *offset > 0) {
        warnings.push(format!(
            "section `{}`: {gap} bytes before the first map have no name and are left out",
            section.name
        ));
    }
    section
        .variables
        .iter()
        .map(|variable| {
            let definition = Definition {
                section: section.name,
                variable: *variable,
                bytes: slice_at(section.data, variable.offset, variable.size).unwrap_or_default(),
                order,
            };
            definition.read()
        })
        .collect()
}

impl Definition<'_> {
    fn read(&self) -> Result<(MapSpec, InnerClaim)> {
        if self.variable.size < FEWEST_BYTES {
            let message = format!(
                "a map definition needs {FEWEST_BYTES} bytes but has {}",
                self.variable.size
            );
            return Err(self.error(Code::MAP_DEFINITION, 0, message));
        }
        let mut spec = MapSpec::new(
            self.variable.name,
            MapKind::from_number(self.word(KIND)),
            self.word(KEY_SIZE),
            self.word(VALUE_SIZE),
            self.word(MAX_ENTRIES),
        );
        spec.flags = MapFlags(self.word(FLAGS));
        let form = self.form(&spec);
        let mut id = None;
        let mut slot = None;
        let mut inner = InnerClaim::None;
        let understood = match form {
            Form::Plain => FLAGS + 1,
            Form::KernelSamples => {
                let has_node = spec.flags.contains(MapFlags::NUMA_NODE);
                if is_map_in_map(spec.kind) {
                    inner = InnerClaim::Position(self.word(INNER_POSITION_OR_ID));
                } else {
                    self.zero(INNER_POSITION_OR_ID)?;
                }
                if has_node {
                    spec.numa_node = Some(self.word(NUMA_NODE_OR_PINNING));
                } else {
                    self.zero(NUMA_NODE_OR_PINNING)?;
                }
                NUMA_NODE_OR_PINNING + 1
            }
            Form::Iproute2 => {
                id = Some(self.word(INNER_POSITION_OR_ID)).filter(|id| *id != 0);
                spec.pinning = pinning(self.word(NUMA_NODE_OR_PINNING));
                inner = self.iproute2_inner(spec.kind)?;
                slot = self.iproute2_slot(id)?;
                INNER_SLOT + 1
            }
        };
        self.zero_from(understood)?;
        spec.origin = MapOrigin::Legacy {
            offset: self.variable.offset,
            size: self.variable.size,
            id,
            slot,
        };
        Ok((spec, inner))
    }

    /// See the head of this file.
    fn form(&self, spec: &MapSpec) -> Form {
        let samples_fields_mean_something =
            is_map_in_map(spec.kind) || spec.flags.contains(MapFlags::NUMA_NODE);
        match self.variable.size {
            24 => Form::KernelSamples,
            28 if samples_fields_mean_something => Form::KernelSamples,
            28 | 32 | 36 => Form::Iproute2,
            _ => Form::Plain,
        }
    }

    fn iproute2_inner(&self, kind: MapKind) -> Result<InnerClaim> {
        match self.word(INNER_ID) {
            0 => Ok(InnerClaim::None),
            id if is_map_in_map(kind) => Ok(InnerClaim::Identifier(id)),
            _ => self.zero(INNER_ID).map(|()| InnerClaim::None),
        }
    }

    /// The slot counts only for maps that an outer one can name, by identifier.
    fn iproute2_slot(&self, id: Option<u32>) -> Result<Option<u32>> {
        match (self.word(INNER_SLOT), id) {
            (NO_SLOT, _) | (0, None) => Ok(None),
            (slot, Some(_)) => Ok(Some(slot)),
            (_, None) => self.zero(INNER_SLOT).map(|()| None),
        }
    }

    /// The number at this place; 0 where the definition ends before.
    fn word(&self, place: usize) -> u32 {
        u32_at(self.bytes, place * WORD_BYTES, self.order).unwrap_or(0)
    }

    fn zero(&self, place: usize) -> Result<()> {
        match self.word(place) {
            0 => Ok(()),
            value => Err(self.tail(place * WORD_BYTES, format!("{value:#x}"))),
        }
    }

    fn zero_from(&self, place: usize) -> Result<()> {
        let from = place * WORD_BYTES;
        let rest = self.bytes.get(from..).unwrap_or_default();
        match rest.iter().position(|byte| *byte != 0) {
            None => Ok(()),
            Some(position) => {
                let value = format!("byte {:#04x}", rest[position]);
                Err(self.tail(from + position, value))
            }
        }
    }

    fn tail(&self, within: usize, value: String) -> Error {
        let message = format!(
            "the definition of {} bytes holds {value} at its byte {within}, and no known form gives that a meaning",
            self.variable.size
        );
        self.error(Code::MAP_DEFINITION_TAIL, within, message)
    }

    fn error(&self, code: Code, within: usize, message: String) -> Error {
        let offset = u64::try_from(within).unwrap_or(u64::MAX);
        Diagnosis::new(code, message)
            .at(self.section, self.variable.offset.saturating_add(offset))
            .in_map(self.variable.name)
            .into()
    }
}

fn is_map_in_map(kind: MapKind) -> bool {
    matches!(kind, MapKind::ArrayOfMaps | MapKind::HashOfMaps)
}

fn pinning(number: u32) -> Pinning {
    match number {
        0 => Pinning::None,
        1 => Pinning::ObjectScope,
        2 => Pinning::GlobalScope,
        other => Pinning::Custom(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_words(words: &[u32]) -> Result<(MapSpec, InnerClaim)> {
        let data: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let section = MapsSection {
            name: "maps",
            data: &data,
            variables: vec![MapVariable {
                name: "m",
                offset: 0,
                size: u64::try_from(data.len()).unwrap(),
            }],
        };
        read(&section, ByteOrder::Little, &mut Vec::new()).map(|mut found| found.remove(0))
    }

    fn refusal(words: &[u32]) -> (Code, Option<u64>) {
        let error = read_words(words).unwrap_err();
        (error.diagnosis().code, error.diagnosis().place.offset)
    }

    #[test]
    fn sixteen_bytes_are_enough_and_twelve_are_not() {
        let (spec, _) = read_words(&[2, 4, 8, 256]).unwrap();
        assert_eq!(spec.kind, MapKind::Array);
        assert_eq!(
            (spec.key_size, spec.value_size, spec.max_entries),
            (4, 8, 256)
        );
        assert_eq!(refusal(&[2, 4, 8]), (Code::MAP_DEFINITION, Some(0)));
    }

    #[test]
    fn twenty_eight_bytes_are_read_as_the_form_that_gives_them_a_meaning() {
        let (pinned, _) = read_words(&[1, 4, 8, 10, 0, 7, 2]).unwrap();
        assert_eq!(pinned.pinning, Pinning::GlobalScope);
        assert!(matches!(
            pinned.origin,
            MapOrigin::Legacy { id: Some(7), .. }
        ));

        let (outer, inner) = read_words(&[13, 4, 4, 10, 0, 1, 0]).unwrap();
        assert_eq!(inner, InnerClaim::Position(1));
        assert_eq!(outer.pinning, Pinning::None);

        let (placed, _) = read_words(&[1, 4, 8, 10, 4, 0, 1]).unwrap();
        assert_eq!(placed.numa_node, Some(1));
    }

    #[test]
    fn thirty_six_bytes_are_iproute2s() {
        let (outer, inner) = read_words(&[12, 4, 4, 10, 0, 0, 2, 3, 0]).unwrap();
        assert_eq!(inner, InnerClaim::Identifier(3));
        assert_eq!(outer.pinning, Pinning::GlobalScope);
        let (inner, _) = read_words(&[2, 4, 4, 1, 0, 3, 0, 0, 5]).unwrap();
        assert!(matches!(
            inner.origin,
            MapOrigin::Legacy {
                id: Some(3),
                slot: Some(5),
                ..
            }
        ));
        let (unplaced, _) = read_words(&[2, 4, 4, 1, 0, 3, 0, 0, NO_SLOT]).unwrap();
        assert!(matches!(
            unplaced.origin,
            MapOrigin::Legacy { slot: None, .. }
        ));
    }

    #[test]
    fn a_tail_without_meaning_is_refused_at_its_offset() {
        assert_eq!(
            refusal(&[1, 4, 8, 10, 0, 9]),
            (Code::MAP_DEFINITION_TAIL, Some(20))
        );
        assert_eq!(
            refusal(&[1, 4, 8, 10, 4, 9, 0]),
            (Code::MAP_DEFINITION_TAIL, Some(20))
        );
        assert_eq!(
            refusal(&[13, 4, 4, 10, 0, 0, 9]),
            (Code::MAP_DEFINITION_TAIL, Some(24))
        );
        assert_eq!(
            refusal(&[1, 4, 8, 10, 0, 0, 0, 9, 0]),
            (Code::MAP_DEFINITION_TAIL, Some(28))
        );
        assert_eq!(
            refusal(&[1, 4, 8, 10, 0, 0, 0, 0, 9]),
            (Code::MAP_DEFINITION_TAIL, Some(32))
        );
        let mut long = [0; 12];
        long[..4].copy_from_slice(&[1, 4, 8, 10]);
        assert!(read_words(&long).is_ok());
        long[11] = 1 << 16;
        assert_eq!(refusal(&long), (Code::MAP_DEFINITION_TAIL, Some(46)));
    }

    #[test]
    fn bytes_without_a_symbol_are_an_error() {
        let section = MapsSection {
            name: "maps",
            data: &[0; 20],
            variables: Vec::new(),
        };
        assert!(read(&section, ByteOrder::Big, &mut Vec::new()).is_err());
    }
}
