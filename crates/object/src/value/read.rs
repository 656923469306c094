//! Bytes as values of their type, as BTF describes it.
//!
//! Types come from a file, so nothing here trusts them: nesting is limited, a type larger than the bytes at hand gives no value,
//! and the bytes bound how many elements there can be.

use std::fmt;

use super::Types;
use crate::btf::{Array, Bitfield, Composite, Enumeration, Integer, IntegerEncoding, Type, TypeId};
use crate::bytes::ByteOrder;

/// A value, its members in the order of their declaration.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Yes or no.
    Bool(bool),
    /// A number without a sign.
    Unsigned(u64),
    /// A number with a sign.
    Signed(i64),
    /// A floating-point number.
    Float(f64),
    /// A text, the name of an enumerator, an address, or a number of more than 64 bits.
    Text(String),
    /// The elements of an array.
    List(Vec<Self>),
    /// The members of a struct or union, by name; those without a name by position: `(0)`.
    Fields(Vec<(String, Self)>),
}

/// One line, as C would write it: `{a: 1, b: [2, 3]}`.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Unsigned(value) => value.fmt(f),
            Self::Signed(value) => value.fmt(f),
            Self::Float(value) => value.fmt(f),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::List(elements) => {
                let elements: Vec<String> = elements.iter().map(Self::to_string).collect();
                write!(f, "[{}]", elements.join(", "))
            }
            Self::Fields(fields) => {
                let field = |(name, value): &(String, Self)| format!("{name}: {value}");
                let fields: Vec<String> = fields.iter().map(field).collect();
                write!(f, "{{{}}}", fields.join(", "))
            }
        }
    }
}

/// Deepest nesting that is shown.
pub(super) const DEEPEST: u32 = 24;

impl Types<'_> {
    /// What a declaration would say: `u32`, `struct flow *`, `char[16]`.
    pub fn name(self, id: TypeId) -> String {
        self.name_within(id, DEEPEST)
    }

    fn name_within(self, id: TypeId, depth: u32) -> String {
        let own = self.btf.name_of(id);
        let Some((found, depth)) = self.btf.get(id).zip(depth.checked_sub(1)) else {
            return "?".to_owned();
        };
        match found {
            Type::Void => "void".to_owned(),
            Type::Pointer(target) => format!("{} *", self.name_within(*target, depth)),
            Type::Array(array) => {
                let element = self.name_within(array.element, depth);
                format!("{element}[{}]", array.length)
            }
            Type::Struct(_) | Type::Union(_) | Type::Enumeration(_) => {
                format!("{} {own}", found.kind_word()).trim_end().to_owned()
            }
            Type::FunctionPrototype(_) => "function".to_owned(),
            _ if !own.is_empty() => own.to_owned(),
            other => match other.alias_of() {
                Some(target) => self.name_within(target, depth),
                None => other.kind_word().to_owned(),
            },
        }
    }

    /// The value in `bytes`; `None` if type and bytes do not fit.
    pub fn value(self, id: TypeId, bytes: &[u8]) -> Option<Value> {
        self.value_within(id, bytes, DEEPEST)
    }

    fn value_within(self, id: TypeId, bytes: &[u8], depth: u32) -> Option<Value> {
        let depth = depth.checked_sub(1)?;
        let (_, found) = self.btf.resolve(id).ok()?;
        match found {
            Type::Integer(integer) => self.integer(integer, self.first(bytes, integer.size)?),
            Type::Enumeration(all) => Some(self.enumerator(all, self.first(bytes, all.size)?)),
            Type::Pointer(_) => {
                let address = self.unsigned(self.first(bytes, 8)?)?;
                Some(Value::Text(format!("{address:#x}")))
            }
            Type::Array(array) => self.array(array, bytes, depth),
            Type::Struct(whole) | Type::Union(whole) => self.members(whole, bytes, depth),
            Type::Float { size, .. } => self.float(self.first(bytes, *size)?),
            _ => None,
        }
    }

    fn first(self, bytes: &[u8], size: u32) -> Option<&[u8]> {
        bytes.get(..usize::try_from(size).ok()?)
    }

    /// A number of at most 16 bytes.
    fn unsigned(self, bytes: &[u8]) -> Option<u128> {
        let mut wide = [0; 16];
        let place = wide.get_mut(..bytes.len())?;
        place.copy_from_slice(bytes);
        if self.order == ByteOrder::Big {
            place.reverse();
        }
        Some(u128::from_le_bytes(wide))
    }

    fn integer(self, integer: &Integer, bytes: &[u8]) -> Option<Value> {
        let value = self.unsigned(bytes)?;
        let bits = u32::try_from(bytes.len()).ok()? * 8;
        Some(match integer.encoding {
            IntegerEncoding::Bool if value <= 1 => Value::Bool(value == 1),
            IntegerEncoding::Signed => signed(value, bits),
            _ => unsigned(value),
        })
    }

    fn enumerator(self, all: &Enumeration, bytes: &[u8]) -> Value {
        let value = self.unsigned(bytes).unwrap_or_default();
        let bits = all.size.saturating_mul(8);
        let cut = |number: u64| u128::from(number) & mask(bits);
        let named = all.enumerators.iter().find(|each| cut(each.value) == value);
        match named {
            Some(named) => Value::Text(self.btf.text(named.name).to_owned()),
            None if all.is_signed => signed(value, bits),
            None => unsigned(value),
        }
    }

    fn float(self, bytes: &[u8]) -> Option<Value> {
        let number = match (bytes.len(), self.unsigned(bytes)?) {
            (4, bits) => f64::from(f32::from_bits(u32::try_from(bits).ok()?)),
            (8, bits) => f64::from_bits(u64::try_from(bits).ok()?),
            _ => return None,
        };
        Some(Value::Float(number))
    }

    fn array(self, array: &Array, bytes: &[u8], depth: u32) -> Option<Value> {
        let size = usize::try_from(self.btf.size_of(array.element).ok()?).ok()?;
        let length = usize::try_from(array.length).ok()?;
        let whole = bytes.get(..size.checked_mul(length)?)?;
        if self.is_character(array.element)
            && let Some(text) = text_of(whole)
        {
            return Some(Value::Text(text.to_owned()));
        }
        if size == 0 {
            return Some(Value::List(Vec::new()));
        }
        let elements = whole
            .chunks_exact(size)
            .map(|element| self.value_within(array.element, element, depth));
        elements.collect::<Option<Vec<_>>>().map(Value::List)
    }

    pub(super) fn is_character(self, id: TypeId) -> bool {
        let found = self.btf.resolve(id).ok();
        found.is_some_and(|(id, found)| match found {
            Type::Integer(integer) => {
                integer.size == 1
                    && (integer.encoding == IntegerEncoding::Char || self.btf.name_of(id) == "char")
            }
            _ => false,
        })
    }

    fn members(self, whole: &Composite, bytes: &[u8], depth: u32) -> Option<Value> {
        let bytes = self.first(bytes, whole.size)?;
        let mut fields = Vec::with_capacity(whole.members.len());
        for (position, member) in whole.members.iter().enumerate() {
            let name = match self.btf.text(member.name) {
                "" => format!("({position})"),
                name => name.to_owned(),
            };
            let value = match member.bitfield {
                Some(width) => self.bitfield(bytes, member.offset_bits, width),
                None => {
                    let start = usize::try_from(member.offset_bits / 8).ok()?;
                    self.value_within(member.target, bytes.get(start..)?, depth)
                }
            };
            fields.push((name, value?));
        }
        Some(Value::Fields(fields))
    }

    /// The bits of a bit field, as a number without sign.
    fn bitfield(self, bytes: &[u8], offset_bits: u32, width: Bitfield) -> Option<Value> {
        let first = usize::try_from(offset_bits / 8).ok()?;
        let shift = offset_bits % 8;
        let width = u32::from(width.0);
        let covering = usize::try_from((shift + width).div_ceil(8)).ok()?;
        let value = self.unsigned(bytes.get(first..first.checked_add(covering)?)?)?;
        let value = match self.order {
            ByteOrder::Little => value >> shift,
            // The first bits are the most significant ones.
            ByteOrder::Big => value >> (u32::try_from(covering).ok()? * 8 - shift - width),
        };
        Some(unsigned(value & mask(width)))
    }
}

pub(super) fn mask(bits: u32) -> u128 {
    1u128.checked_shl(bits).map_or(u128::MAX, |bit| bit - 1)
}

fn unsigned(value: u128) -> Value {
    match u64::try_from(value) {
        Ok(value) => Value::Unsigned(value),
        Err(_) => Value::Text(format!("{value:#x}")),
    }
}

fn signed(value: u128, bits: u32) -> Value {
    let unused = 128u32.saturating_sub(bits).min(127);
    let value = (value << unused).cast_signed() >> unused;
    match i64::try_from(value) {
        Ok(value) => Value::Signed(value),
        Err(_) => Value::Text(value.to_string()),
    }
}

/// The text of a string with its zero; `None` for other bytes. What follows the zero must be zeros.
pub fn text_of(bytes: &[u8]) -> Option<&str> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let (text, rest) = bytes.split_at_checked(end)?;
    if rest.iter().any(|byte| *byte != 0) {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?;
    let is_readable = |c: char| !c.is_control() || c.is_ascii_whitespace();
    text.chars().all(is_readable).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::Btf;
    use crate::spec::Object;

    fn object(bytes: &[u8]) -> Object {
        Object::parse(bytes).unwrap()
    }

    fn named(btf: &Btf, name: &str) -> TypeId {
        btf.named(name).next().unwrap()
    }

    #[test]
    fn structs_and_enumerators_are_read_as_declared() {
        let object = object(include_bytes!("../../../../testdata/bpf/core.bpf.o"));
        let types = Types {
            btf: object.btf.as_deref().unwrap(),
            order: ByteOrder::Little,
        };
        let color = named(types.btf, "color");
        let value = |number: u32| types.value(color, &number.to_le_bytes()).unwrap();
        assert_eq!(value(2), Value::Text("GREEN".to_owned()));
        assert_eq!(value(200), Value::Unsigned(200));
        let inner = named(types.btf, "inner");
        let size = usize::try_from(types.btf.size_of(inner).unwrap()).unwrap();
        let text = types.value(inner, &vec![0xff; size]).unwrap().to_string();
        assert!(
            text.starts_with("{first: -1, second: [-1, -1, -1, -1]"),
            "{text}"
        );
        assert_eq!(types.name(inner), "struct inner");
        // Too few bytes are no value, and no panic.
        for length in 0..size {
            assert_eq!(types.value(inner, &vec![0; length]), None);
        }
    }

    #[test]
    fn signs_and_widths_are_kept() {
        assert_eq!(signed(0xfd, 8), Value::Signed(-3));
        assert_eq!(signed(u128::from(u64::MAX), 64), Value::Signed(-1));
        assert_eq!(signed(u128::MAX, 128), Value::Signed(-1));
        let wide = format!("{:#x}", u128::MAX);
        assert_eq!(unsigned(u128::MAX), Value::Text(wide));
        assert_eq!((mask(3), mask(128)), (7, u128::MAX));
    }

    #[test]
    fn a_text_ends_with_zeros_only() {
        assert_eq!(text_of(b"ab\0\0"), Some("ab"));
        assert_eq!(text_of(b"ab\0c"), None);
        assert_eq!(text_of(b"ab"), None);
        assert_eq!(text_of(b"\x01\0"), None);
    }

    #[test]
    fn members_keep_their_order() {
        let number = |value| Value::Unsigned(value);
        let fields = vec![
            (
                "b".to_owned(),
                Value::List(vec![number(1), Value::Bool(true)]),
            ),
            ("a".to_owned(), Value::Text("x".to_owned())),
        ];
        let value = Value::Fields(fields);
        assert_eq!(value.to_string(), r#"{b: [1, true], a: "x"}"#);
    }
}
