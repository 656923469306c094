//! What loading an object costs, each library in fresh processes, interleaved.
//!
//! ```text
//! cargo bench --bench load                       a tiny object, one with CO-RE, and objects of 10 to 10,000 functions
//! cargo bench --bench load -- OBJECT...          these
//! cargo bench --bench load -- --functions N...   made ones with so many functions (with clang)
//! ```
//!
//! As root. Each measurement is a process of its own, with one library in its executable: it loads the object once and
//! reports its processor time, the part of it inside `bpf(2)`, the number of those calls, its page faults and its peak
//! memory. The rounds of the libraries alternate, and the report has medians.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use twinbpf_bench_peers::once::{Figures, measure, median};

/// Us, the baseline, and another.
const LIBRARIES: [(&str, &str); 3] = [
    ("twinbpf", env!("CARGO_BIN_EXE_load_twinbpf")),
    ("libbpf", env!("CARGO_BIN_EXE_load_libbpf")),
    ("aya", env!("CARGO_BIN_EXE_load_aya")),
];
const BASELINE: usize = 1;
const ROUNDS: usize = 21;
/// Fewer where one load takes long.
const LONG_US: f64 = 100_000.0;
const LONG_ROUNDS: usize = 5;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let objects = match arguments.as_slice() {
        [] => own_objects(),
        [flag, counts @ ..] if flag == "--functions" => {
            let counts = counts.iter().filter_map(|count| count.parse().ok());
            made_objects(&counts.collect::<Vec<_>>())
        }
        paths => Ok(paths.iter().map(PathBuf::from).collect()),
    };
    match objects.and_then(|objects| report(&objects)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn report(objects: &[PathBuf]) -> Result<(), String> {
    let executables = settled()?;
    println!(
        "{:<26} {:<8} {:>9} {:>8} {:>9} {:>6} {:>7} {:>9}   of libbpf's: total, outside, peak",
        "object", "library", "total us", "bpf(2)", "outside", "calls", "faults", "peak KiB"
    );
    for object in objects {
        let mut figures: Vec<Vec<Figures>> = vec![Vec::new(); LIBRARIES.len()];
        let mut refusals: Vec<Option<String>> = vec![None; LIBRARIES.len()];
        let mut rounds = ROUNDS;
        let mut round = 0;
        while round < rounds {
            for (number, executable) in executables.iter().enumerate() {
                match measure(executable, object) {
                    Ok(measured) => {
                        if measured.total_us > LONG_US {
                            rounds = LONG_ROUNDS;
                        }
                        figures[number].push(measured);
                    }
                    Err(error) => refusals[number] = Some(error),
                }
            }
            round += 1;
        }
        let medians: Vec<Option<Figures>> = figures.iter().map(|each| median(each)).collect();
        for (number, (library, _)) in LIBRARIES.iter().enumerate() {
            let row = match medians[number] {
                Some(own) => row(own, medians[BASELINE]),
                None => {
                    let words = refusals[number].as_deref().unwrap_or_default();
                    format!("does not load it: {}", words.lines().next().unwrap_or("?"))
                }
            };
            let name = object.file_name().unwrap_or_default().to_string_lossy();
            println!("{name:<26} {library:<8} {row}");
        }
    }
    Ok(())
}

fn row(own: Figures, baseline: Option<Figures>) -> String {
    let mut row = format!(
        "{:>9.0} {:>8.0} {:>9.0} {:>6.0} {:>7.0} {:>9.0}",
        own.total_us,
        own.total_us - own.outside_us,
        own.outside_us,
        own.calls,
        own.faults,
        own.peak_kib
    );
    if let Some(base) = baseline {
        let ratios = [
            own.total_us / base.total_us,
            own.outside_us / base.outside_us,
            own.peak_kib / base.peak_kib,
        ];
        // Writing to a `String` cannot fail.
        let _ = write!(row, "   {:.2} {:.2} {:.2}", ratios[0], ratios[1], ratios[2]);
    }
    row
}

/// The executables, copied: what a linker wrote piece by piece lies in many small pieces of the page cache, and each of
/// them costs a page fault of its own. Installed programs were copied too.
fn settled() -> Result<Vec<PathBuf>, String> {
    let folder = temporary_folder()?;
    let copies = LIBRARIES.iter().map(|(name, executable)| {
        let copy = folder.join(format!("load_{name}"));
        std::fs::copy(executable, &copy).map_err(|error| format!("{executable}: {error}"))?;
        Ok(copy)
    });
    copies.collect()
}

/// Without arguments: a tiny object, one with CO-RE, and those that show how the cost grows.
fn own_objects() -> Result<Vec<PathBuf>, String> {
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/bpf");
    let mut objects: Vec<PathBuf> = ["sockex1_btf.bpf.o", "core_kernel.bpf.o"]
        .iter()
        .map(|name| testdata.join(name))
        .collect();
    objects.extend(made_objects(&[10, 100, 1000, 10_000])?);
    Ok(objects)
}

/// Objects with so many functions, every tenth of them a program that calls the nine after it.
fn made_objects(counts: &[usize]) -> Result<Vec<PathBuf>, String> {
    let folder = temporary_folder()?;
    counts
        .iter()
        .map(|count| {
            let source = folder.join(format!("functions_{count}.bpf.c"));
            let object = source.with_extension("o");
            std::fs::write(&source, source_with(*count)).map_err(|error| error.to_string())?;
            let compiled = Command::new("clang-19")
                .args(["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-c"])
                .arg(&source)
                .arg("-o")
                .arg(&object)
                .status()
                .map_err(|error| format!("clang-19: {error}"))?;
            match compiled.success() {
                true => Ok(object),
                false => Err(format!("clang-19 refused {}", source.display())),
            }
        })
        .collect()
}

fn source_with(functions: usize) -> String {
    let mut source = "#define SECTION(name) __attribute__((section(name), used))\n\
        char _license[] SECTION(\"license\") = \"GPL\";\n\
        struct __sk_buff { unsigned len; unsigned pkt_type; };\n"
        .to_owned();
    for program in 0..functions.div_ceil(10) {
        let callees = (functions - program * 10).min(10) - 1;
        let mut calls = String::new();
        for callee in 0..callees {
            // Writing to a `String` cannot fail.
            let _ = writeln!(
                source,
                "static __attribute__((noinline)) unsigned f{program}_{callee}(struct __sk_buff *skb)\n\
                 {{ return skb->len * {} + skb->pkt_type; }}",
                program * 10 + callee + 3
            );
            let _ = write!(calls, " + f{program}_{callee}(skb)");
        }
        let _ = writeln!(
            source,
            "SECTION(\"socket\") int p{program}(struct __sk_buff *skb) {{ return skb->len{calls}; }}"
        );
    }
    source
}

fn temporary_folder() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("load");
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(folder)
}
