//! Numbers out of bytes whose length nobody has checked yet.
//!
//! Every read says where it wants to read and gets `None` if the bytes end before; nothing here can panic.

/// Byte order of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ByteOrder {
    /// Least significant byte first (`EM_BPF`, `ELFDATA2LSB`).
    Little,
    /// Most significant byte first.
    Big,
}

impl ByteOrder {
    /// This machine's.
    pub const HOST: Self = if cfg!(target_endian = "big") {
        Self::Big
    } else {
        Self::Little
    };
}

/// The two-byte number at `offset`.
pub(crate) fn u16_at(bytes: &[u8], offset: usize, order: ByteOrder) -> Option<u16> {
    let raw = array_at(bytes, offset)?;
    Some(match order {
        ByteOrder::Little => u16::from_le_bytes(raw),
        ByteOrder::Big => u16::from_be_bytes(raw),
    })
}

/// The four-byte number at `offset`.
pub(crate) fn u32_at(bytes: &[u8], offset: usize, order: ByteOrder) -> Option<u32> {
    let raw = array_at(bytes, offset)?;
    Some(match order {
        ByteOrder::Little => u32::from_le_bytes(raw),
        ByteOrder::Big => u32::from_be_bytes(raw),
    })
}

/// The bytes from `offset` on, `length` of them.
pub(crate) fn slice_at(bytes: &[u8], offset: u64, length: u64) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    let end = usize::try_from(offset.checked_add(length)?).ok()?;
    bytes.get(start..end)
}

/// The text at `offset` up to its NUL, without it. At most `limit` bytes are looked at, so that many names pointing
/// into one long string cost little.
pub(crate) fn text_at(bytes: &[u8], offset: u32, limit: usize) -> Option<&[u8]> {
    let rest = bytes.get(usize::try_from(offset).ok()?..)?;
    let window = &rest[..rest.len().min(limit)];
    let length = window.iter().position(|byte| *byte == 0)?;
    Some(&window[..length])
}

fn array_at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk::<N>().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_stop_at_the_end() {
        let bytes = [1, 2, 3, 4, 5];
        assert_eq!(u32_at(&bytes, 1, ByteOrder::Little), Some(0x0504_0302));
        assert_eq!(u32_at(&bytes, 1, ByteOrder::Big), Some(0x0203_0405));
        assert_eq!(u32_at(&bytes, 2, ByteOrder::Big), None);
        assert_eq!(u16_at(&bytes, usize::MAX, ByteOrder::Big), None);
        assert_eq!(slice_at(&bytes, 4, 1), Some(&bytes[4..]));
        assert_eq!(slice_at(&bytes, u64::MAX, 2), None);
    }

    #[test]
    fn a_text_needs_its_end_within_the_limit() {
        assert_eq!(text_at(b"ab\0cd", 0, 8), Some(&b"ab"[..]));
        assert_eq!(text_at(b"ab\0cd", 0, 2), None);
        assert_eq!(text_at(b"ab\0cd", 3, 8), None);
        assert_eq!(text_at(b"ab\0cd", 9, 8), None);
    }
}
