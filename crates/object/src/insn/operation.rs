//! What an instruction means, with every field checked.

use std::fmt;

/// A register, 0 to 10. 10 is the frame pointer and read-only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Register(u8);

impl Register {
    /// Return value.
    pub const R0: Self = Self(0);
    /// First argument; the context at entry.
    pub const R1: Self = Self(1);
    /// The context, for packet loads.
    pub const R6: Self = Self(6);
    /// The frame pointer.
    pub const FRAME: Self = Self(10);

    /// The register with this number, if there is one.
    pub fn new(number: u8) -> Option<Self> {
        (number <= 10).then_some(Self(number))
    }

    /// The number, 0 to 10.
    pub fn number(self) -> u8 {
        self.0
    }

    /// As an index into an array of 11 registers.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

/// Width of an arithmetic operation or comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Width {
    /// Low halves; results are extended with zeros.
    W32,
    /// Whole registers.
    W64,
}

/// Bytes of a memory access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Size {
    /// 1 byte.
    B,
    /// 2 bytes.
    H,
    /// 4 bytes.
    W,
    /// 8 bytes.
    Dw,
}

impl Size {
    /// Bytes.
    pub fn bytes(self) -> u32 {
        match self {
            Self::B => 1,
            Self::H => 2,
            Self::W => 4,
            Self::Dw => 8,
        }
    }
}

/// How a narrow load fills the register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Extend {
    /// With zeros.
    Zero,
    /// With the sign.
    Sign,
}

/// The second operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operand {
    /// A register.
    Register(Register),
    /// A constant, sign-extended to the operation's width.
    Immediate(i32),
}

/// Arithmetic with two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AluOp {
    /// Addition.
    Add,
    /// Subtraction.
    Sub,
    /// Multiplication.
    Mul,
    /// Unsigned division; by zero gives 0.
    Div,
    /// Signed division; by zero gives 0, the overflowing case gives the dividend.
    SignedDiv,
    /// Bitwise or.
    Or,
    /// Bitwise and.
    And,
    /// Shift left, by the count modulo the width.
    Lsh,
    /// Shift right, zeros in.
    Rsh,
    /// Unsigned remainder; by zero leaves the dividend.
    Mod,
    /// Signed remainder; by zero leaves the dividend, the overflowing case gives 0.
    SignedMod,
    /// Bitwise exclusive or.
    Xor,
    /// Copy.
    Mov,
    /// Shift right, sign in.
    Arsh,
}

/// What a byte swap does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SwapOrder {
    /// To little endian (`le16`): cuts on little-endian hosts.
    ToLittle,
    /// To big endian (`be16`).
    ToBig,
    /// Always swaps (`bswap16`).
    Always,
}

/// Comparison of a conditional jump.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Condition {
    /// `==`
    Eq,
    /// `!=`
    Ne,
    /// `>` unsigned
    Gt,
    /// `>=` unsigned
    Ge,
    /// `<` unsigned
    Lt,
    /// `<=` unsigned
    Le,
    /// `&`: any common bit
    Set,
    /// `>` signed
    SignedGt,
    /// `>=` signed
    SignedGe,
    /// `<` signed
    SignedLt,
    /// `<=` signed
    SignedLe,
}

/// What a 64-bit immediate stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WideValue {
    /// A number.
    Number(u64),
    /// A map; the number is whatever the loader put in.
    Map(i32),
    /// A place in a map's first value.
    MapValue {
        /// The map, as the loader put it in.
        map: i32,
        /// Offset in the value, bytes.
        offset: u32,
    },
    /// A kernel variable.
    Btf {
        /// Type identifier.
        id: i32,
        /// Descriptor of the module's BTF, or 0.
        module: i32,
    },
    /// A function of the program: slots from the next instruction.
    Function(i32),
    /// A map by index into the descriptor array.
    MapByIndex(i32),
    /// A place in the value of a map by index.
    MapValueByIndex {
        /// Index of the map.
        map: i32,
        /// Offset in the value, bytes.
        offset: u32,
    },
}

/// Whom a call calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// A helper by number.
    Helper(i32),
    /// A function of the program: slots from the next instruction.
    Local(i32),
    /// A kernel function.
    Kfunc {
        /// Type identifier.
        id: i32,
        /// Index into the descriptor array for modules.
        module: i16,
    },
}

/// Atomic operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AtomicOp {
    /// Add; with `fetch` the old value comes back.
    Add {
        /// Whether the old value comes back.
        fetch: bool,
    },
    /// Or.
    Or {
        /// Whether the old value comes back.
        fetch: bool,
    },
    /// And.
    And {
        /// Whether the old value comes back.
        fetch: bool,
    },
    /// Exclusive or.
    Xor {
        /// Whether the old value comes back.
        fetch: bool,
    },
    /// Exchange.
    Exchange,
    /// Compare with `r0` and exchange; the old value comes back in `r0`.
    CompareExchange,
}

/// Direction of an address-space cast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ArenaCast {
    /// To a kernel pointer (address space 1 to 0).
    ToKernel,
    /// To a user pointer (address space 0 to 1).
    ToUser,
}

/// Distance of a jump in slots, from the slot after the jump.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Displacement(pub i32);

/// The meaning of one instruction (one or two slots).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Arithmetic with two operands.
    Alu {
        /// 32 or 64 bits.
        width: Width,
        /// Which.
        op: AluOp,
        /// First operand and result.
        dst: Register,
        /// Second operand.
        src: Operand,
    },
    /// Negation.
    Neg {
        /// 32 or 64 bits.
        width: Width,
        /// Operand and result.
        dst: Register,
    },
    /// Move of the low 8, 16 or 32 bits, sign-extended.
    MoveSigned {
        /// Width of the result.
        width: Width,
        /// Bits that are moved.
        bits: u8,
        /// Result.
        dst: Register,
        /// Source.
        src: Register,
    },
    /// Byte swap of the low 16, 32 or 64 bits; the rest becomes zero.
    Swap {
        /// Which order.
        order: SwapOrder,
        /// Bits that count.
        bits: u8,
        /// Operand and result.
        dst: Register,
    },
    /// Cast between address spaces of an arena.
    Cast {
        /// Which way.
        cast: ArenaCast,
        /// Result.
        dst: Register,
        /// Source.
        src: Register,
    },
    /// Load from memory.
    Load {
        /// Bytes.
        size: Size,
        /// How the register is filled.
        extend: Extend,
        /// Result.
        dst: Register,
        /// Address.
        base: Register,
        /// Added to the address, bytes.
        offset: i16,
    },
    /// Store to memory.
    Store {
        /// Bytes.
        size: Size,
        /// Address.
        base: Register,
        /// Added to the address, bytes.
        offset: i16,
        /// What is stored.
        value: Operand,
    },
    /// Atomic operation on memory, 4 or 8 bytes.
    Atomic {
        /// Which.
        op: AtomicOp,
        /// 4 or 8 bytes.
        size: Size,
        /// Address.
        base: Register,
        /// Added to the address, bytes.
        offset: i16,
        /// Operand; receives the old value if fetched.
        src: Register,
    },
    /// Load with acquire ordering.
    LoadAcquire {
        /// Bytes.
        size: Size,
        /// Result.
        dst: Register,
        /// Address.
        base: Register,
        /// Added to the address, bytes.
        offset: i16,
    },
    /// Store with release ordering.
    StoreRelease {
        /// Bytes.
        size: Size,
        /// Address.
        base: Register,
        /// Added to the address, bytes.
        offset: i16,
        /// What is stored.
        src: Register,
    },
    /// Load of a 64-bit immediate (two slots).
    LoadWide {
        /// Result.
        dst: Register,
        /// What it stands for.
        value: WideValue,
    },
    /// Load from the packet of the context in `r6`, in network order, into `r0`.
    LoadPacket {
        /// Bytes: 1, 2 or 4.
        size: Size,
        /// Added to the offset.
        index: Option<Register>,
        /// Offset in the packet, bytes.
        offset: i32,
    },
    /// Unconditional jump.
    Jump {
        /// How far.
        to: Displacement,
        /// Whether it is the form with 32 bits for that (`gotol`).
        far: bool,
    },
    /// Conditional jump.
    Branch {
        /// 32 or 64 bits are compared.
        width: Width,
        /// Comparison.
        condition: Condition,
        /// Left side.
        dst: Register,
        /// Right side.
        src: Operand,
        /// How far if it holds.
        to: Displacement,
    },
    /// Jump when the loop budget is used up (`may_goto`).
    MayGoto {
        /// How far.
        to: Displacement,
    },
    /// Call.
    Call(Call),
    /// Return from the function.
    Exit,
}
