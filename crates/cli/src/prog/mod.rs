//! `twinbpf prog`: single programs: run on packets, or those that are loaded in this kernel.

mod dump;
mod log;
mod packets;
mod report;
mod show;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use twinbpf::{Engine, EngineKind, Executor, Linked, Object, Result, TestInput, VmConfig};

use crate::choice::{NamedEngine, TypeChoice};
use crate::exit::Exit;
use crate::object_file;
use crate::output::{Failure, Output};
use crate::program_types;
use crate::target_choice::{TargetArgs, TargetChoice};

pub(crate) use packets::{no_program, possible_cpus};
pub(crate) use report::{MapContents, maps};
pub(crate) use show::open as open_program;

use packets::{HexBytes, Packet};
use report::{Report, TestedProgram, TestedRun};

/// What `prog` is told.
#[derive(Debug, Args)]
pub(crate) struct ProgArgs {
    #[command(subcommand)]
    command: ProgCommand,
}

#[derive(Debug, Subcommand)]
enum ProgCommand {
    /// Run programs on packets, print what each returns and what becomes of the packet, then what the maps hold
    ///
    /// Every program is loaded alone, on maps of its own, and sees the packets in their order. Both engines print the same.
    Run(ProgRunArgs),
    /// List the programs that are loaded in this kernel, by whomever
    #[command(visible_alias = "ls")]
    List(show::ListArgs),
    /// Show one loaded program
    Show(show::ShowArgs),
    /// Print a loaded program's code, with its source lines
    Dump(dump::DumpArgs),
    /// Keep a loaded program when its holders end, under a name in a bpffs
    Pin(show::PinArgs),
    /// Print what programs print (bpf_trace_printk), without taking it from other readers
    Log(log::LogArgs),
    /// Count runs and their time for a while, of all programs
    Stats(show::StatsArgs),
}

/// What `prog run` is told.
#[derive(Debug, Args)]
struct ProgRunArgs {
    /// The BPF object file, and the program if not all are meant
    #[arg(value_name = "OBJECT[:PROGRAM]")]
    object: OsString,

    /// Packets, one a line: a name and hex digits
    #[arg(long, value_name = "FILE", group = "input")]
    packets: Option<PathBuf>,

    /// Packets of a capture file (pcap or pcapng)
    #[arg(long, value_name = "FILE", group = "input")]
    pcap: Option<PathBuf>,

    /// One packet, in hex digits
    #[arg(long, value_name = "HEX", value_parser = HexBytes::parse, group = "input")]
    data: Option<HexBytes>,

    /// The context, in hex digits: struct __sk_buff, struct xdp_md, or what the program takes
    #[arg(long = "ctx", value_name = "HEX", value_parser = HexBytes::parse)]
    context: Option<HexBytes>,

    /// Run this often on each packet, each time on what the time before left
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    repeat: u32,

    /// Where to run
    #[arg(long, value_enum, default_value_t = NamedEngine::Vm)]
    engine: NamedEngine,

    /// Interpret, also where programs could be compiled; vm only
    #[arg(long)]
    interp: bool,

    /// Program type, of the programs in SECTION, or of those whose section says none
    #[arg(long = "type", value_name = "[SECTION=]TYPE", value_parser = TypeChoice::parse)]
    types: Vec<TypeChoice>,

    #[command(flatten)]
    target: TargetArgs,

    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

impl ProgArgs {
    pub(crate) fn wants_json(&self) -> bool {
        match &self.command {
            ProgCommand::Run(args) => args.json,
            ProgCommand::List(args) => args.json,
            ProgCommand::Show(args) => args.json,
            ProgCommand::Dump(args) => args.json,
            ProgCommand::Log(args) => args.json,
            ProgCommand::Stats(args) => args.json,
            ProgCommand::Pin(_) => false,
        }
    }
}

/// Does what `prog` was told.
pub(crate) fn prog(args: &ProgArgs, output: &Output) -> Result<Exit, Failure> {
    match &args.command {
        ProgCommand::Run(args) => run(args, output),
        ProgCommand::List(_) => show::list(output),
        ProgCommand::Show(args) => show::show(args, output),
        ProgCommand::Dump(args) => dump::dump(args, output),
        ProgCommand::Log(args) => log::log(args, output),
        ProgCommand::Pin(args) => show::pin(args),
        ProgCommand::Stats(args) => show::stats(args, output),
    }
}

fn run(args: &ProgRunArgs, output: &Output) -> Result<Exit, Failure> {
    let (path, wanted) = object_file::split(&args.object);
    let mut object = object_file::read(&path)?;
    program_types::apply(&mut object, &args.types)?;
    let packets = packets::read(args)?;
    let target = args.target.read()?;
    let engine = open(args)?;
    let tester = Tester {
        args,
        engine,
        target,
        packets,
    };
    let report = Report {
        engine: tester.engine.kind(),
        programs: tester.programs(&object, wanted.as_deref())?,
    };
    if output.wants_json() {
        output.document(&report)?;
    } else {
        output.data(&report.text())?;
    }
    Ok(report.exit())
}

fn open(args: &ProgRunArgs) -> Result<Engine> {
    if args.engine == NamedEngine::Kernel {
        return Engine::kernel();
    }
    let mut config = VmConfig::default();
    // With as many CPU slots as the kernel has, per-CPU maps look alike.
    config.cpu_slots = possible_cpus().unwrap_or(config.cpu_slots);
    if args.interp {
        config.executor = Executor::Interpreter;
    }
    Engine::vm_with(config)
}

/// What is the same for every program.
struct Tester<'a> {
    args: &'a ProgRunArgs,
    engine: Engine,
    target: TargetChoice,
    packets: Vec<Packet>,
}

impl Tester<'_> {
    fn programs(&self, object: &Object, wanted: Option<&str>) -> Result<Vec<TestedProgram>> {
        let target = self.target.target(&self.engine, &object.needs())?;
        let linked = twinbpf::link_each(object, &target)?;
        let mut tested: Vec<TestedProgram> = linked
            .programs
            .iter()
            .enumerate()
            .filter(|(_, program)| wanted.is_none_or(|name| name == program.name))
            .map(|(position, _)| self.program(&linked, position))
            .collect();
        for left_out in &linked.left_out {
            if wanted.is_none_or(|name| name == left_out.name) {
                let name = left_out.name.clone();
                tested.push(TestedProgram::not_loaded(
                    name,
                    String::new(),
                    left_out.reason.clone(),
                ));
            }
        }
        match (tested.is_empty(), wanted) {
            (true, Some(name)) => Err(no_program(object, name)),
            _ => Ok(tested),
        }
    }

    /// Loads one program on maps of its own and runs it on every packet.
    fn program(&self, linked: &Linked, position: usize) -> TestedProgram {
        let spec = &linked.programs[position];
        let loaded = match self.engine.loader(linked).only_at(position).load() {
            Ok(loaded) => loaded,
            Err(error) => {
                return TestedProgram::not_loaded(spec.name.clone(), spec.section.clone(), error);
            }
        };
        let mut runs = Vec::new();
        for program in loaded.programs() {
            for packet in &self.packets {
                let input = TestInput {
                    data: &packet.data,
                    context: self.args.context.as_ref().map_or(&[], |bytes| &bytes.0),
                    repeat: self.args.repeat,
                };
                let outcome = program.test_run(&input);
                runs.push(TestedRun::new(&packet.name, &input, outcome));
            }
        }
        let is_vm = self.engine.kind() == EngineKind::Vm;
        TestedProgram::loaded(spec, runs, maps(&loaded, is_vm))
    }
}
