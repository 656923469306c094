//! What was judged, in numbers and names, and whether the bars are met.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};
use twinbpf::Code;

use super::declared::Verdict;
use super::judge::{Agreement, Judged};

/// Lines named, in percent of the refusals that stop at one.
const LEAST_LINES_PERCENT: usize = 95;

/// Refusals without a code of their own, in percent.
const MOST_CATCH_ALL_PERCENT: usize = 5;

/// Everything that was judged.
#[derive(Debug, Default)]
pub(super) struct Report {
    programs: Vec<Judged>,
    pub(super) unreadable: Vec<String>,
}

/// The numbers.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Counts {
    programs: usize,
    not_asked: usize,
    declared: usize,
    as_declared: usize,
    refused: usize,
    catch_all: usize,
    with_line: usize,
    line_named: usize,
    asserted: usize,
    code_fits: usize,
}

impl Report {
    pub(super) fn add(&mut self, judged: Judged) {
        self.programs.push(judged);
    }

    fn counts(&self) -> Counts {
        let count = |test: &dyn Fn(&Judged) -> bool| {
            self.programs.iter().filter(|judged| test(judged)).count()
        };
        let is_measured = |judged: &Judged| judged.declared.is_some() && judged.verdict.is_some();
        Counts {
            programs: self.programs.len(),
            not_asked: count(&|judged| judged.not_asked.is_some()),
            declared: count(&is_measured),
            as_declared: count(&|judged| is_measured(judged) && judged.declared == judged.verdict),
            refused: count(&|judged| judged.code.is_some()),
            catch_all: count(&|judged| judged.code == Some(Code::VERIFIER_REJECTED)),
            with_line: count(&|judged| judged.line.is_some()),
            line_named: count(&|judged| judged.line == Some(Agreement::Yes)),
            asserted: count(&|judged| judged.fits.is_some()),
            code_fits: count(&|judged| judged.fits == Some(Agreement::Yes)),
        }
    }

    /// The text or document, as an error if a bar is missed.
    pub(super) fn finish(&self, wants_json: bool) -> Result<String, String> {
        let counts = self.counts();
        let text = match wants_json {
            true => self.document(counts).to_string(),
            false => self.text(counts),
        };
        match counts.missed().as_slice() {
            [] => Ok(text),
            _ if wants_json => Err(text),
            missed => Err(format!("{text}\nmissed: {}", missed.join("; "))),
        }
    }

    fn text(&self, counts: Counts) -> String {
        let mut text = String::new();
        self.add_disagreements(&mut text);
        self.add_not_asked(&mut text);
        text.push_str("\ncode  refusals\n");
        for (code, count) in self.by_code() {
            line(
                &mut text,
                &format!("{code}  {count:>8}  {}", code.row().title),
            );
        }
        line(&mut text, "");
        for (name, part, whole) in counts.rows() {
            let percent = (part * 1000).checked_div(whole).unwrap_or(0);
            line(
                &mut text,
                &format!(
                    "{name:<44} {part:>6} of {whole:>6}  {:>3}.{} %",
                    percent / 10,
                    percent % 10
                ),
            );
        }
        text
    }

    fn add_disagreements(&self, text: &mut String) {
        for judged in &self.programs {
            let name = format!("{} {}", judged.file, judged.program);
            if let Some(Agreement::No { wanted, found }) = &judged.line {
                line(
                    text,
                    &format!("line     {name}: the trace stops at {wanted}, named is {found}"),
                );
            }
            if let Some(Agreement::No { wanted, found }) = &judged.fits {
                line(
                    text,
                    &format!(
                        "code     {name}: {found}, expected {wanted}: {}",
                        judged.words
                    ),
                );
            }
            if judged.code == Some(Code::VERIFIER_REJECTED) {
                line(text, &format!("no code  {name}: {}", judged.words));
            }
            match (judged.declared, judged.verdict) {
                (Some(Verdict::Accepted), Some(Verdict::Refused)) => {
                    line(
                        text,
                        &format!(
                            "verdict  {name}: refused, declared accepted: {}",
                            judged.words
                        ),
                    );
                }
                (Some(Verdict::Refused), Some(Verdict::Accepted)) => {
                    line(
                        text,
                        &format!("verdict  {name}: accepted, declared refused"),
                    );
                }
                _ => {}
            }
        }
    }

    /// Reasons for which the verifier was not asked, by code.
    fn add_not_asked(&self, text: &mut String) {
        let mut reasons: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
        for why in self
            .programs
            .iter()
            .filter_map(|judged| judged.not_asked.as_deref())
        {
            let code = why.split(':').next().unwrap_or_default();
            let entry = reasons.entry(code).or_insert((0, why));
            entry.0 += 1;
        }
        for (code, (count, example)) in reasons {
            let rest = example.strip_prefix(code).unwrap_or(example);
            line(text, &format!("not asked {count:>5} {code}, as{rest}"));
        }
        for file in &self.unreadable {
            line(text, &format!("unreadable {file}"));
        }
    }

    fn by_code(&self) -> BTreeMap<Code, usize> {
        let mut counts = BTreeMap::new();
        for code in self.programs.iter().filter_map(|judged| judged.code) {
            *counts.entry(code).or_insert(0) += 1;
        }
        counts
    }

    fn document(&self, counts: Counts) -> Value {
        let programs: Vec<Value> = self.programs.iter().map(program_document).collect();
        let numbers: serde_json::Map<String, Value> = counts
            .rows()
            .into_iter()
            .map(|(name, part, whole)| (name.to_owned(), json!([part, whole])))
            .collect();
        json!({
            "ok": counts.missed().is_empty(),
            "missed": counts.missed(),
            "counts": numbers,
            "programs": programs,
            "unreadable": self.unreadable,
        })
    }
}

fn program_document(judged: &Judged) -> Value {
    json!({
        "file": judged.file,
        "program": judged.program,
        "declared": judged.declared.map(verdict_name),
        "verdict": judged.verdict.map(verdict_name),
        "not_asked": judged.not_asked,
        "code": judged.code.map(Code::as_str),
        "line": judged.line.as_ref().map(|agreement| *agreement == Agreement::Yes),
        "fits": judged.fits.as_ref().map(|agreement| *agreement == Agreement::Yes),
        "words": judged.words,
    })
}

fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Accepted => "accepted",
        Verdict::Refused => "refused",
    }
}

fn line(text: &mut String, words: &str) {
    // Writing into a string cannot fail.
    let _ = writeln!(text, "{words}");
}

impl Counts {
    /// Name, part, whole.
    fn rows(self) -> [(&'static str, usize, usize); 5] {
        [
            (
                "programs the verifier was asked about",
                self.programs - self.not_asked,
                self.programs,
            ),
            ("verdicts as declared", self.as_declared, self.declared),
            (
                "lines named, of refusals that stop at one",
                self.line_named,
                self.with_line,
            ),
            (
                "codes that fit the declared words",
                self.code_fits,
                self.asserted,
            ),
            (
                "refusals without a code of their own",
                self.catch_all,
                self.refused,
            ),
        ]
    }

    /// The bars that are missed.
    fn missed(self) -> Vec<String> {
        let mut missed = Vec::new();
        if self.refused == 0 {
            missed.push("nothing was refused, so nothing was judged".to_owned());
        }
        if self.line_named * 100 < self.with_line * LEAST_LINES_PERCENT {
            missed.push(format!("lines named in less than {LEAST_LINES_PERCENT} %"));
        }
        if self.code_fits < self.asserted {
            missed.push(format!(
                "{} codes do not fit",
                self.asserted - self.code_fits
            ));
        }
        if self.catch_all * 100 > self.refused * MOST_CATCH_ALL_PERCENT {
            missed.push(format!(
                "more than {MOST_CATCH_ALL_PERCENT} % without a code"
            ));
        }
        missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bar_is_missed_by_itself() {
        let good = Counts {
            programs: 100,
            refused: 100,
            with_line: 100,
            line_named: 95,
            asserted: 50,
            code_fits: 50,
            catch_all: 5,
            ..Counts::default()
        };
        assert_eq!(good.missed(), Vec::<String>::new());
        for bad in [
            Counts {
                line_named: 94,
                ..good
            },
            Counts {
                code_fits: 49,
                ..good
            },
            Counts {
                catch_all: 6,
                ..good
            },
        ] {
            assert_eq!(bad.missed().len(), 1, "{bad:?}");
        }
        assert_eq!(Counts::default().missed().len(), 1);
    }
}
