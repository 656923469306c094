//! The kernel's own selftests as a judge: each program loaded alone, its verdict and its diagnosis compared with what it declares.
//!
//! The tests say in declaration tags of their BTF what they expect (`declared.rs`). They are outside data: a folder of objects, or the
//! kernel's source tree, which is built into the target folder (`sources.rs`); nothing of it is in this repository.
//!
//! Four things are judged, and three have a bar:
//!
//! - the verdict: accepted or refused, as declared;
//! - the line: the diagnosis names the source line of the instruction at which the verifier's trace stops, which the trace
//!   itself says (95 %);
//! - the code: it fits the words that the test declares, by the table in `expected.rs` (all);
//! - the catch-all `V000`: at most 5 %.

mod attempt;
mod declared;
mod expected;
mod judge;
mod report;
mod sources;

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use twinbpf::btf::Btf;
use twinbpf::{Engine, Object};

use judge::Judged;
use report::Report;

/// What to judge, and how to say it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options<'a> {
    /// A folder of built objects.
    pub(crate) objects: Option<&'a Path>,
    /// A kernel's source tree, to be built.
    pub(crate) source: Option<&'a Path>,
    /// One JSON document instead of a table.
    pub(crate) wants_json: bool,
}

/// Loads everything and judges it.
///
/// # Errors
///
/// If nothing can be loaded here, a file cannot be read, or a bar is missed. The text is for people.
pub(crate) fn run(options: Options<'_>) -> Result<String, String> {
    let folder = match (options.objects, options.source) {
        (Some(folder), None) => folder.to_owned(),
        (None, Some(tree)) => sources::build(tree)?,
        _ => return Err("name a folder of objects, or --source and a kernel's tree".to_owned()),
    };
    let engine = Engine::kernel().map_err(|error| error.to_string())?;
    let mut report = Report::default();
    for path in objects_in(&folder)? {
        judge_file(&engine, &path, &mut report)?;
    }
    report.finish(options.wants_json)
}

fn objects_in(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let at = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(at)? {
        let path = entry.map_err(at)?.path();
        if path.extension().is_some_and(|extension| extension == "o") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// The types of another of the tests' objects. Their build calls it `NAME.bpf.o`, a folder of objects `NAME.o`.
fn types_beside(object: &Path, file: &str) -> Result<Arc<Btf>, String> {
    let as_built = object.with_file_name(file);
    let path = match as_built.exists() {
        true => as_built,
        false => object.with_file_name(file.replace(".bpf.o", ".o")),
    };
    let at = |error: &dyn Display| format!("{}: {error}", path.display());
    let bytes = fs::read(&path).map_err(|error| at(&error))?;
    let types = twinbpf::read_types(bytes).map_err(|error| at(&error))?;
    Ok(Arc::new(types))
}

fn judge_file(engine: &Engine, path: &Path, report: &mut Report) -> Result<(), String> {
    let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let file = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let object = match Object::parse(&bytes) {
        Ok(object) => object,
        Err(error) => {
            report.unreadable.push(format!("{file}: {error}"));
            return Ok(());
        }
    };
    for program in &object.programs {
        let declared = declared::read(&object, &program.name);
        let types = declared.types.as_deref();
        let types = types.map(|file| types_beside(path, file)).transpose()?;
        let outcome = attempt::load_alone(engine, &object, program, &declared, types);
        report.add(Judged::new(&file, program, &declared, &outcome));
    }
    Ok(())
}
