//! What our executors cost: loops beside the host's own code and beside other engines, and single operations.
//!
//! The loops are `programs.c`, compiled by clang at the same level for BPF and for the host. Every engine runs the same
//! instructions on a memory of its own; rounds are interleaved; ratios are medians of the ratios of a round. Before timing, all must
//! answer the same. Any word as an argument selects the rows that contain it.

#![expect(
    clippy::print_stdout,
    reason = "a benchmark reports on standard output"
)]

mod measure;
mod operations;
mod peers;

use std::path::{Path, PathBuf};
use std::process::Command;

use twinbpf_object::Object;
use twinbpf_object::insn::Insn;

use measure::{ROUNDS, calibrate, median, time};
use peers::{MEMORY_BYTES, Native, Outcome, Peer};

fn main() -> Outcome<()> {
    // `cargo bench` passes `--bench`.
    let wanted = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let is_wanted = |name: &str| wanted.as_ref().is_none_or(|wanted| name.contains(wanted));
    match compile() {
        Ok((object, library)) => loops(&object, &library, is_wanted)?,
        Err(error) => println!("no loops: {error}\n"),
    }
    operations::report(is_wanted)
}

/// One row for each loop, one column for each engine.
fn loops(object: &Path, library: &Path, is_wanted: impl Fn(&str) -> bool) -> Outcome<()> {
    let object = Object::parse(&std::fs::read(object)?)?;
    let mut has_head = false;
    for function in &object.functions {
        if !is_wanted(&function.name) {
            continue;
        }
        let (names, ratios, native_ns) = row(&function.insns, library, &function.name)?;
        if !has_head {
            print!("{:<9} {:>9}", "loop", "native ns");
            names.iter().for_each(|name| print!(" {name:>11}"));
            println!();
            has_head = true;
        }
        print!("{:<9} {native_ns:>9.1}", function.name);
        ratios.iter().for_each(|ratio| print!(" {ratio:>11.2}"));
        println!();
    }
    if has_head {
        println!("times native; medians over {ROUNDS} rounds\n");
    }
    Ok(())
}

/// Names, ratios to native, and the native time of a run.
fn row(insns: &[Insn], library: &Path, name: &str) -> Outcome<(Vec<&'static str>, Vec<f64>, f64)> {
    let memory = memory();
    let bytes = peers::bytes_of(insns);
    let mut native = Native::new(library, name, &memory)?;
    let mut engines = peers::all(insns, &bytes, &memory)?;
    let expected = native.run()?;
    let mut runs = Vec::new();
    for (engine, peer) in &mut engines {
        assert_eq!(peer.run()?, expected, "{engine} disagrees about {name}");
        runs.push(calibrate(|| peer.run().map(drop))?);
    }
    let native_runs = calibrate(|| native.run().map(drop))?;
    let (mut natives, mut ratios) = (Vec::new(), vec![Vec::new(); engines.len()]);
    for _ in 0..ROUNDS {
        let native_ns = time(native_runs, || native.run().map(drop))?;
        natives.push(native_ns);
        for (((_, peer), runs), ratios) in engines.iter_mut().zip(&runs).zip(&mut ratios) {
            ratios.push(time(*runs, || peer.run().map(drop))? / native_ns);
        }
    }
    let names = engines.iter().map(|(name, _)| *name).collect();
    Ok((
        names,
        ratios.into_iter().map(median).collect(),
        median(natives),
    ))
}

/// The memory that programs start with: packets of several kinds.
fn memory() -> Vec<u8> {
    let mut memory = vec![0; MEMORY_BYTES];
    memory[..8].copy_from_slice(&2048_u64.to_ne_bytes());
    for (index, packet) in memory[16..].chunks_mut(96).enumerate() {
        for (at, byte) in packet.iter_mut().enumerate() {
            *byte = u8::try_from((at * 7 + index * 13) % 251).unwrap_or(0);
        }
        if packet.len() < 96 {
            continue;
        }
        let (kind, at): (&[u8], usize) = match index % 4 {
            0 => (&[0x08, 0x00], 12),
            1 => (&[0x86, 0xdd], 12),
            2 => (&[0x81, 0x00, 0, 1, 0x08, 0x00], 12),
            _ => (&[0x08, 0x06], 12),
        };
        packet[at..at + kind.len()].copy_from_slice(kind);
        let network = at + kind.len();
        packet[network] = 0x45;
        packet[network + 9] = if index % 3 == 0 { 17 } else { 6 };
        packet[network + 6] = 6;
    }
    memory
}

/// The loops as a BPF object and as a shared library.
fn compile() -> Outcome<(PathBuf, PathBuf)> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/executors/programs.c");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (object, library) = (folder.join("programs.bpf.o"), folder.join("programs.so"));
    let clang = ["clang-19", "clang"]
        .into_iter()
        .find(|name| Command::new(name).arg("--version").output().is_ok())
        .ok_or("they need clang, and there is none")?;
    let builds: [(&[&str], &Path); 2] = [
        (&["--target=bpf", "-mcpu=v3", "-c"], &object),
        (&["-shared", "-fPIC"], &library),
    ];
    for (options, output) in builds {
        let mut command = Command::new(clang);
        command
            .args(["-O2", "-g0"])
            .args(options)
            .arg(&source)
            .arg("-o")
            .arg(output);
        if !command.status()?.success() {
            return Err(format!("{clang} refused {}", source.display()).into());
        }
    }
    Ok((object, library))
}
