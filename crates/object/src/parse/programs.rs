//! Entry points: which functions a hook can run, and what their sections say about them.

use std::collections::{BTreeMap, BTreeSet};

use crate::abi::{meaning_of_section, nearest_section};
use crate::btf::{Btf, Type};
use crate::order::Ordered as _;
use crate::spec::{Function, FunctionIndex, Linkage, ProgramSpec, ReferenceTo};

use super::code::Code;

/// Section names longer than this are no typing slips; comparing them would cost more than it tells.
const SUGGESTION_LIMIT: usize = 64;

/// The programs among the functions, in the order of the file.
///
/// In a section of programs every function is one, except a static function that another one calls or points to. Where
/// no such section exists, the functions of `.text` that nobody in the file calls are all there is to run.
pub(super) fn find(code: &Code, warnings: &mut Vec<String>) -> Vec<ProgramSpec> {
    let referenced = referenced_functions(&code.functions);
    let has_program_section = code.is_among_programs.contains(&true);
    let mut programs = Vec::new();
    let mut unknown = BTreeSet::new();
    for (position, function) in code.functions.iter().enumerate() {
        let index = FunctionIndex(position);
        let is_called = referenced.contains(&index);
        let is_entry = match (has_program_section, code.is_among_programs[position]) {
            (true, is_among_programs) => {
                is_among_programs && !(is_called && function.linkage == Linkage::Static)
            }
            (false, _) => !is_called && function.linkage != Linkage::Static,
        };
        if !is_entry {
            continue;
        }
        let program = program(function, index);
        if program.kind.is_none() && unknown.insert(program.section.clone()) {
            warnings.push(unknown_section(&program.section));
        }
        programs.push(program);
    }
    programs
}

fn referenced_functions(functions: &[Function]) -> BTreeSet<FunctionIndex> {
    functions
        .iter()
        .flat_map(|function| &function.references)
        .filter_map(|reference| match reference.to {
            ReferenceTo::Function(index) => Some(index),
            _ => None,
        })
        .in_set()
}

fn program(function: &Function, index: FunctionIndex) -> ProgramSpec {
    let (section, autoload) = match function.section.strip_prefix('?') {
        Some(rest) => (rest, false),
        None => (function.section.as_str(), true),
    };
    let meaning = meaning_of_section(section);
    let name = match function.name.as_str() {
        "" => section,
        name => name,
    };
    ProgramSpec {
        name: name.to_owned(),
        section: function.section.clone(),
        kind: meaning.as_ref().map(|meaning| meaning.kind),
        attach: meaning.as_ref().and_then(|meaning| meaning.attach),
        is_sleepable: meaning.as_ref().is_some_and(|meaning| meaning.is_sleepable),
        attach_target: meaning.and_then(|meaning| meaning.target),
        load_flags: 0,
        autoload,
        function: index,
        exception_handler: None,
    }
}

/// Finds the functions that handle the programs' exceptions: a declaration tag of the program names them.
///
/// KERNEL: 6.7 and later look for the tag and refuse the program unless the function is part of it.
pub(super) fn find_exception_handlers(programs: &mut [ProgramSpec], code: &Code, btf: &Btf) {
    let mut handlers = BTreeMap::new();
    for (_, found) in btf.iter() {
        if let Type::DeclTag {
            tag,
            component: None,
        } = found
            && let Some(name) = btf.text(tag.text).strip_prefix(EXCEPTION_HANDLER)
        {
            handlers.insert(tag.target, name);
        }
    }
    if handlers.is_empty() {
        return;
    }
    for program in programs {
        let function = code.functions.get(program.function.0);
        let name = function
            .and_then(|function| function.type_id)
            .and_then(|id| handlers.get(&id));
        program.exception_handler = name
            .and_then(|name| {
                code.functions
                    .iter()
                    .position(|function| function.name == *name)
            })
            .map(FunctionIndex);
    }
}

/// How the declaration tag begins that names a handler.
const EXCEPTION_HANDLER: &str = "exception_callback:";

fn unknown_section(section: &str) -> String {
    let name = section.strip_prefix('?').unwrap_or(section);
    let nearest = Some(name)
        .filter(|name| name.len() <= SUGGESTION_LIMIT)
        .and_then(nearest_section);
    match nearest {
        Some(near) => {
            format!("section `{section}` names no program type; did you mean `{near}`?")
        }
        None => format!("section `{section}` names no program type"),
    }
}
