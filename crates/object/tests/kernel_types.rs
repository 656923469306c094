//! The largest BTF there is, the running kernel's: read whole, and sound. Without it the case shows as ignored.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::disallowed_methods,
    reason = "the crate is pure, its tests are not"
)]

use std::process::ExitCode;
use std::sync::Arc;

use twinbpf_object::btf::{Btf, Composite, Type, TypeId};
use twinbpf_object::core::minimal_types;
use twinbpf_object::spec::ByteOrder;
use twinbpf_object::{Object, Target, link};
use twinbpf_trials::{Case, Need};

fn main() -> ExitCode {
    twinbpf_trials::run(vec![
        Case::new(
            "the_running_kernels_types_are_read_whole",
            &[Need::KernelTypes],
            the_running_kernels_types_are_read_whole,
        ),
        Case::new(
            "programs_are_adapted_to_the_running_kernel",
            &[Need::KernelTypes],
            programs_are_adapted_to_the_running_kernel,
        ),
    ])
}

/// Type and field names change only slowly; every expectation here is looked up in the same types, in another way.
fn programs_are_adapted_to_the_running_kernel() {
    let bytes = std::fs::read("/sys/kernel/btf/vmlinux").unwrap();
    let btf = Arc::new(Btf::open(bytes.into(), ByteOrder::HOST).unwrap());
    let file = include_bytes!("../../../testdata/bpf/core_kernel.bpf.o");
    let target = Target {
        btf: Some(Arc::clone(&btf)),
        ..Target::new(1, 4096, 0)
    };
    let linked = link(&Object::parse(file).unwrap(), &target).unwrap();
    let answer = |name: &str| {
        let program = linked.programs.iter().find(|each| each.name == name);
        u64::from(program.unwrap().insns[0].imm.cast_unsigned())
    };
    let task = composite(&btf, "task_struct");
    for (name, field) in [("pid", "pid"), ("parent", "real_parent")] {
        let member = task
            .members
            .iter()
            .find(|each| btf.text(each.name) == field);
        assert_eq!(
            answer(name),
            u64::from(member.unwrap().offset_bits) / 8,
            "{name}"
        );
    }
    assert_eq!(answer("task_size"), u64::from(task.size));
    assert_eq!(
        btf.name_of(TypeId(u32::try_from(answer("task_id")).unwrap())),
        "task_struct"
    );
    for (name, expected) in [
        ("comm_size", 16),
        ("imagined", 0),
        ("exe_file", 0),
        ("head_size", 8),
        ("iowait_right", 63),
        ("pid_signed", 1),
        ("list_matches", 1),
        ("list_wrong", 0),
        ("hash_value", 1),
        ("none_such", 0),
        ("sid_value", 3),
    ] {
        assert_eq!(answer(name), expected, "{name}");
    }
    // One of the two names a kernel has: `state` until 5.13, `__state` since.
    assert_eq!(answer("state") + answer("underscored"), 1);
    let object = Object::parse(file).unwrap();
    let part = minimal_types(&[object], &btf).unwrap();
    let part = part.encode(ByteOrder::HOST).unwrap();
    assert!(part.len() < 10_000, "{} bytes are enough", part.len());
    let target = Target {
        btf: Some(Arc::new(Btf::parse(&part, ByteOrder::HOST).unwrap())),
        ..target
    };
    let from_part = link(&Object::parse(file).unwrap(), &target).unwrap();
    for (one, other) in linked.programs.iter().zip(&from_part.programs) {
        // The number of a type is another one in other types.
        assert!(
            one.insns == other.insns || one.name == "task_id",
            "{}",
            one.name
        );
    }
    let missing = linked
        .programs
        .iter()
        .filter(|each| !each.unavailable.is_empty());
    let missing: Vec<_> = missing.map(|each| each.name.as_str()).collect();
    assert_eq!(missing, ["reads_imagined"]);
}

fn composite<'a>(btf: &'a Btf, name: &'a str) -> &'a Composite {
    let found = btf.named(name).find_map(|id| match btf.get(id) {
        Some(Type::Struct(whole)) => Some(whole),
        _ => None,
    });
    found.unwrap()
}

fn the_running_kernels_types_are_read_whole() {
    let bytes = std::fs::read("/sys/kernel/btf/vmlinux").unwrap();
    let order = if cfg!(target_endian = "little") {
        ByteOrder::Little
    } else {
        ByteOrder::Big
    };
    let btf = Btf::parse(&bytes, order).unwrap();
    assert!(btf.len() > 10_000, "{} types", btf.len());
    let touched = Btf::open(bytes.clone().into(), order).unwrap();
    assert!(touched == btf, "touched one by one they are the same");

    let composites: Vec<&Composite> = btf
        .iter()
        .filter_map(|(_, found)| match found {
            Type::Struct(whole) | Type::Union(whole) => Some(whole),
            _ => None,
        })
        .collect();
    for whole in &composites {
        for member in &whole.members {
            let bits = match member.bitfield {
                Some(width) => u64::from(width.0),
                None => btf.size_of(member.target).unwrap() * 8,
            };
            let end = u64::from(member.offset_bits) + bits;
            assert!(
                end <= u64::from(whole.size) * 8,
                "{}.{} ends at bit {end} of {} bytes",
                btf.text(whole.name),
                btf.text(member.name),
                whole.size
            );
        }
    }

    // The layout of a context is fixed for good: programs are compiled against it.
    let context = composites
        .iter()
        .find(|whole| btf.text(whole.name) == "__sk_buff")
        .unwrap();
    let offsets: Vec<_> = context
        .members
        .iter()
        .take(4)
        .map(|member| (btf.text(member.name), member.offset_bits / 8))
        .collect();
    assert_eq!(
        offsets,
        [
            ("len", 0),
            ("pkt_type", 4),
            ("mark", 8),
            ("queue_mapping", 12)
        ]
    );
}
