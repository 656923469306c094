//! Storage of tasks, sockets, inodes and cgroups on both engines.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::File;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;

use twinbpf::{Engine, Loaded, Object, RawMap, TestInput, UpdateMode};
use twinbpf_trials::{Case, Need};

type Body = fn(&Engine);

const BOTH: &[(&str, Body)] = &[
    (
        "a_task_has_a_value_that_its_descriptor_names",
        a_task_has_a_value_that_its_descriptor_names,
    ),
    (
        "a_value_is_made_only_if_it_is_asked_for",
        a_value_is_made_only_if_it_is_asked_for,
    ),
    (
        "the_socket_of_a_test_run_has_a_value",
        the_socket_of_a_test_run_has_a_value,
    ),
    (
        "callers_name_owners_by_descriptors",
        callers_name_owners_by_descriptors,
    ),
];

fn main() -> ExitCode {
    let on_vm = BOTH.iter().map(|(name, body)| {
        Case::new(&format!("{name}::vm"), &[], || body(&Engine::vm().unwrap()))
    });
    let on_kernel = BOTH.iter().map(|(name, body)| {
        let needs = &[Need::Kernel, Need::Linux618];
        Case::new(&format!("{name}::kernel"), needs, || {
            body(&Engine::kernel().unwrap());
        })
    });
    // What is run counts for the process.
    twinbpf_trials::run_in_turn(on_vm.chain(on_kernel).collect())
}

fn load(engine: &Engine) -> Loaded {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/bpf/storage.bpf.o");
    let object = Object::parse(&std::fs::read(path).unwrap()).unwrap();
    engine.load_object(&object).unwrap()
}

fn set(loaded: &Loaded, name: &str, value: u64) {
    loaded.variable::<u64>(name).unwrap().set(&value).unwrap();
}

fn value(loaded: &Loaded, name: &str) -> u64 {
    loaded.variable::<u64>(name).unwrap().get().unwrap()
}

/// What the program of this name found.
fn run(loaded: &Loaded, program: &str) -> u64 {
    let input = TestInput {
        data: &[],
        context: &[],
        repeat: 1,
    };
    loaded.program(program).unwrap().test_run(&input).unwrap();
    value(loaded, "found")
}

fn map(loaded: &Loaded, name: &str) -> RawMap {
    loaded.raw_map(name).unwrap().clone()
}

/// A descriptor of this thread's process. KERNEL: a process's storage is that of its first thread (6.18).
fn this_process() -> OwnedFd {
    let process = rustix::process::getpid();
    rustix::process::pidfd_open(process, rustix::process::PidfdFlags::empty()).unwrap()
}

fn key(descriptor: &impl AsRawFd) -> [u8; 4] {
    descriptor.as_raw_fd().to_ne_bytes()
}

fn bytes(count: u64) -> Vec<u8> {
    let mut bytes = vec![0; 32];
    bytes[..8].copy_from_slice(&count.to_ne_bytes());
    bytes
}

fn errno<T: std::fmt::Debug>(result: twinbpf::Result<T>) -> i32 {
    let error = result.unwrap_err();
    error.diagnosis().errno.unwrap().0
}

const EBADF: i32 = 9;
const ENOTSOCK: i32 = 88;
const ENOTSUPP: i32 = 524;
const CREATE: u64 = 1;

fn a_task_has_a_value_that_its_descriptor_names(engine: &Engine) {
    let loaded = load(engine);
    let (tasks, process) = (map(&loaded, "tasks"), this_process());
    assert_eq!(tasks.get(&key(&process)).unwrap(), None);
    tasks
        .update(&key(&process), &bytes(41), UpdateMode::IfAbsent)
        .unwrap();
    assert_eq!(tasks.get(&key(&process)).unwrap(), Some(bytes(41)));
    if rustix::thread::gettid() == rustix::process::getpid() {
        assert_eq!(run(&loaded, "task"), 42);
        assert_eq!(tasks.get(&key(&process)).unwrap(), Some(bytes(42)));
    }
    assert!(tasks.remove(&key(&process)).unwrap());
    assert!(!tasks.remove(&key(&process)).unwrap());
}

fn a_value_is_made_only_if_it_is_asked_for(engine: &Engine) {
    let loaded = load(engine);
    assert_eq!(run(&loaded, "task"), 0);
    set(&loaded, "flags", 2);
    assert_eq!(run(&loaded, "task"), 0, "a flag that is none");
    set(&loaded, "flags", CREATE);
    set(&loaded, "first", 7);
    assert_eq!(run(&loaded, "task"), 8);
    assert_eq!(run(&loaded, "task"), 9, "only the first time");
    run(&loaded, "forget");
    assert_eq!(value(&loaded, "removed"), 0);
    run(&loaded, "forget");
    assert_eq!(value(&loaded, "removed").cast_signed(), -2, "ENOENT");
    set(&loaded, "first", 0);
    assert_eq!(run(&loaded, "task"), 1, "zeros");
    set(&loaded, "flags", 0);
    assert_eq!(run(&loaded, "task"), 2, "there already");
}

fn the_socket_of_a_test_run_has_a_value(engine: &Engine) {
    let loaded = load(engine);
    let mut frame = [0; 64];
    frame[12] = 8;
    frame[14] = 0x45;
    let input = |repeat| TestInput {
        data: &frame,
        context: &[],
        repeat,
    };
    let program = loaded.program("socket").unwrap();
    program.test_run(&input(2)).unwrap();
    assert_eq!(value(&loaded, "found"), 2);
    program.test_run(&input(1)).unwrap();
    assert_eq!(value(&loaded, "found"), 1, "another socket");
    program.test_run(&input(5)).unwrap();
    assert_eq!(value(&loaded, "found"), 2, "removed after the third");
    assert_eq!(value(&loaded, "removed"), 0);
}

fn callers_name_owners_by_descriptors(engine: &Engine) {
    let loaded = load(engine);
    let (socket, file) = (
        UdpSocket::bind("127.0.0.1:0").unwrap(),
        File::open("/dev/null").unwrap(),
    );
    let process = this_process();
    let none = (-1_i32).to_ne_bytes();
    for (name, own, other, refusal) in [
        ("tasks", key(&process), key(&file), EBADF),
        ("sockets", key(&socket), key(&file), ENOTSOCK),
    ] {
        let map = map(&loaded, name);
        assert_eq!(errno(map.get(&none)), EBADF, "{name}");
        assert_eq!(errno(map.get(&other)), refusal, "{name}");
        let update = map.update(&other, &bytes(1), UpdateMode::Any);
        assert_eq!(errno(update), refusal, "{name}");
        assert_eq!(errno(map.remove(&other)), refusal, "{name}");
        round(&map, own);
    }
    let inodes = map(&loaded, "inodes");
    assert_eq!(errno(inodes.get(&none)), EBADF);
    round(&inodes, key(&file));
    assert_eq!(errno(map(&loaded, "cgroups").get(&key(&file))), EBADF);
    if let Ok(cgroup) = File::open("/sys/fs/cgroup")
        && Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
    {
        round(&map(&loaded, "cgroups"), key(&cgroup));
    }
}

/// Every mode of updating, and taking away.
fn round(map: &RawMap, key: [u8; 4]) {
    let update = |count, mode| map.update(&key, &bytes(count), mode);
    assert_eq!(map.get(&key).unwrap(), None);
    assert_eq!(errno(update(1, UpdateMode::IfPresent)), 2, "ENOENT");
    update(1, UpdateMode::IfAbsent).unwrap();
    assert_eq!(errno(update(2, UpdateMode::IfAbsent)), 17, "EEXIST");
    update(2, UpdateMode::IfPresent).unwrap();
    update(3, UpdateMode::Any).unwrap();
    assert_eq!(map.get(&key).unwrap(), Some(bytes(3)));
    assert_eq!(errno(map.entries().next().unwrap()), ENOTSUPP);
    assert!(map.remove(&key).unwrap());
    assert!(!map.remove(&key).unwrap());
}
