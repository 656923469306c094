//! Small programs: each field of the context, each helper with arguments that are taken and that are refused.

use twinbpf::{Insn, ProgramKind};

use super::SKB;

pub(crate) const EXIT: Insn = insn(0x95, 0, 0, 0, 0);

pub(crate) const fn insn(opcode: u8, dst: u8, src: u8, offset: i16, imm: i32) -> Insn {
    Insn {
        opcode,
        dst,
        src,
        offset,
        imm,
    }
}

pub(crate) const fn mov(dst: u8, imm: i32) -> Insn {
    insn(0xb7, dst, 0, 0, imm)
}

pub(crate) const fn copy(dst: u8, src: u8) -> Insn {
    insn(0xbf, dst, src, 0, 0)
}

pub(crate) const fn call(helper: i32) -> Insn {
    insn(0x85, 0, 0, 0, helper)
}

/// A register becomes a number of 64 bits.
pub(crate) fn wide(register: u8, value: i64) -> [Insn; 2] {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    [
        insn(0x18, register, 0, 0, i32::from_le_bytes([a, b, c, d])),
        insn(0, 0, 0, 0, i32::from_le_bytes([e, f, g, h])),
    ]
}

/// Fields of the context, their offsets, and the types that may read them.
pub(crate) const FIELDS: &[(&str, i16, &[ProgramKind])] = &[
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
pub(crate) const CALLS: &[(&str, i32, &[i32])] = &[
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

pub(crate) fn name_of(arguments: &[i32]) -> String {
    arguments
        .iter()
        .map(|argument| format!(" {argument:#x}"))
        .collect()
}

/// Calls a helper on the context. The value is what it answered, and 16 times as much again from the context afterwards.
pub(crate) fn calling(helper: i32, arguments: &[i32]) -> Vec<Insn> {
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
pub(crate) const FREE: [ProgramKind; 2] = [ProgramKind::SocketFilter, ProgramKind::SchedCls];

/// Programs of a few steps.
#[expect(clippy::too_many_lines, reason = "a flat list of programs")]
pub(crate) fn programs() -> Vec<(String, ProgramKind, Vec<Insn>)> {
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
pub(crate) fn with_memory() -> Vec<(String, ProgramKind, Vec<Insn>)> {
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
