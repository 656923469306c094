//! Whoever runs the same loops: the host's own code, our executors, `rbpf`, `solana-sbpf`.

#![expect(
    unsafe_code,
    reason = "calls code of a shared library, and compiled code of crates that leave its safety to the caller"
)]

use std::error::Error;
use std::ffi::{CString, c_void};
use std::path::Path;
use std::sync::Arc;

use solana_sbpf::aligned_memory::AlignedMemory;
use solana_sbpf::ebpf;
use solana_sbpf::elf::Executable;
use solana_sbpf::memory_region::{MemoryMapping, MemoryRegion};
use solana_sbpf::program::{BuiltinProgram, FunctionRegistry, SBPFVersion};
use solana_sbpf::verifier::RequisiteVerifier;
use solana_sbpf::vm::{CallFrame, Config, ContextObject, EbpfVm, ExecutionMode};
use twinbpf_object::ProgramKind;
use twinbpf_object::insn::Insn;
use twinbpf_object::link::LinkedProgram;
use twinbpf_object::spec::ByteOrder;
use twinbpf_vm::{Executor, Guard, Vm, VmConfig, VmProgram, Vouched, Worker};

pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

/// Bytes of memory that programs get in `r1`.
pub(crate) const MEMORY_BYTES: usize = 2048;

/// A loaded program with a memory of its own.
pub(crate) trait Peer {
    /// Runs the program once.
    fn run(&mut self) -> Outcome<u64>;
}

/// A function of a shared library.
pub(crate) struct Native {
    call: extern "C" fn(*mut u8) -> u64,
    memory: Vec<u8>,
}

impl Native {
    /// `library` was compiled from this benchmark's source and stays loaded.
    pub(crate) fn new(library: &Path, name: &str, memory: &[u8]) -> Outcome<Self> {
        let path = CString::new(library.to_string_lossy().into_owned())?;
        // SAFETY: the library has no code that runs when it is loaded.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
        let symbol = CString::new(name)?;
        let address: *mut c_void = if handle.is_null() {
            handle
        } else {
            // SAFETY: the handle is a loaded library.
            unsafe { libc::dlsym(handle, symbol.as_ptr()) }
        };
        if address.is_null() {
            return Err(format!("no function `{name}` in {}", library.display()).into());
        }
        // SAFETY: the macro in `programs.c` gives all functions this signature.
        let call =
            unsafe { std::mem::transmute::<*mut c_void, extern "C" fn(*mut u8) -> u64>(address) };
        let memory = memory.to_vec();
        Ok(Self { call, memory })
    }
}

impl Peer for Native {
    fn run(&mut self) -> Outcome<u64> {
        Ok((self.call)(self.memory.as_mut_ptr()))
    }
}

/// One of our executors.
pub(crate) struct Ours {
    program: VmProgram,
    worker: Worker,
}

impl Ours {
    pub(crate) fn new(insns: &[Insn], memory: &[u8], config: VmConfig) -> Outcome<Self> {
        let vm = Vm::new(config)?;
        let linked = LinkedProgram::from_insns("bench", ProgramKind::SocketFilter, insns.to_vec());
        let mut worker = vm.worker()?;
        worker.lay_out(memory)?;
        let program = vm.load_program(&linked, &[])?;
        Ok(Self { program, worker })
    }

    /// Without the sandbox's checks.
    fn vouched(insns: &[Insn], memory: &[u8]) -> Outcome<Self> {
        let vm = Vm::new(VmConfig::default())?;
        let linked = LinkedProgram::from_insns("bench", ProgramKind::SocketFilter, insns.to_vec());
        let mut worker = vm.worker()?;
        worker.lay_out(memory)?;
        // SAFETY: the programs of this benchmark make their addresses of the one in `r1` and of numbers that are cut to its
        // memory, and their loops have bounds.
        let vouched = unsafe { Vouched::new(&linked) };
        let program = vm.load_vouched(vouched, &[])?;
        Ok(Self { program, worker })
    }
}

impl Peer for Ours {
    fn run(&mut self) -> Outcome<u64> {
        Ok(self.worker.run_laid_out(&self.program, MEMORY_BYTES)?)
    }
}

/// `rbpf`. Its interpreter checks accesses, its compiled code does not.
struct Rbpf<'p> {
    vm: rbpf::EbpfVmRaw<'p>,
    is_compiled: bool,
    memory: Vec<u8>,
}

impl Peer for Rbpf<'_> {
    fn run(&mut self) -> Outcome<u64> {
        if self.is_compiled {
            // SAFETY: the programs of this benchmark stay inside the memory they are given and return.
            return Ok(unsafe { self.vm.execute_program_jit(&mut self.memory) }?);
        }
        Ok(self.vm.execute_program(&mut self.memory)?)
    }
}

/// `solana-sbpf`. Both of its executors translate every address.
struct Sbpf {
    executable: Box<Executable<Meter>>,
    stack: AlignedMemory<{ ebpf::HOST_ALIGN }>,
    frames: Vec<CallFrame>,
    memory: Vec<u8>,
    is_compiled: bool,
}

const SBPF_VERSION: SBPFVersion = SBPFVersion::V3;

struct Meter {
    left: u64,
    mapping: MemoryMapping,
}

impl ContextObject for Meter {
    fn consume(&mut self, amount: u64) {
        self.left = self.left.saturating_sub(amount);
    }

    fn get_remaining(&self) -> u64 {
        self.left
    }

    fn active_mapping_ptr(&mut self) -> std::ptr::NonNull<MemoryMapping> {
        std::ptr::NonNull::from(&mut self.mapping)
    }
}

impl Sbpf {
    fn new(bytes: &[u8], memory: &[u8], is_compiled: bool) -> Outcome<Self> {
        let config = Config {
            enable_stack_frame_gaps: false,
            aligned_memory_mapping: true,
            ..Config::default()
        };
        let loader = Arc::new(BuiltinProgram::new_loader(config));
        let functions = FunctionRegistry::default();
        let executable = Executable::from_text_bytes(bytes, loader, SBPF_VERSION, functions)?;
        executable.verify::<RequisiteVerifier>()?;
        if is_compiled {
            executable.jit_compile()?;
        }
        let config = executable.get_config();
        Ok(Self {
            stack: AlignedMemory::zero_filled(config.stack_size()),
            frames: vec![CallFrame::default(); config.max_call_depth],
            memory: memory.to_vec(),
            executable: Box::new(executable),
            is_compiled,
        })
    }
}

impl Peer for Sbpf {
    fn run(&mut self) -> Outcome<u64> {
        let regions = vec![
            self.executable.get_ro_region(),
            MemoryRegion::new(&raw mut *self.stack.as_slice_mut(), ebpf::MM_STACK_START),
            MemoryRegion::new(&raw mut *self.memory, ebpf::MM_INPUT_START),
        ];
        let config = self.executable.get_config();
        // SAFETY: the regions belong to `self`, which stays as it is until the run is over.
        let mapping = unsafe { MemoryMapping::new(regions, config, SBPF_VERSION) };
        let mut meter = Meter {
            left: 1 << 40,
            mapping: mapping.map_err(|error| error.to_string())?,
        };
        let loader = Arc::clone(self.executable.get_loader());
        let mut vm = EbpfVm::new(loader, SBPF_VERSION, &mut meter, self.stack.len());
        vm.registers[1] = ebpf::MM_INPUT_START;
        let mut mode = match self.is_compiled {
            true => ExecutionMode::Jit,
            false => ExecutionMode::Interpreted,
        };
        let (_, result) = vm.execute_program(&self.executable, &mut mode, &mut self.frames);
        Result::from(result).map_err(|error| error.to_string().into())
    }
}

/// Everybody who runs a program, with a name for the table's head. The first is the native baseline.
pub(crate) fn all<'p>(
    insns: &[Insn],
    bytes: &'p [u8],
    memory: &[u8],
) -> Outcome<Vec<(&'static str, Box<dyn Peer + 'p>)>> {
    let ours = |executor, guard| {
        let config = VmConfig {
            executor,
            guard,
            ..VmConfig::default()
        };
        Ours::new(insns, memory, config)
    };
    let rbpf = |is_compiled| -> Outcome<Rbpf<'p>> {
        let mut vm = rbpf::EbpfVmRaw::new(Some(bytes))?;
        vm.jit_compile()?;
        let memory = memory.to_vec();
        Ok(Rbpf {
            vm,
            is_compiled,
            memory,
        })
    };
    Ok(vec![
        ("jit", Box::new(ours(Executor::Jit, Guard::Pages)?)),
        ("jit-vouched", Box::new(Ours::vouched(insns, memory)?)),
        (
            "jit-compare",
            Box::new(ours(Executor::Jit, Guard::Compare)?),
        ),
        ("rbpf-jit", Box::new(rbpf(true)?)),
        ("sbpf-jit", Box::new(Sbpf::new(bytes, memory, true)?)),
        (
            "interp",
            Box::new(ours(Executor::Interpreter, Guard::Pages)?),
        ),
        ("rbpf-int", Box::new(rbpf(false)?)),
        ("sbpf-int", Box::new(Sbpf::new(bytes, memory, false)?)),
    ])
}

/// The program's bytes as the other crates take them.
pub(crate) fn bytes_of(insns: &[Insn]) -> Vec<u8> {
    let bytes = insns
        .iter()
        .flat_map(|insn| insn.to_bytes(ByteOrder::Little));
    bytes.collect()
}
