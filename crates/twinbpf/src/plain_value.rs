//! Keys and values shown without type information: small ones as numbers, others as hex digits.

use std::fmt;

/// The bytes of a key or value as a person reads them.
///
/// One, two, four or eight bytes are an unsigned number in host order; anything else stays bytes.
///
/// ```
/// use twinbpf::PlainValue;
///
/// assert_eq!(PlainValue::from(&17u32.to_ne_bytes()[..]).to_string(), "17");
/// assert_eq!(PlainValue::from(&[10, 0, 255][..]).to_string(), "hex:0a00ff");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PlainValue {
    /// One, two, four or eight bytes.
    Number(u64),
    /// Any other number of bytes.
    Bytes(Vec<u8>),
}

impl From<&[u8]> for PlainValue {
    fn from(bytes: &[u8]) -> Self {
        match *bytes {
            [only] => Self::Number(u64::from(only)),
            [a, b] => Self::Number(u64::from(u16::from_ne_bytes([a, b]))),
            [a, b, c, d] => Self::Number(u64::from(u32::from_ne_bytes([a, b, c, d]))),
            [a, b, c, d, e, f, g, h] => Self::Number(u64::from_ne_bytes([a, b, c, d, e, f, g, h])),
            _ => Self::Bytes(bytes.to_vec()),
        }
    }
}

impl fmt::Display for PlainValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Bytes(bytes) => {
                f.write_str("hex:")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}
