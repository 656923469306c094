//! Why a BPF program was refused.
//!
//! The kernel answers with a text for kernel developers. [`log`] takes it apart: the reason, the instruction, the
//! source line, the number of steps, and the path that led there. [`reason`] is the table from the text's shapes to our stable codes.
//! [`explain`] makes a diagnosis of both: the cause with its numbers, the registers involved, where the wrong value came from,
//! the lines of a loop. [`pasted`] finds logs in texts from elsewhere. Everything here is pure.
#![forbid(unsafe_code)]

mod cycle;
mod detail;
mod line;
pub mod log;
mod origin;
pub mod pasted;
mod places;
pub mod reason;
mod structured;
mod trace;

use twinbpf_object::insn::Operation;
use twinbpf_object::link::LinkedProgram;
use twinbpf_object::{Code, Diagnosis, Error, Insn, InsnIndex};

pub use log::VerifierLog;
pub use pasted::PastedLog;
pub use structured::Structured;

use log::Reading;

/// Completes the report of a refused program: code, category, cause, instruction, source lines, help.
///
/// The error's message is the verifier's reason ([`VerifierLog::reason`]), its `kernel_text` the log with the trace; `insns`
/// are the instructions as they were loaded. Errors other than `V000` with a log pass unchanged.
#[must_use]
pub fn explain(error: Error, insns: &[Insn]) -> Error {
    if error.diagnosis().code != Code::VERIFIER_REJECTED {
        return error;
    }
    let Some(text) = error.diagnosis().kernel_text.clone() else {
        return error;
    };
    let reading = Reading::of(&text);
    error.map(|diagnosis| complete(diagnosis, &reading, insns))
}

/// Makes a report of a log alone, whose program is not at hand.
///
/// `None` if the text is no verifier's log: it has neither instructions nor statistics.
pub fn diagnose(log: &PastedLog) -> Option<Error> {
    let reading = Reading::of(&log.text);
    if reading.log.insn.is_none() && reading.log.processed.is_none() {
        return None;
    }
    let reason = reading.log.reason.clone()?;
    let mut diagnosis = Diagnosis::new(Code::VERIFIER_REJECTED, reason);
    diagnosis.place.program.clone_from(&log.program);
    diagnosis.errno = log.errno;
    diagnosis.kernel_text = Some(log.text.clone());
    Some(complete(diagnosis, &reading, &[]).into())
}

fn complete(mut diagnosis: Diagnosis, reading: &Reading<'_>, insns: &[Insn]) -> Diagnosis {
    let log = &reading.log;
    let at = log.insn.map(|at| (at.0, text_of(insns, at, reading)));
    let text = at.as_ref().map_or("", |(_, text)| text).to_owned();
    let words = diagnosis.message.clone();
    if let Some(reason) = reason::find(&words, &text) {
        diagnosis.code = reason.code;
        diagnosis.category = reason.category();
        diagnosis.message =
            detail::detail(reason.code, &words).unwrap_or_else(|| reason.cause().to_owned());
        diagnosis = diagnosis.help(reason.help());
    }
    diagnosis = add_structured(diagnosis, log);
    if let Some(missing) = detail::missing_of_libbpf(&words) {
        diagnosis = unavailable(diagnosis, Code::CORE_MISSING, &missing);
    }
    diagnosis.place.insn = at;
    diagnosis = places::add(diagnosis, reading, &words);
    if diagnosis.code != Code::VERIFIER_REJECTED {
        diagnosis = diagnosis.fact("verifier", words);
    }
    if let Some(steps) = log.processed {
        diagnosis = diagnosis.fact("instructions verified", steps);
    }
    match log.source.clone() {
        Some(source) if source.line == 0 => diagnosis.fact("source", source.text),
        Some(source) => {
            diagnosis.place.source = Some(source);
            diagnosis
        }
        None => diagnosis,
    }
}

/// What a newer kernel says in plain words: the whole report if we know none, else a fact and a help more.
fn add_structured(mut diagnosis: Diagnosis, log: &VerifierLog) -> Diagnosis {
    let Some(structured) = &log.structured else {
        return diagnosis;
    };
    diagnosis.category = diagnosis.category.or(structured.category);
    if !structured.reason.is_empty() {
        diagnosis = diagnosis.fact("kernel's reason", &structured.reason);
    }
    if !structured.suggestion.is_empty() && diagnosis.help.is_empty() {
        diagnosis = diagnosis.help(structured.suggestion.clone());
    }
    diagnosis
}

/// Completes a report with what the linked program knows: source lines with their columns, and
/// what CO-RE missed if the verifier met an instruction that the target has nothing for.
#[must_use]
pub fn locate(error: Error, program: &LinkedProgram) -> Error {
    let Some(at) = error.diagnosis().place.insn.as_ref() else {
        return error;
    };
    let at = InsnIndex(at.0);
    let missing = program.unavailable_at(at);
    error.map(|mut diagnosis| {
        if let Some(source) = program.source_line(at) {
            diagnosis.place.source = Some(source);
        }
        for related in &mut diagnosis.related {
            let insn = related.insn.as_ref().map(|(at, _)| InsnIndex(*at));
            if let Some(source) = insn.and_then(|at| program.source_line(at)) {
                related.source = Some(source);
            }
        }
        match missing {
            Some(missing) => unavailable(diagnosis, missing.code, &missing.reason),
            None => diagnosis,
        }
    })
}

/// The verifier only saw a call of a helper that does not exist.
fn unavailable(mut diagnosis: Diagnosis, code: Code, reason: &str) -> Diagnosis {
    let row = code.row();
    (diagnosis.code, diagnosis.kind) = (row.code, row.kind);
    diagnosis.category = None;
    diagnosis.message = reason.to_owned();
    if let Some((_, text)) = &mut diagnosis.place.insn {
        let what = match code {
            Code::CORE_MISSING => "a place that CO-RE found nothing for",
            _ => "a call of what the kernel does not have",
        };
        what.clone_into(text);
    }
    diagnosis.help = vec![missing_help(code).to_owned()];
    diagnosis
}

/// What to do where the target lacks something that this code is about.
pub fn missing_help(code: Code) -> &'static str {
    match code {
        Code::CORE_MISSING => CORE_HELP,
        _ => KSYM_HELP,
    }
}

const KSYM_HELP: &str = "ask first with bpf_ksym_exists()";
const CORE_HELP: &str = "ask first with bpf_core_field_exists(), bpf_core_type_exists() or bpf_core_enum_value_exists()";

/// The instruction as text: from the program if it is at hand, else from the log.
fn text_of(insns: &[Insn], at: InsnIndex, reading: &Reading<'_>) -> String {
    match insns.get(at.get()..).map(Operation::decode) {
        Some(Ok(decoded)) => return decoded.operation.to_string(),
        Some(Err(error)) if !insns.is_empty() => return error.to_string(),
        _ => {}
    }
    let last = reading
        .trace
        .last()
        .and_then(|last| reading.trace.get(last));
    match last.filter(|step| step.insn == at) {
        Some(step) => step.text.to_owned(),
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
    fn an_index_beyond_the_program_has_the_text_of_the_log() {
        let error = explain(rejected("4294967295: (95) exit\nR0 !read_ok\n"), &[]);
        assert_eq!(
            error.diagnosis().place.insn,
            Some((u32::MAX, "exit".into()))
        );
    }

    /// The diagnosis of a log alone.
    fn diagnosed(text: &str) -> Diagnosis {
        let log = PastedLog {
            text: text.to_owned(),
            ..PastedLog::default()
        };
        diagnose(&log).unwrap().diagnosis().clone()
    }

    fn labels(diagnosis: &Diagnosis) -> Vec<(&str, u32)> {
        let related = diagnosis.related.iter();
        related
            .map(|related| (related.label.as_str(), related.insn.as_ref().unwrap().0))
            .collect()
    }

    #[test]
    fn the_origin_of_a_value_is_a_place_with_its_line() {
        let diagnosis = diagnosed(
            "; value = bpf_map_lookup_elem(&counts, &key); @ null.bpf.c:6\n\
             5: (85) call bpf_map_lookup_elem#1    ; R0=map_value_or_null(id=1,ks=4,vs=8)\n\
             ; return *value + 1; @ null.bpf.c:7\n6: (79) r1 = *(u64 *)(r0 +0)\n\
             R0 invalid mem access 'map_value_or_null'\nprocessed 6 insns (limit 1000000)\n",
        );
        assert_eq!(
            diagnosis.message,
            "r0 is a map value that may be null and used without a null test"
        );
        assert_eq!(labels(&diagnosis), [("r0 is what this call returns", 5)]);
        assert_eq!(diagnosis.related[0].source.as_ref().unwrap().line, 6);
        assert_eq!(diagnosis.place.source.unwrap().line, 7);
        assert!(diagnosis.facts.iter().any(|fact| fact.label == "r0"
            && fact.value == "map_value_or_null(id=1,ks=4,vs=8)"));
    }

    #[test]
    fn a_refusal_in_a_function_names_the_calls_that_led_there() {
        let log = include_str!("../../../fuzz/seeds/verifier_log/calls.log");
        let logs = pasted::find(log);
        let error = diagnose(&logs[0]).unwrap();
        let diagnosis = error.diagnosis();
        assert_eq!(
            labels(diagnosis),
            [
                ("called from here", 0),
                ("called from here", 3),
                ("r0 comes from here", 5)
            ]
        );
        let lines: Vec<u32> = diagnosis
            .related
            .iter()
            .map(|related| related.source.as_ref().unwrap().line)
            .collect();
        assert_eq!(lines, [9, 5, 5]);
        assert_eq!(diagnosis.place.program.as_deref(), Some("main"));
    }

    #[test]
    fn every_format_of_the_kernel_gives_the_same_code() {
        let code = |log: &str| diagnose(&pasted::find(log)[0]).unwrap().diagnosis().code;
        let of_6_18 = include_str!("../../../fuzz/seeds/verifier_log/null.log");
        let of_5_10 = include_str!("../../../fuzz/seeds/verifier_log/older.log");
        assert_eq!(code(of_6_18), Code::NULL_NOT_TESTED);
        assert_eq!(code(of_5_10), Code::NULL_NOT_TESTED);
        let of_7_3 = include_str!("../../../fuzz/seeds/verifier_log/structured.log");
        assert_eq!(code(of_7_3), Code::NO_RETURN_VALUE);
    }

    #[test]
    fn a_pointer_that_a_call_ended_names_the_call() {
        let diagnosis = diagnosed(
            "18: (55) if r0 != 0x0 goto pc+3 22: R0=sock(ref_obj_id=2) R6=sock(ref_obj_id=2) refs=2\n\
             22: (bf) r7 = r0        ; R7=sock(ref_obj_id=2) refs=2\n23: (bf) r1 = r6   ; R1=sock(ref_obj_id=2)\n\
             24: (85) call bpf_sk_release#86       ; R0=scalar()\n25: (61) r0 = *(u32 *)(r7 +8)\n\
             R7 invalid mem access 'scalar'\nprocessed 26 insns (limit 1000000)\n",
        );
        assert_eq!(diagnosis.code, Code::NOT_A_POINTER);
        assert!(labels(&diagnosis).contains(&("this call ends what r7 points to", 24)));
        assert!(diagnosis.message.contains("no longer valid"));
    }

    #[test]
    fn a_loop_is_two_places_and_what_changes() {
        let mut text = String::from("; for (;;) @ a.c:4\n");
        for round in 0..20 {
            text.push_str(&format!(
                "1: (07) r6 += 1 ; R6={round}\n2: (05) goto pc-2\n"
            ));
        }
        text.push_str("BPF program is too large. Processed 1000001 insn\nprocessed 1000001 insns (limit 1000000)\n");
        let diagnosis = diagnosed(&text);
        assert_eq!(diagnosis.code, Code::TOO_MANY_INSNS);
        assert_eq!(
            labels(&diagnosis),
            [("the loop starts here", 1), ("and goes back from here", 2)]
        );
        assert!(diagnosis.render().lines().count() <= 24);
        assert!(
            diagnosis
                .facts
                .iter()
                .any(|fact| fact.value == "r6 from 17 to 18")
        );
    }

    #[test]
    fn an_unknown_reason_of_a_newer_kernel_has_its_category_and_suggestion() {
        let diagnosis = diagnosed(
            "0: (95) exit\nsomething nobody has seen\n\nVerification failed: Policy: Not today\n\nReason:\n  It is late.\n\n\
             Suggestion:\n  Come back tomorrow.\n\nprocessed 1 insns (limit 1000000)\n",
        );
        assert_eq!(diagnosis.code, Code::VERIFIER_REJECTED);
        assert_eq!(diagnosis.category, Some(Category::Policy));
        assert_eq!(diagnosis.help, ["Come back tomorrow."]);
        assert!(
            diagnosis
                .facts
                .iter()
                .any(|fact| fact.value == "It is late.")
        );
    }

    #[test]
    fn a_text_without_a_log_has_no_diagnosis() {
        for text in [
            "",
            "hello",
            "R0 !read_ok",
            "processed 3 insns (limit 1)",
            // A headline without words.
            "0: (95) exit\nVerification failed: \nAt:\n",
        ] {
            let log = PastedLog {
                text: text.to_owned(),
                ..PastedLog::default()
            };
            assert_eq!(diagnose(&log), None, "{text}");
        }
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
