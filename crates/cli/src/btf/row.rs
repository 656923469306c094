//! One type as JSON, with the field names of `bpftool -j btf dump`.

use serde::Serialize;
use twinbpf::btf::{Btf, Composite, Enumeration, Name, Type, TypeId};

/// A type; what its kind does not have is left out.
#[derive(Debug, Default, Serialize)]
pub(super) struct TypeRow<'a> {
    id: u32,
    kind: &'static str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    fwd_kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bits_offset: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nr_bits: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    type_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index_type_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nr_elems: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ret_type_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    component_idx: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    linkage: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vlen: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    members: Option<Vec<MemberRow<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<Vec<ValueRow<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<Vec<ParameterRow<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vars: Option<Vec<VariableRow>>,
}

#[derive(Debug, Serialize)]
struct MemberRow<'a> {
    name: &'a str,
    type_id: u32,
    bits_offset: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    bitfield_size: Option<u8>,
}

#[derive(Debug, Serialize)]
struct ValueRow<'a> {
    name: &'a str,
    val: i128,
}

#[derive(Debug, Serialize)]
struct ParameterRow<'a> {
    name: &'a str,
    type_id: u32,
}

#[derive(Debug, Serialize)]
struct VariableRow {
    type_id: u32,
    offset: u32,
    size: u32,
}

fn shown(btf: &Btf, name: Name) -> &str {
    match btf.text(name) {
        "" => "(anon)",
        text => text,
    }
}

impl<'a> TypeRow<'a> {
    /// The row of a type; `None` if there is none.
    pub(super) fn new(btf: &'a Btf, id: TypeId) -> Option<Self> {
        let found = btf.get(id)?;
        let mut row = Self {
            id: id.0,
            kind: found.kind_name(),
            name: found.label().map_or("(anon)", |name| shown(btf, name)),
            ..Self::default()
        };
        row.fill(btf, found);
        Some(row)
    }

    fn fill(&mut self, btf: &'a Btf, found: &'a Type) {
        match found {
            Type::Integer(integer) => {
                self.size = Some(integer.size);
                self.bits_offset = Some(integer.bit_offset);
                self.nr_bits = Some(integer.bits);
                self.encoding = Some(integer.encoding.word());
            }
            Type::Pointer(target)
            | Type::Const(target)
            | Type::Volatile(target)
            | Type::Restrict(target)
            | Type::Typedef { target, .. } => self.type_id = Some(target.0),
            Type::TypeTag(tag) => self.type_id = Some(tag.target.0),
            Type::DeclTag { tag, component } => {
                self.type_id = Some(tag.target.0);
                self.component_idx = Some(component.map_or(-1, i64::from));
            }
            Type::Array(array) => {
                self.type_id = Some(array.element.0);
                self.index_type_id = Some(array.index.0);
                self.nr_elems = Some(array.length);
            }
            Type::Struct(whole) | Type::Union(whole) => self.fill_members(btf, whole),
            Type::Enumeration(whole) => self.fill_values(btf, whole),
            Type::Forward { is_union, .. } => {
                self.fwd_kind = Some(if *is_union { "union" } else { "struct" });
            }
            Type::Function(function) => {
                self.type_id = Some(function.prototype.0);
                self.linkage = Some(function.linkage.word());
            }
            Type::FunctionPrototype(prototype) => {
                self.ret_type_id = Some(prototype.result.0);
                self.vlen = Some(prototype.parameters.len());
                let rows = prototype.parameters.iter().map(|parameter| ParameterRow {
                    name: shown(btf, parameter.name),
                    type_id: parameter.target.0,
                });
                self.params = Some(rows.collect());
            }
            Type::Variable(variable) => {
                self.type_id = Some(variable.target.0);
                self.linkage = Some(variable.linkage.word());
            }
            Type::DataSection(section) => {
                self.size = Some(section.size);
                self.vlen = Some(section.variables.len());
                let rows = section.variables.iter().map(|placed| VariableRow {
                    type_id: placed.variable.0,
                    offset: placed.offset,
                    size: placed.size,
                });
                self.vars = Some(rows.collect());
            }
            Type::Float { size, .. } => self.size = Some(*size),
            // Void has nothing to say, nor has what a later release may add.
            _ => {}
        }
    }

    fn fill_members(&mut self, btf: &'a Btf, whole: &Composite) {
        self.size = Some(whole.size);
        self.vlen = Some(whole.members.len());
        let rows = whole.members.iter().map(|member| MemberRow {
            name: shown(btf, member.name),
            type_id: member.target.0,
            bits_offset: member.offset_bits,
            bitfield_size: member.bitfield.map(|field| field.0),
        });
        self.members = Some(rows.collect());
    }

    fn fill_values(&mut self, btf: &'a Btf, whole: &Enumeration) {
        self.encoding = Some(if whole.is_signed {
            "SIGNED"
        } else {
            "UNSIGNED"
        });
        self.size = Some(whole.size);
        self.vlen = Some(whole.enumerators.len());
        let rows = whole.enumerators.iter().map(|each| ValueRow {
            name: shown(btf, each.name),
            val: match whole.is_signed {
                true => i128::from(each.value.cast_signed()),
                false => i128::from(each.value),
            },
        });
        self.values = Some(rows.collect());
    }
}
