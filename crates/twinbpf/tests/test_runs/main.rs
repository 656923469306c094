//! The same programs on the same packets in both engines: values, packets and contexts must agree, and error numbers too.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod agreement;
mod lookups;
mod programs;
mod room;
mod sequences;

use std::process::ExitCode;

use twinbpf::{AttachKind, Insn, LinkedProgram, ProgramKind, TestInput};
use twinbpf_trials::{Case, Need};

use agreement::{agree, both, compare, frames, on_both};
use programs::{CALLS, EXIT, FIELDS, call, calling, copy, insn, mov, name_of, programs};

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
    cases.extend(lookups::cases());
    cases.extend(room::cases());
    cases.extend(sequences::cases());
    twinbpf_trials::run(cases)
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
