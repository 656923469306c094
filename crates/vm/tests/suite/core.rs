//! Programs that CO-RE adapted: what they read, and where they end if the target lacks what they need.

use std::sync::Arc;

use crate::support::vms;
use twinbpf_object::btf::Btf;
use twinbpf_object::spec::Object;
use twinbpf_object::{Code, Linked, Result, link};
use twinbpf_vm::Vm;

fn types() -> Arc<Btf> {
    let bytes = include_bytes!("../../../../testdata/bpf/core_target_moved.bpf.o");
    Object::parse(bytes).unwrap().btf.unwrap()
}

fn adapted(vm: &Vm) -> Linked {
    let bytes = include_bytes!("../../../../testdata/bpf/core.bpf.o");
    let mut target = vm.target();
    target.btf = Some(types());
    link(&Object::parse(bytes).unwrap(), &target).unwrap()
}

fn run(vm: &Vm, linked: &Linked, name: &str) -> Result<u64> {
    let program = linked.programs.iter().find(|each| each.name == name);
    let program = vm.load_program(program.unwrap(), &[])?;
    let mut context: Vec<u8> = (0..100).collect();
    vm.worker()?.run(&program, &mut context)
}

#[test]
fn adapted_loads_read_where_the_target_has_the_field() {
    for vm in vms() {
        let linked = adapted(&vm);
        let moved = u64::from_ne_bytes([31, 32, 33, 34, 35, 36, 37, 38]);
        assert_eq!(run(&vm, &linked, "load_moved").unwrap(), moved);
        let shrunk = u32::from_ne_bytes([39, 40, 41, 42]);
        assert_eq!(run(&vm, &linked, "load_shrunk").unwrap(), u64::from(shrunk));
        assert_eq!(run(&vm, &linked, "name_value").unwrap(), 7);
    }
}

#[test]
fn a_program_that_asks_first_runs_and_one_that_does_not_ends_with_type_field_and_line() {
    for vm in vms() {
        let linked = adapted(&vm);
        assert_eq!(run(&vm, &linked, "guarded").unwrap(), 7);
        let error = run(&vm, &linked, "load_gone").unwrap_err();
        let diagnosis = error.diagnosis();
        assert_eq!(diagnosis.code, Code::CORE_MISSING);
        assert!(diagnosis.message.contains("`struct outer.gone`"), "{error}");
        assert_eq!(diagnosis.place.insn.as_ref().unwrap().0, 0);
        let source = diagnosis.place.source.as_ref().unwrap();
        assert_eq!(source.text.trim(), "return outer->gone;");
    }
}

#[test]
fn types_are_only_fetched_where_a_program_asks_for_them() {
    let vm = &vms()[0];
    let parse = |bytes| Object::parse(bytes).unwrap().needs();
    let plain = parse(include_bytes!("../../../../testdata/bpf/hash_v3.bpf.o"));
    assert!(vm.target_for(&plain).btf.is_none());
    let asking = parse(include_bytes!("../../../../testdata/bpf/core_kernel.bpf.o"));
    let has_types = std::path::Path::new("/sys/kernel/btf/vmlinux").exists();
    assert_eq!(vm.target_for(&asking).btf.is_some(), has_types);
}
