//! Which definition a name means.

use std::collections::BTreeMap;

use super::layout::{Layout, Spot};
use super::part::Part;
use super::{Bound, disagree};
use crate::diagnosis::{Code, Diagnosis, Result};
use crate::elf::{Binding, Symbol, SymbolKind, SymbolPlace};

/// The symbols of the result, and what those of the objects became.
#[derive(Debug)]
pub(super) struct Names<'data> {
    pub(super) list: Vec<Named<'data>>,
    /// Of each object, by position in its table.
    became: Vec<Vec<Became>>,
    bound: Vec<(usize, usize)>,
    overridden: Vec<(usize, usize)>,
}

/// A symbol of the result.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named<'data> {
    pub(super) name: &'data str,
    pub(super) home: Home,
    pub(super) size: u64,
    pub(super) kind: SymbolKind,
    pub(super) binding: Binding,
    pub(super) is_hidden: bool,
    /// The object that defines it, or the first that uses it.
    pub(super) part: usize,
}

/// Where a symbol of the result is defined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Home {
    /// In none of the objects.
    Open,
    /// At an offset of a section.
    At(Spot),
    /// In no section: a constant.
    Constant(u64),
}

/// What a symbol of an object became.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Became {
    /// Nothing: it names what the result does not have.
    Nothing,
    /// The start of one of the object's sections.
    Section(Spot),
    /// A symbol of the result.
    Symbol(usize),
}

impl<'data> Names<'data> {
    /// Decides for all names.
    ///
    /// # Errors
    ///
    /// Code L017 for a name with two definitions that are not weak, L018 if a name is a function here and a variable there.
    pub(super) fn resolve(parts: &[Part<'data>], layout: &Layout<'data>) -> Result<Self> {
        let mut names = Self {
            list: Vec::new(),
            became: Vec::new(),
            bound: Vec::new(),
            overridden: Vec::new(),
        };
        let mut visible: BTreeMap<&str, usize> = BTreeMap::new();
        for (position, part) in parts.iter().enumerate() {
            let mut became = Vec::with_capacity(part.elf.symbols.len());
            for symbol in &part.elf.symbols {
                let one = match names.placed(part, position, symbol, layout)? {
                    Placed::Section(spot) => Became::Section(spot),
                    Placed::Left => Became::Nothing,
                    Placed::Named(named) if named.binding == Binding::Local => {
                        names.list.push(named);
                        Became::Symbol(names.list.len() - 1)
                    }
                    Placed::Named(named) => {
                        let next = names.list.len();
                        let known = *visible.entry(named.name).or_insert(next);
                        match known == next {
                            true => names.list.push(named),
                            false => names.decide(parts, known, named)?,
                        }
                        Became::Symbol(known)
                    }
                };
                became.push(one);
            }
            names.became.push(became);
        }
        names.note_uses(parts);
        Ok(names)
    }

    /// What a symbol of an object became.
    pub(super) fn became(&self, part: usize, symbol: usize) -> Became {
        let found = self.became.get(part).and_then(|table| table.get(symbol));
        found.copied().unwrap_or(Became::Nothing)
    }

    /// Names that are used in one object and defined in another.
    pub(super) fn bound(&self, parts: &[Part<'_>]) -> Vec<Bound> {
        self.told(&self.bound, parts)
    }

    /// Weak definitions that gave way.
    pub(super) fn overridden(&self, parts: &[Part<'_>]) -> Vec<Bound> {
        self.told(&self.overridden, parts)
    }

    /// Names that none defines.
    pub(super) fn open(&self) -> Vec<String> {
        let open = self.list.iter().filter(|each| each.home == Home::Open);
        open.map(|each| each.name.to_owned()).collect()
    }

    fn told(&self, pairs: &[(usize, usize)], parts: &[Part<'_>]) -> Vec<Bound> {
        let one = |(number, part): &(usize, usize)| {
            let named = &self.list[*number];
            Bound {
                name: named.name.to_owned(),
                in_object: parts[*part].name.to_owned(),
                to_object: parts[named.part].name.to_owned(),
            }
        };
        pairs.iter().map(one).collect()
    }

    /// A symbol in terms of the result.
    fn placed(
        &self,
        part: &Part<'data>,
        position: usize,
        symbol: &Symbol<'data>,
        layout: &Layout<'data>,
    ) -> Result<Placed<'data>> {
        let home = match symbol.place {
            SymbolPlace::Undefined if symbol.name.is_empty() => return Ok(Placed::Left),
            SymbolPlace::Undefined => Home::Open,
            SymbolPlace::Absolute if symbol.kind == SymbolKind::Other => return Ok(Placed::Left),
            SymbolPlace::Absolute => Home::Constant(symbol.value),
            SymbolPlace::Common => {
                let message = format!("`{}` is in no section yet", symbol.name);
                let error = Diagnosis::new(Code::UNSUPPORTED_REFERENCE, message)
                    .help("compile with `-fno-common`");
                return Err(crate::diagnosis::Error::from(error).in_file(part.name));
            }
            SymbolPlace::Section(index) => match layout.spot(position, index) {
                None => return Ok(Placed::Left),
                Some(spot) if symbol.kind == SymbolKind::Section => {
                    return Ok(Placed::Section(spot));
                }
                Some(spot) => {
                    let start = spot.start.checked_add(symbol.value).ok_or_else(|| {
                        let message = format!("`{}` is no place", symbol.name);
                        part.error(Code::MALFORMED_ELF, ".symtab", 0, message)
                    })?;
                    Home::At(Spot { start, ..spot })
                }
            },
        };
        Ok(Placed::Named(Named {
            name: symbol.name,
            home,
            size: symbol.size,
            kind: symbol.kind,
            binding: symbol.binding,
            is_hidden: symbol.is_hidden,
            part: position,
        }))
    }

    /// Decides between what a name meant so far and another object's idea of it.
    fn decide(&mut self, parts: &[Part<'_>], number: usize, other: Named<'data>) -> Result<()> {
        let known = self.list[number];
        let is_function = |named: Named<'_>| match named.kind {
            SymbolKind::Function => Some(true),
            SymbolKind::Variable => Some(false),
            _ => None,
        };
        if let (Some(one), Some(two)) = (is_function(known), is_function(other))
            && one != two
        {
            let what = format!("disagree about `{}`: a function and a variable", known.name);
            return Err(disagree(&parts[known.part], &parts[other.part], &what));
        }
        let is_hidden = known.is_hidden || other.is_hidden;
        let mut winner = match (known.home, other.home) {
            (Home::Open, Home::Open) => {
                let is_weak = known.binding == Binding::Weak && other.binding == Binding::Weak;
                let binding = if is_weak {
                    Binding::Weak
                } else {
                    Binding::Global
                };
                Named { binding, ..known }
            }
            (_, Home::Open) => known,
            (Home::Open, _) => other,
            _ if other.binding == Binding::Weak => {
                self.overridden.push((number, other.part));
                known
            }
            _ if known.binding == Binding::Weak => {
                self.overridden.push((number, known.part));
                other
            }
            _ => {
                let (one, two) = (parts[known.part].name, parts[other.part].name);
                let message = format!("`{}` is defined in `{one}` and in `{two}`", known.name);
                return Err(Diagnosis::new(Code::DEFINED_TWICE, message)
                    .help(format!(
                        "declare it `extern` in one of them, or mark the definition that may be replaced `__weak`: `{}`",
                        known.name
                    ))
                    .into());
            }
        };
        winner.is_hidden = is_hidden;
        self.list[number] = winner;
        Ok(())
    }

    /// Notes which objects use what another defines.
    fn note_uses(&mut self, parts: &[Part<'_>]) {
        for (position, part) in parts.iter().enumerate() {
            for (number, symbol) in part.elf.symbols.iter().enumerate() {
                let Became::Symbol(named) = self.became(position, number) else {
                    continue;
                };
                let is_use = symbol.place == SymbolPlace::Undefined;
                if is_use && self.list[named].home != Home::Open {
                    self.bound.push((named, position));
                }
            }
        }
    }
}

/// A symbol of an object in terms of the result.
enum Placed<'data> {
    Left,
    Section(Spot),
    Named(Named<'data>),
}
