//! Kernel functions, dynptrs, timers and the like: the same programs on the kernel and on every executor of the vm must find out the
//! same.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use twinbpf::{Engine, Executor, Loaded, Object, TestInput, VmConfig};
use twinbpf_trials::{Case, Need};

/// Programs of `functions.bpf.c` that need a packet, which has 64 bytes.
const WITH_PACKET: [&str; 5] = [
    "asks_the_network",
    "knows_cgroups",
    "writes_its_packet",
    "only_reads_its_packet",
    "writes_its_frame",
];

/// Programs of `throws.bpf.c`, and what each answers to a packet of 64 bytes.
const THROWING: [(&str, u32); 5] = [
    ("throws_always", 64),
    ("throws_below", 64),
    ("throws_to_its_handler", 69),
    ("goes_on_after_another", 1064),
    ("gives_way_to_another", 64),
];

/// Programs of `timers.bpf.c`, and how many callbacks each one leads to.
const TIMERS: [(&str, u64); 5] = [
    ("arms", 3),
    ("cancels", 0),
    ("arms_in_a_hash", 3),
    ("deletes", 0),
    ("queues", 1),
];
/// How long callbacks may take.
const DEADLINE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let mut cases = Vec::new();
    for program in fixture("functions").programs {
        for (word, executor) in executors() {
            let name = program.name.clone();
            let needs = [Need::Kernel, Need::KernelTypes, Need::Linux618];
            let case = format!("{name}::{word}");
            cases.push(Case::new(&case, &needs, move || agrees(&name, executor)));
        }
    }
    for (program, rounds) in TIMERS {
        for (word, executor) in executors() {
            let needs = [Need::Kernel, Need::KernelTypes, Need::Linux618];
            let case = format!("{program}::{word}");
            cases.push(Case::new(&case, &needs, move || {
                let expected = run_timers(&Engine::kernel().unwrap(), program, rounds);
                assert_eq!(run_timers(&vm(executor), program, rounds), expected);
            }));
        }
    }
    for program in fixture("objects")
        .programs
        .into_iter()
        .filter(|each| each.autoload)
    {
        for (word, executor) in executors() {
            let name = program.name.clone();
            let needs = [Need::Kernel, Need::KernelTypes, Need::Linux618];
            let case = format!("{name}::{word}");
            cases.push(Case::new(&case, &needs, move || {
                let expected = run_objects(&Engine::kernel().unwrap(), &name);
                assert_eq!(run_objects(&vm(executor), &name), expected);
            }));
        }
    }
    for (program, rest) in THROWING {
        for (word, executor) in executors() {
            let needs = [Need::Kernel, Need::KernelTypes, Need::Linux618];
            let case = format!("{program}::{word}");
            cases.push(Case::new(&case, &needs, move || {
                let expected = run_throwing(&Engine::kernel().unwrap(), program);
                assert_eq!(expected.0, rest);
                assert_eq!(run_throwing(&vm(executor), program), expected);
            }));
        }
    }
    cases.push(Case::new(
        "cgroups_are_the_configured_ones::vm",
        &[],
        cgroups_are_the_configured_ones,
    ));
    twinbpf_trials::run(cases)
}

fn cgroups_are_the_configured_ones() {
    let engine = Engine::vm_with(VmConfig {
        cgroups: Some(vec![1, 5, 9]),
        ..VmConfig::default()
    });
    let (_, _, seen) = outcome(&engine.unwrap(), "knows_cgroups");
    assert_eq!(seen[..8], [9, 0, 0, 0, 1, 9, 0, 1]);
}

fn executors() -> [(&'static str, Executor); 3] {
    [
        ("interpreter", Executor::Interpreter),
        ("checked", Executor::Checked),
        ("jit", Executor::Jit),
    ]
}

fn fixture(name: &str) -> Object {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/bpf");
    Object::parse(&std::fs::read(folder.join(format!("{name}.bpf.o"))).unwrap()).unwrap()
}

/// A vm with this executor.
fn vm(executor: Executor) -> Engine {
    Engine::vm_with(VmConfig {
        executor,
        ..VmConfig::default()
    })
    .unwrap()
}

/// Loads one program of a fixture.
fn load(engine: &Engine, file: &str, program: &str) -> Loaded {
    let mut object = fixture(file);
    object.programs.retain(|each| each.name == program);
    engine.load_object(&object).unwrap()
}

/// What a program of `functions.bpf.c` answers, makes of its packet, and finds out.
fn outcome(engine: &Engine, program: &str) -> (u32, Vec<u8>, Vec<i32>) {
    let loaded = load(engine, "functions", program);
    let packet: Vec<u8> = (0..64).collect();
    let data: &[u8] = match WITH_PACKET.contains(&program) {
        true => &packet,
        false => &[],
    };
    let input = TestInput {
        data,
        ..TestInput::default()
    };
    let output = loaded.program(program).unwrap().test_run(&input).unwrap();
    let seen = loaded.variable::<[i32; 16]>("seen").unwrap().get().unwrap();
    (output.value, output.data, seen.to_vec())
}

fn agrees(program: &str, executor: Executor) {
    let expected = outcome(&Engine::kernel().unwrap(), program);
    assert_eq!(outcome(&vm(executor), program), expected);
}

/// What a program of `throws.bpf.c` answers, and what it and its handler find out; all programs are loaded, for one calls another.
fn run_throwing(engine: &Engine, program: &str) -> (u32, Vec<i32>) {
    let loaded = engine.load_object(&fixture("throws")).unwrap();
    let input = TestInput {
        data: &[0; 64],
        ..TestInput::default()
    };
    let live = loaded.program(program).unwrap();
    let output = live.test_run(&input).unwrap();
    let seen = loaded.variable::<[i32; 2]>("seen").unwrap().get().unwrap();
    (output.value, seen.to_vec())
}

/// What a program of `timers.bpf.c` and its callbacks find out.
fn run_timers(engine: &Engine, program: &str, callbacks: u64) -> (u32, Vec<i32>, u64) {
    let loaded = load(engine, "timers", program);
    let live = loaded.program(program).unwrap();
    let output = live.test_run(&TestInput::default()).unwrap();
    let fired = loaded.variable::<u64>("fired").unwrap();
    let start = Instant::now();
    while fired.get().unwrap() < callbacks {
        assert!(
            start.elapsed() < DEADLINE,
            "{} callbacks",
            fired.get().unwrap()
        );
        if let Engine::Vm(vm) = engine {
            vm.run_timers().unwrap();
            assert!(vm.take_faults().is_empty());
        }
        std::thread::yield_now();
    }
    let seen = loaded.variable::<[i32; 16]>("seen").unwrap().get().unwrap();
    (output.value, seen.to_vec(), fired.get().unwrap())
}

/// What a program of `objects.bpf.c` answers and finds out in three runs: what stays in its maps is there in the next one.
fn run_objects(engine: &Engine, program: &str) -> (Vec<(u32, Vec<i32>)>, Vec<u8>) {
    let loaded = load(engine, "objects", program);
    let input = TestInput {
        data: &[0; 64],
        ..TestInput::default()
    };
    let live = loaded.program(program).unwrap();
    let run = |_| {
        let value = live.test_run(&input).unwrap().value;
        let seen = loaded.variable::<[i32; 16]>("seen").unwrap().get().unwrap();
        (value, seen.to_vec())
    };
    let runs = (0..3).map(run).collect();
    // Whether or not a program left an object there, callers see zeros.
    let slots = loaded.raw_map("slots").ok();
    let slot = slots.and_then(|slots| slots.get(&[0; 4]).unwrap());
    (runs, slot.unwrap_or_default())
}
