//! `twinbpf link`: the programs attached in this kernel, whoever attached them.
//!
//! With `--json` the fields are those of `bpftool link`, and more where it says less.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use twinbpf::{Code, Diagnosis, Error, Link, LinkInfo, LinkPlace, Result, program_by_id};

use crate::exit::Exit;
use crate::output::{Failure, Output};
use crate::prog::open_program;
use crate::table;

/// What `link` is told.
#[derive(Debug, Args)]
pub(crate) struct LinkArgs {
    #[command(subcommand)]
    command: LinkCommand,
}

#[derive(Debug, Subcommand)]
enum LinkCommand {
    /// List the links
    List {
        /// Print one JSON document: an array with an object for each
        #[arg(long)]
        json: bool,
    },
    /// Show one link
    Show {
        /// The link's number
        id: u32,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Detach a link's program at once, whoever holds the link
    Detach {
        /// The link's number
        id: u32,
    },
    /// Put another loaded program in the place of a link's, in one step
    Update {
        /// The link's number
        id: u32,
        /// The new program: its number, its name, or the path of its pin
        #[arg(value_name = "PROGRAM")]
        program: String,
        /// Only if the link has this program now
        #[arg(long, value_name = "PROGRAM")]
        expect: Option<String>,
    },
    /// Keep a link when its holder ends, under a name in a bpffs
    Pin {
        /// The link's number
        id: u32,
        /// The name
        path: PathBuf,
    },
}

impl LinkArgs {
    pub(crate) fn wants_json(&self) -> bool {
        match self.command {
            LinkCommand::List { json } | LinkCommand::Show { json, .. } => json,
            LinkCommand::Detach { .. } | LinkCommand::Pin { .. } | LinkCommand::Update { .. } => {
                false
            }
        }
    }
}

/// Lists, shows, detaches, updates, pins.
pub(crate) fn link(args: &LinkArgs, output: &Output) -> Result<Exit, Failure> {
    match &args.command {
        LinkCommand::List { .. } => list(output)?,
        LinkCommand::Show { id, .. } => {
            let info = open(*id)?.info()?;
            if output.wants_json() {
                output.document(&document(&info))?;
            } else {
                output.data(&text(&[info]))?;
            }
        }
        LinkCommand::Detach { id } => open(*id)?.detach()?,
        LinkCommand::Update {
            id,
            program,
            expect,
        } => {
            let expected = expect.as_deref().map(open_program).transpose()?;
            open(*id)?.update(&open_program(program)?, expected.as_ref())?;
        }
        LinkCommand::Pin { id, path } => open(*id)?.pin(path)?,
    }
    Ok(Exit::Done)
}

fn list(output: &Output) -> Result<(), Failure> {
    let infos = infos()?;
    if output.wants_json() {
        let documents: Vec<Value> = infos.iter().map(document).collect();
        return output.document(&documents);
    }
    if infos.is_empty() {
        output.talk("there are no links");
        return Ok(());
    }
    output.data(&text(&infos))
}

/// What the kernel says about each link of the system.
pub(crate) fn infos() -> Result<Vec<LinkInfo>> {
    let mut infos = Vec::new();
    for id in Link::ids()? {
        // It may have ended since; or end now, which leaves some sorts of links without an answer.
        if let Some(Ok(info)) = Link::by_id(id)?.map(|link| link.info()) {
            infos.push(info);
        }
    }
    Ok(infos)
}

fn open(id: u32) -> Result<Link> {
    Link::by_id(id)?.ok_or_else(|| {
        let error: Error = Diagnosis::new(Code::LINK_NOT_FOUND, format!("there is no link {id}"))
            .help("`twinbpf link list` lists those that there are")
            .into();
        error
    })
}

fn text(infos: &[LinkInfo]) -> String {
    let rows: Vec<[String; 4]> = infos
        .iter()
        .map(|info| {
            let sort = info.place.word().to_owned();
            [
                info.id.to_string(),
                sort,
                program(info.program),
                place(info),
            ]
        })
        .collect();
    table::render(["ID", "SORT", "PROGRAM", "PLACE"], &rows)
}

/// `17 count_frames`, or `-` for links without a program.
fn program(id: u32) -> String {
    if id == 0 {
        return "-".to_owned();
    }
    // The name is an addition: a program that has gone meanwhile still had a number.
    match program_by_id(id) {
        Ok(Some(info)) => format!("{id} {}", info.name),
        _ => id.to_string(),
    }
}

/// The fields of the place, as `name value`.
fn place(info: &LinkInfo) -> String {
    let fields = fields(&info.place);
    let words = fields.iter().map(|(name, value)| match value {
        Value::String(text) => format!("{name} {text}"),
        value => format!("{name} {value}"),
    });
    words.collect::<Vec<_>>().join(", ")
}

fn document(info: &LinkInfo) -> Value {
    let mut document = Map::new();
    document.insert("id".to_owned(), json!(info.id));
    document.insert("type".to_owned(), json!(info.place.word()));
    document.insert("prog_id".to_owned(), json!(info.program));
    document.extend(fields(&info.place));
    Value::Object(document)
}

/// What says where a probe of functions is, under bpftool's names.
fn probe_fields(place: &LinkPlace) -> Value {
    match place {
        LinkPlace::KprobeMulti {
            count,
            is_return,
            missed,
        } => json!({"retprobe": is_return, "func_cnt": count, "missed": missed}),
        LinkPlace::UprobeMulti {
            path,
            count,
            is_return,
            pid,
        } => json!({"retprobe": is_return, "path": path, "func_cnt": count, "pid": pid}),
        LinkPlace::Uprobe {
            path,
            offset,
            is_return,
            cookie,
        } => json!({"retprobe": is_return, "file": path, "offset": offset, "cookie": cookie}),
        LinkPlace::Kprobe {
            function,
            offset,
            is_return,
            address,
            missed,
            cookie,
        } => json!({
            "retprobe": is_return, "addr": address, "func": function, "offset": offset, "missed": missed,
            "cookie": cookie
        }),
        _ => json!({}),
    }
}

/// What says where the link is, under bpftool's names.
fn fields(place: &LinkPlace) -> Map<String, Value> {
    let device = |index: u32| match place.interface_name() {
        Some(name) => json!({"devname": name, "ifindex": index}),
        None => json!({"ifindex": index}),
    };
    let mut fields = match place {
        LinkPlace::RawTracepoint { name, cookie } => json!({"tp_name": name, "cookie": cookie}),
        LinkPlace::Tracing {
            object,
            type_id,
            cookie,
            ..
        } => json!({"target_obj_id": object, "target_btf_id": type_id, "cookie": cookie}),
        LinkPlace::Cgroup { cgroup, .. } => json!({"cgroup_id": cgroup}),
        LinkPlace::Iterator { target, map } => match map {
            Some(map) => json!({"target_name": target, "map_id": map}),
            None => json!({"target_name": target}),
        },
        LinkPlace::NetworkNamespace { inode, .. } => json!({"netns_ino": inode}),
        LinkPlace::Xdp { interface }
        | LinkPlace::Tcx { interface, .. }
        | LinkPlace::Netkit { interface, .. } => device(*interface),
        LinkPlace::StructOps { map } | LinkPlace::SockMap { map, .. } => json!({"map_id": map}),
        LinkPlace::Netfilter {
            family,
            point,
            priority,
            defragments,
        } => {
            json!({"pf": family, "hook": point, "prio": priority, "flags": u32::from(*defragments)})
        }
        LinkPlace::Tracepoint { name, cookie } => json!({"tracepoint": name, "cookie": cookie}),
        LinkPlace::PerfEvent {
            event_type,
            config,
            cookie,
        } => json!({"event_type": event_type, "event_config": config, "cookie": cookie}),
        probe => probe_fields(probe),
    };
    if let Some(attach) = place.attach() {
        fields["attach_type"] = json!(attach.to_string());
    }
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}
