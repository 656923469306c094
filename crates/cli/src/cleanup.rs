//! `twinbpf cleanup`: removes what programs of ours left behind when they were killed, and nothing else.
//!
//! Links end with their process; what was pinned was meant to stay. Only filters of traffic control and routes stay unasked: those
//! that say in their name that a process held them which has ended are removed, and with a filter a discipline that was made for it,
//! if empty.

use clap::Args;
use serde::Serialize;
use twinbpf::hook::{RouteMoment, TcDirection};
use twinbpf::{FoundFilter, FoundRoute, LinkPlace, abandoned_filters, abandoned_routes};

use crate::exit::Exit;
use crate::output::{Failure, Output};
use crate::table;

/// What `cleanup` is told.
#[derive(Debug, Args)]
pub(crate) struct CleanupArgs {
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,

    /// Print one JSON document: an array with an object for each filter and route
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Serialize)]
struct Row {
    devname: String,
    ifindex: u32,
    kind: &'static str,
    name: String,
    #[serde(flatten)]
    place: Place,
}

/// What tells it from others at the interface.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Place {
    Filter {
        prio: u16,
        handle: u32,
        prog_id: u32,
    },
    Route {
        dst: String,
    },
}

impl Row {
    fn of_filter(filter: &FoundFilter) -> Self {
        Self {
            devname: name_of(filter.interface),
            ifindex: filter.interface,
            kind: match filter.direction {
                TcDirection::Ingress => "clsact/ingress",
                TcDirection::Egress => "clsact/egress",
            },
            name: filter.name.clone(),
            place: Place::Filter {
                prio: filter.priority,
                handle: filter.handle,
                prog_id: filter.program,
            },
        }
    }

    fn of_route(route: &FoundRoute) -> Self {
        Self {
            devname: name_of(route.interface),
            ifindex: route.interface,
            kind: match route.moment {
                RouteMoment::Input => "route/in",
                RouteMoment::Output => "route/out",
                RouteMoment::Transmit => "route/xmit",
            },
            name: route.name.clone(),
            place: Place::Route {
                dst: format!("{}/{}", route.destination, route.prefix),
            },
        }
    }

    fn cells(&self) -> [String; 4] {
        let place = match &self.place {
            Place::Filter { prio, prog_id, .. } => format!("priority {prio}, program {prog_id}"),
            Place::Route { dst } => format!("to {dst}"),
        };
        [
            self.devname.clone(),
            self.kind.to_owned(),
            place,
            self.name.clone(),
        ]
    }
}

fn name_of(interface: u32) -> String {
    let place = LinkPlace::Xdp { interface };
    place.interface_name().unwrap_or_default()
}

/// Removes what was left behind, in this network namespace.
pub(crate) fn cleanup(args: &CleanupArgs, output: &Output) -> Result<Exit, Failure> {
    let filters = abandoned_filters(!args.dry_run)?;
    let routes = abandoned_routes(!args.dry_run)?;
    let filters = filters.iter().map(Row::of_filter);
    let rows: Vec<Row> = filters.chain(routes.iter().map(Row::of_route)).collect();
    if output.wants_json() {
        output.document(&rows)?;
        return Ok(Exit::Done);
    }
    if rows.is_empty() {
        output.talk("nothing was left behind");
        return Ok(Exit::Done);
    }
    let cells: Vec<_> = rows.iter().map(Row::cells).collect();
    let heading = ["INTERFACE", "HOOK", "PLACE", "NAME"];
    output.data(&table::render(heading, &cells))?;
    if args.dry_run {
        output.talk("nothing was removed");
    }
    Ok(Exit::Done)
}
