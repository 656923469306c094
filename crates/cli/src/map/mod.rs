//! `twinbpf map`: the maps of the running system, made by whomever.
//!
//! A map is named as bpftool does, `id 7`, `name flows`, `pinned /sys/fs/bpf/flows`, or in one word: a number, a name, a path. Keys and
//! values are written and shown as the map's types say; without types as numbers, addresses or `hex:` digits. bpftool's words
//! `key` and `value` may stand before them, and after these single bytes are understood as well.

mod change;
mod dump;
mod entry;
mod events;
mod progress;
mod show;
mod snapshot;
mod watch;
mod words;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::exit::Exit;
use crate::output::{Failure, Output};

/// What `map` is told.
#[derive(Debug, Args)]
pub(crate) struct MapArgs {
    #[command(subcommand)]
    command: MapCommand,

    /// Print JSON
    #[arg(long, short = 'j', global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum MapCommand {
    /// Print the maps of the system, or one of them
    #[command(alias = "list")]
    Show(MapWords),
    /// Make a map and pin it: FILE type TYPE key BYTES value BYTES entries NUMBER name NAME [flags NUMBER]
    Create(MapWords),
    /// Print the value under a key: MAP KEY
    #[command(alias = "lookup")]
    Get(MapWords),
    /// Store a value under a key: MAP KEY VALUE [any|exist|noexist]
    #[command(alias = "update")]
    Set(MapWords),
    /// Remove a key: MAP KEY
    #[command(alias = "delete")]
    Del(MapWords),
    /// Print all entries: MAP
    ///
    /// In text, slots of arrays that are zero are left out, and the values of all CPUs are added up; JSON has everything.
    Dump(DumpArgs),
    /// Print entries that change, and numbers with what they change by in a second: MAP
    Watch(WatchArgs),
    /// Add a value to a queue, stack or bloom filter: MAP VALUE
    #[command(alias = "enqueue")]
    Push(MapWords),
    /// Take the next value of a queue or stack: MAP
    #[command(alias = "dequeue")]
    Pop(MapWords),
    /// Print the next value of a queue or stack, which stays: MAP; of a bloom filter, whether it may have one: MAP VALUE
    Peek(MapWords),
    /// Forbid every process to write the map from now on: MAP
    Freeze(MapWords),
    /// Give the map a name in a bpffs: MAP FILE
    Pin(MapWords),
    /// Write all entries into a file: MAP -o FILE
    Snapshot(SnapshotArgs),
    /// Compare a snapshot with a later one, or with the map as it is now: FILE FILE, or FILE MAP
    ///
    /// Ends with 1 if they differ.
    Diff(MapWords),
    /// Store the entries of a snapshot: MAP FILE
    Restore(RestoreArgs),
    /// Print the records of a ring buffer or a perf event array as they come: MAP
    ///
    /// A perf event array has room for one reader: another one gets nothing any more.
    Events(EventsArgs),
}

/// Words that name a map, a key, a value.
#[derive(Debug, Args)]
struct MapWords {
    /// As the command's line above says
    #[arg(allow_negative_numbers = true, value_name = "WORDS")]
    words: Vec<String>,
}

/// What `map dump` is told.
#[derive(Debug, Args)]
struct DumpArgs {
    /// The map: id NUMBER, name NAME, pinned PATH, or one word
    #[arg(required = true, value_name = "MAP")]
    words: Vec<String>,

    /// Print slots of arrays that are zero too
    #[arg(long)]
    all: bool,

    /// Print the value of each CPU
    #[arg(long)]
    per_cpu: bool,
}

/// What `map watch` is told.
#[derive(Debug, Args)]
struct WatchArgs {
    /// The map: id NUMBER, name NAME, pinned PATH, or one word
    #[arg(required = true, value_name = "MAP")]
    words: Vec<String>,

    /// Time between two looks: 1s, 500ms
    #[arg(long, default_value = "1s", value_parser = crate::choice::parse_time)]
    interval: Duration,

    /// End after so many looks [default: never]
    #[arg(long, value_name = "NUMBER")]
    count: Option<u64>,
}

/// What `map snapshot` is told.
#[derive(Debug, Args)]
struct SnapshotArgs {
    /// The map: id NUMBER, name NAME, pinned PATH, or one word
    #[arg(required = true, value_name = "MAP")]
    words: Vec<String>,

    /// The file [default: standard output]
    #[arg(long, short = 'o', value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What `map restore` is told.
#[derive(Debug, Args)]
struct RestoreArgs {
    /// The map, and the file of a snapshot
    #[arg(required = true, value_name = "MAP FILE")]
    words: Vec<String>,

    /// Remove the keys that the snapshot does not have
    #[arg(long)]
    exact: bool,
}

/// What `map events` is told.
#[derive(Debug, Args)]
struct EventsArgs {
    /// The map: id NUMBER, name NAME, pinned PATH, or one word
    #[arg(required = true, value_name = "MAP")]
    words: Vec<String>,

    /// End after so many records [default: never]
    #[arg(long, value_name = "NUMBER")]
    count: Option<u64>,

    /// End after this time: 5, 5s, 500ms
    #[arg(long = "for", value_name = "TIME", value_parser = crate::choice::parse_time)]
    time: Option<Duration>,
}

impl MapArgs {
    pub(crate) fn wants_json(&self) -> bool {
        self.json
    }
}

/// Does what was asked.
pub(crate) fn map(args: &MapArgs, output: &Output) -> Result<Exit, Failure> {
    match &args.command {
        MapCommand::Show(args) => show::show(&args.words, output),
        MapCommand::Create(args) => show::create(&args.words),
        MapCommand::Get(args) => dump::get(&args.words, output),
        MapCommand::Dump(args) => dump::dump(args, output),
        MapCommand::Set(args) => change::set(&args.words),
        MapCommand::Del(args) => change::del(&args.words),
        MapCommand::Push(args) => change::push(&args.words),
        MapCommand::Pop(args) => dump::next(&args.words, output, true),
        MapCommand::Peek(args) => dump::next(&args.words, output, false),
        MapCommand::Freeze(args) => change::freeze(&args.words),
        MapCommand::Pin(args) => change::pin(&args.words),
        MapCommand::Watch(args) => watch::watch(args, output),
        MapCommand::Events(args) => events::events(args, output),
        MapCommand::Snapshot(args) => snapshot::snapshot(args, output),
        MapCommand::Diff(args) => snapshot::diff(&args.words, output),
        MapCommand::Restore(args) => snapshot::restore(args),
    }
}
