//! How the façade loads: one program alone, many at once, and what maps hold from the start.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use twinbpf::spec::Pinning;
use twinbpf::{
    Code, Engine, ErrorKind, Linked, MapKind, MapSpec, NotLoadedReason, Object, ProgramKind,
};
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
    (
        "slots_hold_what_the_object_declares",
        slots_hold_what_the_object_declares,
    ),
    (
        "maps_and_programs_can_be_put_into_slots_later",
        maps_and_programs_can_be_put_into_slots_later,
    ),
];

const KERNEL: &[(&str, Body)] = &[
    (
        "a_slot_for_a_refused_program_is_listed",
        a_slot_for_a_refused_program_is_listed,
    ),
    (
        "the_first_user_of_a_prog_array_decides_its_type",
        the_first_user_of_a_prog_array_decides_its_type,
    ),
];

const PINS: &[(&str, fn())] = &[
    (
        "what_is_pinned_is_shared_by_loads",
        what_is_pinned_is_shared_by_loads,
    ),
    (
        "a_pin_that_does_not_fit_is_refused_by_field",
        a_pin_that_does_not_fit_is_refused_by_field,
    ),
    (
        "nothing_stays_pinned_of_a_load_that_failed",
        nothing_stays_pinned_of_a_load_that_failed,
    ),
    (
        "a_pin_outside_of_a_bpffs_says_where_there_is_one",
        a_pin_outside_of_a_bpffs_says_where_there_is_one,
    ),
    ("a_pin_knows_what_it_is", a_pin_knows_what_it_is),
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
    let pins = PINS.iter().map(|(name, body)| {
        Case::new(
            &format!("pins::{name}"),
            &[Need::Kernel, Need::Bpffs],
            *body,
        )
    });
    let vm_pins = Case::new(
        "vm::pins_are_refused_by_name",
        &[],
        pins_are_refused_by_name,
    );
    twinbpf_trials::run(kernel.chain(vm).chain(pins).chain([vm_pins]).collect())
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

/// A folder for pins, gone with everything in it at the end.
struct PinFolder(PathBuf);

impl PinFolder {
    fn new(name: &str) -> Self {
        let name = format!("twinbpf-test-{}-{name}", std::process::id());
        Self(Path::new("/sys/fs/bpf").join(name))
    }
}

impl Drop for PinFolder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn what_is_pinned_is_shared_by_loads() {
    let folder = PinFolder::new("shared");
    let engine = Engine::kernel().unwrap();
    let object = fixture("sockex1_iproute2.bpf.o");
    let linked = linked(&engine, &object);
    let first = engine.loader(&linked).pin_root(&folder.0).load().unwrap();
    first
        .map::<u32, u64>("my_map")
        .unwrap()
        .set(&17, &42)
        .unwrap();
    drop(first);
    assert!(folder.0.join("globals/my_map").exists());
    let second = engine.loader(&linked).pin_root(&folder.0).load().unwrap();
    let map = second.map::<u32, u64>("my_map").unwrap();
    assert_eq!(map.get(&17).unwrap(), Some(42));
    // Whoever does not ask for pins has a map of his own.
    let alone = engine.loader(&linked).load().unwrap();
    let map = alone.map::<u32, u64>("my_map").unwrap();
    assert_eq!(map.get(&17).unwrap(), Some(0));
}

fn a_pin_that_does_not_fit_is_refused_by_field() {
    let folder = PinFolder::new("unfit");
    let engine = Engine::kernel().unwrap();
    let mut object = fixture("sockex1_iproute2.bpf.o");
    let small = linked(&engine, &object);
    drop(engine.loader(&small).pin_root(&folder.0).load().unwrap());
    object.map_mut("my_map").unwrap().max_entries = 512;
    let large = linked(&engine, &object);
    let error = engine
        .loader(&large)
        .pin_root(&folder.0)
        .load()
        .unwrap_err();
    assert_eq!(error.diagnosis().code, Code::PIN_DIFFERS);
    let text = error.to_string();
    assert!(
        text.contains("max_entries is 256, the object wants 512"),
        "{text}"
    );
    assert!(text.contains("globals/my_map"), "{text}");
}

fn nothing_stays_pinned_of_a_load_that_failed() {
    let folder = PinFolder::new("failed");
    std::fs::create_dir(&folder.0).unwrap();
    let engine = Engine::kernel().unwrap();
    let mut object = fixture("slots.bpf.o");
    object.map_mut("jumps").unwrap().pinning = Pinning::ByName;
    let linked = linked(&engine, &object);
    engine
        .loader(&linked)
        .pin_root(&folder.0)
        .load()
        .unwrap_err();
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 0);
    // What was loaded on its own is pinned.
    engine
        .loader(&linked)
        .pin_root(&folder.0)
        .load_each()
        .unwrap();
    assert!(folder.0.join("jumps").exists());
}

fn a_pin_outside_of_a_bpffs_says_where_there_is_one() {
    let engine = Engine::kernel().unwrap();
    let map = MapSpec::new("m", MapKind::Array, 4, 4, 1);
    let map = engine.create_map(&map).unwrap();
    let error = map.pin(Path::new("/tmp/no/bpffs/m")).unwrap_err();
    assert_eq!(error.diagnosis().code, Code::PIN_PATH);
    assert!(error.diagnosis().help[0].contains("/sys/fs/bpf"), "{error}");
    assert!(!Path::new("/tmp/no").exists());
}

fn a_pin_knows_what_it_is() {
    let folder = PinFolder::new("kinds");
    let engine = Engine::kernel().unwrap();
    let loaded = engine.load_object(&fixture("globals.bpf.o")).unwrap();
    let (program, constants) = (folder.0.join("program"), folder.0.join("constants"));
    loaded.program("count").unwrap().pin(&program).unwrap();
    let map = loaded.raw_map(".rodata").unwrap();
    map.pin(&constants).unwrap();
    let error = map.pin(&constants).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists);
    let opened = engine.open_pinned_map(&constants).unwrap().unwrap();
    assert_eq!(opened.spec().flags, map.spec().flags);
    assert!(opened.spec().is_frozen);
    assert_eq!(opened.get(&slot(0)).unwrap(), map.get(&slot(0)).unwrap());
    let error = engine.open_pinned_map(&program).unwrap_err();
    assert!(error.to_string().contains("is no map"), "{error}");
    let nothing = folder.0.join("nothing");
    assert!(engine.open_pinned_map(&nothing).unwrap().is_none());
}

fn pins_are_refused_by_name() {
    let engine = Engine::vm().unwrap();
    let linked = linked(&engine, &fixture("sockex1_iproute2.bpf.o"));
    let loader = engine.loader(&linked).pin_root(Path::new("/sys/fs/bpf"));
    let error = loader.load().unwrap_err();
    assert!(error.is_unsupported());
    assert_eq!(error.diagnosis().place.map.as_deref(), Some("my_map"));
    assert!(engine.loader(&linked).load().is_ok());
}
