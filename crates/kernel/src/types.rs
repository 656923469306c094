//! The running kernel's types, read when first asked for.

use std::sync::{Arc, OnceLock};

use twinbpf_object::Result;
use twinbpf_object::btf::Btf;

use crate::host;

/// The running kernel's types. Clones share what was read; the types do not change while the kernel runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct KernelTypes(Arc<OnceLock<Option<Arc<Btf>>>>);

impl KernelTypes {
    /// The types; `None` if the kernel does not show them.
    ///
    /// # Errors
    ///
    /// If they are there but cannot be read. That is not remembered.
    pub(crate) fn get(&self) -> Result<Option<Arc<Btf>>> {
        if let Some(known) = self.0.get() {
            return Ok(known.clone());
        }
        let read = host::types()?;
        Ok(self.0.get_or_init(|| read).clone())
    }
}
