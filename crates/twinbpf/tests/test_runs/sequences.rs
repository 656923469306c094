//! Random sequences of packet helpers on random packets, in both engines: what every call answers, what the context says after it, and
//! what is left of the packet.
//!
//! What the kernel leaves behind a packet's end is its own affair, and some helpers move those bytes into the packet. So a sequence is of
//! one of two sorts: `Near` ones never make the kernel copy the packet into fresh, unwritten memory; `Far` ones never reach behind the end.

use std::ops::RangeInclusive;

use twinbpf::{Insn, ProgramKind, TestInput};
use twinbpf_trials::{Case, Need};

use super::agreement::{on_both, outcomes, told};
use super::programs::{EXIT, call, copy, insn, mov, wide};

/// Programs of one test run, of each type. A campaign asks for more, from another place:
/// `TWINBPF_RANDOM=FIRST_SEED:PROGRAMS cargo test --release -p twinbpf --test test_runs sequences`.
const PROGRAMS: u64 = 250;
/// Most calls of a program.
const MOST_CALLS: u64 = 8;
/// Bytes of the buffer on the stack that calls read and write.
const BUFFER: i16 = 64;
/// Hashes that programs set are below; others are the kernel's, with a secret in them.
const SMALL_HASH_BITS: i32 = 8;
/// KERNEL: free bytes before the packet of a test run (6.18).
const HEADROOM: u64 = 64;
/// KERNEL: what the kernel keeps around a packet in one allocation: headroom and a record (6.18).
const AROUND: usize = 64 + 320;

/// What only traffic control may do: tags, types, protocols, room, marks, hashes of its own, headers.
const ONLY_TC: [i32; 8] = [18, 19, 31, 32, 48, 50, 68, 97];

/// Which sequences, as the file's head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Near,
    Far,
}

/// One argument behind the context.
#[derive(Debug, Clone, Copy)]
enum Argument {
    Number(i64),
    /// The buffer on the stack.
    Memory,
}

/// One call.
#[derive(Debug, Clone)]
struct Step {
    name: &'static str,
    helper: i32,
    arguments: Vec<Argument>,
}

/// A sequence of numbers that a seed decides.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8
    }

    pub(crate) fn below(&mut self, count: u64) -> u64 {
        self.next() % count
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len().try_into().unwrap())).unwrap()]
    }

    pub(crate) fn within(&mut self, range: RangeInclusive<i64>) -> i64 {
        let count = u64::try_from(range.end() - range.start() + 1).unwrap();
        range.start() + i64::try_from(self.below(count)).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}

pub(crate) fn cases() -> [Case; 2] {
    [
        Case::new(
            "sequences::socket_buffers",
            &[Need::Kernel, Need::Linux618],
            socket_buffers,
        ),
        Case::new("sequences::xdp", &[Need::Kernel, Need::Linux618], xdp),
    ]
}

/// Random programs that see socket buffers.
fn socket_buffers() {
    for seed in seeds(PROGRAMS) {
        let mut numbers = Numbers::new(seed);
        let sort = numbers.pick(&[Sort::Near, Sort::Far]);
        let kind = numbers.pick(&[
            ProgramKind::SchedCls,
            ProgramKind::SchedCls,
            ProgramKind::SchedCls,
            ProgramKind::LwtXmit,
        ]);
        let mut room = Room {
            sort,
            headroom: HEADROOM,
        };
        let count = 1 + numbers.below(MOST_CALLS);
        let steps: Vec<Step> = (0..count)
            .map(|_| room.socket_buffer_step(&mut numbers))
            .filter(|step| kind == ProgramKind::SchedCls || !ONLY_TC.contains(&step.helper))
            .collect();
        let inputs: Vec<(Vec<u8>, Vec<u8>)> = (0..3)
            .map(|_| (packet(&mut numbers, sort), context(&mut numbers)))
            .collect();
        try_steps(seed, kind, &steps, &inputs);
    }
}

/// Random XDP programs.
fn xdp() {
    for seed in seeds(PROGRAMS) {
        let mut numbers = Numbers::new(seed);
        let count = 1 + numbers.below(MOST_CALLS);
        let steps: Vec<Step> = (0..count).map(|_| xdp_step(&mut numbers)).collect();
        let inputs: Vec<(Vec<u8>, Vec<u8>)> = (0..3)
            .map(|_| (xdp_packet(&mut numbers), Vec::new()))
            .collect();
        try_steps(seed, ProgramKind::Xdp, &steps, &inputs);
    }
}

/// As many as by default, or those of a campaign.
pub(crate) fn seeds(count: u64) -> std::ops::Range<u64> {
    let Ok(wanted) = std::env::var("TWINBPF_RANDOM") else {
        return 0..count;
    };
    let (first, count) = wanted.split_once(':').expect("FIRST_SEED:PROGRAMS");
    let (first, count): (u64, u64) = (first.parse().unwrap(), count.parse().unwrap());
    first..first + count
}

/// Runs the steps on all inputs. Where the engines differ, says after how many steps they do.
fn try_steps(seed: u64, kind: ProgramKind, steps: &[Step], inputs: &[(Vec<u8>, Vec<u8>)]) {
    let whole = program(kind, steps);
    let (kernel, on_vm) = on_both(kind, &whole);
    for (data, context) in inputs {
        let input = TestInput {
            data,
            context,
            repeat: 0,
        };
        let (expected, actual) = outcomes(&kernel, &on_vm, &input);
        if expected == actual {
            continue;
        }
        // The whole is one of these.
        for count in 0..=steps.len() {
            let (kernel, on_vm) = on_both(kind, &program(kind, &steps[..count]));
            let (expected, actual) = outcomes(&kernel, &on_vm, &input);
            assert!(
                expected == actual,
                "seed {seed}, after {:?} of {count} on {data:02x?} with {context:?}:\nvm     {}\nkernel {}",
                steps[..count].iter().map(told_step).collect::<Vec<_>>(),
                told(&actual),
                told(&expected)
            );
        }
        unreachable!("seed {seed}: {steps:?}: not the same a second time");
    }
}

fn told_step(step: &Step) -> String {
    let arguments: Vec<String> = step
        .arguments
        .iter()
        .map(|argument| match argument {
            Argument::Number(value) => format!("{value:#x} ({value})"),
            Argument::Memory => "buffer".to_owned(),
        })
        .collect();
    format!("{}({})", step.name, arguments.join(", "))
}

/// The program: r6 the context, r7 everything that was seen, multiplied and added up.
fn program(kind: ProgramKind, steps: &[Step]) -> Vec<Insn> {
    let mut insns = vec![copy(6, 1), mov(7, 1)];
    for at in (-BUFFER..0).step_by(4) {
        insns.push(insn(0x62, 10, 0, at, i32::from(at) * 0x0102_0305));
    }
    see(kind, &mut insns);
    for step in steps {
        insns.push(copy(1, 6));
        for (argument, register) in step.arguments.iter().zip(2..) {
            match argument {
                Argument::Number(value) => insns.extend(wide(register, *value)),
                Argument::Memory => insns.extend([
                    copy(register, 10),
                    insn(0x07, register, 0, 0, i32::from(-BUFFER)),
                ]),
            }
        }
        insns.push(call(step.helper));
        if step.name == "get_hash_recalc" {
            insns.extend(without_secret());
        }
        insns.extend(add());
        see(kind, &mut insns);
    }
    insns.extend([copy(0, 7), insn(0x77, 7, 0, 0, 32)]);
    if kind != ProgramKind::Xdp {
        // The upper half goes into the mark, which comes back.
        insns.push(insn(0x63, 6, 7, 8, 0));
    } else {
        insns.push(insn(0xaf, 0, 7, 0, 0));
    }
    insns.push(EXIT);
    insns
}

/// r7 = r7 * a prime + r0
pub(crate) fn add() -> [Insn; 2] {
    [insn(0x27, 7, 0, 0, 0x0100_0193), insn(0x0f, 7, 0, 0, 0)]
}

/// r0 as it is if small, else one number for all others: without a branch, which would double the verifier's paths.
fn without_secret() -> [Insn; 8] {
    [
        copy(2, 0),
        insn(0x77, 2, 0, 0, SMALL_HASH_BITS),
        insn(0x87, 2, 0, 0, 0),
        insn(0x77, 2, 0, 0, 63),
        // r2 is 1 if r0 is large; then r0 becomes 1 << 8.
        copy(3, 2),
        insn(0x07, 3, 0, 0, -1),
        insn(0x5f, 0, 3, 0, 0),
        insn(0x4f, 0, 2, 0, 0),
    ]
}

/// Adds what the context says, and the start of the buffer.
fn see(kind: ProgramKind, insns: &mut Vec<Insn>) {
    let (data, end, fields): (i16, i16, &[i16]) = match kind {
        ProgramKind::Xdp => (0, 4, &[]),
        _ => (76, 80, &[0, 4, 16, 20, 24, 28, 164, 176]),
    };
    for offset in fields {
        insns.push(insn(0x61, 0, 6, *offset, 0));
        insns.extend(add());
    }
    if kind == ProgramKind::Xdp {
        // data - data_meta
        insns.extend([
            insn(0x61, 0, 6, 0, 0),
            insn(0x61, 2, 6, 8, 0),
            insn(0x1f, 0, 2, 0, 0),
        ]);
        insns.extend(add());
    } else {
        insns.push(insn(0x61, 0, 6, 68, 0));
        insns.extend(without_secret());
        insns.extend(add());
    }
    // data_end - data
    insns.extend([
        insn(0x61, 0, 6, end, 0),
        insn(0x61, 2, 6, data, 0),
        insn(0x1f, 0, 2, 0, 0),
    ]);
    insns.extend(add());
    for at in [-BUFFER, -BUFFER + 8] {
        insns.push(insn(0x79, 0, 10, at, 0));
        insns.extend(add());
    }
}

/// How much a sequence may still grow.
struct Room {
    sort: Sort,
    headroom: u64,
}

impl Room {
    /// Bytes that a packet may grow by at its head.
    fn growth(&mut self, numbers: &mut Numbers) -> i64 {
        let wanted = numbers.pick(&[0, 1, 4, 8, 14, 20, 22, 28, 40, 50, 64, 200, 1000, 4095]);
        if self.sort == Sort::Far {
            return wanted;
        }
        let taken = wanted.min(i64::try_from(self.headroom).unwrap());
        self.headroom -= u64::try_from(taken).unwrap();
        taken
    }

    #[expect(clippy::too_many_lines, reason = "a flat list of calls")]
    fn socket_buffer_step(&mut self, numbers: &mut Numbers) -> Step {
        use Argument::{Memory, Number};
        let new = |name, helper, arguments| Step {
            name,
            helper,
            arguments,
        };
        match numbers.below(22) {
            0..=3 => self.adjust_room(numbers),
            4 => {
                let head = self.growth(numbers);
                let flags = i64::from(numbers.one_in(12));
                let head = match numbers.below(24) {
                    0 => 16_064,
                    1 => -1,
                    _ => head,
                };
                // What is too long is refused, and the packet stays where it is.
                let head = if self.sort == Sort::Near && head == 16_064 {
                    0
                } else {
                    head
                };
                new("change_head", 43, vec![Number(head), Number(flags)])
            }
            5 | 6 => {
                let len = match self.sort {
                    Sort::Near => numbers.pick(&[
                        0, 13, 14, 15, 18, 19, 20, 30, 34, 35, 54, 256, 300, 1500, 16_064, 16_065,
                        65_550,
                    ]),
                    Sort::Far => numbers.pick(&[
                        300,
                        301,
                        333,
                        1500,
                        4000,
                        16_063,
                        16_064,
                        16_065,
                        65_549,
                        65_550,
                        1 << 20,
                    ]),
                };
                let flags = i64::from(numbers.one_in(12));
                new("change_tail", 38, vec![Number(len), Number(flags)])
            }
            7 => {
                let protocol = numbers.pick(&[0x0008, 0xdd86, 0x0081, 7]);
                let is_growth = protocol == 0xdd86 && self.sort == Sort::Near;
                let protocol = if is_growth && self.headroom < 20 {
                    0x0008
                } else {
                    protocol
                };
                if is_growth && protocol == 0xdd86 {
                    self.headroom -= 20;
                }
                let flags = i64::from(numbers.one_in(12));
                new("change_proto", 31, vec![Number(protocol), Number(flags)])
            }
            8 => {
                let kind = numbers.within(0..=8);
                new("change_type", 32, vec![Number(kind)])
            }
            9 | 10 => {
                let has_room = self.sort == Sort::Far || self.headroom >= 4;
                if !has_room {
                    return new("vlan_pop", 19, vec![]);
                }
                self.headroom = self.headroom.saturating_sub(4);
                let protocol = numbers.pick(&[0x0081, 0xa888, 0, 0x0008]);
                let tag = numbers.within(0..=0x1_0000);
                new("vlan_push", 18, vec![Number(protocol), Number(tag)])
            }
            11 | 12 => new("vlan_pop", 19, vec![]),
            13 => {
                let flags = numbers.pick(&[0, 0, 1, 2, 3, 4]);
                let (offset, len) = place(numbers);
                new(
                    "store_bytes",
                    9,
                    vec![Number(offset), Memory, Number(len), Number(flags)],
                )
            }
            14 => {
                let (from, to) = (field(numbers), field(numbers));
                let flags = numbers.pick(&[0, 2, 2, 4, 4, 1, 16]);
                let (offset, _) = place(numbers);
                new(
                    "l3_csum_replace",
                    10,
                    vec![Number(offset), Number(from), Number(to), Number(flags)],
                )
            }
            15 => {
                let (from, to) = (field(numbers), field(numbers));
                let size = numbers.pick(&[0, 2, 2, 4, 4, 1]);
                let flags =
                    size | numbers.pick(&[0, 0x10, 0x20, 0x40, 0x60, 0x70, 0x80, 0x90, 0x100]);
                let (offset, _) = place(numbers);
                new(
                    "l4_csum_replace",
                    11,
                    vec![Number(offset), Number(from), Number(to), Number(flags)],
                )
            }
            16 => {
                let level = numbers.within(0..=4);
                new("csum_level", 135, vec![Number(level)])
            }
            17 => {
                let (name, helper, argument) = numbers.pick(&[
                    ("csum_update", 40, Some(77)),
                    ("get_hash_recalc", 34, None),
                    ("set_hash", 48, Some(0)),
                    ("set_hash", 48, Some(200)),
                    ("set_hash_invalid", 41, None),
                ]);
                new(name, helper, argument.into_iter().map(Number).collect())
            }
            18 => {
                let len = numbers.pick(&[0, 1, 14, 34, 60, 300, 5000, 0x8000_0000, -1]);
                new("pull_data", 39, vec![Number(len)])
            }
            19 => new("ecn_set_ce", 97, vec![]),
            20 => {
                let (offset, len) = place(numbers);
                new("load_bytes", 26, vec![Number(offset), Memory, Number(len)])
            }
            _ => {
                let (offset, len) = place(numbers);
                let start = numbers.pick(&[0, 0, 1, 1, 2]);
                new(
                    "load_bytes_relative",
                    68,
                    vec![Number(offset), Memory, Number(len), Number(start)],
                )
            }
        }
    }

    fn adjust_room(&mut self, numbers: &mut Numbers) -> Step {
        let mode = numbers.pick(&[0, 0, 0, 1, 1, 1, 2]);
        let is_shrinking = numbers.one_in(2);
        let delta = if is_shrinking {
            match self.sort {
                Sort::Near => -numbers.pick(&[1, 4, 8, 14, 20, 34, 40, 54, 60, 200, 4095, 4096]),
                Sort::Far => -numbers.pick(&[1, 2, 4, 8, 4095, 4096]),
            }
        } else {
            self.growth(numbers)
        };
        let mut flags: i64 = numbers.pick(&[0, 0, 1, 0x20, 0x21]);
        if is_shrinking || numbers.one_in(16) {
            flags |= numbers.pick(&[0, 0, 0x80, 0x100, 0x180]);
        }
        if !is_shrinking || numbers.one_in(16) {
            flags |= numbers.pick(&[0, 0, 2, 2, 4, 4, 6]);
            flags |= numbers.pick(&[0, 0, 0, 8, 0x10, 0x18]);
            flags |= numbers.pick(&[0, 0, 0, 0x40]);
            flags |= numbers.pick(&[0, 0, 4, 14, 14, 22, 255]) << 56;
        }
        if numbers.one_in(30) {
            flags |= numbers.pick(&[0x200, 1 << 32, 1 << 55]);
        }
        Step {
            name: "adjust_room",
            helper: 50,
            arguments: vec![
                Argument::Number(delta),
                Argument::Number(mode),
                Argument::Number(flags),
            ],
        }
    }
}

/// Where something is read or written, and how much: mostly within a packet.
fn place(numbers: &mut Numbers) -> (i64, i64) {
    let offset = match numbers.below(10) {
        0 => numbers.pick(&[-1, 0xffff, 0x1_0000, 0x7fff_ffff, 0x8000_0000, 3700]),
        1..=3 => numbers.pick(&[0, 12, 14, 16, 23, 24, 34, 36, 40, 50, 54]),
        _ => numbers.within(0..=90),
    };
    (offset, numbers.pick(&[1, 2, 4, 6, 8, 16, 20, 40, 64]))
}

/// A field of a header before or after: 32 bits, 16, or anything.
fn field(numbers: &mut Numbers) -> i64 {
    let value = numbers.next();
    let value = match numbers.below(6) {
        0 => 0,
        1 => value & 0xffff,
        2 => numbers.pick(&[0xffff, 0xffff_ffff, 1, 0xffff_0000]),
        3 => value,
        _ => value & 0xffff_ffff,
    };
    value.cast_signed()
}

fn xdp_step(numbers: &mut Numbers) -> Step {
    use Argument::{Memory, Number};
    let new = |name, helper, arguments| Step {
        name,
        helper,
        arguments,
    };
    let small = |numbers: &mut Numbers| match numbers.below(4) {
        0 => numbers.pick(&[
            0,
            -216,
            -217,
            -256,
            256,
            1000,
            -1000,
            3000,
            4000,
            -4096,
            i64::from(i32::MAX),
            i64::from(i32::MIN),
        ]),
        1 => numbers.within(-300..=300),
        _ => numbers.within(-40..=40),
    };
    match numbers.below(8) {
        0 | 1 => new("adjust_head", 44, vec![Number(small(numbers))]),
        2 | 3 => {
            let delta = small(numbers);
            new("adjust_tail", 65, vec![Number(delta)])
        }
        4 => {
            let delta = small(numbers);
            let delta = if numbers.one_in(4) {
                delta
            } else {
                delta / 4 * 4
            };
            new("adjust_meta", 54, vec![Number(delta)])
        }
        5 => {
            let (offset, len) = place(numbers);
            new("load_bytes", 189, vec![Number(offset), Memory, Number(len)])
        }
        6 => {
            let (offset, len) = place(numbers);
            new(
                "store_bytes",
                190,
                vec![Number(offset), Memory, Number(len)],
            )
        }
        _ => new("get_buff_len", 188, vec![]),
    }
}

/// A frame of any protocol, with or without tags.
fn packet(numbers: &mut Numbers, sort: Sort) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..12).map(|_| numbers.byte()).collect();
    frame[0] = numbers.pick(&[0, 2, 0x33, 0xff]);
    if numbers.one_in(4) {
        frame[..6].fill(0);
    }
    for _ in 0..numbers.pick(&[0, 0, 0, 1, 2, 3, 9]) {
        let [first, second] = numbers.pick(&[[0x81, 0], [0x88, 0xa8]]);
        frame.extend([first, second, numbers.byte(), numbers.byte()]);
    }
    let protocol: u16 = numbers.pick(&[
        0x0800, 0x0800, 0x0800, 0x86dd, 0x86dd, 0x86dd, 0x0806, 0x8100, 0x88a8, 38, 0, 0x05ff,
        0x0600,
    ]);
    frame.extend(protocol.to_be_bytes());
    let least = match protocol {
        0x0800 => 20,
        0x86dd => 40,
        _ => 0,
    };
    let more = match sort {
        Sort::Far => 300 + numbers.below(1500),
        Sort::Near => numbers.pick(&[0, 0, 1, 2, 4, 8, 20, 40, 60, 100, 600]),
    };
    let payload = frame.len();
    for _ in 0..least + more {
        frame.push(numbers.byte());
    }
    if protocol == 0x0800 && numbers.one_in(2) {
        frame[payload] = 0x45;
    }
    if protocol == 38 && numbers.one_in(2) {
        frame.splice(payload.., [0xff, 0xff]);
    }
    if sort == Sort::Near {
        // A place in the allocation behind the packet, so that it need not be copied.
        while is_tight(frame.len()) {
            frame.push(0);
        }
    }
    frame
}

/// Whether there are few bytes between the packet and the end of its allocation, whose sizes are powers of two.
fn is_tight(len: usize) -> bool {
    (len + AROUND).next_power_of_two() - (len + AROUND) < 80
}

fn xdp_packet(numbers: &mut Numbers) -> Vec<u8> {
    let len = match numbers.below(6) {
        0 => numbers.pick(&[13, 14, 15, 64, 3519, 3520, 3521, 3600, 5000, 8000, 30_000]),
        1 => 14 + numbers.below(3000),
        _ => 14 + numbers.below(120),
    };
    (0..len).map(|_| numbers.byte()).collect()
}

/// Fields of the context that come with the packet; often none.
fn context(numbers: &mut Numbers) -> Vec<u8> {
    if !numbers.one_in(4) {
        return Vec::new();
    }
    let mut context = vec![0; 192];
    context[8] = numbers.byte();
    context[48] = numbers.byte();
    if numbers.one_in(2) {
        // Segments, and how long each is.
        context[164] = numbers.byte();
        context[176] = numbers.byte();
    }
    context
}
