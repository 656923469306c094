//! Interfaces of the kernel that programs fill in: tables of functions and settings.
//!
//! An object has such a table as a variable. The kernel's struct of that name has members with the same names, but perhaps at
//! other places, and more of them; so the table is kept member by member.

use std::sync::Arc;

/// A table for an interface of the kernel (`SEC(".struct_ops")`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StructOps {
    /// The interface: the name of its struct, flavour cut off.
    pub interface: String,
    /// Its members, in the order of the object's struct.
    pub members: Vec<StructOpsMember>,
    /// The variable's bytes, in the object's byte order; where functions go it has zeros.
    pub bytes: Arc<[u8]>,
    /// Whether the table is put to use by a link, not by filling it (`SEC(".struct_ops.link")`).
    pub needs_link: bool,
    /// Whether loading the object makes it (`SEC("?.struct_ops")` says no).
    pub autoload: bool,
}

/// A member of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StructOpsMember {
    /// Its name.
    pub name: String,
    /// Where it starts in the variable, bytes.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
    /// Whether a function goes there.
    pub is_function: bool,
    /// The program that the object puts there.
    pub program: Option<String>,
}

impl StructOps {
    /// The name of the member that a program implements.
    pub fn member_of(&self, program: &str) -> Option<&str> {
        self.members
            .iter()
            .find(|member| member.program.as_deref() == Some(program))
            .map(|member| member.name.as_str())
    }

    /// The bytes of a member; none if an edited table has no room for it.
    pub fn bytes_of(&self, member: &StructOpsMember) -> Option<&[u8]> {
        crate::bytes::slice_at(&self.bytes, member.offset.into(), member.size.into())
    }

    /// Gives a member that is no function another value, in the object's byte order. Says whether there is such a member of
    /// this size.
    pub fn set(&mut self, name: &str, value: &[u8]) -> bool {
        let found = self.members.iter().find(|member| member.name == name);
        let place = found
            .filter(|member| !member.is_function)
            .and_then(|member| {
                let start = usize::try_from(member.offset).ok()?;
                let end = start.checked_add(usize::try_from(member.size).ok()?)?;
                Some(start..end)
            });
        let mut bytes = self.bytes.to_vec();
        match place.and_then(|place| bytes.get_mut(place)) {
            Some(place) if place.len() == value.len() => {
                place.copy_from_slice(value);
                self.bytes = bytes.into();
                true
            }
            _ => false,
        }
    }
}
