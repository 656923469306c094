//! Types made one are still the types they were, and none is there twice.

use std::collections::HashSet;

use twinbpf_object::Object;
use twinbpf_object::btf::{
    Btf, BtfBuilder, Composite, Integer, IntegerEncoding, Linkage, Member, Name, Type, TypeId,
    Variable,
};
use twinbpf_object::spec::ByteOrder;

/// Whether a type means the same in both, taking a declaration for what it announces.
fn means_the_same(old: &Btf, new: &Btf, start: (TypeId, TypeId)) -> bool {
    let mut seen = HashSet::new();
    let mut open = vec![start];
    while let Some((one, other)) = open.pop() {
        if !seen.insert((one, other)) {
            continue;
        }
        let (left, right) = (old.get(one).unwrap(), new.get(other).unwrap());
        if announces(old, left, new, right) {
            continue;
        }
        if shape(old, left) != shape(new, right) {
            return false;
        }
        let mut links = Vec::new();
        left.visit_links(&mut |id| links.push(id));
        let mut position = 0;
        right.visit_links(&mut |id| {
            open.push((links[position], id));
            position += 1;
        });
    }
    true
}

fn announces(old: &Btf, declaration: &Type, new: &Btf, definition: &Type) -> bool {
    let Type::Forward { name, is_union } = declaration else {
        return false;
    };
    let found = match definition {
        Type::Struct(whole) if !is_union => whole.name,
        Type::Union(whole) if *is_union => whole.name,
        _ => return false,
    };
    old.text(*name) == new.text(found)
}

/// A type without its links, names as texts.
fn shape(btf: &Btf, found: &Type) -> (Type, Vec<String>) {
    let mut texts = Vec::new();
    found.visit_names(&mut |name| texts.push(btf.text(name).to_owned()));
    let mut bare = found.clone();
    bare.visit_links_mut(&mut |id| *id = TypeId::VOID);
    bare.visit_names_mut(&mut |name| *name = Name::default());
    (bare, texts)
}

fn parsed(builder: &BtfBuilder) -> Btf {
    let bytes = builder.encode(ByteOrder::Little).unwrap();
    Btf::parse(&bytes, ByteOrder::Little).unwrap()
}

/// Checks everything that must hold for any input; gives how many types are left.
fn checked(builder: &BtfBuilder) -> usize {
    let old = parsed(builder);
    let mut smaller = builder.clone();
    let numbers = smaller.dedup();
    let new = parsed(&smaller);
    for (id, _) in old.iter() {
        let ids = (id, numbers.of(id));
        assert!(means_the_same(&old, &new, ids), "{ids:?}");
    }
    let mut again = smaller.clone();
    let unchanged = again.dedup();
    assert_eq!(again.len(), smaller.len(), "nothing is left to do");
    assert!(new.iter().all(|(id, _)| unchanged.of(id) == id));
    smaller.len()
}

const OBJECTS: [&[u8]; 4] = [
    include_bytes!("../../../../testdata/bpf/core.bpf.o"),
    include_bytes!("../../../../testdata/bpf/globals.bpf.o"),
    include_bytes!("../../../../testdata/bpf/attributes.bpf.o"),
    include_bytes!("../../../../testdata/bpf/map_in_map.bpf.o"),
];

#[test]
fn the_types_of_an_object_twice_are_its_types_once_and_its_variables_twice() {
    for bytes in OBJECTS {
        let btf = Object::parse(bytes).unwrap().btf.unwrap();
        let mut once = BtfBuilder::copy_of(&btf);
        let variables = |builder: &BtfBuilder| {
            let of_its_own =
                |found: &Type| matches!(found, Type::Variable(_) | Type::DataSection(_));
            builder
                .iter()
                .filter(|(_, found)| of_its_own(found))
                .count()
        };
        let mut twice = once.clone();
        twice.append(&btf);
        let own = variables(&once);
        assert_eq!(checked(&twice), checked(&once) + own);
        once.dedup();
        assert_eq!(variables(&once), own);
    }
}

fn structure(builder: &mut BtfBuilder, name: &str, size: u32, targets: &[TypeId]) -> TypeId {
    let name = builder.name(name);
    let member_name = builder.name("member");
    let members = (0u32..).zip(targets).map(|(position, target)| Member {
        name: member_name,
        target: *target,
        offset_bits: position * 64,
        bitfield: None,
    });
    let members = members.collect();
    builder.add(Type::Struct(Composite {
        name,
        size,
        members,
        has_bitfields: false,
    }))
}

fn announced(builder: &mut BtfBuilder, name: &str) -> TypeId {
    let name = builder.name(name);
    let declaration = builder.add(Type::Forward {
        name,
        is_union: false,
    });
    builder.add(Type::Pointer(declaration))
}

#[test]
fn lists_that_contain_themselves_become_one_and_different_ones_stay() {
    let mut builder = BtfBuilder::new();
    let list = |builder: &mut BtfBuilder, value: TypeId| {
        let pointer = TypeId(builder.next_id().0 + 1);
        let node = structure(builder, "node", 16, &[pointer, value]);
        builder.add(Type::Pointer(node));
    };
    let int = builder.add_integer("int", 4);
    let long = builder.add_integer("long", 8);
    for value in [int, int, long, int] {
        list(&mut builder, value);
    }
    // Void, both numbers, and a struct with a pointer for each kind of list.
    assert_eq!(checked(&builder), 3 + 4);
}

#[test]
fn a_declaration_stands_for_the_struct_that_other_units_see() {
    let mut builder = BtfBuilder::new();
    let int = builder.add_integer("int", 4);
    // One unit sees `inner` and only hears of `other`; the next one the other way round.
    let other = announced(&mut builder, "other");
    let inner = structure(&mut builder, "inner", 8, &[int]);
    let inner_pointer = builder.add(Type::Pointer(inner));
    structure(&mut builder, "outer", 16, &[inner_pointer, other]);
    let inner = announced(&mut builder, "inner");
    let other = structure(&mut builder, "other", 16, &[int, int]);
    let other_pointer = builder.add(Type::Pointer(other));
    structure(&mut builder, "outer", 16, &[inner, other_pointer]);
    // Void, the number, three structs, two pointers.
    assert_eq!(checked(&builder), 7);
}

#[test]
fn a_declaration_of_what_two_units_define_differently_stays() {
    for (first, second) in [(8, 16), (8, 8)] {
        let mut builder = BtfBuilder::new();
        let int = builder.add_integer("int", 4);
        let long = builder.add_integer("long", 8);
        structure(&mut builder, "secret", first, &[int]);
        structure(&mut builder, "secret", second, &[long]);
        announced(&mut builder, "secret");
        announced(&mut builder, "secret");
        // Void, two numbers, two structs, the declaration and its pointer.
        assert_eq!(checked(&builder), 7);
    }
}

#[test]
fn variables_with_one_name_stay_as_many_as_they_are() {
    let mut builder = BtfBuilder::new();
    let target = builder.add_integer("int", 4);
    let name = builder.name("count");
    for _ in 0..2 {
        builder.add(Type::Variable(Variable {
            name,
            target,
            linkage: Linkage::Static,
        }));
    }
    assert_eq!(checked(&builder), 4);
}

/// A small generator: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from(self.0 >> 33).unwrap() % limit
    }
}

/// A graph of few shapes, so that many types are equal, with links anywhere.
fn random_types(random: &mut Random) -> BtfBuilder {
    let mut builder = BtfBuilder::new();
    let count = 2 + random.below(40);
    let names = ["", "a", "b"];
    for _ in 0..count {
        let target = TypeId(random.below(count + 1));
        let name = names[usize::try_from(random.below(3)).unwrap()];
        match random.below(7) {
            0 | 1 => {
                builder.add(Type::Pointer(target));
            }
            2 => {
                builder.add(Type::Const(target));
            }
            3 => {
                let name = builder.name("number");
                let size = 4 << random.below(2);
                builder.add(Type::Integer(Integer {
                    name,
                    size,
                    bits: 32,
                    bit_offset: 0,
                    encoding: IntegerEncoding::Signed,
                }));
            }
            4 => {
                let name = builder.name(if name.is_empty() { "c" } else { name });
                builder.add(Type::Forward {
                    name,
                    is_union: false,
                });
            }
            _ => {
                let other = TypeId(random.below(count + 1));
                structure(&mut builder, name, 16, &[target, other]);
            }
        }
    }
    builder
}

#[test]
fn whatever_the_types_are_they_mean_the_same_and_twice_is_as_once() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..400 {
        let builder = random_types(&mut random);
        let once = checked(&builder);
        let mut twice = builder.clone();
        twice.append(&parsed(&builder));
        assert_eq!(checked(&twice), once);
    }
}
