//! BTF: the types of an object or of a kernel, as plain data.
//!
//! ```text
//! .BTF   header | types: { name, kind, size or target, the kind's own entries } ... | strings: NUL, text NUL, ...
//!                  [1]    [2]    [3] ...   numbered as they come; [0] is void
//! ```
//!
//! `header.rs` finds types and strings, `read.rs` turns the bytes into [`Type`]s in one pass; after it, every [`TypeId`]
//! and [`Name`] inside a [`Btf`] points to something. `layout.rs` answers how large types are. What the types mean
//! together (chains that lead nowhere, arrays of themselves) is found where it is asked for, never by endless recursion.
//!
//! Source: the kernel's `Documentation/bpf/btf.rst`, and what clang and `pahole` write.

mod ext;
mod flavour;
mod header;
mod kinds;
mod layout;
mod read;
mod types;
mod write;

use std::fmt;
use std::ops::Range;

use crate::diagnosis::{Code, Diagnosis, Error};

pub use ext::{Ext, LineRecord, Placed, RelocationKind, RelocationRecord};
pub use flavour::essential_name;
pub use types::{
    Array, Bitfield, Composite, DataSection, Enumeration, Enumerator, Function, FunctionPrototype,
    Integer, IntegerEncoding, Linkage, Member, Name, Parameter, SectionVariable, Tag, Type, TypeId,
    Variable,
};
pub use write::BtfBuilder;

/// The types of one object or kernel.
///
/// INVARIANT: every [`Name`] in `types` is the start of a NUL-terminated text in `strings`, and every [`TypeId`] in them is a
/// position in `types`.
#[derive(Clone, PartialEq, Eq)]
pub struct Btf {
    /// By number; the first is [`Type::Void`].
    types: Vec<Type>,
    /// All names, each ended by a NUL.
    strings: Box<str>,
}

impl Btf {
    /// How many types there are, void included.
    pub fn len(&self) -> usize {
        self.types.len()
    }

    /// Whether there is nothing but void.
    pub fn is_empty(&self) -> bool {
        self.types.len() <= 1
    }

    /// The type with this number; `None` if there is none.
    pub fn get(&self, id: TypeId) -> Option<&Type> {
        self.types.get(id.get())
    }

    /// All types with their numbers, void first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (TypeId, &Type)> {
        // The reader gives out numbers as `u32`, so there are never more types than that.
        self.ids().zip(&self.types)
    }

    /// The text of a name; empty for things without one.
    pub fn text(&self, name: Name) -> &str {
        let rest = usize::try_from(name.0)
            .ok()
            .and_then(|start| self.strings.get(start..))
            .unwrap_or_default();
        rest.split('\0').next().unwrap_or_default()
    }

    /// Whether a text can start at this offset of the strings.
    fn has_name(&self, name: Name) -> bool {
        // The strings end with a NUL, so every text that starts inside them also ends there.
        usize::try_from(name.0)
            .is_ok_and(|at| at < self.strings.len() && self.strings.is_char_boundary(at))
    }

    /// The first two bytes of a name, its final NUL counted as one; NULs if it is empty.
    pub(crate) fn start_of(&self, name: Name) -> [u8; 2] {
        usize::try_from(name.0)
            .ok()
            .filter(|at| *at > 0)
            .and_then(|at| self.strings.as_bytes().get(at..)?.first_chunk())
            .copied()
            .unwrap_or_default()
    }

    /// The name of a type; empty if it has none.
    pub fn name_of(&self, id: TypeId) -> &str {
        self.get(id)
            .and_then(Type::name)
            .map_or("", |name| self.text(name))
    }

    /// The numbers of all types with this name, ascending. Looks at every type.
    pub fn named<'btf>(&'btf self, name: &'btf str) -> impl Iterator<Item = TypeId> + 'btf {
        self.iter()
            .filter(move |(_, kind)| kind.name().is_some_and(|own| self.is_named(own, name)))
            .map(|(id, _)| id)
    }

    /// Compares without looking for the end of the name first: most names differ in the first bytes.
    fn is_named(&self, name: Name, text: &str) -> bool {
        let bytes = self.strings.as_bytes();
        usize::try_from(name.0)
            .ok()
            .and_then(|start| bytes.get(start..))
            .and_then(|rest| rest.strip_prefix(text.as_bytes()))
            .is_some_and(|rest| rest.first() == Some(&0))
    }

    fn ids(&self) -> impl ExactSizeIterator<Item = TypeId> + use<> {
        let range: Range<u32> = 0..u32::try_from(self.types.len()).unwrap_or(u32::MAX);
        range.map(TypeId)
    }
}

/// Sizes only: a kernel's types would be hundreds of megabytes of text.
impl fmt::Debug for Btf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Btf")
            .field("types", &self.types.len())
            .field("string_bytes", &self.strings.len())
            .finish()
    }
}

/// Code O013, at an offset of the BTF.
fn malformed(offset: u64, message: impl Into<String>) -> Error {
    Diagnosis::new(Code::BTF_MALFORMED, message)
        .at(".BTF", offset)
        .into()
}
