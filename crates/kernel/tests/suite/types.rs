//! Objects' types in the running kernel: taken as they are completed, and used by maps and programs.

use twinbpf_kernel::{Kernel, KernelBtf, KernelMap, LoadContext, MapContext};
use twinbpf_object::btf::TypeId;
use twinbpf_object::map_rules::takes_types;
use twinbpf_object::spec::MapTypes;
use twinbpf_object::{Linked, MapKind, MapSpec, Object, link};
use twinbpf_trials::{Case, Need};

/// The cases of this file.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "types::locks_callbacks_and_global_functions_need_them_and_get_them",
            // Callbacks came with it.
            &[Need::Kernel, Need::Since(5, 13)],
            locks_callbacks_and_global_functions_need_them_and_get_them,
        ),
        Case::new(
            "types::the_kernel_takes_the_types_of_every_object_here",
            &[Need::Kernel],
            the_kernel_takes_the_types_of_every_object_here,
        ),
        Case::new(
            "types::kinds_of_maps_that_take_types_are_those_of_the_table",
            &[Need::Kernel],
            kinds_of_maps_that_take_types_are_those_of_the_table,
        ),
    ]
}

fn typed() -> (Kernel, Linked) {
    let bytes = include_bytes!("../../../../testdata/bpf/typed.bpf.o");
    let object = Object::parse(bytes).unwrap();
    let kernel = Kernel::open().unwrap();
    let target = kernel.target_for(&object.needs()).unwrap();
    (kernel, link(&object, &target).unwrap())
}

fn locks_callbacks_and_global_functions_need_them_and_get_them() {
    let (kernel, linked) = typed();
    let types = kernel
        .load_types(linked.upload.as_ref().unwrap(), None)
        .unwrap();
    let program = linked.programs.iter().find(|each| each.name == "typed");
    for types in [Some(&types), None] {
        let context = MapContext {
            types,
            ..MapContext::default()
        };
        let maps: Vec<KernelMap> = linked
            .maps
            .iter()
            .map(|spec| kernel.create_map(spec, &context).unwrap())
            .collect();
        let context = LoadContext {
            maps: &maps,
            license: Some("GPL"),
            types,
            ..LoadContext::default()
        };
        let loaded = kernel.load_program(program.unwrap(), &context);
        assert_eq!(loaded.is_ok(), types.is_some(), "{loaded:?}");
    }
}

fn the_kernel_takes_the_types_of_every_object_here() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/bpf");
    let mut taken = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let Ok(bytes) = std::fs::read(&path) else {
            continue;
        };
        if let Some(types) = Object::parse(&bytes).ok().and_then(|object| object.upload) {
            let loaded = KernelBtf::load(&types, None);
            assert!(loaded.is_ok(), "{}: {loaded:?}", path.display());
            taken += 1;
        }
    }
    assert!(taken > 20, "only {taken} objects had types");
}

/// Keys and values of 4 bytes each, and what else a kind insists on.
fn kinds_of_maps_that_take_types_are_those_of_the_table() {
    let (kernel, linked) = typed();
    let types = kernel
        .load_types(linked.upload.as_ref().unwrap(), None)
        .unwrap();
    let context = MapContext {
        types: Some(&types),
        ..MapContext::default()
    };
    let number = linked
        .maps
        .iter()
        .find(|map| map.name == "locked")
        .map_or(TypeId::VOID, |map| map.types.key);
    for kind in MapKind::all() {
        let mut spec = MapSpec::new("typed", kind, 4, 4, 8);
        if KernelMap::create(&spec).is_err() {
            continue;
        }
        spec.types = MapTypes {
            key: number,
            value: number,
        };
        let map = kernel.create_map(&spec, &context).unwrap();
        let has_types = map.info().unwrap().has_types;
        assert_eq!(has_types, takes_types(kind), "{kind}");
    }
    // Types that contradict the sizes are left out, and the map is made without them.
    let mut spec = MapSpec::new("contradicting", MapKind::Hash, 8, 4, 8);
    spec.types.key = number;
    assert!(
        !kernel
            .create_map(&spec, &context)
            .unwrap()
            .info()
            .unwrap()
            .has_types
    );
}
