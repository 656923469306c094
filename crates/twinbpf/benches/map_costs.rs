//! What maps cost on both engines in one run: helpers called by the same program, and operations through the same API.
//!
//! ```text
//! cargo bench -p twinbpf --bench map_costs
//! ```
//!
//! As root; for others the kernel's column stays empty. Programs do one operation 64 times and are run by `Program::test_run`, whose own
//! time per run is what is shown, divided by 64: it holds the loop around the call. Figures are medians of rounds that alternate
//! between the engines, in nanoseconds.
#![expect(
    clippy::print_stdout,
    reason = "a benchmark prints what it has measured"
)]

use std::error::Error;
use std::hint::black_box;
use std::ops::ControlFlow;
use std::time::Instant;

use twinbpf::{Engine, Loaded, LpmKey, Map, Object, PerCpu, RawRing, TestInput};

type Outcome<T> = Result<T, Box<dyn Error>>;

const ROUNDS: usize = 21;
/// Operations of a program.
const TIMES: u32 = 64;
/// Runs whose average is one figure: the records of all fit the ring.
const RUNS: u32 = 40;
/// Operations whose average is one figure.
const OPERATIONS: u32 = 4096;

const PROGRAMS: [&str; 11] = [
    "lookup_array",
    "lookup_hash",
    "lookup_lru",
    "lookup_cpu_array",
    "lookup_cpu_hash",
    "lookup_trie",
    "update_hash",
    "update_lru",
    "update_cpu_hash",
    "update_trie",
    "records",
];

fn main() -> Outcome<()> {
    // What cargo passes to a benchmark: a filter for other harnesses.
    let engines = [("kernel", Engine::kernel()?), ("vm", Engine::vm()?)];
    let mut sides = Vec::new();
    for (name, engine) in engines {
        match Side::new(name, engine) {
            Ok(side) => sides.push(side),
            Err(error) => println!("{name}: {error}"),
        }
    }
    println!("{:<24} {}", "ns", heading(&sides));
    for program in PROGRAMS {
        row(program, &mut sides, |side| side.run(program))?;
    }
    for (name, work) in OPERATIONS_OF_THE_API {
        row(name, &mut sides, |side| side.repeat(work))?;
    }
    Ok(())
}

fn heading(sides: &[Side]) -> String {
    let mut names: Vec<String> = sides
        .iter()
        .map(|side| format!("{:>8}", side.name))
        .collect();
    if let [first, second] = sides {
        names.push(format!("  {} of {}", second.name, first.name));
    }
    names.concat()
}

/// Medians of the sides' figures, and what part the last is of the first.
fn row(
    name: &str,
    sides: &mut [Side],
    mut measure: impl FnMut(&mut Side) -> Outcome<f64>,
) -> Outcome<()> {
    let mut figures = vec![Vec::new(); sides.len()];
    for _ in 0..ROUNDS {
        for (figures, side) in figures.iter_mut().zip(sides.iter_mut()) {
            figures.push(measure(side)?);
        }
    }
    let medians: Vec<f64> = figures
        .iter_mut()
        .map(|figures| {
            figures.sort_by(f64::total_cmp);
            figures[ROUNDS / 2]
        })
        .collect();
    let mut line: String = medians
        .iter()
        .map(|median| format!("{median:>8.1}"))
        .collect();
    if let [first, second] = medians[..] {
        line.push_str(&format!("  {:.2}", second / first));
    }
    println!("{name:<24} {line}");
    Ok(())
}

/// One operation of the API; whether it did what it should.
type Work = fn(&Side, u32) -> bool;

const OPERATIONS_OF_THE_API: &[(&str, Work)] = &[
    ("Map::get, array", |side, key| {
        side.array
            .get(&(key % TIMES))
            .is_ok_and(|value| black_box(value).is_some())
    }),
    ("Map::get, hash", |side, key| {
        side.hash
            .get(&(key % TIMES))
            .is_ok_and(|value| black_box(value).is_some())
    }),
    ("Map::set, hash", |side, key| {
        side.hash.set(&(key % TIMES), &u64::from(key)).is_ok()
    }),
    ("Map::get, lru", |side, key| {
        side.lru
            .get(&(key % TIMES))
            .is_ok_and(|value| black_box(value).is_some())
    }),
    ("Map::get, trie", |side, key| {
        let key = LpmKey::new((key % TIMES).to_ne_bytes(), 32);
        side.trie
            .get(&key)
            .is_ok_and(|value| black_box(value).is_some())
    }),
    ("Map::get, per CPU", |side, key| {
        side.cpu_array
            .get(&(key % TIMES))
            .is_ok_and(|value| black_box(value).is_some())
    }),
];

/// The object on one engine.
struct Side {
    name: &'static str,
    loaded: Loaded,
    ring: RawRing,
    array: Map<u32, u64>,
    hash: Map<u32, u64>,
    lru: Map<u32, u64>,
    trie: Map<LpmKey<4>, u64>,
    cpu_array: Map<u32, PerCpu<u64>>,
}

impl Side {
    fn new(name: &'static str, engine: Engine) -> Outcome<Self> {
        let object = Object::parse(include_bytes!("../../../testdata/bpf/map_costs.bpf.o"))?;
        let loaded = engine.load_object(&object)?;
        let side = Self {
            name,
            ring: RawRing::open(loaded.raw_map("ring")?)?,
            array: loaded.map("array")?,
            hash: loaded.map("hash")?,
            lru: loaded.map("lru")?,
            trie: loaded.map("trie")?,
            cpu_array: loaded.map("cpu_array")?,
            loaded,
        };
        for program in PROGRAMS {
            if program.starts_with("update_") {
                side.answer(program, 1)?;
            }
        }
        Ok(side)
    }

    /// Runs a program so often; nanoseconds an operation.
    fn answer(&self, program: &str, repeat: u32) -> Outcome<f64> {
        let input = TestInput {
            data: &[0; 64],
            repeat,
            ..TestInput::default()
        };
        let program = self.loaded.program(program)?;
        let output = program.test_run(&input)?;
        if output.value != TIMES {
            return Err(format!("{} of {TIMES} operations worked", output.value).into());
        }
        Ok(f64::from(output.duration_ns) / f64::from(TIMES))
    }

    fn run(&mut self, program: &str) -> Outcome<f64> {
        let figure = self.answer(program, RUNS)?;
        self.ring.drain(|_| ControlFlow::Continue(()))?;
        Ok(figure)
    }

    fn repeat(&self, work: &Work) -> Outcome<f64> {
        let before = Instant::now();
        let is_right = (0..OPERATIONS).all(|key| work(self, key));
        let elapsed = before.elapsed();
        match is_right {
            true => Ok(elapsed.as_secs_f64() * 1e9 / f64::from(OPERATIONS)),
            false => Err("an entry is not there".into()),
        }
    }
}
