//! What the parser makes of objects that differ in what their compiler left out.

use crate::support::{
    ElfBuilder, FUNCTION, GLOBAL, LOCAL, NOBITS, PROGBITS, R_BPF_64_32, R_BPF_64_64, SECTION,
    SymbolEntry, UNTYPED, VARIABLE, WEAK, call, exit, insn, mov, wide,
};
use twinbpf_object::insn::opcode;
use twinbpf_object::spec::{
    ByteOrder, DeclaredValue, ExternKind, FunctionIndex, Linkage, ReferenceTo, SlotContent,
};
use twinbpf_object::{HoleKind, InsnIndex, MapIndex, Object, ProgramKind, Result, Target, link};

const TARGET: Target = Target::new(1, 4096, 0);

fn refusal<T: std::fmt::Debug>(result: Result<T>) -> (&'static str, String) {
    let error = result.unwrap_err();
    (error.diagnosis().code.as_str(), error.to_string())
}

fn local(name: &str, kind: u8, section: u16, value: u64) -> SymbolEntry<'_> {
    SymbolEntry {
        name,
        binding: LOCAL,
        kind,
        section,
        value,
        size: 0,
    }
}

/// As clang 3.9 wrote it: no types, no sizes, a symbol for a jump target, two programs, two maps.
fn old_object(order: ByteOrder) -> ElfBuilder {
    let mut elf = ElfBuilder::new(order);
    let [first, second] = wide(0);
    let code = [
        insn(0x15, 1, 0, 2, 0),
        first,
        second,
        mov(0),
        exit(),
        mov(7),
        exit(),
    ];
    let section = elf.code("socket1", &code);
    let maps = elf.words("maps", &[2, 4, 8, 256, 0, 1, 4, 8, 10, 0]);
    elf.section("license", PROGBITS, 0, b"GPL\0");
    elf.words("version", &[0x0004_0500]);
    elf.symbol(&local("LBB0_2", UNTYPED, section, 24));
    elf.bare("bpf_prog1", section, 0);
    elf.bare("bpf_prog2", section, 40);
    elf.bare("my_map", maps, 0);
    let other = elf.bare("other", maps, 20);
    elf.rel(section, &[(8, other, R_BPF_64_64)]);
    elf
}

#[test]
fn symbols_without_type_and_size_are_understood_in_both_byte_orders() {
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let object = old_object(order).parse().unwrap();
        assert_eq!(object.byte_order, order);
        assert_eq!(object.license.as_deref(), Some("GPL"));
        assert_eq!(object.version, Some(0x0004_0500));
        let maps: Vec<_> = object
            .maps
            .iter()
            .map(|map| (map.name.as_str(), map.value_size, map.max_entries))
            .collect();
        assert_eq!(maps, [("my_map", 8, 256), ("other", 8, 10)]);
        let functions: Vec<_> = object
            .functions
            .iter()
            .map(|function| {
                (
                    function.name.as_str(),
                    function.offset.0,
                    function.insns.len(),
                )
            })
            .collect();
        assert_eq!(functions, [("bpf_prog1", 0, 5), ("bpf_prog2", 5, 2)]);
        assert_eq!(object.programs[0].kind, None);
        assert_eq!(
            object.warnings,
            ["section `socket1` names no program type; did you mean `socket`?"]
        );
        let references = &object.functions[0].references;
        assert_eq!(references.len(), 1);
        assert_eq!(references[0].at, InsnIndex(1));
        assert_eq!(references[0].to, ReferenceTo::Map(MapIndex(1)));
    }
}

#[test]
fn a_linked_program_says_where_its_map_goes_and_keeps_no_number() {
    let object = old_object(ByteOrder::Little).parse().unwrap();
    let linked = link(&object, &TARGET).unwrap();
    let program = &linked.programs[0];
    assert_eq!(program.insns[1].src, opcode::PSEUDO_MAP_FD);
    assert_eq!((program.insns[1].imm, program.insns[2].imm), (0, 0));
    assert_eq!(program.holes.len(), 1);
    assert_eq!(program.holes[0].at, InsnIndex(1));
    assert_eq!(program.holes[0].kind, HoleKind::Map(MapIndex(1)));
    assert_eq!(linked.maps, object.maps);
}

#[test]
fn an_object_of_the_other_byte_order_is_refused_when_linking() {
    let order = if cfg!(target_endian = "big") {
        ByteOrder::Little
    } else {
        ByteOrder::Big
    };
    let object = old_object(order).parse().unwrap();
    assert_eq!(refusal(link(&object, &TARGET)).0, "L002");
}

#[test]
fn a_section_without_any_symbol_is_one_program_with_the_sections_name() {
    let mut elf = ElfBuilder::new(ByteOrder::Little);
    elf.code("?xdp", &[mov(2), exit()]);
    let object = elf.parse().unwrap();
    let program = &object.programs[0];
    assert_eq!(
        (program.name.as_str(), program.section.as_str()),
        ("xdp", "?xdp")
    );
    assert_eq!(program.kind, Some(ProgramKind::Xdp));
    assert!(!program.autoload);
    assert_eq!(object.license, None);
    let linked = link(&object, &TARGET).unwrap();
    assert_eq!(linked.programs[0].functions[0].name, "xdp");
}

/// Entry in `xdp` calls `add` in `.text`, which calls its neighbour without a relocation; all forms of the first call.
fn calling_object(form: impl FnOnce(&mut ElfBuilder, u16, u16) -> i32) -> Object {
    let mut elf = ElfBuilder::new(ByteOrder::Little);
    let text = elf.code(".text", &[mov(1), exit(), call(-3), exit()]);
    // The instruction is completed by `form`, whose answer is the call's immediate.
    let xdp = elf.code("xdp", &[mov(0), call(0), exit()]);
    elf.function("first", text, 0..2);
    elf.symbol(&SymbolEntry {
        name: "add",
        binding: LOCAL,
        kind: FUNCTION,
        section: text,
        value: 16,
        size: 16,
    });
    elf.function("entry", xdp, 0..3);
    let imm = form(&mut elf, xdp, text);
    let mut file = elf.build();
    // `.text` has 32 bytes after the header of 64; the call is the second slot behind it.
    file[64 + 32 + 8 + 4..][..4].copy_from_slice(&imm.to_le_bytes());
    Object::parse(&file).unwrap()
}

#[test]
fn every_form_of_a_call_finds_the_same_function() {
    let add = 2;
    let by_symbol = calling_object(|elf, xdp, _| {
        elf.rel(xdp, &[(8, add, R_BPF_64_32)]);
        -1
    });
    let by_section = calling_object(|elf, xdp, text| {
        let section = elf.symbol(&local("", SECTION, text, 0));
        elf.rel(xdp, &[(8, section, R_BPF_64_32)]);
        1
    });
    let with_addend = calling_object(|elf, xdp, text| {
        let section = elf.symbol(&local("", SECTION, text, 0));
        elf.rela(xdp, &[(8, section, R_BPF_64_32, 16)]);
        -1
    });
    for object in [&by_symbol, &by_section, &with_addend] {
        assert_eq!(object.programs.len(), 1);
        let entry = &object.functions[object.programs[0].function.0];
        assert_eq!(
            entry.references[0].to,
            ReferenceTo::Function(FunctionIndex(1))
        );
        let linked = link(object, &TARGET).unwrap();
        let program = &linked.programs[0];
        let starts: Vec<_> = program
            .functions
            .iter()
            .map(|function| (function.name.as_str(), function.start.0))
            .collect();
        assert_eq!(starts, [("entry", 0), ("add", 3), ("first", 5)]);
        assert_eq!(program.insns[1], call(1));
        assert_eq!(program.insns[3], call(1));
        assert_eq!(program.insns.len(), 7);
        assert!(program.holes.is_empty());
    }
}

#[test]
fn the_address_of_a_function_becomes_a_hole() {
    let mut elf = ElfBuilder::new(ByteOrder::Little);
    let text = elf.code(".text", &[mov(1), exit(), mov(2), exit()]);
    let [first, second] = wide(16);
    let xdp = elf.code("xdp", &[first, second, mov(0), exit()]);
    elf.function("unused", text, 0..2);
    elf.function("callback", text, 2..4);
    elf.function("entry", xdp, 0..4);
    let section = elf.symbol(&local("", SECTION, text, 0));
    elf.rel(xdp, &[(0, section, R_BPF_64_64)]);
    let object = elf.parse().unwrap();
    let linked = link(&object, &TARGET).unwrap();
    let program = &linked.programs[0];
    assert_eq!(program.insns[0].src, opcode::PSEUDO_FUNC);
    assert_eq!(program.insns[0].imm, 3);
    assert_eq!(program.holes[0].kind, HoleKind::Function(InsnIndex(4)));
    assert_eq!(program.functions.len(), 2);
}

#[test]
fn what_is_not_supported_is_named_with_symbol_and_program() {
    let mut elf = ElfBuilder::new(ByteOrder::Little);
    let [first, second] = wide(4);
    let xdp = elf.code("xdp", &[first, second, call(-1), exit()]);
    let data = elf.section(".data", PROGBITS, 0, &[0; 8]);
    elf.function("entry", xdp, 0..4);
    let section = elf.symbol(&local("", SECTION, data, 0));
    let kfunc = elf.symbol(&SymbolEntry {
        name: "bpf_kfunc",
        binding: WEAK,
        kind: UNTYPED,
        section: 0,
        value: 0,
        size: 0,
    });
    elf.rel(xdp, &[(0, section, R_BPF_64_64), (16, kfunc, R_BPF_64_32)]);
    let mut object = elf.parse().unwrap();
    let needs = object.needs();
    assert_eq!(needs.externs.len(), 1);
    assert_eq!(
        (needs.externs[0].name.as_str(), needs.externs[0].is_weak),
        ("bpf_kfunc", true)
    );
    assert_eq!(
        object.functions[0].references.remove(0).to,
        ReferenceTo::MapValue {
            map: MapIndex(0),
            offset: 4
        }
    );
    assert_eq!(
        refusal(link(&object, &TARGET)),
        (
            "L001",
            "section `xdp`, offset 0x10, program `entry`: `bpf_kfunc` is used but neither defined nor declared in BTF".to_owned()
        )
    );
    object.externs[0].kind = ExternKind::Unplaced;
    assert_eq!(refusal(link(&object, &TARGET)).0, "L001");
    object.programs[0].autoload = false;
    let linked = link(&object, &TARGET).unwrap();
    assert!(linked.programs.is_empty());
    assert_eq!(linked.left_out[0].name, "entry");
}

#[test]
fn a_number_that_only_a_running_system_has_is_no_reference() {
    let mut elf = ElfBuilder::new(ByteOrder::Little);
    let [mut first, second] = wide(5);
    first.src = opcode::PSEUDO_MAP_FD;
    elf.code("xdp", &[first, second, mov(0), exit()]);
    let object = elf.parse().unwrap();
    assert_eq!(refusal(link(&object, &TARGET)).0, "L001");
}

#[test]
fn a_static_function_that_is_called_is_no_program_and_one_that_is_not_is() {
    let mut elf = ElfBuilder::new(ByteOrder::Little);
    let xdp = elf.code("xdp", &[call(1), exit(), mov(1), exit(), mov(2), exit()]);
    elf.function("entry", xdp, 0..2);
    for (name, value) in [("inner", 16), ("lonely", 32)] {
        elf.symbol(&local(name, FUNCTION, xdp, value));
    }
    let object = elf.parse().unwrap();
    let names: Vec<_> = object
        .programs
        .iter()
        .map(|each| each.name.as_str())
        .collect();
    assert_eq!(names, ["entry", "lonely"]);
    assert_eq!(object.functions[1].linkage, Linkage::Static);
}

#[test]
fn code_only_in_text_is_untyped_programs() {
    let mut elf = ElfBuilder::new(ByteOrder::Little);
    let text = elf.code(".text", &[call(1), exit(), mov(1), exit()]);
    elf.function("outer", text, 0..2);
    elf.function("inner", text, 2..4);
    let object = elf.parse().unwrap();
    assert_eq!(object.programs.len(), 1);
    assert_eq!(object.programs[0].name, "outer");
    assert_eq!(object.programs[0].kind, None);
}

#[test]
fn inner_maps_are_found_by_position_and_by_identifier() {
    let mut elf = ElfBuilder::new(ByteOrder::Little);
    let maps = elf.words("maps", &[2, 4, 8, 1, 0, 0, 0, 12, 4, 4, 9, 0, 0, 0]);
    elf.bare("inner", maps, 0);
    elf.bare("outer", maps, 28);
    let object = elf.parse().unwrap();
    assert_eq!(
        object.map("outer").unwrap().inner,
        Some(twinbpf_object::spec::InnerMap::Map(MapIndex(0)))
    );

    let definition = |inner_id| {
        let mut elf = ElfBuilder::new(ByteOrder::Little);
        let words = [13, 4, 4, 9, 0, 0, 0, inner_id, 0, 2, 4, 8, 1, 0, 3, 0, 0, 5];
        let maps = elf.words("maps", &words);
        elf.bare("outer", maps, 0);
        elf.bare("inner", maps, 36);
        elf.parse()
    };
    let object = definition(3).unwrap();
    assert_eq!(
        object.maps[0].inner,
        Some(twinbpf_object::spec::InnerMap::Map(MapIndex(1)))
    );
    assert_eq!(
        refusal(definition(4)),
        (
            "O010",
            "section `maps`, offset 0x0, map `outer`: the inner map with id 4 is no other map of this object".to_owned()
        )
    );
}

#[test]
fn malformed_code_is_refused_with_section_and_offset() {
    let parse = |code: &[twinbpf_object::Insn], cut: usize| {
        let mut elf = ElfBuilder::new(ByteOrder::Little);
        let bytes: Vec<u8> = code
            .iter()
            .flat_map(|insn| insn.to_bytes(ByteOrder::Little))
            .collect();
        elf.section("xdp", PROGBITS, 4, &bytes[..bytes.len() - cut]);
        refusal(elf.parse())
    };
    assert_eq!(
        parse(&[mov(0), exit()], 3),
        (
            "O015",
            "section `xdp`, offset 0x8: 13 bytes are not whole instructions of 8: 5 are left"
                .to_owned()
        )
    );
    assert_eq!(parse(&[call(7), exit()], 0).0, "L003");
}

#[test]
fn an_instruction_without_meaning_is_for_the_engine_to_refuse() {
    let [first, _] = wide(0);
    for insns in [
        vec![insn(0xff, 0, 0, 0, 0)],
        vec![insn(0x05, 0, 0, 4, 0), exit()],
        vec![mov(0), first],
    ] {
        let mut elf = ElfBuilder::new(ByteOrder::Little);
        let bytes: Vec<u8> = insns
            .iter()
            .flat_map(|insn| insn.to_bytes(ByteOrder::Little))
            .collect();
        elf.section("xdp", PROGBITS, 4, &bytes);
        let object = elf.parse().unwrap();
        assert_eq!(object.functions[0].insns, insns);
        assert_eq!(link(&object, &TARGET).unwrap().programs[0].insns, insns);
    }
}

#[test]
fn functions_must_lie_side_by_side_in_their_section() {
    let parse = |first: std::ops::Range<u64>, second: std::ops::Range<u64>| {
        let mut elf = ElfBuilder::new(ByteOrder::Little);
        let xdp = elf.code("xdp", &[mov(0), exit(), mov(0), exit()]);
        elf.function("a", xdp, first);
        elf.function("b", xdp, second);
        elf.parse()
    };
    assert_eq!(refusal(parse(0..3, 2..4)).0, "O015");
    assert_eq!(refusal(parse(0..2, 2..5)).0, "O015");
    assert_eq!(refusal(parse(0..2, 9..10)).0, "O015");
    let gap = parse(0..2, 3..4).unwrap();
    assert_eq!(
        gap.warnings,
        ["section `xdp`: the code from 0x10 to 0x18 belongs to no function and is left out"]
    );
}

#[test]
fn relocations_that_point_nowhere_are_refused_with_their_offset() {
    let parse = |offset: u64, symbol: u32, value: u64| {
        let mut elf = ElfBuilder::new(ByteOrder::Little);
        let [first, second] = wide(0);
        let xdp = elf.code("xdp", &[first, second, mov(0), exit()]);
        let maps = elf.words("maps", &[2, 4, 8, 1]);
        elf.symbol(&SymbolEntry {
            name: "m",
            binding: GLOBAL,
            kind: VARIABLE,
            section: maps,
            value: 0,
            size: 16,
        });
        elf.symbol(&local("", SECTION, maps, value));
        elf.rel(xdp, &[(offset, symbol, R_BPF_64_64)]);
        elf.parse()
    };
    assert!(parse(0, 1, 0).is_ok());
    assert!(parse(0, 2, 0).is_ok());
    let cases = [
        (
            parse(32, 1, 0),
            "section `xdp`, offset 0x20: a relocation changes offset 0x20, which is no instruction of the 0x20 bytes of code",
        ),
        (
            parse(4, 1, 0),
            "section `xdp`, offset 0x4: a relocation changes offset 0x4, which is no instruction of the 0x20 bytes of code",
        ),
        (
            parse(0, 9, 0),
            "section `xdp`, offset 0x0: a relocation names symbol 9 of 3",
        ),
        (
            parse(0, 0, 0),
            "section `xdp`, offset 0x0: a relocation names no symbol",
        ),
        (
            parse(0, 2, 4),
            "section `xdp`, offset 0x0: the reference goes to section `maps`, offset 0x4, where no map starts",
        ),
        (
            parse(16, 1, 0),
            "section `xdp`, offset 0x10: a relocation of kind 1 changes an instruction with opcode 0xb7, which has no address",
        ),
    ];
    for (result, message) in cases {
        assert_eq!(refusal(result), ("O016", message.to_owned()));
    }
}

#[test]
fn licenses_are_read_as_they_are() {
    let parse = |bytes: &[u8]| {
        let mut elf = ElfBuilder::new(ByteOrder::Little);
        elf.code("xdp", &[mov(0), exit()]);
        elf.section("license", PROGBITS, 0, bytes);
        elf.parse()
            .map(|object| (object.license, object.warnings.len()))
    };
    assert_eq!(
        parse(b"Dual MIT/GPL\0").unwrap(),
        (Some("Dual MIT/GPL".to_owned()), 0)
    );
    assert_eq!(parse(b"GPL").unwrap(), (Some("GPL".to_owned()), 1));
    assert_eq!(parse(b"\0").unwrap(), (Some(String::new()), 1));
    assert_eq!(parse(b"").unwrap(), (None, 1));
    assert_eq!(refusal(parse(b"G\xffL\0")).0, "O014");
}

#[test]
fn a_huge_bss_takes_no_memory_and_an_object_with_nothing_is_refused() {
    let mut elf = ElfBuilder::new(ByteOrder::Little);
    elf.code("xdp", &[mov(0), exit()]);
    elf.section(".bss", NOBITS, 3, &[]);
    let mut file = elf.build();
    let headers = usize::try_from(u64::from_le_bytes(file[40..48].try_into().unwrap())).unwrap();
    let size = headers + 2 * 64 + 32;
    file[size..][..8].copy_from_slice(&u64::from(u32::MAX).to_le_bytes());
    let object = Object::parse(&file).unwrap();
    assert_eq!(object.sections[1].size_bytes, u64::from(u32::MAX));
    assert_eq!(object.sections[1].role, "data");
    assert_eq!(object.maps[0].value_size, u32::MAX);
    assert_eq!(object.maps[0].initial, None);
    file[size..][..8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(
        refusal(Object::parse(&file)),
        (
            "O019",
            "section `.bss`, offset 0x0: 18446744073709551615 bytes of data do not fit into a map"
                .to_owned()
        )
    );

    let mut empty = ElfBuilder::new(ByteOrder::Little);
    empty.section("license", PROGBITS, 0, b"GPL\0");
    let empty = empty.parse().unwrap();
    assert_eq!(empty.warnings, ["the object has neither programs nor maps"]);
}

#[test]
fn an_object_prints_its_maps_and_programs() {
    let text = old_object(ByteOrder::Little).parse().unwrap().to_string();
    assert_eq!(
        text,
        "little-endian BPF object, license `GPL`\n  \
         map `my_map`: array, key 4 B, value 8 B, 256 entries\n  \
         map `other`: hash, key 4 B, value 8 B, 10 entries\n  \
         program `bpf_prog1` in `socket1`: no type\n  \
         program `bpf_prog2` in `socket1`: no type"
    );
}

/// `.BTF` whose strings are `\0xdp\0`, and `.BTF.ext` that lists one instruction of that section.
fn types_needed(offset: u32, records: u32) -> Result<Object> {
    let mut elf = ElfBuilder::new(ByteOrder::Little);
    let xdp = elf.code("xdp", &[insn(0x61, 0, 1, 4, 0), exit()]);
    elf.function("entry", xdp, 0..2);
    let mut types = vec![0x9f, 0xeb, 1, 0];
    // One type: a number of 4 bytes that is called `xdp` too.
    for word in [24u32, 0, 16, 16, 5, 1, 1 << 24, 4, 32] {
        types.extend(word.to_le_bytes());
    }
    types.extend(b"\0xdp\0");
    elf.section(".BTF", PROGBITS, 0, &types);
    let mut places = vec![0x9f, 0xeb, 1, 0];
    for word in [32u32, 0, 0, 0, 0, 0, 28, 16, 1, records, offset, 1, 0, 0] {
        places.extend(word.to_le_bytes());
    }
    elf.section(".BTF.ext", PROGBITS, 0, &places);
    elf.parse()
}

#[test]
fn code_that_depends_on_the_targets_types_is_marked_and_not_linked_without_sense() {
    let object = types_needed(0, 1).unwrap();
    assert_eq!(object.functions[0].type_relocations[0].at, InsnIndex(0));
    assert!(object.needs().target_types);
    assert_eq!(
        refusal(link(&object, &TARGET)),
        (
            "L007",
            "section `xdp`, offset 0x0, program `entry`: offset of the field, type `xdp` [1], access path ``: the path is no list of numbers".to_owned()
        )
    );
    assert_eq!(refusal(types_needed(64, 1)).0, "O013");
    assert_eq!(refusal(types_needed(0, u32::MAX)).0, "O013");
}

#[test]
fn programs_and_maps_with_numbers_of_iproute2_go_into_their_slots() {
    let none = u32::MAX;
    let mut elf = ElfBuilder::new(ByteOrder::Little);
    let maps = elf.words(
        "maps",
        &[
            // type, key, value, entries, flags, identifier, pinning, inner identifier, inner slot
            [3, 4, 4, 8, 0, 7, 0, 0, none],
            [12, 4, 4, 2, 0, 8, 0, 9, none],
            [2, 4, 8, 1, 0, 9, 0, 0, 1],
        ]
        .concat(),
    );
    for (position, name) in ["jumps", "outer", "inner"].into_iter().enumerate() {
        elf.bare(name, maps, 36 * u64::try_from(position).unwrap());
    }
    for (section, name) in [("7/2", "second"), ("0x7/0", "first"), ("6/1", "nowhere")] {
        let section = elf.code(section, &[mov(0), exit()]);
        elf.bare(name, section, 0);
    }
    let object = Object::parse(&elf.build()).unwrap();
    let program = |slot, name: &str| DeclaredValue {
        slot,
        holds: SlotContent::Program(name.to_owned()),
    };
    assert_eq!(
        object.maps[0].values,
        [program(0, "first"), program(2, "second")]
    );
    let inner = SlotContent::Map(MapIndex(2));
    assert_eq!(
        object.maps[1].values,
        [DeclaredValue {
            slot: 1,
            holds: inner
        }]
    );
}
