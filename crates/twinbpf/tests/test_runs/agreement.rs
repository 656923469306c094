//! The same program on the same bytes on both engines: what is told must be the same.

use twinbpf::{
    AttachKind, Errno, Insn, LinkedProgram, ProgramKind, TestInput, TestOutput, Vm, VmConfig,
};
use twinbpf_kernel::KernelProgram;
use twinbpf_vm::hooks::test_run::test_run;

pub(crate) fn on_both(
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

pub(crate) fn both(
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

pub(crate) fn compare(kind: ProgramKind, insns: &[Insn]) {
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

pub(crate) fn agree(
    kernel: &KernelProgram,
    on_vm: impl Fn(&TestInput<'_>) -> Result<TestOutput, Option<Errno>>,
    input: &TestInput<'_>,
) {
    let (expected, actual) = outcomes(kernel, on_vm, input);
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

/// What came of a run.
pub(crate) type Outcome = Result<TestOutput, Option<Errno>>;

/// The kernel's outcome and the vm's.
pub(crate) fn outcomes(
    kernel: &KernelProgram,
    on_vm: impl Fn(&TestInput<'_>) -> Outcome,
    input: &TestInput<'_>,
) -> (Outcome, Outcome) {
    // How long it took may differ.
    let timeless = |output: TestOutput| TestOutput {
        duration_ns: 0,
        ..output
    };
    let expected = twinbpf_kernel::test_run(kernel, input).map_err(|error| error.errno());
    let actual = on_vm(input);
    (expected.map(timeless), actual.map(timeless))
}

pub(crate) fn told(outcome: &Result<TestOutput, Option<Errno>>) -> String {
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

/// Frames with the headers that programs look for, and without.
pub(crate) fn frames() -> Vec<Vec<u8>> {
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
