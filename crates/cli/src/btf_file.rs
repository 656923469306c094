//! Reading a file of types that the user named instead of the running kernel's.

use std::path::Path;
use std::sync::Arc;

use twinbpf::btf::Btf;
use twinbpf::spec::ByteOrder;
use twinbpf::{Code, Diagnosis, Object, Result};

use crate::object_file;

/// Reads raw BTF, as in `/sys/kernel/btf`, or the types of a BPF object; errors name the file.
pub(crate) fn read(path: &Path) -> Result<Arc<Btf>> {
    let bytes = object_file::bytes(path)?;
    let types = if bytes.starts_with(b"\x7fELF") {
        Object::parse(&bytes).and_then(|object| object.btf.ok_or_else(|| no_types().into()))
    } else {
        Btf::parse(&bytes, ByteOrder::HOST).map(Arc::new)
    };
    types.map_err(|error| error.in_file(path.display().to_string()))
}

fn no_types() -> Diagnosis {
    Diagnosis::new(Code::BTF_MISSING, "the object has no BTF that can be read")
}
