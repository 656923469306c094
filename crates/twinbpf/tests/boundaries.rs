//! Every form of every instruction that computes, moves, compares or touches memory, with operands at the edges of every width: at
//! least 1,000 runs each, on the interpreters, the compiled code and the kernel, which must agree in every bit. Then random programs of
//! all these forms.
//!
//! ```text
//! packet   16: first  24: second  ──> r2, r3, 8 bytes of stack ──> the instruction ──> 32: r0  40: r2  48: r3  56: stack
//! ```
//!
//! Left out are instructions without operands to speak of: calls, exits, unconditional jumps, wide loads and packet loads.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::process::ExitCode;

use twinbpf::insn::{Operation, opcode};
use twinbpf::{
    Engine, Executor, Insn, Linked, LinkedProgram, Program, ProgramKind, TestInput, VmConfig,
};
use twinbpf_trials::{Case, Need};
use twinbpf_vm::hooks::test_run::TestRunner;
use twinbpf_vm::{Guard, Vm};

/// Runs that every form has at least.
const LEAST: usize = 1000;

/// Numbers at the edges of every width, and of signs.
const EDGES: [u64; 33] = [
    0,
    1,
    2,
    3,
    7,
    8,
    15,
    16,
    31,
    32,
    33,
    63,
    64,
    65,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0x8000,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0x8000_0000,
    0x8000_0001,
    0xffff_fffe,
    0xffff_ffff,
    0x1_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0x8000_0000_0000_0001,
    0xffff_ffff_8000_0000,
    0xffff_ffff_ffff_ffff,
];

/// One form, with every instruction that it takes to try it: one, or one for each immediate.
struct Form {
    name: String,
    insns: Vec<Insn>,
    /// Linux 6.1 does not know it.
    is_recent: bool,
    /// It is a jump over the instruction behind it.
    jumps: bool,
    /// There is one operand: both halves of it take every edge.
    is_unary: bool,
}

impl Form {
    fn new(name: &str, insns: Vec<Insn>) -> Self {
        Self {
            name: name.to_owned(),
            insns,
            is_recent: false,
            jumps: false,
            is_unary: false,
        }
    }
}

fn insn(opcode: u8, dst: u8, src: u8, offset: i16, imm: i32) -> Insn {
    Insn {
        opcode,
        dst,
        src,
        offset,
        imm,
    }
}

/// The edges that fit an immediate.
fn immediates() -> Vec<i32> {
    let low = EDGES.map(|edge| {
        let [a, b, c, d, ..] = edge.to_le_bytes();
        i32::from_le_bytes([a, b, c, d])
    });
    let different: BTreeSet<i32> = low.into_iter().collect();
    // As many as there are edges, so that there are as many pairs.
    let more = [4, 5, 6, -2, -128, -129, 0x7ffe, 0x10001, 100];
    different.into_iter().chain(more).collect()
}

fn arithmetic() -> Vec<Form> {
    let mut forms = Vec::new();
    for (class, width) in [(opcode::ALU, 32), (opcode::ALU64, 64)] {
        for operation in (opcode::ADD..=opcode::ARSH).step_by(0x10) {
            if operation == opcode::NEG {
                let mut form = Form::new(
                    &format!("neg {width}"),
                    vec![insn(class | operation, 2, 0, 0, 0)],
                );
                form.is_unary = true;
                forms.push(form);
                continue;
            }
            let is_division = matches!(operation, opcode::DIV | opcode::MOD);
            for signed in [0, 1].into_iter().take(1 + usize::from(is_division)) {
                let name = format!("{operation:#04x} {width} signed {signed}");
                let with_register = insn(class | operation | opcode::X, 2, 3, signed, 0);
                let mut form = Form::new(&format!("{name} register"), vec![with_register]);
                form.is_recent = signed == 1;
                forms.push(form);
                let values = match operation {
                    opcode::LSH | opcode::RSH | opcode::ARSH => (0..width).collect(),
                    _ => immediates(),
                };
                // KERNEL: a constant divisor of 0 is refused (6.18).
                let values = values.into_iter().filter(|imm| !is_division || *imm != 0);
                let insns = values.map(|imm| insn(class | operation, 2, 0, signed, imm));
                let mut form = Form::new(&format!("{name} immediate"), insns.collect());
                form.is_recent = signed == 1;
                forms.push(form);
            }
        }
        for bits in [8, 16, 32].into_iter().filter(|bits| *bits < width) {
            let offset = i16::try_from(bits).unwrap();
            let extend = insn(class | opcode::MOV | opcode::X, 2, 3, offset, 0);
            let mut form = Form::new(&format!("sign-extend {bits} to {width}"), vec![extend]);
            form.is_recent = true;
            forms.push(form);
        }
    }
    forms.extend(byte_orders());
    forms
}

fn byte_orders() -> Vec<Form> {
    let sorts = [
        (opcode::ALU, "little"),
        (opcode::ALU | opcode::X, "big"),
        (opcode::ALU64, "swap"),
    ];
    let forms = sorts.into_iter().flat_map(|(bits, name)| {
        [16, 32, 64].map(|width| {
            let code = bits | opcode::END;
            let mut form = Form::new(&format!("{name} {width}"), vec![insn(code, 2, 0, 0, width)]);
            form.is_recent = name == "swap";
            form.is_unary = true;
            form
        })
    });
    forms.collect()
}

fn jumps() -> Vec<Form> {
    let mut forms = Vec::new();
    for class in [opcode::JMP, opcode::JMP32] {
        for operation in (opcode::JEQ..=opcode::JSLE).step_by(0x10) {
            if matches!(operation, opcode::CALL | opcode::EXIT) {
                continue;
            }
            let code = class | operation;
            let name = format!("jump {operation:#04x} class {class}");
            let with_register = vec![insn(code | opcode::X, 2, 3, 1, 0)];
            let with_immediates = immediates().into_iter().map(|imm| insn(code, 2, 0, 1, imm));
            for (sort, insns) in [
                ("register", with_register),
                ("immediate", with_immediates.collect()),
            ] {
                let mut form = Form::new(&format!("{name} {sort}"), insns);
                form.jumps = true;
                forms.push(form);
            }
        }
    }
    forms
}

fn memory() -> Vec<Form> {
    const STACK: u8 = 10;
    let mut forms = Vec::new();
    for size in [opcode::B, opcode::H, opcode::W, opcode::DW] {
        let mut add = |name: &str, is_recent: bool, insns: Vec<Insn>| {
            let mut form = Form::new(&format!("{name} size {size:#04x}"), insns);
            form.is_recent = is_recent;
            forms.push(form);
        };
        let at_stack = |code: u8, dst, src, imm| insn(code | size, dst, src, -8, imm);
        add(
            "load",
            false,
            vec![at_stack(opcode::LDX | opcode::MEM, 2, STACK, 0)],
        );
        if size != opcode::DW {
            let code = opcode::LDX | opcode::MEMSX;
            add(
                "sign-extending load",
                true,
                vec![at_stack(code, 2, STACK, 0)],
            );
        }
        add(
            "store",
            false,
            vec![at_stack(opcode::STX | opcode::MEM, STACK, 2, 0)],
        );
        let code = opcode::ST | opcode::MEM;
        let stores = immediates()
            .into_iter()
            .map(|imm| at_stack(code, STACK, 0, imm));
        add("store of an immediate", false, stores.collect());
        let atomic = opcode::STX | opcode::ATOMIC;
        add(
            "load-acquire",
            true,
            vec![at_stack(atomic, 2, STACK, opcode::LOAD_ACQ)],
        );
        add(
            "store-release",
            true,
            vec![at_stack(atomic, STACK, 2, opcode::STORE_REL)],
        );
        if !matches!(size, opcode::W | opcode::DW) {
            continue;
        }
        for operation in [opcode::ADD, opcode::OR, opcode::AND, opcode::XOR] {
            for fetch in [0, opcode::FETCH] {
                let imm = i32::from(operation) | fetch;
                let name = format!("atomic {imm:#04x}");
                add(&name, false, vec![at_stack(atomic, STACK, 2, imm)]);
            }
        }
        for imm in [opcode::XCHG, opcode::CMPXCHG] {
            let name = format!("atomic {imm:#04x}");
            add(&name, false, vec![at_stack(atomic, STACK, 2, imm)]);
        }
    }
    forms
}

fn forms() -> Vec<Form> {
    let forms = [arithmetic(), jumps(), memory()];
    forms.into_iter().flatten().collect()
}

/// The program around an instruction.
fn program(form: &Form, tried: Insn) -> LinkedProgram {
    let mut middle = vec![tried];
    if form.jumps {
        middle.push(insn(0xb7, 0, 0, 0, 0x5eed));
    }
    around(&middle)
}

/// The program around some instructions.
fn around(middle: &[Insn]) -> LinkedProgram {
    let load = |dst, base, offset| insn(0x79, dst, base, offset, 0);
    let store = |base, offset, src| insn(0x7b, base, src, offset, 0);
    let mut body = vec![
        load(2, 7, 16),
        load(3, 7, 24),
        // What a compare-and-exchange compares with: now and then what is there.
        insn(0xbf, 0, 2, 0, 0),
        store(10, -8, 3),
    ];
    body.extend(middle);
    body.extend([store(7, 32, 0), store(7, 40, 2), store(7, 48, 3)]);
    body.extend([load(4, 10, -8), store(7, 56, 4)]);
    let mut insns = vec![
        // r7 and r8: where the packet starts and ends.
        insn(0x61, 7, 1, 76, 0),
        insn(0x61, 8, 1, 80, 0),
        insn(0xbf, 4, 7, 0, 0),
        insn(0x07, 4, 0, 0, 64),
        insn(0x2d, 4, 8, i16::try_from(body.len()).unwrap(), 0),
    ];
    insns.extend(body);
    insns.extend([insn(0xb7, 0, 0, 0, 0), insn(0x95, 0, 0, 0, 0)]);
    LinkedProgram::from_insns("boundary", ProgramKind::SchedCls, insns)
}

fn packet(form: &Form, first: u64, second: u64) -> [u8; 64] {
    let mut bytes = [0; 64];
    let first = if form.is_unary {
        first & 0xffff_ffff | second << 32
    } else {
        first
    };
    bytes[16..24].copy_from_slice(&first.to_le_bytes());
    bytes[24..32].copy_from_slice(&second.to_le_bytes());
    bytes
}

/// Every packet that one instruction of a form is tried on: with an immediate there is one operand left to choose.
fn packets(form: &Form) -> Vec<[u8; 64]> {
    let firsts: &[u64] = if form.insns.len() > 1 {
        &EDGES[..1]
    } else {
        &EDGES
    };
    let pairs = EDGES
        .iter()
        .flat_map(|edge| firsts.iter().map(move |first| (*edge, *first)));
    pairs
        .map(|(first, second)| packet(form, first, second))
        .collect()
}

fn vms() -> [Vm; 4] {
    [
        (Executor::Interpreter, Guard::Pages),
        (Executor::Checked, Guard::Pages),
        (Executor::Jit, Guard::Pages),
        (Executor::Jit, Guard::Compare),
    ]
    .map(|(executor, guard)| {
        let config = VmConfig {
            executor,
            guard,
            ..VmConfig::default()
        };
        Vm::new(config).unwrap()
    })
}

/// What each packet became, by the kernel; `None` if it does not know the form.
fn by_the_kernel(engine: &Engine, form: &Form, linked: &LinkedProgram) -> Option<Program> {
    let linked = Linked::from_program(linked.clone());
    match engine.loader(&linked).load() {
        Ok(loaded) => loaded.programs().next().cloned(),
        Err(error) if form.is_recent && std::env::var_os("TWINBPF_REQUIRE").is_none() => {
            assert!(error.is_rejected(), "{}: {error}", form.name);
            None
        }
        Err(error) => panic!("{}: {}", form.name, error.diagnosis().render()),
    }
}

/// Runs a form on all executors and, if there is one, the kernel; how often on each.
fn try_form(vms: &[Vm], kernel: Option<&Engine>, form: &Form) -> usize {
    let packets = packets(form);
    let mut runs = 0;
    for tried in &form.insns {
        let linked = program(form, *tried);
        let mut runners: Vec<TestRunner> = vms
            .iter()
            .map(|vm| TestRunner::new(vm, &vm.load_program(&linked, &[]).unwrap()).unwrap())
            .collect();
        let native = kernel.and_then(|engine| by_the_kernel(engine, form, &linked));
        for packet in &packets {
            let input = TestInput {
                data: packet,
                ..TestInput::default()
            };
            let answers = runners
                .iter_mut()
                .map(|runner| runner.run(&input).unwrap().data)
                .chain(
                    native
                        .iter()
                        .map(|program| program.test_run(&input).unwrap().data),
                );
            let answers: Vec<Vec<u8>> = answers.collect();
            let first = &answers[0];
            assert!(
                answers.iter().all(|answer| answer == first),
                "{}: {tried:?} on {packet:02x?}: {answers:02x?}",
                form.name
            );
            runs += 1;
        }
    }
    runs
}

fn try_all(kernel: Option<&Engine>, forms: Vec<Form>) {
    let vms = vms();
    for form in forms {
        let runs = try_form(&vms, kernel, &form);
        assert!(runs >= LEAST, "{}: only {runs} runs", form.name);
    }
}

/// A sequence of numbers that a seed decides.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let count = u64::try_from(from.len()).unwrap();
        from[usize::try_from(self.next() % count).unwrap()]
    }
}

/// Up to 24 instructions of any form, on any of the registers in use; jumps go over one of them.
fn random_middle(numbers: &mut Numbers, pool: &[Vec<Insn>]) -> Vec<Insn> {
    const IN_USE: [u8; 3] = [0, 2, 3];
    let len = 1 + numbers.next() % 24;
    let mut middle = Vec::new();
    for _ in 0..len {
        let form = usize::try_from(numbers.next()).unwrap() % pool.len();
        let mut chosen = numbers.pick(&pool[form]);
        // Not the stack, and not what is no register.
        if chosen.dst == 2 {
            chosen.dst = numbers.pick(&IN_USE);
        }
        if matches!(chosen.src, 2 | 3) {
            chosen.src = numbers.pick(&IN_USE);
        }
        middle.push(chosen);
    }
    // The last one may jump, too.
    middle.push(insn(0x07, 3, 0, 0, 1));
    middle
}

/// Programs of one test run. A campaign asks for more, from another place:
/// `TWINBPF_RANDOM=FIRST_SEED:PROGRAMS cargo test --release -p twinbpf --test boundaries random`.
const PROGRAMS: u64 = 1000;

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

/// Random programs of all these forms, each on some packets, on the kernel and on all executors.
fn random_programs_agree() {
    let engine = Engine::kernel().unwrap();
    // Forms that this kernel may not know would have whole programs refused.
    let known = |form: &Form| {
        let tried = program(form, form.insns[0]);
        !form.is_recent || by_the_kernel(&engine, form, &tried).is_some()
    };
    // KERNEL: 6.18's verifier takes a jump that depends on what an atomic fetched from the stack for decided by a range of another
    // path, and removes the other branch: seed 1,035,186 with these forms. What they compute is compared above.
    let fetches = |form: &Form| {
        let first = form.insns[0];
        let is_atomic =
            first.opcode & (opcode::CLASS | opcode::MODE) == opcode::STX | opcode::ATOMIC;
        is_atomic && first.imm & opcode::FETCH != 0
    };
    let pool: Vec<Vec<Insn>> = forms()
        .into_iter()
        .filter(|form| known(form) && !fetches(form))
        .map(|form| form.insns)
        .collect();
    let vms = vms();
    let form = Form::new("a random program", Vec::new());
    for seed in seeds() {
        let mut numbers = Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let linked = around(&random_middle(&mut numbers, &pool));
        let native = by_the_kernel(&engine, &form, &linked).unwrap();
        let mut runners: Vec<TestRunner> = vms
            .iter()
            .map(|vm| TestRunner::new(vm, &vm.load_program(&linked, &[]).unwrap()).unwrap())
            .collect();
        for _ in 0..3 {
            let random = numbers.next();
            let second = [random, numbers.pick(&EDGES)][usize::from(random & 1 == 1)];
            let packet = packet(&form, numbers.pick(&EDGES), second);
            let input = TestInput {
                data: &packet,
                ..TestInput::default()
            };
            let expected = native.test_run(&input).unwrap().data;
            for runner in &mut runners {
                let answer = runner.run(&input).unwrap().data;
                assert_eq!(
                    answer, expected,
                    "vm (left) and kernel (right), seed {seed}: {:#?}",
                    linked.insns
                );
            }
        }
    }
}

/// Whatever decodes is tried above, or is one of the few without operands.
fn no_opcode_is_forgotten() {
    let tried: BTreeSet<u8> = forms()
        .iter()
        .flat_map(|form| form.insns.iter().map(|insn| insn.opcode))
        .collect();
    let decodes = |code: u8| {
        let shapes = [0, 1, 2].into_iter().flat_map(|src| {
            [0, 1].into_iter().flat_map(move |offset| {
                [0, 16, opcode::LOAD_ACQ].map(|imm| insn(code, 0, src, offset, imm))
            })
        });
        let zero = insn(0, 0, 0, 0, 0);
        let mut shapes = shapes;
        shapes.any(|shape| Operation::decode(&[shape, zero]).is_ok())
    };
    let forgotten: Vec<u8> = (0..=u8::MAX)
        .filter(|code| decodes(*code) && !tried.contains(code))
        .collect();
    // Wide and packet loads; calls, exits and unconditional jumps, `gotol` and `may_goto`.
    let without = [
        0x05, 0x06, 0x18, 0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0x85, 0x95, 0xe5,
    ];
    let forgotten: Vec<u8> = forgotten
        .into_iter()
        .filter(|code| !without.contains(code))
        .collect();
    assert!(forgotten.is_empty(), "{forgotten:02x?}");
}

/// Makes the forms of one group.
type Group = fn() -> Vec<Form>;

fn main() -> ExitCode {
    let mut cases = vec![Case::new(
        "no_opcode_is_forgotten",
        &[],
        no_opcode_is_forgotten,
    )];
    let groups: [(&str, Group); 3] = [
        ("arithmetic", arithmetic),
        ("jumps", jumps),
        ("memory", memory),
    ];
    for (name, group) in groups {
        cases.push(Case::new(
            &format!("{name}::the_executors_agree"),
            &[],
            move || try_all(None, group()),
        ));
        cases.push(Case::new(
            &format!("{name}::the_kernel_agrees"),
            &[Need::Kernel],
            move || try_all(Some(&Engine::kernel().unwrap()), group()),
        ));
    }
    cases.push(Case::new(
        "random_programs_agree",
        &[Need::Kernel],
        random_programs_agree,
    ));
    twinbpf_trials::run(cases)
}
