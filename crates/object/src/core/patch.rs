//! Instructions: the answer put in, or the instruction made unavailable.

use crate::insn::{Insn, opcode};

use super::answer::{Answer, Extension};

/// The helper that an unavailable instruction calls. No kernel has it; its number in hexadecimal, `0xbad2310`, is what
/// libbpf writes there too, so that tools which read verifier logs know it.
pub const UNAVAILABLE_HELPER: i32 = 195_896_080;

/// Puts the answer into the instruction. Gives the reason if the instruction cannot hold what it should.
///
/// # Errors
///
/// If the instruction is not of a form that compilers adapt, or does not hold the answer for the compiler's machine.
pub(super) fn patch(
    slots: &mut [Insn],
    before: &Answer,
    after: &Answer,
) -> Result<Option<String>, String> {
    let Some(first) = slots.first_mut() else {
        return Err("there is no instruction to adapt".to_owned());
    };
    match first.opcode & opcode::CLASS {
        opcode::ALU | opcode::ALU64 if first.opcode & opcode::X == 0 => {
            let held = u64::from(first.imm.cast_unsigned());
            let expected = before.value & u64::from(u32::MAX);
            check(
                held == expected,
                before,
                u64::from(first.imm.cast_unsigned()),
            )?;
            // The upper half of a 64-bit number is what sign extension makes of the lower one.
            first.imm = low_half(after.value);
            Ok(None)
        }
        opcode::LDX | opcode::ST | opcode::STX => patch_access(first, before, after),
        opcode::LD if first.is_wide() => {
            let [first, second, ..] = slots else {
                return Err("a 64-bit load has lost its second slot".to_owned());
            };
            if first.src != 0 {
                return Err("a 64-bit load that is adapted must hold a number".to_owned());
            }
            let held =
                u64::from(first.imm.cast_unsigned()) | u64::from(second.imm.cast_unsigned()) << 32;
            check(held == before.value, before, held)?;
            first.imm = low_half(after.value);
            second.imm = low_half(after.value >> 32);
            Ok(None)
        }
        _ => Err(format!(
            "an instruction with opcode {:#04x} is not one that is adapted",
            first.opcode
        )),
    }
}

/// Turns the instruction into a call that no engine has.
pub(crate) fn make_unavailable(slots: &mut [Insn]) {
    let call = Insn {
        opcode: opcode::JMP | opcode::CALL,
        imm: UNAVAILABLE_HELPER,
        ..Insn::default()
    };
    let count = match slots.first() {
        Some(first) if first.is_wide() => 2,
        _ => 1,
    };
    slots.iter_mut().take(count).for_each(|slot| *slot = call);
}

/// A load or store: the offset, and the size where the field has another one on the target.
fn patch_access(
    insn: &mut Insn,
    before: &Answer,
    after: &Answer,
) -> Result<Option<String>, String> {
    let held = i64::from(insn.offset).cast_unsigned();
    check(held == before.value, before, held)?;
    let offset = i16::try_from(after.value)
        .map_err(|_| format!("the offset {} does not fit 16 bits", after.value))?;
    if let (Some(old), Some(new)) = (before.bytes, after.bytes)
        && old != new
    {
        let keeps_value = before.extends == after.extends && before.extends != Extension::No;
        if !keeps_value {
            return Ok(Some(format!(
                "the field has {new} bytes on the target and {old} in the program, and is neither pointer nor unsigned number"
            )));
        }
        let held = bytes_of(insn.opcode);
        if held != old {
            return Err(format!(
                "the instruction accesses {held} bytes of a field of {old}, which has {new} on the target"
            ));
        }
        let size = size_field(new).ok_or_else(|| format!("there is no access of {new} bytes"))?;
        insn.opcode = insn.opcode & !opcode::SIZE | size;
    }
    insn.offset = offset;
    Ok(None)
}

fn check(holds: bool, before: &Answer, held: u64) -> Result<(), String> {
    match holds || !before.is_certain {
        true => Ok(()),
        false => Err(format!(
            "the instruction holds {held}, the object's types say {}",
            before.value
        )),
    }
}

fn low_half(value: u64) -> i32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}

fn bytes_of(code: u8) -> u64 {
    match code & opcode::SIZE {
        opcode::B => 1,
        opcode::H => 2,
        opcode::W => 4,
        _ => 8,
    }
}

fn size_field(bytes: u64) -> Option<u8> {
    match bytes {
        1 => Some(opcode::B),
        2 => Some(opcode::H),
        4 => Some(opcode::W),
        8 => Some(opcode::DW),
        _ => None,
    }
}
