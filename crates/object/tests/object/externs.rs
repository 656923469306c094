//! Externs: what objects say about names of the kernel, and what linking makes of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use twinbpf_object::btf::Btf;
use twinbpf_object::core::UNAVAILABLE_HELPER;
use twinbpf_object::insn::opcode;
use twinbpf_object::link::link_each;
use twinbpf_object::spec::{ConfigForm, ExternKind, MapOrigin};
use twinbpf_object::target::{ConfigValue, ModuleTypes, Offers, SymbolAddress};
use twinbpf_object::{Code, HoleKind, Linked, LinkedProgram, Object, Target, link};

use crate::fixtures::TARGET;

#[expect(clippy::disallowed_methods, reason = "tests read fixtures")]
fn fixture(name: &str) -> Object {
    let path = format!(
        "{}/../../testdata/bpf/{name}.bpf.o",
        env!("CARGO_MANIFEST_DIR")
    );
    Object::parse(&std::fs::read(path).unwrap()).unwrap()
}

/// A kernel that has just what an object declares: the object's own types.
pub(crate) fn kernel_like(name: &str) -> Arc<Btf> {
    fixture(name).btf.unwrap()
}

fn program<'a>(linked: &'a Linked, name: &str) -> &'a LinkedProgram {
    linked
        .programs
        .iter()
        .find(|each| each.name == name)
        .unwrap()
}

fn configured(options: &[(&str, &str)]) -> Target {
    let mut target = TARGET.clone();
    target.kernel_version = 6 << 16 | 18 << 8 | 3;
    target.config.origin = "a test".to_owned();
    for (name, value) in options {
        let value = ConfigValue::Is((*value).to_owned());
        target.config.options.insert((*name).to_owned(), value);
    }
    target
}

const OPTIONS: &[(&str, &str)] = &[
    ("CONFIG_BPF_SYSCALL", "y"),
    ("CONFIG_BPF", "m"),
    ("CONFIG_NET", "y"),
    ("CONFIG_HZ", "250"),
    ("CONFIG_PHYSICAL_START", "0x1000000"),
    ("CONFIG_LOG_BUF_SHIFT", "17"),
    ("CONFIG_DEFAULT_HOSTNAME", "\"(none)\""),
    ("CONFIG_LSM", "\"lockdown,bpf\""),
];

fn value<'a>(linked: &'a Linked, name: &str) -> &'a [u8] {
    let variable = linked
        .variables
        .iter()
        .find(|each| each.name == name)
        .unwrap();
    let bytes = linked.maps[variable.map.0].initial.as_deref().unwrap();
    let start = usize::try_from(variable.offset).unwrap();
    &bytes[start..start + usize::try_from(variable.size).unwrap()]
}

#[test]
fn configuration_values_lie_in_a_map_of_constants_by_alignment_size_and_name() {
    let object = fixture("kconfig");
    let map = object.map(".kconfig").unwrap();
    assert_eq!(map.origin, MapOrigin::Config);
    assert!(map.is_frozen && map.initial.is_none());
    let places: Vec<_> = object
        .externs
        .iter()
        .filter_map(|each| match &each.kind {
            ExternKind::Config(place) => Some((place.offset, each.name.as_str(), place.form)),
            _ => None,
        })
        .collect();
    assert_eq!(places.len(), object.externs.len());
    let by_offset: BTreeMap<_, _> = places
        .iter()
        .map(|(offset, name, form)| (*offset, (*name, *form)))
        .collect();
    let names: Vec<_> = by_offset.values().map(|(name, _)| *name).collect();
    assert_eq!(
        names,
        [
            "CONFIG_PHYSICAL_START",
            "CONFIG_BPF",
            "CONFIG_HZ",
            "CONFIG_TWINBPF_NONE",
            "LINUX_KERNEL_VERSION",
            "CONFIG_LOG_BUF_SHIFT",
            "CONFIG_BPF_SYSCALL",
            "CONFIG_NET",
            "CONFIG_TWINBPF_OFF",
            "LINUX_HAS_BPF_COOKIE",
            "LINUX_HAS_SYSCALL_WRAPPER",
            "CONFIG_LSM",
            "CONFIG_DEFAULT_HOSTNAME"
        ]
    );
    assert_eq!(map.value_size, 8 + 4 * 4 + 2 + 5 + 5 + 8);
    assert_eq!(by_offset[&8].1, ConfigForm::Tristate);
}

#[test]
fn configuration_values_are_what_the_target_says() {
    let target = configured(OPTIONS);
    let linked = link(&fixture("kconfig"), &target).unwrap();
    assert_eq!(value(&linked, "CONFIG_BPF_SYSCALL"), [1]);
    assert_eq!(value(&linked, "CONFIG_BPF"), 2u32.to_ne_bytes());
    assert_eq!(value(&linked, "CONFIG_NET"), *b"y");
    assert_eq!(value(&linked, "CONFIG_HZ"), 250u32.to_ne_bytes());
    assert_eq!(
        value(&linked, "CONFIG_PHYSICAL_START"),
        0x100_0000u64.to_ne_bytes()
    );
    assert_eq!(value(&linked, "CONFIG_LOG_BUF_SHIFT"), 17u16.to_ne_bytes());
    assert_eq!(value(&linked, "CONFIG_DEFAULT_HOSTNAME"), *b"(none)\0\0");
    assert_eq!(value(&linked, "CONFIG_LSM"), *b"lock\0");
    assert_eq!(value(&linked, "CONFIG_TWINBPF_NONE"), [0; 4]);
    assert_eq!(
        value(&linked, "LINUX_KERNEL_VERSION"),
        target.kernel_version.to_ne_bytes()
    );
    let map = linked
        .maps
        .iter()
        .position(|map| map.name == ".kconfig")
        .unwrap();
    let reads = program(&linked, "reads").holes.iter();
    assert!(reads.clone().any(
        |hole| matches!(hole.kind, HoleKind::MapValue { map: found, offset: 16 } if found.0 == map)
    ));
}

#[test]
fn the_caller_wins_over_the_configuration() {
    let mut target = configured(OPTIONS);
    for (name, value) in [
        ("CONFIG_HZ", "1000"),
        ("CONFIG_TWINBPF_OFF", "y"),
        ("LINUX_KERNEL_VERSION", "0x50a00"),
    ] {
        let overrides = &mut target.config.overrides;
        overrides.insert(name.to_owned(), value.to_owned());
    }
    let linked = link(&fixture("kconfig"), &target).unwrap();
    assert_eq!(value(&linked, "CONFIG_HZ"), 1000u32.to_ne_bytes());
    assert_eq!(value(&linked, "CONFIG_TWINBPF_OFF"), [1]);
    assert_eq!(
        value(&linked, "LINUX_KERNEL_VERSION"),
        0x50a00u32.to_ne_bytes()
    );
}

#[test]
fn functions_of_the_kernel_become_holes_and_absent_weak_ones_dead_code() {
    let object = fixture("kfuncs");
    let needs = object.needs();
    let mut wanted: Vec<_> = needs.kernel_names().collect();
    wanted.dedup();
    assert_eq!(
        wanted,
        [
            "bpf_task_from_pid",
            "bpf_task_release",
            "twinbpf_no_such_function"
        ]
    );
    let types = kernel_like("externs_missing");
    let target = Target {
        btf: Some(kernel_like("kfuncs")),
        ..TARGET
    };
    let linked = link(&object, &target).unwrap();
    let finds = program(&linked, "finds");
    let call = finds.insns[2];
    assert_eq!((call.src, call.imm), (opcode::PSEUDO_KFUNC_CALL, 0));
    let kind = &finds.holes[0].kind;
    let HoleKind::Kfunc {
        name,
        module: None,
        id: Some(id),
    } = kind
    else {
        panic!("{kind:?}");
    };
    assert_eq!(name, "bpf_task_from_pid");
    assert_eq!(target.btf.as_ref().unwrap().name_of(*id), name);

    // In a kernel that lacks all of them the strong one is an error, and the weak ones are gone.
    let target = Target {
        btf: Some(types),
        ..TARGET
    };
    let linked = link_each(&object, &target).unwrap();
    let left_out: Vec<_> = linked
        .left_out
        .iter()
        .map(|each| (each.name.as_str(), each.reason.diagnosis().code))
        .collect();
    assert_eq!(
        left_out,
        [
            ("finds", Code::KFUNC_MISSING),
            ("chooses", Code::KFUNC_PROTOTYPE)
        ]
    );
    let unasked = program(&linked, "calls_unasked");
    assert_eq!(
        (unasked.insns[0].src, unasked.insns[0].imm),
        (0, UNAVAILABLE_HELPER)
    );
    assert_eq!(unasked.unavailable[0].code, Code::KFUNC_MISSING);
    assert_eq!(
        unasked.unavailable[0].reason,
        "the kernel has no function `twinbpf_no_such_function`"
    );
}

#[test]
fn a_guarded_weak_function_loads_the_address_zero() {
    let mut object = fixture("kfuncs");
    for each in &mut object.externs {
        each.is_weak = true;
    }
    let target = Target {
        offers: Offers::Functions(BTreeMap::from([("bpf_task_release".to_owned(), None)])),
        ..TARGET
    };
    let linked = link_each(&object, &target).unwrap();
    let chooses = program(&linked, "chooses");
    let load = chooses.insns[0];
    assert!(load.is_wide());
    assert_eq!((load.src, load.imm, chooses.insns[1].imm), (0, 0, 0));
    assert_eq!(chooses.unavailable.len(), 3);
    assert!(chooses.holes.iter().all(|hole| matches!(
        &hole.kind,
        HoleKind::Kfunc { name, module: None, id: None } if name == "bpf_task_release"
    )));
}

#[test]
fn what_the_kernel_lacks_is_looked_for_in_its_modules() {
    let target = Target {
        btf: Some(kernel_like("externs_missing")),
        modules: vec![ModuleTypes {
            name: "nfs".to_owned(),
            btf: kernel_like("ksyms"),
        }],
        ..TARGET
    };
    let mut object = fixture("ksyms");
    object.programs.retain(|each| each.name == "does_without");
    let linked = link(&object, &target).unwrap();
    let kinds: Vec<_> = program(&linked, "does_without")
        .holes
        .iter()
        .map(|hole| &hole.kind)
        .collect();
    assert!(kinds.iter().any(|kind| matches!(
        kind,
        HoleKind::Ksym { name, module: Some(module), .. }
            if name == "twinbpf_no_such_variable" && module == "nfs"
    )));
}

#[test]
fn addresses_are_numbers_and_absent_weak_ones_are_zero() {
    let mut target = Target {
        btf: Some(kernel_like("ksyms")),
        ..TARGET
    };
    let address = 0xffff_ffff_8100_0010;
    let symbols = &mut target.symbols;
    symbols.are_shown = true;
    symbols
        .addresses
        .insert("vfs_read".to_owned(), SymbolAddress::At(address));
    let object = fixture("ksyms");
    let linked = link(&object, &target).unwrap();
    let takes = program(&linked, "takes_addresses");
    let at = takes
        .insns
        .iter()
        .position(|insn| insn.is_wide() && insn.src == 0)
        .unwrap();
    assert_eq!(takes.insns[at].imm.cast_unsigned(), 0x8100_0010);
    assert_eq!(takes.insns[at + 1].imm.cast_unsigned(), 0xffff_ffff);
    let variable = program(&linked, "reads_per_cpu").holes.iter();
    assert!(
        variable
            .map(|hole| &hole.kind)
            .any(|kind| matches!(kind, HoleKind::Ksym { name, .. } if name == "runqueues"))
    );

    target.symbols.are_shown = false;
    let error = link(&object, &target).unwrap_err();
    assert_eq!(error.diagnosis().code, Code::KSYM_HIDDEN);
    target.symbols.are_shown = true;
    let twice = SymbolAddress::Ambiguous(1, 2);
    target
        .symbols
        .addresses
        .insert("vfs_read".to_owned(), twice);
    let error = link(&object, &target).unwrap_err();
    assert_eq!(error.diagnosis().code, Code::KSYM_AMBIGUOUS);
}

#[test]
fn each_missing_thing_is_named_and_takes_no_other_program_with_it() {
    let mut target = configured(OPTIONS);
    target.btf = Some(kernel_like("kfuncs"));
    let linked = link_each(&fixture("externs_missing"), &target).unwrap();
    assert_eq!(linked.programs.len(), 1);
    assert_eq!(linked.programs[0].name, "needs_nothing");
    let found: Vec<_> = linked
        .left_out
        .iter()
        .map(|each| {
            let diagnosis = each.reason.diagnosis();
            (diagnosis.code.as_str(), diagnosis.message.as_str())
        })
        .collect();
    assert_eq!(
        found,
        [
            ("L009", "`CONFIG_TWINBPF_NEEDED` is not known"),
            (
                "L010",
                "`CONFIG_DEFAULT_HOSTNAME` is \"(none)\" here, and the program declares it as signed integer of 4 bytes: a text needs an array of `char`"
            ),
            (
                "L010",
                "`CONFIG_NET` is y here, and the program declares it as another type: no configuration value has that type"
            ),
            (
                "L013",
                "the kernel has no variable `twinbpf_needed_variable`"
            ),
            ("L013", "the kernel has no variable `runqueues`"),
            ("L013", "the kernel has no symbol `twinbpf_needed_address`"),
            ("L011", "the kernel has no function `bpf_task_releese`"),
            (
                "L012",
                "the kernel's `bpf_task_release` has another prototype than the program declares"
            ),
            (
                "L001",
                "`twinbpf_nowhere` is declared, but neither defined nor said to be the kernel's"
            ),
        ]
    );
    let facts = &linked.left_out[7].reason.diagnosis().facts;
    let shown: Vec<String> = facts
        .iter()
        .map(|fact| format!("{}: {}", fact.label, fact.value))
        .collect();
    assert_eq!(
        shown,
        [
            "the kernel's: void bpf_task_release(struct task_struct *)",
            "the object's: void bpf_task_release(int)"
        ]
    );
    let help = &linked.left_out[6].reason.diagnosis().help;
    assert_eq!(help, &["did you mean `bpf_task_release`?"]);

    target.btf = Some(kernel_like("ksyms"));
    let linked = link_each(&fixture("externs_missing"), &target).unwrap();
    let mistaken = &linked.left_out[4].reason;
    assert_eq!(mistaken.diagnosis().code, Code::KSYM_TYPE);
}

#[test]
fn an_engine_that_only_borrows_types_has_no_functions_of_the_kernel() {
    let types = kernel_like("kfuncs");
    let target = Target {
        btf: Some(types),
        offers: Offers::Functions(BTreeMap::new()),
        ..TARGET
    };
    let error = link(&fixture("kfuncs"), &target).unwrap_err();
    assert_eq!(error.diagnosis().code, Code::KFUNC_MISSING);
    assert!(
        error
            .to_string()
            .contains("`bpf_task_from_pid` is a function of the kernel, which this engine has not")
    );
}
