//! Text to instructions and back.

use twinbpf_object::insn::{Insn, Operation, assemble, disassemble, listing};
use twinbpf_object::{Code, ErrorKind};

#[test]
fn whatever_decodes_prints_as_text_that_becomes_the_same_slots() {
    let mut forms = 0_u32;
    for opcode in 0..=u8::MAX {
        for src in 0..=10 {
            for offset in [0, 1, 8, 16, 32, -7] {
                for imm in [
                    0, 1, 16, 0x41, 0x100, 0x110, 0xe1, 0xf1, 0x1_0000, -1, 211, 999,
                ] {
                    let first = Insn {
                        opcode,
                        dst: 3,
                        src,
                        offset,
                        imm,
                    };
                    let second = Insn {
                        imm: if imm == 999 { -5 } else { 0 },
                        ..Insn::default()
                    };
                    forms += u32::from(round_trips([first, second]));
                    forms += u32::from(round_trips([Insn { dst: 0, ..first }, second]));
                }
            }
        }
    }
    assert!(forms > 10_000, "{forms}");
}

fn round_trips(slots: [Insn; 2]) -> bool {
    let Ok(decoded) = Operation::decode(&slots) else {
        return false;
    };
    let program = &slots[..if decoded.slots == 2 { 2 } else { 1 }];
    let text = disassemble(program);
    let again = assemble(&text).unwrap_or_else(|error| panic!("{text}{error}"));
    assert_eq!(again, program, "{text}");
    let bare = decoded.operation.to_string();
    let again = assemble(&bare).unwrap_or_else(|error| panic!("{bare}: {error}"));
    assert_eq!(again, program, "{bare}");
    true
}

#[test]
fn labels_go_forward_backward_and_into_functions() {
    let program = assemble(
        "again: r0 += 1
         if r0 < 10 goto again   // a loop
         call helper_of_mine
         r2 = func[helper_of_mine]
         gotol end
        helper_of_mine:
         r0 = 0
        end: exit ; both",
    )
    .unwrap();
    let texts: Vec<String> = listing(&program)
        .map(|row| row.operation.unwrap().to_string())
        .collect();
    assert_eq!(
        texts,
        [
            "r0 += 1",
            "if r0 < 10 goto pc-2",
            "call pc+3",
            "r2 = func[pc+2]",
            "gotol pc+1",
            "r0 = 0",
            "exit"
        ]
    );
}

#[test]
fn lines_of_a_verifier_log_are_understood() {
    let program = assemble(
        "0: (bf) r6 = r1                       ; R1=ctx() R6_w=ctx()
         1: (30) r0 = *(u8 *)skb[23]           ; R0_w=scalar(umax=255)
         2: (63) *(u32 *)(r10 -4) = r0
         3: (18) r1 = 0xffff888103c5a000       ; R1_w=map_ptr(ks=4,vs=8)
         5: (85) call bpf_map_lookup_elem#1
         6: (15) if r0 == 0x0 goto pc+1
         7: (db) r1 = atomic64_fetch_add((u64 *)(r0 +0), r1)
         8: (95) exit",
    )
    .unwrap();
    assert_eq!(program.len(), 9);
    assert_eq!(program[3].imm.cast_unsigned(), 0x03c5_a000);
    assert_eq!(program[4].imm.cast_unsigned(), 0xffff_8881);
}

#[test]
fn numbers_are_taken_as_wide_as_the_operation_is() {
    assert_eq!(assemble("w1 = 0xffffffff").unwrap()[0].imm, -1);
    assert_eq!(assemble("r1 = -1").unwrap()[0].imm, -1);
    let error = assemble("r1 = 0xffffffff").unwrap_err();
    assert_eq!(
        error.diagnosis().help,
        ["r1 = 0xffffffff ll loads all 64 bits"]
    );
    assert_eq!(assemble("r1 = 0xffffffff ll").unwrap().len(), 2);
    assert!(assemble("r1 = 0x10000000000000000 ll").is_err());
}

#[test]
fn what_is_wrong_is_said_with_line_and_column() {
    for (text, column, message) in [
        ("r0 = r1 + 4", 9, "the instruction ends before this"),
        (
            "r11 = 0",
            1,
            "a register is needed: r0 to r10, or w0 to w10",
        ),
        ("r10 = 0", 1, "r10, the frame pointer, is read-only"),
        ("w1 = r2", 6, "both registers are r or both are w"),
        ("goto nowhere", 6, "there is no label `nowhere`"),
        ("a: a: exit", 4, "the label `a` is there twice"),
        (
            "call bpf_map_lookup_elem#2",
            6,
            "helper 2 is bpf_map_update_elem, not bpf_map_lookup_elem",
        ),
        ("if r1 = 0 goto pc+1", 7, "`=` is not a comparison"),
        (
            "*(s8 *)(r1 +0) = 1",
            2,
            "a store has no sign; write u8, u16, u32 or u64",
        ),
        (
            "r1 = *(u64 *)(r2 + 70000)",
            20,
            "an offset of 16 bits is needed",
        ),
        (
            "(b7) w1 = 3",
            5,
            "the line shows opcode 0xb7 and its text is 0xb4",
        ),
        ("r0 = ?", 6, "`?` means nothing here"),
        ("goto pc+40000", 1, "no instruction does this"),
        ("lock *(u8 *)(r1 +0) += r2", 1, "no instruction does this"),
    ] {
        let error = assemble(&format!("\n{text}")).unwrap_err();
        let source = error.diagnosis().place.source.clone().unwrap();
        assert_eq!(error.diagnosis().message, message, "{text}");
        assert_eq!((source.line, source.column), (2, column), "{text}");
        assert_eq!(error.kind(), ErrorKind::BadObject);
        assert_eq!(error.diagnosis().code, Code::ASSEMBLY);
    }
}

#[test]
fn slots_that_mean_nothing_are_shown_and_not_lost() {
    let bad = Insn {
        opcode: 0xff,
        ..Insn::default()
    };
    let text = disassemble(&[
        bad,
        Insn {
            opcode: 0x95,
            ..Insn::default()
        },
    ]);
    assert_eq!(
        text,
        ";    0: (ff) no instruction has opcode 0xff\n   1: (95) exit\n"
    );
}
