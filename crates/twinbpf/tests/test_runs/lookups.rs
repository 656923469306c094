//! Routes, sockets and interfaces that programs ask for: a vm has none but the loopback interface, and answers as the kernel does in a
//! network namespace that was just made.

use std::fs;

use twinbpf::{Insn, ProgramKind, TestInput};
use twinbpf_trials::{Case, Need};

use super::agreement::{on_both, outcomes, told};
use super::programs::{EXIT, call, copy, insn, mov, wide};
use super::sequences::{Numbers, add, seeds};

/// Programs of each type; `TWINBPF_RANDOM` as in `sequences.rs` asks for others.
const PROGRAMS: u64 = 150;
/// Bytes of the buffer on the stack: `struct bpf_fib_lookup`, or between whom a connection is.
const BUFFER: i16 = 64;

pub(crate) fn cases() -> [Case; 1] {
    [Case::new(
        "lookups::in_an_empty_namespace",
        &[Need::Kernel, Need::Linux618],
        || {
            let alone = std::thread::spawn(in_an_empty_namespace);
            alone.join().unwrap();
        },
    )]
}

fn in_an_empty_namespace() {
    #[expect(
        deprecated,
        reason = "the replacement is unsafe; only the network namespace is changed here"
    )]
    rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET).unwrap();
    // A namespace starts with what the first one forwards; where that cannot be changed it mostly is off already.
    for version in ["ipv4", "ipv6"] {
        let _ = fs::write(format!("/proc/sys/net/{version}/conf/all/forwarding"), "0");
    }
    let mut frame = vec![2; 80];
    frame[12..14].copy_from_slice(&[8, 0]);
    for kind in [ProgramKind::SchedCls, ProgramKind::Xdp] {
        for seed in seeds(PROGRAMS) {
            let mut numbers = Numbers::new(seed);
            let insns = program(kind, &mut numbers);
            let (kernel, on_vm) = on_both(kind, &insns);
            let input = TestInput {
                data: &frame,
                ..TestInput::default()
            };
            let (expected, actual) = outcomes(&kernel, &on_vm, &input);
            assert!(
                expected == actual,
                "seed {seed} {kind}: {insns:?}:\nvm     {}\nkernel {}",
                told(&actual),
                told(&expected)
            );
        }
    }
}

/// Fills the buffer, asks once, and answers what came of it and what is in the buffer then.
fn program(kind: ProgramKind, numbers: &mut Numbers) -> Vec<Insn> {
    let mut insns = vec![copy(6, 1), mov(7, 1)];
    for (word, at) in (-BUFFER..0).step_by(4).enumerate() {
        let value = match word {
            // Family, protocol, ports.
            0 => numbers.pick(&[2, 2, 10, 10, 10, 0, 1, 0x0602]),
            // Port and length.
            1 => numbers.pick(&[0, 0, 0x0040_0000, -1]),
            // The interface, or the source port of a long tuple.
            2 => numbers.pick(&[1, 1, 1, 0, 2, 77]),
            // Where IPv6 addresses start: of all sorts.
            4 | 8 => numbers.pick(&[0, 0xfe80, 0x80fe, 0x80ff, 0x02ff, 0x0120, 0x7f, 0x0100_000a]),
            _ => numbers.pick(&[0, 0, 0, 1, 0x0100_0000, 0x5a5a_5a5a]),
        };
        insns.push(insn(0x62, 10, 0, at, value));
    }
    insns.extend(question(kind, numbers));
    insns.extend(add());
    for at in (-BUFFER..0).step_by(8) {
        insns.push(insn(0x79, 0, 10, at, 0));
        insns.extend(add());
    }
    insns.extend([
        copy(0, 7),
        insn(0x77, 7, 0, 0, 32),
        insn(0xaf, 0, 7, 0, 0),
        EXIT,
    ]);
    insns
}

fn question(kind: ProgramKind, numbers: &mut Numbers) -> Vec<Insn> {
    let buffer = |register| {
        [
            copy(register, 10),
            insn(0x07, register, 0, 0, i32::from(-BUFFER)),
        ]
    };
    let mut insns = Vec::new();
    let choice = numbers.below(8);
    match choice {
        0..=2 => {
            let flags = numbers.within(0..=0x7f) | numbers.pick(&[0, 0, 0, 1 << 32]);
            let size = numbers.pick(&[64, 64, 64, 63, 12]);
            insns.push(copy(1, 6));
            insns.extend(buffer(2));
            insns.push(mov(3, size));
            insns.extend(wide(4, flags));
            insns.push(call(69));
        }
        3 | 4 => {
            let helper = numbers.pick(&[84, 85, 99]);
            let size = numbers.pick(&[12, 36, 12, 36, 8, 40]);
            let namespace = numbers.pick(&[-1, 0, 5, 1 << 31, 1 << 32]);
            let flags = numbers.pick(&[0, 0, 1]);
            insns.push(copy(1, 6));
            insns.extend(buffer(2));
            insns.push(mov(3, size));
            insns.extend(wide(4, namespace));
            insns.extend(wide(5, flags));
            insns.extend([
                call(helper),
                insn(0x15, 0, 0, 3, 0),
                copy(1, 0),
                call(86),
                mov(0, 1),
            ]);
        }
        5 => {
            let interface = numbers.pick(&[0, 1, 7, -1]);
            let flags = numbers.pick(&[0, 1, 2, 3, 1 << 32]);
            insns.push(mov(1, interface));
            insns.extend(wide(2, flags));
            insns.push(call(23));
        }
        6 if kind == ProgramKind::SchedCls => {
            insns.push(mov(1, numbers.pick(&[0, 1, 7])));
            insns.extend(wide(2, numbers.pick(&[0, 1, 1 << 32])));
            insns.push(call(155));
        }
        7 if kind == ProgramKind::SchedCls => {
            let size = numbers.pick(&[0, 20, 24, 12, 64]);
            insns.push(mov(1, numbers.pick(&[0, 1, 7])));
            if size == 0 {
                insns.push(mov(2, 0));
            } else {
                insns.extend(buffer(2));
            }
            insns.push(mov(3, size));
            insns.extend(wide(4, numbers.pick(&[0, 1, 1 << 32])));
            insns.push(call(152));
        }
        _ => {
            insns.push(copy(1, 6));
            insns.push(mov(2, numbers.pick(&[0, 1, 2])));
            insns.extend(buffer(3));
            insns.push(mov(4, numbers.pick(&[0, 100, -100, 70_000])));
            insns.extend(wide(5, numbers.pick(&[0, 1, 2, 1 << 32])));
            insns.push(call(163));
        }
    }
    insns
}
