//! `.BTF.ext` made: records put under their sections of code, and the bytes that say them.
//!
//! Writes what [`Ext`](super::Ext) reads, with records as long as they are known here.

use std::collections::HashMap;

use super::ext::{COLUMN_BITS, LineRecord, MAGIC, RelocationRecord, VERSION};
use super::{Name, TypeId};
use crate::bytes::ByteOrder;
use crate::diagnosis::{Code, Diagnosis, Result};

/// Records by their section of code, in the order in which sections were first named.
#[derive(Debug, Clone, Default)]
pub(crate) struct ExtRecords {
    sections: Vec<Section>,
    /// Where each is in `sections`.
    places: HashMap<Name, usize>,
}

#[derive(Debug, Clone)]
struct Section {
    name: Name,
    functions: Vec<[u32; 2]>,
    lines: Vec<[u32; 4]>,
    relocations: Vec<[u32; 4]>,
}

impl ExtRecords {
    /// Whether there is nothing to say.
    pub(crate) fn is_empty(&self) -> bool {
        self.sections.is_empty()
    }

    /// Says what the type of the function at an offset is.
    pub(crate) fn function(&mut self, section: Name, offset: u32, function: TypeId) {
        self.section(section).functions.push([offset, function.0]);
    }

    /// Says which line an instruction is from.
    pub(crate) fn line(&mut self, section: Name, offset: u32, line: LineRecord) {
        let place = line.line << COLUMN_BITS | line.column;
        let record = [offset, line.file.0, line.text.0, place];
        self.section(section).lines.push(record);
    }

    /// Says how an instruction depends on the target's types.
    pub(crate) fn relocation(&mut self, section: Name, offset: u32, record: RelocationRecord) {
        let record = [offset, record.root.0, record.path.0, record.kind.number()];
        self.section(section).relocations.push(record);
    }

    /// Lets `renumber` replace every type.
    pub(crate) fn visit_types_mut(&mut self, renumber: &dyn Fn(TypeId) -> TypeId) {
        for section in &mut self.sections {
            for [_, function] in &mut section.functions {
                *function = renumber(TypeId(*function)).0;
            }
            for [_, root, ..] in &mut section.relocations {
                *root = renumber(TypeId(*root)).0;
            }
        }
    }

    /// The bytes, as a `.BTF.ext` section holds them.
    ///
    /// # Errors
    ///
    /// Code O013 if they are more than 4 GiB.
    pub(crate) fn encode(&self, order: ByteOrder) -> Result<Vec<u8>> {
        let parts = [
            self.part(|section| &section.functions)?,
            self.part(|section| &section.lines)?,
            self.part(|section| &section.relocations)?,
        ];
        let mut words = vec![HEADER_BYTES];
        let mut offset = 0;
        for part in &parts {
            let length = bytes_of(part.len())?;
            words.extend([offset, length]);
            offset = length.checked_add(offset).ok_or_else(too_large)?;
        }
        words.extend(parts.into_iter().flatten());
        let magic = match order {
            ByteOrder::Little => MAGIC.to_le_bytes(),
            ByteOrder::Big => MAGIC.to_be_bytes(),
        };
        let mut bytes = magic.to_vec();
        bytes.extend([VERSION, 0]);
        bytes.extend(words.into_iter().flat_map(|word| match order {
            ByteOrder::Little => word.to_le_bytes(),
            ByteOrder::Big => word.to_be_bytes(),
        }));
        Ok(bytes)
    }

    /// The words of one part; none if nothing has such records.
    fn part<const N: usize>(&self, records: impl Fn(&Section) -> &[[u32; N]]) -> Result<Vec<u32>> {
        let mut words = Vec::new();
        for section in &self.sections {
            let records = records(section);
            if records.is_empty() {
                continue;
            }
            if words.is_empty() {
                words.push(bytes_of(N)?);
            }
            words.push(section.name.0);
            words.push(u32::try_from(records.len()).map_err(|_| too_large())?);
            words.extend(records.iter().flatten());
        }
        Ok(words)
    }

    fn section(&mut self, name: Name) -> &mut Section {
        let next = self.sections.len();
        let position = *self.places.entry(name).or_insert(next);
        if position == next {
            self.sections.push(Section {
                name,
                functions: Vec::new(),
                lines: Vec::new(),
                relocations: Vec::new(),
            });
        }
        &mut self.sections[position]
    }
}

fn bytes_of(words: usize) -> Result<u32> {
    words
        .checked_mul(4)
        .and_then(|bytes| u32::try_from(bytes).ok())
        .ok_or_else(too_large)
}

fn too_large() -> crate::diagnosis::Error {
    Diagnosis::new(Code::BTF_MALFORMED, "more than 4 GiB of records").into()
}

/// Magic to the place of the relocations; what newer headers have in addition has no use here.
const HEADER_BYTES: u32 = 32;
