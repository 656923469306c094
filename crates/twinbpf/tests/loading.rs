//! How the façade loads: one program alone, many at once, and what maps hold from the start.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::ExitCode;

use twinbpf::{Code, Engine, ErrorKind, Linked, NotLoadedReason, Object, ProgramKind};
use twinbpf_trials::{Case, Need};

type Body = fn(&Engine);

const BOTH: &[(&str, Body)] = &[
    (
        "one_program_alone_takes_only_its_maps_along",
        one_program_alone_takes_only_its_maps_along,
    ),
    (
        "a_program_that_is_switched_off_can_be_loaded_alone",
        a_program_that_is_switched_off_can_be_loaded_alone,
    ),
    (
        "a_program_that_cannot_be_linked_is_listed_with_its_reason",
        a_program_that_cannot_be_linked_is_listed_with_its_reason,
    ),
    (
        "programs_keep_the_objects_order",
        programs_keep_the_objects_order,
    ),
];

const KERNEL: &[(&str, Body)] = &[
    (
        "slots_hold_what_the_object_declares",
        slots_hold_what_the_object_declares,
    ),
    (
        "a_slot_for_a_refused_program_is_listed",
        a_slot_for_a_refused_program_is_listed,
    ),
    (
        "the_first_user_of_a_prog_array_decides_its_type",
        the_first_user_of_a_prog_array_decides_its_type,
    ),
    (
        "maps_and_programs_can_be_put_into_slots_later",
        maps_and_programs_can_be_put_into_slots_later,
    ),
];

fn main() -> ExitCode {
    let kernel = KERNEL.iter().chain(BOTH).map(|(name, body)| {
        let body = *body;
        Case::new(&format!("kernel::{name}"), &[Need::Kernel], move || {
            body(&Engine::kernel().unwrap());
        })
    });
    let vm = BOTH.iter().map(|(name, body)| {
        let body = *body;
        Case::new(&format!("vm::{name}"), &[], move || {
            body(&Engine::vm().unwrap());
        })
    });
    twinbpf_trials::run(kernel.chain(vm).collect())
}

fn fixture(name: &str) -> Object {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/bpf");
    let mut object = Object::parse(&std::fs::read(folder.join(name)).unwrap()).unwrap();
    for program in &mut object.programs {
        program.kind.get_or_insert(ProgramKind::SocketFilter);
    }
    object
}

fn linked(engine: &Engine, object: &Object) -> Linked {
    let target = engine.target(&object.needs()).unwrap();
    twinbpf::link_each(object, &target).unwrap()
}

fn slot(number: u32) -> [u8; 4] {
    number.to_ne_bytes()
}

fn one_program_alone_takes_only_its_maps_along(engine: &Engine) {
    let mut object = fixture("several.bpf.o");
    // Nobody could create this one, and nobody needs it.
    object.map_mut("zebra").unwrap().max_entries = 0;
    let linked = linked(engine, &object);
    let (loaded, report) = engine.loader(&linked).only("third").load_each().unwrap();
    assert_eq!(loaded.programs().count(), 1);
    let maps: Vec<_> = loaded.maps().map(|(name, ..)| name).collect();
    assert_eq!(maps, ["ant"]);
    assert!(report.maps.is_empty() && report.programs.is_empty());
    let error = engine.loader(&linked).only("fourth").load().unwrap_err();
    assert_eq!(error.diagnosis().place.map.as_deref(), Some("zebra"));
    let error = engine.loader(&linked).only("fifth").load().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let error = engine.loader(&linked).only_at(4).load().unwrap_err();
    assert_eq!(error.diagnosis().code, Code::PROGRAM_NOT_FOUND);
}

fn a_program_that_is_switched_off_can_be_loaded_alone(engine: &Engine) {
    let mut object = fixture("several.bpf.o");
    object.program_mut("third").unwrap().autoload = false;
    let linked = linked(engine, &object);
    let loaded = engine.loader(&linked).only("third").load().unwrap();
    assert_eq!(loaded.programs().next().unwrap().name(), "third");
}

fn a_program_that_cannot_be_linked_is_listed_with_its_reason(engine: &Engine) {
    let object = fixture("core_target_twins.bpf.o");
    let linked = linked(engine, &object);
    let (loaded, report) = engine.loader(&linked).load_each().unwrap();
    assert_eq!(loaded.programs().count(), 0);
    let names: Vec<_> = report.programs.iter().map(|each| &each.name).collect();
    assert_eq!(names, ["one", "other"]);
    let reason = &report.programs[0].reason;
    assert!(matches!(reason, NotLoadedReason::NotLinked(_)), "{reason}");
    let error = engine.loader(&linked).load().unwrap_err();
    assert_eq!(error.diagnosis().code.as_str(), "L002");
    let error = engine.loader(&linked).only("other").load().unwrap_err();
    assert_eq!(error.diagnosis().place.program.as_deref(), Some("other"));
}

fn programs_keep_the_objects_order(engine: &Engine) {
    let loaded = engine.load_object(&fixture("several.bpf.o")).unwrap();
    let names: Vec<_> = loaded.programs().map(twinbpf::Program::name).collect();
    assert_eq!(names, ["first", "second", "third", "fourth"]);
}

fn slots_hold_what_the_object_declares(engine: &Engine) {
    let loaded = engine.load_object(&fixture("map_in_map.bpf.o")).unwrap();
    // The kernel answers the number of the map or program inside.
    for map in ["outer_array", "jumps"] {
        let map = loaded.raw_map(map).unwrap();
        assert!(map.get(&slot(1)).unwrap().is_some());
        assert_eq!(map.get(&slot(0)).unwrap(), None);
    }
}

fn a_slot_for_a_refused_program_is_listed(engine: &Engine) {
    let linked = linked(engine, &fixture("slots.bpf.o"));
    let (loaded, report) = engine.loader(&linked).load_each().unwrap();
    let jumps = loaded.raw_map("jumps").unwrap();
    assert!(jumps.get(&slot(2)).unwrap().is_some());
    assert_eq!(jumps.get(&slot(0)).unwrap(), None);
    let slots: Vec<String> = report.slots.iter().map(ToString::to_string).collect();
    assert_eq!(
        slots,
        ["slot 0 of `jumps`: its program `refused` was not loaded"]
    );
    // All or nothing names the cause, not what follows from it.
    let error = engine.loader(&linked).load().unwrap_err();
    assert_eq!(error.diagnosis().place.program.as_deref(), Some("refused"));
}

fn the_first_user_of_a_prog_array_decides_its_type(engine: &Engine) {
    let linked = linked(engine, &fixture("slots.bpf.o"));
    for _ in 0..8 {
        let (loaded, report) = engine.loader(&linked).load_each().unwrap();
        assert!(loaded.program("first_user").is_ok());
        let names: Vec<_> = report.programs.iter().map(|each| &each.name).collect();
        assert_eq!(names, ["refused", "second_user"]);
    }
}

fn maps_and_programs_can_be_put_into_slots_later(engine: &Engine) {
    let loaded = engine.load_object(&fixture("map_in_map.bpf.o")).unwrap();
    let outer = loaded.raw_map("outer_array").unwrap();
    let inner = loaded.raw_map("inner").unwrap();
    outer.put_map(&slot(0), inner).unwrap();
    assert!(outer.get(&slot(0)).unwrap().is_some());
    let jumps = loaded.raw_map("jumps").unwrap();
    let leaf = loaded.program("leaf").unwrap();
    jumps.put_program(&slot(0), leaf).unwrap();
    assert!(jumps.get(&slot(0)).unwrap().is_some());
    let error = jumps.put_program(&slot(2), leaf).unwrap_err();
    assert!(
        error.to_string().contains("index 2 is out of range"),
        "{error}"
    );
    let error = outer.put_map(&slot(0), outer).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
}
