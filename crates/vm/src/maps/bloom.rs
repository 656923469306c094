//! Bloom filters: values can be added and asked for; "absent" is certain, "present" is likely.

use std::sync::atomic::{AtomicU64, Ordering};

use twinbpf_object::{Errno, MapSpec};
use zerocopy::FromZeros;

use super::ANY;
use super::kind::{Behaviour, Source, Writer};
use super::table::mix;

/// Hash functions where the definition says none.
const DEFAULT_FUNCTIONS: u64 = 5;

#[derive(Debug)]
pub(super) struct Bloom {
    functions: u64,
    bit_mask: u64,
    bits: Box<[AtomicU64]>,
}

impl Bloom {
    pub(super) fn new(spec: &MapSpec) -> Result<Self, Errno> {
        let functions = match spec.extra & 0xf {
            0 => DEFAULT_FUNCTIONS,
            functions => functions,
        };
        // KERNEL: bits are entries times functions times 7/5, rounded up to a power of two, at most 2^32 (6.18).
        let bits = u64::from(spec.max_entries)
            .saturating_mul(functions)
            .saturating_mul(7)
            .div_ceil(5)
            .clamp(64, 1 << 32)
            .next_power_of_two()
            .min(1 << 32);
        let words = usize::try_from(bits / 64).map_err(|_| Errno::ENOMEM)?;
        Ok(Self {
            functions,
            bit_mask: bits - 1,
            bits: <[AtomicU64]>::new_box_zeroed_with_elems(words).map_err(|_| Errno::ENOMEM)?,
        })
    }

    pub(super) fn push(&self, value: Source<'_>, flags: u64) -> Result<(), Errno> {
        if flags != ANY {
            return Err(Errno::EINVAL);
        }
        let value = value.copied()?;
        for (word, bit) in self.places(&value) {
            self.bits[word].fetch_or(bit, Ordering::Relaxed);
        }
        Ok(())
    }

    /// `ENOENT` if the value was certainly never added.
    pub(super) fn peek(&self, value: &[u8]) -> Result<(), Errno> {
        let is_present = self
            .places(value)
            .all(|(word, bit)| self.bits[word].load(Ordering::Relaxed) & bit != 0);
        if is_present {
            Ok(())
        } else {
            Err(Errno::ENOENT)
        }
    }

    fn places(&self, value: &[u8]) -> impl Iterator<Item = (usize, u64)> {
        let mut hash = 0x51_7c_c1_b7_27_22_0a_95;
        for chunk in value.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            hash = mix(hash ^ u64::from_ne_bytes(word));
        }
        let mask = self.bit_mask;
        (1..=self.functions).map(move |function| {
            let bit = mix(hash.wrapping_add(function)) & mask;
            // The mask keeps the bit's number below the number of bits.
            (usize::try_from(bit / 64).unwrap_or(0), 1 << (bit % 64))
        })
    }
}

impl Behaviour for Bloom {
    fn copy_out(&self, _: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        self.peek(value)
    }

    fn update(&self, _: &[u8], value: Source<'_>, flags: u64, _: Writer) -> Result<(), Errno> {
        self.push(value, flags)
    }

    fn delete(&self, _: &[u8]) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn next_key(&self, _: Option<&[u8]>, _: &mut [u8]) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }
}
