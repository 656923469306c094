//! The table of helper prototypes against the running kernel: who may call what, and under which license.

use twinbpf_kernel::KernelProgram;
use twinbpf_object::abi::{HELPERS, HelperPrototype};
use twinbpf_object::{Insn, LinkedProgram, ProgramKind};
use twinbpf_trials::{Case, Need};

/// Kinds that load without anything to attach to; together they tell most sets of helpers apart.
const KINDS: [ProgramKind; 6] = [
    ProgramKind::SocketFilter,
    ProgramKind::SchedCls,
    ProgramKind::Xdp,
    ProgramKind::CgroupSkb,
    ProgramKind::Kprobe,
    ProgramKind::Syscall,
];

/// What depends on how a kernel was built and locked down: writing to processes, overriding results.
const CONFIGURED: [i32; 2] = [36, 58];

/// The cases of this file.
pub(crate) fn cases() -> Vec<Case> {
    KINDS
        .into_iter()
        .map(|kind| {
            let name = format!("helpers::prototypes_hold_for_{kind}");
            Case::new(&name, &[Need::Kernel, Need::Linux618], move || {
                prototypes_hold(kind)
            })
        })
        .collect()
}

fn prototypes_hold(kind: ProgramKind) {
    for helper in HELPERS
        .iter()
        .filter(|helper| !CONFIGURED.contains(&helper.number))
    {
        let said = refusal(kind, helper, "GPL");
        let is_refused = ["cannot use helper", "unknown func"]
            .iter()
            .any(|words| said.contains(words));
        assert_eq!(!is_refused, helper.is_for(kind), "{}: {said}", helper.name);
        if !is_refused {
            let said = refusal(kind, helper, "Proprietary");
            let is_gpl_only = said.contains("GPL");
            assert_eq!(is_gpl_only, helper.is_gpl_only, "{}: {said}", helper.name);
        }
    }
}

/// What the verifier says about a program that calls the helper with whatever is in the registers.
fn refusal(kind: ProgramKind, helper: &HelperPrototype, license: &str) -> String {
    let insn = |opcode, imm| Insn {
        opcode,
        dst: 0,
        src: 0,
        offset: 0,
        imm,
    };
    let insns = vec![insn(0x85, helper.number), insn(0xb7, 0), insn(0x95, 0)];
    let mut program = LinkedProgram::from_insns("probe", kind, insns);
    program.is_sleepable = kind == ProgramKind::Syscall;
    match KernelProgram::load(&program, &[], Some(license), None) {
        Ok(_) => String::new(),
        Err(error) => {
            let text = error.diagnosis().kernel_text.as_deref();
            text.unwrap_or_default().to_owned()
        }
    }
}
