//! An object's types as the kernel takes them: complete, and without what an older kernel does not know.

use twinbpf_object::Object;
use twinbpf_object::btf::{Btf, DataSection, Linkage, Type};
use twinbpf_object::spec::{ByteOrder, MapTypes};

use crate::fixtures::fixture;

fn typed() -> Object {
    Object::parse(fixture!("typed")).unwrap()
}

fn uploaded(object: &Object, version: u32) -> Btf {
    let upload = object.upload.as_ref().unwrap();
    Btf::parse(&upload.bytes_for(version), ByteOrder::HOST).unwrap()
}

const CURRENT: u32 = 6 << 16 | 18 << 8;

fn section<'a>(btf: &'a Btf, name: &str) -> Option<&'a DataSection> {
    btf.iter().find_map(|(_, found)| match found {
        Type::DataSection(section) if btf.text(section.name) == name => Some(section),
        _ => None,
    })
}

#[test]
fn sections_get_their_size_and_variables_their_place_in_ascending_order() {
    let object = typed();
    let btf = uploaded(&object, CURRENT);
    for (name, size) in [(".data", 16), (".bss", 4), (".maps", 32), ("license", 4)] {
        let section = section(&btf, name).unwrap();
        assert_eq!(section.size, size, "{name}");
        let mut end = 0;
        for variable in &section.variables {
            assert!(variable.offset >= end && variable.size > 0, "{name}");
            end = variable.offset + variable.size;
        }
        assert!(end <= size, "{name}");
    }
    for name in ["first", "second", "third"] {
        let variable = object.variable(name).unwrap();
        let section = section(&btf, ".data").unwrap();
        let placed = section
            .variables
            .iter()
            .find(|placed| btf.name_of(placed.variable) == name);
        assert_eq!(placed.map(|it| it.offset), Some(variable.offset), "{name}");
    }
}

#[test]
fn declarations_of_the_kernels_names_become_definitions_without_a_section() {
    let btf = uploaded(&typed(), CURRENT);
    assert!(section(&btf, ".ksyms").is_none());
    let id = btf.named("bpf_task_from_pid").next().unwrap();
    let Some(Type::Function(function)) = btf.get(id) else {
        panic!("no function");
    };
    assert_eq!(function.linkage, Linkage::Global);
    let Some(Type::FunctionPrototype(prototype)) = btf.get(function.prototype) else {
        panic!("no prototype");
    };
    let name = btf.text(prototype.parameters[0].name);
    assert_eq!(name, "bpf_task_from_pid");
}

#[test]
fn maps_know_the_types_of_their_keys_and_values() {
    let object = typed();
    let btf = object.btf.as_ref().unwrap();
    let types = object.map("locked").unwrap().types;
    assert_eq!(btf.name_of(types.key), "__u32");
    assert_eq!(btf.name_of(types.value), "counter");
    let data = object.map(".data").unwrap().types;
    assert_eq!(btf.name_of(data.value), ".data");
    let plain = Object::parse(fixture!("globals_plain")).unwrap();
    assert_eq!(plain.map(".data").unwrap().types, MapTypes::default());
    assert_eq!(plain.upload, None);
}

#[test]
fn every_older_kernel_gets_only_kinds_it_knows_under_the_same_numbers() {
    let object = typed();
    let whole = uploaded(&object, CURRENT);
    for (minor, major) in [(18, 4), (2, 5), (4, 5), (10, 5), (15, 5), (1, 6), (9, 6)] {
        let version = major << 16 | minor << 8;
        let btf = uploaded(&object, version);
        assert_eq!(btf.len(), whole.len());
        for (id, found) in btf.iter() {
            let since = match found {
                Type::Function(function) if function.linkage == Linkage::Global => (5, 6),
                Type::Function(_) | Type::FunctionPrototype(_) => (5, 0),
                Type::Variable(_) | Type::DataSection(_) => (5, 2),
                _ => (0, 0),
            };
            assert!(
                (major, minor) >= since,
                "{id} {found:?} for {major}.{minor}"
            );
            if found.kind_word() == whole.get(id).unwrap().kind_word() {
                assert_eq!(btf.name_of(id), whole.name_of(id));
            }
        }
    }
}

#[test]
fn older_kernels_get_neither_signed_enums_nor_sections_without_variables() {
    let moved = Object::parse(fixture!("core_target_moved")).unwrap();
    let signed = |btf: &Btf| {
        let is_signed = |found: &Type| matches!(found, Type::Enumeration(it) if it.is_signed);
        btf.iter().filter(|(_, found)| is_signed(found)).count()
    };
    assert!(signed(&uploaded(&moved, CURRENT)) > 0);
    assert_eq!(signed(&uploaded(&moved, 5 << 16 | 15 << 8)), 0);

    let functions = Object::parse(fixture!("functions")).unwrap();
    let empty = |btf: &Btf| section(btf, ".rodata").map(|section| section.variables.len());
    assert_eq!(empty(&uploaded(&functions, CURRENT)), Some(0));
    assert_eq!(empty(&uploaded(&functions, 5 << 16 | 10 << 8)), None);
}
