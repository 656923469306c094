//! The same programs on the same packets in both engines: values, packets and what the maps hold must agree.
//!
//! Every program of every object that is named is loaded alone, on fresh maps, into the kernel twice and into the vm once, and sees the
//! packets of `packets.rs` in their order. Where the kernel disagrees with itself (clocks, random numbers, addresses), there is nothing to
//! compare. The objects are outside data. Nothing is attached; still, a network namespace of its own is a good place, because
//! programs may send what they get.

mod elsewhere;
mod judge;
mod packets;
mod report;
mod table;

use std::fs;
use std::path::{Path, PathBuf};

use rustix::thread::{CpuSet, sched_setaffinity};
use twinbpf::{Engine, Object, VmConfig};

use elsewhere::Elsewhere;
use judge::Judge;
use report::Report;

/// What to compare, and how to say it.
#[derive(Debug)]
pub(crate) struct Options<'a> {
    /// Objects, and folders that are searched for them.
    pub(crate) paths: Vec<&'a Path>,
    /// One JSON document instead of a table.
    pub(crate) wants_json: bool,
    /// Where to write the page about it.
    pub(crate) table: Option<&'a Path>,
    /// Only the packets with this in their names.
    pub(crate) packets: Option<&'a str>,
}

impl<'a> Options<'a> {
    /// Reads the words behind the task's name.
    pub(crate) fn parse(words: &[&'a str]) -> Option<Self> {
        let mut options = Self {
            paths: Vec::new(),
            wants_json: false,
            table: None,
            packets: None,
        };
        let mut words = words.iter().copied();
        while let Some(word) = words.next() {
            match word {
                "--json" => options.wants_json = true,
                "--table" => options.table = Some(Path::new(words.next()?)),
                "--packets" => options.packets = Some(words.next()?),
                _ if word.starts_with('-') => return None,
                path => options.paths.push(Path::new(path)),
            }
        }
        (!options.paths.is_empty()).then_some(options)
    }
}

/// Share of the programs that must agree, in per cent.
const BAR: usize = 97;

/// Compares everything.
///
/// # Errors
///
/// If the kernel cannot be asked, a file cannot be read, or too many programs differ. The text is for people.
pub(crate) fn run(options: &Options<'_>) -> Result<String, String> {
    let told = |error: twinbpf::Error| error.to_string();
    stay_on_the_first_cpu().map_err(|error| format!("staying on CPU 0: {error}"))?;
    let mut config = VmConfig::default();
    config.cpu_slots = possible_cpus().unwrap_or(config.cpu_slots);
    let mut packets = packets::all();
    packets.retain(|packet| {
        options
            .packets
            .is_none_or(|part| packet.name.contains(part))
    });
    let judge = Judge {
        kernel: Engine::kernel().map_err(told)?,
        elsewhere: Elsewhere::new(config.clone()).map_err(told)?,
        vm: Engine::vm_with(config).map_err(told)?,
        packets,
    };
    let mut report = Report::new(judge.packets.len());
    for folder in &options.paths {
        let mut objects = Vec::new();
        find_objects(folder, &mut objects)?;
        for path in objects {
            let at = |error: std::io::Error| format!("{}: {error}", path.display());
            let bytes = fs::read(&path).map_err(at)?;
            let within = path.strip_prefix(folder).ok();
            let short = within.filter(|within| !within.as_os_str().is_empty());
            let short = short.or(path.file_name().map(Path::new)).unwrap_or(&path);
            let names = (path.display().to_string(), short.display().to_string());
            // What is no object is not judged here.
            if let Ok(object) = Object::parse(&bytes) {
                judge.object((&names.0, &names.1), &object, &mut report);
            }
        }
    }
    if let Some(file) = options.table {
        let page = report.page(&table::about(&options.paths));
        fs::write(file, page).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    report.finish(options.wants_json, BAR)
}

/// All `.o` files in a folder and below, in order.
fn find_objects(path: &Path, found: &mut Vec<PathBuf>) -> Result<(), String> {
    if !path.is_dir() {
        found.push(path.to_owned());
        return Ok(());
    }
    let at = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut inside = Vec::new();
    for entry in fs::read_dir(path).map_err(at)? {
        inside.push(entry.map_err(at)?.path());
    }
    inside.sort();
    for path in inside {
        if path.is_dir() || path.extension().is_some_and(|extension| extension == "o") {
            find_objects(&path, found)?;
        }
    }
    Ok(())
}

/// The kernel runs a test where its caller is; the vm's first worker is its CPU 0, and programs can tell.
fn stay_on_the_first_cpu() -> rustix::io::Result<()> {
    let mut first = CpuSet::new();
    first.set(0);
    sched_setaffinity(None, &first)
}

/// How many CPUs the kernel may ever have here: with as many slots, per-CPU maps look alike.
fn possible_cpus() -> Option<u32> {
    let text = fs::read_to_string("/sys/devices/system/cpu/possible").ok()?;
    let last = text.trim().rsplit(['-', ',']).next()?;
    last.parse::<u32>().ok()?.checked_add(1)
}
