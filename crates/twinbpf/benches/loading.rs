//! Two programs that take the verifier long: loaded one after the other, and as one object.
//!
//! Reports the medians of the wall time and of the per-round ratios. Needs the privilege to load programs.
#![expect(
    clippy::print_stdout,
    reason = "a benchmark reports on standard output"
)]

use std::path::Path;
use std::time::Instant;

use twinbpf::{Engine, Linked, Object, Result};

const ROUNDS: usize = 7;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/bpf/slow.bpf.o");
    let object = Object::parse(&std::fs::read(path)?)?;
    let engine = Engine::kernel()?;
    let linked = twinbpf::link(&object, &engine.target(&object.needs())?)?;
    let mut rounds = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let alone = milliseconds(|| {
            engine.loader(&linked).only("slow_one").load()?;
            engine.loader(&linked).only("slow_two").load().map(drop)
        })?;
        let together = milliseconds(|| load_all(&engine, &linked))?;
        rounds.push([alone, together, together / alone]);
    }
    let [alone, together, ratio] = [0, 1, 2].map(|column| median(&rounds, column));
    println!("one after the other {alone:.0} ms, together {together:.0} ms, ratio {ratio:.2}");
    Ok(())
}

fn load_all(engine: &Engine, linked: &Linked) -> Result<()> {
    engine.loader(linked).load().map(drop)
}

fn milliseconds(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

fn median(rounds: &[[f64; 3]], column: usize) -> f64 {
    let mut values: Vec<f64> = rounds.iter().map(|round| round[column]).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
