//! The façade on both engines: typed maps, loading, and what its errors say.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

use twinbpf::{
    Capture, Code, Engine, EngineKind, ErrorKind, Hook, Map, MapKind, MapSpec, NotLoadedReason,
    Object, ProgramKind, UpdateMode,
};
use twinbpf_trials::{Case, Need};

type Body = fn(&Engine);

const BOTH: &[(&str, Body)] = &[
    ("absence_is_an_answer", absence_is_an_answer),
    (
        "a_full_map_says_how_many_entries_are_used",
        a_full_map_says_how_many_entries_are_used,
    ),
    (
        "conditions_of_updates_are_told_apart",
        conditions_of_updates_are_told_apart,
    ),
    (
        "an_index_out_of_range_is_not_a_full_map",
        an_index_out_of_range_is_not_a_full_map,
    ),
    (
        "array_entries_cannot_be_removed",
        array_entries_cannot_be_removed,
    ),
    (
        "types_of_the_wrong_size_are_refused_once",
        types_of_the_wrong_size_are_refused_once,
    ),
    (
        "a_walk_survives_removals_and_repeats_nothing",
        a_walk_survives_removals_and_repeats_nothing,
    ),
    (
        "loaded_yields_maps_in_the_objects_order",
        loaded_yields_maps_in_the_objects_order,
    ),
    (
        "an_edited_object_loads_as_edited",
        an_edited_object_loads_as_edited,
    ),
    (
        "a_reused_map_takes_the_place_of_a_new_one",
        a_reused_map_takes_the_place_of_a_new_one,
    ),
    (
        "a_reused_map_that_differs_is_refused_by_field",
        a_reused_map_that_differs_is_refused_by_field,
    ),
    (
        "all_or_nothing_reports_every_rejection",
        all_or_nothing_reports_every_rejection,
    ),
    ("load_each_loads_what_it_can", load_each_loads_what_it_can),
    (
        "an_unknown_name_lists_the_known_ones",
        an_unknown_name_lists_the_known_ones,
    ),
    (
        "programs_of_other_types_do_not_attach_to_sockets",
        programs_of_other_types_do_not_attach,
    ),
];

fn main() -> ExitCode {
    let on_vm = BOTH.iter().map(|(name, body)| {
        Case::new(&format!("{name}::vm"), &[], || body(&Engine::vm().unwrap()))
    });
    let on_kernel = BOTH.iter().map(|(name, body)| {
        Case::new(&format!("{name}::kernel"), &[Need::Kernel], || {
            body(&Engine::kernel().unwrap());
        })
    });
    let mut cases: Vec<Case> = on_vm.chain(on_kernel).collect();
    cases.push(Case::new(
        "the_kernel_takes_no_captures",
        &[Need::Kernel],
        the_kernel_takes_no_captures,
    ));
    cases.push(Case::new(
        "maps_of_the_other_engine_are_not_reused",
        &[Need::Kernel],
        maps_of_the_other_engine_are_not_reused,
    ));
    twinbpf_trials::run(cases)
}

fn fixture(name: &str) -> Object {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/bpf");
    let mut object = Object::parse(&std::fs::read(folder.join(name)).unwrap()).unwrap();
    for program in &mut object.programs {
        program.kind.get_or_insert(ProgramKind::SocketFilter);
    }
    object
}

fn hash(engine: &Engine, max_entries: u32) -> Map<u32, u64> {
    let raw = engine.create_map(&MapSpec::new("counts", MapKind::Hash, 4, 8, max_entries));
    Map::new(raw.unwrap()).unwrap()
}

fn absence_is_an_answer(engine: &Engine) {
    let map = hash(engine, 4);
    assert_eq!(map.get(&7).unwrap(), None);
    assert!(!map.remove(&7).unwrap());
    map.set(&7, &1).unwrap();
    assert_eq!(map.get(&7).unwrap(), Some(1));
    assert!(map.remove(&7).unwrap());
    assert_eq!(map.entries().unwrap(), []);
}

fn a_full_map_says_how_many_entries_are_used(engine: &Engine) {
    let map = hash(engine, 2);
    map.set(&1, &1).unwrap();
    map.set(&2, &2).unwrap();
    let error = map.set(&3, &3).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    assert_eq!(error.diagnosis().code, Code::MAP_FULL);
    assert_eq!(
        error.to_string(),
        "map `counts`: the map is full: all 2 entries are used (E2BIG)"
    );
    map.set(&2, &20).unwrap(); // replacing still works
}

fn conditions_of_updates_are_told_apart(engine: &Engine) {
    let map = hash(engine, 4);
    let absent = map.replace(&5, &1).unwrap_err();
    assert_eq!(absent.kind(), ErrorKind::NotFound);
    assert_eq!(
        absent.to_string(),
        "map `counts`: key 5 is not in the map (ENOENT)"
    );
    map.insert_new(&5, &1).unwrap();
    let present = map.insert_new(&5, &2).unwrap_err();
    assert_eq!(present.kind(), ErrorKind::Exists);
    assert_eq!(
        present.to_string(),
        "map `counts`: key 5 is already in the map (EEXIST)"
    );
    map.replace(&5, &3).unwrap();
    assert_eq!(map.get(&5).unwrap(), Some(3));
}

fn an_index_out_of_range_is_not_a_full_map(engine: &Engine) {
    let map = Map::<u32, u64>::create(engine, MapKind::Array, 4).unwrap();
    let error = map.set(&300, &1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert_eq!(
        error.to_string(),
        "index 300 is out of range, the last one is 3 (E2BIG)"
    );
    assert_eq!(map.get(&300).unwrap(), None);
    assert_eq!(map.entries().unwrap(), [(0, 0), (1, 0), (2, 0), (3, 0)]);
}

fn array_entries_cannot_be_removed(engine: &Engine) {
    let map = Map::<u32, u64>::create(engine, MapKind::Array, 4).unwrap();
    let error = map.remove(&1).unwrap_err();
    assert!(error.to_string().contains("cannot be removed"), "{error}");
}

fn types_of_the_wrong_size_are_refused_once(engine: &Engine) {
    let raw = engine
        .create_map(&MapSpec::new("counts", MapKind::Hash, 4, 8, 1))
        .unwrap();
    let key = Map::<u64, u64>::new(raw.clone()).unwrap_err();
    assert_eq!(key.diagnosis().code, Code::MAP_TYPE_SIZE);
    assert_eq!(
        key.to_string(),
        "map `counts`: the map's key has 4 bytes, `u64` has 8"
    );
    let value = Map::<u32, [u8; 3]>::new(raw.clone()).unwrap_err();
    assert_eq!(
        value.to_string(),
        "map `counts`: the map's value has 8 bytes, `[u8; 3]` has 3"
    );
    let bytes = raw.update(&[0; 4], &[0; 7], UpdateMode::Any).unwrap_err();
    assert_eq!(
        bytes.to_string(),
        "map `counts`: the map's value has 8 bytes, the one given has 7"
    );
}

fn a_walk_survives_removals_and_repeats_nothing(engine: &Engine) {
    let map = hash(engine, 64);
    for key in 0..64 {
        map.set(&key, &u64::from(key)).unwrap();
    }
    // Each entry is removed as soon as it is seen, and the key that would come next too: the engine's cursor vanishes
    // under the walk again and again, and it starts over.
    let mut seen = BTreeSet::new();
    let mut removed_unseen = BTreeSet::new();
    for entry in &map {
        let (key, value) = entry.unwrap();
        assert_eq!(value, u64::from(key));
        assert!(seen.insert(key), "{key} came twice");
        map.remove(&key).unwrap();
        let neighbour = (key + 1) % 64;
        if key % 3 == 0 && map.remove(&neighbour).unwrap() {
            removed_unseen.insert(neighbour);
        }
    }
    assert!(seen.is_disjoint(&removed_unseen));
    assert_eq!(seen.len() + removed_unseen.len(), 64, "no key was left out");
    assert_eq!(map.entries().unwrap(), []);
}

fn loaded_yields_maps_in_the_objects_order(engine: &Engine) {
    let loaded = engine.load_object(&fixture("several.bpf.o")).unwrap();
    let maps: Vec<_> = loaded
        .maps()
        .map(|(name, spec, map)| (name, spec.kind, map.key_len(), map.value_len()))
        .collect();
    assert_eq!(
        maps,
        [
            ("zebra", MapKind::Array, 4, 4),
            ("ant", MapKind::Hash, 8, 16)
        ]
    );
    let programs: Vec<_> = loaded.programs().map(|program| program.name()).collect();
    assert_eq!(programs, ["first", "second", "third", "fourth"]);
    assert!(
        loaded
            .programs()
            .all(|program| program.engine() == engine.kind())
    );
}

fn an_edited_object_loads_as_edited(engine: &Engine) {
    let mut object = fixture("several.bpf.o");
    object.map_mut("ant").unwrap().max_entries = 5;
    object.program_mut("second").unwrap().autoload = false;
    let loaded = engine.load_object(&object).unwrap();
    assert_eq!(loaded.raw_map("ant").unwrap().spec().max_entries, 5);
    assert!(loaded.program("second").is_err());
    assert_eq!(loaded.programs().count(), 3);
}

fn a_reused_map_takes_the_place_of_a_new_one(engine: &Engine) {
    let object = fixture("sockex1_legacy20.bpf.o");
    let first = engine.load_object(&object).unwrap();
    let counts = first.map::<u32, u64>("my_map").unwrap();
    counts.set(&17, &1).unwrap();
    let linked = twinbpf::link(&object, &engine.target(&object.needs()).unwrap()).unwrap();
    let second = engine
        .loader(&linked)
        .reuse("my_map", counts.raw())
        .load()
        .unwrap();
    assert_eq!(
        second.map::<u32, u64>("my_map").unwrap().get(&17).unwrap(),
        Some(1)
    );
}

fn a_reused_map_that_differs_is_refused_by_field(engine: &Engine) {
    let object = fixture("sockex1_legacy20.bpf.o");
    let linked = twinbpf::link(&object, &engine.target(&object.needs()).unwrap()).unwrap();
    let smaller = engine
        .create_map(&MapSpec::new("my_map", MapKind::Array, 4, 8, 10))
        .unwrap();
    let error = engine
        .loader(&linked)
        .reuse("my_map", &smaller)
        .load()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert_eq!(
        error.to_string(),
        "map `my_map`: the map to be reused does not fit: max_entries is 10, the object wants 256"
    );
    let error = engine
        .loader(&linked)
        .reuse("other", &smaller)
        .load()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

fn all_or_nothing_reports_every_rejection(engine: &Engine) {
    let mut object = fixture("several.bpf.o");
    for map in &mut object.maps {
        map.max_entries = 0;
    }
    let error = engine.load_object(&object).unwrap_err();
    assert_eq!(error.diagnosis().place.map.as_deref(), Some("zebra"));
    let also: Vec<&str> = error
        .diagnosis()
        .facts
        .iter()
        .filter(|fact| fact.label == "also refused")
        .map(|fact| fact.value.as_str())
        .collect();
    assert_eq!(also.len(), 1, "{also:?}");
    assert!(also[0].contains("`ant`"), "{also:?}");
}

fn load_each_loads_what_it_can(engine: &Engine) {
    let mut object = fixture("several.bpf.o");
    object.map_mut("zebra").unwrap().max_entries = 0;
    object.program_mut("second").unwrap().autoload = false;
    let linked = twinbpf::link(&object, &engine.target(&object.needs()).unwrap()).unwrap();
    let (loaded, report) = engine.loader(&linked).load_each().unwrap();
    let maps: Vec<_> = loaded.maps().map(|(name, ..)| name).collect();
    assert_eq!(maps, ["ant"]);
    assert_eq!(report.maps.len(), 1);
    assert_eq!(report.maps[0].name, "zebra");
    assert!(matches!(report.maps[0].reason, NotLoadedReason::Refused(_)));
    // Every program is either loaded, or listed with its reason.
    for program in &object.programs {
        let reason = report
            .programs
            .iter()
            .find(|each| each.name == program.name);
        assert_ne!(
            loaded.program(&program.name).is_ok(),
            reason.is_some(),
            "{}",
            program.name
        );
    }
    let uses_ant = loaded.program("third").unwrap();
    assert_eq!(uses_ant.kind(), ProgramKind::SocketFilter);
    let uses_zebra = &report
        .programs
        .iter()
        .find(|each| each.name == "fourth")
        .unwrap()
        .reason;
    assert_eq!(
        uses_zebra.to_string(),
        "its map `zebra` could not be created"
    );
    let off = &report
        .programs
        .iter()
        .find(|each| each.name == "second")
        .unwrap()
        .reason;
    assert!(matches!(off, NotLoadedReason::SwitchedOff(None)));
}

fn an_unknown_name_lists_the_known_ones(engine: &Engine) {
    let loaded = engine.load_object(&fixture("several.bpf.o")).unwrap();
    let error = loaded.map::<u32, u32>("zebras").unwrap_err();
    assert_eq!(error.to_string(), "there is no map `zebras`");
    assert_eq!(error.diagnosis().facts[0].value, "zebra, ant");
    let error = loaded.program("fifth").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(
        error.diagnosis().facts[0].value,
        "first, second, third, fourth"
    );
}

fn programs_of_other_types_do_not_attach(engine: &Engine) {
    let mut object = fixture("no_license.bpf.o");
    object.programs[0].kind = Some(ProgramKind::SchedCls);
    let loaded = engine.load_object(&object).unwrap();
    let error = loaded
        .programs()
        .next()
        .unwrap()
        .attach(&Hook::socket("lo"))
        .unwrap_err();
    assert_eq!(error.diagnosis().code, Code::ATTACH_KIND);
    assert!(error.to_string().contains("sched_cls"), "{error}");
}

fn the_kernel_takes_no_captures() {
    let loaded = Engine::kernel()
        .unwrap()
        .load_object(&fixture("no_license.bpf.o"))
        .unwrap();
    let program = loaded.programs().next().unwrap();
    let empty = [0xa1b2_c3d4_u32, 2 | 4 << 16, 0, 0, 1 << 16, 1];
    let bytes = empty.iter().flat_map(|word| word.to_le_bytes()).collect();
    let error = program
        .replay(&mut Capture::parse(bytes).unwrap(), None)
        .unwrap_err();
    assert!(error.is_unsupported());
    assert!(program.socket_filter().unwrap_err().is_unsupported());
}

fn maps_of_the_other_engine_are_not_reused() {
    let object = fixture("sockex1_legacy20.bpf.o");
    let (kernel, vm) = (Engine::kernel().unwrap(), Engine::vm().unwrap());
    let linked = twinbpf::link(&object, &vm.target(&object.needs()).unwrap()).unwrap();
    let foreign = kernel.create_map(&linked.maps[0]).unwrap();
    assert_eq!(foreign.engine(), EngineKind::Kernel);
    let error = vm
        .loader(&linked)
        .reuse("my_map", &foreign)
        .load()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(
        error.to_string().contains("belongs to the kernel"),
        "{error}"
    );
}
