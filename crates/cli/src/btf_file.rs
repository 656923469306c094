//! Reading a file of types that the user named instead of the running kernel's.

use std::path::Path;
use std::sync::Arc;

use twinbpf::btf::Btf;
use twinbpf::{Result, read_types};

use crate::object_file;

/// Reads raw BTF, as in `/sys/kernel/btf`, or the types in an ELF file; errors name the file.
pub(crate) fn read(path: &Path) -> Result<Arc<Btf>> {
    let types = object_file::bytes(path).and_then(read_types);
    types
        .map(Arc::new)
        .map_err(|error| error.in_file(path.display().to_string()))
}
