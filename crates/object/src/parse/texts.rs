//! License and kernel version: two small sections that older kernels insist on.

use crate::bytes::u32_at;
use crate::diagnosis::{Code, Diagnosis, Result};
use crate::elf::{Elf, Section};

use super::role::Role;

/// What the two sections say.
#[derive(Debug)]
pub(super) struct Texts {
    /// The license; a missing one stays missing.
    pub(super) license: Option<String>,
    /// The kernel version, packed.
    pub(super) version: Option<u32>,
}

/// Reads both sections.
///
/// # Errors
///
/// If the license is not text or the version is not four bytes.
pub(super) fn read(elf: &Elf<'_>, warnings: &mut Vec<String>) -> Result<Texts> {
    let mut texts = Texts {
        license: None,
        version: None,
    };
    for section in &elf.sections {
        match Role::of(section) {
            Role::License => texts.license = license(section, warnings)?,
            Role::Version => texts.version = Some(version(elf, section)?),
            _ => {}
        }
    }
    Ok(texts)
}

fn license(section: &Section<'_>, warnings: &mut Vec<String>) -> Result<Option<String>> {
    if section.data.is_empty() {
        warnings.push("section `license` is empty: the object has no license".to_owned());
        return Ok(None);
    }
    let length = section.data.iter().position(|byte| *byte == 0);
    if length.is_none() {
        warnings.push("section `license` does not end with a NUL byte".to_owned());
    }
    let text = &section.data[..length.unwrap_or(section.data.len())];
    let text = std::str::from_utf8(text).map_err(|error| {
        let offset = error.valid_up_to();
        Diagnosis::new(
            Code::LICENSE_MALFORMED,
            format!("the license is not text: byte {:#04x}", text[offset]),
        )
        .at(section.name, u64::try_from(offset).unwrap_or(u64::MAX))
    })?;
    if text.is_empty() {
        warnings.push("section `license` holds an empty text".to_owned());
    }
    Ok(Some(text.to_owned()))
}

fn version(elf: &Elf<'_>, section: &Section<'_>) -> Result<u32> {
    u32_at(section.data, 0, elf.byte_order)
        .filter(|_| section.data.len() == 4)
        .ok_or_else(|| {
            let message = format!("a version has 4 bytes but here are {}", section.data.len());
            Diagnosis::new(Code::LICENSE_MALFORMED, message)
                .at(section.name, 0)
                .into()
        })
}
