//! Several objects made one: what a linker does with the files of a program that was written in parts.
//!
//! ```text
//! a.o   .text  tc  .data  .maps  .BTF        sections of one name stand one after another,
//! b.o   .text  tc  .data         .BTF   -->  a name that is used in one object and defined in another means that definition,
//!                                            types are merged, equal ones become one
//! ```
//!
//! `part.rs` reads each object as far as a linker cares, `layout.rs` gives sections their places, `names.rs` decides which
//! definition a name means, `types.rs` merges what is said about types and `agree.rs` checks that it is the same on both sides,
//! `moved.rs` follows relocations to their new places, and `write.rs` writes the file. Programs are not looked at: the
//! result is an object like any other, relocatable and portable as its parts were.
//!
//! | definitions of one name | what it means then |
//! |---|---|
//! | one | that one |
//! | one, and weak ones | the one that is not weak |
//! | weak ones only | the first |
//! | two that are not weak | an error |
//! | none | it stays open: the kernel's, or another object's that is linked in later |
//!
//! What lost stays in its section, without a name. Debug information other than BTF is left out.

mod agree;
mod layout;
mod moved;
mod names;
mod part;
mod types;
mod write;

use crate::diagnosis::{Code, Diagnosis, Error, Result};

use layout::Layout;
use names::Names;
use part::Part;

/// One of the objects.
#[derive(Debug, Clone, Copy)]
pub struct Input<'data> {
    /// How messages call it: the file's name.
    pub name: &'data str,
    /// The file.
    pub bytes: &'data [u8],
}

/// Several objects as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Combined {
    /// The file.
    pub bytes: Vec<u8>,
    /// Its sections of code and data.
    pub sections: Vec<CombinedSection>,
    /// Names that one object uses and another defines.
    pub bound: Vec<Bound>,
    /// Weak definitions that gave way to another.
    pub overridden: Vec<Bound>,
    /// Names that none defines.
    pub open: Vec<String>,
}

/// A section of the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CombinedSection {
    /// Its name.
    pub name: String,
    /// Bytes in memory.
    pub size: u64,
    /// The objects that it is from.
    pub from: Vec<String>,
}

/// A name of one object that means a definition in another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// The name.
    pub name: String,
    /// The object that uses it, or whose definition gave way.
    pub in_object: String,
    /// The object whose definition it means.
    pub to_object: String,
}

/// Makes several relocatable BPF objects one.
///
/// # Errors
///
/// The codes of [`Object::parse`](crate::Object::parse) for what is no sound object; `L017` if a name has two definitions;
/// `L018` if the objects differ in byte order or license, or in the types of what they share. Messages name the files.
pub fn combine(inputs: &[Input<'_>]) -> Result<Combined> {
    let parts = inputs.iter().map(Part::read).collect::<Result<Vec<_>>>()?;
    let Some(first) = parts.first() else {
        return Err(Diagnosis::new(Code::USAGE, "no object to link").into());
    };
    for other in &parts {
        if other.elf.byte_order != first.elf.byte_order {
            return Err(disagree(first, other, "have different byte orders"));
        }
    }
    let layout = Layout::of(&parts)?;
    let names = Names::resolve(&parts, &layout)?;
    let types = types::merge(&parts, &layout, &names)?;
    let wholes = moved::contents(&parts, &layout, &names)?;
    let bytes = write::write(first.elf.byte_order, &layout, &names, &wholes, types)?;
    Ok(Combined {
        bytes,
        sections: layout.summary(&parts),
        bound: names.bound(&parts),
        overridden: names.overridden(&parts),
        open: names.open(),
    })
}

/// Two objects that cannot become one.
fn disagree(one: &Part<'_>, other: &Part<'_>, what: &str) -> Error {
    let message = format!("`{}` and `{}` {what}", one.name, other.name);
    Diagnosis::new(Code::OBJECTS_DISAGREE, message).into()
}
