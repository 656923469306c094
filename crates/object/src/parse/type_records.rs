//! What `.BTF` and `.BTF.ext` say about the functions: their types, their source lines, and which instructions CO-RE adapts.
//!
//! Until they are adapted, such instructions hold the answers of the machine the object was compiled on, so a program that
//! has one must not run as it is. Damage there is an error; damage to what is only information is left out with a warning.

use std::sync::Arc;

use crate::btf::{Btf, Ext, Name, Placed};
use crate::diagnosis::{Code as ErrorCode, Diagnosis, Error, Result};
use crate::elf::{Elf, Section};
use crate::insn::InsnIndex;
use crate::order;
use crate::spec::{FunctionIndex, LineInfo, TypeRelocation};

use super::code::{Code, FunctionPlace};

const EXT: &str = ".BTF.ext";

/// Reads the object's types, and puts the records about functions where they belong.
///
/// # Errors
///
/// If CO-RE records are malformed, are about places outside the code, or the types they need are malformed.
pub(super) fn read(
    elf: &Elf<'_>,
    code: &mut Code,
    warnings: &mut Vec<String>,
) -> Result<Option<Arc<Btf>>> {
    let section = elf.section_named(EXT);
    let ext = section
        .map(|section| Ext::read(section.data, elf.byte_order))
        .transpose()?;
    let btf = match types(elf) {
        Ok(btf) => btf,
        Err(error) if ext.is_some_and(|ext| ext.has_relocations()) => return Err(error),
        Err(error) => {
            warnings.push(format!("{error}; the types are left out"));
            None
        }
    };
    let Some(ext) = ext else { return Ok(btf) };
    let Some(btf) = btf else {
        return match ext.has_relocations() {
            true => Err(malformed(0, "CO-RE records without types")),
            false => Ok(None),
        };
    };
    let mut placing = Placing {
        elf,
        btf: &btf,
        code,
        last: None,
        last_function: None,
    };
    placing.relocations(&ext)?;
    if let Err(error) = placing.information(&ext) {
        placing.forget_information();
        warnings.push(format!("{error}; source lines are left out"));
    }
    Ok(Some(btf))
}

fn types(elf: &Elf<'_>) -> Result<Option<Arc<Btf>>> {
    elf.section_named(".BTF")
        .map(|section| Btf::parse(section.data, elf.byte_order).map(Arc::new))
        .transpose()
}

/// Puts records where they belong.
struct Placing<'a, 'data> {
    elf: &'a Elf<'data>,
    btf: &'a Btf,
    code: &'a mut Code,
    /// The section that the last record was about; nearly always the next one is too.
    last: Option<(Name, &'a Section<'data>)>,
    /// The function that the last record was about.
    last_function: Option<FunctionPlace>,
}

impl Placing<'_, '_> {
    fn relocations(&mut self, ext: &Ext<'_>) -> Result<()> {
        for placed in ext.relocations(self.btf)? {
            let Some((function, at)) = self.place(&placed)? else {
                continue;
            };
            let relocation = TypeRelocation {
                at,
                kind: placed.record.kind,
                root: placed.record.root,
                path: self.btf.text(placed.record.path).to_owned(),
            };
            self.code.functions[function.0]
                .type_relocations
                .push(relocation);
        }
        for function in &mut self.code.functions {
            sort_by_instruction(&mut function.type_relocations, |each| each.at);
            if let Some(pair) = function
                .type_relocations
                .windows(2)
                .find(|pair| pair[0].at == pair[1].at)
            {
                let message = format!(
                    "two CO-RE records adapt instruction {} of `{}`",
                    pair[0].at, function.name
                );
                return Err(malformed(0, message));
            }
        }
        Ok(())
    }

    /// Types of functions and source lines.
    fn information(&mut self, ext: &Ext<'_>) -> Result<()> {
        for placed in ext.functions(self.btf)? {
            if let Some((function, InsnIndex(0))) = self.place(&placed)? {
                self.code.functions[function.0].type_id = Some(placed.record);
            }
        }
        let mut lines: Vec<Vec<LineInfo>> = vec![Vec::new(); self.code.functions.len()];
        ext.lines(self.btf, |placed| {
            if let Some((function, at)) = self.place(&placed)? {
                let line = placed.record;
                let lines = &mut lines[function.0];
                if lines.is_empty() {
                    // Room that is not used costs nothing, and growing does.
                    lines.reserve(self.code.functions[function.0].insns.len());
                }
                lines.push(LineInfo { at, line });
            }
            Ok(())
        })?;
        for (function, mut lines) in self.code.functions.iter_mut().zip(lines) {
            sort_by_instruction(&mut lines, |each| each.at);
            // Of several for one instruction the first is the statement that the others are part of.
            lines.dedup_by_key(|each| each.at);
            lines.shrink_to_fit();
            function.lines = Arc::new(lines);
        }
        Ok(())
    }

    fn forget_information(&mut self) {
        for function in &mut self.code.functions {
            function.type_id = None;
            function.lines = Arc::default();
        }
    }

    /// The instruction that a record is about; nothing if it is in code that belongs to no function and was left out.
    fn place<T>(&mut self, placed: &Placed<T>) -> Result<Option<(FunctionIndex, InsnIndex)>> {
        let section = self.section(placed.section)?;
        let offset = u64::from(placed.offset);
        if offset >= section.size || !offset.is_multiple_of(super::code::slot_bytes()) {
            let message = format!(
                "a record is about offset {offset:#x} of section `{}`, which is no instruction of its {:#x} bytes",
                section.name, section.size
            );
            return Err(malformed(0, message));
        }
        let last = &mut self.last_function;
        Ok(self.code.containing_near(section.index, offset, last))
    }
}

impl<'a, 'data> Placing<'a, 'data> {
    fn section(&mut self, name: Name) -> Result<&'a Section<'data>> {
        if let Some((last, section)) = self.last
            && last == name
        {
            return Ok(section);
        }
        let text = self.btf.text(name);
        let section = self.elf.section_named(text).ok_or_else(|| {
            let message = format!("records are about section `{text}`, which is not there");
            malformed(0, message)
        })?;
        self.last = Some((name, section));
        Ok(section)
    }
}

/// Compilers write records in the order of the instructions; then nothing is to be done, and no room for sorting needed.
fn sort_by_instruction<T>(records: &mut [T], at: impl Fn(&T) -> InsnIndex) {
    if !records.is_sorted_by_key(&at) {
        order::sort_by_key(records, at);
    }
}

fn malformed(at: u64, message: impl Into<String>) -> Error {
    Diagnosis::new(ErrorCode::BTF_MALFORMED, message)
        .at(EXT, at)
        .into()
}
