//! Memory that nobody writes: the types that the kernel shows of itself, mapped instead of copied.
//!
//! Reading `/sys/kernel/btf/vmlinux` copies five megabytes of which a program looks at little; a mapping shows the kernel's
//! own pages. Unlike everything else in this crate they never change, so they may be lent out as plain bytes.
#![expect(
    unsafe_code,
    reason = "maps the kernel's types, and forms a slice over them"
)]

use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result};
use std::ptr::NonNull;

use rustix::fs::{FsWord, fstatfs};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// The BTF of the running kernel or of one of its modules: mapped where the kernel allows it, else read.
#[derive(Debug)]
pub struct KernelTypes(Held);

#[derive(Debug)]
enum Held {
    Mapped(Mapping),
    Read(Vec<u8>),
}

impl KernelTypes {
    /// Those of the kernel itself (`vmlinux`), or of the module with this name.
    ///
    /// # Errors
    ///
    /// If there is no such file in `/sys/kernel/btf`, or it cannot be read.
    pub fn open(module: &str) -> Result<Self> {
        if module.contains('/') {
            return Err(ErrorKind::InvalidInput.into());
        }
        let mut file = File::open(format!("{FOLDER}/{module}"))?;
        if let Ok(mapping) = Mapping::new(&file) {
            return Ok(Self(Held::Mapped(mapping)));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(Self(Held::Read(bytes)))
    }

    /// The modules that show types; none where there is no such folder.
    ///
    /// # Errors
    ///
    /// If the folder is there but cannot be read.
    pub fn modules() -> Result<Vec<String>> {
        let entries = match std::fs::read_dir(FOLDER) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut names = Vec::new();
        for entry in entries {
            // A name that is no text is no module's.
            names.extend(entry?.file_name().into_string());
        }
        names.retain(|name| name != KERNEL);
        names.sort_unstable();
        Ok(names)
    }

    /// Whether the bytes are the kernel's own, not a copy.
    pub fn is_mapped(&self) -> bool {
        matches!(self.0, Held::Mapped(_))
    }
}

impl AsRef<[u8]> for KernelTypes {
    fn as_ref(&self) -> &[u8] {
        match &self.0 {
            Held::Mapped(mapping) => mapping.bytes(),
            Held::Read(bytes) => bytes,
        }
    }
}

/// Pages of a file in `/sys/kernel/btf`.
///
/// INVARIANT: `start` is the start of a mapping of at least `len` bytes, readable, of a file of sysfs whose bytes the kernel
/// never changes; `drop` alone unmaps it.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory is only ever read, by the kernel's promise also elsewhere, and any thread may unmap it.
unsafe impl Send for Mapping {}
// SAFETY: as above; `&Mapping` gives nothing but `&[u8]`.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// KERNEL: `vmlinux` can be mapped since 6.16 (seen on 6.18), the files of modules cannot.
    fn new(file: &File) -> Result<Self> {
        // A file of another filesystem mounted there could be changed or cut while it is mapped.
        if fstatfs(file)?.f_type != SYSFS_MAGIC {
            return Err(ErrorKind::Unsupported.into());
        }
        let len = usize::try_from(file.metadata()?.len()).map_err(|_| ErrorKind::OutOfMemory)?;
        let (read, private) = (ProtFlags::READ, MapFlags::PRIVATE);
        // SAFETY: the address is of the kernel's choice, so the new mapping disturbs no other memory of this process.
        let start = unsafe { mmap(std::ptr::null_mut(), len, read, private, file, 0) };
        let start = NonNull::new(start?.cast()).ok_or(Error::from(ErrorKind::OutOfMemory))?;
        Ok(Self { start, len })
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: by the invariant these bytes are mapped as long as `self`, and nobody ever writes them.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: by the invariant this is the range that `new` mapped, and no slice of it outlives `self`.
        let result = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
        debug_assert!(result.is_ok(), "unmapping our own range cannot be refused");
    }
}

const FOLDER: &str = "/sys/kernel/btf";
/// The file of the kernel itself.
const KERNEL: &str = "vmlinux";
/// `SYSFS_MAGIC` of the UAPI header `magic.h`.
const SYSFS_MAGIC: FsWord = 0x6265_6572;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_the_folder() {
        let error = KernelTypes::open("../../etc/passwd").map(|_| ());
        assert_eq!(
            error.map_err(|error| error.kind()),
            Err(ErrorKind::InvalidInput)
        );
    }
}
