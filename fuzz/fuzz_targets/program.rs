//! Arbitrary instructions: refused, or run alike by the interpreter and by compiled code.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use twinbpf_object::insn::{INSN_BYTES, Insn};
use twinbpf_object::link::LinkedProgram;
use twinbpf_object::spec::ByteOrder;
use twinbpf_object::{Error, ProgramKind};
use twinbpf_vm::{Clock, Executor, Randomness, Vm, VmConfig, Worker};

thread_local! {
    static ENGINES: RefCell<[(Vm, Worker); 2]> = RefCell::new([engine(Executor::Interpreter), engine(Executor::Jit)]);
}

fuzz_target!(|bytes: &[u8]| {
    let slots = bytes.chunks_exact(INSN_BYTES).take(256);
    let insns: Vec<Insn> = slots
        .filter_map(|slot| slot.try_into().ok())
        .map(|slot| Insn::from_bytes(slot, ByteOrder::Little))
        .collect();
    let program = LinkedProgram::from_insns("fuzzed", ProgramKind::SocketFilter, insns);
    ENGINES.with_borrow_mut(|engines| {
        let [interpreted, compiled] = engines.each_mut().map(|engine| run(engine, &program));
        assert_eq!(interpreted, compiled);
    });
});

fn engine(executor: Executor) -> (Vm, Worker) {
    let config = VmConfig {
        executor,
        clock: Clock::Manual(1000),
        randomness: Randomness::Seed(1),
        budget_insns: 1000,
        ..VmConfig::default()
    };
    let vm = Vm::new(config).expect("the host has room for a window");
    let worker = vm.worker().expect("a new vm has a free slot");
    (vm, worker)
}

fn run((vm, worker): &mut (Vm, Worker), program: &LinkedProgram) -> (Result<u64, Error>, [u8; 64]) {
    let mut context = [0x5a; 64];
    let result = vm
        .load_program(program, &[])
        .and_then(|program| worker.run(&program, &mut context));
    (result, context)
}
