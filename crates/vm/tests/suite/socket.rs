//! Socket filters on single frames.

use twinbpf_object::{Insn, MapKind, MapSpec};
use twinbpf_vm::capture::PacketKind;
use twinbpf_vm::hooks::socket::{SocketFilter, SocketFrame};

use crate::support::{add, call, copy, exit, insn, jump_if_zero, linked, load_program, mov, vms};

/// `r0 = *(size *)skb[offset]`, with the opcode of the size.
fn packet_load(opcode: u8, src: u8, offset: i32) -> Insn {
    insn(opcode, 0, src, 0, offset)
}

const BYTE: u8 = 0x30;
const HALF: u8 = 0x28;
const WORD: u8 = 0x20;
const BYTE_INDIRECT: u8 = 0x50;

/// 60 bytes, each its own position.
fn bytes() -> Vec<u8> {
    (0..60).collect()
}

fn frame(data: &[u8]) -> SocketFrame<'_> {
    SocketFrame {
        data,
        original_len: u32::try_from(data.len()).unwrap(),
        packet_kind: PacketKind::Outgoing,
        protocol: 0x0800,
        interface: 3,
        vlan: None,
    }
}

/// What the program answers for the frame, on every executor.
fn verdicts(insns: &[Insn], frame: &SocketFrame<'_>) -> Vec<Result<u32, String>> {
    let run = |vm| {
        let program = load_program(vm, insns.to_vec(), &[], &[]);
        let mut filter = SocketFilter::new(vm, &program).unwrap();
        filter.run(frame).map_err(|fault| fault.to_string())
    };
    vms().iter().map(run).collect()
}

fn all(value: u32) -> Vec<Result<u32, String>> {
    vec![Ok(value); vms().len()]
}

#[test]
fn packet_loads_are_in_network_order() {
    let data = bytes();
    let frame = frame(&data);
    assert_eq!(
        verdicts(&[copy(6, 1), packet_load(BYTE, 0, 23), exit()], &frame),
        all(23)
    );
    assert_eq!(
        verdicts(&[copy(6, 1), packet_load(HALF, 0, 12), exit()], &frame),
        all(0x0c0d)
    );
    assert_eq!(
        verdicts(&[copy(6, 1), packet_load(WORD, 0, 13), exit()], &frame),
        all(0x0d0e_0f10)
    );
    assert_eq!(
        verdicts(
            &[
                copy(6, 1),
                mov(7, 20),
                packet_load(BYTE_INDIRECT, 7, 3),
                exit()
            ],
            &frame
        ),
        all(23)
    );
    assert_eq!(
        verdicts(
            &[
                copy(6, 1),
                mov(7, -2),
                packet_load(BYTE_INDIRECT, 7, 5),
                exit()
            ],
            &frame
        ),
        all(3)
    );
}

#[test]
fn a_packet_load_beyond_the_packet_ends_the_program_with_0() {
    let data = bytes();
    for (opcode, offset) in [
        (BYTE, 60),
        (HALF, 59),
        (WORD, 57),
        (WORD, i32::MAX),
        (BYTE, -1),
        (BYTE, i32::MIN),
    ] {
        let insns = [
            copy(6, 1),
            mov(0, 7),
            packet_load(opcode, 0, offset),
            mov(0, 9),
            exit(),
        ];
        assert_eq!(verdicts(&insns, &frame(&data)), all(0), "{offset}");
    }
}

#[test]
fn negative_offsets_count_from_the_headers() {
    let data = bytes();
    let link_layer = -0x20_0000;
    let network = -0x10_0000;
    assert_eq!(
        verdicts(
            &[copy(6, 1), packet_load(BYTE, 0, link_layer + 5), exit()],
            &frame(&data)
        ),
        all(5)
    );
    assert_eq!(
        verdicts(
            &[copy(6, 1), packet_load(BYTE, 0, network + 9), exit()],
            &frame(&data)
        ),
        all(23)
    );
    assert_eq!(
        verdicts(
            &[copy(6, 1), packet_load(BYTE, 0, network + 46), exit()],
            &frame(&data)
        ),
        all(0)
    );
}

#[test]
fn a_packet_load_in_a_subprogram_ends_the_subprogram_alone() {
    for vm in vms() {
        let insns = vec![
            copy(6, 1),
            insn(0x85, 0, 1, 0, 2),
            add(0, 5),
            exit(),
            copy(6, 1),
            packet_load(BYTE, 0, 1000),
            mov(0, 100),
            exit(),
        ];
        let program = vm.load_program(&linked(insns, &[0, 4], &[]), &[]).unwrap();
        let data = bytes();
        assert_eq!(
            SocketFilter::new(&vm, &program).unwrap().run(&frame(&data)),
            Ok(5)
        );
    }
}

#[test]
fn a_packet_load_without_the_context_in_r6_is_a_fault() {
    let data = bytes();
    for verdict in verdicts(
        &[copy(6, 10), packet_load(BYTE, 0, 0), exit()],
        &frame(&data),
    ) {
        assert!(verdict.unwrap_err().contains("without the context in r6"));
    }
}

#[test]
fn the_context_says_what_the_frame_is() {
    let data = bytes();
    let mut frame = frame(&data);
    frame.original_len = 1500;
    let field = |offset| verdicts(&[insn(0x61, 0, 1, offset, 0), exit()], &frame);
    assert_eq!(field(0), all(1500));
    assert_eq!(field(4), all(4));
    assert_eq!(field(16), all(u32::from(0x0800u16.to_be())));
    assert_eq!(field(40), all(3));
    // data_end - data
    let length = [
        insn(0x61, 0, 1, 80, 0),
        insn(0x61, 2, 1, 76, 0),
        insn(0x1f, 0, 2, 0, 0),
        exit(),
    ];
    assert_eq!(verdicts(&length, &frame), all(60));
}

#[test]
fn the_job_of_sockex1_counts_bytes_by_protocol() {
    for vm in vms() {
        let map = vm
            .create_map(&MapSpec::new("my_map", MapKind::Array, 4, 8, 256))
            .unwrap();
        let insns = vec![
            copy(6, 1),
            insn(0x61, 1, 6, 4, 0),
            insn(0x55, 1, 0, 10, 4),
            packet_load(BYTE, 0, 23),
            insn(0x63, 10, 0, -4, 0),
            copy(2, 10),
            add(2, -4),
            insn(0x18, 1, 1, 0, 0),
            insn(0, 0, 0, 0, 0),
            call(1),
            jump_if_zero(0, 2),
            insn(0x61, 1, 6, 0, 0),
            insn(0xdb, 0, 1, 0, 0),
            mov(0, 0),
            exit(),
        ];
        let program = load_program(&vm, insns, std::slice::from_ref(&map), &[(7, 0)]);
        let mut filter = SocketFilter::new(&vm, &program).unwrap();
        let mut data = bytes();
        for (protocol, kind) in [
            (17, PacketKind::Outgoing),
            (17, PacketKind::Host),
            (6, PacketKind::Outgoing),
            (17, PacketKind::Outgoing),
        ] {
            data[23] = protocol;
            let frame = SocketFrame {
                packet_kind: kind,
                ..frame(&data)
            };
            assert_eq!(filter.run(&frame), Ok(0));
        }
        let bytes_of = |protocol: u32| {
            let mut value = [0; 8];
            map.lookup(&protocol.to_ne_bytes(), &mut value)
                .map(|()| u64::from_ne_bytes(value))
        };
        assert_eq!(
            (bytes_of(17), bytes_of(6), bytes_of(1)),
            (Ok(120), Ok(60), Ok(0))
        );
    }
}
