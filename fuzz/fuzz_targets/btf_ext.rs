//! Any bytes as the `.BTF.ext` of an object that is sound otherwise: its records are read or refused, and the object parses, links and
//! prints, with a warning where the section is damaged.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use twinbpf_object::btf::{Btf, Ext};
use twinbpf_object::spec::ByteOrder;
use twinbpf_object::{Object, Target, link_each};

/// An ELF file, and where its section table says where `.BTF.ext` lies.
struct Host {
    file: &'static [u8],
    entry: usize,
    types: Arc<Btf>,
}

static HOST: LazyLock<Host> = LazyLock::new(|| {
    let file: &[u8] = include_bytes!("../../testdata/bpf/core.bpf.o");
    let object = Object::parse(file).expect("the fixture is sound");
    Host {
        file,
        entry: section_entry(file, b".BTF.ext\0").expect("the fixture has the section"),
        types: object.btf.expect("the fixture has types"),
    }
});

fuzz_target!(|bytes: &[u8]| {
    for order in [ByteOrder::Little, ByteOrder::Big] {
        if let Ok(ext) = Ext::read(bytes, order) {
            let types = &HOST.types;
            let _either_is_fine = (
                ext.functions(types),
                ext.lines(types, |_| Ok(())),
                ext.relocations(types),
            );
        }
    }
    let Ok(object) = Object::parse(&HOST.with(bytes)) else {
        return;
    };
    assert!(!object.to_string().is_empty());
    let target = Target {
        btf: Some(Arc::clone(&HOST.types)),
        ..Target::new(4, 4096, 0x0006_1200)
    };
    let _either_is_fine = link_each(&object, &target);
});

impl Host {
    /// The file with `bytes` at its end, and the section table pointing there.
    fn with(&self, bytes: &[u8]) -> Vec<u8> {
        let mut file = self.file.to_vec();
        let places = [(24, file.len()), (32, bytes.len())];
        for (field, value) in places {
            let at = self.entry + field;
            file[at..at + 8].copy_from_slice(&(value as u64).to_le_bytes());
        }
        file.extend_from_slice(bytes);
        file
    }
}

/// Where the section called `name` (with its final zero) stands in the section table of a little-endian ELF64 file.
fn section_entry(file: &[u8], name: &[u8]) -> Option<usize> {
    let number = |at: usize, len: usize| -> Option<usize> {
        let mut wide = [0; 8];
        wide[..len].copy_from_slice(file.get(at..at + len)?);
        usize::try_from(u64::from_le_bytes(wide)).ok()
    };
    let table = number(40, 8)?;
    let (count, names) = (number(60, 2)?, number(62, 2)?);
    let names = number(table + names * 64 + 24, 8)?;
    (0..count).map(|index| table + index * 64).find(|&entry| {
        number(entry, 4).is_some_and(|offset| {
            file.get(names + offset..)
                .is_some_and(|rest| rest.starts_with(name))
        })
    })
}
