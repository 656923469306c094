//! A section of maps as both of its readers need it: the variables in it, with their sizes.

use crate::diagnosis::{Code, Diagnosis, Error, Result};
use crate::elf::{Elf, Section, Symbol, SymbolKind};
use crate::order;

use super::extents;

/// One section of maps, as its two readers need it.
#[derive(Debug)]
pub(super) struct MapsSection<'data> {
    /// The section's name.
    pub(super) name: &'data str,
    /// Its bytes.
    pub(super) data: &'data [u8],
    /// The variables in it, by offset.
    pub(super) variables: Vec<MapVariable<'data>>,
}

/// A variable in a section of maps.
#[derive(Debug, Clone, Copy)]
pub(super) struct MapVariable<'data> {
    /// Its name.
    pub(super) name: &'data str,
    /// Where it starts in the section.
    pub(super) offset: u64,
    /// Its size; where the symbol does not say, the distance to the next one or to the section's end.
    pub(super) size: u64,
}

impl<'data> MapsSection<'data> {
    /// Gathers the variables of a section.
    ///
    /// # Errors
    ///
    /// If one of them does not fit the section.
    pub(super) fn read(elf: &Elf<'data>, section: &Section<'data>) -> Result<Self> {
        let mut symbols: Vec<&Symbol<'data>> = elf
            .symbols_in(section.index)
            .filter(|symbol| {
                matches!(symbol.kind, SymbolKind::Untyped | SymbolKind::Variable)
                    && !symbol.name.is_empty()
            })
            .collect();
        order::sort_by_key(&mut symbols, |symbol| symbol.value);
        let mut variables = Vec::with_capacity(symbols.len());
        for (position, symbol) in symbols.iter().enumerate() {
            let size = extents::size_of(section, &symbols, position).map_err(|size| {
                let message = format!(
                    "`{}` of {size} bytes does not fit the section of {} bytes",
                    symbol.name, section.size
                );
                malformed(section.name, symbol.value, message)
            })?;
            variables.push(MapVariable {
                name: symbol.name,
                offset: symbol.value,
                size,
            });
        }
        Ok(Self {
            name: section.name,
            data: section.data,
            variables,
        })
    }
}

/// A definition that cannot be what it says.
pub(super) fn malformed(section: &str, offset: u64, message: String) -> Error {
    Diagnosis::new(Code::MAP_DEFINITION, message)
        .at(section, offset)
        .into()
}
