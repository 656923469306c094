//! What loading an object costs, each library in fresh processes, interleaved.
//!
//! `cargo bench --bench load [-- OBJECT...]`, as root. Each measurement is a process of its own: it loads the object once
//! and reports its processor time, the part of it inside `bpf(2)`, the number of those calls, and its peak memory. The
//! rounds of the libraries alternate, and the report has medians.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use twinbpf_bench_peers::loaders::Library;
use twinbpf_bench_peers::meter::Reading;

const ROUNDS: usize = 21;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    match arguments.as_slice() {
        [flag, library, path] if flag == "--one" => one(library, Path::new(path)),
        [] => report(&own_objects()),
        paths => report(&paths.iter().map(PathBuf::from).collect::<Vec<_>>()),
    }
}

/// Loads once and prints the figures.
fn one(library: &str, path: &Path) -> ExitCode {
    let Some(library) = Library::named(library) else {
        eprintln!("no library `{library}`");
        return ExitCode::from(2);
    };
    let before = Reading::now();
    let result = library.load(path);
    let reading = Reading::now().since(before);
    match result {
        Ok(held) => {
            println!(
                "{} {} {} {}",
                reading.process_ns,
                reading.outside_ns(),
                reading.calls,
                peak_kib()
            );
            drop(held);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// One process' figures.
#[derive(Debug, Clone, Copy)]
struct Figures {
    total_us: f64,
    outside_us: f64,
    calls: f64,
    peak_kib: f64,
}

fn report(paths: &[PathBuf]) -> ExitCode {
    println!(
        "{:<28} {:<8} {:>9} {:>10} {:>6} {:>9}   of libbpf's: total, outside bpf(2), peak",
        "object", "library", "total us", "outside us", "calls", "peak KiB"
    );
    for path in paths {
        let mut rows: Vec<(Library, Vec<Figures>)> = Library::ALL
            .into_iter()
            .map(|each| (each, Vec::new()))
            .collect();
        let mut refusals: Vec<Option<String>> = vec![None; rows.len()];
        for _ in 0..ROUNDS {
            for ((library, figures), refusal) in rows.iter_mut().zip(&mut refusals) {
                match measure(*library, path) {
                    Ok(measured) => figures.push(measured),
                    Err(error) => *refusal = Some(error),
                }
            }
        }
        let medians: Vec<Option<Figures>> =
            rows.iter().map(|(_, figures)| median(figures)).collect();
        let libbpf = medians[1];
        for ((library, _), (median, refusal)) in rows.iter().zip(medians.iter().zip(&refusals)) {
            print_row(path, *library, *median, libbpf, refusal.as_deref());
        }
    }
    ExitCode::SUCCESS
}

fn print_row(
    path: &Path,
    library: Library,
    median: Option<Figures>,
    libbpf: Option<Figures>,
    refusal: Option<&str>,
) {
    let name = path.file_name().map(|name| name.to_string_lossy());
    let name = name.unwrap_or_default();
    let Some(own) = median else {
        let words = refusal.and_then(|text| text.lines().next()).unwrap_or("?");
        println!("{name:<28} {:<8} does not load it: {words}", library.name());
        return;
    };
    print!(
        "{name:<28} {:<8} {:>9.0} {:>10.0} {:>6.0} {:>9.0}",
        library.name(),
        own.total_us,
        own.outside_us,
        own.calls,
        own.peak_kib
    );
    match libbpf {
        Some(base) => println!(
            "   {:.2} {:.2} {:.2}",
            own.total_us / base.total_us,
            own.outside_us / base.outside_us,
            own.peak_kib / base.peak_kib
        ),
        None => println!(),
    }
}

/// Runs one measurement in a fresh process.
fn measure(library: Library, path: &Path) -> Result<Figures, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new(own)
        .args(["--one", library.name()])
        .arg(path)
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let numbers: Vec<f64> = text
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    match numbers.as_slice() {
        [total, outside, calls, peak] => Ok(Figures {
            total_us: total / 1000.0,
            outside_us: outside / 1000.0,
            calls: *calls,
            peak_kib: *peak,
        }),
        _ => Err(format!("unexpected output: {text}")),
    }
}

fn median(figures: &[Figures]) -> Option<Figures> {
    let middle = |field: fn(&Figures) -> f64| {
        let mut values: Vec<f64> = figures.iter().map(field).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    };
    Some(Figures {
        total_us: middle(|each| each.total_us)?,
        outside_us: middle(|each| each.outside_us)?,
        calls: middle(|each| each.calls)?,
        peak_kib: middle(|each| each.peak_kib)?,
    })
}

/// The largest amount of memory this process has had, in KiB.
fn peak_kib() -> u64 {
    std::fs::read_to_string("/proc/self/status")
        .unwrap_or_default()
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or_default()
}

/// Without arguments: a tiny object, and those with CO-RE.
fn own_objects() -> Vec<PathBuf> {
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/bpf");
    ["sockex1_btf.bpf.o", "core_kernel.bpf.o", "core.bpf.o"]
        .iter()
        .map(|name| testdata.join(name))
        .collect()
}
