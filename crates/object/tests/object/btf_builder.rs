//! BTF made by hand, for types that no compiler at hand writes.

use twinbpf_object::btf::Btf;
use twinbpf_object::spec::ByteOrder;

pub(crate) const INT: u32 = 1;
pub(crate) const POINTER: u32 = 2;
pub(crate) const ARRAY: u32 = 3;
pub(crate) const STRUCT: u32 = 4;
pub(crate) const ENUM: u32 = 6;
pub(crate) const FORWARD: u32 = 7;
pub(crate) const TYPEDEF: u32 = 8;
pub(crate) const CONST: u32 = 10;
pub(crate) const PROTOTYPE: u32 = 13;
pub(crate) const VARIABLE: u32 = 14;
pub(crate) const DATA_SECTION: u32 = 15;
pub(crate) const FLOAT: u32 = 16;
pub(crate) const DECL_TAG: u32 = 17;
pub(crate) const TYPE_TAG: u32 = 18;
pub(crate) const ENUM64: u32 = 19;

/// The kind flag in the info word.
pub(crate) const FLAG: u32 = 1 << 31;

/// Collects types, then writes the section.
pub(crate) struct BtfBuilder {
    order: ByteOrder,
    types: Vec<u32>,
    strings: Vec<u8>,
    count: u32,
}

impl BtfBuilder {
    pub(crate) fn new(order: ByteOrder) -> Self {
        Self {
            order,
            types: Vec::new(),
            strings: vec![0],
            count: 0,
        }
    }

    /// The offset of a name.
    pub(crate) fn name(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let offset = u32::try_from(self.strings.len()).unwrap();
        self.strings.extend(text.bytes().chain([0]));
        offset
    }

    /// Adds a type from its words and gives its number. `kind` may have flags and a count in it.
    pub(crate) fn raw(&mut self, name: &str, info: u32, size_or_target: u32, rest: &[u32]) -> u32 {
        let name = self.name(name);
        self.types.extend([name, info, size_or_target]);
        self.types.extend(rest);
        self.count += 1;
        self.count
    }

    /// Adds a type without entries.
    pub(crate) fn plain(&mut self, kind: u32, name: &str, size_or_target: u32) -> u32 {
        self.raw(name, kind << 24, size_or_target, &[])
    }

    pub(crate) fn int(&mut self, size: u32) -> u32 {
        self.raw("number", INT << 24, size, &[size * 8])
    }

    pub(crate) fn array(&mut self, element: u32, length: u32) -> u32 {
        self.raw("", ARRAY << 24, 0, &[element, element, length])
    }

    /// Adds a struct whose members lie one after another, eight bytes each.
    pub(crate) fn structure(&mut self, members: &[(&str, u32)]) -> u32 {
        let mut rest = Vec::new();
        for (position, (name, target)) in (0..).zip(members) {
            rest.extend([self.name(name), *target, position * 64]);
        }
        let count = u32::try_from(members.len()).unwrap();
        self.raw("", STRUCT << 24 | count, count * 8, &rest)
    }

    /// A pointer to an array of that length: a number, in map definitions.
    pub(crate) fn number(&mut self, number: u32) -> u32 {
        let int = self.int(4);
        let array = self.array(int, number);
        self.plain(POINTER, "", array)
    }

    /// Adds a variable and the section it is in.
    pub(crate) fn variable_in(&mut self, section: &str, name: &str, target: u32) {
        let variable = self.raw(name, VARIABLE << 24, target, &[1]);
        self.raw(section, DATA_SECTION << 24 | 1, 0, &[variable, 0, 0]);
    }

    pub(crate) fn build(&self) -> Vec<u8> {
        let word = |word: u32| match self.order {
            ByteOrder::Little => word.to_le_bytes(),
            ByteOrder::Big => word.to_be_bytes(),
        };
        let magic = match self.order {
            ByteOrder::Little => [0x9f, 0xeb],
            ByteOrder::Big => [0xeb, 0x9f],
        };
        let types: Vec<u8> = self.types.iter().copied().flat_map(word).collect();
        let types_length = u32::try_from(types.len()).unwrap();
        let strings_length = u32::try_from(self.strings.len()).unwrap();
        let mut bytes = [&magic[..], &[1, 0]].concat();
        for number in [24, 0, types_length, types_length, strings_length] {
            bytes.extend(word(number));
        }
        bytes.extend(types);
        bytes.extend(&self.strings);
        bytes
    }

    pub(crate) fn parse(&self) -> twinbpf_object::Result<Btf> {
        Btf::parse(&self.build(), self.order)
    }
}
