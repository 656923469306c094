//! Keys taken out of the window: copied once, then used.
//!
//! A program may change the bytes while a helper looks at them, so they are read exactly once.

use twinbpf_shm::SharedBytes;

/// Keys up to this many bytes need no allocation.
const SHORT_BYTES: usize = 64;

/// A copy of a key.
#[derive(Debug)]
pub(crate) enum Copied {
    Short([u8; SHORT_BYTES], usize),
    Long(Vec<u8>),
}

impl Copied {
    /// Copies all bytes of `view`; `None` if it has gone (cannot happen for a checked range).
    pub(crate) fn new(view: SharedBytes) -> Option<Self> {
        let len = view.len();
        if len <= SHORT_BYTES {
            let mut bytes = [0; SHORT_BYTES];
            view.copy_out(0, bytes.get_mut(..len)?)?;
            return Some(Self::Short(bytes, len));
        }
        let mut bytes = vec![0; len];
        view.copy_out(0, &mut bytes)?;
        Some(Self::Long(bytes))
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Short(bytes, len) => bytes.get(..*len).unwrap_or_default(),
            Self::Long(bytes) => bytes,
        }
    }
}
