//! The places and values that belong to a refusal: where the wrong value came from, callers, loops, what was acquired.

use twinbpf_object::diagnosis::Related;
use twinbpf_object::{Code, Diagnosis, InsnIndex};

use crate::cycle;
use crate::detail::grouped;
use crate::log::{Reading, source_line};
use crate::origin::{self, Making};
use crate::trace::{MOST_STEPS_BACK, StepIndex, Trace};

/// Callers that are listed.
const MOST_CALLERS: usize = 3;

/// Adds what the trace shows. `words` are the verifier's.
pub(crate) fn add(diagnosis: Diagnosis, reading: &Reading<'_>, words: &str) -> Diagnosis {
    let trace = &reading.trace;
    let Some(last) = trace.last() else {
        return diagnosis;
    };
    let code = diagnosis.code;
    if is_loop(code) {
        return add_loop(diagnosis, trace);
    }
    let mut places = Places::default();
    places.add_callers(trace, last);
    if let Some(insn) = acquired_at(words) {
        places.add_insn(trace, insn, "acquired here and not released");
    }
    let mut diagnosis = diagnosis;
    if !is_about_the_end(code) {
        let is_refused = trace.get(last).map(|step| step.insn) == reading.log.insn;
        for register in registers(words).into_iter().filter(|_| is_refused) {
            diagnosis = add_register(diagnosis, (trace, last), register, &mut places);
        }
    }
    if code == Code::PACKET_BOUNDS {
        places.add_packet_check(trace, last);
    }
    diagnosis.related = places.in_order(trace);
    diagnosis
}

/// Whether the whole walk is the point, not one value.
fn is_loop(code: Code) -> bool {
    matches!(
        code,
        Code::TOO_MANY_INSNS | Code::TOO_COMPLEX | Code::ENDLESS_LOOP
    )
}

/// Whether the refusal is about what is still open, so that no register's origin explains it.
fn is_about_the_end(code: Code) -> bool {
    matches!(
        code,
        Code::NOT_RELEASED | Code::REGION_LEFT_OPEN | Code::LEAK_BY_CALL
    )
}

/// What a register holds and where that came from.
fn add_register(
    mut diagnosis: Diagnosis,
    (trace, last): (&Trace<'_>, StepIndex),
    register: u8,
    places: &mut Places,
) -> Diagnosis {
    if register == FRAME_POINTER {
        return diagnosis;
    }
    let origin = origin::origin(trace, last, register);
    let value = trace.value_before(last, register);
    let lost_at = value.and_then(|value| lost_at(&diagnosis, trace, (last, register), value));
    match (lost_at, value) {
        (Some(at), _) => {
            diagnosis.message =
                format!("r{register} is used, and what it pointed to is no longer valid");
            places.add(at, format!("this call ends what r{register} points to"));
        }
        // What is proven of a packet changes at comparisons that print other registers only; the words have it.
        (None, Some(value)) if diagnosis.code != Code::PACKET_BOUNDS => {
            diagnosis = diagnosis.fact(format!("r{register}"), value);
        }
        (None, _) => {}
    }
    if let Some((at, making)) = origin.made {
        let label = match making {
            Making::Returned => format!("r{register} is what this call returns"),
            Making::Lost => "this call leaves nothing in r1 to r5".to_owned(),
            Making::Loaded | Making::Written => format!("r{register} comes from here"),
        };
        places.add(at, label);
    }
    if let Some(at) = origin.changed {
        places.add(at, format!("r{register} is changed here"));
    }
    let is_argument =
        origin.made.is_none() && trace.get(last).is_some_and(|step| step.before.is_some());
    let is_memory = diagnosis.message.contains("memory that may be null");
    if diagnosis.code == Code::NULL_NOT_TESTED && is_argument && is_memory {
        diagnosis = argument_of_function(diagnosis);
    }
    diagnosis
}

/// The call that made a pointer a plain number: the last one after the pointer was printed, if a pointer is what it was.
fn lost_at(
    diagnosis: &Diagnosis,
    trace: &Trace<'_>,
    (last, register): (StepIndex, u8),
    value: &str,
) -> Option<StepIndex> {
    let was_number = value.starts_with("scalar")
        || value.starts_with("inv")
        || value.starts_with(|c: char| c.is_ascii_digit() || c == '-');
    if diagnosis.code != Code::NOT_A_POINTER || was_number {
        return None;
    }
    trace
        .path_before(last)
        .take(MOST_STEPS_BACK)
        .take_while(|(_, step)| step.value(register).is_none())
        .find(|(_, step)| step.text.starts_with("call "))
        .map(|(at, _)| at)
}

/// KERNEL: 6.x verify a global function on its own, and its pointer arguments are `mem_or_null` there.
fn argument_of_function(mut diagnosis: Diagnosis) -> Diagnosis {
    diagnosis.code = Code::NULL_IN_FUNCTION;
    if let Some(row) = diagnosis.code.explanation() {
        diagnosis.category = row.category;
        row.cause.clone_into(&mut diagnosis.message);
        diagnosis.help = vec![row.help.to_owned()];
    }
    diagnosis
}

const FRAME_POINTER: u8 = 10;

/// The loop that the trace ends in, as two places and what changes.
fn add_loop(mut diagnosis: Diagnosis, trace: &Trace<'_>) -> Diagnosis {
    let Some(cycle) = cycle::cycle(trace) else {
        return diagnosis;
    };
    let mut places = Places::default();
    places.add(cycle.first, "the loop starts here".to_owned());
    places.add(cycle.last, "and goes back from here".to_owned());
    let rounds = i64::try_from(cycle.rounds).unwrap_or(i64::MAX);
    diagnosis = diagnosis.fact("rounds in this log", grouped(rounds));
    let changes: Vec<String> = cycle
        .changes
        .iter()
        .map(|(register, before, after)| format!("r{register} from {before} to {after}"))
        .collect();
    if !changes.is_empty() {
        diagnosis = diagnosis.fact("changes in a round", changes.join(", "));
    }
    diagnosis.related = places.into_related(trace);
    diagnosis
}

/// Places, by their step.
#[derive(Default)]
struct Places(Vec<(StepIndex, String)>);

impl Places {
    fn add(&mut self, at: StepIndex, label: String) {
        if !self.0.contains(&(at, label.clone())) {
            self.0.push((at, label));
        }
    }

    fn add_insn(&mut self, trace: &Trace<'_>, insn: InsnIndex, label: &str) {
        let at = trace.steps().iter().rposition(|step| step.insn == insn);
        if let Some(at) = at {
            self.add(at, label.to_owned());
        }
    }

    /// The calls that lead to a step.
    fn add_callers(&mut self, trace: &Trace<'_>, last: StepIndex) {
        let Some(step) = trace.get(last) else {
            return;
        };
        let mut depth = step.depth;
        let mut callers = 0;
        for (at, step) in trace.path_before(last).take(MOST_STEPS_BACK) {
            if step.depth < depth && callers < MOST_CALLERS {
                depth = step.depth;
                callers += 1;
                self.add(at, "called from here".to_owned());
            }
        }
    }

    /// The last comparison with the packet's end.
    fn add_packet_check(&mut self, trace: &Trace<'_>, last: StepIndex) {
        let check = trace
            .path_before(last)
            .take(MOST_STEPS_BACK)
            .find(|(_, step)| {
                step.text.starts_with("if ")
                    && step.values().any(|(_, value)| value.starts_with("pkt_end"))
            });
        if let Some((at, _)) = check {
            self.add(at, "the last comparison with the packet's end".to_owned());
        }
    }

    /// As they ran.
    fn in_order(mut self, trace: &Trace<'_>) -> Vec<Related> {
        self.0.sort_by_key(|(at, _)| *at);
        self.into_related(trace)
    }

    fn into_related(self, trace: &Trace<'_>) -> Vec<Related> {
        let related = |(at, label): (StepIndex, String)| {
            let step = trace.get(at)?;
            Some(Related {
                label,
                insn: Some((step.insn.0, step.text.to_owned())),
                source: step
                    .source
                    .map(source_line)
                    .filter(|source| source.line != 0),
            })
        };
        self.0.into_iter().filter_map(related).collect()
    }
}

/// Registers that are followed.
const MOST_REGISTERS: usize = 2;

/// The registers that the words name: `R1`.
fn registers(words: &str) -> Vec<u8> {
    let mut found = Vec::new();
    for word in words.split(|c: char| !c.is_ascii_alphanumeric()) {
        let register = word
            .strip_prefix('R')
            .and_then(|digits| digits.parse().ok());
        if let Some(register) = register.filter(|register| !found.contains(register)) {
            found.push(register);
        }
    }
    found.truncate(MOST_REGISTERS);
    found
}

/// The instruction in `Unreleased reference id=2 alloc_insn=6`.
fn acquired_at(words: &str) -> Option<InsnIndex> {
    let (_, rest) = words.split_once("alloc_insn=")?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok().map(InsnIndex)
}
