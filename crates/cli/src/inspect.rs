//! `twinbpf inspect`: what an object file contains, as a table or as JSON.

use serde::Serialize;
use twinbpf::spec::{InnerMap, Pinning, Variable};
use twinbpf::{MapSpec, Object, PlainValue, ProgramSpec};

use crate::args::InspectArgs;
use crate::exit::Exit;
use crate::object_file;
use crate::output::{Failure, Output};
use crate::table;

/// Prints the contents of an object file.
pub(crate) fn inspect(args: &InspectArgs, output: &Output) -> Result<Exit, Failure> {
    let object = object_file::read(&args.object)?;
    let document = Document::new(args.object.display().to_string(), &object);
    if output.wants_json() {
        output.document(&document)?;
    } else {
        output.data(&document.text())?;
    }
    Ok(Exit::Done)
}

/// Everything that is printed; both forms come from here.
#[derive(Debug, Serialize)]
struct Document {
    ok: bool,
    file: String,
    byte_order: String,
    license: Option<String>,
    version: Option<u32>,
    maps: Vec<MapRow>,
    variables: Vec<VariableRow>,
    programs: Vec<ProgramRow>,
    sections: Vec<SectionRow>,
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
struct MapRow {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    type_number: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    extra: u64,
    numa_node: Option<u32>,
    pinning: Option<String>,
    inner: Option<String>,
}

#[derive(Debug, Serialize)]
struct VariableRow {
    name: String,
    map: String,
    offset: u32,
    size_bytes: u32,
    is_static: bool,
    is_constant: bool,
    /// What it starts with: a number if it has the size of one, a quoted text, or hex digits.
    value: String,
}

#[derive(Debug, Serialize)]
struct ProgramRow {
    name: String,
    section: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    attach: Option<String>,
    attach_target: Option<String>,
    is_sleepable: bool,
    autoload: bool,
    insns: usize,
}

#[derive(Debug, Serialize)]
struct SectionRow {
    name: String,
    size_bytes: u64,
    role: &'static str,
}

impl Document {
    fn new(file: String, object: &Object) -> Self {
        let maps = object.maps.iter().map(|map| MapRow::new(map, object));
        let variables = object
            .variables
            .iter()
            .map(|variable| VariableRow::new(variable, object));
        let programs = object
            .programs
            .iter()
            .map(|program| ProgramRow::new(program, object));
        let sections = object.sections.iter().map(|section| SectionRow {
            name: section.name.clone(),
            size_bytes: section.size_bytes,
            role: section.role,
        });
        Self {
            ok: true,
            file,
            byte_order: object.byte_order.to_string(),
            license: object.license.clone(),
            version: object.version,
            maps: maps.collect(),
            variables: variables.collect(),
            programs: programs.collect(),
            sections: sections.collect(),
            warnings: object.warnings.clone(),
        }
    }

    fn text(&self) -> String {
        let license = match &self.license {
            Some(license) => format!("license {license:?}"),
            None => "no license".to_owned(),
        };
        let version = match self.version {
            Some(version) => format!(", version {version:#x}"),
            None => String::new(),
        };
        let mut parts = vec![format!(
            "{}: {}, {license}{version}",
            self.file, self.byte_order
        )];
        parts.extend(part("maps", &self.maps, map_table));
        parts.extend(part("variables", &self.variables, variable_table));
        parts.extend(part("programs", &self.programs, program_table));
        parts.extend(part("sections", &self.sections, section_table));
        parts.extend(part("warnings", &self.warnings, |warnings| {
            let lines: Vec<String> = warnings.iter().map(|each| format!("  {each}")).collect();
            lines.join("\n")
        }));
        parts.join("\n")
    }
}

impl MapRow {
    fn new(map: &MapSpec, object: &Object) -> Self {
        Self {
            name: map.name.clone(),
            kind: map.kind.to_string(),
            type_number: map.kind.number(),
            key_size: map.key_size,
            value_size: map.value_size,
            max_entries: map.max_entries,
            flags: map.flags.0,
            extra: map.extra,
            numa_node: map.numa_node,
            pinning: pinning_text(map.pinning),
            inner: map.inner.as_ref().map(|inner| inner_text(inner, object)),
        }
    }
}

impl VariableRow {
    fn new(variable: &Variable, object: &Object) -> Self {
        let map = object.maps.get(variable.map.0);
        Self {
            name: variable.name.clone(),
            map: map.map(|map| map.name.clone()).unwrap_or_default(),
            offset: variable.offset,
            size_bytes: variable.size,
            is_static: variable.is_static,
            is_constant: map.is_some_and(|map| map.is_frozen),
            value: first_value(variable, map),
        }
    }
}

/// What a variable starts with. Zeros need no bytes to be said so: `.bss` may be huge.
fn first_value(variable: &Variable, map: Option<&MapSpec>) -> String {
    let initial = map.and_then(|map| map.initial.as_deref());
    let start = usize::try_from(variable.offset).unwrap_or(usize::MAX);
    let size = usize::try_from(variable.size).unwrap_or(usize::MAX);
    let bytes = initial
        .and_then(|initial| initial.get(start..)?.get(..size))
        .unwrap_or_default();
    if bytes.iter().all(|byte| *byte == 0) {
        return "0".to_owned();
    }
    match (PlainValue::from(bytes), text_of(bytes)) {
        (PlainValue::Bytes(_), Some(text)) => format!("{text:?}"),
        (value, _) => value.to_string(),
    }
}

/// The text of a string with its zero; `None` for other bytes.
fn text_of(bytes: &[u8]) -> Option<&str> {
    let text = std::ffi::CStr::from_bytes_with_nul(bytes)
        .ok()?
        .to_str()
        .ok()?;
    let is_readable = |c: char| !c.is_control() || c.is_ascii_whitespace();
    text.chars().all(is_readable).then_some(text)
}

impl ProgramRow {
    fn new(program: &ProgramSpec, object: &Object) -> Self {
        let function = object.functions.get(program.function.0);
        Self {
            name: program.name.clone(),
            section: program.section.clone(),
            kind: program.kind.map(|kind| kind.to_string()),
            attach: program.attach.map(|attach| attach.to_string()),
            attach_target: program.attach_target.clone(),
            is_sleepable: program.is_sleepable,
            autoload: program.autoload,
            insns: function.map_or(0, |function| function.insns.len()),
        }
    }
}

fn pinning_text(pinning: Pinning) -> Option<String> {
    match pinning {
        Pinning::None => None,
        Pinning::ByName => Some("by name".to_owned()),
        Pinning::ObjectScope => Some("in the object's directory".to_owned()),
        Pinning::GlobalScope => Some("in the shared directory".to_owned()),
        Pinning::Custom(number) => Some(format!("in directory {number}")),
    }
}

fn inner_text(inner: &InnerMap, object: &Object) -> String {
    match inner {
        InnerMap::Spec(spec) => spec.to_string(),
        InnerMap::Map(index) => match object.maps.get(index.0) {
            Some(map) => format!("like `{}`", map.name),
            None => format!("like map {}", index.0),
        },
    }
}

/// A heading and what stands under it; nothing if there are no rows.
fn part<T>(heading: &str, rows: &[T], render: impl Fn(&[T]) -> String) -> Option<String> {
    (!rows.is_empty()).then(|| format!("{heading}\n{}", render(rows)))
}

fn map_table(maps: &[MapRow]) -> String {
    let rows: Vec<[String; 8]> = maps
        .iter()
        .map(|map| {
            [
                map.name.clone(),
                map.kind.clone(),
                map.key_size.to_string(),
                map.value_size.to_string(),
                map.max_entries.to_string(),
                format!("{:#x}", map.flags),
                or_dash(map.pinning.as_deref()),
                or_dash(map.inner.as_deref()),
            ]
        })
        .collect();
    let heading = [
        "NAME", "TYPE", "KEY", "VALUE", "ENTRIES", "FLAGS", "PINNING", "INNER",
    ];
    table::render(heading, &rows)
}

fn variable_table(variables: &[VariableRow]) -> String {
    let rows: Vec<[String; 5]> = variables
        .iter()
        .map(|variable| {
            [
                variable.name.clone(),
                variable.map.clone(),
                format!("{:#x}", variable.offset),
                variable.size_bytes.to_string(),
                shortened(&variable.value),
            ]
        })
        .collect();
    table::render(["NAME", "MAP", "OFFSET", "BYTES", "VALUE"], &rows)
}

/// Long values are cut in tables; the document has them whole.
fn shortened(value: &str) -> String {
    match value.get(..MOST_SHOWN) {
        Some(start) if value.len() > MOST_SHOWN => format!("{start}.."),
        _ => value.to_owned(),
    }
}

fn program_table(programs: &[ProgramRow]) -> String {
    let rows: Vec<[String; 6]> = programs
        .iter()
        .map(|program| {
            [
                program.name.clone(),
                program.section.clone(),
                or_dash(program.kind.as_deref()),
                program.insns.to_string(),
                if program.autoload { "yes" } else { "no" }.to_owned(),
                or_dash(
                    program
                        .attach_target
                        .as_deref()
                        .or(program.attach.as_deref()),
                ),
            ]
        })
        .collect();
    let heading = [
        "NAME",
        "SECTION",
        "TYPE",
        "INSNS",
        "AUTOLOAD",
        "ATTACHES TO",
    ];
    table::render(heading, &rows)
}

fn section_table(sections: &[SectionRow]) -> String {
    let rows: Vec<[String; 3]> = sections
        .iter()
        .map(|section| {
            [
                section.name.clone(),
                section.size_bytes.to_string(),
                section.role.to_owned(),
            ]
        })
        .collect();
    table::render(["NAME", "BYTES", "ROLE"], &rows)
}

/// Characters of a value that a table shows.
const MOST_SHOWN: usize = 36;

fn or_dash(text: Option<&str>) -> String {
    text.unwrap_or("-").to_owned()
}
