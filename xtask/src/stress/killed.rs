//! Children that are killed in the middle of what they do.
//!
//! ```text
//! stress ── unshare --net ── stress children ──┬── stress child    killed after some milliseconds
//!                                              ├── stress child    ...
//!                                              └── stress child    ends by itself
//! ```

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use twinbpf::{Engine, Hook, Link, Loaded};

/// Where children pin.
const PINS: &str = "/sys/fs/bpf/twinbpf-stress";

/// Starts the parent of the children in a network of its own.
pub(super) fn run(time: Duration) -> Result<String, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new("unshare");
    command
        .args(["--net", "--"])
        .arg(program)
        .args(["stress", "children"])
        .arg(time.as_secs().to_string());
    let output = command
        .output()
        .map_err(|error| format!("unshare: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

/// Starts children and kills them, until the time is over; the last one may end.
///
/// # Errors
///
/// If a child does not start cleanly, or something is left behind.
pub(crate) fn children(seconds: u64) -> Result<String, String> {
    succeed("ip", &["link", "set", "lo", "up"])?;
    let folder = PathBuf::from(format!("{PINS}-{}", std::process::id()));
    let start = Instant::now();
    let deadline = start + Duration::from_secs(seconds);
    if !one(&folder, None)? {
        return Err("the first child did not end by itself".to_owned());
    }
    // Some are to come to their end.
    let most = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX) * 5 / 4;
    let (mut killed, mut removed, mut ended) = (0, 0, 0);
    let mut random = 88_172_645_463_325_252_u64;
    while Instant::now() < deadline {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let life = Duration::from_micros(random % most.max(1));
        match one(&folder, Some(life))? {
            true => ended += 1,
            false => killed += 1,
        }
        removed += clean_up()?;
    }
    if !one(&folder, None)? {
        return Err("a child did not end by itself".to_owned());
    }
    removed += clean_up()?;
    let pins = std::fs::remove_dir_all(&folder);
    pins.map_err(|error| format!("{}: {error}", folder.display()))?;
    nothing_is_left()?;
    Ok(format!(
        "{killed} children killed, {ended} were faster; {removed} filters of theirs removed, and nothing left"
    ))
}

/// A child's life; whether it came to its end.
fn one(folder: &Path, life: Option<Duration>) -> Result<bool, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.args(["stress", "child"]).arg(folder);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    if let Some(life) = life {
        thread::sleep(life);
        // It may have ended.
        let _ = child.kill();
    }
    let output = child
        .wait_with_output()
        .map_err(|error| error.to_string())?;
    match output.status.code() {
        Some(0) => Ok(true),
        None => Ok(false),
        Some(_) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

/// Removes what `twinbpf cleanup` would: filters whose holder has ended.
fn clean_up() -> Result<usize, String> {
    let removed = twinbpf::abandoned_filters(true).map_err(|error| error.to_string())?;
    Ok(removed.len())
}

fn nothing_is_left() -> Result<(), String> {
    let words = |error: twinbpf::Error| error.to_string();
    let interface = 1;
    for direction in [
        twinbpf::hook::TcDirection::Ingress,
        twinbpf::hook::TcDirection::Egress,
    ] {
        let filters = twinbpf::filters(interface, direction).map_err(words)?;
        if let Some(filter) = filters.first() {
            return Err(format!("the filter {} is left", filter.name));
        }
    }
    match twinbpf::attached_xdp().map_err(words)?.len() {
        0 => Ok(()),
        count => Err(format!("{count} XDP programs are left")),
    }
}

/// What a child does: loads, attaches, pins, exchanges, reads, and undoes what it can.
///
/// # Errors
///
/// If something that an earlier child left stands in the way, or anything else goes wrong.
pub(crate) fn child(folder: &Path) -> Result<String, String> {
    life(folder).map_err(|error| error.to_string())?;
    Ok(String::new())
}

fn life(folder: &Path) -> Result<(), Box<dyn Error>> {
    let engine = Engine::kernel()?;
    let loaded = load(&engine)?;
    let links = [
        ("in", "xdp.generic:lo"),
        ("out", "clsact.ingress:lo"),
        ("out", "tc.egress:lo"),
    ]
    .iter()
    .map(|(program, hook)| attach(&loaded, program, hook))
    .collect::<Result<Vec<Link>, _>>()?;
    let pin = folder.join("seen");
    let map = loaded.raw_map("seen")?;
    if engine.open_pinned_map(&pin)?.is_none() {
        map.pin(&pin)?;
    }
    let next = load(&engine)?;
    links[0].update(next.program("in")?, Some(loaded.program("in")?))?;
    links[1].update(next.program("out")?, None)?;
    map.get(&[0; 4])?;
    links.into_iter().try_for_each(Link::detach)?;
    Ok(())
}

fn load(engine: &Engine) -> twinbpf::Result<Loaded> {
    let object = twinbpf::Object::parse(include_bytes!("../../../testdata/bpf/both_ways.bpf.o"))?;
    engine.load_object(&object)
}

fn attach(loaded: &Loaded, program: &str, hook: &str) -> Result<Link, Box<dyn Error>> {
    let hook: Hook = hook.parse()?;
    Ok(loaded.program(program)?.attach(&hook)?)
}

fn succeed(program: &str, words: &[&str]) -> Result<(), String> {
    let status = Command::new(program).args(words).status();
    match status.map_err(|error| format!("{program}: {error}"))? {
        status if status.success() => Ok(()),
        status => Err(format!("{program}: {status}")),
    }
}
