//! Programs for one target: a function of another program.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::ExitCode;

use twinbpf::{Code, Engine, Loaded, Object, Result, link};
use twinbpf_trials::{Case, Need};

fn main() -> ExitCode {
    let kernel = [Need::Kernel];
    let traced = [Need::Kernel, Need::FunctionTracing];
    twinbpf_trials::run(vec![
        Case::new(
            "a_program_is_loaded_to_replace_a_function_of_another",
            &traced,
            || {
                load("replacement").unwrap().program("replacement").unwrap();
            },
        ),
        Case::new(
            "a_program_is_loaded_to_watch_a_function_of_another",
            &traced,
            || {
                load("watch").unwrap().program("watch").unwrap();
            },
        ),
        Case::new(
            "a_function_that_the_target_lacks_has_a_neighbour",
            &kernel,
            neighbour,
        ),
        Case::new(
            "a_program_of_the_vm_is_no_target_in_the_kernel",
            &kernel,
            foreign_target,
        ),
    ])
}

fn object(name: &str) -> Object {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/bpf");
    Object::parse(&std::fs::read(folder.join(format!("{name}.bpf.o"))).unwrap()).unwrap()
}

/// Loads one program with `count` as its target.
fn load(name: &str) -> Result<Loaded> {
    let engine = Engine::kernel()?;
    let object = object("target");
    let first = engine.load_object(&object)?;
    let linked = link(&object, &engine.target(&object.needs())?)?;
    let target = first.program("count")?;
    engine
        .loader(&linked)
        .only(name)
        .target(name, target)
        .load()
}

fn neighbour() {
    let error = load("misspelt").unwrap_err();
    let text = error.to_string();
    assert_eq!(
        error.diagnosis().code,
        Code::PROGRAM_TARGET_MISSING,
        "{text}"
    );
    let help = &error.diagnosis().help;
    assert!(
        help.iter().any(|help| help.contains("`answer`")),
        "{help:?}"
    );
}

fn foreign_target() {
    let object = object("target");
    let vm = Engine::vm().unwrap().load_object(&object).unwrap();
    let engine = Engine::kernel().unwrap();
    let linked = link(&object, &engine.target(&object.needs()).unwrap()).unwrap();
    let target = vm.program("count").unwrap();
    let loader = engine.loader(&linked).only("replacement");
    let error = loader.target("replacement", target).load().unwrap_err();
    assert_eq!(error.diagnosis().code, Code::USAGE, "{error}");
}
