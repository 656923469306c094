//! The two engines behind one type.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use twinbpf_kernel::{Kernel, KernelBtf, KernelMap, MapContext, Token};
use twinbpf_object::spec::{InnerMap, Needs};
use twinbpf_object::{Code, Diagnosis, Linked, MapSpec, Result, Target};
use twinbpf_vm::{Vm, VmConfig, VmMap};

use crate::engine_kind::EngineKind;
use crate::raw_map::{MapHandle, RawMap, vm_has_no_pins};

/// Where maps and programs live. Clones are the same engine.
///
/// A library chooses on purpose; nothing here picks an engine for its caller.
///
/// ```
/// use twinbpf::{Engine, EngineKind};
///
/// let engine = Engine::vm()?;
/// assert_eq!(engine.kind(), EngineKind::Vm);
/// # Ok::<(), twinbpf::Error>(())
/// ```
#[derive(Debug, Clone)]
pub enum Engine {
    /// The running kernel.
    Kernel(Kernel),
    /// A BPF subsystem inside this process.
    Vm(Vm),
}

impl Engine {
    /// The running kernel. Needs no privilege yet: creating maps and loading programs does.
    ///
    /// # Errors
    ///
    /// If the facts that linking needs cannot be read.
    pub fn kernel() -> Result<Self> {
        Kernel::open().map(Self::Kernel)
    }

    /// A new vm with the default configuration.
    ///
    /// # Errors
    ///
    /// If its memory window cannot be reserved.
    pub fn vm() -> Result<Self> {
        Self::vm_with(VmConfig::default())
    }

    /// A new vm.
    ///
    /// # Errors
    ///
    /// If its memory window cannot be reserved or the configuration contradicts itself.
    pub fn vm_with(config: VmConfig) -> Result<Self> {
        Vm::new(config).map(Self::Vm)
    }

    /// Which of the two.
    pub fn kind(&self) -> EngineKind {
        match self {
            Self::Kernel(_) => EngineKind::Kernel,
            Self::Vm(_) => EngineKind::Vm,
        }
    }

    /// What linking needs to know about this engine to serve `needs`.
    ///
    /// # Errors
    ///
    /// If something that is needed cannot be read.
    pub fn target(&self, needs: &Needs) -> Result<Target> {
        match self {
            Self::Kernel(kernel) => kernel.target_for(needs),
            Self::Vm(vm) => {
                let mut target = vm.target_for(needs);
                // The vm was not built with any configuration; programs see the host's.
                let host = twinbpf_kernel::configuration(needs);
                (target.config.origin, target.config.options) = (host.origin, host.options);
                Ok(target)
            }
        }
    }

    /// Creates a map without any object.
    ///
    /// # Errors
    ///
    /// Which attribute breaks which rule of the map's kind, which privilege is missing, or how much memory was asked for.
    pub fn create_map(&self, spec: &MapSpec) -> Result<RawMap> {
        self.create_map_like(spec, None, &Given::default())
    }

    /// The map with this name in a bpffs; `None` if the name is free. Its definition is what the kernel says.
    ///
    /// # Errors
    ///
    /// If the name belongs to something else, a privilege is missing, or the engine is a vm, which has no pins.
    pub fn open_pinned_map(&self, path: &Path) -> Result<Option<RawMap>> {
        match self {
            Self::Kernel(_) => {
                let map = KernelMap::open_pinned(path)?;
                Ok(map.map(|map| RawMap(MapHandle::Kernel(map))))
            }
            Self::Vm(_) => Err(vm_has_no_pins().into()),
        }
    }

    /// The map of the system with this number; `None` if there is none.
    ///
    /// # Errors
    ///
    /// If a privilege is missing, or the engine is a vm, whose maps have no numbers.
    pub fn map_by_id(&self, id: u32) -> Result<Option<RawMap>> {
        match self {
            Self::Kernel(_) => {
                let map = KernelMap::by_id(id)?;
                Ok(map.map(|map| RawMap(MapHandle::Kernel(map))))
            }
            Self::Vm(_) => Err(vm_has_no_ids().into()),
        }
    }

    /// Takes a descriptor of a map: inherited, or received from another process.
    ///
    /// # Errors
    ///
    /// If it is no map, or the engine is a vm.
    pub fn map_from_fd(&self, fd: OwnedFd) -> Result<RawMap> {
        match self {
            Self::Kernel(_) => Ok(RawMap(MapHandle::Kernel(KernelMap::from_fd(fd)?))),
            Self::Vm(_) => Err(vm_has_no_ids().into()),
        }
    }

    /// The numbers of all maps of the system, ascending.
    ///
    /// # Errors
    ///
    /// If a privilege is missing, or the engine is a vm.
    pub fn map_ids(&self) -> Result<Vec<u32>> {
        match self {
            Self::Kernel(_) => KernelMap::ids(),
            Self::Vm(_) => Err(vm_has_no_ids().into()),
        }
    }

    /// Hands an object's types to the engine, if it has any use for them.
    pub(crate) fn load_types(
        &self,
        linked: &Linked,
        token: Option<&Token>,
    ) -> Result<Option<KernelBtf>> {
        match (self, &linked.upload) {
            (Self::Kernel(kernel), Some(types)) => kernel.load_types(types, token).map(Some),
            _ => Ok(None),
        }
    }

    /// Creates a map whose inner maps look like `inner`, and whose types are those of an object.
    pub(crate) fn create_map_like(
        &self,
        spec: &MapSpec,
        inner: Option<&RawMap>,
        given: &Given<'_>,
    ) -> Result<RawMap> {
        match self {
            Self::Kernel(kernel) => {
                let context = MapContext {
                    inner: inner.and_then(kernel_map),
                    types: given.types,
                    token: given.token.map(AsFd::as_fd),
                };
                let map = kernel.create_map(spec, &context)?;
                Ok(RawMap(MapHandle::Kernel(map)))
            }
            Self::Vm(vm) => {
                let map = vm.create_map_like(spec, inner.and_then(vm_map))?;
                Ok(RawMap(MapHandle::Vm(map)))
            }
        }
    }
}

/// What goes with every request of one load.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Given<'a> {
    /// The object's types in the kernel.
    pub(crate) types: Option<&'a KernelBtf>,
    /// Stands for privileges the process does not have.
    pub(crate) token: Option<&'a Token>,
}

pub(crate) fn vm_has_no_ids() -> Diagnosis {
    let message = "the vm's maps belong to its process: they have neither numbers nor descriptors";
    Diagnosis::new(Code::MAP_UNSUPPORTED, message).help("use the kernel engine")
}

/// The kernel's map behind a handle, if it is one.
pub(crate) fn kernel_map(map: &RawMap) -> Option<&KernelMap> {
    match &map.0 {
        MapHandle::Kernel(map) => Some(map),
        MapHandle::Vm(_) => None,
    }
}

/// The vm's map behind a handle, if it is one.
pub(crate) fn vm_map(map: &RawMap) -> Option<&VmMap> {
    match &map.0 {
        MapHandle::Kernel(_) => None,
        MapHandle::Vm(map) => Some(map),
    }
}

/// The map of the same object that a definition takes as the template of its inner maps.
pub(crate) fn inner_index(spec: &MapSpec) -> Option<usize> {
    match &spec.inner {
        Some(InnerMap::Map(index)) => Some(index.0),
        _ => None,
    }
}
