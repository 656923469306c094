//! Which instructions depend on the target's types (CO-RE): field offsets, sizes, existence, enum values.
//!
//! `.BTF.ext` lists them per section of code. Until they are adapted they hold the answers of the machine the object was
//! compiled on, so a program that has one must not run as it is; here each function learns which of its instructions that are.
//!
//! ```text
//! .BTF.ext   header | records per section: name, count, count x { offset, type, path, kind } | ...
//! ```

use crate::bytes::{slice_at, text_at, u16_at, u32_at};
use crate::diagnosis::{Code as ErrorCode, Diagnosis, Error, Result};
use crate::elf::{Elf, Section, SectionIndex};
use crate::spec::ByteOrder;

use super::code::Code;

const BTF_MAGIC: u16 = 0xeb9f;
const SECTION: &str = ".BTF.ext";
/// Where the header says how long it is itself.
const HEADER_LENGTH: usize = 4;
/// Where the header says where the list is, counted from the header's end.
const LIST_OFFSET: usize = 24;
const LIST_LENGTH: usize = 28;
/// Offset, type, path, kind.
const FEWEST_RECORD_BYTES: u64 = 16;
const NAME_LIMIT: usize = 2048;

/// Notes in each function which instructions depend on the target's types.
///
/// # Errors
///
/// If `.BTF.ext` contradicts itself or names places outside the code.
pub(super) fn mark(elf: &Elf<'_>, code: &mut Code) -> Result<()> {
    let Some(section) = elf.section_named(SECTION) else {
        return Ok(());
    };
    let order = elf.byte_order;
    let Some(mut records) = records(section, order)? else {
        return Ok(());
    };
    let record_bytes = take_u32(&mut records, order)
        .map(u64::from)
        .filter(|size| *size >= FEWEST_RECORD_BYTES && size % 4 == 0)
        .ok_or_else(|| malformed("the size of a CO-RE record is wrong"))?;
    while !records.is_empty() {
        let name = take_u32(&mut records, order);
        let count = take_u32(&mut records, order);
        let (Some(name), Some(count)) = (name, count) else {
            return Err(malformed("the list of CO-RE records ends early"));
        };
        let length = u64::from(count).saturating_mul(record_bytes);
        let list = slice_at(records, 0, length).ok_or_else(|| {
            malformed(format!(
                "{count} CO-RE records are announced but the list ends early"
            ))
        })?;
        records = &records[list.len()..];
        let target = code_section(elf, name)?;
        let step = usize::try_from(record_bytes).unwrap_or(usize::MAX);
        for record in list.chunks_exact(step) {
            let offset = u32_at(record, 0, order).map_or(u64::MAX, u64::from);
            note(code, target, offset)?;
        }
    }
    for function in &mut code.functions {
        function.target_dependent.sort_unstable();
        function.target_dependent.dedup();
    }
    Ok(())
}

/// The bytes of the list, if the header knows of one.
fn records<'data>(section: &Section<'data>, order: ByteOrder) -> Result<Option<&'data [u8]>> {
    if u16_at(section.data, 0, order) != Some(BTF_MAGIC) {
        return Err(malformed(
            "the section does not start with the magic number of BTF",
        ));
    }
    let header = u32_at(section.data, HEADER_LENGTH, order)
        .ok_or_else(|| malformed("the header ends early"))?;
    // Headers of before 2019 end before these two fields.
    if u64::from(header) < 32 {
        return Ok(None);
    }
    let offset = u32_at(section.data, LIST_OFFSET, order);
    let length = u32_at(section.data, LIST_LENGTH, order);
    let (Some(offset), Some(length)) = (offset, length) else {
        return Err(malformed("the header ends early"));
    };
    if length == 0 {
        return Ok(None);
    }
    let start = u64::from(header) + u64::from(offset);
    slice_at(section.data, start, u64::from(length))
        .map(Some)
        .ok_or_else(|| {
            malformed(format!(
                "CO-RE records take offsets {start:#x} to {:#x} but the section ends at {:#x}",
                start + u64::from(length),
                section.size
            ))
        })
}

/// The section of code that a list is about; named by an offset into the strings of `.BTF`.
fn code_section(elf: &Elf<'_>, name_offset: u32) -> Result<SectionIndex> {
    let name = elf
        .section_named(".BTF")
        .and_then(|btf| btf_text(btf.data, name_offset, elf.byte_order))
        .ok_or_else(|| {
            malformed(format!(
                "there is no name at offset {name_offset:#x} of the strings"
            ))
        })?;
    elf.section_named(name)
        .map(|section| section.index)
        .ok_or_else(|| malformed(format!("there is no section `{name}` for CO-RE records")))
}

fn btf_text(btf: &[u8], name_offset: u32, order: ByteOrder) -> Option<&str> {
    let header = u32_at(btf, 4, order)?;
    let offset = u32_at(btf, 16, order)?;
    let length = u32_at(btf, 20, order)?;
    let strings = slice_at(
        btf,
        u64::from(header) + u64::from(offset),
        u64::from(length),
    )?;
    std::str::from_utf8(text_at(strings, name_offset, NAME_LIMIT)?).ok()
}

fn note(code: &mut Code, section: SectionIndex, offset: u64) -> Result<()> {
    let Some((function, at)) = code.containing(section, offset) else {
        return Err(malformed(format!(
            "a CO-RE record is about offset {offset:#x} of its section, which is in no function"
        )));
    };
    code.functions[function.0].target_dependent.push(at);
    Ok(())
}

fn take_u32(bytes: &mut &[u8], order: ByteOrder) -> Option<u32> {
    let value = u32_at(bytes, 0, order)?;
    *bytes = &bytes[4..];
    Some(value)
}

fn malformed(message: impl Into<String>) -> Error {
    Diagnosis::new(ErrorCode::BTF_MALFORMED, message)
        .at(SECTION, 0)
        .into()
}
