//! What is done once for each entry or record allocates nothing: only what hands out a list or bytes of its own does.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ops::ControlFlow;
use std::process::ExitCode;

use twinbpf::zerocopy::IntoBytes;
use twinbpf::{Engine, Map, MapKind, MapSpec, Object, RawRing, Record, TestInput, UpdateMode};
use twinbpf_trials::{Case, Need};

type Body = fn(&Engine);

const BOTH: &[(&str, Body)] = &[
    ("operations_on_entries", operations_on_entries),
    ("entries_that_are_large", entries_that_are_large),
    ("records_of_a_ring_are_read", records_of_a_ring_are_read),
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
    // Counting is of one thread; what others do is not seen.
    twinbpf_trials::run(on_vm.chain(on_kernel).collect())
}

/// How many allocations `work` makes on this thread.
fn allocations(work: impl FnMut()) -> u64 {
    allocation_counter::measure(work).count_total
}

fn operations_on_entries(engine: &Engine) {
    for kind in [MapKind::Hash, MapKind::LruHash, MapKind::Array] {
        let map = Map::<u32, u64>::create(engine, kind, 64).unwrap();
        map.set(&1, &1).unwrap();
        let counted = allocations(|| {
            for key in 0..32 {
                map.set(&key, &7).unwrap();
                assert_eq!(map.get(&key).unwrap(), Some(7));
                if kind != MapKind::Array {
                    assert!(map.remove(&key).unwrap());
                    assert_eq!(map.get(&key).unwrap(), None);
                }
            }
        });
        assert_eq!(counted, 0, "{kind}");
    }
}

fn entries_that_are_large(engine: &Engine) {
    let spec = MapSpec::new("large", MapKind::Hash, 64, 1000, 64);
    let map = engine.create_map(&spec).unwrap();
    let (key, mut value) = ([3; 64], [0; 1000]);
    map.update(&key, &[9; 1000], UpdateMode::Any).unwrap();
    let counted = allocations(|| {
        assert!(map.read(&key, &mut value).unwrap());
        map.update(&key, &value, UpdateMode::IfPresent).unwrap();
        assert!(map.remove(&key).unwrap());
        assert!(!map.read(&key, &mut value).unwrap());
    });
    assert_eq!(counted, 0);
    assert_eq!(value, [9; 1000]);
}

fn records_of_a_ring_are_read(engine: &Engine) {
    let mut object = Object::parse(include_bytes!("../../../testdata/bpf/events.bpf.o")).unwrap();
    object.set_variable("count", 30u32.as_bytes()).unwrap();
    let loaded = engine.load_object(&object).unwrap();
    let mut ring = RawRing::open(loaded.raw_map("ring").unwrap()).unwrap();
    let packet = TestInput {
        data: &[0; 64],
        ..TestInput::default()
    };
    let send = || loaded.program("send").unwrap().test_run(&packet).unwrap();
    let mut records = 0;
    let mut read = || {
        let look = |_: Record<'_>| {
            records += 1;
            ControlFlow::Continue(())
        };
        ring.drain(look).unwrap()
    };
    send();
    read();
    send();
    let counted = allocations(|| assert_eq!(read(), 26));
    assert_eq!((counted, records), (0, 52));
}
