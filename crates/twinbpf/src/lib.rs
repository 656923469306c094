//! One eBPF object, two engines: the Linux kernel, or a BPF subsystem inside your process.
//!
//! The same unmodified object file is loaded into the kernel through `bpf(2)`, or into the *vm*, which needs no privilege.
//! Both engines run the same programs, keep the same maps and answer the same error numbers, behind one set of types:
//!
//! ```text
//! bytes ──Object::parse──> Object ──link──> Linked ──Engine::loader──> Loaded { maps, programs }
//!                                                                        │          │
//!                                           Map<K, V>, RawMap <──────────┘          └── attach ──> Link
//! ```
//!
//! Everything up to [`Linked`] is plain data that can be printed, changed and loaded many times. Everything from [`Loaded`]
//! on is live: handles that own what they stand for, with no lifetimes tied to the object.
//!
//! # Examples
//!
//! A map shared by nobody but us, on the engine inside this process:
//!
//! ```
//! use twinbpf::{Engine, Map, MapKind};
//!
//! let engine = Engine::vm()?;
//! let bytes_by_protocol = Map::<u32, u64>::create(&engine, MapKind::Array, 256)?;
//! bytes_by_protocol.set(&17, &1420)?;
//! assert_eq!(bytes_by_protocol.get(&17)?, Some(1420));
//! # Ok::<(), twinbpf::Error>(())
//! ```
//!
//! A socket filter from an object file, attached to the loopback interface:
//!
//! ```no_run
//! // Not run here: it takes root to load into the kernel.
//! use twinbpf::{Engine, Hook, Object};
//!
//! let object = Object::parse(&twinbpf::read_object_file("examples/sockex1/sockex1.bpf.o".as_ref())?)?;
//! let loaded = Engine::kernel()?.load_object(&object)?;
//! let counts = loaded.map::<u32, u64>("my_map")?;
//! let link = loaded.program("count_outgoing")?.attach(&Hook::socket("lo"))?;
//! std::thread::sleep(std::time::Duration::from_secs(5));
//! println!("UDP {:?} bytes", counts.get(&17)?);
//! drop(link); // detached
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod attach;
mod batch;
mod dump;
mod engine;
mod engine_kind;
mod keyless;
mod layout;
mod link;
mod loaded;
mod loader;
mod lpm;
mod map;
mod map_error;
mod map_info;
mod map_value;
mod namespace;
mod object_file;
mod packet_replay;
mod perf_buffer;
mod plain_value;
mod program;
mod raw_map;
mod ring;
mod sharing;
#[cfg(feature = "tokio")]
mod stream;
mod user_ring;
mod variable;
mod walk;

pub use attach::{AttachReport, Attacher};
pub use dump::Dump;
pub use engine::Engine;
pub use engine_kind::EngineKind;
pub use layout::Layout;
#[doc(hidden)]
pub use layout::shape_of_field;
pub use link::{Link, LinkStats};
pub use loaded::{EmptySlot, LoadReport, Loaded, NotLoaded, NotLoadedReason};
pub use loader::Loader;
pub use lpm::LpmKey;
pub use map::{Entries, Map};
pub use map_info::MapInfo;
pub use map_value::{MapValue, PerCpu, StoredValue};
pub use namespace::PrivateNetwork;
pub use object_file::read_object_file;
pub use packet_replay::{PacketAnswer, PacketReplay};
pub use perf_buffer::{PerfBuffer, WhenFull};
pub use plain_value::PlainValue;
pub use program::Program;
pub use raw_map::{RawMap, UpdateMode};
pub use ring::{RawRing, Record, Ring};
#[cfg(feature = "tokio")]
pub use stream::RecordStream;
pub use user_ring::{Reservation, UserRing};
pub use variable::Variable;
pub use walk::RawEntries;

pub use twinbpf_kernel::{
    AttachedList, AttachedProgram, AttachedXdp, CodeLine, FoundFilter, FoundRoute, Kernel,
    KernelFacts, KernelProgramInfo, LinkInfo, LinkPlace, MachineFunction, ProgramCode,
    ProgramPrint, ProgramPrints, RunCounting, Token, TypesInfo, abandoned_filters,
    abandoned_routes, attached_to_cgroup, attached_to_interface, attached_to_namespace,
    attached_xdp, filters, interfaces, listed_types, program_by_id, types_by_id,
};
pub use twinbpf_object::hook::{self, Hook};
pub use twinbpf_object::link::{link, link_each};
pub use twinbpf_object::target::{Parameter, Prototype};
pub use twinbpf_object::{
    AttachKind, Code, Diagnosis, Errno, Error, ErrorKind, Insn, InsnIndex, Linked, LinkedProgram,
    MapKind, MapSpec, Object, ProgramKind, ProgramSpec, Result, Target, TestInput, TestOutput, abi,
    btf, combine, core, diagnosis, insn, map_rules, spec, value,
};
pub use twinbpf_object::{read_types, read_types_on};
pub use twinbpf_verify as verify;
pub use twinbpf_vm::capture::{Capture, CaptureWriter, Direction, Frame, PacketKind, Vlan};
pub use twinbpf_vm::hooks::point::{HookData, HookField, HookPoint, HookRunner};
pub use twinbpf_vm::hooks::socket::{SocketFilter, SocketFrame, SocketStats};
pub use twinbpf_vm::{Executor, Fault, HostCall, HostFault, HostFunction, Vm, VmBuilder, VmConfig};
pub use zerocopy;
