//! Probes that a program's author left in it (USDT), with their text.
//!
//! ```text
//! usdt:/usr/lib/libpython3.so:python:function__entry    usdt:FILE:PROVIDER:NAME@pid=17
//! ```

use std::fmt;
use std::path::{Path, PathBuf};

use super::Hook;
use super::probe::{narrow, number};

/// A probe that a program's author left in it, at all its places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usdt {
    /// The file; a name without a slash is looked for where programs and libraries are.
    pub path: PathBuf,
    /// Whose probe, as the author says.
    pub provider: String,
    /// Its name.
    pub name: String,
    /// The only process in which the program runs; `None` is all of them.
    pub pid: Option<u32>,
    /// A number that the program can ask for.
    pub cookie: u64,
}

impl Hook {
    /// A probe that a program's author left in it, in all processes.
    pub fn usdt(path: impl AsRef<Path>, provider: &str, name: &str) -> Self {
        Self::Usdt(Usdt {
            path: path.as_ref().to_owned(),
            provider: provider.to_owned(),
            name: name.to_owned(),
            pid: None,
            cookie: 0,
        })
    }
}

impl fmt::Display for Usdt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        write!(f, "usdt:{path}:{}:{}", self.provider, self.name)?;
        match self.pid {
            Some(pid) => write!(f, "@pid={pid}"),
            None => Ok(()),
        }
    }
}

/// Reads `PATH:PROVIDER:NAME@pid=ID`. Paths may have colons, the rest not.
pub(super) fn read(text: &str) -> Result<Hook, String> {
    let (place, pid) = match text.rsplit_once("@pid=") {
        Some((place, pid)) => (place, Some(number(pid).and_then(narrow)?)),
        None => (text, None),
    };
    let mut parts = place.rsplitn(3, ':');
    let mut next = || parts.next().filter(|part| !part.is_empty());
    let (name, provider, path) = (next(), next(), next());
    match (path, provider, name) {
        (Some(path), Some(provider), Some(name)) => Ok(Hook::Usdt(Usdt {
            path: PathBuf::from(path),
            provider: provider.to_owned(),
            name: name.to_owned(),
            pid,
            cookie: 0,
        })),
        _ => Err(format!(
            "`{text}` names no probe of a program's author: write PATH:PROVIDER:NAME"
        )),
    }
}
