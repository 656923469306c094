//! Random programs, interpreter against compiled code: same result or same fault, same memory, step for step.

use twinbpf_object::Insn;
use twinbpf_vm::{Clock, Executor, Guard, Randomness, Vm, VmConfig};

use crate::support::{exit, insn, linked};

/// Programs of one test run: a second or two unoptimised. A campaign asks for more, from another place:
/// `TWINBPF_RANDOM=FIRST_SEED:PROGRAMS cargo test --release -p twinbpf-vm --test suite random`.
const PROGRAMS: u64 = 20_000;
const CONTEXT_BYTES: usize = 64;

/// Numbers at the edges of every width.
const EDGES: &[i32] = &[
    0,
    1,
    2,
    -1,
    7,
    8,
    31,
    32,
    33,
    63,
    64,
    127,
    128,
    255,
    256,
    0x7fff,
    0x8000,
    0xffff,
    i32::MAX,
    i32::MIN,
    i32::MIN + 1,
];

fn seeds() -> std::ops::Range<u64> {
    let Ok(wanted) = std::env::var("TWINBPF_RANDOM") else {
        return 0..PROGRAMS;
    };
    let (first, count) = wanted.split_once(':').expect("FIRST_SEED:PROGRAMS");
    let (first, count): (u64, u64) = (first.parse().unwrap(), count.parse().unwrap());
    assert!(
        count >= PROGRAMS,
        "a campaign has at least {PROGRAMS} programs"
    );
    first..first + count
}

fn vm(executor: Executor, guard: Guard) -> Vm {
    let config = VmConfig {
        executor,
        guard,
        clock: Clock::Manual(1000),
        randomness: Randomness::Seed(1),
        budget_insns: 2000,
        ..VmConfig::default()
    };
    Vm::new(config).unwrap()
}

#[test]
fn compiled_code_does_what_the_interpreter_does() {
    let engines = [
        vm(Executor::Interpreter, Guard::Pages),
        vm(Executor::Jit, Guard::Pages),
        vm(Executor::Jit, Guard::Compare),
    ];
    let mut workers = engines.each_ref().map(|vm| vm.worker().unwrap());
    let (mut faults, mut results) = (0, 0);
    for seed in seeds() {
        let (insns, functions) = Generator(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1).program();
        let program = linked(insns.clone(), &functions, &[]);
        let [interpreted, guarded, compared] = [0, 1, 2].map(|index| {
            let mut context = [0x5a; CONTEXT_BYTES];
            let program = engines[index].load_program(&program, &[]);
            let outcome = program.and_then(|program| workers[index].run(&program, &mut context));
            (outcome, context)
        });
        assert_eq!(
            guarded, interpreted,
            "guarded (left) and interpreted (right) differ, seed {seed}: {insns:#?}"
        );
        assert_eq!(
            compared, interpreted,
            "compared (left) and interpreted (right) differ, seed {seed}: {insns:#?}"
        );
        match interpreted.0 {
            Ok(_) => results += 1,
            Err(_) => faults += 1,
        }
    }
    // Both kinds of ends are common, or the generator tests nothing.
    assert!(
        results > PROGRAMS / 5 && faults > PROGRAMS / 50,
        "{results} results, {faults} faults"
    );
}

#[test]
fn arbitrary_slots_are_refused_or_run_but_never_panic() {
    let mut generator = Generator(0x5eed_5eed);
    let vm = vm(Executor::Jit, Guard::Pages);
    let mut worker = vm.worker().unwrap();
    let mut accepted = 0;
    for _ in 0..PROGRAMS {
        let len = 1 + generator.below(6);
        let slot = |generator: &mut Generator| {
            let [opcode, registers, o0, o1, ..] = generator.next().to_le_bytes();
            // Small fields are likelier to mean something.
            let offset = if generator.below(2) == 0 {
                0
            } else {
                i16::from_le_bytes([o0, o1])
            };
            let imm = if generator.below(2) == 0 {
                0
            } else {
                generator.imm()
            };
            insn(
                opcode,
                registers & 0xf,
                registers >> 4 & generator.pick(&[0, 1, 0xf]),
                offset,
                imm,
            )
        };
        let mut insns: Vec<Insn> = (0..len).map(|_| slot(&mut generator)).collect();
        insns.push(exit());
        let functions = [0, u32::try_from(generator.below(8)).unwrap()];
        let functions = &functions[..1 + generator.below(2)];
        if let Ok(program) = vm.load_program(&linked(insns, functions, &[]), &[]) {
            accepted += 1;
            // Whatever the run answers: it came back.
            let _ = worker.run(&program, &mut [0; CONTEXT_BYTES]);
        }
    }
    assert!(accepted > 100, "only {accepted} were accepted");
}

/// A generator of programs (xorshift), so that a failure can be repeated from its seed.
struct Generator(u64);

impl Generator {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from((self.next() >> 20) % u64::try_from(limit).unwrap()).unwrap()
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn register(&mut self) -> u8 {
        u8::try_from(self.below(10)).unwrap()
    }

    fn imm(&mut self) -> i32 {
        if self.below(2) == 0 {
            self.pick(EDGES)
        } else {
            i32::from_le_bytes(self.next().to_le_bytes()[..4].try_into().unwrap())
        }
    }

    /// A main function, then perhaps a second one that it calls.
    fn program(&mut self) -> (Vec<Insn>, Vec<u32>) {
        let len = 10 + self.below(30);
        // r9 keeps the context, so that some accesses hit something.
        let mut insns = vec![insn(0xbf, 9, 1, 0, 0)];
        let has_callee = self.below(3) == 0;
        self.body(&mut insns, len, has_callee);
        insns.push(exit());
        let mut functions = vec![0];
        if has_callee {
            functions.push(u32::try_from(insns.len()).unwrap());
            let callee = insns.len();
            for (at, insn) in insns
                .iter_mut()
                .enumerate()
                .filter(|(_, insn)| insn.opcode == 0x85 && insn.src == 1)
            {
                insn.imm = i32::try_from(callee).unwrap() - i32::try_from(at).unwrap() - 1;
            }
            let mut body = Vec::new();
            self.body(&mut body, 8, false);
            insns.extend(body);
            insns.push(exit());
        }
        (insns, functions)
    }

    fn body(&mut self, insns: &mut Vec<Insn>, len: usize, may_call: bool) {
        let start = insns.len();
        while insns.len() < start + len {
            let left = start + len - insns.len();
            let room = insns.len() - start;
            match self.below(20) {
                0..=7 => insns.push(self.alu()),
                8 | 9 => self.wide(insns),
                10..=12 => insns.push(self.memory()),
                13 => insns.push(self.atomic()),
                14..=16 => insns.push(self.jump(left, room)),
                17 => insns.push(insn(0x85, 0, 0, 0, self.pick(&[5, 7, 8, 14, 42]))),
                18 if may_call => insns.push(insn(0x85, 0, 1, 0, 0)),
                _ => insns.push(self.special()),
            }
        }
    }

    fn alu(&mut self) -> Insn {
        let class = self.pick(&[0x04, 0x07]);
        let op = self.pick(&[
            0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x90, 0xa0, 0xb0, 0xc0,
        ]);
        let signed = if matches!(op, 0x30 | 0x90) {
            i16::from(self.below(2) == 0)
        } else {
            0
        };
        if self.below(2) == 0 {
            insn(
                class | op | 0x08,
                self.register(),
                self.register(),
                signed,
                0,
            )
        } else {
            insn(class | op, self.register(), 0, signed, self.imm())
        }
    }

    fn wide(&mut self, insns: &mut Vec<Insn>) {
        let value = if self.below(2) == 0 {
            self.next()
        } else {
            i64::from(self.pick(EDGES)).cast_unsigned()
        };
        insns.extend(crate::support::wide(self.register(), value));
    }

    /// Mostly through the context or the frame, sometimes through anything.
    fn memory(&mut self) -> Insn {
        let size = self.pick(&[0x00, 0x08, 0x10, 0x18]);
        let anything = self.register();
        let base = self.pick(&[9, 9, 10, 10, 10, anything]);
        let offset = if base == 10 {
            -i16::try_from(self.below(530)).unwrap()
        } else {
            i16::try_from(self.below(70)).unwrap() - 3
        };
        match self.below(4) {
            0 => insn(0x61 | size, self.register(), base, offset, 0),
            1 if size != 0x18 => insn(0x81 | size, self.register(), base, offset, 0),
            2 => insn(0x62 | size, base, 0, offset, self.imm()),
            _ => insn(0x63 | size, base, self.register(), offset, 0),
        }
    }

    fn atomic(&mut self) -> Insn {
        let op = self.pick(&[
            0x00, 0x01, 0x40, 0x41, 0x50, 0x51, 0xa0, 0xa1, 0xe1, 0xf1, 0x100, 0x110,
        ]);
        let size = self.pick(&[0xc3, 0xdb]);
        let offset = self.pick(&[0, 4, 8, 12, 16, 3]);
        if op == 0x100 {
            return insn(size, self.register(), 9, offset, op);
        }
        insn(size, 9, self.register(), offset, op)
    }

    /// Mostly forward; backward jumps end with the budget at the latest.
    fn jump(&mut self, left: usize, room: usize) -> Insn {
        let forward = i16::try_from(self.below(left)).unwrap();
        let offset = if room > 1 && self.below(8) == 0 {
            -i16::try_from(1 + self.below(room)).unwrap()
        } else {
            forward
        };
        let class = self.pick(&[0x05, 0x06]);
        let op = self.pick(&[
            0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xa0, 0xb0, 0xc0, 0xd0,
        ]);
        match self.below(8) {
            0 => insn(0x05, 0, 0, offset, 0),
            1..=3 => insn(
                class | op | 0x08,
                self.register(),
                self.register(),
                offset,
                0,
            ),
            4 => insn(0xe5, 0, 0, offset, 0),
            _ => insn(class | op, self.register(), 0, offset, self.imm()),
        }
    }

    fn special(&mut self) -> Insn {
        match self.below(5) {
            0 => insn(self.pick(&[0x84, 0x87]), self.register(), 0, 0, 0),
            1 => insn(
                self.pick(&[0xd4, 0xdc, 0xd7]),
                self.register(),
                0,
                0,
                self.pick(&[16, 32, 64]),
            ),
            2 => insn(
                0xbf,
                self.register(),
                self.register(),
                self.pick(&[8, 16, 32]),
                0,
            ),
            3 => insn(
                0xbc,
                self.register(),
                self.register(),
                self.pick(&[8, 16]),
                0,
            ),
            _ => insn(0xbf, self.register(), 9, 0, 0),
        }
    }
}
