//! The built objects of `testdata/bpf`: the same source through different compilers and conventions means the same.

use twinbpf_object::spec::{ByteOrder, DeclaredValue, Function, MapOrigin, Pinning, SlotContent};
use twinbpf_object::{MapIndex, Object, ProgramKind, Target, link};

pub(crate) const TARGET: Target = Target::new(2, 4096, 0);

/// Includes a built object; a macro because the path must be known when compiling.
macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../../../testdata/bpf/", $name, ".bpf.o"))
    };
}

pub(crate) use fixture;

/// Functions without what only BTF tells.
fn without_information(mut functions: Vec<Function>) -> Vec<Function> {
    for function in &mut functions {
        function.lines = std::sync::Arc::default();
        function.type_id = None;
    }
    functions
}

fn parse(bytes: &[u8]) -> Object {
    Object::parse(bytes).unwrap()
}

#[test]
fn every_legacy_form_of_sockex1_is_the_same_map_and_the_same_program() {
    let reference = parse(fixture!("sockex1_legacy20"));
    let map = reference.map("my_map").unwrap();
    assert_eq!((map.key_size, map.value_size, map.max_entries), (4, 8, 256));
    assert_eq!(reference.license.as_deref(), Some("GPL"));
    let linked = link(&reference, &TARGET).unwrap();
    for (bytes, size) in [
        (&fixture!("sockex1_legacy20_2016")[..], 20),
        (&fixture!("sockex1_legacy20_rela")[..], 20),
        (&fixture!("sockex1_legacy28")[..], 28),
    ] {
        let mut object = parse(bytes);
        assert!(
            matches!(object.maps[0].origin, MapOrigin::Legacy { size: found, .. } if found == size)
        );
        // Where it stands is all that may differ: these definitions ask for the same map.
        object.maps[0].origin = reference.maps[0].origin.clone();
        assert_eq!(object.maps, reference.maps);
        assert_eq!(object.functions[0].linkage, reference.functions[0].linkage);
        assert_eq!(link(&object, &TARGET).unwrap().programs, linked.programs);
    }
}

#[test]
fn the_form_of_iproute2_says_where_to_pin() {
    let object = parse(fixture!("sockex1_iproute2"));
    assert_eq!(object.maps[0].pinning, Pinning::GlobalScope);
    assert!(matches!(
        object.maps[0].origin,
        MapOrigin::Legacy { size: 36, .. }
    ));
    assert_eq!(
        object.functions,
        parse(fixture!("sockex1_legacy20")).functions
    );
}

#[test]
fn the_other_byte_order_says_the_same() {
    let little = parse(fixture!("sockex1_legacy20"));
    let big = parse(fixture!("sockex1_legacy20_be"));
    assert_eq!(big.byte_order, ByteOrder::Big);
    assert_eq!(big.maps, little.maps);
    assert_eq!(big.functions.len(), little.functions.len());
    assert_eq!(big.functions[0].references, little.functions[0].references);
}

#[test]
fn several_programs_of_a_section_are_told_apart_without_types_and_sizes() {
    let typed = parse(fixture!("several"));
    let bare = parse(fixture!("several_2016"));
    let names: Vec<_> = bare
        .programs
        .iter()
        .map(|program| (program.name.as_str(), program.section.as_str()))
        .collect();
    assert_eq!(
        names,
        [
            ("first", "socket1"),
            ("second", "socket1"),
            ("third", "socket1"),
            ("fourth", "socket2"),
        ]
    );
    assert_eq!(
        without_information(bare.functions),
        without_information(typed.functions)
    );
    // By place in the file, not by name.
    let maps: Vec<_> = bare.maps.iter().map(|map| map.name.as_str()).collect();
    assert_eq!(maps, ["zebra", "ant"]);
}

#[test]
fn calls_link_alike_with_and_without_addends() {
    let rel = link(&parse(fixture!("calls_v3")), &TARGET).unwrap();
    let mut rela = link(&parse(fixture!("calls_rela")), &TARGET).unwrap();
    // One of them has no BTF, so it does not know its lines.
    for (program, other) in rela.programs.iter_mut().zip(&rel.programs) {
        assert!(program.lines.count() == 0 && other.lines.count() > 0);
        program.lines = other.lines.clone();
        for (function, other) in program.functions.iter_mut().zip(&other.functions) {
            assert!(function.type_id.is_none() && other.type_id.is_some());
            function.type_id = other.type_id;
        }
    }
    assert!(rela.upload.is_none() && rel.upload.is_some());
    rela.upload = rel.upload.clone();
    assert_eq!(rel, rela);
    for program in &rel.programs {
        assert_eq!(program.kind, Some(ProgramKind::SocketFilter));
        assert!(program.functions.len() > 1, "{}", program.name);
        assert!(program.holes.is_empty());
    }
    let fold = &rel.programs[1];
    let names: Vec<_> = fold
        .functions
        .iter()
        .map(|function| function.name.as_str())
        .collect();
    assert_eq!(names, ["fold", "fold_five", "times", "plus"]);
}

#[test]
fn maps_by_btf_are_read_in_both_byte_orders() {
    for bytes in [
        &fixture!("sockex1_btf")[..],
        &fixture!("sockex1_btf_be")[..],
    ] {
        let object = parse(bytes);
        let map = object.map("my_map").unwrap();
        assert_eq!((map.key_size, map.value_size, map.max_entries), (4, 8, 256));
        assert_eq!(map.pinning, Pinning::None);
        assert!(matches!(map.origin, MapOrigin::Btf { offset: 0 }));
        assert_eq!(object.functions[0].references.len(), 1);
    }
}

#[test]
fn what_is_missing_or_misspelt_stays_visible() {
    assert_eq!(parse(fixture!("no_license")).license, None);
    let misspelt = parse(fixture!("unknown_section"));
    assert_eq!(misspelt.programs[0].kind, None);
    assert_eq!(
        misspelt.warnings,
        ["section `sokcet` names no program type; did you mean `socket`?"]
    );
    let error = Object::parse(fixture!("legacy_tail")).unwrap_err();
    assert_eq!(error.diagnosis().code.as_str(), "O011");
    assert_eq!(error.diagnosis().place.offset, Some(0x14));
}

#[test]
fn every_prefix_of_a_real_object_is_an_error() {
    let bytes = fixture!("sockex1_btf");
    for length in 0..bytes.len() {
        assert!(Object::parse(&bytes[..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn no_changed_byte_of_a_real_object_panics() {
    for bytes in [&fixture!("map_in_map")[..], &fixture!("calls_v3")[..]] {
        let mut bytes = bytes.to_vec();
        let mut refused = 0;
        for position in 0..bytes.len() {
            let original = bytes[position];
            bytes[position] = original.wrapping_add(3);
            let result = Object::parse(&bytes).and_then(|object| link(&object, &TARGET));
            refused += usize::from(result.is_err());
            bytes[position] = original;
        }
        assert!(refused > 0);
    }
}

#[test]
fn slots_hold_what_the_definition_says_in_both_byte_orders() {
    for bytes in [&fixture!("map_in_map")[..], fixture!("map_in_map_be")] {
        let object = parse(bytes);
        assert_eq!(object.warnings, [""; 0]);
        let values = |map: &str| object.map(map).unwrap().values.clone();
        let inner = object.maps.iter().position(|map| map.name == "inner");
        let inner = SlotContent::Map(MapIndex(inner.unwrap()));
        let expected = DeclaredValue {
            slot: 1,
            holds: inner,
        };
        assert_eq!(values("outer_array"), [expected]);
        assert_eq!(values("outer_hash"), []);
        let leaf = SlotContent::Program("leaf".to_owned());
        let expected = DeclaredValue {
            slot: 1,
            holds: leaf,
        };
        assert_eq!(values("jumps"), [expected]);
    }
}
