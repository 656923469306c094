//! `bpf_skb_adjust_room` with every flag, both ways: alone, against a table of what Linux 6.18 answered, and beside the kernel.

use twinbpf::{Insn, LinkedProgram, ProgramKind, TestInput, Vm, VmConfig};
use twinbpf_trials::{Case, Need};
use twinbpf_vm::hooks::test_run::test_run;

use super::agreement::{agree, on_both};
use super::programs::{EXIT, call, copy, insn, mov, wide};

const NET: i64 = 0;
const MAC: i64 = 1;

/// Flags by the names of `linux/bpf.h`, without `BPF_F_ADJ_ROOM_`.
const FIXED_GSO: i64 = 1;
const ENCAP_L3_IPV4: i64 = 2;
const ENCAP_L3_IPV6: i64 = 4;
const ENCAP_L4_GRE: i64 = 8;
const ENCAP_L4_UDP: i64 = 16;
const NO_CSUM_RESET: i64 = 32;
const ENCAP_L2_ETH: i64 = 64;
const DECAP_L3_IPV4: i64 = 128;
const DECAP_L3_IPV6: i64 = 256;
const fn encap_l2(len: i64) -> i64 {
    len << 56
}

const VXLAN: i64 = ENCAP_L3_IPV4 | ENCAP_L4_UDP | ENCAP_L2_ETH | encap_l2(22);

const EINVAL: i32 = -22;
const EFAULT: i32 = -14;
const EALREADY: i32 = -114;
const ENOTSUPP: i32 = -524;
/// Protocols as the context has them.
const IP4: i32 = 0x0008;
const IP6: i32 = 0xdd86;
const ARP: i32 = 0x0608;

/// Combinations of flags that mean something, and some that do not.
const FLAGS: &[(&str, i64)] = &[
    ("none", 0),
    ("fixed_gso", FIXED_GSO),
    ("no_csum_reset", NO_CSUM_RESET),
    ("ipip", ENCAP_L3_IPV4),
    ("ip6ip", ENCAP_L3_IPV6),
    ("both_versions", ENCAP_L3_IPV4 | ENCAP_L3_IPV6),
    ("gre", ENCAP_L3_IPV4 | ENCAP_L4_GRE),
    ("gre6", ENCAP_L3_IPV6 | ENCAP_L4_GRE),
    ("udp", ENCAP_L3_IPV4 | ENCAP_L4_UDP),
    ("udp6", ENCAP_L3_IPV6 | ENCAP_L4_UDP | FIXED_GSO),
    ("gre_and_udp", ENCAP_L3_IPV4 | ENCAP_L4_GRE | ENCAP_L4_UDP),
    ("udp_alone", ENCAP_L4_UDP),
    ("mpls", ENCAP_L3_IPV4 | ENCAP_L4_GRE | encap_l2(4)),
    ("vxlan", VXLAN),
    (
        "short_ethernet",
        ENCAP_L3_IPV4 | ENCAP_L2_ETH | encap_l2(13),
    ),
    ("long_link_layer", ENCAP_L3_IPV4 | encap_l2(255)),
    ("link_layer_alone", encap_l2(14)),
    ("out_of_ipv4", DECAP_L3_IPV4),
    ("out_of_ipv6", DECAP_L3_IPV6 | NO_CSUM_RESET),
    ("out_of_both", DECAP_L3_IPV4 | DECAP_L3_IPV6),
    ("in_and_out", DECAP_L3_IPV4 | ENCAP_L3_IPV4),
    ("unknown", 512),
    ("unknown_far", 1 << 32),
];

const DELTAS: &[i64] = &[
    0, 1, 8, 20, 42, 255, 4095, 4096, -1, -8, -20, -26, -40, -41, -4095, -4096,
];

/// The table, and each set of flags in each mode beside the kernel.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vec![Case::new("room::as_in_the_table", &[], as_in_the_table)];
    for (name, flags) in FLAGS {
        for mode in [NET, MAC, 2] {
            cases.push(Case::new(
                &format!("room::mode_{mode}::{name}"),
                &[Need::Kernel, Need::Linux618],
                move || beside_the_kernel(mode, *flags),
            ));
        }
    }
    cases
}

/// Every combination of one mode and one set of flags with every length and every packet, beside the kernel.
fn beside_the_kernel(mode: i64, flags: i64) {
    for delta in DELTAS {
        let (kernel, on_vm) = on_both(ProgramKind::SchedCls, &program(*delta, mode, flags));
        for (_, frame) in frames() {
            let input = TestInput {
                data: &frame,
                ..TestInput::default()
            };
            agree(&kernel, &on_vm, &input);
        }
    }
}

/// Packet, change, mode, flags; and what came back: the answer, the packet's length, its protocol, `change_tail` afterwards, and the same
/// call again.
///
/// KERNEL: taken from 6.18.
type Row = (&'static str, i64, i64, i64, [i32; 5]);

#[rustfmt::skip]
const TABLE: &[Row] = &[
    ("ipv4", 8, NET, 0, [0, 82, IP4, 0, 0]),
    ("ipv4", 20, MAC, ENCAP_L3_IPV4, [0, 94, IP4, ENOTSUPP, EALREADY]),
    ("ipv4", 40, MAC, ENCAP_L3_IPV6, [0, 114, IP6, ENOTSUPP, EALREADY]),
    ("ipv4", 20, MAC, ENCAP_L3_IPV4 | ENCAP_L3_IPV6, [EINVAL, 74, IP4, 0, EINVAL]),
    ("ipv4", 28, MAC, ENCAP_L3_IPV4 | ENCAP_L4_UDP, [0, 102, IP4, ENOTSUPP, EALREADY]),
    ("ipv4", 28, MAC, ENCAP_L3_IPV4 | ENCAP_L4_UDP | ENCAP_L4_GRE, [EINVAL, 74, IP4, 0, EINVAL]),
    ("ipv4", 50, MAC, VXLAN, [0, 124, IP4, ENOTSUPP, EALREADY]),
    ("ipv4", 50, MAC, ENCAP_L3_IPV4 | ENCAP_L2_ETH | encap_l2(13), [EINVAL, 74, IP4, 0, EINVAL]),
    ("ipv4", 20, MAC, ENCAP_L3_IPV4 | encap_l2(40), [EINVAL, 74, IP4, 0, EINVAL]),
    ("ipv4", -8, NET, 0, [0, 66, IP4, 0, 0]),
    ("ipv4", -20, MAC, DECAP_L3_IPV4, [0, 54, IP4, 0, 0]),
    ("ipv4", -20, MAC, DECAP_L3_IPV6, [0, 54, IP6, 0, ENOTSUPP]),
    ("ipv4", 20, MAC, DECAP_L3_IPV4, [EINVAL, 74, IP4, 0, EINVAL]),
    ("ipv4", -20, MAC, DECAP_L3_IPV4 | DECAP_L3_IPV6, [EINVAL, 74, IP4, 0, EINVAL]),
    ("ipv4", -20, MAC, DECAP_L3_IPV4 | ENCAP_L3_IPV4, [EINVAL, 74, IP4, 0, EINVAL]),
    ("ipv4", -41, NET, 0, [ENOTSUPP, 74, IP4, 0, ENOTSUPP]),
    ("ipv4", 8, 2, 0, [ENOTSUPP, 74, IP4, 0, ENOTSUPP]),
    ("ipv4", 4096, NET, 0, [EFAULT, 74, IP4, 0, EFAULT]),
    ("ipv4", 8, NET, 512, [EINVAL, 74, IP4, 0, EINVAL]),
    ("ipv4", -60, MAC, DECAP_L3_IPV4, [ENOTSUPP, 74, IP4, 0, ENOTSUPP]),
    ("short ipv4", 8, NET, 0, [0, 42, IP4, 0, 0]),
    ("short ipv4", 20, MAC, ENCAP_L3_IPV4, [0, 54, IP4, ENOTSUPP, EALREADY]),
    ("short ipv4", 40, MAC, ENCAP_L3_IPV6, [0, 74, IP6, ENOTSUPP, EALREADY]),
    ("short ipv4", 20, MAC, ENCAP_L3_IPV4 | ENCAP_L3_IPV6, [EINVAL, 34, IP4, 0, EINVAL]),
    ("short ipv4", 28, MAC, ENCAP_L3_IPV4 | ENCAP_L4_UDP, [0, 62, IP4, ENOTSUPP, EALREADY]),
    ("short ipv4", 28, MAC, ENCAP_L3_IPV4 | ENCAP_L4_UDP | ENCAP_L4_GRE, [EINVAL, 34, IP4, 0, EINVAL]),
    ("short ipv4", 50, MAC, VXLAN, [0, 84, IP4, ENOTSUPP, EALREADY]),
    ("short ipv4", 50, MAC, ENCAP_L3_IPV4 | ENCAP_L2_ETH | encap_l2(13), [EINVAL, 34, IP4, 0, EINVAL]),
    ("short ipv4", 20, MAC, ENCAP_L3_IPV4 | encap_l2(40), [EINVAL, 34, IP4, 0, EINVAL]),
    ("short ipv4", -8, NET, 0, [ENOTSUPP, 34, IP4, 0, ENOTSUPP]),
    ("short ipv4", -20, MAC, DECAP_L3_IPV4, [ENOTSUPP, 34, IP4, 0, ENOTSUPP]),
    ("short ipv4", -20, MAC, DECAP_L3_IPV6, [ENOTSUPP, 34, IP4, 0, ENOTSUPP]),
    ("short ipv4", 20, MAC, DECAP_L3_IPV4, [EINVAL, 34, IP4, 0, EINVAL]),
    ("short ipv4", -20, MAC, DECAP_L3_IPV4 | DECAP_L3_IPV6, [EINVAL, 34, IP4, 0, EINVAL]),
    ("short ipv4", -20, MAC, DECAP_L3_IPV4 | ENCAP_L3_IPV4, [ENOTSUPP, 34, IP4, 0, ENOTSUPP]),
    ("short ipv4", -41, NET, 0, [ENOTSUPP, 34, IP4, 0, ENOTSUPP]),
    ("short ipv4", 8, 2, 0, [ENOTSUPP, 34, IP4, 0, ENOTSUPP]),
    ("short ipv4", 4096, NET, 0, [EFAULT, 34, IP4, 0, EFAULT]),
    ("short ipv4", 8, NET, 512, [EINVAL, 34, IP4, 0, EINVAL]),
    ("short ipv4", -60, MAC, DECAP_L3_IPV4, [ENOTSUPP, 34, IP4, 0, ENOTSUPP]),
    ("ipv6", 8, NET, 0, [0, 122, IP6, 0, 0]),
    ("ipv6", 20, MAC, ENCAP_L3_IPV4, [0, 134, IP4, ENOTSUPP, EALREADY]),
    ("ipv6", 40, MAC, ENCAP_L3_IPV6, [0, 154, IP6, ENOTSUPP, EALREADY]),
    ("ipv6", 20, MAC, ENCAP_L3_IPV4 | ENCAP_L3_IPV6, [EINVAL, 114, IP6, 0, EINVAL]),
    ("ipv6", 28, MAC, ENCAP_L3_IPV4 | ENCAP_L4_UDP, [0, 142, IP4, ENOTSUPP, EALREADY]),
    ("ipv6", 28, MAC, ENCAP_L3_IPV4 | ENCAP_L4_UDP | ENCAP_L4_GRE, [EINVAL, 114, IP6, 0, EINVAL]),
    ("ipv6", 50, MAC, VXLAN, [0, 164, IP4, ENOTSUPP, EALREADY]),
    ("ipv6", 50, MAC, ENCAP_L3_IPV4 | ENCAP_L2_ETH | encap_l2(13), [EINVAL, 114, IP6, 0, EINVAL]),
    ("ipv6", 20, MAC, ENCAP_L3_IPV4 | encap_l2(40), [EINVAL, 114, IP6, 0, EINVAL]),
    ("ipv6", -8, NET, 0, [0, 106, IP6, 0, 0]),
    ("ipv6", -20, MAC, DECAP_L3_IPV4, [0, 94, IP4, 0, 0]),
    ("ipv6", -20, MAC, DECAP_L3_IPV6, [0, 94, IP6, 0, 0]),
    ("ipv6", 20, MAC, DECAP_L3_IPV4, [EINVAL, 114, IP6, 0, EINVAL]),
    ("ipv6", -20, MAC, DECAP_L3_IPV4 | DECAP_L3_IPV6, [EINVAL, 114, IP6, 0, EINVAL]),
    ("ipv6", -20, MAC, DECAP_L3_IPV4 | ENCAP_L3_IPV4, [EINVAL, 114, IP6, 0, EINVAL]),
    ("ipv6", -41, NET, 0, [0, 73, IP6, 0, ENOTSUPP]),
    ("ipv6", 8, 2, 0, [ENOTSUPP, 114, IP6, 0, ENOTSUPP]),
    ("ipv6", 4096, NET, 0, [EFAULT, 114, IP6, 0, EFAULT]),
    ("ipv6", 8, NET, 512, [EINVAL, 114, IP6, 0, EINVAL]),
    ("ipv6", -60, MAC, DECAP_L3_IPV4, [0, 54, IP4, 0, ENOTSUPP]),
    ("short ipv6", 8, NET, 0, [0, 62, IP6, 0, 0]),
    ("short ipv6", 20, MAC, ENCAP_L3_IPV4, [0, 74, IP4, ENOTSUPP, EALREADY]),
    ("short ipv6", 40, MAC, ENCAP_L3_IPV6, [0, 94, IP6, ENOTSUPP, EALREADY]),
    ("short ipv6", 20, MAC, ENCAP_L3_IPV4 | ENCAP_L3_IPV6, [EINVAL, 54, IP6, 0, EINVAL]),
    ("short ipv6", 28, MAC, ENCAP_L3_IPV4 | ENCAP_L4_UDP, [0, 82, IP4, ENOTSUPP, EALREADY]),
    ("short ipv6", 28, MAC, ENCAP_L3_IPV4 | ENCAP_L4_UDP | ENCAP_L4_GRE, [EINVAL, 54, IP6, 0, EINVAL]),
    ("short ipv6", 50, MAC, VXLAN, [0, 104, IP4, ENOTSUPP, EALREADY]),
    ("short ipv6", 50, MAC, ENCAP_L3_IPV4 | ENCAP_L2_ETH | encap_l2(13), [EINVAL, 54, IP6, 0, EINVAL]),
    ("short ipv6", 20, MAC, ENCAP_L3_IPV4 | encap_l2(40), [EINVAL, 54, IP6, 0, EINVAL]),
    ("short ipv6", -8, NET, 0, [ENOTSUPP, 54, IP6, 0, ENOTSUPP]),
    ("short ipv6", -20, MAC, DECAP_L3_IPV4, [0, 34, IP4, 0, ENOTSUPP]),
    ("short ipv6", -20, MAC, DECAP_L3_IPV6, [ENOTSUPP, 54, IP6, 0, ENOTSUPP]),
    ("short ipv6", 20, MAC, DECAP_L3_IPV4, [EINVAL, 54, IP6, 0, EINVAL]),
    ("short ipv6", -20, MAC, DECAP_L3_IPV4 | DECAP_L3_IPV6, [EINVAL, 54, IP6, 0, EINVAL]),
    ("short ipv6", -20, MAC, DECAP_L3_IPV4 | ENCAP_L3_IPV4, [EINVAL, 54, IP6, 0, EINVAL]),
    ("short ipv6", -41, NET, 0, [ENOTSUPP, 54, IP6, 0, ENOTSUPP]),
    ("short ipv6", 8, 2, 0, [ENOTSUPP, 54, IP6, 0, ENOTSUPP]),
    ("short ipv6", 4096, NET, 0, [EFAULT, 54, IP6, 0, EFAULT]),
    ("short ipv6", 8, NET, 512, [EINVAL, 54, IP6, 0, EINVAL]),
    ("short ipv6", -60, MAC, DECAP_L3_IPV4, [ENOTSUPP, 54, IP6, 0, ENOTSUPP]),
    ("arp", 8, NET, 0, [ENOTSUPP, 42, ARP, 0, ENOTSUPP]),
    ("arp", -8, NET, 0, [ENOTSUPP, 42, ARP, 0, ENOTSUPP]),
    ("arp", 8, 2, 0, [ENOTSUPP, 42, ARP, 0, ENOTSUPP]),
    ("arp", 4096, NET, 0, [EFAULT, 42, ARP, 0, EFAULT]),
    ("arp", 8, NET, 512, [EINVAL, 42, ARP, 0, EINVAL]),
];

/// The vm's answers are those of the table.
fn as_in_the_table() {
    let vm = Vm::new(VmConfig::default()).unwrap();
    for (name, delta, mode, flags, expected) in TABLE {
        let insns = program(*delta, *mode, *flags);
        let linked = LinkedProgram::from_insns("test", ProgramKind::SchedCls, insns);
        let program = vm.load_program(&linked, &[]).unwrap();
        let frames = frames();
        let (_, frame) = frames.iter().find(|(known, _)| known == name).unwrap();
        let input = TestInput {
            data: frame,
            context: &[0; 192],
            repeat: 0,
        };
        let output = test_run(&vm, &program, &input).unwrap();
        let seen = answers(&output.context);
        assert_eq!(seen, *expected, "{name} {delta} {mode} {flags:#x}");
    }
}

/// What the program left in `cb`.
fn answers(context: &[u8]) -> [i32; 5] {
    let mut answers = [0; 5];
    for (answer, bytes) in answers.iter_mut().zip(context[48..].chunks_exact(4)) {
        *answer = i32::from_le_bytes(bytes.try_into().unwrap());
    }
    answers
}

/// Checksum levels up by two, the call, what came of it, the call again, the level in the end.
fn program(delta: i64, mode: i64, flags: i64) -> Vec<Insn> {
    let adjust = |insns: &mut Vec<Insn>, cb| {
        insns.push(copy(1, 6));
        insns.extend(wide(2, delta));
        insns.extend(wide(3, mode));
        insns.extend(wide(4, flags));
        insns.extend([call(50), insn(0x63, 6, 0, cb, 0)]);
    };
    let mut insns = vec![copy(6, 1)];
    for _ in 0..2 {
        insns.extend([copy(1, 6), mov(2, 1), call(135)]);
    }
    adjust(&mut insns, 48);
    for (field, cb) in [(0, 52), (16, 56)] {
        insns.extend([insn(0x61, 2, 6, field, 0), insn(0x63, 6, 2, cb, 0)]);
    }
    // The packet keeps its length.
    insns.extend([
        copy(1, 6),
        insn(0x61, 2, 6, 0, 0),
        mov(3, 0),
        call(38),
        insn(0x63, 6, 0, 60, 0),
    ]);
    adjust(&mut insns, 64);
    insns.extend([copy(1, 6), mov(2, 0), call(135), EXIT]);
    insns
}

/// Packets: IP, IP with nothing behind its header, and others.
fn frames() -> Vec<(&'static str, Vec<u8>)> {
    let ethernet = |protocol: [u8; 2], len: u8| {
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
        frame.extend(protocol);
        frame.extend((0..len).map(|index| index.wrapping_mul(7) | 1));
        frame
    };
    let mut tagged = ethernet([0x81, 0], 70);
    tagged[14..18].copy_from_slice(&[0, 7, 8, 0]);
    vec![
        ("ipv4", ethernet([8, 0], 60)),
        ("short ipv4", ethernet([8, 0], 20)),
        ("ipv6", ethernet([0x86, 0xdd], 100)),
        ("short ipv6", ethernet([0x86, 0xdd], 40)),
        ("arp", ethernet([8, 6], 28)),
        ("tagged", tagged),
        ("short", ethernet([0x88, 0xb5], 0)),
    ]
}
