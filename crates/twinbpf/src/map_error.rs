//! What a map operation's error number means for this map, in a sentence.
//!
//! `bpf(2)` answers a full hash table with "argument list too long". The number alone misleads; number, operation and
//! definition together say what happened.

use twinbpf_object::abi::MapFlags;
use twinbpf_object::{Code, Diagnosis, Errno, Error, ErrorKind, MapKind, MapSpec};

use crate::plain_value::PlainValue;

/// What was asked of a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Lookup,
    Update,
    /// A map or program into the map that holds such.
    Put,
    Remove,
    /// Copying out and removing in one step.
    Take,
    Walk,
    /// Adding a value to a map without keys.
    Push,
    /// Taking a value out of a map without keys, or looking at it.
    Pop,
}

impl Operation {
    fn text(self) -> &'static str {
        match self {
            Self::Lookup => "looking up",
            Self::Update => "storing",
            Self::Put => "putting something under",
            Self::Remove => "removing",
            Self::Take => "taking out",
            Self::Walk => "walking over the keys after",
            Self::Push => "adding",
            Self::Pop => "taking",
        }
    }
}

/// A diagnosis for the error number that `operation` on `key` answered.
pub(crate) fn explain(
    spec: &MapSpec,
    operation: Operation,
    key: &[u8],
    (errno, is_frozen): (Errno, bool),
) -> Error {
    let shown = PlainValue::from(key);
    let diagnosis = match (operation, errno) {
        (Operation::Update | Operation::Put, Errno::E2BIG) if is_indexed(spec.kind) => {
            Diagnosis::new(
                Code::MAP_OPERATION,
                format!(
                    "index {shown} is out of range, the last one is {}",
                    last_index(spec)
                ),
            )
        }
        (Operation::Update | Operation::Push, Errno::E2BIG | Errno::ENOSPC) => full(spec),
        (Operation::Put, Errno::EINVAL) => unlike(spec, &shown),
        (Operation::Update, Errno::EEXIST) => exists(spec, &shown),
        (Operation::Update | Operation::Remove, Errno::ENOENT) => Diagnosis::new(
            Code::MAP_KEY_NOT_FOUND,
            format!("key {shown} is not in the map"),
        ),
        (Operation::Remove, Errno::EINVAL) if is_indexed(spec.kind) => Diagnosis::new(
            Code::MAP_OPERATION,
            format!("entries of a map of type {} cannot be removed", spec.kind),
        )
        .help("store zeros instead"),
        (_, Errno::EPERM) => no_access(spec, (operation, &shown), is_frozen),
        // KERNEL: 5.10 has this for queues and stacks only.
        (Operation::Take, Errno::ENOTSUPP) if is_hash(spec.kind) => Diagnosis::new(
            Code::MAP_OPERATION,
            format!(
                "maps of type {} have this operation since Linux 5.14: taking out a key",
                spec.kind
            ),
        )
        .kind(ErrorKind::Unsupported)
        .help("look the key up, then remove it"),
        (_, Errno::ENOTSUPP | Errno::EOPNOTSUPP) => Diagnosis::new(
            Code::MAP_OPERATION,
            format!(
                "maps of type {} do not have this operation: {}",
                spec.kind,
                what(operation, "a key")
            ),
        )
        .kind(ErrorKind::Unsupported),
        (Operation::Push | Operation::Pop, Errno::EINVAL) if spec.key_size != 0 => Diagnosis::new(
            Code::MAP_OPERATION,
            format!(
                "a map of type {} has keys: values are not added or taken without one",
                spec.kind
            ),
        )
        .kind(ErrorKind::Unsupported),
        (_, Errno::ENOMEM) => Diagnosis::new(Code::MAP_OPERATION, "no memory for another element")
            .kind(ErrorKind::Limit),
        _ => Diagnosis::new(
            Code::MAP_OPERATION,
            format!("{} was refused", what(operation, &format!("key {shown}"))),
        ),
    };
    named(spec, diagnosis).errno(errno).into()
}

/// The operation with its object: a key, or a value where there are no keys.
fn what(operation: Operation, key: &str) -> String {
    match operation {
        Operation::Push | Operation::Pop => format!("{} a value", operation.text()),
        _ => format!("{} {key}", operation.text()),
    }
}

/// KERNEL: 6.18 answers EINVAL to a map that differs from the template, and to a program of another type than the first.
fn unlike(spec: &MapSpec, key: &PlainValue) -> Diagnosis {
    let (what, rule) = match spec.kind {
        MapKind::ProgArray => (
            "program",
            "all programs of a prog array have one type, the first one's, and attach alike",
        ),
        _ => (
            "map",
            "maps inside have the template's type, sizes and flags, and mostly its max_entries",
        ),
    };
    let message = format!("the {what} for key {key} is not like the others in this map");
    Diagnosis::new(Code::MAP_OPERATION, message).fact("rule", rule)
}

/// A diagnosis for a key or value of the wrong length.
pub(crate) fn wrong_length(spec: &MapSpec, what: &str, has: usize, given: usize) -> Error {
    let message = format!("the map's {what} has {has} bytes, the one given has {given}");
    named(spec, Diagnosis::new(Code::MAP_TYPE_SIZE, message)).into()
}

/// A diagnosis for a map that changes faster than it can be walked over.
pub(crate) fn restless(spec: &MapSpec) -> Error {
    let message = "keys vanish faster than they can be walked over";
    named(
        spec,
        Diagnosis::new(Code::MAP_OPERATION, message).kind(ErrorKind::Limit),
    )
    .into()
}

/// Names the map, if it has a name.
pub(crate) fn named(spec: &MapSpec, diagnosis: Diagnosis) -> Diagnosis {
    if spec.name.is_empty() {
        diagnosis
    } else {
        diagnosis.in_map(&spec.name)
    }
}

/// Whether keys are indexes, all present from the start.
pub(crate) fn is_indexed(kind: MapKind) -> bool {
    use MapKind::{Array, ArrayOfMaps, CgroupArray, PerCpuArray, PerfEventArray, ProgArray};
    matches!(
        kind,
        Array | PerCpuArray | ProgArray | PerfEventArray | CgroupArray | ArrayOfMaps
    )
}

fn is_hash(kind: MapKind) -> bool {
    matches!(
        kind,
        MapKind::Hash | MapKind::PerCpuHash | MapKind::LruHash | MapKind::LruPerCpuHash
    )
}

fn last_index(spec: &MapSpec) -> u32 {
    spec.max_entries.saturating_sub(1)
}

fn full(spec: &MapSpec) -> Diagnosis {
    Diagnosis::new(
        Code::MAP_FULL,
        format!("the map is full: all {} entries are used", spec.max_entries),
    )
    .help("remove entries, raise max_entries, or use a map of type lru_hash, which makes room by itself")
}

fn exists(spec: &MapSpec, key: &PlainValue) -> Diagnosis {
    let diagnosis = Diagnosis::new(
        Code::MAP_KEY_EXISTS,
        format!("key {key} is already in the map"),
    );
    if is_indexed(spec.kind) {
        diagnosis
            .help("every index of an array is present from the start; store without that condition")
    } else {
        diagnosis
    }
}

fn no_access(
    spec: &MapSpec,
    (operation, key): (Operation, &PlainValue),
    is_frozen: bool,
) -> Diagnosis {
    let diagnosis = Diagnosis::new(
        Code::MAP_OPERATION,
        format!(
            "{} is not permitted",
            what(operation, &format!("key {key}"))
        ),
    )
    .kind(ErrorKind::Permission);
    let flag = [
        (
            MapFlags::RDONLY,
            "BPF_F_RDONLY: user space may only read it",
        ),
        (
            MapFlags::WRONLY,
            "BPF_F_WRONLY: user space may only write it",
        ),
    ]
    .into_iter()
    .find(|(flag, _)| spec.flags.contains(*flag));
    match flag {
        Some((_, meaning)) => diagnosis.fact("created with", meaning),
        None if spec.is_frozen => diagnosis
            .fact("frozen", "when the object was loaded")
            .help("set constants before loading: `Object::set_variable`"),
        None if is_frozen => diagnosis.fact(
            "frozen",
            "since somebody froze it: only programs may write it",
        ),
        None => diagnosis,
    }
}
