//! Reading the object file that the user named.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
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
    let bytes = File::open(path).and_then(|file| {
        let metadata = file.metadata()?;
        match metadata.is_file() && metadata.len() > MOST_BYTES {
            true => Err(io::ErrorKind::FileTooLarge.into()),
            false => whole(file),
        }
    });
    bytes.map_err(|error| unreadable(&error).in_file(path.display().to_string()))
}

/// Reads to the end, if there is one.
pub(crate) fn whole(file: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match file.take(MOST_BYTES + 1).read_to_end(&mut bytes)? as u64 > MOST_BYTES {
        true => Err(io::ErrorKind::FileTooLarge.into()),
        false => Ok(bytes),
    }
}

/// Kernel images with all their debugging information stay below this.
const MOST_BYTES: u64 = 1 << 30;

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
        io::ErrorKind::FileTooLarge => {
            Diagnosis::new(Code::FILE_UNREADABLE, "it is too large, or never ends")
                .kind(ErrorKind::Limit)
        }
        _ => Diagnosis::new(Code::FILE_UNREADABLE, "it cannot be read"),
    };
    with_number(diagnosis, error)
}

/// What is wrong if a file cannot be written; `what` is what it was to hold.
pub(crate) fn unwritable(path: &Path, what: &str, error: &io::Error) -> Error {
    let message = format!("{what} cannot be written");
    let kind = match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            ErrorKind::Permission
        }
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::IsADirectory => ErrorKind::Usage,
        _ => ErrorKind::Io,
    };
    let diagnosis = Diagnosis::new(Code::HOST_IO, message).kind(kind);
    with_number(diagnosis, error).in_file(path.display().to_string())
}

fn with_number(diagnosis: Diagnosis, error: &io::Error) -> Error {
    match error.raw_os_error() {
        Some(number) => diagnosis.errno(Errno(number)).into(),
        None => diagnosis.into(),
    }
}

/// `FILE[:NAME]`; a file whose name has a colon in it is taken whole.
pub(crate) fn split(text: &OsStr) -> (PathBuf, Option<String>) {
    let whole = PathBuf::from(text);
    let bytes = text.as_bytes();
    let colon = bytes.iter().rposition(|byte| *byte == b':');
    let name = colon.and_then(|colon| str::from_utf8(&bytes[colon + 1..]).ok());
    match (colon, name) {
        (Some(colon), Some(name)) if !whole.exists() && !name.contains('/') => {
            let path = OsString::from(OsStr::from_bytes(&bytes[..colon]));
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
        let (path, program) = split("dir/a.o:xdp_main".as_ref());
        assert_eq!(
            (path.to_str(), program.as_deref()),
            (Some("dir/a.o"), Some("xdp_main"))
        );
        assert_eq!(split("a:b/c.o".as_ref()).1, None);
        let (path, program) = split(OsStr::from_bytes(b"\xff.o:main"));
        assert_eq!(
            (path.as_os_str().as_bytes(), program.as_deref()),
            (&b"\xff.o"[..], Some("main"))
        );
    }

    #[test]
    fn what_never_ends_is_given_up() {
        let error = whole(io::repeat(b'x')).unwrap_err();
        assert_eq!(unreadable(&error).kind(), ErrorKind::Limit);
    }
}
