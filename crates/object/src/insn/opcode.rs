//! Fields of the opcode byte.
//!
//! ```text
//!  memory classes            arithmetic and jump classes
//!  7   5 4   3 2   0         7       4  3   2   0
//! | mode| size|class|       |operation|src|class |
//! ```

/// Mask of the class field.
pub const CLASS: u8 = 0x07;
/// Non-standard loads: wide immediates and packet loads.
pub const LD: u8 = 0x00;
/// Load into a register.
pub const LDX: u8 = 0x01;
/// Store an immediate.
pub const ST: u8 = 0x02;
/// Store a register.
pub const STX: u8 = 0x03;
/// 32-bit arithmetic.
pub const ALU: u8 = 0x04;
/// 64-bit jumps.
pub const JMP: u8 = 0x05;
/// 32-bit jumps.
pub const JMP32: u8 = 0x06;
/// 64-bit arithmetic.
pub const ALU64: u8 = 0x07;

/// Mask of the size field.
pub const SIZE: u8 = 0x18;
/// 4 bytes.
pub const W: u8 = 0x00;
/// 2 bytes.
pub const H: u8 = 0x08;
/// 1 byte.
pub const B: u8 = 0x10;
/// 8 bytes.
pub const DW: u8 = 0x18;

/// Mask of the mode field.
pub const MODE: u8 = 0xe0;
/// 64-bit immediate.
pub const IMM: u8 = 0x00;
/// Packet load at a constant offset.
pub const ABS: u8 = 0x20;
/// Packet load at register plus constant.
pub const IND: u8 = 0x40;
/// Memory access.
pub const MEM: u8 = 0x60;
/// Sign-extending load.
pub const MEMSX: u8 = 0x80;
/// Atomic operation.
pub const ATOMIC: u8 = 0xc0;

/// Mask of the operation field.
pub const OP: u8 = 0xf0;
/// Bit that makes the second operand a register.
pub const X: u8 = 0x08;

/// Addition.
pub const ADD: u8 = 0x00;
/// Subtraction.
pub const SUB: u8 = 0x10;
/// Multiplication.
pub const MUL: u8 = 0x20;
/// Division, unsigned; signed with offset 1.
pub const DIV: u8 = 0x30;
/// Bitwise or.
pub const OR: u8 = 0x40;
/// Bitwise and.
pub const AND: u8 = 0x50;
/// Shift left.
pub const LSH: u8 = 0x60;
/// Shift right, filling with zeros.
pub const RSH: u8 = 0x70;
/// Two's complement negation.
pub const NEG: u8 = 0x80;
/// Remainder, unsigned; signed with offset 1.
pub const MOD: u8 = 0x90;
/// Bitwise exclusive or.
pub const XOR: u8 = 0xa0;
/// Move; with an offset, sign-extending or an address-space cast.
pub const MOV: u8 = 0xb0;
/// Shift right, filling with the sign.
pub const ARSH: u8 = 0xc0;
/// Byte swaps.
pub const END: u8 = 0xd0;

/// Unconditional jump.
pub const JA: u8 = 0x00;
/// Jump if equal.
pub const JEQ: u8 = 0x10;
/// Jump if greater, unsigned.
pub const JGT: u8 = 0x20;
/// Jump if greater or equal, unsigned.
pub const JGE: u8 = 0x30;
/// Jump if any common bit is set.
pub const JSET: u8 = 0x40;
/// Jump if not equal.
pub const JNE: u8 = 0x50;
/// Jump if greater, signed.
pub const JSGT: u8 = 0x60;
/// Jump if greater or equal, signed.
pub const JSGE: u8 = 0x70;
/// Call.
pub const CALL: u8 = 0x80;
/// Return.
pub const EXIT: u8 = 0x90;
/// Jump if less, unsigned.
pub const JLT: u8 = 0xa0;
/// Jump if less or equal, unsigned.
pub const JLE: u8 = 0xb0;
/// Jump if less, signed.
pub const JSLT: u8 = 0xc0;
/// Jump if less or equal, signed.
pub const JSLE: u8 = 0xd0;
/// Jump while the loop budget lasts (`may_goto`).
pub const JCOND: u8 = 0xe0;

/// The first slot of a 64-bit immediate load.
pub const LD_IMM64: u8 = LD | DW | IMM;

/// Source field of a wide load: a map by file descriptor.
pub const PSEUDO_MAP_FD: u8 = 1;
/// Source field of a wide load: the address in a map's value, map by file descriptor.
pub const PSEUDO_MAP_VALUE: u8 = 2;
/// Source field of a wide load: a kernel variable by BTF identifier.
pub const PSEUDO_BTF_ID: u8 = 3;
/// Source field of a wide load: the address of a function of the program.
pub const PSEUDO_FUNC: u8 = 4;
/// Source field of a wide load: a map by index into the descriptor array.
pub const PSEUDO_MAP_IDX: u8 = 5;
/// Source field of a wide load: a map value, map by index into the descriptor array.
pub const PSEUDO_MAP_IDX_VALUE: u8 = 6;

/// Source field of a call: a function of the program, relative.
pub const PSEUDO_CALL: u8 = 1;
/// Source field of a call: a kernel function by BTF identifier.
pub const PSEUDO_KFUNC_CALL: u8 = 2;

/// Immediate bit of an atomic: the old value is fetched.
pub const FETCH: i32 = 0x01;
/// Immediate of an atomic exchange.
pub const XCHG: i32 = 0xe0 | FETCH;
/// Immediate of an atomic compare and exchange.
pub const CMPXCHG: i32 = 0xf0 | FETCH;
/// Immediate of a load-acquire.
pub const LOAD_ACQ: i32 = 0x100;
/// Immediate of a store-release.
pub const STORE_REL: i32 = 0x110;
