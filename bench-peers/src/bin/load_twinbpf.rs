//! One load by twinbpf.

use std::path::Path;
use std::process::ExitCode;

use twinbpf::{Engine, Loaded, Object};
use twinbpf_bench_peers::once;

fn main() -> ExitCode {
    once::main(|path| load(path).map_err(|error| error.to_string()))
}

fn load(path: &Path) -> Result<Loaded, Box<dyn std::error::Error>> {
    let object = Object::parse(&twinbpf::read_object_file(path)?)?;
    Ok(Engine::kernel()?.load_object(&object)?)
}
