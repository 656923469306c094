//! Damaged files: whatever is cut off or changed, parsing and linking end in `Ok` or `Err`.

use crate::support::{ElfBuilder, PROGBITS, R_BPF_64_32, R_BPF_64_64, call, exit, insn, mov, wide};
use twinbpf_object::spec::ByteOrder;
use twinbpf_object::{Object, Target, link};

const TARGET: Target = Target::new(2, 4096, 0);

/// A little of everything: programs, a subprogram, maps of two forms, relocations of both kinds.
fn sample(order: ByteOrder) -> Vec<u8> {
    let mut elf = ElfBuilder::new(order);
    let [first, second] = wide(0);
    let text = elf.code(".text", &[mov(1), exit()]);
    let xdp = elf.code(
        "xdp",
        &[
            first,
            second,
            call(-1),
            insn(0x15, 0, 0, 1, 0),
            mov(2),
            exit(),
        ],
    );
    let socket = elf.code("socket", &[first, second, mov(0), exit()]);
    let maps = elf.words("maps", &[2, 4, 8, 256, 0, 0, 0, 13, 4, 4, 1, 0, 0, 0]);
    elf.section("license", PROGBITS, 0, b"GPL\0");
    elf.words("version", &[1]);
    let helper = elf.function("helper", text, 0..2);
    elf.function("entry", xdp, 0..6);
    elf.bare("filter", socket, 0);
    let counts = elf.bare("counts", maps, 0);
    let outer = elf.bare("outer", maps, 28);
    elf.rel(xdp, &[(0, counts, R_BPF_64_64), (16, helper, R_BPF_64_32)]);
    elf.rela(socket, &[(0, outer, R_BPF_64_64, 0)]);
    elf.build()
}

/// Parses and, if that succeeds, links. Gives whether both succeeded.
fn survives(bytes: &[u8]) -> bool {
    Object::parse(bytes).is_ok_and(|object| {
        assert!(!object.to_string().is_empty());
        link(&object, &TARGET).is_ok()
    })
}

#[test]
fn every_shorter_file_is_an_error() {
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let bytes = sample(order);
        assert!(Object::parse(&bytes).is_ok());
        for length in 0..bytes.len() {
            // The section headers are last: no shorter file can be whole.
            assert!(Object::parse(&bytes[..length]).is_err(), "{length} bytes");
        }
    }
}

#[test]
fn no_changed_byte_panics() {
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let mut bytes = sample(order);
        let mut survivors = 0;
        for position in 0..bytes.len() {
            let original = bytes[position];
            for value in [0, 0xff, original ^ 1, original.wrapping_add(8)] {
                bytes[position] = value;
                survivors += usize::from(survives(&bytes));
            }
            bytes[position] = original;
        }
        // Otherwise the test would not reach the linker.
        assert!(order == ByteOrder::Big || survivors > 100);
    }
}

#[test]
fn no_pair_of_changed_words_panics() {
    let mut bytes = sample(ByteOrder::Little);
    let original = bytes.clone();
    // A small fixed sequence (Knuth's linear congruence) makes the same damage on every run.
    let mut state: u64 = 1;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    for _ in 0..3_000 {
        for _ in 0..2 {
            let words = u64::try_from(bytes.len() / 4).unwrap();
            let at = usize::try_from(next() % words).unwrap() * 4;
            let value = match next() % 4 {
                0 => u32::MAX,
                1 => 0,
                2 => u32::try_from(next() % 4096).unwrap(),
                _ => u32::try_from(next() & 0x7fff_ffff).unwrap(),
            };
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        survives(&bytes);
        bytes.copy_from_slice(&original);
    }
}

#[test]
fn overlapping_sections_are_refused_before_they_multiply_the_work() {
    let mut elf = ElfBuilder::new(ByteOrder::Little);
    let code = elf.code("xdp", &[mov(0), exit()]);
    elf.rel(code, &[]);
    let mut bytes = elf.build();
    let headers = usize::try_from(u64::from_le_bytes(bytes[40..48].try_into().unwrap())).unwrap();
    let length = u64::try_from(bytes.len()).unwrap();
    for section in [1, 4] {
        let header = headers + section * 64;
        bytes[header + 24..header + 32].copy_from_slice(&0u64.to_le_bytes());
        bytes[header + 32..header + 40].copy_from_slice(&length.to_le_bytes());
    }
    let error = Object::parse(&bytes).unwrap_err();
    assert_eq!(error.diagnosis().code.as_str(), "O008");
    assert!(error.to_string().ends_with("they overlap"), "{error}");
}
