//! BTF: every kind in both byte orders, sizes, and every kind of damage.

use crate::btf_builder::{
    BtfBuilder, CONST, DECL_TAG, ENUM, ENUM64, FLAG, FLOAT, FORWARD, POINTER, PROTOTYPE, STRUCT,
    TYPE_TAG, TYPEDEF,
};
use crate::fixtures::fixture;
use object::{Object as _, ObjectSection as _};
use twinbpf_object::btf::{Bitfield, Btf, Linkage, Type, TypeId};
use twinbpf_object::spec::ByteOrder::{Big, Little};

/// The bytes of `.BTF` in an object.
fn section(object: &[u8]) -> Vec<u8> {
    let file = object::File::parse(object).unwrap();
    file.section_by_name(".BTF")
        .unwrap()
        .data()
        .unwrap()
        .to_vec()
}

/// The types with this name.
fn find<'btf>(btf: &'btf Btf, name: &'btf str) -> Vec<(TypeId, &'btf Type)> {
    btf.named(name)
        .map(|id| (id, btf.get(id).unwrap()))
        .collect()
}

/// Asks everything there is to ask.
fn exercise(btf: &Btf) {
    for (id, found) in btf.iter() {
        found.visit_names(&mut |name| drop(btf.text(name).to_owned()));
        found.visit_links(&mut |target| assert!(btf.get(target).is_some()));
        let _either_is_fine = (btf.size_of(id), btf.resolve(id));
    }
}

#[test]
fn both_byte_orders_hold_the_same_types() {
    for (little, big) in [
        (&fixture!("attributes")[..], &fixture!("attributes_be")[..]),
        (&fixture!("map_in_map")[..], &fixture!("map_in_map_be")[..]),
    ] {
        let little = Btf::parse(&section(little), Little).unwrap();
        let big = Btf::parse(&section(big), Big).unwrap();
        assert_eq!(little, big);
        assert!(little.len() > 50);
    }
}

#[test]
fn a_compilers_types_are_read_as_declared() {
    let btf = Btf::parse(&section(fixture!("attributes")), Little).unwrap();
    let [(flow, Type::Struct(whole))] = find(&btf, "flow")[..] else {
        panic!("one struct `flow`");
    };
    let members: Vec<_> = whole
        .members
        .iter()
        .map(|member| {
            (
                btf.text(member.name),
                member.offset_bits,
                btf.size_of(member.target).unwrap(),
            )
        })
        .collect();
    assert_eq!(members, [("from", 0, 8), ("ports", 64, 8)]);
    assert_eq!(btf.size_of(flow).unwrap(), 16);

    let [(sample, Type::Typedef { .. })] = find(&btf, "sample")[..] else {
        panic!("one typedef `sample`");
    };
    assert_eq!(btf.size_of(sample).unwrap(), 24);
    assert!(
        matches!(btf.resolve(sample).unwrap(), (_, Type::Struct(whole)) if whole.members.len() == 3)
    );

    let [(_, Type::Function(function))] = find(&btf, "attributes")[..] else {
        panic!("one function `attributes`");
    };
    assert_eq!(function.linkage, Linkage::Global);
    let Some(Type::FunctionPrototype(prototype)) = btf.get(function.prototype) else {
        panic!("a function has a prototype");
    };
    assert_eq!(btf.name_of(prototype.result), "int");
    assert_eq!(btf.text(prototype.parameters[0].name), "skb");
}

#[test]
fn every_rarer_kind_is_read_in_both_byte_orders() {
    for order in [Little, Big] {
        let mut builder = BtfBuilder::new(order);
        let int = builder.int(4);
        let names = [builder.name("a"), builder.name("b"), builder.name("c")];
        let bits = builder.raw(
            "bits",
            STRUCT << 24 | FLAG | 2,
            4,
            &[names[0], int, 3 << 24, names[1], int, 5 << 24 | 3],
        );
        let signed = builder.raw("signed", ENUM << 24 | FLAG | 1, 4, &[names[2], u32::MAX]);
        let unsigned = builder.raw("unsigned", ENUM << 24 | 1, 4, &[names[2], u32::MAX]);
        let wide = builder.raw("wide", ENUM64 << 24 | 1, 8, &[names[2], 7, 1]);
        let union_ahead = builder.raw("ahead", FORWARD << 24 | FLAG, 0, &[]);
        let float = builder.plain(FLOAT, "double", 8);
        let tag = builder.plain(TYPE_TAG, "user", int);
        let on_member = builder.raw("remark", DECL_TAG << 24, bits, &[1]);
        let on_whole = builder.raw("remark", DECL_TAG << 24 | FLAG, bits, &[u32::MAX]);
        let btf = builder.parse().unwrap();
        let get = |id| btf.get(TypeId(id)).unwrap();

        let Type::Struct(whole) = get(bits) else {
            panic!("a struct")
        };
        let fields: Vec<_> = whole
            .members
            .iter()
            .map(|member| (member.offset_bits, member.bitfield))
            .collect();
        assert_eq!(fields, [(0, Some(Bitfield(3))), (3, Some(Bitfield(5)))]);
        for (id, value) in [
            (signed, u64::MAX),
            (unsigned, u64::from(u32::MAX)),
            (wide, 1 << 32 | 7),
        ] {
            assert!(
                matches!(get(id), Type::Enumeration(found) if found.enumerators[0].value == value)
            );
        }
        assert!(matches!(
            get(union_ahead),
            Type::Forward { is_union: true, .. }
        ));
        assert_eq!(btf.size_of(TypeId(float)).unwrap(), 8);
        assert_eq!(btf.size_of(TypeId(tag)).unwrap(), 4);
        assert!(
            matches!(get(on_member), Type::DeclTag { component: Some(1), tag } if !tag.is_attribute)
        );
        assert!(
            matches!(get(on_whole), Type::DeclTag { component: None, tag } if tag.is_attribute)
        );
    }
}

#[test]
fn sizes_follow_names_and_multiply_through_arrays() {
    let mut builder = BtfBuilder::new(Little);
    let int = builder.int(4);
    let row = builder.array(int, 3);
    let named = builder.plain(TYPEDEF, "row", row);
    let table = builder.array(named, 5);
    let fixed = builder.plain(CONST, "", table);
    let pointer = builder.plain(POINTER, "", 0);
    let empty = builder.array(fixed, 0);
    let btf = builder.parse().unwrap();
    assert_eq!(btf.size_of(TypeId(fixed)).unwrap(), 60);
    assert_eq!(btf.size_of(TypeId(pointer)).unwrap(), 8);
    assert_eq!(btf.size_of(TypeId(empty)).unwrap(), 0);
    assert_eq!(btf.resolve(TypeId(fixed)).unwrap().0, TypeId(table));
}

#[test]
fn what_has_no_size_is_an_error_that_names_it() {
    let mut builder = BtfBuilder::new(Little);
    // [1] and [2] name each other; [3] is an array of itself.
    builder.plain(TYPEDEF, "a", 2);
    builder.plain(TYPEDEF, "b", 1);
    builder.raw("", 3 << 24, 0, &[3, 3, 2]);
    builder.plain(FORWARD, "later", 0);
    builder.plain(PROTOTYPE, "", 0);
    let huge = u32::MAX;
    let int = builder.int(16);
    let one = builder.array(int, huge);
    let two = builder.array(one, huge);
    let btf = builder.parse().unwrap();
    let message = |id| btf.size_of(TypeId(id)).unwrap_err().to_string();
    assert_eq!(message(0), "void [0] has no size");
    assert_eq!(message(1), "typedef `a` [1] contains itself");
    assert_eq!(message(3), "array [3] contains itself");
    assert_eq!(message(4), "forward declaration `later` [4] has no size");
    assert_eq!(message(5), "function prototype [5] has no size");
    assert_eq!(
        message(two),
        format!("array [{two}] is larger than 64 bits can say")
    );
    assert_eq!(
        message(99),
        format!("there is no type [99], the last is [{two}]")
    );
    let error = btf.resolve(TypeId(2)).unwrap_err();
    assert_eq!(error.to_string(), "typedef `b` [2] is defined by itself");
}

/// Offset and message of a refusal.
fn refusal(bytes: &[u8]) -> (u64, String) {
    let error = Btf::parse(bytes, Little).unwrap_err();
    let diagnosis = error.diagnosis();
    assert_eq!(diagnosis.code.as_str(), "O013");
    (diagnosis.place.offset.unwrap(), diagnosis.message.clone())
}

#[test]
fn damaged_types_are_refused_with_their_offset() {
    let with = |info: u32, size: u32, rest: &[u32]| {
        let mut builder = BtfBuilder::new(Little);
        builder.int(4);
        builder.raw("", info, size, rest);
        builder.build()
    };
    // The header has 24 bytes and the integer before 16.
    let odd = 24 + 16;
    assert_eq!(
        refusal(&with(30 << 24, 0, &[])),
        (odd, "type [2] is of kind 30, which is not known".to_owned())
    );
    assert_eq!(
        refusal(&with(2 << 24 | 3, 1, &[])),
        (odd, "type [2] has 3 entries, but PTR has none".to_owned())
    );
    assert_eq!(
        refusal(&with(2 << 24 | FLAG, 1, &[])),
        (
            odd,
            "type [2] has the kind flag, but PTR has none".to_owned()
        )
    );
    assert_eq!(
        refusal(&with(STRUCT << 24 | 9, 1, &[1, 2])),
        (
            odd,
            "type [2] has 9 entries in 108 bytes but 8 are left".to_owned()
        )
    );
    assert_eq!(
        refusal(&with(POINTER << 24, 3, &[])),
        (
            odd,
            "type [2] refers to type [3] but the last is [2]".to_owned()
        )
    );
    assert_eq!(
        refusal(&with(12 << 24 | 3, 0, &[])).1,
        "type [2] has the linkage 3, which is not known"
    );
    assert_eq!(
        refusal(&with(POINTER << 24, 0, &[0])),
        (odd + 16, "the types end within type [3]".to_owned())
    );

    let mut named = BtfBuilder::new(Little);
    named.plain(POINTER, "odd", 0);
    assert_eq!(
        refusal(&named.build()),
        (24, "type [1] has a name, but PTR has none".to_owned())
    );
}

#[test]
fn a_damaged_header_or_string_is_refused_with_its_offset() {
    let mut builder = BtfBuilder::new(Little);
    builder.int(4);
    let good = builder.build();
    assert!(Btf::parse(&good, Little).is_ok());
    assert_eq!(
        Btf::parse(&good, Big).unwrap_err().to_string(),
        "section `.BTF`, offset 0x0: BTF of the other byte order"
    );
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        refusal(&bytes)
    };
    assert_eq!(changed(0, 0).0, 0);
    assert_eq!(
        changed(2, 9),
        (2, "BTF version 9 is not known, only 1".to_owned())
    );
    assert_eq!(
        changed(4, 8),
        (4, "a BTF header has 24 bytes, not 8".to_owned())
    );
    assert_eq!(changed(24, 0xee).0, 24);
    assert_eq!(
        changed(good.len() - 1, b'x').1,
        "BTF strings must start and end with a NUL"
    );
    assert_eq!(changed(good.len() - 2, 0xff).1, "a BTF string is not UTF-8");
}

#[test]
fn every_shorter_section_is_an_error() {
    let bytes = section(fixture!("map_in_map"));
    for length in 0..bytes.len() {
        assert!(
            Btf::parse(&bytes[..length], Little).is_err(),
            "{length} bytes"
        );
    }
}

#[test]
fn no_changed_byte_panics_and_the_same_bytes_give_the_same_types() {
    for (object, order) in [
        (&fixture!("attributes")[..], Little),
        (&fixture!("map_in_map_be")[..], Big),
    ] {
        let mut bytes = section(object);
        let mut counts = [0; 2];
        for position in 0..bytes.len() {
            let original = bytes[position];
            for change in [1, 0x80, 0xff] {
                bytes[position] = original ^ change;
                let result = Btf::parse(&bytes, order);
                assert_eq!(result, Btf::parse(&bytes, order));
                counts[usize::from(result.is_ok())] += 1;
                if let Ok(btf) = result {
                    exercise(&btf);
                }
            }
            bytes[position] = original;
        }
        assert!(counts.iter().all(|count| *count > 100), "{counts:?}");
    }
}

#[test]
fn a_circle_of_many_types_costs_one_pass() {
    let mut builder = BtfBuilder::new(Little);
    let count = 100_000;
    for number in 1..=count {
        builder.plain(TYPEDEF, "", number % count + 1);
    }
    let btf = builder.parse().unwrap();
    assert!(btf.size_of(TypeId(1)).is_err());
    assert!(btf.resolve(TypeId(7)).is_err());
}

/// A header of a later version is longer; what it adds does not move types and strings.
#[test]
fn a_longer_header_is_skipped() {
    let mut builder = BtfBuilder::new(Little);
    builder.int(4);
    let mut bytes = builder.build();
    bytes[4] = 32;
    bytes.splice(24..24, [0; 8]);
    assert_eq!(
        Btf::parse(&bytes, Little).unwrap(),
        builder.parse().unwrap()
    );
}
