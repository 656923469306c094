//! How many programs agree, and a table of the rest with the reason.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::json;

use super::judge::{Judged, Verdict};

/// Everything that was found.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) packets: usize,
    pub(super) judged: Vec<Judged>,
}

impl Report {
    pub(super) fn new(packets: usize) -> Self {
        Self {
            packets,
            judged: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, judged: Judged) {
        self.judged.push(judged);
    }

    /// The report as text.
    ///
    /// # Errors
    ///
    /// The same text, if fewer programs agree than `bar` per cent.
    pub(super) fn finish(&self, wants_json: bool, bar: usize) -> Result<String, String> {
        let (agree, total) = self.agreement();
        let text = if wants_json { self.json() } else { self.text() };
        if agree * 100 < total * bar {
            return Err(format!("{text}\nfewer than {bar} % of the programs agree"));
        }
        Ok(text)
    }

    /// How many agree, of how many that can be compared.
    pub(super) fn agreement(&self) -> (usize, usize) {
        let is = |wanted: fn(&Verdict) -> bool| {
            self.judged
                .iter()
                .filter(|each| wanted(&each.verdict))
                .count()
        };
        let agree = is(|verdict| matches!(verdict, Verdict::Agrees));
        let unstable = is(|verdict| matches!(verdict, Verdict::Unstable));
        (agree, self.judged.len() - unstable)
    }

    fn text(&self) -> String {
        let (agree, total) = self.agreement();
        let mut text = String::new();
        for judged in &self.judged {
            let (word, details) = match &judged.verdict {
                Verdict::Agrees => continue,
                Verdict::Unstable => ("unstable", &[][..]),
                Verdict::NotLoaded(reason) => ("not loaded", std::slice::from_ref(reason)),
                Verdict::Differs(differences) => ("differs", &differences[..]),
            };
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "{word}: {} {} ({}): {} of {} runs the same{}",
                judged.object,
                judged.program,
                judged.kind,
                judged.same_runs,
                self.packets,
                judged
                    .reason()
                    .map(|reason| format!("; {reason}"))
                    .unwrap_or_default()
            );
            for detail in details.iter().take(4) {
                let _ = writeln!(text, "    {detail}");
            }
        }
        let mut kinds: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for judged in &self.judged {
            let (agreeing, all) = kinds.entry(judged.kind.to_string()).or_default();
            *all += usize::from(!matches!(judged.verdict, Verdict::Unstable));
            *agreeing += usize::from(matches!(judged.verdict, Verdict::Agrees));
        }
        for (kind, (agreeing, all)) in kinds {
            let _ = writeln!(text, "{kind}: {agreeing} of {all}");
        }
        let unstable = self.judged.len() - total;
        let _ = writeln!(
            text,
            "{agree} of {total} programs do the same on {} packets; on {unstable} more the kernel disagrees with itself",
            self.packets
        );
        text
    }

    fn json(&self) -> String {
        let (agree, total) = self.agreement();
        let programs: Vec<serde_json::Value> = self
            .judged
            .iter()
            .map(|judged| {
                let (word, details) = match &judged.verdict {
                    Verdict::Agrees => ("agrees", Vec::new()),
                    Verdict::Unstable => ("unstable", Vec::new()),
                    Verdict::NotLoaded(reason) => ("not_loaded", vec![reason.clone()]),
                    Verdict::Differs(differences) => ("differs", differences.clone()),
                };
                json!({
                    "object": judged.object,
                    "program": judged.program,
                    "type": judged.kind.to_string(),
                    "verdict": word,
                    "same_runs": judged.same_runs,
                    "reason": judged.reason(),
                    "helpers": judged.helpers,
                    "details": details,
                })
            })
            .collect();
        json!({ "packets": self.packets, "agree": agree, "of": total, "programs": programs })
            .to_string()
    }
}
