//! Helpers on memory and strings.

use twinbpf_object::Errno;
use twinbpf_shm::SharedBytes;

use crate::fault::FaultKind;
use crate::run::{Arguments, Returned, Run};
use crate::semantics::low_32;
use crate::window::Need;

/// KERNEL: longest number that is parsed (`bpf_strtol`, 6.18).
const NUMBER_BYTES: usize = 63;

/// `long bpf_probe_read_kernel(to, size, from)`: what lies in the window can be read, all else is EFAULT and zeros.
pub(super) fn probe_read(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let [_, size, from, ..] = arguments.values;
    let size = low_32(size);
    let to = run.memory(arguments, 0, size, Need::Write)?;
    let copied = readable(run, from, size).and_then(|from| to.copy_from(0, from));
    Ok(Returned::status(copied_or_zeroed(copied, to)))
}

/// `long bpf_probe_read_user(to, size, from)`: the vm's programs have no user memory beside them.
pub(super) fn probe_read_user(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    let to = run.memory(arguments, 0, low_32(arguments.values[1]), Need::Write)?;
    Ok(Returned::status(copied_or_zeroed(None, to)))
}

/// `long bpf_probe_read_kernel_str(to, size, from)`: bytes copied with the terminator, which is always written.
pub(super) fn probe_read_str(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    let [_, size, from, ..] = arguments.values;
    let size = low_32(size);
    let to = run.memory(arguments, 0, size, Need::Write)?;
    if size == 0 {
        return Ok(Returned::number(0));
    }
    let Some(mut text) = string(run, from, size - 1) else {
        return Ok(Returned::status(copied_or_zeroed(None, to)));
    };
    text.push(0);
    let copied = to.copy_in(0, &text);
    Ok(match copied {
        Some(()) => Returned::number(text.len() as u64),
        None => Returned::error(Errno::EFAULT),
    })
}

fn copied_or_zeroed(copied: Option<()>, to: SharedBytes) -> Result<(), Errno> {
    copied.ok_or_else(|| {
        // The range is the program's own and was checked: zeroing it cannot fail.
        let _ = to.zero(0, to.len());
        Errno::EFAULT
    })
}

/// Bytes that a program may read; `address` is a claim and may be anything.
pub(super) fn readable(run: &Run<'_>, address: u64, len: u32) -> Option<SharedBytes> {
    u32::try_from(address).ok()?;
    run.window.range(address, len, Need::Read)
}

/// The string at `address`, without its terminator, at most `most` bytes; `None` if its first byte cannot be read.
pub(super) fn string(run: &Run<'_>, address: u64, most: u32) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    if most == 0 {
        return Some(text);
    }
    readable(run, address, 1)?;
    for at in address..address.checked_add(u64::from(most))? {
        match readable(run, at, 1).and_then(|byte| byte.load_u8(0)) {
            Some(0) => return Some(text),
            Some(byte) => text.push(byte),
            None => return None,
        }
    }
    Some(text)
}

/// `int bpf_strncmp(first, size, second)`: -1, 0 or 1.
pub(super) fn strncmp(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let [_, size, second, ..] = arguments.values;
    let first = run.memory(arguments, 0, low_32(size), Need::Read)?;
    for index in 0..first.len() {
        let at = second.wrapping_add(index as u64);
        let ours = first.load_u8(index);
        let theirs = readable(run, at, 1).and_then(|byte| byte.load_u8(0));
        let (Some(ours), Some(theirs)) = (ours, theirs) else {
            return Err(FaultKind::Access {
                address: at,
                size: 1,
                is_write: false,
            });
        };
        match ours.cmp(&theirs) {
            std::cmp::Ordering::Less => return Ok(Returned::number(u64::MAX)),
            std::cmp::Ordering::Greater => return Ok(Returned::number(1)),
            std::cmp::Ordering::Equal if ours == 0 => break,
            std::cmp::Ordering::Equal => {}
        }
    }
    Ok(Returned::number(0))
}

/// `long bpf_strtol(text, size, base, result)`: bytes consumed.
pub(super) fn strtol(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let parsed = parse(run, arguments)?;
    let parsed = parsed.and_then(|(is_negative, value, consumed)| {
        let most = u128::from(i64::MAX.unsigned_abs()) + u128::from(is_negative);
        if u128::from(value) > most {
            return Err(Errno::ERANGE);
        }
        let value = if is_negative {
            value.wrapping_neg()
        } else {
            value
        };
        Ok((value, consumed))
    });
    store(run, arguments, parsed)
}

/// `long bpf_strtoul(text, size, base, result)`: bytes consumed.
pub(super) fn strtoul(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let parsed = parse(run, arguments)?;
    let parsed = parsed.and_then(|(is_negative, value, consumed)| match is_negative {
        true => Err(Errno::EINVAL),
        false => Ok((value, consumed)),
    });
    store(run, arguments, parsed)
}

fn store(
    run: &Run<'_>,
    arguments: &Arguments,
    parsed: Result<(u64, usize), Errno>,
) -> Result<Returned, FaultKind> {
    let result = run.memory(arguments, 3, 8, Need::Write)?;
    Ok(match parsed {
        Ok((value, consumed)) => match result.store_u64(0, value) {
            Some(()) => Returned::number(consumed as u64),
            None => Returned::error(Errno::EFAULT),
        },
        Err(errno) => Returned::error(errno),
    })
}

/// Sign, absolute value and bytes consumed of the number at the start of the text.
fn parse(
    run: &Run<'_>,
    arguments: &Arguments,
) -> Result<Result<(bool, u64, usize), Errno>, FaultKind> {
    let [_, size, base, ..] = arguments.values;
    let view = run.memory(arguments, 0, low_32(size), Need::Read)?;
    let mut text = vec![0; view.len()];
    view.copy_out(0, &mut text)
        .ok_or(FaultKind::Unsupported("this text"))?;
    Ok(parse_number(&text, base))
}

/// KERNEL: leading white space and a minus sign are taken, a plus sign is not; base 0 looks at the prefix (6.18).
fn parse_number(text: &[u8], base: u64) -> Result<(bool, u64, usize), Errno> {
    let mut base = match base {
        0 | 8 | 10 | 16 => base,
        _ => return Err(Errno::EINVAL),
    };
    let is_space = |byte: &&u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let mut at = text.iter().take_while(is_space).count();
    let is_negative = text.get(at) == Some(&b'-');
    at += usize::from(is_negative);
    let digits = text.get(at..).filter(|rest| !rest.is_empty());
    let digits = digits.ok_or(Errno::EINVAL)?;
    let digits = digits.get(..NUMBER_BYTES).unwrap_or(digits);
    let hex_digit = |index: usize| digits.get(index).is_some_and(u8::is_ascii_hexdigit);
    let has_hex_prefix =
        digits.first() == Some(&b'0') && matches!(digits.get(1), Some(b'x' | b'X')) && hex_digit(2);
    if base == 0 {
        base = match digits.first() {
            Some(b'0') if has_hex_prefix => 16,
            Some(b'0') => 8,
            _ => 10,
        };
    }
    let skipped = if base == 16 && has_hex_prefix { 2 } else { 0 };
    let (mut value, mut count) = (0_u64, 0);
    let radix = if base == 8 {
        8
    } else if base == 10 {
        10
    } else {
        16
    };
    for byte in digits.iter().skip(skipped) {
        let Some(digit) = char::from(*byte).to_digit(radix) else {
            break;
        };
        value = value
            .checked_mul(base)
            .and_then(|value| value.checked_add(u64::from(digit)))
            .ok_or(Errno::ERANGE)?;
        count += 1;
    }
    if count == 0 {
        return Err(Errno::EINVAL);
    }
    Ok((is_negative, value, at + skipped + count))
}
