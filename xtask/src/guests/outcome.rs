//! What the tests in guests said: a row per kernel and test binary, and the words of what failed.

use std::time::Duration;

use super::machine::{Console, Ran};

/// The rows so far, and what failed.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    rows: Vec<[String; 6]>,
    failures: Vec<String>,
    /// Words of programs that are no tests.
    shown: Vec<String>,
}

/// So many lines of a program are shown.
const SHOWN: usize = 3;

const HEAD: [&str; 6] = [
    "kernel", "program", "passed", "failed", "ignored", "seconds",
];

impl Outcome {
    /// Adds what one machine said, which took `taken`.
    pub(super) fn add(&mut self, series: &str, console: &Console, taken: Duration) {
        for ran in &console.ran {
            let [passed, failed, ignored] = counts(ran);
            let row = [passed, failed, ignored].map(|count| count.to_string());
            let [passed, failed, ignored] = row;
            let name = ran.name.clone();
            self.rows.push([
                series.to_owned(),
                name,
                passed,
                failed,
                ignored,
                String::new(),
            ]);
            if ran.status.as_deref() != Some("exit status: 0") {
                let status = ran.status.as_deref().unwrap_or("did not end");
                let text = failing_part(&ran.lines).join("\n");
                self.failures
                    .push(format!("{series}: {}: {status}\n{text}", ran.name));
            }
        }
        let seconds = format!("{:.1}", taken.as_secs_f32());
        let last = if console.is_over {
            "in all"
        } else {
            "ended early"
        };
        let empty = String::new;
        self.rows.push([
            series.to_owned(),
            last.to_owned(),
            empty(),
            empty(),
            empty(),
            seconds,
        ]);
        if !console.is_over {
            let words = console.rest.join("\n");
            self.failures
                .push(format!("{series}: the machine ended early\n{words}"));
        }
    }

    /// Keeps the last lines of every program, for those whose lines are what they are for.
    pub(super) fn show(&mut self, series: &str, console: &Console) {
        for ran in &console.ran {
            let skipped = ran.lines.len().saturating_sub(SHOWN);
            let lines = ran.lines.iter().skip(skipped);
            self.shown
                .extend(lines.map(|line| format!("{series}  {}: {line}", ran.name)));
        }
    }

    /// The rows, as an error if something failed.
    pub(super) fn conclude(self) -> Result<String, String> {
        let mut text = table(&self.rows);
        for line in &self.shown {
            text.push_str(&format!("{line}\n"));
        }
        if self.failures.is_empty() {
            return Ok(text);
        }
        for failure in &self.failures {
            text.push_str(&format!("\n{failure}\n"));
        }
        Err(text)
    }
}

/// Tests passed, failed and ignored, by their lines.
fn counts(ran: &Ran) -> [usize; 3] {
    let ends_with = |end: &str| {
        let tests = ran.lines.iter().filter(|line| line.starts_with("test "));
        tests.filter(|line| line.ends_with(end)).count()
    };
    [
        ends_with("... ok"),
        ends_with("... FAILED"),
        ends_with("... ignored"),
    ]
}

/// All lines but those of tests that went well.
fn failing_part(lines: &[String]) -> Vec<&str> {
    let is_fine = |line: &&str| line.ends_with("... ok") || line.ends_with("... ignored");
    lines
        .iter()
        .map(String::as_str)
        .filter(|line| !is_fine(line))
        .collect()
}

fn table(rows: &[[String; 6]]) -> String {
    let widths: Vec<usize> = (0..HEAD.len())
        .map(|column| {
            let cells = rows.iter().map(|row| row[column].len());
            cells.chain([HEAD[column].len()]).max().unwrap_or(0)
        })
        .collect();
    let line = |cells: [&str; 6]| {
        let padded = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
    };
    let mut text = line(HEAD);
    for row in rows {
        text.push_str(&line(row.each_ref().map(String::as_str)));
    }
    text
}

/// Everything that was on the console.
pub(super) fn text_of(console: &Console) -> String {
    let mut text = console.rest.join("\n");
    for ran in &console.ran {
        let status = ran.status.as_deref().unwrap_or("did not end");
        text.push_str(&format!(
            "\n== {}: {status}\n{}",
            ran.name,
            ran.lines.join("\n")
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_test_fails_the_whole_and_its_words_are_kept() {
        let ran = |status: &str, lines: &[&str]| Ran {
            name: "kernel::suite".to_owned(),
            lines: lines.iter().map(|line| (*line).to_owned()).collect(),
            status: Some(status.to_owned()),
        };
        let good = ran(
            "exit status: 0",
            &["test a ... ok", "test [kind] b ... ignored"],
        );
        let bad = ran(
            "exit status: 101",
            &["test a ... ok", "test b ... FAILED", "why"],
        );
        let console = |ran| Console {
            ran: vec![ran],
            is_over: true,
            ..Console::default()
        };
        let mut outcome = Outcome::default();
        outcome.add("6.1", &console(good), Duration::from_secs(3));
        assert_eq!(outcome.rows[0][2..5], ["1", "0", "1"]);
        outcome.add("6.12", &console(bad), Duration::from_secs(3));
        let text = outcome.conclude().unwrap_err();
        assert!(
            text.contains("test b ... FAILED\nwhy") && text.contains("6.12"),
            "{text}"
        );
    }
}
