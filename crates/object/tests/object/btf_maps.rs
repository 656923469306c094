//! Map definitions by BTF: what each member means, and what is refused.

use crate::btf_builder::{BtfBuilder, CONST, ENUM, FORWARD, POINTER, PROTOTYPE, TYPEDEF};
use crate::fixtures::fixture;
use crate::support::{ElfBuilder, PROGBITS, exit, mov};
use twinbpf_object::abi::MapFlags;
use twinbpf_object::spec::{ByteOrder, InnerMap, MapOrigin, Pinning};
use twinbpf_object::{Error, MapKind, MapSpec, Object};

fn parse(bytes: &[u8]) -> Object {
    Object::parse(bytes).unwrap()
}

/// Kind, key size, value size, entries.
fn shape(map: &MapSpec) -> (MapKind, u32, u32, u32) {
    (map.kind, map.key_size, map.value_size, map.max_entries)
}

/// An object whose only map `m` is the struct that `define` adds.
fn object_with(define: impl FnOnce(&mut BtfBuilder) -> u32) -> Result<Object, Error> {
    let mut btf = BtfBuilder::new(ByteOrder::Little);
    let target = define(&mut btf);
    btf.variable_in(".maps", "m", target);
    object_of(&btf, "m")
}

fn object_of(btf: &BtfBuilder, symbol: &str) -> Result<Object, Error> {
    let mut elf = ElfBuilder::new(ByteOrder::Little);
    elf.code("socket", &[mov(0), exit()]);
    let maps = elf.section(".maps", PROGBITS, 0, &[0; 64]);
    elf.section(".BTF", PROGBITS, 0, &btf.build());
    elf.bare(symbol, maps, 0);
    elf.parse()
}

/// The message for a definition with these members; each is made by a function, after `type` (an array).
fn refusal(name: &str, member: impl FnOnce(&mut BtfBuilder) -> u32) -> String {
    let error = object_with(|btf| {
        let kind = btf.number(2);
        let member = member(btf);
        btf.structure(&[("type", kind), (name, member)])
    })
    .unwrap_err();
    assert_eq!(error.diagnosis().place.map.as_deref(), Some("m"));
    error.diagnosis().message.clone()
}

#[test]
fn every_attribute_is_read_in_both_byte_orders() {
    for bytes in [&fixture!("attributes")[..], &fixture!("attributes_be")[..]] {
        let object = parse(bytes);
        let names: Vec<_> = object.maps.iter().map(|map| map.name.as_str()).collect();
        assert_eq!(names, ["every", "bloom", "ring", "sized", "pages"]);
        let [every, bloom, ring, sized, pages] = &object.maps[..] else {
            panic!("five maps");
        };
        assert_eq!(shape(every), (MapKind::Hash, 16, 24, 100));
        assert_eq!(every.flags, MapFlags(5));
        assert_eq!(every.numa_node, Some(0));
        assert_eq!(every.pinning, Pinning::ByName);
        assert_eq!(every.origin, MapOrigin::Btf { offset: 0 });
        assert_eq!(shape(bloom), (MapKind::BloomFilter, 0, 4, 8));
        assert_eq!((bloom.extra, bloom.numa_node), (3, None));
        assert_eq!(bloom.origin, MapOrigin::Btf { offset: 56 });
        assert_eq!(shape(ring), (MapKind::RingBuf, 0, 0, 4096));
        assert_eq!(shape(sized), (MapKind::Array, 4, 12, 2));
        assert_eq!(shape(pages), (MapKind::Arena, 0, 0, 100));
        assert_eq!(pages.extra, 1 << 44);
    }
}

#[test]
fn maps_in_maps_and_prog_arrays_say_what_is_inside() {
    for bytes in [&fixture!("map_in_map")[..], &fixture!("map_in_map_be")[..]] {
        let object = parse(bytes);
        let inner = |name: &str| match &object.map(name).unwrap().inner {
            Some(InnerMap::Spec(inner)) => Some((inner.name.as_str(), shape(inner))),
            _ => None,
        };
        assert_eq!(
            shape(object.map("inner").unwrap()),
            (MapKind::Array, 4, 8, 1)
        );
        assert_eq!(
            shape(object.map("outer_array").unwrap()),
            (MapKind::ArrayOfMaps, 4, 4, 2)
        );
        assert_eq!(
            inner("outer_array"),
            Some(("outer_array.inner", (MapKind::Array, 4, 8, 1)))
        );
        assert_eq!(
            shape(object.map("outer_hash").unwrap()),
            (MapKind::HashOfMaps, 4, 4, 3)
        );
        assert_eq!(
            inner("outer_hash"),
            Some(("outer_hash.inner", (MapKind::Hash, 8, 4, 16)))
        );
        assert_eq!(
            shape(object.map("jumps").unwrap()),
            (MapKind::ProgArray, 4, 4, 2)
        );
        assert_eq!(inner("jumps"), None);
    }
}

#[test]
fn errors_name_map_and_member() {
    for (bytes, expected) in [
        (
            &fixture!("conflict")[..],
            "section `.maps`, offset 0x0, map `twice`: `key` says 4 bytes but `key_size` says 8",
        ),
        (
            &fixture!("unknown_field")[..],
            "section `.maps`, offset 0x0, map `odd`: `max_entires` is no attribute of a map",
        ),
        (
            &fixture!("map_array")[..],
            "section `.maps`, offset 0x0, map `many`: several definitions under one name, as an array, are not a map",
        ),
    ] {
        let error = Object::parse(bytes).unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert_eq!(error.diagnosis().code.as_str(), "O010");
        assert!(error.diagnosis().help.len() <= 1);
    }
}

#[test]
fn an_attribute_of_the_wrong_shape_is_refused() {
    assert_eq!(
        refusal("max_entries", |btf| btf.int(4)),
        "`max_entries` is a number: a pointer to an array of that length, or an enum with that one value"
    );
    assert_eq!(
        refusal("key", |btf| btf.int(4)),
        "`key` is a pointer to a type, not a member of kind integer"
    );
    assert_eq!(
        refusal("key", |btf| btf.plain(POINTER, "", 0)),
        "void [0] has no size"
    );
    assert_eq!(
        refusal("value", |btf| {
            let ahead = btf.plain(FORWARD, "ahead", 0);
            btf.plain(POINTER, "", ahead)
        }),
        format!("forward declaration `ahead` [{}] has no size", 4)
    );
    assert_eq!(
        refusal("value", |btf| {
            let int = btf.int(4);
            let big = btf.array(int, 1 << 31);
            btf.plain(POINTER, "", big)
        }),
        "`value` has 8589934592 bytes, more than 32 bits can say"
    );
    assert_eq!(
        refusal("values", |btf| btf.number(3)),
        "`values` is an array without length of pointers to a map's struct or to a function"
    );
    assert_eq!(
        refusal("values", |btf| {
            let prototype = btf.plain(PROTOTYPE, "", 0);
            let pointer = btf.plain(POINTER, "", prototype);
            btf.array(pointer, 0)
        }),
        "`values` describes functions, but a map of type array holds none"
    );
}

#[test]
fn what_stands_inside_is_checked_like_what_stands_outside() {
    let inside = |member: &str| {
        object_with(|btf| {
            let kind = btf.number(12);
            let plain = btf.number(2);
            let inner = btf.structure(&[("type", plain), (member, plain)]);
            let pointer = btf.plain(POINTER, "", inner);
            let values = btf.array(pointer, 0);
            btf.structure(&[("type", kind), ("values", values)])
        })
    };
    assert!(inside("max_entries").is_ok());
    let message = |member| inside(member).unwrap_err().diagnosis().message.clone();
    let prefix = "the definition of its inner maps: ";
    assert_eq!(
        message("pinning"),
        format!("{prefix}`pinning` is not possible inside another map")
    );
    assert_eq!(
        message("values"),
        format!("{prefix}`values` is not possible two levels deep")
    );
    assert_eq!(
        message("colour"),
        format!("{prefix}`colour` is no attribute of a map")
    );
}

#[test]
fn a_definition_needs_a_type_a_symbol_and_room() {
    let message = |result: Result<Object, Error>| result.unwrap_err().diagnosis().message.clone();
    assert_eq!(
        message(object_with(|btf| {
            let number = btf.number(1);
            btf.structure(&[("max_entries", number)])
        })),
        "the definition has no `type`"
    );
    assert_eq!(
        message(object_with(|btf| {
            let number = btf.number(1);
            btf.structure(&[("type", number); 9])
        })),
        "the variable has 64 bytes but its type needs 72"
    );
    assert_eq!(
        message(object_with(|btf| btf.int(4))),
        "a map is defined by a struct, not by the integer [1]"
    );
    let mut btf = BtfBuilder::new(ByteOrder::Little);
    assert_eq!(
        message(object_of(&btf, "m")),
        "BTF does not describe this variable"
    );
    let number = btf.number(1);
    let whole = btf.structure(&[("type", number)]);
    btf.variable_in(".maps", "m", whole);
    btf.variable_in(".maps", "elsewhere", whole);
    let error = object_of(&btf, "m").unwrap_err();
    assert_eq!(
        error.diagnosis().message,
        "BTF describes this map, but no symbol says where it is"
    );
    assert_eq!(error.diagnosis().place.map.as_deref(), Some("elsewhere"));
}

#[test]
fn names_and_qualifiers_around_a_definition_do_not_matter() {
    let object = object_with(|btf| {
        let number = btf.number(1);
        let fixed = btf.plain(CONST, "", number);
        let named = btf.plain(TYPEDEF, "number_of", fixed);
        let small = btf.name("only");
        let entries = btf.raw("", ENUM << 24 | 1, 4, &[small, 77]);
        let whole = btf.structure(&[("type", named), ("max_entries", entries)]);
        let named = btf.plain(TYPEDEF, "definition", whole);
        btf.plain(CONST, "", named)
    })
    .unwrap();
    assert_eq!(shape(&object.maps[0]), (MapKind::Hash, 0, 0, 77));
}

#[test]
fn a_definition_made_of_itself_is_refused() {
    let error = object_with(|btf| {
        // [1] and [2] name each other.
        btf.plain(TYPEDEF, "a", 2);
        btf.plain(TYPEDEF, "b", 1)
    })
    .unwrap_err();
    assert_eq!(error.diagnosis().code.as_str(), "O013");
    assert_eq!(error.diagnosis().place.map.as_deref(), Some("m"));
}

#[test]
fn numbers_of_other_loaders_are_kept() {
    let pinned = object_with(|btf| {
        let (kind, pinning) = (btf.number(1), btf.number(16));
        btf.structure(&[("type", kind), ("pinning", pinning)])
    });
    assert_eq!(pinned.unwrap().maps[0].pinning, Pinning::Custom(16));
}

#[test]
fn record_types_of_rings_and_perf_arrays_are_tolerated_with_a_warning() {
    // Kind, entries; a key and a value of 4 and 8 bytes are declared.
    for (number, kind, size) in [(27, MapKind::RingBuf, 0), (4, MapKind::PerfEventArray, 4)] {
        let object = object_with(|btf| {
            let members = [
                ("type", btf.number(number)),
                ("key_size", btf.number(4)),
                ("value_size", btf.number(8)),
                ("max_entries", btf.number(4096)),
            ];
            btf.structure(&members)
        })
        .unwrap();
        assert_eq!(shape(&object.maps[0]), (kind, size, size, 4096));
        assert_eq!(object.warnings.len(), 1, "{:?}", object.warnings);
        assert!(object.warnings[0].contains("4 and 8 bytes"));
    }
}
