//! BPF as a plug-in language: hook points and functions of the host, on every executor.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use twinbpf_object::target::{Parameter, Prototype};
use twinbpf_object::{Code, Linked, Object, ProgramKind, Result, link, link_each};
use twinbpf_vm::hooks::point::{HookData, HookField, HookPoint, HookRunner};
use twinbpf_vm::{HostFault, Vm, VmBuilder, VmConfig, VmMap};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::support::configs;

#[derive(Debug, Clone, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Request {
    client: u32,
    verdict: u32,
    body: u64,
    body_end: u64,
}

impl Request {
    fn of(client: u32) -> Self {
        Self {
            client,
            verdict: 0,
            body: 0,
            body_end: 0,
        }
    }
}

fn point() -> HookPoint {
    HookPoint {
        section: "request".to_owned(),
        context_bytes: size_of::<Request>(),
        writable: vec![HookField {
            offset: 4,
            bytes: 4,
        }],
        data: Some(HookData {
            start: 8,
            end: 16,
            is_writable: false,
        }),
    }
}

fn fixture() -> Object {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/bpf/plugin.bpf.o");
    let mut object = Object::parse(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!(point().adopt(&mut object), 3);
    object.programs.retain(|program| program.kind.is_some());
    object
}

/// What the host's functions were told.
#[derive(Default)]
struct Host {
    asked: AtomicU64,
    lines: Mutex<Vec<Vec<u8>>>,
}

fn builder(config: VmConfig, host: &Arc<Host>) -> VmBuilder {
    let (asked, lines) = (Arc::clone(host), Arc::clone(host));
    VmBuilder::new(config)
        .function("host_limit", move |client: u32| -> u32 {
            asked.asked.fetch_add(1, Ordering::Relaxed);
            client * 10
        })
        .kfunc("host_log", log_prototype(), move |call| {
            let line = call.read(0, call.number(1))?;
            lines.lines.lock().unwrap().push(line);
            Ok(0)
        })
}

/// `void host_log(const char *text, __u32 length)`
fn log_prototype() -> Prototype {
    Prototype {
        parameters: vec![Parameter::Pointer, Parameter::Number(4)],
        answer: None,
    }
}

fn runner(vm: &Vm, linked: &Linked, name: &str) -> (HookRunner, Vec<VmMap>) {
    let maps: Vec<VmMap> = linked
        .maps
        .iter()
        .map(|spec| vm.create_map(spec).unwrap())
        .collect();
    let mut programs = linked.programs.iter();
    let program = programs.find(|program| program.name == name).unwrap();
    let program = vm.load_program(program, &maps).unwrap();
    (point().runner(vm, &program).unwrap(), maps)
}

/// The hook runner of a program of the fixture, on every executor.
fn on_every(name: &str, check: impl Fn(&mut HookRunner, &Host, &[VmMap])) {
    for config in configs() {
        let host = Arc::default();
        let vm = builder(config, &host).build().unwrap();
        let linked = link(&fixture(), &vm.target()).unwrap();
        let (mut runner, maps) = runner(&vm, &linked, name);
        check(&mut runner, &host, &maps);
    }
}

#[test]
fn a_hook_point_hands_over_context_and_data_and_takes_back_what_may_change() {
    on_every("meter", |runner, host, maps| {
        let mut request = Request::of(7);
        for (body, expected) in [(40, 0), (30, 0), (1, 1)] {
            let mut data = vec![b'x'; body];
            let verdict = runner.run_with_data(&mut request, &mut data).unwrap();
            assert_eq!((verdict, u64::from(request.verdict)), (expected, expected));
            assert_eq!(request.client, 7, "the program may not change it");
            assert_eq!((request.body, request.body_end), (0, 0));
        }
        let mut total = [0; 8];
        maps[0].lookup(&7_u32.to_ne_bytes(), &mut total).unwrap();
        assert_eq!(u64::from_ne_bytes(total), 71);
        assert_eq!(host.asked.load(Ordering::Relaxed), 3);
    });
}

#[test]
fn a_function_of_the_host_reads_the_programs_memory() {
    on_every("first_line", |runner, host, _| {
        let mut body = *b"GET /\nHost: a";
        let answer = runner.run_with_data(&mut Request::of(1), &mut body);
        assert_eq!(answer.unwrap(), 5, "the weak function is absent");
        assert_eq!(*host.lines.lock().unwrap(), [b"GET /".to_vec()]);
        assert_eq!(runner.run(&mut Request::of(1)).unwrap(), 0);
    });
}

#[test]
fn data_end_where_the_hook_point_says() {
    let vm = builder(
        VmConfig {
            executor: twinbpf_vm::Executor::Checked,
            ..VmConfig::default()
        },
        &Arc::default(),
    );
    let vm = vm.build().unwrap();
    let linked = link(&fixture(), &vm.target()).unwrap();
    let (mut runner, _) = runner(&vm, &linked, "careless");
    let error = runner
        .run_with_data(&mut Request::of(1), &mut [1, 2])
        .unwrap_err();
    assert!(
        error.to_string().contains("the end of the packet"),
        "{error}"
    );
}

fn refused(
    body: impl Fn() -> std::result::Result<u64, HostFault> + Send + Sync + Clone + 'static,
) -> Vec<String> {
    let mut messages = Vec::new();
    for config in configs() {
        let body = body.clone();
        let vm = VmBuilder::new(config)
            .function("host_limit", |client: u32| -> u32 { client })
            .kfunc("host_log", log_prototype(), move |_| body())
            .build()
            .unwrap();
        let linked = link(&fixture(), &vm.target()).unwrap();
        let (mut runner, _) = runner(&vm, &linked, "first_line");
        let error = runner.run(&mut Request::of(1)).unwrap_err();
        assert!(error.diagnosis().place.source.is_some(), "{error}");
        messages.push(error.to_string());
        let again = runner.run(&mut Request::of(1));
        assert!(again.is_err(), "the worker goes on working");
    }
    messages
}

#[test]
fn a_function_of_the_host_that_panics_or_refuses_ends_the_run() {
    let panicking = refused(|| panic!("on purpose"));
    assert_eq!(panicking.len(), configs().len());
    let expected = "the host's function `host_log` ends the run: it panicked";
    assert!(
        panicking.iter().all(|text| text.contains(expected)),
        "{panicking:?}"
    );
    let refusing = refused(|| Err(HostFault::new("no more logs today")));
    let expected = "the host's function `host_log` ends the run: no more logs today";
    assert!(
        refusing.iter().all(|text| text.contains(expected)),
        "{refusing:?}"
    );
}

#[test]
fn a_function_of_the_host_cannot_reach_what_the_program_cannot() {
    for config in configs() {
        let vm = VmBuilder::new(config)
            .function("host_limit", |client: u32| -> u32 { client })
            .kfunc("host_log", log_prototype(), |call| {
                assert!(call.read(1, 1).is_err(), "no address");
                assert!(call.read(0, u64::MAX).is_err(), "too much");
                call.read(0, 1 << 20).map(|_| 0)
            })
            .build()
            .unwrap();
        let linked = link(&fixture(), &vm.target()).unwrap();
        let (mut runner, _) = runner(&vm, &linked, "first_line");
        let error = runner.run(&mut Request::of(1)).unwrap_err();
        assert_eq!(error.diagnosis().code, Code::RUN_FAULT, "{error}");
    }
}

#[test]
fn another_prototype_than_the_hosts_is_refused_when_linked() {
    let vm = VmBuilder::new(VmConfig::default())
        .function("host_limit", |_: u64| -> u32 { 0 })
        .kfunc("host_log", log_prototype(), |_| Ok(0))
        .build()
        .unwrap();
    let linked = link_each(&fixture(), &vm.target()).unwrap();
    let error = &linked.left_out[0].reason;
    assert_eq!(error.diagnosis().code, Code::KFUNC_PROTOTYPE);
    let expected = "the engine's `host_limit` has another prototype than the program declares: its argument 1 is a number of 8 bytes";
    assert!(error.to_string().contains(expected), "{error}");
}

#[test]
fn names_and_prototypes_of_host_functions_are_checked_when_the_vm_is_made() {
    let build = |add: fn(VmBuilder) -> VmBuilder| -> Result<Vm> {
        add(VmBuilder::new(VmConfig::default())).build()
    };
    for (add, expected) in [
        (
            (|b| b.function("1st", || ())) as fn(VmBuilder) -> VmBuilder,
            "`1st` is no name",
        ),
        (
            |b| b.function("a", || ()).function("a", || ()),
            "there is a function `a` already",
        ),
        (
            |b| b.function("bpf_iter_num_new", || ()),
            "there is a function `bpf_iter_num_new` already",
        ),
        (
            |b| {
                let six = Prototype {
                    parameters: vec![Parameter::Pointer; 6],
                    answer: None,
                };
                b.kfunc("many", six, |_| Ok(0))
            },
            "`many` has 6 parameters, a call has registers for 5",
        ),
        (
            |b| {
                let odd = Prototype {
                    parameters: vec![Parameter::Number(3)],
                    answer: None,
                };
                b.kfunc("odd", odd, |_| Ok(0))
            },
            "`odd` has a number of 3 bytes",
        ),
    ] {
        let error = build(add).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn a_hook_point_refuses_what_does_not_fit_it() {
    let vm = builder(VmConfig::default(), &Arc::default())
        .build()
        .unwrap();
    let linked = link(&fixture(), &vm.target()).unwrap();
    let mut other = linked.programs[0].clone();
    other.kind = Some(ProgramKind::Xdp);
    let maps: Vec<VmMap> = linked
        .maps
        .iter()
        .map(|spec| vm.create_map(spec).unwrap())
        .collect();
    let other = vm.load_program(&other, &maps).unwrap();
    let error = point().runner(&vm, &other).unwrap_err();
    assert!(
        error.to_string().contains("loaded as type syscall"),
        "{error}"
    );

    let program = vm.load_program(&linked.programs[0], &maps).unwrap();
    let mut outside = point();
    outside.writable = vec![HookField {
        offset: 20,
        bytes: 5,
    }];
    let error = outside.runner(&vm, &program).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("bytes 20 to 25 do not lie in the context, which has 24"),
        "{error}"
    );

    let mut runner = point().runner(&vm, &program).unwrap();
    let error = runner.run(&mut [0_u8; 23]).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("the context has 24 bytes, this one 23"),
        "{error}"
    );
    let mut long = vec![0; 80 << 10];
    let error = runner
        .run_with_data(&mut Request::of(1), &mut long)
        .unwrap_err();
    assert!(error.to_string().contains("data have at most"), "{error}");
}
