//! What a program can do to its host: nothing. Every case runs on every executor.

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use rustix::process::{Signal, getpid, kill_process};
use twinbpf_object::abi::MapFlags;
use twinbpf_object::{Code, ErrorKind, MapKind, MapSpec};
use twinbpf_vm::{Executor, Guard, Vm, VmConfig};

use crate::support::{
    add, call, call_local, copy, exit, insn, jump, jump_if_zero, linked, load, load_program, mov,
    store, store_word, vms, wide,
};

fn run(vm: &Vm, insns: Vec<twinbpf_object::Insn>) -> Result<u64, twinbpf_object::Error> {
    let program = load_program(vm, insns, &[], &[]);
    vm.worker().unwrap().run(&program, &mut [0; 16])
}

#[test]
fn a_wild_pointer_is_an_error_value_that_names_the_instruction() {
    for vm in vms() {
        for address in [0u64, 8, 0xffff, 0xdead_beef, u64::MAX, 1 << 40, 0xff00_0008] {
            let [first, second] = wide(1, address);
            let error = run(&vm, vec![first, second, load(0, 1, 0), exit()]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Fault, "{address:#x}");
            assert_eq!(error.diagnosis().code, Code::RUN_FAULT);
            let (index, text) = error.diagnosis().place.insn.clone().unwrap();
            assert_eq!((index, text.as_str()), (2, "r0 = *(u64 *)(r1 +0)"));
        }
    }
}

#[test]
fn writing_the_frame_pointer_ends_the_run_and_nothing_else() {
    for vm in vms() {
        let not_reached = vec![mov(0, 3), jump(1), mov(10, 0), exit()];
        assert_eq!(run(&vm, not_reached).unwrap(), 3);
        let error = run(&vm, vec![mov(0, 3), mov(10, 0), exit()]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fault);
        assert!(
            error.to_string().contains("r10, the frame pointer"),
            "{error}"
        );
    }
}

#[test]
fn displacements_do_not_reach_beyond_the_window() {
    for vm in vms() {
        for (address, displacement) in [
            (0u64, -1i16),
            (0, i16::MIN),
            (0xffff_ffff, i16::MAX),
            (0xffff_fff8, 8),
        ] {
            let [first, second] = wide(1, address);
            assert!(run(&vm, vec![first, second, load(0, 1, displacement), exit()]).is_err());
        }
    }
}

#[test]
fn the_upper_half_of_a_pointer_does_not_count_in_the_sandbox() {
    let vm = Vm::new(VmConfig::default()).unwrap();
    let [first, second] = wide(2, 0xffff_ffff_0000_0000);
    let insns = vec![
        mov(3, 7),
        store(10, -8, 3),
        copy(1, 10),
        first,
        second,
        insn(0x4f, 1, 2, 0, 0),
        load(0, 1, -8),
        exit(),
    ];
    assert_eq!(run(&vm, insns).unwrap(), 7);
}

#[test]
fn an_endless_loop_ends_with_its_budget() {
    for vm in vms() {
        let error = run(&vm, vec![mov(0, 0), jump(-1), exit()]).unwrap_err();
        assert_eq!(error.diagnosis().code, Code::RUN_BUDGET);
        assert_eq!(error.kind(), ErrorKind::Limit);
    }
}

#[test]
fn another_thread_can_abort_a_run_and_the_worker_goes_on_working() {
    for executor in [Executor::Interpreter, Executor::Checked, Executor::Jit] {
        let vm = Vm::new(VmConfig {
            executor,
            budget_insns: u64::MAX,
            ..VmConfig::default()
        })
        .unwrap();
        let endless = load_program(&vm, vec![mov(0, 0), jump(-1), exit()], &[], &[]);
        let short = load_program(&vm, vec![mov(0, 42), exit()], &[], &[]);
        let mut worker = vm.worker().unwrap();
        let abort = worker.abort_handle();
        let aborter = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            abort.abort();
        });
        assert_eq!(
            worker.run(&endless, &mut []).unwrap_err().diagnosis().code,
            Code::RUN_ABORTED
        );
        aborter.join().unwrap();
        assert_eq!(worker.run(&short, &mut []).unwrap(), 42);
    }
}

#[test]
fn runaway_recursion_is_an_error_value() {
    for vm in vms() {
        let program = linked(
            vec![call_local(1), exit(), mov(0, 1), call_local(-2), exit()],
            &[0, 2],
            &[],
        );
        let program = vm.load_program(&program, &[]).unwrap();
        let error = vm.worker().unwrap().run(&program, &mut []).unwrap_err();
        assert!(error.to_string().contains("nested calls"), "{error}");
    }
}

#[test]
fn eight_frames_fit_and_callee_saved_registers_survive() {
    for vm in vms() {
        // The function calls itself with r1 - 1 until r1 is 0 and adds up r6 on the way back: 7 + 6 + ... + 1.
        let insns = vec![
            mov(1, 6),
            call_local(1),
            exit(),
            copy(6, 1),
            mov(0, 0),
            jump_if_zero(1, 3),
            add(1, -1),
            call_local(-5),
            insn(0x0f, 0, 6, 0, 0),
            exit(),
        ];
        let program = vm.load_program(&linked(insns, &[0, 3], &[]), &[]).unwrap();
        assert_eq!(vm.worker().unwrap().run(&program, &mut []).unwrap(), 21);
    }
}

#[test]
fn malformed_programs_are_refused_at_load() {
    let vm = Vm::new(VmConfig::default()).unwrap();
    let [first, second] = wide(1, 5);
    let cases: Vec<(Vec<twinbpf_object::Insn>, &str)> = vec![
        (vec![], "no instructions"),
        (vec![mov(0, 0)], "run off its end"),
        (vec![jump_if_zero(0, -1)], "run off its end"),
        (vec![jump(5), exit()], "jumps out"),
        (vec![jump(-3), exit()], "jumps out"),
        (
            vec![jump(1), first, second, exit()],
            "middle of a 64-bit load",
        ),
        (vec![call_local(7), exit()], "not the start of a function"),
        (vec![insn(0xff, 0, 0, 0, 0), exit()], "opcode"),
        (vec![call(9999), exit()], "helper number 9999"),
        (vec![first], "second"),
    ];
    for (insns, expected) in cases {
        let error = vm.load_program(&linked(insns, &[0], &[]), &[]).unwrap_err();
        assert!(
            error.to_string().contains(expected),
            "{error} does not contain {expected:?}"
        );
    }
}

#[test]
fn a_list_of_functions_that_does_not_fit_is_refused() {
    let vm = Vm::new(VmConfig::default()).unwrap();
    let [first, second] = wide(1, 5);
    let insns = vec![first, second, exit(), exit()];
    for (functions, expected) in [
        (&[0u32, 1][..], "run off its end"),
        (&[0, 0], "does not match"),
        (&[0, 3, 2], "does not match"),
        (&[0, 4], "does not match"),
    ] {
        let error = vm
            .load_program(&linked(insns.clone(), functions, &[]), &[])
            .unwrap_err();
        assert!(
            error.to_string().contains(expected),
            "{error} does not contain {expected:?}"
        );
    }
}

#[test]
fn a_map_of_another_vm_is_refused() {
    let spec = MapSpec::new("foreign", MapKind::Array, 4, 8, 1);
    let [ours, other] = [0, 1].map(|_| Vm::new(VmConfig::default()).unwrap());
    let foreign = other.create_map(&spec).unwrap();
    let error = ours
        .load_program(&linked(vec![mov(0, 0), exit()], &[0], &[]), &[foreign])
        .unwrap_err();
    assert!(error.to_string().contains("another vm"), "{error}");
}

#[test]
fn the_checked_interpreter_knows_exact_bounds_and_origins() {
    let vm = Vm::new(VmConfig {
        executor: Executor::Checked,
        ..VmConfig::default()
    })
    .unwrap();
    let message = |insns| run(&vm, insns).unwrap_err().to_string();
    assert!(
        message(vec![load(0, 10, 0), exit()]).contains("offset 512, 8 bytes, of a stack frame")
    );
    assert!(message(vec![load(0, 10, -520), exit()]).contains("offset -8"));
    assert!(
        message(vec![load(0, 1, 9), exit()])
            .contains("offset 9, 8 bytes, of the context, which has 16 bytes")
    );
    assert!(message(vec![copy(0, 3), exit()]).contains("r3 is read but nothing was written"));
    assert!(
        message(vec![
            copy(2, 10),
            insn(0x27, 2, 0, 0, 1),
            load(0, 2, -8),
            exit()
        ])
        .contains("a number")
    );
    // A pointer spilled to the stack stays a pointer; overwritten by a number it is none.
    assert!(
        run(
            &vm,
            vec![store(10, -8, 10), load(2, 10, -8), load(0, 2, -8), exit()]
        )
        .is_ok()
    );
    assert!(
        message(vec![
            store(10, -8, 10),
            mov(3, 5),
            store(10, -8, 3),
            load(2, 10, -8),
            load(0, 2, 0),
            exit()
        ])
        .contains("a number")
    );
}

#[test]
fn a_pointer_to_a_frame_that_returned_is_gone() {
    let vm = Vm::new(VmConfig {
        executor: Executor::Checked,
        ..VmConfig::default()
    })
    .unwrap();
    let insns = vec![call_local(2), load(0, 0, -8), exit(), copy(0, 10), exit()];
    let program = vm.load_program(&linked(insns, &[0, 3], &[]), &[]).unwrap();
    let error = vm.worker().unwrap().run(&program, &mut []).unwrap_err();
    assert!(error.to_string().contains("no longer exists"), "{error}");
}

#[test]
fn workers_take_slots_and_give_them_back() {
    let vm = Vm::new(VmConfig {
        cpu_slots: 2,
        ..VmConfig::default()
    })
    .unwrap();
    let (first, second) = (vm.worker().unwrap(), vm.worker().unwrap());
    assert_eq!((first.slot(), second.slot()), (0, 1));
    assert!(vm.worker().is_err());
    drop(first);
    assert_eq!(vm.worker().unwrap().slot(), 0);
}

#[test]
fn threads_fault_side_by_side_and_each_gets_its_own_address() {
    let vm = Vm::new(VmConfig {
        executor: Executor::Jit,
        cpu_slots: 4,
        ..VmConfig::default()
    })
    .unwrap();
    let threads: Vec<_> = (0..4u64)
        .map(|thread| {
            let vm = vm.clone();
            std::thread::spawn(move || {
                let mut worker = vm.worker().unwrap();
                for round in 0..500 {
                    let address = 0x100 * thread + round % 8;
                    let [first, second] = wide(1, address);
                    let insns = vec![first, second, load(0, 1, 16), exit()];
                    let program = load_program(&vm, insns, &[], &[]);
                    let error = worker.run(&program, &mut []).unwrap_err().to_string();
                    let expected = format!("{:#x}, 8 bytes", address + 16);
                    assert!(error.contains(&expected), "{error}: {expected}");
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn an_access_that_begins_on_a_mapped_page_and_ends_outside_names_its_first_byte() {
    for vm in vms() {
        let map = vm
            .create_map(&MapSpec::new("page", MapKind::Array, 4, 4096, 1))
            .unwrap();
        let [first, second] = wide(1, 0);
        let insns = vec![
            store_word(10, -4, 0),
            copy(2, 10),
            add(2, -4),
            first,
            second,
            call(1),
            jump_if_zero(0, 1),
            load(0, 0, 4092),
            exit(),
        ];
        let program = load_program(&vm, insns, &[map], &[(3, 0)]);
        let error = vm.worker().unwrap().run(&program, &mut []).unwrap_err();
        let (index, _) = error.diagnosis().place.insn.clone().unwrap();
        assert_eq!(index, 7, "{error}");
        assert!(error.to_string().contains("8 bytes"), "{error}");
    }
}

#[test]
fn values_that_programs_may_only_read_or_only_write_are_kept_that_way() {
    for vm in vms() {
        for (flag, access, is_allowed) in [
            (MapFlags::RDONLY_PROG, load(3, 0, 0), true),
            (MapFlags::RDONLY_PROG, store(0, 0, 10), false),
            (MapFlags::RDONLY_PROG, insn(0xdb, 0, 10, 0, 0), false),
            (MapFlags::WRONLY_PROG, load(3, 0, 0), false),
            (MapFlags::WRONLY_PROG, store(0, 0, 10), true),
        ] {
            let mut spec = MapSpec::new("half", MapKind::Array, 4, 8, 1);
            spec.flags = flag;
            let map = vm.create_map(&spec).unwrap();
            let [first, second] = wide(1, 0);
            let insns = vec![
                store_word(10, -4, 0),
                copy(2, 10),
                add(2, -4),
                first,
                second,
                call(1),
                access,
                mov(0, 0),
                exit(),
            ];
            let program = load_program(&vm, insns, &[map], &[(3, 0)]);
            let result = vm.worker().unwrap().run(&program, &mut []);
            assert_eq!(result.is_ok(), is_allowed, "{flag:?}: {result:?}");
        }
    }
}

#[test]
fn helpers_and_packet_loads_leave_nothing_in_the_argument_registers() {
    for (executor, guard) in [
        (Executor::Interpreter, Guard::Pages),
        (Executor::Jit, Guard::Pages),
        (Executor::Jit, Guard::Compare),
    ] {
        let config = VmConfig {
            executor,
            guard,
            ..VmConfig::default()
        };
        let vm = Vm::new(config).unwrap();
        let insns = vec![
            mov(1, 1),
            mov(2, 2),
            mov(3, 3),
            mov(4, 4),
            mov(5, 5),
            call(8),
            copy(0, 1),
            insn(0x4f, 0, 2, 0, 0),
            insn(0x4f, 0, 3, 0, 0),
            insn(0x4f, 0, 4, 0, 0),
            insn(0x4f, 0, 5, 0, 0),
            exit(),
        ];
        assert_eq!(run(&vm, insns).unwrap(), 0);
    }
}

/// Signals that are not faults of programs: a child process sends them to itself. The first goes to the standard library's handler,
/// which steps back, the next ends the process.
#[test]
fn signals_of_others_end_the_process_as_they_would_without_the_vm() {
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "sandbox::child_that_is_killed"])
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert_eq!(child.signal(), Some(Signal::SEGV.as_raw()), "{child}");
}

#[test]
#[ignore = "runs as the child of the test above"]
fn child_that_is_killed() {
    let vm = Vm::new(VmConfig::default()).unwrap();
    let [first, second] = wide(1, 0);
    run(&vm, vec![first, second, load(0, 1, 0), exit()]).unwrap_err();
    // Any thread may take a signal, at a time of its own; two that wait are one.
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        kill_process(getpid(), Signal::SEGV).unwrap();
        std::thread::yield_now();
    }
}
