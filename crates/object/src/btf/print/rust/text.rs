//! Types as Rust refers to them: `u32`, `[sock; 4]`, `*const task_struct`.

use super::names::{Names, identifier};
use super::shape::is_word;
use crate::btf::{Btf, FunctionPrototype, IntegerEncoding, Type, TypeId};
use crate::diagnosis::{Code, Diagnosis, Error, Result};

/// Writes references to types.
pub(super) struct Texts<'btf> {
    btf: &'btf Btf,
    pub(super) names: Names,
    depth: u32,
    /// Parts of references written so far.
    parts: usize,
}

impl<'btf> Texts<'btf> {
    pub(super) fn new(btf: &'btf Btf) -> Self {
        Self {
            btf,
            names: Names::new(btf),
            depth: 0,
            parts: 0,
        }
    }

    /// The type as a field or a parameter has it.
    pub(super) fn of(&mut self, id: TypeId) -> Result<String> {
        self.parts += 1;
        if self.depth == MOST_DEPTH || self.parts > MOST_PARTS {
            return Err(entangled(id));
        }
        self.depth += 1;
        let text = self.deeper(id);
        self.depth -= 1;
        text
    }

    fn deeper(&mut self, id: TypeId) -> Result<String> {
        let btf = self.btf;
        if let Some(name) = self.names.of(id) {
            return Ok(name.to_owned());
        }
        match btf.get(id) {
            Some(Type::Integer(integer)) => {
                let is_signed = integer.encoding == IntegerEncoding::Signed;
                // Texts are bytes, whatever sign a compiler gives its characters.
                let is_char = integer.size == 1 && btf.text(integer.name) == "char";
                Ok(number(u64::from(integer.size), is_signed && !is_char))
            }
            Some(Type::Enumeration(whole)) => Ok(number(u64::from(whole.size), whole.is_signed)),
            Some(Type::Float { size: 4, .. }) => Ok("f32".to_owned()),
            Some(Type::Float { size: 8, .. }) => Ok("f64".to_owned()),
            Some(Type::Float { size, .. }) => Ok(bytes(u64::from(*size))),
            Some(Type::Pointer(target)) => self.pointer(*target),
            Some(Type::Array(array)) => {
                let element = self.of(array.element)?;
                Ok(format!("[{element}; {}]", array.length))
            }
            Some(
                Type::Const(target)
                | Type::Volatile(target)
                | Type::Restrict(target)
                | Type::Typedef { target, .. },
            ) => self.of(*target),
            Some(Type::TypeTag(tag)) => self.of(tag.target),
            Some(Type::FunctionPrototype(prototype)) => self.prototype(prototype),
            _ => Ok(NOTHING.to_owned()),
        }
    }

    fn pointer(&mut self, target: TypeId) -> Result<String> {
        if let Ok((_, Type::FunctionPrototype(prototype))) = self.btf.resolve(target) {
            let prototype = self.prototype(prototype)?;
            return Ok(format!("Option<{prototype}>"));
        }
        let word = match self.is_const(target) {
            true => "const",
            false => "mut",
        };
        Ok(format!("*{word} {}", self.of(target)?))
    }

    fn is_const(&self, id: TypeId) -> bool {
        let mut at = id;
        for _ in 0..MOST_DEPTH {
            match self.btf.get(at) {
                Some(Type::Const(_)) => return true,
                Some(Type::Volatile(target) | Type::Restrict(target)) => at = *target,
                Some(Type::TypeTag(tag)) => at = tag.target,
                _ => return false,
            }
        }
        false
    }

    fn prototype(&mut self, prototype: &FunctionPrototype) -> Result<String> {
        let mut list = Vec::new();
        for parameter in &prototype.parameters {
            let name = match self.btf.text(parameter.name) {
                "" => "_".to_owned(),
                text => identifier(text),
            };
            match parameter.target {
                TypeId::VOID if list.is_empty() => {}
                TypeId::VOID => list.push("...".to_owned()),
                target => list.push(format!("{name}: {}", self.of(target)?)),
            }
        }
        let mut text = format!("unsafe extern \"C\" fn({})", list.join(", "));
        if !matches!(self.btf.resolve(prototype.result), Ok((_, Type::Void))) {
            text.push_str(" -> ");
            text.push_str(&self.of(prototype.result)?);
        }
        Ok(text)
    }
}

/// Rust's integer of a size, bytes where there is none.
pub(super) fn number(size: u64, is_signed: bool) -> String {
    match is_word(size) {
        true => format!("{}{}", if is_signed { 'i' } else { 'u' }, size * 8),
        false => bytes(size),
    }
}

/// So many bytes.
pub(super) fn bytes(size: u64) -> String {
    format!("[u8; {size}]")
}

fn entangled(id: TypeId) -> Error {
    let message = format!("type {id} cannot be written as Rust: too much without a name is in it");
    Diagnosis::new(Code::BTF_MALFORMED, message).into()
}

const NOTHING: &str = "core::ffi::c_void";
const MOST_DEPTH: u32 = 128;
/// A kernel has about a million.
const MOST_PARTS: usize = 16 << 20;
