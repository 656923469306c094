//! One load by aya, which loads programs one by one, each through its own kind.

use std::path::Path;
use std::process::ExitCode;

use aya::programs::Program;
use aya::{Ebpf, EbpfLoader};
use twinbpf_bench_peers::once;

fn main() -> ExitCode {
    once::main(|path| load(path).map_err(|error| format!("{error:?}")))
}

fn load(path: &Path) -> Result<Ebpf, Box<dyn std::error::Error>> {
    let mut loaded = EbpfLoader::new().load_file(path)?;
    for (_, program) in loaded.programs_mut() {
        match program {
            Program::SocketFilter(program) => program.load()?,
            Program::TracePoint(program) => program.load()?,
            Program::RawTracePoint(program) => program.load()?,
            Program::KProbe(program) => program.load()?,
            Program::Xdp(program) => program.load()?,
            Program::SchedClassifier(program) => program.load()?,
            other => return Err(format!("no load for {:?}", other.prog_type()).into()),
        }
    }
    Ok(loaded)
}
