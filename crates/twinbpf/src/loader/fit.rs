//! Whether a map that exists already is what an object defines.

use std::fmt;

use twinbpf_object::abi::MapFlags;
use twinbpf_object::{Code, Diagnosis, MapKind, MapSpec, Result};

/// The first field in which two definitions differ.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference {
    field: &'static str,
    wanted: String,
    has: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, wanted, has } = self;
        write!(f, "{field} is {has}, the object wants {wanted}")
    }
}

/// A map to be reused must be what the object defines; the first field that differs is named.
///
/// # Errors
///
/// The field, with both values.
pub(super) fn agrees(wanted: &MapSpec, has: &MapSpec) -> Result<()> {
    match difference(wanted, has) {
        None => Ok(()),
        Some(difference) => {
            let message = format!("the map to be reused does not fit: {difference}");
            Err(Diagnosis::new(Code::USAGE, message)
                .in_map(&wanted.name)
                .into())
        }
    }
}

/// The first field that differs.
pub(super) fn difference(wanted: &MapSpec, has: &MapSpec) -> Option<Difference> {
    let number = |number: u32| number.to_string();
    let flags = |spec: &MapSpec| format!("{:#x}", settable_flags(spec));
    let fields = [
        ("type", wanted.kind.to_string(), has.kind.to_string()),
        ("key size", number(wanted.key_size), number(has.key_size)),
        (
            "value size",
            number(wanted.value_size),
            number(has.value_size),
        ),
        (
            "max_entries",
            number(wanted.max_entries),
            number(has.max_entries),
        ),
        ("flags", flags(wanted), flags(has)),
        ("map_extra", wanted.extra.to_string(), has.extra.to_string()),
    ];
    fields
        .into_iter()
        .find(|(_, wanted, has)| wanted != has)
        .map(|(field, wanted, has)| Difference { field, wanted, has })
}

/// KERNEL: 6.18 gives maps of devices a flag of its own accord: programs cannot write them.
fn settable_flags(spec: &MapSpec) -> u32 {
    match spec.kind {
        MapKind::DevMap | MapKind::DevMapHash => spec.flags.0 & !MapFlags::RDONLY_PROG.0,
        _ => spec.flags.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_field_that_differs_is_named_with_both_values() {
        let wanted = MapSpec::new("m", MapKind::Hash, 4, 8, 16);
        assert_eq!(
            difference(&wanted, &MapSpec::new("n", MapKind::Hash, 4, 8, 16)),
            None
        );
        let has = MapSpec::new("m", MapKind::Hash, 4, 12, 20);
        let text = difference(&wanted, &has).unwrap().to_string();
        assert_eq!(text, "value size is 12, the object wants 8");
        let mut devices = MapSpec::new("m", MapKind::DevMap, 4, 4, 1);
        let asked = devices.clone();
        devices.flags = MapFlags::RDONLY_PROG;
        assert_eq!(difference(&asked, &devices), None);
    }
}
