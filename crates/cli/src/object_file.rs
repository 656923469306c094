//! Reading the object file that the user named.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use twinbpf::{Code, Diagnosis, Errno, Error, ErrorKind, Object, Result};

/// Reads and parses a file; errors name it.
pub(crate) fn read(path: &Path) -> Result<Object> {
    let bytes = twinbpf::read_object_file(path).map_err(|error| unreadable(&error));
    let object = bytes.and_then(|bytes| Object::parse(&bytes));
    object.map_err(|error| error.in_file(path.display().to_string()))
}

/// Reads a file; errors name it.
pub(crate) fn bytes(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| unreadable(&error).in_file(path.display().to_string()))
}

/// What is wrong if a file cannot be read.
pub(crate) fn unreadable(error: &io::Error) -> Error {
    let diagnosis = match error.kind() {
        io::ErrorKind::NotFound => Diagnosis::new(Code::FILE_NOT_FOUND, "no such file"),
        io::ErrorKind::PermissionDenied => {
            Diagnosis::new(Code::FILE_UNREADABLE, "not permitted to read it")
                .kind(ErrorKind::Permission)
        }
        io::ErrorKind::IsADirectory => {
            Diagnosis::new(Code::FILE_UNREADABLE, "a directory, not a file").kind(ErrorKind::Usage)
        }
        _ => Diagnosis::new(Code::FILE_UNREADABLE, "it cannot be read"),
    };
    match error.raw_os_error() {
        Some(number) => diagnosis.errno(Errno(number)).into(),
        None => diagnosis.into(),
    }
}

/// `FILE[:NAME]`; a file whose name has a colon in it is taken whole.
pub(crate) fn split(text: &str) -> (PathBuf, Option<String>) {
    let whole = PathBuf::from(text);
    match text.rsplit_once(':') {
        Some((path, name)) if !whole.exists() && !name.contains('/') => {
            (PathBuf::from(path), Some(name.to_owned()))
        }
        _ => (whole, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_may_follow_the_object() {
        let (path, program) = split("dir/a.o:xdp_main");
        assert_eq!(
            (path.to_str(), program.as_deref()),
            (Some("dir/a.o"), Some("xdp_main"))
        );
        assert_eq!(split("a:b/c.o").1, None);
    }
}
