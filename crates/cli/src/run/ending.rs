//! How a run ended, and the exit status that follows.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use twinbpf::LinkStats;

use crate::exit::Exit;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// There was nothing to run: the object was loaded, and that was all.
    Loaded,
    /// The capture was read to its end.
    CaptureRead,
    /// The command ended by itself.
    Command(ExitStatus),
    /// The time was over; `cut_short` if a command was still running.
    TimeOver { cut_short: bool },
    /// Ctrl-C, or a request to terminate; `cut_short` unless that was the only way to end.
    Interrupted { cut_short: bool },
}

impl Ending {
    /// The exit status. A program that faulted turns "done" into "no".
    pub(super) fn exit(&self, stats: &[LinkStats]) -> Exit {
        match self {
            Self::TimeOver { cut_short: true } => Exit::TimeOver,
            Self::Interrupted { cut_short: true } => Exit::Interrupted,
            Self::Command(status) if !status.success() => Exit::No,
            _ if stats.iter().any(|each| each.faults > 0) => Exit::No,
            _ => Exit::Done,
        }
    }

    /// The stable word for JSON.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::CaptureRead => "capture_read",
            Self::Command(_) => "command_ended",
            Self::TimeOver { .. } => "time_over",
            Self::Interrupted { .. } => "interrupted",
        }
    }

    /// A sentence for people, where there is something to say.
    pub(super) fn sentence(&self) -> Option<String> {
        match self {
            Self::Command(status) => Some(match (status.code(), status.signal()) {
                (Some(code), _) => format!("command: exit status {code}"),
                (None, Some(signal)) => format!("command: ended by signal {signal}"),
                (None, None) => format!("command: {status}"),
            }),
            Self::TimeOver { cut_short: true } => {
                Some("command: ended by us, the time was over".to_owned())
            }
            Self::Interrupted { cut_short: true } => Some("interrupted".to_owned()),
            _ => None,
        }
    }
}
