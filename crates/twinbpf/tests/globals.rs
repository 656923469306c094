//! Global variables on both engines: set before loading, changed by programs, read and written while they run.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, ExitCode};

use twinbpf::zerocopy::{FromBytes, IntoBytes};
use twinbpf::{
    Code, Engine, EngineKind, ErrorKind, Hook, Loaded, Object, PacketKind, SocketFrame, UpdateMode,
};
use twinbpf_trials::{Case, Need};

/// The same source with and without BTF, and with addends beside the code.
const OBJECTS: [&str; 3] = ["globals.bpf.o", "globals_plain.bpf.o", "globals_rela.bpf.o"];

/// Ethernet, IPv4 and UDP headers.
const HEADER_BYTES: usize = 14 + 20 + 8;

type Body = fn(&Engine);

const BOTH: &[(&str, Body)] = &[
    (
        "programs_and_callers_see_the_same_variables",
        programs_and_callers_see_the_same_variables,
    ),
    (
        "constants_set_before_loading_steer_a_branch",
        constants_set_before_loading_steer_a_branch,
    ),
    (
        "writing_a_variable_leaves_its_neighbours_alone",
        writing_a_variable_leaves_its_neighbours_alone,
    ),
    (
        "constants_cannot_be_written_after_loading",
        constants_cannot_be_written_after_loading,
    ),
    (
        "names_and_types_are_checked_once",
        names_and_types_are_checked_once,
    ),
    (
        "a_first_value_that_is_too_long_is_refused",
        a_first_value_that_is_too_long_is_refused,
    ),
];

fn main() -> ExitCode {
    let on_vm = BOTH.iter().map(|(name, body)| {
        Case::new(&format!("{name}::vm"), &[], || body(&Engine::vm().unwrap()))
    });
    let on_kernel = BOTH.iter().map(|(name, body)| {
        Case::new(&format!("{name}::kernel"), &[Need::Kernel], || {
            in_own_network(|| body(&Engine::kernel().unwrap()));
        })
    });
    let mut cases: Vec<Case> = on_vm.chain(on_kernel).collect();
    cases.push(Case::new(
        "a_table_of_constants_is_read::vm",
        &[],
        a_table_of_constants_is_read,
    ));
    cases.push(Case::new(
        "a_string_is_printed::kernel",
        &[Need::Kernel],
        a_string_is_printed,
    ));
    cases.push(Case::new(
        "variables_in_an_arena_are_read_and_written::kernel",
        &[Need::Kernel, Need::Linux618],
        || variables_in_an_arena_are_read_and_written(&Engine::kernel().unwrap()),
    ));
    cases.push(Case::new(
        "variables_in_an_arena_are_read_and_written::vm",
        &[],
        || variables_in_an_arena_are_read_and_written(&Engine::vm().unwrap()),
    ));
    twinbpf_trials::run_in_turn(cases)
}

fn arena() -> Object {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/bpf/arena.bpf.o");
    Object::parse(&std::fs::read(path).unwrap()).unwrap()
}

fn variables_in_an_arena_are_read_and_written(engine: &Engine) {
    let loaded = engine.load_object(&arena()).unwrap();
    let first = loaded.variable::<u64>("first").unwrap();
    let second = loaded.variable::<u64>("second").unwrap();
    assert_eq!(first.get().unwrap(), 7);
    second.set(&(1 << 40)).unwrap();
    assert_eq!(second.get().unwrap(), 1 << 40);
    assert_eq!(first.get().unwrap(), 7);
}

/// Runs `action` on a thread in a network namespace of its own with `lo` up; the namespace goes with the thread.
fn in_own_network(action: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        #[expect(
            deprecated,
            reason = "the replacement is unsafe; only the network namespace is changed here"
        )]
        rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET).unwrap();
        let up = Command::new("ip")
            .args(["link", "set", "lo", "up"])
            .status();
        assert!(up.unwrap().success(), "`ip link set lo up` does not work");
        action();
    });
    thread.join().unwrap();
}

fn fixture(name: &str) -> Object {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/bpf");
    Object::parse(&std::fs::read(folder.join(name)).unwrap()).unwrap()
}

/// Lets `count` see frames of `len` bytes, each of them twice: on `lo` a frame is outgoing first, then incoming.
fn send(loaded: &Loaded, len: usize, times: usize) {
    let program = loaded.program("count").unwrap();
    if program.engine() == EngineKind::Vm {
        let mut filter = program.socket_filter().unwrap();
        for _ in 0..2 * times {
            filter.run(&frame(&vec![0; len])).unwrap();
        }
        return;
    }
    let link = program.attach(&Hook::socket("lo")).unwrap();
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let payload = vec![1; len - HEADER_BYTES];
    for _ in 0..times {
        sender
            .send_to(&payload, receiver.local_addr().unwrap())
            .unwrap();
        // Once it has arrived, the program has seen it come in.
        receiver.recv(&mut [0; 2048]).unwrap();
    }
    link.detach().unwrap();
}

fn frame(data: &[u8]) -> SocketFrame<'_> {
    SocketFrame {
        data,
        original_len: u32::try_from(data.len()).unwrap(),
        packet_kind: PacketKind::Outgoing,
        protocol: 0x0800,
        interface: 1,
        vlan: None,
    }
}

/// The value of a variable now.
fn value<T: FromBytes>(loaded: &Loaded, name: &str) -> T {
    loaded.variable(name).unwrap().get().unwrap()
}

fn programs_and_callers_see_the_same_variables(engine: &Engine) {
    for file in OBJECTS {
        let loaded = engine.load_object(&fixture(file)).unwrap();
        assert_eq!(value::<u64>(&loaded, "total"), 5_000_000_000);
        assert_eq!(value::<i32>(&loaded, "balance"), -3);
        send(&loaded, 60, 5);
        send(&loaded, 61, 1);
        send(&loaded, 1200, 1);
        assert_eq!(value::<u64>(&loaded, "seen"), 12, "{file}");
        assert_eq!(value::<[u32; 4]>(&loaded, "slots"), [10, 2, 0, 0]);
        assert_eq!(value::<u64>(&loaded, "total"), 5_000_000_000 + 722);
        assert_eq!(value::<i32>(&loaded, "balance"), 9);
        assert_eq!(value::<u32>(&loaded, "mark"), 0x600d + 12);
        assert_eq!(value::<u32>(&loaded, "long_frames"), 2);
        assert_eq!(value::<u64>(&loaded, "count.calls"), 14);
        loaded.variable("seen").unwrap().set(&100_u64).unwrap();
        send(&loaded, 60, 1);
        assert_eq!(value::<u64>(&loaded, "seen"), 102, "{file}");
    }
}

fn constants_set_before_loading_steer_a_branch(engine: &Engine) {
    let mut object = fixture("globals.bpf.o");
    object.set_variable("step", 10_u32.as_bytes()).unwrap();
    object.set_variable("limit", 60_u16.as_bytes()).unwrap();
    object.set_variable("seen", 1_000_u64.as_bytes()).unwrap();
    object.set_variable("mark", 1_u32.as_bytes()).unwrap();
    let loaded = engine.load_object(&object).unwrap();
    send(&loaded, 60, 1);
    send(&loaded, 61, 3);
    assert_eq!(value::<u64>(&loaded, "seen"), 1_020);
    assert_eq!(value::<u32>(&loaded, "long_frames"), 6);
    assert_eq!(value::<u32>(&loaded, "mark"), 3);
    assert_eq!(value::<u32>(&loaded, "step"), 10);
    // The object is data: it loads again, with its own variables.
    let again = engine.load_object(&object).unwrap();
    assert_eq!(value::<u64>(&again, "seen"), 1_000);
}

fn writing_a_variable_leaves_its_neighbours_alone(engine: &Engine) {
    let loaded = engine.load_object(&fixture("globals.bpf.o")).unwrap();
    let balance = loaded.variable::<i32>("balance").unwrap();
    balance.set(&i32::MIN).unwrap();
    assert_eq!(value::<u64>(&loaded, "total"), 5_000_000_000);
    let slots = loaded.variable::<[u32; 4]>("slots").unwrap();
    slots.set(&[1, 2, 3, u32::MAX]).unwrap();
    assert_eq!(value::<u64>(&loaded, "seen"), 0);
    // The map that holds them shows the same bytes.
    let data = loaded.raw_map(".data").unwrap().get(&[0; 4]).unwrap();
    let bytes = [5_000_000_000_u64.as_bytes(), i32::MIN.as_bytes()].concat();
    assert_eq!(data.unwrap(), bytes);
    let bss = loaded.raw_map(".bss").unwrap();
    let mut bytes = bss.get(&[0; 4]).unwrap().unwrap();
    assert_eq!(bytes[24..], *[1, 2, 3, u32::MAX].as_bytes());
    bytes[24] = 9;
    bss.update(&[0; 4], &bytes, UpdateMode::Any).unwrap();
    assert_eq!(slots.get().unwrap()[0], 9);
}

fn constants_cannot_be_written_after_loading(engine: &Engine) {
    let loaded = engine.load_object(&fixture("globals.bpf.o")).unwrap();
    let step = loaded.variable::<u32>("step").unwrap();
    assert!(step.is_constant());
    let error = step.set(&2).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permission);
    assert_eq!(
        error.to_string(),
        "variable `step` is a constant: it lies in `.rodata`, which was frozen when the object was loaded (EPERM)"
    );
    let map = loaded.raw_map(".rodata").unwrap();
    let error = map.update(&[0; 4], &[0; 10], UpdateMode::Any).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permission);
    assert_eq!(
        error.diagnosis().facts[0].value,
        "when the object was loaded"
    );
    assert_eq!(step.get().unwrap(), 1);
}

fn names_and_types_are_checked_once(engine: &Engine) {
    let loaded = engine.load_object(&fixture("globals.bpf.o")).unwrap();
    let error = loaded.variable::<u32>("sean").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.to_string(), "there is no variable `sean`");
    let error = loaded.variable::<u32>("seen").unwrap_err();
    assert_eq!(error.diagnosis().code, Code::VARIABLE_SIZE);
    assert_eq!(
        error.to_string(),
        "variable `seen` has 8 bytes, `u32` has 4"
    );
    let names: Vec<&str> = loaded.variables().map(|each| each.name.as_str()).collect();
    assert_eq!(names.len(), 10, "{names:?}");
}

fn a_first_value_that_is_too_long_is_refused(engine: &Engine) {
    let mut object = fixture("globals.bpf.o");
    object.map_mut(".data.marks").unwrap().value_size = 2;
    let error = engine.load_object(&object).unwrap_err();
    assert_eq!(
        error.to_string(),
        "map `.data.marks`: its first value has 4 bytes and its values have 2"
    );
    // A longer value is completed with zeros.
    object.map_mut(".data.marks").unwrap().value_size = 8;
    let loaded = engine.load_object(&object).unwrap();
    let marks = loaded.raw_map(".data.marks").unwrap();
    assert_eq!(
        marks.get(&[0; 4]).unwrap().unwrap(),
        0x600d_u64.to_ne_bytes()
    );
}

fn a_table_of_constants_is_read() {
    for file in OBJECTS {
        let loaded = Engine::vm().unwrap().load_object(&fixture(file)).unwrap();
        let mut filter = loaded.program("pick").unwrap().socket_filter().unwrap();
        let answers = [0, 1, 2, 3, 7].map(|first| filter.run(&frame(&[first])).unwrap());
        assert_eq!(answers, [11, 22, 33, 44, 44]);
    }
}

fn a_string_is_printed() {
    let loaded = Engine::kernel()
        .unwrap()
        .load_object(&fixture("globals_print.bpf.o"))
        .unwrap();
    let format = loaded.variable::<[u8; 18]>("print.format").unwrap();
    assert_eq!(format.get().unwrap(), *b"len %u of socket\n\0");
    assert_eq!(loaded.programs().count(), 1);
}
