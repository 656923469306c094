//! Any bytes as instructions: their listing assembles into the same ones. Any text: it assembles or is refused, and what it
//! assembles into does so again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use twinbpf_object::insn::{Insn, assemble, disassemble, listing};
use twinbpf_object::spec::ByteOrder;

fuzz_target!(|bytes: &[u8]| {
    let (slots, _) = bytes.as_chunks();
    let program: Vec<Insn> = slots
        .iter()
        .map(|slot| Insn::from_bytes(*slot, ByteOrder::Little))
        .collect();
    let known = listing(&program).filter(|row| row.operation.is_ok());
    let known: Vec<Insn> = known
        .flat_map(|row| {
            let end = row.at.get() + if row.slots == 2 { 2 } else { 1 };
            program[row.at.get()..end].to_vec()
        })
        .collect();
    keep(&known);
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(program) = assemble(text)
    {
        keep(&program);
    }
});

fn keep(program: &[Insn]) {
    let text = disassemble(program);
    assert_eq!(assemble(&text).as_deref(), Ok(program), "{text}");
}
