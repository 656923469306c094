//! Everything that can be done with maps through the façade, the same on both engines.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use twinbpf::abi::MapFlags;
use twinbpf::spec::InnerMap;
use twinbpf::{
    Code, Dump, Engine, EngineKind, ErrorKind, LpmKey, Map, MapKind, MapSpec, PerCpu, PerfBuffer,
    RawMap, RawRing, UpdateMode, WhenFull,
};
use twinbpf_trials::{Case, Need};

type Body = fn(&Engine);

const BOTH: &[(&str, Body)] = &[
    (
        "a_hundred_thousand_entries_come_back_as_many",
        a_hundred_thousand_entries_come_back_as_many,
    ),
    (
        "many_entries_are_removed_at_once",
        many_entries_are_removed_at_once,
    ),
    ("every_kind_is_visited_whole", every_kind_is_visited_whole),
    ("a_dump_has_all_entries_of_any_size", a_dump_has_all_entries),
    ("a_visit_can_break_off", a_visit_can_break_off),
    ("batches_survive_removals", batches_survive_removals),
    (
        "a_batch_that_fills_the_map_stores_what_fits",
        a_batch_that_fills_the_map_stores_what_fits,
    ),
    ("take_copies_and_removes", take_copies_and_removes),
    ("take_all_empties_the_map", take_all_empties_the_map),
    ("queues_and_stacks_push_peek_and_pop", queues_and_stacks),
    ("bloom_filters_never_deny_what_they_have", bloom_filters),
    ("maps_with_keys_are_no_queues", maps_with_keys_are_no_queues),
    ("per_cpu_values_have_one_for_each_slot", per_cpu_values),
    (
        "only_per_cpu_types_fit_per_cpu_maps",
        only_per_cpu_types_fit,
    ),
    ("the_longest_prefix_wins", the_longest_prefix_wins),
    ("a_frozen_map_is_read_only_for_all_callers", a_frozen_map),
    (
        "values_without_a_lock_are_not_locked",
        values_without_a_lock,
    ),
    ("access_flags_are_named_in_refusals", access_flags_are_named),
    ("info_repeats_the_definition", info_repeats_the_definition),
    ("maps_in_maps_are_put_and_removed", maps_in_maps),
    ("many_threads_share_a_map", many_threads_share_a_map),
];

fn main() -> ExitCode {
    let on_vm = BOTH.iter().map(|(name, body)| {
        Case::new(&format!("{name}::vm"), &[], || body(&Engine::vm().unwrap()))
    });
    let on_kernel = BOTH.iter().map(|(name, body)| {
        let needs = [Need::Kernel, since(name)];
        Case::new(&format!("{name}::kernel"), &needs, || {
            body(&Engine::kernel().unwrap());
        })
    });
    let mut cases: Vec<Case> = on_vm.chain(on_kernel).collect();
    cases.push(Case::new(
        "a_map_is_found_by_its_number_and_by_its_descriptor::kernel",
        &[Need::Kernel],
        found_by_number_and_descriptor,
    ));
    cases.push(Case::new(
        "a_map_that_grew_is_dumped_whole::kernel",
        &[Need::Kernel, Need::Since(5, 14)],
        a_map_that_grew_is_dumped_whole,
    ));
    cases.push(Case::new(
        "a_map_is_gone_with_its_last_handle_and_reader::kernel",
        &[Need::Kernel],
        gone_with_the_last_handle,
    ));
    cases.push(Case::new(
        "a_map_goes_to_another_process_over_a_socket::kernel",
        &[Need::Kernel],
        over_a_socket,
    ));
    twinbpf_trials::run(cases)
}

/// The release that brought what a case is about.
fn since(case: &str) -> Need {
    match case {
        "take_copies_and_removes" => Need::Since(5, 14),
        "bloom_filters_never_deny_what_they_have" => Need::Since(5, 16),
        _ => Need::Since(4, 18),
    }
}

fn raw(engine: &Engine, kind: MapKind, sizes: (u32, u32), entries: u32) -> RawMap {
    let mut spec = MapSpec::new("m", kind, sizes.0, sizes.1, entries);
    if kind == MapKind::LpmTrie {
        spec.flags = MapFlags::NO_PREALLOC;
    }
    engine.create_map(&spec).unwrap()
}

fn filled(engine: &Engine, entries: u32) -> Map<u32, u64> {
    let map = Map::<u32, u64>::create(engine, MapKind::Hash, entries).unwrap();
    let all: Vec<(u32, u64)> = (0..entries).map(|key| (key, u64::from(key) * 3)).collect();
    map.set_many(all.iter().map(|(key, value)| (key, value)))
        .unwrap();
    map
}

fn a_hundred_thousand_entries_come_back_as_many(engine: &Engine) {
    let map = filled(engine, 100_000);
    let entries = map.entries().unwrap();
    assert_eq!(entries.len(), 100_000);
    assert!(
        entries
            .iter()
            .all(|(key, value)| *value == u64::from(*key) * 3)
    );
    let keys: BTreeSet<u32> = entries.iter().map(|(key, _)| *key).collect();
    assert_eq!(keys.len(), 100_000);
    assert_eq!(map.raw().count().unwrap(), 100_000);
}

fn many_entries_are_removed_at_once(engine: &Engine) {
    let map = filled(engine, 1000);
    // Every other of these is not there.
    let keys: Vec<u32> = (500..1500).collect();
    assert_eq!(map.remove_many(&keys).unwrap(), 500);
    assert_eq!(map.raw().count().unwrap(), 500);
    assert_eq!(map.remove_many(&keys).unwrap(), 0);
    assert_eq!(map.remove_many(&[]).unwrap(), 0);
}

/// The bytes of key number `number`: for tries whole keys with a prefix.
fn key(kind: MapKind, number: u32) -> Vec<u8> {
    match kind {
        MapKind::LpmTrie => {
            let prefix = 32_u32.to_ne_bytes();
            prefix.into_iter().chain(number.to_be_bytes()).collect()
        }
        _ => number.to_ne_bytes().to_vec(),
    }
}

fn every_kind_is_visited_whole(engine: &Engine) {
    use MapKind::{Array, Hash, LpmTrie, LruHash, LruPerCpuHash, PerCpuArray, PerCpuHash};
    for kind in [
        Array,
        Hash,
        LpmTrie,
        LruHash,
        LruPerCpuHash,
        PerCpuArray,
        PerCpuHash,
    ] {
        let key_size = if kind == LpmTrie { 8 } else { 4 };
        // LRU maps may give up entries long before they are full.
        let room = if matches!(kind, LruHash | LruPerCpuHash) {
            20_000
        } else {
            5000
        };
        let map = raw(engine, kind, (key_size, 4), room);
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for number in 0..5000 {
            keys.extend(key(kind, number));
            let mut value = vec![0; map.value_len()];
            value[..4].copy_from_slice(&number.to_ne_bytes());
            values.extend(value);
        }
        map.update_many(&keys, &values, UpdateMode::Any).unwrap();
        let mut seen = BTreeSet::new();
        map.visit(|key, value| {
            assert_eq!(value.len(), map.value_len());
            assert!(seen.insert(key.to_vec()), "{kind}: {key:?} came twice");
            ControlFlow::Continue(())
        })
        .unwrap();
        assert!(seen.len() >= 5000, "{kind}: {}", seen.len());
        assert_eq!(
            map.read(&key(kind, 4999), &mut vec![0; map.value_len()]),
            Ok(true)
        );
    }
}

fn a_visit_can_break_off(engine: &Engine) {
    let map = filled(engine, 100);
    let mut count = 0;
    map.raw()
        .visit(|_, _| {
            count += 1;
            if count == 7 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
        .unwrap();
    assert_eq!(count, 7);
}

fn a_dump_has_all_entries(engine: &Engine) {
    let sizes = [(4, 8), (3, 13), (16, 1), (1, 100), (20, 2048)];
    for (key_size, value_size) in sizes {
        for kind in [MapKind::Hash, MapKind::LruHash, MapKind::PerCpuHash] {
            let spec = MapSpec::new("dumped", kind, key_size, value_size, 200);
            let map = engine.create_map(&spec).unwrap();
            let mut expected = BTreeSet::new();
            for number in 0..100_u8 {
                let key = vec![number; map.key_len()];
                let mut value = vec![0; map.value_len()];
                value[0] = number;
                map.update(&key, &value, UpdateMode::Any).unwrap();
                expected.insert((key, value));
            }
            let mut dump = Dump::new(&map);
            let may_copy = engine.kind() == EngineKind::Kernel && kind != MapKind::PerCpuHash;
            assert!(may_copy || !dump.is_in_kernel());
            // Twice, because the second one finds what the first one left.
            for _ in 0..2 {
                assert_eq!(dumped(&mut dump), expected, "{spec:?}");
            }
        }
    }
}

fn dumped(dump: &mut Dump) -> BTreeSet<(Vec<u8>, Vec<u8>)> {
    let mut found = BTreeSet::new();
    dump.visit(|key, value| {
        assert!(found.insert((key.to_vec(), value.to_vec())));
        ControlFlow::Continue(())
    })
    .unwrap();
    found
}

/// The kernel has copied it out itself; an output that is too small is replaced.
fn a_map_that_grew_is_dumped_whole() {
    let engine = Engine::kernel().unwrap();
    let spec = MapSpec::new("grown", MapKind::Hash, 4, 8, 200_000);
    let map = engine.create_map(&spec).unwrap();
    let mut dump = Dump::new(&map);
    assert!(dump.is_in_kernel());
    assert!(dumped(&mut dump).is_empty());
    let keys: Vec<u8> = (0..200_000_u32).flat_map(u32::to_ne_bytes).collect();
    let values: Vec<u8> = (0..200_000_u64).flat_map(u64::to_ne_bytes).collect();
    map.update_many(&keys, &values, UpdateMode::Any).unwrap();
    let found = dumped(&mut dump);
    assert!(dump.is_in_kernel());
    assert_eq!(found.len(), 200_000);
    for (key, value) in found {
        assert_eq!(key, value[..4]);
    }
}

/// The kernel keeps a map for every descriptor and every mapping of it, so one that it cannot find has none left.
fn gone_with_the_last_handle() {
    let engine = Engine::kernel().unwrap();
    let hash = raw(&engine, MapKind::Hash, (4, 8), 64);
    let ring = raw(&engine, MapKind::RingBuf, (0, 0), 4096);
    let events = raw(&engine, MapKind::PerfEventArray, (4, 4), 64);
    let id = |map: &RawMap| map.info().unwrap().id.unwrap();
    let ids = [id(&hash), id(&ring), id(&events)];
    let mut dump = Dump::new(&hash);
    dumped(&mut dump);
    let clone = hash.clone();
    let mut reader = RawRing::open(&ring).unwrap();
    reader.drain(|_| ControlFlow::Continue(())).unwrap();
    let buffer = PerfBuffer::open(&events, 1, WhenFull::LoseNewest).unwrap();
    drop((hash, ring, events));
    for id in ids {
        assert!(engine.map_by_id(id).unwrap().is_some());
    }
    drop((dump, clone, reader, buffer));
    // A descriptor that another case just handed to a new process may live for a moment longer.
    let deadline = Instant::now() + Duration::from_secs(10);
    while ids
        .iter()
        .any(|id| engine.map_by_id(*id).unwrap().is_some())
    {
        assert!(Instant::now() < deadline, "a map of {ids:?} is still there");
        std::thread::yield_now();
    }
}

fn batches_survive_removals(engine: &Engine) {
    let map = filled(engine, 20_000);
    let mut seen = BTreeSet::new();
    map.raw()
        .visit(|key, _| {
            assert!(seen.insert(key.to_vec()));
            let number = u32::from_ne_bytes(key.try_into().unwrap());
            if number.is_multiple_of(2) {
                map.remove(&number).unwrap();
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    let odd = seen.iter().filter(|key| key[0] % 2 == 1).count();
    assert_eq!(odd, 10_000, "what stays comes exactly once");
}

fn a_batch_that_fills_the_map_stores_what_fits(engine: &Engine) {
    let map = raw(engine, MapKind::Hash, (4, 4), 8);
    let keys: Vec<u8> = (0..10_u32).flat_map(u32::to_ne_bytes).collect();
    let error = map.update_many(&keys, &keys, UpdateMode::Any).unwrap_err();
    assert_eq!(
        (error.diagnosis().code, error.kind()),
        (Code::MAP_FULL, ErrorKind::Limit)
    );
    assert_eq!(map.count().unwrap(), 8);
    let error = map
        .update_many(&keys[..8], &keys, UpdateMode::Any)
        .unwrap_err();
    assert_eq!(error.diagnosis().code, Code::MAP_TYPE_SIZE);
    let error = map
        .update_many(&keys[..4], &keys[..4], UpdateMode::IfAbsent)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists);
}

fn take_copies_and_removes(engine: &Engine) {
    let map = filled(engine, 10);
    assert_eq!(map.take(&3).unwrap(), Some(9));
    assert_eq!(map.take(&3).unwrap(), None);
    assert_eq!(map.get(&3).unwrap(), None);
    let array = raw(engine, MapKind::Array, (4, 8), 4);
    let error = array.take(&[0; 4]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("taking out a key"), "{error}");
}

fn take_all_empties_the_map(engine: &Engine) {
    let map = filled(engine, 10_000);
    let mut count = 0;
    map.raw().take_all(|_, _| count += 1).unwrap();
    assert_eq!((count, map.raw().count().unwrap()), (10_000, 0));
}

fn queues_and_stacks(engine: &Engine) {
    let queue = raw(engine, MapKind::Queue, (0, 4), 3);
    let stack = raw(engine, MapKind::Stack, (0, 4), 3);
    for map in [&queue, &stack] {
        assert_eq!((map.peek(), map.pop()), (Ok(None), Ok(None)));
        for number in 1..4_u32 {
            map.push(&number.to_ne_bytes()).unwrap();
        }
        let error = map.push(&[0; 4]).unwrap_err();
        assert_eq!(
            (error.diagnosis().code, error.kind()),
            (Code::MAP_FULL, ErrorKind::Limit)
        );
        map.push_over(&4_u32.to_ne_bytes()).unwrap();
        assert_eq!(
            map.push(&[0; 3]).unwrap_err().diagnosis().code,
            Code::MAP_TYPE_SIZE
        );
        assert!(map.may_have(&[0; 4]).is_err());
    }
    let next = |map: &RawMap| {
        let peeked = map.peek().unwrap();
        let popped = map.pop().unwrap();
        assert_eq!(peeked, popped);
        popped.map(|bytes| u32::from_ne_bytes(bytes.try_into().unwrap()))
    };
    assert_eq!(
        [next(&queue), next(&queue), next(&queue), next(&queue)],
        [Some(2), Some(3), Some(4), None]
    );
    assert_eq!(
        [next(&stack), next(&stack), next(&stack), next(&stack)],
        [Some(4), Some(3), Some(2), None]
    );
}

fn bloom_filters(engine: &Engine) {
    let filter = raw(engine, MapKind::BloomFilter, (0, 8), 1000);
    for number in 0..1000_u64 {
        filter.push(&number.to_ne_bytes()).unwrap();
    }
    assert!((0..1000_u64).all(|number| filter.may_have(&number.to_ne_bytes()).unwrap()));
    let wrong = (1000..11_000_u64).filter(|number| filter.may_have(&number.to_ne_bytes()).unwrap());
    assert!(wrong.count() < 1000, "a filter that says yes to everything");
    assert_eq!(filter.pop().unwrap_err().kind(), ErrorKind::Unsupported);
}

fn maps_with_keys_are_no_queues(engine: &Engine) {
    let map = raw(engine, MapKind::Hash, (4, 4), 4);
    for error in [
        map.push(&[0; 4]).unwrap_err(),
        map.pop().unwrap_err(),
        map.peek().unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("has keys"), "{error}");
    }
}

fn per_cpu_values(engine: &Engine) {
    for kind in [
        MapKind::PerCpuHash,
        MapKind::PerCpuArray,
        MapKind::LruPerCpuHash,
    ] {
        let map = Map::<u32, PerCpu<u32>>::create(engine, kind, 4).unwrap();
        let slots = map.raw().value_len() / 8;
        let values: Vec<u32> = (1..).take(slots).collect();
        map.set(&1, &PerCpu::new(values.clone())).unwrap();
        assert_eq!(map.get(&1).unwrap().unwrap().into_inner(), values);
        let found = map.entries().unwrap();
        assert!(
            found
                .iter()
                .any(|(key, found)| *key == 1 && found[..] == values[..])
        );
        let error = map.set(&1, &PerCpu::new(vec![7; slots + 1])).unwrap_err();
        assert_eq!(error.diagnosis().code, Code::MAP_TYPE_SIZE);
    }
}

fn only_per_cpu_types_fit(engine: &Engine) {
    let plain = Map::<u32, PerCpu<u64>>::create(engine, MapKind::Hash, 4).unwrap_err();
    let slots = Map::<u32, u64>::create(engine, MapKind::PerCpuHash, 4).unwrap_err();
    for error in [plain, slots] {
        assert_eq!(error.diagnosis().code, Code::MAP_TYPE_SIZE);
        assert!(error.diagnosis().render().contains("PerCpu<V>"), "{error}");
    }
}

fn the_longest_prefix_wins(engine: &Engine) {
    let map = Map::<LpmKey<4>, u64>::create(engine, MapKind::LpmTrie, 8).unwrap();
    map.set(&LpmKey::new([10, 0, 0, 0], 8), &8).unwrap();
    map.set(&LpmKey::new([10, 1, 2, 0], 24), &24).unwrap();
    assert_eq!(map.get(&LpmKey::new([10, 1, 2, 9], 32)).unwrap(), Some(24));
    assert_eq!(map.get(&LpmKey::new([10, 1, 3, 9], 32)).unwrap(), Some(8));
    assert!(map.set(&LpmKey::new([0; 4], 33), &0).is_err());
    assert_eq!(map.entries().unwrap().len(), 2);
}

fn a_frozen_map(engine: &Engine) {
    let map = raw(engine, MapKind::Array, (4, 4), 2);
    map.update(&[0; 4], &[1; 4], UpdateMode::Any).unwrap();
    assert!(!map.is_frozen());
    map.freeze().unwrap();
    assert!(map.is_frozen() && map.info().unwrap().is_frozen);
    let error = map.update(&[0; 4], &[2; 4], UpdateMode::Any).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permission);
    assert!(
        error.diagnosis().render().contains("froze"),
        "{}",
        error.diagnosis().render()
    );
    assert_eq!(map.get(&[0; 4]).unwrap().as_deref(), Some(&[1; 4][..]));
    assert_eq!(map.freeze().unwrap_err().kind(), ErrorKind::Exists);
}

fn values_without_a_lock(engine: &Engine) {
    let map = raw(engine, MapKind::Hash, (4, 4), 2);
    map.update(&[0; 4], &[1; 4], UpdateMode::Any).unwrap();
    assert!(map.read_locked(&[0; 4], &mut [0; 4]).is_err());
    assert!(
        map.update_locked(&[0; 4], &[0; 4], UpdateMode::Any)
            .is_err()
    );
}

fn access_flags_are_named(engine: &Engine) {
    let mut spec = MapSpec::new("m", MapKind::Hash, 4, 4, 2);
    spec.flags = MapFlags::RDONLY;
    let map = engine.create_map(&spec).unwrap();
    let error = map.update(&[0; 4], &[0; 4], UpdateMode::Any).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permission);
    assert!(error.diagnosis().render().contains("BPF_F_RDONLY"));
    spec.flags = MapFlags::WRONLY;
    let map = engine.create_map(&spec).unwrap();
    map.update(&[0; 4], &[0; 4], UpdateMode::Any).unwrap();
    let error = map.get(&[0; 4]).unwrap_err();
    assert!(error.diagnosis().render().contains("BPF_F_WRONLY"));
    assert_eq!(map.take(&[0; 4]).unwrap_err().kind(), ErrorKind::Permission);
}

fn info_repeats_the_definition(engine: &Engine) {
    let map = raw(engine, MapKind::Hash, (4, 8), 1000);
    let info = map.info().unwrap();
    assert_eq!(
        (info.kind, info.key_size, info.value_size),
        (MapKind::Hash, 4, 8)
    );
    assert_eq!(
        (info.max_entries, info.flags, info.name.as_str()),
        (1000, MapFlags(0), "m")
    );
    assert!(info.memory_bytes.unwrap() > 16_000, "{info:?}");
    assert_eq!(info.id.is_some(), engine.kind() == EngineKind::Kernel);
    assert_eq!(
        map.descriptor().is_some(),
        engine.kind() == EngineKind::Kernel
    );
}

fn maps_in_maps(engine: &Engine) {
    let inner = MapSpec::new("inner", MapKind::Array, 4, 8, 1);
    let mut spec = MapSpec::new("outer", MapKind::HashOfMaps, 4, 4, 4);
    spec.inner = Some(InnerMap::Spec(Box::new(inner.clone())));
    let outer = engine.create_map(&spec).unwrap();
    let held = engine.create_map(&inner).unwrap();
    for key in 0..3_u32 {
        outer.put_map(&key.to_ne_bytes(), &held).unwrap();
    }
    assert_eq!(outer.count().unwrap(), 3);
    assert!(outer.remove(&1_u32.to_ne_bytes()).unwrap());
    assert_eq!(outer.count().unwrap(), 2);
    let other = raw(engine, MapKind::Array, (4, 4), 1);
    assert!(outer.put_map(&[9; 4], &other).is_err());
}

fn many_threads_share_a_map(engine: &Engine) {
    let map = Map::<u32, u64>::create(engine, MapKind::Hash, 4000).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            let map = map.clone();
            scope.spawn(move || {
                for key in thread * 1000..(thread + 1) * 1000 {
                    map.set(&key, &u64::from(key)).unwrap();
                    assert_eq!(map.get(&key).unwrap(), Some(u64::from(key)));
                }
            });
        }
    });
    assert_eq!(map.raw().count().unwrap(), 4000);
}

fn found_by_number_and_descriptor() {
    let engine = Engine::kernel().unwrap();
    let map = raw(&engine, MapKind::Hash, (4, 4), 2);
    map.update(&[1; 4], &[2; 4], UpdateMode::Any).unwrap();
    let id = map.info().unwrap().id.unwrap();
    assert!(engine.map_ids().unwrap().contains(&id));
    let found = engine.map_by_id(id).unwrap().unwrap();
    assert_eq!(found.get(&[1; 4]).unwrap().as_deref(), Some(&[2; 4][..]));
    assert_eq!(found.spec().kind, MapKind::Hash);
    let descriptor = map.descriptor().unwrap().try_clone_to_owned().unwrap();
    let again = engine.map_from_fd(descriptor).unwrap();
    assert_eq!(again.info().unwrap().id, Some(id));
    let file = std::fs::File::open("/dev/null").unwrap();
    assert!(engine.map_from_fd(file.into()).is_err());
    assert!(engine.map_by_id(u32::MAX).unwrap().is_none());
    assert!(Engine::vm().unwrap().map_ids().is_err());
}

fn over_a_socket() {
    use std::os::unix::net::UnixStream;
    let engine = Engine::kernel().unwrap();
    let map = raw(&engine, MapKind::Hash, (4, 4), 2);
    map.update(&[1; 4], &[2; 4], UpdateMode::Any).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    map.send(&ours).unwrap();
    let received = engine.receive_map(&theirs).unwrap();
    assert_eq!(received.info().unwrap().id, map.info().unwrap().id);
    assert_eq!(received.get(&[1; 4]).unwrap().as_deref(), Some(&[2; 4][..]));
    drop(ours);
    assert!(engine.receive_map(&theirs).is_err(), "nothing more comes");
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let vm = raw(&Engine::vm().unwrap(), MapKind::Hash, (4, 4), 2);
    assert_eq!(vm.send(&ours).unwrap_err().kind(), ErrorKind::Unsupported);
}
