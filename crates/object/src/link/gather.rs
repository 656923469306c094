//! Which functions a program consists of, and where each will stand.

use std::collections::{BTreeMap, VecDeque};

use crate::diagnosis::{Code, Diagnosis, Error, Result};
use crate::insn::InsnIndex;
use crate::spec::{Function, FunctionIndex, Object, ProgramSpec, ReferenceTo};

use super::LinkedFunction;

/// The functions of one program.
#[derive(Debug)]
pub(super) struct Gathered {
    /// Entry first, then in the order in which they are first reached, nearest first.
    pub(super) order: Vec<(FunctionIndex, InsnIndex)>,
    /// Where each starts.
    starts: BTreeMap<FunctionIndex, InsnIndex>,
}

impl Gathered {
    /// Where a gathered function starts.
    pub(super) fn start_of(&self, function: FunctionIndex) -> Option<InsnIndex> {
        self.starts.get(&function).copied()
    }

    /// The functions with their names, by start.
    pub(super) fn functions(&self, object: &Object, program: &ProgramSpec) -> Vec<LinkedFunction> {
        self.order
            .iter()
            .filter_map(|(index, start)| {
                let function = object.functions.get(index.0)?;
                let name = match function.name.as_str() {
                    "" => &program.name,
                    _ => &function.name,
                };
                Some(LinkedFunction {
                    name: name.clone(),
                    start: *start,
                    type_id: function.type_id,
                })
            })
            .collect()
    }
}

/// Follows calls and function addresses from the entry.
///
/// # Errors
///
/// If an edited object refers to a function it does not have, or the program would not fit 32-bit indices.
pub(super) fn gather(object: &Object, program: &ProgramSpec) -> Result<Gathered> {
    let mut gathered = Gathered {
        order: Vec::new(),
        starts: BTreeMap::new(),
    };
    let mut waiting = VecDeque::from([program.function]);
    waiting.extend(program.exception_handler);
    let mut next = InsnIndex(0);
    while let Some(index) = waiting.pop_front() {
        if gathered.starts.contains_key(&index) {
            continue;
        }
        let function = function(object, program, index)?;
        gathered.order.push((index, next));
        gathered.starts.insert(index, next);
        next = end_of(next, function, program)?;
        waiting.extend(
            function
                .references
                .iter()
                .filter_map(|reference| match reference.to {
                    ReferenceTo::Function(callee) => Some(callee),
                    _ => None,
                }),
        );
    }
    Ok(gathered)
}

fn function<'a>(
    object: &'a Object,
    program: &ProgramSpec,
    index: FunctionIndex,
) -> Result<&'a Function> {
    object.functions.get(index.0).ok_or_else(|| {
        let message = format!(
            "function {} of {} is needed",
            index.0,
            object.functions.len()
        );
        Error::from(Diagnosis::new(Code::UNRESOLVED_SYMBOL, message).in_program(&program.name))
    })
}

fn end_of(start: InsnIndex, function: &Function, program: &ProgramSpec) -> Result<InsnIndex> {
    u32::try_from(function.insns.len())
        .ok()
        .and_then(|length| start.0.checked_add(length))
        .map(InsnIndex)
        .ok_or_else(|| {
            Diagnosis::new(
                Code::LINK_TOO_LARGE,
                "the program has 2^32 instructions or more",
            )
            .in_program(&program.name)
            .into()
        })
}
