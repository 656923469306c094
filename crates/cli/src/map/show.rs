//! Maps as a whole: listed, described, made.

use std::path::Path;

use serde::Serialize;
use twinbpf::abi::MapFlags;
use twinbpf::{Engine, MapInfo, MapKind, MapSpec, RawMap, Result};

use super::words::{Words, usage};
use crate::exit::Exit;
use crate::output::{Failure, Output};
use crate::table;

/// A map, with bpftool's names.
#[derive(Debug, Serialize)]
struct MapRow {
    id: u32,
    #[serde(rename = "type")]
    kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    flags: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    map_extra: Option<u64>,
    bytes_key: u32,
    bytes_value: u32,
    max_entries: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_memlock: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner_prog_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner_jited: Option<bool>,
    frozen: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    btf_id: Option<u32>,
}

impl MapRow {
    fn new(info: MapInfo) -> Self {
        let owner = info.owner;
        Self {
            id: info.id.unwrap_or(0),
            kind: info.kind.to_string(),
            name: info.name,
            flags: info.flags.0,
            map_extra: Some(info.extra).filter(|extra| *extra != 0),
            bytes_key: info.key_size,
            bytes_value: info.value_size,
            max_entries: info.max_entries,
            bytes_memlock: info.memory_bytes,
            owner_prog_type: owner.map(|(kind, _)| kind.to_string()),
            owner_jited: owner.map(|(_, is_compiled)| is_compiled),
            frozen: u8::from(info.is_frozen),
            btf_id: info.types_id,
        }
    }

    fn cells(&self) -> [String; 8] {
        let mut remarks = Vec::new();
        if self.flags != 0 {
            remarks.push(format!("flags {:#x}", self.flags));
        }
        if self.frozen == 1 {
            remarks.push("frozen".to_owned());
        }
        [
            self.id.to_string(),
            self.kind.clone(),
            self.name.clone(),
            self.bytes_key.to_string(),
            self.bytes_value.to_string(),
            self.max_entries.to_string(),
            self.bytes_memlock
                .map(|bytes| bytes.to_string())
                .unwrap_or_default(),
            remarks.join(", "),
        ]
    }
}

const HEADING: [&str; 8] = [
    "ID", "TYPE", "NAME", "KEY", "VALUE", "ENTRIES", "MEMORY", "REMARKS",
];

/// `map show [MAP]`
pub(super) fn show(words: &[String], output: &Output) -> Result<Exit, Failure> {
    let mut words = Words::new(words);
    if words.has_more() {
        let map = words.map()?;
        words.end()?;
        let row = MapRow::new(map.info()?);
        match output.wants_json() {
            true => output.document(&row)?,
            false => output.data(&table::render(HEADING, &[row.cells()]))?,
        }
        return Ok(Exit::Done);
    }
    let rows = all()?;
    match output.wants_json() {
        true => output.document(&rows)?,
        false => {
            let cells: Vec<_> = rows.iter().map(MapRow::cells).collect();
            output.data(&table::render(HEADING, &cells))?;
        }
    }
    Ok(Exit::Done)
}

/// Every map of the system that is still there when it is its turn.
fn all() -> Result<Vec<MapRow>> {
    let engine = Engine::kernel()?;
    let mut rows = Vec::new();
    for id in engine.map_ids()? {
        if let Some(map) = engine.map_by_id(id)? {
            rows.push(MapRow::new(map.info()?));
        }
    }
    Ok(rows)
}

/// `map create FILE type TYPE key BYTES value BYTES entries NUMBER [name NAME] [flags NUMBER]`
pub(super) fn create(words: &[String]) -> Result<Exit, Failure> {
    let mut words = Words::new(words);
    let path = words.next("a path in a bpffs")?;
    let mut spec = MapSpec::new("", MapKind::Other(0), 0, 0, 0);
    let mut inner: Option<RawMap> = None;
    while words.has_more() {
        let word = words.next("a word")?;
        match word {
            "type" => spec.kind = kind(words.next("a type of map")?)?,
            "key" => spec.key_size = number(word, words.next("a number of bytes")?)?,
            "value" => spec.value_size = number(word, words.next("a number of bytes")?)?,
            "entries" => spec.max_entries = number(word, words.next("a number of entries")?)?,
            "name" => words.next("a name")?.clone_into(&mut spec.name),
            "flags" => spec.flags = MapFlags(number(word, words.next("a number")?)?),
            "inner_map" => inner = Some(words.map()?),
            other => {
                let known = "type, key, value, entries, name, flags, inner_map";
                return Err(usage(format!("`{other}` is none of {known}")).into());
            }
        }
    }
    if spec.kind == MapKind::Other(0) {
        return Err(usage("`type TYPE` is missing".to_owned()).into());
    }
    if let Some(inner) = &inner {
        spec.inner = Some(twinbpf::spec::InnerMap::Spec(Box::new(
            inner.spec().clone(),
        )));
    }
    Engine::kernel()?.create_map(&spec)?.pin(Path::new(path))?;
    Ok(Exit::Done)
}

fn kind(name: &str) -> Result<MapKind> {
    MapKind::from_name(name).ok_or_else(|| {
        let known: Vec<&str> = MapKind::all().filter_map(MapKind::name).collect();
        usage(format!(
            "there is no type of map `{name}`; there are {}",
            known.join(", ")
        ))
    })
}

fn number(what: &str, word: &str) -> Result<u32> {
    let number = match word.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => word.parse(),
    };
    number.map_err(|_| usage(format!("`{word}` is no number for `{what}`")))
}
