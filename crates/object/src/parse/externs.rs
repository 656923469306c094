//! Names that the object uses and does not define, as far as its own BTF declares them.
//!
//! A declared one is something of the kernel: a function (kfunc), a variable (ksym) or a configuration value. One without
//! a declaration is a mistake, most often a library function that the compiler put in (`memset`).

use std::collections::BTreeSet;

use crate::btf::{Btf, Linkage, Type};
use crate::diagnosis::Result;
use crate::elf::{Elf, SymbolPlace};

/// The undefined symbols that BTF declares; BTF is read only if there is any undefined symbol.
///
/// # Errors
///
/// If the object's BTF is malformed.
pub(super) fn declared<'data>(elf: &Elf<'data>) -> Result<BTreeSet<&'data str>> {
    let undefined: BTreeSet<&str> = elf
        .symbols
        .iter()
        .filter(|symbol| symbol.place == SymbolPlace::Undefined && !symbol.name.is_empty())
        .map(|symbol| symbol.name)
        .collect();
    let Some(section) = elf.section_named(".BTF").filter(|_| !undefined.is_empty()) else {
        return Ok(BTreeSet::new());
    };
    let btf = Btf::parse(section.data, elf.byte_order)?;
    Ok(btf
        .iter()
        .filter_map(|(_, each)| match each {
            Type::Function(function) if function.linkage == Linkage::Extern => Some(function.name),
            Type::Variable(variable) if variable.linkage == Linkage::Extern => Some(variable.name),
            _ => None,
        })
        .filter_map(|name| undefined.get(btf.text(name)).copied())
        .collect())
}
