//! CO-RE against types of modules, and against the part of a target's types that is enough.

use std::sync::Arc;

use crate::btf_builder::BtfBuilder;
use crate::fixtures::fixture;
use twinbpf_object::btf::{Btf, RelocationKind, Type};
use twinbpf_object::core::minimal_types;
use twinbpf_object::spec::ByteOrder::Little;
use twinbpf_object::target::ModuleTypes;
use twinbpf_object::{Insn, Linked, Object, Target, link};

fn types_of(bytes: &[u8]) -> Arc<Btf> {
    Object::parse(bytes).unwrap().btf.unwrap()
}

fn target(btf: Arc<Btf>) -> Target {
    Target {
        btf: Some(btf),
        ..Target::new(1, 4096, 0)
    }
}

/// All instructions, but those of programs that ask for the number of a type.
fn insns(object: &Object, linked: &Linked) -> Vec<(String, Vec<Insn>)> {
    let asks_for_number = |name: &str| {
        let mut relocations = object
            .functions
            .iter()
            .filter(|each| each.name == name)
            .flat_map(|each| &each.type_relocations);
        relocations.any(|each| each.kind == RelocationKind::TypeIdTarget)
    };
    let programs = linked.programs.iter();
    programs
        .filter(|program| !asks_for_number(&program.name))
        .map(|program| (program.name.clone(), program.insns.clone()))
        .collect()
}

#[test]
fn a_type_that_the_kernel_lacks_is_looked_for_in_its_modules() {
    let object = Object::parse(fixture!("core")).unwrap();
    let moved = types_of(fixture!("core_target_moved"));
    // A kernel without types has one byte of strings, so the module's start one later.
    let kernel = BtfBuilder::new(Little).build();
    let kernel = Arc::new(Btf::open(kernel.into(), Little).unwrap());
    let mut bytes = moved.as_bytes().to_vec();
    for (at, change) in [(16, 1), (20, -1)] {
        let word: &mut [u8; 4] = bytes[at..].first_chunk_mut().unwrap();
        *word = u32::from_le_bytes(*word)
            .wrapping_add_signed(change)
            .to_le_bytes();
    }
    let module = Btf::open_split(bytes.into(), Arc::clone(&kernel)).unwrap();
    let modules = vec![ModuleTypes {
        name: "moved".to_owned(),
        btf: Arc::new(module),
    }];
    let in_module = Target {
        modules: modules.clone(),
        ..target(kernel)
    };
    let in_kernel = link(&object, &target(moved)).unwrap();
    let found = link(&object, &in_module).unwrap();
    assert_eq!(insns(&object, &found), insns(&object, &in_kernel));

    // What the kernel has is not looked for elsewhere.
    let home = object.btf.clone().unwrap();
    let both = Target {
        modules,
        ..target(Arc::clone(&home))
    };
    let expected = link(&object, &target(home)).unwrap();
    let found = link(&object, &both).unwrap();
    assert_eq!(insns(&object, &found), insns(&object, &expected));
}

#[test]
fn types_for_core_alone_take_the_place_of_the_kernels_and_its_modules() {
    let object = Object::parse(fixture!("core")).unwrap();
    let home = object.btf.clone().unwrap();
    let moved = types_of(fixture!("core_target_moved"));
    let other = Target {
        core_btf: Some(Arc::clone(&moved)),
        ..target(Arc::clone(&home))
    };
    let found = insns(&object, &link(&object, &other).unwrap());
    assert_eq!(
        found,
        insns(&object, &link(&object, &target(moved)).unwrap())
    );
    assert_ne!(
        found,
        insns(&object, &link(&object, &target(home)).unwrap())
    );
}

#[test]
fn functions_are_those_of_the_kernel_also_if_core_has_types_of_its_own() {
    let object = Object::parse(fixture!("kfuncs")).unwrap();
    let kernel = crate::externs::kernel_like("kfuncs");
    let empty = Arc::new(Btf::open(BtfBuilder::new(Little).build().into(), Little).unwrap());
    let other = Target {
        core_btf: Some(empty),
        ..target(kernel.clone())
    };
    let holes = |target: &Target| {
        let linked = link(&object, target).unwrap();
        let programs = linked.programs.into_iter();
        programs.map(|program| program.holes).collect::<Vec<_>>()
    };
    let found = holes(&other);
    assert!(found.iter().any(|holes| !holes.is_empty()));
    assert_eq!(found, holes(&target(kernel)));
}

#[test]
fn the_part_that_is_enough_gives_the_same_instructions() {
    let object = Object::parse(fixture!("core")).unwrap();
    let sources = [
        types_of(fixture!("core")),
        types_of(fixture!("core_target_moved")),
    ];
    for whole in sources {
        let builder = minimal_types(std::slice::from_ref(&object), &whole).unwrap();
        let bytes = builder.encode(Little).unwrap();
        assert!(
            bytes.len() < whole.as_bytes().len(),
            "{} of {} bytes",
            bytes.len(),
            whole.as_bytes().len()
        );
        let part = Arc::new(Btf::parse(&bytes, Little).unwrap());
        let expected = link(&object, &target(whole)).unwrap();
        let found = link(&object, &target(part)).unwrap();
        assert_eq!(insns(&object, &found), insns(&object, &expected));
    }
}

#[test]
fn members_that_nobody_asks_for_are_left_out() {
    let mut object = Object::parse(fixture!("core")).unwrap();
    let whole = types_of(fixture!("core_target_moved"));
    for function in &mut object.functions {
        if function.name != "offset_of_moved" {
            function.type_relocations.clear();
        }
    }
    let part = minimal_types(&[object], &whole).unwrap();
    let part = Btf::parse(&part.encode(Little).unwrap(), Little).unwrap();
    let outers: Vec<_> = part.named("outer").collect();
    let [id] = outers[..] else {
        panic!("one struct `outer`, not {outers:?}");
    };
    let Some(Type::Struct(outer)) = part.get(id) else {
        panic!("a struct");
    };
    let members: Vec<_> = outer
        .members
        .iter()
        .map(|each| part.text(each.name))
        .collect();
    assert_eq!(members, ["moved"]);
    assert_eq!(part.named("shape").count(), 0);
}
