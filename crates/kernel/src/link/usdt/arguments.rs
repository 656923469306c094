//! Where a probe's arguments are, as compilers write it: `-4@%eax 8@$17 8@-24(%rbp) 1@8(%rax,%rcx,4)`.
//!
//! Before the `@` stands the size in bytes, negative for numbers with a sign; behind it a constant, a register, or memory. The
//! letters are the assembler's of the machine, so each machine has its own reader: x86-64 and arm64 are here.

use twinbpf_object::{Code, Diagnosis, Error, Result};

/// Where an argument is, and how to read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Argument {
    pub(super) source: Source,
    /// 1, 2, 4 or 8.
    pub(super) size_bytes: u8,
    pub(super) is_signed: bool,
}

/// Registers are named by where in the saved `struct pt_regs` they stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Constant(i64),
    Register(u16),
    /// Memory at a register's value plus a constant.
    Memory {
        base: u16,
        offset: i64,
    },
    /// Memory at a register's value plus another's, multiplied by a power of two, plus a constant.
    Indexed {
        base: u16,
        index: u16,
        shift: u8,
        offset: i64,
    },
}

/// Reads a note's arguments, for the machine that this runs on.
///
/// # Errors
///
/// If one is nothing that a program could be told to read: a floating point number, a place relative to the code.
pub(super) fn parse(text: &str) -> Result<Vec<Argument>> {
    let read = match std::env::consts::ARCH {
        "x86_64" => x86_64,
        "aarch64" => aarch64,
        machine => {
            let message = format!("arguments of probes are not read on {machine}");
            return Err(Diagnosis::new(Code::ATTACH_UNSUPPORTED, message).into());
        }
    };
    parse_with(text, read)
}

fn parse_with(text: &str, read: fn(&str) -> Option<Source>) -> Result<Vec<Argument>> {
    let words = words(text);
    if words.len() > super::specs::MOST_ARGUMENTS {
        let message = format!(
            "the probe has {} arguments, programs can be told of {}",
            words.len(),
            super::specs::MOST_ARGUMENTS
        );
        return Err(Diagnosis::new(Code::ATTACH_UNSUPPORTED, message).into());
    }
    words
        .iter()
        .map(|word| one(word, read).ok_or_else(|| unread(word)))
        .collect()
}

/// Splits at spaces, but not within brackets: arm64 writes `[x0, 16]`.
fn words(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    let is_between = |letter: char| {
        match letter {
            '[' | '(' => depth += 1,
            ']' | ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        letter.is_ascii_whitespace() && depth == 0
    };
    text.split(is_between)
        .filter(|word| !word.is_empty())
        .collect()
}

fn one(word: &str, read: fn(&str) -> Option<Source>) -> Option<Argument> {
    let (size, place) = word.split_once('@')?;
    let size: i8 = size.parse().ok()?;
    let size_bytes = size.unsigned_abs();
    matches!(size_bytes, 1 | 2 | 4 | 8).then_some(())?;
    Some(Argument {
        source: read(place)?,
        size_bytes,
        is_signed: size < 0,
    })
}

/// `$17`, `%eax`, `-24(%rbp)`, `(%rax,%rcx,4)`.
fn x86_64(place: &str) -> Option<Source> {
    if let Some(number) = place.strip_prefix('$') {
        return number_of(number).map(Source::Constant);
    }
    if let Some(name) = place.strip_prefix('%') {
        return x86_64_register(name).map(Source::Register);
    }
    let (offset, inside) = place.strip_suffix(')')?.split_once('(')?;
    let offset = match offset {
        "" => 0,
        offset => number_of(offset)?,
    };
    let mut parts = inside.split(',').map(str::trim);
    let mut register = || {
        let part = parts.next()?;
        Some(part.strip_prefix('%').and_then(x86_64_register))
    };
    let base = register()?;
    let Some(index) = register() else {
        return Some(Source::Memory {
            base: base?,
            offset,
        });
    };
    let shift = match parts.next() {
        None | Some("1") => 0,
        Some("2") => 1,
        Some("4") => 2,
        Some("8") => 3,
        Some(_) => return None,
    };
    Some(Source::Indexed {
        base: base?,
        index: index?,
        shift,
        offset,
    })
}

/// Where a register stands in the `struct pt_regs` of x86-64 (`arch/x86/include/asm/ptrace.h`), by any name of any part of it that
/// begins at bit 0.
fn x86_64_register(name: &str) -> Option<u16> {
    let row = X86_64.iter().find(|(names, _)| names.contains(&name));
    if let Some((_, offset)) = row {
        return Some(*offset);
    }
    // r8 to r15, and their lower parts r8d, r8w, r8b.
    let digits = name.strip_prefix('r')?.trim_end_matches(['d', 'w', 'b']);
    let number: usize = digits.parse().ok()?;
    X86_64_NUMBERED.get(number.checked_sub(8)?).copied()
}

const X86_64: &[(&[&str], u16)] = &[
    (&["rbp", "ebp", "bp", "bpl"], 32),
    (&["rbx", "ebx", "bx", "bl"], 40),
    (&["rax", "eax", "ax", "al"], 80),
    (&["rcx", "ecx", "cx", "cl"], 88),
    (&["rdx", "edx", "dx", "dl"], 96),
    (&["rsi", "esi", "si", "sil"], 104),
    (&["rdi", "edi", "di", "dil"], 112),
    (&["rip", "eip", "ip"], 128),
    (&["rsp", "esp", "sp", "spl"], 152),
];

/// r8 to r15.
const X86_64_NUMBERED: [u16; 8] = [72, 64, 56, 48, 24, 16, 8, 0];

/// `17`, `x0`, `w3`, `sp`, `[sp, 16]`, `[x1]`.
fn aarch64(place: &str) -> Option<Source> {
    if let Some(inside) = place.strip_prefix('[') {
        let (base, offset) = match inside.strip_suffix(']')?.split_once(',') {
            Some((base, offset)) => (base, number_of(offset.trim().trim_start_matches('#'))?),
            None => (inside.strip_suffix(']')?, 0),
        };
        return Some(Source::Memory {
            base: aarch64_register(base.trim())?,
            offset,
        });
    }
    match aarch64_register(place) {
        Some(register) => Some(Source::Register(register)),
        None => number_of(place.trim_start_matches('#')).map(Source::Constant),
    }
}

/// In `struct user_pt_regs`: 31 registers of 8 bytes, then the stack's.
fn aarch64_register(name: &str) -> Option<u16> {
    if name == "sp" {
        return Some(31 * 8);
    }
    let number: u16 = name.strip_prefix(['x', 'w'])?.parse().ok()?;
    (number < 31).then_some(number * 8)
}

fn number_of(text: &str) -> Option<i64> {
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    digits
        .starts_with(|first: char| first.is_ascii_digit())
        .then_some(())?;
    let magnitude = match digits.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok()?,
        None => digits.parse::<u64>().ok()?,
    };
    // Constants without a sign go up to the largest word; its bits are what counts.
    let number = magnitude.cast_signed();
    Some(if is_negative {
        number.wrapping_neg()
    } else {
        number
    })
}

fn unread(word: &str) -> Error {
    let message =
        format!("the argument `{word}` of the probe is in no place that programs can read");
    Diagnosis::new(Code::ATTACH_UNSUPPORTED, message)
        .help("constants, registers and memory at registers can be read; floating point numbers and places relative to the code cannot")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Source>> {
        let arguments = parse_with(text, x86_64)?;
        Ok(arguments.into_iter().map(|each| each.source).collect())
    }

    #[test]
    fn every_form_of_x86_64_is_read() {
        let found =
            read("-4@%eax 8@$-5 8@-24(%rbp) 1@(%rsp) 8@16(%rax,%r9,8) 4@8(%rdx,%rcx) 2@%r10w")
                .unwrap();
        assert_eq!(
            found,
            [
                Source::Register(80),
                Source::Constant(-5),
                Source::Memory {
                    base: 32,
                    offset: -24
                },
                Source::Memory {
                    base: 152,
                    offset: 0
                },
                Source::Indexed {
                    base: 80,
                    index: 64,
                    shift: 3,
                    offset: 16
                },
                Source::Indexed {
                    base: 96,
                    index: 88,
                    shift: 0,
                    offset: 8
                },
                Source::Register(56),
            ]
        );
        let sized = parse_with("-2@%bx 1@$0xff", x86_64).unwrap();
        assert!(sized[0].is_signed && sized[0].size_bytes == 2);
        assert!(!sized[1].is_signed && sized[1].size_bytes == 1);
        assert_eq!(sized[1].source, Source::Constant(255));
        assert!(read("").unwrap().is_empty());
    }

    #[test]
    fn every_form_of_arm64_is_read() {
        let found = parse_with("-4@w3 8@x30 8@[sp, 16] 8@[x1] 4@-7 8@[x2, -8]", aarch64).unwrap();
        let sources: Vec<Source> = found.into_iter().map(|each| each.source).collect();
        assert_eq!(
            sources,
            [
                Source::Register(24),
                Source::Register(240),
                Source::Memory {
                    base: 248,
                    offset: 16
                },
                Source::Memory { base: 8, offset: 0 },
                Source::Constant(-7),
                Source::Memory {
                    base: 16,
                    offset: -8
                },
            ]
        );
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for text in [
            "8f@%xmm0",
            "4@total(%rip)",
            "3@%eax",
            "8@%xmm1",
            "8",
            "8@(%rax,%rbx,3)",
            "8@()",
            "@%eax",
            "8@%r7",
        ] {
            let error = read(text).unwrap_err();
            assert_eq!(error.diagnosis().code, Code::ATTACH_UNSUPPORTED, "{text}");
        }
        let many = "8@%rax ".repeat(13);
        assert!(
            read(&many)
                .unwrap_err()
                .to_string()
                .contains("13 arguments")
        );
    }
}
