//! Why a BPF program was refused.
//!
//! The kernel answers with a text for kernel developers. [`log`] takes it apart: the reason, the instruction, the
//! source line, the number of steps. [`reason`] is the table from the text's shapes to our stable codes, with the cause in
//! one sentence and what to write instead. [`explain`] puts both into a diagnosis. Everything here is pure.
#![forbid(unsafe_code)]

pub mod log;
pub mod reason;

use twinbpf_object::insn::Operation;
use twinbpf_object::link::LinkedProgram;
use twinbpf_object::{Code, Diagnosis, Error, Insn, InsnIndex};

pub use log::VerifierLog;

/// Completes the report of a refused program: code, category, cause, instruction, source line, help.
///
/// The error's message is the verifier's reason ([`VerifierLog::reason`]), its `kernel_text` the log with the trace; `insns`
/// are the instructions as they were loaded. Errors other than `V000` with a log pass unchanged.
#[must_use]
pub fn explain(error: Error, insns: &[Insn]) -> Error {
    if error.diagnosis().code != Code::VERIFIER_REJECTED {
        return error;
    }
    let Some(log) = error
        .diagnosis()
        .kernel_text
        .as_deref()
        .map(VerifierLog::read)
    else {
        return error;
    };
    error.map(|mut diagnosis| {
        let at = log.insn.map(|at| (at.0, text_of(insns, at)));
        let text = at.as_ref().map_or("", |(_, text)| text);
        if let Some(reason) = reason::find(&diagnosis.message, text) {
            let words = std::mem::replace(&mut diagnosis.message, reason.cause.to_owned());
            diagnosis.code = reason.code;
            diagnosis.category = Some(reason.category);
            diagnosis = diagnosis.fact("verifier", words).help(reason.help);
        }
        if let Some(steps) = log.processed {
            diagnosis = diagnosis.fact("instructions verified", steps);
        }
        diagnosis.place.insn = at;
        match log.source {
            Some(source) if source.line == 0 => diagnosis.fact("source", source.text),
            Some(source) => {
                diagnosis.place.source = Some(source);
                diagnosis
            }
            None => diagnosis,
        }
    })
}

/// Completes a report with what the linked program knows about the instruction: its source line where the log has none, and
/// what CO-RE missed if the verifier met an instruction that the target has nothing for.
#[must_use]
pub fn locate(error: Error, program: &LinkedProgram) -> Error {
    let Some(at) = error.diagnosis().place.insn.as_ref() else {
        return error;
    };
    let at = InsnIndex(at.0);
    let reason = program.unavailable_reason(at);
    error.map(|mut diagnosis| {
        if diagnosis.place.source.is_none() {
            diagnosis.place.source = program.source_line(at);
        }
        match reason {
            Some(reason) => unavailable(diagnosis, reason),
            None => diagnosis,
        }
    })
}

/// The verifier only saw a call of a helper that does not exist.
fn unavailable(mut diagnosis: Diagnosis, reason: &str) -> Diagnosis {
    let row = Code::CORE_MISSING.row();
    (diagnosis.code, diagnosis.kind) = (row.code, row.kind);
    diagnosis.category = None;
    diagnosis.message = reason.to_owned();
    diagnosis.help = vec![CORE_HELP.to_owned()];
    diagnosis
}

/// What to do where the target lacks something.
pub const CORE_HELP: &str = "ask first with bpf_core_field_exists(), bpf_core_type_exists() or bpf_core_enum_value_exists()";

/// The instruction as text, or what is wrong with its bytes.
fn text_of(insns: &[Insn], at: InsnIndex) -> String {
    match insns.get(at.get()..).map(Operation::decode) {
        Some(Ok(decoded)) => decoded.operation.to_string(),
        Some(Err(error)) => error.to_string(),
        None => "outside the program".into(),
    }
}

#[cfg(test)]
mod tests {
    use twinbpf_object::ErrorKind;
    use twinbpf_object::diagnosis::Category;
    use twinbpf_object::insn::opcode;

    use super::*;

    fn rejected(text: &str) -> Error {
        let reason = VerifierLog::read(text).reason.unwrap_or_default();
        let mut diagnosis = Diagnosis::new(Code::VERIFIER_REJECTED, reason);
        diagnosis.kernel_text = Some(text.to_owned());
        diagnosis.into()
    }

    #[test]
    fn a_known_reason_gets_code_cause_instruction_and_help_and_the_log_stays_whole() {
        let load = Insn {
            opcode: opcode::LDX | opcode::MEM | opcode::DW,
            dst: 1,
            ..Insn::default()
        };
        let insns = [
            Insn {
                opcode: 0xb7,
                ..Insn::default()
            },
            load,
        ];
        let text = "0: (b7) r0 = 0                        ; R0=0\n1: (79) r1 = *(u64 *)(r0 +0)\n\
                    R0 invalid mem access 'map_value_or_null'\nprocessed 6 insns (limit 1000000)\n";
        let error = explain(rejected(text), &insns);
        let diagnosis = error.diagnosis();
        assert_eq!(diagnosis.code.as_str(), "V001");
        assert_eq!(diagnosis.category, Some(Category::RegisterType));
        assert_eq!(error.kind(), ErrorKind::Rejected);
        assert_eq!(
            diagnosis.place.insn,
            Some((1, "r1 = *(u64 *)(r0 +0)".into()))
        );
        assert_eq!(diagnosis.kernel_text.as_deref(), Some(text));
        assert_eq!(diagnosis.help.len(), 1);
    }

    #[test]
    fn an_unknown_reason_stays_v000_with_the_verifiers_words() {
        let error = explain(
            rejected("something nobody has seen\nprocessed 1 insns\n"),
            &[],
        );
        assert_eq!(error.diagnosis().code, Code::VERIFIER_REJECTED);
        assert_eq!(error.diagnosis().message, "something nobody has seen");
    }

    #[test]
    fn a_register_that_is_missing_at_the_end_is_the_return_value() {
        let exit = Insn {
            opcode: opcode::JMP | opcode::EXIT,
            ..Insn::default()
        };
        let error = explain(rejected("0: (95) exit\nR0 !read_ok\n"), &[exit]);
        assert_eq!(error.diagnosis().code, Code::NO_RETURN_VALUE);
    }

    #[test]
    fn other_errors_and_empty_logs_pass_unchanged() {
        let other: Error = Diagnosis::new(Code::PROGRAM_PERMISSION, "no").into();
        assert_eq!(explain(other.clone(), &[]), other);
        let silent: Error = Diagnosis::new(Code::VERIFIER_REJECTED, "no log").into();
        assert_eq!(explain(silent.clone(), &[]), silent);
    }

    #[test]
    fn an_index_beyond_the_program_does_not_panic() {
        let error = explain(rejected("4294967295: (95) exit\nR0 !read_ok\n"), &[]);
        assert_eq!(
            error.diagnosis().place.insn,
            Some((u32::MAX, "outside the program".into()))
        );
    }

    #[test]
    fn a_missing_field_takes_the_place_of_the_call_the_verifier_did_not_know() {
        let parse = |bytes| twinbpf_object::Object::parse(bytes).unwrap();
        let object = parse(include_bytes!("../../../testdata/bpf/core.bpf.o"));
        let types = parse(include_bytes!(
            "../../../testdata/bpf/core_target_moved.bpf.o"
        ));
        let target = twinbpf_object::Target {
            btf: types.btf,
            ..twinbpf_object::Target::new(1, 4096, 0)
        };
        let linked = twinbpf_object::link(&object, &target).unwrap();
        let program = linked.programs.iter().find(|each| each.name == "load_gone");
        let program = program.unwrap();
        let refused = |at: u32| {
            let text =
                format!("{at}: (85) call unknown#195896080\ninvalid func unknown#195896080\n");
            locate(explain(rejected(&text), &program.insns), program)
        };
        let error = refused(0);
        let diagnosis = error.diagnosis();
        assert_eq!(diagnosis.code, Code::CORE_MISSING);
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(diagnosis.message.contains("`struct outer.gone`"), "{error}");
        let source = diagnosis.place.source.as_ref().unwrap();
        assert_eq!(source.text.trim(), "return outer->gone;");
        assert!(diagnosis.kernel_text.is_some());
        // Any other instruction keeps the verifier's reason.
        assert_ne!(refused(1).diagnosis().code, Code::CORE_MISSING);
    }
}
