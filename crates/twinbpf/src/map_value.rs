//! How Rust values become the bytes of a map and come back: plain ones, and one for each CPU slot.

use std::borrow::Cow;
use std::ops::{Deref, DerefMut};

use twinbpf_object::{Code, Diagnosis, MapSpec, Result};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::map_error::{named, wrong_length};

/// What can be read from a map: plain bytes with a meaning, or [`PerCpu`] of them.
pub trait MapValue: Sized {
    /// The value of one CPU slot; the type itself where there is only one.
    type One;
    /// Whether there is one value for each CPU slot.
    const IS_PER_CPU: bool;

    /// The value in a map's bytes.
    ///
    /// # Errors
    ///
    /// If the bytes are too few or too many.
    fn decode(spec: &MapSpec, bytes: &[u8]) -> Result<Self>;
}

/// What can be stored in a map: as [`MapValue`], without padding, whose bytes nobody wrote.
pub trait StoredValue: MapValue {
    /// Its bytes in a map whose values have `len`.
    ///
    /// # Errors
    ///
    /// If there are not as many values as CPU slots.
    fn encode(&self, spec: &MapSpec, len: usize) -> Result<Cow<'_, [u8]>>;
}

/// One value for each CPU slot, in their order.
///
/// ```
/// use twinbpf::{Engine, Map, MapKind, PerCpu};
///
/// let engine = Engine::vm()?;
/// let packets = Map::<u32, PerCpu<u64>>::create(&engine, MapKind::PerCpuArray, 4)?;
/// let mut counts = packets.get(&0)?.unwrap_or_default();
/// counts[0] = 7;
/// packets.set(&0, &counts)?;
/// assert_eq!(packets.get(&0)?.map(|counts| counts.iter().sum::<u64>()), Some(7));
/// # Ok::<(), twinbpf::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PerCpu<V>(Vec<V>);

impl<V> PerCpu<V> {
    /// One value for each CPU slot; there must be as many as the engine has slots.
    pub fn new(values: Vec<V>) -> Self {
        Self(values)
    }

    /// The values.
    pub fn into_inner(self) -> Vec<V> {
        self.0
    }
}

impl<V> Deref for PerCpu<V> {
    type Target = [V];

    fn deref(&self) -> &[V] {
        &self.0
    }
}

impl<V> DerefMut for PerCpu<V> {
    fn deref_mut(&mut self) -> &mut [V] {
        &mut self.0
    }
}

impl<V: FromBytes> MapValue for V {
    type One = V;
    const IS_PER_CPU: bool = false;

    fn decode(spec: &MapSpec, bytes: &[u8]) -> Result<Self> {
        read(spec, bytes)
    }
}

impl<V: FromBytes + IntoBytes + Immutable> StoredValue for V {
    fn encode(&self, _: &MapSpec, _: usize) -> Result<Cow<'_, [u8]>> {
        Ok(Cow::Borrowed(self.as_bytes()))
    }
}

impl<V: FromBytes> MapValue for PerCpu<V> {
    type One = V;
    const IS_PER_CPU: bool = true;

    fn decode(spec: &MapSpec, bytes: &[u8]) -> Result<Self> {
        let slots = bytes.chunks_exact(stride::<V>());
        let values = slots.map(|slot| read(spec, slot.get(..size_of::<V>()).unwrap_or_default()));
        values.collect::<Result<Vec<V>>>().map(Self)
    }
}

impl<V: FromBytes + IntoBytes + Immutable> StoredValue for PerCpu<V> {
    fn encode(&self, spec: &MapSpec, len: usize) -> Result<Cow<'_, [u8]>> {
        let slots = len / stride::<V>();
        if self.0.len() != slots {
            let has = slots.saturating_mul(size_of::<V>());
            let given = self.0.len().saturating_mul(size_of::<V>());
            return Err(wrong_length(spec, "value, of all CPU slots,", has, given));
        }
        let mut bytes = Vec::with_capacity(len);
        for value in &self.0 {
            bytes.extend_from_slice(value.as_bytes());
            bytes.resize(bytes.len().next_multiple_of(SLOT_ALIGNMENT), 0);
        }
        Ok(Cow::Owned(bytes))
    }
}

/// Runs `work` with a buffer of zeros; short ones need no allocation.
pub(crate) fn with_room<R>(len: usize, work: impl FnOnce(&mut [u8]) -> R) -> R {
    let mut short = [0; SHORT_BYTES];
    match short.get_mut(..len) {
        Some(room) => work(room),
        None => work(&mut vec![0; len]),
    }
}

/// The value that these bytes are.
pub(crate) fn read<T: FromBytes>(spec: &MapSpec, bytes: &[u8]) -> Result<T> {
    // `Map::new` compared the sizes, so this fails only if the map's definition lied.
    T::read_from_bytes(bytes).map_err(|_| {
        let message = format!(
            "{} bytes are no `{}`",
            bytes.len(),
            std::any::type_name::<T>()
        );
        named(spec, Diagnosis::new(Code::MAP_TYPE_SIZE, message)).into()
    })
}

/// From one CPU slot's value to the next; at least 1, also for types without bytes.
fn stride<V>() -> usize {
    size_of::<V>().max(1).next_multiple_of(SLOT_ALIGNMENT)
}

/// Values of CPU slots begin at multiples of this many bytes.
const SLOT_ALIGNMENT: usize = 8;
/// Values up to this many bytes are read without an allocation.
const SHORT_BYTES: usize = 64;
