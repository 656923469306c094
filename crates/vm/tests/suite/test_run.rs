//! Test runs on every executor: what programs see of a packet, what they may do with it, what comes out.

use crate::support::{add, call, copy, exit, insn, linked, mov, store_word, vms};
use twinbpf_object::{Errno, Insn, ProgramKind, TestInput, TestOutput};
use twinbpf_vm::Vm;
use twinbpf_vm::hooks::test_run::test_run;

/// Ethernet, IPv4 without options, 6 bytes.
fn frame() -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    frame.extend([
        0x45, 0, 0, 26, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
    ]);
    frame.extend(1..=6);
    frame
}

fn run(
    vm: &Vm,
    kind: ProgramKind,
    insns: Vec<Insn>,
    input: &TestInput<'_>,
) -> Result<TestOutput, Option<Errno>> {
    let mut program = linked(insns, &[0], &[]);
    program.kind = Some(kind);
    let program = vm.load_program(&program, &[]).unwrap();
    test_run(vm, &program, input).map_err(|error| error.errno())
}

fn on_frame(vm: &Vm, kind: ProgramKind, insns: Vec<Insn>) -> TestOutput {
    let data = frame();
    let input = TestInput {
        data: &data,
        ..TestInput::default()
    };
    run(vm, kind, insns, &input).unwrap()
}

/// `r0 = *(u32 *)(context + offset)`
fn field(offset: i16) -> Vec<Insn> {
    vec![insn(0x61, 0, 1, offset, 0), exit()]
}

#[test]
fn programs_see_the_packet_from_where_their_type_starts() {
    for vm in vms() {
        // len, protocol, pkt_type of a frame that is for somebody else
        for (kind, len) in [
            (ProgramKind::SocketFilter, 26),
            (ProgramKind::CgroupSkb, 26),
            (ProgramKind::SchedCls, 40),
        ] {
            let output = on_frame(&vm, kind, field(0));
            assert_eq!(output.value, len, "{kind}");
            assert_eq!(on_frame(&vm, kind, field(16)).value, 8, "{kind}");
            assert_eq!(on_frame(&vm, kind, field(4)).value, 3, "{kind}");
            assert_eq!(on_frame(&vm, kind, field(40)).value, 1, "{kind}");
            let mut expected = frame();
            if kind != ProgramKind::SchedCls {
                expected[..14].fill(0);
            }
            assert_eq!(output.data, expected, "{kind}");
        }
    }
}

/// `r0 = end - data` through the 32-bit fields of the context.
fn direct_len(data: i16, end: i16) -> Vec<Insn> {
    vec![
        insn(0x61, 2, 1, data, 0),
        insn(0x61, 0, 1, end, 0),
        insn(0x1f, 0, 2, 0, 0),
        exit(),
    ]
}

#[test]
fn data_and_data_end_are_addresses_and_the_packet_lies_between_them() {
    for vm in vms() {
        assert_eq!(on_frame(&vm, ProgramKind::Xdp, direct_len(0, 4)).value, 40);
        let value = on_frame(&vm, ProgramKind::SchedCls, direct_len(76, 80)).value;
        assert_eq!(value, 40);
        // The first byte, directly.
        let first = vec![insn(0x61, 2, 1, 0, 0), insn(0x71, 0, 2, 0, 0), exit()];
        assert_eq!(on_frame(&vm, ProgramKind::Xdp, first).value, 2);
    }
}

#[test]
fn a_long_packet_is_directly_accessible_only_at_its_start() {
    for vm in vms() {
        let data = vec![0; 9000];
        let input = TestInput {
            data: &data,
            ..TestInput::default()
        };
        let output = run(&vm, ProgramKind::Xdp, direct_len(0, 4), &input).unwrap();
        assert_eq!(output.value, 3520);
        assert_eq!(output.data.len(), 9000);
        let len = vec![call(188), exit()];
        let output = run(&vm, ProgramKind::Xdp, len, &input).unwrap();
        assert_eq!(output.value, 9000);
        let refused = run(&vm, ProgramKind::SchedCls, direct_len(76, 80), &input);
        assert_eq!(
            refused,
            Err(Some(Errno::EINVAL)),
            "6.18 takes a page of those"
        );
    }
}

#[test]
fn an_xdp_program_moves_both_ends_of_its_packet() {
    for vm in vms() {
        // 4 bytes more in front, 6 fewer at the end
        let insns = vec![
            copy(6, 1),
            mov(2, -4),
            call(44),
            insn(0x55, 0, 0, 6, 0),
            copy(1, 6),
            mov(2, -6),
            call(65),
            insn(0x55, 0, 0, 2, 0),
            mov(0, 2),
            exit(),
            mov(0, 1),
            exit(),
        ];
        let output = on_frame(&vm, ProgramKind::Xdp, insns);
        assert_eq!(output.value, 2);
        assert_eq!(output.data.len(), 38);
        assert_eq!(output.data[4..], frame()[..34]);
    }
}

#[test]
fn an_xdp_program_cannot_leave_its_area_or_shrink_below_a_header() {
    for vm in vms() {
        for (helper, delta) in [(44, -217), (44, 27), (65, 3481), (65, -27)] {
            let insns = vec![mov(2, delta), call(helper), exit()];
            let value = on_frame(&vm, ProgramKind::Xdp, insns).value;
            assert_eq!(value.cast_signed(), -22, "helper {helper}, delta {delta}");
        }
        for (helper, delta) in [(44, -216), (44, 26), (65, 3480), (65, -26)] {
            let insns = vec![mov(2, delta), call(helper), exit()];
            let value = on_frame(&vm, ProgramKind::Xdp, insns).value;
            assert_eq!(value, 0, "helper {helper}, delta {delta}");
        }
    }
}

#[test]
fn a_stored_byte_and_a_replaced_checksum_come_out() {
    for vm in vms() {
        // The time to live becomes 63 in place, and the header's checksum follows: 0x4011 becomes 0x3f11.
        let mut insns = vec![copy(6, 1), insn(0x72, 10, 0, -1, 63)];
        insns.extend([
            mov(2, 22),
            copy(3, 10),
            add(3, -1),
            mov(4, 1),
            mov(5, 0),
            call(9),
        ]);
        insns.extend([
            copy(1, 6),
            mov(2, 24),
            mov(3, 0x1140),
            mov(4, 0x113f),
            mov(5, 2),
        ]);
        insns.extend([call(10), exit()]);
        let output = on_frame(&vm, ProgramKind::SchedCls, insns);
        assert_eq!(output.value, 0);
        assert_eq!(output.data[22], 63);
        // From 0, which stands for the sum of everything being all ones, to one's complement of the difference.
        assert_eq!(output.data[24..26], [1, 0]);
    }
}

#[test]
fn a_tag_is_pushed_beside_the_packet_and_a_second_one_into_it() {
    for vm in vms() {
        let push = |tci| [copy(1, 6), mov(2, 0x81), mov(3, tci), call(18)];
        let mut insns = vec![copy(6, 1)];
        insns.extend(push(5));
        insns.push(insn(0x61, 7, 6, 24, 0));
        insns.extend(push(9));
        insns.extend([
            insn(0x61, 0, 6, 24, 0),
            insn(0x67, 7, 0, 0, 8),
            insn(0x4f, 0, 7, 0, 0),
            exit(),
        ]);
        let output = on_frame(&vm, ProgramKind::SchedCls, insns);
        assert_eq!(output.value, 5 << 8 | 9);
        assert_eq!(output.data.len(), 44);
        assert_eq!(output.data[12..18], [0x81, 0, 0, 5, 8, 0]);
    }
}

#[test]
fn what_a_test_run_cannot_take_is_refused_with_the_kernels_errno() {
    let einval = Err(Some(Errno::EINVAL));
    for vm in vms() {
        let short = frame();
        let on = |kind, data: &[u8], context: &[u8]| {
            let input = TestInput {
                data,
                context,
                repeat: 1,
            };
            run(&vm, kind, vec![mov(0, 0), exit()], &input).map(drop)
        };
        assert_eq!(on(ProgramKind::SocketFilter, &short[..13], &[]), einval);
        assert_eq!(on(ProgramKind::SocketFilter, &short[..30], &[]), einval);
        assert_eq!(on(ProgramKind::Xdp, &short[..13], &[]), einval);
        assert_eq!(on(ProgramKind::Xdp, &short[..14], &[]), Ok(()));
        let not_zero = [1; 8];
        assert_eq!(on(ProgramKind::SchedCls, &short, &not_zero), einval);
        let kprobe = on(ProgramKind::Kprobe, &short, &[]);
        assert_eq!(kprobe, Err(Some(Errno::ENOTSUPP)));
    }
}

#[test]
fn the_writable_fields_of_the_context_come_back() {
    for vm in vms() {
        let data = frame();
        let mut context = vec![0; 192];
        context[8] = 7;
        context[48] = 1;
        let input = TestInput {
            data: &data,
            context: &context,
            repeat: 2,
        };
        // mark += 1, cb[1] = 5; r0 = cb[0]
        let insns = vec![
            insn(0x61, 2, 1, 8, 0),
            add(2, 1),
            insn(0x63, 1, 2, 8, 0),
            store_word(1, 52, 5),
            insn(0x61, 0, 1, 48, 0),
            exit(),
        ];
        let output = run(&vm, ProgramKind::SchedCls, insns, &input).unwrap();
        assert_eq!(output.value, 1);
        let mut expected = context.clone();
        (expected[8], expected[52], expected[40], expected[160]) = (9, 5, 1, 40);
        assert_eq!(output.context, expected);
    }
}
