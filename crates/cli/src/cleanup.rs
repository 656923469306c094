//! `twinbpf cleanup`: removes what programs of ours left behind when they were killed, and nothing else.
//!
//! Links end with their process; what was pinned was meant to stay. Only filters of traffic control stay unasked: those that say in
//! their name that a process held them which has ended are removed, and with them a discipline that was made for them, if empty.

use clap::Args;
use serde::Serialize;
use twinbpf::hook::TcDirection;
use twinbpf::{FoundFilter, LinkPlace, abandoned_filters};

use crate::exit::Exit;
use crate::output::{Failure, Output};
use crate::table;

/// What `cleanup` is told.
#[derive(Debug, Args)]
pub(crate) struct CleanupArgs {
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,

    /// Print one JSON document: an array with an object for each filter
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Serialize)]
struct Row {
    devname: String,
    ifindex: u32,
    kind: &'static str,
    prio: u16,
    handle: u32,
    name: String,
    prog_id: u32,
}

impl Row {
    fn new(filter: &FoundFilter) -> Self {
        let place = LinkPlace::Xdp {
            interface: filter.interface,
        };
        Self {
            devname: place.interface_name().unwrap_or_default(),
            ifindex: filter.interface,
            kind: match filter.direction {
                TcDirection::Ingress => "clsact/ingress",
                TcDirection::Egress => "clsact/egress",
            },
            prio: filter.priority,
            handle: filter.handle,
            name: filter.name.clone(),
            prog_id: filter.program,
        }
    }

    fn cells(&self) -> [String; 5] {
        [
            self.devname.clone(),
            self.kind.to_owned(),
            self.prio.to_string(),
            self.prog_id.to_string(),
            self.name.clone(),
        ]
    }
}

/// Removes what was left behind, in this network namespace.
pub(crate) fn cleanup(args: &CleanupArgs, output: &Output) -> Result<Exit, Failure> {
    let found = abandoned_filters(!args.dry_run)?;
    let rows: Vec<Row> = found.iter().map(Row::new).collect();
    if output.wants_json() {
        output.document(&rows)?;
        return Ok(Exit::Done);
    }
    if rows.is_empty() {
        output.talk("nothing was left behind");
        return Ok(Exit::Done);
    }
    let cells: Vec<_> = rows.iter().map(Row::cells).collect();
    let heading = ["INTERFACE", "HOOK", "PRIORITY", "PROGRAM", "NAME"];
    output.data(&table::render(heading, &cells))?;
    if args.dry_run {
        output.talk("nothing was removed");
    }
    Ok(Exit::Done)
}
