//! Programs adapted to the running kernel's types: accepted, or refused with what is missing.

use twinbpf_kernel::{Kernel, KernelProgram};
use twinbpf_object::{Code, Linked, Object, link};
use twinbpf_trials::{Case, Need};

/// The cases of this file.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "core::adapted_programs_are_accepted",
            &[Need::Kernel, Need::KernelTypes],
            adapted_programs_are_accepted,
        ),
        Case::new(
            "core::a_missing_field_is_named_with_its_source_line",
            &[Need::Kernel, Need::KernelTypes],
            a_missing_field_is_named_with_its_source_line,
        ),
    ]
}

fn adapted(kernel: &Kernel) -> Linked {
    let bytes = include_bytes!("../../../../testdata/bpf/core_kernel.bpf.o");
    let object = Object::parse(bytes).unwrap();
    let target = kernel.target_for(&object.needs()).unwrap();
    link(&object, &target).unwrap()
}

fn adapted_programs_are_accepted() {
    let kernel = Kernel::open().unwrap();
    let linked = adapted(&kernel);
    for program in linked.programs.iter().filter(|program| program.autoload) {
        let loaded = KernelProgram::load(program, &[], Some("GPL"), None);
        assert!(loaded.is_ok(), "{}: {}", program.name, loaded.unwrap_err());
    }
}

fn a_missing_field_is_named_with_its_source_line() {
    let kernel = Kernel::open().unwrap();
    let linked = adapted(&kernel);
    let program = linked
        .programs
        .iter()
        .find(|program| program.name == "reads_imagined");
    let refusal = KernelProgram::load(program.unwrap(), &[], Some("GPL"), None);
    let refusal = refusal.unwrap_err();
    let diagnosis = refusal.diagnosis();
    assert_eq!(diagnosis.code, Code::CORE_MISSING, "{refusal}");
    assert!(
        diagnosis
            .message
            .contains("`struct task_struct___imagined.no_such_field` (access path 0:0)"),
        "{refusal}"
    );
    let source = diagnosis.place.source.as_ref().unwrap();
    // The compiler moved the instruction before the line that it computes the address for.
    assert_eq!(source.file, "./testdata/bpf/core_kernel.bpf.c");
    assert!(source.line > 100 && !source.text.is_empty(), "{source:?}");
    assert!(diagnosis.kernel_text.is_some());
}
