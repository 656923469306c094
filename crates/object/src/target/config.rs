//! The kernel's configuration: options and the values they were built with.
//!
//! ```text
//! CONFIG_HZ=250                       a number
//! CONFIG_BPF=y   CONFIG_XFS_FS=m      built in, built as a module
//! CONFIG_LSM="lockdown,bpf"           a text; \" and \\ stand for themselves
//! # CONFIG_KCSAN is not set           switched off: known, but without a value
//! ```
//!
//! Source: the kernel's `Documentation/kbuild/kconfig-language.rst`, and `/proc/config.gz` of Linux 6.18.

use std::collections::{BTreeMap, BTreeSet};

/// What programs can learn about how the kernel was built, as far as somebody asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KernelConfig {
    /// Where the options come from, or where they were looked for in vain; for messages.
    pub origin: String,
    /// Options by name (`CONFIG_HZ`).
    pub options: BTreeMap<String, ConfigValue>,
    /// Values that the caller sets, written as in a configuration; they win. Also for `LINUX_KERNEL_VERSION` and its kin.
    pub overrides: BTreeMap<String, String>,
    /// Whether system calls take their arguments from a saved `struct pt_regs` (`LINUX_HAS_SYSCALL_WRAPPER`).
    pub has_syscall_wrapper: bool,
    /// Whether programs can ask for the cookie of their link (`LINUX_HAS_BPF_COOKIE`).
    pub has_bpf_cookie: bool,
}

/// What a configuration says about one option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigValue {
    /// The value as written.
    Is(String),
    /// Switched off.
    Off,
}

impl KernelConfig {
    /// Nothing known.
    pub const fn new() -> Self {
        Self {
            origin: String::new(),
            options: BTreeMap::new(),
            overrides: BTreeMap::new(),
            has_syscall_wrapper: false,
            has_bpf_cookie: false,
        }
    }

    /// Takes the wanted options out of the text of a configuration. Lines that say nothing of the kind are passed over.
    pub fn read(&mut self, text: &str, wanted: &BTreeSet<&str>) {
        for line in text.lines() {
            if let Some((name, value)) = option_of(line.trim_end())
                && wanted.contains(name)
            {
                self.options.insert(name.to_owned(), value);
            }
        }
    }
}

fn option_of(line: &str) -> Option<(&str, ConfigValue)> {
    if let Some(comment) = line.strip_prefix("# ") {
        let name = comment.strip_suffix(" is not set")?;
        return is_option(name).then_some((name, ConfigValue::Off));
    }
    let (name, value) = line.split_once('=')?;
    is_option(name).then(|| (name, ConfigValue::Is(value.to_owned())))
}

fn is_option(name: &str) -> bool {
    name.starts_with("CONFIG_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wanted_options_are_read_and_everything_else_is_passed_over() {
        let text = "#\n# Linux/x86 6.18 Kernel Configuration\nCONFIG_HZ=250\r\nCONFIG_A=\"x=y\"\n# CONFIG_B is not set\n\
                    CONFIG_C=m\nHZ=1\n=\n# CONFIG_D is set\nCONFIG_UNWANTED=y\n";
        let mut config = KernelConfig::new();
        let wanted = ["CONFIG_HZ", "CONFIG_A", "CONFIG_B", "CONFIG_D", "HZ", ""];
        config.read(text, &wanted.into_iter().collect());
        let is = |text: &str| ConfigValue::Is(text.to_owned());
        let expected = [
            ("CONFIG_A", is("\"x=y\"")),
            ("CONFIG_B", ConfigValue::Off),
            ("CONFIG_HZ", is("250")),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value));
        assert_eq!(config.options, BTreeMap::from(expected));
    }
}
