//! Several objects linked into one: what is found where afterwards, and what is refused.

use std::fs;
use std::path::Path;

use twinbpf_object::btf::{Linkage, Type};
use twinbpf_object::combine::{Bound, Combined, Input, combine};
use twinbpf_object::spec::{ByteOrder, ReferenceTo};
use twinbpf_object::{Code, ErrorKind, Object, Result};

use super::support::{
    ElfBuilder, FUNCTION, GLOBAL, LOCAL, PROGBITS, R_BPF_64_32, R_BPF_64_64, SECTION, SymbolEntry,
    VARIABLE, WEAK, call, exit, mov, wide,
};

#[expect(clippy::disallowed_methods, reason = "tests read fixtures")]
fn fixture_bytes(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/bpf");
    fs::read(folder.join(name)).unwrap()
}

fn fixture(name: &str) -> Object {
    Object::parse(&fixture_bytes(name)).unwrap()
}

fn linked(names: &[&str]) -> Result<Combined> {
    let files: Vec<(&str, Vec<u8>)> = names
        .iter()
        .map(|name| (*name, fixture_bytes(name)))
        .collect();
    let inputs: Vec<Input<'_>> = files
        .iter()
        .map(|(name, bytes)| Input { name, bytes })
        .collect();
    combine(&inputs)
}

fn both() -> (Combined, Object) {
    let combined = linked(&["parts_main.bpf.o", "parts_rest.bpf.o"]).unwrap();
    let object = Object::parse(&combined.bytes).unwrap();
    (combined, object)
}

fn of_bytes(files: &[Vec<u8>]) -> Result<Object> {
    let inputs: Vec<Input<'_>> = ["one", "two", "three"]
        .iter()
        .zip(files)
        .map(|(name, bytes)| Input { name, bytes })
        .collect();
    combine(&inputs).and_then(|combined| Object::parse(&combined.bytes))
}

#[test]
fn what_one_half_declares_is_what_the_other_defines() {
    let (combined, object) = both();
    // The weak function that gave way.
    let left = "section `.text`: the code from 0x0 to 0x10 belongs to no function and is left out";
    assert_eq!(object.warnings, [left]);
    assert_eq!(object.externs, []);
    let mut bound: Vec<&str> = combined.bound.iter().map(|each| &*each.name).collect();
    bound.sort_unstable();
    assert_eq!(bound, ["limit", "note", "offset_of", "seen", "tallies"]);
    let overridden = Bound {
        name: "best_answer".to_owned(),
        in_object: "parts_main.bpf.o".to_owned(),
        to_object: "parts_rest.bpf.o".to_owned(),
    };
    assert_eq!(combined.overridden, [overridden]);
    assert_eq!(combined.open, Vec::<String>::new());
    let maps: Vec<&str> = object.maps.iter().map(|map| &*map.name).collect();
    assert_eq!(maps, ["tallies", ".data", ".rodata", ".bss"]);
    let programs: Vec<&str> = object.programs.iter().map(|each| &*each.name).collect();
    assert_eq!(programs, ["count", "second", "length_is_at"]);
}

#[test]
fn static_variables_of_one_name_stay_two() {
    let (_, object) = both();
    let own: Vec<(u32, bool)> = object
        .variables
        .iter()
        .filter(|each| each.name == "own")
        .map(|each| (each.offset, each.is_static))
        .collect();
    assert_eq!(own, [(0, true), (8, true)]);
    let data = object.maps.iter().find(|map| map.name == ".data").unwrap();
    let bytes = data.initial.as_deref().unwrap();
    assert_eq!(bytes[0], 100);
    assert_eq!(bytes[8], 200);
}

#[test]
fn lists_of_variables_say_where_they_came_to_stand() {
    let (_, object) = both();
    let btf = object.btf.as_deref().unwrap();
    let places = |wanted: &str| -> (u32, Vec<(String, u32, u32)>) {
        let section = btf.iter().find_map(|(_, found)| match found {
            Type::DataSection(section) if btf.text(section.name) == wanted => Some(section),
            _ => None,
        });
        let section = section.unwrap();
        let one = |placed: &twinbpf_object::btf::SectionVariable| {
            let name = btf.name_of(placed.variable).to_owned();
            (name, placed.offset, placed.size)
        };
        (section.size, section.variables.iter().map(one).collect())
    };
    let own = "own".to_owned();
    assert_eq!(
        places(".data"),
        (16, vec![(own.clone(), 0, 8), (own, 8, 8)])
    );
    assert_eq!(
        places(".rodata"),
        (
            20,
            vec![("limit".to_owned(), 0, 4), ("table".to_owned(), 4, 16)]
        )
    );
    assert_eq!(places(".maps").1.len(), 1);
    assert_eq!(places("license"), (4, vec![("_license".to_owned(), 0, 4)]));
}

#[test]
fn equal_types_are_one_and_declarations_became_definitions() {
    let (_, object) = both();
    let btf = object.btf.as_deref().unwrap();
    for name in ["tally", "sk_buff", "tallies", "seen", "limit", "offset_of"] {
        assert_eq!(btf.named(name).count(), 1, "{name}");
    }
    let is_extern = |found: &Type| match found {
        Type::Function(function) => function.linkage == Linkage::Extern,
        Type::Variable(variable) => variable.linkage == Linkage::Extern,
        _ => false,
    };
    assert!(!btf.iter().any(|(_, found)| is_extern(found)));
}

#[test]
fn lines_types_and_core_records_follow_the_code() {
    let (_, object) = both();
    let btf = object.btf.as_deref().unwrap();
    let alone = fixture("parts_rest.bpf.o");
    let own = alone.btf.as_deref().unwrap();
    for before in &alone.functions {
        let found = object
            .functions
            .iter()
            .rfind(|each| each.name == before.name);
        let after = found.unwrap();
        assert_eq!(after.insns.len(), before.insns.len());
        assert_eq!(
            btf.name_of(after.type_id.unwrap()),
            own.name_of(before.type_id.unwrap())
        );
        assert_eq!(after.lines.len(), before.lines.len());
        for (line, old) in after.lines.iter().zip(before.lines.iter()) {
            assert_eq!(line.at, old.at);
            assert_eq!(btf.text(line.line.text), own.text(old.line.text));
            assert_eq!(line.line.line, old.line.line);
        }
        assert_eq!(after.type_relocations.len(), before.type_relocations.len());
        for (one, old) in after.type_relocations.iter().zip(&before.type_relocations) {
            assert_eq!((one.at, &one.path, one.kind), (old.at, &old.path, old.kind));
            assert_eq!(btf.name_of(one.root), own.name_of(old.root));
        }
    }
}

#[test]
fn linking_one_object_changes_nothing_that_matters() {
    for name in [
        "globals.bpf.o",
        "globals_plain.bpf.o",
        "globals_rela.bpf.o",
        "calls_v3.bpf.o",
        "calls_rela.bpf.o",
        "map_in_map.bpf.o",
        "map_in_map_be.bpf.o",
        "attributes_be.bpf.o",
        "core.bpf.o",
        "kconfig.bpf.o",
        "kfuncs.bpf.o",
        "ksyms.bpf.o",
        "struct_ops.bpf.o",
        "arena.bpf.o",
        "several_2016.bpf.o",
    ] {
        let before = fixture(name);
        let combined = linked(&[name]).unwrap();
        let after = Object::parse(&combined.bytes).unwrap();
        assert_eq!(after.byte_order, before.byte_order, "{name}");
        assert_eq!(after.license, before.license, "{name}");
        assert_eq!(after.programs, before.programs, "{name}");
        assert_eq!(after.variables, before.variables, "{name}");
        let externs = |object: &Object| -> Vec<(String, bool)> {
            let list = object.externs.iter();
            list.map(|each| (each.name.clone(), each.is_weak)).collect()
        };
        assert_eq!(externs(&after), externs(&before), "{name}");
        let of_map = |object: &Object| -> Vec<(String, u32, u32, u32)> {
            let list = object.maps.iter();
            list.map(|map| {
                (
                    map.name.clone(),
                    map.key_size,
                    map.value_size,
                    map.max_entries,
                )
            })
            .collect()
        };
        assert_eq!(of_map(&after), of_map(&before), "{name}");
        let code = |object: &Object| -> Vec<_> {
            let list = object.functions.iter();
            list.map(|each| (each.name.clone(), each.references.clone(), each.insns.len()))
                .collect()
        };
        assert_eq!(code(&after), code(&before), "{name}");
        let again = combine(&[Input {
            name,
            bytes: &combined.bytes,
        }]);
        assert_eq!(again.unwrap().bytes, combined.bytes, "{name} linked again");
    }
}

#[test]
fn two_definitions_are_refused_unless_one_is_weak() {
    let object = |value: i32, binding: u8| {
        let mut elf = ElfBuilder::new(ByteOrder::Little);
        let text = elf.code(".text", &[mov(value), exit()]);
        elf.symbol(&SymbolEntry {
            name: "answer",
            binding,
            kind: FUNCTION,
            section: text,
            value: 0,
            size: 16,
        });
        elf.build()
    };
    let error = of_bytes(&[object(1, GLOBAL), object(2, GLOBAL)]).unwrap_err();
    assert_eq!(error.diagnosis().code, Code::DEFINED_TWICE);
    assert_eq!(error.kind(), ErrorKind::BadObject);
    assert_eq!(
        error.to_string(),
        "`answer` is defined in `one` and in `two`"
    );

    let answer = |files: &[Vec<u8>]| {
        let object = of_bytes(files).unwrap();
        let functions = object.functions;
        assert_eq!(functions.len(), 1);
        functions[0].insns[0].imm
    };
    assert_eq!(answer(&[object(1, WEAK), object(2, GLOBAL)]), 2);
    assert_eq!(answer(&[object(1, GLOBAL), object(2, WEAK)]), 1);
    assert_eq!(answer(&[object(1, WEAK), object(2, WEAK)]), 1);
    let third = [object(1, WEAK), object(2, WEAK), object(3, GLOBAL)];
    assert_eq!(answer(&third), 3);
}

/// A program that loads the address of `.data` plus an offset and calls the start of `.text`, both through the symbols of the
/// sections.
fn through_sections(name: &str, offset: i32, has_addends: bool) -> Vec<u8> {
    let mut elf = ElfBuilder::new(ByteOrder::Little);
    let data = elf.words(".data", &[1, 2, 3, 4]);
    let text = elf.code(".text", &[mov(0), exit()]);
    let [load, rest] = wide(if has_addends { 0 } else { offset });
    let tc = elf.code("tc", &[load, rest, call(-1), exit()]);
    let symbol = |name, kind, section, value, size| SymbolEntry {
        name,
        binding: LOCAL,
        kind,
        section,
        value,
        size,
    };
    elf.symbol(&symbol("low", VARIABLE, data, 0, 4));
    elf.symbol(&symbol("high", VARIABLE, data, 12, 4));
    elf.symbol(&symbol("callee", FUNCTION, text, 0, 16));
    let of_data = elf.symbol(&symbol("", SECTION, data, 0, 0));
    let of_text = elf.symbol(&symbol("", SECTION, text, 0, 0));
    elf.function(name, tc, 0..4);
    match has_addends {
        false => elf.rel(tc, &[(0, of_data, R_BPF_64_64), (16, of_text, R_BPF_64_32)]),
        true => elf.rela(
            tc,
            &[
                (0, of_data, R_BPF_64_64, offset.into()),
                (16, of_text, R_BPF_64_32, 0),
            ],
        ),
    }
    elf.build()
}

#[test]
fn a_section_and_an_offset_stay_the_same_place() {
    let whole = of_bytes(&[
        through_sections("first", 0, false),
        through_sections("second", 12, false),
        through_sections("third", 12, true),
    ])
    .unwrap();
    let mut callees = Vec::new();
    for (name, place) in [("first", 0), ("second", 16 + 12), ("third", 32 + 12)] {
        let found = whole.functions.iter().find(|each| each.name == name);
        let references = &found.unwrap().references;
        let [load, call] = references.as_slice() else {
            panic!("{references:?}");
        };
        let ReferenceTo::MapValue { offset, .. } = load.to else {
            panic!("{:?}", load.to);
        };
        assert_eq!(offset, place, "{name}");
        let ReferenceTo::Function(callee) = call.to else {
            panic!("{:?}", call.to);
        };
        callees.push(callee.0);
    }
    callees.dedup();
    assert_eq!(callees.len(), 3);
}

#[test]
fn objects_that_disagree_are_named() {
    let cases: [(&[&str], &str); 2] = [
        (
            &["globals.bpf.o", "attributes_be.bpf.o"],
            "`globals.bpf.o` and `attributes_be.bpf.o` have different byte orders",
        ),
        (
            &["parts_main.bpf.o", "parts_other.bpf.o"],
            "`parts_other.bpf.o` and `parts_main.bpf.o` disagree about the type of `seen`: `unsigned int` of 4 bytes and `unsigned long long` of 8 bytes",
        ),
    ];
    for (names, message) in cases {
        let error = linked(names).unwrap_err();
        assert_eq!(error.diagnosis().code, Code::OBJECTS_DISAGREE, "{error}");
        assert_eq!(error.to_string(), message);
    }
    let licensed = |text: &[u8]| {
        let mut elf = ElfBuilder::new(ByteOrder::Little);
        elf.section("license", PROGBITS, 0, text);
        elf.build()
    };
    let error = of_bytes(&[licensed(b"GPL\0"), licensed(b"MIT\0")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`one` and `two` differ in section `license`"
    );
    let same = of_bytes(&[licensed(b"GPL\0"), licensed(b"GPL\0")]).unwrap();
    assert_eq!(same.license.as_deref(), Some("GPL"));
}

#[test]
fn what_nobody_defines_stays_open() {
    let combined = linked(&["parts_main.bpf.o", "kfuncs.bpf.o"]);
    let alone = linked(&["parts_main.bpf.o"]).unwrap();
    assert!(combined.is_err() || !combined.unwrap().open.is_empty());
    assert_eq!(
        alone.open,
        ["tallies", "note", "seen", "limit", "offset_of"]
    );
    let rest = fixture_bytes("parts_rest.bpf.o");
    let later = combine(&[
        Input {
            name: "first",
            bytes: &alone.bytes,
        },
        Input {
            name: "rest",
            bytes: &rest,
        },
    ]);
    assert_eq!(later.unwrap().bytes, both().0.bytes);
}

#[test]
fn types_that_claim_to_be_code_are_written_once() {
    let mut bytes = fixture_bytes("parts_rest.bpf.o");
    let word = |bytes: &[u8], at: usize| u64::from_le_bytes(*bytes[at..].first_chunk().unwrap());
    let half = |bytes: &[u8], at: usize| u16::from_le_bytes(*bytes[at..].first_chunk().unwrap());
    let headers = usize::try_from(word(&bytes, 0x28)).unwrap();
    let count = usize::from(half(&bytes, 0x3c));
    for number in 0..count {
        let header = headers + number * 64;
        // Only tables have entries; what is not a table becomes code.
        let is_content = bytes[header + 4] == 1 && word(&bytes, header + 56) == 0;
        let size = word(&bytes, header + 32);
        let start = usize::try_from(word(&bytes, header + 24)).unwrap();
        if is_content && size > 2 && bytes[start..].starts_with(&[0x9f, 0xeb]) {
            bytes[header + 8] |= 2 | 4;
        }
    }
    let again = |bytes: &[u8]| combine(&[Input { name: "it", bytes }]).unwrap().bytes;
    let (once, twice) = (again(&bytes), again(&again(&bytes)));
    assert_eq!(once.len(), twice.len());
    assert!(Object::parse(&twice).unwrap().btf.is_some());
}

#[test]
fn nothing_to_link_is_a_mistake_and_damage_names_its_file() {
    assert_eq!(combine(&[]).unwrap_err().kind(), ErrorKind::Usage);
    let sound = fixture_bytes("parts_rest.bpf.o");
    let cut = &sound[..sound.len() - 64];
    let inputs = [("sound", &*sound), ("cut", cut)].map(|(name, bytes)| Input { name, bytes });
    let error = combine(&inputs).unwrap_err();
    assert_eq!(error.diagnosis().place.file.as_deref(), Some("cut"));
    assert_eq!(error.diagnosis().code, Code::TRUNCATED);
}
