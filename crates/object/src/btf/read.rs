//! From bytes to a [`Btf`]: an object's is read and checked whole, a target's as far as somebody asks.

use std::sync::Arc;

use super::decode::Decoder;
use super::header::Header;
use super::kinds::HEAD_BYTES;
use super::lazy::Lazy;
use super::types::{Type, TypeId};
use super::{Btf, Bytes, Model};
use crate::bytes::ByteOrder;
use crate::diagnosis::Result;

impl Btf {
    /// Reads and checks all types: for the bytes of an object's `.BTF` section.
    ///
    /// # Errors
    ///
    /// Code O013 with the offset, if the bytes end early, contradict themselves or hold a kind we do not know.
    pub fn parse(bytes: &[u8], order: ByteOrder) -> Result<Self> {
        let header = Header::read(bytes, order)?;
        header.check_text(bytes)?;
        let mut btf = Self {
            bytes: Bytes::new(Arc::new(bytes.to_vec())),
            order,
            types: header.types(bytes)?,
            strings: header.strings(bytes, false)?,
            base: None,
            model: Model::Whole(Vec::new()),
        };
        btf.model = Model::Whole(btf.read_whole()?);
        Ok(btf)
    }

    /// Takes the types of a target, such as the bytes of `/sys/kernel/btf/vmlinux`. Nothing but the header is looked at
    /// now; types are read when they are asked for, and what is damaged is then not there.
    ///
    /// # Errors
    ///
    /// Code O013 with the offset, if the header contradicts the bytes.
    pub fn open(bytes: Bytes, order: ByteOrder) -> Result<Self> {
        Self::open_on(bytes, order, None)
    }

    /// Takes types that continue others, such as those of a kernel's module in `/sys/kernel/btf`: numbers and names go on
    /// where those of `base` end.
    ///
    /// # Errors
    ///
    /// Code O013 with the offset, if the header contradicts the bytes.
    pub fn open_split(bytes: Bytes, base: Arc<Self>) -> Result<Self> {
        Self::open_on(bytes, base.order, Some(base))
    }

    fn open_on(bytes: Bytes, order: ByteOrder, base: Option<Arc<Self>>) -> Result<Self> {
        let all = bytes.get();
        let header = Header::read(all, order)?;
        let (types, strings) = (header.types(all)?, header.strings(all, base.is_some())?);
        Ok(Self {
            bytes,
            order,
            types,
            strings,
            base,
            model: Model::Touched(Arc::new(Lazy::default())),
        })
    }

    /// A reader that stands at one type.
    pub(super) fn decoder(&self, at: usize, number: TypeId) -> Decoder<'_> {
        Decoder {
            types: self.own_types(),
            start: u64::try_from(self.types.start).unwrap_or(u64::MAX),
            order: self.order,
            at,
            number,
        }
    }

    fn read_whole(&self) -> Result<Vec<Type>> {
        let mut decoder = self.decoder(0, TypeId::VOID);
        let mut found = Vec::with_capacity(1 + self.types.len() / usize::from(HEAD_BYTES));
        found.push(Type::Void);
        let mut farthest = FarthestLink::default();
        while decoder.at < decoder.types.len() {
            let at = decoder.at;
            decoder.number = TypeId(u32::try_from(found.len()).unwrap_or(u32::MAX));
            let next = decoder.decode()?;
            self.check_names(&decoder, at, &next)?;
            farthest.note(decoder.number, at, &next);
            found.push(next);
        }
        let count = found.len();
        if farthest.to.get() >= count {
            let message = format!(
                "type {} refers to type {} but the last is [{}]",
                farthest.from,
                farthest.to,
                count - 1
            );
            return Err(decoder.error(farthest.at, message));
        }
        Ok(found)
    }

    fn check_names(&self, decoder: &Decoder<'_>, at: usize, found: &Type) -> Result<()> {
        let mut wrong = None;
        found.visit_names(&mut |name| {
            if !self.has_name(name) {
                wrong = Some(name.0);
            }
        });
        match wrong {
            None => Ok(()),
            Some(offset) => {
                let message = format!(
                    "type {} has a name at {offset:#x}, where no string of the {} bytes starts",
                    decoder.number,
                    self.strings.len()
                );
                Err(decoder.error(at, message))
            }
        }
    }
}

/// The highest number that any type refers to: the only one to compare with how many there are in the end.
#[derive(Default)]
struct FarthestLink {
    to: TypeId,
    from: TypeId,
    at: usize,
}

impl FarthestLink {
    fn note(&mut self, from: TypeId, at: usize, found: &Type) {
        found.visit_links(&mut |to| {
            if to > self.to {
                *self = Self { to, from, at };
            }
        });
    }
}
