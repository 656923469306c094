//! A live map of either engine, with Rust types for keys and values.

use std::fmt;
use std::marker::PhantomData;

use twinbpf_object::{Code, Diagnosis, MapKind, MapSpec, Result};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::engine::Engine;
use crate::map_error::named;
use crate::raw_map::{RawMap, UpdateMode};
use crate::walk::RawEntries;

/// A map with keys `K` and values `V`. Clones are the same map.
///
/// The types must have the sizes of the map and consist of plain bytes: integers, arrays, and `#[repr(C)]` structs
/// without padding that derive `zerocopy`'s traits. Padding is refused by the compiler, because programs would compare
/// and count bytes that nobody wrote.
///
/// ```
/// use twinbpf::zerocopy::{FromBytes, Immutable, IntoBytes};
/// use twinbpf::{Engine, Map, MapKind};
///
/// #[derive(Debug, PartialEq, FromBytes, IntoBytes, Immutable)]
/// #[repr(C)]
/// struct Traffic {
///     packets: u64,
///     bytes: u64,
/// }
///
/// let engine = Engine::vm()?;
/// let flows = Map::<[u8; 4], Traffic>::create(&engine, MapKind::Hash, 1024)?;
/// let host = [10, 0, 0, 1];
/// assert_eq!(flows.get(&host)?, None);
/// flows.insert_new(&host, &Traffic { packets: 1, bytes: 142 })?;
/// assert_eq!(flows.insert_new(&host, &Traffic { packets: 2, bytes: 284 }).unwrap_err().kind(), twinbpf::ErrorKind::Exists);
/// for entry in flows.iter() {
///     let (host, traffic) = entry?;
///     println!("{host:?} {} bytes", traffic.bytes);
/// }
/// assert!(flows.remove(&host)?);
/// # Ok::<(), twinbpf::Error>(())
/// ```
pub struct Map<K, V> {
    raw: RawMap,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Map<K, V> {
    /// Creates a map without a name and without flags.
    ///
    /// # Errors
    ///
    /// If the engine refuses: a rule of the kind, a missing privilege, not enough memory.
    pub fn create(engine: &Engine, kind: MapKind, max_entries: u32) -> Result<Self> {
        let key_size = size_of_type::<K>()?;
        let value_size = size_of_type::<V>()?;
        let spec = MapSpec::new("", kind, key_size, value_size, max_entries);
        Self::new(engine.create_map(&spec)?)
    }

    /// Gives a map its types.
    ///
    /// # Errors
    ///
    /// If `K` or `V` do not have the sizes of the map, or the map keeps one value per CPU slot.
    pub fn new(raw: RawMap) -> Result<Self> {
        let spec = raw.spec();
        if spec.kind.is_per_cpu() {
            let message = format!(
                "a map of type {} keeps one value per CPU slot, `{}` is one value",
                spec.kind,
                std::any::type_name::<V>()
            );
            let diagnosis = Diagnosis::new(Code::MAP_TYPE_SIZE, message);
            return Err(named(spec, diagnosis).help("use the raw map").into());
        }
        fits::<K>(spec, "key", spec.key_size)?;
        fits::<V>(spec, "value", spec.value_size)?;
        Ok(Self {
            raw,
            types: PhantomData,
        })
    }

    /// The map in bytes.
    pub fn raw(&self) -> &RawMap {
        &self.raw
    }

    /// The definition it was created from.
    pub fn spec(&self) -> &MapSpec {
        self.raw.spec()
    }
}

impl<K: IntoBytes + Immutable, V> Map<K, V> {
    /// A copy of the value under `key`, or `None` if the key is absent.
    ///
    /// # Errors
    ///
    /// If the engine refuses.
    pub fn get(&self, key: &K) -> Result<Option<V>>
    where
        V: FromBytes,
    {
        match self.raw.get(key.as_bytes())? {
            Some(bytes) => read(self.spec(), &bytes).map(Some),
            None => Ok(None),
        }
    }

    /// Stores `value` under `key`, whether or not the key is there.
    ///
    /// # Errors
    ///
    /// If the map is full, an index is out of range, or the engine refuses.
    pub fn set(&self, key: &K, value: &V) -> Result<()>
    where
        V: IntoBytes + Immutable,
    {
        self.update(key, value, UpdateMode::Any)
    }

    /// Stores `value` under a key that is not there yet.
    ///
    /// # Errors
    ///
    /// Kind [`Exists`](crate::ErrorKind::Exists) if it is; otherwise as [`Map::set`].
    pub fn insert_new(&self, key: &K, value: &V) -> Result<()>
    where
        V: IntoBytes + Immutable,
    {
        self.update(key, value, UpdateMode::IfAbsent)
    }

    /// Stores `value` under a key that is there.
    ///
    /// # Errors
    ///
    /// Kind [`NotFound`](crate::ErrorKind::NotFound) if it is not; otherwise as [`Map::set`].
    pub fn replace(&self, key: &K, value: &V) -> Result<()>
    where
        V: IntoBytes + Immutable,
    {
        self.update(key, value, UpdateMode::IfPresent)
    }

    /// Removes `key`; false if it was absent.
    ///
    /// # Errors
    ///
    /// If the kind of map cannot remove, or the engine refuses.
    pub fn remove(&self, key: &K) -> Result<bool> {
        self.raw.remove(key.as_bytes())
    }

    fn update(&self, key: &K, value: &V, mode: UpdateMode) -> Result<()>
    where
        V: IntoBytes + Immutable,
    {
        self.raw.update(key.as_bytes(), value.as_bytes(), mode)
    }
}

impl<K: FromBytes, V: FromBytes> Map<K, V> {
    /// The entries, one after the other. Others may change the map meanwhile: [`RawEntries`] says what happens then.
    pub fn iter(&self) -> Entries<'_, K, V> {
        Entries {
            raw: self.raw.entries(),
            spec: self.spec(),
            types: PhantomData,
        }
    }

    /// All entries at once.
    ///
    /// # Errors
    ///
    /// If the engine refuses.
    pub fn entries(&self) -> Result<Vec<(K, V)>> {
        self.iter().collect()
    }
}

impl<'a, K: FromBytes, V: FromBytes> IntoIterator for &'a Map<K, V> {
    type Item = Result<(K, V)>;
    type IntoIter = Entries<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

// Derived, these two would ask the same of `K` and `V`, which a handle does not need.
impl<K, V> Clone for Map<K, V> {
    fn clone(&self) -> Self {
        Self {
            raw: self.raw.clone(),
            types: PhantomData,
        }
    }
}

impl<K, V> fmt::Debug for Map<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Map").field(&self.raw).finish()
    }
}

/// The entries of a typed map.
pub struct Entries<'a, K, V> {
    raw: RawEntries<'a>,
    spec: &'a MapSpec,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K: FromBytes, V: FromBytes> Iterator for Entries<'_, K, V> {
    type Item = Result<(K, V)>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.raw.next()?;
        Some(entry.and_then(|(key, value)| Ok((read(self.spec, &key)?, read(self.spec, &value)?))))
    }
}

impl<K, V> fmt::Debug for Entries<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Entries").field(&self.raw).finish()
    }
}

/// A type's size as the kernel's interface counts it.
fn size_of_type<T>() -> Result<u32> {
    u32::try_from(size_of::<T>()).map_err(|_| {
        let message = format!("`{}` is too large for a map", std::any::type_name::<T>());
        Diagnosis::new(Code::MAP_TYPE_SIZE, message).into()
    })
}

fn fits<T>(spec: &MapSpec, what: &str, size: u32) -> Result<()> {
    if size_of_type::<T>()? == size {
        return Ok(());
    }
    let message = format!(
        "the map's {what} has {size} bytes, `{}` has {}",
        std::any::type_name::<T>(),
        size_of::<T>()
    );
    Err(named(spec, Diagnosis::new(Code::MAP_TYPE_SIZE, message)).into())
}

fn read<T: FromBytes>(spec: &MapSpec, bytes: &[u8]) -> Result<T> {
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
