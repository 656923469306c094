//! The archive that a kernel unpacks into its first file system: `cpio`, format `newc`.
//!
//! ```text
//! "070701"  13 numbers of 8 hexadecimal digits  name 0  padding to 4  content  padding to 4
//! ```

use std::collections::BTreeSet;

/// An archive being made.
#[derive(Debug, Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    folders: BTreeSet<String>,
    files: BTreeSet<String>,
    entries: u32,
}

/// Sorts of entries, with their permissions.
const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const CONSOLE: u32 = 0o020_600;
const LAST: &str = "TRAILER!!!";

impl Archive {
    /// An archive with `/dev/console`, which the kernel opens for the first process before anything is mounted.
    pub(super) fn new() -> Self {
        let mut archive = Self::default();
        archive.folder("dev");
        archive.entry("dev/console", CONSOLE, (5, 1), &[]);
        archive
    }

    /// Adds a file at an absolute path, and the folders in which it lies; the first of several at one path is kept.
    pub(super) fn file(&mut self, path: &str, content: &[u8]) {
        let path = path.trim_start_matches('/');
        if !self.files.insert(path.to_owned()) {
            return;
        }
        if let Some((folder, _)) = path.rsplit_once('/') {
            self.folder(folder);
        }
        self.entry(path, PROGRAM, (0, 0), content);
    }

    fn folder(&mut self, path: &str) {
        if self.folders.contains(path) {
            return;
        }
        if let Some((above, _)) = path.rsplit_once('/') {
            self.folder(above);
        }
        self.folders.insert(path.to_owned());
        self.entry(path, FOLDER, (0, 0), &[]);
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.entries += 1;
        let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        let numbers = [
            self.entries,
            mode,
            0, // owner
            0, // group
            1, // links
            0, // time
            length(content.len()),
            0, // device of the file: two numbers
            0,
            device.0,
            device.1,
            length(name.len() + 1),
            0, // checksum, of another format
        ];
        self.bytes.extend_from_slice(b"070701");
        for number in numbers {
            self.bytes
                .extend_from_slice(format!("{number:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        let padded = self.bytes.len().next_multiple_of(4);
        self.bytes.resize(padded, 0);
    }

    /// The whole archive.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry(LAST, 0, (0, 0), &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_once_before_what_lies_in_them_and_everything_is_aligned() {
        let mut archive = Archive::new();
        archive.file("/a/b/first", b"12345");
        archive.file("/a/b/second", b"");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let mut names = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            assert_eq!(&bytes[at..at + 6], b"070701", "at {at:#x}");
            let number = |position: usize| {
                let start = at + 6 + 8 * position;
                let digits = std::str::from_utf8(&bytes[start..start + 8]).unwrap();
                usize::from_str_radix(digits, 16).unwrap()
            };
            let (content, name) = (number(6), number(11));
            let start = at + 110;
            names.push(String::from_utf8_lossy(&bytes[start..start + name - 1]).into_owned());
            at = (start + name).next_multiple_of(4) + content;
            at = at.next_multiple_of(4);
        }
        assert_eq!(
            names,
            [
                "dev",
                "dev/console",
                "a",
                "a/b",
                "a/b/first",
                "a/b/second",
                LAST
            ]
        );
    }
}
