//! Everything that is printed, as rows of plain data; both forms come from here.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use twinbpf::btf::{Btf, Type, TypeId};
use twinbpf::core::{self, ExplainedRelocation, Resolution};
use twinbpf::spec::{
    DeclaredValue, Extern, ExternKind, Function, FunctionIndex, InnerMap, Linkage, MapOrigin,
    Pinning, ReferenceTo, SlotContent, Variable,
};
use twinbpf::{MapSpec, Object, PlainValue, ProgramSpec, Target};

use twinbpf::value::{self, Types};

use crate::typed::Typed;

/// Everything.
#[derive(Debug, Serialize)]
pub(super) struct Document {
    pub(super) ok: bool,
    pub(super) file: String,
    pub(super) byte_order: String,
    pub(super) license: Option<String>,
    pub(super) version: Option<u32>,
    pub(super) maps: Vec<MapRow>,
    pub(super) variables: Vec<VariableRow>,
    pub(super) programs: Vec<ProgramRow>,
    pub(super) functions: Vec<FunctionRow>,
    pub(super) externs: Vec<ExternRow>,
    pub(super) relocations: Vec<RelocationRow>,
    pub(super) btf: Option<BtfSummary>,
    pub(super) sections: Vec<SectionRow>,
    pub(super) warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct MapRow {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) type_number: u32,
    pub(super) key_size: u32,
    pub(super) value_size: u32,
    pub(super) max_entries: u32,
    pub(super) flags: u32,
    pub(super) extra: u64,
    pub(super) numa_node: Option<u32>,
    pub(super) pinning: Option<String>,
    pub(super) inner: Option<String>,
    /// The definition of the maps inside, where it is one of its own.
    pub(super) inner_map: Option<Box<Self>>,
    pub(super) values: Vec<SlotRow>,
    /// `legacy`, `btf`, `data`.
    pub(super) origin: &'static str,
    pub(super) is_frozen: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct SlotRow {
    pub(super) slot: u32,
    /// `map` or `program`.
    pub(super) kind: &'static str,
    pub(super) name: String,
}

#[derive(Debug, Serialize)]
pub(super) struct VariableRow {
    pub(super) name: String,
    pub(super) map: String,
    pub(super) offset: u32,
    pub(super) size_bytes: u32,
    pub(super) is_static: bool,
    pub(super) is_constant: bool,
    /// The declared type, if BTF has it.
    #[serde(rename = "type")]
    pub(super) declared: Option<String>,
    /// What it starts with: a number if it has the size of one, a quoted text, or hex digits.
    pub(super) value: String,
    /// The same, as its type says.
    pub(super) typed_value: Option<Typed>,
}

#[derive(Debug, Serialize)]
pub(super) struct ProgramRow {
    pub(super) name: String,
    pub(super) section: String,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) attach: Option<String>,
    pub(super) attach_target: Option<String>,
    pub(super) is_sleepable: bool,
    pub(super) autoload: bool,
    pub(super) insns: usize,
}

#[derive(Debug, Serialize)]
pub(super) struct FunctionRow {
    pub(super) name: String,
    pub(super) section: String,
    /// `static`, `global` or `weak`.
    pub(super) linkage: &'static str,
    pub(super) insns: usize,
    pub(super) is_program: bool,
    /// Names of the functions it calls or points to, sorted.
    pub(super) calls: Vec<String>,
    /// Names of the maps it refers to, sorted.
    pub(super) maps: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct ExternRow {
    pub(super) name: String,
    pub(super) kind: &'static str,
    /// The section that BTF lists it in.
    pub(super) section: Option<&'static str>,
    /// What a configuration value looks like in the program.
    pub(super) form: Option<&'static str>,
    pub(super) is_weak: bool,
    /// Names of the functions that refer to it.
    pub(super) functions: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct RelocationRow {
    pub(super) function: String,
    pub(super) insn: u32,
    pub(super) kind: &'static str,
    pub(super) subject: String,
    pub(super) path: String,
    pub(super) compiled: Option<u64>,
    pub(super) resolved: Option<u64>,
    /// Why there is no number for the target.
    pub(super) problem: Option<String>,
    pub(super) is_resolved: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct BtfSummary {
    pub(super) types: usize,
    /// How many of each kind.
    pub(super) kinds: BTreeMap<&'static str, usize>,
}

#[derive(Debug, Serialize)]
pub(super) struct SectionRow {
    pub(super) name: String,
    pub(super) size_bytes: u64,
    pub(super) role: &'static str,
}

impl Document {
    pub(super) fn new(file: String, object: &Object, target: Option<&Target>) -> Self {
        let declared = declared_variables(object);
        let variables = object.variables.iter();
        let sections = object.sections.iter().map(|section| SectionRow {
            name: section.name.clone(),
            size_bytes: section.size_bytes,
            role: section.role,
        });
        let entries: BTreeSet<usize> = object.programs.iter().map(|each| each.function.0).collect();
        let functions = object.functions.iter().enumerate();
        let externs = object.externs.iter().enumerate();
        let externs = externs.map(|(index, each)| ExternRow::new(index, each, object));
        let relocations = core::explain(object, target).into_iter();
        Self {
            ok: true,
            file,
            byte_order: object.byte_order.to_string(),
            license: object.license.clone(),
            version: object.version,
            maps: object
                .maps
                .iter()
                .map(|map| MapRow::new(map, object))
                .collect(),
            variables: variables
                .map(|variable| VariableRow::new(variable, object, &declared))
                .collect(),
            programs: object
                .programs
                .iter()
                .map(|program| ProgramRow::new(program, object))
                .collect(),
            functions: functions
                .map(|(index, function)| {
                    FunctionRow::new(function, object, entries.contains(&index))
                })
                .collect(),
            externs: externs.collect(),
            relocations: relocations
                .map(|relocation| RelocationRow::new(relocation, object))
                .collect(),
            btf: object.btf.as_deref().map(BtfSummary::new),
            sections: sections.collect(),
            warnings: object.warnings.clone(),
        }
    }
}

impl MapRow {
    fn new(map: &MapSpec, object: &Object) -> Self {
        let inner_map = match &map.inner {
            Some(InnerMap::Spec(spec)) => Some(Box::new(Self::new(spec, object))),
            _ => None,
        };
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
            inner_map,
            values: map
                .values
                .iter()
                .map(|value| SlotRow::new(value, object))
                .collect(),
            origin: origin_word(&map.origin),
            is_frozen: map.is_frozen,
        }
    }
}

impl SlotRow {
    fn new(value: &DeclaredValue, object: &Object) -> Self {
        let (kind, name) = match &value.holds {
            SlotContent::Map(index) => match object.maps.get(index.0) {
                Some(map) => ("map", map.name.clone()),
                None => ("map", index.0.to_string()),
            },
            SlotContent::Program(name) => ("program", name.clone()),
        };
        Self {
            slot: value.slot,
            kind,
            name,
        }
    }
}

/// Types of global variables by name, as BTF declares them.
fn declared_variables(object: &Object) -> BTreeMap<&str, TypeId> {
    let Some(btf) = object.btf.as_deref() else {
        return BTreeMap::new();
    };
    btf.iter()
        .filter_map(|(_, found)| match found {
            Type::Variable(variable) => Some((btf.text(variable.name), variable.target)),
            _ => None,
        })
        .collect()
}

impl VariableRow {
    fn new(variable: &Variable, object: &Object, declared: &BTreeMap<&str, TypeId>) -> Self {
        let map = object.maps.get(variable.map.0);
        let types = object.btf.as_deref().map(|btf| Types {
            btf,
            order: object.byte_order,
        });
        let typed = types.zip(declared.get(variable.name.as_str()).copied());
        let bytes = first_bytes(variable, map);
        Self {
            name: variable.name.clone(),
            map: map.map(|map| map.name.clone()).unwrap_or_default(),
            offset: variable.offset,
            size_bytes: variable.size,
            is_static: variable.is_static,
            is_constant: map.is_some_and(|map| map.is_frozen),
            declared: typed.map(|(types, id)| types.name(id)),
            value: plain_text(bytes),
            typed_value: typed
                .and_then(|(types, id)| match bytes {
                    [] => types.value(id, zeros(variable.size)?.as_slice()),
                    bytes => types.value(id, bytes),
                })
                .map(Typed),
        }
    }
}

/// The bytes a variable starts with; none if they are zeros, which need no bytes to be said so: `.bss` may be huge.
fn first_bytes<'a>(variable: &Variable, map: Option<&'a MapSpec>) -> &'a [u8] {
    let initial = map.and_then(|map| map.initial.as_deref());
    let start = usize::try_from(variable.offset).unwrap_or(usize::MAX);
    let size = usize::try_from(variable.size).unwrap_or(usize::MAX);
    initial
        .and_then(|initial| initial.get(start..)?.get(..size))
        .filter(|bytes| bytes.iter().any(|byte| *byte != 0))
        .unwrap_or_default()
}

fn zeros(size: u32) -> Option<Vec<u8>> {
    (size <= MOST_ZEROS).then(|| vec![0; usize::try_from(size).unwrap_or_default()])
}

/// Variables of zeros are spelled out up to this size.
const MOST_ZEROS: u32 = 256;

fn plain_text(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "0".to_owned();
    }
    match (PlainValue::from(bytes), value::text_of(bytes)) {
        (PlainValue::Bytes(_), Some(text)) => format!("{text:?}"),
        (value, _) => value.to_string(),
    }
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

impl FunctionRow {
    fn new(function: &Function, object: &Object, is_program: bool) -> Self {
        let (mut calls, mut maps) = (BTreeSet::new(), BTreeSet::new());
        for reference in &function.references {
            match &reference.to {
                ReferenceTo::Function(index) => {
                    calls.insert(function_name(object, *index));
                }
                ReferenceTo::Map(index) | ReferenceTo::MapValue { map: index, .. } => {
                    maps.extend(object.maps.get(index.0).map(|map| map.name.clone()));
                }
                _ => {}
            }
        }
        Self {
            name: function.name.clone(),
            section: function.section.clone(),
            linkage: match function.linkage {
                Linkage::Static => "static",
                Linkage::Global => "global",
                Linkage::Weak => "weak",
            },
            insns: function.insns.len(),
            is_program,
            calls: calls.into_iter().collect(),
            maps: maps.into_iter().collect(),
        }
    }
}

fn function_name(object: &Object, index: FunctionIndex) -> String {
    let function = object.functions.get(index.0);
    function.map_or_else(|| index.0.to_string(), |function| function.name.clone())
}

impl ExternRow {
    fn new(index: usize, external: &Extern, object: &Object) -> Self {
        let uses = |function: &&Function| {
            function.references.iter().any(|reference| {
                matches!(&reference.to, ReferenceTo::Extern { index: used, .. } if used.0 == index)
            })
        };
        let form = match &external.kind {
            ExternKind::Config(place) => Some(place.form.words()),
            _ => None,
        };
        Self {
            name: external.name.clone(),
            kind: external.kind.word(),
            section: external.kind.section(),
            form,
            is_weak: external.is_weak,
            functions: object
                .functions
                .iter()
                .filter(uses)
                .map(|function| function.name.clone())
                .collect(),
        }
    }
}

impl RelocationRow {
    fn new(relocation: ExplainedRelocation, object: &Object) -> Self {
        let (resolved, problem) = match relocation.resolved {
            Some(Resolution::Known(number)) => (Some(number), None),
            Some(Resolution::Missing(reason)) => (None, Some(reason)),
            Some(Resolution::Failed(error)) => (None, Some(error.to_string())),
            None => (None, None),
        };
        Self {
            function: function_name(object, relocation.function),
            insn: relocation.at.0,
            kind: relocation.kind.words(),
            subject: relocation
                .subject
                .unwrap_or_else(|reason| format!("? ({reason})")),
            path: relocation.path,
            compiled: relocation.compiled,
            is_resolved: resolved.is_some(),
            resolved,
            problem,
        }
    }
}

impl BtfSummary {
    fn new(btf: &Btf) -> Self {
        let mut kinds = BTreeMap::new();
        for (_, found) in btf.iter().skip(1) {
            *kinds.entry(found.kind_word()).or_insert(0) += 1;
        }
        Self {
            types: btf.len().saturating_sub(1),
            kinds,
        }
    }
}

fn origin_word(origin: &MapOrigin) -> &'static str {
    match origin {
        MapOrigin::Legacy { .. } => "legacy",
        MapOrigin::Btf { .. } => "btf",
        MapOrigin::Data => "data",
        MapOrigin::StructOps => "struct_ops",
        _ => "caller",
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
