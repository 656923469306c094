//! Programs for kernels that are older than what they were compiled for.
//!
//! Before 5.5 one helper read the memory of the kernel and of processes, and one did for texts. Programs of today name the four that
//! took their place; where those are missing the older ones do the same, as long as both sorts of memory have addresses of their own,
//! which they have on x86-64.

use twinbpf_object::insn::{INSN_BYTES, Insn, opcode};
use twinbpf_object::spec::ByteOrder;

use crate::host;

/// A call of a helper, or with another source field of something else.
const HELPER_CALL: u8 = opcode::JMP | opcode::CALL;
/// The release that brought the newer helpers.
const SINCE: &str = "5.5";

/// The newer helper's number, and that of the one before it.
const EXCHANGED: [(i32, i32); 4] = [
    (112, 4),  // probe_read_user: probe_read
    (113, 4),  // probe_read_kernel: probe_read
    (114, 45), // probe_read_user_str: probe_read_str
    (115, 45), // probe_read_kernel_str: probe_read_str
];

/// Exchanges helpers that the running kernel does not have for older ones, in code as the kernel reads it.
pub(super) fn adapt(code: &mut [u8]) {
    if !host::is_at_least(SINCE) {
        exchange(code);
    }
}

fn exchange(code: &mut [u8]) {
    let (slots, _) = code.as_chunks_mut::<INSN_BYTES>();
    // The second half of a wide load is no instruction; its opcode is 0, so it is none that calls.
    for slot in slots {
        let insn = Insn::from_bytes(*slot, ByteOrder::HOST);
        if insn.opcode != HELPER_CALL || insn.src != 0 {
            continue;
        }
        if let Some((_, older)) = EXCHANGED.iter().find(|(newer, _)| *newer == insn.imm) {
            let older = Insn {
                imm: *older,
                ..insn
            };
            *slot = older.to_bytes(ByteOrder::HOST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn helpers_are_exchanged_and_nothing_else_is() {
        let insn = |opcode, src, imm| Insn {
            opcode,
            dst: 0,
            src,
            offset: 0,
            imm,
        };
        let before = [
            insn(HELPER_CALL, 0, 113),
            insn(HELPER_CALL, 0, 114),
            // A function of the program, and a number.
            insn(HELPER_CALL, 1, 113),
            insn(0xb7, 0, 113),
            insn(HELPER_CALL, 0, 14),
        ];
        let mut code: Vec<u8> = before
            .iter()
            .flat_map(|insn| insn.to_bytes(ByteOrder::HOST))
            .collect();
        exchange(&mut code);
        let (slots, _) = code.as_chunks::<INSN_BYTES>();
        let after: Vec<i32> = slots
            .iter()
            .map(|slot| Insn::from_bytes(*slot, ByteOrder::HOST).imm)
            .collect();
        assert_eq!(after, [4, 45, 113, 113, 14]);
    }
}
