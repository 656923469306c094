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
