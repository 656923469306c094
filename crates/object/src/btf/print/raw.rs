//! Types as they stand in the BTF: a line for each, its entries below, in the form that `bpftool btf dump` made common.

use std::fmt::Write as _;

use crate::btf::{
    Btf, Composite, Enumeration, FunctionPrototype, IntegerEncoding, Linkage, Name, Type, TypeId,
};

/// A line for this type, and one for each of its entries.
pub fn raw(btf: &Btf, id: TypeId) -> String {
    let mut text = String::new();
    let Some(found) = btf.get(id) else {
        return text;
    };
    let _ = write!(text, "{id} {}", found.kind_name());
    if let Some(name) = found.label() {
        let _ = write!(text, " '{}'", shown(btf, name));
    } else {
        text.push_str(" '(anon)'");
    }
    write_facts(btf, found, &mut text);
    text
}

/// A name, or what stands for none.
fn shown(btf: &Btf, name: Name) -> &str {
    match btf.text(name) {
        "" => "(anon)",
        text => text,
    }
}

fn write_facts(btf: &Btf, found: &Type, text: &mut String) {
    let _ = match found {
        Type::Void => Ok(()),
        Type::Integer(integer) => write!(
            text,
            " size={} bits_offset={} nr_bits={} encoding={}",
            integer.size,
            integer.bit_offset,
            integer.bits,
            integer.encoding.word()
        ),
        Type::Pointer(target)
        | Type::Const(target)
        | Type::Volatile(target)
        | Type::Restrict(target)
        | Type::Typedef { target, .. } => write!(text, " type_id={}", target.0),
        Type::TypeTag(tag) => write!(text, " type_id={}", tag.target.0),
        Type::DeclTag { tag, component } => {
            let component = component.map_or(-1, i64::from);
            write!(text, " type_id={} component_idx={component}", tag.target.0)
        }
        Type::Array(array) => write!(
            text,
            " type_id={} index_type_id={} nr_elems={}",
            array.element.0, array.index.0, array.length
        ),
        Type::Struct(whole) | Type::Union(whole) => write_members(btf, whole, text),
        Type::Enumeration(whole) => write_enumerators(btf, whole, text),
        Type::Forward { is_union, .. } => {
            let word = if *is_union { "union" } else { "struct" };
            write!(text, " fwd_kind={word}")
        }
        Type::Function(function) => {
            let linkage = function.linkage.word();
            write!(text, " type_id={} linkage={linkage}", function.prototype.0)
        }
        Type::FunctionPrototype(prototype) => write_parameters(btf, prototype, text),
        Type::Variable(variable) => {
            let linkage = variable.linkage.word();
            write!(text, " type_id={}, linkage={linkage}", variable.target.0)
        }
        Type::DataSection(section) => {
            let _ = write!(
                text,
                " size={} vlen={}",
                section.size,
                section.variables.len()
            );
            for placed in &section.variables {
                let name = btf.name_of(placed.variable);
                let _ = write!(
                    text,
                    "\n\ttype_id={} offset={} size={} (VAR '{name}')",
                    placed.variable.0, placed.offset, placed.size
                );
            }
            Ok(())
        }
        Type::Float { size, .. } => write!(text, " size={size}"),
    };
}

fn write_members(btf: &Btf, whole: &Composite, text: &mut String) -> std::fmt::Result {
    write!(text, " size={} vlen={}", whole.size, whole.members.len())?;
    for member in &whole.members {
        write!(
            text,
            "\n\t'{}' type_id={} bits_offset={}",
            shown(btf, member.name),
            member.target.0,
            member.offset_bits
        )?;
        if whole.has_bitfields
            && let Some(width) = member.bitfield
        {
            write!(text, " bitfield_size={}", width.0)?;
        }
    }
    Ok(())
}

fn write_enumerators(btf: &Btf, whole: &Enumeration, text: &mut String) -> std::fmt::Result {
    let encoding = if whole.is_signed {
        "SIGNED"
    } else {
        "UNSIGNED"
    };
    write!(
        text,
        " encoding={encoding} size={} vlen={}",
        whole.size,
        whole.enumerators.len()
    )?;
    for enumerator in &whole.enumerators {
        let name = shown(btf, enumerator.name);
        let suffix = match (whole.is_wide, whole.is_signed) {
            (false, _) => "",
            (true, true) => "LL",
            (true, false) => "ULL",
        };
        match whole.is_signed {
            true => write!(
                text,
                "\n\t'{name}' val={}{suffix}",
                enumerator.value.cast_signed()
            )?,
            false => write!(text, "\n\t'{name}' val={}{suffix}", enumerator.value)?,
        }
    }
    Ok(())
}

fn write_parameters(
    btf: &Btf,
    prototype: &FunctionPrototype,
    text: &mut String,
) -> std::fmt::Result {
    write!(
        text,
        " ret_type_id={} vlen={}",
        prototype.result.0,
        prototype.parameters.len()
    )?;
    for parameter in &prototype.parameters {
        let name = shown(btf, parameter.name);
        write!(text, "\n\t'{name}' type_id={}", parameter.target.0)?;
    }
    Ok(())
}

impl IntegerEncoding {
    /// The kernel's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unsigned => "(none)",
            Self::Signed => "SIGNED",
            Self::Char => "CHAR",
            Self::Bool => "BOOL",
        }
    }
}

impl Linkage {
    /// The kernel's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Global => "global",
            Self::Extern => "extern",
        }
    }
}

impl Type {
    /// The kernel's name of the kind, as in `BTF_KIND_STRUCT`.
    pub fn kind_name(&self) -> &'static str {
        match self {
            Self::Void => "UNKN",
            Self::Integer(_) => "INT",
            Self::Pointer(_) => "PTR",
            Self::Array(_) => "ARRAY",
            Self::Struct(_) => "STRUCT",
            Self::Union(_) => "UNION",
            Self::Enumeration(whole) if whole.is_wide => "ENUM64",
            Self::Enumeration(_) => "ENUM",
            Self::Forward { .. } => "FWD",
            Self::Typedef { .. } => "TYPEDEF",
            Self::Volatile(_) => "VOLATILE",
            Self::Const(_) => "CONST",
            Self::Restrict(_) => "RESTRICT",
            Self::Function(_) => "FUNC",
            Self::FunctionPrototype(_) => "FUNC_PROTO",
            Self::Variable(_) => "VAR",
            Self::DataSection(_) => "DATASEC",
            Self::Float { .. } => "FLOAT",
            Self::DeclTag { .. } => "DECL_TAG",
            Self::TypeTag(_) => "TYPE_TAG",
        }
    }

    /// Its name, or the text of a tag.
    pub fn label(&self) -> Option<Name> {
        match self {
            Self::DeclTag { tag, .. } | Self::TypeTag(tag) => Some(tag.text),
            other => other.name(),
        }
    }
}
