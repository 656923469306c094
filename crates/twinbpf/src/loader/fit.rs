//! Whether a map that exists already is what an object defines.

use twinbpf_object::{Code, Diagnosis, MapSpec, Result};

/// A map to be reused must be what the object defines; the first field that differs is named.
///
/// # Errors
///
/// The field, with both values.
pub(super) fn agrees(wanted: &MapSpec, has: &MapSpec) -> Result<()> {
    match difference(wanted, has) {
        None => Ok(()),
        Some((field, wanted_value, has_value)) => {
            let message = format!(
                "the map to be reused does not fit: {field} is {has_value}, the object wants {wanted_value}"
            );
            Err(Diagnosis::new(Code::USAGE, message)
                .in_map(&wanted.name)
                .into())
        }
    }
}

/// The first field that differs, with what is wanted and what is there.
fn difference(wanted: &MapSpec, has: &MapSpec) -> Option<(&'static str, String, String)> {
    let number = |number: u32| number.to_string();
    let flags = |spec: &MapSpec| format!("{:#x}", spec.flags.0);
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
    ];
    fields.into_iter().find(|(_, wanted, has)| wanted != has)
}
