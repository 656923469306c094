//! Programs that somebody vouched for: the same answers, no budget, and guard pages all the same.

#![expect(
    unsafe_code,
    reason = "vouches for programs, which only a caller can do"
)]

use crate::support::insn;
use twinbpf_object::link::LinkedProgram;
use twinbpf_object::{Insn, ProgramKind};
use twinbpf_vm::{Executor, Guard, Vm, VmConfig, Vouched};

fn run(insns: Vec<Insn>, guard: Guard) -> twinbpf_object::Result<u64> {
    let config = VmConfig {
        guard,
        executor: Executor::Jit,
        budget_insns: 1000,
        ..VmConfig::default()
    };
    let vm = Vm::new(config)?;
    let linked = LinkedProgram::from_insns("vouched", ProgramKind::SocketFilter, insns);
    // SAFETY: the programs of these tests count down to 0, and address memory by the context's register, by numbers below
    // 2^32, and with comparing guards by the first alone.
    let program = vm.load_vouched(unsafe { Vouched::new(&linked) }, &[])?;
    let mut context = [3; 16];
    vm.worker()?.run(&program, &mut context)
}

#[test]
fn a_vouched_program_does_the_same_and_pays_for_no_loop() {
    // 4,000 times `r0 += *(u64 *)(r1 + 8)`, which is more than the budget.
    let insns = vec![
        insn(0xb7, 0, 0, 0, 0),
        insn(0xb7, 2, 0, 0, 4000),
        insn(0x79, 3, 1, 8, 0),
        insn(0x0f, 0, 3, 0, 0),
        insn(0x17, 2, 0, 0, 1),
        insn(0x55, 2, 0, -4, 0),
        insn(0x95, 0, 0, 0, 0),
    ];
    let each = u64::from_ne_bytes([3; 8]);
    for guard in [Guard::Pages, Guard::Compare] {
        let sum = run(insns.clone(), guard).ok();
        assert_eq!(sum, Some(each.wrapping_mul(4000)));
    }
}

#[test]
fn an_access_beside_all_memory_still_is_an_error_with_guards() {
    let insns = vec![
        insn(0xb7, 1, 0, 0, 0),
        insn(0x79, 0, 1, 8, 0),
        insn(0x95, 0, 0, 0, 0),
    ];
    let error = run(insns, Guard::Pages).err();
    assert!(error.is_some_and(|error| error.to_string().contains("0x8")));
}
