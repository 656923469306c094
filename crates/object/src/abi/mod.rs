//! The kernel's numbers, one table each.
//!
//! Our Rust names are ours; the kernel's spelling is kept beside each so that a search finds it. A number without a
//! row here is not an error: newer kernels have more, and a caller may name them by number.

mod attach_kind;
mod errno;
mod errno_meaning;
mod helper;
mod helper_prototype;
mod map_kind;
mod program_kind;
mod section;
mod verdict;

pub use attach_kind::AttachKind;
pub use errno::Errno;
pub use errno_meaning::{BpfRequest, meanings_of};
pub use helper::{helper_name, helper_number};
pub use helper_prototype::{ArgumentKind, HELPERS, HelperPrototype, ReturnKind, helper_prototype};
pub use map_kind::{MapFlags, MapKind};
pub use program_kind::ProgramKind;
pub use section::{
    SECTIONS, SectionMeaning, SectionRow, meaning_of_section, nearest_name, nearest_section,
};
pub use verdict::{Verdict, verdict};
