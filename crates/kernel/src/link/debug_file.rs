//! Where the symbols of a stripped file went: a file of its own, which debuggers find by the build's number or by a link.
//!
//! As the manual of GDB has it, "Debugging Information in Separate Files": `.build-id/ab/cdef.debug` in the folder for such files, or the
//! name in `.gnu_debuglink` beside the file, in its folder `.debug`, or in the folder for such files under the file's own folder.

use std::fs;
use std::path::{Path, PathBuf};

use flate2::Crc;
use object::Object;

/// The folder for debug files.
pub(super) const FOLDER: &str = "/usr/lib/debug";
const MOST_BYTES: u64 = 4 << 30;

/// The bytes of the debug file of `file`, which lies at `path`; `None` if there is none that belongs to it.
pub(super) fn of<'f>(file: &impl Object<'f>, path: &Path, folder: &Path) -> Option<Vec<u8>> {
    let build = file.build_id().ok().flatten();
    let numbered = build.and_then(|number| by_number(number, folder));
    numbered
        .and_then(|path| bytes(&path))
        .or_else(|| by_link(file, path, folder))
}

fn by_number(number: &[u8], folder: &Path) -> Option<PathBuf> {
    let (first, rest) = number.split_first()?;
    let rest: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
    let name = format!(".build-id/{first:02x}/{rest}.debug");
    Some(folder.join(name))
}

fn by_link<'f>(file: &impl Object<'f>, path: &Path, folder: &Path) -> Option<Vec<u8>> {
    let (name, sum) = file.gnu_debuglink().ok().flatten()?;
    let name = std::str::from_utf8(name).ok()?;
    // A link names a file, not a way to it.
    let name = Path::new(name).file_name()?;
    let path = fs::canonicalize(path).ok()?;
    let beside = path.parent()?;
    let below = beside.strip_prefix("/").ok()?;
    let places = [
        beside.join(name),
        beside.join(".debug").join(name),
        folder.join(below).join(name),
    ];
    let others = places.into_iter().filter(|place| *place != path);
    others
        .filter_map(|place| bytes(&place))
        .find(|bytes| sum_of(bytes) == sum)
}

fn bytes(path: &Path) -> Option<Vec<u8>> {
    let found = fs::metadata(path).ok()?;
    let is_readable = found.is_file() && found.len() <= MOST_BYTES;
    is_readable.then(|| fs::read(path).ok()).flatten()
}

fn sum_of(bytes: &[u8]) -> u32 {
    let mut sum = Crc::new();
    sum.update(bytes);
    sum.sum()
}
