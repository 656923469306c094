//! One of the objects, read as far as a linker cares.

use std::collections::BTreeMap;

use super::Input;
use crate::btf::{Btf, Ext, Linkage, Type, TypeId};
use crate::diagnosis::{Code, Diagnosis, Error, Result};
use crate::elf::{Elf, Section, SectionKind, SymbolPlace};

/// One of the objects.
#[derive(Debug)]
pub(super) struct Part<'data> {
    /// How messages call it.
    pub(super) name: &'data str,
    pub(super) elf: Elf<'data>,
    pub(super) btf: Option<Btf>,
    pub(super) ext: Option<Ext<'data>>,
    /// What its types say of each name that other objects can see: a function or a variable.
    pub(super) declared: BTreeMap<String, TypeId>,
}

impl<'data> Part<'data> {
    /// Reads an object.
    ///
    /// # Errors
    ///
    /// If the container or the types are malformed, with the file's name.
    pub(super) fn read(input: &Input<'data>) -> Result<Self> {
        Self::of(input).map_err(|error| error.in_file(input.name))
    }

    fn of(input: &Input<'data>) -> Result<Self> {
        let elf = Elf::parse(input.bytes)?;
        let btf = elf
            .section_named(".BTF")
            .map(|section| Btf::parse(section.data, elf.byte_order))
            .transpose()?;
        let ext = elf
            .section_named(".BTF.ext")
            .filter(|_| btf.is_some())
            .map(|section| Ext::read(section.data, elf.byte_order))
            .transpose()?;
        let declared = btf.as_ref().map(declared).unwrap_or_default();
        Ok(Self {
            name: input.name,
            elf,
            btf,
            ext,
            declared,
        })
    }

    /// An error in this object.
    pub(super) fn error(&self, code: Code, section: &str, offset: u64, message: String) -> Error {
        let diagnosis = Diagnosis::new(code, message).at(section, offset);
        Error::from(diagnosis).in_file(self.name)
    }

    /// The sections that the result will have, by name; the first of each.
    pub(super) fn kept_by_name(&self) -> BTreeMap<&'data str, &Section<'data>> {
        let mut named = BTreeMap::new();
        for section in self.elf.sections.iter().filter(|each| is_kept(each)) {
            named.entry(section.name).or_insert(section);
        }
        named
    }

    /// Symbols with a name, by name and the section they are defined in; the first of each.
    pub(super) fn symbols_by_place(&self) -> BTreeMap<(&'data str, Option<&'data str>), usize> {
        let mut named = BTreeMap::new();
        for (position, symbol) in self.elf.symbols.iter().enumerate() {
            let section = match symbol.place {
                SymbolPlace::Section(index) => self.elf.section(index).map(|found| found.name),
                _ => None,
            };
            if !symbol.name.is_empty() {
                named.entry((symbol.name, section)).or_insert(position);
            }
        }
        named
    }
}

/// Whether the result has this section: what programs are made of, and nothing for debuggers. What is written anew is left
/// out whatever its flags say, or there would be two of it.
pub(super) fn is_kept(section: &Section<'_>) -> bool {
    let name = section.name;
    if LEFT_OUT.contains(&name) {
        return false;
    }
    match section.kind {
        SectionKind::ZeroFilled => true,
        SectionKind::Content if section.is_executable => !section.data.is_empty(),
        SectionKind::Content => !name.starts_with(".debug_"),
        _ => false,
    }
}

/// The types are written anew; the others are the compiler's remarks.
const LEFT_OUT: &[&str] = &[".BTF", ".BTF.ext", ".eh_frame", ".comment"];

fn declared(btf: &Btf) -> BTreeMap<String, TypeId> {
    let mut declared = BTreeMap::new();
    for (id, found) in btf.iter() {
        let (name, linkage) = match found {
            Type::Function(function) => (function.name, function.linkage),
            Type::Variable(variable) => (variable.name, variable.linkage),
            _ => continue,
        };
        if linkage != Linkage::Static {
            declared.entry(btf.text(name).to_owned()).or_insert(id);
        }
    }
    declared
}
