//! The bytes of one configuration value, in the form that the program declares.
//!
//! | written | `bool` | tristate | `char` | number | `char[]` |
//! |---|---|---|---|---|---|
//! | `y`, `n` | 1, 0 | 1, 0 | the letter | - | - |
//! | `m` | - | 2 | `m` | - | - |
//! | `250`, `0x10`, `-1` | 0 or 1 | - | if it fits | if it fits | - |
//! | `"text"` | - | - | - | - | cut to fit, with its zero |
//!
//! KERNEL: there is no configuration in `bpf(2)`; this is the convention of libbpf 1.x, as observed.

use crate::diagnosis::{Code, Diagnosis, Result};
use crate::spec::{ByteOrder, ConfigForm, ConfigPlace, Extern};
use crate::target::{ConfigValue, Target};

/// The bytes for a configuration value, zeros at its end left out; `None` if there is no such option here.
///
/// # Errors
///
/// If the value does not fit the form.
pub(super) fn bytes(
    external: &Extern,
    place: &ConfigPlace,
    target: &Target,
    order: ByteOrder,
) -> Result<Option<Vec<u8>>> {
    let Some(value) = value_of(&external.name, target) else {
        return Ok(None);
    };
    encode(&value, place, order).map(Some).map_err(|reason| {
        let message = format!(
            "`{}` is {value} here, and the program declares it as {}: {reason}",
            external.name,
            declared(place)
        );
        Diagnosis::new(Code::CONFIG_VALUE, message).into()
    })
}

/// Why there is no such value, for programs that cannot do without.
pub(super) fn missing(external: &Extern, target: &Target) -> Diagnosis {
    let (name, config) = (&external.name, &target.config);
    let message = match config.options.get(name) {
        Some(ConfigValue::Off) => format!("`{name}` is switched off in this kernel"),
        _ if !name.starts_with("CONFIG_") => {
            format!("`{name}` is no option (CONFIG_..) and no name the loader knows")
        }
        _ => format!("`{name}` is not known"),
    };
    let diagnosis = Diagnosis::new(Code::CONFIG_MISSING, message);
    let diagnosis = match config.origin.as_str() {
        "" => diagnosis,
        origin => diagnosis.fact("looked for in", origin),
    };
    diagnosis.help("declare it `__weak` to get 0 here, or give its value (`--kconfig NAME=VALUE`)")
}

fn value_of(name: &str, target: &Target) -> Option<String> {
    let config = &target.config;
    if let Some(value) = config.overrides.get(name) {
        return Some(value.clone());
    }
    match name {
        "LINUX_KERNEL_VERSION" => Some(target.kernel_version.to_string()),
        "LINUX_HAS_SYSCALL_WRAPPER" => Some(u8::from(config.has_syscall_wrapper).to_string()),
        "LINUX_HAS_BPF_COOKIE" => Some(u8::from(config.has_bpf_cookie).to_string()),
        _ => match config.options.get(name)? {
            ConfigValue::Is(value) => Some(value.clone()),
            ConfigValue::Off => None,
        },
    }
}

fn declared(place: &ConfigPlace) -> String {
    match place.form {
        ConfigForm::Bool | ConfigForm::Tristate | ConfigForm::Char { .. } => {
            format!("`{}`", place.form.words())
        }
        ConfigForm::Other => place.form.words().to_owned(),
        form => format!("{} of {} bytes", form.words(), place.size),
    }
}

fn encode(value: &str, place: &ConfigPlace, order: ByteOrder) -> Result<Vec<u8>, &'static str> {
    let size = usize::try_from(place.size).unwrap_or(usize::MAX);
    if place.form == ConfigForm::Other {
        return Err("no configuration value has that type");
    }
    if let Some(rest) = value.strip_prefix('"') {
        return text(rest, place.form, size);
    }
    let number = match value {
        "y" | "m" | "n" => letter(value, place.form)?,
        _ => number(value, place)?,
    };
    Ok(match order {
        ByteOrder::Little => number.to_le_bytes().into_iter().take(size).collect(),
        ByteOrder::Big => {
            let skipped = size_of::<u64>().saturating_sub(size);
            number.to_be_bytes().into_iter().skip(skipped).collect()
        }
    })
}

fn letter(value: &str, form: ConfigForm) -> Result<u64, &'static str> {
    match (form, value) {
        (ConfigForm::Bool | ConfigForm::Tristate, "y") => Ok(1),
        (ConfigForm::Bool | ConfigForm::Tristate, "n") => Ok(0),
        (ConfigForm::Tristate, _) => Ok(2),
        (ConfigForm::Bool, _) => Err("`m` needs `enum libbpf_tristate` or `char`"),
        (ConfigForm::Char { .. }, _) => Ok(value.bytes().next().unwrap_or_default().into()),
        _ => Err("it needs `bool`, `enum libbpf_tristate` or `char`"),
    }
}

fn text(rest: &str, form: ConfigForm, size: usize) -> Result<Vec<u8>, &'static str> {
    if form != ConfigForm::Text {
        return Err("a text needs an array of `char`");
    }
    let text = rest.strip_suffix('"').ok_or("the text has no end")?;
    // What follows is zero already.
    Ok(text.bytes().take(size.saturating_sub(1)).collect())
}

fn number(value: &str, place: &ConfigPlace) -> Result<u64, &'static str> {
    let is_signed = match place.form {
        ConfigForm::Integer { is_signed } | ConfigForm::Char { is_signed } => is_signed,
        ConfigForm::Bool => false,
        _ => return Err("a number needs an integer type"),
    };
    let number = parse_number(value).ok_or("it is neither number, text, `y`, `m` nor `n`")?;
    let bits = match place.form {
        ConfigForm::Bool => 1,
        _ => place.size.saturating_mul(8).min(64),
    };
    let (least, most): (i128, i128) = match is_signed {
        true => (-(1 << (bits - 1)), (1 << (bits - 1)) - 1),
        false => (0, (1 << bits) - 1),
    };
    match (least..=most).contains(&number) {
        // The range is within 64 bits, so the low half of the number is all of it.
        true => Ok(u64::try_from(number & i128::from(u64::MAX)).unwrap_or_default()),
        false => Err("the number does not fit"),
    }
}

/// A number as C writes it: decimal, hexadecimal or octal.
fn parse_number(text: &str) -> Option<i128> {
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (digits, radix) = match digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if digits.len() > 1 && digits.starts_with('0') => (digits, 8),
        None => (digits, 10),
    };
    // A second sign would be taken otherwise.
    let starts_well = digits.starts_with(|c: char| c.is_digit(radix));
    let number = i128::from(
        u64::from_str_radix(digits, radix)
            .ok()
            .filter(|_| starts_well)?,
    );
    Some(if is_negative { -number } else { number })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::MapIndex;

    fn place(form: ConfigForm, size: u32) -> ConfigPlace {
        ConfigPlace {
            form,
            size,
            map: MapIndex(0),
            offset: 0,
        }
    }

    fn little(value: &str, form: ConfigForm, size: u32) -> Option<Vec<u8>> {
        encode(value, &place(form, size), ByteOrder::Little).ok()
    }

    const SIGNED: ConfigForm = ConfigForm::Integer { is_signed: true };
    const UNSIGNED: ConfigForm = ConfigForm::Integer { is_signed: false };
    const CHAR: ConfigForm = ConfigForm::Char { is_signed: true };

    #[test]
    fn letters_fit_bool_tristate_and_char() {
        for (value, bool, tristate) in [("y", Some(1), 1), ("n", Some(0), 0), ("m", None, 2)] {
            let letter = value.as_bytes()[0];
            assert_eq!(
                little(value, ConfigForm::Bool, 1),
                bool.map(|byte| vec![byte])
            );
            assert_eq!(
                little(value, ConfigForm::Tristate, 4),
                Some(vec![tristate, 0, 0, 0])
            );
            assert_eq!(little(value, CHAR, 1), Some(vec![letter]));
            assert_eq!(little(value, UNSIGNED, 4), None);
            assert_eq!(little(value, ConfigForm::Text, 4), None);
        }
    }

    #[test]
    fn numbers_fit_or_are_refused() {
        assert_eq!(little("250", UNSIGNED, 2), Some(vec![250, 0]));
        assert_eq!(little("0x100", UNSIGNED, 2), Some(vec![0, 1]));
        assert_eq!(little("010", CHAR, 1), Some(vec![8]));
        assert_eq!(little("-1", SIGNED, 4), Some(vec![255; 4]));
        assert_eq!(little("-1", UNSIGNED, 4), None);
        assert_eq!(little("65535", UNSIGNED, 2), Some(vec![255, 255]));
        assert_eq!(little("65536", UNSIGNED, 2), None);
        assert_eq!(little("32768", SIGNED, 2), None);
        assert_eq!(little("-32768", SIGNED, 2), Some(vec![0, 128]));
        assert_eq!(
            little("0xffffffffffffffff", UNSIGNED, 8),
            Some(vec![255; 8])
        );
        assert_eq!(little("0xffffffffffffffff", SIGNED, 8), None);
        assert_eq!(little("1", ConfigForm::Bool, 1), Some(vec![1]));
        for (value, form) in [
            ("2", ConfigForm::Bool),
            ("1", ConfigForm::Tristate),
            ("--1", SIGNED),
            ("+1", SIGNED),
            ("0x", SIGNED),
            ("", SIGNED),
            ("yes", ConfigForm::Bool),
            ("y", ConfigForm::Other),
        ] {
            assert_eq!(little(value, form, 4), None, "{value}");
        }
    }

    #[test]
    fn texts_are_cut_so_that_their_zero_fits() {
        let text = |value, size| little(value, ConfigForm::Text, size);
        assert_eq!(text("\"ab\"", 4), Some(b"ab".to_vec()));
        assert_eq!(text("\"abcdef\"", 4), Some(b"abc".to_vec()));
        assert_eq!(text("\"x\"", 1), Some(Vec::new()));
        assert_eq!(text("\"ab", 4), None);
        assert_eq!(little("\"ab\"", UNSIGNED, 4), None);
    }

    #[test]
    fn big_endian_programs_get_their_bytes_in_their_order() {
        let bytes = encode("258", &place(UNSIGNED, 4), ByteOrder::Big).unwrap();
        assert_eq!(bytes, [0, 0, 1, 2]);
    }
}
