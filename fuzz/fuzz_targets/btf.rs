//! Any bytes as types: of a target, of a module on top of itself, of an object, and as `.BTF.ext`. Whatever is read whole is
//! the same when touched one by one, and CO-RE against it ends.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use twinbpf_object::btf::{Btf, Ext, Search, TypeId, TypeKinds};
use twinbpf_object::core::minimal_types;
use twinbpf_object::spec::ByteOrder;
use twinbpf_object::{Object, Target, link_each};

static OBJECT: LazyLock<Object> = LazyLock::new(|| {
    let parsed = Object::parse(include_bytes!("../../testdata/bpf/core.bpf.o"));
    parsed.expect("the fixture is sound")
});

/// Types that are asked for one by one: chains are followed from each, so that many would take long.
const MOST_ASKED: usize = 300;

fuzz_target!(|bytes: &[u8]| {
    for order in [ByteOrder::Little, ByteOrder::Big] {
        extra(bytes, order);
        let Ok(touched) = Btf::open(bytes.to_vec().into(), order) else {
            continue;
        };
        let search = Search::without_flavours(["outer", "a", "inner"]).of(TypeKinds::DATA);
        let hits = touched.search(&search);
        assert!(hits.iter().all(|hit| {
            touched
                .get(hit.id)
                .is_none_or(|found| found.name().is_some())
        }));
        ask(&touched);
        if let Ok(whole) = Btf::parse(bytes, order) {
            assert!(touched == whole);
            assert_eq!(whole.search(&search), hits);
        }
        let touched = Arc::new(touched);
        if let Ok(split) = Btf::open_split(bytes.to_vec().into(), Arc::clone(&touched)) {
            assert!(split.len() >= touched.len());
            ask(&split);
        }
        adapt(touched, order);
    }
});

fn ask(btf: &Btf) {
    for (id, found) in btf.iter().take(MOST_ASKED) {
        found.visit_names(&mut |name| assert!(!btf.text(name).contains('\0')));
        let _either_is_fine = (btf.size_of(id), btf.resolve(id), btf.name_of(id));
    }
    let end = u32::try_from(btf.len()).expect("numbers are u32");
    assert!(btf.get(TypeId(end)).is_none());
}

fn extra(bytes: &[u8], order: ByteOrder) {
    let own = OBJECT.btf.as_deref().expect("the fixture has types");
    if let Ok(ext) = Ext::read(bytes, order) {
        let _either_is_fine = (ext.functions(own), ext.lines(own, |_| Ok(())), ext.relocations(own));
    }
}

fn adapt(btf: Arc<Btf>, order: ByteOrder) {
    if let Ok(part) = minimal_types(std::slice::from_ref(&*OBJECT), &btf)
        && let Ok(bytes) = part.encode(order)
    {
        assert!(Btf::parse(&bytes, order).is_ok(), "what was kept is sound");
    }
    let target = Target {
        btf: Some(btf),
        ..Target::new(4, 4096, 0x0006_1200)
    };
    let _either_is_fine = link_each(&OBJECT, &target);
}
