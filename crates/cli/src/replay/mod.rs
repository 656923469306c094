//! `twinbpf replay`: programs on the packets of a capture: what they said, what they changed, what their maps hold at the end.
//!
//! ```text
//! capture ── packet by packet ──> every program whose hook it comes by ──> verdicts counted
//!                                                                     └──> changed packets into another capture
//! ```

mod progress;
mod report;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use twinbpf::{
    Capture, CaptureWriter, Code, Diagnosis, Direction, Engine, EngineKind, Frame, Loaded,
    NotLoadedReason, Object, PacketReplay, Program, Result, VmConfig,
};

use crate::choice::{DirectionChoice, NamedEngine, TypeChoice};
use crate::exit::Exit;
use crate::object_file;
use crate::output::{Failure, Output};
use crate::prog::{maps, no_program, possible_cpus};
use crate::program_types;
use crate::target_choice::TargetArgs;

use progress::Progress;
use report::{ProgramRow, Report};

/// What `replay` is told.
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The capture file (pcap or pcapng)
    capture: PathBuf,

    /// The BPF object file, and the program if not all are meant
    #[arg(value_name = "OBJECT[:PROGRAM]")]
    object: OsString,

    /// Write the packets that programs changed to this capture file (pcap), as each program left them
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Direction of packets whose capture does not record it
    #[arg(long, value_enum)]
    direction: Option<DirectionChoice>,

    /// Where to run
    #[arg(long, value_enum, default_value_t = NamedEngine::Vm)]
    engine: NamedEngine,

    /// Program type, of the programs in SECTION, or of those whose section says none
    #[arg(long = "type", value_name = "[SECTION=]TYPE", value_parser = TypeChoice::parse)]
    types: Vec<TypeChoice>,

    #[command(flatten)]
    target: TargetArgs,

    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Replays the capture.
pub(crate) fn replay(args: &ReplayArgs, output: &Output) -> Result<Exit, Failure> {
    let (path, wanted) = object_file::split(&args.object);
    let mut object = object_file::read(&path)?;
    program_types::apply(&mut object, &args.types)?;
    program_types::assume_socket_filter(&mut object, "it is run on a capture", output);
    let capture = Capture::open(&args.capture)?;
    let loaded = load(args, &object, wanted.as_deref())
        .map_err(|error| error.in_file(path.display().to_string()))?;
    let mut replayed = replays(&loaded, wanted.as_deref(), output)?;
    let writer = args.out.as_deref().map(CaptureWriter::create).transpose()?;
    let packets = run(args, capture, &mut replayed, writer)?;
    let report = Report {
        engine: loaded_engine(args),
        packets,
        programs: replayed.into_iter().map(|each| each.row).collect(),
        maps: maps(&loaded, args.engine == NamedEngine::Vm),
    };
    if output.wants_json() {
        output.document(&report)?;
    } else {
        output.data(&report.text())?;
    }
    Ok(report.exit())
}

fn loaded_engine(args: &ReplayArgs) -> EngineKind {
    match args.engine {
        NamedEngine::Kernel => EngineKind::Kernel,
        NamedEngine::Vm => EngineKind::Vm,
    }
}

/// The whole object, because programs may call each other through its maps. With one program wanted, others may fail to load.
fn load(args: &ReplayArgs, object: &Object, wanted: Option<&str>) -> Result<Loaded> {
    if let Some(name) = wanted
        && !object.programs.iter().any(|program| program.name == name)
    {
        return Err(no_program(object, name));
    }
    let engine = match args.engine {
        NamedEngine::Kernel => Engine::kernel()?,
        NamedEngine::Vm => {
            let mut config = VmConfig::default();
            // With as many CPU slots as the kernel has, per-CPU maps look alike; but every program takes one.
            let programs = u32::try_from(object.programs.len()).unwrap_or(u32::MAX);
            let alike = possible_cpus().unwrap_or(config.cpu_slots);
            config.cpu_slots = alike.max(programs);
            Engine::vm_with(config)?
        }
    };
    let target = args.target.read()?.target(&engine, &object.needs())?;
    let linked = twinbpf::link_each(object, &target)?;
    let (loaded, report) = engine.loader(&linked).load_each()?;
    for not_loaded in report.maps.iter().chain(&report.programs) {
        if let (true, NotLoadedReason::NotLinked(error) | NotLoadedReason::Refused(error)) = (
            wanted.is_none_or(|name| name == not_loaded.name),
            &not_loaded.reason,
        ) {
            return Err(error.clone());
        }
    }
    Ok(loaded)
}

/// A program that is replayed, and what was counted.
#[derive(Debug)]
struct Replayed {
    replay: PacketReplay,
    row: ProgramRow,
}

/// The programs that are wanted; without a name, all that see packets.
fn replays(loaded: &Loaded, wanted: Option<&str>, output: &Output) -> Result<Vec<Replayed>> {
    let ready = |program: &Program| -> Result<Replayed> {
        Ok(Replayed {
            replay: program.on_packets()?,
            row: ProgramRow::new(program),
        })
    };
    if let Some(name) = wanted {
        return Ok(vec![ready(loaded.program(name)?)?]);
    }
    let mut replayed = Vec::new();
    for program in loaded.programs() {
        match ready(program) {
            Ok(one) => replayed.push(one),
            Err(error) if error.diagnosis().code == Code::ATTACH_KIND => {
                output.talk(&format!("not run: {}", error.diagnosis().one_line()));
            }
            Err(error) => return Err(error),
        }
    }
    if replayed.is_empty() {
        let message = "no program of the object sees packets of an interface";
        return Err(Diagnosis::new(Code::ATTACH_KIND, message).into());
    }
    Ok(replayed)
}

/// Runs every program on every packet; how many packets there were.
fn run(
    args: &ReplayArgs,
    mut capture: Capture,
    replayed: &mut [Replayed],
    mut writer: Option<CaptureWriter>,
) -> Result<u64> {
    let direction: Option<Direction> = args.direction.map(Into::into);
    let mut progress = Progress::start(&args.capture);
    let mut packets = 0;
    while let Some(frame) = capture.next() {
        let mut frame = frame?;
        if let Some(direction) = direction {
            frame.assume_direction(direction);
        }
        packets += 1;
        for program in replayed.iter_mut() {
            one(program, &frame, writer.as_mut())?;
        }
        progress.reached(capture.position());
    }
    progress.end();
    writer.map_or(Ok(()), CaptureWriter::finish)?;
    Ok(packets)
}

fn one(program: &mut Replayed, frame: &Frame, writer: Option<&mut CaptureWriter>) -> Result<()> {
    let Some(answer) = program.replay.run(frame) else {
        program.row.passed_by += 1;
        return Ok(());
    };
    program.row.count(&answer);
    if let (Ok(answer), Some(writer)) = (answer, writer)
        && let Some(changed) = &answer.changed
    {
        writer.write(frame.timestamp, changed)?;
    }
    Ok(())
}
