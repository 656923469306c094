//! Names that the object uses and does not define: what its own BTF says they are.
//!
//! A declared one is something of the kernel: a function (kfunc), a variable (ksym) or a configuration value. One without
//! a declaration is a mistake, most often a library function that the compiler put in (`memset`).
//!
//! Configuration values get places in a map of their own, `.kconfig`, which linking fills in:
//!
//! ```text
//! largest alignment first, then smallest size, then name     CONFIG_HZ  0..4 | CONFIG_BPF  4..5 | CONFIG_LSM  5..25
//! ```

use std::collections::BTreeMap;

use crate::abi::{MapFlags, MapKind};
use crate::btf::{Btf, IntegerEncoding, Linkage, Type, TypeId};
use crate::diagnosis::{Code, Diagnosis, Error, Result};
use crate::elf::{Binding, Elf, Symbol, SymbolPlace};
use crate::order::{self, Ordered as _};
use crate::spec::{
    ConfigForm, ConfigPlace, Extern, ExternIndex, ExternKind, MapIndex, MapOrigin, MapSpec,
};

use super::maps::Maps;

/// The externs of an object, and which of them each name is.
#[derive(Debug, Default)]
pub(super) struct Externs<'data> {
    pub(super) list: Vec<Extern>,
    by_name: BTreeMap<&'data str, ExternIndex>,
}

impl Externs<'_> {
    /// The extern with this name.
    pub(super) fn named(&self, name: &str) -> Option<ExternIndex> {
        self.by_name.get(name).copied()
    }
}

/// Lists the undefined symbols by name, and adds the map of configuration values behind the maps there are. BTF is read only
/// if there is any undefined symbol.
///
/// # Errors
///
/// If the object's BTF is malformed, or the configuration values do not fit into a map.
pub(super) fn read<'data>(elf: &Elf<'data>, maps: &mut Maps) -> Result<Externs<'data>> {
    let undefined = undefined(elf);
    if undefined.is_empty() {
        return Ok(Externs::default());
    }
    let btf = elf
        .section_named(".BTF")
        .map(|section| Btf::parse(section.data, elf.byte_order))
        .transpose()?;
    let declarations = btf.as_ref().map(declarations).unwrap_or_default();
    let mut externs = Externs::default();
    let mut values = Vec::new();
    for (name, symbol) in undefined {
        let index = ExternIndex(externs.list.len());
        let kind = match (&btf, declarations.get(name)) {
            (Some(btf), Some(declaration)) => match declaration.kind(btf)? {
                Meaning::Config(value) => {
                    values.push((index, value));
                    ExternKind::Unplaced
                }
                Meaning::Else(kind) => kind,
            },
            _ => ExternKind::Undeclared,
        };
        externs.by_name.insert(name, index);
        externs.list.push(Extern {
            name: name.to_owned(),
            is_weak: symbol.binding == Binding::Weak,
            kind,
        });
    }
    place(values, &mut externs.list, maps)?;
    Ok(externs)
}

fn undefined<'elf, 'data>(elf: &'elf Elf<'data>) -> BTreeMap<&'data str, &'elf Symbol<'data>> {
    elf.symbols
        .iter()
        .filter(|symbol| symbol.place == SymbolPlace::Undefined && !symbol.name.is_empty())
        .map(|symbol| (symbol.name, symbol))
        .in_map()
}

/// What BTF says about one name.
struct Declaration {
    /// The function's prototype or the variable's type.
    target: TypeId,
    is_function: bool,
    list: Option<List>,
}

/// The section a declaration is listed in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum List {
    Config,
    Symbols,
}

enum Meaning {
    Config(ConfigValue),
    Else(ExternKind),
}

/// A configuration value that has no place yet.
struct ConfigValue {
    form: ConfigForm,
    size: u32,
    alignment: u32,
}

fn declarations(btf: &Btf) -> BTreeMap<&str, Declaration> {
    let lists = lists(btf);
    btf.iter()
        .filter_map(|(id, each)| {
            let (name, target, is_function) = match each {
                Type::Function(function) if function.linkage == Linkage::Extern => {
                    (function.name, function.prototype, true)
                }
                Type::Variable(variable) if variable.linkage == Linkage::Extern => {
                    (variable.name, variable.target, false)
                }
                _ => return None,
            };
            let declaration = Declaration {
                target,
                is_function,
                list: lists.get(&id).copied(),
            };
            Some((btf.text(name), declaration))
        })
        .in_map()
}

fn lists(btf: &Btf) -> BTreeMap<TypeId, List> {
    let mut lists = BTreeMap::new();
    for (_, each) in btf.iter() {
        let Type::DataSection(section) = each else {
            continue;
        };
        let list = match btf.text(section.name) {
            ".kconfig" => List::Config,
            ".ksyms" => List::Symbols,
            _ => continue,
        };
        lists.extend(section.variables.iter().map(|each| (each.variable, list)));
    }
    lists
}

impl Declaration {
    fn kind(&self, btf: &Btf) -> Result<Meaning> {
        Ok(match (self.list, self.is_function) {
            (Some(List::Symbols), true) => Meaning::Else(ExternKind::Function(self.target)),
            (Some(List::Symbols), false) => {
                let (_, target) = btf.resolve(self.target)?;
                Meaning::Else(match target {
                    Type::Void => ExternKind::Address,
                    _ => ExternKind::Variable(self.target),
                })
            }
            (Some(List::Config), false) => Meaning::Config(config_value(btf, self.target)?),
            (None, _) | (Some(List::Config), true) => Meaning::Else(ExternKind::Unplaced),
        })
    }
}

fn config_value(btf: &Btf, id: TypeId) -> Result<ConfigValue> {
    let (_, target) = btf.resolve(id)?;
    let (element, is_text) = match target {
        Type::Array(array) => (btf.resolve(array.element)?.1, array.length > 0),
        other => (other, false),
    };
    let form = match (form_of(btf, element), is_text) {
        (ConfigForm::Char { .. }, true) => ConfigForm::Text,
        (form, false) if !matches!(target, Type::Array(_)) => form,
        _ => ConfigForm::Other,
    };
    if form == ConfigForm::Other {
        // It gets no room: whoever uses it is told that its type is no configuration value's.
        return Ok(ConfigValue {
            form,
            size: 0,
            alignment: 1,
        });
    }
    let size = u32::try_from(btf.size_of(id)?).map_err(|_| too_large())?;
    Ok(ConfigValue {
        form,
        size,
        alignment: if form == ConfigForm::Text { 1 } else { size },
    })
}

fn form_of(btf: &Btf, target: &Type) -> ConfigForm {
    match target {
        Type::Integer(integer) => {
            let is_signed = integer.encoding == IntegerEncoding::Signed;
            match (integer.encoding, integer.size) {
                (IntegerEncoding::Bool, 1) => ConfigForm::Bool,
                (IntegerEncoding::Bool, _) => ConfigForm::Other,
                (_, 1) => ConfigForm::Char { is_signed },
                (_, 2 | 4 | 8) => ConfigForm::Integer { is_signed },
                _ => ConfigForm::Other,
            }
        }
        Type::Enumeration(whole) if whole.size == 4 && btf.text(whole.name) == TRISTATE => {
            ConfigForm::Tristate
        }
        _ => ConfigForm::Other,
    }
}

/// Gives every configuration value its place, in the order that libbpf's loaders use too.
fn place(
    mut values: Vec<(ExternIndex, ConfigValue)>,
    externs: &mut [Extern],
    maps: &mut Maps,
) -> Result<()> {
    if values.is_empty() {
        return Ok(());
    }
    // Names ascend already, and sorting keeps the order of equals.
    order::sort_by_key(&mut values, |(_, value)| {
        (u32::MAX - value.alignment, value.size)
    });
    let map = MapIndex(maps.specs.len());
    let mut end: u32 = 0;
    for (index, value) in values {
        let offset = end
            .checked_next_multiple_of(value.alignment)
            .ok_or_else(too_large)?;
        end = offset.checked_add(value.size).ok_or_else(too_large)?;
        externs[index.0].kind = ExternKind::Config(ConfigPlace {
            form: value.form,
            size: value.size,
            map,
            offset,
        });
    }
    let mut spec = MapSpec::new(".kconfig", MapKind::Array, 4, end.max(1), 1);
    spec.origin = MapOrigin::Config;
    spec.is_frozen = true;
    spec.flags = MapFlags(MapFlags::RDONLY_PROG.0 | MapFlags::MMAPABLE.0);
    maps.specs.push(spec);
    Ok(())
}

fn too_large() -> Error {
    Diagnosis::new(
        Code::DATA_MALFORMED,
        "the configuration values do not fit into a map",
    )
    .at(".BTF", 0)
    .into()
}

/// The type by which programs ask for `y`, `m` or `n`.
const TRISTATE: &str = "libbpf_tristate";
