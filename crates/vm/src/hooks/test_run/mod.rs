//! One test run of a program, with the kernel's answers to `BPF_PROG_TEST_RUN`.
//!
//! ```text
//!  XDP            whole frame        struct xdp_md
//!  tc             whole frame        struct __sk_buff
//!  other skb      from layer 3 on    struct __sk_buff; what comes out has zeros for the link-layer header
//!  flow dissector whole frame        struct bpf_flow_keys, which comes out in the packet's place
//!  sk_lookup      no packet          struct bpf_sk_lookup
//!  raw tracepoint,
//!  tracing,
//!  syscall        no packet          the caller's bytes
//! ```
//!
//! KERNEL: errors, field values and limits were observed on 6.18.

mod flow;
mod lookup;
mod skb;
mod xdp;

use std::time::Instant;

use twinbpf_object::{Code, Diagnosis, Errno, Error, ProgramKind, Result, TestInput, TestOutput};

use crate::context::ContextLayout;
use crate::program::VmProgram;
use crate::run::Packet;
use crate::vm::Vm;
use crate::worker::{Outcome, Worker};

/// Bytes of an Ethernet header.
const ETHERNET_BYTES: u32 = 14;
/// KERNEL: a test run's first page, minus the record at its end (`skb_shared_info`, 6.18).
const LINEAR_BYTES: u32 = 4096 - 320;
/// KERNEL: arguments of a raw tracepoint: at most 12 of 8 bytes (`MAX_BPF_FUNC_ARGS`, 6.18).
const MOST_ARGUMENTS: usize = 12 * 8;
/// Bytes of a page.
const PAGE_BYTES: usize = 4096;
/// Index of the loopback interface, on which test runs take place.
const LOOPBACK: u32 = 1;

/// Runs `program` on `input`, not attached to anything.
///
/// # Errors
///
/// Kind [`Usage`](twinbpf_object::ErrorKind::Usage) with the kernel's errno if the input does not fit the program; the reason of an
/// abnormal end.
pub fn test_run(vm: &Vm, program: &VmProgram, input: &TestInput<'_>) -> Result<TestOutput> {
    TestRunner::new(vm, program)?.run(input)
}

/// A program with a worker of its own, for test runs one after the other.
#[derive(Debug)]
pub struct TestRunner {
    worker: Worker,
    program: VmProgram,
}

impl TestRunner {
    /// Prepares a program for test runs.
    ///
    /// # Errors
    ///
    /// If the vm has no free CPU slot.
    pub fn new(vm: &Vm, program: &VmProgram) -> Result<Self> {
        Ok(Self {
            worker: vm.worker()?,
            program: program.clone(),
        })
    }

    /// Runs the program on `input`.
    ///
    /// # Errors
    ///
    /// As [`test_run`].
    pub fn run(&mut self, input: &TestInput<'_>) -> Result<TestOutput> {
        for map in self.program.0.maps() {
            map.renew();
        }
        match self.program.kind() {
            // KERNEL: programs that maps of devices and CPUs run have no test runs (EINVAL, 6.18).
            ProgramKind::Xdp if self.program.0.is_run_by_a_map() => Err(self.refuse(Errno::EINVAL)),
            ProgramKind::Xdp => xdp::run(self, input),
            ProgramKind::SocketFilter
            | ProgramKind::SchedCls
            | ProgramKind::SchedAct
            | ProgramKind::CgroupSkb
            | ProgramKind::LwtIn
            | ProgramKind::LwtOut
            | ProgramKind::LwtXmit => skb::run(self, input),
            ProgramKind::FlowDissector => flow::run(self, input),
            ProgramKind::SkLookup => lookup::run(self, input),
            ProgramKind::Syscall | ProgramKind::RawTracepoint | ProgramKind::Tracing => {
                self.run_without_packet(input)
            }
            _ => Err(self.refuse(Errno::ENOTSUPP)),
        }
    }

    fn run_without_packet(&mut self, input: &TestInput<'_>) -> Result<TestOutput> {
        let is_raw = self.program.kind() == ProgramKind::RawTracepoint;
        let most = if is_raw {
            MOST_ARGUMENTS
        } else {
            usize::from(u16::MAX)
        };
        let len = input.context.len();
        let is_wrong = !input.data.is_empty() || input.repeat > 1;
        if is_wrong || len > most || len < self.program.0.context_reach() {
            return Err(self.refuse(Errno::EINVAL));
        }
        let mut context = input.context.to_vec();
        let started = Instant::now();
        let value = self.worker.run(&self.program, &mut context)?;
        if is_raw {
            // KERNEL: the arguments of a tracepoint do not come back (6.18).
            context = input.context.to_vec();
        }
        Ok(TestOutput {
            value: crate::semantics::low_32(value),
            data: Vec::new(),
            context,
            duration_ns: average(started, 1),
        })
    }

    /// Runs the program as often as asked on the packet that is laid out.
    fn repeat(
        &mut self,
        (layout, context_len): (&'static ContextLayout, usize),
        mut packet: Packet,
        repeat: u32,
    ) -> Result<(Outcome, Packet, u32)> {
        let len = u32::try_from(context_len).unwrap_or(0);
        let rounds = repeat.max(1);
        let started = Instant::now();
        let mut outcome = None;
        let mut left = rounds;
        while left > 0 {
            let (last, done) =
                self.worker
                    .repeat(&self.program, (layout, len), Some(packet), left)?;
            packet = last.packet.unwrap_or(packet);
            outcome = Some(last);
            left -= done.min(left);
        }
        // At least one round was run, so there is an outcome.
        let outcome = outcome.ok_or_else(|| self.refuse(Errno::EINVAL))?;
        Ok((outcome, packet, average(started, rounds)))
    }

    /// The bytes from one address of the packet area to another.
    fn bytes(&self, from: u32, to: u32) -> Vec<u8> {
        let mut bytes = vec![0; to.saturating_sub(from) as usize];
        let offset = from.saturating_sub(self.worker.packet.start()) as usize;
        // The packet never leaves its area (`Packet::floor` and `ceiling`).
        let _ = self.worker.packet.host().copy_out(offset, &mut bytes);
        bytes
    }

    fn refuse(&self, errno: Errno) -> Error {
        let kind = self.program.kind();
        let (code, message) = match errno {
            Errno::ENOTSUPP => (
                Code::PROGRAM_UNSUPPORTED,
                format!("there are no test runs of programs of type {kind}"),
            ),
            Errno::ENODEV => (
                Code::RUN_REFUSED,
                "a vm has one interface, number 1".to_owned(),
            ),
            _ => (
                Code::RUN_REFUSED,
                format!(
                    "a packet too short for its headers, or a context field that means nothing to a program of type {kind}"
                ),
            ),
        };
        Diagnosis::new(code, message)
            .in_program(self.program.name())
            .errno(errno)
            .into()
    }
}

/// Nanoseconds of a round.
fn average(started: Instant, rounds: u32) -> u32 {
    let each = started.elapsed().as_nanos() / u128::from(rounds.max(1));
    u32::try_from(each).unwrap_or(u32::MAX)
}

/// A struct of the kernel's interface as bytes, field by field.
struct Fields(Vec<u8>);

impl Fields {
    /// The struct with `given` at its start.
    fn new(size: usize, given: &[u8]) -> Self {
        let mut bytes = given.to_vec();
        bytes.resize(size, 0);
        Self(bytes)
    }

    /// The struct as a caller gave it, who may know a longer one as long as what is beyond says nothing.
    fn given(size: usize, given: &[u8]) -> std::result::Result<Self, Errno> {
        let beyond = given.get(size..).unwrap_or_default();
        // KERNEL: the limit is a page (6.18).
        if given.len() > PAGE_BYTES || beyond.iter().any(|byte| *byte != 0) {
            return Err(Errno::E2BIG);
        }
        Ok(Self::new(size, given))
    }

    fn get(&self, offset: usize) -> u32 {
        let field = self.0.get(offset..).and_then(|rest| rest.first_chunk());
        field.map_or(0, |field| u32::from_ne_bytes(*field))
    }

    fn put(&mut self, offset: usize, value: u32) {
        self.put_bytes(offset, &value.to_ne_bytes());
    }

    fn put_bytes(&mut self, offset: usize, value: &[u8]) {
        if let Some(field) = self.0.get_mut(offset..offset + value.len()) {
            field.copy_from_slice(value);
        }
    }

    /// Whether all bytes of the range are 0.
    fn is_zero(&self, range: std::ops::Range<usize>) -> bool {
        let bytes = self.0.get(range);
        bytes.is_some_and(|bytes| bytes.iter().all(|byte| *byte == 0))
    }
}
