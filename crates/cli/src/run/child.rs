//! The command whose traffic is counted.

use std::ffi::{OsStr, OsString};
use std::io;
use std::process::{Child as Process, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use twinbpf::{Code, Diagnosis, Errno, Error, ErrorKind, Result};

/// How long a command may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(2);

/// A running command. It does not outlive this value.
#[derive(Debug)]
pub(super) struct Child(Process);

impl Child {
    /// Starts a command. What it writes to its stdout goes to our stderr: our stdout is for data.
    pub(super) fn start(program: &OsStr, arguments: &[OsString]) -> Result<Self> {
        Command::new(program)
            .args(arguments)
            .stdout(Stdio::from(io::stderr()))
            .spawn()
            .map(Self)
            .map_err(|error| not_started(program, &error))
    }

    /// Its exit status, once it has ended.
    pub(super) fn status(&mut self) -> Result<Option<ExitStatus>> {
        self.0.try_wait().map_err(|error| {
            Diagnosis::new(Code::HOST_IO, format!("the command is lost: {error}")).into()
        })
    }

    /// Ends the command if it still runs: asks first, and insists after two seconds.
    pub(super) fn end(&mut self) {
        let Ok(None) = self.0.try_wait() else { return };
        if let Some(pid) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            // It may end by itself at this moment; then there is nothing left to ask.
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        // As above; `wait` then only collects it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.end();
    }
}

fn not_started(program: &OsStr, error: &io::Error) -> Error {
    let name = program.to_string_lossy();
    let diagnosis = match error.kind() {
        io::ErrorKind::NotFound => {
            Diagnosis::new(Code::COMMAND, format!("there is no command `{name}`"))
        }
        io::ErrorKind::PermissionDenied => {
            Diagnosis::new(Code::COMMAND, format!("`{name}` may not be executed"))
                .kind(ErrorKind::Permission)
        }
        _ => Diagnosis::new(Code::COMMAND, format!("`{name}` could not be started"))
            .kind(ErrorKind::Io),
    };
    match error.raw_os_error() {
        Some(number) => diagnosis.errno(Errno(number)).into(),
        None => diagnosis.into(),
    }
}
