//! One line of assembly, read: the inverse of printing.
//!
//! The syntax is the verifier log's, so that its lines can be pasted: `12: (bf) r6 = r1` and `r6 = r1` are the same. What such a
//! line says of the state after `;` is a comment. Jumps go to `pc+3` or to a label.

use super::operation::{
    AluOp, ArenaCast, AtomicOp, Call, Displacement, Extend, Operand, Operation, Register, Size,
    WideValue, Width,
};
use super::table;
use super::token::{Line, Read, Token, Wrong, wrong_at};
use crate::abi::{helper_name, helper_number};

/// An instruction whose jump may still go to a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement<'text> {
    /// The meaning; its displacement is 0 if there is a label.
    pub(super) operation: Operation,
    /// Where it jumps to or what it calls, and where in the line that is said.
    pub(super) label: Option<(&'text str, usize)>,
}

/// Reads a line that holds an instruction.
pub(super) fn read<'text>(line: Line<'text>, shown: Option<u8>) -> Read<Statement<'text>> {
    let mut reader = Reader {
        line,
        label: None,
        is_shown_wide: shown == Some(super::opcode::LD_IMM64),
    };
    let operation = reader.operation()?;
    let label = reader.label;
    match reader.line.peek() {
        None => Ok(Statement { operation, label }),
        Some(_) => Err(reader.wrong("the instruction ends before this")),
    }
}

struct Reader<'text> {
    line: Line<'text>,
    label: Option<(&'text str, usize)>,
    /// Logs show no `ll`; the opcode in parentheses tells a 64-bit load from a move.
    is_shown_wide: bool,
}

/// A memory operand.
struct Cell {
    size: Size,
    extend: Extend,
    base: Register,
    offset: i16,
}

impl<'text> Reader<'text> {
    fn operation(&mut self) -> Read<Operation> {
        match self.line.peek() {
            Some(Token::Word("exit")) => self.then(Operation::Exit),
            Some(Token::Word(word @ ("goto" | "gotol"))) => {
                self.line.next();
                let to = self.target()?;
                let far = word == "gotol";
                Ok(Operation::Jump { to, far })
            }
            Some(Token::Word("may_goto")) => {
                self.line.next();
                Ok(Operation::MayGoto { to: self.target()? })
            }
            Some(Token::Word("if")) => self.branch(),
            Some(Token::Word("call")) => self.call().map(Operation::Call),
            Some(Token::Word("lock")) => self.locked(),
            Some(Token::Word("store_release")) => self.store_release(),
            Some(Token::Sign("*")) => self.store(),
            Some(Token::Word(_)) => self.changing_register(),
            _ => Err(self.wrong("no instruction begins like this")),
        }
    }

    fn then(&mut self, operation: Operation) -> Read<Operation> {
        self.line.next();
        Ok(operation)
    }

    fn branch(&mut self) -> Read<Operation> {
        self.line.next();
        let (dst, width) = self.register()?;
        let at = self.line.at();
        let sign = self.sign()?;
        let mut rows = table::CONDITIONS.iter();
        let condition = match rows.find(|row| row.2 == sign) {
            Some(row) => row.0,
            None => return Err(wrong_at(at, format!("`{sign}` is not a comparison"))),
        };
        let src = self.operand(width)?;
        self.word("goto")?;
        let to = self.target()?;
        Ok(Operation::Branch {
            width,
            condition,
            dst,
            src,
            to,
        })
    }

    fn call(&mut self) -> Read<Call> {
        self.line.next();
        if let Some(to) = self.distance()? {
            return Ok(Call::Local(to));
        }
        let at = self.line.at();
        let Some(Token::Word(name)) = self.line.peek() else {
            self.takes("#");
            return self.number("a helper, a label, or pc+N").map(Call::Helper);
        };
        self.line.next();
        if !self.takes("#") {
            return Ok(helper_number(name).map_or_else(
                || {
                    self.label = Some((name, at));
                    Call::Local(0)
                },
                Call::Helper,
            ));
        }
        if name == "kfunc" {
            let id = self.number("the number of a type")?;
            let module = self.module()?;
            return Ok(Call::Kfunc { id, module });
        }
        let number = self.number("the number of a helper")?;
        match helper_name(number) {
            Some(known) if helper_number(name) != Some(number) => Err(wrong_at(
                at,
                format!("helper {number} is bpf_{known}, not {name}"),
            )),
            _ => Ok(Call::Helper(number)),
        }
    }

    /// `@2` after a number of a type: the module it is in.
    fn module<T: TryFrom<i128> + Default>(&mut self) -> Read<T> {
        match self.takes("@") {
            true => self.number("the number of a module"),
            false => Ok(T::default()),
        }
    }

    /// `lock *(u64 *)(r1 +0) += r2`.
    fn locked(&mut self) -> Read<Operation> {
        self.line.next();
        self.expect("*")?;
        let cell = self.cell()?;
        let at = self.line.at();
        let sign = self.sign()?;
        let mut rows = table::ATOMICS.iter();
        let Some(row) = rows.find(|row| row.2 == sign) else {
            return Err(wrong_at(
                at,
                format!("`{sign}` is not an atomic operation; `+=`, `|=`, `&=` and `^=` are"),
            ));
        };
        let src = self.whole_register()?;
        Ok(Operation::Atomic {
            op: row.0,
            size: cell.size,
            base: cell.base,
            offset: cell.offset,
            src,
        })
    }

    /// `store_release((u64 *)(r1 +0), r2)`.
    fn store_release(&mut self) -> Read<Operation> {
        self.line.next();
        self.expect("(")?;
        let cell = self.cell()?;
        self.expect(",")?;
        let src = self.whole_register()?;
        self.expect(")")?;
        Ok(Operation::StoreRelease {
            size: cell.size,
            base: cell.base,
            offset: cell.offset,
            src,
        })
    }

    /// `*(u64 *)(r10 -8) = r1`.
    fn store(&mut self) -> Read<Operation> {
        self.line.next();
        let at = self.line.at();
        let cell = self.cell()?;
        if cell.extend == Extend::Sign {
            return Err(wrong_at(
                at,
                "a store has no sign; write u8, u16, u32 or u64",
            ));
        }
        self.expect("=")?;
        let value = match self.line.peek() {
            Some(Token::Word(_)) => Operand::Register(self.whole_register()?),
            _ if cell.size == Size::Dw => self.operand(Width::W64)?,
            _ => self.operand(Width::W32)?,
        };
        Ok(Operation::Store {
            size: cell.size,
            base: cell.base,
            offset: cell.offset,
            value,
        })
    }

    /// Everything that starts with the register it changes.
    fn changing_register(&mut self) -> Read<Operation> {
        let (dst, width) = self.register()?;
        let at = self.line.at();
        let sign = self.sign()?;
        if sign == "=" {
            return self.assigned(dst, width);
        }
        let mut rows = table::ALU.iter();
        let Some(row) = rows.find(|row| row.3 == sign) else {
            return Err(wrong_at(at, format!("`{sign}` is not an operation")));
        };
        Ok(Operation::Alu {
            width,
            op: row.0,
            dst,
            src: self.operand(width)?,
        })
    }

    fn assigned(&mut self, dst: Register, width: Width) -> Read<Operation> {
        match self.line.peek() {
            Some(Token::Sign("*")) => {
                self.line.next();
                self.loaded(dst, width)
            }
            Some(Token::Sign("(")) => self.sign_extended(dst, width),
            Some(Token::Sign("-")) if matches!(self.line.second(), Some(Token::Word(_))) => {
                self.line.next();
                let at = self.line.at();
                match self.register()? {
                    (same, _) if same == dst => Ok(Operation::Neg { width, dst }),
                    _ => Err(wrong_at(at, "only the register itself can be negated")),
                }
            }
            Some(Token::Word(word)) if register_name(word).is_none() => {
                self.named(dst, width, word)
            }
            _ => self.moved(dst, width),
        }
    }

    /// A register or a number.
    fn moved(&mut self, dst: Register, width: Width) -> Read<Operation> {
        let at = self.line.at();
        let Some(number) = self.maybe_number()? else {
            let src = self.operand(width)?;
            return Ok(Operation::Alu {
                width,
                op: AluOp::Mov,
                dst,
                src,
            });
        };
        let is_wide = self.takes_word("ll") || self.is_shown_wide;
        if is_wide {
            if width == Width::W32 {
                return Err(wrong_at(
                    at,
                    "a 64-bit number needs a whole register, r0 to r9",
                ));
            }
            let value = wide_number(number)
                .ok_or_else(|| wrong_at(at, format!("{number} does not fit 64 bits")))?;
            let value = WideValue::Number(value);
            return Ok(Operation::LoadWide { dst, value });
        }
        let src = Operand::Immediate(immediate(number, width).ok_or_else(|| Wrong {
            help: Some(format!(
                "r{} = {number:#x} ll loads all 64 bits",
                dst.number()
            )),
            ..wrong_at(at, format!("{number} does not fit 32 bits with a sign"))
        })?);
        Ok(Operation::Alu {
            width,
            op: AluOp::Mov,
            dst,
            src,
        })
    }

    /// `*(u32 *)(r1 +4)` or `*(u8 *)skb[14]`, the star read.
    fn loaded(&mut self, dst: Register, width: Width) -> Read<Operation> {
        let at = self.line.at();
        let (size, extend) = self.pointer_type()?;
        if self.takes_word("skb") {
            return self.packet(dst, size, at);
        }
        let (base, offset) = self.address()?;
        if width == Width::W32 {
            return Err(wrong_at(at, "a load fills a whole register, r0 to r9"));
        }
        Ok(Operation::Load {
            size,
            extend,
            dst,
            base,
            offset,
        })
    }

    fn packet(&mut self, dst: Register, size: Size, at: usize) -> Read<Operation> {
        if dst.number() != 0 || size == Size::Dw {
            return Err(wrong_at(at, "a packet load fills r0, with 1, 2 or 4 bytes"));
        }
        self.expect("[")?;
        let index = match self.line.peek() {
            Some(Token::Word(_)) => {
                let index = self.whole_register()?;
                self.expect("+")?;
                Some(index)
            }
            _ => None,
        };
        let offset = self.number("an offset")?;
        self.expect("]")?;
        Ok(Operation::LoadPacket {
            size,
            index,
            offset,
        })
    }

    /// `(s8)r2`.
    fn sign_extended(&mut self, dst: Register, width: Width) -> Read<Operation> {
        self.line.next();
        let at = self.line.at();
        let bits = match self.line.next() {
            Some(Token::Word("s8")) => 8,
            Some(Token::Word("s16")) => 16,
            Some(Token::Word("s32")) if width == Width::W64 => 32,
            _ => return Err(wrong_at(at, "a register is extended from s8, s16 or s32")),
        };
        self.expect(")")?;
        let at = self.line.at();
        match self.register()? {
            (src, read) if read == width => Ok(Operation::MoveSigned {
                width,
                bits,
                dst,
                src,
            }),
            _ => Err(wrong_at(at, "both registers are r or both are w")),
        }
    }

    /// `be16 r1`, `addr_space_cast(..)`, `load_acquire(..)`, `atomic_xchg(..)`, `map[fd:3]` and their like.
    fn named(&mut self, dst: Register, width: Width, word: &'text str) -> Read<Operation> {
        let at = self.line.at();
        self.line.next();
        if width == Width::W32 {
            return Err(wrong_at(at, "this fills a whole register, r0 to r9"));
        }
        if let Some(operation) = self.swap(dst, word, at)? {
            return Ok(operation);
        }
        match word {
            "addr_space_cast" => self.cast(dst),
            "load_acquire" => {
                self.expect("(")?;
                let cell = self.cell()?;
                self.expect(")")?;
                Ok(Operation::LoadAcquire {
                    size: cell.size,
                    dst,
                    base: cell.base,
                    offset: cell.offset,
                })
            }
            "map" | "btf_id" | "func" => {
                let value = self.wide_value(word)?;
                Ok(Operation::LoadWide { dst, value })
            }
            _ => match word.strip_prefix("atomic") {
                Some(rest) => self.fetched(dst, rest, at),
                None => Err(wrong_at(at, format!("nothing is called `{word}`"))),
            },
        }
    }

    fn swap(&mut self, dst: Register, word: &str, at: usize) -> Read<Option<Operation>> {
        let digits = word.trim_start_matches(|c: char| c.is_ascii_alphabetic());
        let name = &word[..word.len() - digits.len()];
        let Some(row) = table::SWAPS.iter().find(|row| row.3 == name) else {
            return Ok(None);
        };
        let bits = match digits {
            "16" => 16,
            "32" => 32,
            "64" => 64,
            _ => return Err(wrong_at(at, "16, 32 or 64 bits are swapped")),
        };
        let at = self.line.at();
        match self.whole_register()? {
            same if same == dst => Ok(Some(Operation::Swap {
                order: row.0,
                bits,
                dst,
            })),
            _ => Err(wrong_at(at, "only the register itself can be swapped")),
        }
    }

    fn cast(&mut self, dst: Register) -> Read<Operation> {
        self.expect("(")?;
        let src = self.whole_register()?;
        self.expect(",")?;
        let at = self.line.at();
        let to: i32 = self.number("an address space")?;
        self.expect(",")?;
        let from: i32 = self.number("an address space")?;
        self.expect(")")?;
        let cast = match (to, from) {
            (0, 1) => ArenaCast::ToKernel,
            (1, 0) => ArenaCast::ToUser,
            _ => return Err(wrong_at(at, "casts are from space 1 to 0, or from 0 to 1")),
        };
        Ok(Operation::Cast { cast, dst, src })
    }

    /// `atomic64_fetch_add((u64 *)(r1 +0), r2)`, the word read; the result goes where the operand was, or to r0.
    fn fetched(&mut self, dst: Register, rest: &str, at: usize) -> Read<Operation> {
        let (is_wide, name) = match rest.strip_prefix("64_") {
            Some(name) => (true, name),
            None => (false, rest.strip_prefix('_').unwrap_or(rest)),
        };
        let mut rows = table::ATOMICS.iter();
        let Some((op, ..)) = rows.find(|row| !row.3.is_empty() && row.3 == name) else {
            return Err(wrong_at(
                at,
                format!("there is no atomic operation `{name}`"),
            ));
        };
        self.expect("(")?;
        let cell = self.cell()?;
        if (cell.size == Size::Dw) != is_wide {
            return Err(wrong_at(at, "atomic64_ goes with u64, atomic_ with u32"));
        }
        self.expect(",")?;
        let is_compared = *op == AtomicOp::CompareExchange;
        if is_compared {
            self.word("r0")?;
            self.expect(",")?;
        }
        let src = self.whole_register()?;
        self.expect(")")?;
        let expected = if is_compared { Register::R0 } else { src };
        if dst != expected {
            return Err(wrong_at(
                at,
                format!("the old value comes back in {expected}"),
            ));
        }
        Ok(Operation::Atomic {
            op: *op,
            size: cell.size,
            base: cell.base,
            offset: cell.offset,
            src,
        })
    }

    /// `map[fd:3]`, `map[idx:0]+8`, `btf_id[5]`, `func[pc+3]`, the word read.
    fn wide_value(&mut self, word: &str) -> Read<WideValue> {
        self.expect("[")?;
        let value = match word {
            "map" => return self.map_value(),
            "btf_id" => {
                let id = self.number("the number of a type")?;
                let module = self.module()?;
                WideValue::Btf { id, module }
            }
            _ => match self.distance()? {
                Some(to) => WideValue::Function(to),
                None => {
                    let at = self.line.at();
                    match self.line.next() {
                        Some(Token::Word(name)) => self.label = Some((name, at)),
                        _ => return Err(wrong_at(at, "a function is a label or pc+N")),
                    }
                    WideValue::Function(0)
                }
            },
        };
        self.expect("]")?;
        Ok(value)
    }

    /// `fd:3]` or `idx:0]+8`, the bracket read.
    fn map_value(&mut self) -> Read<WideValue> {
        let at = self.line.at();
        let is_index = self.takes_word("idx");
        if !is_index && !self.takes_word("fd") {
            return Err(wrong_at(at, "a map is `map[fd:N]` or `map[idx:N]`"));
        }
        self.expect(":")?;
        let map = self.number("the number of a map")?;
        self.expect("]")?;
        if !self.takes("+") {
            return Ok(match is_index {
                true => WideValue::MapByIndex(map),
                false => WideValue::Map(map),
            });
        }
        let offset = self.number("an offset")?;
        Ok(match is_index {
            true => WideValue::MapValueByIndex { map, offset },
            false => WideValue::MapValue { map, offset },
        })
    }

    /// `(u32 *)(r1 +4)`.
    fn cell(&mut self) -> Read<Cell> {
        let (size, extend) = self.pointer_type()?;
        let (base, offset) = self.address()?;
        Ok(Cell {
            size,
            extend,
            base,
            offset,
        })
    }

    /// `(u32 *)`.
    fn pointer_type(&mut self) -> Read<(Size, Extend)> {
        self.expect("(")?;
        let at = self.line.at();
        let name = match self.line.next() {
            Some(Token::Word(name)) => name,
            _ => "",
        };
        let found = table::SIZES.iter().find_map(|(size, _, plain, signed)| {
            if name == *plain {
                Some((*size, Extend::Zero))
            } else {
                (name == *signed && *size != Size::Dw).then_some((*size, Extend::Sign))
            }
        });
        self.expect("*")?;
        self.expect(")")?;
        found.ok_or_else(|| wrong_at(at, "memory is u8, u16, u32, u64, or s8, s16, s32"))
    }

    /// `(r1 +4)`.
    fn address(&mut self) -> Read<(Register, i16)> {
        self.expect("(")?;
        let base = self.whole_register()?;
        let offset = match self.line.peek() {
            Some(Token::Sign(")")) => 0,
            _ => self.signed("an offset of 16 bits")?,
        };
        self.expect(")")?;
        Ok((base, offset))
    }

    /// `+4` or `-4`.
    fn signed<T: TryFrom<i128>>(&mut self, what: &str) -> Read<T> {
        if self.takes("+") {
            return self.number(what);
        }
        match self.line.peek() {
            Some(Token::Sign("-")) => self.number(what),
            _ => Err(self.wrong("`+` or `-` goes before an offset")),
        }
    }

    /// Where a jump goes: `pc+3`, or a label.
    fn target(&mut self) -> Read<Displacement> {
        if let Some(to) = self.distance()? {
            return Ok(Displacement(to));
        }
        let at = self.line.at();
        match self.line.next() {
            Some(Token::Word(name)) => {
                self.label = Some((name, at));
                Ok(Displacement(0))
            }
            _ => Err(wrong_at(at, "a jump goes to a label or to pc+N")),
        }
    }

    /// `pc+3`, `+3` or `-3`.
    fn distance(&mut self) -> Read<Option<i32>> {
        let has_word = self.takes_word("pc");
        match self.line.peek() {
            Some(Token::Sign("+" | "-")) => self.signed("a distance in instructions").map(Some),
            _ if has_word => Err(self.wrong("`+` or `-` goes before a distance")),
            _ => Ok(None),
        }
    }

    fn operand(&mut self, width: Width) -> Read<Operand> {
        let at = self.line.at();
        if let Some(number) = self.maybe_number()? {
            let value = immediate(number, width);
            return value
                .map(Operand::Immediate)
                .ok_or_else(|| wrong_at(at, format!("{number} does not fit 32 bits with a sign")));
        }
        let (register, read) = self.register()?;
        match read == width {
            true => Ok(Operand::Register(register)),
            false => Err(wrong_at(at, "both registers are r or both are w")),
        }
    }

    fn whole_register(&mut self) -> Read<Register> {
        let at = self.line.at();
        match self.register()? {
            (register, Width::W64) => Ok(register),
            _ => Err(wrong_at(at, "a whole register is needed, r0 to r10")),
        }
    }

    fn register(&mut self) -> Read<(Register, Width)> {
        let at = self.line.at();
        let found = match self.line.next() {
            Some(Token::Word(word)) => register_name(word),
            _ => None,
        };
        found.ok_or_else(|| wrong_at(at, "a register is needed: r0 to r10, or w0 to w10"))
    }

    fn sign(&mut self) -> Read<&'text str> {
        let at = self.line.at();
        match self.line.next() {
            Some(Token::Sign(sign)) => Ok(sign),
            _ => Err(wrong_at(at, "an operation is needed, such as `=` or `+=`")),
        }
    }

    /// A number, with or without a sign, if there is one.
    fn maybe_number(&mut self) -> Read<Option<i128>> {
        let is_negative = self.line.peek() == Some(Token::Sign("-"));
        if is_negative {
            self.line.next();
        }
        match self.line.peek() {
            Some(Token::Number(number)) => {
                self.line.next();
                Ok(Some(if is_negative { -number } else { number }))
            }
            _ if is_negative => Err(self.wrong("a number is needed after `-`")),
            _ => Ok(None),
        }
    }

    fn number<T: TryFrom<i128>>(&mut self, what: &str) -> Read<T> {
        let at = self.line.at();
        let number = self.maybe_number()?;
        let fitting = number.and_then(|number| T::try_from(number).ok());
        fitting.ok_or_else(|| wrong_at(at, format!("{what} is needed")))
    }

    fn expect(&mut self, sign: &'static str) -> Read<()> {
        match self.takes(sign) {
            true => Ok(()),
            false => Err(self.wrong(format!("`{sign}` is needed"))),
        }
    }

    fn word(&mut self, word: &str) -> Read<()> {
        match self.takes_word(word) {
            true => Ok(()),
            false => Err(self.wrong(format!("`{word}` is needed"))),
        }
    }

    fn takes(&mut self, sign: &str) -> bool {
        let found = matches!(self.line.peek(), Some(Token::Sign(next)) if next == sign);
        if found {
            self.line.next();
        }
        found
    }

    fn takes_word(&mut self, word: &str) -> bool {
        let found = matches!(self.line.peek(), Some(Token::Word(next)) if next == word);
        if found {
            self.line.next();
        }
        found
    }

    /// What is wrong at the next token.
    fn wrong(&self, message: impl Into<String>) -> Wrong {
        wrong_at(self.line.at(), message)
    }
}

/// `r0` to `r10` and `w0` to `w10`; `fp` is `r10`.
fn register_name(word: &str) -> Option<(Register, Width)> {
    if word == "fp" {
        return Some((Register::FRAME, Width::W64));
    }
    let (width, digits) = match word.split_at_checked(1)? {
        ("r", digits) => (Width::W64, digits),
        ("w", digits) => (Width::W32, digits),
        _ => return None,
    };
    Some((Register::new(digits.parse().ok()?)?, width))
}

/// A number as an immediate. 32-bit operations take it with or without a sign; 64-bit ones extend it, so only with one.
fn immediate(number: i128, width: Width) -> Option<i32> {
    match i32::try_from(number) {
        Ok(fits) => Some(fits),
        Err(_) if width == Width::W32 => u32::try_from(number).ok().map(u32::cast_signed),
        Err(_) => None,
    }
}

fn wide_number(number: i128) -> Option<u64> {
    match u64::try_from(number) {
        Ok(fits) => Some(fits),
        Err(_) => i64::try_from(number).ok().map(i64::cast_unsigned),
    }
}
