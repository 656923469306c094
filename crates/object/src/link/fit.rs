//! Map sizes that depend on the machine: left open in the object, known from the target.

use crate::abi::MapKind;
use crate::spec::{InnerMap, MapSpec};

use super::Target;

/// The map with its open sizes filled in.
///
/// Two conventions of libbpf: a perf event array without a size gets one slot per CPU, and the bytes of a ring buffer are
/// rounded up to what the kernel takes, a power of two of whole pages. The same for the maps inside a map.
pub(super) fn fit(map: &MapSpec, target: &Target) -> MapSpec {
    let mut map = map.clone();
    if let Some(InnerMap::Spec(inner)) = &mut map.inner {
        **inner = fit(inner, target);
    }
    match map.kind {
        MapKind::PerfEventArray if map.max_entries == 0 => map.max_entries = target.cpu_slots,
        MapKind::RingBuf | MapKind::UserRingBuf if map.max_entries > 0 => {
            let bytes = map.max_entries.max(target.page_size_bytes);
            // Beyond 2 GiB there is no such power; the engine then refuses the size the author wrote.
            map.max_entries = bytes.checked_next_power_of_two().unwrap_or(map.max_entries);
        }
        _ => {}
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Target = Target::new(6, 4096, 0);

    fn entries(kind: MapKind, max_entries: u32) -> u32 {
        fit(&MapSpec::new("m", kind, 4, 4, max_entries), &TARGET).max_entries
    }

    #[test]
    fn only_open_sizes_are_filled_in() {
        assert_eq!(entries(MapKind::PerfEventArray, 0), 6);
        assert_eq!(entries(MapKind::PerfEventArray, 2), 2);
        assert_eq!(entries(MapKind::RingBuf, 1), 4096);
        assert_eq!(entries(MapKind::RingBuf, 4097), 8192);
        assert_eq!(entries(MapKind::RingBuf, u32::MAX), u32::MAX);
        assert_eq!(entries(MapKind::RingBuf, 0), 0);
        assert_eq!(entries(MapKind::Hash, 0), 0);
    }

    #[test]
    fn inner_maps_are_fitted_too() {
        let mut outer = MapSpec::new("outer", MapKind::ArrayOfMaps, 4, 4, 1);
        let inner = MapSpec::new("outer", MapKind::RingBuf, 0, 0, 1000);
        outer.inner = Some(InnerMap::Spec(Box::new(inner)));
        let Some(InnerMap::Spec(inner)) = fit(&outer, &TARGET).inner else {
            panic!("the definition is gone");
        };
        assert_eq!(inner.max_entries, 4096);
    }
}
