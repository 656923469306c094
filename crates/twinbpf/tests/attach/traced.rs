//! Programs that the kernel calls from its own functions, from those of modules, and in the place of another program's.
//!
//! Every change of a process's priority asks one function of the kernel; this process changes its own to what it is.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;

use rustix::io::Errno;
use rustix::process::{getpriority_process, setpriority_process};
use twinbpf::hook::Hook;
use twinbpf::{Code, Engine, LinkPlace, Loaded, Object, Program, TestInput, link};
use twinbpf_trials::{Case, Need};

use crate::places::{in_own_network, ip, value};

/// The cases of this file.
pub(crate) fn cases() -> Vec<Case> {
    let case = |name: &str, needs: &[Need], body: fn()| {
        let mut all = vec![Need::Kernel, Need::KernelTypes, Need::FunctionTracing];
        all.extend(needs);
        Case::new(&format!("traced::{name}"), &all, body)
    };
    vec![
        case(
            "entries_of_a_function_are_seen_with_their_arguments",
            &[],
            entries_of_a_function_are_seen_with_their_arguments,
        ),
        case(
            "exits_of_a_function_are_seen_with_their_answers",
            &[],
            exits_of_a_function_are_seen_with_their_answers,
        ),
        case(
            "an_entry_is_recognised_by_its_cookie",
            &[Need::Since(5, 19)],
            an_entry_is_recognised_by_its_cookie,
        ),
        case(
            "a_function_answers_what_a_program_says",
            &[],
            a_function_answers_what_a_program_says,
        ),
        case(
            "a_security_hook_refuses",
            &[Need::SecurityHooks],
            a_security_hook_refuses,
        ),
        case(
            "a_function_of_a_module_is_seen_called",
            // Types of modules came with it.
            &[Need::Network, Need::Since(5, 11)],
            a_function_of_a_module_is_seen_called,
        ),
        case(
            "a_function_of_another_program_is_replaced",
            &[],
            a_function_of_another_program_is_replaced,
        ),
        case(
            "a_replacement_goes_into_a_second_program",
            &[],
            a_replacement_goes_into_a_second_program,
        ),
        case(
            "a_function_of_another_program_is_seen_called",
            &[],
            a_function_of_another_program_is_seen_called,
        ),
    ]
}

fn object(name: &str) -> Object {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/bpf");
    Object::parse(&fs::read(folder.join(name)).unwrap()).unwrap()
}

/// The fixture with this program alone.
fn load(program: &str) -> Loaded {
    let mut object = object("traced.bpf.o");
    for each in &mut object.programs {
        each.autoload = each.name == program;
    }
    let process = std::process::id().to_ne_bytes();
    object.set_variable("process", &process).unwrap();
    Engine::kernel().unwrap().load_object(&object).unwrap()
}

/// Changes this process's priority to what it is.
fn change_priority() -> Result<(), Errno> {
    setpriority_process(None, getpriority_process(None).unwrap())
}

fn entries_of_a_function_are_seen_with_their_arguments() {
    let loaded = load("enter");
    let links = loaded.attacher().attach().unwrap();
    assert_eq!(value::<u64>(&loaded, "enter_runs"), 0);
    setpriority_process(None, getpriority_process(None).unwrap() + 1).unwrap();
    assert_eq!(value::<u64>(&loaded, "enter_runs"), 1);
    let nice = getpriority_process(None).unwrap();
    let argument = value::<u64>(&loaded, "enter_nice") & u64::from(u32::MAX);
    assert_eq!(argument, u64::from(nice.cast_unsigned()));
    let place = links[0].info().unwrap().place;
    let LinkPlace::Tracing { attach, .. } = place else {
        unreachable!("{place:?}");
    };
    assert_eq!(attach.kernel_name(), Some("TRACE_FENTRY"));
    drop(links);
    change_priority().unwrap();
    assert_eq!(value::<u64>(&loaded, "enter_runs"), 1);
}

fn exits_of_a_function_are_seen_with_their_answers() {
    let loaded = load("leave");
    let links = loaded.attacher().attach().unwrap();
    change_priority().unwrap();
    assert_eq!(value::<u64>(&loaded, "exit_runs"), 1);
    assert_eq!(value::<u64>(&loaded, "exit_answer"), 0);
    drop(links);
}

fn an_entry_is_recognised_by_its_cookie() {
    let loaded = load("recognise");
    let hook = Hook::Tracing { cookie: 23 };
    let link = loaded.program("recognise").unwrap().attach(&hook).unwrap();
    change_priority().unwrap();
    assert_eq!(value::<u64>(&loaded, "cookie_seen"), 23);
    drop(link);
}

fn a_function_answers_what_a_program_says() {
    refuses("refuse", "refused_runs");
}

fn a_security_hook_refuses() {
    refuses("guard", "guard_runs");
}

/// The program makes changes of priority impossible while it is attached.
fn refuses(program: &str, runs: &str) {
    let loaded = load(program);
    let links = loaded.attacher().attach().unwrap();
    let answer = change_priority();
    drop(links);
    assert_eq!(answer, Err(Errno::PERM));
    assert_eq!(value::<u64>(&loaded, runs), 1);
    change_priority().unwrap();
}

fn a_function_of_a_module_is_seen_called() {
    in_own_network(|| {
        ip(&[
            "link", "add", "one", "type", "veth", "peer", "name", "other",
        ]);
        ip(&["address", "add", "10.9.8.1/24", "dev", "one"]);
        ip(&["link", "set", "other", "up"]);
        ip(&["link", "set", "one", "up"]);
        // The module is there since the interface is.
        let loaded = load("sent");
        let links = loaded.attacher().attach().unwrap();
        let socket = UdpSocket::bind("10.9.8.1:0").unwrap();
        // Somebody asks for the neighbour, whether there is one or not.
        socket.send_to(b"x", "10.9.8.2:9").unwrap();
        assert!(value::<u64>(&loaded, "module_runs") >= 1);
        drop(links);
    });
}

/// What `count` answers for a frame of 64 bytes.
fn answer(count: &Program) -> u32 {
    let input = TestInput {
        data: &[0; 64],
        ..TestInput::default()
    };
    count.test_run(&input).unwrap().value
}

/// The program `count` of a fresh load, and `name` loaded for it.
fn pair(name: &str) -> (Loaded, Loaded) {
    let engine = Engine::kernel().unwrap();
    let object = object("target.bpf.o");
    let first = engine.load_object(&object).unwrap();
    let linked = link(&object, &engine.target(&object.needs()).unwrap()).unwrap();
    let count = first.program("count").unwrap();
    let loader = engine.loader(&linked).only(name).target(name, count);
    let second = loader.load().unwrap();
    (first, second)
}

fn a_function_of_another_program_is_replaced() {
    let (first, second) = pair("replacement");
    let count = first.program("count").unwrap();
    let before = answer(count);
    let links = second.attacher().attach().unwrap();
    // The function adds 1, the replacement 1000.
    assert_eq!(answer(count), before + 999);
    drop(links);
    assert_eq!(answer(count), before);
}

fn a_replacement_goes_into_a_second_program() {
    let (first, second) = pair("replacement");
    let third = Engine::kernel().unwrap();
    let third = third.load_object(&object("target.bpf.o")).unwrap();
    let (count, other) = (first.program("count"), third.program("count"));
    let (count, other) = (count.unwrap(), other.unwrap());
    let before = answer(count);
    let replacement = second.program("replacement").unwrap();
    let link = replacement.attach_into(other, "answer", 0).unwrap();
    assert_eq!((answer(count), answer(other)), (before, before + 999));
    let twice = replacement.attach_into(other, "answer", 0).unwrap_err();
    assert_eq!(twice.diagnosis().code, Code::ATTACH_TAKEN, "{twice}");
    drop(link);
    assert_eq!(answer(other), before);
    let error = replacement.attach_into(other, "anser", 0).unwrap_err();
    assert_eq!(error.diagnosis().help, ["did you mean `answer`?"]);
    let wrong = count.attach_into(other, "answer", 0).unwrap_err();
    assert_eq!(wrong.diagnosis().code, Code::ATTACH_KIND, "{wrong}");
}

fn a_function_of_another_program_is_seen_called() {
    let (first, second) = pair("watch");
    let count = first.program("count").unwrap();
    let links = second.attacher().attach().unwrap();
    answer(count);
    // KERNEL: a test run takes the Ethernet header off before a socket filter sees the frame.
    assert_eq!(value::<u64>(&second, "seen"), 64 - 14);
    drop(links);
}
