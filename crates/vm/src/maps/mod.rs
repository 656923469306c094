//! Maps: the kernel's behaviour to the errno, values in the window, everything else outside.
//!
//! Keys, links and free lists live on the host's heap, where no program can reach them; only values lie in the window.
//! A [`VmMap`] is a caller's handle: cloning it shares the map, and the map goes when the last handle, the last program
//! and the last map of maps that hold it are gone. Programs hold the [`LiveMap`] inside it, so that a prog array can forget
//! its programs with the last caller's handle, as in the kernel; else programs that call each other would live forever.

mod absent;
mod arena;
mod array;
mod atomic;
mod bell;
mod bloom;
mod events;
mod hash;
mod holder;
mod key;
mod kind;
mod local;
mod owned;
mod producer;
mod queue;
mod ring;
mod table;
mod targets;
mod trie;
mod user_ring;

use std::any::Any;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use twinbpf_object::abi::MapFlags;
use twinbpf_object::{Errno, MapKind, MapSpec, ProgramKind, map_rules};
use twinbpf_shm::SharedBytes;

use crate::handles::Handles;
use crate::presence::Presence;
use crate::window::{ProgramAccess, Window};

use absent::Absent;
use array::Array;
use bloom::Bloom;
use hash::{Hash, Shape};
use holder::Holder;
use kind::{Behaviour, Writer};
use local::Local;
use queue::Queue;
use targets::{DeviceHash, Targets};
use trie::Trie;
use user_ring::UserRing;

pub(crate) use arena::Arena;
pub(crate) use events::Events;
pub(crate) use holder::{Element, Successor};
pub(crate) use kind::Source;
pub(crate) use owned::{Owned, Owner};
pub(crate) use ring::{Record, Ring};

/// Update flag: whether or not the key is there.
pub(crate) const ANY: u64 = 0;
/// Update flag: only if absent.
pub(crate) const NOEXIST: u64 = 1;
/// Update flag: only if present.
pub(crate) const EXIST: u64 = 2;
/// Update and lookup flag: under the spin lock in the value.
const LOCK: u64 = 4;

/// A map of a vm.
#[derive(Debug, Clone)]
pub struct VmMap(Arc<Held>, Presence);

/// What programs sent to one index of a perf event array.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TakenEvents {
    /// The records, oldest first.
    pub records: Vec<Box<[u8]>>,
    /// Records that did not fit since the last time.
    pub lost: u64,
}

/// What the callers' handles share.
#[derive(Debug)]
struct Held(LiveMap);

/// A map as programs and other maps hold it.
#[derive(Debug, Clone)]
pub(crate) struct LiveMap(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    spec: MapSpec,
    handle: u32,
    handles: Arc<Handles>,
    /// Bytes of a value as callers see it: of all CPU slots together.
    value_bytes: usize,
    /// Whether only programs may write it, from some moment on.
    is_frozen: AtomicBool,
    storage: Storage,
    /// Whether no caller holds it any more.
    is_released: AtomicBool,
}

/// What compiled code knows of a map.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MapLayout {
    /// The number that stands for the map.
    pub(crate) handle: u32,
    /// Whether a lookup answers the address of a value, and nothing else happens.
    pub(crate) has_values: bool,
    /// Whether programs write records into it.
    pub(crate) is_ring: bool,
    /// Where its values are, if it is an array: programs can find them on their own.
    pub(crate) array: Option<ArrayLayout>,
    /// Where compiled code finds its programs, if it is a prog array.
    pub(crate) programs: Option<ProgramsLayout>,
}

/// Where a prog array keeps what tail calls of compiled code need.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProgramsLayout {
    /// The host's address of the first pointer to a [`Successor`]; null pointers stand for absent programs.
    pub(crate) table: u64,
    pub(crate) entries: u32,
}

/// Where the values of an array are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ArrayLayout {
    /// The address of the first value.
    pub(crate) start: u32,
    /// Bytes from one index's value, or values, to the next one's.
    pub(crate) stride: u32,
    /// Bytes from one CPU slot's value to the next one's, if each has its own.
    pub(crate) cpu_stride: Option<u32>,
    pub(crate) entries: u32,
}

/// The set of kinds is closed.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one in each map, and records of rings must not take another step"
)]
#[derive(Debug)]
enum Storage {
    Array(Array),
    Hash(Hash),
    Holder(Holder),
    Ring(Ring),
    UserRing(UserRing),
    Queue(Queue),
    Trie(Trie),
    Bloom(Bloom),
    Events(Events),
    Targets(Targets),
    Devices(DeviceHash),
    Local(Local),
    Arena(Arena),
    Owned(Owned),
    Absent(Absent),
}

impl Storage {
    fn behaviour(&self) -> &dyn Behaviour {
        match self {
            Self::Array(array) => array,
            Self::Hash(hash) => hash,
            Self::Holder(holder) => holder,
            Self::Ring(ring) => ring,
            Self::UserRing(ring) => ring,
            Self::Queue(queue) => queue,
            Self::Trie(trie) => trie,
            Self::Bloom(bloom) => bloom,
            Self::Events(events) => events,
            Self::Targets(targets) => targets,
            Self::Devices(devices) => devices,
            Self::Local(local) => local,
            Self::Arena(arena) => arena,
            Self::Owned(owned) => owned,
            Self::Absent(absent) => absent,
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.handles.give_back(self.handle);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.0.is_released.store(true, Ordering::Relaxed);
        if self.0.0.spec.kind == MapKind::ProgArray
            && let Storage::Holder(holder) = &self.0.0.storage
        {
            holder.clear();
        }
    }
}

/// What creating a map takes beside its definition.
#[derive(Debug)]
pub(crate) struct Surroundings<'a> {
    pub(crate) window: &'a Arc<Window>,
    pub(crate) handles: &'a Arc<Handles>,
    pub(crate) cpu_slots: u32,
    /// What the maps inside look like.
    pub(crate) template: Option<MapSpec>,
}

impl VmMap {
    /// Creates a map whose attributes were checked.
    pub(crate) fn create(
        presence: Presence,
        around: &Surroundings<'_>,
        spec: &MapSpec,
    ) -> Result<Self, Errno> {
        let storage = storage(around, spec)?;
        let value_bytes = map_rules::value_bytes(spec.kind, spec.value_size, around.cpu_slots);
        let value_bytes = value_bytes.and_then(|bytes| usize::try_from(bytes).ok());
        let handle = around.handles.take().ok_or(Errno::ENFILE)?;
        let inner = Arc::new(Inner {
            spec: spec.clone(),
            handle,
            handles: Arc::clone(around.handles),
            value_bytes: value_bytes.ok_or(Errno::ENOMEM)?,
            is_frozen: AtomicBool::new(spec.is_frozen),
            storage,
            is_released: AtomicBool::new(false),
        });
        Ok(Self(Arc::new(Held(LiveMap(inner))), presence))
    }

    /// Writes the first value, under the key of zeros, before anybody else has the map; of an arena, its first bytes.
    pub(crate) fn begin(&self, value: &[u8]) -> Result<(), Errno> {
        if let Storage::Arena(arena) = &self.live().0.storage {
            let place = arena.part(0, value.len())?;
            return place.copy_in(0, value).ok_or(Errno::EFAULT);
        }
        let key = vec![0; usize::try_from(self.live().key_size()).unwrap_or_default()];
        self.live().check_sizes(key.len(), Some(value.len()))?;
        self.behaviour()
            .update(&key, Source::Bytes(value), ANY, Writer::Caller)
    }

    /// The map as programs hold it.
    pub(crate) fn live(&self) -> &LiveMap {
        &self.0.0
    }

    /// The definition it was created from.
    pub fn spec(&self) -> &MapSpec {
        self.live().spec()
    }

    /// Bytes of a value as lookups and updates take it: of all CPU slots together for per-CPU kinds, each rounded up to 8.
    pub fn value_bytes(&self) -> usize {
        self.live().0.value_bytes
    }

    /// Copies the value under `key` into `value`. Of maps that hold maps or programs, it is the number of the element.
    ///
    /// # Errors
    ///
    /// `ENOENT` if there is no such key, `EINVAL` if a size is wrong, `EPERM` if the map is write-only for callers.
    pub fn lookup(&self, key: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        self.live().allow(MapFlags::WRONLY)?;
        self.live().check_sizes(key.len(), Some(value.len()))?;
        match &self.live().0.storage {
            Storage::Array(array) => array.copy_out(key, value)?,
            Storage::Hash(hash) => hash.copy_out(key, value)?,
            other => other.behaviour().copy_out(key, value)?,
        }
        self.live().hide(value);
        Ok(())
    }

    /// Writes a value under `key`. `flags`: 0 create or replace, 1 only if absent, 2 only if present.
    ///
    /// # Errors
    ///
    /// As `bpf(2)`: `EEXIST`, `ENOENT`, `E2BIG` (full, or an index out of range), `EINVAL`, `EPERM`.
    pub fn update(&self, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        self.live().allow_writing()?;
        self.live().check_sizes(key.len(), Some(value.len()))?;
        // KERNEL: whatever the kind, the flag needs a spin lock in the value, and callers' values have none (6.18).
        if flags & LOCK != 0 {
            return Err(Errno::EINVAL);
        }
        let (value, writer) = (Source::Bytes(value), Writer::Caller);
        match &self.live().0.storage {
            Storage::Array(array) => array.update(key, value, flags, writer),
            Storage::Hash(hash) => hash.update(key, value, flags, writer),
            other => other.behaviour().update(key, value, flags, writer),
        }
    }

    /// Removes a key.
    ///
    /// # Errors
    ///
    /// `ENOENT` if there is no such key, `EINVAL` for kinds whose entries cannot be removed, `EPERM`.
    pub fn delete(&self, key: &[u8]) -> Result<(), Errno> {
        self.live().allow_writing()?;
        self.live().check_sizes(key.len(), None)?;
        self.behaviour().delete(key)
    }

    /// As [`lookup`](Self::lookup), with the kernel's flags.
    ///
    /// # Errors
    ///
    /// As [`lookup`](Self::lookup); `EINVAL` for every flag: values have no spin locks that callers could take.
    pub fn lookup_with(&self, key: &[u8], value: &mut [u8], flags: u64) -> Result<(), Errno> {
        if flags & !LOCK != 0 {
            return Err(Errno::EINVAL);
        }
        self.live().allow(MapFlags::WRONLY)?;
        if flags != 0 {
            return Err(Errno::EINVAL);
        }
        self.lookup(key, value)
    }

    /// Copies the value under `key` into `value` and removes the key, in one step; of a queue or stack, takes the next element.
    ///
    /// # Errors
    ///
    /// `ENOENT` if there is no such key, `EINVAL` if a size is wrong or for every flag, `ENOTSUPP` for kinds without this,
    /// `EPERM`.
    pub fn take(&self, key: &[u8], value: &mut [u8], flags: u64) -> Result<(), Errno> {
        if flags & !LOCK != 0 {
            return Err(Errno::EINVAL);
        }
        self.live().allow_writing()?;
        self.live().allow(MapFlags::WRONLY)?;
        self.live().check_sizes(key.len(), Some(value.len()))?;
        if flags != 0 {
            return Err(Errno::EINVAL);
        }
        self.behaviour().take(key, value)?;
        self.live().hide(value);
        Ok(())
    }

    /// Forbids callers to write the map from now on; programs still may.
    ///
    /// # Errors
    ///
    /// `EPERM` if callers may not write it anyway, `EBUSY` for arenas.
    pub fn freeze(&self) -> Result<(), Errno> {
        // KERNEL: freezing is for those who may write, so a second time is EPERM (6.18).
        self.live().allow_writing()?;
        // KERNEL: what is mapped for writing cannot be frozen (6.18); callers have arenas so.
        if self.live().arena().is_some() {
            return Err(Errno::EBUSY);
        }
        self.live().0.is_frozen.store(true, Ordering::Release);
        Ok(())
    }

    /// Whether callers may not write it any more.
    pub fn is_frozen(&self) -> bool {
        self.live().is_frozen()
    }

    /// Puts a map into a map of maps.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the map does not look like the template, is of another vm, or this is no map of maps; else as [`VmMap::update`].
    pub fn insert_map(&self, key: &[u8], map: &Self, flags: u64) -> Result<(), Errno> {
        if !map.is_of(&self.live().0.handles) {
            return Err(Errno::EINVAL);
        }
        self.insert(key, Element::Map(map.live().clone()), flags)
    }

    /// Puts an element into a map that holds maps or programs.
    pub(crate) fn insert(&self, key: &[u8], element: Element, flags: u64) -> Result<(), Errno> {
        self.live().allow_writing()?;
        self.live().check_sizes(key.len(), None)?;
        match (&self.live().0.storage, &element, self.spec().kind) {
            (Storage::Holder(holder), Element::Program { .. }, MapKind::ProgArray)
            | (
                Storage::Holder(holder),
                Element::Map(_),
                MapKind::ArrayOfMaps | MapKind::HashOfMaps,
            ) => holder.put(key, element, flags),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Hands the records of a ring buffer that are ready to `use_record`, at most `most` and until it answers false. The answer is how
    /// many there were.
    ///
    /// # Errors
    ///
    /// `EINVAL` if this is no ring buffer.
    pub fn drain_ring(
        &self,
        most: usize,
        use_record: impl FnMut(&[u8]) -> bool,
    ) -> Result<usize, Errno> {
        let ring = self.live().ring().ok_or(Errno::EINVAL)?;
        Ok(ring.drain(most, use_record))
    }

    /// Waits until a ring buffer has a record, at most for `timeout`; whether there is one.
    ///
    /// # Errors
    ///
    /// `EINVAL` if this is no ring buffer.
    pub fn wait_for_ring(&self, timeout: Duration) -> Result<bool, Errno> {
        let ring = self.live().ring().ok_or(Errno::EINVAL)?;
        Ok(ring.wait(timeout))
    }

    /// A descriptor to wait on with others, readable when a reader of this ring buffer or perf event array is to look; made when it is
    /// first asked for. Taking out what is there makes it unreadable again.
    ///
    /// # Errors
    ///
    /// `EINVAL` if this is neither, or that no descriptor can be opened.
    pub fn records_descriptor(&self) -> Result<BorrowedFd<'_>, Errno> {
        let live = self.live();
        match (live.ring(), live.events()) {
            (Some(ring), _) => ring.descriptor(),
            (_, Some(events)) => events.descriptor(),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Whether a record of `len` bytes fits a user ring buffer now.
    ///
    /// # Errors
    ///
    /// `E2BIG` if it never will, `EINVAL` if this is no user ring buffer.
    pub fn has_room(&self, len: usize) -> Result<bool, Errno> {
        let ring = self.live().user_ring().ok_or(Errno::EINVAL)?;
        ring.has_room(len)
    }

    /// Sends a record to programs through a user ring buffer; false if it is full now.
    ///
    /// # Errors
    ///
    /// `E2BIG` if the record never fits, `EINVAL` if this is no user ring buffer.
    pub fn send(&self, record: &[u8]) -> Result<bool, Errno> {
        let ring = self.live().user_ring().ok_or(Errno::EINVAL)?;
        ring.push(record)
    }

    /// Begins to keep what programs send to `index` of a perf event array, up to `room_bytes` at a time.
    ///
    /// # Errors
    ///
    /// `E2BIG` if the index is out of range, `EINVAL` if this is no perf event array.
    pub fn open_events(&self, index: u32, room_bytes: usize) -> Result<(), Errno> {
        let events = self.live().events().ok_or(Errno::EINVAL)?;
        events.open(index, room_bytes)
    }

    /// Takes out what programs sent to `index` of a perf event array, and how many were lost since the last time.
    ///
    /// # Errors
    ///
    /// `EINVAL` if this is no perf event array.
    pub fn take_events(&self, index: u32) -> Result<TakenEvents, Errno> {
        let events = self.live().events().ok_or(Errno::EINVAL)?;
        let (records, lost) = events.take(index);
        Ok(TakenEvents { records, lost })
    }

    /// Copies a part of an array's first value into `bytes`: a global variable.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the part does not lie in the value or the map is no array, `EPERM` if it is write-only for callers.
    pub fn read_part(&self, offset: usize, bytes: &mut [u8]) -> Result<(), Errno> {
        self.live().allow(MapFlags::WRONLY)?;
        self.part(offset, bytes.len())?
            .copy_out(0, bytes)
            .ok_or(Errno::EINVAL)
    }

    /// Writes a part of an array's first value and leaves the rest alone: a global variable.
    ///
    /// # Errors
    ///
    /// `EPERM` if the map is frozen, `EINVAL` if the part does not lie in the value or the map is no array.
    pub fn write_part(&self, offset: usize, bytes: &[u8]) -> Result<(), Errno> {
        self.live().allow_writing()?;
        self.part(offset, bytes.len())?
            .copy_in(0, bytes)
            .ok_or(Errno::EINVAL)
    }

    fn part(&self, offset: usize, len: usize) -> Result<SharedBytes, Errno> {
        match &self.live().0.storage {
            Storage::Array(array) => array.part(offset, len).ok_or(Errno::EINVAL),
            Storage::Arena(arena) => arena.part(offset, len),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Writes the key after `key` into `next`; the first one if `key` is `None` or not in the map.
    ///
    /// # Errors
    ///
    /// `ENOENT` after the last key, `EINVAL` if a size is wrong, `EPERM` if the map is write-only for callers.
    pub fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<(), Errno> {
        self.live().allow(MapFlags::WRONLY)?;
        self.live()
            .check_sizes(key.map_or(next.len(), <[u8]>::len), None)?;
        self.live().check_sizes(next.len(), None)?;
        self.behaviour().next_key(key, next)
    }

    /// Whether the map belongs to the vm with these handles.
    pub(crate) fn is_of(&self, handles: &Arc<Handles>) -> bool {
        Arc::ptr_eq(&self.live().0.handles, handles)
    }

    fn behaviour(&self) -> &dyn Behaviour {
        self.live().0.storage.behaviour()
    }
}

impl LiveMap {
    /// Clears what callers may not see, in the values of all CPUs.
    fn hide(&self, value: &mut [u8]) {
        let special = &self.spec().special;
        if special.is_empty() {
            return;
        }
        let size = usize::try_from(self.value_size()).unwrap_or(usize::MAX);
        for value in value.chunks_mut(size.max(1).next_multiple_of(8)) {
            for field in special {
                let end = field.offset.saturating_add(field.size);
                let place = usize::try_from(field.offset)
                    .ok()
                    .zip(usize::try_from(end).ok());
                let place = place.and_then(|(start, end)| value.get_mut(start..end));
                if let Some(place) = place {
                    place.fill(0);
                }
            }
        }
    }

    /// What compiled code may know of the map: it holds as long as the map lives.
    pub(crate) fn layout(&self) -> MapLayout {
        MapLayout {
            handle: self.handle(),
            has_values: !self.holds_maps(),
            array: match &self.0.storage {
                Storage::Array(array) => array.layout(),
                _ => None,
            },
            is_ring: matches!(self.0.storage, Storage::Ring(_)),
            programs: match &self.0.storage {
                Storage::Holder(holder) => holder.layout(),
                _ => None,
            },
        }
    }

    /// The definition it was created from.
    pub(crate) fn spec(&self) -> &MapSpec {
        &self.0.spec
    }

    /// The number that stands for the map in programs.
    pub(crate) fn handle(&self) -> u32 {
        self.0.handle
    }

    /// Bytes of a key.
    pub(crate) fn key_size(&self) -> u32 {
        self.0.spec.key_size
    }

    /// Bytes of a value, of one CPU slot.
    pub(crate) fn value_size(&self) -> u32 {
        self.0.spec.value_size
    }

    /// The address of the first value of an array: where globals live.
    pub(crate) fn first_value(&self) -> Option<u32> {
        match &self.0.storage {
            Storage::Array(array) => Some(array.first_value()),
            _ => None,
        }
    }

    /// The arena, if it is one.
    pub(crate) fn arena(&self) -> Option<&Arena> {
        match &self.0.storage {
            Storage::Arena(arena) => Some(arena),
            _ => None,
        }
    }

    /// The address of the value under the key in `key`, for a program on this CPU slot; `None` if there is none.
    #[inline]
    pub(crate) fn lookup_address(&self, key: SharedBytes, cpu: u32) -> Option<u32> {
        match &self.0.storage {
            Storage::Array(array) => array.address(key, cpu),
            Storage::Hash(hash) => hash.address(key, cpu),
            other => other.behaviour().address(key, cpu),
        }
    }

    /// The map under the key, if this is a map of maps.
    pub(crate) fn lookup_map(&self, key: SharedBytes) -> Option<LiveMap> {
        match &self.0.storage {
            Storage::Holder(holder) => holder.inner(key),
            _ => None,
        }
    }

    /// Whether its elements are maps.
    pub(crate) fn holds_maps(&self) -> bool {
        matches!(self.0.spec.kind, MapKind::ArrayOfMaps | MapKind::HashOfMaps)
    }

    /// The program at this index of a prog array.
    pub(crate) fn program_at(&self, index: u32) -> Option<Arc<dyn Any + Send + Sync>> {
        let Storage::Holder(holder) = &self.0.storage else {
            return None;
        };
        match holder.get(&index.to_ne_bytes())? {
            Element::Program { target, .. } => Some(Arc::clone(&target.program)),
            Element::Map(_) => None,
        }
    }

    /// Whether programs of this kind may be in it, or use it, if it is a prog array.
    pub(crate) fn admits(&self, kind: ProgramKind) -> bool {
        match &self.0.storage {
            Storage::Holder(holder) => holder.admits(kind),
            _ => true,
        }
    }

    /// The address of the value of a storage for this CPU slot.
    pub(crate) fn local_address(&self, cpu: u32) -> Option<u32> {
        match &self.0.storage {
            Storage::Local(local) => local.address(cpu),
            _ => None,
        }
    }

    /// The storage of something of the host's, if it is one.
    pub(crate) fn owned(&self) -> Option<&Owned> {
        match &self.0.storage {
            Storage::Owned(owned) => Some(owned),
            _ => None,
        }
    }

    /// Zeroes the value of a storage; that of a test run's socket goes with the socket.
    pub(crate) fn renew(&self) {
        match &self.0.storage {
            Storage::Local(local) => local.renew(),
            Storage::Owned(owned) => {
                // There may be none.
                let _ = owned.remove(Owner::TestSocket);
            }
            _ => {}
        }
    }

    /// Whether the map has a value under a key.
    pub(crate) fn has_key(&self, key: &[u8]) -> bool {
        let mut value = vec![0; self.0.value_bytes];
        self.check_sizes(key.len(), None).is_ok()
            && self.0.storage.behaviour().copy_out(key, &mut value).is_ok()
    }

    /// The ring buffer, if it is one that programs write.
    pub(crate) fn ring(&self) -> Option<&Ring> {
        match &self.0.storage {
            Storage::Ring(ring) => Some(ring),
            _ => None,
        }
    }

    /// The ring buffer, if it is one that programs take records out of.
    pub(crate) fn user_ring(&self) -> Option<&UserRing> {
        match &self.0.storage {
            Storage::UserRing(ring) => Some(ring),
            _ => None,
        }
    }

    /// The perf event array, if it is one.
    pub(crate) fn events(&self) -> Option<&Events> {
        match &self.0.storage {
            Storage::Events(events) => Some(events),
            _ => None,
        }
    }

    /// Keys and value addresses of all elements of a hash; `None` for other kinds.
    pub(crate) fn snapshot(&self, cpu: u32) -> Option<Vec<(Vec<u8>, u32)>> {
        match &self.0.storage {
            Storage::Hash(hash) => Some(hash.snapshot(cpu)),
            _ => None,
        }
    }

    /// Key and value address of the element in whose value this address lies.
    pub(crate) fn element_at(&self, address: u32) -> Option<(Vec<u8>, u32)> {
        match &self.0.storage {
            Storage::Array(array) => array.element_at(address),
            Storage::Hash(hash) => hash.element_at(address),
            _ => None,
        }
    }

    /// Whether no caller holds the map any more.
    pub(crate) fn is_released(&self) -> bool {
        self.0.is_released.load(Ordering::Relaxed)
    }

    /// The address of the value at this index of an array.
    pub(crate) fn address_at(&self, index: u32, cpu: u32) -> Option<u32> {
        match &self.0.storage {
            Storage::Array(array) => array.address_at(index, cpu),
            _ => None,
        }
    }

    /// An update by a program.
    #[inline]
    pub(crate) fn update_from_window(
        &self,
        (key, value): (SharedBytes, SharedBytes),
        flags: u64,
        cpu: u32,
    ) -> Result<(), Errno> {
        self.allow_program_writing()?;
        if let Storage::Hash(hash) = &self.0.storage {
            return hash.update_from_window((key, value), flags, cpu);
        }
        let key = key::Copied::new(key).ok_or(Errno::EFAULT)?;
        let (value, writer) = (Source::Window(value), Writer::Program { cpu });
        match &self.0.storage {
            Storage::Array(array) => array.update(key.bytes(), value, flags, writer),
            other => other.behaviour().update(key.bytes(), value, flags, writer),
        }
    }

    /// A removal by a program.
    pub(crate) fn delete_from_window(&self, key: SharedBytes) -> Result<(), Errno> {
        self.allow_program_writing()?;
        let key = key::Copied::new(key).ok_or(Errno::EFAULT)?;
        self.0.storage.behaviour().delete(key.bytes())
    }

    /// Adds an element to a queue, stack or bloom filter.
    pub(crate) fn push(&self, value: Source<'_>, flags: u64) -> Result<(), Errno> {
        self.allow_program_writing()?;
        match &self.0.storage {
            Storage::Queue(queue) => queue.push(value, flags),
            Storage::Bloom(bloom) => bloom.push(value, flags),
            _ => Err(Errno::EOPNOTSUPP),
        }
    }

    /// Hands the next element of a queue or stack out, removing it if asked to.
    pub(crate) fn pop(
        &self,
        is_removed: bool,
        use_value: impl FnOnce(&[u8]) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        match &self.0.storage {
            Storage::Queue(queue) => queue.take(is_removed, use_value),
            _ => Err(Errno::ENOTSUPP),
        }
    }

    /// Whether a bloom filter may have a value; `None` if it is none.
    pub(crate) fn bloom_peek(&self, value: &[u8]) -> Option<Result<(), Errno>> {
        match &self.0.storage {
            Storage::Bloom(bloom) => Some(bloom.peek(value)),
            _ => None,
        }
    }

    /// KERNEL: a map created with `BPF_F_RDONLY` or `BPF_F_WRONLY` answers EPERM before anything else is looked at (6.18).
    fn allow(&self, forbidding: MapFlags) -> Result<(), Errno> {
        if self.0.spec.flags.contains(forbidding) {
            Err(Errno::EPERM)
        } else {
            Ok(())
        }
    }

    /// Whether callers may not write it any more.
    pub(crate) fn is_frozen(&self) -> bool {
        self.0.is_frozen.load(Ordering::Acquire)
    }

    /// KERNEL: a frozen map answers as one created with `BPF_F_RDONLY` (6.18).
    fn allow_writing(&self) -> Result<(), Errno> {
        if self.is_frozen() {
            return Err(Errno::EPERM);
        }
        self.allow(MapFlags::RDONLY)
    }

    /// KERNEL: the verifier refuses a program that writes such a map (6.18); the sandbox answers when it happens.
    fn allow_program_writing(&self) -> Result<(), Errno> {
        self.allow(MapFlags::RDONLY_PROG)
    }

    fn check_sizes(&self, key: usize, value: Option<usize>) -> Result<(), Errno> {
        let is_right = u32::try_from(key).is_ok_and(|len| len == self.key_size())
            && value.is_none_or(|len| len == self.0.value_bytes);
        if is_right { Ok(()) } else { Err(Errno::EINVAL) }
    }
}

/// The storage of a kind that the vm has.
fn storage(around: &Surroundings<'_>, spec: &MapSpec) -> Result<Storage, Errno> {
    let (window, cpus) = (around.window, around.cpu_slots);
    let hash = |cpus, is_lru| {
        let shape = Shape {
            cpus,
            spare: around.cpu_slots,
            is_lru,
        };
        Hash::new(window, spec, shape).map(Storage::Hash)
    };
    match spec.kind {
        MapKind::Array => Array::new(window, spec, 1).map(Storage::Array),
        MapKind::PerCpuArray => Array::new(window, spec, cpus).map(Storage::Array),
        MapKind::Hash => hash(1, false),
        MapKind::DevMapHash => match hash(1, false)? {
            Storage::Hash(hash) => Ok(Storage::Devices(DeviceHash::new(hash))),
            other => Ok(other),
        },
        MapKind::PerCpuHash => hash(cpus, false),
        MapKind::LruHash => hash(1, true),
        MapKind::LruPerCpuHash => hash(cpus, true),
        MapKind::ProgArray => Holder::new(window, spec, None).map(Storage::Holder),
        MapKind::ArrayOfMaps | MapKind::HashOfMaps => {
            let template = around.template.clone().ok_or(Errno::EINVAL)?;
            Holder::new(window, spec, Some(template)).map(Storage::Holder)
        }
        MapKind::RingBuf => Ring::new(window, spec).map(Storage::Ring),
        MapKind::UserRingBuf => UserRing::new(window, spec).map(Storage::UserRing),
        MapKind::Queue => Queue::new(spec, false).map(Storage::Queue),
        MapKind::Stack => Queue::new(spec, true).map(Storage::Queue),
        MapKind::LpmTrie => Trie::new(window, spec, cpus).map(Storage::Trie),
        MapKind::BloomFilter => Bloom::new(spec).map(Storage::Bloom),
        MapKind::PerfEventArray => Ok(Storage::Events(Events::new(spec))),
        MapKind::CgroupStorage => Local::new(window, spec, 1).map(Storage::Local),
        MapKind::PerCpuCgroupStorage => Local::new(window, spec, cpus).map(Storage::Local),
        MapKind::Arena => Arena::new(window, spec).map(Storage::Arena),
        MapKind::TaskStorage
        | MapKind::SkStorage
        | MapKind::InodeStorage
        | MapKind::CgrpStorage => Owned::new(window, spec).map(Storage::Owned),
        MapKind::XskMap
        | MapKind::SockMap
        | MapKind::SockHash
        | MapKind::ReuseportSockArray
        | MapKind::CgroupArray
        | MapKind::StackTrace => Ok(Storage::Absent(Absent::new(spec))),
        MapKind::DevMap | MapKind::CpuMap => Targets::new(window, spec).map(Storage::Targets),
        _ => Err(Errno::ENOTSUPP),
    }
}

/// What programs may do with a map's values.
fn program_access(spec: &MapSpec) -> ProgramAccess {
    if spec.flags.contains(MapFlags::RDONLY_PROG) {
        ProgramAccess::ReadOnly
    } else if spec.flags.contains(MapFlags::WRONLY_PROG) {
        ProgramAccess::WriteOnly
    } else {
        ProgramAccess::ReadWrite
    }
}

/// Bytes from one value to the next: a multiple of 8, as in the kernel.
fn stride(spec: &MapSpec) -> Result<u64, Errno> {
    u64::from(spec.value_size)
        .checked_next_multiple_of(8)
        .filter(|stride| *stride > 0)
        .ok_or(Errno::EINVAL)
}

/// Offset of a slot's value, and its address for programs.
fn offset_of(slot: u32, stride: u64) -> usize {
    // A slot lies within an extent, which lies within the window, so the product fits.
    usize::try_from(u64::from(slot) * stride).unwrap_or(usize::MAX)
}
