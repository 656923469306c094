//! Helpers that write text: formats of the kernel's printing helpers.

use std::fmt::Write as _;

use twinbpf_object::Errno;

use super::memory::{readable, string};
use crate::fault::FaultKind;
use crate::run::{Arguments, Returned, Run};
use crate::semantics::low_32;
use crate::window::Need;

/// KERNEL: longest text of one print, with its terminator (`MAX_BPRINTF_BUF`, 6.18).
const TEXT_BYTES: usize = 1024;
/// Longest string that a format takes in.
const STRING_BYTES: u32 = 512;
/// KERNEL: most values a format with an array of them takes (`MAX_BPRINTF_VARARGS`, 6.18).
const MOST_VALUES: usize = 12;

/// `long bpf_trace_printk(format, size, first, second, third)`: length of the text, which goes to the vm's trace.
pub(super) fn trace_printk(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    let [_, size, values @ ..] = arguments.values;
    let format = bytes(run, arguments, 0, low_32(size))?;
    Ok(trace(run, &format, &values))
}

/// `long bpf_trace_vprintk(format, size, values, values_size)`: as `bpf_trace_printk`, with an array of values.
pub(super) fn trace_vprintk(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    let [_, size, _, values_size, _] = arguments.values;
    let format = bytes(run, arguments, 0, low_32(size))?;
    Ok(match values(run, arguments, 2, low_32(values_size))? {
        Ok(values) => trace(run, &format, &values),
        Err(errno) => Returned::error(errno),
    })
}

/// `long bpf_snprintf(to, size, format, values, values_size)`: length of the whole text with its terminator.
pub(super) fn snprintf(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let [_, size, format, _, values_size] = arguments.values;
    let size = low_32(size);
    let to = run.memory(arguments, 0, size, Need::Write)?;
    let values = match values(run, arguments, 3, low_32(values_size))? {
        Ok(values) => values,
        Err(errno) => return Ok(Returned::error(errno)),
    };
    let format = string(run, format, u32::from(u16::MAX)).ok_or(FaultKind::Access {
        address: format,
        size: 1,
        is_write: false,
    })?;
    let text = match render(run, &format, &values) {
        Ok(text) => text,
        Err(errno) => return Ok(Returned::error(errno)),
    };
    if let Some(room) = to.len().checked_sub(1) {
        let mut kept = text
            .get(..room.min(text.len()))
            .unwrap_or_default()
            .to_vec();
        kept.push(0);
        to.copy_in(0, &kept)
            .ok_or(FaultKind::Unsupported("this buffer"))?;
    }
    Ok(Returned::number(text.len() as u64 + 1))
}

fn bytes(
    run: &Run<'_>,
    arguments: &Arguments,
    index: usize,
    len: u32,
) -> Result<Vec<u8>, FaultKind> {
    let view = run.memory(arguments, index, len, Need::Read)?;
    let mut bytes = vec![0; view.len()];
    view.copy_out(0, &mut bytes)
        .ok_or(FaultKind::Unsupported("this text"))?;
    Ok(bytes)
}

/// The array of values behind an argument. KERNEL: whole values, at most 12 of them, else EINVAL (6.18).
fn values(
    run: &Run<'_>,
    arguments: &Arguments,
    index: usize,
    len: u32,
) -> Result<Result<Vec<u64>, Errno>, FaultKind> {
    if len == 0 {
        return Ok(Ok(Vec::new()));
    }
    if !len.is_multiple_of(8) || len as usize / 8 > MOST_VALUES {
        return Ok(Err(Errno::EINVAL));
    }
    let bytes = bytes(run, arguments, index, len)?;
    let (chunks, _) = bytes.as_chunks();
    Ok(Ok(chunks
        .iter()
        .map(|chunk| u64::from_ne_bytes(*chunk))
        .collect()))
}

fn trace(run: &Run<'_>, format: &[u8], values: &[u64]) -> Returned {
    let Some((0, format)) = format.split_last() else {
        return Returned::error(Errno::EINVAL);
    };
    let format = format.split(|byte| *byte == 0).next().unwrap_or_default();
    match render(run, format, values) {
        Ok(text) => {
            let kept = text.get(..TEXT_BYTES - 1).unwrap_or(&text);
            let kept = String::from_utf8_lossy(kept);
            run.common.surroundings.trace.add(run.slot, &kept);
            Returned::number(text.len() as u64)
        }
        Err(errno) => Returned::error(errno),
    }
}

/// One conversion of a format.
struct Conversion {
    is_left: bool,
    is_zero_padded: bool,
    has_plus: bool,
    has_space: bool,
    width: usize,
}

/// Renders a format. KERNEL: what it does not know, or too few values, is EINVAL; precision is not known (6.18).
fn render(run: &Run<'_>, format: &[u8], values: &[u64]) -> Result<Vec<u8>, Errno> {
    let is_text = |byte: &u8| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t'..=b'\r');
    if !format.iter().all(is_text) {
        return Err(Errno::EINVAL);
    }
    let mut text = Vec::new();
    let mut values = values.iter().copied();
    let mut rest = format;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            text.push(first);
            continue;
        }
        if let Some((b'%', after)) = rest.split_first() {
            text.push(b'%');
            rest = after;
            continue;
        }
        let (conversion, after) = Conversion::parse(rest);
        let value = || values.next().ok_or(Errno::EINVAL);
        let (converted, after) = convert(run, &conversion, after, value)?;
        rest = after;
        text.extend(converted);
        if text.len() > 1 << 16 {
            return Err(Errno::E2BIG);
        }
    }
    Ok(text)
}

impl Conversion {
    fn parse(mut rest: &[u8]) -> (Self, &[u8]) {
        let mut conversion = Self {
            is_left: false,
            is_zero_padded: false,
            has_plus: false,
            has_space: false,
            width: 0,
        };
        while let Some((&byte, after)) = rest.split_first() {
            match byte {
                b'-' => conversion.is_left = true,
                b'0' => conversion.is_zero_padded = true,
                b'+' => conversion.has_plus = true,
                b' ' => conversion.has_space = true,
                _ => break,
            }
            rest = after;
        }
        while let Some((byte @ b'0'..=b'9', after)) = rest.split_first() {
            let digit = usize::from(byte - b'0');
            conversion.width = (conversion.width * 10 + digit).min(TEXT_BYTES);
            rest = after;
        }
        (conversion, rest)
    }

    fn pad(&self, sign: &str, digits: &str, is_number: bool) -> Vec<u8> {
        let len = sign.len() + digits.len();
        let missing = self.width.saturating_sub(len);
        let (spaces, zeros, behind) = if self.is_left {
            (0, 0, missing)
        } else if self.is_zero_padded && is_number {
            (0, missing, 0)
        } else {
            (missing, 0, 0)
        };
        let padded = format!(
            "{}{sign}{}{digits}{}",
            " ".repeat(spaces),
            "0".repeat(zeros),
            " ".repeat(behind)
        );
        padded.into_bytes()
    }

    fn signed(&self, value: i64) -> Vec<u8> {
        let sign = match value {
            ..0 => "-",
            _ if self.has_plus => "+",
            _ if self.has_space => " ",
            _ => "",
        };
        self.pad(sign, &value.unsigned_abs().to_string(), true)
    }
}

/// Converts one value; the answer is the text and what of the format is left.
fn convert<'f>(
    run: &Run<'_>,
    conversion: &Conversion,
    rest: &'f [u8],
    mut value: impl FnMut() -> Result<u64, Errno>,
) -> Result<(Vec<u8>, &'f [u8]), Errno> {
    let (&kind, after) = rest.split_first().ok_or(Errno::EINVAL)?;
    match kind {
        b's' => Ok((text_at(run, conversion, value()?), after)),
        b'c' => {
            let byte = value()?.to_le_bytes()[0];
            let mut text = conversion.pad("", " ", false);
            let at = if conversion.is_left {
                0
            } else {
                text.len() - 1
            };
            text[at] = byte;
            Ok((text, after))
        }
        b'p' => pointer(run, conversion, after, value),
        _ => {
            let (is_wide, rest) = match rest {
                [b'l', b'l', rest @ ..] | [b'l', rest @ ..] => (true, rest),
                _ => (false, rest),
            };
            let (&kind, after) = rest.split_first().ok_or(Errno::EINVAL)?;
            Ok((number(conversion, kind, is_wide, value)?, after))
        }
    }
}

fn number(
    conversion: &Conversion,
    kind: u8,
    is_wide: bool,
    mut value: impl FnMut() -> Result<u64, Errno>,
) -> Result<Vec<u8>, Errno> {
    if !matches!(kind, b'd' | b'i' | b'u' | b'x' | b'X') {
        return Err(Errno::EINVAL);
    }
    let value = value()?;
    let unsigned = if is_wide {
        value
    } else {
        u64::from(low_32(value))
    };
    Ok(match kind {
        b'd' | b'i' if is_wide => conversion.signed(value.cast_signed()),
        b'd' | b'i' => conversion.signed(i64::from(low_32(value).cast_signed())),
        b'u' => conversion.pad("", &unsigned.to_string(), true),
        b'x' => conversion.pad("", &format!("{unsigned:x}"), true),
        _ => conversion.pad("", &format!("{unsigned:X}"), true),
    })
}

/// KERNEL: `%p` alone, `%px`, `%pK`, `%pB`, `%ps` and `%pS` print the value; `%pks` and `%pus` strings; `%pi4`, `%pI4`, `%pi6` and
/// `%pI6` the address in memory (6.18). The vm has no symbols and nothing to hide, so values are printed as they are.
fn pointer<'f>(
    run: &Run<'_>,
    conversion: &Conversion,
    rest: &'f [u8],
    mut value: impl FnMut() -> Result<u64, Errno>,
) -> Result<(Vec<u8>, &'f [u8]), Errno> {
    let plain = |value: u64| conversion.pad("", &format!("{value:016x}"), true);
    match rest {
        [b'k' | b'u', b's', rest @ ..] => Ok((text_at(run, conversion, value()?), rest)),
        [b'K' | b'x' | b's' | b'S' | b'B', rest @ ..] => Ok((plain(value()?), rest)),
        [form @ (b'i' | b'I'), b'4', rest @ ..] => {
            let bytes = address_bytes::<4>(run, value()?);
            let parts: Vec<String> = bytes
                .iter()
                .map(|byte| match form {
                    b'i' => format!("{byte:03}"),
                    _ => byte.to_string(),
                })
                .collect();
            Ok((conversion.pad("", &parts.join("."), false), rest))
        }
        [form @ (b'i' | b'I'), b'6', rest @ ..] => {
            let bytes = address_bytes::<16>(run, value()?);
            let mut text = String::new();
            for (index, byte) in bytes.iter().enumerate() {
                if *form == b'I' && index > 0 && index.is_multiple_of(2) {
                    text.push(':');
                }
                // Writing to a string cannot fail.
                let _ = write!(text, "{byte:02x}");
            }
            Ok((conversion.pad("", &text, false), rest))
        }
        [byte, ..] if byte.is_ascii_alphanumeric() => Err(Errno::EINVAL),
        _ => Ok((plain(value()?), rest)),
    }
}

fn address_bytes<const N: usize>(run: &Run<'_>, address: u64) -> [u8; N] {
    let mut bytes = [0; N];
    let len = u32::try_from(N).unwrap_or(0);
    if let Some(view) = readable(run, address, len) {
        // A range of this length was just found readable.
        let _ = view.copy_out(0, &mut bytes);
    }
    bytes
}

fn text_at(run: &Run<'_>, conversion: &Conversion, address: u64) -> Vec<u8> {
    let text = string(run, address, STRING_BYTES).unwrap_or_default();
    let missing = conversion.width.saturating_sub(text.len());
    let spaces = vec![b' '; missing];
    if conversion.is_left {
        [text, spaces].concat()
    } else {
        [spaces, text].concat()
    }
}
