//! What a program is linked against, where the user wants another answer than the running kernel's.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use twinbpf::btf::Btf;
use twinbpf::spec::Needs;
use twinbpf::{Code, Diagnosis, Engine, Error, ErrorKind, Result, Target};

use crate::btf_file;
use crate::object_file;

/// Flags of every command that links.
#[derive(Debug, Clone, Args)]
pub(crate) struct TargetArgs {
    /// Adapt the programs (CO-RE) to the types in this file, raw BTF or an object's, instead of the running kernel's
    #[arg(long, value_name = "FILE")]
    pub(crate) btf: Option<PathBuf>,

    /// Take kernel options (`__kconfig`) from this file, or set one: CONFIG_HZ=250, LINUX_KERNEL_VERSION=0x60100
    #[arg(long = "kconfig", value_name = "FILE|NAME=VALUE", value_parser = ConfigChoice::parse)]
    pub(crate) config: Vec<ConfigChoice>,
}

/// Where an option's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ConfigChoice {
    /// A configuration as the kernel's build writes it.
    File(PathBuf),
    /// One option.
    Value { name: String, value: String },
}

impl ConfigChoice {
    fn parse(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, _)) if !is_option(name) => Err(format!(
                "`{name}` is no option: they start with CONFIG_ or LINUX_"
            )),
            Some((_, "")) => {
                Err("the value is missing; y, m, n, a number or \"a text\"".to_owned())
            }
            Some((name, value)) => Ok(Self::Value {
                name: name.to_owned(),
                value: value.to_owned(),
            }),
            None if is_option(text) => Err(format!("`{text}` has no value: {text}=y")),
            None => Ok(Self::File(PathBuf::from(text))),
        }
    }
}

fn is_option(name: &str) -> bool {
    name.starts_with("CONFIG_") || name.starts_with("LINUX_")
}

impl TargetArgs {
    /// Whether the user gave any answer.
    pub(crate) fn is_given(&self) -> bool {
        self.btf.is_some() || !self.config.is_empty()
    }

    /// Reads the files that were named.
    ///
    /// # Errors
    ///
    /// If one cannot be read, or is not what it should be.
    pub(crate) fn read(&self) -> Result<TargetChoice> {
        let types = self.btf.as_deref().map(btf_file::read).transpose()?;
        let config = self.config.iter().map(read_config);
        Ok(TargetChoice {
            types,
            config: config.collect::<Result<_>>()?,
        })
    }
}

fn read_config(choice: &ConfigChoice) -> Result<Config> {
    let path = match choice {
        ConfigChoice::Value { name, value } => {
            return Ok(Config::Value(name.clone(), value.clone()));
        }
        ConfigChoice::File(path) => path,
    };
    let name = path.display().to_string();
    let bytes = object_file::bytes(path)?;
    let refused = |diagnosis: Diagnosis| {
        let error = Error::from(diagnosis.kind(ErrorKind::BadObject));
        error.in_file(name.clone())
    };
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let message = "the configuration is packed";
        let help = format!("unpack it first: zcat {name} > config");
        return Err(refused(
            Diagnosis::new(Code::FILE_UNREADABLE, message).help(help),
        ));
    }
    match String::from_utf8(bytes) {
        Ok(text) if text.is_empty() || text.lines().any(is_about_an_option) => {
            Ok(Config::Text { name, text })
        }
        _ => {
            let message = "no kernel configuration: no line is about an option";
            let help = "its lines are like CONFIG_HZ=250; /boot/config-$(uname -r) often is one";
            Err(refused(
                Diagnosis::new(Code::FILE_UNREADABLE, message).help(help),
            ))
        }
    }
}

fn is_about_an_option(line: &str) -> bool {
    line.strip_prefix("# ")
        .unwrap_or(line)
        .starts_with("CONFIG_")
}

/// The user's answers.
#[derive(Debug)]
pub(crate) struct TargetChoice {
    types: Option<Arc<Btf>>,
    config: Vec<Config>,
}

#[derive(Debug)]
enum Config {
    /// A whole configuration, and the file it is from.
    Text { name: String, text: String },
    /// One option.
    Value(String, String),
}

impl TargetChoice {
    /// What linking for `engine` needs to know, with the answers that the user gave.
    ///
    /// # Errors
    ///
    /// If something else that is needed cannot be read.
    pub(crate) fn target(&self, engine: &Engine, needs: &Needs) -> Result<Target> {
        let mut target = engine.target(needs)?;
        if let Some(types) = &self.types {
            // Functions and variables are those of the engine that will run the program.
            target.core_btf = Some(Arc::clone(types));
        }
        for config in &self.config {
            match config {
                Config::Value(name, value) => {
                    target.config.overrides.insert(name.clone(), value.clone());
                }
                Config::Text { name, text } => {
                    let wanted: BTreeSet<&str> = needs.config_names().collect();
                    target.config.options.clear();
                    target.config.read(text, &wanted);
                    target.config.origin.clone_from(name);
                }
            }
        }
        Ok(target)
    }
}
