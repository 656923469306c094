//! Whether a type of a program in user space is laid out as the type that a map's values have.
//!
//! A [`Shape`] is what user space says: fields with names and places, numbers, arrays. It is walked together with the BTF's type, and
//! each field is looked for by its name; those of anonymous structs and unions count as fields of what they are in. The walk ends with
//! the shape, so a BTF that refers to itself cannot lead it in circles.

use super::Types;
use crate::btf::{Composite, Member, Type, TypeId};
use crate::diagnosis::{Code, Diagnosis, Result};

/// How a type of user space lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One number, of whatever sign.
    Number {
        /// Bytes.
        size: usize,
    },
    /// Equal elements one after another. Single bytes are fit for everything of their length.
    Array {
        /// An element.
        element: &'static Shape,
        /// How many.
        length: usize,
    },
    /// Fields with names.
    Struct {
        /// Its name in user space.
        name: &'static str,
        /// Bytes.
        size: usize,
        /// Its fields.
        fields: &'static [Field],
    },
}

/// A field of a struct of user space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Its name, which is the member's in C; names in front of which Rust wants `r#` may have it.
    pub name: &'static str,
    /// Bytes from the start of the struct.
    pub offset: usize,
    /// What it is.
    pub shape: &'static Shape,
}

impl Shape {
    /// Bytes it takes.
    pub fn size(&self) -> usize {
        match self {
            Self::Number { size } | Self::Struct { size, .. } => *size,
            Self::Array { element, length } => element.size().saturating_mul(*length),
        }
    }

    fn is_bytes(&self) -> bool {
        matches!(
            self,
            Self::Array {
                element: Self::Number { size: 1 },
                ..
            }
        )
    }
}

impl Types<'_> {
    /// Checks that `shape` is laid out as the type with this number: each field at the place of the member of its name and as large,
    /// no member left over.
    ///
    /// A field that no member has the name of may stand where the type has padding or bit fields.
    ///
    /// # Errors
    ///
    /// Code M007: which field, and both places or sizes. Code O013 if the type has none.
    pub fn check_shape(&self, id: TypeId, shape: &Shape) -> Result<()> {
        self.check_at(id, shape, "")
    }

    /// `path` is the field that is looked at, `Flow.key`; empty at the top.
    fn check_at(&self, id: TypeId, shape: &Shape, path: &str) -> Result<()> {
        let (id, found) = self.btf.resolve(id)?;
        let size = self.btf.size_of(id)?;
        if u64::try_from(shape.size()) != Ok(size) {
            let message = format!(
                "{} has {} bytes, {} has {size}",
                subject(path, shape),
                shape.size(),
                self.type_text(id)
            );
            return Err(Diagnosis::new(Code::MAP_TYPE_SIZE, message).into());
        }
        if shape.is_bytes() {
            return Ok(());
        }
        match (shape, found) {
            (Shape::Struct { fields, .. }, Type::Struct(whole) | Type::Union(whole)) => {
                self.check_fields((id, whole), fields, &named(path, shape))
            }
            (Shape::Array { element, length }, Type::Array(array))
                if u32::try_from(*length) == Ok(array.length) =>
            {
                self.check_at(array.element, element, &format!("{}[]", named(path, shape)))
            }
            (
                Shape::Number { .. },
                Type::Integer(_) | Type::Pointer(_) | Type::Enumeration(_) | Type::Float { .. },
            ) => Ok(()),
            // A struct around one thing is that thing: `struct in_addr`, or a newtype of Rust.
            (_, Type::Struct(whole)) if whole.members.len() == 1 => {
                self.check_at(whole.members[0].target, shape, path)
            }
            (Shape::Struct { fields: [only], .. }, _) => self.check_at(id, only.shape, path),
            _ => Err(self.another_kind(id, found, shape, path)),
        }
    }

    fn check_fields(
        &self,
        (id, whole): (TypeId, &Composite),
        fields: &[Field],
        owner: &str,
    ) -> Result<()> {
        let mut members = Vec::new();
        self.gather(whole, 0, &mut members);
        for field in fields {
            let name = plain(field.name);
            let place = format!("{owner}.{name}");
            match members.iter().find(|member| member.name == name) {
                Some(member) if member.bitfield => {}
                Some(member) if usize::try_from(member.offset) == Ok(field.offset) => {
                    self.check_at(member.target, field.shape, &place)?;
                }
                Some(member) => {
                    let message = format!(
                        "field `{place}` is at byte {}, in {} at byte {}",
                        field.offset,
                        self.type_text(id),
                        member.offset
                    );
                    return Err(misplaced(message, &members));
                }
                None if members.iter().any(|member| member.is_under(field)) => {
                    let message = format!(
                        "{} has no member for field `{place}`, at byte {}",
                        self.type_text(id),
                        field.offset
                    );
                    return Err(misplaced(message, &members));
                }
                None => {}
            }
        }
        let is_missing = |member: &&Placed<'_>| {
            !member.bitfield
                && !member.is_alternative
                && !fields.iter().any(|field| plain(field.name) == member.name)
        };
        match members.iter().find(is_missing) {
            None => Ok(()),
            Some(member) => {
                let message = format!(
                    "`{owner}` has no field for member `{}` of {}, at byte {}",
                    member.name,
                    self.type_text(id),
                    member.offset
                );
                Err(misplaced(message, &members))
            }
        }
    }

    /// The members with names, those of anonymous structs and unions too.
    fn gather<'b>(&'b self, whole: &'b Composite, depth: u32, members: &mut Vec<Placed<'b>>) {
        self.gather_from(whole, (0, false), depth, members);
    }

    fn gather_from<'b>(
        &'b self,
        whole: &'b Composite,
        (base, is_alternative): (u64, bool),
        depth: u32,
        members: &mut Vec<Placed<'b>>,
    ) {
        for member in &whole.members {
            if members.len() >= MOST_MEMBERS {
                return;
            }
            let offset = base + u64::from(member.offset_bits / 8);
            if !member.name.is_empty() {
                members.push(self.placed(member, offset, is_alternative));
                continue;
            }
            let inner = self.btf.resolve(member.target).map(|(_, found)| found);
            match inner {
                Ok(Type::Struct(inner)) if depth < MOST_DEPTH => {
                    self.gather_from(inner, (offset, is_alternative), depth + 1, members);
                }
                // User space names one of them.
                Ok(Type::Union(inner)) if depth < MOST_DEPTH => {
                    self.gather_from(inner, (offset, true), depth + 1, members);
                }
                _ => {}
            }
        }
    }

    fn placed<'b>(&'b self, member: &Member, offset: u64, is_alternative: bool) -> Placed<'b> {
        Placed {
            name: self.btf.text(member.name),
            target: member.target,
            offset,
            size: self.btf.size_of(member.target).unwrap_or(0),
            bitfield: member.bitfield.is_some(),
            is_alternative,
        }
    }

    fn another_kind(
        &self,
        id: TypeId,
        found: &Type,
        shape: &Shape,
        path: &str,
    ) -> crate::diagnosis::Error {
        let is = match shape {
            Shape::Number { .. } => "a number",
            Shape::Array { .. } => "an array",
            Shape::Struct { .. } => "a struct",
        };
        let message = format!(
            "{} is {is}, {} is of kind {}",
            subject(path, shape),
            self.type_text(id),
            found.kind_word()
        );
        Diagnosis::new(Code::MAP_TYPE_SIZE, message)
            .help("bytes, `[u8; N]`, fit every type of their length")
            .into()
    }

    /// `struct flow`, `unsigned int`, or `union [7]` of what has no name.
    fn type_text(&self, id: TypeId) -> String {
        let found = self.btf.get(id);
        let kind = found.map_or("type", Type::kind_word);
        match (self.btf.name_of(id), found) {
            ("", _) => format!("{kind} {id}"),
            (name, Some(Type::Integer(_) | Type::Float { .. })) => format!("`{name}`"),
            (name, _) => format!("`{kind} {name}`"),
        }
    }
}

/// A member of the BTF's type, at its place in the whole.
struct Placed<'b> {
    name: &'b str,
    target: TypeId,
    offset: u64,
    size: u64,
    bitfield: bool,
    /// Whether it shares its place with others, in an anonymous union.
    is_alternative: bool,
}

impl Placed<'_> {
    /// Whether a field without a name in C lies on it, and so is no padding.
    fn is_under(&self, field: &Field) -> bool {
        let start = u64::try_from(field.offset).unwrap_or(u64::MAX);
        let end = start.saturating_add(u64::try_from(field.shape.size()).unwrap_or(u64::MAX));
        !self.bitfield && start < self.offset.saturating_add(self.size) && self.offset < end
    }
}

fn misplaced(message: String, members: &[Placed<'_>]) -> crate::diagnosis::Error {
    let shown = members.iter().take(MOST_SHOWN);
    let mut places: Vec<String> = shown
        .map(|member| format!("{} at {}", member.name, member.offset))
        .collect();
    if members.len() > MOST_SHOWN {
        places.push("...".to_owned());
    }
    Diagnosis::new(Code::MAP_TYPE_SIZE, message)
        .fact("its members", places.join(", "))
        .help("`twinbpf btf dump OBJECT --format rust --maps` prints types that fit")
        .into()
}

/// The name in C of a field whose name is a word of Rust.
fn plain(name: &str) -> &str {
    name.strip_prefix("r#").unwrap_or(name)
}

/// What the fields of a shape are fields of.
fn named(path: &str, shape: &Shape) -> String {
    match (path, shape) {
        ("", Shape::Struct { name, .. }) => (*name).to_owned(),
        ("", _) => "it".to_owned(),
        (path, _) => path.to_owned(),
    }
}

fn subject(path: &str, shape: &Shape) -> String {
    match (path, shape) {
        ("", Shape::Struct { name, .. }) => format!("`{name}`"),
        ("", _) => "the type".to_owned(),
        (path, _) => format!("field `{path}`"),
    }
}

/// Members that are looked at; the kernel's largest struct has a tenth.
const MOST_MEMBERS: usize = 4096;
/// Anonymous structs in each other.
const MOST_DEPTH: u32 = 8;
/// Members that an error lists.
const MOST_SHOWN: usize = 12;
