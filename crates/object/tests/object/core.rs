//! CO-RE: the same program linked against several targets, answer by answer.

use std::sync::Arc;

use crate::fixtures::fixture;
use twinbpf_object::btf::Btf;
use twinbpf_object::core::{Resolution, UNAVAILABLE_HELPER, explain};
use twinbpf_object::insn::opcode;
use twinbpf_object::{Code, Insn, InsnIndex, Linked, LinkedProgram, Object, Result, Target, link};

fn types_of(bytes: &[u8]) -> Arc<Btf> {
    Object::parse(bytes).unwrap().btf.unwrap()
}

fn target(btf: Option<Arc<Btf>>) -> Target {
    Target {
        btf,
        ..Target::new(2, 4096, 0)
    }
}

fn core() -> Object {
    Object::parse(fixture!("core")).unwrap()
}

/// The program linked against the types that it was compiled with, which change nothing.
fn at_home() -> Linked {
    let object = core();
    let target = target(object.btf.clone());
    link(&object, &target).unwrap()
}

fn moved() -> Linked {
    let types = types_of(fixture!("core_target_moved"));
    link(&core(), &target(Some(types))).unwrap()
}

fn program<'a>(linked: &'a Linked, name: &str) -> &'a LinkedProgram {
    let found = linked.programs.iter().find(|program| program.name == name);
    found.unwrap_or_else(|| panic!("no program `{name}`"))
}

/// What a program returns that only returns a number.
fn answer(linked: &Linked, name: &str) -> i64 {
    match program(linked, name).insns[..] {
        [only, exit] if only.opcode == 0xb7 && exit.opcode == 0x95 => i64::from(only.imm),
        [low, high, exit] if low.is_wide() && exit.opcode == 0x95 => {
            i64::from(high.imm) << 32 | i64::from(low.imm.cast_unsigned())
        }
        ref insns => panic!("`{name}` does more than return a number: {insns:?}"),
    }
}

/// Program, answer at home, answer for the changed types.
#[rustfmt::skip]
const ANSWERS: &[(&str, i64, i64)] = &[
    ("offset_of_moved", 0, 31),
    ("offset_of_element", 0x64, 163),
    ("offset_of_hidden", 0x74, 10),
    ("offset_of_tail", 0x90, 271),
    ("offset_of_second_root", 0x88, 294),
    ("size_of_shrunk", 8, 4),
    ("size_of_many", 60, 160),
    ("exists_moved", 1, 1),
    ("exists_gone", 1, 0),
    ("exists_added", 1, 1),
    ("exists_removed", 1, 0),
    ("exists_other_kind", 1, 0),
    ("exists_in_absent", 1, 0),
    ("exists_outer_element", 1, 1),
    ("signed_sign", 1, 0),
    ("signed_moved", 0, 0),
    ("signed_middle", 1, 0),
    // The compiler may read the bit field with 8 bytes; 4 are enough, and from the same place.
    ("bits_offset", 0x78, 24),
    ("bits_size", 4, 8),
    ("bits_left", 54, 13),
    ("bits_right", 57, 34),
    ("plain_left", 32, 0),
    ("plain_right", 32, 0),
    ("local_id", 5, 5),
    ("target_id", 5, 5),
    ("type_exists", 1, 1),
    ("type_exists_absent", 1, 0),
    ("type_exists_number", 1, 1),
    ("type_exists_function", 1, 1),
    ("type_size", 20, 32),
    ("type_size_absent", 4, 0),
    ("type_size_pointer", 8, 8),
    ("target_id_absent", 45, 0),
    ("matches_announced", 1, 1),
    ("matches_union", 1, 0),
    ("matches_enum", 1, 0),
    ("matches_function", 1, 1),
    ("name_exists", 1, 1),
    ("name_exists_lost", 1, 0),
    ("name_value", 2, 7),
    ("name_value_wide", 0x1_0000_0001, 0x2_0000_0003),
    ("name_value_negative", -1, -7),
];

#[test]
fn every_kind_of_question_is_answered_from_the_targets_types() {
    let (home, moved) = (at_home(), moved());
    for (name, expected_home, expected_moved) in ANSWERS {
        assert_eq!(answer(&home, name), *expected_home, "{name} at home");
        assert_eq!(answer(&moved, name), *expected_moved, "{name}, moved");
    }
}

#[test]
fn a_shape_matches_if_every_member_is_there_and_alike() {
    let moved = moved();
    for (name, expected) in [
        ("matches", 1),
        ("matches_longer", 0),
        ("matches_retyped", 0),
        ("type_exists_function_fewer", 0),
    ] {
        assert_eq!(answer(&moved, name), expected, "{name}");
    }
}

#[test]
fn loads_and_stores_follow_offset_and_size_of_their_field() {
    let moved = moved();
    let first = |name: &str| {
        let insns = &program(&moved, name).insns;
        let found = insns
            .iter()
            .find(|insn| insn.opcode & opcode::CLASS <= opcode::STX);
        let found = found.unwrap();
        (found.opcode & opcode::SIZE, found.offset)
    };
    assert_eq!(first("load_moved"), (opcode::DW, 31));
    assert_eq!(first("load_shrunk"), (opcode::W, 39));
    assert_eq!(first("load_pointer"), (opcode::DW, 18));
    assert_eq!(first("load_second"), (opcode::W, 59));
    assert_eq!(first("store_moved"), (opcode::DW, 31));
}

#[test]
fn what_the_target_lacks_is_a_call_that_no_engine_has_and_its_reason_is_kept() {
    let moved = moved();
    let call = Insn {
        opcode: opcode::JMP | opcode::CALL,
        imm: UNAVAILABLE_HELPER,
        ..Insn::default()
    };
    let guarded = program(&moved, "guarded");
    assert_eq!(guarded.insns[1].imm, 0, "there is no such field");
    assert_eq!(guarded.insns[3], call);
    assert_eq!(
        guarded.unavailable_reason(InsnIndex(3)).unwrap(),
        "the target's type has no `struct outer.gone` (access path 0:12): the offset of the field is not known"
    );
    assert_eq!(
        program(&moved, "load_narrow").unavailable[0].reason,
        "the field has 4 bytes on the target and 2 in the program, and is neither pointer nor unsigned number"
    );
    let lost = program(&moved, "value_lost");
    assert_eq!(lost.insns[..2], [call, call]);
    assert_eq!(
        lost.unavailable[0].reason,
        "the target's type has no `enum color.LOST` (access path 2): the value of the enumerator is not known"
    );
}

#[test]
fn types_of_one_name_that_agree_are_no_problem_and_others_are_an_error_that_names_the_field() {
    let types = types_of(fixture!("core_target_twins"));
    let mut object = Object::parse(fixture!("core_ambiguous")).unwrap();
    let refusal = link(&object, &target(Some(Arc::clone(&types)))).unwrap_err();
    assert_eq!(refusal.diagnosis().code, Code::CORE_AMBIGUOUS);
    assert!(
        refusal.diagnosis().message.contains("`struct twin.left`"),
        "{refusal}"
    );
    object.program_mut("disputed").unwrap().autoload = false;
    let linked = link(&object, &target(Some(types))).unwrap();
    assert_eq!(program(&linked, "agreed").insns[0].offset, 16);
    assert_eq!(linked.left_out[0].name, "disputed");
}

#[test]
fn without_types_a_program_that_needs_them_is_refused_with_the_field_and_its_line() {
    let object = core();
    let needs = object.needs();
    assert!(needs.target_types);
    assert_eq!(
        needs.type_names,
        [
            "absent",
            "color",
            "color_union",
            "function",
            "inner",
            "inner_pointer",
            "level",
            "number",
            "outer",
            "shape",
            "wide"
        ]
    );
    let refusal = link(&object, &target(None)).unwrap_err();
    let diagnosis = refusal.diagnosis();
    assert_eq!(diagnosis.code, Code::TARGET_TYPES_MISSING);
    let source = diagnosis.place.source.as_ref().unwrap();
    assert_eq!(source.file, "./testdata/bpf/core.bpf.c");
    assert!(source.text.contains("offset_of_moved"), "{source:?}");
}

#[test]
fn relocations_that_make_no_sense_are_refused_and_no_edit_panics() {
    let types = types_of(fixture!("core_target_moved"));
    let linked = |path: &str, root: Option<u32>| -> Result<Linked> {
        let mut object = core();
        let index = object.program("load_moved").unwrap().function;
        let relocation = &mut object.functions[index.0].type_relocations[0];
        relocation.path = path.to_owned();
        if let Some(root) = root {
            relocation.root.0 = root;
        }
        link(&object, &target(Some(Arc::clone(&types))))
    };
    assert!(linked("0:0", None).is_ok());
    for path in [
        "",
        "x",
        "0:99",
        "0:0:0",
        "-1",
        "0:6:3",
        "4294967295:0:1",
        "0:4294967295",
    ] {
        let refusal = linked(path, None).unwrap_err();
        assert_eq!(refusal.diagnosis().code, Code::CORE_MALFORMED, "{path}");
        assert_eq!(
            refusal.diagnosis().place.program.as_deref(),
            Some("load_moved")
        );
    }
    for root in [0, 1, 2, u32::MAX] {
        assert!(linked("0:0", Some(root)).is_err(), "{root}");
    }
}

#[test]
fn lines_follow_their_instructions_into_the_linked_program() {
    let home = at_home();
    let guarded = program(&home, "guarded");
    let line = |at| guarded.source_line(InsnIndex(at)).unwrap();
    assert_eq!(line(2).text.trim(), "if (FIELD(outer->gone, EXISTS))");
    assert_eq!(line(3).text.trim(), "return outer->gone;");
    assert_eq!(line(3).line, line(2).line + 1);
    assert!(
        guarded.source_line(InsnIndex(99)).is_some(),
        "the last line reaches to the end"
    );
}

#[test]
fn records_of_both_byte_orders_say_the_same_lines() {
    let lines = |bytes: &[u8]| -> Vec<(u32, u32, u32, String)> {
        let object = Object::parse(bytes).unwrap();
        let btf = object.btf.unwrap();
        let lines = object.functions[0].lines.iter();
        lines
            .map(|info| {
                let text = btf.text(info.line.text).to_owned();
                (info.at.0, info.line.line, info.line.column, text)
            })
            .collect()
    };
    let little = lines(fixture!("sockex1_btf"));
    assert!(little.len() > 3 && little.iter().all(|line| line.1 > 0));
    assert_eq!(little, lines(fixture!("sockex1_btf_be")));
}

#[test]
fn damaged_lines_are_left_out_with_a_warning_and_damaged_relocations_are_an_error() {
    let bytes = fixture!("core").to_vec();
    // The header: functions, lines, relocations, an offset and a length each.
    let magic = [0x9f, 0xeb, 1, 0, 32, 0, 0, 0];
    let ext = bytes
        .windows(8)
        .position(|window| *window == magic)
        .unwrap();
    let with = |at: usize, value: u32| {
        let mut bytes = bytes.clone();
        bytes[ext + at..][..4].copy_from_slice(&value.to_le_bytes());
        Object::parse(&bytes)
    };
    let object = with(16, u32::MAX).unwrap();
    assert!(object.functions.iter().all(|each| each.lines.is_empty()));
    assert!(!object.functions[0].type_relocations.is_empty());
    let warning = object.warnings.last().unwrap();
    assert!(warning.ends_with("source lines are left out"), "{warning}");
    for (at, value) in [(24, u32::MAX), (28, 3), (0, 0), (4, 2)] {
        let refusal = with(at, value).unwrap_err();
        assert_eq!(refusal.diagnosis().code, Code::BTF_MALFORMED, "{at}");
        assert_eq!(
            refusal.diagnosis().place.section.as_deref(),
            Some(".BTF.ext")
        );
    }
}

#[test]
fn no_changed_word_of_types_or_records_panics() {
    let target = target(Some(types_of(fixture!("core_target_moved"))));
    let mut bytes = fixture!("core").to_vec();
    let mut survivors = 0;
    for at in (0..bytes.len() - 4).step_by(37) {
        for value in [[0; 4], [0xff; 4], [3, 0, 0, 0]] {
            let original: [u8; 4] = bytes[at..at + 4].try_into().unwrap();
            bytes[at..at + 4].copy_from_slice(&value);
            let linked = Object::parse(&bytes).and_then(|object| link(&object, &target));
            survivors += usize::from(linked.is_ok());
            bytes[at..at + 4].copy_from_slice(&original);
        }
    }
    // Otherwise the test would not reach the linker.
    assert!(survivors > 100, "{survivors}");
}

#[test]
fn relocations_are_explained_with_and_without_a_target() {
    let object = core();
    let types = types_of(fixture!("core_target_moved"));
    let explained = explain(&object, Some(&target(Some(types))));
    let of = |program: &str| {
        let function = object.program(program).unwrap().function;
        explained
            .iter()
            .find(|each| each.function == function)
            .unwrap()
    };
    let moved = of("offset_of_moved");
    assert_eq!(moved.subject.as_deref(), Ok("struct outer.moved"));
    assert_eq!(moved.kind.words(), "offset of the field");
    assert_eq!((moved.path.as_str(), moved.compiled), ("0:0", Some(0)));
    assert_eq!(moved.resolved, Some(Resolution::Known(31)));
    let gone = of("load_gone");
    assert!(
        matches!(gone.resolved, Some(Resolution::Missing(_))),
        "{gone:?}"
    );
    let alone = explain(&object, None);
    assert_eq!(alone.len(), explained.len());
    assert!(alone.iter().all(|each| each.resolved.is_none()));
}
