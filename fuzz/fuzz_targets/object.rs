//! Any bytes: parsing and linking end in `Ok` or `Err`, and what was parsed can be printed and linked twice alike.
//!
//! Seeds are the fixtures: `mkdir -p fuzz/corpus-work && cargo +nightly fuzz run object fuzz/corpus-work testdata/bpf`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use twinbpf_object::{Object, Target, link};

const TARGET: Target = Target::new(4, 4096, 0x0006_1200);

fuzz_target!(|bytes: &[u8]| {
    let Ok(object) = Object::parse(bytes) else {
        return;
    };
    assert!(!object.to_string().is_empty());
    assert_eq!(link(&object, &TARGET), link(&object, &TARGET));
});
