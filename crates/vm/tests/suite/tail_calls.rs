//! Programs in the place of others: what the one that runs then has, while arrays change under it, on every executor.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::{
    add, call, copy, exit, insn, linked, load, load_program, mov, store, store_word, vms, wide,
};
use twinbpf_object::link::{Hole, HoleKind};
use twinbpf_object::{Errno, Insn, InsnIndex, MapKind, MapSpec};
use twinbpf_vm::{FaultKind, Vm, VmMap, VmProgram};

const FIRST: [u8; 4] = [0; 4];

fn map(vm: &Vm, kind: MapKind, value: u32) -> VmMap {
    let spec = MapSpec::new("map", kind, 4, value, 1);
    vm.create_map(&spec).unwrap()
}

/// Calls the program at index 0 of map 0 with the context in `r1`; 7 if there is none.
fn calls_first() -> Vec<Insn> {
    let mut insns = wide(2, 0).to_vec();
    insns.extend([mov(3, 0), call(12), mov(0, 7), exit()]);
    insns
}

/// `r0 = *lookup(map 0, 0)`, which must be there.
fn looks_up() -> Vec<Insn> {
    let mut insns = vec![store_word(10, -4, 0), copy(2, 10), add(2, -4)];
    insns.extend(wide(1, 0));
    insns.extend([call(1), load(0, 0, 0), exit()]);
    insns
}

fn caller(vm: &Vm, array: &VmMap) -> VmProgram {
    load_program(vm, calls_first(), std::slice::from_ref(array), &[(0, 0)])
}

#[test]
fn after_a_tail_call_maps_are_those_of_the_program_called() {
    for vm in vms() {
        let array = map(&vm, MapKind::ProgArray, 4);
        let hash = map(&vm, MapKind::Hash, 8);
        hash.update(&FIRST, &42_u64.to_ne_bytes(), 0).unwrap();
        let callee = load_program(&vm, looks_up(), std::slice::from_ref(&hash), &[(3, 0)]);
        vm.insert_program(&array, &FIRST, &callee).unwrap();
        let caller = caller(&vm, &array);
        let mut worker = vm.worker().unwrap();
        assert_eq!(worker.run(&caller, &mut []).unwrap(), 42);
        // The worker is not left in the other program.
        assert_eq!(worker.run(&callee, &mut []).unwrap(), 42);
        array.delete(&FIRST).unwrap();
        assert_eq!(worker.run(&caller, &mut []).unwrap(), 7);
    }
}

/// A program that calls its function at slot 7 once, with what is at offset 8 of its frame.
fn repeats(body: Insn) -> (Vec<Insn>, u32) {
    let mut insns = vec![mov(1, 1)];
    insns.extend(wide(2, 0));
    insns.extend([mov(3, 0), mov(4, 0), call(181), exit()]);
    insns.extend([mov(0, 0), body, exit()]);
    (insns, 7)
}

fn with_loop(vm: &Vm, name: &str, body: Insn) -> VmProgram {
    let (insns, start) = repeats(body);
    let mut program = linked(insns, &[0, start], &[]);
    program.name = name.to_owned();
    program.holes.push(Hole {
        at: InsnIndex(1),
        kind: HoleKind::Function(InsnIndex(start)),
    });
    vm.load_program(&program, &[]).unwrap()
}

#[test]
fn callbacks_behind_a_tail_call_are_functions_of_the_program_called() {
    for vm in vms() {
        let array = map(&vm, MapKind::ProgArray, 4);
        let caller = caller(&vm, &array);
        let mut worker = vm.worker().unwrap();
        let callee = with_loop(&vm, "loops", mov(6, 1));
        vm.insert_program(&array, &FIRST, &callee).unwrap();
        assert_eq!(worker.run(&caller, &mut []).unwrap(), 1, "one round");
        let wrong = with_loop(&vm, "wrong", insn(0x79, 6, 0, 0, 0));
        vm.insert_program(&array, &FIRST, &wrong).unwrap();
        let error = worker.run(&caller, &mut []).unwrap_err();
        let place = &error.diagnosis().place;
        assert_eq!(place.program.as_deref(), Some("wrong"), "{error}");
        assert_eq!(place.insn.as_ref().map(|(at, _)| *at), Some(8), "{error}");
    }
}

#[test]
fn one_budget_pays_for_a_whole_chain() {
    for vm in vms() {
        let array = map(&vm, MapKind::ProgArray, 4);
        // 4,000 rounds of two instructions, then itself again: 33 times that is more than 100,000.
        let mut insns = vec![mov(6, 4000), add(6, -1), insn(0x55, 6, 0, -2, 0)];
        insns.extend(calls_first());
        let program = load_program(&vm, insns, std::slice::from_ref(&array), &[(3, 0)]);
        let mut worker = vm.worker().unwrap();
        assert_eq!(worker.run(&program, &mut []).unwrap(), 7);
        vm.insert_program(&array, &FIRST, &program).unwrap();
        let error = worker.run(&program, &mut []).unwrap_err().to_string();
        let budget = FaultKind::Budget { insns: 100_000 }.to_string();
        assert!(error.contains(&budget), "{error}");
    }
}

#[test]
fn registers_of_the_host_survive_programs_that_use_more_of_them_than_their_caller() {
    for vm in vms() {
        let array = map(&vm, MapKind::ProgArray, 4);
        let mut insns: Vec<Insn> = (6..10).map(|register| mov(register, 99)).collect();
        insns.extend([mov(0, 3), exit()]);
        let callee = load_program(&vm, insns, &[], &[]);
        vm.insert_program(&array, &FIRST, &callee).unwrap();
        // The function adds what the tail call answers to what its caller kept in r6.
        let mut insns = vec![mov(6, 30), insn(0x85, 0, 1, 0, 2), insn(0x0f, 0, 6, 0, 0)];
        insns.push(exit());
        insns.extend(calls_first());
        let nested = linked(insns, &[0, 4], &[(4, 0)]);
        let nested = vm
            .load_program(&nested, std::slice::from_ref(&array))
            .unwrap();
        let caller = caller(&vm, &array);
        let mut worker = vm.worker().unwrap();
        let sum: u64 = (0..10u64)
            .map(|index| index + worker.run(&caller, &mut []).unwrap())
            .sum();
        assert_eq!(sum, 45 + 30);
        assert_eq!(worker.run(&nested, &mut []).unwrap(), 33);
    }
}

#[test]
fn programs_come_and_go_while_others_call_them() {
    for vm in vms() {
        let array = map(&vm, MapKind::ProgArray, 4);
        let caller = caller(&vm, &array);
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let changes = scope.spawn(|| {
                for round in 0..300 {
                    // Maps of its own, which go with it.
                    let values = map(&vm, MapKind::Array, 8);
                    values.update(&FIRST, &[1; 8], 0).unwrap();
                    let mut insns = looks_up();
                    insns.splice(5.., [mov(0, 7), exit()]);
                    insns.splice(0..0, [store(10, -8, 1)]);
                    let program = load_program(&vm, insns, &[values], &[(4, 0)]);
                    vm.insert_program(&array, &FIRST, &program).unwrap();
                    drop(program);
                    if round % 3 == 0 {
                        array.delete(&FIRST).unwrap();
                    }
                }
                is_over.store(true, Ordering::Relaxed);
            });
            let mut worker = vm.worker().unwrap();
            while !is_over.load(Ordering::Relaxed) && !changes.is_finished() {
                assert_eq!(worker.run(&caller, &mut []).unwrap(), 7);
            }
        });
    }
}

#[test]
fn a_program_of_another_vm_is_neither_run_nor_called() {
    let (mine, other) = (vms(), vms());
    for (mine, other) in mine.iter().zip(&other) {
        let array = map(mine, MapKind::ProgArray, 4);
        let foreign = load_program(other, vec![mov(0, 1), exit()], &[], &[]);
        let refused = mine.insert_program(&array, &FIRST, &foreign);
        assert_eq!(refused, Err(Errno::EINVAL));
        let error = mine.worker().unwrap().run(&foreign, &mut []).unwrap_err();
        assert!(error.to_string().contains("of another vm"), "{error}");
    }
}
