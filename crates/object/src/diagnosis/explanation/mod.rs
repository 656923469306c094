//! What each code means for whoever meets it: the cause, an example, what to do next.
//!
//! One table in two parts, verdicts of a verifier and everything else. `twinbpf explain CODE` and `docs/CODES.md` print it; the
//! reader of verifier logs takes category, cause and help from it.

mod others;
mod verdicts;

use super::{Category, Code};

/// What a code means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explanation {
    /// The code.
    pub code: Code,
    /// The kernel's category, for verdicts of a verifier.
    pub category: Option<Category>,
    /// The cause, one sentence without a full stop.
    pub cause: &'static str,
    /// What to do about it.
    pub help: &'static str,
    /// A few lines that show it: of C, or of a command line. Empty where nothing short says more than the cause.
    pub example: &'static str,
}

impl Code {
    /// What the code means, in more words than its title.
    pub fn explanation(self) -> Option<&'static Explanation> {
        [verdicts::ROWS, others::ROWS]
            .into_iter()
            .flatten()
            .find(|row| row.code == self)
    }

    /// The code with this text, in any case: `v001`.
    pub fn from_name(name: &str) -> Option<Self> {
        super::CODES
            .iter()
            .map(|row| row.code)
            .find(|code| code.as_str().eq_ignore_ascii_case(name))
    }
}

impl Category {
    /// The category's name, as the kernel's newer verifiers print it.
    pub fn name(self) -> &'static str {
        CATEGORIES
            .iter()
            .find(|(category, _)| *category == self)
            .map_or("", |(_, name)| name)
    }

    /// The category with this name, as the kernel's newer verifiers print it.
    pub fn from_name(name: &str) -> Option<Self> {
        let found = CATEGORIES.iter().find(|(_, known)| *known == name)?;
        Some(found.0)
    }
}

const CATEGORIES: &[(Category, &str)] = &[
    (Category::RegisterType, "Register Type Safety"),
    (Category::Memory, "Memory Safety"),
    (Category::ResourceLifetime, "Resource Lifetime Safety"),
    (Category::CallType, "Call Type Safety"),
    (Category::ExecutionContext, "Execution Context Safety"),
    (Category::ProgramStructure, "Program Structure"),
    (Category::Policy, "Policy"),
];

#[cfg(test)]
mod tests {
    use super::super::CODES;
    use super::*;

    #[test]
    fn every_verdict_is_explained_and_has_a_category() {
        for row in CODES {
            let is_verdict = row.code.as_str().starts_with('V');
            let explanation = row.code.explanation();
            assert!(explanation.is_some() || !is_verdict, "{}", row.code);
            let category = explanation.and_then(|explanation| explanation.category);
            let expected = is_verdict && row.code != Code::VERIFIER_REJECTED;
            assert_eq!(category.is_some(), expected, "{}", row.code);
        }
    }

    #[test]
    fn causes_and_helps_are_short_and_end_without_a_full_stop() {
        for row in [verdicts::ROWS, others::ROWS].into_iter().flatten() {
            for text in [row.cause, row.help] {
                assert!(!text.is_empty(), "{}", row.code);
                assert!(!text.ends_with('.') && !text.contains('\n'), "{text}");
                assert!(text.len() < 260, "{text}");
            }
            let is_name = row.cause.starts_with("CO-RE") || row.cause.starts_with("LD_ABS");
            assert!(
                is_name || !row.cause.starts_with(char::is_uppercase),
                "{}",
                row.cause
            );
            assert!(row.example.lines().all(|line| line.len() <= 96));
        }
    }

    #[test]
    fn codes_and_categories_are_found_by_name() {
        assert_eq!(Code::from_name("v001"), Some(Code::NULL_NOT_TESTED));
        assert_eq!(Code::from_name("V999"), None);
        for (category, name) in CATEGORIES {
            assert_eq!(Category::from_name(name), Some(*category));
            assert_eq!(category.name(), *name);
        }
    }
}
