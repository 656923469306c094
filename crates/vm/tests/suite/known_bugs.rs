//! Mistakes that engines for BPF have published fixes for, one test each, on every executor.

use twinbpf_object::{ErrorKind, Insn};
use twinbpf_vm::Vm;

use crate::support::{call, call_local, exit, insn, jump, linked, load_program, mov, vms, wide};

/// What each executor answers.
fn on_all(insns: &[Insn]) -> Vec<Result<u64, ErrorKind>> {
    vms().iter().map(|vm| on(vm, insns)).collect()
}

fn on(vm: &Vm, insns: &[Insn]) -> Result<u64, ErrorKind> {
    let program = load_program(vm, insns.to_vec(), &[], &[]);
    let mut worker = vm.worker().unwrap();
    let outcome = worker.run(&program, &mut [0x5a; 16]);
    outcome.map_err(|error| error.kind())
}

fn all_answer(insns: &[Insn], value: u64) {
    let expected: Vec<Result<u64, ErrorKind>> = vms().iter().map(|_| Ok(value)).collect();
    assert_eq!(on_all(insns), expected, "{insns:?}");
}

fn all_fault(insns: &[Insn]) {
    for outcome in on_all(insns) {
        assert!(outcome.is_err(), "{outcome:x?}: {insns:?}");
    }
}

fn is_refused(insns: &[Insn], functions: &[u32]) {
    let vm = &vms()[0];
    let program = linked(insns.to_vec(), functions, &[]);
    assert!(vm.load_program(&program, &[]).is_err(), "{insns:?}");
}

#[test]
fn an_address_whose_end_overflows_is_outside() {
    for address in [
        u64::MAX,
        u64::MAX - 6,
        0xffff_ffff,
        0xffff_fff9,
        0x7fff_ffff_ffff_ffff,
    ] {
        let [low, high] = wide(2, address);
        for offset in [0, 1, 7, i16::MAX] {
            all_fault(&[low, high, insn(0x79, 0, 2, offset, 0), exit()]);
            all_fault(&[low, high, insn(0x7b, 2, 2, offset, 0), mov(0, 0), exit()]);
        }
    }
}

#[test]
fn an_access_is_checked_to_its_last_byte_not_only_its_first() {
    // Eight bytes of which the first is the last of the stack's.
    for offset in [-7, -4, -1] {
        let insns = [mov(0, 0), insn(0x7a, 10, 0, offset, 0), exit()];
        let checked = &vms()[1];
        assert!(on(checked, &insns).is_err(), "{offset}");
    }
}

#[test]
fn nothing_jumps_into_the_middle_of_a_wide_load() {
    let [low, high] = wide(0, 7);
    is_refused(&[jump(1), low, high, exit()], &[0]);
    is_refused(
        &[mov(0, 0), insn(0x15, 0, 0, 1, 0), low, high, exit()],
        &[0],
    );
    is_refused(&[call_local(1), low, high, exit()], &[0, 2]);
}

#[test]
fn no_program_falls_off_its_end_or_jumps_beyond_it() {
    is_refused(&[], &[0]);
    is_refused(&[mov(0, 0)], &[0]);
    is_refused(&[mov(0, 0), insn(0x15, 0, 0, -1, 0)], &[0]);
    is_refused(&[jump(1), exit()], &[0]);
    is_refused(&[jump(-2), exit()], &[0]);
    is_refused(&[mov(0, 0), exit(), wide(0, 0)[0]], &[0]);
}

#[test]
fn recursion_ends_with_an_error_and_not_with_the_hosts_stack() {
    let insns = vec![call_local(1), exit(), call_local(-1), exit()];
    for vm in vms() {
        let program = linked(insns.clone(), &[0, 2], &[]);
        let program = vm.load_program(&program, &[]).unwrap();
        let outcome = vm.worker().unwrap().run(&program, &mut [0; 16]);
        assert!(outcome.is_err(), "{outcome:?}");
    }
}

#[test]
fn calls_keep_the_registers_that_belong_to_the_caller() {
    // bpf_get_smp_processor_id, then a function that overwrites r6 to r9.
    let mut insns: Vec<Insn> = (6..10)
        .map(|register| mov(register, 1 << register))
        .collect();
    insns.extend([call(8), call_local(6), mov(0, 0)]);
    insns.extend((6..10).map(|register| insn(0x0f, 0, register, 0, 0)));
    insns.push(exit());
    let function = u32::try_from(insns.len()).unwrap();
    insns[5] = call_local(i32::try_from(function).unwrap() - 6);
    insns.extend((6..10).map(|register| mov(register, -1)));
    insns.extend([mov(0, 0), exit()]);
    for vm in vms() {
        let program = linked(insns.clone(), &[0, function], &[]);
        let program = vm.load_program(&program, &[]).unwrap();
        let answer = vm.worker().unwrap().run(&program, &mut [0; 16]).unwrap();
        assert_eq!(answer, 0b11_1100_0000);
    }
}

#[test]
fn an_exchange_without_fetch_is_refused_and_not_taken_for_another() {
    for imm in [0xe0, 0xf0, 0x02, 0x10, 0x100 | 0x20] {
        let exchange = insn(0xdb, 10, 2, -8, imm);
        is_refused(&[mov(2, 0), exchange, mov(0, 0), exit()], &[0]);
    }
}

#[test]
fn an_immediate_is_extended_with_its_sign_to_64_bits_and_cut_to_32() {
    all_answer(&[mov(0, -1), exit()], u64::MAX);
    all_answer(&[insn(0xb4, 0, 0, 0, -1), exit()], 0xffff_ffff);
    let greater = insn(0x25, 0, 0, 1, -1);
    let unsigned = [mov(0, -2), greater, mov(0, 7), exit()];
    all_answer(&unsigned, 7);
    let store = insn(0x7a, 10, 0, -8, -2);
    all_answer(&[store, insn(0x79, 0, 10, -8, 0), exit()], u64::MAX - 1);
}

#[test]
fn a_division_by_zero_is_0_a_remainder_what_was_divided_and_the_smallest_by_minus_1_itself() {
    let smallest = wide(0, 1 << 63);
    let with = |operation: Insn, divisor: i32| {
        let [low, high] = smallest;
        [low, high, mov(2, divisor), operation, exit()]
    };
    let (divide, signed_divide) = (insn(0x3f, 0, 2, 0, 0), insn(0x3f, 0, 2, 1, 0));
    let (modulo, signed_modulo) = (insn(0x9f, 0, 2, 0, 0), insn(0x9f, 0, 2, 1, 0));
    all_answer(&with(divide, 0), 0);
    all_answer(&with(signed_divide, 0), 0);
    all_answer(&with(modulo, 0), 1 << 63);
    all_answer(&with(signed_modulo, 0), 1 << 63);
    all_answer(&with(signed_divide, -1), 1 << 63);
    all_answer(&with(signed_modulo, -1), 0);
    // Of 32 bits: a remainder by zero keeps the lower half, and clears the upper.
    let word = insn(0x9c, 0, 2, 0, 0);
    all_answer(&[mov(0, -1), mov(2, 0), word, exit()], 0xffff_ffff);
}

#[test]
fn a_shift_by_too_much_takes_the_count_modulo_the_width() {
    for (opcode, count, expected) in [
        (0x6f, 64, 0x8000_0001),
        (0x6f, 65, 0x1_0000_0002),
        (0x7f, 127, 0),
        (0xcf, -1, 0),
        (0x6c, 32, 0x8000_0001),
        (0x7c, 33, 0x4000_0000),
        (0xcc, 63, 0xffff_ffff),
    ] {
        let [low, high] = wide(0, 0x8000_0001);
        let shift = insn(opcode, 0, 2, 0, 0);
        all_answer(&[low, high, mov(2, count), shift, exit()], expected);
    }
    // A verifier refuses a constant count like that; here there is none.
    all_answer(&[mov(0, 5), insn(0x67, 0, 0, 0, 65), exit()], 10);
    all_answer(&[mov(0, 5), insn(0x64, 0, 0, 0, 33), exit()], 10);
}
