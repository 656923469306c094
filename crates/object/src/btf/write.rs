//! BTF made: types put together, and the bytes that say them.
//!
//! A [`BtfBuilder`] holds types and texts as a [`Btf`] does, but open: texts are kept once each, types are appended, replaced
//! and copied from elsewhere. [`BtfBuilder::encode`] writes what [`Btf::parse`] reads. Types come out in the order in which
//! they were added and texts in the order in which they were first named, so the same steps give the same bytes.

use std::collections::HashMap;

use super::kinds::kind;
use super::{
    Btf, Composite, Enumeration, Integer, IntegerEncoding, Linkage, Member, Name, SectionVariable,
    Tag, Type, TypeId,
};
use crate::bytes::ByteOrder;
use crate::diagnosis::{Code, Diagnosis, Result};

/// Types and texts of a BTF that is being made.
///
/// ```
/// use twinbpf_object::btf::{Btf, BtfBuilder, Type};
/// use twinbpf_object::spec::ByteOrder;
///
/// let mut builder = BtfBuilder::new();
/// let name = builder.name("byte_count");
/// let number = builder.add_integer("unsigned long", 8);
/// let id = builder.add(Type::Typedef { name, target: number });
/// let bytes = builder.encode(ByteOrder::Little)?;
/// let btf = Btf::parse(&bytes, ByteOrder::Little)?;
/// assert_eq!(btf.name_of(id), "byte_count");
/// # Ok::<(), twinbpf_object::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct BtfBuilder {
    /// By number; the first is [`Type::Void`].
    types: Vec<Type>,
    /// All texts, each ended by a NUL; the first is empty.
    strings: String,
    /// Where each text stands in `strings`.
    places: HashMap<Box<str>, Name>,
}

impl Default for BtfBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl BtfBuilder {
    /// Nothing but void.
    pub fn new() -> Self {
        Self {
            types: vec![Type::Void],
            strings: "\0".to_owned(),
            places: HashMap::new(),
        }
    }

    /// Everything of `btf` under the same numbers, with the texts that its types use.
    pub fn copy_of(btf: &Btf) -> Self {
        let mut builder = Self::new();
        for (_, found) in btf.iter().skip(1) {
            let copy = builder.copied(btf, found, &mut |id| id);
            builder.add(copy);
        }
        builder
    }

    /// The name for a text; the same text has the same name.
    pub fn name(&mut self, text: &str) -> Name {
        // A NUL inside would end the text there for every reader.
        let text = text.split('\0').next().unwrap_or_default();
        if text.is_empty() {
            return Name::default();
        }
        if let Some(known) = self.places.get(text) {
            return *known;
        }
        let name = Name(u32::try_from(self.strings.len()).unwrap_or(u32::MAX));
        self.strings.push_str(text);
        self.strings.push('\0');
        self.places.insert(text.into(), name);
        name
    }

    /// The text of a name that this builder gave out.
    pub fn text(&self, name: Name) -> &str {
        let start = usize::try_from(name.0).unwrap_or(usize::MAX);
        let rest = self.strings.get(start..).unwrap_or_default();
        rest.split('\0').next().unwrap_or_default()
    }

    /// Appends a type.
    pub fn add(&mut self, added: Type) -> TypeId {
        let id = self.next_id();
        self.types.push(added);
        id
    }

    /// Appends an unsigned number of `size` bytes.
    pub fn add_integer(&mut self, name: &str, size: u8) -> TypeId {
        let name = self.name(name);
        self.add(Type::Integer(Integer {
            name,
            size: u32::from(size),
            bits: size.saturating_mul(8),
            bit_offset: 0,
            encoding: IntegerEncoding::Unsigned,
        }))
    }

    /// The number that the next type will have.
    pub fn next_id(&self) -> TypeId {
        TypeId(u32::try_from(self.types.len()).unwrap_or(u32::MAX))
    }

    /// How many types there are, void included.
    pub fn len(&self) -> usize {
        self.types.len()
    }

    /// Whether there is nothing but void.
    pub fn is_empty(&self) -> bool {
        self.types.len() <= 1
    }

    /// The type with this number.
    pub fn get(&self, id: TypeId) -> Option<&Type> {
        self.types.get(id.get())
    }

    /// The type with this number, to change it.
    pub fn get_mut(&mut self, id: TypeId) -> Option<&mut Type> {
        self.types.get_mut(id.get())
    }

    /// All types with their numbers, void first.
    pub fn iter(&self) -> impl Iterator<Item = (TypeId, &Type)> {
        (0u32..).map(TypeId).zip(&self.types)
    }

    /// Appends everything of `btf` but void.
    ///
    /// Gives the number by which the numbers of its types have grown.
    pub fn append(&mut self, btf: &Btf) -> u32 {
        let shift = self.next_id().0 - 1;
        for (_, found) in btf.iter().filter(|(id, _)| *id != TypeId::VOID) {
            let copy = self.copied(btf, found, &mut |id| shifted(id, shift));
            self.add(copy);
        }
        shift
    }

    /// Other types instead of all there were; the first must be void.
    pub(super) fn replace_types(&mut self, types: Vec<Type>) {
        self.types = types;
    }

    /// A type of another BTF in this one's terms: its texts are taken over, its links are what `link` makes of them.
    pub fn copied(
        &mut self,
        from: &Btf,
        found: &Type,
        link: &mut dyn FnMut(TypeId) -> TypeId,
    ) -> Type {
        let mut copy = found.clone();
        copy.visit_names_mut(&mut |name| *name = self.name(from.text(*name)));
        copy.visit_links_mut(&mut |id| *id = link(*id));
        copy
    }

    /// The bytes, as a `.BTF` section holds them.
    ///
    /// # Errors
    ///
    /// Code O013 if something cannot be written: more than 65,535 members, a bit field offset beyond 24 bits, more than
    /// 4 GiB.
    pub fn encode(&self, order: ByteOrder) -> Result<Vec<u8>> {
        let mut writer = Writer {
            order,
            bytes: Vec::with_capacity(self.types.len() * 24),
        };
        for (id, found) in self.iter().skip(1) {
            writer
                .write(found)
                .map_err(|problem| refused(id, problem))?;
        }
        let types = writer.bytes;
        let (Ok(types_length), Ok(strings_length)) = (
            u32::try_from(types.len()),
            u32::try_from(self.strings.len()),
        ) else {
            return Err(Diagnosis::new(Code::BTF_MALFORMED, "more than 4 GiB of types").into());
        };
        let mut header = Writer {
            order,
            bytes: Vec::new(),
        };
        header.half(MAGIC);
        header.bytes.extend([VERSION, 0]);
        for word in [HEADER_BYTES, 0, types_length, types_length, strings_length] {
            header.word(word);
        }
        let mut bytes = header.bytes;
        bytes.extend_from_slice(&types);
        bytes.extend_from_slice(self.strings.as_bytes());
        Ok(bytes)
    }
}

/// The number of an appended type; void stays void.
fn shifted(id: TypeId, shift: u32) -> TypeId {
    match id {
        TypeId::VOID => id,
        TypeId(number) => TypeId(number.saturating_add(shift)),
    }
}

fn refused(id: TypeId, problem: &str) -> crate::diagnosis::Error {
    Diagnosis::new(
        Code::BTF_MALFORMED,
        format!("type {id} cannot be written: {problem}"),
    )
    .into()
}

/// Why a type cannot be written.
type Written = std::result::Result<(), &'static str>;

/// The bytes so far.
struct Writer {
    order: ByteOrder,
    bytes: Vec<u8>,
}

/// The three words that every type starts with, but for the kind.
#[derive(Default, Clone, Copy)]
struct Head {
    name: Name,
    count: usize,
    flag: bool,
    size_or_target: u32,
}

impl Writer {
    fn half(&mut self, value: u16) {
        match self.order {
            ByteOrder::Little => self.bytes.extend(value.to_le_bytes()),
            ByteOrder::Big => self.bytes.extend(value.to_be_bytes()),
        }
    }

    fn word(&mut self, value: u32) {
        match self.order {
            ByteOrder::Little => self.bytes.extend(value.to_le_bytes()),
            ByteOrder::Big => self.bytes.extend(value.to_be_bytes()),
        }
    }

    fn head(&mut self, kind: u32, head: Head) -> Written {
        let count = u16::try_from(head.count).map_err(|_| "it has more than 65,535 entries")?;
        self.word(head.name.0);
        self.word(u32::from(head.flag) << 31 | kind << 24 | u32::from(count));
        self.word(head.size_or_target);
        Ok(())
    }

    fn link(&mut self, kind: u32, target: TypeId) -> Written {
        let size_or_target = target.0;
        self.head(
            kind,
            Head {
                size_or_target,
                ..Head::default()
            },
        )
    }

    fn write(&mut self, found: &Type) -> Written {
        match found {
            Type::Void => Err("only the first type is void"),
            Type::Integer(integer) => self.integer(integer),
            Type::Pointer(target) => self.link(kind::POINTER, *target),
            Type::Volatile(target) => self.link(kind::VOLATILE, *target),
            Type::Const(target) => self.link(kind::CONST, *target),
            Type::Restrict(target) => self.link(kind::RESTRICT, *target),
            Type::Array(array) => {
                self.head(kind::ARRAY, Head::default())?;
                for word in [array.element.0, array.index.0, array.length] {
                    self.word(word);
                }
                Ok(())
            }
            Type::Struct(whole) => self.composite(kind::STRUCT, whole),
            Type::Union(whole) => self.composite(kind::UNION, whole),
            Type::Enumeration(enumeration) => self.enumeration(enumeration),
            Type::Forward { name, is_union } => self.head(
                kind::FORWARD,
                Head {
                    name: *name,
                    flag: *is_union,
                    ..Head::default()
                },
            ),
            Type::Typedef { name, target } => self.named(kind::TYPEDEF, *name, target.0),
            Type::Function(function) => self.head(
                kind::FUNCTION,
                Head {
                    name: function.name,
                    count: linkage(function.linkage),
                    flag: false,
                    size_or_target: function.prototype.0,
                },
            ),
            Type::FunctionPrototype(prototype) => {
                let count = prototype.parameters.len();
                let size_or_target = prototype.result.0;
                self.head(
                    kind::FUNCTION_PROTOTYPE,
                    Head {
                        count,
                        size_or_target,
                        ..Head::default()
                    },
                )?;
                for parameter in &prototype.parameters {
                    self.word(parameter.name.0);
                    self.word(parameter.target.0);
                }
                Ok(())
            }
            Type::Variable(variable) => {
                self.named(kind::VARIABLE, variable.name, variable.target.0)?;
                self.word(u32::try_from(linkage(variable.linkage)).unwrap_or_default());
                Ok(())
            }
            Type::DataSection(section) => {
                self.data_section(section.name, section.size, &section.variables)
            }
            Type::Float { name, size } => self.named(kind::FLOAT, *name, *size),
            Type::DeclTag { tag, component } => {
                self.tag(kind::DECL_TAG, *tag)?;
                self.word(component.unwrap_or(u32::MAX));
                Ok(())
            }
            Type::TypeTag(tag) => self.tag(kind::TYPE_TAG, *tag),
        }
    }

    fn named(&mut self, kind: u32, name: Name, size_or_target: u32) -> Written {
        self.head(
            kind,
            Head {
                name,
                size_or_target,
                ..Head::default()
            },
        )
    }

    fn tag(&mut self, kind: u32, tag: Tag) -> Written {
        self.head(
            kind,
            Head {
                name: tag.text,
                flag: tag.is_attribute,
                size_or_target: tag.target.0,
                ..Head::default()
            },
        )
    }

    fn integer(&mut self, integer: &Integer) -> Written {
        self.named(kind::INTEGER, integer.name, integer.size)?;
        let encoding = match integer.encoding {
            IntegerEncoding::Unsigned => 0,
            IntegerEncoding::Signed => 1,
            IntegerEncoding::Char => 2,
            IntegerEncoding::Bool => 4,
        };
        self.word(u32::from_le_bytes([
            integer.bits,
            0,
            integer.bit_offset,
            encoding,
        ]));
        Ok(())
    }

    fn composite(&mut self, kind: u32, whole: &Composite) -> Written {
        self.head(
            kind,
            Head {
                name: whole.name,
                count: whole.members.len(),
                flag: whole.has_bitfields,
                size_or_target: whole.size,
            },
        )?;
        for member in &whole.members {
            self.word(member.name.0);
            self.word(member.target.0);
            let place = place(member, whole.has_bitfields)?;
            self.word(place);
        }
        Ok(())
    }

    fn enumeration(&mut self, enumeration: &Enumeration) -> Written {
        let kind = if enumeration.is_wide {
            kind::ENUM64
        } else {
            kind::ENUM
        };
        self.head(
            kind,
            Head {
                name: enumeration.name,
                count: enumeration.enumerators.len(),
                flag: enumeration.is_signed,
                size_or_target: enumeration.size,
            },
        )?;
        for enumerator in &enumeration.enumerators {
            self.word(enumerator.name.0);
            let [a, b, c, d, e, f, g, h] = enumerator.value.to_le_bytes();
            // The low half comes first in both byte orders.
            self.word(u32::from_le_bytes([a, b, c, d]));
            if enumeration.is_wide {
                self.word(u32::from_le_bytes([e, f, g, h]));
            }
        }
        Ok(())
    }

    fn data_section(&mut self, name: Name, size: u32, variables: &[SectionVariable]) -> Written {
        self.head(
            kind::DATA_SECTION,
            Head {
                name,
                count: variables.len(),
                flag: false,
                size_or_target: size,
            },
        )?;
        for variable in variables {
            for word in [variable.variable.0, variable.offset, variable.size] {
                self.word(word);
            }
        }
        Ok(())
    }
}

/// Offset of a member, and its width where the kind flag says that there is one.
fn place(member: &Member, has_bitfields: bool) -> std::result::Result<u32, &'static str> {
    if !has_bitfields {
        return match member.bitfield {
            None => Ok(member.offset_bits),
            Some(_) => Err("a bit field needs the kind flag"),
        };
    }
    if member.offset_bits > MOST_BITFIELD_OFFSET {
        return Err("a member beyond 2 MiB cannot stand beside bit fields");
    }
    let width = member.bitfield.map_or(0, |field| u32::from(field.0));
    Ok(width << 24 | member.offset_bits)
}

fn linkage(linkage: Linkage) -> usize {
    match linkage {
        Linkage::Static => 0,
        Linkage::Global => 1,
        Linkage::Extern => 2,
    }
}

const MAGIC: u16 = 0xeb9f;
const VERSION: u8 = 1;
const HEADER_BYTES: u32 = 24;
/// The offset has 24 bits beside the width.
const MOST_BITFIELD_OFFSET: u32 = (1 << 24) - 1;
