//! Functions that read and change bit fields in the bytes that hold them.

use super::names::identifier;
use super::shape::Bits;
use super::text::number;
use crate::btf::print::names::Space;
use crate::btf::print::shape::place;
use crate::btf::{Btf, Composite, IntegerEncoding, Member, Type};
use crate::bytes::ByteOrder;

/// Writes the functions, and knows whether there are any.
pub(super) struct Accessors<'btf> {
    btf: &'btf Btf,
    are_used: bool,
}

impl<'btf> Accessors<'btf> {
    pub(super) fn new(btf: &'btf Btf) -> Self {
        Self {
            btf,
            are_used: false,
        }
    }

    /// Functions for the bit fields in the field `field`.
    pub(super) fn of(&mut self, whole: &Composite, bits: &Bits, field: &str) -> String {
        let mut text = String::new();
        let mut names = Space::default();
        for position in &bits.members {
            if let Some(member) = whole.members.get(*position) {
                let functions = self.member(member, bits, field, &mut names);
                text.push_str(&functions.unwrap_or_default());
            }
        }
        text
    }

    /// The two functions of one bit field; nothing if no number of Rust holds it.
    fn member(
        &mut self,
        member: &Member,
        bits: &Bits,
        field: &str,
        names: &mut Space,
    ) -> Option<String> {
        let (offset, bitfield) = place(self.btf, member);
        let (width, own) = (bitfield?, self.btf.text(member.name));
        let Number { word, kind } = self.number(member)?;
        let (width, first) = (u32::from(width.0), offset.saturating_sub(bits.at * 8));
        if own.is_empty() || width == 0 || width > 64 {
            return None;
        }
        self.are_used = true;
        let get = names.take(identifier(own));
        let set = names.take(identifier(&format!("set_{own}")));
        let raw = format!("get_bits(&self.{field}, {first}, {width})");
        let unused = 64 - width;
        let (result, value) = match kind {
            Kind::Bool => (format!("{raw} != 0"), "u64::from(value)"),
            Kind::Unsigned => (format!("{raw} as {word}"), "value as u64"),
            Kind::Signed => (
                format!("(({raw} << {unused}) as i64 >> {unused}) as {word}"),
                "value as u64",
            ),
        };
        Some(format!(
            "    /// {width} bit{}.\n    pub fn {get}(&self) -> {word} {{\n        {result}\n    }}\n\n    \
             pub fn {set}(&mut self, value: {word}) {{\n        \
             set_bits(&mut self.{field}, {first}, {width}, {value});\n    }}\n\n",
            if width == 1 { "" } else { "s" }
        ))
    }

    /// What a bit field is read as.
    fn number(&self, member: &Member) -> Option<Number> {
        let (size, kind) = match self.btf.resolve(member.target).ok()?.1 {
            Type::Integer(integer) => {
                let kind = match integer.encoding {
                    IntegerEncoding::Bool => Kind::Bool,
                    IntegerEncoding::Signed => Kind::Signed,
                    IntegerEncoding::Unsigned | IntegerEncoding::Char => Kind::Unsigned,
                };
                (integer.size, kind)
            }
            Type::Enumeration(whole) if whole.is_signed => (whole.size, Kind::Signed),
            Type::Enumeration(whole) => (whole.size, Kind::Unsigned),
            _ => return None,
        };
        let word = match (kind, size) {
            (Kind::Bool, _) => "bool".to_owned(),
            (kind, 1 | 2 | 4 | 8) => number(u64::from(size), kind == Kind::Signed),
            _ => return None,
        };
        Some(Number { word, kind })
    }

    /// What the functions call.
    pub(super) fn helpers(&self) -> &'static str {
        match (self.are_used, self.btf.byte_order()) {
            (false, _) => "",
            (true, ByteOrder::Little) => LOWEST_FIRST,
            (true, ByteOrder::Big) => HIGHEST_FIRST,
        }
    }
}

/// A number as Rust has it.
struct Number {
    word: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bool,
    Unsigned,
    Signed,
}

const LOWEST_FIRST: &str = "\
fn get_bits(bytes: &[u8], first: usize, count: usize) -> u64 {
    (first..first + count).rev().fold(0, |value, at| value << 1 | u64::from(bytes[at / 8] >> (at % 8) & 1))
}

fn set_bits(bytes: &mut [u8], first: usize, count: usize, mut value: u64) {
    for at in first..first + count {
        bytes[at / 8] = bytes[at / 8] & !(1 << (at % 8)) | ((value & 1) as u8) << (at % 8);
        value >>= 1;
    }
}
";
const HIGHEST_FIRST: &str = "\
fn get_bits(bytes: &[u8], first: usize, count: usize) -> u64 {
    (first..first + count).fold(0, |value, at| value << 1 | u64::from(bytes[at / 8] >> (7 - at % 8) & 1))
}

fn set_bits(bytes: &mut [u8], first: usize, count: usize, mut value: u64) {
    for at in (first..first + count).rev() {
        bytes[at / 8] = bytes[at / 8] & !(1 << (7 - at % 8)) | ((value & 1) as u8) << (7 - at % 8);
        value >>= 1;
    }
}
";
