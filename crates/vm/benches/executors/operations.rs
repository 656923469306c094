//! Single operations: what a run, a helper call, a map, a ring or a tail call costs by itself, on both of our fast executors.
//!
//! Loops around an operation are part of its number: two or three instructions, about half a nanosecond.

use std::sync::Barrier;
use std::time::Instant;

use twinbpf_object::insn::{Insn, InsnIndex};
use twinbpf_object::link::{Hole, HoleKind, LinkedProgram};
use twinbpf_object::{MapIndex, MapKind, MapSpec, ProgramKind, TestInput};
use twinbpf_vm::hooks::test_run::TestRunner;
use twinbpf_vm::{Executor, Vm, VmConfig, VmMap, VmProgram};

use crate::measure::{ROUNDS, measure, median, time};
use crate::peers::Outcome;

/// How often a program repeats its operation.
const TIMES: i32 = 256;
/// Helpers by number.
const LOOKUP: i32 = 1;
const UPDATE: i32 = 2;
const TAIL_CALL: i32 = 12;
/// `bpf_get_current_pid_tgid`: a call in every engine, nothing that could be inlined.
const PID: i32 = 14;
const RESERVE: i32 = 131;
const SUBMIT: i32 = 132;
const FOR_EACH: i32 = 164;
const LOOP: i32 = 181;

type Row = fn(Executor) -> Outcome<f64>;

pub(crate) fn report(is_wanted: impl Fn(&str) -> bool) -> Outcome<()> {
    println!("{:<28} {:>11} {:>14}", "one", "jit ns", "interpreter ns");
    let rows: [(&str, Row); 12] = [
        ("run of an empty program", empty),
        ("helper call", helper),
        ("array lookup", |executor| {
            on_map(executor, MapKind::Array, LOOKUP)
        }),
        ("hash lookup", |executor| {
            on_map(executor, MapKind::Hash, LOOKUP)
        }),
        ("hash update", |executor| {
            on_map(executor, MapKind::Hash, UPDATE)
        }),
        ("ring reserve and submit", ring),
        ("tail call", tail_call),
        ("round of bpf_loop", rounds),
        ("element of for_each", elements),
        ("test run of a packet", test_run),
        ("load of 200 instructions", load),
        ("load of 4,000 instructions", load_long),
    ];
    for (name, row) in rows {
        if is_wanted(name) {
            let (compiled, interpreted) = (row(Executor::Jit)?, row(Executor::Interpreter)?);
            println!("{name:<28} {compiled:>11.1} {interpreted:>14.1}");
        }
    }
    if is_wanted("two threads") {
        println!("two threads on one hash map, times one:");
        for (keys, second) in [("keys of their own", TIMES), ("the same keys", 0)] {
            let lookups = two_threads(LOOKUP, second)?;
            let updates = two_threads(UPDATE, second)?;
            println!("{keys:<28} lookups {lookups:.2}, updates {updates:.2}");
        }
    }
    Ok(())
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

fn vm(executor: Executor) -> Outcome<Vm> {
    Ok(Vm::new(VmConfig {
        executor,
        ..VmConfig::default()
    })?)
}

/// A program; each pair says which instruction refers to what.
fn program(
    vm: &Vm,
    insns: Vec<Insn>,
    maps: &[VmMap],
    holes: &[(u32, HoleKind)],
) -> Outcome<VmProgram> {
    let mut linked = LinkedProgram::from_insns("bench", ProgramKind::SocketFilter, insns);
    let hole = |(at, kind): &(u32, HoleKind)| Hole {
        at: InsnIndex(*at),
        kind: kind.clone(),
    };
    linked.holes = holes.iter().map(hole).collect();
    Ok(vm.load_program(&linked, maps)?)
}

/// Nanoseconds of a run on no context.
fn run_ns(vm: &Vm, program: &VmProgram) -> Outcome<f64> {
    let mut worker = vm.worker()?;
    Ok(measure(|| worker.run(program, &mut []).map(drop))?)
}

fn nothing() -> Vec<Insn> {
    vec![insn(0xb7, 0, 0, 0, 0), insn(0x95, 0, 0, 0, 0)]
}

fn empty(executor: Executor) -> Outcome<f64> {
    let vm = vm(executor)?;
    run_ns(&vm, &program(&vm, nothing(), &[], &[])?)
}

fn helper(executor: Executor) -> Outcome<f64> {
    let vm = vm(executor)?;
    let insns = vec![
        insn(0xb7, 6, 0, 0, TIMES),
        insn(0x85, 0, 0, 0, PID),
        insn(0x17, 6, 0, 0, 1),
        insn(0x55, 6, 0, -3, 0),
        insn(0x95, 0, 0, 0, 0),
    ];
    Ok(run_ns(&vm, &program(&vm, insns, &[], &[])?)? / f64::from(TIMES))
}

/// Calls a helper on each of 256 keys from `first` on, all of which are there.
fn on_each_key(vm: &Vm, map: &VmMap, helper: i32, first: i32) -> Outcome<VmProgram> {
    let insns = vec![
        insn(0xb7, 6, 0, 0, TIMES),
        insn(0x7b, 10, 6, -16, 0),
        insn(0xbf, 1, 6, 0, 0),
        insn(0x07, 1, 0, 0, first - 1),
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
    program(
        vm,
        insns,
        std::slice::from_ref(map),
        &[(10, HoleKind::Map(MapIndex(0)))],
    )
}

/// A full map with values of 8 bytes.
fn full(vm: &Vm, kind: MapKind, entries: u32) -> Outcome<VmMap> {
    let map = vm.create_map(&MapSpec::new("bench", kind, 4, 8, entries))?;
    for key in 0..entries {
        map.update(&key.to_ne_bytes(), &[1; 8], 0)
            .map_err(|errno| format!("filling the map: {errno}"))?;
    }
    Ok(map)
}

fn on_map(executor: Executor, kind: MapKind, helper: i32) -> Outcome<f64> {
    let vm = vm(executor)?;
    let program = on_each_key(&vm, &full(&vm, kind, 256)?, helper, 0)?;
    Ok(run_ns(&vm, &program)? / f64::from(TIMES))
}

/// Records of 16 bytes; the reader empties the ring between runs and is not counted.
fn ring(executor: Executor) -> Outcome<f64> {
    const RECORDS: i32 = 2048;
    let vm = vm(executor)?;
    let map = vm.create_map(&MapSpec::new("bench", MapKind::RingBuf, 0, 0, 1 << 16))?;
    let insns = vec![
        insn(0xb7, 6, 0, 0, RECORDS),
        insn(0x18, 1, 0, 0, 0),
        Insn::default(),
        insn(0xb7, 2, 0, 0, 16),
        insn(0xb7, 3, 0, 0, 0),
        insn(0x85, 0, 0, 0, RESERVE),
        insn(0x15, 0, 0, 6, 0),
        insn(0x7b, 0, 6, 0, 0),
        insn(0xbf, 1, 0, 0, 0),
        insn(0xb7, 2, 0, 0, 0),
        insn(0x85, 0, 0, 0, SUBMIT),
        insn(0x17, 6, 0, 0, 1),
        insn(0x55, 6, 0, -12, 0),
        insn(0xb7, 0, 0, 0, 0),
        insn(0x95, 0, 0, 0, 0),
    ];
    let hole = [(1, HoleKind::Map(MapIndex(0)))];
    let program = program(&vm, insns, std::slice::from_ref(&map), &hole)?;
    let mut worker = vm.worker()?;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS * 20 {
        rounds.push(time(1, || worker.run(&program, &mut []).map(drop))? / f64::from(RECORDS));
        let read = map.drain_ring(usize::MAX, |_| true);
        assert_eq!(read.ok(), usize::try_from(RECORDS).ok(), "records");
    }
    Ok(median(rounds))
}

/// A program that calls itself, 33 times in a run.
fn tail_call(executor: Executor) -> Outcome<f64> {
    let vm = vm(executor)?;
    let map = vm.create_map(&MapSpec::new("bench", MapKind::ProgArray, 4, 4, 1))?;
    let insns = vec![
        insn(0x18, 2, 0, 0, 0),
        Insn::default(),
        insn(0xb7, 3, 0, 0, 0),
        insn(0x85, 0, 0, 0, TAIL_CALL),
        insn(0xb7, 0, 0, 0, 0),
        insn(0x95, 0, 0, 0, 0),
    ];
    let hole = [(0, HoleKind::Map(MapIndex(0)))];
    let caller = program(&vm, insns, std::slice::from_ref(&map), &hole)?;
    vm.insert_program(&map, &[0; 4], &caller)
        .map_err(|errno| format!("filling the map: {errno}"))?;
    let whole = run_ns(&vm, &caller)?;
    Ok((whole - empty(executor)?) / 33.0)
}

fn rounds(executor: Executor) -> Outcome<f64> {
    let vm = vm(executor)?;
    let start = [insn(0xb7, 1, 0, 0, 1024)];
    with_callback(&vm, &start, LOOP, &[]).map(|whole| whole / 1024.0)
}

fn elements(executor: Executor) -> Outcome<f64> {
    let vm = vm(executor)?;
    let map = full(&vm, MapKind::Array, 256)?;
    let start = [insn(0x18, 1, 0, 0, 0), Insn::default()];
    with_callback(&vm, &start, FOR_EACH, &[map]).map(|whole| whole / f64::from(TIMES))
}

/// Nanoseconds of a run that puts something into `r1`, calls a helper with a callback that does nothing, and ends.
fn with_callback(vm: &Vm, start: &[Insn], helper: i32, maps: &[VmMap]) -> Outcome<f64> {
    let mut insns = start.to_vec();
    let named_at = u32::try_from(insns.len())?;
    insns.extend([
        insn(0x18, 2, 0, 0, 0),
        Insn::default(),
        insn(0xb7, 3, 0, 0, 0),
        insn(0xb7, 4, 0, 0, 0),
        insn(0x85, 0, 0, 0, helper),
        insn(0x95, 0, 0, 0, 0),
    ]);
    let callee = InsnIndex(u32::try_from(insns.len())?);
    insns.extend(nothing());
    let mut linked = LinkedProgram::from_insns("bench", ProgramKind::SocketFilter, insns);
    let mut callback = linked.functions[0].clone();
    callback.start = callee;
    linked.functions.push(callback);
    let hole = |at, kind| Hole {
        at: InsnIndex(at),
        kind,
    };
    linked.holes = vec![hole(named_at, HoleKind::Function(callee))];
    if !maps.is_empty() {
        linked.holes.push(hole(0, HoleKind::Map(MapIndex(0))));
    }
    run_ns(vm, &vm.load_program(&linked, maps)?)
}

fn test_run(executor: Executor) -> Outcome<f64> {
    const REPEAT: u32 = 1000;
    let vm = vm(executor)?;
    let linked = LinkedProgram::from_insns("bench", ProgramKind::Xdp, nothing());
    let mut runner = TestRunner::new(&vm, &vm.load_program(&linked, &[])?)?;
    let input = TestInput {
        data: &[0; 64],
        context: &[],
        repeat: REPEAT,
    };
    Ok(measure(|| runner.run(&input).map(drop))? / f64::from(REPEAT))
}

fn load(executor: Executor) -> Outcome<f64> {
    load_of(executor, 200)
}

fn load_long(executor: Executor) -> Outcome<f64> {
    load_of(executor, 4000)
}

/// Checking a program of loops, and compiling it where it is compiled.
fn load_of(executor: Executor, count: usize) -> Outcome<f64> {
    let body = [
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
    ];
    let mut insns: Vec<Insn> = body.into_iter().cycle().take(count - 1).collect();
    insns.push(insn(0x95, 0, 0, 0, 0));
    let vm = vm(executor)?;
    let linked = LinkedProgram::from_insns("bench", ProgramKind::SocketFilter, insns);
    Ok(measure(|| vm.load_program(&linked, &[]).map(drop))?)
}

/// How much more two threads do in the same time than one; the second one's keys begin at `second`.
fn two_threads(helper: i32, second: i32) -> Outcome<f64> {
    let vm = vm(Executor::Jit)?;
    let map = full(&vm, MapKind::Hash, 1 << 16)?;
    let programs = [
        on_each_key(&vm, &map, helper, 0)?,
        on_each_key(&vm, &map, helper, second)?,
    ];
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        ratios.push(2.0 * together(&vm, &programs[..1])? / together(&vm, &programs)?);
    }
    Ok(median(ratios))
}

/// Seconds until every program has run on a thread of its own, as often as the others.
fn together(vm: &Vm, programs: &[VmProgram]) -> Outcome<f64> {
    let start = &Barrier::new(programs.len() + 1);
    let mut workers = Vec::new();
    for program in programs {
        workers.push((vm.worker()?, program));
    }
    std::thread::scope(|scope| {
        let running: Vec<_> = workers
            .iter_mut()
            .map(|(worker, program)| {
                scope.spawn(move || {
                    start.wait();
                    (0..4000).try_for_each(|_| worker.run(program, &mut []).map(drop))
                })
            })
            .collect();
        start.wait();
        let started = Instant::now();
        for thread in running {
            thread.join().map_err(|_| "a thread panicked")??;
        }
        Ok(started.elapsed().as_secs_f64())
    })
}
