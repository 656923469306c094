//! `twinbpf doctor`: why this user can or cannot load BPF here, and the command that mends it.
//!
//! What the machine says about itself is judged line by line (`findings.rs`); then each engine is asked to create a map
//! and to load a program, because only that is proof (`attempts.rs`).

mod attempts;
mod findings;

use clap::Args;
use serde::Serialize;
use twinbpf::KernelFacts;

use crate::exit::Exit;
use crate::output::{Failure, Output};

/// What `doctor` is told.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// How one thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Ok,
    /// Something will not work, or not well.
    Warn,
    /// Nothing will work.
    Bad,
}

/// One line: a thing, how it is, and what would mend it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    /// What was looked at, stable.
    check: String,
    state: State,
    /// What was found, in a few words.
    says: String,
    /// What follows from it.
    means: Option<String>,
    /// The command that mends it.
    mend: Option<String>,
}

impl Finding {
    fn ok(check: &str, says: impl Into<String>) -> Self {
        Self {
            check: check.to_owned(),
            state: State::Ok,
            says: says.into(),
            means: None,
            mend: None,
        }
    }

    fn warn(check: &str, says: impl Into<String>, means: impl Into<String>) -> Self {
        Self {
            state: State::Warn,
            means: Some(means.into()),
            ..Self::ok(check, says)
        }
    }

    fn bad(check: &str, says: impl Into<String>, means: impl Into<String>) -> Self {
        Self {
            state: State::Bad,
            ..Self::warn(check, says, means)
        }
    }

    fn mended_by(mut self, command: impl Into<String>) -> Self {
        self.mend = Some(command.into());
        self
    }
}

#[derive(Debug, Serialize)]
struct Document {
    ok: bool,
    findings: Vec<Finding>,
}

/// Judges this machine and this user.
pub(crate) fn doctor(_args: &DoctorArgs, output: &Output) -> Result<Exit, Failure> {
    let mut findings = findings::judge(&KernelFacts::read());
    findings.extend(attempts::attempt());
    let is_well = findings.iter().all(|finding| finding.state != State::Bad);
    if output.wants_json() {
        output.document(&Document {
            ok: is_well,
            findings,
        })?;
    } else {
        let lines: Vec<String> = findings.iter().map(Finding::text).collect();
        output.data(&lines.join("\n"))?;
    }
    Ok(if is_well { Exit::Done } else { Exit::No })
}

impl Finding {
    fn text(&self) -> String {
        let word = match self.state {
            State::Ok => "ok",
            State::Warn => "warn",
            State::Bad => "BAD",
        };
        let mut text = format!("{word:<4}  {}: {}", self.check, self.says);
        if let Some(means) = &self.means {
            text.push_str("\n        ");
            text.push_str(means);
        }
        if let Some(mend) = &self.mend {
            text.push_str("\n        mend: ");
            text.push_str(mend);
        }
        text
    }
}
