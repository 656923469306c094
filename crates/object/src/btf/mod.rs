//! BTF: the types of an object or of a kernel, as plain data.
//!
//! ```text
//! .BTF   header | types: { name, kind, size or target, the kind's own entries } ... | strings: NUL, text NUL, ...
//!                  [1]    [2]    [3] ...   numbered as they come; [0] is void
//! ```
//!
//! `header.rs` finds types and strings, `decode.rs` turns the bytes of one type into a [`Type`]. Of an object `read.rs` reads
//! all in one pass; after it, every [`TypeId`] and [`Name`] inside a [`Btf`] points to something. A kernel has over 100,000
//! types of which a program means a handful: `walk.rs` only finds where they start, `search.rs` those with certain names,
//! and `lazy.rs` keeps what was touched. `layout.rs` answers how large types are. What the types mean together (chains that
//! lead nowhere, arrays of themselves) is found where it is asked for, never by endless recursion.
//!
//! Source: the kernel's `Documentation/bpf/btf.rst`, and what clang and `pahole` write.

mod decode;
mod dedup;
mod ext;
mod ext_write;
mod flavour;
mod for_kernel;
mod header;
mod image;
mod kinds;
mod layout;
mod lazy;
mod older;
mod partition;
pub mod print;
mod read;
mod search;
mod special;
mod types;
mod walk;
mod write;

use std::ffi::CStr;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use lazy::Lazy;

use crate::bytes::ByteOrder;
use crate::diagnosis::{Code, Diagnosis, Error};

pub use dedup::Renumbering;
pub use ext::{Ext, LineRecord, Placed, RelocationKind, RelocationRecord};
pub(crate) use ext_write::ExtRecords;
pub use flavour::essential_name;
pub use for_kernel::Upload;
pub(crate) use image::{Image, Record};
pub(crate) use kinds::kind;
pub(crate) use older::{any_integer, neutralise_section};
pub use search::{Hit, Search, TypeKinds};
pub use special::{SpecialField, SpecialKind};
pub use types::{
    Array, Bitfield, Composite, DataSection, Enumeration, Enumerator, Function, FunctionPrototype,
    Integer, IntegerEncoding, Linkage, Member, Name, Parameter, SectionVariable, Tag, Type, TypeId,
    Variable,
};
pub use write::BtfBuilder;

/// The types of one object, kernel or module.
///
/// An object's are all read and checked by [`parse`](Self::parse). A target's are many and come from elsewhere: after
/// [`open`](Self::open) a type is read when somebody asks for it, and what is damaged is not there.
///
/// INVARIANT: if the model is whole, every [`Name`] in it is the start of a NUL-terminated text in the strings, and every
/// [`TypeId`] in it is the number of a type.
#[derive(Clone)]
pub struct Btf {
    bytes: Bytes,
    order: ByteOrder,
    /// Where in `bytes` the types are.
    types: Range<usize>,
    /// Where in `bytes` the names are, each ended by a NUL.
    strings: Range<usize>,
    /// What these types continue.
    base: Option<Arc<Btf>>,
    model: Model,
}

#[derive(Clone)]
enum Model {
    /// By number; the first is [`Type::Void`].
    Whole(Vec<Type>),
    /// What was asked for so far.
    Touched(Arc<Lazy>),
}

/// Bytes that somebody else keeps: read from a file, or mapped. They must not change.
#[derive(Clone)]
pub struct Bytes(Arc<dyn AsRef<[u8]> + Send + Sync>);

impl Bytes {
    /// Shares the bytes of an owner.
    pub fn new(owner: Arc<dyn AsRef<[u8]> + Send + Sync>) -> Self {
        Self(owner)
    }

    fn get(&self) -> &[u8] {
        (*self.0).as_ref()
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Arc::new(bytes))
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({})", self.get().len())
    }
}

impl Btf {
    /// How many types there are, void and those of the base included; the number after the last.
    pub fn len(&self) -> usize {
        match &self.model {
            Model::Whole(types) => types.len(),
            Model::Touched(lazy) => lazy.index(self).end(),
        }
    }

    /// Whether there is nothing but void.
    pub fn is_empty(&self) -> bool {
        self.len() <= 1
    }

    /// The type with this number; `None` if there is none, or a target's is damaged.
    pub fn get(&self, id: TypeId) -> Option<&Type> {
        match (&self.model, &self.base) {
            (Model::Whole(types), _) => types.get(id.get()),
            (Model::Touched(_), _) if id == TypeId::VOID => Some(&Type::Void),
            (Model::Touched(_), Some(base)) if id.get() < base.len() => base.get(id),
            (Model::Touched(lazy), _) => lazy.get(self, id),
        }
    }

    /// Its types with their numbers, void first. Without those of its base; what is damaged shows as void.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (TypeId, &Type)> {
        // The reader gives out numbers as `u32`, so there are never more types than that.
        let end = u32::try_from(self.len()).unwrap_or(u32::MAX);
        (self.first_number()..end).map(|number| {
            (
                TypeId(number),
                self.get(TypeId(number)).unwrap_or(&Type::Void),
            )
        })
    }

    /// Its types and those of its base with their numbers, void first; what is damaged shows as void.
    pub fn iter_all(&self) -> impl Iterator<Item = (TypeId, &Type)> {
        let base = self.base.iter().flat_map(|base| {
            let end = u32::try_from(base.len()).unwrap_or(u32::MAX);
            (0..end).map(|number| {
                (
                    TypeId(number),
                    base.get(TypeId(number)).unwrap_or(&Type::Void),
                )
            })
        });
        base.chain(self.iter())
    }

    /// What these types continue, if they do.
    pub fn base(&self) -> Option<&Arc<Self>> {
        self.base.as_ref()
    }

    /// The bytes as they came: header, types and strings.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get()
    }

    /// The byte order they are in.
    pub fn byte_order(&self) -> ByteOrder {
        self.order
    }

    /// The text of a name; empty for things without one.
    pub fn text(&self, name: Name) -> &str {
        let text = CStr::from_bytes_until_nul(self.starting_at(name)).unwrap_or_default();
        text.to_str().unwrap_or_default()
    }

    /// The name of a type; empty if it has none.
    pub fn name_of(&self, id: TypeId) -> &str {
        self.get(id)
            .and_then(Type::name)
            .map_or("", |name| self.text(name))
    }

    /// A type as C refers to it: `struct task_struct`, or the bare name of a typedef.
    pub fn reference_text(&self, id: TypeId) -> String {
        let name = self.name_of(id);
        match self.get(id) {
            Some(kind @ (Type::Struct(_) | Type::Union(_) | Type::Enumeration(_))) => {
                format!("{} {name}", kind.kind_word())
            }
            _ => name.to_owned(),
        }
    }

    /// Whether a name is this text. Most names differ in the first bytes, so it does not look for their end.
    pub fn is_named(&self, name: Name, text: &str) -> bool {
        let rest = self.starting_at(name).strip_prefix(text.as_bytes());
        rest.is_some_and(|rest| rest.first() == Some(&0))
    }

    /// The numbers of its types with this name, ascending; those of its base are not looked at.
    pub fn named(&self, name: &str) -> impl Iterator<Item = TypeId> + use<> {
        let found = self.search(&Search::exact([name]));
        found.into_iter().map(|hit| hit.id)
    }

    /// Its types with one of the wanted names, by number; those of its base are not looked at. One walk over all types.
    pub fn search(&self, search: &Search<'_>) -> Vec<Hit> {
        match &self.model {
            Model::Whole(_) => search.among(self),
            Model::Touched(lazy) => lazy.search(self, search),
        }
    }

    /// The strings from the start of a name on; empty for things without one and where there is no such name.
    fn starting_at(&self, name: Name) -> &[u8] {
        let strings = self.own_strings();
        let Some(at) = usize::try_from(name.0).ok().filter(|at| *at > 0) else {
            return &[];
        };
        match &self.base {
            None => strings.get(at..).unwrap_or_default(),
            Some(base) => match at.checked_sub(base.strings_end()) {
                None => base.starting_at(name),
                Some(at) => strings.get(at..).unwrap_or_default(),
            },
        }
    }

    /// Whether a text can start at this offset of the strings.
    fn has_name(&self, name: Name) -> bool {
        // The strings end with a NUL, so every text that starts inside them also ends there. They are UTF-8, where only
        // bytes inside a character start with the bits 10.
        let strings = self.own_strings();
        usize::try_from(name.0)
            .ok()
            .and_then(|at| strings.get(at))
            .is_some_and(|byte| byte & 0xc0 != 0x80)
    }

    /// Bytes of all names, those of the base included.
    fn strings_end(&self) -> usize {
        let before = self.base.as_deref().map_or(0, Self::strings_end);
        before.saturating_add(self.strings.len())
    }

    /// The number of its first type: void, or the one after its base's last.
    fn first_number(&self) -> u32 {
        self.base
            .as_deref()
            .map_or(0, |base| u32::try_from(base.len()).unwrap_or(u32::MAX))
    }

    fn own_types(&self) -> &[u8] {
        self.bytes.get().get(self.types.clone()).unwrap_or_default()
    }

    fn own_strings(&self) -> &[u8] {
        let all = self.bytes.get();
        all.get(self.strings.clone()).unwrap_or_default()
    }
}

/// Two are equal if their types and names are, whatever the byte order they were written in.
impl PartialEq for Btf {
    fn eq(&self, other: &Self) -> bool {
        self.own_strings() == other.own_strings()
            && self.base == other.base
            && self.len() == other.len()
            && self.iter().eq(other.iter())
    }
}

impl Eq for Btf {}

/// Sizes only: a kernel's types would be hundreds of megabytes of text.
impl fmt::Debug for Btf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Btf")
            .field("type_bytes", &self.types.len())
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
