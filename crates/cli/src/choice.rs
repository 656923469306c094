//! Choices that several commands offer.

use std::time::Duration;

use clap::ValueEnum;
use twinbpf::abi::{meaning_of_section, nearest_section};
use twinbpf::{AttachKind, Direction, Engine, Hook, ProgramKind, Result};

/// Which engine, or the one that works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineChoice {
    /// The kernel if it permits, else the vm
    Auto,
    /// The running kernel
    Kernel,
    /// A BPF engine inside this process
    Vm,
}

/// Which engine, named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum NamedEngine {
    /// The running kernel
    Kernel,
    /// A BPF engine inside this process
    Vm,
}

impl NamedEngine {
    /// The engine.
    pub(crate) fn open(self) -> Result<Engine> {
        match self {
            Self::Kernel => Engine::kernel(),
            Self::Vm => Engine::vm(),
        }
    }
}

/// Which direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DirectionChoice {
    /// Received
    In,
    /// Sent
    Out,
}

impl From<DirectionChoice> for Direction {
    fn from(choice: DirectionChoice) -> Self {
        match choice {
            DirectionChoice::In => Self::In,
            DirectionChoice::Out => Self::Out,
        }
    }
}

/// A program type that the user named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TypeChoice {
    /// For the programs of this section only.
    pub(crate) section: Option<String>,
    /// The type.
    pub(crate) kind: ProgramKind,
    /// Where within its kind it attaches, if a section name was given as the type.
    pub(crate) attach: Option<AttachKind>,
}

impl TypeChoice {
    /// Reads `[SECTION=]TYPE`; the type is a type's name or a section name that means one.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (section, name) = match text.rsplit_once('=') {
            Some((section, name)) => (Some(section.to_owned()), name),
            None => (None, text),
        };
        let (kind, attach) = match (ProgramKind::from_name(name), meaning_of_section(name)) {
            (Some(kind), _) => (kind, None),
            (None, Some(meaning)) => (meaning.kind, meaning.attach),
            (None, None) => return Err(unknown_type(name)),
        };
        Ok(Self {
            section,
            kind,
            attach,
        })
    }
}

/// A hook that the user named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HookChoice {
    /// For this program only.
    pub(crate) program: Option<String>,
    /// The hook.
    pub(crate) hook: Hook,
}

impl HookChoice {
    /// Reads `[PROGRAM=]HOOK`. Hooks may have `=` too, but only behind a colon.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let named = text.split_once('=').filter(|(name, _)| !name.contains(':'));
        let (program, hook) = match named {
            Some((name, hook)) => (Some(name.to_owned()), hook),
            None => (None, text),
        };
        Ok(Self {
            program,
            hook: hook.parse()?,
        })
    }
}

fn unknown_type(name: &str) -> String {
    let names: Vec<&str> = ProgramKind::all().filter_map(ProgramKind::name).collect();
    let guess = match nearest_section(name) {
        Some(near) => format!("did you mean `{near}`? "),
        None => String::new(),
    };
    format!("{guess}types are {}", names.join(", "))
}

/// Reads `5`, `5s`, `500ms`, `2m`, `1h`.
pub(crate) fn parse_time(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit_ms = match &text[digits.len()..] {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        other => return Err(format!("unknown unit `{other}`; units are ms, s, m, h")),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit_ms))
        .filter(|ms| *ms > 0)
        .map(Duration::from_millis)
        .ok_or_else(|| "a time is a whole number and a unit, for example 5s".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units_and_seconds_need_none() {
        assert_eq!(parse_time("5"), Ok(Duration::from_secs(5)));
        assert_eq!(parse_time("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_time("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "s", "5x", "-1", "0", "1.5s", "99999999999999999999h"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_hook_is_for_one_program_or_for_all() {
        let choice = HookChoice::parse("count=xdp:lo").unwrap();
        assert_eq!(choice.program.as_deref(), Some("count"));
        assert_eq!(choice.hook, Hook::xdp("lo"));
        let choice = HookChoice::parse("iter:pid=1").unwrap();
        assert_eq!(choice.program, None);
        assert!(HookChoice::parse("count=").is_err());
    }

    #[test]
    fn a_type_is_a_types_name_or_a_sections_for_one_section_or_the_untyped() {
        let parsed = TypeChoice::parse("socket1=socket_filter").unwrap();
        assert_eq!(parsed.section.as_deref(), Some("socket1"));
        assert_eq!(parsed.kind, ProgramKind::SocketFilter);
        assert_eq!(
            TypeChoice::parse("socket").unwrap().kind,
            ProgramKind::SocketFilter
        );
        assert!(
            TypeChoice::parse("sokcet")
                .unwrap_err()
                .contains("`socket`")
        );
    }
}
