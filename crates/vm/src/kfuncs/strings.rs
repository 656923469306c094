//! Functions on strings, which end with a zero byte and need not be the program's own.
//!
//! KERNEL (6.18): a string that cannot be read is -EFAULT, one longer than 64 KiB -E2BIG, and what is not found -ENOENT; an address
//! that is none of the kernel's is -ERANGE, null included. Here those are all outside the window.

use twinbpf_object::Errno;

use crate::fault::FaultKind;
use crate::run::{Arguments, Returned, Run};
use crate::window::{FIRST_ADDRESS, Need};

/// KERNEL: longest string (`XATTR_SIZE_MAX`, 6.18).
const MOST_BYTES: usize = 65_536;

type Found = Result<usize, Errno>;

/// `int bpf_strcmp(one, other)`: -1, 0 or 1.
pub(super) fn compare(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let [one, other, ..] = arguments.values;
    let (one, other) = (Text::at(run, one), Text::at(run, other));
    for index in 0..MOST_BYTES {
        let (left, right) = match (one.byte(index), other.byte(index)) {
            (Ok(left), Ok(right)) => (left, right),
            (Err(errno), _) | (_, Err(errno)) => return Ok(Returned::error(errno)),
        };
        match left.cmp(&right) {
            std::cmp::Ordering::Less => return Ok(Returned::number(u64::MAX)),
            std::cmp::Ordering::Greater => return Ok(Returned::number(1)),
            std::cmp::Ordering::Equal if left == 0 => return Ok(Returned::number(0)),
            std::cmp::Ordering::Equal => {}
        }
    }
    Ok(Returned::error(Errno::E2BIG))
}

/// `int bpf_strlen(text)`
pub(super) fn length(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let text = Text::at(run, arguments.values[0]);
    answer(
        text.find(MOST_BYTES, |byte| byte == 0)
            .and_then(some_or_long),
    )
}

/// `int bpf_strnlen(text, most)`
pub(super) fn length_up_to(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    let [text, most, ..] = arguments.values;
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let text = Text::at(run, text);
    answer(match text.find(most.min(MOST_BYTES), |byte| byte == 0) {
        Ok(None) if most <= MOST_BYTES => Ok(most),
        found => found.and_then(some_or_long),
    })
}

/// `int bpf_strchr(text, character)`: where it is first, its end included.
pub(super) fn first(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let [text, character, ..] = arguments.values;
    let text = Text::at(run, text);
    answer(text.first(MOST_BYTES, character_of(character)))
}

/// `int bpf_strnchr(text, most, character)`: where it is among the first bytes.
pub(super) fn first_up_to(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let [text, most, character, ..] = arguments.values;
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let (text, wanted) = (Text::at(run, text), character_of(character));
    let found = text.find(most.min(MOST_BYTES), |byte| byte == wanted || byte == 0);
    answer(match found {
        Ok(Some(at)) => text.byte(at).and_then(|byte| match byte == wanted {
            true => Ok(at),
            false => Err(Errno::ENOENT),
        }),
        Ok(None) if most <= MOST_BYTES => Err(Errno::ENOENT),
        other => other.and_then(some_or_long),
    })
}

/// `int bpf_strchrnul(text, character)`: where it is first, or where the text ends.
pub(super) fn first_or_end(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    let [text, character, ..] = arguments.values;
    let wanted = character_of(character);
    let text = Text::at(run, text);
    let found = text.find(MOST_BYTES, |byte| byte == wanted || byte == 0);
    answer(found.and_then(some_or_long))
}

/// `int bpf_strrchr(text, character)`: where it is last.
pub(super) fn last(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let [text, character, ..] = arguments.values;
    let wanted = character_of(character);
    let bytes = Text::at(run, text).whole();
    answer(bytes.and_then(|bytes| match wanted {
        0 => Ok(bytes.len()),
        _ => position(bytes.iter().rposition(|byte| *byte == wanted)),
    }))
}

/// `int bpf_strspn(text, accepted)`: how many bytes at the start are among those.
pub(super) fn span(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    span_while(run, arguments, true)
}

/// `int bpf_strcspn(text, refused)`: how many bytes at the start are not among those.
pub(super) fn span_without(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    span_while(run, arguments, false)
}

fn span_while(
    run: &Run<'_>,
    arguments: &Arguments,
    is_accepted: bool,
) -> Result<Returned, FaultKind> {
    let [text, set, ..] = arguments.values;
    let set = match Text::at(run, set).whole() {
        Ok(set) => set,
        Err(errno) => return Ok(Returned::error(errno)),
    };
    let text = Text::at(run, text);
    let ends = |byte: u8| byte == 0 || set.contains(&byte) != is_accepted;
    answer(text.find(MOST_BYTES, ends).and_then(some_or_long))
}

/// `int bpf_strstr(text, part)`: where the part begins.
pub(super) fn part(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let [text, part, ..] = arguments.values;
    let found = Text::at(run, text).whole().and_then(|text| {
        let part = Text::at(run, part).whole()?;
        position(find_part(&text, &part))
    });
    answer(found)
}

/// `int bpf_strnstr(text, part, most)`: where the part begins that lies within the first bytes.
pub(super) fn part_up_to(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let [text, part, most, ..] = arguments.values;
    let most = usize::try_from(most).unwrap_or(usize::MAX).min(MOST_BYTES);
    let found = Text::at(run, text).start(most).and_then(|text| {
        let part = Text::at(run, part).whole()?;
        position(find_part(&text, &part))
    });
    answer(found)
}

fn find_part(text: &[u8], part: &[u8]) -> Option<usize> {
    if part.is_empty() {
        return Some(0);
    }
    text.windows(part.len()).position(|window| window == part)
}

fn position(found: Option<usize>) -> Found {
    found.ok_or(Errno::ENOENT)
}

fn some_or_long(found: Option<usize>) -> Found {
    found.ok_or(Errno::E2BIG)
}

fn answer(found: Found) -> Result<Returned, FaultKind> {
    Ok(match found {
        Ok(index) => Returned::number(index as u64),
        Err(errno) => Returned::error(errno),
    })
}

fn character_of(register: u64) -> u8 {
    let [byte, ..] = register.to_le_bytes();
    byte
}

/// A string in the window, or a claim of one.
struct Text<'r, 'w> {
    run: &'r Run<'w>,
    address: u64,
}

impl<'r, 'w> Text<'r, 'w> {
    fn at(run: &'r Run<'w>, address: u64) -> Self {
        Self { run, address }
    }

    fn byte(&self, index: usize) -> Result<u8, Errno> {
        if !(FIRST_ADDRESS..1 << 32).contains(&self.address) {
            return Err(Errno::ERANGE);
        }
        let address = self.address.wrapping_add(index as u64);
        let in_window = u32::try_from(address).map_err(|_| Errno::EFAULT)?;
        let view = self.run.window.range(u64::from(in_window), 1, Need::Read);
        view.and_then(|view| view.load_u8(0)).ok_or(Errno::EFAULT)
    }

    /// The first of `most` bytes that is wanted.
    fn find(&self, most: usize, is_wanted: impl Fn(u8) -> bool) -> Result<Option<usize>, Errno> {
        for index in 0..most {
            if is_wanted(self.byte(index)?) {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// The first of `most` bytes that is the wanted one.
    fn first(&self, most: usize, wanted: u8) -> Found {
        let at = self.find(most, |byte| byte == wanted || byte == 0)?;
        let at = some_or_long(at)?;
        match self.byte(at)? == wanted {
            true => Ok(at),
            false => Err(Errno::ENOENT),
        }
    }

    /// The bytes before its end.
    fn whole(&self) -> Result<Vec<u8>, Errno> {
        let text = self.start(MOST_BYTES)?;
        if text.len() == MOST_BYTES {
            return Err(Errno::E2BIG);
        }
        Ok(text)
    }

    /// The bytes before its end, at most this many.
    fn start(&self, most: usize) -> Result<Vec<u8>, Errno> {
        let mut text = Vec::new();
        for index in 0..most {
            match self.byte(index)? {
                0 => break,
                byte => text.push(byte),
            }
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found_where_they_begin() {
        assert_eq!(find_part(b"hello", b"lo"), Some(3));
        assert_eq!(find_part(b"hello", b""), Some(0));
        assert_eq!(find_part(b"", b"a"), None);
        assert_eq!(find_part(b"ab", b"abc"), None);
    }

    #[test]
    fn a_character_is_the_lowest_byte() {
        assert_eq!(character_of(0xffff_ff41), b'A');
    }
}
