//! Maps in the kernel.
//!
//! Operations answer the kernel's own error numbers; the key and value slices must have the map's sizes, else the answer
//! is `EINVAL` and the kernel is not asked. Creation answers a whole diagnosis (`map_error.rs`), because the kernel's number
//! alone says almost nothing there.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, OnceLock};

use twinbpf_object::abi::MapFlags;
use twinbpf_object::btf::TypeId;
use twinbpf_object::map_rules;
use twinbpf_object::spec::{InnerMap, MapOrigin, MapTypes};
use twinbpf_object::{Code, Diagnosis, Errno, Error, MapKind, MapSpec, Result};

use crate::attr::{MapCreate, TOKEN_FD, fd_number, kernel_name, name_text};
use crate::btf::KernelBtf;
use crate::fd_info::FdInfo;
use crate::map_fd::{BatchCursor, BatchFound, MapFd};
use crate::mapped::MappedValue;
use crate::{host, map_error, map_fd};

/// A map that exists in the kernel. Clones are the same map; it goes when the last holder goes.
#[derive(Debug, Clone)]
pub struct KernelMap {
    fd: Arc<MapFd>,
    spec: Arc<MapSpec>,
    /// Made when a variable is first used.
    mapped: Arc<OnceLock<Result<MappedValue, Errno>>>,
}

/// What a map is created with.
#[derive(Debug, Clone, Copy, Default)]
pub struct MapContext<'a> {
    /// The template of the maps inside, where the definition names another map of its object.
    pub inner: Option<&'a KernelMap>,
    /// The object's types, in which [`MapSpec::types`] are numbers.
    pub types: Option<&'a KernelBtf>,
    /// Stands for privileges the process does not have (a BPF token).
    pub token: Option<BorrowedFd<'a>>,
}

/// What the kernel says about a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelMapInfo {
    /// The number by which other processes can ask for it.
    pub id: u32,
    /// The name, as the kernel kept it.
    pub name: String,
    /// How it stores and finds.
    pub kind: MapKind,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value (of one CPU's value for per-CPU kinds).
    pub value_size: u32,
    /// Most entries it can hold.
    pub max_entries: u32,
    /// Flags it was created with.
    pub flags: MapFlags,
    /// Attribute `map_extra`.
    pub extra: u64,
    /// Whether it knows what its keys or values are.
    pub has_types: bool,
    /// What its keys and values are, as numbers in the types with the number `types_id`.
    pub types: MapTypes,
    /// The number of these types in the kernel; 0 without types.
    pub types_id: u32,
    /// The type of a value among the kernel's own, for tables of functions; 0 for others.
    pub kernel_value_type: u32,
    /// The interface it belongs to, if it was made for one (offload).
    pub interface: u32,
    /// Bytes of memory that it takes, as far as the kernel says.
    pub memory_bytes: Option<u64>,
    /// Whether only programs may write it.
    pub is_frozen: bool,
    /// The type of the program that owns it and whether that was compiled, of a prog array in use.
    pub owner: Option<(u32, bool)>,
}

impl KernelMap {
    /// Creates a map. A map of maps whose template is a definition gets it from there.
    ///
    /// # Errors
    ///
    /// A diagnosis that names the attribute and rule, the missing capability, or the amount of memory.
    pub fn create(spec: &MapSpec) -> Result<Self> {
        Self::create_with(spec, &MapContext::default())
    }

    /// Creates a map with everything that can go with it.
    ///
    /// # Errors
    ///
    /// As [`KernelMap::create`].
    pub fn create_with(spec: &MapSpec, context: &MapContext<'_>) -> Result<Self> {
        match &spec.inner {
            None => Self::create_one(spec, context),
            Some(InnerMap::Spec(template)) => {
                let template = Self::create_with(template, context).map_err(|error| {
                    error.while_doing("creating the template of its inner maps")
                })?;
                let inner = Some(&template);
                Self::create_one(spec, &MapContext { inner, ..*context })
            }
            Some(InnerMap::Map(_)) if context.inner.is_some() => Self::create_one(spec, context),
            Some(InnerMap::Map(index)) => Err(Diagnosis::new(
                Code::MAP_INVALID,
                format!(
                    "its inner maps are like map {} of the object, which was not handed over",
                    index.0
                ),
            )
            .in_map(&spec.name)
            .help("create that map first and hand it over as `inner`")
            .into()),
        }
    }

    /// Creates a map without a name and without flags, in one line.
    ///
    /// # Errors
    ///
    /// As [`KernelMap::create`].
    pub fn create_new(
        kind: MapKind,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
    ) -> Result<Self> {
        Self::create(&MapSpec::new("", kind, key_size, value_size, max_entries))
    }

    /// The definition it was created from.
    pub fn spec(&self) -> &MapSpec {
        &self.spec
    }

    /// Bytes of a key.
    pub fn key_bytes(&self) -> usize {
        self.fd.key_bytes()
    }

    /// Bytes of a value buffer: for per-CPU kinds, every possible CPU's value, each rounded up to 8 bytes.
    pub fn value_bytes(&self) -> usize {
        self.fd.value_bytes()
    }

    /// Copies the value of `key` into `value`.
    ///
    /// # Errors
    ///
    /// The kernel's number: `ENOENT` if the key is absent. `EINVAL` if a slice has the wrong length.
    pub fn lookup(&self, key: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        self.fd.lookup(key, value, 0)
    }

    /// Copies the value of `key` into `value`, as `flags` say (`BPF_F_LOCK` 4: under the spin lock in it). A bloom filter is
    /// asked whether it may have `value`.
    ///
    /// # Errors
    ///
    /// As [`KernelMap::lookup`]; `EINVAL` if the value has no such lock.
    pub fn lookup_with(&self, key: &[u8], value: &mut [u8], flags: u64) -> Result<(), Errno> {
        self.fd.lookup(key, value, flags)
    }

    /// Copies the value of `key` into `value` and removes the key, in one step; of a queue or stack, takes the next element.
    ///
    /// # Errors
    ///
    /// The kernel's number: `ENOENT` if the key is absent, `ENOTSUPP` for kinds without this. `EINVAL` if a slice has the wrong
    /// length.
    pub fn take(&self, key: &[u8], value: &mut [u8], flags: u64) -> Result<(), Errno> {
        self.fd.take(key, value, flags)
    }

    /// Copies as many entries as `keys` and `values` have room for, from where `cursor` says, and removes them if `is_removed`.
    ///
    /// # Errors
    ///
    /// The kernel's number: `ENOSPC` if entries that come together need more room, `ENOTSUPP` or `EINVAL` where there are no
    /// batches.
    pub fn lookup_batch(
        &self,
        cursor: &mut BatchCursor,
        room: (&mut [u8], &mut [u8]),
        is_removed: bool,
    ) -> Result<BatchFound, Errno> {
        self.fd.lookup_batch(cursor, room, is_removed)
    }

    /// Stores values, one after another, under keys, one after another. Answers how many, and why not all.
    pub fn update_batch(
        &self,
        keys: &[u8],
        values: &[u8],
        flags: u64,
    ) -> (usize, Result<(), Errno>) {
        self.fd.update_batch(keys, values, flags)
    }

    /// Removes keys, one after another. Answers how many, and why not all.
    pub fn delete_batch(&self, keys: &[u8]) -> (usize, Result<(), Errno>) {
        self.fd.delete_batch(keys)
    }

    /// Forbids every process to write the map from now on; programs still may.
    ///
    /// # Errors
    ///
    /// The kernel's number: `EPERM` if it is frozen already, `EBUSY` if somebody has mapped it for writing.
    pub fn freeze(&self) -> Result<(), Errno> {
        self.fd.freeze()
    }

    /// Stores `value` under `key`; `flags` are the kernel's (`BPF_ANY` 0, `BPF_NOEXIST` 1, `BPF_EXIST` 2).
    ///
    /// # Errors
    ///
    /// The kernel's number: `E2BIG` if a hash is full or an index too large, `EEXIST`, `ENOENT`. `EINVAL` if a slice has the
    /// wrong length.
    pub fn update(&self, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        self.fd.update(key, value, flags)
    }

    /// Removes `key`.
    ///
    /// # Errors
    ///
    /// The kernel's number: `ENOENT` if the key is absent. `EINVAL` for arrays, or if the key has the wrong length.
    pub fn delete(&self, key: &[u8]) -> Result<(), Errno> {
        self.fd.delete(key)
    }

    /// Copies the key after `key` into `next`; without `key`, or with one that is absent from a hash, the first.
    ///
    /// # Errors
    ///
    /// The kernel's number: `ENOENT` after the last key. `EINVAL` if a slice has the wrong length.
    pub fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<(), Errno> {
        self.fd.next_key(key, next)
    }

    /// Copies a part of the first value into `bytes`: a global variable.
    ///
    /// # Errors
    ///
    /// The kernel's number: `EINVAL` if the part does not lie in the value.
    pub fn read_part(&self, offset: usize, bytes: &mut [u8]) -> Result<(), Errno> {
        if let Some(mapped) = self.mapped(offset, bytes.len())? {
            return mapped.read(offset, bytes);
        }
        bytes.copy_from_slice(part(&mut self.first_value()?, offset, bytes.len())?);
        Ok(())
    }

    /// Writes a part of the first value and leaves the rest alone: a global variable.
    ///
    /// KERNEL: maps of before 5.5 cannot be mapped. Then the whole value is read and written back, and what programs
    /// write into it at the same time is lost.
    ///
    /// # Errors
    ///
    /// The kernel's number: `EPERM` if the map is frozen, `EINVAL` if the part does not lie in the value.
    pub fn write_part(&self, offset: usize, bytes: &[u8]) -> Result<(), Errno> {
        if let Some(mapped) = self.mapped(offset, bytes.len())? {
            return mapped.write(offset, bytes);
        }
        let mut value = self.first_value()?;
        part(&mut value, offset, bytes.len())?.copy_from_slice(bytes);
        self.update(&vec![0; self.key_bytes()], &value, 0)
    }

    /// The mapping of the first value, which must have the given part; `None` for maps that cannot be mapped for writing.
    fn mapped(&self, offset: usize, len: usize) -> Result<Option<&MappedValue>, Errno> {
        let end = offset.checked_add(len).ok_or(Errno::EINVAL)?;
        if self.spec.kind == MapKind::Arena {
            // `begin` has mapped it; its own bounds are those of the mapping.
            let mapped = self.mapped.get().ok_or(Errno::EINVAL)?;
            return mapped.as_ref().map(Some).map_err(|errno| *errno);
        }
        if end > self.value_bytes() {
            return Err(Errno::EINVAL);
        }
        if self.spec.is_frozen || !can_be_mapped(self.spec.flags) {
            return Ok(None);
        }
        let mapped = self
            .mapped
            .get_or_init(|| MappedValue::new(self.as_fd(), self.value_bytes()));
        mapped.as_ref().map(Some).map_err(|errno| *errno)
    }

    fn first_value(&self) -> Result<Vec<u8>, Errno> {
        let mut value = vec![0; self.value_bytes()];
        self.lookup(&vec![0; self.key_bytes()], &mut value)?;
        Ok(value)
    }

    /// Maps an arena whole and gives it its variables.
    ///
    /// KERNEL: 6.18 refuses a program with an arena whose address in user space is not known yet, so it is mapped before any
    /// program is loaded, where `map_extra` says or anywhere.
    fn map_arena(&self) -> Result<(), Errno> {
        let page_bytes = rustix::param::page_size();
        let pages = usize::try_from(self.spec.max_entries).map_err(|_| Errno::ENOMEM)?;
        let bytes = pages.checked_mul(page_bytes).ok_or(Errno::ENOMEM)?;
        let mapped = self
            .mapped
            .get_or_init(|| MappedValue::arena(self.as_fd(), bytes, self.spec.extra));
        let mapped = mapped.as_ref().map_err(|errno| *errno)?;
        match &self.spec.initial {
            Some(initial) => mapped.write(0, initial),
            None => Ok(()),
        }
    }

    /// Asks the kernel about the map.
    ///
    /// # Errors
    ///
    /// The kernel's number.
    pub fn info(&self) -> Result<KernelMapInfo, Errno> {
        let reply = self.fd.info()?;
        let more = FdInfo::read(self.as_fd());
        Ok(KernelMapInfo {
            types: MapTypes {
                key: TypeId(reply.btf_key_type_id),
                value: TypeId(reply.btf_value_type_id),
            },
            types_id: reply.btf_id,
            kernel_value_type: reply.btf_vmlinux_value_type_id,
            interface: reply.ifindex,
            memory_bytes: more.number("memlock"),
            is_frozen: more.number("frozen") == Some(1),
            owner: more.number("owner_prog_type").map(|kind| {
                let is_compiled = more.number("owner_jited") == Some(1);
                (u32::try_from(kind).unwrap_or(0), is_compiled)
            }),
            id: reply.id,
            name: name_text(&reply.name),
            kind: MapKind::from_number(reply.map_type),
            key_size: reply.key_size,
            value_size: reply.value_size,
            max_entries: reply.max_entries,
            flags: MapFlags(reply.map_flags),
            extra: reply.map_extra,
            has_types: reply.btf_id != 0,
        })
    }

    /// A map that exists already, as its definition.
    pub(crate) fn adopt(fd: MapFd, spec: MapSpec) -> Self {
        Self {
            fd: Arc::new(fd),
            spec: Arc::new(spec),
            mapped: Arc::default(),
        }
    }

    fn create_one(spec: &MapSpec, context: &MapContext<'_>) -> Result<Self> {
        let cpu_slots = if spec.kind.is_per_cpu() {
            host::possible_cpus()
                .map_err(|error| error.map(|diagnosis| diagnosis.in_map(&spec.name)))?
        } else {
            1
        };
        let request = request(spec, context);
        let mut result = map_fd::map_create(&request, cpu_slots);
        // KERNEL: 5.10 answers EPERM when the limit is too low, and EINVAL for device maps.
        if matches!(result, Err(Errno::EPERM | Errno::EINVAL)) && host::raised_memlock() {
            result = map_fd::map_create(&request, cpu_slots);
        }
        // What the object says about keys and values may contradict what it says about their sizes, or be of no use to
        // the kernel for this kind of map. Most maps do not need it, so it is left out; those that do are refused again.
        if result.is_err() && request.btf_fd != 0 {
            result = map_fd::map_create(&without_types(&request), cpu_slots).or(result);
        }
        let fd = result.map_err(|errno| map_error::explain(spec, errno))?;
        let map = Self {
            fd: Arc::new(fd),
            spec: Arc::new(spec.clone()),
            mapped: Arc::default(),
        };
        map.begin()?;
        Ok(map)
    }

    /// Writes the first value and freezes the map, as its definition says.
    fn begin(&self) -> Result<()> {
        let spec = &self.spec;
        if spec.kind == MapKind::Arena {
            self.map_arena()
                .map_err(|errno| refused(spec, "mapping it into this process", errno))?;
        }
        if let Some(value) = spec.initial_value()? {
            let first_key = vec![0; self.key_bytes()];
            self.update(&first_key, &value, 0)
                .map_err(|errno| refused(spec, "writing its first value", errno))?;
        }
        if spec.is_frozen {
            self.fd
                .freeze()
                .map_err(|errno| refused(spec, "freezing it", errno))?;
        }
        Ok(())
    }
}

impl AsFd for KernelMap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn part(value: &mut [u8], offset: usize, len: usize) -> Result<&mut [u8], Errno> {
    value
        .get_mut(offset..)
        .and_then(|rest| rest.get_mut(..len))
        .ok_or(Errno::EINVAL)
}

/// KERNEL: arrays can be mapped since 5.5.
fn can_be_mapped(flags: MapFlags) -> bool {
    flags.contains(MapFlags::MMAPABLE) && host::is_at_least("5.5")
}

/// The map exists, but could not be made what its definition says.
fn refused(spec: &MapSpec, doing: &str, errno: Errno) -> Error {
    Diagnosis::new(Code::MAP_CREATE, format!("{doing} was refused"))
        .in_map(&spec.name)
        .errno(errno)
        .into()
}

/// The definition as the kernel takes it: literally, except that the name is cut and cleaned.
fn request(spec: &MapSpec, context: &MapContext<'_>) -> MapCreate {
    let mut flags = spec.flags.0;
    // Nobody asked for this flag of a map of globals, so where the kernel does not have it, it is left out.
    if matches!(spec.origin, MapOrigin::Data | MapOrigin::Config) && !can_be_mapped(spec.flags) {
        flags &= !MapFlags::MMAPABLE.0;
    }
    if context.token.is_some() {
        flags |= TOKEN_FD;
    }
    let says_types = spec.types != MapTypes::default() && map_rules::takes_types(spec.kind);
    let types = context.types.filter(|_| says_types);
    MapCreate {
        map_type: spec.kind.number(),
        key_size: spec.key_size,
        value_size: spec.value_size,
        max_entries: spec.max_entries,
        map_flags: flags,
        inner_map_fd: context.inner.map_or(0, |map| fd_number(map.as_fd())),
        numa_node: spec.numa_node.unwrap_or(0),
        map_name: kernel_name(&spec.name),
        map_extra: spec.extra,
        btf_fd: types.map_or(0, |types| fd_number(types.as_fd())),
        btf_key_type_id: types.map_or(0, |_| spec.types.key.0),
        btf_value_type_id: types.map_or(0, |_| spec.types.value.0),
        map_token_fd: context.token.map_or(0, fd_number),
        ..MapCreate::default()
    }
}

fn without_types(request: &MapCreate) -> MapCreate {
    MapCreate {
        btf_fd: 0,
        btf_key_type_id: 0,
        btf_value_type_id: 0,
        ..*request
    }
}
