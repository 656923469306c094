//! What a relocation is about: a type, a field or an enumerator, with the path understood.
//!
//! ```text
//! path    0 : 1 : 2        element 0 of what the pointer points to, then member or element by position
//! ```
//!
//! The path counts every member, also the anonymous ones between; what is looked for in the target are the names.

use crate::btf::{Btf, Enumeration, RelocationKind, Type, TypeId, essential_name};
use crate::spec::TypeRelocation;

use super::compatible::Announced;
use super::fields::{self, Field};
use super::{compatible, shape};

/// Most steps of a path.
const MOST_STEPS: usize = 64;

/// What a relocation is about, in one BTF.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    /// A type as a whole.
    Type(TypeId),
    /// Something inside a type.
    Field(Field),
    /// A named number.
    Enumerator {
        /// The enumeration.
        whole: TypeId,
        /// Its position there.
        position: usize,
    },
}

impl Subject {
    /// Understands root and path of a relocation in the object's types.
    ///
    /// # Errors
    ///
    /// One sentence without the place.
    pub(super) fn read(local: &Btf, relocation: &TypeRelocation) -> Result<Self, String> {
        let path = steps(&relocation.path)?;
        let root = relocation.root;
        let is_anonymous = local.name_of(root).is_empty();
        if is_anonymous && relocation.kind != RelocationKind::TypeIdLocal {
            return Err("a type without a name cannot be looked for".to_owned());
        }
        match relocation.kind {
            RelocationKind::FieldOffset
            | RelocationKind::FieldSize
            | RelocationKind::FieldExists
            | RelocationKind::FieldSigned
            | RelocationKind::FieldShiftLeft
            | RelocationKind::FieldShiftRight => fields::walk(local, root, &path).map(Self::Field),
            RelocationKind::TypeIdLocal
            | RelocationKind::TypeIdTarget
            | RelocationKind::TypeExists
            | RelocationKind::TypeSize
            | RelocationKind::TypeMatches => match path[..] {
                [0] => Ok(Self::Type(root)),
                _ => Err("the path of a whole type is `0`".to_owned()),
            },
            RelocationKind::EnumeratorExists | RelocationKind::EnumeratorValue => {
                let [position] = path[..] else {
                    return Err("the path of an enumerator is one number".to_owned());
                };
                let whole = enumeration(local, root)?.ok_or("the type is no enumeration")?;
                let position = usize::try_from(position).unwrap_or(usize::MAX);
                match whole.enumerators.get(position) {
                    Some(_) => Ok(Self::Enumerator {
                        whole: root,
                        position,
                    }),
                    None => Err(format!(
                        "the enumeration has {} names",
                        whole.enumerators.len()
                    )),
                }
            }
        }
    }

    /// The same thing in one type of the target, if it is there.
    ///
    /// # Errors
    ///
    /// If the target's types contradict themselves.
    pub(super) fn find(
        &self,
        local: &Btf,
        target: &Btf,
        candidate: TypeId,
        kind: RelocationKind,
    ) -> Result<Option<Self>, String> {
        match self {
            Self::Type(root) => {
                let fits = match kind {
                    RelocationKind::TypeMatches => shape::matches(local, *root, target, candidate)?,
                    _ => compatible::types(local, *root, target, candidate, Announced::Itself)?,
                };
                Ok(fits.then_some(Self::Type(candidate)))
            }
            Self::Field(field) => {
                Ok(fields::find(local, field, target, candidate)?.map(Self::Field))
            }
            Self::Enumerator { whole, position } => {
                let (Some(here), Some(there)) =
                    (enumeration(local, *whole)?, enumeration(target, candidate)?)
                else {
                    return Ok(None);
                };
                let Some(wanted) = here.enumerators.get(*position) else {
                    return Ok(None);
                };
                let wanted = essential_name(local.text(wanted.name));
                let found = there
                    .enumerators
                    .iter()
                    .position(|each| essential_name(target.text(each.name)) == wanted);
                Ok(found.map(|position| Self::Enumerator {
                    whole: candidate,
                    position,
                }))
            }
        }
    }

    /// What it is called: `struct task_struct`, `struct task_struct.pid`, `enum color.RED`.
    pub(super) fn shown(&self, btf: &Btf) -> String {
        match self {
            Self::Type(id) => format!("`{}`", btf.reference_text(*id)),
            Self::Field(field) => format!("`{}`", field.shown(btf)),
            Self::Enumerator { whole, position } => {
                let name = enumeration(btf, *whole)
                    .ok()
                    .flatten()
                    .and_then(|all| all.enumerators.get(*position))
                    .map_or("", |each| btf.text(each.name));
                format!("`{}.{name}`", btf.reference_text(*whole))
            }
        }
    }
}

/// The enumeration behind a type's other names, if it is one.
pub(super) fn enumeration(btf: &Btf, id: TypeId) -> Result<Option<&Enumeration>, String> {
    let (_, found) = btf.resolve(id).map_err(|error| error.to_string())?;
    Ok(match found {
        Type::Enumeration(whole) => Some(whole),
        _ => None,
    })
}

/// The numbers of a path.
fn steps(path: &str) -> Result<Vec<u32>, String> {
    let steps: Vec<u32> = path
        .split(':')
        .map(str::parse)
        .collect::<Result<_, _>>()
        .map_err(|_| "the path is no list of numbers".to_owned())?;
    match steps.len() {
        0..=MOST_STEPS => Ok(steps),
        more => Err(format!(
            "the path has {more} steps, at most {MOST_STEPS} are possible"
        )),
    }
}
