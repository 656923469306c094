//! From file bytes to an [`Object`]: what the sections mean.
//!
//! ```text
//! bytes --elf--> sections, symbols --role--> maps, functions --references--> who refers to whom --> Object
//! ```
//!
//! Each step takes claims of the file and gives checked data to the next. What the file leaves open (types and sizes of
//! symbols, the program type) is concluded where the evidence suffices and stays open where it does not.

mod btf_maps;
mod code;
mod data;
mod extents;
mod externs;
mod legacy_maps;
mod maps;
mod maps_section;
mod programs;
mod references;
mod role;
mod struct_ops;
mod texts;
mod type_records;
mod types_file;
mod upload;
mod values;

use crate::diagnosis::Result;
use crate::elf::Elf;
use crate::spec::{Object, SectionInfo};

use role::Role;

pub use types_file::{read_types, read_types_on};

impl Object {
    /// Reads an object file.
    ///
    /// # Errors
    ///
    /// Kind [`BadObject`](crate::ErrorKind::BadObject) with a code for each cause: not an ELF file, not BPF, not
    /// relocatable, truncated, a malformed map, license or relocation. Places are section and offset.
    ///
    /// # Examples
    ///
    /// ```
    /// let error = twinbpf_object::Object::parse(b"#!/bin/sh\n").unwrap_err();
    /// assert_eq!(error.to_string(), "not an ELF file: starts with `#!/bin/sh`");
    /// ```
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut elf = Elf::parse(bytes)?;
        let mut warnings = std::mem::take(&mut elf.warnings);
        let texts = texts::read(&elf, &mut warnings)?;
        let mut maps = maps::read(&elf, &mut warnings)?;
        let has_maps = !maps.specs.is_empty();
        let variables = data::read(&elf, &mut maps, &mut warnings)?;
        let mut code = code::read(&elf, &mut warnings)?;
        let externs = externs::read(&elf, &mut maps)?;
        references::resolve(&elf, &maps, &externs, &mut code)?;
        values::resolve(&elf, &mut maps, &code)?;
        let btf = type_records::read(&elf, &mut code, &mut warnings)?;
        if let Some(btf) = &btf {
            data::name_types(btf, &mut maps.specs, &variables);
            struct_ops::read(&elf, btf, &code, &mut maps)?;
        }
        let mut programs = programs::find(&code, &mut warnings);
        // Only who throws has a handler, so that other objects' types need not be searched for one.
        if let Some(btf) = btf
            .as_ref()
            .filter(|_| externs.named("bpf_throw").is_some())
        {
            programs::find_exception_handlers(&mut programs, &code, btf);
        }
        if programs.is_empty() && !has_maps {
            warnings.push("the object has neither programs nor maps".to_owned());
        }
        Ok(Self {
            byte_order: elf.byte_order,
            license: texts.license,
            version: texts.version,
            maps: maps.specs,
            variables,
            programs,
            functions: code.functions,
            upload: btf.as_ref().and_then(|_| upload::read(&elf)),
            externs: externs.list,
            btf,
            sections: section_list(&elf),
            warnings,
        })
    }
}

/// Every section but the empty one that ELF demands.
fn section_list(elf: &Elf<'_>) -> Vec<SectionInfo> {
    elf.sections
        .iter()
        .skip(1)
        .map(|section| SectionInfo {
            name: section.name.to_owned(),
            size_bytes: section.size,
            role: Role::of(section).word(),
        })
        .collect()
}
