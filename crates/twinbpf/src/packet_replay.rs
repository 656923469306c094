//! A program of either engine on recorded packets, one by one: what it said about each, and what it left of it.
//!
//! The kernel is asked by test runs, which know no direction, no interface and no time: programs see what
//! [`Program::test_run`](crate::Program::test_run) shows them.

use twinbpf_kernel::KernelProgram;
use twinbpf_object::abi::{Verdict, verdict};
use twinbpf_object::{Code, Diagnosis, Error, ProgramKind, Result, TestInput};
use twinbpf_vm::capture::Frame;
use twinbpf_vm::hooks::packets::{PacketHook, PacketProgram};

use crate::program::{Program, ProgramHandle};

/// A program that is ready for the packets of a capture.
#[derive(Debug)]
pub struct PacketReplay(Runner);

/// The set of engines is closed.
#[derive(Debug)]
enum Runner {
    Kernel {
        program: KernelProgram,
        hook: PacketHook,
    },
    Vm(Box<PacketProgram>),
}

/// What a program did with one packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PacketAnswer {
    /// The number it returned.
    pub value: u32,
    /// What that means.
    pub verdict: Verdict,
    /// The frame as the program left it, VLAN tag included, if that is not how it came.
    pub changed: Option<Vec<u8>>,
}

impl Program {
    /// Prepares the program to be run on the packets of a capture, one by one, whichever engine it lives in.
    ///
    /// ```
    /// use twinbpf::{Capture, Engine, Object};
    /// # let capture = Capture::parse([&[0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0][..], &[0; 8], &[0xff, 0xff, 0, 0, 1, 0, 0, 0]].concat())?;
    ///
    /// let object = Object::parse(&std::fs::read("examples/sockex1/sockex1.bpf.o")?)?;
    /// let loaded = Engine::vm()?.load_object(&object)?;
    /// let mut replay = loaded.program("count_outgoing")?.on_packets()?;
    /// for frame in capture {
    ///     if let Some(answer) = replay.run(&frame?) {
    ///         println!("{}", answer?.verdict.word);
    ///     }
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the program sees no packets of an interface, the vm has no free CPU slot, or it is a socket filter of the kernel, which
    /// cannot be given frames as if they were on the wire.
    pub fn on_packets(&self) -> Result<PacketReplay> {
        PacketReplay::new(self)
    }
}

impl PacketReplay {
    fn new(program: &Program) -> Result<Self> {
        let kind = program.kind();
        let hook = PacketHook::of(kind, program.direction()).ok_or_else(|| no_packets(program))?;
        Ok(Self(match &program.handle {
            ProgramHandle::Kernel(_) if kind == ProgramKind::SocketFilter => {
                return Err(program.kernel_takes_no_frames("replay a capture"));
            }
            ProgramHandle::Kernel(program) => Runner::Kernel {
                program: program.clone(),
                hook,
            },
            ProgramHandle::Vm { vm, program } => {
                Runner::Vm(Box::new(PacketProgram::new(vm, program, hook)?))
            }
        }))
    }

    /// Runs the program on a packet; `None` if that is none that comes by its hook: XDP sees what was received, a cgroup IP alone.
    ///
    /// # Errors
    ///
    /// In the answer: the run ended abnormally, or the kernel refuses to run a program on such a packet.
    pub fn run(&mut self, frame: &Frame) -> Option<Result<PacketAnswer>> {
        let hook = match &self.0 {
            Runner::Kernel { hook, .. } => *hook,
            Runner::Vm(program) => program.hook(),
        };
        let comes_by = hook.sees(frame.direction, frame.protocol);
        comes_by.then(|| self.answer(frame))
    }

    fn answer(&mut self, frame: &Frame) -> Result<PacketAnswer> {
        let before = frame.tagged_data();
        let (kind, value, after) = match &mut self.0 {
            Runner::Kernel { program, hook } => {
                let input = TestInput {
                    data: &before,
                    ..TestInput::default()
                };
                let output = twinbpf_kernel::test_run(program, &input)?;
                // What programs of cgroups see comes back without its link-layer header; they cannot change it.
                let can_change = matches!(hook, PacketHook::Xdp | PacketHook::Tc(_));
                let after = can_change.then_some(output.data);
                (program.kind(), output.value, after)
            }
            Runner::Vm(program) => {
                let value = program.run(&frame.into())?;
                (program.kind(), value, program.frame_left())
            }
        };
        // Only programs with packets to decide about get here.
        let verdict = verdict(kind, value).unwrap_or(Verdict {
            word: "unknown",
            passes: false,
        });
        Ok(PacketAnswer {
            value,
            verdict,
            changed: after.filter(|after| *after != *before),
        })
    }
}

fn no_packets(program: &Program) -> Error {
    let message = format!(
        "a program of type {} sees no packets of an interface",
        program.kind()
    );
    Diagnosis::new(Code::ATTACH_KIND, message)
        .in_program(program.name())
        .help("`prog run` runs it on a context of your own")
        .into()
}
