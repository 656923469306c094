//! A whole map read at once, by the fastest way there is for it.

use std::ops::ControlFlow;

use twinbpf_kernel::MapCopier;
use twinbpf_object::Result;

use crate::raw_map::{MapHandle, RawMap};

/// Reads a whole map again and again: a hash table of the kernel by a small program that copies it out inside the kernel, everything
/// else by the batch, and what has no batches key by key. All entries come every time.
///
/// Making one loads the program, a tenth of a millisecond; from a thousand entries on that pays for itself at once.
///
/// Somebody else may change the map meanwhile. The program walks its lists while they change: an entry may then be missed or come twice
/// whose neighbours are removed and stored again. [`RawMap::visit`] is slower and promises more.
///
/// ```
/// use std::ops::ControlFlow;
/// use twinbpf::{Dump, Engine, MapKind, MapSpec, UpdateMode};
///
/// let map = Engine::vm()?.create_map(&MapSpec::new("", MapKind::Hash, 1, 1, 16))?;
/// map.update_many(b"abc", &[1, 2, 3], UpdateMode::Any)?;
/// let mut dump = Dump::new(&map);
/// let mut sum = 0;
/// dump.visit(|_, value| {
///     sum += value[0];
///     ControlFlow::Continue(())
/// })?;
/// assert_eq!((sum, dump.is_in_kernel()), (6, false));
/// # Ok::<(), twinbpf::Error>(())
/// ```
#[derive(Debug)]
pub struct Dump {
    map: RawMap,
    copier: Option<MapCopier>,
}

impl Dump {
    /// Prepares to read a map.
    pub fn new(map: &RawMap) -> Self {
        let copier = match &map.0 {
            MapHandle::Kernel(kernel) => MapCopier::new(kernel),
            MapHandle::Vm(_) => None,
        };
        Self {
            map: map.clone(),
            copier,
        }
    }

    /// Whether a program inside the kernel copies the map out.
    pub fn is_in_kernel(&self) -> bool {
        self.copier.is_some()
    }

    /// Shows every entry to `look`, until it breaks off.
    ///
    /// # Errors
    ///
    /// If the engine refuses.
    pub fn visit(&mut self, mut look: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>) -> Result<()> {
        if let Some(copier) = &mut self.copier {
            if copier.copy(&mut look)? {
                return Ok(());
            }
            // It grew beyond what can be copied out like this, or the program may not be run: nothing was shown yet.
            self.copier = None;
        }
        self.map.visit(look)
    }
}
