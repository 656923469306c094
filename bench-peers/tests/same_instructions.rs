//! Our final instructions are libbpf's: for every object here that libbpf prepares, and for the objects of the folders in
//! `TWINBPF_OBJECTS` (separated by colons), program by program. `TWINBPF_TARGET_BTF` names types other than the running
//! kernel's. Needs the privilege to create maps.
//!
//! Left out are objects of the other byte order and those whose relocations carry addends: libbpf ignores the addends.

use std::path::{Path, PathBuf};

use twinbpf::{Engine, Object};
use twinbpf_bench_peers::{compare::compare, libbpf};

/// What was held against each other.
#[derive(Default)]
struct Tally {
    programs: usize,
    functions: usize,
    not_prepared: usize,
    differences: Vec<String>,
}

#[test]
fn final_instructions_equal_those_of_libbpf() {
    let mut tally = Tally::default();
    for path in objects() {
        hold(&path, &mut tally);
    }
    println!(
        "{} programs, {} functions equal; {} programs not prepared by libbpf; {} differ",
        tally.programs,
        tally.functions,
        tally.not_prepared,
        tally.differences.len()
    );
    for difference in &tally.differences {
        println!("{difference}");
    }
    assert!(tally.programs > 0, "nothing was compared: is this root?");
    assert!(
        tally.differences.is_empty(),
        "{} differ",
        tally.differences.len()
    );
}

fn objects() -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/bpf");
    let folders = match std::env::var_os("TWINBPF_OBJECTS") {
        Some(more) => std::env::split_paths(&more).collect(),
        None => vec![own],
    };
    let mut paths: Vec<PathBuf> = folders
        .iter()
        .flat_map(|folder| std::fs::read_dir(folder).expect("the folder can be read"))
        .map(|entry| entry.expect("the entry can be read").path())
        .filter(|path| path.extension().is_some_and(|end| end == "o"))
        .filter(|path| {
            !["_be.bpf.o", "_rela.bpf.o"]
                .iter()
                .any(|end| path.to_string_lossy().ends_with(end))
        })
        .collect();
    paths.sort();
    paths
}

/// Each program is prepared alone, so that what one lacks does not hide the others.
fn hold(path: &Path, tally: &mut Tally) {
    let types = std::env::var_os("TWINBPF_TARGET_BTF").map(PathBuf::from);
    let file = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let bytes = std::fs::read(path).expect("the object can be read");
    let Ok(object) = Object::parse(&bytes) else {
        if libbpf::Open::file(path, None)
            .and_then(libbpf::Open::prepare)
            .is_ok()
        {
            tally
                .differences
                .push(format!("{file}: libbpf reads it, we do not"));
        }
        return;
    };
    for name in object.programs.iter().map(|program| &program.name) {
        let prepared = libbpf::Open::file(path, types.as_deref()).and_then(|open| {
            open.only(name);
            open.prepare()
        });
        let Some(theirs) = prepared
            .ok()
            .and_then(|ready| ready.programs().into_iter().find(|each| each.name == *name))
        else {
            tally.not_prepared += 1;
            continue;
        };
        match hold_program(&object, name, types.as_deref(), &theirs.insns) {
            Ok(functions) => {
                tally.programs += 1;
                tally.functions += functions;
            }
            Err(words) => tally.differences.push(format!("{file}: `{name}`: {words}")),
        }
    }
}

fn hold_program(
    object: &Object,
    name: &str,
    types: Option<&Path>,
    theirs: &[twinbpf_object::Insn],
) -> Result<usize, String> {
    let mut object = object.clone();
    for program in &mut object.programs {
        program.autoload = program.name == name;
    }
    let engine = Engine::kernel().map_err(|error| error.to_string())?;
    let mut target = engine
        .target(&object.needs())
        .map_err(|error| error.to_string())?;
    if let Some(types) = types {
        let bytes = std::fs::read(types).map_err(|error| error.to_string())?;
        let btf = twinbpf_object::btf::Btf::parse(&bytes, twinbpf::spec::ByteOrder::HOST)
            .map_err(|error| error.to_string())?;
        target.core_btf = Some(std::sync::Arc::new(btf));
    }
    let linked = twinbpf::link(&object, &target).map_err(|error| error.to_string())?;
    let ours = linked
        .programs
        .iter()
        .find(|each| each.name == name)
        .ok_or("it was left out")?;
    compare(ours, theirs).map_err(|difference| difference.to_string())
}
