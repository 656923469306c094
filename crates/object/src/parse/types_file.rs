//! A file of types that stands for a target's: raw BTF, or an ELF file with a section of it.

use crate::btf::Btf;
use crate::bytes::ByteOrder;
use crate::diagnosis::{Code, Diagnosis, Result};
use crate::elf::section_of_any;

/// Takes the types of a target from the bytes of a file: raw BTF as in `/sys/kernel/btf`, in the byte order that it says it
/// has, or an ELF file of any machine with a section `.BTF`, such as a kernel's image or a BPF object.
///
/// # Errors
///
/// Code O012 if an ELF file has no types, O013 if their header is malformed. Types themselves are read when asked for.
pub fn read_types(bytes: Vec<u8>) -> Result<Btf> {
    if bytes.starts_with(&object::elf::ELFMAG) {
        let Some((types, order)) = section_of_any(&bytes, ".BTF") else {
            return Err(
                Diagnosis::new(Code::BTF_MISSING, "the file has no section `.BTF`")
                    .help("`pahole -J` adds types to a kernel's image; `clang -g` to a BPF object")
                    .into(),
            );
        };
        return Btf::open(types.to_vec().into(), order);
    }
    let order = match bytes.as_slice() {
        [0xeb, 0x9f, ..] => ByteOrder::Big,
        _ => ByteOrder::Little,
    };
    Btf::open(bytes.into(), order)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::BtfBuilder;
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
    fn files_without_types_are_errors() {
        let plain = include_bytes!("../../../../testdata/bpf/globals_plain.bpf.o");
        let code = |bytes: &[u8]| read_types(bytes.to_vec()).unwrap_err().diagnosis().code;
        assert_eq!(code(plain), Code::BTF_MISSING);
        assert_eq!(code(&plain[..40]), Code::BTF_MISSING);
        assert_eq!(code(b""), Code::BTF_MALFORMED);
        assert_eq!(code(b"types"), Code::BTF_MALFORMED);
    }
}
