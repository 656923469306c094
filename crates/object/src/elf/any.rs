//! One section of any ELF file, also of other machines: a kernel's image keeps its types in one.

use object::read::elf::{FileHeader, SectionHeader as _};
use object::{Endianness, elf};

use crate::bytes::ByteOrder;

/// The bytes of a section of a 64-bit ELF file, and the byte order of the file; `None` if there is no such section or the file
/// is damaged where it is described.
pub(crate) fn section_of_any<'data>(
    bytes: &'data [u8],
    name: &str,
) -> Option<(&'data [u8], ByteOrder)> {
    let header = elf::FileHeader64::<Endianness>::parse(bytes).ok()?;
    let endian = header.endian().ok()?;
    let sections = header.sections(endian, bytes).ok()?;
    let (_, section) = sections.section_by_name(endian, name.as_bytes())?;
    let order = match endian {
        Endianness::Little => ByteOrder::Little,
        Endianness::Big => ByteOrder::Big,
    };
    Some((section.data(endian, bytes).ok()?, order))
}
