//! Global variables: sections of data as maps, variables by name, references to places in values.

use twinbpf_object::abi::MapFlags;
use twinbpf_object::insn::opcode;
use twinbpf_object::spec::{MapOrigin, ReferenceTo};
use twinbpf_object::{Code, HoleKind, Object, link};

use crate::fixtures::{TARGET, fixture};

const MMAPABLE: u32 = MapFlags::MMAPABLE.0;
const RDONLY_PROG: u32 = MapFlags::RDONLY_PROG.0;

fn globals() -> Object {
    Object::parse(fixture!("globals")).unwrap()
}

#[test]
fn each_section_of_data_is_an_array_with_one_entry() {
    for (bytes, constants) in [
        (&fixture!("globals")[..], RDONLY_PROG | MMAPABLE),
        // Without BTF constants cannot be mapped, as with libbpf.
        (&fixture!("globals_plain")[..], RDONLY_PROG),
        (&fixture!("globals_rela")[..], RDONLY_PROG),
    ] {
        let object = Object::parse(bytes).unwrap();
        let maps: Vec<_> = object
            .maps
            .iter()
            .map(|map| (map.name.as_str(), map.value_size, map.flags.0))
            .collect();
        assert_eq!(
            maps,
            [
                (".rodata", 10, constants),
                (".data", 12, MMAPABLE),
                (".data.marks", 4, MMAPABLE),
                (".bss", 40, MMAPABLE),
            ]
        );
        for map in &object.maps {
            assert_eq!((map.key_size, map.max_entries), (4, 1));
            assert_eq!(map.origin, MapOrigin::Data);
            assert_eq!(map.is_frozen, map.name == ".rodata");
        }
        assert_eq!(object.map(".bss").unwrap().initial, None);
        let marks = object.map(".data.marks").unwrap().initial_value().unwrap();
        assert_eq!(marks.unwrap(), 0x600d_u32.to_le_bytes());
    }
}

#[test]
fn variables_are_found_with_the_place_they_have_in_their_map() {
    let object = globals();
    let found: Vec<_> = object
        .variables
        .iter()
        .map(|each| {
            let map = object.maps[each.map.0].name.as_str();
            (each.name.as_str(), map, each.offset, each.size)
        })
        .collect();
    assert_eq!(
        found,
        [
            ("step", ".rodata", 0, 4),
            ("limit", ".rodata", 4, 2),
            ("table", ".rodata", 6, 4),
            ("total", ".data", 0, 8),
            ("balance", ".data", 8, 4),
            ("mark", ".data.marks", 0, 4),
            ("count.calls", ".bss", 0, 8),
            ("long_frames", ".bss", 8, 4),
            ("seen", ".bss", 16, 8),
            ("slots", ".bss", 24, 16),
        ]
    );
    let statics: Vec<&str> = object
        .variables
        .iter()
        .filter(|each| each.is_static)
        .map(|each| each.name.as_str())
        .collect();
    assert_eq!(statics, ["table", "balance", "count.calls", "long_frames"]);
    assert_eq!(
        object.variable_bytes("total").unwrap(),
        5_000_000_000_u64.to_le_bytes()
    );
    assert_eq!(
        object.variable_bytes("balance").unwrap(),
        (-3_i32).to_le_bytes()
    );
    assert_eq!(object.variable_bytes("slots").unwrap(), [0; 16]);
}

#[test]
fn a_variable_that_was_set_starts_with_that_value_and_leaves_its_neighbours_alone() {
    let mut object = globals();
    object.set_variable("limit", &7_u16.to_le_bytes()).unwrap();
    object.set_variable("seen", &9_u64.to_le_bytes()).unwrap();
    assert_eq!(object.variable_bytes("step").unwrap(), 1_u32.to_le_bytes());
    assert_eq!(object.variable_bytes("limit").unwrap(), 7_u16.to_le_bytes());
    assert_eq!(object.variable_bytes("table").unwrap(), [11, 22, 33, 44]);
    let bss = object.map(".bss").unwrap().initial.as_ref().unwrap();
    assert_eq!((bss.len(), bss[16], &bss[24..]), (40, 9, &[0; 16][..]));
}

#[test]
fn a_wrong_name_or_size_is_refused_and_changes_nothing() {
    let mut object = globals();
    let error = object.set_variable("stepp", &[0; 4]).unwrap_err();
    assert_eq!(error.diagnosis().code, Code::VARIABLE_NOT_FOUND);
    assert!(
        error.diagnosis().facts[0]
            .value
            .starts_with("step, limit, table")
    );
    let error = object.set_variable("step", &[0; 8]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "variable `step` has 4 bytes, the value given has 8"
    );
    object.map_mut(".data").unwrap().value_size = 4;
    let error = object.set_variable("balance", &[0; 4]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "map `.data`: its first value has 12 bytes and its values have 4"
    );
    assert_eq!(
        object.variable_bytes("step").unwrap(),
        globals().variable_bytes("step").unwrap()
    );
}

#[test]
fn references_mean_a_place_in_a_value_with_and_without_addends() {
    let references = |bytes: &[u8]| -> Vec<(String, u32)> {
        let object = Object::parse(bytes).unwrap();
        let functions = object.functions.iter();
        functions
            .flat_map(|function| &function.references)
            .map(|reference| match &reference.to {
                ReferenceTo::MapValue { map, offset } => (object.maps[map.0].name.clone(), *offset),
                other => panic!("{other:?}"),
            })
            .collect()
    };
    let found = references(fixture!("globals"));
    for place in [(".bss", 8), (".bss", 24), (".rodata", 6), (".data", 8)] {
        let place = (place.0.to_owned(), place.1);
        assert!(found.contains(&place), "{place:?} is not among {found:?}");
    }
    assert_eq!(references(fixture!("globals_rela")), found);
    assert_eq!(references(fixture!("globals_plain")), found);
}

#[test]
fn a_linked_program_has_the_offset_in_the_second_slot() {
    let linked = link(&globals(), &TARGET).unwrap();
    assert_eq!(linked.variables.len(), 10);
    let pick = &linked.programs[1];
    let [hole] = &pick.holes[..] else {
        panic!("{:?}", pick.holes)
    };
    let HoleKind::MapValue { map, offset } = hole.kind else {
        panic!("{hole:?}")
    };
    assert_eq!((linked.maps[map.0].name.as_str(), offset), (".rodata", 6));
    let at = hole.at.get();
    assert_eq!(pick.insns[at].src, opcode::PSEUDO_MAP_VALUE);
    assert_eq!(pick.insns[at + 1].imm, 6);
}

#[test]
fn strings_have_a_section_and_so_a_map_of_their_own() {
    let object = Object::parse(fixture!("globals_print")).unwrap();
    let [map] = &object.maps[..] else {
        panic!("{:?}", object.maps)
    };
    let initial = map.initial.as_deref().unwrap();
    assert_eq!(initial, b"len %u of socket\n\0");
    assert_eq!(
        object.variable_bytes("print.format").unwrap(),
        b"len %u of socket\n\0"
    );
}
