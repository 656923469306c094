//! The request structs against the running kernel's own types.

use twinbpf_kernel::{LAYOUTS, LINK_LAYOUTS, Layout};
use twinbpf_object::btf::{Btf, Composite, Type};
use twinbpf_object::spec::ByteOrder;
use twinbpf_shm::KernelTypes;
use twinbpf_trials::{Case, Need};

/// The cases of this file.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "layouts::offsets_agree_with_the_running_kernel",
            // Older kernels lack the fields at the ends of requests.
            &[Need::KernelTypes, Need::Linux618],
            offsets_agree_with_the_running_kernel,
        ),
        Case::new(
            "layouts::the_kernels_types_are_those_that_can_be_read",
            &[Need::KernelTypes],
            the_kernels_types_are_those_that_can_be_read,
        ),
    ]
}

fn the_kernels_types_are_those_that_can_be_read() {
    let types = KernelTypes::open("vmlinux").unwrap();
    let read = std::fs::read("/sys/kernel/btf/vmlinux").unwrap();
    assert!(types.as_ref() == read, "{} bytes", read.len());
}

fn offsets_agree_with_the_running_kernel() {
    let bytes = std::fs::read("/sys/kernel/btf/vmlinux").unwrap();
    let order = if cfg!(target_endian = "big") {
        ByteOrder::Big
    } else {
        ByteOrder::Little
    };
    let btf = Btf::parse(&bytes, order).unwrap();
    assert!(LAYOUTS.len() >= 6);
    for layout in LAYOUTS.iter().chain(LINK_LAYOUTS) {
        let kernel = kernel_struct(&btf, layout);
        for (name, offset) in layout.fields {
            let member = kernel
                .members
                .iter()
                .find(|member| btf.text(member.name) == *name);
            let offset_bits = member.map(|member| usize::try_from(member.offset_bits).unwrap());
            assert_eq!(offset_bits, Some(offset * 8), "{layout:?}: {name}");
        }
    }
}

/// The kernel's struct with the layout's name and first members.
fn kernel_struct<'a>(btf: &'a Btf, layout: &Layout) -> &'a Composite {
    let mut structs = btf.iter().filter_map(|(_, found)| match found {
        Type::Struct(whole) => Some(whole),
        _ => None,
    });
    let starts_alike = |whole: &&Composite| {
        let members: Vec<_> = whole
            .members
            .iter()
            .map(|member| btf.text(member.name))
            .collect();
        btf.text(whole.name) == layout.name && members.starts_with(layout.first_members)
    };
    let found = structs.find(starts_alike);
    assert!(found.is_some(), "the kernel has no struct for {layout:?}");
    found.unwrap()
}
