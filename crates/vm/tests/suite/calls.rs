//! Programs that leave their own instructions: tail calls, callbacks, maps of maps, rings, on every executor.

use std::time::Duration;

use crate::support::{
    add, call, call_local, configs, copy, exit, insn, jump, jump_if_zero, linked, load,
    load_program, mov, store, store_word, vms, wide,
};
use twinbpf_object::link::{Hole, HoleKind};
use twinbpf_object::spec::InnerMap;
use twinbpf_object::{Errno, Insn, InsnIndex, MapIndex, MapKind, MapSpec, ProgramKind};
use twinbpf_vm::{Executor, FaultKind, Vm, VmConfig, VmMap, VmProgram};

const CONTEXT: usize = 8;

fn map(vm: &Vm, kind: MapKind, key: u32, value: u32, entries: u32) -> VmMap {
    vm.create_map(&MapSpec::new("map", kind, key, value, entries))
        .unwrap()
}

fn run(vm: &Vm, program: &VmProgram) -> u64 {
    vm.worker()
        .unwrap()
        .run(program, &mut [0; CONTEXT])
        .unwrap()
}

/// `r1 = map 0`, as two slots.
fn map_into(register: u8) -> [Insn; 2] {
    wide(register, 0)
}

/// Adds `number` to `r6` of nobody: counts itself in the context, then tail-calls `index`, then returns `number`.
fn caller(index: i32, number: i32) -> Vec<Insn> {
    let mut insns = vec![
        copy(6, 1),
        load(7, 6, 0),
        add(7, 1),
        store(6, 0, 7),
        copy(1, 6),
    ];
    insns.extend(map_into(2));
    insns.extend([mov(3, index), call(12), mov(0, number), exit()]);
    insns
}

#[test]
fn a_tail_call_does_not_come_back_unless_there_is_nothing_to_call() {
    for vm in vms() {
        let array = map(&vm, MapKind::ProgArray, 4, 4, 3);
        let first = load_program(&vm, caller(1, 10), std::slice::from_ref(&array), &[(5, 0)]);
        assert_eq!(run(&vm, &first), 10, "an empty slot is passed over");
        let second = load_program(&vm, vec![mov(0, 20), exit()], &[], &[]);
        vm.insert_program(&array, &1_u32.to_ne_bytes(), &second)
            .unwrap();
        assert_eq!(run(&vm, &first), 20);
        let mut number = [0; 4];
        array.lookup(&1_u32.to_ne_bytes(), &mut number).unwrap();
        assert_eq!(u32::from_ne_bytes(number), second.number());
        array.delete(&1_u32.to_ne_bytes()).unwrap();
        assert_eq!(run(&vm, &first), 10);
        let outside = load_program(&vm, caller(3, 30), &[array], &[(5, 0)]);
        assert_eq!(
            run(&vm, &outside),
            30,
            "an index out of range is passed over"
        );
    }
}

#[test]
fn a_chain_of_tail_calls_ends_after_33() {
    for vm in vms() {
        let array = map(&vm, MapKind::ProgArray, 4, 4, 1);
        let program = load_program(&vm, caller(0, 7), std::slice::from_ref(&array), &[(5, 0)]);
        vm.insert_program(&array, &0_u32.to_ne_bytes(), &program)
            .unwrap();
        let mut context = [0; CONTEXT];
        let mut worker = vm.worker().unwrap();
        assert_eq!(worker.run(&program, &mut context).unwrap(), 7);
        assert_eq!(u64::from_ne_bytes(context), 34, "the first and 33 more");
    }
}

#[test]
fn a_prog_array_forgets_its_programs_with_the_callers_last_handle() {
    for vm in vms() {
        let array = map(&vm, MapKind::ProgArray, 4, 4, 1);
        let program = load_program(&vm, caller(0, 7), std::slice::from_ref(&array), &[(5, 0)]);
        vm.insert_program(&array, &0_u32.to_ne_bytes(), &program)
            .unwrap();
        drop(array);
        let mut context = [0; CONTEXT];
        vm.worker().unwrap().run(&program, &mut context).unwrap();
        assert_eq!(u64::from_ne_bytes(context), 1);
    }
}

#[test]
fn programs_of_two_types_cannot_share_a_prog_array() {
    for vm in vms() {
        let array = map(&vm, MapKind::ProgArray, 4, 4, 1);
        load_program(&vm, caller(0, 7), std::slice::from_ref(&array), &[(5, 0)]);
        let mut other = linked(vec![mov(0, 2), exit()], &[0], &[]);
        other.kind = Some(ProgramKind::Xdp);
        let other = vm.load_program(&other, &[]).unwrap();
        assert_eq!(
            vm.insert_program(&array, &0_u32.to_ne_bytes(), &other),
            Err(Errno::EINVAL)
        );
    }
}

#[test]
fn a_tail_call_in_a_function_ends_that_function_alone() {
    for vm in vms() {
        let array = map(&vm, MapKind::ProgArray, 4, 4, 1);
        // main: r0 = function(context) + 1; function: tail call, which answers 20
        let mut insns = vec![call_local(2), add(0, 1), exit()];
        insns.extend(map_into(2));
        insns.extend([mov(3, 0), call(12), mov(0, 9), exit()]);
        let program = linked(insns, &[0, 3], &[(3, 0)]);
        let program = vm
            .load_program(&program, std::slice::from_ref(&array))
            .unwrap();
        assert_eq!(run(&vm, &program), 10);
        let callee = load_program(&vm, vec![mov(0, 20), exit()], &[], &[]);
        vm.insert_program(&array, &0_u32.to_ne_bytes(), &callee)
            .unwrap();
        assert_eq!(run(&vm, &program), 21);
    }
}

#[test]
fn a_fault_behind_a_tail_call_names_the_program_that_faulted() {
    for vm in vms() {
        let array = map(&vm, MapKind::ProgArray, 4, 4, 1);
        let program = load_program(&vm, caller(0, 7), std::slice::from_ref(&array), &[(5, 0)]);
        let mut wrong = linked(vec![mov(1, 0), mov(0, 1), load(0, 1, 0), exit()], &[0], &[]);
        wrong.name = "wrong".to_owned();
        let wrong = vm.load_program(&wrong, &[]).unwrap();
        vm.insert_program(&array, &0_u32.to_ne_bytes(), &wrong)
            .unwrap();
        let error = vm.worker().unwrap().run(&program, &mut [0; CONTEXT]);
        let error = error.unwrap_err();
        let place = &error.diagnosis().place;
        assert_eq!(place.program.as_deref(), Some("wrong"), "{error}");
        assert_eq!(place.insn.as_ref().map(|(at, _)| *at), Some(2), "{error}");
    }
}

/// A program whose callback starts at `start`; wide loads at `functions` name it.
fn with_callback(
    vm: &Vm,
    insns: Vec<Insn>,
    start: u32,
    named_at: u32,
    maps: &[VmMap],
) -> VmProgram {
    let holes: Vec<(u32, usize)> = (0..maps.len()).map(|index| (0, index)).collect();
    let mut program = linked(insns, &[0, start], &holes);
    program.holes.push(Hole {
        at: InsnIndex(named_at),
        kind: HoleKind::Function(InsnIndex(start)),
    });
    vm.load_program(&program, maps).unwrap()
}

#[test]
fn a_loop_calls_its_callback_with_the_round_and_the_callers_stack() {
    for vm in vms() {
        // The sum of the rounds goes to the caller's stack; round 9 stops the loop.
        let mut insns = vec![insn(0x7a, 10, 0, -8, 0), mov(1, 100)];
        insns.extend(wide(2, 0));
        insns.extend([copy(3, 10), add(3, -8), mov(4, 0), call(181)]);
        insns.extend([
            load(1, 10, -8),
            insn(0x67, 1, 0, 0, 32),
            insn(0x4f, 0, 1, 0, 0),
            exit(),
        ]);
        let start = u32::try_from(insns.len()).unwrap();
        insns.extend([load(4, 2, 0), insn(0x0f, 4, 1, 0, 0), store(2, 0, 4)]);
        insns.extend([mov(0, 0), insn(0x55, 1, 0, 1, 9), mov(0, 1), exit()]);
        let program = with_callback(&vm, insns, start, 2, &[]);
        assert_eq!(run(&vm, &program), 45 << 32 | 10);
    }
}

#[test]
fn an_endless_nest_of_callbacks_ends_with_the_call_depth() {
    for vm in vms() {
        let body = |at: i32| {
            let mut insns = vec![mov(1, 1)];
            insns.extend(wide(2, 0));
            insns.extend([mov(3, 0), mov(4, 0), call(181), mov(0, at), exit()]);
            insns
        };
        let mut insns = body(0);
        let start = u32::try_from(insns.len()).unwrap();
        insns.extend(body(1));
        let mut program = linked(insns, &[0, start], &[]);
        for at in [1, start + 1] {
            program.holes.push(Hole {
                at: InsnIndex(at),
                kind: HoleKind::Function(InsnIndex(start)),
            });
        }
        let program = vm.load_program(&program, &[]).unwrap();
        let error = vm.worker().unwrap().run(&program, &mut [0; CONTEXT]);
        let expected = FaultKind::CallDepth.to_string();
        assert!(error.unwrap_err().to_string().contains(&expected));
    }
}

/// `rounds` in `r1`, the callback in `r2`, whose slot is the answer's second part, and `r3`, `r4`; then the call.
fn looping(rounds: i32, context: Insn, flags: i32) -> Vec<Insn> {
    let mut insns = vec![mov(1, rounds)];
    insns.extend(wide(2, 0));
    insns.extend([context, mov(4, flags), call(181)]);
    insns
}

fn negated(errno: Errno) -> u64 {
    (-i64::from(errno.0)).cast_unsigned()
}

#[test]
fn a_loop_refuses_flags_and_too_many_rounds_and_does_none_at_once() {
    let expected = [
        (3, 0, 3),
        (0, 0, 0),
        (3, 1, negated(Errno::EINVAL)),
        ((1 << 23) + 1, 0, negated(Errno::E2BIG)),
        ((1 << 23) + 1, 1, negated(Errno::EINVAL)),
        (-1, 0, negated(Errno::E2BIG)),
    ];
    for vm in vms() {
        for (rounds, flags, answer) in expected {
            let mut insns = looping(rounds, mov(3, 0), flags);
            insns.push(exit());
            let start = u32::try_from(insns.len()).unwrap();
            insns.extend([mov(0, 0), exit()]);
            let program = with_callback(&vm, insns, start, 1, &[]);
            assert_eq!(run(&vm, &program), answer, "{rounds} rounds, flags {flags}");
        }
    }
}

#[test]
fn rounds_start_with_empty_registers_and_leave_the_callers_alone() {
    // The checked interpreter refuses to read what nobody wrote.
    let reads_all = |config: &VmConfig| config.executor != Executor::Checked;
    for config in configs().into_iter().filter(reads_all) {
        let vm = Vm::new(config).unwrap();
        let mut insns = vec![mov(6, 6), mov(7, 7), mov(8, 8), mov(9, 9)];
        insns.push(insn(0x7a, 10, 0, -8, 0));
        insns.extend(looping(4, copy(3, 10), 0));
        for register in 6..=9 {
            insns.push(insn(0x0f, 0, register, 0, 0));
        }
        // Nothing may be left of what the helper was given.
        for register in 1..=5 {
            insns.push(insn(0x4f, 0, register, 0, 0));
        }
        insns.extend([load(1, 10, -8), insn(0x67, 1, 0, 0, 32)]);
        insns.extend([insn(0x4f, 0, 1, 0, 0), exit()]);
        let start = u32::try_from(insns.len()).unwrap();
        // Everything but round and context is 0; then all is overwritten. The context counts what was not.
        insns.extend([copy(5, 0), load(0, 2, -8)]);
        for register in [3, 4, 6, 7, 8, 9] {
            insns.push(insn(0x4f, 5, register, 0, 0));
            insns.push(mov(register, -1));
        }
        insns.extend([insn(0x4f, 0, 5, 0, 0), store(2, -8, 0), mov(0, 0), exit()]);
        let program = with_callback(&vm, insns, start, 6, &[]);
        assert_eq!(run(&vm, &program), 4 + 6 + 7 + 8 + 9);
    }
}

#[test]
fn rounds_are_paid_for_alike_on_every_executor() {
    // Twenty-five thousand rounds of three instructions: more than a slice, so that it is paid again in between.
    let needed = (1..).map(|step| step * 1000).find(|budget| {
        let mut ends = configs().into_iter().map(|config| {
            let budget_insns = *budget;
            let vm = Vm::new(VmConfig {
                budget_insns,
                ..config
            });
            let vm = vm.unwrap();
            let mut insns = looping(25_000, mov(3, 0), 0);
            insns.extend([exit()]);
            let start = u32::try_from(insns.len()).unwrap();
            insns.extend([mov(0, 0), mov(5, 0), exit()]);
            let program = with_callback(&vm, insns, start, 1, &[]);
            let result = vm.worker().unwrap().run(&program, &mut []);
            result.map_err(|error| error.diagnosis().place.insn.as_ref().map(|(at, _)| *at))
        });
        let first = ends.next().unwrap();
        assert!(ends.all(|end| end == first), "budget {budget}");
        assert!(matches!(first, Ok(25_000) | Err(Some(5))), "{first:?}");
        first.is_ok()
    });
    assert_eq!(needed, Some(75_000));
}

#[test]
fn what_goes_wrong_in_a_callback_is_told_with_its_instruction() {
    for vm in vms() {
        let elements = map(&vm, MapKind::Array, 4, 8, 5);
        for helper in [181, 164] {
            let mut insns = map_into(1).to_vec();
            if helper == 181 {
                insns.push(mov(1, 5));
            }
            let named_at = u32::try_from(insns.len()).unwrap();
            insns.extend(wide(2, 0));
            insns.extend([mov(3, 0), mov(4, 0), call(helper), exit()]);
            let start = u32::try_from(insns.len()).unwrap();
            insns.extend([mov(0, 0), load(1, 0, 0), exit()]);
            let maps = std::slice::from_ref(&elements);
            let program = with_callback(&vm, insns, start, named_at, maps);
            let mut worker = vm.worker().unwrap();
            for _ in 0..2 {
                let error = worker.run(&program, &mut []).unwrap_err();
                let at = error.diagnosis().place.insn.as_ref().map(|(at, _)| *at);
                assert_eq!(at, Some(start + 1), "{error}");
            }
            assert_eq!(
                run(&vm, &load_program(&vm, vec![mov(0, 3), exit()], &[], &[])),
                3
            );
        }
    }
}

#[test]
fn every_element_of_an_array_and_a_hash_is_visited() {
    for vm in vms() {
        for kind in [MapKind::Array, MapKind::Hash, MapKind::PerCpuArray] {
            let elements = map(&vm, kind, 4, 8, 5);
            for index in 0..5_u32 {
                let value = vec![u8::try_from(index + 1).unwrap(); 1]
                    .into_iter()
                    .chain([0; 7])
                    .cycle()
                    .take(elements.value_bytes())
                    .collect::<Vec<u8>>();
                elements.update(&index.to_ne_bytes(), &value, 0).unwrap();
            }
            let mut insns = map_into(1).to_vec();
            insns.extend(wide(2, 0));
            insns.push(insn(0x7a, 10, 0, -8, 0));
            insns.extend([copy(3, 10), add(3, -8), mov(4, 0), call(164)]);
            insns.extend([
                load(1, 10, -8),
                insn(0x67, 1, 0, 0, 32),
                insn(0x4f, 0, 1, 0, 0),
                exit(),
            ]);
            let start = u32::try_from(insns.len()).unwrap();
            // sum += key * value
            insns.extend([
                insn(0x61, 5, 2, 0, 0),
                load(3, 3, 0),
                insn(0x2f, 5, 3, 0, 0),
            ]);
            insns.extend([
                load(3, 4, 0),
                insn(0x0f, 3, 5, 0, 0),
                store(4, 0, 3),
                mov(0, 0),
                exit(),
            ]);
            let program = with_callback(&vm, insns, start, 2, &[elements]);
            assert_eq!(run(&vm, &program), 40 << 32 | 5, "{kind}");
        }
    }
}

#[test]
fn a_map_of_maps_leads_to_the_map_inside() {
    for vm in vms() {
        let inner_spec = MapSpec::new("inner", MapKind::Array, 4, 8, 2);
        let outer = vm
            .create_map(&MapSpec {
                inner: Some(InnerMap::Spec(Box::new(inner_spec.clone()))),
                ..MapSpec::new("outer", MapKind::ArrayOfMaps, 4, 4, 2)
            })
            .unwrap();
        let inner = vm.create_map(&inner_spec).unwrap();
        inner
            .update(&1_u32.to_ne_bytes(), &77_u64.to_ne_bytes(), 0)
            .unwrap();
        // r0 = *lookup(lookup(outer, 0), 1), or 1 without an inner map
        let mut insns = vec![store_word(10, -4, 0), copy(2, 10), add(2, -4)];
        insns.extend(map_into(1));
        insns.extend([
            call(1),
            jump_if_zero(0, 8),
            copy(1, 0),
            store_word(10, -4, 1),
        ]);
        insns.extend([copy(2, 10), add(2, -4), call(1), load(0, 0, 0), jump(1)]);
        insns.extend([jump(0), jump_if_zero(0, 1), exit(), mov(0, 1), exit()]);
        let program = load_program(&vm, insns, std::slice::from_ref(&outer), &[(3, 0)]);
        assert_eq!(run(&vm, &program), 1);
        outer.insert_map(&0_u32.to_ne_bytes(), &inner, 0).unwrap();
        drop(inner);
        assert_eq!(run(&vm, &program), 77, "the outer map keeps the inner one");
        let other = map(&vm, MapKind::Array, 4, 8, 3);
        let refused = outer.insert_map(&1_u32.to_ne_bytes(), &other, 0);
        assert_eq!(
            refused,
            Err(Errno::EINVAL),
            "it does not look like the template"
        );
    }
}

#[test]
fn a_cpu_slot_sees_its_own_value() {
    for vm in vms() {
        for kind in [
            MapKind::PerCpuArray,
            MapKind::PerCpuHash,
            MapKind::LruPerCpuHash,
        ] {
            let counts = map(&vm, kind, 4, 8, 2);
            let zeros = vec![0; counts.value_bytes()];
            counts.update(&0_u32.to_ne_bytes(), &zeros, 0).unwrap();
            let mut insns = vec![store_word(10, -4, 0), copy(2, 10), add(2, -4)];
            insns.extend(map_into(1));
            insns.extend([
                call(1),
                jump_if_zero(0, 3),
                load(1, 0, 0),
                add(1, 5),
                store(0, 0, 1),
                mov(0, 0),
                exit(),
            ]);
            let program = load_program(&vm, insns, std::slice::from_ref(&counts), &[(3, 0)]);
            let mut workers = [vm.worker().unwrap(), vm.worker().unwrap()];
            for _ in 0..2 {
                workers[1].run(&program, &mut [0; CONTEXT]).unwrap();
            }
            workers[0].run(&program, &mut [0; CONTEXT]).unwrap();
            let mut value = zeros.clone();
            counts.lookup(&0_u32.to_ne_bytes(), &mut value).unwrap();
            let (slots, _) = value.as_chunks();
            let slots: Vec<u64> = slots.iter().map(|slot| u64::from_ne_bytes(*slot)).collect();
            assert_eq!(slots, [5, 10], "{kind}");
        }
    }
}

#[test]
fn records_reach_the_reader_in_order_and_what_is_left_behind_is_discarded() {
    for vm in vms() {
        let ring = map(&vm, MapKind::RingBuf, 0, 0, 4096);
        // Reserves 8 bytes, writes the context's first word, submits; with a context of 0 it faults in between.
        let mut insns = vec![copy(6, 1)];
        insns.extend(map_into(1));
        insns.extend([mov(2, 8), mov(3, 0), call(131), jump_if_zero(0, 7)]);
        insns.extend([
            load(1, 6, 0),
            store(0, 0, 1),
            insn(0x55, 1, 0, 1, 0),
            load(1, 1, 0),
        ]);
        insns.extend([copy(1, 0), mov(2, 0), call(132), mov(0, 0), exit()]);
        let program = load_program(&vm, insns, std::slice::from_ref(&ring), &[(1, 0)]);
        let mut worker = vm.worker().unwrap();
        let mut read = Vec::new();
        for round in 1..1000_u64 {
            let faulty = worker.run(&program, &mut 0_u64.to_ne_bytes());
            assert!(faulty.is_err());
            worker.run(&program, &mut round.to_ne_bytes()).unwrap();
            assert!(ring.wait_for_ring(Duration::from_secs(5)).unwrap());
            ring.drain_ring(usize::MAX, |record| {
                read.push(u64::from_ne_bytes(record.try_into().unwrap()));
                true
            })
            .unwrap();
        }
        assert_eq!(read, (1..1000).collect::<Vec<u64>>());
        // A full ring: 255 records of 16 bytes fit, one less than its size.
        for round in 1..=300_u64 {
            worker.run(&program, &mut round.to_ne_bytes()).unwrap();
        }
        let count = ring.drain_ring(usize::MAX, |_| true).unwrap();
        assert_eq!(count, 255);
    }
}

#[test]
fn a_lock_held_by_a_run_that_faults_is_free_again() {
    for vm in vms() {
        let value = map(&vm, MapKind::Array, 4, 16, 1);
        let program = |faults: bool| {
            let mut insns = wide(6, 0).to_vec();
            insns.extend([copy(1, 6), call(93)]);
            if faults {
                insns.extend([mov(1, 0), load(1, 1, 0)]);
            }
            insns.extend([copy(1, 6), call(94), mov(0, 3), exit()]);
            let mut program = linked(insns, &[0], &[]);
            program.holes.push(Hole {
                at: InsnIndex(0),
                kind: HoleKind::MapValue {
                    map: MapIndex(0),
                    offset: 4,
                },
            });
            vm.load_program(&program, std::slice::from_ref(&value))
                .unwrap()
        };
        let mut worker = vm.worker().unwrap();
        assert!(worker.run(&program(true), &mut [0; CONTEXT]).is_err());
        assert_eq!(worker.run(&program(false), &mut [0; CONTEXT]).unwrap(), 3);
        // A word that nobody will ever clear: waiting for it costs budget.
        value.write_part(4, &1_u32.to_ne_bytes()).unwrap();
        let stuck = worker.run(&program(false), &mut [0; CONTEXT]).unwrap_err();
        assert!(stuck.to_string().contains("budget"), "{stuck}");
    }
}

#[test]
fn an_lru_map_is_never_full_and_keeps_what_programs_look_up() {
    for vm in vms() {
        let lru = map(&vm, MapKind::LruHash, 4, 8, 10);
        let mut insns = vec![store_word(10, -4, 0), copy(2, 10), add(2, -4)];
        insns.extend(map_into(1));
        insns.extend([call(1), jump_if_zero(0, 1), mov(0, 1), exit()]);
        let look = load_program(&vm, insns, std::slice::from_ref(&lru), &[(3, 0)]);
        let mut worker = vm.worker().unwrap();
        for key in 0..500_u32 {
            let value = u64::from(key).to_ne_bytes();
            lru.update(&key.to_ne_bytes(), &value, 0).unwrap();
            assert_eq!(
                worker.run(&look, &mut [0; CONTEXT]).unwrap(),
                1,
                "key {key}"
            );
        }
        let mut value = [0; 8];
        let present = (0..500_u32).filter(|key| lru.lookup(&key.to_ne_bytes(), &mut value).is_ok());
        assert_eq!(present.count(), 10);
    }
}

#[test]
fn queues_and_stacks_give_elements_back_in_their_order() {
    for vm in vms() {
        for (kind, expected) in [(MapKind::Queue, 1), (MapKind::Stack, 3)] {
            let elements = map(&vm, kind, 0, 8, 3);
            for value in 1..=3_u64 {
                elements.update(&[], &value.to_ne_bytes(), 0).unwrap();
            }
            // r0 = popped, then pushes 9
            let mut insns = map_into(1).to_vec();
            insns.extend([insn(0x7a, 10, 0, -8, 0), copy(2, 10), add(2, -8), call(88)]);
            insns.extend([load(6, 10, -8), insn(0x7a, 10, 0, -8, 9)]);
            let second = u32::try_from(insns.len()).unwrap();
            insns.extend(map_into(1));
            insns.extend([
                copy(2, 10),
                add(2, -8),
                mov(3, 0),
                call(87),
                copy(0, 6),
                exit(),
            ]);
            let holes = [(0, 0), (second, 0)];
            let program = load_program(&vm, insns, std::slice::from_ref(&elements), &holes);
            assert_eq!(run(&vm, &program), expected, "{kind}");
            let mut value = [0; 8];
            let mut left = Vec::new();
            while elements.take(&[], &mut value, 0).is_ok() {
                left.push(u64::from_ne_bytes(value));
            }
            let expected = if kind == MapKind::Queue {
                [2, 3, 9]
            } else {
                [9, 2, 1]
            };
            assert_eq!(left, expected, "{kind}");
        }
    }
}

#[test]
fn prints_are_kept_for_the_host() {
    for vm in vms() {
        let text = b"%d %u %lx %5d|%-4d|%04x %c%%\n\0";
        let mut format = text.to_vec();
        format.resize(32, 0);
        let mut insns = Vec::new();
        let (words, _) = format.as_chunks();
        for (index, word) in words.iter().enumerate() {
            let offset = i16::try_from(index * 8).unwrap() - 32;
            insns.extend(wide(1, u64::from_ne_bytes(*word)));
            insns.push(store(10, offset, 1));
        }
        for (index, value) in [-5_i64, -1, 255, 42, 7, 0xab, 88].into_iter().enumerate() {
            let offset = i16::try_from(index * 8).unwrap() - 96;
            insns.extend(wide(1, value.cast_unsigned()));
            insns.push(store(10, offset, 1));
        }
        insns.extend([
            copy(1, 10),
            add(1, -32),
            mov(2, i32::try_from(text.len()).unwrap()),
        ]);
        insns.extend([copy(3, 10), add(3, -96), mov(4, 56), call(177), exit()]);
        let program = load_program(&vm, insns, &[], &[]);
        let length = run(&vm, &program);
        let (printed, lost) = vm.take_trace();
        assert_eq!(lost, 0);
        assert_eq!(printed[0].text, "-5 4294967295 ff    42|7   |00ab X%\n");
        assert_eq!(length, printed[0].text.len() as u64);
    }
}

#[test]
fn every_function_has_may_gotos_of_its_own() {
    for executor in [Executor::Interpreter, Executor::Jit] {
        let vm = Vm::new(VmConfig {
            executor,
            ..VmConfig::default()
        })
        .unwrap();
        // r6 counts the rounds of main, r0 those of a function that is called when they are used up.
        let rounds = |register| [insn(0xe5, 0, 0, 2, 0), add(register, 1), jump(-3)];
        let mut insns = vec![mov(6, 0)];
        insns.extend(rounds(6));
        insns.extend([call_local(2), insn(0x1f, 0, 6, 0, 0), exit()]);
        insns.push(mov(0, 0));
        insns.extend(rounds(0));
        insns.push(exit());
        let program = vm.load_program(&linked(insns, &[0, 7], &[]), &[]).unwrap();
        assert_eq!(run(&vm, &program), 0, "both do the same number");
    }
}
