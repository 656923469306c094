//! What the kernel is told about a program's functions and lines, in terms of the object's types.
//!
//! It insists on all or nothing: a type for every function, and a line for the first instruction of every function. What is
//! incomplete is left out; only programs with callbacks, global functions or special map values need the functions.

use twinbpf_object::LinkedProgram;

use crate::attr::{FunctionRecord, LineRecord};

/// Largest line and column that one record can hold: they share a word, 22 bits and 10.
const LARGEST_LINE: u32 = (1 << 22) - 1;
const LARGEST_COLUMN: u32 = (1 << 10) - 1;

/// The types of all functions; empty if the type of one is unknown.
pub(super) fn functions(program: &LinkedProgram) -> Vec<FunctionRecord> {
    let records = program.functions.iter().map(|function| {
        Some(FunctionRecord {
            insn_off: function.start.0,
            type_id: function.type_id?.0,
        })
    });
    records.collect::<Option<Vec<_>>>().unwrap_or_default()
}

/// Where the instructions come from; empty if that is unknown for the first one of a function.
///
/// KERNEL: 6.18 refuses a line of the second slot of a wide instruction, and offsets that do not ascend.
pub(super) fn lines(program: &LinkedProgram) -> Vec<LineRecord> {
    let is_instruction = |at: u32| {
        let insn = usize::try_from(at)
            .ok()
            .and_then(|at| program.insns.get(at));
        insn.is_some_and(|insn| insn.opcode != 0)
    };
    let mut records: Vec<LineRecord> = Vec::with_capacity(program.lines.count());
    for info in program.lines.lines() {
        let follows = records.last().is_none_or(|last| last.insn_off < info.at.0);
        if follows && is_instruction(info.at.0) {
            records.push(LineRecord {
                insn_off: info.at.0,
                file_name_off: info.line.file.0,
                line_off: info.line.text.0,
                line_col: info.line.line.min(LARGEST_LINE) << 10
                    | info.line.column.min(LARGEST_COLUMN),
            });
        }
    }
    let starts_with_line = |start: u32| {
        records
            .binary_search_by_key(&start, |record| record.insn_off)
            .is_ok()
    };
    let is_complete = program
        .functions
        .iter()
        .all(|function| starts_with_line(function.start.0));
    if is_complete { records } else { Vec::new() }
}
