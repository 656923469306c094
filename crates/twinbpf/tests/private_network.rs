//! A private network as root and as an ordinary user, and what a live packet socket sees of known traffic in it.
//!
//! Namespaces belong to threads and want a process that has only one, so there is no test harness here: each case is this
//! program started again, with the name of the case as its argument.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and reports on stdout"
)]

#[path = "../examples/sockex1/traffic.rs"]
mod traffic;

use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use traffic::Traffic;
use twinbpf::PrivateNetwork;
use twinbpf_vm::capture::PacketKind;
use twinbpf_vm::live::PacketSocket;

/// Name, case.
const CASES: &[(&str, fn())] = &[
    (
        "every_frame_is_seen_once_outgoing_and_once_incoming",
        every_frame_is_seen_once_outgoing_and_once_incoming,
    ),
    (
        "a_frame_longer_than_the_buffer_keeps_its_true_length",
        a_frame_longer_than_the_buffer_keeps_its_true_length,
    ),
    (
        "an_overflowing_socket_counts_what_it_drops",
        an_overflowing_socket_counts_what_it_drops,
    ),
    (
        "an_interface_that_is_not_there_is_refused_by_name",
        an_interface_that_is_not_there_is_refused_by_name,
    ),
    ("tcp_arrives_whole", tcp_arrives_whole),
    (
        "a_refusal_names_the_setting_that_forbids_it",
        a_refusal_names_the_setting_that_forbids_it,
    ),
];

/// The user that root becomes to be an ordinary one: `nobody`.
const NOBODY: u32 = 65534;

/// The argument that only asks whether a private network can be made.
const PROBE: &str = "probe";

fn main() -> ExitCode {
    let case = std::env::args().nth(1).unwrap_or_default();
    if case == PROBE {
        return probe();
    }
    if let Some((_, run)) = CASES.iter().find(|(name, _)| *name == case) {
        run();
        return ExitCode::SUCCESS;
    }
    // Arguments that name no case come from the test runner: `--list` must not run anything.
    if std::env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    run_all(None);
    if rustix::process::geteuid().is_root() {
        run_all(Some(NOBODY));
    }
    ExitCode::SUCCESS
}

/// Says on stdout why no private network can be made here, if so.
fn probe() -> ExitCode {
    match PrivateNetwork::enter() {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{}", error.diagnosis().render());
            ExitCode::FAILURE
        }
    }
}

/// Runs every case as this user or another, unless this machine forbids private networks and nobody promised them.
fn run_all(user: Option<u32>) {
    let who = user.map_or_else(|| "this user".to_owned(), |user| format!("user {user}"));
    // Root of a container may not be able to become another user: then the start itself fails.
    let can_enter = match start(PROBE, user) {
        Ok(status) => status.success(),
        Err(error) => {
            println!("a process cannot be started as {who}: {error}");
            false
        }
    };
    if !can_enter {
        let promised = std::env::var("TWINBPF_REQUIRE").unwrap_or_default();
        let is_promised = promised.split(',').any(|name| name == "userns");
        assert!(
            !is_promised,
            "no private network as {who}, yet it is required"
        );
        println!("{} cases as {who} ... ignored, see above", CASES.len());
        return;
    }
    for (name, _) in CASES {
        let status = start(name, user).unwrap();
        assert!(status.success(), "{name} as {who}: {status}");
        println!("{name} as {who} ... ok");
    }
}

/// Runs one case in a process of its own.
fn start(name: &str, user: Option<u32>) -> io::Result<ExitStatus> {
    let mut command = Command::new("/proc/self/exe");
    command.arg(name);
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    command.status()
}

fn every_frame_is_seen_once_outgoing_and_once_incoming() {
    let network = PrivateNetwork::enter().unwrap();
    let is_root = rustix::process::geteuid().is_root();
    assert!(is_root, "root inside, whoever we were outside");
    assert!(network.allows_ping());

    let mut socket = PacketSocket::open("lo").unwrap();
    assert!(socket.is_up().unwrap());
    let mut traffic = Traffic::open().unwrap();
    let udp = traffic.udp(7, 100).unwrap() + traffic.udp(3, 1000).unwrap();
    let icmp = traffic.icmp_echo(5, 56).unwrap();
    assert_eq!((udp, icmp), (4120, 980));

    let seen = receive_all(&mut socket);
    let kinds: Vec<PacketKind> = seen.iter().map(|frame| frame.kind).collect();
    for pair in kinds.chunks(2) {
        assert_eq!(pair, [PacketKind::Outgoing, PacketKind::Host]);
    }
    let mut counts = BTreeMap::new();
    for frame in &seen {
        assert_eq!(frame.ethertype, 0x0800);
        assert_eq!(frame.interface, socket.interface_index());
        *counts
            .entry((frame.kind.number(), frame.ip_protocol, frame.len))
            .or_insert(0) += 1;
    }
    let expected = [
        ((0, 1, 98), 10),
        ((0, 17, 142), 7),
        ((0, 17, 1042), 3),
        ((4, 1, 98), 10),
        ((4, 17, 142), 7),
        ((4, 17, 1042), 3),
    ];
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), expected);
    let statistics = socket.statistics().unwrap();
    assert_eq!((statistics.received, statistics.dropped), (40, 0));
    // The kernel's counts start over at every read; ours do not.
    assert_eq!(socket.statistics().unwrap().received, 40);
}

fn a_frame_longer_than_the_buffer_keeps_its_true_length() {
    let _network = PrivateNetwork::enter().unwrap();
    let mut socket = PacketSocket::open("lo").unwrap();
    Traffic::open().unwrap().udp(1, 5000).unwrap();
    let mut small = [0; 64];
    let frame = socket.recv(&mut small).unwrap().unwrap();
    assert_eq!((frame.captured_len, frame.original_len), (64, 5042));
}

fn an_overflowing_socket_counts_what_it_drops() {
    let _network = PrivateNetwork::enter().unwrap();
    let mut socket = PacketSocket::open("lo").unwrap();
    // The smallest buffer the kernel gives holds a few frames.
    rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 1).unwrap();
    Traffic::open().unwrap().udp(500, 1000).unwrap();
    let seen = u64::try_from(receive_all(&mut socket).len()).unwrap();
    let statistics = socket.statistics().unwrap();
    assert_eq!(statistics.received, seen);
    assert_eq!(statistics.received + statistics.dropped, 1000);
    assert!(statistics.dropped > 0, "{statistics:?}");
}

fn an_interface_that_is_not_there_is_refused_by_name() {
    let _network = PrivateNetwork::enter().unwrap();
    for name in ["eth77", "", "a-name-longer-than-any-interface-has"] {
        let error = PacketSocket::open(name).unwrap_err();
        assert_eq!(error.diagnosis().code.as_str(), "A002", "{error}");
        assert_eq!(error.diagnosis().facts[0].value, "lo");
    }
}

fn tcp_arrives_whole() {
    let _network = PrivateNetwork::enter().unwrap();
    let mut socket = PacketSocket::open("lo").unwrap();
    let sent = Traffic::open().unwrap().tcp(300_000).unwrap();
    assert_eq!(sent, 300_000);
    // The last acknowledgement may still be on its way in when the connection is closed.
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut seen = receive_all(&mut socket);
    while total(&seen, PacketKind::Outgoing) != total(&seen, PacketKind::Host) {
        assert!(Instant::now() < deadline, "a frame left and never arrived");
        std::thread::yield_now();
        seen.extend(receive_all(&mut socket));
    }
    assert!(seen.iter().all(|frame| frame.ip_protocol == 6));
    assert!(total(&seen, PacketKind::Outgoing) > sent);
}

/// Bytes of all frames of one kind.
fn total(seen: &[Seen], kind: PacketKind) -> u64 {
    let frames = seen.iter().filter(|frame| frame.kind == kind);
    frames.map(|frame| u64::from(frame.len)).sum()
}

fn a_refusal_names_the_setting_that_forbids_it() {
    // The limits of a user namespace are its own, so this changes nothing outside. Real root has no such cover.
    if !PrivateNetwork::enter().unwrap().is_user_namespace() {
        println!("skipped: the limit of the whole machine would change");
        return;
    }
    std::fs::write("/proc/sys/user/max_net_namespaces", "0").unwrap();
    let error = PrivateNetwork::enter().unwrap_err();
    assert!(error.is_permission());
    let diagnosis = error.diagnosis();
    assert_eq!(diagnosis.code.as_str(), "H003");
    let fact = (
        diagnosis.facts[0].label.as_str(),
        diagnosis.facts[0].value.as_str(),
    );
    assert_eq!(fact, ("user.max_net_namespaces", "0"));
    assert!(diagnosis.help[0].contains("switched off"), "{error}");
}

/// What a test wants to know of a frame.
struct Seen {
    kind: PacketKind,
    len: u32,
    ethertype: u16,
    ip_protocol: u8,
    interface: u32,
}

fn receive_all(socket: &mut PacketSocket) -> Vec<Seen> {
    let mut buffer = vec![0; 1 << 17];
    let mut seen = Vec::new();
    while let Some(frame) = socket.recv(&mut buffer).unwrap() {
        seen.push(Seen {
            kind: frame.packet_kind,
            len: frame.original_len,
            ethertype: frame.protocol,
            ip_protocol: buffer[14 + 9],
            interface: frame.interface,
        });
    }
    seen
}
