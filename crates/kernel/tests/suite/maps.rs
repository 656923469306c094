//! Maps on the running kernel: operations, lengths, and what a refusal says.

use twinbpf_kernel::{Kernel, KernelMap, MapContext};
use twinbpf_object::abi::MapFlags;
use twinbpf_object::spec::InnerMap;
use twinbpf_object::{Code, Errno, ErrorKind, MapKind, MapSpec};
use twinbpf_trials::{Case, Need};

/// The cases of this file.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "maps::a_hash_stores_finds_walks_and_forgets",
            &[Need::Kernel],
            a_hash_stores_finds_walks_and_forgets,
        ),
        Case::new(
            "maps::slices_of_a_wrong_length_never_reach_the_kernel",
            &[Need::Kernel],
            slices_of_a_wrong_length_never_reach_the_kernel,
        ),
        Case::new(
            "maps::a_per_cpu_value_has_a_slot_for_every_possible_cpu",
            &[Need::Kernel],
            a_per_cpu_value_has_a_slot_for_every_possible_cpu,
        ),
        Case::new(
            "maps::a_queue_has_no_keys",
            &[Need::Kernel],
            a_queue_has_no_keys,
        ),
        Case::new(
            "maps::info_repeats_the_definition_and_names_are_cut_and_cleaned",
            &[Need::Kernel],
            info_repeats_the_definition_and_names_are_cut_and_cleaned,
        ),
        Case::new(
            "maps::a_map_of_maps_takes_its_template_from_its_definition_or_from_a_map",
            &[Need::Kernel],
            a_map_of_maps_takes_its_template_from_its_definition_or_from_a_map,
        ),
        Case::new(
            "maps::a_refused_definition_names_attribute_and_rule",
            &[Need::Kernel],
            a_refused_definition_names_attribute_and_rule,
        ),
        Case::new(
            "maps::too_much_memory_says_how_much",
            &[Need::Kernel],
            too_much_memory_says_how_much,
        ),
        Case::new(
            "maps::a_kind_the_kernel_does_not_know_names_the_release_that_does",
            &[Need::Kernel],
            a_kind_the_kernel_does_not_know_names_the_release_that_does,
        ),
        Case::new(
            "maps::a_frozen_map_starts_with_its_value_and_keeps_it",
            &[Need::Kernel],
            a_frozen_map_starts_with_its_value_and_keeps_it,
        ),
        Case::new(
            "maps::a_part_of_a_value_is_written_alone_mapped_or_not",
            &[Need::Kernel],
            a_part_of_a_value_is_written_alone_mapped_or_not,
        ),
    ]
}

const NOEXIST: u64 = 1;
const EXIST: u64 = 2;

fn a_hash_stores_finds_walks_and_forgets() {
    let map = KernelMap::create_new(MapKind::Hash, 4, 8, 2).unwrap();
    let (one, two, three) = (1u32.to_ne_bytes(), 2u32.to_ne_bytes(), 3u32.to_ne_bytes());
    let mut value = [0; 8];
    assert_eq!(map.lookup(&one, &mut value), Err(Errno::ENOENT));
    map.update(&one, &[7; 8], NOEXIST).unwrap();
    assert_eq!(map.update(&one, &[8; 8], NOEXIST), Err(Errno::EEXIST));
    assert_eq!(map.update(&two, &[8; 8], EXIST), Err(Errno::ENOENT));
    map.update(&two, &[8; 8], 0).unwrap();
    assert_eq!(map.update(&three, &[9; 8], 0), Err(Errno::E2BIG));
    map.lookup(&one, &mut value).unwrap();
    assert_eq!(value, [7; 8]);

    let mut keys = Vec::new();
    let mut key = [0; 4];
    let mut next = map.next_key(None, &mut key);
    while next.is_ok() {
        keys.push(u32::from_ne_bytes(key));
        let last = key;
        next = map.next_key(Some(&last), &mut key);
    }
    assert_eq!(next, Err(Errno::ENOENT));
    keys.sort_unstable();
    assert_eq!(keys, [1, 2]);

    map.delete(&one).unwrap();
    assert_eq!(map.delete(&one), Err(Errno::ENOENT));
}

fn slices_of_a_wrong_length_never_reach_the_kernel() {
    let map = KernelMap::create_new(MapKind::Array, 4, 8, 1).unwrap();
    let key = [0; 4];
    assert_eq!(map.lookup(&key, &mut [0; 7]), Err(Errno::EINVAL));
    assert_eq!(map.lookup(&key, &mut [0; 9]), Err(Errno::EINVAL));
    assert_eq!(map.lookup(&[0; 3], &mut [0; 8]), Err(Errno::EINVAL));
    assert_eq!(map.update(&key, &[0; 4], 0), Err(Errno::EINVAL));
    assert_eq!(map.delete(&[]), Err(Errno::EINVAL));
    assert_eq!(map.next_key(Some(&[0; 8]), &mut [0; 4]), Err(Errno::EINVAL));
    assert_eq!(map.next_key(None, &mut [0; 2]), Err(Errno::EINVAL));
}

fn a_per_cpu_value_has_a_slot_for_every_possible_cpu() {
    let cpus = usize::try_from(Kernel::open().unwrap().target().unwrap().cpu_slots).unwrap();
    let map = KernelMap::create_new(MapKind::PerCpuArray, 4, 5, 1).unwrap();
    assert_eq!(map.value_bytes(), 8 * cpus);
    let written: Vec<u8> = (0..cpus)
        .flat_map(|cpu| [u8::try_from(cpu % 250).unwrap() + 1, 2, 3, 4, 5, 0, 0, 0])
        .collect();
    map.update(&[0; 4], &written, 0).unwrap();
    let mut read = vec![0xff; 8 * cpus];
    map.lookup(&[0; 4], &mut read).unwrap();
    for (slot, expected) in read.chunks(8).zip(written.chunks(8)) {
        assert_eq!(slot[..5], expected[..5]);
    }
}

fn a_queue_has_no_keys() {
    let map = KernelMap::create_new(MapKind::Queue, 0, 4, 2).unwrap();
    map.update(&[], &[1, 2, 3, 4], 0).unwrap();
    let mut value = [0; 4];
    map.lookup(&[], &mut value).unwrap();
    assert_eq!(value, [1, 2, 3, 4]);
}

fn info_repeats_the_definition_and_names_are_cut_and_cleaned() {
    let mut spec = MapSpec::new("packets-per-protocol", MapKind::Hash, 4, 8, 16);
    spec.flags = MapFlags::NO_PREALLOC;
    let info = KernelMap::create(&spec).unwrap().info().unwrap();
    assert_eq!(info.name, "packets_per_pro");
    assert_eq!(
        (info.kind, info.flags),
        (MapKind::Hash, MapFlags::NO_PREALLOC)
    );
    assert_eq!(
        (info.key_size, info.value_size, info.max_entries),
        (4, 8, 16)
    );
    assert!(info.id > 0);
}

fn a_map_of_maps_takes_its_template_from_its_definition_or_from_a_map() {
    let template = MapSpec::new("inner", MapKind::Array, 4, 8, 4);
    let mut outer = MapSpec::new("outer", MapKind::ArrayOfMaps, 4, 4, 2);
    let inner = KernelMap::create(&template).unwrap();
    let context = MapContext {
        inner: Some(&inner),
        ..MapContext::default()
    };
    KernelMap::create_with(&outer, &context).unwrap();
    outer.inner = Some(InnerMap::Spec(Box::new(template)));
    let outer = KernelMap::create(&outer).unwrap();
    assert_eq!(outer.lookup(&[0; 4], &mut [0; 4]), Err(Errno::ENOENT));
}

fn a_refused_definition_names_attribute_and_rule() {
    let error = KernelMap::create(&MapSpec::new("m", MapKind::Array, 8, 4, 1)).unwrap_err();
    let diagnosis = error.diagnosis();
    assert_eq!(
        (diagnosis.code, error.errno()),
        (Code::MAP_INVALID, Some(Errno::EINVAL))
    );
    assert_eq!(
        error.to_string(),
        "map `m`: the key of an `array` map is a 4-byte number, this one has 8 bytes (EINVAL)"
    );
    assert_eq!(diagnosis.facts[0].value, "key_size");

    let error = KernelMap::create_new(MapKind::LpmTrie, 8, 4, 1).unwrap_err();
    assert_eq!(
        error.diagnosis().help,
        ["add BPF_F_NO_PREALLOC to map_flags"]
    );
}

fn too_much_memory_says_how_much() {
    // 4 TiB: more than the machine has, so the kernel refuses at once and allocates nothing.
    let error = KernelMap::create_new(MapKind::Array, 4, 1 << 20, 1 << 22).unwrap_err();
    assert_eq!(
        (error.diagnosis().code, error.kind()),
        (Code::MAP_NO_MEMORY, ErrorKind::Limit)
    );
    // KERNEL: E2BIG before 5.11.
    assert!(matches!(error.errno(), Some(Errno::ENOMEM | Errno::E2BIG)));
    assert!(error.to_string().contains("4.0 TiB"), "{error}");
}

fn a_kind_the_kernel_does_not_know_names_the_release_that_does() {
    let error = KernelMap::create_new(MapKind::Other(4000), 4, 4, 1).unwrap_err();
    assert_eq!(error.diagnosis().code, Code::MAP_UNSUPPORTED);
    if Kernel::open().unwrap().target().unwrap().kernel_version < 6 << 16 | 19 << 8 {
        let error = KernelMap::create_new(MapKind::InsnArray, 4, 8, 1).unwrap_err();
        assert!(
            error.to_string().contains("came with Linux 6.19"),
            "{error}"
        );
    }
}

fn a_frozen_map_starts_with_its_value_and_keeps_it() {
    for flags in [0, MapFlags::MMAPABLE.0] {
        let mut spec = MapSpec::new(".rodata", MapKind::Array, 4, 8, 1);
        spec.flags = MapFlags(flags | MapFlags::RDONLY_PROG.0);
        spec.initial = Some(std::sync::Arc::from([1, 2, 3]));
        spec.is_frozen = true;
        let map = KernelMap::create(&spec).unwrap();
        let mut value = [9; 8];
        map.lookup(&[0; 4], &mut value).unwrap();
        assert_eq!(value, [1, 2, 3, 0, 0, 0, 0, 0]);
        assert_eq!(map.update(&[0; 4], &[0; 8], 0), Err(Errno::EPERM));
        assert_eq!(map.write_part(0, &[9]), Err(Errno::EPERM));
        let mut part = [0; 2];
        map.read_part(1, &mut part).unwrap();
        assert_eq!(part, [2, 3]);
    }
}

fn a_part_of_a_value_is_written_alone_mapped_or_not() {
    for flags in [MapFlags(0), MapFlags::MMAPABLE] {
        let mut spec = MapSpec::new(".data", MapKind::Array, 4, 12, 1);
        spec.flags = flags;
        spec.initial = Some(std::sync::Arc::from([7; 12]));
        let map = KernelMap::create(&spec).unwrap();
        map.write_part(4, &[1, 2, 3, 4]).unwrap();
        let mut value = [0; 12];
        map.lookup(&[0; 4], &mut value).unwrap();
        assert_eq!(value, [7, 7, 7, 7, 1, 2, 3, 4, 7, 7, 7, 7]);
        // What is behind the value lies in the mapping, but not in the map.
        assert_eq!(map.write_part(9, &[0; 4]), Err(Errno::EINVAL));
        assert_eq!(map.read_part(usize::MAX, &mut [0; 2]), Err(Errno::EINVAL));
        map.update(&[0; 4], &[5; 12], 0).unwrap();
        let mut part = [0; 4];
        map.read_part(8, &mut part).unwrap();
        assert_eq!(part, [5; 4]);
    }
}
