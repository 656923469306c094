//! Counts the bytes of outgoing packets per IP protocol, and prints TCP, UDP and ICMP once a second.
//!
//! The program in `sockex1.bpf.c` adds the length of every outgoing packet to an entry of an array map, by protocol number.
//! Here is the other half: load the object, attach its program to the loopback interface, and read the map. It makes its
//! own traffic in a private network, so that it needs no privilege and counts nothing else.
//!
//! ```text
//! cargo run --release --example sockex1 -- [--engine auto|kernel|vm] [--legacy]
//! ```
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example talks to whoever runs it"
)]

mod traffic;

use std::error::Error;
use std::thread::sleep;
use std::time::{Duration, Instant};

use traffic::Traffic;
use twinbpf::{
    Engine, Hook, Link, Loaded, Map, Object, PacketKind, PrivateNetwork, ProgramKind, SocketFrame,
};

static OBJECT: &[u8] = include_bytes!("sockex1.bpf.o");
/// The same program as loaders of 2016 took it: `SEC("maps")`, no types, and a section name that says no program type.
static LEGACY_OBJECT: &[u8] = include_bytes!("sockex1_legacy.bpf.o");

// The keys of the map: numbers of IP protocols.
const ICMP: u32 = 1;
const TCP: u32 = 6;
const UDP: u32 = 17;

fn main() -> Result<(), Box<dyn Error>> {
    let (engine, is_legacy) = arguments()?;
    let mut object = Object::parse(if is_legacy { LEGACY_OBJECT } else { OBJECT })?;
    // What the section's name does not say, we do. An object is plain data until it is loaded.
    for program in &mut object.programs {
        program.kind.get_or_insert(ProgramKind::SocketFilter);
    }
    match PrivateNetwork::enter() {
        Ok(network) => {
            eprintln!("in {network}");
            count_on_loopback(&object, &engine)
        }
        Err(error) => {
            eprintln!(
                "{error}\nso there is no network to attach to, and frames go to the hook directly"
            );
            count_made_up_frames(&object)
        }
    }
}

/// Attaches the program to `lo`, makes traffic, and prints what the map holds.
fn count_on_loopback(object: &Object, engine: &str) -> Result<(), Box<dyn Error>> {
    let loaded = load(object, engine)?;
    let bytes: Map<u32, u64> = loaded.map("my_map")?;
    let link = loaded
        .program("count_outgoing")?
        .attach(&Hook::socket("lo"))?;

    let mut traffic = Traffic::open()?;
    let (mut udp, mut icmp, mut payload) = (0, 0, 0);
    once_a_second(&bytes, Some(&link), || {
        udp += traffic.udp(7, 100)? + traffic.udp(3, 1000)?;
        icmp += traffic.icmp_echo(5, 56)?;
        payload += traffic.tcp(10_000)?;
        Ok(())
    })?;
    eprintln!(
        "sent: UDP {udp} ICMP {icmp} bytes, and {payload} bytes over TCP, which adds headers and acknowledgements"
    );

    let missed = link.stats()?.missed;
    if missed > 0 {
        eprintln!("{missed} frames were too fast for us; the counts lack them");
    }
    Ok(()) // Dropping the link detaches the program.
}

/// Runs the program on frames that never saw a network.
fn count_made_up_frames(object: &Object) -> Result<(), Box<dyn Error>> {
    let loaded = load(object, "vm")?;
    let bytes: Map<u32, u64> = loaded.map("my_map")?;
    let mut filter = loaded.program("count_outgoing")?.socket_filter()?;
    let mut sent = 0;
    once_a_second(&bytes, None, || {
        for (protocol, len) in [(6, 1500), (6, 66), (17, 142), (1, 98)] {
            filter.run(&outgoing(&ipv4_frame(protocol, len)))?;
            sent += len;
        }
        Ok(())
    })?;
    eprintln!("made up: {sent} bytes");
    Ok(())
}

/// Makes traffic and prints the counts, five times, once a second.
fn once_a_second(
    bytes: &Map<u32, u64>,
    link: Option<&Link>,
    mut make_traffic: impl FnMut() -> Result<(), Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    for second in 1..=5 {
        make_traffic()?;
        sleep(Duration::from_secs(second).saturating_sub(start.elapsed()));
        if let Some(link) = link {
            link.settle()?;
        }
        let count = |protocol| bytes.get(&protocol).map(Option::unwrap_or_default);
        println!(
            "TCP {} UDP {} ICMP {} bytes",
            count(TCP)?,
            count(UDP)?,
            count(ICMP)?
        );
    }
    Ok(())
}

/// Loads the object into the engine with this name; `auto` is the kernel if it permits.
fn load(object: &Object, engine: &str) -> twinbpf::Result<Loaded> {
    match engine {
        "kernel" => Engine::kernel()?.load_object(object),
        "vm" => Engine::vm()?.load_object(object),
        _ => match Engine::kernel()?.load_object(object) {
            Err(error) if error.is_permission() || error.is_unsupported() => {
                eprintln!("engine: vm, because the kernel said: {error}");
                Engine::vm()?.load_object(object)
            }
            result => {
                eprintln!("engine: kernel");
                result
            }
        },
    }
}

/// An IPv4 packet in an Ethernet frame, with nothing in it but what the program looks at.
fn ipv4_frame(protocol: u8, len: usize) -> Vec<u8> {
    let mut frame = vec![0; len];
    frame[12..15].copy_from_slice(&[0x08, 0x00, 0x45]);
    frame[14 + 9] = protocol;
    frame
}

fn outgoing(data: &[u8]) -> SocketFrame<'_> {
    SocketFrame {
        data,
        original_len: u32::try_from(data.len()).unwrap_or(u32::MAX),
        packet_kind: PacketKind::Outgoing,
        protocol: 0x0800,
        interface: 1,
        vlan: None,
    }
}

/// The engine's name, and whether to load the legacy object.
fn arguments() -> Result<(String, bool), String> {
    let (mut engine, mut is_legacy) = ("auto".to_owned(), false);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match (argument.as_str(), arguments.len()) {
            ("--legacy", _) => is_legacy = true,
            ("--engine", 1..) => engine = arguments.next().unwrap_or_default(),
            _ => return Err("usage: sockex1 [--engine auto|kernel|vm] [--legacy]".to_owned()),
        }
    }
    match engine.as_str() {
        "auto" | "kernel" | "vm" => Ok((engine, is_legacy)),
        other => Err(format!("there is no engine `{other}`")),
    }
}
