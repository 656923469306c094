//! What a selftest declares about a program: declaration tags on its function, such as `comment:test_expect_failure`.

use twinbpf::Object;
use twinbpf::btf::{Btf, Type};

/// What is declared, as a privileged user loads it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Declared {
    /// The verdict.
    pub(super) verdict: Option<Verdict>,
    /// What the log must contain, in the order of the file.
    pub(super) messages: Vec<String>,
    /// Further flags of the load.
    pub(super) flags: u32,
    /// The file of types that the program is adapted to, where it is not the running kernel's.
    pub(super) types: Option<String>,
    /// Whether the test is for other machines only.
    pub(super) is_elsewhere: bool,
}

/// A verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Accepted,
    Refused,
}

const PREFIX: &str = "comment:test_";

/// Reads the tags on the function of this name.
pub(super) fn read(object: &Object, program: &str) -> Declared {
    let mut declared = Declared::default();
    let Some(btf) = object.btf.as_deref() else {
        return declared;
    };
    let mut machines = Vec::new();
    for tag in tags(btf, program) {
        let Some(text) = tag.strip_prefix(PREFIX) else {
            continue;
        };
        match text.split_once('=').unwrap_or((text, "")) {
            ("expect_failure", _) => declared.verdict = Some(Verdict::Refused),
            ("expect_success", _) => declared.verdict = Some(Verdict::Accepted),
            ("expect_msg", message) => declared.messages.push(without_counter(message)),
            ("prog_flags", flag) => declared.flags |= flag_number(flag),
            ("btf_path", file) => declared.types = Some(file.to_owned()),
            ("arch", machine) => machines.push(machine.to_owned()),
            _ => {}
        }
    }
    let here = std::env::consts::ARCH;
    declared.is_elsewhere = !machines.is_empty()
        && !machines
            .iter()
            .any(|machine| machine.eq_ignore_ascii_case(here));
    declared
}

/// The tags on a function, in the order of the file.
fn tags<'btf>(btf: &'btf Btf, function: &'btf str) -> impl Iterator<Item = &'btf str> {
    btf.iter().filter_map(move |(_, found)| match found {
        Type::DeclTag {
            tag,
            component: None,
        } if matches!(btf.get(tag.target), Some(Type::Function(_)))
            && btf.name_of(tag.target) == function =>
        {
            Some(btf.text(tag.text))
        }
        _ => None,
    })
}

/// Newer trees number the messages, so that equal ones stay apart: `12=R0 !read_ok`.
fn without_counter(message: &str) -> String {
    let text = match message.split_once('=') {
        Some((number, text)) if number.bytes().all(|byte| byte.is_ascii_digit()) => text,
        _ => message,
    };
    text.to_owned()
}

fn flag_number(flag: &str) -> u32 {
    let named = FLAGS.iter().find(|(name, _)| *name == flag);
    let number = || match flag.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => flag.parse().ok(),
    };
    named
        .map(|(_, number)| *number)
        .or_else(number)
        .unwrap_or(0)
}

const FLAGS: &[(&str, u32)] = &[
    ("BPF_F_STRICT_ALIGNMENT", 1),
    ("BPF_F_ANY_ALIGNMENT", 1 << 1),
    ("BPF_F_TEST_RND_HI32", 1 << 2),
    ("BPF_F_TEST_STATE_FREQ", 1 << 3),
    ("BPF_F_SLEEPABLE", 1 << 4),
    ("BPF_F_XDP_HAS_FRAGS", 1 << 5),
    ("BPF_F_TEST_REG_INVARIANTS", 1 << 7),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_have_names_or_numbers() {
        assert_eq!(flag_number("BPF_F_TEST_STATE_FREQ"), 8);
        assert_eq!(flag_number("0x10"), 16);
        assert_eq!(flag_number("3"), 3);
        assert_eq!(flag_number("nonsense"), 0);
    }

    #[test]
    fn messages_lose_their_counter_only() {
        assert_eq!(without_counter("12=R0 !read_ok"), "R0 !read_ok");
        assert_eq!(without_counter("off=8 size=1"), "off=8 size=1");
        assert_eq!(without_counter("plain"), "plain");
    }
}
