//! Reading a file of types that the user named instead of the running kernel's.

use std::path::Path;
use std::sync::Arc;

use twinbpf::btf::Btf;
use twinbpf::{Result, read_types, read_types_on};

use crate::object_file;

/// Reads raw BTF, as in `/sys/kernel/btf`, or the types in an ELF file; errors name the file.
pub(crate) fn read(path: &Path) -> Result<Arc<Btf>> {
    let types = object_file::bytes(path).and_then(read_types);
    types
        .map(Arc::new)
        .map_err(|error| error.in_file(path.display().to_string()))
}

/// Reads types that continue those of another file: errors name the file that is at fault. What the kernel shows of its
/// modules continues the kernel's own types.
pub(crate) fn read_on(path: &Path, base: Option<&Path>) -> Result<Arc<Btf>> {
    let is_module = path.parent() == Some(Path::new(KERNEL_TYPES)) && !path.ends_with(KERNEL);
    let kernel = Path::new(KERNEL_TYPES).join(KERNEL);
    let Some(base) = base.or(is_module.then_some(kernel.as_path())) else {
        return read(path);
    };
    let base = read(base)?;
    let types = object_file::bytes(path).and_then(|bytes| read_types_on(bytes, base));
    types
        .map(Arc::new)
        .map_err(|error| error.in_file(path.display().to_string()))
}

const KERNEL_TYPES: &str = "/sys/kernel/btf";
const KERNEL: &str = "vmlinux";
