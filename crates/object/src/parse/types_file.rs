//! A file of types that stands for a target's: raw BTF, or an ELF file with a section of it.

use std::sync::Arc;

use crate::btf::{Btf, Bytes};
use crate::bytes::ByteOrder;
use crate::diagnosis::{Code, Diagnosis, Result};
use crate::elf::section_of_any;

/// Takes the types of a target from the bytes of a file: raw BTF as in `/sys/kernel/btf`, in the byte order that it says it
/// has, or an ELF file of any machine with a section `.BTF`, such as a kernel's image or a BPF object. A module's file that
/// brings a section `.BTF.base` along continues the types in that.
///
/// # Errors
///
/// Code O012 if an ELF file has no types, O013 if their header is malformed. Types themselves are read when asked for.
pub fn read_types(bytes: Vec<u8>) -> Result<Btf> {
    let base = match section_of_any(&bytes, ".BTF.base") {
        Some((base, order)) => Some(Arc::new(Btf::open(base.to_vec().into(), order)?)),
        None => None,
    };
    let (types, order) = types_in(bytes)?;
    match base {
        Some(base) => Btf::open_split(types, base),
        None => Btf::open(types, order),
    }
}

/// Takes types that continue others from the bytes of a file: a module's in `/sys/kernel/btf`, or in its ELF file.
///
/// # Errors
///
/// Code O012 if an ELF file has no types, O013 if their header is malformed. That they continue other types than `base`
/// cannot be seen.
pub fn read_types_on(bytes: Vec<u8>, base: Arc<Btf>) -> Result<Btf> {
    Btf::open_split(types_in(bytes)?.0, base)
}

fn types_in(bytes: Vec<u8>) -> Result<(Bytes, ByteOrder)> {
    if bytes.starts_with(&object::elf::ELFMAG) {
        let Some((types, order)) = section_of_any(&bytes, ".BTF") else {
            return Err(
                Diagnosis::new(Code::BTF_MISSING, "the file has no section `.BTF`")
                    .help("`pahole -J` adds types to a kernel's image; `clang -g` to a BPF object")
                    .into(),
            );
        };
        return Ok((types.to_vec().into(), order));
    }
    let order = match bytes.as_slice() {
        [0x9f, 0xeb, ..] => ByteOrder::Little,
        [0xeb, 0x9f, ..] => ByteOrder::Big,
        [] => {
            return Err(Diagnosis::new(Code::EMPTY_FILE, "the file is empty: 0 bytes").into());
        }
        other => {
            let start = &other[..other.len().min(4)];
            let message = format!(
                "neither BTF, which starts with 9f eb, nor an ELF file: starts with {}",
                start
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect::<Vec<_>>()
                    .join(" ")
            );
            return Err(Diagnosis::new(Code::BTF_MALFORMED, message)
                .help(
                    "give an object, a kernel's image with types, or a file as in /sys/kernel/btf",
                )
                .into());
        }
    };
    Ok((bytes.into(), order))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::print::c_header;
    use crate::btf::{BtfBuilder, Type};
    use crate::spec::Object;

    #[test]
    fn raw_types_say_their_byte_order() {
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let mut builder = BtfBuilder::new();
            let id = builder.add_integer("number", 4);
            let btf = read_types(builder.encode(order).unwrap()).unwrap();
            assert_eq!((btf.byte_order(), btf.name_of(id)), (order, "number"));
        }
    }

    #[test]
    fn an_objects_types_are_found_in_its_file() {
        let file = include_bytes!("../../../../testdata/bpf/core.bpf.o");
        let own = Object::parse(file).unwrap().btf.unwrap();
        assert!(read_types(file.to_vec()).unwrap() == *own);
    }

    #[test]
    fn a_modules_types_go_on_where_the_kernels_end() {
        let order = ByteOrder::HOST;
        let mut builder = BtfBuilder::new();
        let number = builder.add_integer("number", 4);
        let base = read_types(builder.encode(order).unwrap()).unwrap();
        let mut whole = BtfBuilder::copy_of(&base);
        let target = number;
        let name = whole.name("of_a_module");
        let added = whole.add(Type::Typedef { name, target });
        let all = whole.encode(order).unwrap();

        // What the module brings is what stands behind the base's types and names.
        let part = |bytes: &[u8], at: usize| {
            let word = |at: usize| u32::from_ne_bytes(*bytes[at..].first_chunk().unwrap());
            let start = 24 + usize::try_from(word(at)).unwrap();
            let end = start + usize::try_from(word(at + 4)).unwrap();
            bytes[start..end].to_vec()
        };
        let rest = |at: usize| part(&all, at)[part(base.as_bytes(), at).len()..].to_vec();
        let (types, strings) = (rest(8), rest(16));
        let lengths = [types.len(), strings.len()].map(|it| u32::try_from(it).unwrap());
        let mut module = all[..4].to_vec();
        for word in [24, 0, lengths[0], lengths[0], lengths[1]] {
            module.extend(word.to_ne_bytes());
        }
        module.extend(types.iter().chain(&strings));

        assert!(read_types(module.clone()).is_err());
        let module = read_types_on(module, Arc::new(base)).unwrap();
        assert_eq!(module.name_of(added), "of_a_module");
        let header = c_header(&module, &[]).unwrap();
        assert!(
            header.contains("typedef unsigned int of_a_module;"),
            "{header}"
        );
    }

    #[test]
    fn files_without_types_are_errors() {
        let plain = include_bytes!("../../../../testdata/bpf/globals_plain.bpf.o");
        let code = |bytes: &[u8]| read_types(bytes.to_vec()).unwrap_err().diagnosis().code;
        assert_eq!(code(plain), Code::BTF_MISSING);
        assert_eq!(code(&plain[..40]), Code::BTF_MISSING);
        assert_eq!(code(b""), Code::EMPTY_FILE);
        assert_eq!(code(b"hello"), Code::BTF_MALFORMED);
        assert_eq!(code(b"types"), Code::BTF_MALFORMED);
    }
}
