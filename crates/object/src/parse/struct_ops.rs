//! Tables of functions for interfaces of the kernel: each variable of a `.struct_ops` section is one, and becomes a map.
//!
//! ```text
//! SEC(".struct_ops") struct tcp_congestion_ops mine = { .ssthresh = (void *)half, .name = "mine" };
//!
//! BTF          .struct_ops: { mine: struct tcp_congestion_ops at 0 }
//! relocation   at 0x0, which is `ssthresh`: function `half`
//! ```

use std::sync::Arc;

use crate::abi::MapKind;
use crate::btf::{Btf, Composite, SectionVariable, Type, essential_name};
use crate::bytes::slice_at;
use crate::diagnosis::{Code as ErrorCode, Diagnosis, Error, Result};
use crate::elf::{self, Elf, Section, SectionKind, SymbolPlace};
use crate::spec::{ByteOrder, MapOrigin, MapSpec, StructOps, StructOpsMember};

use super::code::Code;
use super::maps::Maps;
use super::role::Role;

/// Bytes of a pointer to a function.
const POINTER_BYTES: u64 = 8;

/// Adds a map for every table behind the maps there are.
///
/// # Errors
///
/// If a table is no struct or lies outside its section, or if a relocation in it points to something else than a function.
pub(super) fn read(elf: &Elf<'_>, btf: &Btf, code: &Code, maps: &mut Maps) -> Result<()> {
    for section in &elf.sections {
        if Role::of(section) != Role::StructOps || section.data.is_empty() {
            continue;
        }
        let pointers = pointers(elf, section, code)?;
        for variable in variables(btf, section.name) {
            let table = Table {
                elf,
                btf,
                section,
                variable,
            };
            maps.specs.push(table.read(&pointers)?);
        }
    }
    Ok(())
}

fn variables<'a>(btf: &'a Btf, section: &str) -> &'a [SectionVariable] {
    let found = btf.iter().find_map(|(_, found)| match found {
        Type::DataSection(each) if btf.text(each.name) == section => Some(&each.variables[..]),
        _ => None,
    });
    found.unwrap_or_default()
}

/// Where a section points to functions: offsets, and the names of the functions.
fn pointers(elf: &Elf<'_>, section: &Section<'_>, code: &Code) -> Result<Vec<(u64, String)>> {
    let mut found = Vec::new();
    for table in &elf.sections {
        match table.kind {
            SectionKind::Relocations { of, .. } if of == section.index => {}
            _ => continue,
        }
        for relocation in elf::relocations(table, elf.byte_order)? {
            let symbol = elf.symbols.get(relocation.symbol);
            let function = symbol.and_then(|symbol| match symbol.place {
                SymbolPlace::Section(index) => {
                    let written = || implicit_addend(elf, section, relocation.offset);
                    let addend = relocation.addend.or_else(written)?;
                    code.starting_at(index, symbol.value.checked_add_signed(addend)?)
                }
                _ => None,
            });
            let function = function.and_then(|function| code.functions.get(function.0));
            let Some(function) = function else {
                let message = "a table of functions points to something that is no function";
                return Err(Diagnosis::new(ErrorCode::RELOCATION_MALFORMED, message)
                    .at(section.name, relocation.offset)
                    .into());
            };
            found.push((relocation.offset, function.name.clone()));
        }
    }
    Ok(found)
}

fn implicit_addend(elf: &Elf<'_>, section: &Section<'_>, offset: u64) -> Option<i64> {
    let bytes = slice_at(section.data, offset, POINTER_BYTES)?
        .try_into()
        .ok()?;
    Some(match elf.byte_order {
        ByteOrder::Little => i64::from_le_bytes(bytes),
        ByteOrder::Big => i64::from_be_bytes(bytes),
    })
}

/// One variable of a section of tables.
struct Table<'a> {
    elf: &'a Elf<'a>,
    btf: &'a Btf,
    section: &'a Section<'a>,
    variable: &'a SectionVariable,
}

impl Table<'_> {
    fn read(&self, pointers: &[(u64, String)]) -> Result<MapSpec> {
        let name = self.btf.name_of(self.variable.variable);
        let Some(Type::Variable(declared)) = self.btf.get(self.variable.variable) else {
            return Err(self.error(name, "is no variable"));
        };
        let (id, found) = self.btf.resolve(declared.target)?;
        let Type::Struct(whole) = found else {
            return Err(self.error(name, "is no struct, so it is no table of functions"));
        };
        let symbols = self.elf.symbols_in(self.section.index);
        let symbol = symbols.filter(|symbol| symbol.name == name).last();
        let start = symbol.map_or(u64::from(self.variable.offset), |symbol| symbol.value);
        let Some(bytes) = slice_at(self.section.data, start, whole.size.into()) else {
            return Err(self.error(name, "lies outside its section"));
        };
        let mut bytes = bytes.to_vec();
        let mut members = self.members(whole);
        for member in members.iter_mut().filter(|member| member.is_function) {
            let at = start.saturating_add(member.offset.into());
            let pointer = pointers.iter().find(|(offset, _)| *offset == at);
            member.program = pointer.map(|(_, function)| function.clone());
            blank(&mut bytes, member);
        }
        let section = self.section.name;
        let mut spec = MapSpec::new(name, MapKind::StructOps, 4, whole.size, 1);
        spec.origin = MapOrigin::StructOps;
        spec.struct_ops = Some(Arc::new(StructOps {
            interface: essential_name(self.btf.name_of(id)).to_owned(),
            members,
            bytes: bytes.into(),
            needs_link: section.ends_with(".link"),
            autoload: !section.starts_with('?'),
        }));
        Ok(spec)
    }

    /// Members with a name and a size; padding and what ends a struct without a length say nothing.
    fn members(&self, whole: &Composite) -> Vec<StructOpsMember> {
        let members = whole
            .members
            .iter()
            .filter(|member| !member.name.is_empty());
        members
            .filter_map(|member| {
                let size = self.btf.size_of(member.target).ok()?;
                Some(StructOpsMember {
                    name: self.btf.text(member.name).to_owned(),
                    offset: member.offset_bits / 8,
                    size: u32::try_from(size).ok().filter(|size| *size > 0)?,
                    is_function: self.is_function(member.target),
                    program: None,
                })
            })
            .collect()
    }

    fn is_function(&self, target: crate::btf::TypeId) -> bool {
        let Ok((_, Type::Pointer(pointee))) = self.btf.resolve(target) else {
            return false;
        };
        matches!(
            self.btf.resolve(*pointee),
            Ok((_, Type::FunctionPrototype(_)))
        )
    }

    fn error(&self, name: &str, what: &str) -> Error {
        Diagnosis::new(ErrorCode::MAP_DEFINITION, format!("`{name}` {what}"))
            .at(self.section.name, self.variable.offset.into())
            .in_map(name)
            .into()
    }
}

/// What stands where a function goes is an offset that only the relocation understands.
fn blank(bytes: &mut [u8], member: &StructOpsMember) {
    let start = usize::try_from(member.offset).unwrap_or(usize::MAX);
    let length = usize::try_from(member.size).unwrap_or(0);
    let place = bytes
        .get_mut(start..)
        .and_then(|rest| rest.get_mut(..length));
    place.unwrap_or_default().fill(0);
}
