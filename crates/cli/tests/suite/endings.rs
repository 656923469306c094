//! How a run ends: with its command, with its time, with Ctrl-C, with the reader of its output; and that nothing stays behind.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use twinbpf_trials::{Case, Need};

use crate::support::{Answer, User, Workshop};

const OBJECT: &str = "sockex1_legacy20.bpf.o";

pub(crate) fn cases() -> Vec<Case> {
    let cases: [(&str, fn()); 8] = [
        (
            "a_failing_command_makes_the_answer_no",
            a_failing_command_makes_the_answer_no,
        ),
        (
            "a_command_killed_by_a_signal_is_reported",
            a_command_killed_by_a_signal_is_reported,
        ),
        ("time_over_ends_the_command", time_over_ends_the_command),
        (
            "time_over_without_a_command_is_the_end",
            time_over_without_a_command_is_the_end,
        ),
        (
            "ctrl_c_that_cuts_a_command_short_is_130",
            ctrl_c_that_cuts_a_command_short_is_130,
        ),
        (
            "ctrl_c_is_the_way_to_end_without_a_command",
            ctrl_c_is_the_way_to_end_without_a_command,
        ),
        (
            "a_reader_who_has_seen_enough_ends_the_run",
            a_reader_who_has_seen_enough_ends_the_run,
        ),
        (
            "a_faulting_program_is_reported_and_makes_the_answer_no",
            a_faulting_program_is_reported,
        ),
    ];
    cases
        .into_iter()
        .map(|(name, body)| Case::new(&format!("endings::{name}"), &[Need::UserNamespaces], body))
        .collect()
}

fn workshop() -> Workshop {
    let workshop = Workshop::new(User::Ordinary);
    workshop.put_fixture(OBJECT);
    workshop
}

/// Runs in a private network made by `unshare`, attached to its `lo`, without a command.
fn without_a_command(workshop: &Workshop, arguments: &[&str]) -> std::process::Command {
    let mut command = workshop.as_user("unshare".as_ref());
    command.args([
        "--map-root-user",
        "--net",
        "./twinbpf",
        "run",
        OBJECT,
        "--engine",
        "vm",
    ]);
    command.args(["--attach", "socket:lo"]).args(arguments);
    command
}

fn a_failing_command_makes_the_answer_no() {
    let answer = workshop().run(&[
        "run", OBJECT, "--engine", "vm", "--json", "--", "sh", "-c", "exit 3",
    ]);
    assert_eq!(answer.status, Some(1), "{answer:?}");
    assert_eq!(answer.last_document()["command"]["exit_status"], 3);
    assert!(
        answer.stderr.contains("command: exit status 3"),
        "{answer:?}"
    );
}

fn a_command_killed_by_a_signal_is_reported() {
    let answer = workshop().run(&[
        "run",
        OBJECT,
        "--engine",
        "vm",
        "--json",
        "--",
        "sh",
        "-c",
        "kill -9 $$",
    ]);
    assert_eq!(answer.status, Some(1), "{answer:?}");
    assert_eq!(answer.last_document()["command"]["signal"], 9);
}

fn time_over_ends_the_command() {
    let workshop = workshop();
    // The command says its own number, and would stay for a minute.
    let answer = workshop.run(&[
        "run",
        OBJECT,
        "--engine",
        "vm",
        "--json",
        "--for",
        "200ms",
        "--",
        "sh",
        "-c",
        "echo pid $$; exec sleep 60",
    ]);
    assert_eq!(answer.status, Some(124), "{answer:?}");
    assert_eq!(answer.last_document()["reason"], "time_over");
    let pid = answer
        .stderr
        .lines()
        .find_map(|line| line.strip_prefix("pid "))
        .unwrap();
    assert!(
        !std::path::Path::new("/proc").join(pid).exists(),
        "the command still runs"
    );
}

fn time_over_without_a_command_is_the_end() {
    let workshop = workshop();
    let start = Instant::now();
    let output = without_a_command(&workshop, &["--json", "--for", "1s"])
        .output()
        .unwrap();
    let answer = Answer::from(output);
    assert_eq!(answer.status, Some(0), "{answer:?}");
    assert!(start.elapsed() >= Duration::from_secs(1));
    let documents = answer.documents();
    assert_eq!(documents.len(), 2, "one second, and the end: {documents:?}");
    assert_eq!(documents[0]["event"], "tick");
    assert_eq!(documents[1]["event"], "end");
}

fn ctrl_c_that_cuts_a_command_short_is_130() {
    let workshop = workshop();
    let mut command = workshop.command();
    command.args([
        "run", OBJECT, "--engine", "vm", "--json", "--", "sleep", "60",
    ]);
    let answer = interrupt_after_one_line(command);
    assert_eq!(answer.status, Some(130), "{answer:?}");
    assert_eq!(answer.last_document()["reason"], "interrupted");
}

fn ctrl_c_is_the_way_to_end_without_a_command() {
    let workshop = workshop();
    let answer = interrupt_after_one_line(without_a_command(&workshop, &["--json"]));
    assert_eq!(answer.status, Some(0), "{answer:?}");
    assert_eq!(answer.last_document()["reason"], "interrupted");
}

fn a_reader_who_has_seen_enough_ends_the_run() {
    let workshop = workshop();
    let mut command = without_a_command(&workshop, &["--json"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    // The reader is dropped: the next line finds a closed pipe.
    assert_eq!(wait(&mut child), Some(0));
}

fn a_faulting_program_is_reported() {
    let workshop = workshop();
    workshop.put_fixture("null_value.bpf.o");
    let answer = workshop.run(&[
        "run",
        "null_value.bpf.o",
        "--engine",
        "vm",
        "--json",
        "--",
        "./sender",
        "traffic",
        "lo.pcap",
    ]);
    assert_eq!(answer.status, Some(1), "{answer:?}");
    let link = &answer.last_document()["links"][0];
    assert!(link["faults"].as_u64().unwrap() > 0, "{link}");
    assert_eq!(link["faults"], link["frames"]);
    assert!(
        answer.stderr.contains("runs ended abnormally"),
        "{answer:?}"
    );
    assert!(answer.stderr.contains("null pointer"), "{answer:?}");
}

/// Waits for the first line of output, which shows that it runs, and sends what Ctrl-C sends.
fn interrupt_after_one_line(mut command: std::process::Command) -> Answer {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    stdout.read_line(&mut text).unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    stdout.read_to_string(&mut text).unwrap();
    let mut stderr = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut stderr)
        .unwrap();
    Answer {
        status: wait(&mut child),
        stdout: text,
        stderr,
    }
}

/// Waits for the end, ten seconds at most.
fn wait(child: &mut Child) -> Option<i32> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    panic!("it did not end within ten seconds");
}
