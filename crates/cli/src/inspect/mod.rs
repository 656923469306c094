//! `twinbpf inspect`: what an object file contains, as tables or as JSON.
//!
//! ```text
//! Object --rows.rs--> Document: everything, as plain rows --text.rs--> tables
//!           ^ typed.rs: values as their types say          \-serde---> JSON
//! ```

mod rows;
mod text;
mod typed;

use std::path::PathBuf;

use clap::Args;
use twinbpf::{Engine, Object, Result, Target};

use crate::btf_file;
use crate::exit::Exit;
use crate::object_file;
use crate::output::{Failure, Output};

use rows::Document;

/// What `inspect` is told.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The BPF object file
    object: PathBuf,

    /// Show what each CO-RE relocation resolves to on the running kernel, or on the types of --btf
    #[arg(long)]
    resolve: bool,

    /// Resolve with the types in this file, raw BTF or an object's, instead of the running kernel's
    #[arg(long, value_name = "FILE", requires = "resolve")]
    btf: Option<PathBuf>,

    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Prints the contents of an object file.
pub(crate) fn inspect(args: &InspectArgs, output: &Output) -> Result<Exit, Failure> {
    let object = object_file::read(&args.object)?;
    let target = match args.resolve {
        true => Some(target(args, &object)?),
        false => None,
    };
    let file = args.object.display().to_string();
    let document = Document::new(file, &object, target.as_ref());
    if output.wants_json() {
        output.document(&document)?;
    } else {
        output.data(&document.text())?;
    }
    Ok(Exit::Done)
}

/// What the relocations are resolved against.
fn target(args: &InspectArgs, object: &Object) -> Result<Target> {
    let mut target = Engine::kernel()?.target(&object.needs())?;
    if let Some(path) = &args.btf {
        target.btf = Some(btf_file::read(path)?);
    }
    Ok(target)
}
