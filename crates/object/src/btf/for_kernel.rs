//! The bytes of an object's types that are handed to a kernel, for the version that takes them.

use std::borrow::Cow;
use std::sync::Arc;

use super::image::Image;
use super::older;
use super::write::BtfBuilder;
use crate::bytes::ByteOrder;
use crate::diagnosis::Result;

/// An object's types as the bytes that the kernel takes, complete as a linker would have left them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload(Arc<Vec<u8>>);

impl From<Image> for Upload {
    fn from(finished: Image) -> Self {
        Self(Arc::new(finished.finish()))
    }
}

impl Upload {
    /// Types that were put together here, for functions of programs that no object has.
    ///
    /// # Errors
    ///
    /// As [`BtfBuilder::encode`].
    pub fn of(types: &BtfBuilder) -> Result<Self> {
        types
            .encode(ByteOrder::HOST)
            .map(|bytes| Self(Arc::new(bytes)))
    }

    /// The bytes for a current kernel.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes for a kernel of this version (as `KERNEL_VERSION` packs it): kinds of types it does not know are replaced
    /// by ones of the same size that it does.
    pub fn bytes_for(&self, version: u32) -> Cow<'_, [u8]> {
        if older::knows_all(version) {
            return Cow::Borrowed(self.bytes());
        }
        match Image::read(&self.0, ByteOrder::HOST) {
            Some(mut image) => {
                older::replace_unknown(&mut image, version);
                Cow::Owned(image.finish())
            }
            None => Cow::Borrowed(self.bytes()),
        }
    }
}
