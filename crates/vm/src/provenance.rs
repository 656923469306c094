//! Where a value comes from: what the checked interpreter tracks, and helpers state about what they return.

use std::collections::HashMap;

use twinbpf_object::Errno;
use twinbpf_object::insn::AluOp;

use crate::fault::FaultKind;

/// A value and where it comes from: in registers of the checked interpreter, between functions, from helpers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Returned {
    pub(crate) value: u64,
    pub(crate) provenance: Provenance,
}

impl Returned {
    /// Nothing was written here.
    pub(crate) const NOTHING: Self = Self {
        value: 0,
        provenance: Provenance::Uninitialised,
    };

    /// A plain number.
    pub(crate) fn number(value: u64) -> Self {
        Self {
            value,
            provenance: Provenance::Number,
        }
    }

    /// 0, or a negative error number.
    pub(crate) fn status(result: Result<(), Errno>) -> Self {
        match result {
            Ok(()) => Self::number(0),
            Err(errno) => Self::error(errno),
        }
    }

    /// A negative error number.
    pub(crate) fn error(errno: Errno) -> Self {
        Self::number((-i64::from(errno.0)).cast_unsigned())
    }

    /// A pointer to the start of an object that outlives the run.
    pub(crate) fn object(start: u32, len: u32, what: &'static str) -> Self {
        Self {
            value: u64::from(start),
            provenance: Provenance::object(start, len, what),
        }
    }
}

/// What the checked interpreter remembers across functions, callbacks and tail calls.
#[derive(Debug, Default)]
pub(crate) struct Tracked {
    /// Spilled pointers by address, with the bits they had: other bits mean that something else was stored there since.
    pub(crate) spilled: HashMap<i64, Returned>,
    /// Numbers of the frames that are on the stack.
    pub(crate) frames: Vec<u32>,
    /// Number of the youngest frame ever made.
    pub(crate) last_frame: u32,
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Provenance {
    /// Nothing was written to the register.
    Uninitialised,
    /// A number.
    Number,
    /// A pointer into an object.
    Object(ObjectReference),
    /// The end of the packet: comparable, not accessible.
    PacketEnd,
    /// A map or function handle.
    Handle,
}

/// The object that a pointer points into, wherever it points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ObjectReference {
    pub(crate) start: u32,
    pub(crate) len: u32,
    pub(crate) what: &'static str,
    /// For stack frames: which call made it. 0 for objects that outlive the run.
    pub(crate) frame: u32,
}

impl Provenance {
    /// A pointer to an object that outlives the run.
    pub(crate) fn object(start: u32, len: u32, what: &'static str) -> Self {
        Self::Object(ObjectReference {
            start,
            len,
            what,
            frame: 0,
        })
    }

    /// Whether `len` bytes at `address` lie in the object.
    ///
    /// # Errors
    ///
    /// A fault that says what the value is instead, or how far outside the access lies.
    pub(crate) fn check_access(&self, address: i64, len: u32) -> Result<(), FaultKind> {
        let object = match self {
            Self::Object(object) => object,
            Self::Uninitialised => {
                return Err(FaultKind::NotAPointer {
                    found: "an uninitialised value",
                });
            }
            Self::Number => return Err(FaultKind::NotAPointer { found: "a number" }),
            Self::PacketEnd => {
                return Err(FaultKind::NotAPointer {
                    found: "the end of the packet",
                });
            }
            Self::Handle => {
                return Err(FaultKind::NotAPointer {
                    found: "a map or function",
                });
            }
        };
        let offset = address - i64::from(object.start);
        if offset < 0 || offset + i64::from(len) > i64::from(object.len) {
            return Err(FaultKind::Bounds {
                object: object.what,
                offset,
                size: len,
                object_size: object.len,
            });
        }
        Ok(())
    }

    fn is_pointer(self) -> bool {
        matches!(self, Self::Object(_) | Self::PacketEnd)
    }
}

/// Where the result of a 64-bit operation comes from.
pub(crate) fn of_result(op: AluOp, left: Provenance, right: Provenance) -> Provenance {
    match (op, left.is_pointer(), right.is_pointer()) {
        (AluOp::Mov, ..) => right,
        (AluOp::Add | AluOp::Sub, true, false) => left,
        (AluOp::Add, false, true) => right,
        _ => Provenance::Number,
    }
}
