//! The report at the end of newer logs: headline, reason, place, suggestion.
//!
//! Linux 7.3 and later print it behind the trace, for people. It is read for what it adds; the kernel's older words, which
//! still stand before it, stay the reason that decides about the code.
//!
//! ```text
//! Verification failed: Register Type Safety: Unreadable register
//!
//! Reason:
//!   R0 has never been initialized on this path, so the verifier cannot use it as an input.
//!
//! At:
//!   main @ prog.c:7:9
//!   >>> 0 | (95) exit
//!
//! Suggestion:
//!   Initialize R0 on every path before this instruction.
//! ```

use twinbpf_object::InsnIndex;
use twinbpf_object::diagnosis::{Category, SourceLine};

/// What such a report says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Structured {
    /// The kernel's category.
    pub category: Option<Category>,
    /// The headline, without the category.
    pub problem: String,
    /// Why.
    pub reason: String,
    /// The function.
    pub function: Option<String>,
    /// The instruction.
    pub insn: Option<InsnIndex>,
    /// The source line.
    pub source: Option<SourceLine>,
    /// What the kernel suggests.
    pub suggestion: String,
}

const HEADLINE: &str = "Verification failed: ";

/// Splits a log into the part before the report, and the report.
pub(crate) fn split(text: &str) -> (&str, Option<Structured>) {
    let start = match text.starts_with(HEADLINE) {
        true => Some(0),
        false => text.rfind(&format!("\n{HEADLINE}")).map(|at| at + 1),
    };
    match start {
        Some(start) => {
            let (before, report) = text.split_at(start);
            (before, Some(Structured::read(report)))
        }
        None => (text, None),
    }
}

/// The parts of a report.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    Headline,
    Reason,
    At,
    Suggestion,
    Other,
}

impl Structured {
    fn read(text: &str) -> Self {
        let mut report = Self::default();
        let mut section = Section::Headline;
        for line in text.lines() {
            if let Some(headline) = line.strip_prefix(HEADLINE) {
                report.read_headline(headline);
            } else if line.starts_with("processed ") {
                break;
            } else if let Some(next) = section_of(line) {
                section = next;
            } else {
                report.read_line(section, line);
            }
        }
        report
    }

    fn read_headline(&mut self, headline: &str) {
        let (category, problem) = headline.split_once(": ").unwrap_or((headline, ""));
        self.category = Category::from_name(category);
        problem.trim().clone_into(&mut self.problem);
    }

    fn read_line(&mut self, section: Section, line: &str) {
        let line = line.trim();
        match section {
            Section::Reason => append(&mut self.reason, line),
            Section::Suggestion => append(&mut self.suggestion, line),
            Section::At => self.read_place(line),
            Section::Headline | Section::Other => {}
        }
    }

    /// `main @ prog.c:7:9`, `prog.c:7:9`, `insn 0`, `>>> 0 | (95) exit`, `>>> 7 | return *value;`
    fn read_place(&mut self, line: &str) {
        if let Some(marked) = line.strip_prefix(">>> ") {
            let Some((number, text)) = marked.split_once('|') else {
                return;
            };
            self.read_marked(number.trim(), text.trim());
        } else if let Some(number) = line.strip_prefix("insn ") {
            self.insn = number.parse().ok().map(InsnIndex);
        } else if self.source.is_none() {
            let (function, place) = match line.split_once(" @ ") {
                Some((function, place)) => (Some(function), place),
                None => (None, line),
            };
            if let Some(source) = place_of(place) {
                self.source = Some(source);
                self.function = function.map(str::to_owned);
            }
        }
    }

    /// The marked line of one of the two contexts: instructions begin with their code in parentheses.
    fn read_marked(&mut self, number: &str, text: &str) {
        let Ok(number) = number.parse() else {
            return;
        };
        let is_insn = text
            .strip_prefix('(')
            .and_then(|rest| rest.split_once(')'))
            .is_some_and(|(code, _)| code.len() == 2 && u8::from_str_radix(code, 16).is_ok());
        if is_insn {
            self.insn = Some(InsnIndex(number));
        } else if let Some(source) = self.source.as_mut().filter(|source| source.line == number) {
            text.clone_into(&mut source.text);
        }
    }
}

fn section_of(line: &str) -> Option<Section> {
    match line.trim_end() {
        "Reason:" => Some(Section::Reason),
        "At:" => Some(Section::At),
        "Suggestion:" => Some(Section::Suggestion),
        "Causal path:" => Some(Section::Other),
        _ => None,
    }
}

fn append(text: &mut String, line: &str) {
    if !text.is_empty() && !line.is_empty() {
        text.push(' ');
    }
    text.push_str(line);
}

/// `prog.c:7:9`
fn place_of(text: &str) -> Option<SourceLine> {
    let (rest, column) = text.rsplit_once(':')?;
    let (file, line) = rest.rsplit_once(':')?;
    Some(SourceLine {
        file: file.to_owned(),
        line: line.parse().ok()?,
        column: column.parse().ok()?,
        text: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
0: R1=ctx() R10=fp0
0: (95) exit
R0 !read_ok

Verification failed: Register Type Safety: Unreadable register

Reason:
  R0 has never been written on this path,
  so it cannot be read.

At:
  main @ prog.c:7:9
  Source context:
    >>> 7 | return;
          | ^-- error: R0 is not readable
  Instruction context:
  >>> 0 | (95) exit

Causal path:
  nothing

Suggestion:
  Write R0 first.

processed 1 insns (limit 1000000)
";

    #[test]
    fn a_report_has_category_reason_place_and_suggestion() {
        let (before, report) = split(LOG);
        assert!(before.ends_with("R0 !read_ok\n\n"));
        let report = report.unwrap();
        assert_eq!(report.category, Some(Category::RegisterType));
        assert_eq!(report.problem, "Unreadable register");
        assert_eq!(
            report.reason,
            "R0 has never been written on this path, so it cannot be read."
        );
        assert_eq!(report.suggestion, "Write R0 first.");
        assert_eq!(report.insn, Some(InsnIndex(0)));
        assert_eq!(report.function.as_deref(), Some("main"));
        let source = report.source.unwrap();
        assert_eq!(
            (source.file.as_str(), source.line, source.column),
            ("prog.c", 7, 9)
        );
        assert_eq!(source.text, "return;");
    }

    #[test]
    fn other_logs_have_none() {
        assert_eq!(split("R0 !read_ok\n"), ("R0 !read_ok\n", None));
        assert_eq!(split(""), ("", None));
    }
}
