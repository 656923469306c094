//! A global variable of a loaded object, with its Rust type.

use std::fmt;
use std::marker::PhantomData;

use twinbpf_object::{Code, Diagnosis, Errno, Error, ErrorKind, Result, spec};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::raw_map::{MapHandle, RawMap};

/// A global variable of a loaded object, as programs see it now. Clones are the same variable.
///
/// Reading and writing touch this variable alone, whatever programs do to its neighbours meanwhile; numbers are never torn.
/// Reading, adding and writing back is three steps, though: a program may write in between.
///
/// Constants (`const volatile` in the source) are fixed when the object is loaded: set them before, with
/// [`Object::set_variable`](crate::Object::set_variable).
///
/// ```
/// use twinbpf::zerocopy::IntoBytes;
/// use twinbpf::{Engine, Object};
///
/// let mut object = Object::parse(&std::fs::read("../../testdata/bpf/globals.bpf.o")?)?;
/// object.set_variable("step", 10u32.as_bytes())?;
///
/// let loaded = Engine::vm()?.load_object(&object)?;
/// let seen = loaded.variable::<u64>("seen")?;
/// assert_eq!(seen.get()?, 0);
/// seen.set(&7)?;
/// assert_eq!(seen.get()?, 7);
/// assert_eq!(loaded.variable::<u32>("step")?.get()?, 10);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Variable<T> {
    map: RawMap,
    spec: spec::Variable,
    types: PhantomData<fn() -> T>,
}

impl<T> Variable<T> {
    pub(crate) fn new(spec: &spec::Variable, map: &RawMap) -> Result<Self> {
        if u32::try_from(size_of::<T>()) != Ok(spec.size) {
            let message = format!(
                "variable `{}` has {} bytes, `{}` has {}",
                spec.name,
                spec.size,
                std::any::type_name::<T>(),
                size_of::<T>()
            );
            return Err(Diagnosis::new(Code::VARIABLE_SIZE, message).into());
        }
        Ok(Self {
            map: map.clone(),
            spec: spec.clone(),
            types: PhantomData,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Whether it is fixed, for everybody, since the object was loaded.
    pub fn is_constant(&self) -> bool {
        self.map.spec().is_frozen
    }

    /// Its value now.
    ///
    /// # Errors
    ///
    /// If the engine refuses.
    pub fn get(&self) -> Result<T>
    where
        T: FromBytes,
    {
        let mut bytes = vec![0; size_of::<T>()];
        let offset = self.offset();
        let result = match &self.map.0 {
            MapHandle::Kernel(map) => map.read_part(offset, &mut bytes),
            MapHandle::Vm(map) => map.read_part(offset, &mut bytes),
        };
        result.map_err(|errno| self.refused("reading", errno))?;
        // `bytes` has the size of `T`, so this cannot fail.
        T::read_from_bytes(&bytes).map_err(|_| self.spec.wrong_size(bytes.len()).into())
    }

    /// Gives it another value.
    ///
    /// # Errors
    ///
    /// If it is a constant, or the engine refuses.
    pub fn set(&self, value: &T) -> Result<()>
    where
        T: IntoBytes + Immutable,
    {
        if self.is_constant() {
            return Err(self.constant());
        }
        let (offset, bytes) = (self.offset(), value.as_bytes());
        let result = match &self.map.0 {
            MapHandle::Kernel(map) => map.write_part(offset, bytes),
            MapHandle::Vm(map) => map.write_part(offset, bytes),
        };
        result.map_err(|errno| self.refused("writing", errno))
    }

    fn offset(&self) -> usize {
        crate::raw_map::len(self.spec.offset)
    }

    fn constant(&self) -> Error {
        let message = format!(
            "variable `{}` is a constant: it lies in `{}`, which was frozen when the object was loaded",
            self.spec.name,
            self.map.spec().name
        );
        Diagnosis::new(Code::MAP_OPERATION, message)
            .kind(ErrorKind::Permission)
            .errno(Errno::EPERM)
            .help(
                "set it before loading: `Object::set_variable`, or `twinbpf run --set NAME=VALUE`",
            )
            .into()
    }

    fn refused(&self, doing: &str, errno: Errno) -> Error {
        let message = format!("{doing} variable `{}` was refused", self.spec.name);
        Diagnosis::new(Code::MAP_OPERATION, message)
            .in_map(&self.map.spec().name)
            .errno(errno)
            .into()
    }
}

// Derived, these two would ask the same of `T`, which a handle does not need.
impl<T> Clone for Variable<T> {
    fn clone(&self) -> Self {
        Self {
            map: self.map.clone(),
            spec: self.spec.clone(),
            types: PhantomData,
        }
    }
}

impl<T> fmt::Debug for Variable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Variable").field(&self.spec).finish()
    }
}
