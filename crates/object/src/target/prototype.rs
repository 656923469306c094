//! What a function that an engine offers takes and answers, as far as a call depends on it.
//!
//! A call hands over registers, so all that matters is which of them are numbers, how wide they are meant to be, and which are
//! addresses. Names of types and what addresses point to may differ between both sides.

use std::fmt;

use crate::btf::{Btf, Type, TypeId};

/// Most parameters a call has registers for.
pub const MOST_PARAMETERS: usize = 5;

/// One parameter, or the answer, of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Parameter {
    /// A number of this many bytes: 1, 2, 4 or 8.
    Number(u8),
    /// An address.
    Pointer,
}

/// What a function takes and answers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Prototype {
    /// Its parameters, at most [`MOST_PARAMETERS`].
    pub parameters: Vec<Parameter>,
    /// What it answers, if anything.
    pub answer: Option<Parameter>,
}

impl Prototype {
    /// How the function that a program declares, type `declared` of `btf`, differs from this one; `None` if a call of one can
    /// call the other.
    pub fn difference(&self, btf: &Btf, declared: TypeId) -> Option<String> {
        let Ok((_, Type::FunctionPrototype(function))) = btf.resolve(declared) else {
            return Some("the program does not declare a function".to_owned());
        };
        let (ours, theirs) = (self.parameters.len(), function.parameters.len());
        if ours != theirs {
            return Some(format!("it takes {ours} arguments, not {theirs}"));
        }
        for (index, (ours, theirs)) in self.parameters.iter().zip(&function.parameters).enumerate()
        {
            if !parameter(btf, theirs.target).is_some_and(|theirs| theirs == Some(*ours)) {
                return Some(format!("its argument {} is {ours}", index + 1));
            }
        }
        let answer = parameter(btf, function.result);
        match (self.answer, answer) {
            // Whoever does not want the answer may leave it.
            (_, Some(None)) => None,
            (ours, Some(theirs)) if ours == theirs => None,
            (Some(ours), _) => Some(format!("it answers {ours}")),
            (None, _) => Some("it answers nothing".to_owned()),
        }
    }
}

impl fmt::Display for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(1) => f.write_str("a number of 1 byte"),
            Self::Number(bytes) => write!(f, "a number of {bytes} bytes"),
            Self::Pointer => f.write_str("an address"),
        }
    }
}

/// A type as a register holds it: nothing, a number or an address; `None` if it is none of them.
fn parameter(btf: &Btf, id: TypeId) -> Option<Option<Parameter>> {
    match btf.resolve(id).ok()?.1 {
        Type::Void => Some(None),
        Type::Pointer(_) => Some(Some(Parameter::Pointer)),
        Type::Integer(_) | Type::Enumeration(_) => {
            let bytes = u8::try_from(btf.size_of(id).ok()?).ok()?;
            matches!(bytes, 1 | 2 | 4 | 8).then_some(Some(Parameter::Number(bytes)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::{self, BtfBuilder, FunctionPrototype};
    use crate::bytes::ByteOrder;

    /// `u32 f(u64, void *)`, with the answer left out if told so.
    fn declared(answers: bool) -> (Btf, TypeId) {
        let mut builder = BtfBuilder::new();
        let word = builder.add_integer("u32", 4);
        let long = builder.add_integer("u64", 8);
        let pointer = builder.add(Type::Pointer(TypeId(0)));
        let name = builder.name("");
        let parameter = |target| btf::Parameter { name, target };
        let prototype = builder.add(Type::FunctionPrototype(FunctionPrototype {
            result: if answers { word } else { TypeId(0) },
            parameters: vec![parameter(long), parameter(pointer)],
        }));
        let bytes = builder.encode(ByteOrder::HOST).unwrap();
        (Btf::parse(&bytes, ByteOrder::HOST).unwrap(), prototype)
    }

    fn prototype(parameters: &[Parameter], answer: Option<Parameter>) -> Prototype {
        Prototype {
            parameters: parameters.to_vec(),
            answer,
        }
    }

    #[test]
    fn functions_that_hand_over_the_same_registers_agree() {
        use Parameter::{Number, Pointer};
        let (btf, id) = declared(true);
        let ours = prototype(&[Number(8), Pointer], Some(Number(4)));
        assert_eq!(ours.difference(&btf, id), None);
        let (silent, id_of_silent) = declared(false);
        assert_eq!(ours.difference(&silent, id_of_silent), None);
    }

    #[test]
    fn a_difference_names_the_argument_and_what_it_is() {
        use Parameter::{Number, Pointer};
        let (btf, id) = declared(true);
        for (parameters, answer, expected) in [
            (
                &[Number(8)][..],
                Some(Number(4)),
                "it takes 1 arguments, not 2",
            ),
            (
                &[Number(1), Pointer],
                Some(Number(4)),
                "its argument 1 is a number of 1 byte",
            ),
            (
                &[Number(8), Number(8)],
                Some(Number(4)),
                "its argument 2 is a number of 8 bytes",
            ),
            (
                &[Number(8), Pointer],
                Some(Pointer),
                "it answers an address",
            ),
            (&[Number(8), Pointer], None, "it answers nothing"),
        ] {
            let ours = prototype(parameters, answer);
            assert_eq!(ours.difference(&btf, id).as_deref(), Some(expected));
        }
    }
}
