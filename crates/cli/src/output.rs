//! Where words go: data to stdout, talk to stderr, an error with `--json` to stdout as a document.
//!
//! Everything is written in whole lines and at once, without colour, so that terminal, pipe and file see the same.

use std::io::{self, Write};

use serde::Serialize;
use twinbpf::Error;

use crate::error_document::ErrorDocument;

/// Why a command ends early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something is wrong, and we know what.
    Diagnosed(Error),
    /// The reader of our output has gone.
    OutputClosed,
    /// Our output cannot be written: a full disk.
    OutputBroken(io::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Diagnosed(error)
    }
}

impl From<twinbpf::Diagnosis> for Failure {
    fn from(diagnosis: twinbpf::Diagnosis) -> Self {
        Self::Diagnosed(diagnosis.into())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::OutputBroken(error),
        }
    }
}

/// Both outputs.
#[derive(Debug)]
pub(crate) struct Output {
    wants_json: bool,
}

impl Output {
    pub(crate) fn new(wants_json: bool) -> Self {
        Self { wants_json }
    }

    /// Whether data is to be JSON.
    pub(crate) fn wants_json(&self) -> bool {
        self.wants_json
    }

    /// Writes lines of data.
    pub(crate) fn data(&self, text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.write_all(b"\n")?;
        Ok(stdout.flush()?)
    }

    /// Writes one JSON document, as one line.
    pub(crate) fn document(&self, document: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(document).map_err(io::Error::from)?;
        self.data(&text)
    }

    /// Writes a line for people.
    pub(crate) fn talk(&self, text: &str) {
        // If nobody can be told there is nobody to tell.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// Tells an error: one screen of text on stderr, or one document on stdout.
    pub(crate) fn error(&self, error: &Error, wants_log: bool) {
        if self.wants_json {
            // With stdout gone as well there is nowhere left to say it; the exit status still does.
            let _ = self.document(&ErrorDocument::new(error));
            return;
        }
        self.talk(&error.diagnosis().render());
        match &error.diagnosis().kernel_text {
            Some(text) if wants_log => {
                self.talk(&format!("--- the kernel's own words ---\n{text}"))
            }
            _ => {}
        }
    }
}
