//! A listing: functions, their instructions, what these refer to, and the source lines they come from.
//!
//! As text it can be assembled again: whatever is not an instruction stands behind `;`.

use std::fmt::Write;

use serde::Serialize;
use twinbpf::core;
use twinbpf::insn::{Listed, listing};
use twinbpf::spec::{Function, FunctionIndex, ReferenceTo};
use twinbpf::{Code, Diagnosis, Insn, Object, Result};

/// Everything that is listed.
#[derive(Debug, Serialize)]
pub(super) struct Listing {
    functions: Vec<FunctionRows>,
}

#[derive(Debug, Serialize)]
struct FunctionRows {
    /// Absent if the instructions came without an object.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    section: Option<String>,
    insns: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    at: u32,
    opcode: u8,
    slots: u32,
    /// Absent if it is no instruction.
    text: Option<String>,
    /// Why it is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    /// What a relocation makes it refer to.
    #[serde(skip_serializing_if = "Option::is_none")]
    refers_to: Option<String>,
    /// What CO-RE puts into it.
    #[serde(skip_serializing_if = "Option::is_none")]
    adapted: Option<String>,
    /// The line that starts here.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<Source>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Source {
    file: String,
    line: u32,
    column: u32,
    text: String,
}

impl Listing {
    /// Instructions alone.
    pub(super) fn of_program(program: &[Insn]) -> Self {
        Self {
            functions: vec![FunctionRows {
                name: None,
                section: None,
                insns: listing(program).map(Row::new).collect(),
            }],
        }
    }

    /// The functions of an object, or the one with a name.
    ///
    /// # Errors
    ///
    /// If no function has this name.
    pub(super) fn of_object(object: &Object, wanted: Option<&str>) -> Result<Self> {
        let adapted = core::explain(object, None);
        let functions: Vec<FunctionRows> = object
            .functions
            .iter()
            .enumerate()
            .filter(|(_, function)| wanted.is_none_or(|name| name == function.name))
            .map(|(index, function)| {
                let mut rows = FunctionRows::new(function, object);
                for relocation in &adapted {
                    if relocation.function == FunctionIndex(index)
                        && let Ok(subject) = &relocation.subject
                        && let Some(row) = rows.row(relocation.at.0)
                    {
                        row.adapted = Some(format!("{} of {subject}", relocation.kind.words()));
                    }
                }
                rows
            })
            .collect();
        match (functions.is_empty(), wanted) {
            (true, Some(name)) => Err(no_function(object, name)),
            _ => Ok(Self { functions }),
        }
    }

    /// One screenful after the other.
    pub(super) fn text(&self, with_source: bool) -> String {
        let mut text = String::new();
        for (position, function) in self.functions.iter().enumerate() {
            if position > 0 {
                text.push('\n');
            }
            function.write(&mut text, with_source);
        }
        text
    }
}

impl FunctionRows {
    fn new(function: &Function, object: &Object) -> Self {
        let mut rows = Self {
            name: Some(function.name.clone()),
            section: Some(function.section.clone()),
            insns: listing(&function.insns).map(Row::new).collect(),
        };
        for reference in &function.references {
            if let Some(row) = rows.row(reference.at.0) {
                row.refers_to = Some(referred(&reference.to, object));
            }
        }
        let Some(types) = &object.btf else {
            return rows;
        };
        for info in function.lines.iter() {
            if let Some(row) = rows.row(info.at.0) {
                row.source = Some(Source {
                    file: types.text(info.line.file).to_owned(),
                    line: info.line.line,
                    column: info.line.column,
                    text: types.text(info.line.text).trim().to_owned(),
                });
            }
        }
        rows
    }

    fn row(&mut self, at: u32) -> Option<&mut Row> {
        let position = self.insns.binary_search_by_key(&at, |row| row.at).ok()?;
        self.insns.get_mut(position)
    }

    fn write(&self, text: &mut String, with_source: bool) {
        // Writing to a string cannot fail.
        if let (Some(name), Some(section)) = (&self.name, &self.section) {
            let _ = writeln!(text, "; {name}, in section {section}");
        }
        let mut shown: Option<&Source> = None;
        for row in &self.insns {
            let changed = row.source.as_ref().filter(|source| {
                shown.is_none_or(|shown| (shown.line, &shown.file) != (source.line, &source.file))
            });
            if let Some(source) = changed.filter(|_| with_source) {
                let _ = writeln!(text, "; {}:{}  {}", source.file, source.line, source.text);
                shown = Some(source);
            }
            let _ = writeln!(text, "{}", row.text());
        }
    }
}

impl Row {
    fn new(listed: Listed) -> Self {
        let (text, problem) = match listed.operation {
            Ok(operation) => (Some(operation.to_string()), None),
            Err(error) => (None, Some(error.to_string())),
        };
        Self {
            at: listed.at.0,
            opcode: listed.first.opcode,
            slots: listed.slots,
            text,
            problem,
            refers_to: None,
            adapted: None,
            source: None,
        }
    }

    fn text(&self) -> String {
        let Some(known) = &self.text else {
            let problem = self.problem.as_deref().unwrap_or_default();
            return format!("; {:4}: ({:02x}) {problem}", self.at, self.opcode);
        };
        let notes: Vec<&str> = [&self.refers_to, &self.adapted]
            .into_iter()
            .filter_map(Option::as_deref)
            .collect();
        let line = format!("{:4}: ({:02x}) {known}", self.at, self.opcode);
        if notes.is_empty() {
            return line;
        }
        format!("{line:<44}; {}", notes.join("; "))
    }
}

/// What a reference names.
fn referred(to: &ReferenceTo, object: &Object) -> String {
    let map = |index: usize| match object.maps.get(index) {
        Some(map) => map.name.clone(),
        None => format!("#{index}"),
    };
    match to {
        ReferenceTo::Map(index) => format!("map `{}`", map(index.0)),
        ReferenceTo::MapValue { map: index, offset } => {
            format!("value of map `{}`, plus {offset}", map(index.0))
        }
        ReferenceTo::Function(index) => match object.functions.get(index.0) {
            Some(function) => format!("function `{}`", function.name),
            None => "a function that is not there".to_owned(),
        },
        ReferenceTo::Extern { index, addend } => {
            let name = object
                .externs
                .get(index.0)
                .map_or("?", |named| named.name.as_str());
            match addend {
                0 => format!("extern `{name}`"),
                more => format!("extern `{name}`, plus {more}"),
            }
        }
        ReferenceTo::Section { name, offset } => format!("section `{name}`, plus {offset}"),
    }
}

fn no_function(object: &Object, name: &str) -> twinbpf::Error {
    let names: Vec<&str> = object
        .functions
        .iter()
        .map(|function| function.name.as_str())
        .collect();
    Diagnosis::new(
        Code::PROGRAM_NOT_FOUND,
        format!("there is no function `{name}`"),
    )
    .fact("functions", names.join(", "))
    .into()
}
