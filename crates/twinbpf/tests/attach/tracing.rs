//! Tracepoints and iterators.

use std::io::Read;
use std::time::{Duration, Instant};

use twinbpf::hook::{
    Counter, Hook, IteratorScope, PerfEvent, PerfScope, ProbePlace, Sampling, Uprobe,
};
use twinbpf::{Code, Link, LinkPlace};
use twinbpf_trials::{Case, Need, is_since};

use crate::places::{load, value};

type Row = (&'static str, &'static [Need], fn());

const CASES: &[Row] = &[
    (
        "a_raw_tracepoint_sees_this_process",
        &[],
        a_raw_tracepoint_sees_this_process,
    ),
    (
        "a_tracepoint_with_types_sees_this_process",
        &[],
        a_tracepoint_with_types_sees_this_process,
    ),
    (
        "a_tracepoint_that_is_not_there_has_a_neighbour",
        &[],
        a_tracepoint_that_is_not_there_has_a_neighbour,
    ),
    (
        "a_tracepoint_with_a_format_sees_this_process",
        &[Need::Tracefs],
        a_tracepoint_with_a_format_sees_this_process,
    ),
    (
        "a_function_of_the_kernel_is_probed",
        &[Need::Kprobes],
        a_function_of_the_kernel_is_probed,
    ),
    (
        "a_kernel_without_probes_says_so",
        &[],
        a_kernel_without_probes_says_so,
    ),
    (
        "a_function_of_a_library_is_probed_by_its_section",
        &[],
        a_function_of_a_library_is_probed_by_its_section,
    ),
    (
        "a_position_in_a_file_is_probed_in_one_process",
        &[Need::Since(6, 6)],
        a_position_in_a_file_is_probed_in_one_process,
    ),
    (
        "a_function_that_is_not_there_has_a_neighbour",
        &[],
        a_function_that_is_not_there_has_a_neighbour,
    ),
    ("a_counter_runs_programs", &[], a_counter_runs_programs),
    (
        "an_iterator_lists_the_tasks_of_a_process",
        &[],
        an_iterator_lists_the_tasks_of_a_process,
    ),
    (
        "an_iterator_lists_the_elements_of_a_map",
        &[],
        an_iterator_lists_the_elements_of_a_map,
    ),
];

/// The cases of this file.
pub(crate) fn cases() -> Vec<Case> {
    let case = |(name, needs, body): &Row| {
        let mut all = vec![Need::Kernel, Need::KernelTypes];
        all.extend(*needs);
        Case::new(&format!("tracing::{name}"), &all, *body)
    };
    CASES.iter().map(case).collect()
}

/// Holds what the kernel says about a link against the place.
///
/// KERNEL: 6.1 says nothing about links of perf events, 6.12 nothing about the cookies of raw tracepoints; 6.18 says all.
fn assert_is_at(link: &Link, expected: &LinkPlace) {
    let place = link.info().unwrap().place;
    if is_since(6, 18) {
        assert_eq!(place, *expected);
    } else if is_since(6, 6) || !matches!(place, LinkPlace::Other(PERF_EVENT)) {
        assert_eq!(
            std::mem::discriminant(&place),
            std::mem::discriminant(expected),
            "{place:?}"
        );
    }
}

/// `BPF_LINK_TYPE_PERF_EVENT`
const PERF_EVENT: u32 = 7;

fn a_tracepoint_with_a_format_sees_this_process() {
    let loaded = load(&["point"]);
    let point = loaded.program("point").unwrap();
    let hook = |cookie| Hook::Tracepoint {
        category: "raw_syscalls".to_owned(),
        name: "sys_enter".to_owned(),
        cookie,
    };
    let has_links = is_since(5, 15);
    if !has_links {
        let error = point.attach(&hook(5)).unwrap_err();
        assert_eq!(error.diagnosis().code, Code::ATTACH_UNSUPPORTED, "{error}");
    }
    let cookie = if has_links { 5 } else { 0 };
    let link = point.attach(&hook(cookie)).unwrap();
    assert!(std::os::unix::process::parent_id() > 0);
    assert!(value::<u64>(&loaded, "point_runs") > 0);
    assert_eq!(value::<u64>(&loaded, "point_cookie"), cookie);
    let expected = LinkPlace::Tracepoint {
        name: "sys_enter".to_owned(),
        cookie,
    };
    if has_links {
        assert_is_at(&link, &expected);
    } else {
        assert!(link.info().unwrap_err().is_unsupported());
        assert!(
            link.pin("/sys/fs/bpf/x".as_ref())
                .unwrap_err()
                .is_unsupported()
        );
    }
    let error = point.attach(&Hook::tracepoint("raw_syscalls", "sys_entre"));
    let error = error.unwrap_err();
    let help = &error.diagnosis().help;
    assert_eq!(*help, ["did you mean `raw_syscalls/sys_enter`?"]);
}

fn a_function_of_the_kernel_is_probed() {
    let loaded = load(&["kernel_function"]);
    let links = loaded.attacher().attach().unwrap();
    std::thread::sleep(Duration::from_millis(1));
    assert_eq!(value::<u64>(&loaded, "kernel_runs"), 1);
    if is_since(6, 6) {
        let place = links[0].info().unwrap().place;
        assert!(
            matches!(&place, LinkPlace::Kprobe { function, is_return: false, .. } if function == "do_nanosleep"),
            "{place:?}"
        );
    }
    let probed = loaded.program("kernel_function").unwrap();
    let error = probed.attach(&Hook::kprobe("do_nanoslepe")).unwrap_err();
    assert_eq!(error.diagnosis().code, Code::ATTACH_TARGET, "{error}");
    assert_eq!(error.diagnosis().help, ["did you mean `do_nanosleep`?"]);
}

fn a_kernel_without_probes_says_so() {
    if std::path::Path::new("/sys/bus/event_source/devices/kprobe").is_dir() {
        // This kernel has them; the case above shows that they work.
        return;
    }
    let loaded = load(&["kernel_function"]);
    let error = loaded.attacher().attach().unwrap_err();
    assert_eq!(error.diagnosis().code, Code::ATTACH_UNSUPPORTED, "{error}");
    assert!(error.diagnosis().help[0].contains("CONFIG_KPROBE_EVENTS"));
}

fn a_function_of_a_library_is_probed_by_its_section() {
    let loaded = load(&["user_function", "user_return"]);
    let links = loaded.attacher().attach().unwrap();
    assert!(std::os::unix::process::parent_id() > 0);
    assert_eq!(value::<u64>(&loaded, "user_runs"), 1);
    assert_eq!(value::<u64>(&loaded, "return_runs"), 1);
    if is_since(6, 6) {
        let place = links[1].info().unwrap().place;
        let LinkPlace::Uprobe {
            path, is_return, ..
        } = &place
        else {
            unreachable!("{place:?}");
        };
        assert!(path.ends_with("libc.so.6") && *is_return, "{place:?}");
    }
    drop(links);
    // Another test may be starting a process, which holds the links too until it has become that process.
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let before = value::<u64>(&loaded, "user_runs");
        assert!(std::os::unix::process::parent_id() > 0);
        if value::<u64>(&loaded, "user_runs") == before {
            break;
        }
        assert!(Instant::now() < deadline, "it still runs");
    }
}

fn a_position_in_a_file_is_probed_in_one_process() {
    let loaded = load(&["user_function"]);
    let program = loaded.program("user_function").unwrap();
    let by_name = program
        .attach(&Hook::uprobe("libc.so.6", "getppid"))
        .unwrap();
    let LinkPlace::Uprobe { path, offset, .. } = by_name.info().unwrap().place else {
        unreachable!("it is a probe");
    };
    drop(by_name);
    let at = |pid| {
        Hook::Uprobe(Uprobe {
            path: (&path).into(),
            place: ProbePlace::Offset(offset.into()),
            is_return: false,
            pid: Some(pid),
            counter: None,
            cookie: 11,
        })
    };
    let link = program.attach(&at(std::process::id())).unwrap();
    assert!(std::os::unix::process::parent_id() > 0);
    assert_eq!(value::<u64>(&loaded, "user_runs"), 1);
    assert_eq!(value::<u64>(&loaded, "user_cookie"), 11);
    drop(link);
    let gone = program.attach(&at(i32::MAX.cast_unsigned())).unwrap_err();
    assert_eq!(gone.diagnosis().code, Code::ATTACH_TARGET, "{gone}");
}

fn a_function_that_is_not_there_has_a_neighbour() {
    let loaded = load(&["user_function"]);
    let program = loaded.program("user_function").unwrap();
    let error = program
        .attach(&Hook::uprobe("libc.so.6", "getpppid"))
        .unwrap_err();
    assert_eq!(error.diagnosis().code, Code::ATTACH_TARGET, "{error}");
    assert!(error.diagnosis().help[0].contains("did you mean `get"));
}

fn a_counter_runs_programs() {
    let loaded = load(&["samples"]);
    let samples = loaded.program("samples").unwrap();
    let open = loaded.attacher().attach().unwrap_err();
    assert_eq!(open.diagnosis().code, Code::ATTACH_OPEN, "{open}");
    let thread = rustix::thread::gettid().as_raw_nonzero();
    let hook = Hook::PerfEvent(PerfEvent {
        counter: Counter::named("task-clock").unwrap(),
        sampling: Sampling::Period(1_000_000),
        scope: PerfScope::Thread(thread.get().cast_unsigned()),
        cookie: 0,
    });
    let link = samples.attach(&hook).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while value::<u64>(&loaded, "sample_runs") == 0 {
        assert!(Instant::now() < deadline, "it never ran");
    }
    if !is_since(5, 15) {
        assert!(link.info().unwrap_err().is_unsupported());
        return;
    }
    let place = link.info().unwrap().place;
    // KERNEL: 6.18 answers with the number of the clock's own unit, not with the type that was asked for.
    assert!(
        matches!(place, LinkPlace::PerfEvent { config: 1, .. }) || !is_since(6, 6),
        "{place:?}"
    );
    drop(link);
    let everywhere = samples.attach(&"perf_event:cpu-clock@freq=10".parse().unwrap());
    let error = everywhere.unwrap().pin("/sys/fs/bpf/x".as_ref());
    let cpus = std::thread::available_parallelism().unwrap().get();
    assert!(cpus == 1 || error.unwrap_err().is_unsupported());
}

fn a_raw_tracepoint_sees_this_process() {
    let loaded = load(&["raw"]);
    let cookie = if is_since(6, 10) { 7 } else { 0 };
    let hook = Hook::RawTracepoint {
        name: "sys_enter".to_owned(),
        cookie,
    };
    let link = loaded.program("raw").unwrap().attach(&hook).unwrap();
    std::fs::read_to_string("/proc/self/comm").unwrap();
    assert!(value::<u64>(&loaded, "raw_runs") > 0);
    assert_eq!(value::<u64>(&loaded, "raw_cookie"), cookie);
    let expected = LinkPlace::RawTracepoint {
        name: "sys_enter".to_owned(),
        cookie,
    };
    assert_is_at(&link, &expected);
}

fn a_tracepoint_with_types_sees_this_process() {
    let loaded = load(&["typed"]);
    let typed = loaded.program("typed").unwrap();
    let link = typed.attach(&Hook::tracing()).unwrap();
    std::fs::read_to_string("/proc/self/comm").unwrap();
    assert!(value::<u64>(&loaded, "typed_runs") > 0);
    assert_eq!(value::<u64>(&loaded, "typed_cookie"), 0);
    drop(link);
    if !is_since(6, 10) {
        return;
    }
    let link = typed.attach(&Hook::Tracing { cookie: 9 }).unwrap();
    std::fs::read_to_string("/proc/self/comm").unwrap();
    assert_eq!(value::<u64>(&loaded, "typed_cookie"), 9);
    // KERNEL: 6.18 makes no other sort of link for tracepoints with types.
    let expected = LinkPlace::RawTracepoint {
        name: "sys_enter".to_owned(),
        cookie: 9,
    };
    assert_is_at(&link, &expected);
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
    if !is_since(6, 1) {
        let one = Hook::Iterator(IteratorScope::Process(std::process::id()));
        let error = tasks.attach(&one).unwrap_err();
        assert_eq!(error.diagnosis().code, Code::ATTACH_UNSUPPORTED, "{error}");
        assert!(all > 1);
        return;
    }
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
