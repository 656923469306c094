//! One load by libbpf.

use std::process::ExitCode;

use twinbpf_bench_peers::{libbpf, once};

fn main() -> ExitCode {
    once::main(|path| libbpf::Open::file(path, None)?.load())
}
