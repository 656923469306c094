//! The tools: what each watches for, how this process does it, and how its records are laid out.
//!
//! The layouts are the tools' own, in C beside their programs. Records are shorter or longer than the structs, because texts at
//! their end are cut, so only the part before them has a type.

use std::error::Error;
use std::fs::File;
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::process::Command;
use std::time::{Duration, Instant};

use twinbpf::zerocopy::FromBytes;
use twinbpf::{Engine, Loaded, Object, PerfBuffer, RawRing, Record, WhenFull};

/// The rows of a tool, if what was done was among them.
pub(crate) type Answer = Result<Vec<String>, Box<dyn Error>>;

/// How long records are waited for; emulated machines are slow.
const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// Pages of each CPU's buffer.
const PAGES: usize = 64;

/// The start of opensnoop's record.
#[derive(Debug, Clone, Copy, FromBytes)]
#[repr(C)]
#[zerocopy(crate = "twinbpf::zerocopy")]
struct Opened {
    time_ns: u64,
    pid: u32,
    uid: u32,
    answer: i32,
    flags: u32,
    mode: u32,
    padding: u32,
    callers: [u64; 2],
    comm: [u8; 16],
}

/// Who opens which files: tracepoints with formats, and a ring buffer.
pub(crate) fn opensnoop(object: &Object) -> Answer {
    let loaded = load(object)?;
    let links = loaded.attacher().attach()?;
    let mut ring = RawRing::open(loaded.raw_map("events")?)?;
    let file = "/plan";
    drop(File::open(file)?);
    let mut rows = Vec::new();
    let mut is_seen = false;
    let end = Instant::now() + LONGEST_WAIT;
    while !is_seen && Instant::now() < end {
        ring.wait(Duration::from_millis(200))?;
        ring.drain(|record| {
            let path = text(
                record
                    .to_vec()
                    .get(size_of::<Opened>()..)
                    .unwrap_or_default(),
            );
            if let Some(head) = head::<Opened>(&record) {
                is_seen |= path == file && head.pid == std::process::id();
                let comm = text(&head.comm);
                rows.push(format!(
                    "pid {} comm {comm} ret {} path {path}",
                    head.pid, head.answer
                ));
            }
            ControlFlow::Continue(())
        })?;
    }
    drop(links);
    seen(is_seen, rows)
}

/// The start of execsnoop's record; the arguments follow, each with a zero byte.
#[derive(Debug, Clone, Copy, FromBytes)]
#[repr(C)]
#[zerocopy(crate = "twinbpf::zerocopy")]
struct Executed {
    pid: u32,
    parent: u32,
    uid: u32,
    answer: i32,
    arguments: i32,
    arguments_bytes: u32,
    comm: [u8; 16],
}

/// Who starts which programs: tracepoints with formats, and a perf buffer.
pub(crate) fn execsnoop(object: &Object) -> Answer {
    let loaded = load(object)?;
    let mut buffer = buffer(&loaded)?;
    let links = loaded.attacher().attach()?;
    let status = Command::new("/bin/true").arg("twinbpf").status()?;
    let answer = records(&mut buffer, |record| {
        let head = head::<Executed>(record)?;
        let bytes = record.to_vec();
        let words = bytes.get(size_of::<Executed>()..).unwrap_or_default();
        let words: Vec<String> = words
            .split(|byte| *byte == 0)
            .take(usize::try_from(head.arguments).unwrap_or(0))
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect();
        let is_ours = head.parent == std::process::id() && words == ["/bin/true", "twinbpf"];
        let (pid, comm) = (head.pid, text(&head.comm));
        let (parent, answer) = (head.parent, head.answer);
        let row = format!("pid {pid} ppid {parent} comm {comm} ret {answer} args {words:?}");
        Some((row, is_ours))
    });
    drop(links);
    if !status.success() {
        return Err("`true` does not work".into());
    }
    answer
}

/// tcpconnect's record.
#[derive(Debug, Clone, Copy, FromBytes)]
#[repr(C)]
#[zerocopy(crate = "twinbpf::zerocopy")]
struct Connected {
    from: [u8; 16],
    to: [u8; 16],
    comm: [u8; 16],
    time_us: u64,
    family: u32,
    pid: u32,
    uid: u32,
    from_port: u16,
    to_port: [u8; 2],
}

/// Who connects to whom: probes of kernel functions, and a perf buffer.
pub(crate) fn tcpconnect(object: &Object) -> Answer {
    let up = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .status()?;
    if !up.success() {
        return Err("`ip` does not work".into());
    }
    let loaded = load(object)?;
    let mut buffer = buffer(&loaded)?;
    let links = loaded.attacher().attach()?;
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = server.local_addr()?.port();
    drop(TcpStream::connect((Ipv4Addr::LOCALHOST, port))?);
    let answer = records(&mut buffer, |record| {
        let head = head::<Connected>(record)?;
        let [a, b, c, d, ..] = head.to;
        let (to, to_port) = (Ipv4Addr::new(a, b, c, d), u16::from_be_bytes(head.to_port));
        let is_ours = head.pid == std::process::id() && to_port == port && to.is_loopback();
        let (pid, comm) = (head.pid, text(&head.comm));
        Some((
            format!("pid {pid} comm {comm} to {to} port {to_port}"),
            is_ours,
        ))
    });
    drop(links);
    answer
}

/// How long the disk takes: tracepoints with types, and a map with a histogram.
pub(crate) fn biolatency(mut object: Object) -> Answer {
    // The tool takes the programs with types where the kernel has them; the others are the same for older kernels.
    for program in &mut object.programs {
        program.autoload = program.section.starts_with("tp_btf/");
    }
    let loaded = load(&object)?;
    let links = loaded.attacher().attach()?;
    let mut block = vec![0; 1 << 16];
    File::open(DISK)?.read_exact(&mut block)?;
    let histogram = loaded.map::<[u32; 2], [u32; SLOTS]>("hists")?;
    let end = Instant::now() + LONGEST_WAIT;
    let mut entries = histogram.entries()?;
    while entries.is_empty() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(50));
        entries = histogram.entries()?;
    }
    drop(links);
    let mut rows = Vec::new();
    for (_, slots) in entries {
        for (power, count) in slots.iter().enumerate().filter(|(_, count)| **count > 0) {
            rows.push(format!("2^{power} us and more: {count} requests"));
        }
    }
    seen(!rows.is_empty(), rows)
}

/// A disk that the module `null_blk` makes.
const DISK: &str = "/dev/nullb0";
/// Slots of biolatency's histogram.
const SLOTS: usize = 27;

fn load(object: &Object) -> Result<Loaded, Box<dyn Error>> {
    Ok(Engine::kernel()?.load_object(object)?)
}

/// The rows of the perf buffer `events` until one of them is the one expected.
fn records(buffer: &mut PerfBuffer, row: impl Fn(&Record<'_>) -> Option<(String, bool)>) -> Answer {
    let mut rows = Vec::new();
    let mut is_seen = false;
    buffer.serve(LONGEST_WAIT, |_, record| {
        if let Some((row, is_ours)) = row(&record) {
            rows.push(row);
            is_seen |= is_ours;
        }
        match is_seen {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    })?;
    seen(is_seen, rows)
}

/// The buffers of the map `events`, which lose what comes before they are there.
fn buffer(loaded: &Loaded) -> Result<PerfBuffer, Box<dyn Error>> {
    let map = loaded.raw_map("events")?;
    Ok(PerfBuffer::open(map, PAGES, WhenFull::LoseNewest)?)
}

fn seen(is_seen: bool, rows: Vec<String>) -> Answer {
    if is_seen {
        Ok(rows)
    } else {
        Err(format!("what was done is not in {rows:?}").into())
    }
}

/// The start of a record, which may be longer.
fn head<T: FromBytes>(record: &Record<'_>) -> Option<T> {
    T::read_from_prefix(&record.to_vec())
        .ok()
        .map(|(head, _)| head)
}

/// The text before the first zero byte.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len())]).into_owned()
}
