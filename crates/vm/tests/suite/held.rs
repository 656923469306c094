//! What a program holds when it ends, well or badly, is given back, on every executor; what it does not hold it cannot give back.

use std::path::Path;

use twinbpf_object::link::{Hole, HoleKind};
use twinbpf_object::{Insn, InsnIndex, MapKind, MapSpec, Object, link};
use twinbpf_vm::{FaultKind, Vm, VmMap, VmProgram};

use crate::support::{add, call, copy, exit, insn, jump_if_zero, linked, load, mov, vms, wide};

/// A call of a kernel function.
const KFUNC: Insn = Insn {
    opcode: 0x85,
    dst: 0,
    src: 2,
    offset: 0,
    imm: 0,
};

/// A program with a map, if there is one, in the wide load at slot 0, and these functions in its calls of kernel functions, in order.
fn load_calling(vm: &Vm, insns: Vec<Insn>, names: &[&str], maps: &[VmMap]) -> VmProgram {
    let holes: Vec<(u32, usize)> = (0..maps.len()).map(|index| (0, index)).collect();
    let calls = insns.iter().enumerate().filter(|(_, insn)| **insn == KFUNC);
    let calls: Vec<u32> = calls.map(|(at, _)| u32::try_from(at).unwrap()).collect();
    assert_eq!(calls.len(), names.len());
    let mut program = linked(insns, &[0], &holes);
    program
        .holes
        .extend(calls.iter().zip(names).map(|(at, name)| Hole {
            at: InsnIndex(*at),
            kind: HoleKind::Kfunc {
                name: (*name).to_owned(),
                module: None,
                id: None,
            },
        }));
    vm.load_program(&program, maps).unwrap()
}

fn run(vm: &Vm, program: &VmProgram) -> Result<u64, String> {
    let result = vm.worker().unwrap().run(program, &mut [0; 8]);
    result.map_err(|error| error.to_string())
}

/// `r1 = r10 + offset`
fn on_stack(register: u8, offset: i32) -> [Insn; 2] {
    [copy(register, 10), add(register, offset)]
}

/// A read from the null page: the end of the run.
fn fault() -> [Insn; 2] {
    [mov(1, 0), load(0, 1, 0)]
}

#[test]
fn a_section_that_was_not_begun_cannot_be_ended() {
    for vm in vms() {
        for (name, expected) in [
            (
                "bpf_rcu_read_unlock",
                "gives back or uses an RCU read lock that it does not hold",
            ),
            (
                "bpf_preempt_enable",
                "gives back or uses preemption that it does not hold",
            ),
        ] {
            let program = load_calling(&vm, vec![KFUNC, mov(0, 0), exit()], &[name], &[]);
            let error = run(&vm, &program).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}

#[test]
fn sections_left_open_end_with_the_run_however_it_ends() {
    for vm in vms() {
        let names = [
            "bpf_rcu_read_lock",
            "bpf_preempt_disable",
            "bpf_rcu_read_lock",
        ];
        let mut insns = vec![KFUNC, KFUNC, KFUNC];
        insns.extend(fault());
        insns.push(exit());
        let faulting = load_calling(&vm, insns, &names, &[]);
        let ending = load_calling(
            &vm,
            vec![KFUNC, KFUNC, KFUNC, mov(0, 3), exit()],
            &names,
            &[],
        );
        let after = load_calling(
            &vm,
            vec![KFUNC, mov(0, 0), exit()],
            &["bpf_preempt_enable"],
            &[],
        );
        let mut worker = vm.worker().unwrap();
        for _ in 0..3 {
            assert!(worker.run(&faulting, &mut []).is_err());
            assert!(worker.run(&after, &mut []).is_err(), "nothing is open");
            assert_eq!(worker.run(&ending, &mut []).unwrap(), 3);
            assert!(worker.run(&after, &mut []).is_err(), "nothing is open");
        }
    }
}

#[test]
fn an_iterator_left_open_is_gone_in_the_next_run() {
    for vm in vms() {
        let mut begin = on_stack(1, -8).to_vec();
        begin.extend([mov(2, 0), mov(3, 9), KFUNC]);
        begin.extend(fault());
        begin.push(exit());
        let begin = load_calling(&vm, begin, &["bpf_iter_num_new"], &[]);
        let mut go_on = on_stack(1, -8).to_vec();
        go_on.extend([KFUNC, mov(0, 0), exit()]);
        let go_on = load_calling(&vm, go_on, &["bpf_iter_num_next"], &[]);
        let mut worker = vm.worker().unwrap();
        assert!(worker.run(&begin, &mut []).is_err());
        let error = worker.run(&go_on, &mut []).unwrap_err().to_string();
        assert!(
            error.contains("gives back or uses this iterator that it does not hold"),
            "{error}"
        );
    }
}

#[test]
fn more_iterators_than_any_stack_holds_end_the_run() {
    for vm in vms() {
        // Each round begins an iterator 8 bytes further up in a map's value of 64 KiB.
        let spec = MapSpec::new("values", MapKind::Array, 4, 65_536, 1);
        let map = vm.create_map(&spec).unwrap();
        let mut insns = wide(1, 0).to_vec();
        insns.extend([insn(0x62, 10, 0, -4, 0)]);
        insns.extend(on_stack(2, -4));
        insns.extend([call(1), jump_if_zero(0, 9), copy(6, 0), mov(7, 8000)]);
        // loop:
        insns.extend([
            copy(1, 6),
            mov(2, 0),
            mov(3, 1),
            KFUNC,
            add(6, 8),
            add(7, -1),
        ]);
        insns.push(insn(0x55, 7, 0, -7, 0));
        insns.extend([mov(0, 0), exit()]);
        let program = load_calling(&vm, insns, &["bpf_iter_num_new"], &[map]);
        let error = run(&vm, &program).unwrap_err();
        assert!(error.contains("so many iterators"), "{error}");
    }
}

#[test]
fn a_record_behind_a_dynptr_is_discarded_when_the_run_ends_badly() {
    for vm in vms() {
        let ring = vm
            .create_map(&MapSpec::new("ring", MapKind::RingBuf, 0, 0, 4096))
            .unwrap();
        let mut insns = wide(1, 0).to_vec();
        insns.extend([mov(2, 2000), mov(3, 0)]);
        insns.extend(on_stack(4, -16));
        insns.push(call(198));
        insns.extend(fault());
        insns.push(exit());
        let program = load_calling(&vm, insns, &[], std::slice::from_ref(&ring));
        let mut worker = vm.worker().unwrap();
        for _ in 0..5 {
            assert!(worker.run(&program, &mut []).is_err());
            let records = ring.drain_ring(9, |_| true).unwrap();
            assert_eq!(
                records, 0,
                "room for two was left only because the last was given back"
            );
        }
    }
}

#[test]
fn a_dynptr_of_a_record_that_was_submitted_is_gone() {
    for vm in vms() {
        let ring = vm
            .create_map(&MapSpec::new("ring", MapKind::RingBuf, 0, 0, 4096))
            .unwrap();
        let mut insns = wide(1, 0).to_vec();
        insns.extend([mov(2, 8), mov(3, 0)]);
        insns.extend(on_stack(4, -16));
        insns.push(call(198));
        insns.extend(on_stack(1, -16));
        insns.extend([mov(2, 0), call(199)]);
        insns.extend(on_stack(1, -16));
        insns.extend([mov(2, 0), mov(3, 8), call(203), exit()]);
        let program = load_calling(&vm, insns, &[], std::slice::from_ref(&ring));
        let error = run(&vm, &program).unwrap_err();
        assert!(
            error.contains("gives back or uses this dynptr that it does not hold"),
            "{error}"
        );
        assert_eq!(ring.drain_ring(9, |_| true).unwrap(), 1);
    }
}

#[test]
fn a_user_ring_is_free_again_when_a_callback_ends_badly() {
    for vm in vms() {
        let ring = vm
            .create_map(&MapSpec::new("ring", MapKind::UserRingBuf, 0, 0, 4096))
            .unwrap();
        for record in [b"one", b"two"] {
            assert!(ring.send(record).unwrap());
        }
        let mut insns = wide(1, 0).to_vec();
        insns.extend(wide(2, 0));
        insns.extend([mov(3, 0), mov(4, 0), call(209), exit()]);
        let start = u32::try_from(insns.len()).unwrap();
        insns.extend(fault());
        insns.push(exit());
        let mut program = linked(insns, &[0, start], &[(0, 0)]);
        program.holes.push(Hole {
            at: InsnIndex(2),
            kind: HoleKind::Function(InsnIndex(start)),
        });
        let program = vm
            .load_program(&program, std::slice::from_ref(&ring))
            .unwrap();
        for _ in 0..2 {
            let error = run(&vm, &program).unwrap_err();
            assert!(
                error.contains("null pointer") || error.contains("not a pointer"),
                "{error}"
            );
        }
        assert_eq!(run(&vm, &program), Ok(0), "both records were taken");
    }
}

/// A program of `objects.bpf.c`, with maps of its own.
fn objects(vm: &Vm, name: &str) -> VmProgram {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/bpf/objects.bpf.o");
    let mut object = Object::parse(&std::fs::read(file).unwrap()).unwrap();
    for program in &mut object.programs {
        program.autoload = program.name == name;
    }
    let linked = link(&object, &vm.target()).unwrap();
    let maps: Vec<VmMap> = linked
        .maps
        .iter()
        .map(|spec| vm.create_map(spec).unwrap())
        .collect();
    let program = linked.programs.iter().find(|each| each.name == name);
    vm.load_program(program.unwrap(), &maps).unwrap()
}

#[test]
fn objects_that_a_program_forgets_are_dropped_when_it_ends() {
    for vm in vms() {
        let forgets = objects(&vm, "forgets");
        let mut worker = vm.worker().unwrap();
        // The vm has room for 16,384 of them.
        for _ in 0..20_000 {
            assert_eq!(worker.run(&forgets, &mut []).unwrap(), 1);
        }
    }
}

#[test]
fn an_object_can_be_given_away_once() {
    for vm in vms() {
        for name in ["drops_twice", "pushes_what_it_has_not"] {
            let program = objects(&vm, name);
            for _ in 0..3 {
                let error = run(&vm, &program).unwrap_err();
                let expected = "gives back or uses this object that it does not hold";
                assert!(error.contains(expected), "{name}: {error}");
            }
        }
    }
}

#[test]
fn faults_name_what_is_not_held() {
    let fault = FaultKind::NotHeld {
        what: "this dynptr",
    };
    assert_eq!(
        fault.to_string(),
        "gives back or uses this dynptr that it does not hold"
    );
}
