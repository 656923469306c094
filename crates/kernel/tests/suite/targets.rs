//! Programs that attach to something of the kernel's: found by name in its types, or the nearest name is said.

use twinbpf_kernel::KernelProgram;
use twinbpf_object::abi::AttachKind;
use twinbpf_object::link::ProgramTarget;
use twinbpf_object::{Code, Errno, LinkedProgram, ProgramKind};
use twinbpf_trials::{Case, Need};

use crate::support::{exit, mov, program};

/// The cases of this file.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "targets::tracepoints_and_iterators_are_found_in_the_kernels_types",
            &[Need::Kernel, Need::KernelTypes],
            tracepoints_and_iterators_are_found_in_the_kernels_types,
        ),
        Case::new(
            "targets::a_name_the_kernel_lacks_is_answered_with_the_nearest",
            &[Need::Kernel, Need::KernelTypes],
            a_name_the_kernel_lacks_is_answered_with_the_nearest,
        ),
        Case::new(
            "targets::a_program_that_names_nothing_is_told_to",
            &[Need::Kernel],
            a_program_that_names_nothing_is_told_to,
        ),
        Case::new(
            "targets::functions_of_the_kernel_are_found_whether_or_not_it_lets_programs_in",
            &[Need::Kernel, Need::KernelTypes],
            functions_of_the_kernel_are_found_whether_or_not_it_lets_programs_in,
        ),
    ]
}

fn tracing(attach: &str, name: &str) -> LinkedProgram {
    let mut tracing = program(ProgramKind::Tracing, vec![mov(0, 0), exit()], Vec::new());
    tracing.attach = AttachKind::from_kernel_name(attach);
    tracing.target = ProgramTarget::AttachBtf {
        name: name.to_owned(),
        module: None,
    };
    tracing
}

fn load(program: &LinkedProgram) -> twinbpf_object::Result<KernelProgram> {
    KernelProgram::load(program, &[], Some("GPL"), None)
}

fn tracepoints_and_iterators_are_found_in_the_kernels_types() {
    load(&tracing("TRACE_RAW_TP", "btf_trace_sched_switch")).unwrap();
    load(&tracing("TRACE_ITER", "bpf_iter_task")).unwrap();
}

fn a_name_the_kernel_lacks_is_answered_with_the_nearest() {
    for (attach, name, message, near) in [
        (
            "TRACE_RAW_TP",
            "btf_trace_sched_swich",
            "the running kernel has no tracepoint `sched_swich` to attach to",
            "did you mean `sched_switch`?",
        ),
        (
            "TRACE_ITER",
            "bpf_iter_taks",
            "the running kernel has no iterator `taks` to attach to",
            "did you mean `task`?",
        ),
        (
            "TRACE_FENTRY",
            "vfs_raed",
            "the running kernel has no function `vfs_raed` to attach to",
            "did you mean `vfs_read`?",
        ),
    ] {
        let error = load(&tracing(attach, name)).unwrap_err();
        let diagnosis = error.diagnosis();
        assert_eq!(diagnosis.code, Code::PROGRAM_TARGET_MISSING, "{error}");
        assert_eq!(diagnosis.message, message);
        assert_eq!(diagnosis.help, [near]);
    }
}

fn a_program_that_names_nothing_is_told_to() {
    for kind in [ProgramKind::Tracing, ProgramKind::Lsm, ProgramKind::Ext] {
        let mut nowhere = program(kind, vec![mov(0, 0), exit()], Vec::new());
        nowhere.section = "?fentry".to_owned();
        let error = load(&nowhere).unwrap_err();
        assert_eq!(error.diagnosis().code, Code::PROGRAM_TARGET_UNNAMED);
        assert!(error.diagnosis().help[0].contains("SEC(\"fentry/name\")"));
    }
}

/// KERNEL: some 6.18 builds refuse every program that is called from a kernel function with EPERM, before its verifier.
fn functions_of_the_kernel_are_found_whether_or_not_it_lets_programs_in() {
    let Err(error) = load(&tracing("TRACE_FENTRY", "vfs_read")) else {
        return;
    };
    assert_eq!(error.diagnosis().errno, Some(Errno::EPERM), "{error}");
    assert!(
        error
            .diagnosis()
            .message
            .contains("called from the kernel's own functions"),
        "{error}"
    );
}
