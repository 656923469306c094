//! The vm's sandboxed executors beside those of the `rbpf` crate: the same bytes, interleaved rounds, one process.
//!
//! Reports the median of thread CPU time per run and the median of the per-round ratios. Before timing, all four must
//! return the same value. Both interpreters and our compiled code check memory accesses; `rbpf`'s compiled code does not.

#![expect(
    clippy::print_stdout,
    reason = "a benchmark reports on standard output"
)]
#![expect(unsafe_code, reason = "rbpf's compiled code is unsafe to call")]

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use twinbpf_object::insn::Insn;
use twinbpf_object::link::LinkedProgram;
use twinbpf_object::spec::ByteOrder;
use twinbpf_object::{ProgramKind, Result};
use twinbpf_vm::{Executor, Vm, VmConfig, VmProgram, Worker};

const ROUNDS: usize = 21;
const ROUND_NS: u64 = 10_000_000;
/// Bytes of memory that programs get in `r1`.
const MEMORY_BYTES: usize = 2048;
/// Number of a helper that answers a small number: in the vm `bpf_get_smp_processor_id`.
const HELPER: i32 = 8;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // `cargo bench` passes `--bench`; any other word selects rows that contain it.
    let wanted = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    println!(
        "{:<9} {:>14} {:>10} {:>7} {:>12} {:>10} {:>7}",
        "program", "interpreter ns", "rbpf ns", "ratio", "compiled ns", "rbpf ns", "ratio"
    );
    for (name, insns) in [
        ("alu", alu()),
        ("memory", memory()),
        ("branches", branches()),
        ("helper", helper_calls()),
    ] {
        if wanted
            .as_ref()
            .is_none_or(|wanted| name.contains(wanted.as_str()))
        {
            let interpreted = compare(&insns, Executor::Interpreter)?;
            let compiled = compare(&insns, Executor::Jit)?;
            println!(
                "{name:<9} {:>14.1} {:>10.1} {:>7.2} {:>12.1} {:>10.1} {:>7.2}",
                interpreted.ours_ns,
                interpreted.theirs_ns,
                interpreted.ratio,
                compiled.ours_ns,
                compiled.theirs_ns,
                compiled.ratio
            );
        }
    }
    println!("ratio: median over {ROUNDS} rounds of twinbpf / rbpf; below 1 is faster than rbpf");
    Ok(())
}

struct Row {
    ours_ns: f64,
    theirs_ns: f64,
    ratio: f64,
}

/// Our executor against the one of its kind in `rbpf`.
fn compare(insns: &[Insn], executor: Executor) -> Result<Row, Box<dyn std::error::Error>> {
    let mut ours = Ours::load(insns, executor)?;
    let bytes: Vec<u8> = insns
        .iter()
        .flat_map(|insn| insn.to_bytes(ByteOrder::Little))
        .collect();
    let mut theirs = rbpf::EbpfVmRaw::new(Some(&bytes))?;
    theirs.register_helper(u32::try_from(HELPER)?, |_, _, _, _, _| 0)?;
    theirs.jit_compile()?;
    let run_theirs = |memory: &mut [u8]| match executor {
        // SAFETY: the programs of this file stay inside the memory they are given and return.
        Executor::Jit => unsafe { theirs.execute_program_jit(memory) },
        _ => theirs.execute_program(memory),
    };
    let mut memory = vec![1u8; MEMORY_BYTES];

    let (expected, found) = (
        run_theirs(&mut memory.clone())?,
        ours.run(&mut memory.clone())?,
    );
    assert_eq!(expected, found, "the engines disagree");

    let runs = calibrate(|| ours.run(&mut memory).map(drop))?;
    let mut rounds = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let ours_ns = time(runs, || ours.run(&mut memory).map(drop))?;
        let theirs_ns = time(runs, || run_theirs(&mut memory).map(drop))?;
        rounds.push((ours_ns, theirs_ns));
    }
    Ok(Row {
        ours_ns: median(rounds.iter().map(|round| round.0)),
        theirs_ns: median(rounds.iter().map(|round| round.1)),
        ratio: median(rounds.iter().map(|round| round.0 / round.1)),
    })
}

struct Ours {
    program: VmProgram,
    worker: Worker,
}

impl Ours {
    fn load(insns: &[Insn], executor: Executor) -> Result<Self> {
        let vm = Vm::new(VmConfig {
            executor,
            ..VmConfig::default()
        })?;
        let linked = LinkedProgram::from_insns("bench", ProgramKind::SocketFilter, insns.to_vec());
        Ok(Self {
            program: vm.load_program(&linked, &[])?,
            worker: vm.worker()?,
        })
    }

    fn run(&mut self, memory: &mut [u8]) -> Result<u64> {
        self.worker.run(&self.program, memory)
    }
}

/// How often to run so that a round takes about 10 ms.
fn calibrate<E>(mut run: impl FnMut() -> Result<(), E>) -> Result<u32, E> {
    let mut runs = 1u32;
    while runs < 1 << 24 {
        if time(runs, &mut run)? * f64::from(runs) > 1e6 {
            break;
        }
        runs *= 2;
    }
    let per_run = time(runs, &mut run)?.max(1.0);
    let wanted = Duration::from_nanos(ROUND_NS).as_secs_f64() * 1e9 / per_run;
    Ok((1..=24)
        .map(|shift| 1u32 << shift)
        .find(|runs| f64::from(*runs) >= wanted)
        .unwrap_or(1 << 24))
}

/// Nanoseconds of this thread's CPU time per run.
fn time<E>(runs: u32, mut run: impl FnMut() -> Result<(), E>) -> Result<f64, E> {
    let start = cpu_seconds();
    for _ in 0..runs {
        run()?;
    }
    Ok((cpu_seconds() - start) * 1e9 / f64::from(runs))
}

fn cpu_seconds() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        now.tv_sec.unsigned_abs(),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    )
    .as_secs_f64()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn insn(opcode: u8, dst: u8, src: u8, offset: i16, imm: i32) -> Insn {
    Insn {
        opcode,
        dst,
        src,
        offset,
        imm,
    }
}

/// 256 rounds of a dependent chain: multiply, xor, shift, add.
fn alu() -> Vec<Insn> {
    vec![
        insn(0xb7, 0, 0, 0, 1),
        insn(0xb7, 2, 0, 0, 256),
        insn(0x27, 0, 0, 0, 0x0123_4567),
        insn(0xbf, 3, 0, 0, 0),
        insn(0x77, 3, 0, 0, 7),
        insn(0xaf, 0, 3, 0, 0),
        insn(0x07, 0, 0, 0, 99),
        insn(0x17, 2, 0, 0, 1),
        insn(0x55, 2, 0, -7, 0),
        insn(0x95, 0, 0, 0, 0),
    ]
}

/// 254 loads and stores of 8 bytes over 2 KiB.
fn memory() -> Vec<Insn> {
    vec![
        insn(0xb7, 0, 0, 0, 0),
        insn(0xb7, 2, 0, 0, 254),
        insn(0x79, 3, 1, 0, 0),
        insn(0x0f, 0, 3, 0, 0),
        insn(0x79, 4, 1, 8, 0),
        insn(0xaf, 4, 0, 0, 0),
        insn(0x7b, 1, 4, 8, 0),
        insn(0x07, 1, 0, 0, 8),
        insn(0x17, 2, 0, 0, 1),
        insn(0x55, 2, 0, -8, 0),
        insn(0xbf, 0, 2, 0, 0),
        insn(0x95, 0, 0, 0, 0),
    ]
}

/// 256 rounds of byte loads and comparisons, as in header parsing.
fn branches() -> Vec<Insn> {
    vec![
        insn(0xb7, 0, 0, 0, 0),
        insn(0xb7, 2, 0, 0, 256),
        insn(0x71, 3, 1, 0, 0),
        insn(0x15, 3, 0, 3, 6),
        insn(0x15, 3, 0, 2, 17),
        insn(0x25, 3, 0, 1, 100),
        insn(0x07, 0, 0, 0, 1),
        insn(0x69, 4, 1, 2, 0),
        insn(0xdc, 4, 0, 0, 16),
        insn(0x0f, 0, 4, 0, 0),
        insn(0x07, 1, 0, 0, 1),
        insn(0x17, 2, 0, 0, 1),
        insn(0x55, 2, 0, -11, 0),
        insn(0x95, 0, 0, 0, 0),
    ]
}

/// 256 calls of a trivial helper.
fn helper_calls() -> Vec<Insn> {
    vec![
        insn(0xb7, 6, 0, 0, 256),
        insn(0x85, 0, 0, 0, HELPER),
        insn(0x17, 6, 0, 0, 1),
        insn(0x55, 6, 0, -3, 0),
        insn(0x95, 0, 0, 0, 0),
    ]
}
