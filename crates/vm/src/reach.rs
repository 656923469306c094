//! How far into its context a program reads, as far as its first function shows it.
//!
//! The kernel's verifier knows exactly and refuses test runs with less. Here the registers that hold the context are followed from
//! instruction to instruction, in their order, which is the order compilers write them in: enough to refuse the same.

use twinbpf_object::insn::{AluOp, Operand, Operation, Register, Width};

/// Bytes of the context that the function with these operations reads or writes.
pub(crate) fn context_reach(operations: &[Option<Operation>]) -> usize {
    let mut holders = vec![Register::R1];
    let mut reach = 0;
    for operation in operations.iter().flatten() {
        let touched = match *operation {
            Operation::Load {
                size, base, offset, ..
            }
            | Operation::Store {
                size, base, offset, ..
            } => Some((size, base, offset)),
            _ => None,
        };
        if let Some((size, base, offset)) = touched
            && holders.contains(&base)
        {
            let end = i64::from(offset) + i64::from(size.bytes());
            reach = reach.max(usize::try_from(end).unwrap_or(0));
        }
        match *operation {
            Operation::Alu {
                width: Width::W64,
                op: AluOp::Mov,
                dst,
                src: Operand::Register(src),
            } if holders.contains(&src) => {
                holders.push(dst);
            }
            Operation::Alu { dst, .. } | Operation::Load { dst, .. } => {
                holders.retain(|holder| *holder != dst)
            }
            // A call leaves r6 to r9.
            Operation::Call(_) => holders.retain(|holder| holder.number() > 5),
            _ => {}
        }
    }
    reach
}
