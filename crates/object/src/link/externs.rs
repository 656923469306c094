//! Externs resolved: what the engine has for each name that the object uses and does not define.
//!
//! ```text
//! .kconfig    a place in the map `.kconfig`, whose first value is made here
//! variable    a hole: the number of its type in the kernel's or a module's BTF
//! function    a hole of the same kind; the prototypes must agree
//! address     a number
//! ```
//!
//! What is missing and weak becomes 0 where its address is taken, so that the branch behind `if (bpf_ksym_exists(..))` is
//! dead, and a call of it becomes a call that no engine has. What is missing and not weak is an error of each program
//! that uses it, and of no other.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::abi::nearest_name;
use crate::btf::print::spelled;
use crate::btf::{Btf, Search, Type, TypeId, TypeKinds};
use crate::core::{Announced, are_compatible};
use crate::diagnosis::{Code, Diagnosis, Error};
use crate::spec::{
    ConfigForm, ConfigPlace, Extern, ExternIndex, ExternKind, MapSpec, Object, Variable,
};
use crate::target::{Offers, Prototype, SymbolAddress, Target};

use super::config_value;

/// What became of every extern of an object.
#[derive(Debug)]
pub(super) struct Externs(Vec<Outcome>);

/// What instructions that refer to an extern get.
#[derive(Debug)]
pub(super) enum Outcome {
    /// A place in the map of configuration values.
    Config(ConfigPlace),
    /// A number.
    Address(u64),
    /// A variable of the kernel.
    Variable(Found),
    /// A function of the kernel.
    Function(Found),
    /// Nothing, and programs can do without it.
    Absent { code: Code, reason: String },
    /// Nothing, and programs cannot do without it.
    Failed(Error),
}

/// Something of the kernel.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// Its name, flavour cut off.
    pub(super) name: String,
    /// The module that has it; `None` for the kernel itself.
    pub(super) module: Option<String>,
    /// Its number in that BTF; `None` if the engine knows it by name.
    pub(super) id: Option<TypeId>,
}

impl Externs {
    /// Resolves every extern, and puts the configuration values into the first values of their map.
    pub(super) fn new(object: &Object, target: &Target, maps: &mut [MapSpec]) -> Self {
        let resolving = Resolving {
            object,
            target,
            found: search(object, target),
        };
        let outcomes = object.externs.iter();
        Self(outcomes.map(|each| resolving.outcome(each, maps)).collect())
    }

    /// What became of an extern.
    pub(super) fn outcome(&self, index: ExternIndex) -> Option<&Outcome> {
        self.0.get(index.0)
    }
}

/// The configuration values as variables of their map.
pub(super) fn variables(object: &Object) -> impl Iterator<Item = Variable> {
    object.externs.iter().filter_map(|each| match &each.kind {
        ExternKind::Config(place) if place.form != ConfigForm::Other => Some(Variable {
            name: each.name.clone(),
            map: place.map,
            offset: place.offset,
            size: place.size,
            is_static: false,
        }),
        _ => None,
    })
}

/// Functions and variables of the kernel by name.
type Declarations<'a> = BTreeMap<(&'a str, bool), Place<'a>>;

/// Where a name is declared.
#[derive(Clone, Copy)]
struct Place<'a> {
    module: Option<&'a str>,
    btf: &'a Btf,
    id: TypeId,
    /// The prototype of a function, the type of a variable.
    target: TypeId,
}

struct Resolving<'a> {
    object: &'a Object,
    target: &'a Target,
    found: Declarations<'a>,
}

/// Looks for all names in one pass over the kernel's types, then over those of its modules.
fn search<'a>(object: &'a Object, target: &'a Target) -> Declarations<'a> {
    let mut found = Declarations::new();
    if target.offers != Offers::WhatTypesSay {
        return found;
    }
    let wanted: Vec<&str> = object
        .externs
        .iter()
        .filter(|each| matches!(each.kind, ExternKind::Function(_) | ExternKind::Variable(_)))
        .map(Extern::essential_name)
        .collect();
    if wanted.is_empty() {
        return found;
    }
    let kernel = target.btf.iter().map(|btf| (None, btf));
    let modules = target.modules.iter();
    let modules = modules.map(|module| (Some(module.name.as_str()), &module.btf));
    let search =
        Search::exact(wanted.iter().copied()).of(TypeKinds::FUNCTION.or(TypeKinds::VARIABLE));
    for (module, btf) in kernel.chain(modules) {
        for hit in btf.search(&search) {
            let (target, is_function) = match btf.get(hit.id) {
                Some(Type::Function(function)) => (function.prototype, true),
                Some(Type::Variable(variable)) => (variable.target, false),
                _ => continue,
            };
            let Some(name) = wanted.get(hit.name) else {
                continue;
            };
            let place = Place {
                module,
                btf,
                id: hit.id,
                target,
            };
            // The first declaration wins: the kernel's own before those of its modules.
            found.entry((*name, is_function)).or_insert(place);
        }
    }
    found
}

impl Resolving<'_> {
    fn outcome(&self, external: &Extern, maps: &mut [MapSpec]) -> Outcome {
        match &external.kind {
            ExternKind::Config(place) => self.config(external, place, maps),
            ExternKind::Address => self.address(external),
            ExternKind::Variable(declared) => self.variable(external, *declared),
            ExternKind::Function(declared) => self.function(external, *declared),
            ExternKind::Unplaced => Outcome::Failed(unplaced(external)),
            ExternKind::Undeclared => Outcome::Failed(undeclared(external)),
        }
    }

    fn config(&self, external: &Extern, place: &ConfigPlace, maps: &mut [MapSpec]) -> Outcome {
        let order = self.object.byte_order;
        match config_value::bytes(external, place, self.target, order) {
            Ok(Some(bytes)) => match write(maps, place, &bytes) {
                Some(()) => Outcome::Config(*place),
                None => Outcome::Failed(misplaced(external)),
            },
            Ok(None) if external.is_weak => Outcome::Config(*place),
            Ok(None) => Outcome::Failed(config_value::missing(external, self.target).into()),
            Err(error) => Outcome::Failed(error),
        }
    }

    fn address(&self, external: &Extern) -> Outcome {
        let name = &external.name;
        let symbols = &self.target.symbols;
        let diagnosis = match symbols.addresses.get(name) {
            Some(_) if !symbols.are_shown => Diagnosis::new(
                Code::KSYM_HIDDEN,
                format!("the kernel does not show this process the address of `{name}`"),
            )
            .help("it needs CAP_SYSLOG, and the sysctl kernel.kptr_restrict must not be 2"),
            Some(SymbolAddress::At(address)) => return Outcome::Address(*address),
            Some(SymbolAddress::Ambiguous(one, other)) => {
                let message =
                    format!("the kernel has `{name}` in several places: {one:#x} and {other:#x}");
                return Outcome::Failed(Diagnosis::new(Code::KSYM_AMBIGUOUS, message).into());
            }
            None => self.missing_symbol(external, "symbol"),
        };
        absent_or_failed(external, diagnosis)
    }

    fn variable(&self, external: &Extern, declared: TypeId) -> Outcome {
        let Some(place) = self.found.get(&(external.essential_name(), false)) else {
            return absent_or_failed(external, self.missing_symbol(external, "variable"));
        };
        match self.agrees(place, declared, Announced::Itself) {
            Ok(true) => Outcome::Variable(found(external, place)),
            Ok(false) => {
                let message = format!(
                    "the kernel's variable `{}` has another type than the program declares",
                    external.name
                );
                let diagnosis = Diagnosis::new(Code::KSYM_TYPE, message);
                Outcome::Failed(self.both(diagnosis, place, declared, &external.name).into())
            }
            Err(error) => Outcome::Failed(error),
        }
    }

    fn function(&self, external: &Extern, declared: TypeId) -> Outcome {
        let name = external.essential_name();
        if let Offers::Functions(functions) = &self.target.offers
            && let Some(prototype) = functions.get(name)
        {
            return self.offered(external, declared, prototype.as_ref());
        }
        let Some(place) = self.found.get(&(name, true)) else {
            return absent_or_failed(external, self.missing_function(external));
        };
        // Who needs a function means that one. What may be absent is so where libbpf says it is, which takes no announced struct for a whole one.
        let announced = match external.is_weak {
            true => Announced::Itself,
            false => Announced::Whole,
        };
        match self.agrees(place, declared, announced) {
            Ok(true) => Outcome::Function(found(external, place)),
            Ok(false) => {
                let message = format!(
                    "the kernel's `{name}` has another prototype than the program declares"
                );
                let diagnosis = Diagnosis::new(Code::KFUNC_PROTOTYPE, message).help(SEVERAL);
                absent_or_failed(external, self.both(diagnosis, place, declared, name))
            }
            Err(error) => Outcome::Failed(error),
        }
    }

    /// A function that the engine knows by name.
    fn offered(
        &self,
        external: &Extern,
        declared: TypeId,
        prototype: Option<&Prototype>,
    ) -> Outcome {
        let name = external.essential_name();
        let types = self.object.btf.as_deref();
        let difference = prototype
            .zip(types)
            .and_then(|(prototype, types)| prototype.difference(types, declared));
        match difference {
            Some(difference) => {
                let message = format!(
                    "the engine's `{name}` has another prototype than the program declares: {difference}"
                );
                let diagnosis = Diagnosis::new(Code::KFUNC_PROTOTYPE, message).help(SEVERAL);
                absent_or_failed(external, diagnosis)
            }
            None => Outcome::Function(Found {
                name: name.to_owned(),
                module: None,
                id: None,
            }),
        }
    }

    fn agrees(
        &self,
        place: &Place<'_>,
        declared: TypeId,
        announced: Announced,
    ) -> Result<bool, Error> {
        let Some(local) = self.object.btf.as_deref() else {
            return Ok(true);
        };
        let theirs = (place.btf, place.target);
        are_compatible((local, declared), theirs, announced).map_err(|message| {
            let message = format!("the types cannot be compared: {message}");
            Diagnosis::new(Code::CORE_MALFORMED, message).into()
        })
    }

    /// Shows how the kernel and the object declare something.
    fn both(
        &self,
        diagnosis: Diagnosis,
        place: &Place<'_>,
        declared: TypeId,
        name: &str,
    ) -> Diagnosis {
        let kernels = spelled(place.btf, place.target, name);
        let diagnosis = diagnosis.fact("the kernel's", kernels);
        match self.object.btf.as_deref() {
            Some(types) => diagnosis.fact("the object's", spelled(types, declared, name)),
            None => diagnosis,
        }
    }

    fn missing_symbol(&self, external: &Extern, what: &str) -> Diagnosis {
        let name = &external.name;
        if self.target.offers != Offers::WhatTypesSay {
            let message = format!("`{name}` is a {what} of the kernel, which this engine has not");
            return Diagnosis::new(Code::KSYM_MISSING, message).help(ELSEWHERE);
        }
        let is_typed = external.kind != ExternKind::Address;
        if is_typed && self.target.btf.is_none() {
            return no_types(name);
        }
        let message = format!("the kernel has no {what} `{name}`");
        let diagnosis = Diagnosis::new(Code::KSYM_MISSING, message).help(WEAK);
        match self.target.symbols.origin.as_str() {
            origin if !is_typed && !origin.is_empty() => diagnosis.fact("looked for in", origin),
            _ => diagnosis,
        }
    }

    fn missing_function(&self, external: &Extern) -> Diagnosis {
        let name = external.essential_name();
        if self.target.offers != Offers::WhatTypesSay {
            let message =
                format!("`{name}` is a function of the kernel, which this engine has not");
            return Diagnosis::new(Code::KFUNC_MISSING, message).help(ELSEWHERE);
        }
        let Some(btf) = &self.target.btf else {
            return no_types(name);
        };
        let message = format!("the kernel has no function `{name}`");
        let diagnosis = Diagnosis::new(Code::KFUNC_MISSING, message);
        match nearest(btf, name).filter(|_| !external.is_weak) {
            Some(near) => diagnosis.help(format!("did you mean `{near}`?")),
            None => diagnosis.help(WEAK),
        }
    }
}

/// Writes bytes into the first value of the map of configuration values.
fn write(maps: &mut [MapSpec], place: &ConfigPlace, bytes: &[u8]) -> Option<()> {
    let map = maps.get_mut(place.map.0)?;
    let size = usize::try_from(map.value_size).ok()?;
    let start = usize::try_from(place.offset).ok()?;
    let end = start.checked_add(bytes.len()).filter(|end| *end <= size)?;
    let mut value = map.initial.as_deref().unwrap_or_default().to_vec();
    value.resize(size.min(MOST_CONFIG_BYTES), 0);
    value.get_mut(start..end)?.copy_from_slice(bytes);
    map.initial = Some(Arc::from(value));
    Some(())
}

fn found(external: &Extern, place: &Place<'_>) -> Found {
    Found {
        name: external.essential_name().to_owned(),
        module: place.module.map(str::to_owned),
        id: Some(place.id),
    }
}

fn absent_or_failed(external: &Extern, diagnosis: Diagnosis) -> Outcome {
    match external.is_weak {
        true => Outcome::Absent {
            code: diagnosis.code,
            reason: diagnosis.message,
        },
        false => Outcome::Failed(diagnosis.into()),
    }
}

/// The function of the kernel whose name is most likely meant.
fn nearest<'btf>(btf: &'btf Btf, name: &str) -> Option<&'btf str> {
    // Comparing every name of a kernel letter by letter would take longer than loading the program.
    let start = name.get(..3)?;
    let names = btf.iter().filter_map(|(_, each)| match each {
        Type::Function(function) => Some(btf.text(function.name)),
        _ => None,
    });
    let alike =
        names.filter(|known| known.starts_with(start) && known.len().abs_diff(name.len()) <= 3);
    nearest_name(name, alike)
}

fn no_types(name: &str) -> Diagnosis {
    Diagnosis::new(
        Code::TARGET_TYPES_MISSING,
        format!("`{name}` is looked for in the kernel's types, which are not known"),
    )
    .help("the kernel gives its types in /sys/kernel/btf/vmlinux if it was built with CONFIG_DEBUG_INFO_BTF")
}

fn unplaced(external: &Extern) -> Error {
    let message = format!(
        "`{}` is declared, but neither defined nor said to be the kernel's",
        external.name
    );
    Diagnosis::new(Code::UNRESOLVED_SYMBOL, message)
        .help("end its declaration with `__ksym` if it is the kernel's, or `__kconfig` if it is a configuration value; else link it with the object that defines it: `twinbpf gen object`")
        .into()
}

fn undeclared(external: &Extern) -> Error {
    let message = format!(
        "`{}` is used but neither defined nor declared in BTF",
        external.name
    );
    Diagnosis::new(Code::UNRESOLVED_SYMBOL, message)
        .help("library functions do not exist in BPF: use builtins that are inlined; compile with `-g` if it is the kernel's")
        .into()
}

fn misplaced(external: &Extern) -> Error {
    let message = format!("`{}` has no room in the map `.kconfig`", external.name);
    Diagnosis::new(Code::DATA_MALFORMED, message).into()
}

const WEAK: &str =
    "programs that can do without it declare it `__weak` and ask with bpf_ksym_exists()";
const SEVERAL: &str = "several declarations can be tried: `name___one`, `name___two`, each `__weak`, asked for with bpf_ksym_exists()";
const ELSEWHERE: &str = "try `--engine kernel`; programs that can do without it declare it `__weak` and ask with bpf_ksym_exists()";
/// Far more than any program declares; a text has at most some thousand bytes.
const MOST_CONFIG_BYTES: usize = 1 << 20;
