//! Names that objects use and the kernel defines, on both engines: configuration values, addresses, functions.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::ExitCode;

use twinbpf::{
    Code, Engine, EngineKind, Errno, Loaded, NotLoadedReason, Object, TestInput, link, link_each,
};
use twinbpf_trials::{Case, Need};

type Body = fn(&Engine);

const BOTH: &[(&str, Body)] = &[
    (
        "configuration_values_set_by_the_caller_are_read_back_and_cannot_be_written",
        configuration_values_set_by_the_caller_are_read_back_and_cannot_be_written,
    ),
    (
        "a_missing_extern_takes_no_other_program_with_it",
        a_missing_extern_takes_no_other_program_with_it,
    ),
];

fn main() -> ExitCode {
    let on_vm = BOTH.iter().map(|(name, body)| {
        Case::new(&format!("{name}::vm"), &[], || body(&Engine::vm().unwrap()))
    });
    let on_kernel = BOTH.iter().map(|(name, body)| {
        // The programs are of the type `syscall`.
        let needs = [Need::Kernel, Need::Since(5, 14)];
        Case::new(&format!("{name}::kernel"), &needs, || {
            body(&Engine::kernel().unwrap());
        })
    });
    let mut cases: Vec<Case> = on_vm.chain(on_kernel).collect();
    cases.push(Case::new(
        "functions_and_addresses_of_the_kernel_are_accepted::kernel",
        &[Need::Kernel, Need::KernelTypes, Need::Linux618],
        functions_and_addresses_of_the_kernel_are_accepted,
    ));
    cases.push(Case::new(
        "an_unguarded_call_of_an_absent_function_names_it::kernel",
        &[Need::Kernel, Need::KernelTypes, Need::Since(5, 14)],
        an_unguarded_call_of_an_absent_function_names_it,
    ));
    cases.push(Case::new(
        "functions_of_a_module_are_called::kernel",
        &[Need::Kernel, Need::KernelTypes, Need::ConnectionTracking],
        functions_of_a_module_are_called,
    ));
    cases.push(Case::new(
        "functions_of_the_kernel_are_refused_by_name::vm",
        &[],
        functions_of_the_kernel_are_refused_by_name,
    ));
    cases.push(Case::new(
        "a_handler_of_exceptions_belongs_to_its_program::kernel",
        &[Need::Kernel, Need::KernelTypes, Need::Linux618],
        a_handler_of_exceptions_belongs_to_its_program,
    ));
    twinbpf_trials::run(cases)
}

fn a_handler_of_exceptions_belongs_to_its_program() {
    let object = object("exceptions");
    let engine = Engine::kernel().unwrap();
    let linked = link(&object, &engine.target(&object.needs()).unwrap()).unwrap();
    let program = linked.programs.iter().find(|each| each.name == "throws");
    let names: Vec<_> = program
        .unwrap()
        .functions
        .iter()
        .map(|function| function.name.as_str())
        .collect();
    assert_eq!(names, ["throws", "answer"]);
    engine.loader(&linked).load().unwrap();
}

fn functions_of_a_module_are_called() {
    let engine = Engine::kernel().unwrap();
    let loaded = engine.load_object(&object("conntrack")).unwrap();
    let packet = TestInput {
        data: &[0; 64],
        ..TestInput::default()
    };
    let output = loaded.program("looks_up").unwrap().test_run(&packet);
    assert_eq!(output.unwrap().value, 0);
    let error = loaded.variable::<i32>("error").unwrap().get().unwrap();
    assert_eq!(error, -Errno::ENOENT.0);
}

fn object(name: &str) -> Object {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/bpf");
    Object::parse(&std::fs::read(folder.join(format!("{name}.bpf.o"))).unwrap()).unwrap()
}

/// Loads the object with every option that it needs, whatever the machine's configuration is.
fn configured(engine: &Engine) -> Loaded {
    let mut object = object("kconfig");
    // It calls what no kernel has in a branch that is dead; the vm has no verifier that would know.
    object.program_mut("branches").unwrap().autoload = engine.kind() == EngineKind::Kernel;
    let mut target = engine.target(&object.needs()).unwrap();
    for (name, value) in [
        ("CONFIG_BPF_SYSCALL", "y"),
        ("CONFIG_BPF", "m"),
        ("CONFIG_NET", "y"),
        ("CONFIG_HZ", "1234"),
        ("CONFIG_PHYSICAL_START", "0x100000000"),
        ("CONFIG_LOG_BUF_SHIFT", "17"),
        ("CONFIG_DEFAULT_HOSTNAME", "\"here\""),
        ("CONFIG_LSM", "\"bpf\""),
    ] {
        let overrides = &mut target.config.overrides;
        overrides.insert(name.to_owned(), value.to_owned());
    }
    let linked = link(&object, &target).unwrap();
    engine.loader(&linked).load().unwrap()
}

fn configuration_values_set_by_the_caller_are_read_back_and_cannot_be_written(engine: &Engine) {
    let loaded = configured(engine);
    let hz = loaded.variable::<u32>("CONFIG_HZ").unwrap();
    assert_eq!(hz.get().unwrap(), 1234);
    assert!(hz.set(&1).is_err());
    let start = loaded.variable::<u64>("CONFIG_PHYSICAL_START").unwrap();
    assert_eq!(start.get().unwrap(), 1 << 32);
    let name = loaded
        .variable::<[u8; 8]>("CONFIG_DEFAULT_HOSTNAME")
        .unwrap();
    assert_eq!(name.get().unwrap(), *b"here\0\0\0\0");
    let absent = loaded.variable::<u32>("CONFIG_TWINBPF_NONE").unwrap();
    assert_eq!(absent.get().unwrap(), 0);
    let version = loaded.variable::<u32>("LINUX_KERNEL_VERSION").unwrap();
    assert!(version.get().unwrap() >= 4 << 16);
}

fn a_missing_extern_takes_no_other_program_with_it(engine: &Engine) {
    let mut object = object("externs_missing");
    object.program_mut("needs_option").unwrap().autoload = true;
    let target = engine.target(&object.needs()).unwrap();
    let linked = link_each(&object, &target).unwrap();
    let (loaded, report) = engine.loader(&linked).load_each().unwrap();
    assert!(loaded.program("needs_nothing").is_ok());
    let option = report
        .programs
        .iter()
        .find(|each| each.name == "needs_option");
    assert!(matches!(
        &option.unwrap().reason,
        NotLoadedReason::NotLinked(error) if error.diagnosis().code == Code::CONFIG_MISSING
    ));
}

fn functions_and_addresses_of_the_kernel_are_accepted() {
    let engine = Engine::kernel().unwrap();
    let loaded = engine.load_object(&object("kfuncs")).unwrap();
    assert!(loaded.program("finds").is_ok());
    // The call behind the absent flavour was never looked at.
    assert!(loaded.program("chooses").is_ok());
    let mut symbols = object("ksyms");
    // Whether variables have an address depends on how the kernel was built.
    symbols.program_mut("reads_per_cpu").unwrap().autoload = false;
    let loaded = engine.load_object(&symbols).unwrap();
    assert!(loaded.program("takes_addresses").is_ok());
    assert!(loaded.program("does_without").is_ok());
}

fn an_unguarded_call_of_an_absent_function_names_it() {
    let engine = Engine::kernel().unwrap();
    let mut object = object("kfuncs");
    for program in &mut object.programs {
        program.autoload = program.name == "calls_unasked";
    }
    let error = engine.load_object(&object).unwrap_err();
    assert_eq!(error.diagnosis().code, Code::KFUNC_MISSING, "{error}");
    assert!(error.to_string().contains("twinbpf_no_such_function"));
}

fn functions_of_the_kernel_are_refused_by_name() {
    let error = Engine::vm()
        .unwrap()
        .load_object(&object("kfuncs"))
        .unwrap_err();
    assert_eq!(error.diagnosis().code, Code::KFUNC_MISSING);
    assert!(error.to_string().contains("`bpf_task_from_pid`"), "{error}");
}
