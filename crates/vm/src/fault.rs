//! Abnormal ends of a run, as values.

use std::fmt;

use twinbpf_object::diagnosis::{SourceLine, Stage};
use twinbpf_object::{Code, Diagnosis, Error};

/// Why and where a run ended abnormally.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What happened.
    pub kind: FaultKind,
    /// The program's name.
    pub program: String,
    /// The instruction, from the start of the program, in slots.
    pub insn: u32,
    /// That instruction as text.
    pub text: String,
    /// The source line it comes from, if the object says so.
    pub source: Option<Box<SourceLine>>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// An access to memory the program may not touch.
    Access {
        /// The address within the window.
        address: u64,
        /// Bytes.
        size: u32,
        /// Whether it was a write.
        is_write: bool,
    },
    /// An access outside the object its pointer points to (checked interpreter).
    Bounds {
        /// What the pointer points to.
        object: &'static str,
        /// Offset of the access within it.
        offset: i64,
        /// Bytes.
        size: u32,
        /// Bytes the object has.
        object_size: u32,
    },
    /// An access through a value that is not a pointer (checked interpreter).
    NotAPointer {
        /// What the value is instead.
        found: &'static str,
    },
    /// A pointer to something that is gone (checked interpreter).
    Gone {
        /// What it pointed to.
        object: &'static str,
    },
    /// A register was read that nothing had been written to (checked interpreter).
    Uninitialised {
        /// The register's number.
        register: u8,
    },
    /// An atomic operation at an address that is not a multiple of its size.
    Misaligned {
        /// The address within the window.
        address: u64,
        /// Bytes.
        size: u32,
    },
    /// A helper was given something that is not a map.
    NotAMap {
        /// The value it was given.
        value: u64,
    },
    /// A program gave back what it does not hold.
    NotHeld {
        /// What it should be.
        what: &'static str,
    },
    /// A helper was given something that is not a function of the program.
    NotAFunction {
        /// The value it was given.
        value: u64,
    },
    /// A packet load without the run's context in `r6`, or in a run without a packet.
    NoPacket,
    /// An exception was thrown where no program ends it: in a timer's callback.
    Thrown {
        /// The value that was thrown.
        cookie: u64,
    },
    /// Too many nested calls.
    CallDepth,
    /// An operation that this engine does not have.
    Unsupported(&'static str),
    /// Something that the target does not have (CO-RE, kernel functions): the program should have asked for it first.
    Unavailable {
        /// The kind of thing.
        code: Code,
        /// Type, field and access path, or the function.
        reason: String,
    },
    /// A function of the host refused, or panicked.
    Host {
        /// The function.
        function: String,
        /// Why.
        reason: String,
    },
    /// The instruction budget is used up.
    Budget {
        /// How many it was.
        insns: u64,
    },
    /// Another thread asked for the end.
    Aborted,
    /// A helper panicked; its effects up to then stay.
    Panicked,
}

/// The instruction at which a run ended abnormally, and why.
pub(crate) type Ended = (usize, FaultKind);

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Access {
                address,
                size,
                is_write,
            } => {
                let verb = if *is_write { "write to" } else { "read from" };
                write!(
                    f,
                    "{verb} {address:#x}, {size} bytes, which belongs to nothing the program may touch"
                )?;
                if *address < 1 << 12 {
                    f.write_str(" (a null pointer)")
                } else {
                    Ok(())
                }
            }
            Self::Bounds {
                object,
                offset,
                size,
                object_size,
            } => {
                write!(
                    f,
                    "access at offset {offset}, {size} bytes, of {object}, which has {object_size} bytes"
                )
            }
            Self::NotAPointer { found } => {
                write!(f, "memory access through {found}, which is not a pointer")
            }
            Self::Gone { object } => write!(f, "access to {object} that no longer exists"),
            Self::Uninitialised { register } => {
                write!(f, "r{register} is read but nothing was written to it")
            }
            Self::Misaligned { address, size } => {
                write!(
                    f,
                    "atomic operation at {address:#x}, which is not a multiple of its {size} bytes"
                )
            }
            Self::NotAMap { value } => write!(f, "a helper expected a map and got {value:#x}"),
            Self::NotHeld { what } => write!(f, "gives back or uses {what} that it does not hold"),
            Self::NotAFunction { value } => {
                write!(f, "a helper expected a callback and got {value:#x}")
            }
            Self::NoPacket => f.write_str("packet load without the context in r6"),
            Self::Thrown { cookie } => write!(f, "nothing catches the exception {cookie:#x}"),
            Self::CallDepth => f.write_str("more than 8 nested calls"),
            Self::Unsupported(what) => write!(f, "{what} is not supported by this engine"),
            Self::Unavailable { reason, .. } => f.write_str(reason),
            Self::Host { function, reason } => {
                write!(f, "the host's function `{function}` ends the run: {reason}")
            }
            Self::Budget { insns } => write!(f, "the budget of {insns} instructions is used up"),
            Self::Aborted => f.write_str("the run was aborted by another thread"),
            Self::Panicked => f.write_str("a helper panicked"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "program `{}`, insn {} ({}): {}",
            self.program, self.insn, self.text, self.kind
        )
    }
}

impl std::error::Error for Fault {}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        let code = match fault.kind {
            FaultKind::Budget { .. } => Code::RUN_BUDGET,
            FaultKind::Aborted => Code::RUN_ABORTED,
            FaultKind::Unavailable { code, .. } => code,
            FaultKind::Access { .. }
            | FaultKind::Bounds { .. }
            | FaultKind::NotAPointer { .. }
            | FaultKind::Gone { .. } => Code::RUN_FAULT,
            _ => Code::RUN_INVALID,
        };
        let mut diagnosis = Diagnosis::new(code, fault.kind.to_string()).in_program(&fault.program);
        if let FaultKind::Budget { .. } = fault.kind {
            diagnosis = diagnosis.help("bound the loop, or give the vm a larger budget");
        }
        if matches!(fault.kind, FaultKind::Access { address, .. } if address < 1 << 12) {
            diagnosis = diagnosis
                .help("compare the pointer that a lookup returns with NULL before using it");
        }
        if let FaultKind::Unavailable { code, .. } = fault.kind {
            diagnosis.stage = Stage::Run;
            diagnosis = diagnosis.help(twinbpf_verify::missing_help(code));
        }
        diagnosis.place.insn = Some((fault.insn, fault.text));
        diagnosis.place.source = fault.source.map(|source| *source);
        diagnosis.into()
    }
}
