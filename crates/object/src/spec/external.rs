//! Externs: names that the object uses and the kernel defines.
//!
//! ```c
//! extern int CONFIG_HZ __kconfig;                  a value of the kernel's configuration
//! extern const struct rq runqueues __ksym;         a variable of the kernel, with its type
//! extern const void bpf_prog_fops __ksym;          an address in the kernel, without a type
//! extern struct task_struct *bpf_task_acquire(struct task_struct *) __ksym;      a function of the kernel
//! ```
//!
//! BTF says which is which: a name is listed in the section `.kconfig` or `.ksyms`.

use super::{MapIndex, Object};
use crate::btf::{TypeId, essential_name};

/// Position of an extern in [`Object::externs`](super::Object::externs).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExternIndex(pub usize);

/// A name that the object uses and does not define.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extern {
    /// The symbol's name.
    pub name: String,
    /// Whether programs can do without it (`__weak`).
    pub is_weak: bool,
    /// What the object says it is.
    pub kind: ExternKind,
}

/// What an extern is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExternKind {
    /// A value of the kernel's configuration, placed in the map `.kconfig`.
    Config(ConfigPlace),
    /// A variable of the kernel, with its type in the object's BTF.
    Variable(TypeId),
    /// The address of something in the kernel.
    Address,
    /// A function of the kernel, with its prototype in the object's BTF.
    Function(TypeId),
    /// Declared, but listed in neither `.kconfig` nor `.ksyms`.
    Unplaced,
    /// Not declared in BTF: nobody knows what it is.
    Undeclared,
}

/// Where a configuration value goes, and in which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfigPlace {
    /// What it looks like.
    pub form: ConfigForm,
    /// Bytes.
    pub size: u32,
    /// The map of all of them.
    pub map: MapIndex,
    /// Where it starts in the map's value, bytes.
    pub offset: u32,
}

/// What a configuration value looks like in a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConfigForm {
    /// `bool`: the option is `y`, or not.
    Bool,
    /// `enum libbpf_tristate`: 0 for `n`, 1 for `y`, 2 for `m`.
    Tristate,
    /// `char`: the letter, or a number.
    Char {
        /// Whether it is signed.
        is_signed: bool,
    },
    /// A number.
    Integer {
        /// Whether it is signed.
        is_signed: bool,
    },
    /// `char[]`: a text with its final zero.
    Text,
    /// A type that no configuration value has.
    Other,
}

impl Extern {
    /// The name to look for: functions and variables can have a flavour behind three underscores, to declare one several
    /// times.
    pub fn essential_name(&self) -> &str {
        match self.kind {
            ExternKind::Function(_) => essential_name(&self.name),
            _ => &self.name,
        }
    }
}

impl ExternKind {
    /// The kind in a word or two, for listings.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Config(_) => "config",
            Self::Variable(_) => "variable",
            Self::Address => "address",
            Self::Function(_) => "function",
            Self::Unplaced | Self::Undeclared => "unknown",
        }
    }

    /// The section that BTF lists it in.
    pub fn section(&self) -> Option<&'static str> {
        match self {
            Self::Config(_) => Some(".kconfig"),
            Self::Variable(_) | Self::Address | Self::Function(_) => Some(".ksyms"),
            Self::Unplaced | Self::Undeclared => None,
        }
    }
}

impl ConfigForm {
    /// The type in the words of C, for listings and messages.
    pub fn words(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Tristate => "enum libbpf_tristate",
            Self::Char { .. } => "char",
            Self::Integer { is_signed: true } => "signed integer",
            Self::Integer { is_signed: false } => "unsigned integer",
            Self::Text => "char array",
            Self::Other => "another type",
        }
    }
}

impl Object {
    /// The extern with this name.
    pub fn external(&self, name: &str) -> Option<&Extern> {
        self.externs.iter().find(|each| each.name == name)
    }
}
