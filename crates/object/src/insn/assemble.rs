//! Text into instructions, and instructions into text that becomes the same instructions again.

use std::collections::HashMap;
use std::fmt::Write;

use super::operation::{Call, Displacement, Operation, WideValue};
use super::text::{self, Statement};
use super::token::{Line, Wrong, wrong_at};
use super::{DecodeError, Insn, InsnIndex};
use crate::diagnosis::{Code, Diagnosis, Error, Result, SourceLine};

/// Assembles a program: an instruction a line, in the syntax of the kernel's verifier log, with labels.
///
/// Comments start with `;` or `//`. What logs and dumps put before an instruction is understood (`12: (bf) r6 = r1`); an opcode
/// byte shown there must be the one that results.
///
/// ```
/// use twinbpf_object::insn::{assemble, disassemble};
///
/// let program = assemble("
///     r0 = 1
///     if r1 != 0 goto out     ; labels, or pc+1
///     r0 = 0
/// out:
///     exit
/// ")?;
/// assert_eq!(program.len(), 4);
/// assert_eq!(disassemble(&program), "   0: (b7) r0 = 1\n   1: (55) if r1 != 0 goto pc+1\n   2: (b7) r0 = 0\n   3: (95) exit\n");
/// assert_eq!(assemble(&disassemble(&program))?, program);
/// # Ok::<(), twinbpf_object::Error>(())
/// ```
///
/// # Errors
///
/// With the line and column, if a line is no instruction, a label is missing or there twice, or a jump is too far.
pub fn assemble(text: &str) -> Result<Vec<Insn>> {
    let mut program = Program::default();
    for (line, number) in text.lines().zip(1..) {
        program
            .read(line, number)
            .map_err(|wrong| refusal(line, number, wrong))?;
    }
    program.finish()
}

/// A program as text, a line an instruction, as the kernel's verifier log shows it.
///
/// Slots that are no instruction become comments with their bytes, so that nothing is lost from sight.
pub fn disassemble(program: &[Insn]) -> String {
    let mut text = String::new();
    for row in listing(program) {
        // Writing to a string cannot fail.
        let _ = match row.operation {
            Ok(operation) => writeln!(
                text,
                "{:4}: ({:02x}) {operation}",
                row.at.0, row.first.opcode
            ),
            Err(error) => writeln!(text, "; {:4}: ({:02x}) {error}", row.at.0, row.first.opcode),
        };
    }
    text
}

/// One row of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Where it stands.
    pub at: InsnIndex,
    /// Its first slot.
    pub first: Insn,
    /// What it means, or why it means nothing.
    pub operation: Result<Operation, DecodeError>,
    /// 1 or 2.
    pub slots: u32,
}

/// The instructions of a program, row by row; a slot that means nothing is a row of its own.
pub fn listing(program: &[Insn]) -> impl Iterator<Item = Listed> {
    let mut at = InsnIndex(0);
    std::iter::from_fn(move || {
        let rest = program.get(at.get()..)?;
        let first = *rest.first()?;
        let (operation, slots) = match Operation::decode(rest) {
            Ok(decoded) => (Ok(decoded.operation), decoded.slots),
            Err(error) => (Err(error), 1),
        };
        let row = Listed {
            at,
            first,
            operation,
            slots,
        };
        at = InsnIndex(at.0.saturating_add(slots));
        Some(row)
    })
}

/// A program on its way from text.
#[derive(Default)]
struct Program<'text> {
    insns: Vec<Insn>,
    /// Labels, and the slots they stand before.
    labels: HashMap<&'text str, usize>,
    /// Instructions that go to a label.
    open: Vec<Open<'text>>,
}

/// An instruction that waits for its label.
struct Open<'text> {
    at: usize,
    operation: Operation,
    label: &'text str,
    line: &'text str,
    number: u32,
    column: usize,
}

impl<'text> Program<'text> {
    fn read(&mut self, line: &'text str, number: u32) -> Result<(), Wrong> {
        let end = [";", "//"].into_iter().filter_map(|mark| line.find(mark));
        let code = &line[..end.min().unwrap_or(line.len())];
        let code = self.labels(line, code)?;
        let (code, shown) = strip_shown(code);
        if code.trim().is_empty() {
            return Ok(());
        }
        let base = offset_in(line, code);
        let shift = |wrong: Wrong| Wrong {
            at: wrong.at + base,
            ..wrong
        };
        let tokens = Line::new(code).map_err(shift)?;
        let statement = text::read(tokens, shown).map_err(shift)?;
        if let Some((label, column)) = statement.label {
            self.open.push(Open {
                at: self.insns.len(),
                operation: statement.operation,
                label,
                line,
                number,
                column: column + base,
            });
        }
        self.push(&statement, shown).map_err(shift)
    }

    fn push(&mut self, statement: &Statement<'_>, shown: Option<u8>) -> Result<(), Wrong> {
        let Some(encoded) = statement.operation.encode() else {
            return Err(wrong_at(0, "no instruction does this"));
        };
        let first = encoded.first();
        match shown {
            Some(shown) if shown != first.opcode => {
                return Err(wrong_at(
                    0,
                    format!(
                        "the line shows opcode {shown:#04x} and its text is {:#04x}",
                        first.opcode
                    ),
                ));
            }
            _ => {}
        }
        self.insns.extend(encoded.slots());
        // What the text can say and no program may hold: a write to r10.
        let start = self.insns.len() - encoded.slots().count();
        Operation::decode(&self.insns[start..])
            .map(|_| ())
            .map_err(|error| wrong_at(0, error.to_string()))
    }

    /// Takes what stands before the instruction: its number, as dumps show it, and labels.
    fn labels(&mut self, line: &'text str, mut code: &'text str) -> Result<&'text str, Wrong> {
        while let Some((before, after)) = code.split_once(':') {
            let name = before.trim();
            let is_word = name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.');
            if name.is_empty() || !is_word {
                break;
            }
            let is_number = name.chars().all(|c| c.is_ascii_digit());
            if !is_number && self.labels.insert(name, self.insns.len()).is_some() {
                let at = offset_in(line, name);
                return Err(wrong_at(at, format!("the label `{name}` is there twice")));
            }
            code = after;
        }
        Ok(code)
    }

    fn finish(mut self) -> Result<Vec<Insn>> {
        for open in &self.open {
            let placed = self.place(open);
            let first = placed.map_err(|message| {
                refusal(open.line, open.number, wrong_at(open.column, message))
            })?;
            self.insns[open.at] = first;
        }
        Ok(self.insns)
    }

    /// The instruction with the way to its label filled in.
    fn place(&self, open: &Open<'_>) -> Result<Insn, String> {
        let label = self.labels.get(open.label);
        let Some(label) = label else {
            return Err(format!("there is no label `{}`", open.label));
        };
        // Both are lengths of vectors of eight-byte slots, far below the largest i64.
        let far = i64::try_from(*label).unwrap_or(i64::MAX)
            - i64::try_from(open.at).unwrap_or(i64::MAX)
            - 1;
        let too_far = || format!("`{}` is too far away for this instruction", open.label);
        let distance = i32::try_from(far).map_err(|_| too_far())?;
        let to = Displacement(distance);
        let operation = match open.operation {
            Operation::Jump { far, .. } => Operation::Jump { to, far },
            Operation::MayGoto { .. } => Operation::MayGoto { to },
            Operation::Branch {
                width,
                condition,
                dst,
                src,
                ..
            } => Operation::Branch {
                width,
                condition,
                dst,
                src,
                to,
            },
            Operation::Call(_) => Operation::Call(Call::Local(distance)),
            Operation::LoadWide { dst, .. } => Operation::LoadWide {
                dst,
                value: WideValue::Function(distance),
            },
            other => other,
        };
        operation
            .encode()
            .map(|encoded| encoded.first())
            .ok_or_else(too_far)
    }
}

/// Takes the opcode byte in parentheses from the start, if there is one.
fn strip_shown(code: &str) -> (&str, Option<u8>) {
    let shown = code.trim_start().strip_prefix('(').and_then(|rest| {
        let (digits, rest) = rest.split_at_checked(2)?;
        let rest = rest.strip_prefix(')')?;
        Some((rest, u8::from_str_radix(digits, 16).ok()?))
    });
    match shown {
        Some((rest, byte)) => (rest, Some(byte)),
        None => (code, None),
    }
}

/// Where a part of a line starts in it.
fn offset_in(line: &str, part: &str) -> usize {
    part.as_ptr().addr().saturating_sub(line.as_ptr().addr())
}

fn refusal(line: &str, number: u32, wrong: Wrong) -> Error {
    let mut diagnosis = Diagnosis::new(Code::ASSEMBLY, wrong.message);
    diagnosis.help.extend(wrong.help);
    let before = line.get(..wrong.at).unwrap_or(line);
    let column = u32::try_from(before.chars().count() + 1).unwrap_or(0);
    diagnosis.place.source = Some(SourceLine {
        file: String::new(),
        line: number,
        column,
        text: line.to_owned(),
    });
    diagnosis.into()
}
