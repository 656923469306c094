//! Maps whose elements are maps or programs, by index or by key.
//!
//! An element is held alive by its map. A run that looks a map up holds it too, until the run ends. What callers read back
//! is the number that stands for the element in this vm, as the kernel gives its identifier.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use twinbpf_object::abi::MapFlags;
use twinbpf_object::{Errno, MapKind, MapSpec, ProgramKind};
use twinbpf_shm::SharedBytes;

use super::array::next_index;
use super::key::Copied;
use super::kind::{Behaviour, Source, Writer};
use super::table::zeroed;
use super::{ANY, EXIST, LiveMap, NOEXIST, ProgramsLayout};
use crate::window::Window;

/// Something a map can hold.
#[derive(Debug, Clone)]
pub(crate) enum Element {
    Map(LiveMap),
    Program { number: u32, target: Arc<Successor> },
}

/// A program that can be called in another's place, as compiled code finds it.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Successor {
    /// Where its machine code begins. First, because compiled code jumps through this address.
    entry: AtomicPtr<u8>,
    /// The program; its type is known further up.
    pub(crate) program: Arc<dyn Any + Send + Sync>,
}

impl Successor {
    /// `entry`: null if the program is not compiled.
    pub(crate) fn new(entry: *mut u8, program: Arc<dyn Any + Send + Sync>) -> Self {
        Self {
            entry: AtomicPtr::new(entry),
            program,
        }
    }
}

impl Element {
    fn number(&self) -> u32 {
        match self {
            Self::Map(map) => map.handle(),
            Self::Program { number, .. } => *number,
        }
    }
}

#[derive(Debug)]
pub(super) struct Holder {
    max_entries: u32,
    is_by_index: bool,
    /// What the maps inside look like; `None` if programs are inside.
    template: Option<MapSpec>,
    /// The kind that all programs inside and around have.
    program_kind: OnceLock<ProgramKind>,
    elements: RwLock<BTreeMap<Box<[u8]>, Element>>,
    /// For compiled code: the target at each index, or null. Empty unless programs are inside.
    ///
    /// INVARIANT: what is pointed to is among the elements, or was taken out of them and is buried in the window, so that it lives
    /// as long as a run that can have found it. Only compiled programs are pointed to; a vm compiles all programs or none.
    targets: Box<[AtomicPtr<Successor>]>,
    window: Arc<Window>,
}

impl Holder {
    pub(super) fn new(
        window: &Arc<Window>,
        spec: &MapSpec,
        template: Option<MapSpec>,
    ) -> Result<Self, Errno> {
        let targets = match template {
            None => usize::try_from(spec.max_entries).map_err(|_| Errno::ENOMEM)?,
            Some(_) => 0,
        };
        Ok(Self {
            max_entries: spec.max_entries,
            is_by_index: spec.kind != MapKind::HashOfMaps,
            template,
            program_kind: OnceLock::new(),
            elements: RwLock::default(),
            targets: zeroed(targets)?,
            window: Arc::clone(window),
        })
    }

    /// Where compiled code finds the programs; `None` if there are none inside, or too many for it.
    pub(super) fn layout(&self) -> Option<ProgramsLayout> {
        let entries = u32::try_from(self.targets.len()).ok()?;
        (entries > 0 && i32::try_from(entries).is_ok()).then(|| ProgramsLayout {
            table: self.targets.as_ptr().addr() as u64,
            entries,
        })
    }

    /// KERNEL: the first program that is put in, or that uses the map, decides the kind of all others (6.18).
    pub(super) fn admits(&self, kind: ProgramKind) -> bool {
        self.template.is_some() || *self.program_kind.get_or_init(|| kind) == kind
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<Element> {
        self.read().get(key).cloned()
    }

    pub(super) fn put(&self, key: &[u8], element: Element, flags: u64) -> Result<(), Errno> {
        if self.is_by_index && flags != ANY {
            return Err(Errno::EINVAL);
        }
        if flags > EXIST {
            return Err(Errno::EINVAL);
        }
        self.check_index(key)?;
        if let (Element::Map(map), Some(template)) = (&element, &self.template)
            && !is_alike(map.spec(), template)
        {
            return Err(Errno::EINVAL);
        }
        let mut elements = self.write();
        let is_full = usize::try_from(self.max_entries).is_ok_and(|most| elements.len() >= most);
        match (elements.contains_key(key), flags) {
            (true, NOEXIST) => return Err(Errno::EEXIST),
            (false, EXIST) => return Err(Errno::ENOENT),
            (false, _) if is_full => return Err(Errno::E2BIG),
            _ => {}
        }
        self.point_to(key, &element);
        let replaced = elements.insert(key.into(), element);
        // Dropping the last holder of a map may take this lock elsewhere.
        drop(elements);
        replaced.into_iter().for_each(|element| self.bury(element));
        Ok(())
    }

    pub(super) fn clear(&self) {
        let mut elements = self.write();
        for key in elements.keys() {
            self.point_nowhere(key);
        }
        let taken = std::mem::take(&mut *elements);
        drop(elements);
        taken.into_values().for_each(|element| self.bury(element));
    }

    /// Lets compiled code find a program from now on.
    fn point_to(&self, key: &[u8], element: &Element) {
        let (Element::Program { target, .. }, Some(place)) = (element, self.place(key)) else {
            return;
        };
        let is_compiled = !target.entry.load(Ordering::Relaxed).is_null();
        let pointer = match is_compiled {
            true => Arc::as_ptr(target).cast_mut(),
            false => std::ptr::null_mut(),
        };
        place.store(pointer, Ordering::Release);
    }

    fn point_nowhere(&self, key: &[u8]) {
        if let Some(place) = self.place(key) {
            place.store(std::ptr::null_mut(), Ordering::Release);
        }
    }

    fn place(&self, key: &[u8]) -> Option<&AtomicPtr<Successor>> {
        let index = super::array::index(key).ok()?;
        self.targets.get(index as usize)
    }

    /// Gives up an element that is not pointed to any more.
    fn bury(&self, element: Element) {
        match element {
            Element::Program { target, .. } => self.window.drop_when_unused(target),
            Element::Map(map) => drop(map),
        }
    }

    fn check_index(&self, key: &[u8]) -> Result<(), Errno> {
        if self.is_by_index && super::array::index(key)? >= self.max_entries {
            return Err(Errno::E2BIG);
        }
        Ok(())
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<Box<[u8]>, Element>> {
        self.elements.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<Box<[u8]>, Element>> {
        self.elements
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The map under the key, for a program.
    pub(super) fn inner(&self, key: SharedBytes) -> Option<LiveMap> {
        match self.get(Copied::new(key)?.bytes())? {
            Element::Map(map) => Some(map),
            Element::Program { .. } => None,
        }
    }
}

/// Whether a map may stand where the template says. KERNEL: kind, sizes and flags agree, and of arrays the number of entries
/// too unless `BPF_F_INNER_MAP` is among the flags (6.18).
fn is_alike(map: &MapSpec, template: &MapSpec) -> bool {
    let counts = map.kind == MapKind::Array && !template.flags.contains(MapFlags::INNER_MAP);
    map.kind == template.kind
        && map.key_size == template.key_size
        && map.value_size == template.value_size
        && map.flags == template.flags
        && (!counts || map.max_entries == template.max_entries)
}

impl Behaviour for Holder {
    fn copy_out(&self, key: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        let element = self.get(key).ok_or(Errno::ENOENT)?;
        value.copy_from_slice(&element.number().to_ne_bytes());
        Ok(())
    }

    /// KERNEL: the value is a file descriptor there; here elements go in through `insert_map` and `insert_program`.
    fn update(&self, key: &[u8], _: Source<'_>, flags: u64, _: Writer) -> Result<(), Errno> {
        if self.is_by_index && flags != ANY {
            return Err(Errno::EINVAL);
        }
        self.check_index(key)?;
        Err(Errno::EBADF)
    }

    fn delete(&self, key: &[u8]) -> Result<(), Errno> {
        self.check_index(key)?;
        let mut elements = self.write();
        let removed = elements.remove(key).ok_or(Errno::ENOENT)?;
        self.point_nowhere(key);
        drop(elements);
        self.bury(removed);
        Ok(())
    }

    fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<(), Errno> {
        if self.is_by_index {
            return next_index(key, next, self.max_entries);
        }
        let elements = self.read();
        let known = key.filter(|key| elements.contains_key(*key));
        let following = match known {
            Some(key) => elements
                .range::<[u8], _>((std::ops::Bound::Excluded(key), std::ops::Bound::Unbounded))
                .next(),
            None => elements.iter().next(),
        };
        let (key, _) = following.ok_or(Errno::ENOENT)?;
        next.copy_from_slice(key);
        Ok(())
    }
}
