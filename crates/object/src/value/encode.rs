//! From text to the bytes of a value, by its type. What does not fit is an error that names the member.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Types;
use super::read::{DEEPEST, mask};
use super::written::{self, Written};
use crate::btf::{Array, Composite, Enumeration, Integer, IntegerEncoding, Member, Type, TypeId};
use crate::bytes::ByteOrder;
use crate::diagnosis::{Code, Diagnosis, Result};

impl Types<'_> {
    /// The bytes of the value that `text` says, of this type.
    ///
    /// Numbers are `10`, `-3`, `0x1f`; enumerators their names; texts `"a"`; arrays `[1, 2]`, structs `{a=1, b=[2]}` with what is
    /// not named zero. Addresses are written as usual and stored as packets have them: `10.0.0.1` in 4 bytes, `fe80::1` in
    /// 16, `02:00:00:00:00:01` in 6. `hex:0a0b` are bytes as they are.
    ///
    /// # Errors
    ///
    /// Code M017: which member of which type cannot be what is written there.
    pub fn encode(self, id: TypeId, text: &str) -> Result<Vec<u8>> {
        let written = written::read(text).map_err(|wrong| misfit("", &wrong))?;
        let size = self.btf.size_of(id)?;
        let mut bytes = usize::try_from(size)
            .ok()
            .filter(|size| *size <= MOST_BYTES)
            .map(|size| vec![0; size])
            .ok_or_else(|| misfit("", &format!("a value of {size} bytes cannot be written")))?;
        self.fill(id, &written, &mut bytes, &Place::new())?;
        Ok(bytes)
    }

    fn fill(self, id: TypeId, written: &Written, to: &mut [u8], place: &Place) -> Result<()> {
        if let Written::Word(word) = written
            && let Some(bytes) = address(word, to.len())
        {
            to.copy_from_slice(&bytes);
            return Ok(());
        }
        if let Written::Word(word) = written
            && let Some(digits) = word.strip_prefix("hex:")
        {
            let bytes = hex(digits).filter(|bytes| bytes.len() == to.len());
            let wrong =
                || place.wrong(&format!("`{word}` is not {} bytes in hex digits", to.len()));
            to.copy_from_slice(&bytes.ok_or_else(wrong)?);
            return Ok(());
        }
        let (_, found) = self.btf.resolve(id)?;
        match (found, written) {
            (Type::Integer(integer), Written::Word(word)) => {
                let value = self.put_number(integer, word, &self.name(id), place)?;
                self.store(value, to);
            }
            (Type::Enumeration(all), Written::Word(word)) => {
                let value = self.put_enumerator(all, word, &self.name(id), place)?;
                self.store(value, to);
            }
            (Type::Pointer(_), Written::Word(word)) => {
                let value = ranged(word, (0, u64::MAX.into()), &self.name(id), place)?;
                self.store(value.cast_unsigned(), to);
            }
            (Type::Float { .. }, Written::Word(word)) => self.put_float(word, to, place)?,
            (Type::Array(array), _) => self.put_array(array, written, to, place)?,
            (Type::Struct(whole), Written::Members(members)) => {
                self.put_members(whole, members, to, place)?;
            }
            (Type::Union(whole), Written::Members(members)) => {
                if members.len() > 1 {
                    return Err(place.wrong("a union has one of its members at a time"));
                }
                self.put_members(whole, members, to, place)?;
            }
            (_, written) => {
                let message = format!("{} is no `{}`", said(written), self.name(id));
                return Err(place.wrong(&message));
            }
        }
        Ok(())
    }

    fn store(self, value: u128, to: &mut [u8]) {
        let wide = value.to_le_bytes();
        for (to, from) in to.iter_mut().zip(wide) {
            *to = from;
        }
        if self.order == ByteOrder::Big {
            to.reverse();
        }
    }

    fn put_number(self, integer: &Integer, word: &str, name: &str, place: &Place) -> Result<u128> {
        let bits = integer.size.saturating_mul(8);
        if integer.encoding == IntegerEncoding::Bool {
            return match word {
                "true" | "1" => Ok(1),
                "false" | "0" => Ok(0),
                _ => Err(place.wrong(&format!("`{word}` is neither `true` nor `false`"))),
            };
        }
        let is_signed = integer.encoding == IntegerEncoding::Signed;
        let value = ranged(word, range(bits, is_signed), name, place)?;
        Ok(value.cast_unsigned())
    }

    fn put_enumerator(
        self,
        all: &Enumeration,
        word: &str,
        name: &str,
        place: &Place,
    ) -> Result<u128> {
        let named = all
            .enumerators
            .iter()
            .find(|each| self.btf.text(each.name) == word);
        if let Some(named) = named {
            return Ok(u128::from(named.value));
        }
        if word.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
            let value = ranged(
                word,
                range(all.size.saturating_mul(8), all.is_signed),
                name,
                place,
            )?;
            return Ok(value.cast_unsigned());
        }
        let known: Vec<&str> = all
            .enumerators
            .iter()
            .take(SHOWN_NAMES)
            .map(|each| self.btf.text(each.name))
            .collect();
        let message = format!("`{name}` has no `{word}`; it has {}", known.join(", "));
        Err(place.wrong(&message))
    }

    fn put_float(self, word: &str, to: &mut [u8], place: &Place) -> Result<()> {
        let wrong = || place.wrong(&format!("`{word}` is no number"));
        let bits = match to.len() {
            4 => u128::from(word.parse::<f32>().map_err(|_| wrong())?.to_bits()),
            8 => u128::from(word.parse::<f64>().map_err(|_| wrong())?.to_bits()),
            _ => return Err(wrong()),
        };
        self.store(bits, to);
        Ok(())
    }

    fn put_array(
        self,
        array: &Array,
        written: &Written,
        to: &mut [u8],
        place: &Place,
    ) -> Result<()> {
        if self.is_character(array.element)
            && let Written::Text(text) | Written::Word(text) = written
        {
            let most = to.len().saturating_sub(1);
            if text.len() > most {
                let message = format!(
                    "a text of {} bytes does not fit {most} and a zero",
                    text.len()
                );
                return Err(place.wrong(&message));
            }
            to[..text.len()].copy_from_slice(text.as_bytes());
            return Ok(());
        }
        let elements: Vec<&Written> = match written {
            Written::List(elements) => elements.iter().collect(),
            Written::Members(members) if members.iter().all(|(name, _)| name.is_none()) => {
                members.iter().map(|(_, element)| element).collect()
            }
            other => return Err(place.wrong(&format!("{} is no array", said(other)))),
        };
        let size = usize::try_from(self.btf.size_of(array.element)?).unwrap_or(usize::MAX);
        let length = usize::try_from(array.length).unwrap_or(usize::MAX);
        if elements.len() > length {
            let message = format!(
                "{} elements do not fit an array of {length}",
                elements.len()
            );
            return Err(place.wrong(&message));
        }
        for (index, (element, to)) in elements
            .iter()
            .zip(to.chunks_exact_mut(size.max(1)))
            .enumerate()
        {
            self.fill(
                array.element,
                element,
                to,
                &place.inside(&format!("[{index}]"))?,
            )?;
        }
        Ok(())
    }

    fn put_members(
        self,
        whole: &Composite,
        written: &[(Option<String>, Written)],
        to: &mut [u8],
        place: &Place,
    ) -> Result<()> {
        let mut given = Vec::new();
        for (position, (name, value)) in written.iter().enumerate() {
            let index = match name {
                Some(name) => self.member_named(whole, name),
                None => Some(position).filter(|position| *position < whole.members.len()),
            };
            let Some((index, member)) = index.and_then(|at| Some((at, whole.members.get(at)?)))
            else {
                return Err(place.wrong(&self.no_member(whole, name.as_deref(), position)));
            };
            let label = match self.btf.text(member.name) {
                "" => format!(".({index})"),
                name => format!(".{name}"),
            };
            let inside = place.inside(&label)?;
            if given.contains(&index) {
                return Err(inside.wrong("it is given twice"));
            }
            given.push(index);
            self.put_member(member, value, to, &inside)?;
        }
        Ok(())
    }

    fn put_member(
        self,
        member: &Member,
        value: &Written,
        to: &mut [u8],
        place: &Place,
    ) -> Result<()> {
        let outside = || place.wrong("the type is malformed: a member lies outside of it");
        let start = usize::try_from(member.offset_bits / 8).map_err(|_| outside())?;
        let Some(width) = member.bitfield else {
            let size = usize::try_from(self.btf.size_of(member.target)?).map_err(|_| outside())?;
            let to = to.get_mut(start..).and_then(|rest| rest.get_mut(..size));
            return self.fill(member.target, value, to.ok_or_else(outside)?, place);
        };
        let (Written::Word(word), width) = (value, u32::from(width.0)) else {
            return Err(place.wrong(&format!("{} is no number", said(value))));
        };
        let is_signed = matches!(self.btf.resolve(member.target)?.1,
            Type::Integer(integer) if integer.encoding == IntegerEncoding::Signed);
        let name = format!("a bit field of {width}");
        let number =
            ranged(word, range(width, is_signed), &name, place)?.cast_unsigned() & mask(width);
        let shift = member.offset_bits % 8;
        let covering = usize::try_from((shift + width).div_ceil(8)).map_err(|_| outside())?;
        let to = to
            .get_mut(start..)
            .and_then(|rest| rest.get_mut(..covering));
        let to = to.ok_or_else(outside)?;
        let shift = match self.order {
            ByteOrder::Little => shift,
            ByteOrder::Big => u32::try_from(covering * 8)
                .unwrap_or(0)
                .saturating_sub(shift + width),
        };
        let mut bytes = (number << shift).to_le_bytes();
        if let (ByteOrder::Big, Some(bytes)) = (self.order, bytes.get_mut(..covering)) {
            bytes.reverse();
        }
        for (to, from) in to.iter_mut().zip(bytes) {
            *to |= from;
        }
        Ok(())
    }

    fn member_named(self, whole: &Composite, name: &str) -> Option<usize> {
        whole
            .members
            .iter()
            .enumerate()
            .position(|(position, member)| match self.btf.text(member.name) {
                "" => name == format!("({position})"),
                own => own == name,
            })
    }

    fn no_member(self, whole: &Composite, name: Option<&str>, position: usize) -> String {
        let own = match self.btf.text(whole.name) {
            "" => "the struct".to_owned(),
            own => format!("`{own}`"),
        };
        let Some(name) = name else {
            return format!(
                "{own} has {} members, this is number {}",
                whole.members.len(),
                position + 1
            );
        };
        let known: Vec<&str> = whole
            .members
            .iter()
            .take(SHOWN_NAMES)
            .map(|member| self.btf.text(member.name))
            .collect();
        format!("{own} has no member `{name}`; it has {}", known.join(", "))
    }
}

/// The bytes of a value without a type: an address, `hex:` digits, or a number that fits.
///
/// # Errors
///
/// Code M017 if the text is none of these, or does not fit.
pub fn encode_plain(text: &str, size: usize) -> Result<Vec<u8>> {
    if let Some(bytes) = encode_bytes(text, size)? {
        return Ok(bytes);
    }
    let place = Place::new();
    if !matches!(size, 1 | 2 | 4 | 8 | 16) {
        let message =
            format!("`{text}` cannot be {size} bytes without a type: write hex: and digits");
        return Err(place.wrong(&message));
    }
    let bits = u32::try_from(size).unwrap_or(0) * 8;
    let (least, _) = range(bits, true);
    let (_, most) = range(bits, false);
    let value = ranged(
        text,
        (least, most),
        &format!("a value of {size} bytes"),
        &place,
    )?;
    let wide = value.cast_unsigned();
    let mut bytes: Vec<u8> = wide.to_le_bytes().into_iter().take(size).collect();
    if cfg!(target_endian = "big") {
        bytes.reverse();
    }
    Ok(bytes)
}

/// The bytes that a text gives as they are, as an address or `hex:` digits; `None` if it is neither.
///
/// # Errors
///
/// Code M017 if they are too few or too many.
pub fn encode_bytes(text: &str, size: usize) -> Result<Option<Vec<u8>>> {
    if let Some(bytes) = address(text, size) {
        return Ok(Some(bytes));
    }
    let Some(digits) = text.strip_prefix("hex:") else {
        return Ok(None);
    };
    match hex(digits).filter(|bytes| bytes.len() == size) {
        Some(bytes) => Ok(Some(bytes)),
        None => Err(misfit(
            "",
            &format!("`{text}` is not {size} bytes in hex digits"),
        )),
    }
}

/// Where in a value we are: `.flow.ports[1]`.
struct Place {
    path: String,
    depth: u32,
}

impl Place {
    fn new() -> Self {
        Self {
            path: String::new(),
            depth: DEEPEST,
        }
    }

    fn inside(&self, label: &str) -> Result<Self> {
        let depth = self.depth.checked_sub(1);
        let depth = depth.ok_or_else(|| self.wrong("the type is nested too deeply"))?;
        let path = format!("{}{label}", self.path);
        Ok(Self { path, depth })
    }

    fn wrong(&self, message: &str) -> crate::diagnosis::Error {
        misfit(&self.path, message)
    }
}

fn misfit(path: &str, message: &str) -> crate::diagnosis::Error {
    let message = match path.strip_prefix('.').unwrap_or(path) {
        "" => message.to_owned(),
        path => format!("member `{path}`: {message}"),
    };
    Diagnosis::new(Code::VALUE_MISFIT, message).into()
}

/// The numbers of so many bits.
fn range(bits: u32, is_signed: bool) -> (i128, i128) {
    let bits = bits.clamp(1, 127);
    match is_signed {
        true => (-(1_i128 << (bits - 1)), (1_i128 << (bits - 1)) - 1),
        false => (0, mask(bits).cast_signed()),
    }
}

fn ranged(word: &str, (least, most): (i128, i128), name: &str, place: &Place) -> Result<i128> {
    let (sign, digits) = match word.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, word),
    };
    let magnitude = match digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        Some(digits) => i128::from_str_radix(digits, 16),
        None => digits.parse::<i128>(),
    };
    let value = magnitude
        .ok()
        .filter(|magnitude| *magnitude >= 0)
        .map(|magnitude| sign * magnitude)
        .ok_or_else(|| place.wrong(&format!("`{word}` is no number, such as 10, -3, 0x1f")))?;
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    Err(place.wrong(&format!(
        "{word} does not fit {name}: it holds {least} to {most}"
    )))
}

/// An address of the given length, as packets have it.
fn address(word: &str, len: usize) -> Option<Vec<u8>> {
    match len {
        4 if word.contains('.') => Some(word.parse::<Ipv4Addr>().ok()?.octets().to_vec()),
        16 if word.contains(':') => Some(word.parse::<Ipv6Addr>().ok()?.octets().to_vec()),
        6 => {
            let parts: Option<Vec<u8>> = word
                .split(':')
                .map(|part| (part.len() == 2).then(|| u8::from_str_radix(part, 16).ok())?)
                .collect();
            parts.filter(|parts| parts.len() == 6)
        }
        _ => None,
    }
}

fn hex(digits: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> = digits
        .chars()
        .filter(|c| !c.is_ascii_whitespace())
        .map(|c| c.to_digit(16))
        .collect::<Option<_>>()?;
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let pairs = digits.chunks_exact(2);
    pairs
        .map(|pair| u8::try_from(pair[0] * 16 + pair[1]).ok())
        .collect()
}

fn said(written: &Written) -> String {
    match written {
        Written::Word(word) => format!("`{word}`"),
        Written::Text(text) => format!("{text:?}"),
        Written::List(elements) => format!("a list of {}", elements.len()),
        Written::Members(_) => "a struct in braces".to_owned(),
    }
}

/// Names that a message lists.
const SHOWN_NAMES: usize = 16;
/// Larger values are not written as text.
const MOST_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::super::Value;
    use super::*;
    use crate::btf::{Bitfield, Btf, BtfBuilder, Enumerator, Name};

    /// `struct flow { u32 src; u16 dport; u8 proto:3, rest:5; s8 delta; char name[8]; u16 ids[2]; enum verdict verdict; }`
    fn flow() -> (Btf, TypeId) {
        let mut builder = BtfBuilder::new();
        let u32_id = builder.add_integer("u32", 4);
        let u16_id = builder.add_integer("u16", 2);
        let u8_id = builder.add_integer("u8", 1);
        let name = builder.name("char");
        let character = builder.add(Type::Integer(Integer {
            name,
            size: 1,
            encoding: IntegerEncoding::Char,
            ..integer()
        }));
        let name = builder.name("s8");
        let signed = builder.add(Type::Integer(Integer {
            name,
            size: 1,
            encoding: IntegerEncoding::Signed,
            ..integer()
        }));
        let text = builder.add(Type::Array(Array {
            element: character,
            index: u32_id,
            length: 8,
        }));
        let ids = builder.add(Type::Array(Array {
            element: u16_id,
            index: u32_id,
            length: 2,
        }));
        let verdict = verdict(&mut builder);
        let mut member = |name: &str, target, offset_bits, bits: Option<u8>| Member {
            name: builder.name(name),
            target,
            offset_bits,
            bitfield: bits.map(Bitfield),
        };
        let members = vec![
            member("src", u32_id, 0, None),
            member("dport", u16_id, 32, None),
            member("proto", u8_id, 48, Some(3)),
            member("rest", u8_id, 51, Some(5)),
            member("delta", signed, 56, None),
            member("name", text, 64, None),
            member("ids", ids, 128, None),
            member("verdict", verdict, 160, None),
        ];
        let name = builder.name("flow");
        let flow = builder.add(Type::Struct(Composite {
            name,
            size: 24,
            has_bitfields: true,
            members,
        }));
        let bytes = builder.encode(ByteOrder::Little).unwrap();
        (Btf::parse(&bytes, ByteOrder::Little).unwrap(), flow)
    }

    fn verdict(builder: &mut BtfBuilder) -> TypeId {
        let (drop_name, pass) = (builder.name("DROP"), builder.name("PASS"));
        let name = builder.name("verdict");
        builder.add(Type::Enumeration(Enumeration {
            name,
            size: 4,
            is_signed: false,
            is_wide: false,
            enumerators: vec![
                Enumerator {
                    name: drop_name,
                    value: 0,
                },
                Enumerator {
                    name: pass,
                    value: 2,
                },
            ],
        }))
    }

    fn integer() -> Integer {
        Integer {
            name: Name(0),
            size: 1,
            encoding: IntegerEncoding::Unsigned,
            bit_offset: 0,
            bits: 8,
        }
    }

    #[test]
    fn a_struct_is_written_and_read_back() {
        let (btf, id) = flow();
        let types = Types::of(&btf);
        let text = r#"{src=10.0.0.1, dport=443, proto=5, rest=0x1f, delta=-3, name="eth0", ids=[1,2], verdict=PASS}"#;
        let bytes = types.encode(id, text).unwrap();
        assert_eq!(bytes[..8], [10, 0, 0, 1, 0xbb, 1, 0xfd, 0xfd]);
        assert_eq!(&bytes[8..], b"eth0\0\0\0\0\x01\0\x02\0\x02\0\0\0");
        let shown = types.value(id, &bytes).unwrap().to_string();
        assert!(shown.contains(r#"dport: 443, proto: 5, rest: 31, delta: -3, name: "eth0", ids: [1, 2], verdict: "PASS""#), "{shown}");
        // What is shown can be written again, and what is not named is zero.
        assert_eq!(
            types
                .encode(id, &shown.replace("\"PASS\"", "PASS"))
                .unwrap(),
            bytes
        );
        assert_eq!(types.encode(id, "{}").unwrap(), [0; 24]);
        assert!(
            matches!(types.value(id, &bytes), Some(Value::Fields(fields)) if fields.len() == 8)
        );
        assert_eq!(
            types.encode(id, "{1, 2, ids={3}}").unwrap()[..6],
            [1, 0, 0, 0, 2, 0]
        );
    }

    #[test]
    fn what_does_not_fit_names_the_member() {
        let (btf, id) = flow();
        let wrong = |text: &str| Types::of(&btf).encode(id, text).unwrap_err().to_string();
        for (text, expected) in [
            (
                "{dport=70000}",
                "member `dport`: 70000 does not fit u16: it holds 0 to 65535",
            ),
            (
                "{proto=8}",
                "member `proto`: 8 does not fit a bit field of 3: it holds 0 to 7",
            ),
            ("{delta=128}", "it holds -128 to 127"),
            ("{src=-1}", "member `src`: -1 does not fit u32"),
            ("{src=ten}", "`ten` is no number"),
            (
                "{ids=[1,2,3]}",
                "member `ids`: 3 elements do not fit an array of 2",
            ),
            ("{ids=[1,65536]}", "member `ids[1]`: 65536 does not fit"),
            (
                "{name=\"12345678\"}",
                "a text of 8 bytes does not fit 7 and a zero",
            ),
            ("{verdict=MAYBE}", "has no `MAYBE`; it has DROP, PASS"),
            ("{port=1}", "`flow` has no member `port`; it has src, dport"),
            ("{src=1, src=2}", "member `src`: it is given twice"),
            ("{1,2,3,4,5,x,{},PASS,9}", "has 8 members, this is number 9"),
            ("{src={}}", "a struct in braces is no `u32`"),
            ("7", "`7` is no `struct flow`"),
            ("{src=", "a value is missing at the end"),
            ("hex:00", "is not 24 bytes"),
        ] {
            assert!(wrong(text).contains(expected), "{text}: {}", wrong(text));
        }
    }

    #[test]
    fn without_a_type_a_number_must_fit_its_bytes() {
        assert_eq!(encode_plain("255", 1).unwrap(), [255]);
        assert_eq!(encode_plain("-1", 2).unwrap(), [255, 255]);
        assert_eq!(encode_plain("10.0.0.1", 4).unwrap(), [10, 0, 0, 1]);
        assert_eq!(
            encode_plain("02:00:00:00:00:0a", 6).unwrap(),
            [2, 0, 0, 0, 0, 10]
        );
        assert_eq!(encode_plain("::1", 16).unwrap()[15], 1);
        assert_eq!(encode_plain("hex:0a0b0c", 3).unwrap(), [10, 11, 12]);
        assert_eq!(encode_plain("0x10", 16).unwrap()[0], 16);
        let wrong = |text, size| encode_plain(text, size).unwrap_err().to_string();
        assert_eq!(
            wrong("300", 1),
            "300 does not fit a value of 1 bytes: it holds -128 to 255"
        );
        assert!(wrong("1", 3).contains("write hex: and digits"));
        assert!(wrong("hex:0", 1).contains("is not 1 bytes"));
        assert!(wrong("99999999999999999999999999999999999999999", 16).contains("no number"));
    }
}
