//! Addresses of the kernel's symbols, found by name in one pass over its list of all of them.
//!
//! ```text
//! ffffffff81000000 T _text
//! ffffffffc0a01000 t nf_hook_entry   [netfilter]
//! 0000000000000000 T _text            to whom the addresses are not shown
//! ```

use std::collections::BTreeMap;

/// The symbols that somebody asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KernelSymbols {
    /// Where the list is, or why it could not be read; for messages.
    pub origin: String,
    /// What was found of every name asked for; one that is not here was not found.
    pub addresses: BTreeMap<String, SymbolAddress>,
    /// Whether any address was shown; if not, this process may not see them.
    pub are_shown: bool,
}

/// Where a symbol is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SymbolAddress {
    /// In one place.
    At(u64),
    /// In several: these are two of them.
    Ambiguous(u64, u64),
}

impl KernelSymbols {
    /// Nothing known.
    pub const fn new() -> Self {
        Self {
            origin: String::new(),
            addresses: BTreeMap::new(),
            are_shown: false,
        }
    }

    /// Takes the wanted symbols out of lines such as those of `/proc/kallsyms`, all of them or some; those that say nothing of
    /// the kind are passed over.
    pub fn read(&mut self, lines: &[u8], is_wanted: impl Fn(&str) -> bool) {
        for (address, name) in lines.split(|byte| *byte == b'\n').filter_map(symbol_of) {
            self.are_shown |= address != 0;
            let name = without_suffix(name);
            if is_wanted(name) {
                self.add(name, address);
            }
        }
    }

    fn add(&mut self, name: &str, address: u64) {
        match self.addresses.get_mut(name) {
            None => {
                let at = SymbolAddress::At(address);
                self.addresses.insert(name.to_owned(), at);
            }
            Some(known) => {
                if let SymbolAddress::At(first) = *known
                    && first != address
                {
                    *known = SymbolAddress::Ambiguous(first, address);
                }
            }
        }
    }
}

/// The list has a hundred thousand lines, so names become text only after the address was understood.
fn symbol_of(line: &[u8]) -> Option<(u64, &str)> {
    let mut words = line
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    let address = std::str::from_utf8(words.next()?).ok()?;
    let address = u64::from_str_radix(address, 16).ok()?;
    let name = words.nth(1)?;
    Some((address, std::str::from_utf8(name).ok()?))
}

/// KERNEL: one that was built with link-time optimisation gives static symbols a suffix (`name.llvm.123`).
fn without_suffix(name: &str) -> &str {
    name.split_once(".llvm.").map_or(name, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> KernelSymbols {
        let mut symbols = KernelSymbols::new();
        symbols.read(text.as_bytes(), |name| name.starts_with('w'));
        symbols
    }

    #[test]
    fn wanted_symbols_are_found_wherever_they_are() {
        let text = "ffffffff81000000 T _text\nffffffff81000010 t one.llvm.12\n0000000000000000 D wa\n\n\
                    ffffffff81000020 t wb.llvm.34\nffffffffc0000000 t wc\t[module]\nnonsense\nzz T wd\n";
        let symbols = read(text);
        let expected = [
            ("wa", 0),
            ("wb", 0xffff_ffff_8100_0020),
            ("wc", 0xffff_ffff_c000_0000),
        ]
        .map(|(name, address)| (name.to_owned(), SymbolAddress::At(address)));
        assert_eq!(symbols.addresses, BTreeMap::from(expected));
        assert!(symbols.are_shown);
    }

    #[test]
    fn two_places_of_one_name_are_told_apart_from_one_place_said_twice() {
        let symbols = read("10 t wa\n20 t wa\n30 t wb\n30 t wb\n");
        assert_eq!(symbols.addresses["wa"], SymbolAddress::Ambiguous(16, 32));
        assert_eq!(symbols.addresses["wb"], SymbolAddress::At(48));
    }

    #[test]
    fn a_list_of_zeros_means_that_addresses_are_not_shown() {
        let symbols = read("0 T a\n0 T wb\n");
        assert!(!symbols.are_shown);
        assert_eq!(symbols.addresses["wb"], SymbolAddress::At(0));
    }
}
