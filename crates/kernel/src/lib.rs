//! The engine that is Linux: maps, programs and links in the running kernel.
//!
//! Nothing is probed in advance: creating a map is one system call, loading a program another. Only when the kernel refuses
//! does this crate ask further, to say why: which rule of a map's kind, which capability, which words of the verifier.
//! Error numbers and the verifier's text are passed on as they are; the crate `verify` says what that text means.
//!
//! `bpf(2)` itself is in `sys.rs`, behind functions that check every length.

mod attached;
mod attr;
mod btf;
mod copier;
mod device;
mod externs;
mod facts;
mod fd_info;
mod filter;
mod holder;
mod host;
mod interface;
mod link;
mod listed_types;
mod map;
mod map_error;
mod map_fd;
mod mapped;
mod module_types;
mod netlink;
mod perf_buffer;
mod pin;
mod present;
mod prints;
mod privilege;
mod program;
mod ring;
mod ring_memory;
mod route;
mod socket;
mod struct_ops;
mod sys;
mod test_run;
mod token;
mod types;
mod xdp;

pub use attached::{
    AttachedList, AttachedProgram, AttachedXdp, attached_to_cgroup, attached_to_interface,
    attached_to_namespace, attached_xdp, interfaces,
};
#[doc(hidden)]
pub use attr::{LAYOUTS, LINK_LAYOUTS, Layout};
pub use btf::KernelBtf;
pub use copier::MapCopier;
pub use externs::configuration;
pub use facts::KernelFacts;
pub use filter::{FoundFilter, KernelFilter, abandoned_filters, filters};
pub use link::{KernelLink, LinkInfo, LinkPlace, link_ids};
pub use listed_types::{TypesInfo, listed_types, types_by_id};
pub use map::{KernelMap, KernelMapInfo, MapContext};
pub use map_fd::{BatchCursor, BatchFound};
pub use perf_buffer::{KernelPerfBuffer, PerfPass};
pub use prints::{ProgramPrint, ProgramPrints};
pub use program::{
    CodeLine, KernelProgram, KernelProgramInfo, LoadContext, MachineFunction, ProgramCode,
    RunCounting, program_by_id,
};
pub use ring::{KernelReservation, KernelRing, KernelUserRing};
pub use ring_memory::RecordView;
pub use route::{FoundRoute, KernelRoute, abandoned_routes};
pub use socket::{KernelSocketLink, SocketStatistics, attach_to_socket};
pub use struct_ops::KernelTable;
pub use test_run::test_run;
pub use token::Token;
pub use xdp::KernelXdp;

use std::os::fd::AsFd;

use twinbpf_object::btf::Upload;
use twinbpf_object::spec::Needs;
use twinbpf_object::{LinkedProgram, MapSpec, Result, Target};

use crate::types::KernelTypes;

/// The running kernel as an engine.
///
/// ```
/// use twinbpf_kernel::Kernel;
///
/// # fn main() -> twinbpf_object::Result<()> {
/// let kernel = Kernel::open()?;
/// assert!(kernel.target()?.cpu_slots >= 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Kernel {
    types: KernelTypes,
}

impl Kernel {
    /// Asks nothing yet: facts are read when they are needed. Makes no `bpf(2)` call and needs no privilege.
    ///
    /// # Errors
    ///
    /// None today; a system without `bpf(2)` would be one.
    pub fn open() -> Result<Self> {
        Ok(Self {
            types: KernelTypes::default(),
        })
    }

    /// What linking needs to know about this kernel, its types left out.
    ///
    /// # Errors
    ///
    /// If sysfs does not say which CPUs are possible.
    pub fn target(&self) -> Result<Target> {
        host::target()
    }

    /// What linking needs to know about this kernel to serve `needs`. The kernel's types are read only if CO-RE or an extern
    /// asks for any, and only once; a kernel that does not show them leaves them out. Those of its modules are read if the
    /// kernel's own do not have all that is asked for. What is not shown of its configuration and symbols is left out too.
    ///
    /// # Errors
    ///
    /// If the kernel's types are there but cannot be read, or sysfs does not say which CPUs are possible.
    pub fn target_for(&self, needs: &Needs) -> Result<Target> {
        let mut target = if needs.cpu_slots {
            host::target()?
        } else {
            host::target_without_cpus()
        };
        if !needs.type_names.is_empty() || needs.kernel_names().next().is_some() {
            target.btf = self.types.get()?;
            if (target.lacks_types(&needs.type_names)
                || target.lacks_declarations(needs.kernel_names()))
                && let Some(types) = &target.btf
            {
                target.modules = host::modules(types)?;
            }
        }
        externs::fetch(needs, &mut target);
        Ok(target)
    }

    /// Hands an object's types to the kernel, for the maps and programs that are made with them.
    ///
    /// # Errors
    ///
    /// As [`KernelBtf::load`].
    pub fn load_types(&self, types: &Upload, token: Option<&Token>) -> Result<KernelBtf> {
        KernelBtf::load(types, token.map(AsFd::as_fd))
    }

    /// Creates a map with what goes with it.
    ///
    /// # Errors
    ///
    /// As [`KernelMap::create`].
    pub fn create_map(&self, spec: &MapSpec, context: &MapContext<'_>) -> Result<KernelMap> {
        match &spec.struct_ops {
            Some(table) => struct_ops::create(spec, table, context, &self.types),
            None => KernelMap::create_with(spec, context),
        }
    }

    /// Fills a table of functions, a map of kind `struct_ops`, with programs by name and with the object's settings. The
    /// kernel puts a table that needs no link to use at once.
    ///
    /// # Errors
    ///
    /// If a program or a member is missing, or the kernel refuses the table.
    pub fn fill_struct_ops(&self, map: &KernelMap, programs: &[KernelProgram]) -> Result<()> {
        struct_ops::fill(map, programs, &self.types)
    }

    /// Loads a program with what goes with it.
    ///
    /// # Errors
    ///
    /// As [`KernelProgram::load`].
    pub fn load_program(
        &self,
        program: &LinkedProgram,
        context: &LoadContext<'_>,
    ) -> Result<KernelProgram> {
        KernelProgram::load_with(program, context, &self.types)
    }

    /// Attaches a socket filter to the frames of one interface.
    ///
    /// # Errors
    ///
    /// As [`KernelSocketLink::attach`].
    pub fn attach_socket(
        &self,
        program: &KernelProgram,
        interface: &str,
    ) -> Result<KernelSocketLink> {
        KernelSocketLink::attach(program, interface)
    }
}
