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
use twinbpf_object::btf::{Btf, BtfBuilder, Composite, Member, Tag, Type, TypeId};
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
        Case::new("remarks_become_attributes", &[], remarks_become_attributes),
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

fn remarks_become_attributes() {
    let mut builder = BtfBuilder::new();
    let name = builder.name("list");
    let member = Member {
        name: builder.name("head"),
        target: builder.add_integer("unsigned int", 4),
        offset_bits: 0,
        bitfield: None,
    };
    let list = builder.add(Type::Struct(Composite {
        name,
        size: 4,
        members: vec![member],
        has_bitfields: false,
    }));
    for (text, component, is_attribute) in [
        ("contains:\"it\"", Some(0), false),
        ("preserve_static_offset", None, true),
        ("not; one", None, true),
    ] {
        let tag = Tag {
            text: builder.name(text),
            target: list,
            is_attribute,
        };
        builder.add(Type::DeclTag { tag, component });
    }
    let bytes = builder.encode(ByteOrder::Little).unwrap();
    let header = c_header(&Btf::parse(&bytes, ByteOrder::Little).unwrap(), &[]).unwrap();
    for part in [
        "\tunsigned int head __attribute__((btf_decl_tag(\"contains:\\\"it\\\"\")));\n",
        "} __attribute__((preserve_static_offset)) __attribute__((btf_decl_tag(\"not; one\")));\n",
    ] {
        assert!(header.contains(part), "{part} is not in\n{header}");
    }
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
        let known = |btf: &Btf, id: TypeId| (places(btf, id), remarks(btf, id));
        let expected = Some(known(btf, *id));
        let found = compiled.get(word_and_name).map(|id| known(&again, *id));
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

/// The remarks on a struct, on its members and on what these point to.
fn remarks(btf: &Btf, id: TypeId) -> Vec<(String, String)> {
    let Some(Type::Struct(whole) | Type::Union(whole)) = btf.get(id) else {
        return Vec::new();
    };
    let name_of = |member: usize| btf.text(whole.members[member].name).to_owned();
    let mut remarks = Vec::new();
    for (_, found) in btf.iter() {
        if let Type::DeclTag { tag, component } = found
            && tag.target == id
        {
            let member = component.map(|member| name_of(usize::try_from(member).unwrap()));
            remarks.push((member.unwrap_or_default(), btf.text(tag.text).to_owned()));
        }
    }
    for (position, member) in whole.members.iter().enumerate() {
        if let Some(Type::Pointer(target)) = btf.get(member.target)
            && let Some(Type::TypeTag(tag)) = btf.get(*target)
        {
            remarks.push((name_of(position), btf.text(tag.text).to_owned()));
        }
    }
    remarks.sort();
    remarks
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
