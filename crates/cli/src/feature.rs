//! `twinbpf feature`: which types of programs and maps and which helpers a kernel knows, and since which release there are such.
//!
//! The kernel's own types name them all, so nothing is tried and no privilege is needed, and the types of another kernel answer for
//! that one (`--btf`). What a kernel knows it may still refuse, where it was built without it: `doctor` tries.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use twinbpf::abi::{helper_name, helper_prototype};
use twinbpf::btf::{Btf, Type};
use twinbpf::{Code, Diagnosis, MapKind, ProgramKind, Result};

use crate::btf_file;
use crate::exit::Exit;
use crate::output::{Failure, Output};
use crate::table;

/// What `feature` is told.
#[derive(Debug, Args)]
pub(crate) struct FeatureArgs {
    /// The types of the kernel that is asked about, instead of the running one's
    #[arg(long, value_name = "FILE")]
    btf: Option<PathBuf>,

    /// Only what this kernel does not know
    #[arg(long)]
    missing: bool,

    /// Print one JSON document: an array with an object for each
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Serialize)]
struct Row {
    sort: &'static str,
    name: String,
    /// The release that brought it.
    since: &'static str,
    is_known: bool,
}

/// Prints what a kernel knows.
pub(crate) fn feature(args: &FeatureArgs, output: &Output) -> Result<Exit, Failure> {
    let path = args.btf.as_deref();
    let types = btf_file::read(path.unwrap_or(Path::new(RUNNING)))?;
    let mut rows = rows(&types)?;
    if args.missing {
        rows.retain(|row| !row.is_known);
    }
    if output.wants_json() {
        output.document(&rows)?;
    } else if rows.is_empty() {
        output.talk("this kernel knows all that there is");
    } else {
        let cells: Vec<[String; 4]> = rows.iter().map(Row::cells).collect();
        output.data(&table::render(["SORT", "NAME", "SINCE", "KNOWN"], &cells))?;
    }
    Ok(Exit::Done)
}

impl Row {
    fn cells(&self) -> [String; 4] {
        let known = if self.is_known { "yes" } else { "no" };
        [self.sort, &self.name, self.since, known].map(str::to_owned)
    }
}

fn rows(types: &Btf) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let known = numbers(types, "bpf_prog_type")?;
    rows.extend(ProgramKind::all().map(|kind| Row {
        sort: "program",
        name: kind.to_string(),
        since: kind.since().unwrap_or_default(),
        is_known: known.contains(&kind.number().into()),
    }));
    let known = numbers(types, "bpf_map_type")?;
    rows.extend(MapKind::all().map(|kind| Row {
        sort: "map",
        name: kind.to_string(),
        since: kind.since().unwrap_or_default(),
        is_known: known.contains(&kind.number().into()),
    }));
    let known = numbers(types, "bpf_func_id")?;
    let helpers = (1..).map_while(|number| Some((number, helper_name(number)?)));
    rows.extend(helpers.map(|(number, name)| Row {
        sort: "helper",
        name: format!("bpf_{name}"),
        since: helper_prototype(number).map_or("", |prototype| prototype.since),
        is_known: u64::try_from(number).is_ok_and(|number| known.contains(&number)),
    }));
    Ok(rows)
}

/// The numbers of an enumeration, without those that only count the others (`__BPF_FUNC_MAX_ID`).
fn numbers(types: &Btf, name: &str) -> Result<BTreeSet<u64>> {
    let found = types.named(name).find_map(|id| match types.get(id) {
        Some(Type::Enumeration(found)) => Some(found),
        _ => None,
    });
    let found = found.ok_or_else(|| {
        let message = format!("the types have no enumeration `{name}`, so they are no kernel's");
        Diagnosis::new(Code::TARGET_TYPES_MISSING, message)
            .help("the running kernel's are in /sys/kernel/btf/vmlinux")
    })?;
    let named = found.enumerators.iter();
    let counted = named.filter(|each| !types.text(each.name).starts_with("__"));
    Ok(counted.map(|each| each.value).collect())
}

const RUNNING: &str = "/sys/kernel/btf/vmlinux";
