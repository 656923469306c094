//! The example `sockex1` as a newcomer runs it: five lines, once a second, equal to the byte to what it sent.
//!
//! `cargo test` builds the examples; a run of this test alone takes the one that is there.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use twinbpf_trials::{Case, Need};

/// The user that root becomes to be an ordinary one: `nobody`.
const NOBODY: u32 = 65534;

/// How long the first line may take.
const FIRST_LINE: Duration = Duration::from_millis(1500);

fn main() -> ExitCode {
    let kernel = [Need::Kernel];
    let user = [Need::UserNamespaces];
    let folder = install();
    let exit = twinbpf_trials::run(vec![
        Case::new("kernel", &kernel, || {
            counts_what_it_sent(User::Myself, &["--engine", "kernel"])
        }),
        Case::new("kernel_legacy", &kernel, || {
            counts_what_it_sent(User::Myself, &["--engine", "kernel", "--legacy"]);
        }),
        Case::new("vm", &user, || {
            counts_what_it_sent(User::Ordinary, &["--engine", "vm"])
        }),
        Case::new("vm_legacy", &user, || {
            counts_what_it_sent(User::Ordinary, &["--engine", "vm", "--legacy"]);
        }),
        Case::new("auto", &user, || counts_what_it_sent(User::Ordinary, &[])),
        Case::new(
            "without_user_namespaces_frames_go_to_the_hook_directly",
            &user,
            without_user_namespaces_frames_go_to_the_hook_directly,
        ),
        Case::new(
            "an_engine_that_is_not_there_is_refused",
            &[],
            an_unknown_engine_is_refused,
        ),
    ]);
    folder.close().unwrap();
    exit
}

/// Who runs the example.
#[derive(Clone, Copy, PartialEq, Eq)]
enum User {
    /// Whoever runs the tests.
    Myself,
    /// Somebody without privileges; myself, if I have none.
    Ordinary,
}

/// A copy of the example where every user may run it. Made once, before any test starts: a program cannot be started while
/// a file descriptor for writing it is open, and a process that another test is just starting would hold one.
fn install() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // Tests lie in `deps`, examples beside it.
    let own = std::env::current_exe().unwrap();
    let built = own
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .join("examples/sockex1");
    let path = folder.path().join("sockex1");
    assert!(
        fs::copy(&built, &path).is_ok(),
        "{} is not there: cargo build --examples",
        built.display()
    );
    EXAMPLE.set(path).unwrap();
    folder
}

static EXAMPLE: OnceLock<PathBuf> = OnceLock::new();

fn example(user: User) -> Command {
    let mut command = Command::new(EXAMPLE.get().unwrap());
    if user == User::Ordinary && rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// The lines of a run, each as TCP, UDP and ICMP; and what it said beside them.
fn run(command: &mut Command) -> (Vec<[u64; 3]>, String) {
    let start = Instant::now();
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        if lines.is_empty() {
            let elapsed = start.elapsed();
            assert!(elapsed < FIRST_LINE, "the first line took {elapsed:?}");
        }
        lines.push(numbers(&line.unwrap()));
    }
    let mut talk = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut talk)
        .unwrap();
    assert!(child.wait().unwrap().success(), "{talk}");
    assert_eq!(lines.len(), 5, "{talk}");
    (lines, talk)
}

/// Reads `TCP n UDP n ICMP n bytes`.
fn numbers(line: &str) -> [u64; 3] {
    let words: Vec<&str> = line.split(' ').collect();
    let ["TCP", tcp, "UDP", udp, "ICMP", icmp, "bytes"] = words[..] else {
        unreachable!("an unexpected line: {line}");
    };
    [tcp, udp, icmp].map(|number| number.parse().unwrap())
}

fn counts_what_it_sent(user: User, arguments: &[&str]) {
    let (lines, talk) = run(example(user).args(arguments));
    for (second, [tcp, udp, icmp]) in (1..).zip(&lines) {
        // Per second: 7 datagrams in 142 bytes, 3 in 1042, and 5 echoes with their replies, 98 bytes each.
        assert_eq!((*udp, *icmp), (4120 * second, 980 * second), "{lines:?}");
        assert!(*tcp > 10_000 * second, "{lines:?}");
    }
    let sent = "sent: UDP 20600 ICMP 4900 bytes, and 50000 bytes over TCP";
    assert!(talk.contains(sent), "{talk}");
}

/// In a user namespace that allows no further ones, and without the privileges that it brings.
fn without_user_namespaces_frames_go_to_the_hook_directly() {
    // The limit belongs to the namespace that `unshare` made, and goes with it.
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && \
                  exec setpriv --bounding-set=-all --inh-caps=-all \"$0\"";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "sh", "-c", script]);
    let (lines, talk) = run(command.arg(EXAMPLE.get().unwrap()));
    assert_eq!(lines[4], [5 * 1566, 5 * 142, 5 * 98]);
    assert!(talk.contains("frames go to the hook directly"), "{talk}");
    assert!(talk.contains("made up: 9030 bytes"), "{talk}");
}

fn an_unknown_engine_is_refused() {
    let output = example(User::Myself)
        .args(["--engine", "cloud"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("no engine `cloud`"), "{text}");
}
