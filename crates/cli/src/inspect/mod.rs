//! `twinbpf inspect`: what an object file contains, as tables or as JSON.
//!
//! ```text
//! Object --rows.rs--> Document: everything, as plain rows --text.rs--> tables
//!           ^ ../typed.rs: values as their types say          \-serde---> JSON
//! ```

mod rows;
mod text;

use std::path::PathBuf;

use clap::Args;
use twinbpf::Engine;

use crate::exit::Exit;
use crate::object_file;
use crate::output::{Failure, Output};
use crate::target_choice::TargetArgs;

use rows::Document;

/// What `inspect` is told.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The BPF object file
    object: PathBuf,

    /// Show what each CO-RE relocation resolves to on the running kernel; --btf and --kconfig imply it
    #[arg(long)]
    resolve: bool,

    #[command(flatten)]
    target: TargetArgs,

    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Prints the contents of an object file.
pub(crate) fn inspect(args: &InspectArgs, output: &Output) -> Result<Exit, Failure> {
    let object = object_file::read(&args.object)?;
    let target = match args.resolve || args.target.is_given() {
        true => Some(
            args.target
                .read()?
                .target(&Engine::kernel()?, &object.needs())?,
        ),
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
