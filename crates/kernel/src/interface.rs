//! What the kernel's types say about its interfaces that programs fill in.

use std::ops::Range;
use std::sync::Arc;

use twinbpf_object::abi::nearest_name;
use twinbpf_object::btf::{Btf, Composite, Member, Type, TypeId};
use twinbpf_object::spec::StructOpsMember;
use twinbpf_object::{Code, Diagnosis, Error, Result};

use crate::types::KernelTypes;

/// An interface, as the kernel's types describe it.
pub(crate) struct Interface {
    types: Arc<Btf>,
    /// The struct of functions and settings.
    pub(crate) type_id: TypeId,
    /// The struct around it that is the map's value.
    pub(crate) value_id: TypeId,
    /// Bytes of that.
    pub(crate) value_bytes: u32,
    /// Where in the value the functions and settings start.
    data_offset: u32,
}

impl Interface {
    /// Finds an interface by name.
    ///
    /// # Errors
    ///
    /// If the kernel does not show its types or does not have the interface; the nearest is named.
    pub(crate) fn find(name: &str, types: &KernelTypes) -> Result<Self> {
        let types = types.get()?.ok_or_else(|| no_types(name))?;
        Self::find_in(&types, name).ok_or_else(|| missing(&types, name))
    }

    fn find_in(types: &Arc<Btf>, name: &str) -> Option<Self> {
        let value_name = format!("{VALUE_PREFIX}{name}");
        let (value_id, value) = struct_named(types, &value_name)?;
        let data = value
            .members
            .iter()
            .find(|member| types.text(member.name) == "data")?;
        let (type_id, _) = types.resolve(data.target).ok()?;
        Some(Self {
            type_id,
            value_id,
            value_bytes: value.size,
            data_offset: data.offset_bits / 8,
            types: Arc::clone(types),
        })
    }

    /// The position of a member.
    ///
    /// # Errors
    ///
    /// If the running kernel's interface has no such member.
    pub(crate) fn position(&self, name: &str) -> Result<u32> {
        let position = self
            .members()
            .iter()
            .position(|member| self.types.text(member.name) == name);
        position
            .and_then(|position| u32::try_from(position).ok())
            .ok_or_else(|| self.no_member(name))
    }

    fn members(&self) -> &[Member] {
        match self.types.get(self.type_id) {
            Some(Type::Struct(whole)) => &whole.members,
            _ => &[],
        }
    }

    pub(crate) fn no_member(&self, name: &str) -> Error {
        let known = self
            .members()
            .iter()
            .map(|member| self.types.text(member.name));
        let diagnosis = Diagnosis::new(
            Code::PROGRAM_TARGET_MISSING,
            format!(
                "interface `{}` of the running kernel has no `{name}`",
                self.types.name_of(self.type_id)
            ),
        );
        match nearest_name(name, known) {
            Some(near) => diagnosis.help(format!("did you mean `{near}`?")),
            None => diagnosis,
        }
        .into()
    }

    /// Where a member of the object's table goes in the map's value; nothing if the kernel's interface has no such member.
    pub(crate) fn place(&self, member: &StructOpsMember) -> Result<Option<Range<usize>>> {
        let mut members = self.members().iter();
        let Some(found) = members.find(|each| self.types.text(each.name) == member.name) else {
            return Ok(None);
        };
        let size = self.types.size_of(found.target)?;
        if size != u64::from(member.size) {
            let message = format!(
                "`{}` has {} bytes, and {size} in the running kernel",
                member.name, member.size
            );
            return Err(Diagnosis::new(Code::MAP_INVALID, message).into());
        }
        let start = u64::from(self.data_offset) + u64::from(found.offset_bits / 8);
        let bound = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        Ok(Some(bound(start)..bound(start.saturating_add(size))))
    }
}

fn struct_named<'a>(types: &'a Btf, name: &'a str) -> Option<(TypeId, &'a Composite)> {
    types.named(name).find_map(|id| match types.get(id) {
        Some(Type::Struct(whole)) => Some((id, whole)),
        _ => None,
    })
}

fn missing(types: &Btf, name: &str) -> Error {
    let names = types.iter().filter_map(|(id, found)| match found {
        Type::Struct(_) => types.name_of(id).strip_prefix(VALUE_PREFIX),
        _ => None,
    });
    // Structs of the mechanism itself have the prefix too; interfaces are those whose own struct is there.
    let known: Vec<&str> = names
        .filter(|name| struct_named(types, name).is_some())
        .collect();
    let diagnosis = Diagnosis::new(
        Code::PROGRAM_TARGET_MISSING,
        format!("the running kernel has no interface `{name}` that programs can fill in"),
    );
    diagnosis.fact("it has", known.join(", ")).into()
}

fn no_types(name: &str) -> Error {
    Diagnosis::new(
        Code::TARGET_TYPES_MISSING,
        format!(
            "interface `{name}` is looked up in the kernel's types, which this kernel does not show"
        ),
    )
    .help("a kernel built with CONFIG_DEBUG_INFO_BTF shows them in /sys/kernel/btf/vmlinux")
    .into()
}

/// What the kernel writes before an interface's name in the name of the map's value.
const VALUE_PREFIX: &str = "bpf_struct_ops_";
