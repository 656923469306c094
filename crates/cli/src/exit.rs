//! The exit status: one table, in the order of the README.

use std::process::ExitCode;

use twinbpf::ErrorKind;

/// How the command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0: done.
    Done,
    /// 1: the answer is "no": the command that was run failed, a run of a program ended abnormally, or a system service
    /// did not work.
    No,
    /// 2: the command line makes no sense.
    Usage,
    /// 3: a file, map, interface or command is not there.
    NotFound,
    /// 4: a privilege is missing.
    Permission,
    /// 5: a verifier, or the kernel's rules for maps, said no.
    Rejected,
    /// 6: the object, its BTF or the capture is malformed.
    BadObject,
    /// 7: this kernel or engine cannot do it.
    Unsupported,
    /// 8: a limit was hit: memory, a full map.
    Limit,
    /// 124: the time was over before the command had ended.
    TimeOver,
    /// 130: interrupted before it was done.
    Interrupted,
}

impl Exit {
    /// The status that an error of this kind ends with.
    pub(crate) fn of(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Usage => Self::Usage,
            ErrorKind::NotFound => Self::NotFound,
            ErrorKind::Permission => Self::Permission,
            ErrorKind::Rejected => Self::Rejected,
            ErrorKind::BadObject => Self::BadObject,
            ErrorKind::Unsupported => Self::Unsupported,
            ErrorKind::Limit => Self::Limit,
            // `Exists`, `Fault`, `Io`, and whatever the library adds.
            _ => Self::No,
        }
    }
}

impl Exit {
    /// The number.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::No => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Permission => 4,
            Self::Rejected => 5,
            Self::BadObject => 6,
            Self::Unsupported => 7,
            Self::Limit => 8,
            Self::TimeOver => 124,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}
