//! Programs on the running kernel: loading, rejections, permissions, the socket-filter hook.
//!
//! One test binary with one test thread at a time where descriptors are counted: the counting test runs its steps itself.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::process::Command;

use crate::support::{byte_counter, call, exit, insn, map_hole, mov, program};
use rustix::thread::{CapabilitySet, CapabilitySets};
use twinbpf_kernel::{Kernel, KernelMap, KernelProgram, KernelSocketLink, LoadContext};
use twinbpf_object::diagnosis::Category;
use twinbpf_object::{Code, Errno, ErrorKind, Insn, MapKind, MapSpec, ProgramKind};
use twinbpf_trials::{Case, Need};

/// The cases of this file.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "programs::a_program_with_a_map_is_loaded_under_a_clean_name",
            &[Need::Kernel],
            a_program_with_a_map_is_loaded_under_a_clean_name,
        ),
        Case::new(
            "programs::a_pointer_used_before_a_null_test_is_v001_at_its_instruction",
            &[Need::Kernel],
            a_pointer_used_before_a_null_test_is_v001_at_its_instruction,
        ),
        Case::new(
            "programs::every_known_reason_gets_its_code_help_and_instruction",
            &[Need::Kernel],
            every_known_reason_gets_its_code_help_and_instruction,
        ),
        Case::new(
            "programs::a_missing_license_stays_missing_and_is_named",
            &[Need::Kernel],
            a_missing_license_stays_missing_and_is_named,
        ),
        Case::new(
            "programs::the_instruction_limit_keeps_its_errno_and_the_end_of_the_trace",
            &[Need::Kernel],
            the_instruction_limit_keeps_its_errno_and_the_end_of_the_trace,
        ),
        Case::new(
            "programs::what_is_missing_before_the_verifier_is_named",
            &[Need::Kernel],
            what_is_missing_before_the_verifier_is_named,
        ),
        Case::new(
            "programs::without_capabilities_the_missing_ones_are_named",
            &[Need::Kernel, Need::ClosedBpf],
            without_capabilities_the_missing_ones_are_named,
        ),
        Case::new(
            "programs::the_capabilities_named_are_those_the_kernel_insists_on",
            &[Need::Kernel, Need::ClosedBpf],
            the_capabilities_named_are_those_the_kernel_insists_on,
        ),
        Case::new(
            "programs::an_attached_filter_sees_every_frame_until_its_link_is_dropped",
            &[Need::Kernel],
            an_attached_filter_sees_every_frame_until_its_link_is_dropped,
        ),
        Case::new(
            "programs::frames_that_pass_are_counted_and_so_are_those_dropped",
            &[Need::Kernel],
            frames_that_pass_are_counted_and_so_are_those_dropped,
        ),
        Case::new(
            "programs::attaching_names_what_is_wrong",
            &[Need::Kernel],
            attaching_names_what_is_wrong,
        ),
        Case::new(
            "programs::nothing_is_left_open",
            &[Need::Kernel],
            nothing_is_left_open,
        ),
    ]
}

fn counters() -> KernelMap {
    KernelMap::create(&MapSpec::new("counters", MapKind::Array, 4, 8, 1)).unwrap()
}

fn a_program_with_a_map_is_loaded_under_a_clean_name() {
    let map = counters();
    let loaded = KernelProgram::load(&byte_counter(0), &[map], Some("GPL"), None).unwrap();
    let info = loaded.info().unwrap();
    assert_eq!(info.kind, ProgramKind::SocketFilter);
    assert_eq!(info.name, "a_test_program_");
    assert!(info.id > 0 && info.translated_bytes > 0);
    assert!(
        loaded.verifier_log().contains("processed"),
        "{}",
        loaded.verifier_log()
    );
}

fn a_pointer_used_before_a_null_test_is_v001_at_its_instruction() {
    let mut counter = byte_counter(0);
    // Without the jump over the use of the pointer.
    counter.insns[7] = mov(1, 0);
    // KERNEL: 6.18 knows that a constant index inside an array is found, and wants no test there; so take a hash.
    let map = KernelMap::create_new(MapKind::Hash, 4, 8, 1).unwrap();
    let error = KernelProgram::load(&counter, &[map], Some("GPL"), None).unwrap_err();
    let diagnosis = error.diagnosis();
    assert_eq!(
        (diagnosis.code, error.kind()),
        (Code::NULL_NOT_TESTED, ErrorKind::Rejected)
    );
    assert_eq!(diagnosis.category, Some(Category::RegisterType));
    assert_eq!(error.errno(), Some(Errno::EACCES));
    let (index, text) = diagnosis.place.insn.clone().unwrap();
    assert_eq!(index, 8);
    assert!(text.contains("lock *(u64 *)(r0 +0) += r6"), "{text}");
    assert!(
        diagnosis
            .kernel_text
            .as_deref()
            .unwrap()
            .contains("7: (b7) r1 = 0")
    );
    assert!(diagnosis.render().lines().count() <= 25);
}

/// Programs the verifier refuses, and the code each gets.
fn refused() -> Vec<(&'static str, Vec<Insn>)> {
    vec![
        ("V002", vec![mov(1, 5), insn(0x79, 0, 1, 0, 0), exit()]),
        ("V003", vec![insn(0xbf, 0, 3, 0, 0), exit()]),
        ("V004", vec![exit()]),
        (
            "V005",
            vec![mov(1, 0), mov(2, 0), call(1), mov(0, 0), exit()],
        ),
        (
            "V007",
            vec![
                insn(0xbf, 2, 10, 0, 0),
                insn(0x27, 2, 0, 0, 4),
                mov(0, 0),
                exit(),
            ],
        ),
        (
            "V008",
            vec![insn(0x07, 1, 0, 0, 4), insn(0x61, 0, 1, 8, 0), exit()],
        ),
        ("V020", vec![insn(0x79, 0, 10, -520, 0), exit()]),
        ("V021", vec![insn(0x7a, 10, 0, -12, 0), mov(0, 0), exit()]),
        ("V024", vec![insn(0x79, 0, 1, 4096, 0), exit()]),
        ("V025", vec![mov(10, 0), mov(0, 0), exit()]),
        ("V028", vec![call(23), mov(0, 0), exit()]),
        ("V042", vec![mov(0, 0), exit(), mov(0, 0), exit()]),
        ("V043", vec![mov(0, 0)]),
    ]
}

fn every_known_reason_gets_its_code_help_and_instruction() {
    for (code, insns) in refused() {
        let program = program(ProgramKind::SocketFilter, insns, vec![]);
        let error = KernelProgram::load(&program, &[], Some("GPL"), None).unwrap_err();
        let diagnosis = error.diagnosis();
        let log = diagnosis.kernel_text.as_deref().unwrap_or_default();
        assert_eq!(
            diagnosis.code.as_str(),
            code,
            "{}\n{log}",
            diagnosis.render()
        );
        assert!(
            !diagnosis.help.is_empty() && diagnosis.kernel_text.is_some(),
            "{code}"
        );
        assert!(
            diagnosis.place.insn.is_some() || code == "V043",
            "{}",
            diagnosis.render()
        );
    }
}

fn a_missing_license_stays_missing_and_is_named() {
    let printk = program(
        ProgramKind::SocketFilter,
        vec![call(6), mov(0, 0), exit()],
        vec![],
    );
    let error = KernelProgram::load(&printk, &[], None, None).unwrap_err();
    assert_eq!(error.diagnosis().code, Code::LICENSE_NOT_GPL, "{error}");
    assert!(error.diagnosis().help[0].contains("SEC(\"license\")"));
}

fn the_instruction_limit_keeps_its_errno_and_the_end_of_the_trace() {
    let endless = vec![
        mov(6, 0),
        insn(0x07, 6, 0, 0, 1),
        call(5),
        insn(0x55, 0, 0, -3, 0),
        mov(0, 0),
        exit(),
    ];
    let program = program(ProgramKind::SocketFilter, endless, vec![]);
    let error = KernelProgram::load(&program, &[], Some("GPL"), None).unwrap_err();
    assert_eq!(
        error.diagnosis().code,
        Code::TOO_MANY_INSNS,
        "{}",
        error.diagnosis().render()
    );
    assert_eq!(error.errno(), Some(Errno::E2BIG));
    let text = error.diagnosis().kernel_text.as_deref().unwrap();
    assert!(text.contains("call bpf_ktime_get_ns#5"), "{text}");
    assert!(
        error.diagnosis().place.source.is_none(),
        "{}",
        error.diagnosis().render()
    );
}

fn what_is_missing_before_the_verifier_is_named() {
    let mut untyped = program(ProgramKind::SocketFilter, vec![mov(0, 0), exit()], vec![]);
    untyped.kind = None;
    let error = KernelProgram::load(&untyped, &[], None, None).unwrap_err();
    assert_eq!(error.diagnosis().code, Code::PROGRAM_UNTYPED);

    let unknown = program(ProgramKind::Other(4000), vec![mov(0, 0), exit()], vec![]);
    let error = KernelProgram::load(&unknown, &[], None, None).unwrap_err();
    assert_eq!(error.diagnosis().code, Code::PROGRAM_UNSUPPORTED, "{error}");

    let error = KernelProgram::load(&byte_counter(0), &[], None, None).unwrap_err();
    assert_eq!(
        error.diagnosis().code,
        Code::RELOCATION_MALFORMED,
        "{error}"
    );
    let mut beyond = program(
        ProgramKind::SocketFilter,
        vec![mov(0, 0), exit()],
        vec![map_hole(9)],
    );
    beyond.holes[0].at.0 = u32::MAX;
    assert!(KernelProgram::load(&beyond, &[], None, None).is_err());
}

/// Runs `action` on a thread of its own with exactly these capabilities.
fn with_capabilities<T: Send + 'static>(
    set: CapabilitySet,
    action: impl FnOnce() -> T + Send + 'static,
) -> T {
    let thread = std::thread::spawn(move || {
        let sets = CapabilitySets {
            effective: set,
            permitted: set,
            inheritable: CapabilitySet::empty(),
        };
        rustix::thread::set_capabilities(None, sets).unwrap();
        action()
    });
    thread.join().unwrap()
}

fn without_capabilities_the_missing_ones_are_named() {
    let map = with_capabilities(CapabilitySet::empty(), || {
        KernelMap::create_new(MapKind::Array, 4, 4, 1).unwrap_err()
    });
    assert_eq!(
        (map.diagnosis().code, map.kind()),
        (Code::MAP_PERMISSION, ErrorKind::Permission)
    );
    assert!(
        map.to_string().contains("this process lacks CAP_BPF"),
        "{map}"
    );

    let sockets = with_capabilities(CapabilitySet::BPF, || {
        KernelMap::create_new(MapKind::SockMap, 4, 4, 1).unwrap_err()
    });
    assert!(
        sockets.to_string().contains("lacks CAP_NET_ADMIN"),
        "{sockets}"
    );

    let filter = program(ProgramKind::SocketFilter, vec![mov(0, 0), exit()], vec![]);
    let copy = filter.clone();
    let load = with_capabilities(CapabilitySet::empty(), move || {
        KernelProgram::load(&copy, &[], None, None).unwrap_err()
    });
    assert_eq!(load.diagnosis().code, Code::PROGRAM_PERMISSION, "{load}");
    let attach = with_capabilities(CapabilitySet::BPF, move || {
        let loaded = KernelProgram::load(&filter, &[], None, None).unwrap();
        KernelSocketLink::attach(&loaded, "lo").unwrap_err()
    });
    assert_eq!(attach.diagnosis().code, Code::ATTACH_PERMISSION, "{attach}");
    assert!(attach.to_string().contains("lacks CAP_NET_RAW"), "{attach}");
}

/// Which of the capabilities that are named for a kind the kernel really insists on: with each left out, EPERM; with all, not.
fn the_capabilities_named_are_those_the_kernel_insists_on() {
    let all = CapabilitySet::BPF | CapabilitySet::NET_ADMIN | CapabilitySet::PERFMON;
    let mut wrong = Vec::new();
    for kind in ProgramKind::all() {
        let named = with_capabilities(CapabilitySet::empty(), move || refusal(kind).unwrap());
        let as_root = refusal(kind).unwrap_or_default();
        if as_root.contains("not permitted") || as_root.contains("came with") {
            // Refused to root as well, by a kernel built without trampolines or older than the kind: nothing to compare.
            continue;
        }
        for (flag, name) in [
            (CapabilitySet::BPF, "CAP_BPF"),
            (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
            (CapabilitySet::PERFMON, "CAP_PERFMON"),
        ] {
            let without = with_capabilities(all & !flag, move || refusal(kind));
            let insists = without.is_some_and(|text| text.contains("not permitted"));
            let names = named
                .split("lacks")
                .nth(1)
                .unwrap_or_default()
                .contains(name);
            if insists != names {
                wrong.push(format!("{kind}: {name} insists {insists}, named {names}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The message of refusing a smallest program of a kind; `None` if it is accepted.
fn refusal(kind: ProgramKind) -> Option<String> {
    let smallest = program(kind, vec![mov(0, 0), exit()], vec![]);
    KernelProgram::load(&smallest, &[], Some("GPL"), None)
        .err()
        .map(|error| error.to_string())
}

/// Runs `action` on a thread in a network namespace of its own with `lo` up; the namespace goes with the thread.
fn in_own_network<T: Send + 'static>(action: impl FnOnce() -> T + Send + 'static) -> T {
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
        action()
    });
    thread.join().unwrap()
}

fn send(count: u32, payload: usize) {
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..count {
        sender
            .send_to(&vec![1; payload], receiver.local_addr().unwrap())
            .unwrap();
    }
}

fn counted(map: &KernelMap) -> u64 {
    let mut value = [0; 8];
    map.lookup(&[0; 4], &mut value).unwrap();
    u64::from_ne_bytes(value)
}

fn an_attached_filter_sees_every_frame_until_its_link_is_dropped() {
    in_own_network(|| {
        let map = counters();
        let kernel = Kernel::open().unwrap();
        let loaded = kernel
            .load_program(
                &byte_counter(0),
                &LoadContext {
                    maps: std::slice::from_ref(&map),
                    ..LoadContext::default()
                },
            )
            .unwrap();
        send(3, 100);
        let link = kernel.attach_socket(&loaded, "lo").unwrap();
        assert_eq!(
            counted(&map),
            0,
            "a frame from before attaching was counted"
        );
        send(7, 100);
        // On `lo` each frame of 14 + 20 + 8 + 100 bytes is seen twice: outgoing and incoming.
        assert_eq!(counted(&map), 2 * 7 * 142);
        assert_eq!(
            link.statistics().unwrap().received,
            0,
            "a filter that returns 0 lets nothing pass"
        );
        drop(link);
        send(5, 100);
        assert_eq!(counted(&map), 2 * 7 * 142);
    });
}

fn frames_that_pass_are_counted_and_so_are_those_dropped() {
    in_own_network(|| {
        let map = counters();
        let loaded =
            KernelProgram::load(&byte_counter(65535), std::slice::from_ref(&map), None, None)
                .unwrap();
        let link = KernelSocketLink::attach(&loaded, "lo").unwrap();
        send(4, 50);
        assert_eq!(link.statistics().unwrap().received, 8);
        // Nobody reads the socket, so its queue fills and frames are dropped; the program has seen them all.
        send(2000, 1400);
        let statistics = link.statistics().unwrap();
        assert_eq!(statistics.received, 8 + 4000);
        assert!(
            statistics.dropped > 0 && statistics.dropped < 4000,
            "{statistics:?}"
        );
        assert_eq!(counted(&map), 8 * 92 + 4000 * 1442);
    });
}

fn attaching_names_what_is_wrong() {
    let filter = program(ProgramKind::SocketFilter, vec![mov(0, 0), exit()], vec![]);
    let loaded = KernelProgram::load(&filter, &[], None, None).unwrap();
    let error = KernelSocketLink::attach(&loaded, "nosuch0").unwrap_err();
    assert_eq!(
        (error.diagnosis().code, error.kind()),
        (Code::ATTACH_TARGET, ErrorKind::NotFound)
    );
    assert!(error.diagnosis().facts[0].value.contains("lo"));

    let classifier = program(ProgramKind::SchedCls, vec![mov(0, 0), exit()], vec![]);
    let loaded = KernelProgram::load(&classifier, &[], None, None).unwrap();
    let error = KernelSocketLink::attach(&loaded, "lo").unwrap_err();
    assert_eq!(error.diagnosis().code, Code::ATTACH_KIND);
}

/// The descriptors of this process that are maps, programs or packet sockets of ours, by what `/proc` calls them.
fn bpf_descriptors() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir("/proc/self/fd").unwrap().flatten() {
        let target = std::fs::read_link(entry.path()).unwrap_or_default();
        if target.to_string_lossy().contains("bpf") {
            found.insert(entry.file_name().to_string_lossy().into_owned());
        }
    }
    found
}

fn nothing_is_left_open() {
    // In a process of its own: the other tests of this binary open descriptors at the same time.
    if std::env::var_os("TWINBPF_TEST_ALONE").is_none() {
        let status = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "programs::nothing_is_left_open",
                "--test-threads",
                "1",
            ])
            .env("TWINBPF_TEST_ALONE", "1")
            .status();
        assert!(status.unwrap().success());
        return;
    }
    let before = crate::support::open_descriptors();
    for _ in 0..3 {
        let map = counters();
        let loaded =
            KernelProgram::load(&byte_counter(0), std::slice::from_ref(&map), None, None).unwrap();
        let rejected = program(ProgramKind::SocketFilter, vec![exit()], vec![]);
        KernelProgram::load(&rejected, &[], None, None).unwrap_err();
        KernelMap::create_new(MapKind::Array, 8, 4, 1).unwrap_err();
        KernelSocketLink::attach(&loaded, "nosuch0").unwrap_err();
        let link = in_own_network(move || KernelSocketLink::attach(&loaded, "lo").unwrap());
        assert_eq!(bpf_descriptors().len(), 1, "the map");
        drop((map, link));
    }
    assert_eq!(crate::support::open_descriptors(), before);
    assert!(bpf_descriptors().is_empty());
}
