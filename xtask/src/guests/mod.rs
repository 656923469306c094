//! Tests on other kernels: virtual machines that run our test binaries and nothing else.
//!
//! ```text
//! apt.rs       what packages there are
//! kernels.rs   Debian's packages, unpacked in target/guests
//! binaries.rs  test binaries, and the libraries they name
//! archive.rs   both, and the files that tests read, as the machine's first file system
//! machine.rs   QEMU, until the console says it is over
//! outcome.rs   what the tests said
//! ```
//!
//! The first process of a machine is `guest-init`. Files lie in the guest where they lie here, because tests have the
//! repository's paths compiled in. Without QEMU, or without a kernel, nothing runs and the summary says so.

mod apt;
mod archive;
mod binaries;
mod kernels;
mod machine;
mod outcome;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use twinbpf_trials::{Need, watched};

use self::archive::Archive;
use self::binaries::Binary;
use self::kernels::Kernel;
use self::outcome::Outcome;

/// What to run, and where.
#[derive(Debug, Default)]
pub(crate) struct Options<'a> {
    /// Only this kernel, such as `6.1`.
    pub(crate) kernel: Option<&'a str>,
    /// Only tests whose names contain this.
    pub(crate) filter: Option<&'a str>,
    /// Only the test binary of this name, such as `twinbpf::attach`.
    pub(crate) tests: Option<&'a str>,
    /// Whether what passed goes into the table of hooks.
    pub(crate) is_recorded: bool,
    /// Objects for `twinbpf check` instead of tests.
    pub(crate) objects: Option<&'a Path>,
    /// Objects of known tracing tools, which are put to use, instead of tests.
    pub(crate) tools: Option<&'a Path>,
    /// Everything that was read from the consoles goes here.
    pub(crate) console: Option<&'a Path>,
}

impl<'a> Options<'a> {
    /// Reads the words behind `guests`.
    pub(crate) fn read(words: &[&'a str]) -> Option<Self> {
        let mut options = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let value = *words.next()?;
            match *word {
                "--kernel" => options.kernel = Some(value),
                "--filter" => options.filter = Some(value),
                "--tests" => options.tests = Some(value),
                "--record" => options.is_recorded = value == "yes",
                "--objects" => options.objects = Some(Path::new(value)),
                "--tools" => options.tools = Some(Path::new(value)),
                "--console" => options.console = Some(Path::new(value)),
                _ => return None,
            }
        }
        Some(options)
    }
}

impl Options<'_> {
    fn wants_tests(&self) -> bool {
        self.objects.is_none() && self.tools.is_none()
    }
}

/// What test binaries are told: two threads for two CPUs, and to leave out what runs in the vm.
const HARNESS: &str =
    "--test-threads=2\t--color=never\t--skip=::vm\t--skip=::jit\t--skip=::interpreter";
/// Longer than any machine takes for all tests.
const DEADLINE: Duration = Duration::from_secs(240);

/// Runs the tests on every kernel there is.
///
/// # Errors
///
/// If something cannot be built or started, or a test fails: the text has the rows and what failed.
pub(crate) fn run(options: &Options<'_>) -> Result<String, String> {
    if !machine::is_there() {
        return Ok(
            "skipped: no guests without qemu-system-x86_64 (Debian: qemu-system-x86)".to_owned(),
        );
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .ok_or("xtask lies in the repository")?;
    let cache = target_folder(root).join("guests");
    let kernels = kernels::all(&cache, options.kernel)?;
    if kernels.is_empty() {
        return Ok(
            "skipped: apt offers no such linux-image-*-cloud-amd64, and none is in the cache"
                .to_owned(),
        );
    }
    let built = binaries::build(root, &cache)?;
    let mut outcome = Outcome::default();
    for kernel in &kernels {
        let start = Instant::now();
        let archive = cache.join(format!("{}.cpio", kernel.series));
        let bytes = assemble(root, kernel, &built, options)?;
        fs::write(&archive, bytes).map_err(|error| format!("{}: {error}", archive.display()))?;
        let console = machine::run(&kernel.image()?, &archive, DEADLINE)?;
        if let Some(folder) = options.console {
            let file = folder.join(format!("console-{}.txt", kernel.series));
            fs::write(&file, outcome::text_of(&console))
                .map_err(|error| format!("{}: {error}", file.display()))?;
        }
        if options.is_recorded {
            let ran = console.ran.iter().filter(|ran| ran.name == OF_HOOKS);
            let lines = ran.flat_map(|ran| ran.lines.iter().map(String::as_str));
            crate::seen::record(&kernel.series, lines)?;
        }
        outcome.add(&kernel.series, &console, start.elapsed());
        if options.tools.is_some() {
            outcome.show(&kernel.series, &console);
        }
    }
    outcome.conclude()
}

/// The test binary whose tests the table of hooks names.
const OF_HOOKS: &str = "twinbpf::attach";

/// Where cargo puts what it builds.
fn target_folder(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

/// The archive for one machine.
fn assemble(
    root: &Path,
    kernel: &Kernel,
    built: &[Binary],
    options: &Options<'_>,
) -> Result<Vec<u8>, String> {
    let mut archive = Archive::new();
    let mut plan = String::new();
    for module in kernel.modules() {
        let name = module
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        add(&mut archive, &module, &format!("/modules/{name}"))?;
        plan.push_str(&format!("module\t/modules/{name}\n"));
    }
    if let Some(configuration) = kernel.configuration() {
        let name = configuration
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        add(&mut archive, &configuration, &format!("/boot/{name}"))?;
    }
    for binary in built {
        if binary.name == "guest-init::guest-init" {
            add(&mut archive, &binary.stripped, "/init")?;
        } else if binary.name == "guest-tools::guest-tools" {
            add(&mut archive, &binary.stripped, "/bin/guest-tools")?;
        } else if !binary.is_test {
            add(&mut archive, &binary.stripped, "/bin/twinbpf")?;
        } else if options.wants_tests() && options.tests.is_none_or(|name| name == binary.name) {
            let program = binary.file.to_string_lossy();
            add(&mut archive, &binary.stripped, &program)?;
            let filter = options
                .filter
                .map(|filter| format!("\t{filter}"))
                .unwrap_or_default();
            let folder = binary.folder.display();
            plan.push_str(&format!(
                "run\t{}\t{folder}\t{program}\t{HARNESS}{filter}\n",
                binary.name
            ));
        }
    }
    match (options.objects, options.tools) {
        (Some(folder), _) => plan_checks(&mut archive, &mut plan, folder)?,
        (None, Some(folder)) => plan_tools(&mut archive, &mut plan, folder)?,
        (None, None) => {
            for folder in ["testdata", "examples", "crates/twinbpf/examples"] {
                add_folder(&mut archive, &root.join(folder))?;
            }
        }
    }
    for binary in built {
        add_libraries(&mut archive, &binary.file)?;
    }
    add_watched(&mut archive)?;
    for tool in ["ip", "tc", "unshare", "true"] {
        add_tool(&mut archive, tool)?;
    }
    archive.file("/plan", plan.as_bytes());
    // Tests run in their crate's folder.
    for binary in built {
        archive.file(&binary.folder.join(".keep").to_string_lossy(), b"");
    }
    Ok(archive.finish())
}

/// Each object of a folder, checked.
fn plan_checks(archive: &mut Archive, plan: &mut String, folder: &Path) -> Result<(), String> {
    for file in files_of(folder)? {
        if file.extension().is_none_or(|end| end != "o") {
            continue;
        }
        let name = file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        add(archive, &file, &format!("/objects/{name}"))?;
        plan.push_str(&format!(
            "run\t{name}\t/objects\t/bin/twinbpf\tcheck\t--engine\tkernel\t{name}\n"
        ));
    }
    Ok(())
}

/// The tools that `guest-tools` has the user side of; their objects are called so, with something before it or behind.
const TOOLS: [&str; 4] = ["opensnoop", "execsnoop", "tcpconnect", "biolatency"];

fn plan_tools(archive: &mut Archive, plan: &mut String, folder: &Path) -> Result<(), String> {
    let files = files_of(folder)?;
    for tool in TOOLS {
        let is_its = |file: &&PathBuf| {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            name.contains(tool) && name.ends_with(".o")
        };
        let file = files
            .iter()
            .find(is_its)
            .ok_or_else(|| format!("{}: there is no object of {tool}", folder.display()))?;
        add(archive, file, &format!("/objects/{tool}.o"))?;
        plan.push_str(&format!(
            "run\t{tool}\t/\t/bin/guest-tools\t{tool}\t/objects/{tool}.o\n"
        ));
    }
    Ok(())
}

/// The program that tests of probes watch, in every form; none without what builds it.
fn add_watched(archive: &mut Archive) -> Result<(), String> {
    if !Need::WatchedProgram.is_met() {
        return Ok(());
    }
    let folder = tempfile::tempdir().map_err(|error| format!("a folder: {error}"))?;
    for (form, _) in watched::FORMS {
        let file = watched::build(form, folder.path())?;
        add(archive, &file, &format!("{}/{form}", watched::READY))?;
        add_libraries(archive, &file)?;
    }
    Ok(())
}

/// A tool of this machine with its libraries, for tests that make interfaces; none if it is not here.
fn add_tool(archive: &mut Archive, name: &str) -> Result<(), String> {
    let folders =
        ["/usr/bin", "/usr/sbin", "/bin", "/sbin"].map(|folder| Path::new(folder).join(name));
    let Some(tool) = folders.into_iter().find(|path| path.exists()) else {
        return Ok(());
    };
    add_libraries(archive, &tool)?;
    add(archive, &tool, &format!("/bin/{name}"))
}

/// The libraries that a program names, where it looks for them.
fn add_libraries(archive: &mut Archive, program: &Path) -> Result<(), String> {
    let listed = Command::new("ldd").arg(program).output();
    let text = listed.map(|output| output.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    // `libc.so.6 => /lib/libc.so.6 (0x7f..)`, `/lib64/ld-linux-x86-64.so.2 (0x7f..)`
    let mut libraries = text.split_whitespace().filter(|word| word.starts_with('/'));
    libraries.try_for_each(|library| add(archive, Path::new(library), library))
}

fn add_folder(archive: &mut Archive, folder: &Path) -> Result<(), String> {
    if !folder.exists() {
        return Ok(());
    }
    for path in files_of(folder)? {
        if path.is_dir() {
            add_folder(archive, &path)?;
        } else {
            add(archive, &path, &path.to_string_lossy())?;
        }
    }
    Ok(())
}

fn files_of(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .collect();
    files.sort();
    Ok(files)
}

fn add(archive: &mut Archive, file: &Path, place: &str) -> Result<(), String> {
    let bytes = fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    archive.file(place, &bytes);
    Ok(())
}

/// Runs a command; `what` is named where it fails.
fn succeed(mut command: Command, what: &str) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|error| format!("{what}: {name}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("{what}: {name}: {}", words.trim()))
}
