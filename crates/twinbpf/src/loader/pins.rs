//! Pins: maps that an object shares with the loads before and after it.
//!
//! | the object says | where its map is |
//! |---|---|
//! | `LIBBPF_PIN_BY_NAME`, iproute2's `PIN_OBJECT_NS` | `ROOT/name` |
//! | iproute2's `PIN_GLOBAL_NS` | `ROOT/globals/name` |
//! | another number | nowhere: what it means only the object's own loader knows |
//!
//! What is pinned there already is used if it is what the object defines. What is new is pinned once everything is loaded, so
//! that nothing stays behind of a load that failed.

use std::fs;
use std::path::{Path, PathBuf};

use twinbpf_object::spec::Pinning;
use twinbpf_object::{Code, Diagnosis, Error, Linked, MapSpec, Result};

use crate::engine::Engine;
use crate::raw_map::RawMap;

/// A map and the name it gets in a bpffs.
pub(super) type Pin = (PathBuf, RawMap);

/// The maps that are pinned already, by their names in the object. `wanted` says, by map, whether it is needed.
pub(super) fn open<'a>(
    engine: &Engine,
    root: &Path,
    linked: &'a Linked,
    wanted: &[bool],
) -> Result<Vec<(&'a str, RawMap)>> {
    let mut opened = Vec::new();
    for (spec, is_wanted) in linked.maps.iter().zip(wanted) {
        let Some(path) = place(root, spec).filter(|_| *is_wanted) else {
            continue;
        };
        let in_map = |error: Error| error.map(|diagnosis| diagnosis.in_map(&spec.name));
        let Some(map) = engine.open_pinned_map(&path).map_err(in_map)? else {
            continue;
        };
        if let Some(difference) = super::fit::difference(spec, map.spec()) {
            return Err(differs(&path, spec, &difference));
        }
        opened.push((spec.name.as_str(), map));
    }
    Ok(opened)
}

/// Pins maps, all or none.
pub(super) fn create(pins: &[Pin]) -> Result<()> {
    for (done, (path, map)) in pins.iter().enumerate() {
        let Err(error) = map.pin(path) else {
            continue;
        };
        for (path, _) in &pins[..done] {
            // The pin is ours, made a moment ago; whoever removed it meanwhile did what we wanted.
            let _ = fs::remove_file(path);
        }
        return Err(error);
    }
    Ok(())
}

/// Where a map is pinned, if it is to be.
pub(super) fn place(root: &Path, spec: &MapSpec) -> Option<PathBuf> {
    // Names in a bpffs have no dots, which are reserved, and no slashes, which would be folders.
    let name = spec.name.replace(['.', '/'], "_");
    match spec.pinning {
        Pinning::ByName | Pinning::ObjectScope => Some(root.join(name)),
        Pinning::GlobalScope => Some(root.join("globals").join(name)),
        Pinning::None | Pinning::Custom(_) => None,
    }
}

fn differs(path: &Path, spec: &MapSpec, difference: &super::fit::Difference) -> Error {
    let message = format!(
        "what is pinned at {} does not fit: {difference}",
        path.display()
    );
    Diagnosis::new(Code::PIN_DIFFERS, message)
        .in_map(&spec.name)
        .help(format!(
            "if nobody needs it any more, remove it: rm {}",
            path.display()
        ))
        .into()
}

#[cfg(test)]
mod tests {
    use twinbpf_object::MapKind;

    use super::*;

    #[test]
    fn the_scope_decides_the_folder_and_dots_are_not_in_names() {
        let path = |pinning| {
            let mut spec = MapSpec::new("a.b/c", MapKind::Array, 4, 4, 1);
            spec.pinning = pinning;
            place(Path::new("/sys/fs/bpf/x"), &spec)
        };
        let named = Some(PathBuf::from("/sys/fs/bpf/x/a_b_c"));
        assert_eq!(path(Pinning::ByName), named);
        assert_eq!(path(Pinning::ObjectScope), named);
        let shared = Some(PathBuf::from("/sys/fs/bpf/x/globals/a_b_c"));
        assert_eq!(path(Pinning::GlobalScope), shared);
        assert_eq!(path(Pinning::Custom(16)), None);
        assert_eq!(path(Pinning::None), None);
    }
}
