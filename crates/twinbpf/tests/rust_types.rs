//! Types printed from an object are keys and values of its typed maps.
//!
//! `generated/flows.rs` is what `twinbpf btf dump testdata/bpf/flows.bpf.o --format rust --maps` prints.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use twinbpf::btf::TypeId;
use twinbpf::btf::print::{RustTraits, rust_types};
use twinbpf::{Engine, Object};

mod types {
    #![allow(
        dead_code,
        non_camel_case_types,
        unreachable_pub,
        reason = "generated, with the names of C"
    )]
    include!("generated/flows.rs");
}

use types::{flow, flow_key, verdict};

fn object() -> Object {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/bpf");
    Object::parse(&std::fs::read(folder.join("flows.bpf.o")).unwrap()).unwrap()
}

#[test]
fn the_generated_file_is_what_the_object_says() {
    let object = object();
    let types = object.maps.iter().map(|map| map.types);
    let mut roots: Vec<TypeId> = types.flat_map(|types| [types.key, types.value]).collect();
    roots.retain(|id| *id != TypeId::VOID);
    let text = rust_types(&object.btf.unwrap(), &roots, RustTraits::Zerocopy).unwrap();
    assert_eq!(text, include_str!("generated/flows.rs"));
}

#[test]
fn generated_types_are_keys_and_values() {
    let loaded = Engine::vm().unwrap().load_object(&object()).unwrap();
    let flows = loaded.map::<flow_key, flow>("flows").unwrap();
    let key = flow_key {
        source: 0x0100_007f,
        port: 443,
        protocol: 6,
    };
    let value = flow {
        packets: 7,
        balance: -2,
        verdict: verdict::REDIRECT,
        device: *b"lo\0\0\0\0\0\0",
    };
    flows.set(&key, &value).unwrap();
    let found = flows.get(&key).unwrap().unwrap();
    assert_eq!(
        (found.packets, found.balance, found.verdict),
        (7, -2, verdict::REDIRECT)
    );
}

/// Types that somebody wrote by hand, each wrong in its own way.
mod wrong {
    use twinbpf::layout;
    use twinbpf::zerocopy::{FromBytes, Immutable, IntoBytes};

    #[derive(FromBytes, IntoBytes, Immutable)]
    #[repr(C)]
    pub(super) struct Swapped {
        packets: u64,
        verdict: u32,
        balance: i32,
        device: [u8; 8],
    }
    layout!(Swapped {
        packets,
        verdict,
        balance,
        device
    });

    #[derive(FromBytes, IntoBytes, Immutable)]
    #[repr(C)]
    pub(super) struct Misnamed {
        packets: u64,
        change: i32,
        verdict: u32,
        device: [u8; 8],
    }
    layout!(Misnamed {
        packets,
        change,
        verdict,
        device
    });

    #[derive(FromBytes, IntoBytes, Immutable)]
    #[repr(C)]
    pub(super) struct Narrow {
        packets: u32,
        unused: u32,
        balance: i32,
        verdict: u32,
        device: [u8; 8],
    }
    layout!(Narrow {
        packets,
        unused,
        balance,
        verdict,
        device
    });
}

twinbpf::layout!(verdict(u32));
twinbpf::layout!(flow_key {
    source,
    port,
    protocol
});
twinbpf::layout!(flow {
    packets,
    balance,
    verdict,
    device
});

#[test]
fn fields_that_lie_elsewhere_are_named_with_both_places() {
    let loaded = Engine::vm().unwrap().load_object(&object()).unwrap();
    loaded.checked_map::<flow_key, flow>("flows").unwrap();
    loaded.checked_map::<[u8; 8], [u8; 24]>("flows").unwrap();
    fn message<V: twinbpf::Layout + twinbpf::MapValue>(loaded: &twinbpf::Loaded) -> String {
        let error = loaded.checked_map::<flow_key, V>("flows").unwrap_err();
        assert_eq!(error.diagnosis().code, twinbpf::Code::MAP_TYPE_SIZE);
        assert_eq!(error.diagnosis().place.map.as_deref(), Some("flows"));
        error.diagnosis().message.clone()
    }
    assert_eq!(
        message::<wrong::Swapped>(&loaded),
        "the map's value: field `Swapped.verdict` is at byte 8, in `struct flow` at byte 12"
    );
    assert_eq!(
        message::<wrong::Misnamed>(&loaded),
        "the map's value: `struct flow` has no member for field `Misnamed.change`, at byte 8"
    );
    assert_eq!(
        message::<wrong::Narrow>(&loaded),
        "the map's value: field `Narrow.packets` has 4 bytes, `unsigned long long` has 8"
    );
    assert_eq!(
        message::<[u64; 3]>(&loaded),
        "the map's value: the type is an array, `struct flow` is of kind struct"
    );
}
