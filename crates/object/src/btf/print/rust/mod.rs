//! Types as Rust, laid out as the BTF says, with assertions that make the compiler check it.
//!
//! Rust needs no order, so types are written by number. `reach.rs` finds which, `names.rs` calls them, `shape.rs` finds
//! their fields and `text.rs` writes the fields' types; `traits.rs` knows which are plain bytes and may be keys and values of typed maps.
//! Enumerations become numbers with named constants, because a C program may store any number in them.

mod bits;
mod names;
mod reach;
mod shape;
mod text;
mod traits;

use std::collections::HashSet;
use std::fmt::Write as _;

use bits::Accessors;
use names::identifier;
use reach::Reached;
use shape::{Field, Shape, Shapes};
use text::{Texts, bytes, number};
use traits::Plain;

use crate::btf::print::names::Space;
use crate::btf::{Btf, Composite, Enumeration, Type, TypeId};
use crate::diagnosis::Result;

/// What the written types implement beside `Clone` and `Copy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RustTraits {
    /// Nothing: the text needs no other crate.
    None,
    /// The `zerocopy` traits that `twinbpf`'s typed maps ask for, where a type is plain bytes.
    Zerocopy,
}

/// Rust declarations of these types and what they consist of; of all if there are none. A module of its own.
///
/// Everything has the offsets and sizes that the BTF states. Structs that are only pointed to are opaque, unless they are
/// asked for. Neighbouring bit fields share an array of bytes and have functions to read and change them.
///
/// # Errors
///
/// Code O013 if types without a name nest too deep in one another.
pub fn rust_types(btf: &Btf, roots: &[TypeId], traits: RustTraits) -> Result<String> {
    let reached = match roots {
        [] => Reached::from(btf, named_types(btf)),
        some => Reached::from(btf, some.iter().copied()),
    };
    let mut printer = Printer {
        btf,
        texts: Texts::new(btf),
        shapes: Shapes::new(btf),
        plain: (traits == RustTraits::Zerocopy).then(|| Plain::new(btf)),
        accessors: Accessors::new(btf),
        uses_traits: false,
        text: String::new(),
    };
    for id in &reached.whole {
        printer.whole(*id)?;
    }
    printer.declarations(&reached);
    Ok(printer.finish())
}

/// Everything that can be called by name, and constants that belong to no type.
fn named_types(btf: &Btf) -> impl Iterator<Item = TypeId> {
    let is_wanted = |found: &Type| match found {
        Type::Struct(whole) | Type::Union(whole) => !whole.name.is_empty(),
        Type::Enumeration(_) | Type::Typedef { .. } | Type::Forward { .. } => true,
        _ => false,
    };
    let wanted = btf.iter().filter(move |(_, found)| is_wanted(found));
    wanted.map(|(id, _)| id)
}

struct Printer<'btf> {
    btf: &'btf Btf,
    texts: Texts<'btf>,
    shapes: Shapes<'btf>,
    /// `None` if no traits are wanted.
    plain: Option<Plain<'btf>>,
    accessors: Accessors<'btf>,
    uses_traits: bool,
    text: String,
}

impl<'btf> Printer<'btf> {
    fn finish(self) -> String {
        let mut text = HEAD.to_owned();
        if self.uses_traits {
            text.push_str(USE_TRAITS);
        }
        text.push_str(&self.text);
        text.push_str(self.accessors.helpers());
        text.truncate(text.trim_end().len());
        text.push('\n');
        text
    }

    fn whole(&mut self, id: TypeId) -> Result<()> {
        match self.btf.get(id) {
            Some(Type::Struct(whole)) => self.composite(id, "struct", whole),
            Some(Type::Union(whole)) => self.composite(id, "union", whole),
            Some(Type::Enumeration(whole)) => {
                self.enumeration(id, whole);
                Ok(())
            }
            Some(Type::Typedef { target, .. }) if !self.texts.names.is_dropped(id) => {
                let target = self.texts.of(*target)?;
                let name = self.name(id);
                let _ = writeln!(self.text, "pub type {name} = {target};\n");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Structs of which nobody needs more than that they exist.
    fn declarations(&mut self, reached: &Reached) {
        let names = &self.texts.names;
        let whole: HashSet<&str> = reached
            .whole
            .iter()
            .filter_map(|id| names.of(*id))
            .collect();
        let mut written = HashSet::new();
        for id in &reached.named {
            let Some(name) = names.of(*id) else { continue };
            if !whole.contains(name) && written.insert(name) {
                let _ = writeln!(
                    self.text,
                    "#[repr(C)]\npub struct {name} {{\n    unknown: [u8; 0],\n}}\n"
                );
            }
        }
    }

    fn name(&self, id: TypeId) -> String {
        self.texts.names.of(id).unwrap_or_default().to_owned()
    }

    fn composite(&mut self, id: TypeId, word: &str, whole: &Composite) -> Result<()> {
        let name = self.name(id);
        let shape = self.shapes.of(id, whole);
        let derives = self.derives(id, &shape);
        let repr = match shape.is_packed {
            true => "C, packed",
            false => "C",
        };
        let plural = if whole.size == 1 { "" } else { "s" };
        let mut text = format!(
            "/// {} byte{plural}.\n#[repr({repr})]\n#[derive({derives})]\n{}pub {word} {name} {{\n",
            whole.size,
            self.crate_of_traits(&derives),
        );
        let mut fields = Fields::default();
        for field in &shape.fields {
            let (field_name, field_type) = self.field(whole, field, word, &mut fields)?;
            let _ = writeln!(text, "    pub {field_name}: {field_type},");
        }
        text.push_str("}\n\n");
        text.push_str(&fields.functions(&name));
        let _ = write!(
            text,
            "const _: () = {{\n    assert!(size_of::<{name}>() == {});\n",
            whole.size
        );
        if word == "struct" {
            for (field, at) in &fields.places {
                let _ = writeln!(
                    text,
                    "    assert!(core::mem::offset_of!({name}, {field}) == {at});"
                );
            }
        }
        text.push_str("};\n\n");
        self.text.push_str(&text);
        Ok(())
    }

    /// The name and the type of one field; notes what is to be said of it afterwards.
    fn field(
        &mut self,
        whole: &Composite,
        field: &Field,
        word: &str,
        fields: &mut Fields,
    ) -> Result<(String, String)> {
        Ok(match field {
            Field::Member(position) => {
                let Some(member) = whole.members.get(*position) else {
                    return Ok((fields.take("padding"), bytes(0)));
                };
                let name = match self.btf.text(member.name) {
                    "" => fields.take(&format!("anonymous_{position}")),
                    text => fields.take(text),
                };
                fields.places.push((name.clone(), member.offset_bits / 8));
                (name, self.texts.of(member.target)?)
            }
            Field::Bits(bits) => {
                let first = bits.members.first().and_then(|at| whole.members.get(*at));
                let name = match (word, first) {
                    ("union", Some(member)) => fields.take(self.btf.text(member.name)),
                    _ => fields.take(&format!("bits_{}", bits.at)),
                };
                if word == "struct" {
                    let functions = self.accessors.of(whole, bits, &name);
                    fields.accessors.push_str(&functions);
                }
                (name, bytes(bits.bytes))
            }
            Field::Padding(size) => (fields.take("padding"), bytes(*size)),
            Field::Opaque(size) => (fields.take("bytes"), bytes(*size)),
        })
    }

    /// What a struct derives.
    fn derives(&mut self, id: TypeId, shape: &Shape) -> String {
        let mut list = "Clone, Copy".to_owned();
        let Some(plain) = &mut self.plain else {
            return list;
        };
        let mut traits = plain.of(id);
        if matches!(shape.fields.as_slice(), [Field::Opaque(_)]) {
            (traits.is_from_bytes, traits.is_into_bytes) = (true, true);
        }
        if traits.is_from_bytes {
            self.uses_traits = true;
            list.push_str(", FromBytes, Immutable");
        }
        if traits.is_from_bytes && traits.is_into_bytes {
            list.push_str(", IntoBytes");
        }
        list
    }

    /// Where the derived traits are.
    fn crate_of_traits(&self, derives: &str) -> &'static str {
        match derives.contains("FromBytes") {
            true => CRATE_OF_TRAITS,
            false => "",
        }
    }

    fn enumeration(&mut self, id: TypeId, whole: &Enumeration) {
        let size = u64::from(whole.size);
        let word = number(size, whole.is_signed);
        if !shape::is_word(size) {
            return self.odd_enumeration(id, &word);
        }
        let value = |value: u64| match (whole.is_signed, u32::try_from(size * 8)) {
            (true, Ok(bits @ 1..64)) => {
                (value.cast_signed() << (64 - bits) >> (64 - bits)).to_string()
            }
            (false, Ok(bits @ 1..64)) => (value << (64 - bits) >> (64 - bits)).to_string(),
            (true, _) => value.cast_signed().to_string(),
            (false, _) => value.to_string(),
        };
        let Some(name) = self.texts.names.of(id).map(str::to_owned) else {
            for (position, each) in whole.enumerators.iter().enumerate() {
                let name = self.texts.names.of_constant(id, position);
                let value = value(each.value);
                let _ = writeln!(self.text, "pub const {name}: {word} = {value};");
            }
            self.text.push('\n');
            return;
        };
        let mut derives =
            "Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash".to_owned();
        if self.plain.is_some() {
            self.uses_traits = true;
            derives.push_str(", FromBytes, Immutable, IntoBytes");
        }
        let of = self.crate_of_traits(&derives);
        let _ = writeln!(
            self.text,
            "#[repr(transparent)]\n#[derive({derives})]\n{of}pub struct {name}(pub {word});\n\nimpl {name} {{"
        );
        let mut constants = Space::default();
        for each in &whole.enumerators {
            let constant = constants.take(identifier(self.btf.text(each.name)));
            let value = value(each.value);
            let _ = writeln!(self.text, "    pub const {constant}: Self = Self({value});");
        }
        self.text.push_str("}\n\n");
    }

    /// An enumeration of a size that no number has.
    fn odd_enumeration(&mut self, id: TypeId, word: &str) {
        if let Some(name) = self.texts.names.of(id) {
            let _ = writeln!(self.text, "pub type {name} = {word};\n");
        }
    }
}

/// What is known of the fields of one struct while they are written.
#[derive(Default)]
struct Fields {
    names: Space,
    /// Fields and where they start, in bytes.
    places: Vec<(String, u32)>,
    /// Functions for bit fields.
    accessors: String,
}

impl Fields {
    fn take(&mut self, text: &str) -> String {
        self.names.take(identifier(text))
    }

    fn functions(&self, name: &str) -> String {
        match self.accessors.as_str() {
            "" => String::new(),
            functions => format!("impl {name} {{\n{functions}}}\n\n"),
        }
    }
}

const HEAD: &str = "\
// Types as C has them, laid out for this machine. Their names are C's too:
//
//     mod types {
//         #![allow(dead_code, non_camel_case_types, non_snake_case, non_upper_case_globals)]
//         include!(\"types.rs\");
//     }

";
const USE_TRAITS: &str = "use twinbpf::zerocopy::{FromBytes, Immutable, IntoBytes};\n\n";
const CRATE_OF_TRAITS: &str = "#[zerocopy(crate = \"twinbpf::zerocopy\")]\n";
