//! Tracepoints and iterators.

use std::io::Read;

use twinbpf::hook::{Hook, IteratorScope};
use twinbpf::{Code, LinkPlace};
use twinbpf_trials::{Case, Need};

use crate::places::{load, value};

/// The cases of this file.
pub(crate) fn cases() -> Vec<Case> {
    let cases: [(&str, fn()); 5] = [
        (
            "a_raw_tracepoint_sees_this_process",
            a_raw_tracepoint_sees_this_process,
        ),
        (
            "a_tracepoint_with_types_sees_this_process",
            a_tracepoint_with_types_sees_this_process,
        ),
        (
            "a_tracepoint_that_is_not_there_has_a_neighbour",
            a_tracepoint_that_is_not_there_has_a_neighbour,
        ),
        (
            "an_iterator_lists_the_tasks_of_a_process",
            an_iterator_lists_the_tasks_of_a_process,
        ),
        (
            "an_iterator_lists_the_elements_of_a_map",
            an_iterator_lists_the_elements_of_a_map,
        ),
    ];
    let case = |(name, body): (&str, fn())| {
        let needs = [Need::Kernel, Need::KernelTypes];
        Case::new(&format!("tracing::{name}"), &needs, body)
    };
    cases.into_iter().map(case).collect()
}

fn a_raw_tracepoint_sees_this_process() {
    let loaded = load(&["raw"]);
    let hook = Hook::RawTracepoint {
        name: "sys_enter".to_owned(),
        cookie: 7,
    };
    let link = loaded.program("raw").unwrap().attach(&hook).unwrap();
    std::fs::read_to_string("/proc/self/comm").unwrap();
    assert!(value::<u64>(&loaded, "raw_runs") > 0);
    assert_eq!(value::<u64>(&loaded, "raw_cookie"), 7);
    let expected = LinkPlace::RawTracepoint {
        name: "sys_enter".to_owned(),
        cookie: 7,
    };
    assert_eq!(link.info().unwrap().place, expected);
}

fn a_tracepoint_with_types_sees_this_process() {
    let loaded = load(&["typed"]);
    let typed = loaded.program("typed").unwrap();
    let link = typed.attach(&Hook::tracing()).unwrap();
    std::fs::read_to_string("/proc/self/comm").unwrap();
    assert!(value::<u64>(&loaded, "typed_runs") > 0);
    assert_eq!(value::<u64>(&loaded, "typed_cookie"), 0);
    drop(link);
    let link = typed.attach(&Hook::Tracing { cookie: 9 }).unwrap();
    std::fs::read_to_string("/proc/self/comm").unwrap();
    assert_eq!(value::<u64>(&loaded, "typed_cookie"), 9);
    // KERNEL: 6.18 makes no other sort of link for tracepoints with types.
    let expected = LinkPlace::RawTracepoint {
        name: "sys_enter".to_owned(),
        cookie: 9,
    };
    assert_eq!(link.info().unwrap().place, expected);
}

fn a_tracepoint_that_is_not_there_has_a_neighbour() {
    let loaded = load(&["raw"]);
    let raw = loaded.program("raw").unwrap();
    let error = raw.attach(&Hook::raw_tracepoint("sys_entre")).unwrap_err();
    assert_eq!(error.diagnosis().code, Code::ATTACH_TARGET, "{error}");
    assert_eq!(error.diagnosis().help, ["did you mean `sys_enter`?"]);
}

fn an_iterator_lists_the_tasks_of_a_process() {
    let loaded = load(&["tasks"]);
    let tasks = loaded.program("tasks").unwrap();
    let read = |scope| {
        let link = tasks.attach(&Hook::Iterator(scope)).unwrap();
        let mut text = String::new();
        link.read().unwrap().read_to_string(&mut text).unwrap();
        text.len()
    };
    let all = read(IteratorScope::All);
    let thread = rustix::thread::gettid().as_raw_nonzero().get();
    let one = read(IteratorScope::Thread(thread.try_into().unwrap()));
    let process = read(IteratorScope::Process(std::process::id()));
    assert_eq!(one, 1);
    assert!(process >= 1 && process < all, "{process} of {all}");
}

fn an_iterator_lists_the_elements_of_a_map() {
    let loaded = load(&["elements"]);
    let numbers = loaded.map::<u32, u64>("numbers").unwrap();
    for (key, value) in [(0, 10), (1, 11), (2, 12), (3, 13)] {
        numbers.set(&key, &value).unwrap();
    }
    let id = loaded.raw_map("numbers").unwrap().info().unwrap().id;
    let id = id.unwrap();
    let scope = IteratorScope::Map(id);
    let elements = loaded.program("elements").unwrap();
    let link = elements.attach(&Hook::Iterator(scope)).unwrap();
    let mut bytes = Vec::new();
    link.read().unwrap().read_to_end(&mut bytes).unwrap();
    let values: Vec<u64> = bytes
        .chunks_exact(8)
        .map(|value| u64::from_ne_bytes(value.try_into().unwrap()))
        .collect();
    assert_eq!(values, [10, 11, 12, 13]);
    let place = link.info().unwrap().place;
    assert_eq!(
        place,
        LinkPlace::Iterator {
            target: "bpf_map_elem".to_owned(),
            map: Some(id)
        }
    );
}
