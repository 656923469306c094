//! BTF that is written is the BTF that was meant.

use twinbpf_object::btf::{
    Bitfield, Btf, BtfBuilder, Composite, Enumeration, Enumerator, Member, Name, Type, TypeId,
};
use twinbpf_object::spec::ByteOrder;
use twinbpf_object::{Code, Object};

/// Same numbers, same shapes, same texts.
fn assert_same(left: &Btf, right: &Btf) {
    assert_eq!(left.len(), right.len());
    for ((id, one), (_, other)) in left.iter().zip(right.iter()) {
        let texts = |btf: &Btf, found: &Type| {
            let mut texts = Vec::new();
            found.visit_names(&mut |name| texts.push(btf.text(name).to_owned()));
            texts
        };
        assert_eq!(texts(left, one), texts(right, other), "type {id}");
        let without_names = |found: &Type| {
            let mut found = found.clone();
            found.visit_names_mut(&mut |name| *name = Name::default());
            found
        };
        assert_eq!(without_names(one), without_names(other), "type {id}");
    }
}

/// Objects of today's compiler: each kind of type in one of them.
const OBJECTS: [&[u8]; 4] = [
    include_bytes!("../../../../testdata/bpf/core.bpf.o"),
    include_bytes!("../../../../testdata/bpf/globals.bpf.o"),
    include_bytes!("../../../../testdata/bpf/attributes.bpf.o"),
    include_bytes!("../../../../testdata/bpf/map_in_map.bpf.o"),
];

#[test]
fn what_compilers_wrote_is_the_same_after_a_round_trip_in_both_byte_orders() {
    for bytes in OBJECTS {
        let btf = Object::parse(bytes).unwrap().btf.unwrap();
        let builder = BtfBuilder::copy_of(&btf);
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let bytes = builder.encode(order).unwrap();
            let again = Btf::parse(&bytes, order).unwrap();
            assert_same(&btf, &again);
            assert_eq!(BtfBuilder::copy_of(&again).encode(order).unwrap(), bytes);
        }
    }
}

#[test]
fn texts_are_kept_once_and_end_at_a_nul() {
    let mut builder = BtfBuilder::new();
    let first = builder.name("count");
    assert_eq!(builder.name("count"), first);
    assert_eq!(builder.name("count\0er"), first);
    assert_ne!(builder.name("counter"), first);
    assert_eq!(builder.name(""), Name::default());
    assert_eq!(builder.text(first), "count");
}

#[test]
fn types_can_be_replaced_and_copied_from_elsewhere() {
    let mut source = BtfBuilder::new();
    let number = source.add_integer("int", 4);
    let name = source.name("pair");
    let member = |offset_bits, bitfield| Member {
        name,
        target: number,
        offset_bits,
        bitfield,
    };
    source.add(Type::Struct(Composite {
        name,
        size: 8,
        members: vec![member(0, Some(Bitfield(3))), member(32, None)],
        has_bitfields: true,
    }));
    let bytes = source.encode(ByteOrder::Little).unwrap();
    let source = Btf::parse(&bytes, ByteOrder::Little).unwrap();

    let mut builder = BtfBuilder::new();
    builder.add(Type::Pointer(TypeId::VOID));
    let moved = TypeId(3);
    let copy = builder.copied(&source, source.get(TypeId(2)).unwrap(), &mut |_| moved);
    let pair = builder.add(copy);
    builder.add_integer("int", 4);
    if let Some(Type::Struct(whole)) = builder.get_mut(pair) {
        whole.size = 16;
    }
    let bytes = builder.encode(ByteOrder::Big).unwrap();
    let btf = Btf::parse(&bytes, ByteOrder::Big).unwrap();
    let Some(Type::Struct(whole)) = btf.get(pair) else {
        panic!("the struct is gone");
    };
    assert_eq!(btf.text(whole.name), "pair");
    assert_eq!(whole.size, 16);
    assert_eq!(whole.members[0].bitfield, Some(Bitfield(3)));
    assert_eq!(whole.members[1].offset_bits, 32);
    assert!(whole.members.iter().all(|member| member.target == moved));
}

#[test]
fn numbers_of_64_bits_keep_both_halves() {
    let mut builder = BtfBuilder::new();
    let name = builder.name("LARGE");
    let id = builder.add(Type::Enumeration(Enumeration {
        name,
        size: 8,
        is_signed: false,
        is_wide: true,
        enumerators: vec![Enumerator {
            name,
            value: 0x0123_4567_89ab_cdef,
        }],
    }));
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let btf = Btf::parse(&builder.encode(order).unwrap(), order).unwrap();
        let Some(Type::Enumeration(whole)) = btf.get(id) else {
            panic!("the enumeration is gone");
        };
        assert_eq!(whole.enumerators[0].value, 0x0123_4567_89ab_cdef);
    }
}

#[test]
fn what_cannot_be_written_is_named() {
    let refusal = |whole: Composite| {
        let mut builder = BtfBuilder::new();
        builder.add_integer("int", 4);
        builder.add(Type::Struct(whole));
        let error = builder.encode(ByteOrder::Little).unwrap_err();
        assert_eq!(error.diagnosis().code, Code::BTF_MALFORMED);
        error.diagnosis().message.clone()
    };
    let member = Member {
        name: Name::default(),
        target: TypeId(1),
        offset_bits: 0,
        bitfield: None,
    };
    let whole = Composite {
        name: Name::default(),
        size: 4,
        members: vec![member; 65_536],
        has_bitfields: false,
    };
    assert_eq!(
        refusal(whole.clone()),
        "type [2] cannot be written: it has more than 65,535 entries"
    );
    let far = Member {
        offset_bits: 1 << 24,
        ..member
    };
    let whole = Composite {
        members: vec![far],
        has_bitfields: true,
        ..whole
    };
    assert!(refusal(whole).ends_with("cannot stand beside bit fields"));
}
