//! `twinbpf btf`: types as lines, as JSON, as C or Rust, or as members and holes; and what types the kernel holds.
//!
//! Lines and JSON have the form and the field names of `bpftool btf dump`, which scripts know.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use twinbpf::btf::print::{self, RustTraits};
use twinbpf::btf::{Btf, Type, TypeId};
use twinbpf::{Code, Diagnosis, Error, ErrorKind, types_by_id};

use crate::exit::Exit;
use crate::output::{Failure, Output};
use crate::{btf_file, object_file};

mod layout;
mod list;
mod row;

use row::TypeRow;

/// What `btf` is told.
#[derive(Debug, Args)]
pub(crate) struct BtfArgs {
    #[command(subcommand)]
    command: BtfCommand,
}

#[derive(Debug, Subcommand)]
enum BtfCommand {
    /// Print the types of a file or of the running kernel
    Dump(DumpArgs),
    /// Print what types the running kernel holds, and whose they are
    #[command(alias = "show")]
    List(ListArgs),
}

/// What `btf list` is told.
#[derive(Debug, Args)]
struct ListArgs {
    /// Print JSON
    #[arg(long, short = 'j')]
    json: bool,
}

impl BtfArgs {
    pub(crate) fn wants_json(&self) -> bool {
        match &self.command {
            BtfCommand::Dump(args) => args.json,
            BtfCommand::List(args) => args.json,
        }
    }
}

/// What `btf dump` is told.
#[derive(Debug, Args)]
struct DumpArgs {
    /// A BPF object, or a file of BTF
    #[arg(required_unless_present_any = ["kernel", "id"])]
    file: Option<PathBuf>,

    /// The types with this number in the kernel, as `btf list` shows them
    #[arg(long, conflicts_with_all = ["file", "kernel", "base"])]
    id: Option<u32>,

    /// The running kernel's types
    #[arg(long, conflicts_with = "file")]
    kernel: bool,

    /// How to print them
    #[arg(long, value_enum, default_value_t = Format::Raw)]
    format: Format,

    /// Only the types of this name, and what they need; may be given several times
    #[arg(long = "type", value_name = "NAME")]
    names: Vec<String>,

    /// Only what the keys, values and variables of an object consist of
    #[arg(long, conflicts_with_all = ["kernel", "id"])]
    maps: bool,

    /// The types that those in the file continue; for modules in /sys/kernel/btf the kernel's
    #[arg(long, value_name = "FILE", conflicts_with = "kernel")]
    base: Option<PathBuf>,

    /// Rust without what typed maps ask for, and without any other crate
    #[arg(long)]
    bare: bool,

    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// How types are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// As they stand in the BTF, by number
    Raw,
    /// A header that clang compiles for BPF to the same layouts
    C,
    /// A module with the same layouts, ready for typed maps
    Rust,
    /// Structs with the place of each member, and what is unused
    Layout,
}

/// Does what is asked about types.
pub(crate) fn btf(args: &BtfArgs, output: &Output) -> Result<Exit, Failure> {
    match &args.command {
        BtfCommand::Dump(args) => dump(args, output),
        BtfCommand::List(_) => list::list(output),
    }
}

#[derive(Debug, Serialize)]
struct RawDocument<'a> {
    types: Vec<TypeRow<'a>>,
}

#[derive(Debug, Serialize)]
struct TextDocument<'a> {
    text: &'a str,
}

fn dump(args: &DumpArgs, output: &Output) -> Result<Exit, Failure> {
    let path = args.file.as_deref().filter(|_| !args.kernel);
    let path = path.unwrap_or_else(|| Path::new(KERNEL));
    let btf: Arc<Btf> = match args.id {
        Some(id) => numbered(id)?,
        None => btf_file::read_on(path, args.base.as_deref())?,
    };
    let in_file = |error: Error| match args.id {
        Some(id) => error.in_file(format!("types {id} of the kernel")),
        None => error.in_file(path.display().to_string()),
    };
    let mut roots = roots(&btf, &args.names).map_err(in_file)?;
    if args.maps {
        roots.extend(types_of_maps(path)?);
    }
    match args.format {
        Format::C => dump_text(&print::c_header(&btf, &roots).map_err(in_file)?, output)?,
        Format::Rust => {
            let traits = match args.bare {
                true => RustTraits::None,
                false => RustTraits::Zerocopy,
            };
            dump_text(
                &print::rust_types(&btf, &roots, traits).map_err(in_file)?,
                output,
            )?;
        }
        Format::Raw => dump_raw(&btf, &reached(&btf, &roots), output)?,
        Format::Layout => {
            let all = || btf.iter().map(|(id, _)| id).collect();
            let ids = if roots.is_empty() { all() } else { roots };
            layout::dump(&btf, &ids, output)?;
        }
    }
    Ok(Exit::Done)
}

fn numbered(id: u32) -> Result<Arc<Btf>, Error> {
    types_by_id(id)?.ok_or_else(|| {
        let message = format!("the kernel has no types with the number {id}");
        Diagnosis::new(Code::BTF_MISSING, message)
            .kind(ErrorKind::NotFound)
            .help("`twinbpf btf list` shows those that it has")
            .into()
    })
}

fn dump_text(text: &str, output: &Output) -> Result<(), Failure> {
    match output.wants_json() {
        true => output.document(&TextDocument { text }),
        false => output.data(text.trim_end()),
    }
}

fn dump_raw(btf: &Btf, ids: &BTreeSet<TypeId>, output: &Output) -> Result<(), Failure> {
    if output.wants_json() {
        let types = ids.iter().filter_map(|id| TypeRow::new(btf, *id));
        return output.document(&RawDocument {
            types: types.collect(),
        });
    }
    let lines: Vec<String> = ids.iter().map(|id| print::raw(btf, *id)).collect();
    output.data(&lines.join("\n"))
}

/// Keys, values and variables of an object. The numbers are those of its types, which are read once more here.
fn types_of_maps(path: &Path) -> Result<Vec<TypeId>, Error> {
    let object = object_file::read(path)?;
    let types = object
        .maps
        .iter()
        .flat_map(|map| [map.types.key, map.types.value]);
    let types: BTreeSet<TypeId> = types.filter(|id| *id != TypeId::VOID).collect();
    if types.is_empty() {
        let message = "no map of the object says what its keys and values are";
        let error = Diagnosis::new(Code::BTF_MISSING, message).kind(ErrorKind::NotFound);
        return Err(Error::from(error).in_file(path.display().to_string()));
    }
    Ok(types.into_iter().collect())
}

/// The types with these names; none if no name is given.
fn roots(btf: &Btf, names: &[String]) -> Result<Vec<TypeId>, Error> {
    let mut roots = Vec::new();
    for name in names {
        let mut found: Vec<TypeId> = btf.named(name).collect();
        if let (true, Some(base)) = (found.is_empty(), btf.base()) {
            found = base.named(name).collect();
        }
        if found.is_empty() {
            let message = format!("there is no type called `{name}`");
            return Err(Diagnosis::new(Code::BTF_MISSING, message)
                .kind(ErrorKind::NotFound)
                .into());
        }
        roots.extend(found);
    }
    Ok(roots)
}

/// Everything that the roots lead to; everything if there are none.
fn reached(btf: &Btf, roots: &[TypeId]) -> BTreeSet<TypeId> {
    let mut open = roots.to_vec();
    if open.is_empty() {
        open.extend(btf.iter().map(|(id, _)| id));
    }
    let mut reached = BTreeSet::new();
    while let Some(id) = open.pop() {
        if id == TypeId::VOID || !reached.insert(id) {
            continue;
        }
        if let Some(found) = btf.get(id) {
            found.visit_links(&mut |target| open.push(target));
        }
    }
    reached
}

/// `struct name`, `typedef name`.
fn called(btf: &Btf, id: TypeId) -> String {
    let word = btf.get(id).map_or("type", Type::kind_word);
    format!("{word} {}", btf.name_of(id))
}

const KERNEL: &str = "/sys/kernel/btf/vmlinux";
