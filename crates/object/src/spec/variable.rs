//! Global variables: names for places in the values of data maps.
//!
//! A compiler puts globals into sections (`.data`, `.rodata`, `.bss` and their kin). Each section becomes an array with one
//! entry, whose value is the section; a program reaches a variable as a place in that value.

use std::sync::Arc;

use super::{MapIndex, Object};
use crate::diagnosis::{Code, Diagnosis, Result};

/// A global variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// The name in the source; statics inside functions are called `function.variable`.
    pub name: String,
    /// The map that holds it.
    pub map: MapIndex,
    /// Where it starts in the map's value, bytes.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
    /// Whether only its own file can name it.
    pub is_static: bool,
}

/// Largest value of an array. KERNEL: 6.18 answers E2BIG for more.
const LARGEST_VALUE: u32 = i32::MAX.cast_unsigned();

impl Object {
    /// The global variable with this name.
    pub fn variable(&self, name: &str) -> Option<&Variable> {
        self.variables.iter().find(|each| each.name == name)
    }

    /// The bytes a global variable starts with, in the object's byte order.
    ///
    /// # Errors
    ///
    /// If there is no such variable, or an edited object has no room for it.
    pub fn variable_bytes(&self, name: &str) -> Result<Vec<u8>> {
        let variable = self.variable_or_error(name)?;
        let map = self.maps.get(variable.map.0);
        let size = usize::try_from(variable.size).unwrap_or(usize::MAX);
        let Some(initial) = map.and_then(|map| map.initial.as_ref()) else {
            check_value_size(variable.size)?;
            return Ok(vec![0; size]);
        };
        let bytes = crate::bytes::slice_at(initial, variable.offset.into(), variable.size.into());
        bytes
            .map(<[u8]>::to_vec)
            .ok_or_else(|| outside(variable).into())
    }

    /// Gives a global variable another value to start with, constants included. `bytes` are in the object's byte order.
    ///
    /// # Errors
    ///
    /// If there is no such variable, or it has another size.
    pub fn set_variable(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let variable = self.variable_or_error(name)?.clone();
        if u32::try_from(bytes.len()) != Ok(variable.size) {
            return Err(variable.wrong_size(bytes.len()).into());
        }
        let map = self.maps.get_mut(variable.map.0);
        let map = map.ok_or_else(|| outside(&variable))?;
        check_value_size(map.value_size)?;
        let mut value = map
            .initial_value()?
            .unwrap_or_else(|| vec![0; usize::try_from(map.value_size).unwrap_or_default()]);
        let start = usize::try_from(variable.offset).unwrap_or(usize::MAX);
        let place = value
            .get_mut(start..)
            .and_then(|rest| rest.get_mut(..bytes.len()));
        place
            .ok_or_else(|| outside(&variable))?
            .copy_from_slice(bytes);
        map.initial = Some(Arc::from(value));
        Ok(())
    }

    fn variable_or_error(&self, name: &str) -> Result<&Variable> {
        self.variable(name).ok_or_else(|| {
            let names = self.variables.iter().map(|each| each.name.as_str());
            no_variable(name, names).into()
        })
    }
}

impl Variable {
    /// What to say to somebody who wants to read or write another number of bytes.
    pub fn wrong_size(&self, given: usize) -> Diagnosis {
        let message = format!(
            "variable `{}` has {} bytes, the value given has {given}",
            self.name, self.size
        );
        Diagnosis::new(Code::VARIABLE_SIZE, message)
    }
}

/// What to say about a name that no variable has, with the names there are.
pub fn no_variable<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Diagnosis {
    let known: Vec<&str> = known.collect();
    let diagnosis = Diagnosis::new(
        Code::VARIABLE_NOT_FOUND,
        format!("there is no variable `{name}`"),
    );
    if known.is_empty() {
        return diagnosis.fact("it has", "no variables");
    }
    diagnosis.fact("variables", known.join(", "))
}

fn check_value_size(size: u32) -> Result<()> {
    if size <= LARGEST_VALUE {
        return Ok(());
    }
    let message = format!("{size} bytes of global variables are more than an engine can hold");
    Err(Diagnosis::new(Code::MAP_NO_MEMORY, message).into())
}

fn outside(variable: &Variable) -> Diagnosis {
    let message = format!(
        "variable `{}` at {:#x} lies outside its map's value",
        variable.name, variable.offset
    );
    Diagnosis::new(Code::VARIABLE_SIZE, message)
}
