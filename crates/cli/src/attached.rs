//! `twinbpf net`, `twinbpf cgroup tree`, `twinbpf perf list`: what is attached where, by whomever, with links or without.
//!
//! With `--json` the fields are those of `bpftool net`, `bpftool cgroup tree` and `bpftool perf`, and more where it says less.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use twinbpf::hook::TcDirection;
use twinbpf::{
    AttachKind, AttachedList, Code, Diagnosis, KernelProgramInfo, LinkPlace, Result,
    attached_to_cgroup, attached_to_interface, attached_to_namespace, attached_xdp, filters,
    interfaces, program_by_id,
};

use crate::exit::Exit;
use crate::output::{Failure, Output};
use crate::{link, table};

/// What `net` is told.
#[derive(Debug, Args)]
pub(crate) struct NetArgs {
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `cgroup` is told.
#[derive(Debug, Args)]
pub(crate) struct CgroupArgs {
    #[command(subcommand)]
    command: CgroupCommand,
}

#[derive(Debug, Subcommand)]
enum CgroupCommand {
    /// Show the programs of a cgroup and of all below it
    Tree {
        /// The folder to start from; without one, the root
        path: Option<PathBuf>,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
}

/// What `perf` is told.
#[derive(Debug, Args)]
pub(crate) struct PerfArgs {
    #[command(subcommand)]
    command: PerfCommand,
}

#[derive(Debug, Subcommand)]
enum PerfCommand {
    /// List the links to events: tracepoints, places in code, counters
    List {
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
}

impl CgroupArgs {
    pub(crate) fn wants_json(&self) -> bool {
        let CgroupCommand::Tree { json, .. } = self.command;
        json
    }
}

impl PerfArgs {
    pub(crate) fn wants_json(&self) -> bool {
        let PerfCommand::List { json } = self.command;
        json
    }
}

/// What is attached to this network namespace and its interfaces.
pub(crate) fn net(output: &Output) -> Result<Exit, Failure> {
    let document = json!({
        "xdp": xdp()?,
        "tc": traffic_control()?,
        "flow_dissector": numbers(&attached_to_namespace(kind("FLOW_DISSECTOR"))?),
        "sk_lookup": numbers(&attached_to_namespace(kind("SK_LOOKUP"))?),
        "netfilter": packet_filter()?,
    });
    if output.wants_json() {
        // bpftool has one document in an array.
        output.document(&[document])?;
        return Ok(Exit::Done);
    }
    let mut rows = Vec::new();
    for (sort, found) in document.as_object().into_iter().flatten() {
        for row in found.as_array().into_iter().flatten() {
            rows.push(cells(sort, row));
        }
    }
    if rows.is_empty() {
        output.talk("nothing is attached to this network namespace");
        return Ok(Exit::Done);
    }
    output.data(&table::render(
        ["SORT", "INTERFACE", "PROGRAM", "NAME", "MORE"],
        &rows,
    ))?;
    Ok(Exit::Done)
}

/// A row as text: the fields that every sort has, then the others as `name value`.
fn cells(sort: &str, row: &Value) -> [String; 5] {
    let plain = |value: &Value| match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    let field = |name: &str| row.get(name).map(plain).unwrap_or_default();
    let program = match row.get("id") {
        Some(id) => plain(id),
        None => field("prog_id"),
    };
    let known = ["devname", "ifindex", "id", "prog_id", "name"];
    let others = row.as_object().into_iter().flatten();
    let others: Vec<String> = others
        .filter(|(name, _)| !known.contains(&name.as_str()))
        .map(|(name, value)| format!("{name} {}", plain(value)))
        .collect();
    [
        sort.to_owned(),
        field("devname"),
        program,
        field("name"),
        others.join(", "),
    ]
}

fn xdp() -> Result<Vec<Value>> {
    let found = attached_xdp()?.into_iter().map(|found| {
        json!({
            "devname": device(found.interface), "ifindex": found.interface, "mode": found.mode,
            "id": found.program,
        })
    });
    Ok(found.collect())
}

/// Lists of links first, as the kernel runs them first, then filters.
fn traffic_control() -> Result<Vec<Value>> {
    let mut rows = Vec::new();
    for interface in interfaces()? {
        let row = |kind: &str, name: String, program: (&str, u32)| {
            let (field, program) = program;
            json!({
                "devname": device(interface), "ifindex": interface, "kind": kind, "name": name, field: program,
            })
        };
        for (attach, word) in [
            ("TCX_INGRESS", "tcx/ingress"),
            ("TCX_EGRESS", "tcx/egress"),
            ("NETKIT_PRIMARY", "netkit/primary"),
            ("NETKIT_PEER", "netkit/peer"),
        ] {
            for found in attached_to_interface(interface, kind(attach))?.programs {
                let mut row = row(word, name(found.program), ("prog_id", found.program));
                if found.link != 0 {
                    row["link_id"] = json!(found.link);
                }
                rows.push(row);
            }
        }
        for (direction, word) in [
            (TcDirection::Ingress, "clsact/ingress"),
            (TcDirection::Egress, "clsact/egress"),
        ] {
            for filter in filters(interface, direction)? {
                let mut row = row(word, filter.name, ("id", filter.program));
                row["prio"] = json!(filter.priority);
                row["handle"] = json!(filter.handle);
                rows.push(row);
            }
        }
    }
    Ok(rows)
}

fn numbers(list: &AttachedList) -> Vec<Value> {
    let programs = list.programs.iter();
    programs
        .map(|found| json!({"id": found.program, "name": name(found.program)}))
        .collect()
}

/// KERNEL: 6.18 lists links of the packet filter of all namespaces, and does not say whose they are; so does bpftool.
fn packet_filter() -> Result<Vec<Value>> {
    let found = link::infos()?.into_iter().filter_map(|link| match link.place {
        LinkPlace::Netfilter {
            family,
            point,
            priority,
            ..
        } => Some(json!({
            "link_id": link.id, "prog_id": link.program, "pf": family, "hook": point, "prio": priority,
        })),
        _ => None,
    });
    Ok(found.collect())
}

/// What is attached to cgroups.
pub(crate) fn cgroup(args: &CgroupArgs, output: &Output) -> Result<Exit, Failure> {
    let CgroupCommand::Tree { path, .. } = &args.command;
    let root = match path {
        Some(path) => path.clone(),
        None => cgroup_root()?,
    };
    let mut found = Vec::new();
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        let programs = programs_of(&folder)?;
        if !programs.is_empty() {
            found.push((folder.clone(), programs));
        }
        let mut below: Vec<PathBuf> = fs::read_dir(&folder)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path())
            .collect();
        // The last is looked at first.
        below.sort_by(|left, right| right.cmp(left));
        folders.extend(below);
    }
    if output.wants_json() {
        let documents: Vec<Value> = found
            .iter()
            .map(|(folder, programs)| json!({"cgroup": folder, "programs": programs}))
            .collect();
        output.document(&documents)?;
    } else if found.is_empty() {
        output.talk("nothing is attached to these cgroups");
    } else {
        output.data(&tree_text(&found))?;
    }
    Ok(Exit::Done)
}

fn tree_text(found: &[(PathBuf, Vec<Value>)]) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut lines = Vec::new();
    for (folder, programs) in found {
        lines.push(folder.display().to_string());
        let rows: Vec<[String; 4]> = programs
            .iter()
            .map(|row| {
                [
                    row["id"].to_string(),
                    text(&row["attach_type"]),
                    text(&row["attach_flags"]),
                    text(&row["name"]),
                ]
            })
            .collect();
        lines.push(table::render(["ID", "ATTACHED", "FLAGS", "NAME"], &rows));
    }
    lines.join("\n")
}

/// The programs of one cgroup, kind by kind.
fn programs_of(folder: &Path) -> Result<Vec<Value>> {
    let mut rows = Vec::new();
    for attach in AttachKind::all().filter(|attach| attach.is_of_cgroups()) {
        let list = match attached_to_cgroup(folder, attach) {
            // The folder may have gone since it was listed.
            Err(error) if !folder.exists() => {
                drop(error);
                return Ok(rows);
            }
            list => list?,
        };
        let flags = match list.flags {
            1 => "override",
            2 => "multi",
            _ => "",
        };
        for found in &list.programs {
            // One that has gone meanwhile has no name.
            let info = program_by_id(found.program).ok().flatten();
            let of = |number: fn(&KernelProgramInfo) -> u32| info.as_ref().map_or(0, number);
            rows.push(json!({
                "id": found.program, "attach_type": attach.to_string(), "attach_flags": flags,
                "name": info.as_ref().map_or("", |info| info.name.as_str()),
                "attach_btf_obj_id": of(|info| info.attach_types), "attach_btf_id": of(|info| info.attach_type),
            }));
        }
    }
    Ok(rows)
}

fn cgroup_root() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let found = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let point = fields.next()?;
        (fields.next()? == "cgroup2").then(|| PathBuf::from(point))
    });
    found.ok_or_else(|| {
        let message = "no cgroups of version 2 are mounted, the only ones that programs attach to";
        Diagnosis::new(Code::ATTACH_TARGET, message)
            .help("mount them: sudo mount -t cgroup2 none FOLDER")
            .into()
    })
}

/// What is attached to events.
pub(crate) fn perf(output: &Output) -> Result<Exit, Failure> {
    let rows: Vec<Map<String, Value>> = link::infos()?
        .into_iter()
        .filter_map(|link| {
            let fields = event(&link.place)?;
            let mut row = Map::new();
            row.insert("link_id".to_owned(), json!(link.id));
            row.insert("prog_id".to_owned(), json!(link.program));
            row.extend(fields.as_object().cloned().unwrap_or_default());
            Some(row)
        })
        .collect();
    if output.wants_json() {
        output.document(&rows)?;
        return Ok(Exit::Done);
    }
    if rows.is_empty() {
        output.talk("nothing is attached to events by a link");
        return Ok(Exit::Done);
    }
    let cells: Vec<[String; 5]> = rows
        .into_iter()
        .map(|row| cells("event", &Value::Object(row)))
        .collect();
    let cells: Vec<[String; 2]> = cells
        .into_iter()
        .map(|[_, _, program, _, more]| [program, more])
        .collect();
    output.data(&table::render(["PROGRAM", "EVENT"], &cells))?;
    Ok(Exit::Done)
}

fn event(place: &LinkPlace) -> Option<Value> {
    match place {
        LinkPlace::Tracepoint { name, .. } => {
            Some(json!({"fd_type": "tracepoint", "tracepoint": name}))
        }
        LinkPlace::RawTracepoint { name, .. } => {
            Some(json!({"fd_type": "raw_tracepoint", "tracepoint": name}))
        }
        LinkPlace::Kprobe {
            function,
            offset,
            is_return,
            ..
        } => {
            let sort = if *is_return { "kretprobe" } else { "kprobe" };
            Some(json!({"fd_type": sort, "func": function, "offset": offset}))
        }
        LinkPlace::Uprobe {
            path,
            offset,
            is_return,
            ..
        } => {
            let sort = if *is_return { "uretprobe" } else { "uprobe" };
            Some(json!({"fd_type": sort, "filename": path, "offset": offset}))
        }
        LinkPlace::KprobeMulti { count, .. } => {
            Some(json!({"fd_type": "kprobe_multi", "func_cnt": count}))
        }
        LinkPlace::UprobeMulti { path, count, .. } => {
            Some(json!({"fd_type": "uprobe_multi", "filename": path, "func_cnt": count}))
        }
        LinkPlace::PerfEvent {
            event_type, config, ..
        } => {
            Some(json!({"fd_type": "perf_event", "event_type": event_type, "event_config": config}))
        }
        _ => None,
    }
}

fn device(interface: u32) -> String {
    let place = LinkPlace::Xdp { interface };
    place.interface_name().unwrap_or_default()
}

/// A program's name; one that has gone meanwhile has none.
fn name(program: u32) -> String {
    match program_by_id(program) {
        Ok(Some(info)) => info.name,
        _ => String::new(),
    }
}

/// The number of an attach kind in the table.
fn kind(name: &str) -> AttachKind {
    AttachKind::from_kernel_name(name).unwrap_or(AttachKind(u32::MAX))
}
