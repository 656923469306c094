//! The loop that a trace ends in.
//!
//! A trace that ran into a limit ends with the rounds of some loop. The jump back that was walked most often is its end; what lies
//! between its target and itself is its body.

use std::collections::BTreeMap;

use twinbpf_object::InsnIndex;

use crate::trace::{Step, StepIndex, Trace};

/// A loop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cycle {
    /// A walk of its first instruction.
    pub(crate) first: StepIndex,
    /// The walk of the jump back that led there.
    pub(crate) last: StepIndex,
    /// How often the jump back occurs in the part of the log that is there.
    pub(crate) rounds: usize,
    /// Registers that differ from round to round, with two values.
    pub(crate) changes: Vec<(u8, String, String)>,
}

/// Steps that are looked at: enough for some rounds of a long loop.
const MOST_STEPS: usize = 200_000;

/// Registers that are listed.
const MOST_CHANGES: usize = 3;

/// Finds the loop that the trace ends in.
pub(crate) fn cycle(trace: &Trace<'_>) -> Option<Cycle> {
    let steps = trace.steps();
    let from = steps.len().saturating_sub(MOST_STEPS);
    let mut jumps: BTreeMap<(InsnIndex, InsnIndex), (usize, StepIndex)> = BTreeMap::new();
    for (at, step) in steps.iter().enumerate().skip(from) {
        let Some(before) = step.before.and_then(|before| trace.get(before)) else {
            continue;
        };
        if step.insn <= before.insn && step.depth == before.depth && !is_call(before) {
            let entry = jumps.entry((step.insn, before.insn)).or_insert((0, at));
            *entry = (entry.0 + 1, at);
        }
    }
    let ((first_insn, last_insn), (rounds, at)) = jumps
        .into_iter()
        .max_by_key(|(_, (rounds, at))| (*rounds, *at))?;
    let last = steps.get(at)?.before?;
    let changes = changes(trace, at, first_insn, last_insn);
    Some(Cycle {
        first: at,
        last,
        rounds,
        changes,
    })
}

fn is_call(step: &Step<'_>) -> bool {
    step.text.starts_with("call ") || step.text == "exit"
}

/// What the last two rounds before `at` printed differently.
fn changes(
    trace: &Trace<'_>,
    at: StepIndex,
    first: InsnIndex,
    last: InsnIndex,
) -> Vec<(u8, String, String)> {
    let mut rounds: [BTreeMap<u8, &str>; 2] = Default::default();
    let mut round = 0;
    for (_, step) in trace.path_before(at).take(MOST_STEPS) {
        if step.insn >= first && step.insn <= last {
            for (register, value) in step.values() {
                rounds[round].entry(register).or_insert(value);
            }
        }
        if step.insn == first {
            round += 1;
            if round == rounds.len() {
                break;
            }
        }
    }
    let [late, early] = rounds;
    early
        .into_iter()
        .filter_map(|(register, before)| {
            let after = late.get(&register)?;
            let is_change = *after != before && !before.contains('(') && !after.contains('(');
            is_change.then(|| (register, before.to_owned(), (*after).to_owned()))
        })
        .take(MOST_CHANGES)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::Line;

    fn read(text: &str) -> Trace<'_> {
        let mut trace = Trace::default();
        for line in text.lines() {
            trace.read(Line::of(line));
        }
        trace
    }

    #[test]
    fn the_jump_back_walked_most_often_ends_the_loop() {
        let mut text = String::from("0: (b7) r6 = 0 ; R6=0\n");
        for round in 1..50 {
            text.push_str(&format!(
                "1: (07) r6 += 1 ; R6={round}\n2: (85) call 5 ; R0=scalar()\n3: (55) if r0 != 0x0 goto pc-3 1: R0=scalar()\n"
            ));
        }
        let trace = read(&text);
        let cycle = cycle(&trace).unwrap();
        let insn = |at: StepIndex| trace.get(at).unwrap().insn.0;
        assert_eq!((insn(cycle.first), insn(cycle.last)), (1, 3));
        assert_eq!(cycle.rounds, 48);
        assert_eq!(cycle.changes, [(6, "47".to_owned(), "48".to_owned())]);
    }

    #[test]
    fn a_straight_program_has_no_loop() {
        assert_eq!(cycle(&read("0: (b7) r0 = 0\n1: (95) exit\n")), None);
        assert_eq!(cycle(&read("")), None);
    }
}
