//! Types printed as C and compiled again are laid out as they were: what clang's own BTF says about them is compared.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::disallowed_methods,
    reason = "the crate is pure, its tests are not"
)]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::process::{Command, ExitCode};

use twinbpf_object::Object;
use twinbpf_object::btf::print::{c_header, layout};
use twinbpf_object::btf::{Btf, Type, TypeId};
use twinbpf_object::spec::ByteOrder;
use twinbpf_trials::{Case, Need};

fn main() -> ExitCode {
    twinbpf_trials::run(vec![
        Case::new(
            "the_running_kernels_types_compile_to_their_own_layouts",
            &[Need::KernelTypes, Need::Clang],
            the_running_kernels_types_compile_to_their_own_layouts,
        ),
        Case::new(
            "the_types_of_objects_compile_to_their_own_layouts",
            &[Need::Clang],
            the_types_of_objects_compile_to_their_own_layouts,
        ),
    ])
}

fn the_running_kernels_types_compile_to_their_own_layouts() {
    let bytes = std::fs::read("/sys/kernel/btf/vmlinux").unwrap();
    let btf = Btf::parse(&bytes, ByteOrder::HOST).unwrap();
    let compared = compile_and_compare(&btf, "kernel");
    assert!(compared > 1000, "{compared}");
}

fn the_types_of_objects_compile_to_their_own_layouts() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/bpf");
    let mut compared = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "o") {
            continue;
        }
        let object = Object::parse(&std::fs::read(&path).unwrap());
        if let Some(btf) = object.ok().and_then(|object| object.btf) {
            let name = path.file_stem().unwrap().to_str().unwrap();
            compared += compile_and_compare(&btf, name);
        }
    }
    assert!(compared > 50, "{compared}");
}

/// Prints all types, compiles them with a variable for each struct, and compares every struct with what clang says about it.
fn compile_and_compare(btf: &Btf, name: &str) -> usize {
    let header = c_header(btf, &[]).unwrap();
    let mut source = header.clone();
    let structs = structs(btf);
    for (number, (word_and_name, _)) in structs.iter().enumerate() {
        let _ = writeln!(source, "{word_and_name} *variable_{number};");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(format!("{name}.c"));
    let built = folder.path().join(format!("{name}.o"));
    std::fs::write(&file, source).unwrap();
    let output = Command::new("clang-19")
        .args(["-target", "bpf", "-g", "-O1", "-w", "-c", "-o"])
        .args([&built, &file])
        .output()
        .unwrap();
    let messages = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {messages:.4000}");
    let object = Object::parse(&std::fs::read(&built).unwrap()).unwrap();
    let Some(again) = object.btf else {
        assert!(structs.is_empty(), "{name}");
        return 0;
    };
    let compiled: HashMap<String, TypeId> = self::structs(&again).into_iter().collect();
    let mut wrong = Vec::new();
    for (word_and_name, id) in &structs {
        let expected = Some(places(btf, *id));
        let found = compiled.get(word_and_name).map(|id| places(&again, *id));
        if found != expected {
            wrong.push(format!("{word_and_name}: {found:?}, not {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{name}:\n{:.8000}", wrong.join("\n"));
    structs.len()
}

/// Structs and unions that have a name nothing else has.
fn structs(btf: &Btf) -> Vec<(String, TypeId)> {
    let mut found: Vec<(String, TypeId)> = Vec::new();
    let mut times: HashMap<String, u32> = HashMap::new();
    for (id, each) in btf.iter() {
        let word = match each {
            Type::Struct(_) => Some("struct"),
            Type::Union(_) => Some("union"),
            // Structs, unions and enumerations share their names.
            Type::Enumeration(_) => None,
            _ => continue,
        };
        let name = btf.name_of(id);
        if !name.is_empty() {
            *times.entry(name.to_owned()).or_default() += 1;
            found.extend(word.map(|word| (format!("{word} {name}"), id)));
        }
    }
    found.retain(|(_, id)| times.get(btf.name_of(*id)) == Some(&1));
    found
}

/// Size, and name, offset and length of each member; bytes that only fill are left out.
fn places(btf: &Btf, id: TypeId) -> (u32, Vec<(String, u64, u64)>) {
    let layout = layout(btf, id).unwrap().unwrap();
    let members = layout.places.into_iter().filter_map(|place| {
        let name = place.name.filter(|name| !name.starts_with("padding_"))?;
        Some((name, place.offset_bits, place.size_bits))
    });
    (layout.size, members.collect())
}
