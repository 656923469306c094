//! Relocations for a reader: what each asks, what the compiler answered, and what the target answers.

use crate::btf::RelocationKind;
use crate::diagnosis::Error;
use crate::insn::InsnIndex;
use crate::spec::{FunctionIndex, Object};
use crate::target::Target;

use super::subject::Subject;
use super::{Adapted, Outcome, answer};

/// One relocation, explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedRelocation {
    /// The function it is in.
    pub function: FunctionIndex,
    /// The instruction, from the start of the function.
    pub at: InsnIndex,
    /// What is asked.
    pub kind: RelocationKind,
    /// What it is asked about, by name: `struct task_struct.pid`; or why it makes no sense.
    pub subject: Result<String, String>,
    /// Positions from the root on, as the object has them.
    pub path: String,
    /// The compiler's answer for its own machine.
    pub compiled: Option<u64>,
    /// The target's answer, if a target was given.
    pub resolved: Option<Resolution>,
}

/// What a target answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// The number that goes into the instruction.
    Known(u64),
    /// The target has nothing of the kind; one sentence.
    Missing(String),
    /// The question makes no sense, or has several answers.
    Failed(Error),
}

/// Explains every CO-RE relocation of an object, in its order; with a target, also what it answers.
pub fn explain(object: &Object, target: Option<&Target>) -> Vec<ExplainedRelocation> {
    let Some(local) = object.btf.as_deref() else {
        return Vec::new();
    };
    let adapted = target.map(|target| Adapted::new(object, target));
    let mut explained = Vec::new();
    for (index, function) in object.functions.iter().enumerate() {
        for (position, relocation) in function.type_relocations.iter().enumerate() {
            let subject = Subject::read(local, relocation);
            let compiled = match &subject {
                Ok(subject) => answer::of(relocation.kind, local, Some(subject)),
                Err(reason) => Err(reason.clone()),
            };
            let outcome = adapted
                .as_ref()
                .and_then(|adapted| adapted.functions.get(index)?.get(position));
            explained.push(ExplainedRelocation {
                function: FunctionIndex(index),
                at: relocation.at,
                kind: relocation.kind,
                subject: subject.map(|subject| subject.shown(local).replace('`', "")),
                path: relocation.path.clone(),
                compiled: compiled.ok().flatten().map(|answer| answer.value),
                resolved: outcome.map(Resolution::of),
            });
        }
    }
    explained
}

impl Resolution {
    fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Known { after, .. } => Self::Known(after.value),
            Outcome::Missing(reason) => Self::Missing(reason.clone()),
            Outcome::Failed(error) => Self::Failed(error.clone()),
        }
    }
}
