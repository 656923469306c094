//! Maps under observation: what they hold, and what changed since the last look.
//!
//! Zeros are left out: an array is born full of them, and a counter that never moved says nothing. A value that falls back
//! to zero is a change all the same. Sections of global variables show each variable by its name; constants are not watched.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};
use twinbpf::spec::Variable;
use twinbpf::{Code, Diagnosis, Loaded, MapKind, PlainValue, RawMap, Result};

/// The maps that a run prints.
#[derive(Debug)]
pub(super) struct Watch(Vec<Watched>);

#[derive(Debug)]
struct Watched {
    name: String,
    map: RawMap,
    /// The global variables in its value, if it is a section of them.
    variables: Vec<Variable>,
    /// What was not zero at the last look.
    last: BTreeMap<Label, PlainValue>,
}

/// What an entry is found by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Label {
    /// The key of an element.
    Key(PlainValue),
    /// The name of a global variable.
    Variable(String),
}

/// The entries of one map that are to be printed, in the order of their keys.
#[derive(Debug, Serialize)]
pub(super) struct MapEntries {
    pub(super) name: String,
    pub(super) entries: Vec<Entry>,
}

/// One entry; without a value, it was removed.
#[derive(Debug, Serialize)]
pub(super) struct Entry {
    pub(super) key: Label,
    #[serde(serialize_with = "plain_or_null")]
    pub(super) value: Option<PlainValue>,
}

impl Watch {
    /// The maps with these names; without names, every map that can be walked over.
    pub(super) fn new(loaded: &Loaded, names: &[String]) -> Result<Self> {
        let mut watched = Vec::new();
        for name in names {
            let map = loaded.raw_map(name)?;
            if !is_walkable(map.spec().kind) {
                return Err(not_walkable(name, map.spec().kind).into());
            }
            watched.push(Watched::new(loaded, name, map));
        }
        if names.is_empty() {
            let all = loaded
                .maps()
                .filter(|(_, spec, _)| is_walkable(spec.kind) && !spec.is_frozen);
            watched.extend(all.map(|(name, _, map)| Watched::new(loaded, name, map)));
        }
        Ok(Self(watched))
    }

    /// What changed since the last call, of maps where anything did.
    pub(super) fn changes(&mut self) -> Result<Vec<MapEntries>> {
        let mut all = Vec::new();
        for watched in &mut self.0 {
            let entries = watched.changes()?;
            if !entries.is_empty() {
                all.push(MapEntries {
                    name: watched.name.clone(),
                    entries,
                });
            }
        }
        Ok(all)
    }

    /// Everything that is not zero now, of every map.
    pub(super) fn totals(&mut self) -> Result<Vec<MapEntries>> {
        self.changes()?;
        let totals = self.0.iter().map(|watched| MapEntries {
            name: watched.name.clone(),
            entries: watched.last.iter().map(Entry::present).collect(),
        });
        Ok(totals.collect())
    }
}

impl Watched {
    fn new(loaded: &Loaded, name: &str, map: &RawMap) -> Self {
        // A run loads all maps of its object or none, so the variables' positions are those of the loaded maps.
        let position = loaded.maps().position(|(each, ..)| each == name);
        let is_inside = |variable: &&Variable| Some(variable.map.0) == position;
        Self {
            name: name.to_owned(),
            map: map.clone(),
            variables: loaded.variables().filter(is_inside).cloned().collect(),
            last: BTreeMap::new(),
        }
    }

    fn changes(&mut self) -> Result<Vec<Entry>> {
        let mut now = BTreeMap::new();
        let mut zeros = Vec::new();
        for (key, value) in self.entries()? {
            if value.iter().any(|byte| *byte != 0) {
                now.insert(key, self.shown(&value));
            } else if self.last.contains_key(&key) {
                zeros.push((key, self.shown(&value)));
            }
        }
        let mut changes: BTreeMap<Label, Option<PlainValue>> = self
            .last
            .keys()
            .filter(|key| !now.contains_key(key))
            .map(|key| (key.clone(), None))
            .collect();
        changes.extend(zeros.into_iter().map(|(key, zero)| (key, Some(zero))));
        changes.extend(
            now.iter()
                .filter(|(key, value)| self.last.get(key) != Some(value))
                .map(|(key, value)| (key.clone(), Some(value.clone()))),
        );
        self.last = now;
        let entries = changes.into_iter().map(|(key, value)| Entry { key, value });
        Ok(entries.collect())
    }

    /// What the map holds now: its elements, or its variables.
    fn entries(&self) -> Result<Vec<(Label, Vec<u8>)>> {
        let mut entries = Vec::new();
        for entry in self.map.entries() {
            let (key, value) = entry?;
            if self.variables.is_empty() {
                entries.push((Label::Key(PlainValue::from(&key[..])), value));
                continue;
            }
            entries.extend(self.variables.iter().filter_map(|variable| {
                let start = usize::try_from(variable.offset).ok()?;
                let size = usize::try_from(variable.size).ok()?;
                let bytes = value.get(start..)?.get(..size)?;
                Some((Label::Variable(variable.name.clone()), bytes.to_vec()))
            }));
        }
        Ok(entries)
    }

    /// A value for people: numbers of all CPUs are added up.
    fn shown(&self, value: &[u8]) -> PlainValue {
        let spec = self.map.spec();
        if !spec.kind.is_per_cpu() {
            return PlainValue::from(value);
        }
        let size = usize::try_from(spec.value_size).unwrap_or(usize::MAX);
        let stride = size.checked_next_multiple_of(8).unwrap_or(usize::MAX);
        let values = value
            .chunks(stride)
            .map(|one| PlainValue::from(one.get(..size).unwrap_or(one)));
        let sum = values.into_iter().try_fold(0u64, |sum, one| match one {
            PlainValue::Number(number) => Some(sum.wrapping_add(number)),
            PlainValue::Bytes(_) => None,
        });
        sum.map_or_else(|| PlainValue::from(value), PlainValue::Number)
    }
}

impl Entry {
    fn present((key, value): (&Label, &PlainValue)) -> Self {
        Self {
            key: key.clone(),
            value: Some(value.clone()),
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => key.fmt(f),
            Self::Variable(name) => f.write_str(name),
        }
    }
}

impl Serialize for Label {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Key(key) => plain(key, serializer),
            Self::Variable(name) => serializer.serialize_str(name),
        }
    }
}

/// Whether keys can be listed and values read.
fn is_walkable(kind: MapKind) -> bool {
    matches!(
        kind,
        MapKind::Array
            | MapKind::Hash
            | MapKind::LruHash
            | MapKind::LpmTrie
            | MapKind::PerCpuArray
            | MapKind::PerCpuHash
            | MapKind::LruPerCpuHash
    )
}

fn not_walkable(name: &str, kind: MapKind) -> Diagnosis {
    let message = format!("a map of type {kind} has no entries that could be listed");
    Diagnosis::new(Code::MAP_OPERATION, message).in_map(name)
}

fn plain<S: Serializer>(value: &PlainValue, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        PlainValue::Number(number) => serializer.serialize_u64(*number),
        PlainValue::Bytes(_) => serializer.collect_str(value),
    }
}

fn plain_or_null<S: Serializer>(
    value: &Option<PlainValue>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => plain(value, serializer),
        None => serializer.serialize_none(),
    }
}
