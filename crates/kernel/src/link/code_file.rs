//! Files of code: where they are, and where in them a function is.
//!
//! A probe is a position in a file, a symbol an address in memory; the segment that the address is in says how one becomes the
//! other:
//!
//! ```text
//! position in the file = address of the symbol - address of its segment + position of its segment
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use object::elf::{FileHeader32, FileHeader64};
use object::read::elf::{ElfFile, FileHeader};
use object::{Endianness, FileKind, Object, ObjectSegment, ObjectSymbol, SymbolKind};
use twinbpf_object::abi::nearest_name;
use twinbpf_object::hook::Names;
use twinbpf_object::{Code, Diagnosis, Error, Result};

use super::debug_file;

/// Finds a file of code. A name without a slash is looked for as the system looks for programs and libraries; of a process, among
/// the files that it has mapped first.
///
/// # Errors
///
/// If there is no such file.
pub(super) fn locate(path: &Path, pid: Option<u32>) -> Result<PathBuf> {
    let name = path.to_string_lossy();
    if name.contains('/') {
        return if path.exists() {
            Ok(path.to_owned())
        } else {
            Err(nowhere(path, "there is no file"))
        };
    }
    let mapped = pid.and_then(|pid| mapped_file(pid, &name));
    let folders: Vec<PathBuf> = if name.contains(".so") {
        library_folders()
    } else {
        std::env::var_os("PATH")
            .map(|list| std::env::split_paths(&list).collect())
            .unwrap_or_default()
    };
    mapped
        .or_else(|| {
            let mut files = folders.into_iter().map(|folder| folder.join(path));
            files.find(|file| file.is_file())
        })
        .ok_or_else(|| nowhere(path, "no folder of programs and libraries has a file"))
}

/// Of the files that a process has mapped, the one with this name.
fn mapped_file(pid: u32, name: &str) -> Option<PathBuf> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let paths = maps.lines().filter_map(|line| line.split_once('/'));
    let mut paths = paths.map(|(_, path)| PathBuf::from(format!("/{path}")));
    paths.find(|path| path.file_name().is_some_and(|file| file == name))
}

fn library_folders() -> Vec<PathBuf> {
    let asked = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let triple = format!("{}-linux-gnu", std::env::consts::ARCH);
    let usual = [
        format!("/lib/{triple}"),
        format!("/usr/lib/{triple}"),
        "/lib64".to_owned(),
        "/usr/lib64".to_owned(),
        "/lib".to_owned(),
        "/usr/lib".to_owned(),
        "/usr/local/lib".to_owned(),
    ];
    std::env::split_paths(&asked)
        .filter(|folder| !folder.as_os_str().is_empty())
        .chain(usual.into_iter().map(PathBuf::from))
        .collect()
}

/// Where in a file a function begins.
///
/// # Errors
///
/// If the file cannot be read, is no ELF file, or has no such function, with the nearest name.
pub(super) fn offset_of(path: &Path, function: &str) -> Result<u64> {
    let functions = functions(path)?;
    // `name@@VERSION` and `name@VERSION` are how some linkers write versions.
    let plain = |name: &str| name.split('@').next().unwrap_or_default().to_owned();
    let found = functions
        .iter()
        .find(|(name, _)| name == function || plain(name) == function);
    match found {
        Some((_, offset)) => offset.ok_or_else(|| unreadable(path)),
        None => {
            let names: Vec<String> = functions.iter().map(|(name, _)| plain(name)).collect();
            let near = nearest_name(function, names.iter().map(String::as_str));
            Err(missing(path, function, near.map(str::to_owned)))
        }
    }
}

/// Where in a file the functions begin that these names mean, ascending.
///
/// # Errors
///
/// If the file cannot be read or is no ELF file; or of a name without wildcards, if no function has it.
pub(super) fn offsets_of(path: &Path, names: &Names) -> Result<Vec<u64>> {
    if let Some([name]) = names.listed().as_deref() {
        return offset_of(path, name).map(|offset| vec![offset]);
    }
    let functions = functions(path)?.into_iter();
    let meant = functions.filter(|(name, _)| {
        let plain = name.split('@').next().unwrap_or_default();
        names.contain(plain)
    });
    let mut offsets: Vec<u64> = meant.filter_map(|(_, offset)| offset).collect();
    offsets.sort_unstable();
    offsets.dedup();
    Ok(offsets)
}

/// The bytes of a file of code.
///
/// # Errors
///
/// If it cannot be read, or is too large to be one.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    let readable = fs::metadata(path).is_ok_and(|found| found.len() <= MOST_BYTES);
    let bytes = readable.then(|| fs::read(path).ok()).flatten();
    bytes.ok_or_else(|| {
        nowhere(
            path,
            "no function is looked for in what is no readable file of at most 1 GiB:",
        )
    })
}

/// It is no ELF file, or one whose parts contradict each other.
pub(super) fn unreadable(path: &Path) -> Error {
    nowhere(path, "it is no ELF file that could be read:")
}

/// Names of functions and where in the file each begins, if its segment is there.
type Functions = Vec<(String, Option<u64>)>;

fn functions(path: &Path) -> Result<Functions> {
    functions_with(path, Path::new(debug_file::FOLDER))
}

fn functions_with(path: &Path, debug_folder: &Path) -> Result<Functions> {
    let bytes = read(path)?;
    let found = match FileKind::parse(bytes.as_slice()) {
        Ok(FileKind::Elf64) => functions_in::<FileHeader64<Endianness>>(&bytes, path, debug_folder),
        Ok(FileKind::Elf32) => functions_in::<FileHeader32<Endianness>>(&bytes, path, debug_folder),
        _ => None,
    };
    found.ok_or_else(|| unreadable(path))
}

/// Both tables of symbols: a stripped file has only the one for the dynamic linker, and the other in its debug file, if that is here.
fn functions_in<H: FileHeader<Endian = Endianness>>(
    bytes: &[u8],
    path: &Path,
    debug_folder: &Path,
) -> Option<Functions> {
    let file = ElfFile::<H>::parse(bytes).ok()?;
    let mut functions = symbols_in(&file, &file);
    if file.symbol_table().is_none()
        && let Some(bytes) = debug_file::of(&file, path, debug_folder)
        && let Ok(apart) = ElfFile::<H>::parse(bytes.as_slice())
    {
        functions.extend(symbols_in(&apart, &file));
    }
    Some(functions)
}

/// The functions that `named` has names for, and where they are in `file`.
fn symbols_in<H: FileHeader<Endian = Endianness>>(
    named: &ElfFile<'_, H>,
    file: &ElfFile<'_, H>,
) -> Functions {
    let symbols = named.symbols().chain(named.dynamic_symbols());
    let functions =
        symbols.filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.is_definition());
    let positions = functions.filter_map(|symbol| {
        let name = symbol.name().ok()?.to_owned();
        Some((name, position_in(file, symbol.address())))
    });
    positions.collect()
}

/// Where in a file the byte stands that is at an address once the file is loaded.
pub(super) fn position_in<H: FileHeader<Endian = Endianness>>(
    file: &ElfFile<'_, H>,
    address: u64,
) -> Option<u64> {
    let segment = file.segments().find(|segment| {
        let behind = address.checked_sub(segment.address());
        behind.is_some_and(|behind| behind < segment.size())
    })?;
    let (position, _) = segment.file_range();
    address
        .checked_sub(segment.address())?
        .checked_add(position)
}

fn nowhere(path: &Path, what: &str) -> Error {
    Diagnosis::new(Code::ATTACH_TARGET, format!("{what} {}", path.display())).into()
}

fn missing(path: &Path, function: &str, near: Option<String>) -> Error {
    let message = format!("{} has no function `{function}`", path.display());
    let diagnosis = Diagnosis::new(Code::ATTACH_TARGET, message);
    match near {
        Some(near) => diagnosis.help(format!("did you mean `{near}`?")),
        None => diagnosis.help(
            "a stripped file names only what others may call; its debug package where debuggers find it, or a position (0xOFFSET), goes further",
        ),
    }
    .into()
}

const MOST_BYTES: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_of_this_program_is_found_and_a_slip_is_seen() {
        let path = std::env::current_exe().unwrap();
        assert!(offset_of(&path, "main").unwrap() > 0);
        let error = offset_of(&path, "mian").unwrap_err();
        assert_eq!(error.diagnosis().code, Code::ATTACH_TARGET, "{error}");
        assert!(
            error.diagnosis().help[0].contains("did you mean"),
            "{error}"
        );
    }

    fn objcopy(words: &[&str]) {
        let status = std::process::Command::new("objcopy").args(words).status();
        assert!(status.unwrap().success(), "{words:?}");
    }

    #[test]
    fn a_stripped_program_is_read_with_its_debug_file() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let whole = std::env::current_exe().unwrap();
        let whole = whole.to_str().unwrap();
        let debug_folder = folder.path().join("debug");
        let main_of = |file: &str| {
            let functions = functions_with(Path::new(file), &debug_folder).unwrap();
            let main = functions.iter().find(|(name, _)| name == "main");
            main.and_then(|(_, position)| *position)
        };
        let position = main_of(whole);
        assert!(position.is_some());
        objcopy(&["--only-keep-debug", whole, &at("apart")]);
        objcopy(&["--strip-all", whole, &at("bare")]);
        assert_eq!(main_of(&at("bare")), None);

        let link = format!("--add-gnu-debuglink={}", at("apart"));
        objcopy(&[&link, &at("bare"), &at("linked")]);
        assert_eq!(main_of(&at("linked")), position);
        let below = folder.path().join(".debug");
        fs::create_dir(&below).unwrap();
        fs::rename(at("apart"), below.join("apart")).unwrap();
        assert_eq!(main_of(&at("linked")), position);
        // Another build's symbols are not this one's.
        let mut other = fs::read(below.join("apart")).unwrap();
        *other.last_mut().unwrap() ^= 1;
        fs::write(below.join("apart"), &other).unwrap();
        assert_eq!(main_of(&at("linked")), None);

        let bytes = fs::read(at("bare")).unwrap();
        let file = ElfFile::<FileHeader64<Endianness>>::parse(bytes.as_slice()).unwrap();
        let number = file.build_id().unwrap().unwrap().to_vec();
        let hex: String = number.iter().map(|byte| format!("{byte:02x}")).collect();
        let numbered = debug_folder.join(".build-id").join(&hex[..2]);
        fs::create_dir_all(&numbered).unwrap();
        objcopy(&[
            "--only-keep-debug",
            whole,
            numbered
                .join(format!("{}.debug", &hex[2..]))
                .to_str()
                .unwrap(),
        ]);
        assert_eq!(main_of(&at("bare")), position);
    }

    #[test]
    fn names_without_a_folder_are_looked_for() {
        assert!(locate(Path::new("sh"), None).unwrap().is_absolute());
        let here = locate(Path::new("libc.so.6"), Some(std::process::id()));
        assert!(here.is_ok_and(|path| path.is_absolute()));
        assert!(locate(Path::new("no-such-program"), None).is_err());
        assert!(locate(Path::new("/no/such/file"), None).is_err());
        assert!(offset_of(Path::new("/proc/self/status"), "main").is_err());
        assert!(offset_of(Path::new("/"), "main").is_err());
    }
}
