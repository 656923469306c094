//! How far a symbol reaches in its section, also where the compiler did not say.

use crate::elf::{Section, Symbol};

/// The size of the symbol at `position`: its own, or for size 0 the distance to the next one or to the section's end.
/// `symbols` are those of the section, by place.
///
/// # Errors
///
/// The size, if the symbol does not fit its section.
pub(super) fn size_of(
    section: &Section<'_>,
    symbols: &[&Symbol<'_>],
    position: usize,
) -> Result<u64, u64> {
    let Some(symbol) = symbols.get(position) else {
        return Ok(0);
    };
    let next = symbols
        .get(position + 1)
        .map_or(section.size, |next| next.value);
    let size = match symbol.size {
        0 => next.saturating_sub(symbol.value),
        size => size,
    };
    if symbol.value.saturating_add(size) > section.size {
        return Err(size);
    }
    Ok(size)
}
