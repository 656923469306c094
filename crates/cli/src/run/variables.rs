//! Global variables that the user set for this run.

use twinbpf::{Code, Diagnosis, Object, Result};

use crate::args::SetChoice;

/// Gives variables the values they are to start with.
pub(super) fn apply(object: &mut Object, choices: &[SetChoice]) -> Result<()> {
    for choice in choices {
        // A variable that is not there is refused below, with the names of those that are.
        let size = object
            .variable(&choice.name)
            .map_or(8, |variable| variable.size);
        let bytes = bytes(choice.value, size).map_err(|message| {
            let message = format!("--set {choice}: variable `{}` {message}", choice.name);
            Diagnosis::new(Code::USAGE, message)
        })?;
        object.set_variable(&choice.name, &bytes)?;
    }
    Ok(())
}

/// An integer as the bytes of a variable of this size. Objects that run here have the host's byte order.
fn bytes(value: i128, size: u32) -> std::result::Result<Vec<u8>, String> {
    if !matches!(size, 1 | 2 | 4 | 8) {
        return Err(format!("has {size} bytes and is no integer"));
    }
    let bits = size * 8;
    let (least, most) = (-(1_i128 << (bits - 1)), (1_i128 << bits) - 1);
    if !(least..=most).contains(&value) {
        return Err(format!("has {size} bytes: from {least} to {most}"));
    }
    let whole = value.to_ne_bytes();
    let length = usize::try_from(size).unwrap_or(whole.len());
    Ok(if cfg!(target_endian = "big") {
        whole[whole.len() - length..].to_vec()
    } else {
        whole[..length].to_vec()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fit_with_or_without_a_sign() {
        assert_eq!(bytes(-1, 2), Ok(u16::MAX.to_ne_bytes().to_vec()));
        assert_eq!(bytes(255, 1), Ok(vec![255]));
        assert_eq!(
            bytes(u64::MAX.into(), 8),
            Ok(u64::MAX.to_ne_bytes().to_vec())
        );
        assert_eq!(bytes(-128, 1), Ok((-128_i8).to_ne_bytes().to_vec()));
        assert_eq!(
            bytes(256, 1),
            Err("has 1 bytes: from -128 to 255".to_owned())
        );
        assert_eq!(
            bytes(0, 16),
            Err("has 16 bytes and is no integer".to_owned())
        );
    }
}
