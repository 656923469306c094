//! The model: one variant per kind of type, names and other types by number.

use std::fmt;

/// Number of a type within its BTF. 0 is void.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct TypeId(pub u32);

impl TypeId {
    /// The absence of a value: what a function returns that returns nothing, what `void *` points to.
    pub const VOID: Self = Self(0);

    /// As an index into a slice.
    pub(crate) fn get(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for TypeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]", self.0)
    }
}

/// A name, as the offset of its text. [`Btf::text`](super::Btf::text) reads it; offset 0 is the empty text of things
/// without a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Name(pub u32);

impl Name {
    /// Whether there is no name.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// A type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Type {
    /// Nothing.
    Void,
    /// A number of whole bytes.
    #[doc(alias = "BTF_KIND_INT")]
    Integer(Integer),
    /// An address.
    #[doc(alias = "BTF_KIND_PTR")]
    Pointer(TypeId),
    /// A fixed number of equal elements.
    #[doc(alias = "BTF_KIND_ARRAY")]
    Array(Array),
    /// Members one after another.
    #[doc(alias = "BTF_KIND_STRUCT")]
    Struct(Composite),
    /// Members in the same place.
    #[doc(alias = "BTF_KIND_UNION")]
    Union(Composite),
    /// Named numbers, up to 32 bits (`BTF_KIND_ENUM`) or 64 (`BTF_KIND_ENUM64`).
    #[doc(alias = "BTF_KIND_ENUM")]
    #[doc(alias = "BTF_KIND_ENUM64")]
    Enumeration(Enumeration),
    /// A struct or union that is only announced.
    #[doc(alias = "BTF_KIND_FWD")]
    Forward {
        /// Its name.
        name: Name,
        /// Whether it is a union.
        is_union: bool,
    },
    /// Another name for a type.
    #[doc(alias = "BTF_KIND_TYPEDEF")]
    Typedef {
        /// The new name.
        name: Name,
        /// What it stands for.
        target: TypeId,
    },
    /// `volatile`.
    #[doc(alias = "BTF_KIND_VOLATILE")]
    Volatile(TypeId),
    /// `const`.
    #[doc(alias = "BTF_KIND_CONST")]
    Const(TypeId),
    /// `restrict`.
    #[doc(alias = "BTF_KIND_RESTRICT")]
    Restrict(TypeId),
    /// A function: a name for a prototype.
    #[doc(alias = "BTF_KIND_FUNC")]
    Function(Function),
    /// Parameters and result.
    #[doc(alias = "BTF_KIND_FUNC_PROTO")]
    FunctionPrototype(FunctionPrototype),
    /// A global variable.
    #[doc(alias = "BTF_KIND_VAR")]
    Variable(Variable),
    /// The variables of one section.
    #[doc(alias = "BTF_KIND_DATASEC")]
    DataSection(DataSection),
    /// A floating-point number.
    #[doc(alias = "BTF_KIND_FLOAT")]
    Float {
        /// Its name.
        name: Name,
        /// Bytes.
        size: u32,
    },
    /// A remark on a declaration or one of its parts.
    #[doc(alias = "BTF_KIND_DECL_TAG")]
    DeclTag {
        /// The remark.
        tag: Tag,
        /// The member or parameter it is about; `None` if about the whole.
        component: Option<u32>,
    },
    /// A remark on a type.
    #[doc(alias = "BTF_KIND_TYPE_TAG")]
    TypeTag(Tag),
}

impl Type {
    /// Its name, where the kind can have one. A tag's text is no name.
    pub fn name(&self) -> Option<Name> {
        match self {
            Self::Integer(Integer { name, .. })
            | Self::Struct(Composite { name, .. })
            | Self::Union(Composite { name, .. })
            | Self::Enumeration(Enumeration { name, .. })
            | Self::Forward { name, .. }
            | Self::Typedef { name, .. }
            | Self::Function(Function { name, .. })
            | Self::Variable(Variable { name, .. })
            | Self::DataSection(DataSection { name, .. })
            | Self::Float { name, .. } => Some(*name),
            Self::Void
            | Self::Pointer(_)
            | Self::Array(_)
            | Self::Volatile(_)
            | Self::Const(_)
            | Self::Restrict(_)
            | Self::FunctionPrototype(_)
            | Self::DeclTag { .. }
            | Self::TypeTag(_) => None,
        }
    }

    /// What it stands for, if it is only another name or a qualified form of a type: typedefs, `const`, `volatile`,
    /// `restrict`, type tags.
    pub fn alias_of(&self) -> Option<TypeId> {
        match self {
            Self::Typedef { target, .. }
            | Self::Volatile(target)
            | Self::Const(target)
            | Self::Restrict(target)
            | Self::TypeTag(Tag { target, .. }) => Some(*target),
            _ => None,
        }
    }

    /// Shows `visit` every type that this one refers to.
    pub fn visit_links(&self, visit: &mut dyn FnMut(TypeId)) {
        match self {
            Self::Void
            | Self::Integer(_)
            | Self::Enumeration(_)
            | Self::Forward { .. }
            | Self::Float { .. } => {}
            Self::Pointer(target)
            | Self::Typedef { target, .. }
            | Self::Volatile(target)
            | Self::Const(target)
            | Self::Restrict(target)
            | Self::Function(Function {
                prototype: target, ..
            })
            | Self::Variable(Variable { target, .. })
            | Self::DeclTag {
                tag: Tag { target, .. },
                ..
            }
            | Self::TypeTag(Tag { target, .. }) => visit(*target),
            Self::Array(array) => {
                visit(array.element);
                visit(array.index);
            }
            Self::Struct(whole) | Self::Union(whole) => {
                whole.members.iter().for_each(|member| visit(member.target));
            }
            Self::FunctionPrototype(prototype) => {
                visit(prototype.result);
                prototype
                    .parameters
                    .iter()
                    .for_each(|parameter| visit(parameter.target));
            }
            Self::DataSection(section) => {
                section
                    .variables
                    .iter()
                    .for_each(|placed| visit(placed.variable));
            }
        }
    }

    /// Lets `change` replace every type that this one refers to.
    pub fn visit_links_mut(&mut self, change: &mut dyn FnMut(&mut TypeId)) {
        match self {
            Self::Void
            | Self::Integer(_)
            | Self::Enumeration(_)
            | Self::Forward { .. }
            | Self::Float { .. } => {}
            Self::Pointer(target)
            | Self::Typedef { target, .. }
            | Self::Volatile(target)
            | Self::Const(target)
            | Self::Restrict(target)
            | Self::Function(Function {
                prototype: target, ..
            })
            | Self::Variable(Variable { target, .. })
            | Self::DeclTag {
                tag: Tag { target, .. },
                ..
            }
            | Self::TypeTag(Tag { target, .. }) => change(target),
            Self::Array(array) => {
                change(&mut array.element);
                change(&mut array.index);
            }
            Self::Struct(whole) | Self::Union(whole) => {
                for member in &mut whole.members {
                    change(&mut member.target);
                }
            }
            Self::FunctionPrototype(prototype) => {
                change(&mut prototype.result);
                for parameter in &mut prototype.parameters {
                    change(&mut parameter.target);
                }
            }
            Self::DataSection(section) => {
                for placed in &mut section.variables {
                    change(&mut placed.variable);
                }
            }
        }
    }

    /// Lets `change` replace every name and text in this type.
    pub fn visit_names_mut(&mut self, change: &mut dyn FnMut(&mut Name)) {
        match self {
            Self::Void
            | Self::Pointer(_)
            | Self::Array(_)
            | Self::Volatile(_)
            | Self::Const(_)
            | Self::Restrict(_) => {}
            Self::Integer(Integer { name, .. })
            | Self::Forward { name, .. }
            | Self::Typedef { name, .. }
            | Self::Function(Function { name, .. })
            | Self::Variable(Variable { name, .. })
            | Self::DataSection(DataSection { name, .. })
            | Self::Float { name, .. } => change(name),
            Self::Struct(whole) | Self::Union(whole) => {
                change(&mut whole.name);
                for member in &mut whole.members {
                    change(&mut member.name);
                }
            }
            Self::Enumeration(whole) => {
                change(&mut whole.name);
                for enumerator in &mut whole.enumerators {
                    change(&mut enumerator.name);
                }
            }
            Self::FunctionPrototype(prototype) => {
                for parameter in &mut prototype.parameters {
                    change(&mut parameter.name);
                }
            }
            Self::DeclTag { tag, .. } | Self::TypeTag(tag) => change(&mut tag.text),
        }
    }

    /// Shows `visit` every name and text in this type.
    pub fn visit_names(&self, visit: &mut dyn FnMut(Name)) {
        if let Some(name) = self.name() {
            visit(name);
        }
        match self {
            Self::Struct(whole) | Self::Union(whole) => {
                whole.members.iter().for_each(|member| visit(member.name));
            }
            Self::Enumeration(whole) => {
                whole
                    .enumerators
                    .iter()
                    .for_each(|enumerator| visit(enumerator.name));
            }
            Self::FunctionPrototype(prototype) => {
                prototype
                    .parameters
                    .iter()
                    .for_each(|parameter| visit(parameter.name));
            }
            Self::DeclTag { tag, .. } | Self::TypeTag(tag) => visit(tag.text),
            _ => {}
        }
    }

    /// The kind in one word or two, for messages.
    pub fn kind_word(&self) -> &'static str {
        match self {
            Self::Void => "void",
            Self::Integer(_) => "integer",
            Self::Pointer(_) => "pointer",
            Self::Array(_) => "array",
            Self::Struct(_) => "struct",
            Self::Union(_) => "union",
            Self::Enumeration(_) => "enum",
            Self::Forward { .. } => "forward declaration",
            Self::Typedef { .. } => "typedef",
            Self::Volatile(_) => "volatile",
            Self::Const(_) => "const",
            Self::Restrict(_) => "restrict",
            Self::Function(_) => "function",
            Self::FunctionPrototype(_) => "function prototype",
            Self::Variable(_) => "variable",
            Self::DataSection(_) => "data section",
            Self::Float { .. } => "float",
            Self::DeclTag { .. } => "declaration tag",
            Self::TypeTag(_) => "type tag",
        }
    }
}

/// A number of whole bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Integer {
    /// Its name.
    pub name: Name,
    /// Bytes it occupies.
    pub size: u32,
    /// Bits that count; fewer than `size * 8` only in bit fields of old compilers.
    pub bits: u8,
    /// Offset of those bits.
    pub bit_offset: u8,
    /// What the bits are.
    pub encoding: IntegerEncoding,
}

/// What the bits of an integer are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IntegerEncoding {
    /// A number without sign.
    Unsigned,
    /// Two's complement.
    Signed,
    /// A character.
    Char,
    /// True or false.
    Bool,
}

/// A fixed number of equal elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Array {
    /// Type of an element.
    pub element: TypeId,
    /// Type of an index, for languages that have more than one.
    pub index: TypeId,
    /// How many; 0 also for flexible array members.
    pub length: u32,
}

/// A struct or union.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Composite {
    /// Its name; empty if anonymous.
    pub name: Name,
    /// Bytes.
    pub size: u32,
    /// Members, in the order of their declaration.
    pub members: Vec<Member>,
    /// Whether member offsets are written with bit field widths (the kind flag).
    pub has_bitfields: bool,
}

/// A member of a struct or union.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Member {
    /// Its name; empty for anonymous structs and unions.
    pub name: Name,
    /// Its type.
    pub target: TypeId,
    /// Where it starts, bits from the start of the whole.
    pub offset_bits: u32,
    /// Its width, if it is a bit field.
    pub bitfield: Option<Bitfield>,
}

/// Width of a bit field, bits; never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bitfield(pub u8);

/// Named numbers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Enumeration {
    /// Its name; empty if anonymous.
    pub name: Name,
    /// Bytes of a value.
    pub size: u32,
    /// Whether values have a sign.
    pub is_signed: bool,
    /// Whether it is written with 64-bit values (`BTF_KIND_ENUM64`).
    pub is_wide: bool,
    /// The names and their numbers.
    pub enumerators: Vec<Enumerator>,
}

/// A named number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Enumerator {
    /// The name.
    pub name: Name,
    /// The number: 64 bits, extended according to the enumeration's sign.
    pub value: u64,
}

/// A function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Function {
    /// Its name.
    pub name: Name,
    /// Its prototype.
    pub prototype: TypeId,
    /// Who can see it.
    pub linkage: Linkage,
}

/// Parameters and result.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FunctionPrototype {
    /// What it returns.
    pub result: TypeId,
    /// Parameters in order. A last one of type void without a name stands for `...`.
    pub parameters: Vec<Parameter>,
}

/// A parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Parameter {
    /// Its name.
    pub name: Name,
    /// Its type.
    pub target: TypeId,
}

/// A global variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Variable {
    /// Its name.
    pub name: Name,
    /// Its type.
    pub target: TypeId,
    /// Who can see it.
    pub linkage: Linkage,
}

/// Who can see a function or variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Linkage {
    /// Only its own object.
    Static,
    /// Other objects.
    Global,
    /// Defined elsewhere.
    Extern,
}

/// The variables of one section.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DataSection {
    /// The section's name.
    pub name: Name,
    /// Bytes; 0 in objects that no linker has completed.
    pub size: u32,
    /// Its variables.
    pub variables: Vec<SectionVariable>,
}

/// A variable in its section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SectionVariable {
    /// The variable (or, for `.ksyms`, function).
    pub variable: TypeId,
    /// Where it starts in the section, bytes; in a relocatable object its symbol says so instead.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
}

/// A remark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tag {
    /// Its text.
    pub text: Name,
    /// The declaration or type it is about.
    pub target: TypeId,
    /// Whether it is an attribute of the compiler, to be written as such, instead of a `btf_decl_tag` or `btf_type_tag`.
    pub is_attribute: bool,
}
