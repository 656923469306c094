//! Why the kernel refused to create a map.
//!
//! Since the kernel answers a bare number, the rules of the map's kind are asked afterwards which attribute breaks which of
//! them. What the rules do not know is said to be unknown, with all attributes listed.

use twinbpf_object::abi::BpfRequest;
use twinbpf_object::map_rules::{self, MapRefusal};
use twinbpf_object::{Code, Diagnosis, Errno, Error, ErrorKind, MapKind, MapSpec, Target};

use crate::host;
use crate::privilege::{Privileges, needed_for_map};

/// Turns the kernel's answer into a diagnosis.
pub(crate) fn explain(spec: &MapSpec, errno: Errno) -> Error {
    let target = match host::target() {
        Ok(target) => target,
        Err(error) => return error,
    };
    let refusal = map_rules::check(spec, &target)
        .err()
        .filter(|refusal| refusal.errno == errno);
    let diagnosis = match (errno, refusal) {
        (Errno::EPERM | Errno::EACCES, _) => Privileges::read().explain(
            Diagnosis::new(
                Code::MAP_PERMISSION,
                format!("creating a map of type `{}` is not permitted", spec.kind),
            ),
            &needed_for_map(spec),
        ),
        (Errno::E2BIG | Errno::ENOMEM, refusal) => too_large(spec, errno, refusal, &target),
        (_, Some(refusal)) if refusal.attribute == "map_type" => with_help(
            Diagnosis::new(Code::MAP_UNSUPPORTED, refusal.rule),
            refusal.help,
        ),
        (_, Some(refusal)) => with_help(
            Diagnosis::new(Code::MAP_INVALID, refusal.rule).fact("attribute", refusal.attribute),
            refusal.help,
        ),
        (Errno::EINVAL, None) => no_rule_found(spec),
        (Errno::ENOSYS | Errno::EOPNOTSUPP | Errno::ENOTSUPP, None) => Diagnosis::new(
            Code::MAP_UNSUPPORTED,
            format!(
                "this kernel does not create maps of type `{}` with these attributes",
                spec.kind
            ),
        ),
        _ => Diagnosis::new(
            Code::MAP_CREATE,
            match BpfRequest::MapCreate.meaning_of(errno) {
                Some(meaning) => format!("the kernel refused to create the map: {meaning}"),
                None => "the kernel refused to create the map".to_owned(),
            },
        ),
    };
    let diagnosis = diagnosis.errno(errno);
    match spec.name.as_str() {
        "" => diagnosis.into(),
        name => diagnosis.in_map(name).into(),
    }
}

fn too_large(
    spec: &MapSpec,
    errno: Errno,
    refusal: Option<MapRefusal>,
    target: &Target,
) -> Diagnosis {
    let asked = map_rules::bytes_at_creation(spec, target);
    let diagnosis = match refusal {
        Some(refusal) => with_help(
            Diagnosis::new(Code::MAP_NO_MEMORY, refusal.rule).fact("attribute", refusal.attribute),
            refusal.help,
        ),
        None if errno == Errno::E2BIG && spec.kind == MapKind::CpuMap => Diagnosis::new(
            Code::MAP_NO_MEMORY,
            format!("{} entries are more than this kernel is built to have CPUs", spec.max_entries),
        )
        .fact("attribute", "max_entries")
        .help(format!("this machine can have {} CPUs: that many entries suffice", target.cpu_slots)),
        // KERNEL: 5.10.
        None if errno == Errno::E2BIG && spec.key_size > 512 && !host::is_at_least("5.11") => {
            Diagnosis::new(
                Code::MAP_UNSUPPORTED,
                format!("keys of {} bytes: more than 512 came with Linux 5.11", spec.key_size),
            )
            .fact("attribute", "key_size")
        }
        None => Diagnosis::new(
            Code::MAP_NO_MEMORY,
            format!("the map needs about {} at once, which the kernel could not allocate", in_units(asked)),
        )
        .help("lower max_entries or the value's size; hash maps allocate on demand with BPF_F_NO_PREALLOC"),
    };
    diagnosis.fact(
        "asked for",
        format!(
            "{} entries, keys of {} bytes, values of {} bytes: about {}",
            spec.max_entries,
            spec.key_size,
            spec.value_size,
            in_units(asked)
        ),
    )
}

fn no_rule_found(spec: &MapSpec) -> Diagnosis {
    let mut diagnosis = Diagnosis::new(
        Code::MAP_INVALID,
        "the kernel gave no reason, and none of the known rules is broken",
    )
    .kind(ErrorKind::Rejected)
    .fact(
        "attributes",
        format!(
            "type {} ({}), key_size {}, value_size {}, max_entries {}, map_flags {:#x}, map_extra {:#x}",
            spec.kind.number(),
            spec.kind,
            spec.key_size,
            spec.value_size,
            spec.max_entries,
            spec.flags.0,
            spec.extra
        ),
    )
    .fact("kernel", host::shown_version(host::kernel_version()));
    if let (true, Some(node)) = (
        spec.flags
            .contains(twinbpf_object::abi::MapFlags::NUMA_NODE),
        spec.numa_node,
    ) {
        let online = std::fs::read_to_string("/sys/devices/system/node/online").unwrap_or_default();
        diagnosis = diagnosis
            .fact("numa_node", format!("{node}; online are {}", online.trim()))
            .help("name a memory node that is online");
    }
    diagnosis.help("this kernel may be built without the map type, or be too old for a flag")
}

fn with_help(diagnosis: Diagnosis, help: Option<String>) -> Diagnosis {
    match help {
        Some(help) => diagnosis.help(help),
        None => diagnosis,
    }
}

/// `4.0 TiB`: bytes as a person reads them.
fn in_units(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let mut unit = 0;
    // One decimal in whole numbers: tenths of the unit.
    let mut tenths = u128::from(bytes) * 10 / 1024;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_in_the_unit_a_person_would_choose() {
        assert_eq!(in_units(1000), "1000 bytes");
        assert_eq!(in_units(1536), "1.5 KiB");
        assert_eq!(in_units(4 << 40), "4.0 TiB");
        assert_eq!(in_units(u64::MAX), "15.9 EiB");
    }
}
