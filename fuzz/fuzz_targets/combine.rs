//! Any bytes as one of the objects that are linked into one, and any types written and read again. What linking writes is an
//! object, and linking it again changes nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use twinbpf_object::Object;
use twinbpf_object::btf::{Btf, BtfBuilder};
use twinbpf_object::combine::{Input, combine};
use twinbpf_object::spec::ByteOrder;

const OTHER: &[u8] = include_bytes!("../../testdata/bpf/parts_rest.bpf.o");

fuzz_target!(|bytes: &[u8]| {
    if let Ok(alone) = combine(&[input("alone", bytes)]) {
        let _either_is_fine = Object::parse(&alone.bytes);
        let again = combine(&[input("again", &alone.bytes)]).expect("what was written is sound");
        let third = combine(&[input("third", &again.bytes)]).expect("what was written is sound");
        assert_eq!(again.bytes.len(), third.bytes.len());
    }
    let _either_is_fine = (
        combine(&[input("one", bytes), input("other", OTHER)]),
        combine(&[input("other", OTHER), input("one", bytes)]),
        combine(&[input("one", bytes), input("the same", bytes)]),
    );
    for order in [ByteOrder::Little, ByteOrder::Big] {
        round_trip(bytes, order);
    }
});

fn input<'data>(name: &'data str, bytes: &'data [u8]) -> Input<'data> {
    Input { name, bytes }
}

/// Types that can be read can be written, and are the same when read again.
fn round_trip(bytes: &[u8], order: ByteOrder) {
    let Ok(btf) = Btf::parse(bytes, order) else {
        return;
    };
    let Ok(written) = BtfBuilder::copy_of(&btf).encode(order) else {
        return;
    };
    let again = Btf::parse(&written, order).expect("what was written is sound");
    assert_eq!(btf.len(), again.len());
    for ((id, before), (_, after)) in btf.iter().zip(again.iter()) {
        assert_eq!(before.kind_word(), after.kind_word());
        assert_eq!(btf.name_of(id), again.name_of(id));
    }
}
