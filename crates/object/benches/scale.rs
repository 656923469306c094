//! Parsing and linking objects of 10 to 10,000 functions: the time of each function must not grow with their number.
//!
//! `cargo bench -p twinbpf-object`. Half of the functions are programs; each uses a map and calls one of the other half.
//! The objects are put together here, so no compiler is needed.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a benchmark reports on standard output, reads the clock, and stops at the first surprise"
)]

use std::hint::black_box;
use std::ops::Range;
use std::time::Instant;

use object::write::{Object as Elf, Relocation, SectionId, Symbol, SymbolId, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, RelocationFlags, SectionKind, SymbolFlags, SymbolKind,
    SymbolScope,
};
use twinbpf_object::insn::{Insn, opcode};
use twinbpf_object::spec::ByteOrder;
use twinbpf_object::{Object, Target, link};

const SIZES: [usize; 4] = [10, 100, 1_000, 10_000];
const ROUNDS: usize = 11;
const CALL: u8 = opcode::JMP | opcode::CALL;
const EXIT: u8 = opcode::JMP | opcode::EXIT;

fn main() {
    println!(
        "{:>9} {:>9} {:>10} {:>10} {:>14} {:>14}",
        "functions", "KiB", "parse us", "link us", "parse ns each", "link ns each"
    );
    for functions in SIZES {
        let bytes = elf(functions / 2);
        let target = Target::new(2, 4096, 0x0006_1200);
        let (mut parse_ns, mut link_ns) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let start = Instant::now();
            let object = Object::parse(black_box(&bytes)).unwrap();
            parse_ns.push(start.elapsed().as_nanos());
            let start = Instant::now();
            let linked = link(&object, &target).unwrap();
            link_ns.push(start.elapsed().as_nanos());
            assert_eq!(linked.programs.len(), functions / 2);
            black_box(linked);
        }
        let (parse_ns, link_ns) = (median(parse_ns), median(link_ns));
        println!(
            "{functions:>9} {:>9} {:>10.1} {:>10.1} {:>14.0} {:>14.0}",
            bytes.len() / 1024,
            parse_ns / 1000.0,
            link_ns / 1000.0,
            parse_ns / functions as f64,
            link_ns / functions as f64
        );
    }
}

#[expect(clippy::cast_precision_loss, reason = "a report, not a calculation")]
fn median(mut values: Vec<u128>) -> f64 {
    values.sort_unstable();
    values[values.len() / 2] as f64
}

/// An object with one map, `pairs` programs, and as many functions that they call.
fn elf(pairs: usize) -> Vec<u8> {
    let mut elf = Elf::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let license = elf.add_section(Vec::new(), b"license".to_vec(), SectionKind::Data);
    elf.append_section_data(license, b"GPL\0", 1);
    let maps = elf.add_section(Vec::new(), b"maps".to_vec(), SectionKind::Data);
    // An array with 4-byte keys, 8-byte values and 256 entries.
    let definition: Vec<u8> = [2u32, 4, 8, 256, 0]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    elf.append_section_data(maps, &definition, 4);
    let map = elf.add_symbol(symbol("counts", SymbolKind::Data, maps, 0..20));

    let callee = code(&[
        insn(0xb7, 0, 0, 1),
        insn(0x07, 0, 0, 2),
        insn(EXIT, 0, 0, 0),
    ]);
    let text = elf.add_section(Vec::new(), b".text".to_vec(), SectionKind::Text);
    let callees: Vec<SymbolId> = (0..pairs)
        .map(|number| {
            let at = elf.append_section_data(text, &callee, 8);
            let place = at..at + callee.len() as u64;
            let name = format!("callee_{number}");
            elf.add_symbol(symbol(&name, SymbolKind::Text, text, place))
        })
        .collect();

    let program = code(&[
        insn(opcode::LD_IMM64, 1, 0, 0),
        insn(0, 0, 0, 0),
        insn(CALL, 0, opcode::PSEUDO_CALL, -1),
        insn(0xb7, 0, 0, 0),
        insn(EXIT, 0, 0, 0),
    ]);
    let section = elf.add_section(Vec::new(), b"socket".to_vec(), SectionKind::Text);
    for (number, callee) in callees.into_iter().enumerate() {
        let at = elf.append_section_data(section, &program, 8);
        let place = at..at + program.len() as u64;
        let name = format!("program_{number}");
        elf.add_symbol(symbol(&name, SymbolKind::Text, section, place));
        for (offset, symbol, kind) in [(at, map, 1), (at + 16, callee, 10)] {
            let relocation = Relocation {
                offset,
                symbol,
                addend: 0,
                flags: RelocationFlags::Elf {
                    r_type: object::elf::RelocationType(kind),
                },
            };
            elf.add_relocation(section, relocation).unwrap();
        }
    }
    elf.write().unwrap()
}

fn symbol(name: &str, kind: SymbolKind, section: SectionId, place: Range<u64>) -> Symbol {
    Symbol {
        name: name.as_bytes().to_vec(),
        value: place.start,
        size: place.end - place.start,
        kind,
        scope: SymbolScope::Dynamic,
        weak: false,
        section: SymbolSection::Section(section),
        flags: SymbolFlags::None,
    }
}

fn insn(opcode: u8, dst: u8, src: u8, imm: i32) -> Insn {
    Insn {
        opcode,
        dst,
        src,
        offset: 0,
        imm,
    }
}

fn code(insns: &[Insn]) -> Vec<u8> {
    insns
        .iter()
        .flat_map(|insn| insn.to_bytes(ByteOrder::Little))
        .collect()
}
