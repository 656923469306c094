//! One program judged: verdict, line, code.

use twinbpf::diagnosis::SourceLine;
use twinbpf::{Code, Diagnosis, InsnIndex, LinkedProgram, ProgramSpec};

use super::attempt::Outcome;
use super::declared::{Declared, Verdict};
use super::expected;

/// What became of one program.
#[derive(Debug, Clone)]
pub(super) struct Judged {
    pub(super) file: String,
    pub(super) program: String,
    pub(super) declared: Option<Verdict>,
    /// What the verifier said; `None` if it was not asked.
    pub(super) verdict: Option<Verdict>,
    /// Why it was not asked.
    pub(super) not_asked: Option<String>,
    /// The code of a refusal.
    pub(super) code: Option<Code>,
    /// Whether the line is the one where the trace stops; `None` if it stops at none.
    pub(super) line: Option<Agreement>,
    /// Whether the code fits the declared words; `None` if they say too little.
    pub(super) fits: Option<Agreement>,
    /// The verifier's words.
    pub(super) words: String,
}

/// Whether two things agree, and both of them if not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Agreement {
    Yes,
    No { wanted: String, found: String },
}

impl Judged {
    pub(super) fn new(
        file: &str,
        program: &ProgramSpec,
        declared: &Declared,
        outcome: &Outcome,
    ) -> Self {
        let mut judged = Self {
            file: file.to_owned(),
            program: program.name.clone(),
            declared: declared.verdict.filter(|_| !declared.is_elsewhere),
            verdict: None,
            not_asked: None,
            code: None,
            line: None,
            fits: None,
            words: String::new(),
        };
        match outcome {
            Outcome::Accepted => judged.verdict = Some(Verdict::Accepted),
            Outcome::NotAsked(why) => judged.not_asked = Some(why.clone()),
            Outcome::Refused(error, linked) => {
                judged.refused(error.diagnosis(), declared);
                judged.line = line_agreement(error.diagnosis(), linked.as_deref());
            }
        }
        judged
    }

    fn refused(&mut self, diagnosis: &Diagnosis, declared: &Declared) {
        self.verdict = Some(Verdict::Refused);
        self.code = Some(diagnosis.code);
        let fact = diagnosis.facts.iter().find(|fact| fact.label == "verifier");
        self.words = fact.map_or_else(|| diagnosis.message.clone(), |fact| fact.value.clone());
        if self.declared == Some(Verdict::Refused) {
            let log = diagnosis.kernel_text.as_deref().unwrap_or_default();
            self.fits = code_agreement(diagnosis.code, &declared.messages, log);
        }
    }
}

/// The last words that assert something decide: tests often declare lines of the trace before them. If this kernel says something
/// else than the tests' own, nothing is asserted.
fn code_agreement(code: Code, messages: &[String], log: &str) -> Option<Agreement> {
    let (words, wanted) = messages
        .iter()
        .rev()
        .find_map(|words| Some((words, expected::codes_for(words)?)))?;
    if !log.lines().any(|line| is_like(line, words)) {
        return None;
    }
    if wanted.contains(&code.as_str()) {
        return Some(Agreement::Yes);
    }
    Some(Agreement::No {
        wanted: wanted.join(" or "),
        found: code.to_string(),
    })
}

/// Whether a line holds the words; `{{..}}` in them stands for anything.
fn is_like(line: &str, words: &str) -> bool {
    let mut rest = line;
    for (at, part) in words.split("{{").enumerate() {
        let fixed = match at {
            0 => part,
            _ => part.split_once("}}").map_or(part, |(_, fixed)| fixed),
        };
        match rest.split_once(fixed) {
            Some((_, behind)) => rest = behind,
            None => return false,
        }
    }
    true
}

/// The kernel prints a source line before the first instruction of it, so the last one printed is that of the last instruction.
/// Where it has no lines, the object's own say which one is meant.
fn line_agreement(diagnosis: &Diagnosis, linked: Option<&LinkedProgram>) -> Option<Agreement> {
    let log = diagnosis.kernel_text.as_deref()?;
    let (insn, printed) = stop_of(log)?;
    let own = || {
        linked?
            .source_line(InsnIndex(insn))
            .map(|source| shown(&source))
    };
    let wanted = printed.or_else(own)?;
    let found = diagnosis.place.source.as_ref();
    let found = found.map_or_else(|| "no line".to_owned(), shown);
    Some(if wanted == found {
        Agreement::Yes
    } else {
        Agreement::No { wanted, found }
    })
}

/// Logs name the file without its folders.
fn shown(source: &SourceLine) -> String {
    let file = source.file.rsplit('/').next().unwrap_or_default();
    format!("{file}:{}", source.line)
}

/// The last instruction of a trace, and the source line printed last, as `file:line`.
fn stop_of(log: &str) -> Option<(u32, Option<String>)> {
    let mut place = None;
    let mut stop = None;
    for line in log.lines() {
        if let Some((_, at)) = line
            .strip_prefix("; ")
            .and_then(|line| line.rsplit_once(" @ "))
        {
            place = Some(at.trim().to_owned());
        } else if let Some(insn) = insn_of(line) {
            stop = Some((insn, place.clone()));
        }
    }
    stop
}

fn insn_of(line: &str) -> Option<u32> {
    let (number, rest) = line.split_once(": (")?;
    let is_code = rest.get(2..3) == Some(")");
    number.parse().ok().filter(|_| is_code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_stops_at_its_last_instruction_and_line() {
        let log = "0: R1=ctx() R10=fp0\n; int f() @ a.c:3\n0: (b7) r0 = 0 ; R0=0\n1: (95) exit\nR0 !read_ok\n";
        assert_eq!(stop_of(log), Some((1, Some("a.c:3".to_owned()))));
        assert_eq!(stop_of("R0 !read_ok\nprocessed 3 insns\n"), None);
        assert_eq!(stop_of("from 1 to 2: R0=0\n"), None);
    }

    #[test]
    fn the_last_words_that_say_enough_decide() {
        let messages = [
            "R0=map_value".to_owned(),
            "R1 offset is outside of the packet".to_owned(),
        ];
        let log = "0: (95) exit\nR1 offset is outside of the packet\n";
        let agreement = |code, messages: &[String]| code_agreement(code, messages, log);
        assert_eq!(
            agreement(Code::PACKET_BOUNDS, &messages),
            Some(Agreement::Yes)
        );
        assert!(matches!(
            agreement(Code::UNREACHABLE, &messages),
            Some(Agreement::No { .. })
        ));
        assert_eq!(agreement(Code::UNREACHABLE, &["R0=1".to_owned()]), None);
        // This kernel says something else.
        assert_eq!(
            agreement(Code::UNREACHABLE, &["R3 !read_ok".to_owned()]),
            None
        );
        assert!(is_like(
            "Unreleased reference id=2 alloc_insn=6",
            "id={{[0-9]+}} alloc"
        ));
        assert!(!is_like("Unreleased reference", "reference id={{[0-9]+}}"));
    }
}
