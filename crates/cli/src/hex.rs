//! Bytes as hex digits.

use std::fmt::Write;

/// Hex digits, two a byte.
pub(crate) fn digits(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Reads hex digits, two a byte, with or without `0x` before them.
///
/// # Errors
///
/// If it is anything else; the sentence says so.
pub(crate) fn parse(text: &str) -> Result<Vec<u8>, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let wrong = || {
        let shown: String = text.chars().take(40).collect();
        format!("`{shown}` is not an even number of hex digits")
    };
    // A sign would be taken as part of a number.
    if !digits.len().is_multiple_of(2) || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).map_err(|_| wrong()))
        .collect()
}
