//! Maps of the vm through both of their doors: callers and programs.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::{call, copy, exit, insn, jump_if_zero, load_program, mov, store_word, vms};
use twinbpf_object::abi::MapFlags;
use twinbpf_object::link::{Hole, HoleKind};
use twinbpf_object::{Errno, ErrorKind, Insn, InsnIndex, MapIndex, MapKind, MapSpec};
use twinbpf_vm::{Vm, VmConfig, VmMap};

fn vm() -> Vm {
    Vm::new(VmConfig::default()).unwrap()
}

fn array(vm: &Vm, entries: u32) -> VmMap {
    vm.create_map(&MapSpec::new("array", MapKind::Array, 4, 8, entries))
        .unwrap()
}

fn hash(vm: &Vm, key_size: u32, entries: u32) -> VmMap {
    vm.create_map(&MapSpec::new("hash", MapKind::Hash, key_size, 8, entries))
        .unwrap()
}

fn value_of(map: &VmMap, key: &[u8]) -> Result<u64, Errno> {
    let mut value = [0; 8];
    map.lookup(key, &mut value)
        .map(|()| u64::from_ne_bytes(value))
}

/// `bpf_map_lookup_elem(map 0, key)` with a 4-byte key, as the start of a program; the result is in r0.
fn lookup(key: i32) -> Vec<Insn> {
    vec![
        store_word(10, -4, key),
        copy(2, 10),
        crate::support::add(2, -4),
        insn(0x18, 1, 1, 0, 0),
        insn(0, 0, 0, 0, 0),
        call(1),
    ]
}

#[test]
fn an_array_has_all_its_slots_and_answers_the_kernels_errors() {
    let vm = vm();
    let map = array(&vm, 3);
    assert_eq!(value_of(&map, &2u32.to_ne_bytes()), Ok(0));
    assert_eq!(value_of(&map, &3u32.to_ne_bytes()), Err(Errno::ENOENT));
    let value = 7u64.to_ne_bytes();
    assert_eq!(map.update(&1u32.to_ne_bytes(), &value, 0), Ok(()));
    assert_eq!(
        map.update(&1u32.to_ne_bytes(), &value, 1),
        Err(Errno::EEXIST)
    );
    assert_eq!(map.update(&1u32.to_ne_bytes(), &value, 2), Ok(()));
    assert_eq!(
        map.update(&1u32.to_ne_bytes(), &value, 3),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        map.update(&3u32.to_ne_bytes(), &value, 0),
        Err(Errno::E2BIG)
    );
    assert_eq!(
        map.update(&3u32.to_ne_bytes(), &value, 1),
        Err(Errno::E2BIG)
    );
    assert_eq!(map.delete(&1u32.to_ne_bytes()), Err(Errno::EINVAL));
    assert_eq!(map.lookup(&[0; 3], &mut [0; 8]), Err(Errno::EINVAL));
    assert_eq!(map.update(&[0; 4], &[0; 9], 0), Err(Errno::EINVAL));
}

#[test]
fn iteration_over_an_array_goes_by_index_and_restarts_after_a_strange_key() {
    let vm = vm();
    let map = array(&vm, 3);
    let mut next = [0; 4];
    let mut keys = Vec::new();
    let mut key: Option<[u8; 4]> = None;
    while map
        .next_key(key.as_ref().map(|key| &key[..]), &mut next)
        .is_ok()
    {
        keys.push(u32::from_ne_bytes(next));
        key = Some(next);
    }
    assert_eq!(keys, [0, 1, 2]);
    assert_eq!(map.next_key(Some(&9u32.to_ne_bytes()), &mut next), Ok(()));
    assert_eq!(u32::from_ne_bytes(next), 0);
}

#[test]
fn a_hash_map_keeps_replaces_and_forgets() {
    let vm = vm();
    for key_size in [1u32, 3, 4, 8, 13, 40, 200] {
        let map = hash(&vm, key_size, 2);
        let key = |byte: u8| vec![byte; key_size as usize];
        let one = 1u64.to_ne_bytes();
        assert_eq!(map.update(&key(1), &one, 2), Err(Errno::ENOENT));
        assert_eq!(map.update(&key(1), &one, 1), Ok(()));
        assert_eq!(map.update(&key(1), &one, 1), Err(Errno::EEXIST));
        assert_eq!(map.update(&key(2), &2u64.to_ne_bytes(), 0), Ok(()));
        assert_eq!(map.update(&key(3), &one, 0), Err(Errno::E2BIG));
        assert_eq!(
            map.update(&key(1), &9u64.to_ne_bytes(), 0),
            Ok(()),
            "a full map's values can be replaced"
        );
        assert_eq!(
            (value_of(&map, &key(1)), value_of(&map, &key(2))),
            (Ok(9), Ok(2))
        );
        assert_eq!(map.delete(&key(1)), Ok(()));
        assert_eq!(map.delete(&key(1)), Err(Errno::ENOENT));
        assert_eq!(value_of(&map, &key(1)), Err(Errno::ENOENT));
        assert_eq!(map.update(&key(3), &one, 0), Ok(()));
        assert_eq!(map.update(&key(4), &one, 7), Err(Errno::EINVAL));
    }
}

#[test]
fn iteration_over_a_hash_map_meets_every_key_once() {
    let vm = vm();
    let map = hash(&vm, 4, 1000);
    for key in 0..1000u32 {
        map.update(&key.to_ne_bytes(), &u64::from(key).to_ne_bytes(), 0)
            .unwrap();
    }
    let mut met = std::collections::BTreeSet::new();
    let mut next = [0; 4];
    let mut key: Option<[u8; 4]> = None;
    while map
        .next_key(key.as_ref().map(|key| &key[..]), &mut next)
        .is_ok()
    {
        assert!(met.insert(u32::from_ne_bytes(next)));
        key = Some(next);
    }
    assert_eq!(met.len(), 1000);
}

#[test]
fn access_flags_keep_callers_and_programs_out() {
    let with_flags = |flags| MapSpec {
        flags,
        ..MapSpec::new("flagged", MapKind::Array, 4, 8, 1)
    };
    for vm in vms() {
        let read_only = vm.create_map(&with_flags(MapFlags::RDONLY)).unwrap();
        assert_eq!(read_only.update(&[0; 4], &[0; 8], 0), Err(Errno::EPERM));
        assert_eq!(value_of(&read_only, &[0; 4]), Ok(0));
        let write_only = vm.create_map(&with_flags(MapFlags::WRONLY)).unwrap();
        assert_eq!(value_of(&write_only, &[0; 4]), Err(Errno::EPERM));
        let for_programs = vm.create_map(&with_flags(MapFlags::RDONLY_PROG)).unwrap();
        for_programs
            .update(&[0; 4], &5u64.to_ne_bytes(), 0)
            .unwrap();
        let mut insns = lookup(0);
        insns.extend([insn(0x79, 6, 0, 0, 0), store_word(0, 0, 1), exit()]);
        let program = load_program(&vm, insns, std::slice::from_ref(&for_programs), &[(3, 0)]);
        assert_eq!(
            vm.worker()
                .unwrap()
                .run(&program, &mut [])
                .unwrap_err()
                .kind(),
            ErrorKind::Fault
        );
        assert_eq!(value_of(&for_programs, &[0; 4]), Ok(5));
    }
}

#[test]
fn programs_find_change_and_delete_entries() {
    for vm in vms() {
        let map = hash(&vm, 4, 4);
        // r0 = lookup(7); if present, add 1 atomically; else update(7, 100).
        let mut insns = lookup(7);
        insns.extend([
            jump_if_zero(0, 4),
            mov(1, 1),
            insn(0xdb, 0, 1, 0, 0),
            mov(0, 1),
            exit(),
        ]);
        insns.extend([
            mov(3, 100),
            insn(0x7b, 10, 3, -16, 0),
            copy(3, 10),
            crate::support::add(3, -16),
            copy(2, 10),
            crate::support::add(2, -4),
            mov(4, 0),
            insn(0x18, 1, 1, 0, 0),
            insn(0, 0, 0, 0, 0),
            call(2),
            exit(),
        ]);
        let second_hole = u32::try_from(insns.len() - 4).unwrap();
        let program = load_program(
            &vm,
            insns,
            std::slice::from_ref(&map),
            &[(3, 0), (second_hole, 0)],
        );
        let mut worker = vm.worker().unwrap();
        assert_eq!(worker.run(&program, &mut []).unwrap(), 0);
        assert_eq!(value_of(&map, &7u32.to_ne_bytes()), Ok(100));
        assert_eq!(worker.run(&program, &mut []).unwrap(), 1);
        assert_eq!(value_of(&map, &7u32.to_ne_bytes()), Ok(101));
    }
}

#[test]
fn a_null_value_pointer_used_without_a_test_is_a_fault_with_a_hint() {
    for vm in vms() {
        let map = hash(&vm, 4, 4);
        let mut insns = lookup(7);
        insns.extend([insn(0x79, 0, 0, 0, 0), exit()]);
        let program = load_program(&vm, insns, &[map], &[(3, 0)]);
        let error = vm.worker().unwrap().run(&program, &mut []).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fault);
    }
}

#[test]
fn something_that_is_not_a_map_is_refused_by_helpers() {
    for vm in vms() {
        let insns = vec![
            mov(1, 5),
            copy(2, 10),
            crate::support::add(2, -4),
            call(1),
            exit(),
        ];
        let program = load_program(&vm, insns, &[], &[]);
        assert!(
            vm.worker()
                .unwrap()
                .run(&program, &mut [])
                .unwrap_err()
                .to_string()
                .contains("expected a map")
        );
    }
}

#[test]
fn a_map_too_large_for_the_window_is_enomem_with_the_bytes() {
    let error = vm()
        .create_map(&MapSpec::new("huge", MapKind::Array, 4, 1 << 20, 1 << 20))
        .unwrap_err();
    assert_eq!(
        (error.errno(), error.kind()),
        (Some(Errno::ENOMEM), ErrorKind::Limit)
    );
    assert!(error.to_string().contains("1099511627776 bytes"), "{error}");
}

#[test]
fn a_dropped_map_gives_its_room_back() {
    let vm = vm();
    for _ in 0..20 {
        // Half of the window each: without giving back, the second round would fail.
        drop(
            vm.create_map(&MapSpec::new("large", MapKind::Array, 4, 1 << 20, 2000))
                .unwrap(),
        );
    }
}

#[test]
fn lookups_never_see_a_torn_value_or_lose_a_key_that_stays() {
    let vm = vm();
    let map = hash(&vm, 4, 64);
    map.update(&0u32.to_ne_bytes(), &0u64.to_ne_bytes(), 0)
        .unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..20_000u64 {
                // Both halves always agree; other keys come and go in the same slots.
                let word = round << 32 | round;
                map.update(&0u32.to_ne_bytes(), &word.to_ne_bytes(), 0)
                    .unwrap();
                let passing = u32::try_from(1 + round % 32).unwrap().to_ne_bytes();
                let result = if round % 3 == 0 {
                    map.delete(&passing)
                } else {
                    map.update(&passing, &[0xff; 8], 0)
                };
                assert!(result.is_ok() || result == Err(Errno::ENOENT));
            }
            is_over.store(true, Ordering::Relaxed);
        });
        while !is_over.load(Ordering::Relaxed) {
            let word = value_of(&map, &0u32.to_ne_bytes()).unwrap();
            assert_eq!(word >> 32, word & 0xffff_ffff);
        }
    });
}

#[test]
fn a_place_in_a_value_is_an_address_with_exact_bounds() {
    for vm in vms() {
        let map = vm
            .create_map(&MapSpec::new("globals", MapKind::Array, 4, 16, 1))
            .unwrap();
        map.update(&[0; 4], &[7; 16], 0).unwrap();
        let at_offset = |offset| {
            let insns = vec![
                insn(0x18, 1, 2, 0, 0),
                insn(0, 0, 0, 0, 0),
                insn(0x79, 0, 1, 0, 0),
                exit(),
            ];
            let mut program = crate::support::linked(insns, &[0], &[]);
            program.holes = vec![Hole {
                at: InsnIndex(0),
                kind: HoleKind::MapValue {
                    map: MapIndex(0),
                    offset,
                },
            }];
            let program = vm.load_program(&program, std::slice::from_ref(&map))?;
            vm.worker()?.run(&program, &mut [])
        };
        assert_eq!(at_offset(8).unwrap(), 0x0707_0707_0707_0707);
        assert!(
            at_offset(16)
                .unwrap_err()
                .to_string()
                .contains("outside its map's value")
        );
    }
}

#[test]
fn constants_start_with_their_value_and_nobody_writes_them() {
    for vm in vms() {
        let mut spec = MapSpec::new(".rodata", MapKind::Array, 4, 8, 1);
        spec.flags = MapFlags::RDONLY_PROG;
        spec.initial = Some(std::sync::Arc::from([1, 2, 3]));
        spec.is_frozen = true;
        let map = vm.create_map(&spec).unwrap();
        assert_eq!(value_of(&map, &[0; 4]), Ok(0x03_0201));
        assert_eq!(map.update(&[0; 4], &[0; 8], 0), Err(Errno::EPERM));
        assert_eq!(map.write_part(0, &[9]), Err(Errno::EPERM));
        let mut part = [0; 2];
        map.read_part(1, &mut part).unwrap();
        assert_eq!(part, [2, 3]);
        assert_eq!(map.read_part(7, &mut part), Err(Errno::EINVAL));
        let store = vec![
            insn(0x18, 1, 2, 0, 0),
            insn(0, 0, 0, 0, 0),
            insn(0x72, 1, 0, 0, 9),
            insn(0xb7, 0, 0, 0, 0),
            exit(),
        ];
        let mut program = crate::support::linked(store, &[0], &[]);
        program.holes = vec![Hole {
            at: InsnIndex(0),
            kind: HoleKind::MapValue {
                map: MapIndex(0),
                offset: 0,
            },
        }];
        let program = vm
            .load_program(&program, std::slice::from_ref(&map))
            .unwrap();
        assert!(vm.worker().unwrap().run(&program, &mut []).is_err());
        assert_eq!(value_of(&map, &[0; 4]), Ok(0x03_0201));
    }
}
