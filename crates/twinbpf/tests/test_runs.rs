//! The same programs on the same packets in both engines: values, packets and contexts must agree, and error numbers too.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::ExitCode;

use twinbpf::{
    AttachKind, Errno, Insn, LinkedProgram, ProgramKind, TestInput, TestOutput, Vm, VmConfig,
};
use twinbpf_kernel::KernelProgram;
use twinbpf_trials::{Case, Need};
use twinbpf_vm::hooks::test_run::test_run;

/// Types whose programs see a socket buffer.
const SKB: [ProgramKind; 3] = [
    ProgramKind::SocketFilter,
    ProgramKind::CgroupSkb,
    ProgramKind::SchedCls,
];
/// More of them; these may return what they like.
const TUNNELS: [ProgramKind; 4] = [
    ProgramKind::LwtIn,
    ProgramKind::LwtOut,
    ProgramKind::LwtXmit,
    ProgramKind::LwtSeg6local,
];

fn main() -> ExitCode {
    let mut cases = Vec::new();
    let mut add = |name: String, kind, insns: Vec<Insn>| {
        cases.push(Case::new(&name, &[Need::Kernel], move || {
            compare(kind, &insns)
        }));
    };
    for (name, offset, kinds) in FIELDS {
        for kind in kinds.iter() {
            let mut insns = vec![insn(0x61, 0, 1, *offset, 0), EXIT];
            if *kind == ProgramKind::CgroupSkb {
                // These may return 0 or 1 only: the field goes into the mark, which comes back.
                insns = vec![
                    insn(0x61, 2, 1, *offset, 0),
                    insn(0x63, 1, 2, 8, 0),
                    mov(0, 1),
                    EXIT,
                ];
            }
            add(format!("field::{kind}::{name}"), *kind, insns);
        }
    }
    for (name, helper, arguments) in CALLS {
        for kind in [ProgramKind::SchedCls, ProgramKind::Xdp] {
            let is_xdp = matches!(helper, 44 | 54 | 65 | 188);
            if is_xdp == (kind == ProgramKind::Xdp) {
                let number = name_of(arguments);
                add(
                    format!("call::{kind}::{name}{number}"),
                    kind,
                    calling(*helper, arguments),
                );
            }
        }
    }
    for (name, kind, insns) in programs() {
        add(format!("program::{name}"), kind, insns);
    }
    cases.push(Case::new("contexts", &[Need::Kernel], contexts));
    cases.push(Case::new("lengths", &[Need::Kernel], lengths));
    cases.push(Case::new(
        "contexts longer than the struct",
        &[Need::Kernel],
        long_contexts,
    ));
    cases.push(Case::new(
        "flow dissectors",
        &[Need::Kernel],
        flow_dissectors,
    ));
    cases.push(Case::new(
        "choice of sockets",
        &[Need::Kernel],
        socket_lookups,
    ));
    cases.push(Case::new(
        "runs without packet",
        &[Need::Kernel],
        without_packet,
    ));
    cases.push(Case::new(
        "programs that maps run",
        &[Need::Kernel],
        run_by_maps,
    ));
    twinbpf_trials::run(cases)
}

const EXIT: Insn = insn(0x95, 0, 0, 0, 0);

const fn insn(opcode: u8, dst: u8, src: u8, offset: i16, imm: i32) -> Insn {
    Insn {
        opcode,
        dst,
        src,
        offset,
        imm,
    }
}

const fn mov(dst: u8, imm: i32) -> Insn {
    insn(0xb7, dst, 0, 0, imm)
}

const fn copy(dst: u8, src: u8) -> Insn {
    insn(0xbf, dst, src, 0, 0)
}

const fn call(helper: i32) -> Insn {
    insn(0x85, 0, 0, 0, helper)
}

/// Fields of the context, their offsets, and the types that may read them.
const FIELDS: &[(&str, i16, &[ProgramKind])] = &[
    ("len", 0, &SKB),
    ("pkt_type", 4, &SKB),
    ("mark", 8, &SKB),
    ("queue_mapping", 12, &SKB),
    ("protocol", 16, &SKB),
    ("vlan_present", 20, &SKB),
    ("vlan_tci", 24, &SKB),
    ("vlan_proto", 28, &SKB),
    ("priority", 32, &SKB),
    ("ingress_ifindex", 36, &SKB),
    ("ifindex", 40, &SKB),
    ("tc_index", 44, &SKB),
    ("cb", 48, &SKB),
    ("hash", 68, &SKB),
    ("tc_classid", 72, &[ProgramKind::SchedCls]),
    ("napi_id", 84, &SKB),
    ("family", 88, &[ProgramKind::CgroupSkb]),
    ("remote_ip4", 92, &[ProgramKind::CgroupSkb]),
    ("local_ip4", 96, &[ProgramKind::CgroupSkb]),
    ("remote_ip6", 104, &[ProgramKind::CgroupSkb]),
    ("local_ip6", 128, &[ProgramKind::CgroupSkb]),
    ("remote_port", 132, &[ProgramKind::CgroupSkb]),
    ("local_port", 136, &[ProgramKind::CgroupSkb]),
    ("wire_len", 160, &[ProgramKind::SchedCls]),
    ("gso_segs", 164, &SKB),
    ("gso_size", 176, &SKB),
    ("ingress_ifindex", 12, &[ProgramKind::Xdp]),
    ("rx_queue_index", 16, &[ProgramKind::Xdp]),
];

/// Helpers whose first argument is the context, with the arguments behind it.
const CALLS: &[(&str, i32, &[i32])] = &[
    ("adjust_head", 44, &[-216]),
    ("adjust_head", 44, &[-217]),
    ("adjust_head", 44, &[8]),
    ("adjust_head", 44, &[1 << 20]),
    ("adjust_meta", 54, &[-4]),
    ("adjust_meta", 54, &[-6]),
    ("adjust_meta", 54, &[-32]),
    ("adjust_meta", 54, &[-216]),
    ("adjust_meta", 54, &[-220]),
    ("adjust_meta", 54, &[4]),
    ("adjust_tail", 65, &[100]),
    ("adjust_tail", 65, &[-8]),
    ("adjust_tail", 65, &[-50]),
    ("adjust_tail", 65, &[3000]),
    ("adjust_tail", 65, &[3600]),
    ("buff_len", 188, &[]),
    ("vlan_push", 18, &[0x81, 100]),
    ("vlan_push", 18, &[0xa888, 0x2007]),
    ("vlan_push", 18, &[7, 1]),
    ("vlan_pop", 19, &[]),
    ("change_type", 32, &[1]),
    ("change_type", 32, &[4]),
    ("change_tail", 38, &[30, 0]),
    ("change_tail", 38, &[13, 0]),
    ("change_tail", 38, &[14, 0]),
    ("change_tail", 38, &[3000, 0]),
    ("change_tail", 38, &[70_000, 0]),
    ("change_tail", 38, &[30, 1]),
    ("pull_data", 39, &[0]),
    ("pull_data", 39, &[20]),
    ("pull_data", 39, &[5000]),
    ("csum_update", 40, &[5]),
    ("set_hash_invalid", 41, &[]),
    ("change_head", 43, &[4, 0]),
    ("change_head", 43, &[14, 0]),
    ("change_head", 43, &[14, 1]),
    ("change_head", 43, &[70_000, 0]),
    ("set_hash", 48, &[77]),
    ("cgroup_classid", 17, &[]),
    ("route_realm", 24, &[]),
    ("csum_level", 135, &[0]),
    ("csum_level", 135, &[1]),
    ("csum_level", 135, &[3]),
    ("csum_level", 135, &[4]),
    ("set_tstamp", 192, &[0, 0]),
    ("set_tstamp", 192, &[5, 0]),
    ("set_tstamp", 192, &[5, 1]),
    ("set_tstamp", 192, &[5, 2]),
    ("set_tstamp", 192, &[0, 1]),
    ("adjust_room", 50, &[8, 0, 0]),
    ("adjust_room", 50, &[8, 1, 0]),
    ("adjust_room", 50, &[-8, 0, 0]),
    ("adjust_room", 50, &[-8, 1, 0]),
    ("adjust_room", 50, &[-4, 0, 1]),
    ("adjust_room", 50, &[8, 2, 0]),
    ("adjust_room", 50, &[5000, 0, 0]),
    ("adjust_room", 50, &[8, 0, 1 << 20]),
    ("ecn_set_ce", 97, &[]),
    ("csum_level", 135, &[0]),
    ("csum_level", 135, &[1]),
    ("csum_level", 135, &[2]),
    ("csum_level", 135, &[3]),
    ("csum_level", 135, &[4]),
    ("clone_redirect", 13, &[1, 2]),
    ("clone_redirect", 13, &[1 << 20, 0]),
    ("route_realm", 24, &[]),
    ("change_proto", 31, &[0xdd86, 0]),
    ("change_proto", 31, &[0x0008, 0]),
    ("change_proto", 31, &[0x0008, 1]),
    ("change_proto", 31, &[7, 0]),
    ("set_tstamp", 192, &[0, 0]),
    ("set_tstamp", 192, &[5, 0]),
    ("set_tstamp", 192, &[5, 1]),
    ("set_tstamp", 192, &[0, 1]),
    ("set_tstamp", 192, &[5, 2]),
    ("set_tstamp", 192, &[5, 3]),
    ("set_tstamp", 192, &[5, 4]),
    ("l3_csum_replace", 10, &[24, 0x1140, 0x113f, 2]),
    ("l3_csum_replace", 10, &[24, 0x0100_000a, 0x0200_000a, 4]),
    ("l3_csum_replace", 10, &[24, 0, 0x1234, 0]),
    ("l3_csum_replace", 10, &[24, 0, 0, 0]),
    ("l3_csum_replace", 10, &[24, 1, 0, 0]),
    ("l3_csum_replace", 10, &[25, 0, 0, 2]),
    ("l3_csum_replace", 10, &[4000, 0, 0, 2]),
    ("l3_csum_replace", 10, &[24, 0, 0, 16]),
    ("l3_csum_replace", 10, &[24, 0, 0, 3]),
    ("l4_csum_replace", 11, &[40, 0x1140, 0x113f, 2]),
    ("l4_csum_replace", 11, &[40, 0x1140, 0x113f, 0x32]),
    ("l4_csum_replace", 11, &[50, 0, 0, 0x20]),
    ("l4_csum_replace", 11, &[50, 0x1234, 0x1234, 0x62]),
    ("l4_csum_replace", 11, &[40, 0x0100_000a, 0x0200_000a, 0x14]),
    ("l4_csum_replace", 11, &[40, 0, 0, 0x100]),
];

fn name_of(arguments: &[i32]) -> String {
    arguments
        .iter()
        .map(|argument| format!(" {argument:#x}"))
        .collect()
}

/// Calls a helper on the context. The value is what it answered, and 16 times as much again from the context afterwards.
fn calling(helper: i32, arguments: &[i32]) -> Vec<Insn> {
    let mut insns = vec![copy(6, 1)];
    for (argument, register) in arguments.iter().zip(2..) {
        insns.push(mov(register, *argument));
    }
    insns.push(call(helper));
    let fields: &[i16] = if matches!(helper, 44 | 54 | 65 | 188) {
        &[]
    } else {
        &[0, 4, 16, 20, 24, 28, 68]
    };
    for offset in fields {
        // r0 = r0 * 31 + field
        insns.push(insn(0x27, 0, 0, 0, 31));
        insns.push(insn(0x61, 7, 6, *offset, 0));
        insns.push(insn(0x0f, 0, 7, 0, 0));
    }
    insns.push(EXIT);
    insns
}

/// Types whose programs may return any number.
const FREE: [ProgramKind; 2] = [ProgramKind::SocketFilter, ProgramKind::SchedCls];

/// Programs of a few steps.
#[expect(clippy::too_many_lines, reason = "a flat list of programs")]
fn programs() -> Vec<(String, ProgramKind, Vec<Insn>)> {
    let mut programs = Vec::new();
    let load = |helper, offset, len: i32, extra: Option<i32>| {
        let mut insns = vec![
            insn(0x7a, 10, 0, -8, 0x5a5a),
            mov(2, offset),
            copy(3, 10),
            insn(0x07, 3, 0, 0, -8),
            mov(4, len),
        ];
        insns.extend(extra.map(|extra| mov(5, extra)));
        insns.extend([
            call(helper),
            insn(0x79, 7, 10, -8, 0),
            insn(0x27, 0, 0, 0, 31),
            insn(0x0f, 0, 7, 0, 0),
            EXIT,
        ]);
        insns
    };
    for (offset, len) in [
        (0, 8),
        (6, 4),
        (20, 8),
        (4000, 4),
        (0xffff, 1),
        (0x1_0000, 1),
        (-4, 4),
    ] {
        for kind in FREE {
            programs.push((
                format!("load {offset} {len} {kind}"),
                kind,
                load(26, offset, len, None),
            ));
        }
        let relative = [
            (ProgramKind::SocketFilter, 0),
            (ProgramKind::SchedCls, 1),
            (ProgramKind::SchedCls, 0),
        ];
        for (kind, start) in relative {
            let insns = load(68, offset, len, Some(start));
            programs.push((
                format!("relative {offset} {len} {start} {kind}"),
                kind,
                insns,
            ));
        }
        let insns = load(189, offset, len, None);
        programs.push((format!("load {offset} {len} xdp"), ProgramKind::Xdp, insns));
        let mut insns = load(9, offset, len, Some(0));
        insns.insert(0, mov(0, 0));
        programs.push((
            format!("store {offset} {len}"),
            ProgramKind::SchedCls,
            insns,
        ));
        let insns = load(190, offset, len, None);
        programs.push((format!("store {offset} {len} xdp"), ProgramKind::Xdp, insns));
    }
    for (from, to, seed) in [(4, 4, 0), (0, 8, 7), (8, 0, 7), (8, 8, -1), (0, 0, 5)] {
        let insns = vec![
            insn(0x7a, 10, 0, -8, 0x1234_5678),
            insn(0x7a, 10, 0, -16, -77),
            copy(1, 10),
            insn(0x07, 1, 0, 0, -8),
            mov(2, from),
            copy(3, 10),
            insn(0x07, 3, 0, 0, -16),
            mov(4, to),
            mov(5, seed),
            call(28),
            EXIT,
        ];
        programs.push((
            format!("csum_diff {from} {to} {seed}"),
            ProgramKind::SchedCls,
            insns,
        ));
    }
    for offset in [
        0,
        12,
        -0x20_0000,
        -0x20_0000 + 12,
        -0x10_0000,
        -0x10_0000 + 9,
        -1,
        4000,
    ] {
        for kind in FREE {
            let insns = vec![copy(6, 1), insn(0x28, 0, 0, 0, offset), EXIT];
            programs.push((format!("packet load {offset:#x} {kind}"), kind, insns));
        }
    }
    for (flags, kind) in [
        (0, ProgramKind::Xdp),
        (1, ProgramKind::Xdp),
        (0, ProgramKind::SchedCls),
        (1, ProgramKind::SchedCls),
        (2, ProgramKind::SchedCls),
    ] {
        let insns = vec![mov(1, 1), mov(2, flags), call(23), EXIT];
        programs.push((format!("redirect {flags} {kind}"), kind, insns));
    }
    programs.extend(with_memory());
    programs
}

/// Calls of helpers that take memory: 64 bytes of `fill`, in the argument given; the value tells the first eight of them too.
fn with_memory() -> Vec<(String, ProgramKind, Vec<Insn>)> {
    let (tc, xdp) = (ProgramKind::SchedCls, ProgramKind::Xdp);
    let sized = |helper, kind, size: i32, flags: i32, fill: i32| {
        (helper, kind, vec![None, Some(size), Some(flags)], fill)
    };
    let mut calls = Vec::new();
    for size in [4, 8, 12, 20, 24, 28, 32, 40, 44, 48, 64] {
        for flags in [0, 1, 2, 16, 31, 32] {
            calls.push(sized(20, tc, size, flags, 7));
            calls.push(sized(21, tc, size, flags, 0));
        }
        calls.push(sized(21, tc, size, 1, 1));
        calls.push((29, tc, vec![None, Some(size)], 7));
        calls.push((30, tc, vec![None, Some(size)], 7));
        calls.push((66, tc, vec![Some(0), None, Some(size), Some(0)], 7));
    }
    for kind in [tc, xdp] {
        for interface in [0, 1, 1 << 20] {
            for length in [0, 1, 1500, 65_535, 65_536, 65_537, -1] {
                for (difference, flags) in [
                    (0, 0),
                    (65_000, 0),
                    (66_000, 0),
                    (-40, 0),
                    (-66_000, 0),
                    (0, 1),
                    (1, 1),
                    (0, 2),
                ] {
                    calls.push((
                        163,
                        kind,
                        vec![Some(interface), None, Some(difference), Some(flags)],
                        length,
                    ));
                }
            }
        }
    }
    let insns = |helper, arguments: &[Option<i32>], fill: i32| {
        let mut insns = vec![copy(6, 1)];
        for at in (-64..0).step_by(4) {
            // With zeros behind: what is filled is the first word alone.
            let word = if at == -64 { fill } else { 0 };
            insns.push(insn(0x62, 10, 0, at, word));
        }
        for (argument, register) in arguments.iter().zip(2..) {
            match argument {
                Some(value) => insns.push(mov(register, *value)),
                None => insns.extend([copy(register, 10), insn(0x07, register, 0, 0, -64)]),
            }
        }
        insns.extend([
            call(helper),
            insn(0x79, 7, 10, -64, 0),
            insn(0x27, 0, 0, 0, 31),
            insn(0x0f, 0, 7, 0, 0),
            EXIT,
        ]);
        insns
    };
    let named = |(helper, kind, arguments, fill): (i32, ProgramKind, Vec<Option<i32>>, i32)| {
        let insns = insns(helper, &arguments, fill);
        (
            format!("memory {helper} {arguments:?} {fill} {kind}"),
            kind,
            insns,
        )
    };
    calls.into_iter().map(named).collect()
}

/// Frames with the headers that programs look for, and without.
fn frames() -> Vec<Vec<u8>> {
    let ipv4 = |service: u8, protocol: u8, len: usize| {
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
        frame.extend([
            0x45, service, 0, 60, 0x12, 0x34, 0, 0, 64, protocol, 0x54, 0x86,
        ]);
        frame.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend((0..len).map(|index| index.to_le_bytes()[0].wrapping_mul(7)));
        frame
    };
    let mut ipv6 = vec![
        0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 1, 0x86, 0xdd, 0x60, 0x10,
    ];
    ipv6.extend((0..70).map(|index: u8| index.wrapping_mul(5)));
    let mut tagged = ipv4(0, 17, 30);
    tagged.splice(12..12, [0x81, 0, 0x20, 0x64]);
    let mut twice = tagged.clone();
    twice.splice(12..12, [0x88, 0xa8, 0, 5]);
    let mut broadcast = ipv4(0, 17, 30);
    broadcast[..6].fill(0xff);
    let mut arp = vec![0; 42];
    arp[12..14].copy_from_slice(&[8, 6]);
    let mut raw = vec![0; 60];
    raw[13] = 40;
    let mut novell = raw.clone();
    novell[14..16].fill(0xff);
    vec![
        ipv4(0, 6, 40),
        ipv4(1, 17, 40),
        ipv4(3, 17, 600),
        ipv4(0, 17, 5000),
        ipv6,
        tagged,
        twice,
        broadcast,
        arp,
        raw,
        novell,
    ]
}

/// Contexts that are cut or go on behind the struct, with and without something there.
fn long_contexts() {
    let frame = frames().remove(0);
    for (kind, size) in [
        (ProgramKind::SchedCls, 192),
        (ProgramKind::Xdp, 24),
        (ProgramKind::FlowDissector, 56),
        (ProgramKind::SkLookup, 72),
    ] {
        let (kernel, on_vm) = on_both(kind, &[mov(0, 1), EXIT]);
        for len in [1, 4, 8, 12, size - 1, size, size + 1, size + 8, 4000, 5000] {
            for last in [0, 1] {
                let mut context = vec![0; len];
                if kind == ProgramKind::Xdp && len >= 8 {
                    context[4] = frame.len().to_le_bytes()[0];
                }
                if kind == ProgramKind::SkLookup && len >= 12 {
                    context[8] = 2;
                }
                context[len - 1] |= last;
                let data = if kind == ProgramKind::SkLookup {
                    &[]
                } else {
                    &frame[..]
                };
                agree(
                    &kernel,
                    &on_vm,
                    &TestInput {
                        data,
                        context: &context,
                        repeat: 0,
                    },
                );
            }
        }
    }
}

/// Keys before and after, packets of every length, offsets forced into the packet.
#[expect(
    clippy::too_many_lines,
    reason = "a flat list of programs, then the runs"
)]
fn flow_dissectors() {
    let keys = |offset, size: u8, value| {
        let store = match size {
            2 => 0x6a,
            _ => 0x62,
        };
        // keys = context->flow_keys; keys->field = value
        vec![
            insn(0x79, 2, 1, 144, 0),
            insn(store, 2, 0, offset, value),
            mov(0, 0),
            EXIT,
        ]
    };
    let mut programs = vec![
        vec![mov(0, 0), EXIT],
        vec![mov(0, 2), EXIT],
        vec![mov(0, 129), EXIT],
        keys(16, 4, 0x0100_007f),
        keys(52, 4, 77),
        // What the program finds in the keys at its start.
        vec![
            insn(0x79, 2, 1, 144, 0),
            insn(0x69, 0, 2, 2, 0),
            insn(0x69, 3, 2, 10, 0),
            insn(0x27, 0, 0, 0, 31),
            insn(0x0f, 0, 3, 0, 0),
            EXIT,
        ],
        vec![insn(0x79, 2, 1, 144, 0), insn(0x61, 0, 2, 48, 0), EXIT],
        // data_end - data
        vec![
            insn(0x61, 2, 1, 76, 0),
            insn(0x61, 0, 1, 80, 0),
            insn(0x1f, 0, 2, 0, 0),
            EXIT,
        ],
    ];
    for value in [0, 3, 14, 20, 60, 4000, -1] {
        programs.push(keys(0, 2, value));
        programs.push(keys(2, 2, value));
    }
    for offset in [0, 12, 30, 70, 0xffff, 0x1_0000] {
        programs.push(vec![
            mov(2, offset),
            copy(3, 10),
            insn(0x07, 3, 0, 0, -8),
            mov(4, 4),
            insn(0x62, 10, 0, -8, 7),
            call(26),
            insn(0x61, 7, 10, -8, 0),
            insn(0x27, 0, 0, 0, 31),
            insn(0x0f, 0, 7, 0, 0),
            EXIT,
        ]);
    }
    for insns in programs {
        let (kernel, on_vm) = on_both(ProgramKind::FlowDissector, &insns);
        for frame in frames() {
            for (flags, repeat) in [(None, 0), (Some(0), 1), (Some(3), 3)] {
                let mut context = [0; 56];
                context[48] = flags.unwrap_or(0);
                let context = if flags.is_some() { &context[..] } else { &[] };
                agree(
                    &kernel,
                    &on_vm,
                    &TestInput {
                        data: &frame,
                        context,
                        repeat,
                    },
                );
            }
        }
        for len in [0, 13, 14, 15, 4095, 4096, 4097, 9000] {
            agree(
                &kernel,
                &on_vm,
                &TestInput {
                    data: &vec![7; len],
                    ..TestInput::default()
                },
            );
        }
    }
    let (kernel, on_vm) = on_both(ProgramKind::FlowDissector, &[mov(0, 0), EXIT]);
    for offset in 0..56 {
        let mut context = vec![0; 56];
        context[offset] = 1;
        agree(
            &kernel,
            &on_vm,
            &TestInput {
                data: &frames()[0],
                context: &context,
                repeat: 1,
            },
        );
    }
}

/// Every field of the context, both families, every byte of the context set alone.
#[expect(
    clippy::too_many_lines,
    reason = "a flat list of programs, then the runs"
)]
fn socket_lookups() {
    let mut programs = vec![vec![mov(0, 0), EXIT], vec![mov(0, 1), EXIT]];
    // The field decides: any bit of a byte of it lets the connection pass.
    for offset in (8..64).step_by(4) {
        for shift in [0, 8, 16, 24] {
            programs.push(vec![
                insn(0x61, 2, 1, offset, 0),
                insn(0x77, 2, 0, 0, shift),
                insn(0x57, 2, 0, 0, 0xff),
                mov(0, 0),
                insn(0x15, 2, 0, 1, 0),
                mov(0, 1),
                EXIT,
            ]);
        }
    }
    for flags in [0, 1, 3, 4] {
        programs.push(vec![
            mov(2, 0),
            mov(3, flags),
            call(124),
            mov(2, 0),
            insn(0x15, 0, 0, 1, 0),
            mov(2, 1),
            copy(0, 2),
            EXIT,
        ]);
    }
    for insns in programs {
        let (kernel, on_vm) = on_both(ProgramKind::SkLookup, &insns);
        for family in [0, 1, 2, 10, 11] {
            let mut context = vec![0; 72];
            for (index, byte) in context.iter_mut().enumerate().take(60).skip(12) {
                *byte = index.to_le_bytes()[0];
            }
            context[8] = family;
            context[60..62].copy_from_slice(&[0x39, 0x30]);
            for repeat in [0, 1, 5] {
                agree(
                    &kernel,
                    &on_vm,
                    &TestInput {
                        data: &[],
                        context: &context,
                        repeat,
                    },
                );
            }
            agree(
                &kernel,
                &on_vm,
                &TestInput {
                    data: &[1; 20],
                    context: &context,
                    repeat: 0,
                },
            );
        }
        agree(&kernel, &on_vm, &TestInput::default());
    }
    let (kernel, on_vm) = on_both(ProgramKind::SkLookup, &[mov(0, 1), EXIT]);
    for offset in 0..72 {
        for value in [1, 2, 10, 0xff] {
            for family in [2, 10] {
                let mut context = vec![0; 72];
                context[8] = family;
                context[offset] = value;
                agree(
                    &kernel,
                    &on_vm,
                    &TestInput {
                        data: &[],
                        context: &context,
                        repeat: 1,
                    },
                );
            }
        }
    }
}

/// Raw tracepoints and programs on request: contexts of every length, values, repetitions.
fn without_packet() {
    let reads = |offset| vec![insn(0x79, 0, 1, offset, 0), EXIT];
    let later = vec![copy(6, 1), call(5), insn(0x79, 0, 6, 16, 0), EXIT];
    for (kind, programs) in [
        (
            ProgramKind::RawTracepoint,
            vec![
                vec![mov(0, 7), EXIT],
                vec![mov(0, -1), EXIT],
                reads(0),
                reads(8),
                reads(88),
                later,
            ],
        ),
        (
            ProgramKind::Syscall,
            vec![
                vec![mov(0, 7), EXIT],
                reads(0),
                reads(40),
                vec![insn(0x7a, 1, 0, 8, 5), mov(0, 0), EXIT],
            ],
        ),
    ] {
        for insns in programs {
            let (kernel, on_vm) = on_both(kind, &insns);
            for len in [0, 1, 7, 8, 15, 16, 24, 48, 88, 95, 96, 97, 104, 4096] {
                let context: Vec<u8> = (0..len)
                    .map(|index: u16| index.to_le_bytes()[0].wrapping_mul(3))
                    .collect();
                for repeat in [0, 2] {
                    agree(
                        &kernel,
                        &on_vm,
                        &TestInput {
                            data: &[],
                            context: &context,
                            repeat,
                        },
                    );
                }
            }
            agree(
                &kernel,
                &on_vm,
                &TestInput {
                    data: &[1; 64],
                    context: &[0; 96],
                    repeat: 0,
                },
            );
        }
    }
}

/// Programs for the entries of maps of devices and CPUs have no test runs.
fn run_by_maps() {
    for name in ["XDP_DEVMAP", "XDP_CPUMAP", "XDP"] {
        let mut linked = LinkedProgram::from_insns("test", ProgramKind::Xdp, vec![mov(0, 2), EXIT]);
        linked.attach = AttachKind::from_kernel_name(name);
        let (kernel, on_vm) = both(&linked);
        for frame in frames() {
            agree(
                &kernel,
                &on_vm,
                &TestInput {
                    data: &frame,
                    ..TestInput::default()
                },
            );
        }
    }
}

fn on_both(
    kind: ProgramKind,
    insns: &[Insn],
) -> (
    KernelProgram,
    impl Fn(&TestInput<'_>) -> Result<TestOutput, Option<Errno>> + use<>,
) {
    let mut linked = LinkedProgram::from_insns("test", kind, insns.to_vec());
    if kind == ProgramKind::SkLookup {
        linked.attach = AttachKind::from_kernel_name("SK_LOOKUP");
    }
    linked.is_sleepable = kind == ProgramKind::Syscall;
    both(&linked)
}

fn both(
    linked: &LinkedProgram,
) -> (
    KernelProgram,
    impl Fn(&TestInput<'_>) -> Result<TestOutput, Option<Errno>> + use<>,
) {
    let kernel = KernelProgram::load(linked, &[], Some("GPL"), None).unwrap();
    let vm = Vm::new(VmConfig::default()).unwrap();
    let program = vm.load_program(linked, &[]).unwrap();
    (kernel, move |input| {
        test_run(&vm, &program, input).map_err(|error| error.errno())
    })
}

fn compare(kind: ProgramKind, insns: &[Insn]) {
    let (kernel, on_vm) = on_both(kind, insns);
    for frame in frames() {
        agree(
            &kernel,
            &on_vm,
            &TestInput {
                data: &frame,
                ..TestInput::default()
            },
        );
    }
}

fn agree(
    kernel: &KernelProgram,
    on_vm: impl Fn(&TestInput<'_>) -> Result<TestOutput, Option<Errno>>,
    input: &TestInput<'_>,
) {
    // How long it took may differ.
    let timeless = |output: TestOutput| TestOutput {
        duration_ns: 0,
        ..output
    };
    let expected = twinbpf_kernel::test_run(kernel, input).map_err(|error| error.errno());
    let actual = on_vm(input);
    let (actual, expected) = (actual.map(timeless), expected.map(timeless));
    assert!(
        actual == expected,
        "{}: {} bytes, context of {} {:?}: vm {}, kernel {}",
        kernel.kind(),
        input.data.len(),
        input.context.len(),
        input.context.iter().position(|byte| *byte != 0),
        told(&actual),
        told(&expected)
    );
}

fn told(outcome: &Result<TestOutput, Option<Errno>>) -> String {
    match outcome {
        Ok(output) => format!(
            "value {:#x}, {} bytes {:02x?}, context {:02x?}",
            output.value,
            output.data.len(),
            output.data.get(..64).unwrap_or(&output.data),
            output.context
        ),
        Err(errno) => format!("{errno:?}"),
    }
}

/// Contexts with one byte that is not zero, at every offset.
fn contexts() {
    let frame = frames().remove(0);
    let insns = [mov(0, 1), EXIT];
    for (kind, size) in [
        (ProgramKind::SchedCls, 192),
        (ProgramKind::SocketFilter, 192),
        (ProgramKind::Xdp, 24),
    ] {
        let (kernel, on_vm) = on_both(kind, &insns);
        for offset in 0..size {
            for value in [1, 8, 40] {
                let mut context = vec![0; size];
                context[offset] = value;
                if kind == ProgramKind::Xdp && !(4..8).contains(&offset) {
                    context[4] = frame.len().to_le_bytes()[0];
                }
                agree(
                    &kernel,
                    &on_vm,
                    &TestInput {
                        data: &frame,
                        context: &context,
                        repeat: 1,
                    },
                );
            }
        }
    }
}

/// Every length of a packet of each protocol.
fn lengths() {
    let insns = [mov(0, 1), EXIT];
    for kind in SKB.into_iter().chain(TUNNELS).chain([ProgramKind::Xdp]) {
        let (kernel, on_vm) = on_both(kind, &insns);
        for frame in frames() {
            for len in (0..frame.len().min(90)).chain([
                3000, 3503, 3504, 3505, 3519, 3520, 3521, 3695, 3696, 3697, 3711, 3712, 3713, 3775,
                3776, 3777,
            ]) {
                let data = frame.get(..len).unwrap_or_default();
                agree(
                    &kernel,
                    &on_vm,
                    &TestInput {
                        data,
                        ..TestInput::default()
                    },
                );
            }
        }
    }
}
