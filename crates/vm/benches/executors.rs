//! The vm's sandboxed executors beside those of the `rbpf` crate: the same bytes, interleaved rounds, one process.
//!
//! Reports the median of thread CPU time per run and the median of the per-round ratios. Before timing, all must
//! return the same value. Both interpreters and our compiled code check memory accesses; `rbpf`'s compiled code does not.
//! The native baseline is the same loop as a Rust function that is not inlined.
//!
//! A second table has what `rbpf` lacks: maps, and what a run and a compilation cost by themselves.

#![expect(
    clippy::print_stdout,
    reason = "a benchmark reports on standard output"
)]
#![expect(unsafe_code, reason = "rbpf's compiled code is unsafe to call")]

use std::hint::black_box;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use twinbpf_object::insn::{Insn, InsnIndex};
use twinbpf_object::link::{Hole, HoleKind, LinkedProgram};
use twinbpf_object::spec::ByteOrder;
use twinbpf_object::{Code, Diagnosis, MapIndex, MapKind, MapSpec, ProgramKind, Result};
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
    let is_wanted = |name: &str| {
        wanted
            .as_ref()
            .is_none_or(|wanted| name.contains(wanted.as_str()))
    };
    println!(
        "{:<9} {:>9} {:>14} {:>7} {:>7} {:>12} {:>7} {:>7}",
        "program",
        "native ns",
        "interpreter ns",
        "/native",
        "/rbpf",
        "compiled ns",
        "/native",
        "/rbpf"
    );
    let rows: [(&str, Vec<Insn>, Native); 4] = [
        ("alu", alu(), native_alu),
        ("memory", memory(), native_memory),
        ("branches", branches(), native_branches),
        ("helper", helper_calls(), native_helper_calls),
    ];
    for (name, insns, native) in rows {
        if is_wanted(name) {
            let interpreted = compare(&insns, Executor::Interpreter, native)?;
            let compiled = compare(&insns, Executor::Jit, native)?;
            println!(
                "{name:<9} {:>9.1} {:>14.1} {:>7.2} {:>7.2} {:>12.1} {:>7.2} {:>7.2}",
                compiled.native_ns,
                interpreted.ours_ns,
                interpreted.to_native,
                interpreted.to_rbpf,
                compiled.ours_ns,
                compiled.to_native,
                compiled.to_rbpf
            );
        }
    }
    println!("ratios: medians over {ROUNDS} rounds; below 1 is faster than the baseline");
    println!("our runs include copies of {MEMORY_BYTES} bytes of context, in and out\n");
    println!(
        "{:<28} {:>14} {:>12}",
        "one", "interpreter ns", "compiled ns"
    );
    for (name, row) in [
        ("run of an empty program", empty as fn(Executor) -> _),
        ("array lookup", array_lookup),
        ("hash lookup", hash_lookup),
        ("hash update", hash_update),
        ("load of 200 instructions", load),
    ] {
        if is_wanted(name) {
            let (interpreted, compiled) = (row(Executor::Interpreter)?, row(Executor::Jit)?);
            println!("{name:<28} {interpreted:>14.1} {compiled:>12.1}");
        }
    }
    Ok(())
}

struct Row {
    ours_ns: f64,
    native_ns: f64,
    to_rbpf: f64,
    to_native: f64,
}

/// The same computation as a program's, on the same memory.
type Native = fn(&mut [u8]) -> u64;

/// Our executor against the one of its kind in `rbpf`.
fn compare(
    insns: &[Insn],
    executor: Executor,
    native: Native,
) -> Result<Row, Box<dyn std::error::Error>> {
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
    assert_eq!(native(&mut memory.clone()), found, "the baseline disagrees");

    let runs = calibrate(|| ours.run(&mut memory).map(drop))?;
    let mut rounds = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let ours_ns = time(runs, || ours.run(&mut memory).map(drop))?;
        let theirs_ns = time(runs, || run_theirs(&mut memory).map(drop))?;
        let native_ns = time(runs, || {
            black_box(native(black_box(&mut memory)));
            Ok::<(), twinbpf_object::Error>(())
        })?;
        rounds.push((ours_ns, theirs_ns, native_ns));
    }
    Ok(Row {
        ours_ns: median(rounds.iter().map(|round| round.0)),
        native_ns: median(rounds.iter().map(|round| round.2)),
        to_rbpf: median(rounds.iter().map(|round| round.0 / round.1)),
        to_native: median(rounds.iter().map(|round| round.0 / round.2)),
    })
}

/// Nanoseconds of a run that does nothing.
fn empty(executor: Executor) -> Result<f64> {
    let mut ours = Ours::load(&[insn(0xb7, 0, 0, 0, 0), insn(0x95, 0, 0, 0, 0)], executor)?;
    measure(|| ours.run(&mut []).map(drop))
}

/// Nanoseconds of a lookup, loop and key included.
fn array_lookup(executor: Executor) -> Result<f64> {
    per_element(MapKind::Array, 1, executor)
}

fn hash_lookup(executor: Executor) -> Result<f64> {
    per_element(MapKind::Hash, 1, executor)
}

fn hash_update(executor: Executor) -> Result<f64> {
    per_element(MapKind::Hash, 2, executor)
}

/// 256 calls of a helper on a map with 256 entries, all of which are there.
fn per_element(kind: MapKind, helper: i32, executor: Executor) -> Result<f64> {
    let vm = Vm::new(VmConfig {
        executor,
        ..VmConfig::default()
    })?;
    let map = vm.create_map(&MapSpec::new("bench", kind, 4, 8, 256))?;
    for key in 0..256u32 {
        map.update(&key.to_ne_bytes(), &[1; 8], 0)
            .map_err(|errno| Diagnosis::new(Code::USAGE, "a full map").errno(errno))?;
    }
    let insns = vec![
        insn(0xb7, 6, 0, 0, 256),
        insn(0x7b, 10, 6, -16, 0),
        insn(0xbf, 1, 6, 0, 0),
        insn(0x07, 1, 0, 0, -1),
        insn(0x63, 10, 1, -4, 0),
        insn(0xbf, 2, 10, 0, 0),
        insn(0x07, 2, 0, 0, -4),
        insn(0xbf, 3, 10, 0, 0),
        insn(0x07, 3, 0, 0, -16),
        insn(0xb7, 4, 0, 0, 0),
        insn(0x18, 1, 0, 0, 0),
        Insn::default(),
        insn(0x85, 0, 0, 0, helper),
        insn(0x17, 6, 0, 0, 1),
        insn(0x55, 6, 0, -13, 0),
        insn(0x95, 0, 0, 0, 0),
    ];
    let mut linked = LinkedProgram::from_insns("bench", ProgramKind::SocketFilter, insns);
    linked.holes = vec![Hole {
        at: InsnIndex(10),
        kind: HoleKind::Map(MapIndex(0)),
    }];
    let program = vm.load_program(&linked, &[map])?;
    let mut worker = vm.worker()?;
    Ok(measure(|| worker.run(&program, &mut []).map(drop))? / 256.0)
}

/// Nanoseconds of checking a program, and compiling it where it is compiled.
fn load(executor: Executor) -> Result<f64> {
    let vm = Vm::new(VmConfig {
        executor,
        ..VmConfig::default()
    })?;
    let mut insns = Vec::new();
    for _ in 0..18 {
        insns.extend(memory().split_last().map_or(&[][..], |(_, body)| body));
    }
    insns.truncate(199);
    insns.push(insn(0x95, 0, 0, 0, 0));
    let linked = LinkedProgram::from_insns("bench", ProgramKind::SocketFilter, insns);
    measure(|| vm.load_program(&linked, &[]).map(drop))
}

/// The median over rounds of about 10 ms.
fn measure(mut run: impl FnMut() -> Result<()>) -> Result<f64> {
    let runs = calibrate(&mut run)?;
    let mut rounds = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        rounds.push(time(runs, &mut run)?);
    }
    Ok(median(rounds.into_iter()))
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

#[inline(never)]
fn native_alu(_: &mut [u8]) -> u64 {
    let mut value = 1u64;
    for _ in 0..black_box(256) {
        value = value.wrapping_mul(0x0123_4567);
        value ^= value >> 7;
        value = value.wrapping_add(99);
    }
    value
}

#[inline(never)]
fn native_memory(memory: &mut [u8]) -> u64 {
    let (words, _) = memory.as_chunks_mut::<8>();
    let mut sum = 0u64;
    let mut before = words.first().map_or(0, |word| u64::from_ne_bytes(*word));
    for word in words.iter_mut().skip(1).take(black_box(254)) {
        sum = sum.wrapping_add(before);
        before = u64::from_ne_bytes(*word) ^ sum;
        *word = before.to_ne_bytes();
    }
    0
}

#[inline(never)]
fn native_branches(memory: &mut [u8]) -> u64 {
    let mut sum = 0u64;
    for bytes in memory.windows(4).take(black_box(256)) {
        let &[first, _, third, fourth] = bytes else {
            return 0;
        };
        if first != 6 && first != 17 && first <= 100 {
            sum += 1;
        }
        sum = sum.wrapping_add(u64::from(u16::from_be_bytes([third, fourth])));
    }
    sum
}

#[inline(never)]
fn native_helper_calls(_: &mut [u8]) -> u64 {
    let helper: fn() -> u64 = black_box(native_helper);
    let mut value = 0;
    for _ in 0..256 {
        value = helper();
    }
    value
}

#[inline(never)]
fn native_helper() -> u64 {
    black_box(0)
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
