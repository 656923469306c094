//! Builds the BPF programs of tests and examples with the one compiler version whose output is in the repository.
//!
//! Sources and objects stand side by side, so that a newcomer needs only a Rust toolchain; the continuous integration builds them
//! again and compares every byte. For that the bytes must not depend on the place of the repository: the compiler runs
//! in the repository's root with relative names, and debug information is cut off (BTF stays).

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::age;

/// What to do with what was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Put it beside its source.
    Write,
    /// Compare it with what stands beside its source.
    Check,
}

/// What is done to an object after the compiler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finish {
    /// Debug information is cut off, BTF stays.
    Modern,
    /// No BTF either: what is left is what compilers wrote before BTF.
    NoBtf,
    /// Symbols without sizes and types, local labels in code, no BTF: what clang wrote in 2016.
    Of2016,
    /// Relocations with addends, no BTF: what other compilers for BPF write.
    WithAddends,
}

/// One object to build.
struct Fixture {
    /// The source, from the repository's root.
    source: &'static str,
    /// What the object's name has in addition to its source's.
    suffix: &'static str,
    target: &'static str,
    /// Instruction set version.
    cpu: &'static str,
    finish: Finish,
}

const COMPILER: &str = "clang-19";
const STRIP: &str = "llvm-strip-19";

const FLAGS: &[&str] = &[
    "-O2",
    "-g",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-fno-addrsig",
    "-fdebug-compilation-dir=.",
    // The UAPI headers include <asm/types.h>, which Debian keeps in a folder per machine that clang does not search
    // for foreign targets.
    "-idirafter/usr/include/x86_64-linux-gnu",
    "-idirafter/usr/include/aarch64-linux-gnu",
];

const LITTLE: &str = "bpf";
const BIG: &str = "bpfeb";

/// Builds every fixture.
///
/// # Errors
///
/// If a tool is missing or fails, a file cannot be read or written, or (checking) a byte differs. The text is for people.
pub(crate) fn run(mode: Mode) -> Result<String, String> {
    let root = repository_root()?;
    require_tools()?;
    let scratch = tempfile::tempdir().map_err(|error| format!("a temporary folder: {error}"))?;
    let mut differing = Vec::new();
    for fixture in FIXTURES {
        let bytes = fixture.build(&root, scratch.path())?;
        let committed = root.join(fixture.object());
        match mode {
            Mode::Write => {
                fs::write(&committed, bytes).map_err(|error| at(&committed, &error))?;
            }
            Mode::Check if fs::read(&committed).ok() != Some(bytes) => {
                differing.push(fixture.object());
            }
            Mode::Check => {}
        }
    }
    let strays = stray_objects(&root)?;
    conclude(mode, &differing, &strays)
}

fn conclude(mode: Mode, differing: &[String], strays: &[String]) -> Result<String, String> {
    let count = FIXTURES.len();
    if differing.is_empty() && strays.is_empty() {
        return Ok(match mode {
            Mode::Write => format!("{count} objects built"),
            Mode::Check => format!("{count} objects are what their sources say"),
        });
    }
    let mut text = String::new();
    for (problem, files) in [
        ("differs from its source or is missing", differing),
        ("is in no row of the table of fixtures", strays),
    ] {
        for file in files {
            // Writing into a string cannot fail.
            let _ = writeln!(text, "{file}: {problem}");
        }
    }
    text.push_str("rebuild with `cargo xtask fixtures`, then look at the difference");
    Err(text)
}

impl Fixture {
    /// The object's path, from the repository's root.
    fn object(&self) -> String {
        let stem = self.source.trim_end_matches(".bpf.c");
        format!("{stem}{}.bpf.o", self.suffix)
    }

    fn build(&self, root: &Path, scratch: &Path) -> Result<Vec<u8>, String> {
        let output = scratch.join("fixture.o");
        let mut compiler = Command::new(COMPILER);
        compiler
            .current_dir(root)
            .args(["-target", self.target])
            .arg(format!("-mcpu={}", self.cpu))
            .args(FLAGS)
            .args(["-c", self.source, "-o"])
            .arg(&output);
        run_tool(compiler, self.source)?;
        let mut strip = Command::new(STRIP);
        strip.arg("--strip-debug");
        if self.finish != Finish::Modern {
            strip.args(["--remove-section=.BTF*", "--remove-section=.rel.BTF*"]);
        }
        strip.arg(&output);
        run_tool(strip, self.source)?;
        let bytes = fs::read(&output).map_err(|error| at(&output, &error))?;
        let finished = match self.finish {
            Finish::Modern | Finish::NoBtf => Ok(bytes),
            Finish::Of2016 => age::forget_symbol_types(&bytes),
            Finish::WithAddends => age::move_addends_to_relocations(&bytes),
        };
        finished.map_err(|error| format!("{}: {error}", self.object()))
    }
}

/// Objects beside sources that no row of the table builds.
fn stray_objects(root: &Path) -> Result<Vec<String>, String> {
    let mut folders: Vec<&Path> = FIXTURES
        .iter()
        .filter_map(|fixture| Path::new(fixture.source).parent())
        .collect();
    folders.sort();
    folders.dedup();
    let known: Vec<String> = FIXTURES.iter().map(Fixture::object).collect();
    let mut strays = Vec::new();
    for folder in folders {
        let path = root.join(folder);
        for entry in fs::read_dir(&path).map_err(|error| at(&path, &error))? {
            let name = entry.map_err(|error| at(&path, &error))?.file_name();
            let file = folder.join(name).to_string_lossy().into_owned();
            if file.ends_with(".o") && !known.contains(&file) {
                strays.push(file);
            }
        }
    }
    strays.sort();
    Ok(strays)
}

fn repository_root() -> Result<PathBuf, String> {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(Path::to_path_buf)
        .ok_or_else(|| "the repository's root is not where this program was built".to_owned())
}

fn require_tools() -> Result<(), String> {
    for tool in [COMPILER, STRIP] {
        let mut probe = Command::new(tool);
        probe.arg("--version");
        if probe.output().is_err() {
            return Err(format!(
                "{tool} is not installed: the objects in the repository are built with LLVM 19 \
                 (Debian: apt install clang-19 llvm-19 linux-libc-dev); tests do not need it"
            ));
        }
    }
    Ok(())
}

fn run_tool(mut command: Command, source: &str) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(format!("{source}: {name}: {}\n{words}", output.status))
}

fn at(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

const fn built(source: &'static str, cpu: &'static str) -> Fixture {
    Fixture {
        source,
        suffix: "",
        target: LITTLE,
        cpu,
        finish: Finish::Modern,
    }
}

impl Fixture {
    const fn named(mut self, suffix: &'static str) -> Self {
        self.suffix = suffix;
        self
    }

    const fn finished(mut self, finish: Finish) -> Self {
        self.finish = finish;
        self
    }

    const fn big_endian(mut self) -> Self {
        self.target = BIG;
        self
    }
}

#[rustfmt::skip]
const FIXTURES: &[Fixture] = &[
    built("crates/twinbpf/examples/sockex1/sockex1.bpf.c", "v2"),
    built("crates/twinbpf/examples/sockex1/sockex1_legacy.bpf.c", "v1").finished(Finish::NoBtf),
    built("testdata/bpf/sockex1_legacy20.bpf.c", "v1").finished(Finish::NoBtf),
    built("testdata/bpf/sockex1_legacy20.bpf.c", "v1").finished(Finish::NoBtf).named("_be").big_endian(),
    built("testdata/bpf/sockex1_legacy20.bpf.c", "v1").finished(Finish::Of2016).named("_2016"),
    built("testdata/bpf/sockex1_legacy20.bpf.c", "v1").finished(Finish::WithAddends).named("_rela"),
    built("testdata/bpf/sockex1_legacy28.bpf.c", "v1").finished(Finish::NoBtf),
    built("testdata/bpf/sockex1_iproute2.bpf.c", "v1").finished(Finish::NoBtf),
    built("testdata/bpf/sockex1_btf.bpf.c", "v3"),
    built("testdata/bpf/sockex1_btf.bpf.c", "v3").named("_be").big_endian(),
    built("testdata/bpf/calls.bpf.c", "v1").named("_v1"),
    built("testdata/bpf/calls.bpf.c", "v2").named("_v2"),
    built("testdata/bpf/calls.bpf.c", "v3").named("_v3"),
    built("testdata/bpf/calls.bpf.c", "v3").named("_rela").finished(Finish::WithAddends),
    built("testdata/bpf/hash.bpf.c", "v1").named("_v1"),
    built("testdata/bpf/hash.bpf.c", "v2").named("_v2"),
    built("testdata/bpf/hash.bpf.c", "v3").named("_v3"),
    built("testdata/bpf/widths.bpf.c", "v1").named("_v1"),
    built("testdata/bpf/widths.bpf.c", "v2").named("_v2"),
    built("testdata/bpf/widths.bpf.c", "v3").named("_v3"),
    built("testdata/bpf/atomics.bpf.c", "v3"),
    built("testdata/bpf/packet_loads.bpf.c", "v1").named("_v1"),
    built("testdata/bpf/packet_loads.bpf.c", "v2").named("_v2"),
    built("testdata/bpf/packet_loads.bpf.c", "v3").named("_v3"),
    built("testdata/bpf/endless.bpf.c", "v3"),
    built("testdata/bpf/wild_pointer.bpf.c", "v3"),
    built("testdata/bpf/null_value.bpf.c", "v3"),
    built("testdata/bpf/several.bpf.c", "v1"),
    built("testdata/bpf/several.bpf.c", "v1").named("_2016").finished(Finish::Of2016),
    built("testdata/bpf/unknown_section.bpf.c", "v3"),
    built("testdata/bpf/no_license.bpf.c", "v3"),
    built("testdata/bpf/legacy_tail.bpf.c", "v1"),
    built("testdata/bpf/slots.bpf.c", "v3"),
    built("testdata/bpf/slow.bpf.c", "v3"),
    built("testdata/bpf/map_in_map.bpf.c", "v3"),
    built("testdata/bpf/map_in_map.bpf.c", "v3").named("_be").big_endian(),
    built("testdata/bpf/attributes.bpf.c", "v3"),
    built("testdata/bpf/attributes.bpf.c", "v3").named("_be").big_endian(),
    built("testdata/bpf/conflict.bpf.c", "v3"),
    built("testdata/bpf/unknown_field.bpf.c", "v3"),
    built("testdata/bpf/map_array.bpf.c", "v3"),
    built("testdata/bpf/core.bpf.c", "v3"),
    built("testdata/bpf/core_ambiguous.bpf.c", "v3"),
    built("testdata/bpf/core_kernel.bpf.c", "v3"),
    built("testdata/bpf/core_target_moved.bpf.c", "v3"),
    built("testdata/bpf/core_target_twins.bpf.c", "v3"),
    built("testdata/bpf/arena.bpf.c", "v3"),
    built("testdata/bpf/arena_pages.bpf.c", "v3"),
    built("testdata/bpf/exceptions.bpf.c", "v3"),
    built("testdata/bpf/throws.bpf.c", "v3"),
    built("testdata/bpf/conntrack.bpf.c", "v3"),
    built("testdata/bpf/events.bpf.c", "v3"),
    built("testdata/bpf/map_costs.bpf.c", "v3"),
    built("testdata/bpf/storage.bpf.c", "v3"),
    built("testdata/bpf/commands.bpf.c", "v3"),
    built("testdata/bpf/flows.bpf.c", "v3"),
    built("testdata/bpf/globals.bpf.c", "v3"),
    built("testdata/bpf/globals.bpf.c", "v3").named("_plain").finished(Finish::NoBtf),
    built("testdata/bpf/globals.bpf.c", "v3").named("_rela").finished(Finish::WithAddends),
    built("testdata/bpf/globals_print.bpf.c", "v3"),
    built("testdata/bpf/rejected_null.bpf.c", "v3"),
    built("testdata/bpf/rejected_bounds.bpf.c", "v3"),
    built("testdata/bpf/rejected_loop.bpf.c", "v3"),
    built("testdata/bpf/rejected_helper.bpf.c", "v3"),
    built("testdata/bpf/rejected_field.bpf.c", "v3"),
    built("testdata/bpf/rejected_kfunc.bpf.c", "v3"),
    built("testdata/bpf/rejected_entries.bpf.c", "v3"),
    built("testdata/bpf/rejected_lpm.bpf.c", "v3"),
    built("testdata/bpf/rejected_memory.bpf.c", "v3"),
    built("testdata/bpf/typed.bpf.c", "v3"),
    built("testdata/bpf/kconfig.bpf.c", "v3"),
    built("testdata/bpf/ksyms.bpf.c", "v3"),
    built("testdata/bpf/kfuncs.bpf.c", "v3"),
    built("testdata/bpf/plugin.bpf.c", "v3"),
    built("testdata/bpf/functions.bpf.c", "v3"),
    built("testdata/bpf/timers.bpf.c", "v3"),
    built("testdata/bpf/objects.bpf.c", "v3"),
    built("crates/twinbpf/examples/plugin/discount.bpf.c", "v3"),
    built("testdata/bpf/externs_missing.bpf.c", "v3"),
    built("testdata/bpf/struct_ops.bpf.c", "v3"),
    built("testdata/bpf/attach.bpf.c", "v3"),
    built("testdata/bpf/packets.bpf.c", "v3"),
    built("testdata/bpf/probes.bpf.c", "v3"),
    built("testdata/bpf/sockets.bpf.c", "v3"),
    built("testdata/bpf/both_ways.bpf.c", "v3"),
    built("testdata/bpf/parts_main.bpf.c", "v3"),
    built("testdata/bpf/parts_rest.bpf.c", "v3"),
    built("testdata/bpf/parts_other.bpf.c", "v3"),
    built("testdata/bpf/target.bpf.c", "v3"),
    built("testdata/bpf/traced.bpf.c", "v3"),
];
