//! The internet checksum (RFC 1071) as helpers compute it: sums in ones' complement, in host order.

use twinbpf_object::Errno;

use super::memory::readable;
use super::packet::writable;
use crate::fault::FaultKind;
use crate::run::{Arguments, Returned, Run};
use crate::semantics::low_32;

/// In the flags: bytes of the field that changed.
const FIELD_MASK: u64 = 0xf;
/// In the flags: the field is part of the pseudo header.
const PSEUDO_HEADER: u64 = 0x10;
/// In the flags: a checksum of 0 means there is none.
const ZERO_IS_NONE: u64 = 0x20;
/// In the flags: compute one even where there was none.
const ENFORCE: u64 = 0x40;
/// In the flags: the packet is IPv6.
const IPV6: u64 = 0x80;

/// The sum of 32-bit words with the carry added back; missing bytes of the last word are 0.
fn sum(bytes: &[u8], start: u32) -> u32 {
    bytes.chunks(4).fold(start, |total, chunk| {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        add(total, u32::from_ne_bytes(word))
    })
}

/// Adds in ones' complement.
fn add(left: u32, right: u32) -> u32 {
    let (total, carry) = left.overflowing_add(right);
    total.wrapping_add(u32::from(carry))
}

/// Both halves added, with the carry.
fn fold(total: u32) -> u16 {
    let [.., high, low] = add_halves(total).to_be_bytes();
    u16::from_be_bytes([high, low])
}

fn add_halves(total: u32) -> u32 {
    total.wrapping_add(total.rotate_left(16)) >> 16
}

/// `s64 bpf_csum_diff(from, from_size, to, to_size, seed)`: what must be added to a checksum when the bytes change.
///
/// KERNEL: sizes are multiples of 4, else EINVAL; the answer is folded to 16 bits (6.18).
pub(super) fn diff(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let [from, from_size, to, to_size, seed] = arguments.values;
    let (from_size, to_size) = (low_32(from_size), low_32(to_size));
    if !from_size.is_multiple_of(4) || !to_size.is_multiple_of(4) {
        return Ok(Returned::error(Errno::EINVAL));
    }
    let old = bytes(run, from, from_size)?;
    let new = bytes(run, to, to_size)?;
    let seed = low_32(seed);
    let total = match (old.is_empty(), new.is_empty()) {
        (false, true) => !sum(&old, !seed),
        (true, _) => sum(&new, seed),
        (false, false) => add(sum(&new, seed), !sum(&old, 0)),
    };
    Ok(Returned::number(u64::from(fold(total))))
}

fn bytes(run: &Run<'_>, address: u64, len: u32) -> Result<Vec<u8>, FaultKind> {
    if len == 0 {
        return Ok(Vec::new());
    }
    let view = readable(run, address, len);
    let mut bytes = vec![0; view.map_or(0, |view| view.len())];
    view.and_then(|view| view.copy_out(0, &mut bytes))
        .ok_or(FaultKind::Access {
            address,
            size: len,
            is_write: false,
        })?;
    Ok(bytes)
}

/// `long bpf_l3_csum_replace(skb, offset, from, to, size)`
pub(super) fn replace_l3(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let flags = arguments.values[4];
    if flags & !FIELD_MASK != 0 {
        return Ok(Returned::error(Errno::EINVAL));
    }
    replace(run, arguments, false)
}

/// `long bpf_l4_csum_replace(skb, offset, from, to, flags)`
pub(super) fn replace_l4(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let flags = arguments.values[4];
    if flags & !(ZERO_IS_NONE | ENFORCE | PSEUDO_HEADER | IPV6 | FIELD_MASK) != 0 {
        return Ok(Returned::error(Errno::EINVAL));
    }
    replace(run, arguments, flags & ZERO_IS_NONE != 0)
}

fn replace(
    run: &Run<'_>,
    arguments: &Arguments,
    zero_is_none: bool,
) -> Result<Returned, FaultKind> {
    let [skb, offset, from, to, flags] = arguments.values;
    let packet = run.packet_of(skb)?;
    let offset = low_32(offset);
    if offset > 0xffff || !offset.is_multiple_of(2) {
        return Ok(Returned::error(Errno::EFAULT));
    }
    let Some(field) = packet.part(offset, 2).and_then(|at| writable(run, at, 2)) else {
        return Ok(Returned::error(Errno::EFAULT));
    };
    let old = field
        .load_u16(0)
        .ok_or(FaultKind::Unsupported("this packet"))?;
    if zero_is_none && flags & ENFORCE == 0 && old == 0 {
        return Ok(Returned::number(0));
    }
    let (from, to) = (low_32(from), low_32(to));
    let cleared = !u32::from(old);
    let total = match flags & FIELD_MASK {
        0 if from == 0 => add(cleared, to),
        2 => add(add(u32::from(!old), !from & 0xffff), to & 0xffff),
        4 => add(add(cleared, !from), to),
        _ => return Ok(Returned::error(Errno::EINVAL)),
    };
    let mut new = !fold(total);
    if zero_is_none && new == 0 {
        new = 0xffff;
    }
    field
        .store_u16(0, new)
        .ok_or(FaultKind::Unsupported("this packet"))?;
    Ok(Returned::number(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_with_its_checksum_sums_to_all_ones() {
        let header = [
            0x45, 0, 0, 0x3c, 0x12, 0x34, 0, 0, 0x40, 6, 0x54, 0x86, 10, 0, 0, 1, 10, 0, 0, 2,
        ];
        assert_eq!(fold(sum(&header, 0)), 0xffff);
        assert_eq!(fold(0), 0);
        assert_eq!(fold(u32::MAX), 0xffff);
    }
}
