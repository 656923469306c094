//! Types as text: C that compiles to the same layouts, the bare facts, and where the holes are.
//!
//! `names.rs` gives every type a name that a compiler accepts and no other has; `shape.rs` finds what has to be written between
//! members so that a compiler puts each where it belongs; `c.rs` writes declarations in an order in which each is known
//! before it is needed, and `rust` does the same for Rust. `tags.rs`
//! knows the remarks that attributes left. `raw.rs` says one line per type, `holes.rs` one per member; `spelled.rs` spells one in a message.

mod c;
mod holes;
mod names;
mod raw;
mod rust;
mod shape;
mod spelled;
mod tags;

pub use c::c_header;
pub use holes::{Layout, Place, layout};
pub use raw::raw;
pub use rust::{RustTraits, rust_types};
pub use spelled::spelled;
