//! Values as their types say, without Rust types: from bytes to a tree, and from text to bytes.
//!
//! ```text
//! bytes --Types::value--> Value --Display--> {src: 167772161, dport: 443}
//! text  --written.rs--> what is written --encode.rs, by type--> bytes
//! ```
//!
//! Nothing is cut or guessed: a number that does not fit, a member that is not there, an array that is too long are errors that
//! name the member.

mod encode;
mod read;
mod shape;
mod written;

use crate::btf::Btf;
use crate::bytes::ByteOrder;

pub use encode::{encode_bytes, encode_plain};
pub use read::{Value, text_of};
pub use shape::{Field, Shape};

/// Types, and the order of the bytes of their values.
#[derive(Debug, Clone, Copy)]
pub struct Types<'a> {
    /// The types.
    pub btf: &'a Btf,
    /// The order of bytes.
    pub order: ByteOrder,
}

impl<'a> Types<'a> {
    /// Types whose values are in the order of the types themselves.
    pub fn of(btf: &'a Btf) -> Self {
        Self {
            btf,
            order: btf.byte_order(),
        }
    }
}
