//! What programs print (`bpf_trace_printk`), read without taking it from anybody else.
//!
//! The kernel writes prints into its tracing buffer, whose pipe gives each line to one reader. So a buffer of our own is made, a
//! tracing *instance*, in which the event of prints alone is on; it goes when we do. One that a killed process left is removed by the
//! next: the kernel keeps those that somebody reads.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use twinbpf_object::{Code, Diagnosis, Errno, Error, Result};

use crate::host;
use crate::privilege::{Capability, Privileges};

/// The prints of all programs of this kernel, from now on.
#[derive(Debug)]
pub struct ProgramPrints {
    /// Closed before the folder goes: one that is read stays.
    pipe: Option<File>,
    folder: PathBuf,
    /// What was read of a line that has not ended.
    rest: Vec<u8>,
}

/// Something that a program printed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProgramPrint {
    /// The name of the task in which the program ran, as far as the kernel remembers it.
    pub task: String,
    /// The task's number.
    pub pid: u32,
    /// The CPU it ran on.
    pub cpu: u32,
    /// Since the machine was started, in seconds, as the kernel writes it.
    pub time: String,
    /// A line of text.
    pub text: String,
}

impl ProgramPrints {
    /// Begins to listen.
    ///
    /// # Errors
    ///
    /// If the kernel has no tracing folder, its prints are no event (before 5.9), or a privilege is missing.
    pub fn open() -> Result<Self> {
        let root = host::tracing_folder().ok_or_else(no_folder)?;
        let instances = root.join("instances");
        forget_the_dead(&instances);
        let name = format!("{PREFIX}{}", std::process::id());
        let folder = (0..)
            .map(|number| instances.join(format!("{name}-{number}")))
            .find(|folder| !folder.exists())
            .unwrap_or_else(|| instances.join(name));
        fs::create_dir(&folder).map_err(|error| refused("a tracing instance", &error))?;
        let mut prints = Self {
            pipe: None,
            folder,
            rest: Vec::new(),
        };
        let event = prints.folder.join(EVENT);
        fs::write(&event, "1").map_err(|error| refused("the event of prints", &error))?;
        let pipe = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(prints.folder.join("trace_pipe"));
        prints.pipe = Some(pipe.map_err(|error| refused("the pipe of prints", &error))?);
        Ok(prints)
    }

    /// What was printed since the last time; waits so long for something.
    ///
    /// # Errors
    ///
    /// If the kernel's pipe fails.
    pub fn wait(&mut self, timeout: Duration) -> Result<Vec<ProgramPrint>> {
        let Some(pipe) = &mut self.pipe else {
            return Ok(Vec::new());
        };
        let failed = |error: io::Error| refused("the pipe of prints", &error);
        let timeout = Timespec::try_from(timeout).ok();
        let mut waited = [PollFd::new(pipe, PollFlags::IN)];
        match poll(&mut waited, timeout.as_ref()) {
            // Somebody asked us to end.
            Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
            outcome => outcome.map_err(|errno| failed(errno.into()))?,
        };
        let mut buffer = [0; 4096];
        loop {
            match pipe.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => self.rest.extend(buffer.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(failed(error)),
            }
        }
        let end = self.rest.iter().rposition(|byte| *byte == b'\n');
        let lines: Vec<u8> = self.rest.drain(..end.map_or(0, |end| end + 1)).collect();
        let lines = String::from_utf8_lossy(&lines);
        Ok(lines.lines().filter_map(ProgramPrint::read).collect())
    }
}

impl Drop for ProgramPrints {
    fn drop(&mut self) {
        self.pipe = None;
        // One that cannot be removed is removed by who listens next.
        let _ = fs::remove_dir(&self.folder);
    }
}

impl ProgramPrint {
    /// Reads `name-17  [001] b..11 63717.660024: bpf_trace_printk: text`; other lines continue the text of the one before.
    fn read(line: &str) -> Option<Self> {
        let Some((head, text)) = line.split_once(MARK) else {
            // The kernel's own remarks, as on lost events, stand in brackets.
            let is_text = !line.is_empty() && !line.starts_with("CPU:");
            return is_text.then(|| Self {
                text: line.to_owned(),
                ..Self::default()
            });
        };
        let mut fields = head.trim().rsplitn(4, char::is_whitespace);
        let (time, _flags, cpu) = (fields.next()?, fields.next()?, fields.next()?);
        let (task, pid) = fields.next()?.trim().rsplit_once('-')?;
        Some(Self {
            task: task.to_owned(),
            pid: pid.parse().ok()?,
            cpu: cpu.trim_matches(['[', ']']).parse().ok()?,
            time: time.to_owned(),
            text: text.to_owned(),
        })
    }
}

/// Removes instances of ours whose process has ended; those that are read stay, whoever reads them.
fn forget_the_dead(instances: &Path) {
    for entry in fs::read_dir(instances).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            // The kernel refuses where somebody reads it, or it has gone already.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

fn no_folder() -> Error {
    let message =
        "the kernel's prints cannot be read: no tracefs is mounted, or it is not for this user";
    Diagnosis::new(Code::HOST_IO, message)
        .help("as root, mount it if it is missing: mount -t tracefs none /sys/kernel/tracing")
        .into()
}

fn refused(what: &str, error: &io::Error) -> Error {
    let errno = Errno(error.raw_os_error().unwrap_or_default());
    let diagnosis =
        Diagnosis::new(Code::HOST_IO, format!("{what} cannot be had: {error}")).errno(errno);
    match errno {
        Errno::EPERM | Errno::EACCES => {
            Privileges::read().explain_here(diagnosis, &[Capability::SysAdmin])
        }
        Errno::ENOENT => diagnosis.fact("prints are an event since", "Linux 5.9"),
        _ => diagnosis,
    }
    .into()
}

const PREFIX: &str = "twinbpf-";
const EVENT: &str = "events/bpf_trace/bpf_trace_printk/enable";
const MARK: &str = ": bpf_trace_printk: ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_taken_apart_whatever_the_task_is_called() {
        let line = "  my task-1-1767    [001] b..11 63717.660024: bpf_trace_printk: len 37: ok";
        let print = ProgramPrint::read(line).unwrap();
        assert_eq!(
            (print.task.as_str(), print.pid, print.cpu),
            ("my task-1", 1767, 1)
        );
        assert_eq!(
            (print.time.as_str(), print.text.as_str()),
            ("63717.660024", "len 37: ok")
        );
        let continued = ProgramPrint::read("second line").unwrap();
        assert_eq!((continued.pid, continued.text.as_str()), (0, "second line"));
        assert_eq!(ProgramPrint::read("CPU:1 [LOST 3 EVENTS]"), None);
        assert_eq!(ProgramPrint::read("x: bpf_trace_printk: y"), None);
    }
}
