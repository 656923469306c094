//! The header of BTF: where types and strings are.
//!
//! ```text
//! 0 magic  2 version  3 flags  4 header length  8 types offset  12 types length  16 strings offset  20 strings length
//! ```
//!
//! Both offsets count from the end of the header. A header longer than 24 bytes is a newer one; what it has in addition does
//! not change the meaning of what we read.

use std::ops::Range;

use super::malformed;
use crate::bytes::ByteOrder;
use crate::bytes::{u16_at, u32_at};
use crate::diagnosis::{Code, Diagnosis, Result};

/// Where everything is, claimed and not yet checked.
pub(super) struct Header {
    length: u64,
    types_offset: u64,
    types_length: u64,
    strings_offset: u64,
    strings_length: u64,
}

impl Header {
    /// Reads and checks what stands before the offsets.
    pub(super) fn read(bytes: &[u8], order: ByteOrder) -> Result<Self> {
        let word = |at| {
            u32_at(bytes, at, order).map(u64::from).ok_or_else(|| {
                let message = format!(
                    "BTF needs a header of {HEADER_BYTES} bytes but has {}",
                    bytes.len()
                );
                malformed(0, message)
            })
        };
        let header = Self {
            length: word(4)?,
            types_offset: word(8)?,
            types_length: word(12)?,
            strings_offset: word(16)?,
            strings_length: word(20)?,
        };
        let magic = u16_at(bytes, 0, order).unwrap_or_default();
        if magic == MAGIC.swap_bytes() {
            return Err(malformed(0, "BTF of the other byte order"));
        }
        if magic != MAGIC {
            return Err(malformed(
                0,
                format!("BTF starts with {MAGIC:#06x}, not {magic:#06x}"),
            ));
        }
        let version = bytes.get(2).copied().unwrap_or_default();
        if version != VERSION {
            return Err(malformed(
                2,
                format!("BTF version {version} is not known, only {VERSION}"),
            ));
        }
        if header.length < HEADER_BYTES {
            let message = format!(
                "a BTF header has {HEADER_BYTES} bytes, not {}",
                header.length
            );
            return Err(malformed(4, message));
        }
        Ok(header)
    }

    /// Where the types are.
    pub(super) fn types(&self, bytes: &[u8]) -> Result<Range<usize>> {
        let start = self.length.saturating_add(self.types_offset);
        range_in(bytes, start, self.types_length).ok_or_else(|| {
            let message = format!(
                "{} bytes of types are announced at {start:#x} but the BTF has {} bytes",
                self.types_length,
                bytes.len()
            );
            malformed(8, message)
        })
    }

    /// Where the strings are, which start and end with a NUL. Those that continue others need not start with one, and may be
    /// none at all.
    pub(super) fn strings(&self, bytes: &[u8], is_split: bool) -> Result<Range<usize>> {
        let start = self.strings_start();
        let found = range_in(bytes, start, self.strings_length).ok_or_else(|| {
            let message = format!(
                "{} bytes of strings are announced at {start:#x} but the BTF has {} bytes",
                self.strings_length,
                bytes.len()
            );
            malformed(16, message)
        })?;
        let strings = bytes.get(found.clone()).unwrap_or_default();
        if is_split && strings.is_empty() {
            return Ok(found);
        }
        if (strings.first() != Some(&0) && !is_split) || strings.last() != Some(&0) {
            let message = "BTF strings must start and end with a NUL";
            return Err(Diagnosis::new(Code::BTF_MALFORMED, message)
                .at(".BTF", start)
                .help("types of a kernel's module continue the kernel's and cannot be read alone")
                .into());
        }
        Ok(found)
    }

    /// Checks that all strings are text.
    pub(super) fn check_text(&self, bytes: &[u8]) -> Result<()> {
        let start = self.strings_start();
        let strings = bytes.get(self.strings(bytes, false)?).unwrap_or_default();
        match std::str::from_utf8(strings) {
            Ok(_) => Ok(()),
            Err(error) => {
                let at = u64::try_from(error.valid_up_to()).unwrap_or(u64::MAX);
                Err(malformed(
                    start.saturating_add(at),
                    "a BTF string is not UTF-8",
                ))
            }
        }
    }

    fn strings_start(&self) -> u64 {
        self.length.saturating_add(self.strings_offset)
    }
}

fn range_in(bytes: &[u8], start: u64, length: u64) -> Option<Range<usize>> {
    let end = usize::try_from(start.checked_add(length)?).ok()?;
    let start = usize::try_from(start).ok()?;
    (end <= bytes.len()).then_some(start..end)
}

const MAGIC: u16 = 0xeb9f;
const VERSION: u8 = 1;
const HEADER_BYTES: u64 = 24;
