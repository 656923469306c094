//! The largest BTF there is, the running kernel's: read whole, and sound. Without it the case shows as ignored.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::disallowed_methods,
    reason = "the crate is pure, its tests are not"
)]

use std::process::ExitCode;

use twinbpf_object::btf::{Btf, Composite, Type};
use twinbpf_object::spec::ByteOrder;
use twinbpf_trials::{Case, Need};

fn main() -> ExitCode {
    twinbpf_trials::run(vec![Case::new(
        "the_running_kernels_types_are_read_whole",
        &[Need::KernelTypes],
        the_running_kernels_types_are_read_whole,
    )])
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
