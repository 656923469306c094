//! The trace of a log: which instructions were walked, in which order, on which path.
//!
//! The verifier walks one path to its end, then takes up the branch it left last:
//!
//! ```text
//! 4: if r0 != 0 goto 7    walked: goes on at 5, leaves 7 for later
//! 5: ...
//! from 4 to 7: ...        the steps before this are those before the jump at 4, not 5
//! ```
//!
//! So a step's predecessor is the step before it, except after such a line: there it is the last walk of that jump that has
//! not been taken up yet.

use std::collections::HashMap;

use twinbpf_object::InsnIndex;

use crate::line::Line;

/// Position of a step in its trace.
pub(crate) type StepIndex = usize;

/// One walked instruction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step<'a> {
    /// The instruction.
    pub(crate) insn: InsnIndex,
    /// Its text.
    pub(crate) text: &'a str,
    /// The states behind it, as printed.
    states: &'a str,
    /// How many calls deep.
    pub(crate) depth: u32,
    /// The source line it belongs to.
    pub(crate) source: Option<&'a str>,
    /// The step before it on its path.
    pub(crate) before: Option<StepIndex>,
}

/// A trace being read, and then complete.
#[derive(Debug, Default)]
pub(crate) struct Trace<'a> {
    steps: Vec<Step<'a>>,
    /// Walks of jumps and calls whose other branch has not been taken up, by instruction.
    open: HashMap<InsnIndex, Vec<StepIndex>>,
    /// What the next step follows.
    before: Option<StepIndex>,
    depth: u32,
    source: Option<&'a str>,
    /// Whether the states that follow belong to another function than the step before them.
    elsewhere: bool,
}

impl<'a> Trace<'a> {
    /// Takes in the next line.
    pub(crate) fn read(&mut self, line: Line<'a>) {
        match line {
            Line::Source(text) => self.source = Some(text),
            Line::Insn {
                index,
                text,
                states,
            } => self.step(index, text, states),
            Line::Branch { from, states } => self.branch(from, states),
            Line::States(states) => self.states(states),
            Line::Caller => self.elsewhere = false,
            Line::Callee => {
                self.depth = self.depth.saturating_add(1);
                self.elsewhere = true;
            }
            Line::Returned => self.elsewhere = true,
            Line::Processed(_) | Line::Remark | Line::Words(_) | Line::Empty => {}
        }
    }

    fn step(&mut self, insn: InsnIndex, text: &'a str, states: &'a str) {
        let at = self.steps.len();
        self.elsewhere = false;
        self.depth = frame_of(states).unwrap_or(self.depth);
        self.steps.push(Step {
            insn,
            text,
            states,
            depth: self.depth,
            source: self.source,
            before: self.before,
        });
        self.before = Some(at);
        if is_branch(text) {
            self.open.entry(insn).or_default().push(at);
        }
        if text == "exit" {
            self.depth = self.depth.saturating_sub(1);
        }
    }

    fn branch(&mut self, from: InsnIndex, states: &str) {
        self.elsewhere = false;
        self.before = self.open.get_mut(&from).and_then(Vec::pop);
        self.depth = frame_of(states).unwrap_or(0);
    }

    /// States on a line of their own belong to the step before them, and name the frame.
    fn states(&mut self, states: &'a str) {
        if self.elsewhere {
            return;
        }
        let step = self.before.and_then(|at| self.steps.get_mut(at));
        if let Some(step) = step.filter(|step| step.states.is_empty() && states.contains('=')) {
            step.states = states;
        }
        if let Some(frame) = frame_of(states) {
            self.depth = frame;
        }
    }

    /// All steps, in the order of the log.
    pub(crate) fn steps(&self) -> &[Step<'a>] {
        &self.steps
    }

    /// The last step.
    pub(crate) fn last(&self) -> Option<StepIndex> {
        self.steps.len().checked_sub(1)
    }

    /// A step by its position.
    pub(crate) fn get(&self, at: StepIndex) -> Option<&Step<'a>> {
        self.steps.get(at)
    }

    /// The steps before `at` on its path, backwards.
    pub(crate) fn path_before(
        &self,
        at: StepIndex,
    ) -> impl Iterator<Item = (StepIndex, &Step<'a>)> {
        let mut next = self.get(at).and_then(|step| step.before);
        std::iter::from_fn(move || {
            let at = next?;
            let step = self.get(at)?;
            // INVARIANT: a step follows an earlier one, so this ends.
            next = step.before.filter(|before| *before < at);
            Some((at, step))
        })
    }

    /// What a register held before the step `at`, as it was printed last on the path.
    pub(crate) fn value_before(&self, at: StepIndex, register: u8) -> Option<&'a str> {
        let depth = self.get(at)?.depth;
        self.path_before(at)
            .take(MOST_STEPS_BACK)
            .filter(|(_, step)| step.depth == depth || step.text == "exit")
            .find_map(|(_, step)| step.value(register))
    }
}

impl<'a> Step<'a> {
    /// What a register held after this step, if it was printed.
    pub(crate) fn value(&self, register: u8) -> Option<&'a str> {
        values(self.states).find_map(|(name, value)| (name == register).then_some(value))
    }

    /// All registers that were printed with this step.
    pub(crate) fn values(&self) -> impl Iterator<Item = (u8, &'a str)> {
        values(self.states)
    }
}

/// How far back a path is searched; longer ones are loops.
pub(crate) const MOST_STEPS_BACK: usize = 50_000;

/// Whether the verifier may leave a path here for later.
fn is_branch(text: &str) -> bool {
    text.starts_with("if ") || text.starts_with("may_goto") || text.starts_with("call ")
}

/// The number in `frame1: R0=..`.
fn frame_of(states: &str) -> Option<u32> {
    let (number, _) = states.trim_start().strip_prefix("frame")?.split_once(':')?;
    number.parse().ok()
}

/// The registers in `frame1: R0=scalar() R1_w=ctx(off=0) fp-8=0 refs=2`.
fn values(states: &str) -> impl Iterator<Item = (u8, &str)> {
    words(states).filter_map(|word| {
        let (name, value) = word.split_once('=')?;
        let digits = name.strip_prefix('R')?;
        let digits = digits.split('_').next()?;
        Some((digits.parse().ok()?, value))
    })
}

/// Words between blanks; blanks in parentheses do not count.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_u32;
    text.split(move |c: char| {
        match c {
            '(' => depth = depth.saturating_add(1),
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c.is_whitespace() && depth == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(text: &str) -> Trace<'_> {
        let mut trace = Trace::default();
        for line in text.lines() {
            trace.read(Line::of(line));
        }
        trace
    }

    #[test]
    fn a_branch_taken_up_again_follows_its_jump() {
        let trace = trace(
            "0: (bf) r6 = r1 ; R6=ctx()\n1: (15) if r1 == 0x0 goto pc+1 ; R1=1\n2: (b7) r0 = 1 ; R0=1\n\
             from 1 to 3: R1=0 R6=ctx()\n3: (b7) r0 = 2\n",
        );
        let last = trace.last().unwrap();
        let path: Vec<u32> = trace
            .path_before(last)
            .map(|(_, step)| step.insn.0)
            .collect();
        assert_eq!(path, [1, 0]);
        assert_eq!(trace.value_before(last, 6), Some("ctx()"));
        assert_eq!(trace.value_before(last, 0), None);
    }

    #[test]
    fn values_are_found_in_every_format() {
        let found: Vec<_> =
            values("frame1: R0=scalar(id=1, umin=2) R1_w=inv0 fp-8=m refs=2").collect();
        assert_eq!(found, [(0, "scalar(id=1, umin=2)"), (1, "inv0")]);
        let older = trace("0: (b7) r0 = 1\n R0_w=inv1 R10=fp0\n1: (95) exit\n");
        assert_eq!(older.value_before(1, 0), Some("inv1"));
    }

    #[test]
    fn calls_are_one_deeper() {
        let trace = trace(
            "0: (85) call pc+1\ncaller:\n R10=fp0\ncallee:\n frame1: R1=ctx() R10=fp0\n2: (b7) r0 = 0 ; frame1: R0=0\n\
             3: (95) exit\nreturning from callee:\n frame1: R0=0\nto caller at 1:\n R0=0 R10=fp0\n1: (95) exit\n",
        );
        let depths: Vec<u32> = trace.steps().iter().map(|step| step.depth).collect();
        assert_eq!(depths, [0, 1, 1, 0]);
    }

    #[test]
    fn a_jump_back_forever_ends() {
        let trace = trace("from 1 to 1: \n1: (05) goto pc-1\nfrom 1 to 1: \n1: (05) goto pc-1\n");
        assert!(trace.path_before(1).count() < 2);
    }
}
