//! A loaded program of either engine.

use std::path::Path;
use std::sync::Arc;

use twinbpf_kernel::{KernelProgram, KernelProgramInfo, ProgramCode};
use twinbpf_object::hook::{Hook, Places, default_hook};
use twinbpf_object::{
    AttachKind, Code, Diagnosis, Error, LinkedProgram, ProgramKind, Result, TestInput, TestOutput,
};
use twinbpf_verify::VerifierLog;
use twinbpf_vm::capture::{Capture, Direction};
use twinbpf_vm::hooks::point::{HookPoint, HookRunner};
use twinbpf_vm::hooks::socket::{self, SocketFilter, SocketStats};
use twinbpf_vm::hooks::test_run;
use twinbpf_vm::{Vm, VmProgram};

use crate::engine_kind::EngineKind;

/// A loaded program. Clones are the same program.
///
/// On the vm a program runs wherever its caller says. Here, on one frame that never saw a network:
///
/// ```
/// use twinbpf::{Engine, Object, PacketKind, SocketFrame};
///
/// let object = Object::parse(&std::fs::read("examples/sockex1/sockex1.bpf.o")?)?;
/// let loaded = Engine::vm()?.load_object(&object)?;
/// let mut filter = loaded.program("count_outgoing")?.socket_filter()?;
///
/// let mut frame = [0; 142];
/// frame[14 + 9] = 17; // the protocol in the IPv4 header, behind 14 bytes of Ethernet
/// filter.run(&SocketFrame {
///     data: &frame,
///     original_len: 142,
///     packet_kind: PacketKind::Outgoing,
///     protocol: 0x0800,
///     interface: 1,
///     vlan: None,
/// })?;
/// assert_eq!(loaded.map::<u32, u64>("my_map")?.get(&17)?, Some(142));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Program {
    pub(crate) handle: ProgramHandle,
    origin: Arc<Origin>,
}

/// What the object says about a program, as far as it matters after loading.
#[derive(Debug)]
struct Origin {
    section: String,
    attach: Option<AttachKind>,
}

/// The set of engines is closed.
#[derive(Debug, Clone)]
pub(crate) enum ProgramHandle {
    Kernel(KernelProgram),
    Vm { vm: Vm, program: VmProgram },
}

impl Program {
    pub(crate) fn new(handle: ProgramHandle, linked: &LinkedProgram) -> Self {
        let origin = Origin {
            section: linked.section.clone(),
            attach: linked.attach,
        };
        Self {
            handle,
            origin: Arc::new(origin),
        }
    }

    /// The program of the kernel with this number, whoever loaded it; `None` if there is none.
    ///
    /// # Errors
    ///
    /// If a privilege is missing.
    pub fn by_id(id: u32) -> Result<Option<Self>> {
        Ok(KernelProgram::by_id(id)?.map(Self::found))
    }

    /// The program with this name in a bpffs; `None` if the name is free.
    ///
    /// # Errors
    ///
    /// If the name belongs to a map or link, or a privilege is missing.
    pub fn open_pinned(path: &Path) -> Result<Option<Self>> {
        Ok(KernelProgram::open_pinned(path)?.map(Self::found))
    }

    /// The numbers of all programs of the kernel, ascending.
    ///
    /// # Errors
    ///
    /// If a privilege is missing.
    pub fn ids() -> Result<Vec<u32>> {
        KernelProgram::ids()
    }

    fn found(program: KernelProgram) -> Self {
        Self {
            handle: ProgramHandle::Kernel(program),
            origin: Arc::new(Origin {
                section: String::new(),
                attach: None,
            }),
        }
    }

    /// What the kernel says about the program.
    ///
    /// # Errors
    ///
    /// If it is a vm's.
    pub fn info(&self) -> Result<KernelProgramInfo> {
        self.kernel()?.info().map_err(|errno| self.unsaid(errno))
    }

    /// The numbers of the maps that it uses.
    ///
    /// # Errors
    ///
    /// If it is a vm's.
    pub fn map_ids(&self) -> Result<Vec<u32>> {
        self.kernel()?.map_ids().map_err(|errno| self.unsaid(errno))
    }

    /// Its code as the kernel keeps it: instructions as the verifier left them, machine code, source lines.
    ///
    /// # Errors
    ///
    /// If it is a vm's, or the kernel does not show it.
    pub fn code(&self) -> Result<ProgramCode> {
        self.kernel()?.code()
    }

    fn unsaid(&self, errno: twinbpf_object::Errno) -> Error {
        Diagnosis::new(Code::HOST_IO, "the kernel does not say what the program is")
            .in_program(self.name())
            .errno(errno)
            .into()
    }

    /// The section it came from; empty for a program without an object.
    pub fn section(&self) -> &str {
        &self.origin.section
    }

    /// Where within its kind it attaches, if that was said before loading.
    pub fn attach_kind(&self) -> Option<AttachKind> {
        self.origin.attach
    }

    /// The hook that its section means, with what the section leaves open taken from `places`; `None` for programs that nobody
    /// attaches, because a map, another program or a caller runs them.
    ///
    /// # Errors
    ///
    /// If something stays open.
    pub fn default_hook(&self, places: &Places) -> Result<Option<Hook>> {
        default_hook(self.kind(), self.attach_kind(), self.section(), places)
            .map_err(|error| error.map(|diagnosis| diagnosis.in_program(self.name())))
    }

    /// The direction of the packets it is for, if its section says one.
    pub(crate) fn direction(&self) -> Option<Direction> {
        let attach = self.origin.attach.and_then(AttachKind::kernel_name);
        match attach.map(|name| name.trim_start_matches("BPF_")) {
            Some("CGROUP_INET_INGRESS" | "TCX_INGRESS") => Some(Direction::In),
            Some("CGROUP_INET_EGRESS" | "TCX_EGRESS") => Some(Direction::Out),
            _ => None,
        }
    }

    /// The program's name.
    pub fn name(&self) -> &str {
        match &self.handle {
            ProgramHandle::Kernel(program) => program.name(),
            ProgramHandle::Vm { program, .. } => program.name(),
        }
    }

    /// What kind of program.
    pub fn kind(&self) -> ProgramKind {
        match &self.handle {
            ProgramHandle::Kernel(program) => program.kind(),
            ProgramHandle::Vm { program, .. } => program.kind(),
        }
    }

    /// The engine that holds it.
    pub fn engine(&self) -> EngineKind {
        match &self.handle {
            ProgramHandle::Kernel(_) => EngineKind::Kernel,
            ProgramHandle::Vm { .. } => EngineKind::Vm,
        }
    }

    /// What the verifier said when it accepted the program, if there is a verifier.
    pub fn verifier_log(&self) -> Option<&str> {
        match &self.handle {
            ProgramHandle::Kernel(program) => Some(program.verifier_log()),
            ProgramHandle::Vm { .. } => None,
        }
    }

    /// How many instructions the verifier walked through, those on every path counted; `None` if there is no verifier, or it
    /// does not say.
    pub fn verified_insns(&self) -> Option<u64> {
        VerifierLog::read(self.verifier_log()?).processed
    }

    /// Gives the program a name in a bpffs, under which it lives on until the name is removed. Folders in between are made.
    ///
    /// # Errors
    ///
    /// If the path is not in a bpffs, the name is taken, or the program is a vm's, which ends with its process.
    pub fn pin(&self, path: &Path) -> Result<()> {
        match &self.handle {
            ProgramHandle::Kernel(program) => program.pin(path),
            ProgramHandle::Vm { program, .. } => {
                let message = "the vm has no pins: its maps and programs end with the process";
                Err(Diagnosis::new(Code::PROGRAM_UNSUPPORTED, message)
                    .in_program(program.name())
                    .into())
            }
        }
    }

    /// Runs the program on a packet or context of the caller's, not attached to anything, as `BPF_PROG_TEST_RUN` does; both engines give
    /// the same answers.
    ///
    /// ```
    /// use twinbpf::{Engine, Object, TestInput};
    ///
    /// let object = Object::parse(&std::fs::read("examples/sockex1/sockex1.bpf.o")?)?;
    /// let loaded = Engine::vm()?.load_object(&object)?;
    /// let frame = [0; 64];
    /// let output = loaded.program("count_outgoing")?.test_run(&TestInput {
    ///     data: &frame,
    ///     ..TestInput::default()
    /// })?;
    /// assert_eq!(output.data, frame);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// With the kernel's errno if there are no test runs of this type of program, or the input does not fit it; on the vm also if
    /// the run ends abnormally.
    pub fn test_run(&self, input: &TestInput<'_>) -> Result<TestOutput> {
        match &self.handle {
            ProgramHandle::Kernel(program) => twinbpf_kernel::test_run(program, input),
            ProgramHandle::Vm { vm, program } => test_run::test_run(vm, program, input),
        }
    }

    /// Runs the program on every frame of a capture. `direction` is for frames whose capture does not record one.
    ///
    /// # Errors
    ///
    /// If the program is no socket filter, the capture is malformed, or the program lives in the kernel, which cannot be
    /// given frames as if they were on the wire.
    pub fn replay(
        &self,
        capture: &mut Capture,
        direction: Option<Direction>,
    ) -> Result<SocketStats> {
        match &self.handle {
            ProgramHandle::Kernel(_) => Err(self.kernel_takes_no_frames("replay a capture")),
            ProgramHandle::Vm { vm, program } => socket::replay(vm, program, capture, direction),
        }
    }

    /// Prepares the program to be run on single frames, one call each.
    ///
    /// # Errors
    ///
    /// If the program is no socket filter, lives in the kernel, or the vm has no free CPU slot.
    pub fn socket_filter(&self) -> Result<SocketFilter> {
        match &self.handle {
            ProgramHandle::Kernel(_) => Err(self.kernel_takes_no_frames("take single frames")),
            ProgramHandle::Vm { vm, program } => SocketFilter::new(vm, program),
        }
    }

    /// Prepares the program to be run at a hook point of the host application, which is how BPF becomes its plug-in language.
    ///
    /// ```
    /// use twinbpf::{Engine, HookField, HookPoint, Object, VmBuilder, VmConfig};
    ///
    /// let orders = HookPoint {
    ///     section: "shop".to_owned(), // SEC("shop/order")
    ///     context_bytes: 12,          // struct order { __u32 item, quantity, discount_percent; }
    ///     writable: vec![HookField { offset: 8, bytes: 4 }],
    ///     data: None,
    /// };
    /// let mut object = Object::parse(&std::fs::read("examples/plugin/discount.bpf.o")?)?;
    /// orders.adopt(&mut object);
    ///
    /// let vm = VmBuilder::new(VmConfig::default())
    ///     .function("shop_stock", |item: u32| -> u32 { item * 800 })
    ///     .build()?;
    /// let loaded = Engine::Vm(vm).load_object(&object)?;
    /// let mut plugin = loaded.program("discount")?.at(&orders)?;
    ///
    /// let mut order = [2_u32, 12, 0];
    /// assert_eq!(plugin.run(&mut order)?, 0);
    /// assert_eq!(order[2], 15);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the program is not for hook points of the host, lives in the kernel, or the vm has no free CPU slot.
    pub fn at(&self, point: &HookPoint) -> Result<HookRunner> {
        match &self.handle {
            ProgramHandle::Kernel(_) => {
                let message = "the kernel has no hook points of a host application";
                Err(Diagnosis::new(Code::ATTACH_UNSUPPORTED, message)
                    .in_program(self.name())
                    .help("use `Engine::vm()`")
                    .into())
            }
            ProgramHandle::Vm { vm, program } => point.runner(vm, program),
        }
    }

    /// The kernel's program behind it.
    pub(crate) fn kernel(&self) -> Result<&KernelProgram> {
        match &self.handle {
            ProgramHandle::Kernel(program) => Ok(program),
            ProgramHandle::Vm { .. } => {
                let message = "the program is loaded in a vm, not in the kernel";
                Err(Diagnosis::new(Code::ATTACH_UNSUPPORTED, message)
                    .in_program(self.name())
                    .into())
            }
        }
    }

    pub(crate) fn kernel_takes_no_frames(&self, action: &str) -> Error {
        // KERNEL: BPF_PROG_TEST_RUN gives a socket filter `pkt_type` 0 and strips the Ethernet header from its view
        // (`Documentation/bpf/bpf_prog_run.rst`), so an outgoing frame cannot be presented.
        let message = format!("the kernel engine cannot {action}");
        Diagnosis::new(Code::ATTACH_UNSUPPORTED, message)
            .in_program(self.name())
            .fact(
                "why",
                "a test run in the kernel has no direction and no link-layer header",
            )
            .help("use `--engine vm` (`Engine::vm()`)")
            .into()
    }
}
