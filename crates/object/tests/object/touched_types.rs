//! A target's types: read when touched, equal to what reading them whole gives, and never trusted.

use std::sync::Arc;

use crate::btf_builder::{BtfBuilder, POINTER, STRUCT, TYPEDEF};
use crate::fixtures::fixture;
use twinbpf_object::btf::{Btf, Hit, Search, Type, TypeId, TypeKinds};
use twinbpf_object::spec::ByteOrder::{Big, Little};
use twinbpf_object::{Object, spec::ByteOrder};

fn bytes_of(object: &[u8]) -> Vec<u8> {
    let object = Object::parse(object).unwrap();
    object.btf.unwrap().as_bytes().to_vec()
}

fn open(bytes: &[u8], order: ByteOrder) -> Btf {
    Btf::open(bytes.to_vec().into(), order).unwrap()
}

/// Types enough for several walks at once.
fn many(order: ByteOrder) -> BtfBuilder {
    let mut builder = BtfBuilder::new(order);
    let int = builder.int(4);
    for number in 0..5_000 {
        let name = format!("name_{number}");
        let whole = builder.structure(&[(&name, int), ("other", int)]);
        let alias = builder.plain(TYPEDEF, &format!("alias_{}", number % 1_000), whole);
        builder.plain(POINTER, "", alias);
    }
    builder
}

#[test]
fn touched_types_are_those_that_reading_whole_gives() {
    for order in [Little, Big] {
        let bytes = many(order).build();
        assert_eq!(open(&bytes, order), Btf::parse(&bytes, order).unwrap());
    }
    for (object, order) in [
        (&fixture!("attributes")[..], Little),
        (&fixture!("map_in_map_be")[..], Big),
    ] {
        let bytes = bytes_of(object);
        assert_eq!(open(&bytes, order), Btf::parse(&bytes, order).unwrap());
    }
}

#[test]
fn a_search_finds_every_type_of_a_name_first_or_after_others() {
    let bytes = many(Little).build();
    let whole = Btf::parse(&bytes, Little).unwrap();
    let expected: Vec<TypeId> = (0..5)
        .map(|round| TypeId((round * 1_000 + 7) * 3 + 3))
        .collect();
    let touched = open(&bytes, Little);
    for btf in [&whole, &touched, &touched] {
        assert_eq!(btf.named("alias_7").collect::<Vec<_>>(), expected);
        assert_eq!(btf.named("alias_").count(), 0);
        assert_eq!(btf.named("").count(), 0);
        // Members have names too, which are not those of types.
        assert_eq!(btf.named("name_7").count(), 0);
    }
}

#[test]
fn a_search_tells_kinds_and_flavours_apart() {
    let mut builder = BtfBuilder::new(Little);
    let plain = builder.raw("a", STRUCT << 24, 0, &[]);
    let flavour = builder.raw("a___old", STRUCT << 24, 0, &[]);
    let alias = builder.plain(TYPEDEF, "a", plain);
    builder.raw("ab___c", STRUCT << 24, 0, &[]);
    builder.plain(12, "a", 0);
    let bytes = builder.build();
    for btf in [open(&bytes, Little), builder.parse().unwrap()] {
        let ids = |search: &Search<'_>| -> Vec<u32> {
            btf.search(search).iter().map(|hit| hit.id.0).collect()
        };
        assert_eq!(
            ids(&Search::exact(["a"]).of(TypeKinds::DATA)),
            [plain, alias]
        );
        assert_eq!(
            ids(&Search::without_flavours(["a"]).of(TypeKinds::DATA)),
            [plain, flavour, alias]
        );
        assert_eq!(ids(&Search::exact(["a"]).of(TypeKinds::FUNCTION)), [5]);
        assert_eq!(
            btf.search(&Search::exact(["x", "a___old"])),
            [Hit {
                name: 1,
                id: TypeId(flavour)
            }]
        );
    }
}

#[test]
fn types_of_a_module_continue_those_of_the_kernel() {
    let mut kernel = BtfBuilder::new(Little);
    let int = kernel.int(4);
    let kernel = kernel.build();
    let strings =
        u32::try_from(Btf::parse(&kernel, Little).unwrap().as_bytes().len()).unwrap() - 24 - 16;
    // A struct of the module with a member of a type, and of a name, of the kernel.
    let mut module = BtfBuilder::new(Little);
    let own = module.name("in_module") + strings;
    module.raw("", STRUCT << 24 | 1, 4, &[1, int, 0]);
    module.plain(POINTER, "", 2);
    let mut module = module.build();
    module[24..28].copy_from_slice(&own.to_le_bytes());

    let base = Arc::new(open(&kernel, Little));
    let btf = Btf::open_split(module.into(), Arc::clone(&base)).unwrap();
    assert_eq!(btf.len(), 4);
    assert_eq!(btf.iter().map(|(id, _)| id.0).collect::<Vec<_>>(), [2, 3]);
    let Some(Type::Struct(whole)) = btf.get(TypeId(2)) else {
        panic!("a struct")
    };
    assert_eq!(btf.text(whole.name), "in_module");
    assert_eq!(btf.text(whole.members[0].name), "number");
    assert_eq!(btf.name_of(whole.members[0].target), "number");
    assert_eq!(btf.size_of(TypeId(2)).unwrap(), 4);
    assert_eq!(btf.named("in_module").collect::<Vec<_>>(), [TypeId(2)]);
    assert_eq!(btf.named("number").count(), 0);
    assert!(matches!(btf.get(TypeId(3)), Some(Type::Pointer(TypeId(2)))));
    assert!(btf.get(TypeId(4)).is_none());
    assert!(matches!(btf.get(TypeId(0)), Some(Type::Void)));
}

#[test]
fn what_is_damaged_is_not_there_and_the_rest_is() {
    let mut builder = many(Little);
    let good = open(&builder.build(), Little).len();
    // A kind that nobody knows: no later type can be found.
    builder.raw("", 30 << 24, 0, &[]);
    builder.plain(POINTER, "", 1);
    let btf = open(&builder.build(), Little);
    assert_eq!(btf.len(), good);
    assert_eq!(btf.named("alias_7").count(), 5);

    // An encoding that nobody knows: this one type is missing.
    let mut builder = BtfBuilder::new(Little);
    builder.raw("odd", 1 << 24, 4, &[0xff << 24]);
    builder.plain(POINTER, "", 1);
    let btf = open(&builder.build(), Little);
    assert!(btf.get(TypeId(1)).is_none());
    assert!(matches!(btf.get(TypeId(2)), Some(Type::Pointer(TypeId(1)))));
    let error = btf.size_of(TypeId(1)).unwrap_err();
    assert_eq!(error.to_string(), "there is no type [1], the last is [2]");
}

/// Entries of a long struct that look like types, where a walk may want to begin.
#[test]
fn what_only_looks_like_types_misleads_nobody() {
    let mut builder = BtfBuilder::new(Little);
    let likely: Vec<u32> = (0..30_000).flat_map(|_| [0, POINTER << 24, 0]).collect();
    builder.int(4);
    builder.raw("decoy", STRUCT << 24 | 30_000, 4, &likely);
    builder.plain(TYPEDEF, "after", 1);
    let bytes = builder.build();
    let btf = open(&bytes, Little);
    assert_eq!(btf.named("after").collect::<Vec<_>>(), [TypeId(3)]);
    assert_eq!(btf.len(), 4);
}

#[test]
fn no_changed_byte_of_a_target_panics() {
    for (object, order) in [
        (&fixture!("attributes")[..], Little),
        (&fixture!("map_in_map_be")[..], Big),
    ] {
        let mut bytes = bytes_of(object);
        for position in 0..bytes.len() {
            let original = bytes[position];
            for change in [1, 0x80, 0xff] {
                bytes[position] = original ^ change;
                let Ok(btf) = Btf::open(bytes.clone().into(), order) else {
                    continue;
                };
                for (id, found) in btf.iter() {
                    found.visit_names(&mut |name| drop(btf.text(name).to_owned()));
                    let _either_is_fine = (btf.size_of(id), btf.resolve(id));
                }
                // Whatever can be read whole is the same when touched.
                if let Ok(whole) = Btf::parse(&bytes, order) {
                    assert_eq!(btf, whole);
                }
            }
            bytes[position] = original;
        }
    }
}
