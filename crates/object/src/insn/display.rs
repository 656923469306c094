//! Instructions as text, in the syntax of the kernel's verifier log.

use std::fmt;

use crate::abi::helper_name;

use super::operation::{
    ArenaCast, AtomicOp, Call, Extend, Operand, Operation, Register, Size, WideValue, Width,
};
use super::table;

impl fmt::Display for Operation {
    #[expect(
        clippy::too_many_lines,
        reason = "a flat match, one short arm per operation"
    )]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Alu {
                width,
                op,
                dst,
                src,
            } => {
                write!(
                    f,
                    "{} {} {}",
                    Named(dst, width),
                    table::alu_sign(op),
                    Right(src, width)
                )
            }
            Self::Neg { width, dst } => write!(f, "{0} = -{0}", Named(dst, width)),
            Self::MoveSigned {
                width,
                bits,
                dst,
                src,
            } => {
                write!(f, "{} = (s{bits}){}", Named(dst, width), Named(src, width))
            }
            Self::Swap { order, bits, dst } => {
                let (.., name) = table::swap_row(order);
                write!(f, "{dst} = {name}{bits} {dst}")
            }
            Self::Cast { cast, dst, src } => {
                let (to, from) = match cast {
                    ArenaCast::ToKernel => (0, 1),
                    ArenaCast::ToUser => (1, 0),
                };
                write!(f, "{dst} = addr_space_cast({src}, {to}, {from})")
            }
            Self::Load {
                size,
                extend,
                dst,
                base,
                offset,
            } => {
                write!(
                    f,
                    "{dst} = {}",
                    Cell {
                        size,
                        base,
                        offset,
                        is_signed: extend == Extend::Sign
                    }
                )
            }
            Self::Store {
                size,
                base,
                offset,
                value,
            } => {
                write!(
                    f,
                    "{} = {}",
                    Cell {
                        size,
                        base,
                        offset,
                        is_signed: false
                    },
                    Right(value, Width::W64)
                )
            }
            Self::Atomic {
                op,
                size,
                base,
                offset,
                src,
            } => fmt_atomic(
                f,
                op,
                Cell {
                    size,
                    base,
                    offset,
                    is_signed: false,
                },
                src,
            ),
            Self::LoadAcquire {
                size,
                dst,
                base,
                offset,
            } => {
                write!(
                    f,
                    "{dst} = load_acquire({}({base} {offset:+}))",
                    pointer(size, false)
                )
            }
            Self::StoreRelease {
                size,
                base,
                offset,
                src,
            } => {
                write!(
                    f,
                    "store_release({}({base} {offset:+}), {src})",
                    pointer(size, false)
                )
            }
            Self::LoadWide { dst, value } => write!(f, "{dst} = {value}"),
            Self::LoadPacket {
                size,
                index: None,
                offset,
            } => write!(
                f,
                "r0 = *({} *)skb[{offset}]",
                table::type_name(size, false)
            ),
            Self::LoadPacket {
                size,
                index: Some(index),
                offset,
            } => {
                write!(
                    f,
                    "r0 = *({} *)skb[{index} + {offset}]",
                    table::type_name(size, false)
                )
            }
            Self::Jump { to, far: false } => write!(f, "goto pc{:+}", to.0),
            Self::Jump { to, far: true } => write!(f, "gotol pc{:+}", to.0),
            Self::Branch {
                width,
                condition,
                dst,
                src,
                to,
            } => {
                write!(
                    f,
                    "if {} {} {} goto pc{:+}",
                    Named(dst, width),
                    table::condition_row(condition).1,
                    Right(src, width),
                    to.0
                )
            }
            Self::MayGoto { to } => write!(f, "may_goto pc{:+}", to.0),
            Self::Call(Call::Helper(number)) => match helper_name(number) {
                Some(name) => write!(f, "call bpf_{name}#{number}"),
                None => write!(f, "call #{number}"),
            },
            Self::Call(Call::Local(to)) => write!(f, "call pc{to:+}"),
            Self::Call(Call::Kfunc { id, module: 0 }) => write!(f, "call kfunc#{id}"),
            Self::Call(Call::Kfunc { id, module }) => write!(f, "call kfunc#{id}@{module}"),
            Self::Exit => f.write_str("exit"),
        }
    }
}

impl fmt::Display for WideValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Number(number) => write!(f, "{number:#x} ll"),
            Self::Map(map) => write!(f, "map[fd:{map}]"),
            Self::MapValue { map, offset } => write!(f, "map[fd:{map}]+{offset}"),
            Self::Btf { id, module: 0 } => write!(f, "btf_id[{id}]"),
            Self::Btf { id, module } => write!(f, "btf_id[{id}@{module}]"),
            Self::Function(to) => write!(f, "func[pc{to:+}]"),
            Self::MapByIndex(map) => write!(f, "map[idx:{map}]"),
            Self::MapValueByIndex { map, offset } => write!(f, "map[idx:{map}]+{offset}"),
        }
    }
}

/// A register as `r1` or `w1`.
struct Named(Register, Width);

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = if self.1 == Width::W32 { 'w' } else { 'r' };
        write!(f, "{letter}{}", self.0.number())
    }
}

/// A second operand.
struct Right(Operand, Width);

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Operand::Register(register) => Named(register, self.1).fmt(f),
            Operand::Immediate(number) => number.fmt(f),
        }
    }
}

/// A memory operand as `*(u32 *)(r1 +4)`.
struct Cell {
    size: Size,
    base: Register,
    offset: i16,
    is_signed: bool,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "*{}({} {:+})",
            pointer(self.size, self.is_signed),
            self.base,
            self.offset
        )
    }
}

fn fmt_atomic(f: &mut fmt::Formatter<'_>, op: AtomicOp, cell: Cell, src: Register) -> fmt::Result {
    let bits = if cell.size == Size::Dw { "64" } else { "" };
    let address = format!(
        "{}({} {:+})",
        pointer(cell.size, false),
        cell.base,
        cell.offset
    );
    let (_, sign, name) = table::atomic_row(op);
    match op {
        AtomicOp::CompareExchange => write!(f, "r0 = atomic{bits}_{name}({address}, r0, {src})"),
        _ if sign.is_empty() => write!(f, "{src} = atomic{bits}_{name}({address}, {src})"),
        _ => write!(f, "lock {cell} {sign} {src}"),
    }
}

fn pointer(size: Size, is_signed: bool) -> String {
    format!("({} *)", table::type_name(size, is_signed))
}

#[cfg(test)]
mod tests {
    use super::super::{Insn, Operation};

    fn text(opcode: u8, dst: u8, src: u8, offset: i16, imm: i32) -> String {
        Operation::decode(&[Insn {
            opcode,
            dst,
            src,
            offset,
            imm,
        }])
        .unwrap()
        .operation
        .to_string()
    }

    #[test]
    fn texts_are_those_of_the_verifier_log() {
        assert_eq!(text(0x61, 1, 6, 16, 0), "r1 = *(u32 *)(r6 +16)");
        assert_eq!(text(0x30, 0, 0, 0, 23), "r0 = *(u8 *)skb[23]");
        assert_eq!(text(0xdb, 0, 1, 0, 0), "lock *(u64 *)(r0 +0) += r1");
        assert_eq!(
            text(0xdb, 0, 1, 8, 1),
            "r1 = atomic64_fetch_add((u64 *)(r0 +8), r1)"
        );
        assert_eq!(text(0x16, 1, 0, -3, 4), "if w1 == 4 goto pc-3");
        assert_eq!(text(0xb4, 0, 0, 0, -1), "w0 = -1");
        assert_eq!(text(0x85, 0, 0, 0, 1), "call bpf_map_lookup_elem#1");
        assert_eq!(text(0x85, 0, 0, 0, 999), "call #999");
    }
}
