//! One type out of its bytes, with every claim about itself checked.
//!
//! ```text
//! type     0 name   4 info     8 size or target          12 the kind's own entries
//! info     bit 31: kind flag   bits 24..28: kind   bits 0..15: number of entries (or linkage)
//! ```

use super::kinds::{self, Info, kind};
use super::malformed;
use super::types::{
    Array, Bitfield, Composite, DataSection, Enumeration, Enumerator, Function, FunctionPrototype,
    Integer, IntegerEncoding, Linkage, Member, Name, Parameter, SectionVariable, Tag, Type, TypeId,
    Variable,
};
use crate::bytes::{ByteOrder, u32_at};
use crate::diagnosis::{Error, Result};

/// Reads types one after another.
pub(super) struct Decoder<'data> {
    /// All types.
    pub(super) types: &'data [u8],
    /// Offset of `types` in the BTF, for messages.
    pub(super) start: u64,
    pub(super) order: ByteOrder,
    /// Where the next type starts.
    pub(super) at: usize,
    /// The number of the type that is read.
    pub(super) number: TypeId,
}

impl Decoder<'_> {
    /// The type that starts here; afterwards, `at` is where the next one starts.
    ///
    /// # Errors
    ///
    /// Code O013 if it ends early, contradicts itself or is of a kind we do not know.
    pub(super) fn decode(&mut self) -> Result<Type> {
        let head = self.head()?;
        self.check_head(head)?;
        self.body(head)
    }

    fn head(&mut self) -> Result<Head> {
        let at = self.at;
        let name = Name(self.word()?);
        let Info { kind, count, flag } = Info::of(self.word()?);
        Ok(Head {
            at,
            name,
            kind,
            count,
            flag,
            size_or_target: self.word()?,
        })
    }

    /// Entries and flags where the kind has none would be something we do not understand.
    fn check_head(&self, head: Head) -> Result<()> {
        let number = self.number;
        let Some(row) = kinds::find(head.kind) else {
            let message = format!("type {number} is of kind {}, which is not known", head.kind);
            return Err(self.error(head.at, message));
        };
        if !head.name.is_empty() && !row.has_name {
            let message = format!("type {number} has a name, but {} has none", row.name);
            return Err(self.error(head.at, message));
        }
        if head.count != 0 && !row.has_count {
            let message = format!(
                "type {number} has {} entries, but {} has none",
                head.count, row.name
            );
            return Err(self.error(head.at, message));
        }
        if head.flag && !row.has_flag {
            let message = format!("type {number} has the kind flag, but {} has none", row.name);
            return Err(self.error(head.at, message));
        }
        Ok(())
    }

    fn body(&mut self, head: Head) -> Result<Type> {
        let (name, target, size) = (head.name, head.target(), head.size_or_target);
        Ok(match head.kind {
            kind::INTEGER => self.integer(head)?,
            kind::POINTER => Type::Pointer(target),
            kind::ARRAY => Type::Array(Array {
                element: TypeId(self.word()?),
                index: TypeId(self.word()?),
                length: self.word()?,
            }),
            kind::STRUCT => Type::Struct(self.composite(head)?),
            kind::UNION => Type::Union(self.composite(head)?),
            kind::ENUM => self.enumeration(head)?,
            kind::ENUM64 => self.wide_enumeration(head)?,
            kind::FORWARD => Type::Forward {
                name,
                is_union: head.flag,
            },
            kind::TYPEDEF => Type::Typedef { name, target },
            kind::VOLATILE => Type::Volatile(target),
            kind::CONST => Type::Const(target),
            kind::RESTRICT => Type::Restrict(target),
            kind::FUNCTION => {
                let linkage = self.linkage(head, head.count)?;
                Type::Function(Function {
                    name,
                    prototype: target,
                    linkage,
                })
            }
            kind::FUNCTION_PROTOTYPE => self.prototype(head)?,
            kind::VARIABLE => {
                let linkage = self.word()?;
                let linkage = self.linkage(head, linkage)?;
                Type::Variable(Variable {
                    name,
                    target,
                    linkage,
                })
            }
            kind::DATA_SECTION => self.data_section(head)?,
            kind::FLOAT => Type::Float { name, size },
            kind::DECL_TAG => {
                let component = self.word()?;
                Type::DeclTag {
                    tag: Tag {
                        text: name,
                        target,
                        is_attribute: head.flag,
                    },
                    component: (component != WHOLE).then_some(component),
                }
            }
            kind::TYPE_TAG => Type::TypeTag(Tag {
                text: name,
                target,
                is_attribute: head.flag,
            }),
            other => return Err(self.error(head.at, format!("kind {other} is not known"))),
        })
    }

    fn integer(&mut self, head: Head) -> Result<Type> {
        let [bits, _, bit_offset, encoding] = self.word()?.to_le_bytes();
        let encoding = match encoding {
            0 => IntegerEncoding::Unsigned,
            1 => IntegerEncoding::Signed,
            2 => IntegerEncoding::Char,
            4 => IntegerEncoding::Bool,
            _ => {
                let message = format!(
                    "integer {} has the encoding {encoding:#x}, which is not known",
                    self.number
                );
                return Err(self.error(head.at, message));
            }
        };
        Ok(Type::Integer(Integer {
            name: head.name,
            size: head.size_or_target,
            bits,
            bit_offset,
            encoding,
        }))
    }

    fn composite(&mut self, head: Head) -> Result<Composite> {
        let has_bitfields = head.flag;
        let members = self.entries(head, |[name, target, place]| {
            // With the kind flag: the width in the highest byte, the offset in the other three.
            let [width, ..] = place.to_be_bytes();
            Member {
                name: Name(name),
                target: TypeId(target),
                offset_bits: if has_bitfields {
                    place & 0x00ff_ffff
                } else {
                    place
                },
                bitfield: (has_bitfields && width != 0).then_some(Bitfield(width)),
            }
        })?;
        Ok(Composite {
            name: head.name,
            size: head.size_or_target,
            members,
            has_bitfields,
        })
    }

    fn enumeration(&mut self, head: Head) -> Result<Type> {
        let is_signed = head.flag;
        let enumerators = self.entries(head, |[name, value]| Enumerator {
            name: Name(name),
            value: if is_signed {
                i64::from(value.cast_signed()).cast_unsigned()
            } else {
                u64::from(value)
            },
        })?;
        Ok(Type::Enumeration(Enumeration {
            name: head.name,
            size: head.size_or_target,
            is_signed,
            is_wide: false,
            enumerators,
        }))
    }

    fn wide_enumeration(&mut self, head: Head) -> Result<Type> {
        // The low half comes first in both byte orders.
        let enumerators = self.entries(head, |[name, low, high]| Enumerator {
            name: Name(name),
            value: u64::from(high) << 32 | u64::from(low),
        })?;
        Ok(Type::Enumeration(Enumeration {
            name: head.name,
            size: head.size_or_target,
            is_signed: head.flag,
            is_wide: true,
            enumerators,
        }))
    }

    fn prototype(&mut self, head: Head) -> Result<Type> {
        let parameters = self.entries(head, |[name, target]| Parameter {
            name: Name(name),
            target: TypeId(target),
        })?;
        Ok(Type::FunctionPrototype(FunctionPrototype {
            result: head.target(),
            parameters,
        }))
    }

    fn data_section(&mut self, head: Head) -> Result<Type> {
        let variables = self.entries(head, |[variable, offset, size]| SectionVariable {
            variable: TypeId(variable),
            offset,
            size,
        })?;
        Ok(Type::DataSection(DataSection {
            name: head.name,
            size: head.size_or_target,
            variables,
        }))
    }

    fn linkage(&self, head: Head, number: u32) -> Result<Linkage> {
        match number {
            0 => Ok(Linkage::Static),
            1 => Ok(Linkage::Global),
            2 => Ok(Linkage::Extern),
            _ => {
                let message = format!(
                    "type {} has the linkage {number}, which is not known",
                    self.number
                );
                Err(self.error(head.at, message))
            }
        }
    }

    /// The kind's own entries, of `N` words each.
    fn entries<const N: usize, T>(
        &mut self,
        head: Head,
        make: impl Fn([u32; N]) -> T,
    ) -> Result<Vec<T>> {
        // At most 65,535 entries of at most 12 bytes: the product cannot overflow.
        let count = usize::try_from(head.count).unwrap_or(usize::MAX);
        let length = count * N * WORD_BYTES;
        let rest = self.types.get(self.at..).unwrap_or_default();
        let Some(bytes) = rest.get(..length) else {
            let message = format!(
                "type {} has {count} entries in {length} bytes but {} are left",
                self.number,
                rest.len()
            );
            return Err(self.error(head.at, message));
        };
        self.at += length;
        let order = self.order;
        Ok(bytes
            .chunks_exact(N * WORD_BYTES)
            .map(|entry| {
                make(std::array::from_fn(|word| {
                    // INVARIANT: `entry` is exactly `N` words long.
                    u32_at(entry, word * WORD_BYTES, order).unwrap_or_default()
                }))
            })
            .collect())
    }

    fn word(&mut self) -> Result<u32> {
        let word = u32_at(self.types, self.at, self.order).ok_or_else(|| {
            let message = format!("the types end within type {}", self.number);
            self.error(self.at, message)
        })?;
        self.at += WORD_BYTES;
        Ok(word)
    }

    pub(super) fn error(&self, at: usize, message: String) -> Error {
        let at = u64::try_from(at).unwrap_or(u64::MAX);
        malformed(self.start.saturating_add(at), message)
    }
}

/// The three words that every type starts with.
#[derive(Clone, Copy)]
struct Head {
    /// Where it stands in the types.
    at: usize,
    name: Name,
    kind: u32,
    /// Number of entries, or the linkage of a function.
    count: u32,
    flag: bool,
    size_or_target: u32,
}

impl Head {
    fn target(self) -> TypeId {
        TypeId(self.size_or_target)
    }
}

const WORD_BYTES: usize = 4;
/// Component of a declaration tag that is about the whole declaration.
const WHOLE: u32 = u32::MAX;
