//! Types as C, each declared before it is needed.
//!
//! ```text
//! a member, an array's element        needs its type whole       struct a { struct b inside; };
//! what a pointer leads to             needs its name             struct b; struct a { struct b *beside; };
//! a typedef                           must stand before its use, even behind a pointer
//! ```
//!
//! So types are asked for either whole or by name, and asking for one writes what it needs first. Types without a name are
//! written where they are used.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::names::{Names, identifier};
use super::shape::{Piece, Shapes};
use super::tags::{DeclarationTags, attribute};
use crate::btf::{
    Btf, Composite, Enumeration, FunctionPrototype, Integer, IntegerEncoding, Tag, Type, TypeId,
};
use crate::diagnosis::{Code, Diagnosis, Error, Result};

/// C declarations of these types and what they need; of all if there are none.
///
/// A compiler for BPF gives everything the offsets and sizes that the BTF states. Structs that are only pointed to are
/// only announced, unless they are asked for.
///
/// # Errors
///
/// Code O013 if the types refer to each other in ways that C cannot say: a nameless struct inside itself.
pub fn c_header(btf: &Btf, roots: &[TypeId]) -> Result<String> {
    let mut printer = Printer {
        btf,
        names: Names::new(btf),
        shapes: Shapes::new(btf),
        tags: DeclarationTags::new(btf),
        states: HashMap::new(),
        depth: 0,
        inlined: 0,
        text: String::new(),
    };
    let all: Vec<TypeId> = btf.iter().map(|(id, _)| id).collect();
    let is_all = roots.is_empty();
    let roots = if is_all { &all } else { roots };
    for id in roots {
        printer.root(*id)?;
    }
    for id in roots {
        printer.nameless_enumeration(*id);
    }
    let functions = match is_all {
        true => printer.kernel_functions()?,
        false => String::new(),
    };
    Ok(format!(
        "{HEAD}{}{END_OF_TYPES}{functions}{FOOT}",
        printer.text
    ))
}

/// How far a type has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Announced,
    InProgress,
    Whole,
}

struct Printer<'btf> {
    btf: &'btf Btf,
    names: Names,
    shapes: Shapes<'btf>,
    tags: DeclarationTags,
    states: HashMap<TypeId, State>,
    depth: u32,
    /// Members of nameless types written in place so far.
    inlined: usize,
    text: String,
}

impl<'btf> Printer<'btf> {
    /// A type that was asked for, or everything that a variable or function of that number consists of.
    fn root(&mut self, id: TypeId) -> Result<()> {
        match self.btf.get(id) {
            Some(Type::Variable(variable)) => self.need_whole(variable.target),
            Some(Type::DataSection(section)) => {
                for placed in &section.variables {
                    self.root(placed.variable)?;
                }
                Ok(())
            }
            Some(Type::Function(function)) => self.need_name(function.prototype),
            Some(
                Type::Struct(_)
                | Type::Union(_)
                | Type::Enumeration(_)
                | Type::Typedef { .. }
                | Type::Forward { .. },
            ) if self.names.of(id).is_some() => self.need_whole(id),
            _ => Ok(()),
        }
    }

    /// Declarations of what the kernel offers to programs, and first the types in them.
    fn kernel_functions(&mut self) -> Result<String> {
        let btf = self.btf;
        let mut text = String::new();
        for id in self.tags.functions_with(btf, "bpf_kfunc") {
            let Some(Type::Function(function)) = btf.get(id) else {
                continue;
            };
            self.need_name(function.prototype)?;
            let name = identifier(btf.text(function.name));
            let declaration = self.declaration(function.prototype, name, 0)?;
            let _ = writeln!(text, "extern {declaration} __weak __ksym;");
        }
        Ok(match text.as_str() {
            "" => text,
            _ => format!("{KERNEL_FUNCTIONS}{text}#endif\n\n"),
        })
    }

    /// Constants that no type brought along.
    fn nameless_enumeration(&mut self, id: TypeId) {
        let Some(Type::Enumeration(whole)) = self.btf.get(id) else {
            return;
        };
        let is_written = self.names.of(id).is_some() || self.states.contains_key(&id);
        if !is_written && !whole.enumerators.is_empty() {
            let body = self.enumeration(id, whole, 0);
            let _ = writeln!(self.text, "{body};\n");
        }
    }

    fn need_whole(&mut self, id: TypeId) -> Result<()> {
        self.need(id, true)
    }

    fn need_name(&mut self, id: TypeId) -> Result<()> {
        self.need(id, false)
    }

    fn need(&mut self, id: TypeId, is_whole: bool) -> Result<()> {
        if self.depth == MOST_DEPTH {
            return Err(entangled(id));
        }
        self.depth += 1;
        let done = self.need_deeper(id, is_whole);
        self.depth -= 1;
        done
    }

    fn need_deeper(&mut self, id: TypeId, is_whole: bool) -> Result<()> {
        let btf = self.btf;
        match btf.get(id) {
            Some(Type::Pointer(target)) => self.need_name(*target),
            Some(Type::Array(array)) => self.need_whole(array.element),
            Some(
                Type::Const(target)
                | Type::Volatile(target)
                | Type::Restrict(target)
                | Type::TypeTag(Tag { target, .. }),
            ) => self.need(*target, is_whole),
            Some(Type::FunctionPrototype(prototype)) => {
                self.need_name(prototype.result)?;
                for parameter in &prototype.parameters {
                    self.need_name(parameter.target)?;
                }
                Ok(())
            }
            Some(Type::Forward { is_union, .. }) => {
                self.announce(id, if *is_union { "union" } else { "struct" });
                Ok(())
            }
            Some(Type::Struct(whole)) => self.composite_needed(id, "struct", whole, is_whole),
            Some(Type::Union(whole)) => self.composite_needed(id, "union", whole, is_whole),
            Some(Type::Enumeration(whole)) => {
                self.enumeration_needed(id, whole);
                Ok(())
            }
            Some(Type::Typedef { target, .. }) => self.typedef_needed(id, *target, is_whole),
            _ => Ok(()),
        }
    }

    fn announce(&mut self, id: TypeId, word: &str) {
        if self.states.contains_key(&id) {
            return;
        }
        self.states.insert(id, State::Announced);
        let name = self.names.of(id).unwrap_or_default();
        let _ = writeln!(self.text, "{word} {name};\n");
    }

    fn composite_needed(
        &mut self,
        id: TypeId,
        word: &str,
        whole: &Composite,
        is_whole: bool,
    ) -> Result<()> {
        let has_name = self.names.of(id).is_some();
        let state = self.states.get(&id).copied();
        if has_name {
            if !is_whole {
                self.announce(id, word);
                return Ok(());
            }
            if matches!(state, Some(State::Whole | State::InProgress)) {
                return Ok(());
            }
            self.states.insert(id, State::InProgress);
        }
        for member in &whole.members {
            self.need_whole(member.target)?;
        }
        if has_name {
            let body = self.composite(id, word, whole, 0)?;
            let _ = writeln!(self.text, "{body};\n");
            self.states.insert(id, State::Whole);
        }
        Ok(())
    }

    fn enumeration_needed(&mut self, id: TypeId, whole: &Enumeration) {
        // Without enumerators there is nothing that C could define: uses say an integer.
        if self.names.of(id).is_none()
            || whole.enumerators.is_empty()
            || self.states.contains_key(&id)
        {
            return;
        }
        let body = self.enumeration(id, whole, 0);
        let _ = writeln!(self.text, "{body};\n");
    }

    fn typedef_needed(&mut self, id: TypeId, target: TypeId, is_whole: bool) -> Result<()> {
        if self.states.contains_key(&id) {
            return self.need_typedefs_target(id, target, is_whole);
        }
        self.states.insert(id, State::InProgress);
        // A struct may use the name that is given to it here.
        self.need_name(target)?;
        self.states.insert(id, State::Whole);
        let name = self.names.of(id).unwrap_or_default().to_owned();
        let declaration = self.declaration(target, name, 0)?;
        let tags = self.tags.attributes(self.btf, id, None);
        let _ = writeln!(self.text, "typedef {declaration}{tags};\n");
        self.need_typedefs_target(id, target, is_whole)
    }

    fn need_typedefs_target(&mut self, id: TypeId, target: TypeId, is_whole: bool) -> Result<()> {
        let is_known = self.states.get(&id) == Some(&State::Whole);
        let stands_in_it = matches!(
            self.btf.get(target),
            Some(Type::Struct(_) | Type::Union(_) | Type::Pointer(_) | Type::FunctionPrototype(_))
        ) && self.names.of(target).is_none();
        // What has no name was written with the typedef.
        match is_whole && is_known && !stands_in_it {
            true => self.need_whole(target),
            false => Ok(()),
        }
    }

    /// `struct name { ... }`, indented by so many tabs.
    fn composite(
        &mut self,
        id: TypeId,
        word: &str,
        whole: &Composite,
        indent: usize,
    ) -> Result<String> {
        let tabs = "\t".repeat(indent + 1);
        let mut body = word.to_owned();
        if let Some(name) = self.names.of(id) {
            let _ = write!(body, " {name}");
        }
        body.push_str(" {\n");
        let shape = self.shapes.of(id, whole);
        for (number, piece) in shape.pieces.iter().enumerate() {
            body.push_str(&tabs);
            match *piece {
                Piece::Member(position, bitfield) => {
                    let Some(member) = whole.members.get(position) else {
                        continue;
                    };
                    let name = match self.btf.text(member.name) {
                        "" => String::new(),
                        text => identifier(text),
                    };
                    body.push_str(&self.declaration(member.target, name, indent + 1)?);
                    if let Some(width) = bitfield {
                        let _ = write!(body, ": {}", width.0);
                    }
                    body.push_str(&self.tags.attributes(self.btf, id, Some(position)));
                }
                Piece::Bits(bits) => {
                    let unit = match bits {
                        64 => "long",
                        32 => "int",
                        16 => "short",
                        _ => "char",
                    };
                    let _ = write!(body, "{unit}: {bits}");
                }
                Piece::Bytes(bytes) => {
                    let _ = write!(body, "unsigned char padding_{number}[{bytes}]");
                }
                Piece::Opaque(0) => continue,
                Piece::Opaque(bytes) => {
                    let _ = write!(
                        body,
                        "/* C has no such layout */ unsigned char bytes[{bytes}]"
                    );
                }
            }
            body.push_str(";\n");
        }
        body.push_str(&tabs[1..]);
        body.push('}');
        if shape.is_packed {
            body.push_str(" __attribute__((packed))");
        }
        body.push_str(&self.tags.attributes(self.btf, id, None));
        Ok(body)
    }

    /// `enum name { ... }`; from now on its enumerators are known.
    fn enumeration(&mut self, id: TypeId, whole: &Enumeration, indent: usize) -> String {
        self.states.insert(id, State::Whole);
        let tabs = "\t".repeat(indent + 1);
        let mut body = "enum".to_owned();
        if let Some(name) = self.names.of(id) {
            let _ = write!(body, " {name}");
        }
        body.push_str(" {\n");
        for (position, enumerator) in whole.enumerators.iter().enumerate() {
            let text = self.btf.text(enumerator.name);
            let name = self.names.of_enumerator(id, position, text);
            let value = constant(enumerator.value, whole.is_signed);
            let _ = writeln!(body, "{tabs}{name} = {value},");
        }
        body.push_str(&tabs[1..]);
        body.push('}');
        // Without it the compiler would take four bytes for small numbers, and eight for large ones.
        body.push_str(match whole.size {
            1 => " __attribute__((mode(QI)))",
            2 => " __attribute__((mode(HI)))",
            8 => " __attribute__((mode(DI)))",
            _ => "",
        });
        body
    }

    /// A declaration of `name`, which may be empty, with this type.
    fn declaration(&mut self, id: TypeId, name: String, indent: usize) -> Result<String> {
        let btf = self.btf;
        let mut declarator = name;
        let mut qualifiers: Vec<String> = Vec::new();
        let mut at = id;
        // From the name outwards, as C reads it.
        for _ in 0..MOST_PARTS {
            match btf.get(at) {
                Some(Type::Pointer(target)) => {
                    let mut pointer = "*".to_owned();
                    for qualifier in qualifiers.drain(..) {
                        let _ = write!(pointer, " {qualifier}");
                    }
                    if pointer.len() > 1 && !declarator.is_empty() {
                        pointer.push(' ');
                    }
                    declarator.insert_str(0, &pointer);
                    at = *target;
                }
                Some(Type::Array(array)) => {
                    declarator = format!("{}[{}]", bound(declarator), array.length);
                    at = array.element;
                }
                Some(Type::FunctionPrototype(prototype)) => {
                    let parameters = self.parameters(prototype, indent)?;
                    declarator = format!("{}({parameters})", bound(declarator));
                    qualifiers.clear();
                    at = prototype.result;
                }
                Some(Type::Const(target)) => {
                    qualifiers.push("const".to_owned());
                    at = *target;
                }
                Some(Type::Volatile(target)) => {
                    qualifiers.push("volatile".to_owned());
                    at = *target;
                }
                Some(Type::Restrict(target)) => {
                    qualifiers.push("restrict".to_owned());
                    at = *target;
                }
                Some(Type::TypeTag(tag)) => {
                    qualifiers.push(attribute(btf, *tag, "btf_type_tag"));
                    at = tag.target;
                }
                _ => {
                    let base = self.base(at, indent)?;
                    let (tags, words) = qualifiers
                        .iter()
                        .partition::<Vec<&String>, _>(|each| each.starts_with("__attribute__"));
                    let words = words.into_iter().map(String::as_str);
                    let tags = tags.into_iter().map(String::as_str);
                    let parts: Vec<&str> = words.chain([base.as_str()]).chain(tags).collect();
                    let mut text = parts.join(" ");
                    if !declarator.is_empty() {
                        text.push(' ');
                        text.push_str(&declarator);
                    }
                    return Ok(text);
                }
            }
        }
        Err(entangled(id))
    }

    fn parameters(&mut self, prototype: &FunctionPrototype, indent: usize) -> Result<String> {
        let mut list = Vec::new();
        for parameter in &prototype.parameters {
            list.push(match parameter.target {
                TypeId::VOID => "...".to_owned(),
                target => {
                    self.inside(|printer| printer.declaration(target, String::new(), indent))?
                }
            });
        }
        Ok(match list.join(", ") {
            none if none.is_empty() => "void".to_owned(),
            // A function of nothing but any number of parameters is written without a list.
            any if any == "..." => String::new(),
            list => list,
        })
    }

    /// The type at the start of a declaration.
    fn base(&mut self, id: TypeId, indent: usize) -> Result<String> {
        let btf = self.btf;
        let named = |printer: &Self, word: &str| {
            let name = printer.names.of(id)?;
            Some(format!("{word} {name}"))
        };
        Ok(match btf.get(id) {
            Some(Type::Integer(integer)) => integer_word(btf, integer),
            Some(Type::Float { name, size }) => float_word(btf.text(*name), *size),
            Some(Type::Typedef { .. }) => self.names.of(id).unwrap_or("void").to_owned(),
            Some(Type::Forward { is_union: true, .. }) => named(self, "union").unwrap_or_default(),
            Some(Type::Forward { .. }) => named(self, "struct").unwrap_or_default(),
            Some(Type::Struct(whole)) => match named(self, "struct") {
                Some(text) => text,
                None => self.nameless(id, "struct", whole, indent)?,
            },
            Some(Type::Union(whole)) => match named(self, "union") {
                Some(text) => text,
                None => self.nameless(id, "union", whole, indent)?,
            },
            Some(Type::Enumeration(whole)) => match named(self, "enum") {
                Some(text) if !whole.enumerators.is_empty() => text,
                None if !whole.enumerators.is_empty() && !self.states.contains_key(&id) => {
                    self.enumeration(id, whole, indent)
                }
                // The enumerators are known already and must not be again.
                _ => sized_word(whole.size, whole.is_signed).to_owned(),
            },
            _ => "void".to_owned(),
        })
    }

    fn nameless(
        &mut self,
        id: TypeId,
        word: &str,
        whole: &Composite,
        indent: usize,
    ) -> Result<String> {
        self.inlined += whole.members.len() + 1;
        if self.inlined > MOST_INLINED {
            return Err(entangled(id));
        }
        self.inside(|printer| printer.composite(id, word, whole, indent))
    }

    fn inside(&mut self, write: impl FnOnce(&mut Self) -> Result<String>) -> Result<String> {
        if self.depth == MOST_DEPTH {
            return Err(entangled(TypeId::VOID));
        }
        self.depth += 1;
        let written = write(self);
        self.depth -= 1;
        written
    }
}

/// A declarator before brackets: `*a` would be an array of pointers.
fn bound(declarator: String) -> String {
    match declarator.starts_with('*') {
        true => format!("({declarator})"),
        false => declarator,
    }
}

/// The number of an enumerator, as a constant of a type that can hold it.
fn constant(value: u64, is_signed: bool) -> String {
    if !is_signed {
        let suffix = if value > u64::from(u32::MAX) {
            "ULL"
        } else {
            ""
        };
        return format!("{value}{suffix}");
    }
    match value.cast_signed() {
        // The number without its sign would be too large.
        i64::MIN => format!("(-{}LL - 1)", i64::MAX),
        value if i32::try_from(value).is_ok() => value.to_string(),
        value => format!("{value}LL"),
    }
}

/// C's name of an integer: its own if that is C, else one of its size.
fn integer_word(btf: &Btf, integer: &Integer) -> String {
    let name = btf.text(integer.name);
    let is_own = C_INTEGERS
        .iter()
        .any(|(size, names)| *size == integer.size && names.contains(&name));
    if is_own {
        return name.to_owned();
    }
    match integer.encoding {
        IntegerEncoding::Bool if integer.size == 1 => "_Bool",
        IntegerEncoding::Char if integer.size == 1 => "char",
        encoding => sized_word(integer.size, encoding == IntegerEncoding::Signed),
    }
    .to_owned()
}

fn sized_word(size: u32, is_signed: bool) -> &'static str {
    match (size, is_signed) {
        (2, true) => "short",
        (2, false) => "unsigned short",
        (4, true) => "int",
        (4, false) => "unsigned int",
        (8, true) => "long long",
        (8, false) => "unsigned long long",
        (16, true) => "__int128",
        (16, false) => "unsigned __int128",
        (_, true) => "signed char",
        (_, false) => "unsigned char",
    }
}

/// C's name of a floating-point number; compilers for BPF have no other sizes.
fn float_word(name: &str, size: u32) -> String {
    match (name, size) {
        ("float", 4) | (_, 4) => "float",
        ("long double", 16) | (_, 16) => "long double",
        _ => "double",
    }
    .to_owned()
}

fn entangled(id: TypeId) -> Error {
    let message =
        format!("type {id} cannot be written as C: types without a name nest too deep in it");
    Diagnosis::new(Code::BTF_MALFORMED, message).into()
}

/// How compilers call integers, by bytes.
const C_INTEGERS: &[(u32, &[&str])] = &[
    (1, &["char", "signed char", "unsigned char", "_Bool"]),
    (
        2,
        &["short", "unsigned short", "short int", "short unsigned int"],
    ),
    (4, &["int", "unsigned int"]),
    (
        8,
        &[
            "long",
            "long int",
            "unsigned long",
            "long unsigned int",
            "long long",
            "long long int",
            "unsigned long long",
            "long long unsigned int",
        ],
    ),
    (16, &["__int128", "unsigned __int128", "__int128 unsigned"]),
];

const MOST_DEPTH: u32 = 128;
/// Pointers, arrays and prototypes in one declaration.
const MOST_PARTS: u32 = 256;
/// A kernel has about 100,000 members in nameless types.
const MOST_INLINED: usize = 4 << 20;

/// With it, accesses to members follow the types of the machine that runs the program.
const HEAD: &str = "\
#ifndef __VMLINUX_H__
#define __VMLINUX_H__

#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)
#endif

";
const END_OF_TYPES: &str = "\
#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute pop
#endif

";
const FOOT: &str = "#endif\n";

/// Programs that declare these themselves ask not to have them twice.
const KERNEL_FUNCTIONS: &str = "\
#ifndef BPF_NO_KFUNC_PROTOTYPES
#ifndef __ksym
#define __ksym __attribute__((section(\".ksyms\")))
#endif
#ifndef __weak
#define __weak __attribute__((weak))
#endif

";
