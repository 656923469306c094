//! A live map of either engine, with Rust types for keys and values.

use std::fmt;
use std::marker::PhantomData;
use std::ops::ControlFlow;

use twinbpf_object::abi::MapFlags;
use twinbpf_object::btf::{Btf, TypeId};
use twinbpf_object::spec::MapTypes;
use twinbpf_object::value::Types;
use twinbpf_object::{Code, Diagnosis, Error, MapKind, MapSpec, Result};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::engine::Engine;
use crate::layout::Layout;
use crate::map_error::named;
use crate::map_value::{MapValue, StoredValue, read, with_room};
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

impl<K, V: MapValue> Map<K, V> {
    /// Creates a map without a name and without flags.
    ///
    /// # Errors
    ///
    /// If the engine refuses: a rule of the kind, a missing privilege, not enough memory.
    pub fn create(engine: &Engine, kind: MapKind, max_entries: u32) -> Result<Self> {
        let key_size = size_of_type::<K>()?;
        let value_size = size_of_type::<V::One>()?;
        let mut spec = MapSpec::new("", kind, key_size, value_size, max_entries);
        if kind == MapKind::LpmTrie {
            // The kernel insists.
            spec.flags = MapFlags::NO_PREALLOC;
        }
        Self::new(engine.create_map(&spec)?)
    }

    /// Gives a map its types.
    ///
    /// # Errors
    ///
    /// If `K` or `V` do not have the sizes of the map, or only one of map and `V` is per CPU slot.
    pub fn new(raw: RawMap) -> Result<Self> {
        let spec = raw.spec();
        if spec.kind.is_per_cpu() != V::IS_PER_CPU {
            return Err(other_slots::<V>(spec));
        }
        fits::<K>(spec, "key", spec.key_size)?;
        fits::<V::One>(spec, "value", spec.value_size)?;
        Ok(Self {
            raw,
            types: PhantomData,
        })
    }
}

impl<K: Layout, V: MapValue + Layout> Map<K, V> {
    /// As [`Map::new`]; where the engine knows the map's types, the fields of `K` and `V` are compared with them too.
    ///
    /// # Errors
    ///
    /// As [`Map::new`], or which field lies where in Rust and in the map's types.
    pub fn checked(raw: RawMap) -> Result<Self> {
        let map = Self::new(raw)?;
        let info = map.raw.info()?;
        if let Some(types) = map.raw.types()? {
            map.check(&types, info.types)?;
        }
        Ok(map)
    }

    /// Compares `K` and `V` with types. A key or value that has none there is not compared.
    pub(crate) fn check(&self, types: &Btf, ids: MapTypes) -> Result<()> {
        let sides = [("key", ids.key, K::SHAPE), ("value", ids.value, V::SHAPE)];
        for (side, id, shape) in sides {
            if id == TypeId::VOID {
                continue;
            }
            Types::of(types).check_shape(id, shape).map_err(|error| {
                error.map(|diagnosis| {
                    let message = format!("the map's {side}: {}", diagnosis.message);
                    let diagnosis = Diagnosis {
                        message,
                        ..diagnosis
                    };
                    named(self.spec(), diagnosis)
                })
            })?;
        }
        Ok(())
    }
}

impl<K, V> Map<K, V> {
    /// The map in bytes.
    pub fn raw(&self) -> &RawMap {
        &self.raw
    }

    /// The definition it was created from.
    pub fn spec(&self) -> &MapSpec {
        self.raw.spec()
    }
}

impl<K: IntoBytes + Immutable, V: MapValue> Map<K, V> {
    /// A copy of the value under `key`, or `None` if the key is absent.
    ///
    /// # Errors
    ///
    /// If the engine refuses.
    pub fn get(&self, key: &K) -> Result<Option<V>> {
        with_room(self.raw.value_len(), |room| {
            match self.raw.read(key.as_bytes(), room)? {
                true => V::decode(self.spec(), room).map(Some),
                false => Ok(None),
            }
        })
    }

    /// Copies the value under `key` and removes the key, in one step; `None` if it was absent.
    ///
    /// # Errors
    ///
    /// If the kind of map cannot do this, or the engine refuses.
    pub fn take(&self, key: &K) -> Result<Option<V>> {
        let taken = self.raw.take(key.as_bytes())?;
        taken
            .map(|bytes| V::decode(self.spec(), &bytes))
            .transpose()
    }

    /// Removes `key`; false if it was absent.
    ///
    /// # Errors
    ///
    /// If the kind of map cannot remove, or the engine refuses.
    pub fn remove(&self, key: &K) -> Result<bool> {
        self.raw.remove(key.as_bytes())
    }

    /// Removes many keys; the answer is how many were there.
    ///
    /// # Errors
    ///
    /// As [`Map::remove`].
    pub fn remove_many(&self, keys: &[K]) -> Result<usize> {
        self.raw.remove_many(keys.as_bytes())
    }
}

impl<K: IntoBytes + Immutable, V: StoredValue> Map<K, V> {
    /// Stores `value` under `key`, whether or not the key is there.
    ///
    /// # Errors
    ///
    /// If the map is full, an index is out of range, or the engine refuses.
    pub fn set(&self, key: &K, value: &V) -> Result<()> {
        self.update(key, value, UpdateMode::Any)
    }

    /// Stores `value` under a key that is not there yet.
    ///
    /// # Errors
    ///
    /// Kind [`Exists`](crate::ErrorKind::Exists) if it is; otherwise as [`Map::set`].
    pub fn insert_new(&self, key: &K, value: &V) -> Result<()> {
        self.update(key, value, UpdateMode::IfAbsent)
    }

    /// Stores `value` under a key that is there.
    ///
    /// # Errors
    ///
    /// Kind [`NotFound`](crate::ErrorKind::NotFound) if it is not; otherwise as [`Map::set`].
    pub fn replace(&self, key: &K, value: &V) -> Result<()> {
        self.update(key, value, UpdateMode::IfPresent)
    }

    /// Stores many entries, by the batch where the engine can.
    ///
    /// # Errors
    ///
    /// As [`Map::set`]; the entries before the one that was refused are stored.
    pub fn set_many<'e>(&self, entries: impl IntoIterator<Item = (&'e K, &'e V)>) -> Result<()>
    where
        K: 'e,
        V: 'e,
    {
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for (key, value) in entries {
            keys.extend_from_slice(key.as_bytes());
            values.extend_from_slice(&value.encode(self.spec(), self.raw.value_len())?);
            if keys.len() >= MANY_BYTES {
                self.raw.update_many(&keys, &values, UpdateMode::Any)?;
                keys.clear();
                values.clear();
            }
        }
        self.raw.update_many(&keys, &values, UpdateMode::Any)
    }

    fn update(&self, key: &K, value: &V, mode: UpdateMode) -> Result<()> {
        let value = value.encode(self.spec(), self.raw.value_len())?;
        self.raw.update(key.as_bytes(), &value, mode)
    }
}

impl<K: FromBytes, V: MapValue> Map<K, V> {
    /// The entries, one after the other. Others may change the map meanwhile: [`RawEntries`] says what happens then.
    pub fn iter(&self) -> Entries<'_, K, V> {
        Entries {
            raw: self.raw.entries(),
            spec: self.spec(),
            types: PhantomData,
        }
    }

    /// All entries at once, by the batch where the engine can.
    ///
    /// # Errors
    ///
    /// If the engine refuses.
    pub fn entries(&self) -> Result<Vec<(K, V)>> {
        let mut entries = Vec::new();
        let mut wrong = Ok(());
        self.raw.visit(|key, value| {
            let entry =
                read(self.spec(), key).and_then(|key| Ok((key, V::decode(self.spec(), value)?)));
            match entry {
                Ok(entry) => entries.push(entry),
                Err(error) => {
                    wrong = Err(error);
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })?;
        wrong.map(|()| entries)
    }
}

impl<'a, K: FromBytes, V: MapValue> IntoIterator for &'a Map<K, V> {
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

impl<K: FromBytes, V: MapValue> Iterator for Entries<'_, K, V> {
    type Item = Result<(K, V)>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.raw.next()?;
        Some(
            entry.and_then(|(key, value)| {
                Ok((read(self.spec, &key)?, V::decode(self.spec, &value)?))
            }),
        )
    }
}

impl<K, V> fmt::Debug for Entries<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Entries").field(&self.raw).finish()
    }
}

/// Bytes of keys that are gathered before they are handed over.
const MANY_BYTES: usize = 1 << 18;

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

fn other_slots<V: MapValue>(spec: &MapSpec) -> Error {
    let has = match spec.kind.is_per_cpu() {
        true => "one value per CPU slot",
        false => "one value per key",
    };
    let (message, help) = (
        format!(
            "a map of type {} keeps {has}, `{}` is something else",
            spec.kind,
            std::any::type_name::<V>()
        ),
        "per-CPU values are `PerCpu<V>`",
    );
    let diagnosis = Diagnosis::new(Code::MAP_TYPE_SIZE, message);
    named(spec, diagnosis).help(help).into()
}
