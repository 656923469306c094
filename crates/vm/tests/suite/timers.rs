//! Timers on a clock that stands still until it is told to move, on every executor.

use std::path::Path;

use twinbpf_object::{Code, Object, link};
use twinbpf_vm::{Clock, Vm, VmConfig, VmMap};

use crate::support::configs;

/// Nanoseconds that the timers of the fixture wait for.
const WAIT: u64 = 1000;

/// The fixture in a vm whose clock stands still.
struct Clockwork {
    vm: Vm,
    maps: Vec<VmMap>,
}

impl Clockwork {
    fn new(config: VmConfig) -> Self {
        let clock = Clock::Manual(1_000_000);
        let vm = Vm::new(VmConfig { clock, ..config }).unwrap();
        let maps = object(&vm).maps;
        let maps = maps
            .iter()
            .map(|spec| vm.create_map(spec).unwrap())
            .collect();
        Self { vm, maps }
    }

    fn run(&self, name: &str) {
        let linked = object(&self.vm);
        let mut programs = linked.programs.iter();
        let program = programs.find(|program| program.name == name).unwrap();
        let program = self.vm.load_program(program, &self.maps).unwrap();
        let value = self.vm.worker().unwrap().run(&program, &mut []);
        assert_eq!(value.unwrap(), 0);
    }

    fn map(&self, name: &str) -> &VmMap {
        self.maps
            .iter()
            .find(|map| map.spec().name == name)
            .unwrap()
    }

    /// How often the callback of an element ran.
    fn count(&self, map: &str, key: u32) -> u64 {
        let mut value = [0; 32];
        self.map(map)
            .lookup(&key.to_ne_bytes(), &mut value)
            .unwrap();
        u64::from_ne_bytes(*value.last_chunk().unwrap())
    }
}

fn object(vm: &Vm) -> twinbpf_object::Linked {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/bpf/timers.bpf.o");
    let mut object = Object::parse(&std::fs::read(file).unwrap()).unwrap();
    for program in &mut object.programs {
        program.autoload = true;
    }
    link(&object, &vm.target()).unwrap()
}

fn on_every(check: impl Fn(Clockwork)) {
    for config in configs() {
        check(Clockwork::new(config));
    }
}

#[test]
fn a_timer_runs_at_its_time_and_starts_itself_again() {
    on_every(|clockwork| {
        clockwork.run("arms");
        clockwork.vm.advance(WAIT - 1);
        assert_eq!(clockwork.count("elements", 2), 0);
        clockwork.vm.advance(1);
        assert_eq!(clockwork.count("elements", 2), 1);
        clockwork.vm.advance(WAIT * 10);
        assert_eq!(clockwork.count("elements", 2), 3, "each at its time");
        assert!(clockwork.vm.take_faults().is_empty());
    });
}

#[test]
fn a_timer_that_is_due_runs_after_the_next_run_if_no_cpu_is_free() {
    on_every(|clockwork| {
        clockwork.run("arms");
        let workers = [
            clockwork.vm.worker().unwrap(),
            clockwork.vm.worker().unwrap(),
        ];
        clockwork.vm.advance(WAIT);
        assert!(clockwork.vm.run_timers().is_err());
        assert_eq!(clockwork.count("elements", 2), 0);
        drop(workers);
        clockwork.run("cancels");
        assert_eq!(clockwork.count("elements", 2), 1);
    });
}

#[test]
fn the_timer_of_an_element_that_was_deleted_or_written_anew_does_not_run() {
    on_every(|clockwork| {
        let key = 5_u32.to_ne_bytes();
        let by_key = clockwork.map("by_key");
        clockwork.run("arms_in_a_hash");
        by_key.delete(&key).unwrap();
        clockwork.vm.advance(WAIT);
        clockwork.run("arms_in_a_hash");
        by_key.delete(&key).unwrap();
        by_key.update(&key, &[0; 32], 0).unwrap();
        clockwork.vm.advance(WAIT);
        assert_eq!(clockwork.count("by_key", 5), 0);
        clockwork.run("arms_in_a_hash");
        clockwork.vm.advance(WAIT);
        assert_eq!(clockwork.count("by_key", 5), 1);
    });
}

#[test]
fn a_callback_that_ends_abnormally_is_reported_and_harms_nobody() {
    on_every(|clockwork| {
        clockwork.run("arms_what_fails");
        clockwork.run("arms");
        clockwork.vm.advance(WAIT);
        let faults = clockwork.vm.take_faults();
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].diagnosis().code, Code::RUN_FAULT, "{}", faults[0]);
        assert!(clockwork.vm.take_faults().is_empty());
        assert_eq!(clockwork.count("elements", 2), 1);
    });
}

#[test]
fn timers_end_with_the_callers_last_handle_of_their_map() {
    on_every(|clockwork| {
        clockwork.run("arms_what_fails");
        let Clockwork { vm, maps } = clockwork;
        drop(maps);
        vm.advance(WAIT);
        assert!(vm.take_faults().is_empty());
        assert_eq!(vm.run_timers().unwrap(), 0);
    });
}

#[test]
fn work_runs_once_after_the_run_that_queued_it() {
    on_every(|clockwork| {
        clockwork.run("queues");
        let mut job = [0; 24];
        let jobs = clockwork.map("jobs");
        jobs.lookup(&1_u32.to_ne_bytes(), &mut job).unwrap();
        assert_eq!(u64::from_ne_bytes(*job.last_chunk().unwrap()), 1);
    });
}
