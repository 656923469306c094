//! CO-RE: instructions adapted to the types of the machine that will run them.
//!
//! The compiler writes the answers of its own machine into the code (the offset of a field, the size of a type, the number of
//! an enumerator) and notes for each how it came by it: a root type and a path from there. Here each question is asked again.
//!
//! ```text
//! root, path --subject.rs--> what is meant, in the object's types
//!            --candidates.rs--> types of the target with the root's name, flavour cut off
//!            --fields.rs, compatible.rs, shape.rs--> the same thing in each candidate, or not
//!            --answer.rs--> the number, the same for every candidate, or it is ambiguous
//!            --patch.rs--> the instruction
//! minimal.rs                   which part of the target's types would have been enough
//! ```
//!
//! Questions about existence are answered with 0 where there is nothing. Every other question without an answer makes its
//! instruction *unavailable*: it becomes a call that no engine has, so that a program which never gets there (because it asked
//! for existence first) runs, and any other is refused, with the reason kept here.
//!
//! Source: the kernel's `Documentation/bpf/btf.rst` and `llvm_reloc.rst`, the comments of its UAPI header about `enum
//! bpf_core_relo_kind`, and answers of libbpf 1.x observed for the same objects.

mod answer;
mod candidates;
mod compatible;
mod fields;
mod minimal;
mod patch;
mod report;
mod shape;
mod subject;

pub use minimal::minimal_types;
pub use patch::UNAVAILABLE_HELPER;
pub(crate) use patch::make_unavailable;
pub use report::{ExplainedRelocation, Resolution, explain};

use crate::btf::{Btf, RelocationKind, TypeId};
use crate::diagnosis::{Code, Diagnosis, Error, Result};
use crate::insn::{Insn, InsnIndex};
use crate::spec::{FunctionIndex, Object, TypeRelocation};
use crate::target::Target;

use answer::Answer;
use candidates::{Candidate, Candidates, Searched};
pub(crate) use compatible::Announced;
use subject::Subject;

/// Whether a function or variable of the target is of the object's type: the same skeleton, names ignored.
///
/// # Errors
///
/// One sentence, if the types contradict themselves or are nested too deeply.
pub(crate) fn are_compatible(
    (local, here): (&Btf, TypeId),
    (target, there): (&Btf, TypeId),
    announced: Announced,
) -> Result<bool, String> {
    compatible::types(local, here, target, there, announced)
}

/// What became of every relocation of an object.
#[derive(Debug, Default)]
pub(crate) struct Adapted {
    /// By function, then by relocation, as in the object.
    functions: Vec<Vec<Outcome>>,
}

/// What one instruction gets.
#[derive(Debug)]
enum Outcome {
    /// The number for the compiler's machine and the one for the target.
    Known { before: Answer, after: Answer },
    /// The target has nothing of the kind; the reason in one sentence.
    Missing(String),
    /// The relocation makes no sense, or nobody can say.
    Failed(Error),
}

/// An instruction that the target has nothing for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unavailable {
    /// The instruction.
    pub at: InsnIndex,
    /// The kind of thing that is missing.
    pub code: Code,
    /// What is missing: type, field and access path, in one sentence.
    pub reason: String,
}

impl Adapted {
    /// Answers every relocation of an object, in the object's order.
    pub(crate) fn new(object: &Object, target: &Target) -> Self {
        let Some(local) = object.btf.as_deref() else {
            return Self::default();
        };
        let relocations = || {
            object
                .functions
                .iter()
                .flat_map(|each| &each.type_relocations)
        };
        let searched = match (&target.core_btf, relocations().next()) {
            (_, None) => Searched::default(),
            (Some(types), _) => Searched::new(Some(types), &[]),
            (None, _) => Searched::new(target.btf.as_deref(), &target.modules),
        };
        let roots = relocations().map(|each| each.root);
        let mut asking = Asking::new(local, searched, roots);
        let functions = object
            .functions
            .iter()
            .map(|function| {
                let relocations = function.type_relocations.iter();
                relocations.map(|each| asking.outcome(each)).collect()
            })
            .collect();
        Self { functions }
    }

    /// Adapts the instructions of one function, and gives those that the target has nothing for.
    ///
    /// # Errors
    ///
    /// The first relocation that makes no sense, is ambiguous or does not fit its instruction.
    pub(crate) fn apply(
        &self,
        function: FunctionIndex,
        relocations: &[TypeRelocation],
        insns: &mut [Insn],
    ) -> Result<Vec<Unavailable>, (InsnIndex, Error)> {
        let mut unavailable = Vec::new();
        let outcomes = self.functions.get(function.0).map_or(&[][..], |all| all);
        for (position, relocation) in relocations.iter().enumerate() {
            let at = relocation.at;
            let failed = |error: Error| (at, error);
            // A list that was edited after parsing has no outcome here without types to ask.
            let outcome = outcomes
                .get(position)
                .ok_or_else(|| failed(malformed("a CO-RE relocation without types".to_owned())))?;
            let slots = insns.get_mut(at.get()..).unwrap_or_default();
            let reason = match outcome {
                Outcome::Failed(error) => return Err(failed(error.clone())),
                Outcome::Missing(reason) => Some(reason.clone()),
                Outcome::Known { before, after } => patch::patch(slots, before, after)
                    .map_err(|message| failed(malformed(message)))?,
            };
            if let Some(reason) = reason {
                make_unavailable(slots);
                let code = Code::CORE_MISSING;
                unavailable.push(Unavailable { at, code, reason });
            }
        }
        Ok(unavailable)
    }
}

/// The two sides, while questions are asked.
struct Asking<'a> {
    local: &'a Btf,
    has_target: bool,
    candidates: Candidates<'a>,
}

impl<'a> Asking<'a> {
    /// The roots are looked for at once, because that is one walk over the target's types.
    fn new(local: &'a Btf, searched: Searched<'a>, roots: impl Iterator<Item = TypeId>) -> Self {
        Self {
            local,
            has_target: searched.has_types(),
            candidates: Candidates::find(local, &searched, roots),
        }
    }

    fn outcome(&mut self, relocation: &TypeRelocation) -> Outcome {
        self.answer(relocation).unwrap_or_else(Outcome::Failed)
    }

    fn answer(&mut self, relocation: &TypeRelocation) -> Result<Outcome> {
        let local = self.local;
        let kind = relocation.kind;
        let subject = self.subject(relocation)?;
        let before = answer::of(kind, local, Some(&subject))
            .map_err(|message| malformed(format!("{}: {message}", shown(local, relocation))))?;
        let Some(before) = before else {
            return Err(malformed(format!(
                "{} has no answer",
                shown(local, relocation)
            )));
        };
        if kind == RelocationKind::TypeIdLocal {
            let after = before;
            return Ok(Outcome::Known { before, after });
        }
        if !self.has_target {
            return Err(no_types(&subject.shown(local)));
        }
        let found = self.matching(relocation, &subject)?;
        let mut after: Option<(TypeId, Option<Answer>)> = None;
        for (candidate, there) in &found {
            let next = answer::of(kind, candidate.types, Some(there))
                .map_err(|message| malformed(format!("in the target, {message}")))?;
            match &after {
                Some((first, known)) if !same(*known, next) => {
                    return Err(ambiguous(&subject.shown(local), *first, candidate.id));
                }
                Some(_) => {}
                None => after = Some((candidate.id, next)),
            }
        }
        let answered = match after {
            Some((_, answered)) => answered,
            None => answer::of(kind, local, None).unwrap_or_default(),
        };
        Ok(match answered {
            Some(after) => Outcome::Known { before, after },
            None => Outcome::Missing(self.missing(relocation, &subject)),
        })
    }

    /// What a relocation is about, in the object's types.
    fn subject(&self, relocation: &TypeRelocation) -> Result<Subject> {
        let local = self.local;
        Subject::read(local, relocation)
            .map_err(|message| malformed(format!("{}: {message}", shown(local, relocation))))
    }

    /// The same thing in every candidate that has it. From then on only those are asked about this root: a field that one
    /// of two types of the same name lacks tells them apart.
    fn matching(
        &mut self,
        relocation: &TypeRelocation,
        subject: &Subject,
    ) -> Result<Vec<(Candidate<'a>, Subject)>> {
        let mut found = Vec::new();
        for candidate in self.candidates.of(relocation.root) {
            let there = subject
                .find(self.local, candidate.types, candidate.id, relocation.kind)
                .map_err(|message| malformed(format!("in the target, {message}")))?;
            found.extend(there.map(|there| (*candidate, there)));
        }
        if !found.is_empty() {
            let kept = found.iter().map(|(candidate, _)| *candidate).collect();
            self.candidates.narrow(relocation.root, kept);
        }
        Ok(found)
    }

    fn missing(&self, relocation: &TypeRelocation, subject: &Subject) -> String {
        let what = subject.shown(self.local);
        let path = &relocation.path;
        if self.candidates.of(relocation.root).is_empty() {
            return format!("the target has no type for {what} (access path {path})");
        }
        format!(
            "the target's type has no {what} (access path {path}): the {} is not known",
            relocation.kind.words()
        )
    }
}

/// Whether two candidates lead to the same instruction.
fn same(one: Option<Answer>, other: Option<Answer>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.value == other.value && one.bytes == other.bytes,
        (None, None) => true,
        _ => false,
    }
}

fn shown(local: &Btf, relocation: &TypeRelocation) -> String {
    format!(
        "{}, type `{}` {}, access path `{}`",
        relocation.kind.words(),
        local.name_of(relocation.root),
        relocation.root,
        relocation.path
    )
}

fn malformed(message: String) -> Error {
    Diagnosis::new(Code::CORE_MALFORMED, message).into()
}

fn ambiguous(what: &str, one: TypeId, other: TypeId) -> Error {
    let message =
        format!("the target has several types for {what} that disagree: {one} and {other}");
    Diagnosis::new(Code::CORE_AMBIGUOUS, message)
        .help("name a field in the program that only the right one has")
        .into()
}

fn no_types(what: &str) -> Error {
    Diagnosis::new(
        Code::TARGET_TYPES_MISSING,
        format!("{what} depends on the target's types (CO-RE), which are not known"),
    )
    .help("the kernel gives its types in /sys/kernel/btf/vmlinux if it was built with CONFIG_DEBUG_INFO_BTF")
    .into()
}
