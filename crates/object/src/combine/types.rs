//! What the objects say about types, functions, lines and CO-RE, said once for all of them.
//!
//! A name that other objects can see is one function or variable, as its definition declares it; the other declarations must
//! agree with that (`agree.rs`) and are replaced by it. The lists of variables are made anew from the symbols, because only
//! they say where a variable came to stand. Then equal types become one.

use std::collections::{BTreeMap, HashMap};

use super::agree;
use super::disagree;
use super::layout::{Layout, Spot};
use super::names::{Became, Home, Named, Names};
use super::part::Part;
use crate::btf::{
    Btf, BtfBuilder, DataSection, ExtRecords, LineRecord, Linkage, Name, Placed, RelocationRecord,
    SectionVariable, Type, TypeId,
};
use crate::diagnosis::Result;
use crate::order;

/// The sections about types, if any object has types.
#[derive(Debug, Default)]
pub(super) struct MergedTypes {
    pub(super) btf: Option<Vec<u8>>,
    pub(super) ext: Option<Vec<u8>>,
}

/// Merges the types of all objects.
///
/// # Errors
///
/// Code L018 if a name has different types in two objects; O013 for malformed records.
pub(super) fn merge(
    parts: &[Part<'_>],
    layout: &Layout<'_>,
    names: &Names<'_>,
) -> Result<MergedTypes> {
    let Some(first) = parts.iter().find(|part| part.btf.is_some()) else {
        return Ok(MergedTypes::default());
    };
    let deciding = deciding(parts, names)?;
    let mut merging = Merging::new(parts, layout, names, &deciding);
    merging.copy(&deciding);
    merging.list_variables();
    let mut records = merging.records()?;
    let mut builder = merging.builder;
    let renumbering = builder.dedup();
    records.visit_types_mut(&|id| renumbering.of(id));
    let order = first.elf.byte_order;
    let ext = (!records.is_empty()).then(|| records.encode(order));
    Ok(MergedTypes {
        btf: Some(builder.encode(order)?),
        ext: ext.transpose()?,
    })
}

/// A type of an object: the object's position, and the number in its BTF.
type Of = (usize, TypeId);

/// Which declarations stand for others: of each name that several objects declare, the definition's.
#[derive(Debug, Default)]
struct Deciding<'a> {
    /// By the declaration that is replaced.
    instead: HashMap<Of, Of>,
    /// Those that replace, with the symbol.
    chosen: HashMap<Of, &'a Named<'a>>,
}

fn deciding<'a>(parts: &'a [Part<'_>], names: &'a Names<'_>) -> Result<Deciding<'a>> {
    let mut by_name: BTreeMap<&str, Vec<Of>> = BTreeMap::new();
    for (position, part) in parts.iter().enumerate() {
        for (name, id) in &part.declared {
            by_name.entry(name).or_default().push((position, *id));
        }
    }
    let mut deciding = Deciding::default();
    for named in &names.list {
        // A name is local and visible in different objects at most; only visible ones are declared so.
        if named.binding == crate::elf::Binding::Local {
            continue;
        }
        let Some(all) = by_name.get(named.name) else {
            continue;
        };
        let definition = all.iter().find(|(part, _)| *part == named.part);
        let Some(chosen) = definition.or(all.first()).copied() else {
            continue;
        };
        deciding.chosen.insert(chosen, named);
        for other in all.iter().filter(|other| **other != chosen) {
            check(parts, named, chosen, *other)?;
            deciding.instead.insert(*other, chosen);
        }
    }
    Ok(deciding)
}

fn check(parts: &[Part<'_>], named: &Named<'_>, chosen: Of, other: Of) -> Result<()> {
    let (one, two) = (&parts[chosen.0], &parts[other.0]);
    let (Some(here), Some(there)) = (&one.btf, &two.btf) else {
        return Ok(());
    };
    match agree::declarations((here, chosen.1), (there, other.1)) {
        Ok(()) => Ok(()),
        Err(difference) => {
            let what = format!("disagree about the type of `{}`: {difference}", named.name);
            Err(disagree(one, two, &what).map(|diagnosis| {
                diagnosis.help("declare it in one header that both objects include")
            }))
        }
    }
}

/// The merged types while they are made.
struct Merging<'a, 'data> {
    parts: &'a [Part<'data>],
    layout: &'a Layout<'data>,
    names: &'a Names<'data>,
    builder: BtfBuilder,
    /// Of each object, the new number of each type.
    numbers: Vec<Vec<TypeId>>,
}

impl<'a, 'data> Merging<'a, 'data> {
    /// Gives every type that is kept its number.
    fn new(
        parts: &'a [Part<'data>],
        layout: &'a Layout<'data>,
        names: &'a Names<'data>,
        deciding: &Deciding<'_>,
    ) -> Self {
        let mut numbers: Vec<Vec<TypeId>> = Vec::with_capacity(parts.len());
        let mut next = 1u32;
        for (position, part) in parts.iter().enumerate() {
            let mut own = Vec::new();
            for (id, found) in part.btf.iter().flat_map(Btf::iter) {
                let is_kept = id != TypeId::VOID
                    && !matches!(found, Type::DataSection(_))
                    && !deciding.instead.contains_key(&(position, id));
                own.push(if is_kept { TypeId(next) } else { TypeId::VOID });
                next = next.saturating_add(u32::from(is_kept));
            }
            numbers.push(own);
        }
        for (from, to) in &deciding.instead {
            numbers[from.0][from.1.get()] = numbers[to.0][to.1.get()];
        }
        Self {
            parts,
            layout,
            names,
            builder: BtfBuilder::new(),
            numbers,
        }
    }

    /// Copies every type that is kept, in the order of the numbers.
    fn copy(&mut self, deciding: &Deciding<'_>) {
        for (position, part) in self.parts.iter().enumerate() {
            let Some(btf) = &part.btf else { continue };
            let numbers = &self.numbers[position];
            for (id, found) in btf.iter().skip(1) {
                let of = (position, id);
                if matches!(found, Type::DataSection(_)) || deciding.instead.contains_key(&of) {
                    continue;
                }
                let mut copy = self
                    .builder
                    .copied(btf, found, &mut |id| numbered(numbers, id));
                // A definition without types of its own leaves the declaration of whoever uses it.
                let is_defined = |named: &&Named<'_>| named.home != Home::Open;
                if deciding.chosen.get(&of).is_some_and(is_defined) {
                    define(&mut copy);
                }
                self.builder.add(copy);
            }
        }
    }

    /// Lists the variables of each section with their new places.
    fn list_variables(&mut self) {
        let mut lists: Vec<(&'a str, Vec<SectionVariable>)> = Vec::new();
        let mut places: BTreeMap<&'a str, usize> = BTreeMap::new();
        for (position, part) in self.parts.iter().enumerate() {
            let Some(btf) = &part.btf else { continue };
            let symbols = part.symbols_by_place();
            for (_, found) in btf.iter() {
                let Type::DataSection(section) = found else {
                    continue;
                };
                let name = btf.text(section.name);
                let next = lists.len();
                let list = *places.entry(name).or_insert(next);
                if list == next {
                    lists.push((name, Vec::new()));
                }
                for placed in &section.variables {
                    let variable = btf.name_of(placed.variable);
                    let symbol = symbols
                        .get(&(variable, Some(name)))
                        .or_else(|| symbols.get(&(variable, None)));
                    let offset = symbol.and_then(|symbol| self.place(position, *symbol, name));
                    if let Some(offset) = offset {
                        lists[list].1.push(SectionVariable {
                            variable: numbered(&self.numbers[position], placed.variable),
                            offset,
                            size: placed.size,
                        });
                    }
                }
            }
        }
        for (name, mut variables) in lists {
            if variables.is_empty() {
                continue;
            }
            order::sort_by_key(&mut variables, |placed| placed.offset);
            let whole = self.layout.wholes.iter().find(|whole| whole.name == name);
            let size = whole.and_then(|whole| u32::try_from(whole.size).ok());
            let name = self.builder.name(name);
            self.builder.add(Type::DataSection(DataSection {
                name,
                size: size.unwrap_or_default(),
                variables,
            }));
        }
    }

    /// Where a variable of an object came to stand in the section, if this object is the one that says what it is.
    fn place(&self, part: usize, symbol: usize, section: &str) -> Option<u32> {
        let Became::Symbol(number) = self.names.became(part, symbol) else {
            return None;
        };
        let named = &self.names.list[number];
        match named.home {
            _ if named.part != part => None,
            Home::Open => Some(0),
            Home::At(Spot { whole, start }) if self.layout.wholes[whole].name == section => {
                u32::try_from(start).ok()
            }
            Home::At(_) | Home::Constant(_) => None,
        }
    }

    /// The records about code, with the new numbers and places.
    fn records(&mut self) -> Result<ExtRecords> {
        let mut records = ExtRecords::default();
        for (position, part) in self.parts.iter().enumerate() {
            let (Some(btf), Some(ext)) = (&part.btf, &part.ext) else {
                continue;
            };
            let mut moving = Moving {
                btf,
                numbers: &self.numbers[position],
                spots: spots(part, position, self.layout),
                builder: &mut self.builder,
            };
            let in_file = |error: crate::diagnosis::Error| error.in_file(part.name);
            for placed in ext.functions(btf).map_err(in_file)? {
                if let Some((section, offset)) = moving.place(&placed) {
                    let function = numbered(moving.numbers, placed.record);
                    records.function(section, offset, function);
                }
            }
            let lines = ext.lines(btf, |placed| {
                if let Some((section, offset)) = moving.place(&placed) {
                    records.line(section, offset, moving.line(placed.record));
                }
                Ok(())
            });
            lines.map_err(in_file)?;
            for placed in ext.relocations(btf).map_err(in_file)? {
                if let Some((section, offset)) = moving.place(&placed) {
                    records.relocation(section, offset, moving.relocation(placed.record));
                }
            }
        }
        Ok(records)
    }
}

/// Where the sections of code of an object came to stand, by name.
fn spots<'data>(
    part: &Part<'data>,
    position: usize,
    layout: &Layout<'_>,
) -> BTreeMap<&'data str, Spot> {
    let kept = part.kept_by_name().into_iter();
    kept.filter_map(|(name, section)| Some((name, layout.spot(position, section.index)?)))
        .collect()
}

/// The records of one object on their way.
struct Moving<'a, 'data> {
    btf: &'a Btf,
    numbers: &'a [TypeId],
    spots: BTreeMap<&'data str, Spot>,
    builder: &'a mut BtfBuilder,
}

impl Moving<'_, '_> {
    /// The section of a record in the result, and the offset there; nothing if the result does not have the section.
    fn place<T>(&mut self, placed: &Placed<T>) -> Option<(Name, u32)> {
        let section = self.btf.text(placed.section);
        let start = u32::try_from(self.spots.get(section)?.start).ok()?;
        let offset = placed.offset.checked_add(start)?;
        Some((self.builder.name(section), offset))
    }

    fn line(&mut self, line: LineRecord) -> LineRecord {
        LineRecord {
            file: self.name(line.file),
            text: self.name(line.text),
            ..line
        }
    }

    fn relocation(&mut self, record: RelocationRecord) -> RelocationRecord {
        RelocationRecord {
            root: numbered(self.numbers, record.root),
            path: self.name(record.path),
            kind: record.kind,
        }
    }

    fn name(&mut self, name: Name) -> Name {
        self.builder.name(self.btf.text(name))
    }
}

/// The new number of a type of an object.
fn numbered(numbers: &[TypeId], id: TypeId) -> TypeId {
    numbers.get(id.get()).copied().unwrap_or_default()
}

/// Makes a declaration one of something that is defined.
fn define(declared: &mut Type) {
    let linkage = match declared {
        Type::Function(function) => &mut function.linkage,
        Type::Variable(variable) => &mut variable.linkage,
        _ => return,
    };
    if *linkage == Linkage::Extern {
        *linkage = Linkage::Global;
    }
}
