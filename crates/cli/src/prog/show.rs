//! Programs of the running system: listed, described, their code, their runs counted.
//!
//! With `--json` the fields are those of `bpftool prog`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use serde::Serialize;
use twinbpf::{Code, Diagnosis, KernelProgramInfo, Program, Result, RunCounting};

use crate::exit::Exit;
use crate::output::{Failure, Output};
use crate::table;

/// What `prog list` is told.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Print one JSON document: an array with an object for each
    #[arg(long)]
    pub(super) json: bool,
}

/// What `prog show` is told.
#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// Its number, its name, or the path of its pin
    #[arg(value_name = "PROGRAM")]
    program: String,

    /// Print one JSON document
    #[arg(long)]
    pub(super) json: bool,
}

/// What `prog pin` is told.
#[derive(Debug, Args)]
pub(super) struct PinArgs {
    /// Its number, its name, or the path of another pin
    #[arg(value_name = "PROGRAM")]
    program: String,

    /// The name in a bpffs
    path: PathBuf,
}

/// What `prog stats` is told.
#[derive(Debug, Args)]
pub(super) struct StatsArgs {
    /// Count for so many seconds
    #[arg(value_name = "SECONDS", default_value_t = 1.0)]
    seconds: f64,

    /// Print one JSON document: an array with an object for each program that ran
    #[arg(long)]
    pub(super) json: bool,
}

/// A program, with bpftool's names.
#[derive(Debug, Serialize)]
struct Row {
    id: u32,
    #[serde(rename = "type")]
    kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    tag: String,
    gpl_compatible: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_time_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_cnt: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recursion_misses: Option<u64>,
    loaded_at: u64,
    uid: u32,
    bytes_xlated: u32,
    jited: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_jited: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_memlock: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    map_ids: Vec<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    btf_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verified_insns: Option<u32>,
}

impl Row {
    fn new(program: &Program) -> Result<Self> {
        let info = program.info()?;
        let some = |number: u64| (number != 0).then_some(number);
        let is_compiled = info.machine_code_bytes != 0;
        Ok(Self {
            id: info.id,
            kind: info.kind.to_string(),
            name: program.name().to_owned(),
            tag: tag(&info),
            gpl_compatible: info.is_gpl,
            run_time_ns: some(info.run_time_ns),
            run_cnt: some(info.runs),
            recursion_misses: some(info.recursion_misses),
            loaded_at: loaded_at(info.loaded_ns),
            uid: info.user,
            bytes_xlated: info.translated_bytes,
            jited: is_compiled,
            bytes_jited: is_compiled.then_some(info.machine_code_bytes),
            bytes_memlock: info.memory_bytes,
            map_ids: program.map_ids()?,
            btf_id: (info.types_id != 0).then_some(info.types_id),
            verified_insns: (info.verified_insns != 0).then_some(info.verified_insns),
        })
    }

    fn cells(&self) -> [String; 7] {
        let maps: Vec<String> = self.map_ids.iter().map(u32::to_string).collect();
        [
            self.id.to_string(),
            self.kind.clone(),
            self.name.clone(),
            self.tag.clone(),
            (self.bytes_xlated / 8).to_string(),
            self.bytes_jited
                .map_or_else(|| "-".to_owned(), |bytes| bytes.to_string()),
            maps.join(","),
        ]
    }
}

const HEADING: [&str; 7] = ["ID", "TYPE", "NAME", "TAG", "INSNS", "COMPILED", "MAPS"];

fn tag(info: &KernelProgramInfo) -> String {
    info.tag.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Seconds since 1970: the kernel says how long after the system's start, which is now less how long it is up.
fn loaded_at(since_start_ns: u64) -> u64 {
    let text = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let up = text.split(' ').next().and_then(|word| word.parse().ok());
    let up = Duration::try_from_secs_f64(up.unwrap_or(0.0)).unwrap_or_default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let loaded = now.unwrap_or_default().saturating_sub(up) + Duration::from_nanos(since_start_ns);
    loaded.as_secs()
}

/// `prog list`
pub(super) fn list(output: &Output) -> Result<Exit, Failure> {
    let mut rows = Vec::new();
    for id in Program::ids()? {
        // It may have gone since.
        if let Some(program) = Program::by_id(id)? {
            rows.push(Row::new(&program)?);
        }
    }
    if output.wants_json() {
        output.document(&rows)?;
    } else if rows.is_empty() {
        output.talk("there are no programs");
    } else {
        let cells: Vec<_> = rows.iter().map(Row::cells).collect();
        output.data(&table::render(HEADING, &cells))?;
    }
    Ok(Exit::Done)
}

/// `prog show PROGRAM`
pub(super) fn show(args: &ShowArgs, output: &Output) -> Result<Exit, Failure> {
    let row = Row::new(&open(&args.program)?)?;
    match output.wants_json() {
        true => output.document(&row)?,
        false => output.data(&table::render(HEADING, &[row.cells()]))?,
    }
    Ok(Exit::Done)
}

/// `prog pin PROGRAM PATH`
pub(super) fn pin(args: &PinArgs) -> Result<Exit, Failure> {
    open(&args.program)?.pin(&args.path)?;
    Ok(Exit::Done)
}

/// How often a program ran while it was watched.
#[derive(Debug, Serialize)]
struct Runs {
    id: u32,
    name: String,
    run_cnt: u64,
    run_time_ns: u64,
    ns_per_run: u64,
}

/// `prog stats [SECONDS]`
pub(super) fn stats(args: &StatsArgs, output: &Output) -> Result<Exit, Failure> {
    let duration = Duration::try_from_secs_f64(args.seconds).map_err(|_| {
        Diagnosis::new(Code::USAGE, format!("{} is no time to count", args.seconds))
    })?;
    let counting = RunCounting::begin()?;
    let before = counts()?;
    std::thread::sleep(duration);
    let after = counts()?;
    drop(counting);
    let mut rows: Vec<Runs> = after
        .into_iter()
        .filter_map(|(program, info)| {
            let earlier = before.iter().find(|(_, each)| each.id == info.id);
            let (runs, time) = earlier.map_or((0, 0), |(_, each)| (each.runs, each.run_time_ns));
            let run_cnt = info.runs.saturating_sub(runs);
            let run_time_ns = info.run_time_ns.saturating_sub(time);
            (run_cnt != 0).then(|| Runs {
                id: info.id,
                name: program.name().to_owned(),
                run_cnt,
                run_time_ns,
                ns_per_run: run_time_ns / run_cnt,
            })
        })
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.run_time_ns));
    if output.wants_json() {
        output.document(&rows)?;
    } else if rows.is_empty() {
        output.talk("no program ran");
    } else {
        let cells: Vec<[String; 5]> = rows
            .iter()
            .map(|row| {
                let numbers =
                    [row.run_cnt, row.run_time_ns, row.ns_per_run].map(|it| it.to_string());
                let [runs, time, each] = numbers;
                [row.id.to_string(), row.name.clone(), runs, time, each]
            })
            .collect();
        let heading = ["ID", "NAME", "RUNS", "NANOSECONDS", "PER RUN"];
        output.data(&table::render(heading, &cells))?;
    }
    Ok(Exit::Done)
}

fn counts() -> Result<Vec<(Program, KernelProgramInfo)>> {
    let mut found = Vec::new();
    for id in Program::ids()? {
        if let Some(program) = Program::by_id(id)? {
            let info = program.info()?;
            found.push((program, info));
        }
    }
    Ok(found)
}

/// The program that a word names: a number, a path, or a name that only one has.
pub(crate) fn open(word: &str) -> Result<Program> {
    let missing = || {
        Diagnosis::new(
            Code::PROGRAM_NOT_FOUND,
            format!("there is no program `{word}`"),
        )
        .help("`twinbpf prog list` lists those that there are")
    };
    if let Ok(id) = word.parse() {
        return Program::by_id(id)?.ok_or_else(|| missing().into());
    }
    if word.contains('/') {
        return Program::open_pinned(Path::new(word))?.ok_or_else(|| missing().into());
    }
    let mut named = Vec::new();
    for id in Program::ids()? {
        if let Some(program) = Program::by_id(id)?.filter(|program| program.name() == word) {
            named.push((id, program));
        }
    }
    let ids: Vec<String> = named.iter().map(|(id, _)| id.to_string()).collect();
    match named.pop() {
        None => Err(missing().into()),
        Some((_, program)) if named.is_empty() => Ok(program),
        Some(_) => {
            let message = format!("`{word}` is the name of {} programs", ids.len());
            Err(Diagnosis::new(Code::USAGE, message)
                .fact("numbers", ids.join(", "))
                .help("name it by its number")
                .into())
        }
    }
}
