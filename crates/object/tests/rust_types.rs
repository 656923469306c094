//! Types printed as Rust compile, and the assertions among them hold: sizes and offsets are what the BTF says.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::disallowed_methods,
    reason = "the crate is pure, its tests are not"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use twinbpf_object::Object;
use twinbpf_object::btf::print::{RustTraits, rust_types};
use twinbpf_object::btf::{Btf, BtfBuilder, Type, TypeId};
use twinbpf_object::spec::ByteOrder;
use twinbpf_trials::{Case, Need};

fn main() -> ExitCode {
    twinbpf_trials::run(vec![
        Case::new(
            "the_running_kernels_types_compile",
            &[Need::KernelTypes],
            the_running_kernels_types_compile,
        ),
        Case::new(
            "the_types_of_objects_compile",
            &[],
            the_types_of_objects_compile,
        ),
        Case::new(
            "bit_fields_are_read_and_changed_where_c_has_them",
            &[],
            bit_fields_are_read_and_changed_where_c_has_them,
        ),
        Case::new(
            "types_without_end_are_an_error_or_opaque",
            &[],
            types_without_end_are_an_error_or_opaque,
        ),
    ])
}

/// Some of the largest, and with them a few thousand others.
fn the_running_kernels_types_compile() {
    let bytes = std::fs::read("/sys/kernel/btf/vmlinux").unwrap();
    let btf = Btf::parse(&bytes, ByteOrder::HOST).unwrap();
    let names = [
        "task_struct",
        "sk_buff",
        "bpf_prog",
        "tcphdr",
        "iphdr",
        "bpf_attr",
    ];
    let roots: Vec<TypeId> = names.iter().flat_map(|name| btf.named(name)).collect();
    assert!(roots.len() >= names.len());
    let text = rust_types(&btf, &roots, RustTraits::None).unwrap();
    assert!(text.contains("offset_of!(task_struct, pid)"));
    compile(&text, "--crate-type=lib");
}

fn the_types_of_objects_compile() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/bpf");
    let mut compiled = 0;
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "o") {
            continue;
        }
        let object = Object::parse(&std::fs::read(&path).unwrap());
        if let Some(btf) = object.ok().and_then(|object| object.btf) {
            let types = rust_types(&btf, &[], RustTraits::None).unwrap();
            text.push_str(&format!(
                "mod object_{compiled} {{\n#![allow(dead_code)]\n{types}}}\n"
            ));
            compiled += 1;
        }
    }
    assert!(compiled > 50, "{compiled}");
    compile(&text, "--crate-type=lib");
}

fn bit_fields_are_read_and_changed_where_c_has_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/bpf");
    let file = std::fs::read(folder.join("core.bpf.o")).unwrap();
    let btf = Object::parse(&file).unwrap().btf.unwrap();
    let root: Vec<TypeId> = btf.named("outer").collect();
    assert_eq!(root.len(), 1);
    let types = rust_types(&btf, &root, RustTraits::None).unwrap();
    let source = format!(
        "#![allow(dead_code, non_camel_case_types)]\n{types}\n
fn main() {{
    let mut all: outer = unsafe {{ core::mem::zeroed() }};
    all.set_low(5);
    all.set_middle(-3);
    all.set_high(0x9ff);
    assert_eq!((all.low(), all.middle(), all.high()), (5, -3, 0x9ff));
    all.set_low(0);
    assert_eq!((all.low(), all.middle(), all.high()), (0, -3, 0x9ff));
}}
"
    );
    let built = compile(&source, "--crate-type=bin");
    let output = Command::new(built.path().join("types.out"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

fn types_without_end_are_an_error_or_opaque() {
    let mut builder = BtfBuilder::new();
    let mut inner = builder.add_integer("int", 4);
    for _ in 0..1000 {
        inner = builder.add(Type::Pointer(inner));
    }
    let name = builder.name("deep");
    builder.add(Type::Typedef {
        name,
        target: inner,
    });
    let bytes = builder.encode(ByteOrder::Little).unwrap();
    let btf = Btf::parse(&bytes, ByteOrder::Little).unwrap();
    let error = rust_types(&btf, &[], RustTraits::None).unwrap_err();
    assert_eq!(error.diagnosis().code, twinbpf_object::Code::BTF_MALFORMED);
}

/// Compiles a source; what it built lies in the folder as `types.out`.
fn compile(source: &str, kind: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let file: PathBuf = folder.path().join("types.rs");
    std::fs::write(&file, source).unwrap();
    let emit = match kind {
        "--crate-type=bin" => "--emit=link",
        _ => "--emit=metadata",
    };
    let output = Command::new("rustc")
        .args(["--edition=2024", "--cap-lints=allow", kind, emit, "-o"])
        .arg(folder.path().join("types.out"))
        .arg(&file)
        .output()
        .unwrap();
    let messages = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{messages:.4000}");
    folder
}
