//! Maps without keys: queues, stacks, bloom filters.

use twinbpf_object::{Errno, MapKind, Result};

use crate::map_error::Operation;
use crate::raw_map::{MapHandle, RawMap};

impl RawMap {
    /// Adds a value to a queue, stack or bloom filter.
    ///
    /// ```
    /// use twinbpf::{Engine, MapKind, MapSpec};
    ///
    /// let queue = Engine::vm()?.create_map(&MapSpec::new("", MapKind::Queue, 0, 1, 2))?;
    /// queue.push(b"a")?;
    /// queue.push(b"b")?;
    /// assert!(queue.push(b"c").is_err()); // full
    /// queue.push_over(b"c")?; // in place of the oldest
    /// assert_eq!(queue.peek()?.as_deref(), Some(&b"b"[..]));
    /// assert_eq!(queue.pop()?.as_deref(), Some(&b"b"[..]));
    /// # Ok::<(), twinbpf::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the value has the wrong length, the map is full, or has keys.
    pub fn push(&self, value: &[u8]) -> Result<()> {
        self.push_with(value, 0)
    }

    /// Adds a value to a queue or stack; if it is full, in place of the oldest.
    ///
    /// # Errors
    ///
    /// If the value has the wrong length, or the map is no queue or stack.
    pub fn push_over(&self, value: &[u8]) -> Result<()> {
        self.push_with(value, EXIST)
    }

    /// Takes the next value of a queue or stack; `None` if it is empty.
    ///
    /// # Errors
    ///
    /// If the map is no queue or stack, or the engine refuses.
    pub fn pop(&self) -> Result<Option<Vec<u8>>> {
        self.keyless(is_list)?;
        let mut value = vec![0; self.value_len()];
        let result = match &self.0 {
            MapHandle::Kernel(map) => map.take(&[], &mut value, 0),
            MapHandle::Vm(map) => map.take(&[], &mut value, 0),
        };
        Ok(self.present(Operation::Pop, &[], result)?.then_some(value))
    }

    /// A copy of the next value of a queue or stack, which stays there; `None` if it is empty.
    ///
    /// # Errors
    ///
    /// If the map is no queue or stack, or the engine refuses.
    pub fn peek(&self) -> Result<Option<Vec<u8>>> {
        self.keyless(is_list)?;
        let mut value = vec![0; self.value_len()];
        let result = match &self.0 {
            MapHandle::Kernel(map) => map.lookup(&[], &mut value),
            MapHandle::Vm(map) => map.lookup(&[], &mut value),
        };
        Ok(self.present(Operation::Pop, &[], result)?.then_some(value))
    }

    /// Whether a bloom filter may have a value: false is certain, true is likely.
    ///
    /// # Errors
    ///
    /// If the value has the wrong length, the map is no bloom filter, or the engine refuses.
    pub fn may_have(&self, value: &[u8]) -> Result<bool> {
        self.keyless(|kind| kind == MapKind::BloomFilter)?;
        self.check_value(value)?;
        // The kernel takes the value where it would else write one.
        let mut value = value.to_vec();
        let result = match &self.0 {
            MapHandle::Kernel(map) => map.lookup(&[], &mut value),
            MapHandle::Vm(map) => map.lookup(&[], &mut value),
        };
        self.present(Operation::Pop, &[], result)
    }

    fn push_with(&self, value: &[u8], flags: u64) -> Result<()> {
        self.keyless(|kind| is_list(kind) || kind == MapKind::BloomFilter)?;
        self.check_value(value)?;
        let result = match &self.0 {
            MapHandle::Kernel(map) => map.update(&[], value, flags),
            MapHandle::Vm(map) => map.update(&[], value, flags),
        };
        result.map_err(|errno| self.explain(Operation::Push, &[], errno))
    }

    /// The kernel would take an empty key for any key; so the kind decides.
    fn keyless(&self, is_right: impl Fn(MapKind) -> bool) -> Result<()> {
        if is_right(self.spec().kind) {
            return Ok(());
        }
        let errno = match self.spec().key_size {
            0 => Errno::ENOTSUPP,
            _ => Errno::EINVAL,
        };
        Err(self.explain(Operation::Push, &[], errno))
    }
}

fn is_list(kind: MapKind) -> bool {
    matches!(kind, MapKind::Queue | MapKind::Stack)
}

/// In place of the oldest.
const EXIST: u64 = 2;
