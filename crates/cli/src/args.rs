//! The command line: each command and flag, once. Help and usage errors come from here.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::assembly::{AsmArgs, DisasmArgs};
use crate::attached::{CgroupArgs, NetArgs, PerfArgs};
use crate::btf::BtfArgs;
use crate::check::CheckArgs;
use crate::choice::{DirectionChoice, EngineChoice, HookChoice, TypeChoice, parse_time};
use crate::cleanup::CleanupArgs;
use crate::doctor::DoctorArgs;
use crate::explain::ExplainArgs;
use crate::feature::FeatureArgs;
use crate::generate::GenArgs;
use crate::inspect::InspectArgs;
use crate::link::LinkArgs;
use crate::map::MapArgs;
use crate::prog::ProgArgs;
use crate::replay::ReplayArgs;
use crate::target_choice::TargetArgs;

/// Run BPF objects in the Linux kernel, or in a BPF engine inside this process that needs no privilege.
#[derive(Debug, Parser)]
#[command(name = "twinbpf", version, after_help = EXIT_STATUS)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_STATUS: &str = "\
Exit status:
  0 done            1 the answer is no     2 usage        3 not found
  4 permission      5 rejected             6 malformed    7 unsupported
  8 a limit       124 time over          130 interrupted
";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Load an object, attach it, print what its maps count, and undo everything at the end
    ///
    /// Once a second, one line per map with the entries that changed; zeros are left out. Keys and values of 1, 2, 4 and 8
    /// bytes are unsigned numbers, others hex digits; values of per-CPU maps are added up. At the end, all entries.
    ///
    /// Without --for, a capture or a command, Ctrl-C is the way to end, with status 0. If Ctrl-C cuts one of these short the
    /// status is 130. A second Ctrl-C ends at once.
    Run(RunArgs),
    /// Print what an object file contains: maps, variables, programs, functions, relocations, types, sections
    Inspect(InspectArgs),
    /// Load each program of the objects alone, print whether it was accepted, and keep none of them
    ///
    /// One row per program; a program that is not accepted has the code of its diagnosis, which `--verbose` prints whole.
    /// Nothing is attached, and nothing stays loaded.
    Check(CheckArgs),
    /// Say what a code or an error number means, or what a verifier's log says
    ///
    /// A log may be pasted with everything around it: what the loader said, time stamps, the logs of several programs. It need not be
    /// of this machine, and any kernel from 5.4 on will do.
    Explain(ExplainArgs),
    /// Say why this user can or cannot load BPF here, and what mends it; ends with 1 if something is bad
    Doctor(DoctorArgs),
    /// Say which types of programs and maps and which helpers a kernel knows, and since which release there are such
    ///
    /// The kernel's own types name them. What it was built without it may name and still refuse; `doctor` tries.
    Feature(FeatureArgs),
    /// Make files from objects
    Gen(GenArgs),
    /// Maps of the running system: print, change, compare, wait for their records
    Map(MapArgs),
    /// Run single programs on packets, attached to nothing; list, show, dump, pin and count those that are loaded
    Prog(ProgArgs),
    /// Run programs on the packets of a capture (pcap or pcapng): verdicts counted, changed packets written out, then what the maps hold
    ///
    /// Every program sees the packets that come by its hook, one packet after the other, on the maps that the object shares. On the vm
    /// a packet has the direction, interface and VLAN tag that the capture says; the kernel takes none of these.
    Replay(ReplayArgs),
    /// List, show, detach, pin and update what is attached in this kernel, by whomever
    Link(LinkArgs),
    /// Show what is attached to this network namespace and its interfaces, by whomever
    Net(NetArgs),
    /// Show what is attached to cgroups, by whomever
    Cgroup(CgroupArgs),
    /// List what is attached to events by a link, by whomever
    Perf(PerfArgs),
    /// Remove what programs of ours left behind when they were killed: filters of traffic control, and nothing of anybody else's
    Cleanup(CleanupArgs),
    /// Print types as lines, JSON, C, Rust, or members and holes; list those that the kernel holds
    Btf(BtfArgs),
    /// Turn text into instructions, an instruction a line, written as the kernel's verifier log does, with labels
    Asm(AsmArgs),
    /// Turn instructions into text that `asm` takes: those of an object, of bytes, or of hex digits
    Disasm(DisasmArgs),
}

impl Command {
    pub(crate) fn wants_json(&self) -> bool {
        match self {
            Self::Btf(args) => args.wants_json(),
            Self::Run(args) => args.json,
            Self::Inspect(args) => args.json,
            Self::Check(args) => args.json,
            Self::Explain(args) => args.json,
            Self::Doctor(args) => args.json,
            Self::Feature(args) => args.json,
            Self::Gen(args) => args.wants_json(),
            Self::Prog(args) => args.wants_json(),
            Self::Replay(args) => args.json,
            Self::Map(args) => args.wants_json(),
            Self::Link(args) => args.wants_json(),
            Self::Net(args) => args.json,
            Self::Cgroup(args) => args.wants_json(),
            Self::Perf(args) => args.wants_json(),
            Self::Cleanup(args) => args.json,
            Self::Asm(args) => args.json,
            Self::Disasm(args) => args.json,
        }
    }

    pub(crate) fn wants_log(&self) -> bool {
        match self {
            Self::Run(args) => args.log,
            Self::Inspect(_)
            | Self::Doctor(_)
            | Self::Feature(_)
            | Self::Btf(_)
            | Self::Gen(_)
            | Self::Link(_)
            | Self::Net(_)
            | Self::Cgroup(_)
            | Self::Perf(_)
            | Self::Cleanup(_)
            | Self::Prog(_)
            | Self::Replay(_)
            | Self::Map(_)
            | Self::Asm(_)
            | Self::Disasm(_) => false,
            Self::Check(args) => args.log,
            Self::Explain(args) => args.log,
        }
    }
}

/// What `run` is told.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The BPF object file
    pub(crate) object: PathBuf,

    /// Where to run it; auto takes the kernel if it permits, else the vm, and says so
    #[arg(long, value_enum, default_value_t = EngineChoice::Auto)]
    pub(crate) engine: EngineChoice,

    /// Program type, of the programs in SECTION, or of those whose section says none
    #[arg(long = "type", value_name = "[SECTION=]TYPE", value_parser = TypeChoice::parse)]
    pub(crate) types: Vec<TypeChoice>,

    /// Value that a global variable starts with, constants included: an integer, as 10, -3, 0x1f
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = SetChoice::parse)]
    pub(crate) variables: Vec<SetChoice>,

    /// Attach to this hook the program named, or every program that such a hook takes; all others as their sections say:
    /// socket:INTERFACE, xdp:INTERFACE, tc.ingress:INTERFACE, cgroup:FOLDER, raw_tp:NAME, uprobe:FILE:FUNCTION, ...
    #[arg(long, value_name = "[PROGRAM=]HOOK", value_parser = HookChoice::parse, conflicts_with = "pcap")]
    pub(crate) attach: Vec<HookChoice>,

    /// The interface for sections that name none, such as xdp, tc and socket
    #[arg(long, value_name = "INTERFACE", conflicts_with = "pcap")]
    pub(crate) interface: Option<String>,

    /// The cgroup's folder for sections that name none, such as cgroup/connect4 and sockops
    #[arg(long, value_name = "FOLDER", conflicts_with = "pcap")]
    pub(crate) cgroup: Option<PathBuf>,

    /// Run on the packets of a capture file (pcap or pcapng) instead of a live interface; vm only
    #[arg(long, value_name = "FILE")]
    pub(crate) pcap: Option<PathBuf>,

    /// Direction of packets whose capture does not record it
    #[arg(long, value_enum, requires = "pcap")]
    pub(crate) direction: Option<DirectionChoice>,

    #[command(flatten)]
    pub(crate) target: TargetArgs,

    /// Load with what the bpffs mounted at this folder lends to this user namespace (a BPF token); kernel only
    #[arg(long, value_name = "BPFFS")]
    pub(crate) token: Option<PathBuf>,

    /// Use the maps pinned in this folder of a bpffs, and pin there the new ones that the object wants pinned; they stay
    #[arg(long, value_name = "FOLDER")]
    pub(crate) pin_root: Option<PathBuf>,

    /// Print only this map; may be given several times [default: all]
    #[arg(long, value_name = "MAP")]
    pub(crate) watch: Vec<String>,

    /// End after this time: 5, 5s, 500ms, 2m
    #[arg(long = "for", value_name = "TIME", value_parser = parse_time)]
    pub(crate) time: Option<Duration>,

    /// Print JSON: one document per second and one at the end, each on a line
    #[arg(long)]
    pub(crate) json: bool,

    /// Print the verifier's log whole
    #[arg(long)]
    pub(crate) log: bool,

    /// Run this in a private network, attached to its lo unless --attach says otherwise, and end when it ends; what it
    /// writes to stdout goes to stderr
    #[arg(last = true, value_name = "COMMAND", conflicts_with = "pcap")]
    pub(crate) command: Vec<OsString>,
}

/// A global variable and the value the user gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SetChoice {
    /// The variable.
    pub(crate) name: String,
    /// The value; wide enough for every integer with or without a sign.
    pub(crate) value: i128,
}

impl SetChoice {
    /// Reads `NAME=VALUE`.
    fn parse(text: &str) -> Result<Self, String> {
        let (name, value) = text
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or("a variable is set as NAME=VALUE, for example limit=10")?;
        Ok(Self {
            name: name.to_owned(),
            value: parse_integer(value)?,
        })
    }
}

impl fmt::Display for SetChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.value)
    }
}

/// Reads `10`, `-3`, `0x1f`.
fn parse_integer(text: &str) -> Result<i128, String> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let magnitude = match digits.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => digits.parse(),
    };
    magnitude
        .map(|magnitude| sign * i128::from(magnitude))
        .map_err(|_| format!("`{text}` is no integer of at most 64 bits, such as 10, -3, 0x1f"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_free_of_contradictions() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_variable_is_set_to_an_integer() {
        let value = |text| SetChoice::parse(text).map(|choice| choice.value);
        assert_eq!(value("limit=10"), Ok(10));
        assert_eq!(value("limit=-0x10"), Ok(-16));
        assert_eq!(value("count.calls=0xffffffffffffffff"), Ok(u64::MAX.into()));
        for wrong in [
            "limit",
            "=3",
            "limit=",
            "limit=ten",
            "limit=1.5",
            "limit=--1",
        ] {
            assert!(value(wrong).is_err(), "{wrong}");
        }
    }
}
