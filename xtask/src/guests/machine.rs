//! One machine: QEMU with a kernel and an archive, its console read until the end mark or the deadline.
//!
//! The machine is emulated in software, so it needs no privilege and no device of the host, and runs in a container too.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

const QEMU: &str = "qemu-system-x86_64";
/// What the first process puts before its own lines.
const MARK: &str = "@guest ";

/// What one program wrote, and how it ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ran {
    pub(super) name: String,
    pub(super) lines: Vec<String>,
    /// As `ExitStatus` is shown; `None` if the machine ended before the program did.
    pub(super) status: Option<String>,
}

/// All that was read from a machine's console.
#[derive(Debug, Default)]
pub(super) struct Console {
    pub(super) ran: Vec<Ran>,
    /// Lines outside of any program.
    pub(super) rest: Vec<String>,
    /// Whether the plan was done to its end.
    pub(super) is_over: bool,
}

/// Whether machines can be had here.
pub(super) fn is_there() -> bool {
    let output = Command::new(QEMU).arg("--version").output();
    output.is_ok_and(|output| output.status.success())
}

/// Starts a machine and reads its console to the end. It is gone when this returns.
///
/// # Errors
///
/// If QEMU cannot be started. A machine that ends early is not an error: the console shows it.
pub(super) fn run(image: &Path, archive: &Path, deadline: Duration) -> Result<Console, String> {
    let mut machine = Command::new(QEMU)
        // KERNEL: with pages of five levels, emulated 6.1 and 6.12 are much slower.
        .args([
            "-accel",
            "tcg",
            "-cpu",
            "max,la57=off",
            "-smp",
            "2",
            "-m",
            "2048",
        ])
        .args([
            "-nodefaults",
            "-no-reboot",
            "-display",
            "none",
            "-serial",
            "stdio",
        ])
        .args([
            "-append",
            "console=ttyS0 quiet loglevel=4 panic=-1 lsm=lockdown,bpf mitigations=off",
        ])
        .arg("-kernel")
        .arg(image)
        .arg("-initrd")
        .arg(archive)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{QEMU}: {error}"))?;
    let mut console = Console::default();
    read(
        &lines_of(&mut machine),
        Instant::now() + deadline,
        &mut console,
    );
    // It may have ended by itself; then there is nothing to kill.
    let _ = machine.kill();
    machine.wait().map_err(|error| format!("{QEMU}: {error}"))?;
    Ok(console)
}

/// The machine's lines, from a thread that ends with the machine.
fn lines_of(machine: &mut Child) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    if let Some(output) = machine.stdout.take() {
        thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line)
                    .trim_end_matches('\r')
                    .to_owned();
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
    }
    receiver
}

fn read(lines: &Receiver<String>, end: Instant, console: &mut Console) {
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match lines.recv_timeout(left) {
            Ok(line) => console.take(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                console
                    .rest
                    .push("the machine was stopped at its deadline".to_owned());
                return;
            }
        }
    }
}

impl Console {
    fn take(&mut self, line: String) {
        let open = self.ran.last_mut().filter(|ran| ran.status.is_none());
        let Some(at) = line.find(MARK) else {
            match open {
                Some(ran) => ran.lines.push(line),
                None => self.rest.push(line),
            }
            return;
        };
        let words = &line[at + MARK.len()..];
        match (words.split_once(' '), open) {
            (Some(("begin", name)), _) => self.ran.push(Ran {
                name: name.to_owned(),
                ..Ran::default()
            }),
            (Some(("end", words)), Some(ran)) => {
                let status = words.strip_prefix(&ran.name).unwrap_or(words);
                ran.status = Some(status.trim().to_owned());
            }
            _ if words == "over" => self.is_over = true,
            _ => self.rest.push(line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_belong_to_the_program_that_runs() {
        let mut console = Console::default();
        let lines = [
            "[    0.1] a kernel's word",
            "@guest begin maps",
            "test a ... ok",
            "@guest end maps exit status: 0",
            "@guest begin last",
        ];
        lines
            .iter()
            .for_each(|line| console.take((*line).to_owned()));
        let ran = |name: &str, lines: &[&str], status: Option<&str>| Ran {
            name: name.to_owned(),
            lines: lines.iter().map(|line| (*line).to_owned()).collect(),
            status: status.map(str::to_owned),
        };
        let expected = [
            ran("maps", &["test a ... ok"], Some("exit status: 0")),
            ran("last", &[], None),
        ];
        assert_eq!(console.ran, expected);
        assert!(!console.is_over && console.rest.len() == 1);
        console.take("@guest over".to_owned());
        assert!(console.is_over);
    }
}
