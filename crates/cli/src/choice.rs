//! Choices that several commands offer.

use clap::ValueEnum;
use twinbpf::abi::{meaning_of_section, nearest_section};
use twinbpf::{AttachKind, Engine, ProgramKind, Result};

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

fn unknown_type(name: &str) -> String {
    let names: Vec<&str> = ProgramKind::all().filter_map(ProgramKind::name).collect();
    let guess = match nearest_section(name) {
        Some(near) => format!("did you mean `{near}`? "),
        None => String::new(),
    };
    format!("{guess}types are {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

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
