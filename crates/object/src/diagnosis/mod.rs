//! What went wrong, as data: stage, code, category, place, facts, help, kernel text, errno.
//!
//! Every fallible function of this project ends in a [`Diagnosis`]. Text is rendered from it (`render.rs`), JSON too; nobody
//! has to take a message apart. One type serves all crates, so that both engines report alike and a caller
//! can match on [`ErrorKind`] without knowing which layer spoke.

mod code;
mod explanation;
mod render;

use std::fmt;

pub use code::{CODES, Code, CodeRow};
pub use explanation::Explanation;

use crate::abi::Errno;

/// Result of everything that can fail in this project.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error: a boxed [`Diagnosis`].
///
/// Opaque so that it stays one word wide; everything is reachable through [`Error::diagnosis`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(Box<Diagnosis>);

/// What callers match on. The command line's exit status follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request itself makes no sense: a wrong size, an unknown name, a contradiction.
    Usage,
    /// A file, map, program, interface or other named thing is not there.
    NotFound,
    /// A privilege is missing.
    Permission,
    /// A verifier refused a program, or the kernel refused a map's attributes.
    Rejected,
    /// The bytes of an object, BTF or capture are not what they should be.
    BadObject,
    /// This kernel, engine or build cannot do it.
    Unsupported,
    /// A limit was hit: memory, a full map, a budget.
    Limit,
    /// The thing is already there.
    Exists,
    /// A program run ended abnormally: a wild pointer, an endless loop, an abort.
    Fault,
    /// Reading, writing or another system service failed.
    Io,
}

/// Which step of the path of data failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// Reading a file.
    Read,
    /// From bytes to an object.
    Parse,
    /// From an object to linked programs.
    Link,
    /// Creating a map.
    CreateMap,
    /// Checking and loading a program.
    LoadProgram,
    /// Attaching a program to a hook.
    Attach,
    /// An operation on a live map.
    MapOperation,
    /// Running a program.
    Run,
    /// Anything around it: namespaces, captures, output.
    Host,
}

/// The kernel's seven categories of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Category {
    /// A register holds the wrong kind of value.
    RegisterType,
    /// An access outside the memory it may touch.
    Memory,
    /// Something acquired is not released, or used after release.
    ResourceLifetime,
    /// A call with arguments of the wrong type.
    CallType,
    /// Not allowed in this context (sleeping, locked, wrong program type).
    ExecutionContext,
    /// The shape of the program: loops, size, unreachable code.
    ProgramStructure,
    /// License, privilege or another rule of policy.
    Policy,
}

/// Where it went wrong. Every part is optional; rendering joins what is there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// The file as the user named it.
    pub file: Option<String>,
    /// An ELF section.
    pub section: Option<String>,
    /// Offset within that section, or within the file if there is no section; bytes.
    pub offset: Option<u64>,
    /// A map's name.
    pub map: Option<String>,
    /// A program's or function's name.
    pub program: Option<String>,
    /// Instruction index within the program, with its text.
    pub insn: Option<(u32, String)>,
    /// Source file, line and text of that line.
    pub source: Option<SourceLine>,
}

/// A line of the program's source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceLine {
    /// The file's name.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1; 0 if unknown.
    pub column: u32,
    /// The text of the line.
    pub text: String,
}

/// Another place that has to do with it: where a value came from, the lines of a loop, the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Related {
    /// What happens there, in a few words.
    pub label: String,
    /// Instruction index within the program, with its text.
    pub insn: Option<(u32, String)>,
    /// Source file, line and text of that line.
    pub source: Option<SourceLine>,
}

/// One fact that supports the message: a label and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// What is stated, in a few words.
    pub label: String,
    /// The value.
    pub value: String,
}

/// Everything known about one failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// What callers match on.
    pub kind: ErrorKind,
    /// Which step failed.
    pub stage: Stage,
    /// The stable code, for searching and `explain`.
    pub code: Code,
    /// The kernel's category, for refused programs.
    pub category: Option<Category>,
    /// One sentence: what was wrong, with the numbers. Lower case, no full stop.
    pub message: String,
    /// Where.
    pub place: Place,
    /// What callers were trying to do, innermost first.
    pub context: Vec<String>,
    /// Other places that have to do with it, in the order in which they ran.
    pub related: Vec<Related>,
    /// Facts that support the message.
    pub facts: Vec<Fact>,
    /// What to do next.
    pub help: Vec<String>,
    /// The kernel's or verifier's own words, whole.
    pub kernel_text: Option<String>,
    /// The error number, if one was returned.
    pub errno: Option<Errno>,
}

impl Diagnosis {
    /// A diagnosis with a code and a message; kind and stage come from the code's row.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let row = code.row();
        Self {
            kind: row.kind,
            stage: row.stage,
            code,
            category: None,
            message: message.into(),
            place: Place::default(),
            context: Vec::new(),
            related: Vec::new(),
            facts: Vec::new(),
            help: Vec::new(),
            kernel_text: None,
            errno: None,
        }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    /// Adds a supporting fact.
    #[must_use]
    pub fn fact(mut self, label: impl Into<String>, value: impl fmt::Display) -> Self {
        self.facts.push(Fact {
            label: label.into(),
            value: value.to_string(),
        });
        self
    }

    /// Sets the error number.
    #[must_use]
    pub fn errno(mut self, errno: Errno) -> Self {
        self.errno = Some(errno);
        self
    }

    /// Replaces the kind that the code implies, where the error number tells more.
    #[must_use]
    pub fn kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// Names the section, and the offset within it.
    #[must_use]
    pub fn at(mut self, section: &str, offset: u64) -> Self {
        self.place.section = Some(section.to_owned());
        self.place.offset = Some(offset);
        self
    }

    /// Names the map.
    #[must_use]
    pub fn in_map(mut self, map: &str) -> Self {
        self.place.map = Some(map.to_owned());
        self
    }

    /// Names the program or function.
    #[must_use]
    pub fn in_program(mut self, program: &str) -> Self {
        self.place.program = Some(program.to_owned());
        self
    }
}

impl Error {
    /// What callers match on.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Everything known.
    pub fn diagnosis(&self) -> &Diagnosis {
        &self.0
    }

    /// Everything known, to be changed or completed by a caller who knows more.
    #[must_use]
    pub fn map(self, change: impl FnOnce(Diagnosis) -> Diagnosis) -> Self {
        Self(Box::new(change(*self.0)))
    }

    /// Adds what the caller was trying to do.
    #[must_use]
    pub fn while_doing(mut self, action: impl Into<String>) -> Self {
        self.0.context.push(action.into());
        self
    }

    /// Names the file, unless a deeper layer named one.
    #[must_use]
    pub fn in_file(mut self, file: impl Into<String>) -> Self {
        self.0.place.file.get_or_insert_with(|| file.into());
        self
    }

    /// The error number, if one was returned.
    pub fn errno(&self) -> Option<Errno> {
        self.0.errno
    }

    /// Whether a privilege is missing.
    pub fn is_permission(&self) -> bool {
        self.kind() == ErrorKind::Permission
    }

    /// Whether this kernel or engine cannot do it at all.
    pub fn is_unsupported(&self) -> bool {
        self.kind() == ErrorKind::Unsupported
    }

    /// Whether a verifier or the kernel's rules refused it.
    pub fn is_rejected(&self) -> bool {
        self.kind() == ErrorKind::Rejected
    }
}

impl From<Diagnosis> for Error {
    fn from(diagnosis: Diagnosis) -> Self {
        Self(Box::new(diagnosis))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.one_line())
    }
}

impl std::error::Error for Error {}
